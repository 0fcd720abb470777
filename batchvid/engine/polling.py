"""When to poll next: where the chance of "finished since the last look" is worth a request.

How long tasks take is learned per class (model, size, seconds) from the tasks that finished. With F(t), the chance
that a task has finished by the age t, the look after one at the age a comes at the age b at which

    the integral of (F(t) - F(a)) / (1 - F(a)) from a to b is k:

when the seconds for which a finished clip is expected to have lain there unseen are worth one request. Where tasks
finish at a steady rate h, that is every sqrt(2k / h) seconds, the optimum for checking when a look costs k
(J. B. Keller, "Optimum checking schedules for systems subject to random failure", 1974). Ages at which nothing ever
finishes add nothing, so they are skipped; behind a narrow peak, where all is finished, the look comes within about k.

While jobs wait for nothing but the place of a task in flight, a late look costs an idle place, and looks are cheap: all
that the allowed rate of requests lets through are used, those first that are worth the most (`LookPrice`).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


LOOK_WORTH_S = 0.5
"""k: one request is worth this many seconds of knowing later ..."""
LOOK_WORTH_SHARE = 1 / 180
"""... or this share of the class's typical time, where that is less: where everything is fast, so are the looks."""
LEAST_PRICE = 0.02
"""Of k: what a look costs at least while jobs wait for the place of a task. Cheaper looks find nothing ..."""
LEAST_PRICE_UNLIMITED = 1 / 8
"""... and this much where ``requests`` is unlimited, so that nothing else bounds them."""
PRICE_STEP = 1.05
"""How much dearer or cheaper a look becomes when one was worth more or less."""
PRICE_DOWN_STEPS = 3
"""For each step up: so a fourth of the looks is worth less than the price, the others wait for ``poll_every``."""
SAMPLES_KEPT = 128
"""The newest durations of a class; older ones say little about the service's load now."""
SHORTEST_S = 0.01
STEP = 1.03
"""The ages are cut into bins that grow by 3 %: finer than any class is regular."""
BINS: int = int(math.log(6 * 3600 / SHORTEST_S) / math.log(STEP)) + 1
EDGES: list[float] = [SHORTEST_S * STEP**n for n in range(BINS + 1)]
WIDTHS_S = [after - before for before, after in pairwise(EDGES)]
PRIOR_SPREAD = 0.6
"""How far, in natural logarithms, an unknown class may be from ``limits.typical_time``."""
PRIOR_WEIGHT = 2.0
"""With this many samples the prior counts for a quarter: enough to bridge the first few tasks."""
DOUBT = 0.003
"""A share of the prior that never goes away, so that a class that changes is still found."""
NARROWEST = 0.02
"""The least width of the kernel, in natural logarithms: clocks and polls are no finer."""


