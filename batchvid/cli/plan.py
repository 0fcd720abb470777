"""``plan``: what a run would do, as people read it, and as a program does."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import nullcontext
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import (
    database_option,
    json_option,
    load,
    manifests_argument,
    output_option,
    read_journal,
    read_takes,
    safe_names_line,
    warn_of_forgotten,
    warn_of_names,
)
from batchvid.cli.output import text
from batchvid.cli.output.changes import change_lines, changes_json
from batchvid.cli.output.jsonl import plan_sums_json
from batchvid.cli.output.summary import film_json, film_lines
from batchvid.cli.output.text import cost_words, more_words
from batchvid.cli.streams import tell
from batchvid.domain.errors import Exit
from batchvid.domain.frozen import frozen
from batchvid.domain.plan import Action, cost_of_plan, cost_together, short_micros, short_today_micros
from batchvid.domain.records import dollars
from batchvid.domain.text import clean
from batchvid.engine.planning import missing_line
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from batchvid.domain.changes import FieldChange
    from batchvid.domain.film import FilmReport
    from batchvid.domain.plan import Cost, Plan, PlanRow
    from batchvid.domain.results import Money
    from batchvid.manifest.model import Manifest


ROWS_SHOWN = 40
"""A plan of 100,000 new jobs is told by its sums; this many rows of each kind are listed."""
LISTED = (
    Action.NEW,
    Action.CHANGED,
    Action.REJECTED,
    Action.RUNNING,
    Action.IN_DOUBT,
    Action.FAILED,
    Action.MOVED,
    Action.ORPHANED,
)
"""In this order. What is done needs no line."""
NAME_SHOWN = 300
REASON_SHOWN = 300
"""A sentence that names two ids of the longest that are made of a prompt, and what to do."""

REMOVED, ADDED = r"\[-.*?-\]", r"\{\+.*?\+\}"

MARKS = {
    Action.NEW: "+",
    Action.CHANGED: "~",
    Action.REJECTED: "*",
    Action.RUNNING: ">",
    Action.IN_DOUBT: "?",
    Action.FAILED: "!",
    Action.DONE: " ",
    Action.MOVED: "=",
    Action.ORPHANED: "-",
}
STYLES = {
    Action.NEW: "green",
    Action.CHANGED: "yellow",
    Action.REJECTED: "yellow",
    Action.RUNNING: "cyan",
    Action.IN_DOUBT: "magenta",
    Action.FAILED: "red",
    Action.DONE: "dim",
    Action.MOVED: "green",
    Action.ORPHANED: "dim",
}


@click.command("plan")
@manifests_argument
@click.option(
    "--rebuy", is_flag=True, help="As run --rebuy would do it: with changed jobs, and all that hangs on them."
)
@output_option
@database_option
@json_option
def plan_command(
    manifests: tuple[Path, ...], *, rebuy: bool, output: str | None, database: str | None, as_json: bool
) -> int:
    """Show what a run would do: new, changed, done, running, failed, in doubt and orphaned jobs, and the price.

    Of a job that was edited after it was paid, it shows what has changed: words, frames, fields. A job that is paid
    under another id is moved: a run gives its clip the new name, and buys nothing. A clip that a person rejected is
    bought again while its job has an attempt left. Nothing is sent.

    Several manifests are told one after the other, and at last what they come to.
    """
    if output is not None and len(manifests) > 1:
        raise click.UsageError("--output goes with one manifest: two cannot share an output")
    loaded = [load(path, output=output, database=database, decode=True) for path in manifests]
    names = [str(path) for path in manifests]
    found = []
    for number, (manifest, named) in enumerate(zip(loaded, names, strict=True)):
        one = _planned(manifest, rebuy=rebuy, at_most=None if as_json else ROWS_SHOWN)
        found.append((one.plan, one.money))
        if as_json:
            for row in _json_of(one):
                tell(json.dumps(row if len(loaded) == 1 else row | {"manifest": named}))
        else:
            if len(loaded) > 1:
                tell(f"{'' if number == 0 else chr(10)}{clean(named, NAME_SHOWN)}:")
            _print(one)
    if len(loaded) > 1:
        _tell_together(found, as_json=as_json)
    return Exit.OK


@frozen
class Planned:
    """The plan of one manifest, and what is told beside it."""

    manifest: Manifest
    plan: Plan
    money: Money
    lost: Mapping[str, str]
    films: Sequence[FilmReport]
    changed: Mapping[str, list[FieldChange] | None]


def _planned(manifest: Manifest, *, rebuy: bool, at_most: int | None) -> Planned:
    """Return what a run would do; of *at_most* so many edited jobs, and one more, what has changed."""
    from batchvid.engine.films import film_reports
    from batchvid.engine.planning import changes_of, lost_of, planned
    from batchvid.storage.output import Output

    journal, active = journal_of(manifest).read(), journal_of(manifest).is_held()
    with journal or nullcontext():
        lost = lost_of(manifest, journal)
        made, money = planned(manifest, journal, rebuy=rebuy, run_active=active, lost=lost)
        if not active:
            warn_of_forgotten(manifest, journal)
        changed = changes_of(manifest, journal, made, at_most=None if at_most is None else at_most + 1)
    warn_of_names(manifest, (row.job_id for row in made.rows if row.submits))
    rows = read_journal(manifest)[0] if manifest.films else {}
    films = film_reports(manifest.films, rows, Output.of(manifest).clips, takes=read_takes(manifest))
    return Planned(manifest, made, money, lost, films, changed)


def _json_of(one: Planned) -> Iterator[dict[str, Any]]:
    for report in one.films:
        yield {"type": "film", **film_json(report)}
    yield from plan_json(one.plan, one.money, missing=one.lost, changed=one.changed)


def _print(one: Planned) -> None:
    shown = dict(islice(one.changed.items(), ROWS_SHOWN))
    folder = str(one.manifest.path.parent)
    changed = list(change_lines(shown, folder=folder, more=len(one.changed) > len(shown)))
    if sys.stdout is not None and sys.stdout.isatty():
        from batchvid.cli.output.picture import console_on, finish

        console = console_on(sys.stdout)
        print_plan(console, one.plan, one.money, changed=changed)
        finish(console)
    else:
        for line in plan_lines(one.plan, one.money, changed=changed):
            tell(line)
    names = safe_names_line(one.manifest)
    missing = [missing_line(one.lost)] if one.lost else []
    for line in (*film_lines(one.films), *missing, *([names] if names else ())):
        tell(line)


def _tell_together(found: Sequence[tuple[Plan, Money]], *, as_json: bool) -> None:
    """Tell what the plans of several manifests come to; each keeps its own budget."""
    cost, counts = cost_together(found), Counter[Action]()
    for one, _ in found:
        counts.update(one.counts)
    if as_json:
        tell(json.dumps(together_json(found, cost, counts)))
        return
    tally = ", ".join(f"{counts[action]:,} {text.word(action)}" for action in Action if counts[action])
    tell(f"\nTogether: {tally or 'no jobs'}.")
    deeds = [f"submit {text.count(cost.jobs, 'job')} for {cost_words(cost)}"] if cost.jobs else []
    if running := counts[Action.RUNNING]:
        deeds.append(f"collect {text.count(running, 'clip')} already paid{more_words(cost)}")
    tell(f"A run would {' and '.join(deeds) or 'submit nothing and collect nothing'}.")


def together_json(found: Sequence[tuple[Plan, Money]], cost: Cost, counts: Mapping[Action, int]) -> dict[str, Any]:
    """Return what several plans come to, as the one object of ``"type": "plan"`` that names their number."""
    return {
        "type": "plan",
        "manifests": len(found),
        "counts": {action.value: counts[action] for action in Action},
        "submits": cost.jobs,
        "price": dollars(cost.price_micros),
        "price_at_most": dollars(cost.at_most_micros),
        "unpriced": cost.unpriced,
    }


def plan_lines(plan: Plan, money: Money | None = None, *, changed: Sequence[str] = ()) -> Iterator[str]:
    """Yield the plan as plain aligned lines: the jobs that are not done, then what a run would do and cost.

    With *money*, the journal's sums so far, it also tells whether the budget will do. *changed* are lines that stand
    between the two.
    """
    shown = list(_shown(plan))
    id_width = max((len(text.job_name(row.job_id)) for row in shown), default=0)
    price_width = max((len(_price(row)) for row in shown), default=0)
    for row in shown:
        mark = MARKS[row.action]
        name = text.job_name(row.job_id)
        what = f"{_what(row):<8}  {_price(row):>{price_width}}  {clean(row.reason, REASON_SHOWN)}".rstrip()
        yield f"{mark} {name:<{id_width}}  {what}"
    yield from _left_out(plan)
    if changed:
        yield from ("", *changed)
    if shown:
        yield ""
    yield from _sums(plan, money)


def print_plan(console: Console, plan: Plan, money: Money | None = None, *, changed: Sequence[str] = ()) -> None:
    """Print the plan: as a table on a terminal, as plain aligned lines elsewhere."""
    if not console.is_terminal:
        for line in plan_lines(plan, money, changed=changed):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = list(_shown(plan))
    if rows:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        table.add_column("job", overflow="fold")
        table.add_column("plan", no_wrap=True)
        table.add_column("price", justify="right", no_wrap=True)
        table.add_column("why", overflow="fold")
        for row in rows:
            style = STYLES[row.action]
            table.add_row(
                Text(f"{MARKS[row.action]} {text.job_name(row.job_id)}", style=style),
                Text(_what(row), style=style),
                Text(_price(row)),
                Text(clean(row.reason, REASON_SHOWN), style="dim"),
            )
        console.print(table)
    for line in _left_out(plan):
        console.print(Text(line))
    for line in (*changed, "") if changed else ():
        told = Text(line)
        told.highlight_regex(REMOVED, "red")
        told.highlight_regex(ADDED, "green")
        console.print(told)
    for line in _sums(plan, money):
        console.print(Text(line))


def plan_json(
    plan: Plan,
    money: Money | None = None,
    *,
    missing: Collection[str] = (),
    changed: Mapping[str, list[FieldChange] | None] = MappingProxyType({}),
) -> Iterator[dict[str, Any]]:
    """Yield the plan as objects of ``"type": "plan"``: one a job, with its ``"id"``, and at last `plan_sums_json`.

    *missing* are the jobs whose clips were saved and are not on disk any more: their rows say so. The rows of those
    that are *changed* since they were paid have ``"changes"``, which is ``null`` where they are not known.
    """
    for row in plan.rows:
        is_missing = {"missing": True} if row.job_id in missing else {}
        edited = {"changes": changes_json(changed[row.job_id])} if row.job_id in changed else {}
        yield is_missing | {
            "type": "plan",
            "id": row.job_id,
            "action": row.action.value,
            "state": row.state.value,
            "submits": row.submits,
            "price": dollars(row.price_micros),
            "attempts": row.attempts,
            "reason": row.reason or None,
            "moved_from": row.moved_from,
            **edited,
        }
    yield plan_sums_json(plan, money)


def _shown(plan: Plan) -> Iterator[PlanRow]:
    for action in LISTED:
        left = ROWS_SHOWN
        for row in plan.rows:
            if row.action is action:
                yield row
                left -= 1
                if not left:
                    break


def _left_out(plan: Plan) -> Iterator[str]:
    hidden = [(plan.counts[action] - ROWS_SHOWN, text.word(action)) for action in LISTED]
    more = ", ".join(f"{number:,} {name}" for number, name in hidden if number > 0)
    if more:
        yield f"  … and {more} (all of them: batchvid plan --json)"


def _what(row: PlanRow) -> str:
    if row.action is Action.CHANGED:
        return "buy" if row.submits else "keep"
    return text.word(row.action)


def _price(row: PlanRow) -> str:
    if row.price_micros is not None:
        return text.money(row.price_micros)
    return "unknown" if row.submits else ""


def _sums(plan: Plan, money: Money | None) -> Iterator[str]:
    tally = ", ".join(f"{plan.counts[action]:,} {text.word(action)}" for action in Action if plan.counts[action])
    yield f"{tally or 'No jobs'}."
    if plan.is_empty:
        yield "Nothing to do: a run would submit nothing and collect nothing."
        return
    deeds, cost = [], cost_of_plan(plan, money)
    if plan.submits:
        deeds.append(f"submit {text.count(plan.submits, 'job')} for {cost_words(cost)}")
    if plan.counts[Action.RUNNING]:
        deeds.append(f"collect {text.count(plan.counts[Action.RUNNING], 'clip')} already paid{more_words(cost)}")
    reckoned = f" ({plan.reckoned_with})" if plan.reckoned_with else ""
    yield f"A run would {' and '.join(deeds)}, in about {text.duration(plan.wall_s)}{reckoned}."
    if money is not None and (short := short_micros(plan, money)) > 0:
        yield f"The budget ({_budget(money)}) is {text.money(short)} short: a run would stop there (exit 7)."
    if money is not None and money.budget_per_day_micros is not None:
        today = f"{text.money(money.today_micros)} of {text.money(money.budget_per_day_micros)}"
        over = short_today_micros(plan, money)
        stops = f"; it is {text.money(over)} short: a run would stop there (exit 7), and one of the next day goes on"
        yield f"Of this day's budget {today} is used{stops if over > 0 else ''}."
    if plan.unpriced and money is not None and money.budget_micros is not None:
        yield "A budget needs every price: state the missing ones under prices: (a run refuses to start without)."


def _budget(money: Money) -> str:
    used = money.spent_micros + money.reserved_micros
    return f"{text.money(money.budget_micros or 0)}, of which {text.money(used)} is spent or reserved"
