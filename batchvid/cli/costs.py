"""``costs``: what was paid, by day, model, manifest or run, over all journals that it is shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import database_option, json_option, load, manifests_argument, output_option
from batchvid.cli.output import text
from batchvid.cli.streams import complain, tell
from batchvid.domain.costs import By, Ledger, costs, unanswered
from batchvid.domain.errors import Exit
from batchvid.domain.records import dollars, moment, rfc3339
from batchvid.domain.results import Money
from batchvid.domain.text import clean
from batchvid.engine.local_day import day_name
from batchvid.engine.target import journal_name, journal_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchvid.domain.costs import Costs
    from batchvid.manifest.model import Manifest

NAME_SHOWN = 100


@click.command("costs")
@manifests_argument
@click.option(
    "--by",
    type=click.Choice([str(one) for one in By]),
    default=str(By.DAY),
    show_default=True,
    help="A line for each local day, model, manifest, or stretch of activity. An attempt counts for when it started.",
)
@output_option
@database_option
@json_option
def costs_command(
    manifests: tuple[Path, ...], *, by: str, output: str | None, database: str | None, as_json: bool
) -> int:
    """Show what was paid over all runs of the manifests: spent, reserved, in doubt and unproven, with the total.

    The total of a manifest is what status says. Works beside a running run, and sends nothing.

    With --json: one object a line, of type "cost" for each group, and at last one of type "total".
    """
    if output is not None and len(manifests) > 1:
        raise click.UsageError("--output goes with one manifest: two cannot share an output")
    found = [(load(path, output=output, database=database), str(path)) for path in manifests]
    groups, total = costs(list(_ledgers(found)), By(by), day_name=day_name)
    if as_json:
        for one in groups:
            tell(json.dumps({"type": "cost", "by": by, by: one.name, **costs_json(one)}))
        tell(json.dumps({"type": "total", **costs_json(total)}))
        return Exit.OK
    for line in costs_lines(groups, total, By(by)):
        tell(line)
    return Exit.OK


def _ledgers(manifests: Sequence[tuple[Manifest, str]]) -> Iterator[Ledger]:
    """Yield what each journal holds; one that several manifests share is told once."""
    seen: dict[tuple[str, str], str] = {}
    for manifest, named in manifests:
        place = (manifest.database, journal_name(manifest))
        if (first := seen.get(place)) is not None:
            complain(f"warning: {named} has the output of {first}, and so its journal, which is told once")
            continue
        seen[place] = named
        yield _ledger(manifest, named)


def _ledger(manifest: Manifest, named: str) -> Ledger:
    journal = journal_of(manifest).read()
    if journal is None:
        return Ledger(named, Money())
    active = journal_of(manifest).is_held()
    with journal:
        return Ledger(
            named,
            journal.money(),
            list(journal.attempts()),
            journal.unproven(),
            {job.id: job.model for job in manifest.jobs},
            unanswered(journal.states(), run_active=active),
        )


def costs_json(one: Costs) -> dict[str, Any]:
    """Return a group as an object; its fields are a promise. Times are RFC 3339 in UTC."""
    return {
        "from": rfc3339(one.from_at),
        "to": rfc3339(one.to_at),
        "attempts": one.attempts,
        "clips": one.clips,
        "spent": dollars(one.spent_micros),
        "reserved": dollars(one.reserved_micros),
        "in_doubt": dollars(one.in_doubt_micros),
        "unproven": dollars(one.unproven_micros),
        "unpriced_attempts": one.unpriced,
    }


def costs_lines(groups: Sequence[Costs], total: Costs, by: By) -> Iterator[str]:
    """Yield the groups and the total as a table; a column that is empty in all of them is left out."""
    rows = [*groups, total]
    columns = {
        str(by): [*(_name(one, by) for one in groups), total.name],
        "clips": [f"{one.clips:,}" for one in rows],
        "attempts": [f"{one.attempts:,}" for one in rows],
        "spent": [text.money(one.spent_micros) for one in rows],
        "reserved": [_amount(one.reserved_micros) for one in rows],
        "in doubt": [_amount(one.in_doubt_micros) for one in rows],
        "unproven": [_amount(one.unproven_micros) for one in rows],
        "without price": [f"{one.unpriced:,}" if one.unpriced else "" for one in rows],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    widths = {name: max(len(name), *map(len, cells)) for name, cells in shown.items()}
    for place in range(-1, len(rows)):
        cells = [name if place < 0 else shown[name][place] for name in shown]
        first, *others = zip(cells, widths.values(), strict=True)
        yield "  ".join([f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]).rstrip()


def _amount(micros: int) -> str:
    return text.money(micros) if micros else ""


def _name(one: Costs, by: By) -> str:
    began = moment(one.name) if by is By.RUN else None
    if began is None:
        return clean(one.name, NAME_SHOWN)
    return f"{datetime.fromtimestamp(began, UTC).astimezone():%Y-%m-%d %H:%M %Z}"
