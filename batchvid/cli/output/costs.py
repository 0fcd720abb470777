"""What a run is going to buy and what that costs, in words and as the sums of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchvid.cli.output import text
from batchvid.domain.plan import Action, cost_of_plan
from batchvid.domain.records import dollars

if TYPE_CHECKING:
    from batchvid.domain.plan import Cost, Plan
    from batchvid.domain.results import Money


NAMED_AT_MOST = 5
"""Of the jobs that a note is about."""
SECOND = 2


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
        "fits_budget": None if money is None else missing_micros(plan, money) <= 0,
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


def run_words(plan: Plan, cost: Cost) -> str | None:
    """Return what a run says at its start of what it is going to buy; ``None`` when it cannot buy anything."""
    if not cost.jobs:
        return f"submits nothing new{more_words(cost)}" if more_words(cost) else None
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


def more_words(cost: Cost) -> str:
    """Return what tasks that are under way may still cost, where nothing else is bought."""
    if cost.jobs or not cost.at_most_micros:
        return ""
    return f", at most {text.money(cost.at_most_micros)} more {_with(cost)}"


def _with(cost: Cost) -> str:
    return "with further attempts" if cost.attempts > SECOND else "with second attempts"


def missing_micros(plan: Plan, money: Money) -> int:
    """Return by how much the requests' known prices exceed what the budget has left."""
    if money.budget_micros is None:
        return 0
    return plan.price_micros - max(0, money.budget_micros - money.spent_micros - money.reserved_micros)
