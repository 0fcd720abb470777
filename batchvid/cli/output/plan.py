"""A plan as people read it, and as a program does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchvid.cli.output import text
from batchvid.domain.plan import Action, cost_of_plan
from batchvid.domain.records import dollars
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rich.console import Console

    from batchvid.domain.plan import Cost, Plan, PlanRow
    from batchvid.domain.results import Money


ROWS_SHOWN = 40
"""A plan of 100,000 new jobs is told by its sums; this many rows of each kind are listed."""
LISTED = (Action.NEW, Action.CHANGED, Action.RUNNING, Action.IN_DOUBT, Action.FAILED, Action.MOVED, Action.ORPHANED)
"""In this order. What is done needs no line."""
REASON_SHOWN = 300
"""A sentence that names two ids of the longest that are made of a prompt, and what to do."""
NAMED_AT_MOST = 5
"""Of the jobs that a note is about."""
SECOND = 2

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


def plan_sums_json(plan: Plan, money: Money | None = None, *, cost: Cost | None = None) -> dict[str, Any]:
    """Return what a run would do in all, as the one object of ``"type": "plan"`` without an ``"id"``.

    ``price_at_most`` is ``None`` when nothing bounds it. *cost* is what the run costs within the bounds of its call.
    """
    cost = cost or cost_of_plan(plan, money)
    return {
        "type": "plan",
        "counts": {action.value: number for action, number in plan.counts.items()},
        "submits": plan.submits,
        "price": dollars(plan.price_micros),
        "price_at_most": dollars(cost.at_most_micros),
        "unpriced": plan.unpriced,
        "estimated_s": round(plan.wall_s),
        "fits_budget": None if money is None else _missing_micros(plan, money) <= 0,
    }


def notes_of(plan: Plan) -> list[str]:
    """Return what people might not expect of a run that begins with this plan."""
    notes = []
    names = [row.job_id for row in plan.rows if row.action is Action.CHANGED and not row.submits]
    if changed := len(names):
        shown = ", ".join(names[:NAMED_AT_MOST] + ["…"] * (changed > NAMED_AT_MOST))
        what = text.count(changed, "job")
        notes.append(f"{what} changed after being paid: kept as paid (--rebuy buys the new content): {shown}")
    if orphaned := plan.counts[Action.ORPHANED]:
        notes.append(f"{text.count(orphaned, 'job')} in the journal that the manifest no longer names: left alone")
    return notes


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
        deeds.append(f"collect {text.count(plan.counts[Action.RUNNING], 'clip')} already paid{_more_words(cost)}")
    yield f"A run would {' and '.join(deeds)}, in about {text.duration(plan.wall_s)}."
    if money is not None and (short := _missing_micros(plan, money)) > 0:
        yield f"The budget ({_budget(money)}) is {text.money(short)} short: a run would stop there (exit 7)."
    if plan.unpriced and money is not None and money.budget_micros is not None:
        yield "A budget needs every price: state the missing ones under prices: (a run refuses to start without)."


def run_words(plan: Plan, cost: Cost) -> str | None:
    """Return what a run says at its start of what it is going to buy; ``None`` when it cannot buy anything."""
    if not cost.jobs:
        return f"submits nothing new{_more_words(cost)}" if _more_words(cost) else None
    if not cost.left_out:
        return f"submits {text.count(cost.jobs, 'job')} for {cost_words(cost)}"
    return f"submits {cost.jobs:,} of {text.count(plan.submits, 'job')} (--max-jobs) for up to {cost_words(cost)}"


def cost_words(cost: Cost) -> str:
    """Return ``$1.20, at most $2.40 with second attempts``; the most is not told where a price is unknown."""
    if cost.jobs and cost.unpriced == cost.jobs:
        return "an unknown price"
    known = text.money(cost.price_micros)
    if cost.unpriced:
        return f"{known} and {text.count(cost.unpriced, 'unknown price')}"
    if cost.at_most_micros is None:  # the price of a task that is under way, should it be bought again
        return known
    most = text.money(cost.at_most_micros)
    if cost.is_cut:
        return f"{known}, at most {most} by what may be spent"
    return f"{known} at most" if cost.at_most_micros == cost.price_micros else f"{known}, at most {most} {_with(cost)}"


def _more_words(cost: Cost) -> str:
    """Return what tasks that are under way may still cost, where nothing else is bought."""
    if cost.jobs or not cost.at_most_micros:
        return ""
    return f", at most {text.money(cost.at_most_micros)} more {_with(cost)}"


def _with(cost: Cost) -> str:
    return "with further attempts" if cost.attempts > SECOND else "with second attempts"


def _budget(money: Money) -> str:
    gone = money.spent_micros + money.reserved_micros
    return f"{text.money(money.budget_micros or 0)}, of which {text.money(gone)} is spent or reserved"


def _missing_micros(plan: Plan, money: Money) -> int:
    """Return by how much the requests' known prices exceed what the budget has left."""
    if money.budget_micros is None:
        return 0
    return plan.price_micros - max(0, money.budget_micros - money.spent_micros - money.reserved_micros)
