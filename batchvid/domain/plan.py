"""What a run would do, before it does anything: every job's standing, what would be submitted, its price and its time.

1. A job without a paid attempt is *new*, and would be submitted.
2. A job that is done is *done*; if its content has changed since it was paid it is *changed*, and would be
   submitted again only under ``on_change: rebuy``.
3. A job that failed stays failed, unless its content has changed and no attempt of it was ever accepted.
4. A job whose outcome is unknown is *in doubt*, and would be submitted again only under ``in_doubt: resubmit``,
   while it has attempts left.
5. What the service works on, or has finished, is *running*: it is collected, and costs nothing more.
6. What the journal knows and the manifest does not name is *orphaned*: left alone, and listed.
7. What the journal has under another id is *moved* (`batchvid.domain.identity`), and stands as it does there.
8. A job that continues another is compared with the clip that is there. Where a run would make that clip, the job
   is submitted after it; where that clip cannot come, the job waits and is not submitted.
9. A clip that a person has rejected is *rejected*: bought again as its job's next attempt, while one is left.
10. A job that would be submitted, or whose task is under way, may need all the attempts that it has left. A clip
    that has succeeded, and that nobody rejects, is never bought again.

The plan also tells what a run is going to cost, and the most that it can. The most is every attempt of every job,
because the service may say each time that the task failed. A budget, and ``--max-cost``, cut it off; ``--max-jobs``
lets so many jobs be submitted, each with all of its attempts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from batchvid.domain.dependencies import DependencyGraph, as_it_stands
from batchvid.domain.frozen import frozen
from batchvid.domain.identity import NOBODY, advice
from batchvid.domain.job import Progress, State
from batchvid.domain.lifecycle import attempts_used
from batchvid.domain.limits import InDoubt, OnChange
from batchvid.domain.reopening import NO_DECISIONS, rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.decision import Decision
    from batchvid.domain.identity import Identity, Move
    from batchvid.domain.job import Job
    from batchvid.domain.limits import Limits
    from batchvid.domain.results import Money


class Action(StrEnum):
    """How a job stands, as a plan tells it."""

    NEW = "new"
    CHANGED = "changed"
    RUNNING = "running"
    IN_DOUBT = "in_doubt"
    FAILED = "failed"
    DONE = "done"
    REJECTED = "rejected"
    """Done, and a person wants another clip."""
    MOVED = "moved"
    """Done, under another id; a run gives the clip the new name."""
    ORPHANED = "orphaned"


@frozen
class PlanRow:
    """One job of a plan."""

    job_id: str
    action: Action
    state: State
    """As the journal has it; ``pending`` for a job that it does not know."""
    price_micros: int | None
    """What a submit would cost where there would be one, else what the newest attempt cost."""
    reason: str
    """Why it stands so, where that does not go without saying; may hold the service's words."""
    submits: bool = False
    """Whether a run would send a paid request for it."""
    moved_from: str | None = None
    """The id that the journal still has it under."""
    attempts: int = 0
    """The most paid requests that a run may send for it."""
    again_micros: int | None = None
    """What each of these would cost; ``None`` when the price is unknown."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: the manifest's jobs in its order, then the orphans by name."""

    rows: tuple[PlanRow, ...]
    counts: Mapping[Action, int]
    """Rows by action; every action is there."""
    submits: int
    """Paid requests, if each job needs one attempt."""
    price_micros: int
    """Of these requests, as far as their prices are known."""
    unpriced: int
    """How many of these requests have no known price."""
    wall_s: float
    """Until the last clip, roughly; 0 when there is nothing to wait for."""
    reckoned_with: str = ""
    """What that is reckoned with where limits are found out, for people."""

    @property
    def is_empty(self) -> bool:
        """Whether a run would neither submit nor collect anything."""
        return not self.submits and not self.counts[Action.RUNNING]


