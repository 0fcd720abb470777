"""``list``: the jobs, one line each, by state."""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import database_option, json_option, load, manifests_argument, output_option, read_journal
from batchvid.cli.output import text
from batchvid.cli.streams import complain, tell
from batchvid.domain.errors import Exit
from batchvid.domain.job import Progress, State
from batchvid.domain.limits import matching
from batchvid.domain.records import DEFERRED, ORDER, STATUS, micros, moment, records, standing
from batchvid.domain.text import clean
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from batchvid.manifest.model import Manifest


LINES_AT_ONCE = 500
ID_MAX, WHEN_CHARS, PRICE_CHARS = 40, 19, 7
UNDER_WAY = frozenset({State.RUNNING, State.READY})
WRITTEN = {"deferred": DEFERRED, "in-doubt": State.IN_DOUBT}
"""What people write for a state, beside its own name."""
SAID = ("done", "ready", "running", "submitting", "pending", "deferred", "failed", "in_doubt")


class _StateName(click.Choice[str]):
    """A state by its name, with its other spellings; said as people write it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name that the states have here."""
        name = WRITTEN.get(str(value).lower(), str(value).lower())
        if name not in self.choices:
            self.fail(f"{value!r} is no state: write {', '.join(SAID[:-1])} or {SAID[-1]}", param, ctx)
        return super().convert(name, param, ctx)


@click.command("list")
@manifests_argument
@click.option(
    "--state",
    "states",
    type=_StateName([*(str(name) for name in ORDER)], case_sensitive=False),
    metavar="STATE",
    multiple=True,
    help=f"Only jobs that are {', '.join(SAID[:-1])} or {SAID[-1]}; may be repeated.",
)
@click.option("--only", metavar="GLOB", multiple=True, help="Only jobs whose id matches, such as 'kite*'.")
@output_option
@database_option
@json_option
def list_command(
    manifests: tuple[Path, ...],
    *,
    states: tuple[str, ...],
    only: tuple[str, ...],
    output: str | None,
    database: str | None,
    as_json: bool,
) -> int:
    """Show the jobs, one line each: id, state, when, price, and the clip's path or the reason.

    On a terminal, what is under way has its age, and times are local. A pipe gets the five columns with tabs between
    them and times in UTC; with several manifests, the manifest's name is a column before them. Works beside a run.
    """
    if output is not None and len(manifests) > 1:
        raise click.UsageError("--output goes with one manifest: two cannot share an output")
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    for place, path in enumerate(manifests):
        loaded = load(path, output=output, database=database)
        named = str(path) if len(manifests) > 1 else None
        rows = _rows(loaded, frozenset(states), only)
        if as_json:
            _write(json.dumps({"type": "job", **({} if named is None else {"manifest": named}), **row}) for row in rows)
        elif not is_terminal:
            before = [] if named is None else [named]
            _write("\t".join(clean(cell, 4096) for cell in [*before, *_cells(row)]) for row in rows)
        else:
            if named is not None:
                tell(clean(named, 4096) if not place else f"\n{clean(named, 4096)}")
            _write(_lines(list(rows)))
    return Exit.OK


def _rows(manifest: Manifest, states: frozenset[str], only: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the wanted jobs in the manifest's order, as ``status --json`` has them, and how each stands."""
    known, _ = read_journal(manifest)
    is_active = journal_of(manifest).is_held()
    chosen = matching([job.id for job in manifest.jobs], only) if only else None
    if only and not chosen:
        complain(f"warning: no job's id matches --only {' or '.join(map(repr, only))}")
    new = Progress.fresh("")
    for row in records(STATUS, manifest.jobs, known):
        stands = standing(known.get(row["id"], new), run_active=is_active)
        if (not states or stands in states) and (chosen is None or row["id"] in chosen):
            yield {**row, "standing": str(stands)}


def _what(row: dict[str, Any]) -> str:
    """Return the clip's path, or why there is none."""
    return (row["path"] if row["state"] == State.DONE else row["reason"]) or ""


def _price(row: dict[str, Any]) -> str:
    price = micros(row["price"])
    return "" if price is None else text.money(price)


def _cells(row: dict[str, Any]) -> list[str]:
    """Return the five columns for a program."""
    when = row["finished_at"] or row["submitted_at"] or ""
    return [row["id"], text.word(row["standing"]), when, _price(row), _what(row)]


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the five columns for a person."""
    now = time.time()
    name_width = min(max((len(row["id"]) for row in rows), default=0), ID_MAX)
    for row in rows:
        name, word = text.job_name(row["id"]), text.word(row["standing"])
        submitted = moment(row["submitted_at"])
        if row["standing"] in UNDER_WAY:
            when = "" if submitted is None else text.duration(now - submitted)
        else:
            at = moment(row["finished_at"]) or submitted
            when = "" if at is None else text.local_moment(at)
        line = f"{name:<{name_width}}  {word:<10}  {when:<{WHEN_CHARS}}  {_price(row):>{PRICE_CHARS}}"
        yield f"{line}  {clean(_what(row), text.REASON_SHOWN)}".rstrip()


def _write(lines: Iterable[str]) -> None:
    """Write many lines at once."""
    left = iter(lines)
    while some := list(islice(left, LINES_AT_ONCE)):
        tell("\n".join(some))
