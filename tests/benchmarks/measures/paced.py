"""How many polls a job takes where nobody waits for room, beside other ways to poll: P10 and N2."""

from __future__ import annotations

import json
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

SPEED = 20.0
"""Of the real runs: a delay of 5 s is one of a quarter of a second, far above what a loop and a disk take."""
SHARES = {"exponential": 1.3, "tight": 2.0, "fixed": 1 / 1.1, "sdk": 5.0}
LATEST_S = 5.0
AS_FEW = {"tight": 3.9, "wide": 9.4}
"""Polls a job before they were more while jobs wait for room."""


def polls(lab: Lab) -> list[Figure]:
    """P10, N2: polls per job, and those of others at equal delay, by simulation and by a run at speed."""
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
        if name in AS_FEW:
            looks = tuple(one["looks"] for one in simulated)
            figures.append(
                Figure("N2", f"{name}, nobody waits for room: polls", "a job", looks, Goal("<=", AS_FEW[name]))
            )
    with ThreadPoolExecutor(len(CLASSES)) as pool:
        real = pool.map(lambda name: _real(lab, name), CLASSES)
        for name, found in zip(CLASSES, real, strict=True):
            figures += _looks(f"{name}, run at speed {SPEED:.0f}", [found], name)
    return figures


def _real(lab: Lab, name: str) -> dict[str, float]:
    jobs = lab.many(500, least=200)
    limits = {
        **FULL_SPEED,
        "in_flight": jobs,
        "submits": f"{SPEED / 2:g}/s",
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