def plan(
    jobs: Sequence[Job],
    progress: Iterable[Progress],
    *,
    limits: Limits,
    typical_s: Callable[[str], float],
    identity: Identity = NOBODY,
    only: Collection[str] | None = None,
    decisions: Mapping[tuple[str, int], Decision] = NO_DECISIONS,
) -> Plan:
    """Return what a run over *jobs* would do, given what the journal holds: its rows, in any order.

    *typical_s* tells for a timing class how long a generation usually takes. *progress* is that of jobs which are moved
    already, by *identity*. *only* are the ids that may be submitted. *decisions* are what persons decided, by job id
    and attempt.
    """
    dependencies = DependencyGraph(jobs)
    kept: dict[str, Progress] = {}
    rows, orphans = _standings(jobs, progress, limits, in_chains=dependencies.ids, kept=kept, decisions=decisions)
    if only is not None:
        rows = [row if row.job_id in only else _sent_by_no_one(row) for row in rows]
    for index in dependencies.in_order():
        job, above = jobs[index], rows[dependencies.parent[index]]
        known = kept.get(job.id) if only is None or job.id in only else None
        if known is not None and known.state is State.FAILED and not known.attempt and _comes(above):
            rows[index] = _reopened_behind(rows[index], job, above, limits)
        else:
            rows[index] = _behind(rows[index], job, above, limits)
    _tell_identity(rows, identity)
    waits = [
        typical_s(job.timing_class)
        for job, row in zip(jobs, rows, strict=True)
        if row.submits or row.action is Action.RUNNING
    ]
    ends_s: dict[int, float] = {}
    for index in dependencies.in_order():
        for one in (dependencies.parent[index], index):
            takes = rows[one].submits or rows[one].action is Action.RUNNING
            before_s = ends_s.get(dependencies.parent[one], 0.0) if one in dependencies.parent else 0.0
            ends_s[one] = before_s + (typical_s(jobs[one].timing_class) if takes else 0.0)
    longest_s = max([*ends_s.values(), max(waits, default=0.0)])
    rows.extend(sorted(orphans, key=lambda row: row.job_id))
    prices = [row.price_micros for row in rows if row.submits]
    found = Counter(row.action for row in rows)
    return Plan(
        rows=tuple(rows),
        counts={action: found[action] for action in Action},
        submits=len(prices),
        price_micros=sum(price for price in prices if price is not None),
        unpriced=prices.count(None),
        wall_s=_wall_s(len(prices), waits, longest_s=longest_s, limits=limits),
    )


def _standings(
    jobs: Sequence[Job],
    progress: Iterable[Progress],
    limits: Limits,
    *,
    in_chains: Collection[str],
    kept: dict[str, Progress],
    decisions: Mapping[tuple[str, int], Decision],
) -> tuple[list[PlanRow], list[PlanRow]]:
    """Return the row of each job by itself, in the order of *jobs*, and those of the orphans.

    Only the progress of jobs *in_chains* is *kept*: all that a journal holds would fill a small machine.
    """
    job_of = {job.id: job for job in jobs}
    found: dict[str, PlanRow] = {}
    orphans = []
    for known in progress:
        job = job_of.get(known.job_id)
        if job is None:
            orphans.append(_orphan(known))
        elif job.id in in_chains:
            kept[job.id] = known
        else:
            found[job.id] = _row(job, known, limits, decisions)
    rows = [found.get(job.id) or _row(as_it_stands(job, kept), kept.get(job.id), limits, decisions) for job in jobs]
    return rows, orphans


def _wall_s(submits: int, waits: Sequence[float], *, longest_s: float, limits: Limits) -> float:
    """Estimate the time until the last clip: the narrower of the two ways through, and then the longest chain.

    ``max(submits / rate, tasks * typical / in_flight) + longest``
    """
    if not waits:
        return 0.0
    by_rate_s = submits * limits.submits.period_s / limits.submits.count if limits.submits else 0.0
    return max(by_rate_s, sum(waits) / limits.in_flight) + longest_s


def _behind(row: PlanRow, job: Job, above: PlanRow, limits: Limits) -> PlanRow:
    """Return the row of a job that continues another, seen with what would become of that other."""
    if above.state is State.DONE and not above.submits:
        return row
    comes = _comes(above)
    if row.state is State.DONE and not row.submits:
        if not comes:
            return row
        submits = limits.on_change is OnChange.REBUY
        reason = "bought again (on_change: rebuy)" if submits else "kept as it was paid (on_change: keep)"
        reason = f"{above.job_id} is made again; {reason}"
        price = job.price_micros if submits else row.price_micros
        attempts = limits.attempts if submits else 0
        return replace(
            row, action=Action.CHANGED, submits=submits, reason=reason, price_micros=price, attempts=attempts
        )
    if not row.submits:
        return row
    if comes:
        return replace(row, reason=_joined(f"after {above.job_id}", row.reason))
    return replace(
        _sent_by_no_one(row),
        reason=f"waits for {above.job_id}, which {WAITED_FOR.get(above.action, 'cannot come either')}",
    )


def _comes(above: PlanRow) -> bool:
    """Whether a run may make the clip that others go on from."""
    return above.submits or above.action is Action.RUNNING


