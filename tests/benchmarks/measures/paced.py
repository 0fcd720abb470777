"""What a run does with time: P6 (rate limits kept and used to the full) and P10 (polls)."""

from __future__ import annotations

import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.benchmarks import child
from tests.benchmarks.durations import CLASSES
from tests.benchmarks.figures import Figure, Goal
from tests.benchmarks.lab import FULL_SPEED, write_manifest
from tests.benchmarks.parts.looks import compared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.lab import Lab

RATES = {10: (120, 1.02), 50: (600, 1.02), 1000: (3000, 1.05)}
"""A second: how many jobs, and how much longer than ideal they may take."""
GENERATION_S = 4.0
"""Longer than the submits take at the highest rate, as on a real service, whose tasks take minutes."""
MOST_OVER = 1.05
SPEED = 20.0
"""Of the real runs: a delay of 5 s is one of a quarter of a second, far above what a loop and a disk take."""
SHARES = {"exponential": 1.3, "tight": 2.0, "fixed": 1 / 1.1, "sdk": 5.0}
LATEST_S = 5.0


def rate_limits(lab: Lab) -> list[Figure]:
    """P6: how close to a rate limit a run gets, and that it never passes it."""
    slow, fast = [rate for rate in RATES if rate <= 50], [rate for rate in RATES if rate > 50]
    over: dict[int, list[float]] = defaultdict(list)
    most: dict[int, list[float]] = defaultdict(list)
    lab.clip("tiny")  # made before two want it at once
    for _ in range(lab.repeated(3)):
        with ThreadPoolExecutor(len(slow)) as pool:  # runs that mostly wait are not in each other's way
            found = list(zip(slow, pool.map(lambda rate: _paced(lab, rate), slow), strict=True))
        found += [(rate, _paced(lab, rate)) for rate in fast]
        for rate, created_at in found:
            over[rate].append((created_at[-1] - created_at[0]) / ((len(created_at) - 1) / rate))
            most[rate].append(_most_in(created_at, 1.0) / rate)
    figures = []
    for rate, (_, longest) in RATES.items():
        figures += [
            Figure("P6", f"{rate:,}/s: time from first to last submit / ideal", "x", tuple(over[rate]),
                   Goal("<=", longest)),
            Figure("P6", f"{rate:,}/s: most submits in any second / limit", "x", tuple(most[rate]),
                   Goal("<=", MOST_OVER)),
        ]  # fmt: skip
    return figures


def _paced(lab: Lab, rate: int) -> list[float]:
    """Run at a limit of *rate* a second, and give when the server saw the creates."""
    jobs, _ = RATES[rate]
    jobs = max(2 * rate, lab.many(jobs))
    limits = {**FULL_SPEED, "submits": f"{rate}/s", "in_flight": 10_000}
    generation_s = 0.0
    if jobs < GENERATION_S * rate:
        generation_s = GENERATION_S
        limits |= {"typical_time": f"{GENERATION_S}s", "poll_every": f"{GENERATION_S}s..{2 * GENERATION_S}s"}
    with lab.serving("tiny", generation=generation_s) as server, lab.room() as room:
        path = write_manifest(room / "m.yaml", jobs=jobs, limits=limits)
        lab.batchvid_run(path, server)
        created_at: list[float] = sorted(server.counts()["created_at"])
        return created_at


def _most_in(moments: Sequence[float], window_s: float) -> int:
    """Return the most *moments* (in order) in any window of this length."""
    first, most = 0, 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def polls(lab: Lab) -> list[Figure]:
    """P10: polls per job at equal mean delay, by simulation and by a run at twenty times the speed."""
    figures = []
    for name in CLASSES:
        simulated = [
            json.loads(
                child.run(
                    lab.python("tests.benchmarks.parts.looks", name, seed, lab.many(2000, least=300)), log=lab.log()
                ).out
            )
            for seed in range(lab.repeated(3))
        ]
        figures += _looks(f"{name}, simulated", simulated, name)
    with ThreadPoolExecutor(len(CLASSES)) as pool:
        real = pool.map(lambda name: _real(lab, name), CLASSES)
        for name, found in zip(CLASSES, real, strict=True):
            figures += _looks(f"{name}, run at speed {SPEED:.0f}", [found], name)
    return figures


def _real(lab: Lab, name: str) -> dict[str, float]:
    jobs = lab.many(500, least=200)
    limits = {
        **FULL_SPEED,
        "in_flight": 50,
        "typical_time": f"{90 / SPEED}s",
        "poll_every": f"{3 / SPEED}s..{30 / SPEED}s",
    }
    with lab.serving("tiny", durations=name, speed=SPEED, expect=jobs, seed=1) as server, lab.room() as room:
        lab.batchvid_run(write_manifest(room / "m.yaml", jobs=jobs, limits=limits), server)
        counts = server.counts()
    delay_s = sum(counts["delays_s"]) / jobs
    return compared(counts["polls"] / jobs, delay_s, counts["durations_s"], second_s=1 / SPEED)


def _looks(what: str, found: Sequence[dict[str, float]], name: str) -> list[Figure]:
    def samples(key: str) -> tuple[float, ...]:
        return tuple(one[key] for one in found)

    fixed = Goal(">=", SHARES["tight"] if name == "tight" else round(SHARES["fixed"], 3))
    return [
        Figure("P10", f"{what}: polls of batchvid", "a job", samples("looks")),
        Figure("P10", f"{what}: polls of an exponential / ours", "x", samples("exponential"),
               Goal(">=", SHARES["exponential"])),
        Figure("P10", f"{what}: polls at a fixed interval / ours", "x", samples("fixed"), fixed),
        Figure("P10", f"{what}: polls of the SDK (every 1 s) / ours", "x", samples("sdk"), Goal(">=", SHARES["sdk"])),
        Figure("P10", f"{what}: mean delay", "s", samples("delay_s"), Goal("<=", LATEST_S)),
    ]  # fmt: skip
