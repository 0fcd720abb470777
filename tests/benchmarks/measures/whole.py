"""Whole runs side by side: P1 and P2 (speed and processor time), P3 and P8 (memory), P5 (100,000 jobs)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.benchmarks import child
from tests.benchmarks.figures import Figure, Goal, ratios
from tests.benchmarks.lab import PEERS_BY_NAME

if TYPE_CHECKING:
    from tests.benchmarks.child import Used
    from tests.benchmarks.lab import Lab, Server

IN_FLIGHT = 200
SPEED_GOALS = {
    "raw aiohttp": 0.65,
    "openai SDK, aiohttp": 2.2,
    "openai SDK": 6.0,
    "curl | xargs": 6.0,
}
SLOW = {"curl | xargs": 0.15, "openai SDK": 0.25}
"""A share of the jobs is enough of these: they have no start to speak of, so their jobs/s is the same."""
CPU_GOALS = {"raw aiohttp": 1.5}
MIB = 1024**2
SUBMITS_PER_S = 100.0
"""A slow machine submits as many: tasks that take so much longer all wait together."""


def loaded(lab: Lab, server: Server) -> list[Figure]:
    """Return what the server can do by itself."""
    figures = []
    for kind in ("create", "file"):
        answers = tuple(
            float(child.run(lab.python("tests.benchmarks.load", server.port, kind), log=lab.log()).out)
            for _ in range(lab.repetitions)
        )
        server.reset()
        figures.append(Figure("P1", f"the server alone: {kind} requests", "/s", answers))
    return figures


def speed(lab: Lab) -> list[Figure]:
    """P1, P2: 1,000 jobs, 200 in flight, 100 KB clips, nothing to wait for."""
    jobs = lab.many(1000, least=100)
    rates: dict[str, list[float]] = defaultdict(list)
    cpu_s: dict[str, list[float]] = defaultdict(list)
    shares: list[float] = []
    with lab.serving("100 KB") as server:
        figures = loaded(lab, server)
        for _ in range(lab.repetitions):
            for name in ("batchvid", *PEERS_BY_NAME):
                server.reset()
                made = max(20, round(jobs * SLOW.get(name, 1.0)))
                if name == "batchvid":
                    used = lab.batchvid(server, jobs=made, limits={"in_flight": IN_FLIGHT})
                else:
                    used = lab.peer(name, server, jobs=made, in_flight=IN_FLIGHT)
                shares.append(float(server.counts()["cpu_share"]))
                rates[name].append(made / used.wall_s)
                cpu_s[name].append(used.cpu_s / made)
    figures += [Figure("P1", "the server's share of one core, all contenders", "", tuple(shares))]
    figures += [Figure("P1", f"{name}: jobs", "/s", tuple(found)) for name, found in rates.items()]
    figures += [
        Figure("P1", f"jobs/s against {name}", "x", ratios(rates["batchvid"], rates[name]), Goal(">=", least))
        for name, least in SPEED_GOALS.items()
    ]
    figures.append(Figure("P2", "CPU per job", "ms", tuple(1000 * one for one in cpu_s["batchvid"])))
    figures += [
        Figure("P2", f"CPU per job against {name}", "x", ratios(cpu_s["batchvid"], cpu_s[name]), Goal("<=", most))
        for name, most in CPU_GOALS.items()
    ]
    return figures


def many_in_flight(lab: Lab) -> list[Figure]:
    """P3: 2,000 in flight, which all wait together."""
    jobs = lab.many(2200, least=500)
    in_flight = min(2000, jobs)
    ours: list[Used] = []
    waiting: list[float] = []
    wait_s = in_flight / SUBMITS_PER_S
    limits = {"in_flight": in_flight, "typical_time": f"{wait_s}s", "poll_every": f"{wait_s / 4}s..{wait_s}s"}
    with lab.serving("100 KB", generation=wait_s) as server:
        for _ in range(lab.repeated(2)):
            server.reset()
            ours.append(lab.batchvid(server, jobs=jobs, limits=limits))
            waiting.append(float(server.counts()["waiting_most"]))
        server.reset()
        raw = lab.peer("raw aiohttp", server, jobs=jobs, in_flight=in_flight)
    (theirs,) = _mb([raw])
    return [
        Figure("P3", f"peak RSS, {in_flight:,} in flight", "MB", _mb(ours), Goal("<=", 50.0)),
        Figure("P3", "peak RSS against raw aiohttp", "x", tuple(one / theirs for one in _mb(ours)), Goal("<=", 0.35)),
        Figure("P3", "peak RSS of raw aiohttp", "MB", (theirs,)),
        Figure("P3", "most tasks of batchvid that waited at once", "", tuple(waiting)),
    ]


def hundred_thousand(lab: Lab) -> list[Figure]:
    """P5: 100,000 jobs in one run, once, between runs of 1,000 with the same small clips."""
    jobs, few = lab.many(100_000, least=2000), lab.many(1000, least=500)
    with lab.serving("tiny") as server:
        rates = [few / lab.batchvid(server, jobs=few).wall_s]
        used = lab.batchvid(server, jobs=jobs)
        rates += [few / lab.batchvid(server, jobs=few).wall_s for _ in range(lab.repeated(3) - 1)]
    rate = jobs / used.wall_s
    return [
        Figure("P5", f"{jobs:,} jobs: jobs", "/s", (rate,), Goal(">=", 800.0)),
        Figure(
            "P5", f"{jobs:,} jobs: jobs/s against {few:,}", "x", tuple(rate / one for one in rates), Goal(">=", 0.8)
        ),
        Figure("P5", f"{jobs:,} jobs: peak RSS", "MB", _mb([used]), Goal("<=", 200.0)),
    ]


def large_clips(lab: Lab) -> list[Figure]:
    """P8: clips of 5 MB, 50 in flight."""
    jobs = lab.many(150, least=50)
    ours: list[Used] = []
    sdk: list[Used] = []
    with lab.serving("5 MB") as server:
        for _ in range(lab.repeated(3)):
            ours.append(lab.batchvid(server, jobs=jobs, limits={"in_flight": 50, "downloads": 50}))
            sdk.append(lab.peer("openai SDK", server, jobs=jobs, in_flight=50))
    return [
        Figure("P8", "peak RSS, 5 MB x 50 at once", "MB", _mb(ours)),
        Figure("P8", "peak RSS of the openai SDK", "MB", _mb(sdk)),
        Figure("P8", "peak RSS against the openai SDK", "x", ratios(_mb(ours), _mb(sdk)), Goal("<=", 0.2)),
    ]


def _mb(runs: list[Used]) -> tuple[float, ...]:
    return tuple(one.peak_rss_bytes / MIB for one in runs)
