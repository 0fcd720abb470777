"""What was paid, in groups: by day, model, manifest or run. Values only; money is in millionths.

A group holds whole attempts: each counts for the moment at which it was started. The groups come to what the journals
say in sum, to the last millionth; requests refused without proof, of which nobody knows when they were sent, have a
group of their own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING

from batchvid.domain.frozen import frozen
from batchvid.domain.job import Outcome, State
from batchvid.domain.lifecycle import RefusalsProven, SubmitRefused, SubmitStarted
from batchvid.domain.records import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from batchvid.domain.job import Attempt
    from batchvid.domain.lifecycle import KeptEvent
    from batchvid.domain.results import Money


UNKNOWN = "unknown"


class By(StrEnum):
    """What the groups are."""

    DAY = "day"
    """A day of this machine's clock."""
    MODEL = "model"
    """As the manifest names it; for jobs that it no longer names, as the service did."""
    MANIFEST = "manifest"
    RUN = "run"
    """A stretch of activity, as the nights of a report, named by its beginning; several runs may be in one."""


@frozen
class Unproven:
    """A request that was sent and refused, and may be billed all the same."""

    job_id: str
    at: float
    price_micros: int


@frozen
class Ledger:
    """What one journal holds of payments."""

    manifest: str
    """As the person named it."""
    money: Money
    attempts: Sequence[Attempt] = ()
    unproven: Sequence[Unproven] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    """By id of the jobs that the manifest names."""
    unanswered: frozenset[str] = frozenset()
    """The ids of jobs whose newest attempt nobody waits for any more, although the journal has it as under way."""


@frozen
class Costs:
    """One group, or all of it."""

    name: str
    from_at: float | None = None
    """When the first of its attempts was started (UTC epoch seconds)."""
    to_at: float | None = None
    """The same of the last one."""
    attempts: int = 0
    clips: int = 0
    """Attempts whose task made a clip."""
    spent_micros: int = 0
    reserved_micros: int = 0
    """For what is under way, in doubt or unproven."""
    in_doubt_micros: int = 0
    """The part of *reserved* that is for attempts in doubt."""
    unproven_micros: int = 0
    """The part of *reserved* that is for requests refused without proof."""
    unpriced: int = 0
    """Attempts whose price nobody stated; they are in no sum."""


def costs(ledgers: Sequence[Ledger], by: By, *, day_name: Callable[[float], str]) -> tuple[list[Costs], Costs]:
    """Return the groups, in order of their names, and what they come to. *day_name* names the day of a moment."""
    groups: dict[str, list[Costs]] = defaultdict(list)
    name_of = _namer(ledgers, by, day_name)
    for ledger in ledgers:
        if by is By.MANIFEST:
            groups[ledger.manifest] += []  # also where nothing was run
        for one in ledger.attempts:
            name = name_of(ledger, one.job_id, one.started_at, one.resolved_model)
            groups[name].append(_of_attempt(one, is_unanswered=one.job_id in ledger.unanswered))
        for refused in ledger.unproven:
            at, price = refused.at, refused.price_micros
            groups[name_of(ledger, refused.job_id, at, None)].append(
                Costs("", at, at, reserved_micros=price, unproven_micros=price)
            )
        rest = ledger.money.unproven_micros - sum(one.price_micros for one in ledger.unproven)
        if rest > 0:
            name = ledger.manifest if by is By.MANIFEST else UNKNOWN
            groups[name].append(Costs("", reserved_micros=rest, unproven_micros=rest))
    found = [_summed(name, groups[name]) for name in sorted(groups)]
    return found, _summed("total", found)


def _namer(
    ledgers: Sequence[Ledger], by: By, day_name: Callable[[float], str]
) -> Callable[[Ledger, str, float, str | None], str]:
    """Return what names the group of a request: by its journal, job, moment and the model that the service named."""
    match by:
        case By.DAY:
            return lambda _ledger, _job, at, _resolved: day_name(at)
        case By.MODEL:
            return lambda ledger, job, _at, resolved: ledger.models.get(job) or resolved or UNKNOWN
        case By.MANIFEST:
            return lambda ledger, _job, _at, _resolved: ledger.manifest
        case By.RUN:
            run_of = _runs(ledgers)
            return lambda _ledger, _job, at, _resolved: run_of(at)


def _of_attempt(one: Attempt, *, is_unanswered: bool) -> Costs:
    price = one.price_micros or 0
    reserved = price if one.outcome.is_reserved else 0
    doubtful = one.outcome is Outcome.IN_DOUBT or (is_unanswered and one.outcome is Outcome.OPEN)
    return Costs(
        name="",
        from_at=one.started_at,
        to_at=one.started_at,
        attempts=1,
        clips=int(one.outcome is Outcome.SUCCEEDED),
        spent_micros=price - reserved,
        reserved_micros=reserved,
        in_doubt_micros=reserved if doubtful else 0,
        unpriced=int(one.price_micros is None),
    )


def _summed(name: str, ones: Sequence[Costs]) -> Costs:
    return Costs(
        name,
        from_at=min((one.from_at for one in ones if one.from_at is not None), default=None),
        to_at=max((one.to_at for one in ones if one.to_at is not None), default=None),
        attempts=sum(one.attempts for one in ones),
        clips=sum(one.clips for one in ones),
        spent_micros=sum(one.spent_micros for one in ones),
        reserved_micros=sum(one.reserved_micros for one in ones),
        in_doubt_micros=sum(one.in_doubt_micros for one in ones),
        unproven_micros=sum(one.unproven_micros for one in ones),
        unpriced=sum(one.unpriced for one in ones),
    )


def _runs(ledgers: Iterable[Ledger]) -> Callable[[float], str]:
    """Return what names the run in which a request was started, by its beginning: of all journals together."""
    from batchvid.domain.report import activity

    moments: list[float] = []
    for ledger in ledgers:
        moments += [one.at for one in ledger.unproven]
        for one in ledger.attempts:
            moments += [at for at in (one.started_at, one.accepted_at, one.finished_at) if at is not None]
    begins = [from_at for from_at, _ in activity(moments)]
    return lambda at: rfc3339(begins[bisect_right(begins, at) - 1]) or UNKNOWN


def unanswered(states: Mapping[str, State], *, run_active: bool) -> frozenset[str]:
    """Return the ids of jobs that were caught submitting when their run ended."""
    return frozenset() if run_active else frozenset(name for name, one in states.items() if one is State.SUBMITTING)


def unproven_of(events: Iterable[KeptEvent]) -> list[Unproven]:
    """Return the requests that were refused without proof, by the events that tell of them, in their order."""
    started: dict[str, Unproven] = {}
    found: dict[str, list[Unproven]] = defaultdict(list)
    for one in events:
        if one.kind == SubmitStarted.__name__:
            started[one.job_id] = Unproven(one.job_id, one.at, one.data.get("price_micros") or 0)
        elif one.kind == RefusalsProven.__name__:
            found.pop(one.job_id, None)
        elif one.kind == SubmitRefused.__name__ and one.data.get("counted") and one.job_id in started:
            found[one.job_id].append(started[one.job_id])
    return [one for of_job in found.values() for one in of_job]


TELL_OF_UNPROVEN = (SubmitStarted.__name__, SubmitRefused.__name__, RefusalsProven.__name__)
"""The events that `unproven_of` reads."""