def _reopened_behind(row: PlanRow, job: Job, above: PlanRow, limits: Limits) -> PlanRow:
    """Return the row of a job that failed before anything was paid, and has another content behind a new clip."""
    return replace(
        row, action=Action.CHANGED, submits=True, reason=_joined(f"after {above.job_id}", FAILED_UNPAID),
        price_micros=job.price_micros, attempts=limits.attempts,
    )  # fmt: skip


def _tell_identity(rows: list[PlanRow], identity: Identity) -> None:
    """Put into the rows what the journal has under another id, and what a new job only resembles."""
    moves, resembling = {move.new: move for move in identity.moves}, dict(identity.resembling)
    for index, row in enumerate(rows) if moves or resembling else ():
        if row.job_id in moves:
            rows[index] = _moved(row, moves[row.job_id])
        elif row.submits and row.job_id in resembling:
            rows[index] = replace(row, reason=_joined(advice(resembling[row.job_id]), row.reason))


def _moved(row: PlanRow, move: Move) -> PlanRow:
    kept = row.action in {Action.DONE, Action.CHANGED} and not row.submits
    text = move.told(kept=kept)
    action, reason = (Action.MOVED, text) if kept else (row.action, _joined(text, row.reason))
    return replace(row, action=action, reason=reason, moved_from=move.old)


def _row(job: Job, known: Progress | None, limits: Limits, decisions: Mapping[tuple[str, int], Decision]) -> PlanRow:
    if (
        known is not None
        and decisions
        and (why := rejection(known, decisions)) is not None
        and not _is_rebought(job, known, limits)
    ):
        return _rejected(job, known, limits, why)
    if known is not None and known.state is State.DONE and not job.has_changed(known.fingerprint):
        paid_micros = known.price_micros if known.attempt else None  # most jobs of a long night are found like this
        return PlanRow(job.id, Action.DONE, State.DONE, paid_micros, "", again_micros=job.price_micros)
    action, submits, reason = _standing(known or Progress.fresh(job.id), job, limits)
    paid_micros = known.price_micros if known is not None and known.attempt else None
    return PlanRow(
        job_id=job.id,
        action=action,
        state=known.state if known is not None else State.PENDING,
        price_micros=job.price_micros if submits else paid_micros,
        reason=reason,
        submits=submits,
        attempts=_attempts_left(known or Progress.fresh(job.id), limits, submits=submits),
        again_micros=job.price_micros,
    )


def _is_rebought(job: Job, known: Progress, limits: Limits) -> bool:
    return limits.on_change is OnChange.REBUY and job.has_changed(known.fingerprint)


def _rejected(job: Job, known: Progress, limits: Limits, why: str) -> PlanRow:
    """Return the row of a clip that is bought again because a person rejected it, as long as an attempt is left."""
    left = max(0, limits.attempts - attempts_used(known))
    return PlanRow(
        job_id=job.id,
        action=Action.REJECTED,
        state=known.state,
        price_micros=job.price_micros if left else known.price_micros,
        reason=_joined(why, f"attempt {known.attempt + 1}" if left else no_attempt_left(job.id)),
        submits=left > 0,
        attempts=left,
        again_micros=job.price_micros,
    )


def no_attempt_left(job_id: str) -> str:
    """Return what is told of a rejected clip that no run buys again."""
    return f"no attempt left: batchvid redo {job_id}"


def _attempts_left(known: Progress, limits: Limits, *, submits: bool) -> int:
    """Count the paid requests that a run may still send for a job: one more after each task that failed."""
    left = limits.attempts - attempts_used(known)
    if submits:  # a closed job is opened by a person's word, which grants all attempts again
        return max(1, left) if known.state.is_open else limits.attempts
    return max(0, left) if known.state is State.RUNNING else 0


def _sent_by_no_one(row: PlanRow) -> PlanRow:
    return replace(row, submits=False, attempts=0)


def _standing(known: Progress, job: Job, limits: Limits) -> tuple[Action, bool, str]:
    """Return the action, whether a run would submit the job, and why."""
    changed = job.has_changed(known.fingerprint)
    why = known.reason or ""
    match known.state:
        case State.PENDING:
            return Action.NEW, True, _joined(f"attempt {known.attempt + 1}" if known.attempt else "", why)
        case State.SUBMITTING | State.IN_DOUBT:
            doubt = why or "a paid request was under way, and its answer is not recorded"
            if limits.in_doubt is InDoubt.RESUBMIT and attempts_used(known) < limits.attempts:
                return Action.IN_DOUBT, True, _joined("bought again (in_doubt: resubmit)", doubt)
            return Action.IN_DOUBT, False, doubt
        case State.RUNNING | State.READY:
            since = "changed since it was submitted; collected as it was" if changed else ""
            return Action.RUNNING, False, _joined("deferred by the last run" if known.parked else "", since, why)
        case State.FAILED if changed and known.attempt == 0:
            return Action.CHANGED, True, FAILED_UNPAID
        case State.FAILED:
            return Action.FAILED, False, _joined(why, "its content has changed since" if changed else "")
        case State.DONE if changed and limits.on_change is OnChange.REBUY:
            return Action.CHANGED, True, "bought again (on_change: rebuy)"
        case State.DONE if changed:
            return Action.CHANGED, False, "kept as it was paid (on_change: keep)"
        case State.DONE:
            return Action.DONE, False, ""


