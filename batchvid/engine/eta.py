"""How long a run will still take: from what is left, what limits it, and how long tasks keep their place.

A run has two parts: until the last job is submitted, and from then until the last task is over. The first follows the
narrower of rate and room. The second is one task and more: among many in flight, the slowest is the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchvid.domain.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.domain.limits import Rate


EXPECTED_TASKS = 1.5
"""How long a task is expected to take before any was seen counts as much as so many that were: ``typical_time`` is
often half as long again as the truth, and tasks of one service differ less than that."""
PRIOR_TASKS = 5.0
"""The same of how much they differ, which is much alike everywhere."""
PRIOR_SPREAD = 0.2
"""The square of the coefficient of variation of generation times: about 0.45, as clients of the service have seen."""
NARROWEST = 0.0025
"""Of the spread: no service is more regular than 5 %."""
RARE = 1e-6
ROUNDS = 4
"""Of the mean and what follows from it; the fifth would change less than 1 %."""
SLOWEST_OF_MANY = 1.25
"""How the slowest of n tasks grows: 1 + 1.25 v ln n of the mean, v as above; fits v of 0 to 0.4 and n to 100."""
LEFT_AT_LEAST = 0.15
"""Of a task: what has been expected to be over for long still takes a moment."""


@dataclass(slots=True)
class Occupancy:
    """How long tasks keep their place in flight, from their submission until they are known to be over."""

    expected_s: float
    """Before any was seen."""
    total_s: float = 0.0
    squares: float = 0.0
    number: int = 0

    def add(self, kept_s: float) -> None:
        """Record a task that is over."""
        self.total_s += kept_s
        self.squares += kept_s * kept_s
        self.number += 1

    @property
    def spread(self) -> float:
        """Return the square of the coefficient of variation."""
        if not self.total_s:
            return PRIOR_SPREAD
        seen = max(0.0, self.squares * self.number / self.total_s**2 - 1.0)
        return (self.number * seen + PRIOR_TASKS * PRIOR_SPREAD) / (self.number + PRIOR_TASKS)

    def mean_s(self, ages_s: Sequence[float], *, flying: int) -> float:
        """Return the best guess, from the tasks that are over and from *ages_s*, those of some of the *flying* ones.

        Early in a run only short tasks are over; that the others are still out says that they take longer. So each
        counts with what a task of its age is expected to take in all, which in turn follows from the mean.
        """
        before = EXPECTED_TASKS * self.expected_s + self.total_s
        number = EXPECTED_TASKS + self.number
        mean_s = before / number
        weight = flying / len(ages_s) if ages_s else 0.0
        for _ in range(ROUNDS):
            flown_s = sum(_in_all_s(age_s, mean_s, self.spread) for age_s in ages_s) * weight
            mean_s = (before + flown_s) / (number + flying)
        return mean_s


def _in_all_s(age_s: float, mean_s: float, spread: float) -> float:
    """Return what a task is expected to take that is not over at this age: the mean of a log-normal beyond it."""
    if age_s <= 0.0:
        return mean_s
    width = math.sqrt(math.log1p(max(spread, NARROWEST)))
    beyond = (math.log(age_s / mean_s) + width * width / 2) / width
    chance = _tail(beyond)
    if chance < RARE:
        return age_s * (1.0 + width)
    return mean_s * _tail(beyond - width) / chance


def _tail(deviations: float) -> float:
    """Return the chance of a normal value above so many standard deviations."""
    return math.erfc(deviations / math.sqrt(2.0)) / 2


@frozen
class Load:
    """What is left of a run at one moment."""

    waiting: int
    """Jobs to be submitted, by this run and meanwhile by others that share its account."""
    flying: int
    """Tasks in flight, theirs too."""
    room: int
    """How many may be."""
    rate: Rate | None
    task_s: float
    """How long a task keeps its place."""
    spread: float = PRIOR_SPREAD
    delayed_s: float = 0.0
    """For how long nothing is submitted."""
    since_submit_s: float = 0.0
    """Since the last submission."""
    window_s: float | None = None
    """Until no more is submitted, whatever is left then."""


def remaining_s(load: Load) -> float:
    """Return the seconds until the last task is over."""
    if not load.waiting and not load.flying:
        return 0.0
    per_s = math.inf if load.rate is None else load.rate.per_s
    collecting_s = max(_slowest_s(load, load.flying) - load.since_submit_s, LEFT_AT_LEAST * load.task_s)
    if not load.waiting:
        return collecting_s
    queued = max(0, load.waiting - max(0, load.room - load.flying))
    submitting_s = max(queued * load.task_s / load.room, load.waiting / per_s) + load.delayed_s
    if load.window_s is not None:
        submitting_s = min(submitting_s, load.window_s)
    at_once = min(load.room, load.waiting + load.flying, per_s * load.task_s)
    return max(submitting_s + _slowest_s(load, at_once), collecting_s)


def _slowest_s(load: Load, at_once: float) -> float:
    """Return the time from a submission until all of so many tasks, which it is the last of, are over."""
    return load.task_s * (1.0 + SLOWEST_OF_MANY * load.spread * math.log(max(1.0, at_once)))
