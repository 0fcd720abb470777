"""What a report says: a row for each job, what its model cost, and the nights it was made in. Values only."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchvid.core.job import Progress, State
from batchvid.core.snapshot import Money
from batchvid.core.timeline import Histogram, Night, PaceChange, Paid, histogram, nights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchvid.core.job import Job

PARKED = "parked"
HELD = {"open", "in_doubt"}
"""Outcomes of attempts for which money is held, and not spent yet."""
TROUBLES_SHOWN = 6
"""Of one job, the newest: a download that failed a hundred times is told by its end."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong with a job."""

    job_id: str
    at: float
    kind: str
    """The name of the event in `batchvid.core.lifecycle`."""
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """One job of the manifest."""

    job: Job
    state: str
    """Of `State`, or ``parked``."""
    progress: Progress
    attempts: tuple[Paid, ...]
    troubles: tuple[Trouble, ...]

    @property
    def needs_person(self) -> bool:
        """Whether it goes no further until somebody decides."""
        return self.state in {State.IN_DOUBT, State.FAILED, PARKED}

    @property
    def paid_micros(self) -> int | None:
        """What its attempts cost, held money included; ``None`` when no price is known."""
        prices = [one.price_micros for one in self.attempts if one.price_micros is not None]
        return sum(prices) if prices else None

    @property
    def took_s(self) -> float | None:
        """How long the service took for the clip."""
        return next((took for one in reversed(self.attempts) if (took := one.took_s) is not None), None)


@dataclass(frozen=True, slots=True)
class ModelMoney:
    """What one model cost."""

    model: str
    """As the manifest names it; for jobs that it no longer names, as the service did."""
    attempts: int
    clips: int
    spent_micros: int
    """On attempts that are over."""
    without_clip_micros: int
    """The part of it that brought no clip."""
    held_micros: int
    unpriced: int


@dataclass(frozen=True, slots=True)
class FilmRow:
    """Clips joined into one film."""

    id: str
    path: str
    """Relative to the output folder."""
    duration_s: float | None
    parts: tuple[str, ...]
    """The ids of the jobs whose clips it shows, in their order."""
    state: str
    """``done``, or why it is not there yet."""
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What is on record of an output."""

    progress: Mapping[str, Progress] = field(default_factory=dict)
    """By job id."""
    paid: Sequence[Paid] = ()
    """By job, and then oldest first."""
    troubles: Sequence[Trouble] = ()
    """In the order in which they happened."""
    pace: Sequence[PaceChange] = ()
    films: Sequence[FilmRow] = ()
    missing: frozenset[str] = frozenset()
    """The jobs whose clips were saved and are not on disk any more; their rows are under way again."""
    money: Money = field(default_factory=Money)


@dataclass(frozen=True, slots=True)
class Report:
    """All that a report says."""

    rows: tuple[Row, ...]
    """In the manifest's order."""
    counts: Mapping[str, int]
    """Rows by state, ``parked`` apart."""
    orphans: int
    """Jobs in the journal that the manifest no longer names."""
    attempts: int
    size_bytes: int
    """Of the clips."""
    money: Money
    models: tuple[ModelMoney, ...]
    """The most expensive first."""
    took: Histogram | None
    nights: tuple[Night, ...]
    """Oldest first."""
    films: tuple[FilmRow, ...]
    missing: frozenset[str]
    """The jobs whose clips were saved and are not on disk any more."""


def report(jobs: Sequence[Job], kept: Kept, *, run_active: bool = False) -> Report:
    """Give the report on *jobs*, by what is on record."""
    attempts_of, troubles_of = defaultdict(list), defaultdict(list)
    for one in kept.paid:
        attempts_of[one.job_id].append(one)
    for trouble in kept.troubles:
        troubles_of[trouble.job_id].append(trouble)
    rows = []
    for job in jobs:
        known = kept.progress.get(job.id) or Progress.fresh(job.id)
        attempts, troubles = attempts_of.get(job.id, ()), troubles_of.get(job.id, ())
        state = _state(known, run_active=run_active)
        rows.append(Row(job, state, known, tuple(attempts), tuple(troubles[-TROUBLES_SHOWN:])))
    named = {job.id: job.model for job in jobs}
    saved = [row.finished_at for row in kept.progress.values() if row.state is State.DONE and row.finished_at]
    return Report(
        rows=tuple(rows),
        counts=Counter(row.state for row in rows),
        orphans=len(kept.progress.keys() - named.keys()),
        attempts=len(kept.paid),
        size_bytes=sum(row.progress.size_bytes or 0 for row in rows if row.state == State.DONE),
        money=kept.money,
        models=_by_model(kept.paid, named),
        took=histogram(took for one in kept.paid if (took := one.took_s) is not None),
        nights=nights(kept.paid, saved, kept.pace),
        films=tuple(kept.films),
        missing=kept.missing,
    )


def _state(known: Progress, *, run_active: bool) -> str:
    """Give how a job stands; without a run, nobody waits any more for the answer to a paid request."""
    if known.parked:
        return PARKED
    if known.state is State.SUBMITTING and not run_active:
        return State.IN_DOUBT
    return known.state


def _by_model(paid: Iterable[Paid], named: Mapping[str, str]) -> tuple[ModelMoney, ...]:
    groups: dict[str, list[Paid]] = defaultdict(list)
    for one in paid:
        groups[named.get(one.job_id) or one.resolved_model or "unknown"].append(one)
    sums = [
        ModelMoney(
            model=model,
            attempts=len(ones),
            clips=sum(one.outcome == "succeeded" for one in ones),
            spent_micros=sum(one.price_micros or 0 for one in ones if one.outcome not in HELD),
            without_clip_micros=sum(
                one.price_micros or 0 for one in ones if one.outcome not in HELD and one.outcome != "succeeded"
            ),
            held_micros=sum(one.price_micros or 0 for one in ones if one.outcome in HELD),
            unpriced=sum(one.price_micros is None for one in ones),
        )
        for model, ones in groups.items()
    ]
    return tuple(sorted(sums, key=lambda one: (-one.spent_micros - one.held_micros, -one.attempts, one.model)))