FAILED_UNPAID = "failed before, nothing was paid, and its content is new"
WAITED_FOR = {
    Action.FAILED: "failed",
    Action.IN_DOUBT: "is in doubt",
}
"""Why a clip that others wait for would not come."""


def _orphan(known: Progress) -> PlanRow:
    return PlanRow(
        job_id=known.job_id,
        action=Action.ORPHANED,
        state=known.state,
        price_micros=known.price_micros if known.attempt else None,
        reason="no longer in the manifest; left alone",
    )


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


@frozen
class Purchase:
    """One job that may be bought."""

    price_micros: int | None
    """Of one attempt; ``None`` when it is unknown."""
    attempts: int
    """The most that there may be."""
    is_due: bool = True
    """Whether the run submits it in any case, and not only when the task that is under way fails."""


@frozen
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
    """Return how much may be spent by the budgets and ``--max-cost``; ``None`` when none of them bounds it."""
    bounds = [] if max_cost_micros is None else [max_cost_micros]
    if money.budget_micros is not None:
        bounds.append(money.budget_micros - money.spent_micros - money.reserved_micros)
    if money.budget_per_day_micros is not None:
        bounds.append(money.budget_per_day_micros - money.today_micros)
    return max(0, min(bounds)) if bounds else None


def short_micros(plan: Plan, money: Money) -> int:
    """Return by how much the known prices of what *plan* submits exceed what the budget has left."""
    left = left_micros(replace(money, budget_per_day_micros=None))
    return 0 if left is None else plan.price_micros - left


def short_today_micros(plan: Plan, money: Money) -> int:
    """Return by how much they exceed what the budget of this day has left."""
    left = left_micros(replace(money, budget_micros=None))
    return 0 if left is None else plan.price_micros - left


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


def _purchases(plan: Plan) -> Iterator[Purchase]:
    """Yield what may be bought by a plan. Equal ones are one: of a million jobs, most are."""
    made: dict[tuple[int | None, int, bool], Purchase] = {}
    for row in plan.rows:
        if row.attempts:
            key = row.again_micros, row.attempts, row.submits
            yield made.get(key) or made.setdefault(key, Purchase(key[0], key[1], is_due=key[2]))


def cost_of_plan(
    plan: Plan, money: Money | None = None, *, max_cost_micros: int | None = None, max_jobs: int | None = None
) -> Cost:
    """Return what a run by this plan costs."""
    purchases = list(_purchases(plan))
    left = max_cost_micros if money is None else left_micros(money, max_cost_micros)
    return cost_of(purchases, left=left, max_jobs=max_jobs)


def cost_together(
    plans: Sequence[tuple[Plan, Money]], *, max_cost_micros: int | None = None, max_jobs: int | None = None
) -> Cost:
    """Return what a run of several manifests costs: each within its own budget, all within what the run may spend."""
    if len(plans) == 1:
        return cost_of_plan(*plans[0], max_cost_micros=max_cost_micros, max_jobs=max_jobs)
    purchases = [one for made, _ in plans for one in _purchases(made)]
    found = cost_of(purchases, left=max_cost_micros, max_jobs=max_jobs)
    own = [
        cost_of_plan(made, money, max_cost_micros=max_cost_micros, max_jobs=max_jobs).at_most_micros
        for made, money in plans
    ]
    budgets = sum(most for most in own if most is not None) if None not in own else None
    bounds = [most for most in (found.at_most_micros, budgets) if most is not None]
    at_most = min(bounds, default=None)
    is_cut = found.is_cut or (
        at_most is not None and found.at_most_micros is not None and at_most < found.at_most_micros
    )
    return replace(found, at_most_micros=at_most, is_cut=is_cut)


def cost_again(jobs: Sequence[Job], limits: Limits, *, left: int | None) -> Cost:
    """Return what jobs cost that a person opens again: each is granted all attempts."""
    return cost_of([Purchase(job.price_micros, limits.attempts) for job in jobs], left=left)
