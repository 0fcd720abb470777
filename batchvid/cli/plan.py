"""``plan``: what a run would do, as people read it, and as a program does."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import (
    database_option,
    json_option,
    load,
    manifest_argument,
    output_option,
    read_journal,
    safe_names_line,
    warn_of_forgotten,
    warn_of_names,
)
from batchvid.cli.output import text
from batchvid.cli.output.jsonl import plan_sums_json
from batchvid.cli.output.text import cost_words, more_words
from batchvid.cli.streams import tell
from batchvid.domain.errors import Exit
from batchvid.domain.plan import Action, cost_of_plan, short_micros
from batchvid.domain.records import dollars
from batchvid.domain.text import clean
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from rich.console import Console

    from batchvid.domain.plan import Plan, PlanRow
    from batchvid.domain.results import Money


ROWS_SHOWN = 40
"""A plan of 100,000 new jobs is told by its sums; this many rows of each kind are listed."""
LISTED = (Action.NEW, Action.CHANGED, Action.RUNNING, Action.IN_DOUBT, Action.FAILED, Action.MOVED, Action.ORPHANED)
"""In this order. What is done needs no line."""
REASON_SHOWN = 300
"""A sentence that names two ids of the longest that are made of a prompt, and what to do."""

MARKS = {
    Action.NEW: "+",
    Action.CHANGED: "~",
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
    Action.RUNNING: "cyan",
    Action.IN_DOUBT: "magenta",
    Action.FAILED: "red",
    Action.DONE: "dim",
    Action.MOVED: "green",
    Action.ORPHANED: "dim",
}


@click.command("plan")
@manifest_argument
@click.option(
    "--rebuy", is_flag=True, help="As run --rebuy would do it: with changed jobs, and all that hangs on them."
)
@output_option
@database_option
@json_option
def plan_command(manifest: Path, *, rebuy: bool, output: str | None, database: str | None, as_json: bool) -> int:
    """Show what a run would do: new, changed, done, running, failed, in doubt and orphaned jobs, and the price.

    A job that is paid under another id is moved: a run gives its clip the new name, and buys nothing. Nothing is sent.
    """
    from batchvid.cli.output.summary import film_json, film_lines
    from batchvid.engine.films import film_reports
    from batchvid.engine.planning import lost_of, missing_line, planned
    from batchvid.storage.output import Output

    loaded = load(manifest, output=output, database=database, decode=True)
    journal, active = journal_of(loaded).read(), journal_of(loaded).is_held()
    with journal or nullcontext():
        lost = lost_of(loaded, journal)
        made, money = planned(loaded, journal, rebuy=rebuy, run_active=active, lost=lost)
        if not active:
            warn_of_forgotten(loaded, journal)
    warn_of_names(loaded, {row.job_id for row in made.rows if row.submits})
    films = film_reports(loaded.films, read_journal(loaded)[0], Output.of(loaded).clips) if loaded.films else []
    if as_json:
        for report in films:
            tell(json.dumps({"type": "film", **film_json(report)}))
        for row in plan_json(made, money, missing=lost):
            tell(json.dumps(row))
    elif sys.stdout is not None and sys.stdout.isatty():
        from batchvid.cli.output.live import console_on, finish

        console = console_on(sys.stdout)
        print_plan(console, made, money)
        finish(console)
    else:
        for line in plan_lines(made, money):
            tell(line)
    if not as_json:
        names = safe_names_line(loaded)
        for line in (*film_lines(films), *([missing_line(lost)] if lost else ()), *([names] if names else ())):
            tell(line)
    return Exit.OK


def plan_lines(plan: Plan, money: Money | None = None) -> Iterator[str]:
    """Yield the plan as plain aligned lines: the jobs that are not done, then what a run would do and cost.

    With *money*, the journal's sums so far, it also tells whether the budget will do.
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
    if shown:
        yield ""
    yield from _sums(plan, money)


def print_plan(console: Console, plan: Plan, money: Money | None = None) -> None:
    """Print the plan: as a table on a terminal, as plain aligned lines elsewhere."""
    if not console.is_terminal:
        for line in plan_lines(plan, money):
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
    for line in (*_left_out(plan), *_sums(plan, money)):
        console.print(Text(line))


def plan_json(plan: Plan, money: Money | None = None, *, missing: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the plan as objects of ``"type": "plan"``: one a job, with its ``"id"``, and at last `plan_sums_json`.

    *missing* are the jobs whose clips were saved and are not on disk any more: their rows say so.
    """
    for row in plan.rows:
        is_missing = {"missing": True} if row.job_id in missing else {}
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
    if plan.unpriced and money is not None and money.budget_micros is not None:
        yield "A budget needs every price: state the missing ones under prices: (a run refuses to start without)."


def _budget(money: Money) -> str:
    used = money.spent_micros + money.reserved_micros
    return f"{text.money(money.budget_micros or 0)}, of which {text.money(used)} is spent or reserved"
