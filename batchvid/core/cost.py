"""What a run is going to cost, and the most that it can: from the rows of its plan and what bounds it.

The most is every attempt of every job, because the service may say each time that the task failed. A budget, and
``--max-cost``, cut it off; ``--max-jobs`` lets so many jobs be submitted, each with all of its attempts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.core.job import Job
    from batchvid.core.plan import Plan
    from batchvid.core.settings import Limits
    from batchvid.core.snapshot import Money


@dataclass(frozen=True, slots=True)
class Purchase:
    """One job that may be bought."""

    price_micros: int | None
    """Of one attempt; ``None`` when it is unknown."""
    attempts: int
    """The most that there may be."""
    is_due: bool = True
    """Whether the run submits it in any case, and not only when the task that is under way fails."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What some jobs cost together."""

    jobs: int
    """That would be submitted."""
    left_out: int
    """That would be submitted too, were it not for ``--max-jobs``."""
    price_micros: int
    """Of the *jobs* as far as it is known, if each needs one attempt; of the dearest, when some are left out."""
    unpriced: int
    """How many of them have no known price."""
    at_most_micros: int | None
    """The most that can be spent; ``None`` when nothing bounds it."""
    attempts: int
    """The most attempts of one job that are counted in it."""
    is_cut: bool
    """Whether money bounds it, and not the attempts."""


def left_micros(money: Money, max_cost_micros: int | None = None) -> int | None:
    """Return how much may be spent by the budget and ``--max-cost``; ``None`` when neither bounds it."""
    bounds = [] if max_cost_micros is None else [max_cost_micros]
    if money.budget_micros is not None:
        bounds.append(money.budget_micros - money.spent_micros - money.reserved_micros)
    return max(0, min(bounds)) if bounds else None


def cost_of(purchases: Sequence[Purchase], *, left: int | None = None, max_jobs: int | None = None) -> Cost:
    """Return what these jobs cost, when so much money is *left* and so many of them may be submitted.

    A job without a known price could cost anything, unless *left* bounds the run: then it is not sent at all.
    """
    due = [one for one in purchases if one.is_due]
    number = len(due) if max_jobs is None else min(len(due), max_jobs)
    prices = sorted((one.price_micros for one in due if one.price_micros is not None), reverse=True)
    sent = [one for one in purchases if one.attempts]
    totals = sorted((one.price_micros * one.attempts for one in sent if one.price_micros is not None), reverse=True)
    total = sum(totals if max_jobs is None else totals[:max_jobs])
    unbounded = len(totals) < len(sent) and max_jobs != 0 and left is None
    return Cost(
        jobs=number,
        left_out=len(due) - number,
        price_micros=sum(prices[:number]),
        unpriced=min(number, len(due) - len(prices)),
        at_most_micros=None if unbounded else total if left is None else min(total, left),
        attempts=max((one.attempts for one in sent), default=0),
        is_cut=left is not None and left < total,
    )


def cost_of_plan(
    plan: Plan, money: Money | None = None, *, max_cost_micros: int | None = None, max_jobs: int | None = None
) -> Cost:
    """Return what a run by this plan costs."""
    purchases = [Purchase(row.again_micros, row.attempts, is_due=row.submits) for row in plan.rows if row.attempts]
    left = max_cost_micros if money is None else left_micros(money, max_cost_micros)
    return cost_of(purchases, left=left, max_jobs=max_jobs)


def cost_again(jobs: Sequence[Job], limits: Limits, *, left: int | None) -> Cost:
    """Return what jobs cost that a person opens again: each is granted all attempts."""
    return cost_of([Purchase(job.price_micros, limits.attempts) for job in jobs], left=left)