class TimingClass:
    """What is known of how long the tasks of one class take."""

    def __init__(self, typical_s: float, samples_s: Iterable[float] = ()) -> None:
        self._typical_s = typical_s
        self._samples_s = deque((max(took_s, SHORTEST_S) for took_s in samples_s), maxlen=SAMPLES_KEPT)
        self._uncounted = 0
        self._prior = _bell(math.log(typical_s), PRIOR_SPREAD)
        self._look_worth_s = 0.0
        self._finished, self._unseen_s = self._sums()

    def learn(self, took_s: float) -> None:
        """Record that a task took this long."""
        self._samples_s.append(max(took_s, SHORTEST_S))
        self._uncounted += 1
        if self._uncounted * 8 >= len(self._samples_s):
            self._finished, self._unseen_s = self._sums()
            self._uncounted = 0

    @property
    def is_seen(self) -> bool:
        """Whether any of its tasks was seen to finish."""
        return bool(self._samples_s)

    @property
    def typical_s(self) -> float:
        """Return the median of what was seen, or the stated typical time before anything was."""
        if not self._samples_s:
            return self._typical_s
        return sorted(self._samples_s)[len(self._samples_s) // 2]

    def next_look_s(self, age_s: float, *, price: float = 1.0) -> float:
        """Return the age at which a task that is still running at *age_s* is worth the next look, at this *price*."""
        worth_s = price * self._look_worth_s
        place = bisect_right(EDGES, age_s, hi=BINS) - 1
        finished, unseen_s = self._at(max(place, 0), age_s)
        running = max(1.0 - finished, 1e-9)

        def waits_s(edge: int) -> float:
            return (self._unseen_s[edge] - unseen_s - finished * (EDGES[edge] - age_s)) / running

        after = bisect_left(range(BINS + 1), worth_s, lo=place + 1, key=waits_s)
        if after > BINS:
            return max(age_s, EDGES[-1])
        from_s, before_s = (EDGES[after - 1], waits_s(after - 1)) if after > place + 1 else (age_s, 0.0)
        part = (worth_s - before_s) / (waits_s(after) - before_s)
        return max(age_s, from_s + part * (EDGES[after] - from_s))

    def worth(self, age_s: float, later_s: float) -> float:
        """Return the price at which a look at *later_s* is worth it, when the one before was at *age_s*."""
        finished, unseen_s = self._at(max(bisect_right(EDGES, age_s, hi=BINS) - 1, 0), age_s)
        _, later_unseen_s = self._at(max(bisect_right(EDGES, later_s, hi=BINS) - 1, 0), later_s)
        waits_s = (later_unseen_s - unseen_s - finished * (later_s - age_s)) / max(1.0 - finished, 1e-9)
        return max(0.0, waits_s) / self._look_worth_s

    def _at(self, place: int, age_s: float) -> tuple[float, float]:
        """Return F and its integral at *age_s*, which lies in the bin *place*: F grows evenly within a bin."""
        into_s = max(0.0, age_s - EDGES[place])
        before = self._finished[place]
        slope = (self._finished[place + 1] - before) / (EDGES[place + 1] - EDGES[place])
        into_s = min(into_s, EDGES[place + 1] - EDGES[place])
        return before + slope * into_s, self._unseen_s[place] + (before + slope * into_s / 2) * into_s

    def _sums(self) -> tuple[list[float], list[float]]:
        """Return F and its integral at each of `EDGES`."""
        self._look_worth_s = min(LOOK_WORTH_S, self.typical_s * LOOK_WORTH_SHARE)
        finished = [min(1.0, share) for share in accumulate(self._mass(), initial=0.0)]
        steps = zip(finished, finished[1:], WIDTHS_S, strict=False)
        areas_s = ((before + after) / 2 * width_s for before, after, width_s in steps)
        return finished, list(accumulate(areas_s, initial=0.0))

    def _mass(self) -> list[float]:
        """Return the chance that a task ends in each bin: a kernel estimate over log-age, mixed with the prior."""
        samples = [math.log(sample) for sample in self._samples_s]
        if not samples:
            return self._prior
        bells = _smoothed(samples, _kernel_width(samples))
        doubt = max(DOUBT, (PRIOR_WEIGHT / (PRIOR_WEIGHT + len(samples))) ** 2)
        return [doubt * before + (1 - doubt) * seen for before, seen in zip(self._prior, bells, strict=True)]


class LookPrice:
    """What a look costs while jobs wait for places, as a part of k: as much as the allowed requests make it.

    Where more looks are worth their *least* price than may be sent, those go first that are worth the most. That is
    the same as looking at all at a higher price; it is learned from what the looks were worth that were sent.
    """

    def __init__(self, least: float) -> None:
        self.least = least
        self.current = least

    def paid(self, worth: float) -> None:
        """Learn from a look that was worth so much when it was sent."""
        step = PRICE_STEP if worth > self.current else PRICE_STEP**-PRICE_DOWN_STEPS
        self.current = max(self.least, self.current * step)


class PollPlanner:
    """The timing classes of a run."""

    def __init__(self, typical_s: float, known: Mapping[str, Iterable[float]] | None = None) -> None:
        self._typical_s = typical_s
        self._classes = {name: TimingClass(typical_s, samples) for name, samples in (known or {}).items()}

    def of(self, name: str) -> TimingClass:
        """Return the class, a new one when nothing is known of it."""
        if name not in self._classes:
            self._classes[name] = TimingClass(self._typical_s)
        return self._classes[name]

    def knows(self, name: str) -> bool:
        """Whether tasks of this class were seen to finish, in this run or before."""
        return name in self._classes and self._classes[name].is_seen

    def next_poll_in_s(
        self,
        name: str,
        *,
        age_s: float,
        shortest_s: float,
        longest_s: float,
        first: bool,
        price: float = 1.0,
    ) -> float:
        """Return the seconds from now to the next poll of a task that has been running for *age_s*.

        The gap stays within *shortest_s* and *longest_s*; only the first poll may come later than that. A look at
        another *price* than the usual one comes sooner or later.
        """
        gap_s = max(self.of(name).next_look_s(age_s, price=price) - age_s, shortest_s)
        return gap_s if first else min(gap_s, longest_s)


def _kernel_width(logs: list[float]) -> float:
    """Return Silverman's width over the spread between the quartiles, which one outlier does not widen."""
    ordered = sorted(logs)
    quartile = len(ordered) // 4
    spread = (ordered[-1 - quartile] - ordered[quartile]) / 1.35
    return max(NARROWEST, 0.9 * spread * math.pow(len(ordered), -0.2))


def _smoothed(logs: list[float], width: float) -> list[float]:
    """Return the mass in each bin of the kernel estimate; newer samples weigh more.

    The kernel is three boxes one after the other: within a few percent they are a bell. They cost the same at any width
    and number of samples.
    """
    step = math.log(STEP)
    weights = [0.98 ** (len(logs) - 1 - age) for age in range(len(logs))]
    share = 1.0 / sum(weights)
    half = round((math.sqrt(1 + 4 * (width / step) ** 2) - 1) / 2)  # three such boxes have the kernel's variance
    margin = 3 * half
    mass = [0.0] * (BINS + 2 * margin)
    for log, weight in zip(logs, weights, strict=True):
        middle = int((log - math.log(SHORTEST_S)) / step)
        mass[min(max(middle, 0), BINS - 1) + margin] += weight * share
    for _ in range(3 if half else 0):
        sums = list(accumulate(mass, initial=0.0))
        sums = [0.0] * half + sums + [sums[-1]] * half
        mass = [(above - below) / (2 * half + 1) for below, above in zip(sums, sums[2 * half + 1 :], strict=False)]
    inside = mass[margin : margin + BINS]
    inside[0] += sum(mass[:margin])
    inside[-1] += sum(mass[margin + BINS :])
    return inside


def _bell(middle: float, width: float) -> list[float]:
    """Return the mass in each bin of a log-normal around *middle*."""
    step = math.log(STEP)
    low = math.log(SHORTEST_S)
    values = [math.exp(-0.5 * ((low + (index + 0.5) * step - middle) / width) ** 2) for index in range(BINS)]
    total = sum(values)
    return [value / total for value in values]
