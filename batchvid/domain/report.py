"""What a report says: a row for each job, what its model cost, and the nights it was made in. Values only.

Its nights are series that can be plotted. A *night* is a stretch of activity; between two of them nothing happened
for `NIGHT_GAP_S`. All times are UTC epoch seconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import field
from itertools import pairwise
from typing import TYPE_CHECKING

from batchvid.domain.frozen import frozen
from batchvid.domain.job import Progress, State
from batchvid.domain.records import NEED_ATTENTION, standing
from batchvid.domain.results import Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchvid.domain.decision import Decision
    from batchvid.domain.job import Attempt, Job
    from batchvid.domain.learned import Learned
    from batchvid.domain.lifecycle import KeptEvent
    from batchvid.domain.machines import Machines


NIGHT_GAP_S = 3 * 3600.0
"""Longer than a service is away, shorter than a day at the desk."""
NIGHTS_SHOWN = 30
"""The newest; a month of them."""
SAMPLES = 240
"""Of one night: more than a plot has pixels to tell apart on a phone, and little to store."""
BINS_AT_MOST = 24
TAIL = 0.99
"""Of the generation times; what is slower is gathered in the last bin, so that one stray does not flatten the rest."""


@frozen
class PaceChange:
    """From this moment on a run was slowed to another share of its allowed pace."""

    at: float
    share: float
    """1.0 is full pace."""


@frozen
class Slowed:
    """A stretch of a night in which the service had asked for less."""

    from_at: float
    to_at: float
    share: float
    """The lowest in that stretch."""


@frozen
class ActivityPeriod:
    """One stretch of activity, sampled evenly; the series have the same length."""

    from_at: float
    to_at: float
    submitted: tuple[int, ...]
    """Attempts that the service had accepted since the night began."""
    running: tuple[int, ...]
    """Tasks that the service was working on."""
    done: tuple[int, ...]
    """Clips put on disk since the night began."""
    slowed: tuple[Slowed, ...]


@frozen
class Histogram:
    """How long generations took: bins of one width from 0 on; the last one also holds everything slower."""

    width_s: float
    counts: tuple[int, ...]
    median_s: float
    p90_s: float
    longest_s: float


@frozen
class _Moments:
    """When things happened over all nights, each in order."""

    accepted: Sequence[float]
    ended: Sequence[float]
    """Of accepted attempts."""
    done: Sequence[float]


def nights(paid: Sequence[Attempt], saved: Iterable[float], pace: Sequence[PaceChange]) -> tuple[ActivityPeriod, ...]:
    """Return the newest nights, oldest first. *saved* are the moments at which clips came to be on disk."""
    accepted = [one for one in paid if one.accepted_at is not None]
    moments = _Moments(
        sorted(one.accepted_at for one in accepted if one.accepted_at is not None),
        sorted(one.finished_at for one in accepted if one.finished_at is not None),
        sorted(saved),
    )
    spans = activity([*moments.accepted, *moments.ended, *moments.done, *(one.started_at for one in paid)])
    return tuple(_night(moments, pace, from_at=first, to_at=last) for first, last in spans[-NIGHTS_SHOWN:])


def activity(moments: Iterable[float]) -> list[tuple[float, float]]:
    """Return the stretches of activity that the moments of what happened make, oldest first: first and last moment."""
    every = sorted(moments)
    if not every:
        return []
    cuts = [0, *(n for n, (one, after) in enumerate(pairwise(every), 1) if after - one > NIGHT_GAP_S), len(every)]
    return [(every[first], every[after - 1]) for first, after in pairwise(cuts)]


def _night(moments: _Moments, pace: Sequence[PaceChange], *, from_at: float, to_at: float) -> ActivityPeriod:
    step_s = (to_at - from_at) / (SAMPLES - 1)
    ticks = [*(from_at + step_s * n for n in range(SAMPLES - 1)), to_at] if step_s else [to_at]
    submitted_before, done_before = (bisect_left(times, from_at) for times in (moments.accepted, moments.done))
    return ActivityPeriod(
        from_at=from_at,
        to_at=to_at,
        submitted=tuple(bisect_right(moments.accepted, at) - submitted_before for at in ticks),
        running=tuple(bisect_right(moments.accepted, at) - bisect_right(moments.ended, at) for at in ticks),
        done=tuple(bisect_right(moments.done, at) - done_before for at in ticks),
        slowed=slowed(pace, from_at=from_at, to_at=to_at),
    )


def slowed(pace: Iterable[PaceChange], *, from_at: float, to_at: float) -> tuple[Slowed, ...]:
    """Return the stretches between the two moments in which a run was slowed.

    A stretch ends when the pace is full again: also at the beginning of the next run, which notes its own.
    """
    found: list[Slowed] = []
    since, lowest = None, 1.0
    for change in [*sorted(pace, key=lambda one: one.at), PaceChange(math.inf, 1.0)]:
        if change.share < 1.0:
            since = change.at if since is None else since
            lowest = min(lowest, change.share)
        elif since is not None:
            first, last = max(since, from_at), min(change.at, to_at)
            if first < last:
                found.append(Slowed(first, last, lowest))
            since, lowest = None, 1.0
    return tuple(found)


def histogram(took: Iterable[float]) -> Histogram | None:
    """Return how long generations took; ``None`` when there was none."""
    times = sorted(took)
    if not times:
        return None
    width_s = _nice_width(_quantile(times, TAIL))
    bins = max(1, math.ceil(_quantile(times, TAIL) / width_s))
    counts = [0] * bins
    for time_s in times:
        counts[min(bins - 1, int(time_s / width_s))] += 1
    return Histogram(width_s, tuple(counts), _quantile(times, 0.5), _quantile(times, 0.9), times[-1])


def _nice_width(longest_s: float) -> float:
    """Return a width of bins that people count in: 1, 2 or 5 times a power of ten."""
    least = max(longest_s / BINS_AT_MOST, 1e-3)
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * nice for nice in (1, 2, 5, 10) if power * nice >= least)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


RESERVED = {"open", "in_doubt"}
"""Outcomes of attempts for which money is reserved, and not spent yet."""
TROUBLES_SHOWN = 6
"""Of one job, the newest: a download that failed a hundred times is told by its end."""
TROUBLES = (
    "SubmitRefused", "SubmitUnsure", "TaskFailed", "TimedOut", "DownloadFailed", "UrlExpired", "ClipMissing", "GaveUp",
)  # fmt: skip
"""The events that tell of something that went wrong."""


@frozen
class Row:
    """One job of the manifest."""

    job: Job
    state: str
    """Of `State`, or ``parked``."""
    progress: Progress
    attempts: tuple[Attempt, ...]
    troubles: tuple[KeptEvent, ...]

    @property
    def needs_person(self) -> bool:
        """Whether it goes no further until somebody decides."""
        return self.state in NEED_ATTENTION

    @property
    def paid_micros(self) -> int | None:
        """What its attempts cost, reserved money included; ``None`` when no price is known."""
        prices = [one.price_micros for one in self.attempts if one.price_micros is not None]
        return sum(prices) if prices else None

    @property
    def took_s(self) -> float | None:
        """How long the service took for the clip."""
        return next((took for one in reversed(self.attempts) if (took := one.took_s) is not None), None)


@frozen
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
    reserved_micros: int
    unpriced: int


@frozen
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


@frozen
class Kept:
    """What is on record of an output."""

    progress: Mapping[str, Progress] = field(default_factory=dict)
    """By job id."""
    paid: Sequence[Attempt] = ()
    """By job, and then oldest first."""
    troubles: Sequence[KeptEvent] = ()
    """The events of `TROUBLES`, in the order in which they happened."""
    pace: Sequence[PaceChange] = ()
    learned: Learned | None = None
    """What is known of the account's limits, where they are found out."""
    films: Sequence[FilmRow] = ()
    differs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By job id: in what a clip is not what was asked for."""
    reviews: Mapping[str, Decision] = field(default_factory=dict)
    """By job id: what a person decided about the clip that the job has now."""
    missing: frozenset[str] = frozenset()
    """The jobs whose clips were saved and are not on disk any more; their rows are under way again."""
    money: Money = field(default_factory=Money)
    machines: Machines | None = None
    """Who worked on it; ``None`` when the journal is in no database."""
    sandbox: bool = False
    """Whether the sandbox stood in for the service."""


@frozen
class Report:
    """All that a report says."""

    rows: tuple[Row, ...]
    """In the manifest's order."""
    counts: Mapping[str, int]
    """Rows by state, ``parked`` apart."""
    orphans: int
    """Jobs in the journal that the manifest no longer names."""
    size_bytes: int
    """Of the clips."""
    models: tuple[ModelMoney, ...]
    """The most expensive first."""
    took: Histogram | None
    nights: tuple[ActivityPeriod, ...]
    """Oldest first."""
    kept: Kept


