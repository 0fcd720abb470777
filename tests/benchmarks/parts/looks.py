"""Polling strategies against tasks of known length: how many looks each takes, and how late it sees the end.

batchvid's own is driven through `batchvid.engine.scheduler`, as a run does it, learning as it goes. The others are
arithmetic: a schedule of looks after the submit, all of whose gaps are stretched by one factor until its
mean delay is that of batchvid.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from typing import TYPE_CHECKING

from batchvid.domain import lifecycle as life
from batchvid.domain.limits import Limits
from batchvid.domain.results import Money
from batchvid.engine.circuit_breaker import CircuitBreaker
from batchvid.engine.scheduler import Scheduler, Step
from tests.benchmarks.durations import CLASSES, duration_s
from tests.benchmarks.parts.waiting import job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXPONENTIAL_S = (1.0, 2.0, 4.0, 8.0, 16.0)
EXPONENTIAL_CAP_S = 30.0
BISECTIONS = 40
SUBMIT_EVERY_S = 5.0
"""About twenty tasks are in flight then, and nobody waits for room."""


def exponential(took_s: float, stretch: float) -> tuple[int, float]:
    """Look after 1, 2, 4 … 30, 30 … s, stretched; give the looks and the delay."""
    age_s, looks = 0.0, 0
    while age_s < took_s:
        age_s += stretch * (EXPONENTIAL_S[looks] if looks < len(EXPONENTIAL_S) else EXPONENTIAL_CAP_S)
        looks += 1
    return looks, age_s - took_s


def fixed(took_s: float, stretch: float) -> tuple[int, float]:
    """Look every *stretch* s."""
    looks = max(1, -int(-took_s // stretch))
    return looks, looks * stretch - took_s


def at_delay(way: Callable[[float, float], tuple[int, float]], durations_s: Sequence[float], delay_s: float) -> float:
    """Return the mean looks of a strategy that is stretched until its mean delay is *delay_s*."""
    low, high = 1e-6, 4.0 * delay_s + 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        late = statistics.fmean(way(took_s, middle)[1] for took_s in durations_s)
        low, high = (middle, high) if late < delay_s else (low, middle)
    return statistics.fmean(way(took_s, low)[0] for took_s in durations_s)


def batchvid(durations_s: Sequence[float], limits: Limits) -> tuple[float, float]:
    """Return the mean looks and the mean delay of a run over tasks that take so long, in this order."""
    jobs = tuple(job(number) for number in range(len(durations_s)))
    scheduler = Scheduler(jobs, limits, breaker=CircuitBreaker(limits), money=Money())
    scheduler.restore({}, again={}, reserved=frozenset(), only=None, now=0.0, at=0.0)
    ends_at: dict[int, float] = {}
    looks, delays_s, now, submit_at = 0, [], 0.0, 0.0

    def record(index: int, *events: life.Event) -> None:
        _, after = scheduler.change(index, events, at=now)
        scheduler.commit(index, events, after)

    while not scheduler.is_over():
        index = scheduler.take(Step.SUBMIT, now) if now >= submit_at else None
        if index is not None:
            submit_at = now + SUBMIT_EVERY_S
            record(index, life.SubmitStarted(1, jobs[index].price_micros, jobs[index].fingerprint))
            record(index, life.SubmitAccepted(f"task_{index}"))
            scheduler.task_began(index, now=now)
            scheduler.breaker.submit_accepted(now=now)
            ends_at[index] = now + durations_s[index]
            scheduler.finish(Step.SUBMIT, index, wait_s=None, now=now)
            continue
        index = scheduler.take(Step.POLL, now)
        if index is not None:
            looks += 1
            over = now >= ends_at[index]
            scheduler.looked(index, now=now, finished=over)
            if over:
                delays_s.append(now - ends_at[index])
                record(index, life.TaskSucceeded(None))
            scheduler.finish(Step.POLL, index, wait_s=None, now=now)
            continue
        index = scheduler.take(Step.DOWNLOAD, now)
        if index is not None:
            record(index, life.ClipSaved(jobs[index].path, 1, "0" * 64))
            scheduler.finish(Step.DOWNLOAD, index, wait_s=None, now=now)
            continue
        moments = [moment for step in Step if (moment := scheduler.wake_at(step, now)) is not None]
        now = min([*moments, submit_at] if now < submit_at and scheduler.to_submit else moments)
    return looks / len(jobs), statistics.fmean(delays_s)


def compared(looks: float, delay_s: float, durations_s: Sequence[float], *, second_s: float = 1.0) -> dict[str, float]:
    """Return how many times as many looks the other strategies take; *second_s* is how long a second lasts."""
    sdk = statistics.fmean(fixed(took_s, second_s)[0] for took_s in durations_s)
    return {
        "looks": looks,
        "delay_s": delay_s / second_s,
        "exponential": at_delay(lambda took_s, by: exponential(took_s, by * second_s), durations_s, delay_s) / looks,
        "fixed": at_delay(fixed, durations_s, delay_s) / looks,
        "sdk": sdk / looks,
    }


def main() -> None:
    """Simulate one class with one seed, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("durations", choices=CLASSES)
    parser.add_argument("seed", type=int)
    parser.add_argument("jobs", type=int)
    options = parser.parse_args()
    dice = random.Random(options.seed)  # noqa: S311 a simulation
    drawn = [duration_s(options.durations, dice, done=n / options.jobs) for n in range(options.jobs)]
    looks, delay_s = batchvid(drawn, Limits(in_flight=options.jobs + 1))
    print(json.dumps(compared(looks, delay_s, drawn)))  # noqa: T201 what it is for


if __name__ == "__main__":
    main()
