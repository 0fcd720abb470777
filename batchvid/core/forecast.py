"""When to poll next: where the chance of "finished since the last look" is worth a request.

How long tasks take is learned per class (model, size, seconds) from the tasks that finished. With the hazard h(t),
the chance per second that a task of age t which is still running finishes now, looks are placed so that

    the integral of sqrt(h / 2k) from one look to the next is 1,

which is Keller's optimum for checking when a look costs as much as k seconds of not knowing
(J. B. Keller, "Optimum checking schedules for systems subject to random failure", 1974). Ages at which nothing
ever finishes add nothing to the integral, so they are skipped; a narrow peak is looked at closely.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LOOK_WORTH_S = 1.5
"""k: one request is worth this many seconds of knowing later."""
SAMPLES_KEPT = 128
"""The newest durations of a class; older ones say little about the service's load now."""
SHORTEST_S = 0.01
STEP = 1.03
"""The ages are cut into bins that grow by 3 %: finer than any class is regular."""
BINS: int = int(math.log(6 * 3600 / SHORTEST_S) / math.log(STEP)) + 1
EDGES: list[float] = [SHORTEST_S * STEP**n for n in range(BINS + 1)]
PRIOR_SPREAD = 0.6
"""How far, in natural logarithms, an unknown class may be from ``limits.typical_time``."""
PRIOR_WEIGHT = 2.0
"""The prior counts as much as this many samples: enough to bridge the first few tasks."""
DOUBT = 0.03
"""A share of the prior that never goes away, so that a class that changes is still found."""
NARROWEST = 0.02
"""The least width of the kernel, in natural logarithms: clocks and polls are no finer."""


class TimingClass:
    """What is known of how long the tasks of one class take."""

    def __init__(self, typical_s: float, samples_s: Iterable[float] = ()) -> None:
        self._typical_s = typical_s
        self._samples_s: deque[float] = deque(samples_s, maxlen=SAMPLES_KEPT)
        self._unseen = 0
        self._cumulated = self._cumulate()

    def learn(self, took_s: float) -> None:
        """Take note that a task took this long."""
        self._samples_s.append(max(took_s, SHORTEST_S))
        self._unseen += 1
        if self._unseen * 8 >= len(self._samples_s):
            self._cumulated = self._cumulate()
            self._unseen = 0

    @property
    def typical_s(self) -> float:
        """Give the median of what was seen, or the stated typical time before anything was."""
        if not self._samples_s:
            return self._typical_s
        return sorted(self._samples_s)[len(self._samples_s) // 2]

    def next_look_s(self, age_s: float) -> float:
        """Give the age at which a task that is still running at *age_s* is worth the next look."""
        place = _bin(age_s)
        goal = self._at(place) + 1.0
        after = bisect_left(self._cumulated, goal, lo=min(int(place), BINS))
        if after >= len(self._cumulated):
            return EDGES[-1]
        before = self._cumulated[after - 1]
        part = (goal - before) / (self._cumulated[after] - before) if after else 0.0
        looked_at_s: float = SHORTEST_S * STEP ** (after - 1 + part)
        return max(age_s, looked_at_s)

    def _at(self, place: float) -> float:
        whole = min(int(place), BINS - 1)
        return self._cumulated[whole] + (place - whole) * (self._cumulated[whole + 1] - self._cumulated[whole])

    def _cumulate(self) -> list[float]:
        """Give the integral of sqrt(h / 2k) up to each of `EDGES`."""
        mass = self._mass()
        running, total, result = 1.0, 0.0, [0.0]
        for index, share in enumerate(mass):
            width_s = EDGES[index + 1] - EDGES[index]
            hazard = share / max(running, 1e-9) / width_s
            total += math.sqrt(hazard / (2 * LOOK_WORTH_S)) * width_s
            running -= share
            result.append(total)
        return result

    def _mass(self) -> list[float]:
        """Give the chance that a task ends in each bin: a kernel estimate over log-age, mixed with the prior."""
        prior = _bell(math.log(self._typical_s), PRIOR_SPREAD)
        samples = [math.log(sample) for sample in self._samples_s]
        if not samples:
            return prior
        bells = _smoothed(samples, _kernel_width(samples))
        doubt = max(DOUBT, PRIOR_WEIGHT / (PRIOR_WEIGHT + len(samples)))
        return [doubt * before + (1 - doubt) * seen for before, seen in zip(prior, bells, strict=True)]


class Forecast:
    """The timing classes of a run."""

    def __init__(self, typical_s: float, known: Mapping[str, Iterable[float]] | None = None) -> None:
        self._typical_s = typical_s
        self._classes = {name: TimingClass(typical_s, samples) for name, samples in (known or {}).items()}

    def of(self, name: str) -> TimingClass:
        """Give the class, a new one when nothing is known of it."""
        if name not in self._classes:
            self._classes[name] = TimingClass(self._typical_s)
        return self._classes[name]

    def next_poll_in_s(self, name: str, *, age_s: float, shortest_s: float, longest_s: float, first: bool) -> float:
        """Give the seconds from now to the next poll of a task that has been running for *age_s*.

        The gap stays within *shortest_s* and *longest_s*; only the first poll may come later than that.
        """
        gap_s = max(self.of(name).next_look_s(age_s) - age_s, shortest_s)
        return gap_s if first else min(gap_s, longest_s)


def _bin(age_s: float) -> float:
    place: float = math.log(max(age_s, SHORTEST_S) / SHORTEST_S) / math.log(STEP)
    return min(max(0.0, place), BINS - 1e-9)


def _kernel_width(logs: list[float]) -> float:
    """Give Silverman's width over the spread between the quartiles, which one outlier does not widen."""
    ordered = sorted(logs)
    quartile = len(ordered) // 4
    spread = (ordered[-1 - quartile] - ordered[quartile]) / 1.35
    return max(NARROWEST, 0.9 * spread * len(ordered) ** -0.2)


def _smoothed(logs: list[float], width: float) -> list[float]:
    """Give the mass in each bin of the kernel estimate; newer samples weigh more."""
    mass = [0.0] * BINS
    step = math.log(STEP)
    reach = int(3 * width / step) + 1
    kernel = [math.exp(-0.5 * (offset * step / width) ** 2) for offset in range(-reach, reach + 1)]
    weights = [0.98 ** (len(logs) - 1 - age) for age in range(len(logs))]
    share = 1.0 / (sum(weights) * sum(kernel))
    for log, weight in zip(logs, weights, strict=True):
        middle = int((log - math.log(SHORTEST_S)) / step)
        for offset, value in enumerate(kernel, start=middle - reach):
            mass[min(max(offset, 0), BINS - 1)] += weight * share * value
    return mass


def _bell(middle: float, width: float) -> list[float]:
    """Give the mass in each bin of a log-normal around *middle*."""
    step = math.log(STEP)
    low = math.log(SHORTEST_S)
    values = [math.exp(-0.5 * ((low + (index + 0.5) * step - middle) / width) ** 2) for index in range(BINS)]
    total = sum(values)
    return [value / total for value in values]