def report(jobs: Sequence[Job], kept: Kept, *, run_active: bool = False) -> Report:
    """Return the report on *jobs*, by what is on record."""
    attempts_of, troubles_of = defaultdict(list), defaultdict(list)
    for one in kept.paid:
        attempts_of[one.job_id].append(one)
    for trouble in kept.troubles:
        troubles_of[trouble.job_id].append(trouble)
    rows = []
    for job in jobs:
        known = kept.progress.get(job.id) or Progress.fresh(job.id)
        attempts, troubles = attempts_of.get(job.id, ()), troubles_of.get(job.id, ())
        rows.append(
            Row(job, standing(known, run_active=run_active), known, tuple(attempts), tuple(troubles[-TROUBLES_SHOWN:]))
        )
    named = {job.id: job.model for job in jobs}
    saved = [row.finished_at for row in kept.progress.values() if row.state is State.DONE and row.finished_at]
    return Report(
        rows=tuple(rows),
        counts=Counter(row.state for row in rows),
        orphans=len(kept.progress.keys() - named.keys()),
        size_bytes=sum(row.progress.size_bytes or 0 for row in rows if row.state == State.DONE),
        models=_by_model(kept.paid, named),
        took=histogram(took for one in kept.paid if (took := one.took_s) is not None),
        nights=nights(kept.paid, saved, kept.pace),
        kept=kept,
    )


def _by_model(paid: Iterable[Attempt], named: Mapping[str, str]) -> tuple[ModelMoney, ...]:
    groups: dict[str, list[Attempt]] = defaultdict(list)
    for one in paid:
        groups[named.get(one.job_id) or one.resolved_model or "unknown"].append(one)
    sums = [
        ModelMoney(
            model=model,
            attempts=len(ones),
            clips=sum(one.outcome == "succeeded" for one in ones),
            spent_micros=sum(one.price_micros or 0 for one in ones if one.outcome not in RESERVED),
            without_clip_micros=sum(
                one.price_micros or 0 for one in ones if one.outcome not in RESERVED and one.outcome != "succeeded"
            ),
            reserved_micros=sum(one.price_micros or 0 for one in ones if one.outcome in RESERVED),
            unpriced=sum(one.price_micros is None for one in ones),
        )
        for model, ones in groups.items()
    ]
    return tuple(sorted(sums, key=lambda one: (-one.spent_micros - one.reserved_micros, -one.attempts, one.model)))
