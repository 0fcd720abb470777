"""How a night goes: N1 (places kept full), N3 (a rate kept and used), N4 (the time foreseen).

N1 and N4 run the real engine under virtual time, against a service whose tasks take as long as a script says
(`tests.benchmarks.parts.scripted`). N3 has real sockets and real time: what counts there is when requests arrive.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.domain.limits import Limits, Rate
from batchvid.sandbox.cometapi import DEFAULT_MODEL, MODELS
from batchvid.sandbox.tasks import generation_s
from tests.benchmarks.figures import Figure, Goal
from tests.benchmarks.lab import FULL_SPEED, write_manifest
from tests.benchmarks.parts.scripted import Night, drawn, night

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.lab import Lab

CLASSES = ("tight", "wide", "shifting")
PROCESSES = 2
ROOMS = {20: 240, 5: 60}
"""Tasks in flight, and how many jobs: twelve rounds."""
FULL = Limits(submits=None, poll_shortest_s=1.0)
SEEDS = 3
PACED_RUNS, PACED_AT_ONCE = 20, 3
PACED_S = 8.0
FAST = 1000
GENERATION_S = 4.0
"""Longer than the submits take at the highest rate, as on a real service, whose tasks take minutes."""
FORESEEN_JOBS, FORESEEN_SEEDS, FORESEEN_AFTER = 60, 10, 0.25
SCENES = {
    "rate": Limits(submits=Rate(10, 60), in_flight=40),
    "in flight": Limits(submits=Rate(60, 60), in_flight=6),
    "canary": Limits(submits=Rate(20, 60), in_flight=10, canary=3),
}
"""What limits the run; the canaries must be clips before the rest may start."""


def _made(case: tuple[list[float], Limits]) -> Night:
    return night(*case)


def places(lab: Lab) -> list[Figure]:
    """N1: how much longer than with places that are taken the moment they are free."""
    cases = [
        (of_class, room, limits, number)
        for limits in (FULL, replace(FULL, poll_shortest_s=Limits().poll_shortest_s))
        for room, number in ROOMS.items()
        for of_class in CLASSES
        if limits is FULL or room == max(ROOMS)
    ]
    figures = []
    with ProcessPoolExecutor(PROCESSES) as pool:
        found = [
            pool.map(
                _made,
                [
                    (drawn(of_class, lab.many(number, least=4 * room), seed=seed), replace(limits, in_flight=room))
                    for seed in range(min(SEEDS, lab.repetitions))
                ],
            )
            for of_class, room, limits, number in cases
        ]
        for (of_class, room, limits, _), nights in zip(cases, found, strict=True):
            over = tuple(one.over_ideal for one in nights)
            stated = limits is FULL
            figures.append(
                Figure(
                    "N1",
                    f"{of_class}, {room} in flight, poll_every from {limits.poll_shortest_s:.0f} s: time / ideal",
                    "x",
                    over,
                    Goal("<=", 1.015) if stated else None,
                    "" if stated else "the default; an end is seen 1.5 s late at best",
                )
            )
    return figures


def rates(lab: Lab) -> list[Figure]:
    """N3: how close to a rate limit a run gets, and that the service never sees more."""
    over: dict[int, list[float]] = defaultdict(list)
    most: dict[int, list[int]] = defaultdict(list)
    lab.clip("tiny")  # made before several want it at once
    runs = max(2, round(PACED_RUNS * min(1.0, lab.scale)))
    paced = [10] * runs
    with ThreadPoolExecutor(PACED_AT_ONCE) as pool:  # runs that mostly wait are not in each other's way
        found = list(zip(paced, pool.map(lambda rate: _paced(lab, rate, PACED_S), paced), strict=True))
    for rate, seconds in ((50, PACED_S), (FAST, 3.0)):
        found += [(rate, _paced(lab, rate, seconds)) for _ in range(min(3, lab.repetitions))]
    for rate, created_at in found:
        over[rate].append((created_at[-1] - created_at[0]) / ((len(created_at) - 1) / rate))
        most[rate].append(_most_in(created_at, 1.0))
    figures = []
    for rate, samples in over.items():
        longest = Goal("<=", 1.01 if rate < FAST else 1.05)
        name = f"{rate:,}/s, {len(samples)} runs"
        figures += [
            Figure("N3", f"{name}: time from first to last submit / ideal", "x", tuple(samples), longest),
            Figure("N3", f"{name}: most submits in any second of any run", "", (float(max(most[rate])),),
                   Goal("<=", rate)),
        ]  # fmt: skip
    return figures


def _paced(lab: Lab, rate: int, seconds: float) -> list[float]:
    """Run at a limit of *rate* a second, and return when the server saw the creates."""
    jobs = max(2 * rate, lab.many(round(rate * seconds)))
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


def foreseen(lab: Lab) -> list[Figure]:
    """N4: how wrong the end was foreseen after a quarter of a run, with the generation times of the sandbox."""
    seeds = range(1, 1 + max(2, round(FORESEEN_SEEDS * min(1.0, lab.scale))))
    scenes = [(name, seed) for name in SCENES for seed in seeds]
    with ProcessPoolExecutor(PROCESSES) as pool:
        made = list(pool.map(_made, [(_generated(FORESEEN_JOBS, seed), SCENES[name]) for name, seed in scenes]))
    off = [abs(one.foreseen(FORESEEN_AFTER) - 1.0) for one in made]
    what = f"time foreseen at {FORESEEN_AFTER:.0%}, {len(off)} runs of {FORESEEN_JOBS}"
    figures = [
        Figure("N4", f"{what}: median error", "%", (100 * statistics.median(off),), Goal("<=", 8.0)),
        Figure("N4", f"{what}: largest error", "%", (100 * max(off),), Goal("<=", 20.0),
               "who knows the distribution, but not the draw: about 18"),
    ]  # fmt: skip
    for scene in SCENES:
        errors = tuple(100 * error for error, (name, _) in zip(off, scenes, strict=True) if name == scene)
        figures.append(Figure("N4", f"limited by {scene}: error", "%", errors))
    return figures


def _generated(number: int, seed: int) -> list[float]:
    """Return how long the tasks of the sandbox take that are submitted first."""
    model = MODELS[DEFAULT_MODEL]
    return [generation_s(seed, n, model=model, seconds=8, pixels=(1280, 719)) for n in range(1, number + 1)]
