"""What several workers at one database do: C1 to C6, each beside one machine with its journal on its own disk."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks import child
from tests.benchmarks.child import ChildError
from tests.benchmarks.figures import Figure, Goal, ratios
from tests.benchmarks.lab import FULL_SPEED
from tests.benchmarks.measures.nights import GENERATION_S
from tests.benchmarks.server import KEY
from tests.cluster.lab import most_in_any_second, share_used
from tests.cluster.world import Worker, World, world
from tests.faults.cases import NotHereError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.benchmarks.lab import Lab, Server

WORKERS = 4
MIB = 1024**2
ONE_CLIP_A_SLICE = {"batchvid.domain.slices.JOBS_AT_LEAST": 1, "batchvid.domain.slices.JOBS_AT_MOST": 1}
RATE = 50
PACED_S = 12.0
LONGEST_S = 600.0
SETTLES_S = 1.5
"""Until every backend has told the server's statistics."""
LOOKS_S = 0.25


@contextmanager
def cluster(lab: Lab, server: Server, workers: int = WORKERS) -> Iterator[World]:
    """Make a world whose clips go into a folder, with workers that wait for a run, which is the last of them."""
    lab.folder.chmod(0o711)  # the database's user is another one
    try:
        with world(store="folder", below=lab.folder) as made:
            made.api, made.key = server.api, KEY
            for number in range(2, workers + 1):
                made.work("-q", on=f"host-{number}")
            if workers > 1:
                made.until(
                    lambda: made.number("SELECT count(*) FROM batchvid.workers") == workers - 1, what="the workers"
                )
            yield made
            with lab.room() as room:  # which stays, unlike all else of this world
                (made.folder / "clips").rename(room / "clips")
    except NotHereError as reason:
        raise ChildError(str(reason)) from None


def ended(run: Worker) -> float:
    """Return how long a run took; raises `ChildError` when it did not end well."""
    ran = run.wait(timeout_s=LONGEST_S)
    if ran.code:
        raise ChildError(f"{run.name}: exit {ran.code}\n{ran.text[-2000:]}")
    return ran.seconds


def timed(made: World, jobs: int, *, constants: Mapping[str, float] | None = None, **limits: Any) -> float:
    """Let the world's workers make *jobs* clips; return the seconds from the start of the run to its end."""
    made.manifest(jobs, **FULL_SPEED | limits)
    return ended(made.run("-q", on="host-1", constants=constants))


def commits_and_wal(made: World) -> tuple[int, int, int]:
    """Return the commits of the database so far, those of them that wrote something, and its WAL in bytes."""
    time.sleep(SETTLES_S)
    (row,) = made.query(
        "SELECT xact_commit, pg_current_xact_id()::text::bigint, wal_bytes::bigint"
        " FROM pg_stat_database, pg_stat_wal WHERE datname = current_database()"
    )
    return row[0], row[1], row[2]


def speed(lab: Lab) -> list[Figure]:
    """C1, C2: clips of 100 KB without a limit; and what the database writes for each."""
    jobs, few = lab.many(2000, least=200), lab.many(400, least=100)
    rates: dict[str, list[float]] = defaultdict(list)
    commits: dict[str, list[float]] = defaultdict(list)
    wal: list[float] = []
    with lab.serving("100 KB") as server:
        for _ in range(lab.repeated(3)):
            server.reset()
            rates["one"].append(jobs / lab.batchvid(server, jobs=jobs).wall_s)
            for name, number, constants in (("slices", jobs, None), ("clips", few, ONE_CLIP_A_SLICE)):
                server.reset()
                with cluster(lab, server) as made:
                    before = commits_and_wal(made)
                    rates[name].append(number / timed(made, number, constants=constants))
                    after = commits_and_wal(made)
                    commits[name].append((after[0] - before[0]) / number)
                    if name == "slices":
                        commits["writing"].append((after[1] - before[1]) / number)
                        wal.append((after[2] - before[2]) / number / 1024)
    return [
        Figure("C1", "one machine: clips", "/s", tuple(rates["one"])),
        Figure("C1", f"{WORKERS} workers: clips", "/s", tuple(rates["slices"])),
        Figure("C1", f"{WORKERS} workers against one machine", "x", ratios(rates["slices"], rates["one"]),
               Goal(">=", 1.0)),
        Figure("C1", "slices of one clip: clips", "/s", tuple(rates["clips"])),
        Figure("C1", "slices against slices of one clip", "x", ratios(rates["slices"], rates["clips"]),
               Goal(">=", 1.4)),
        Figure("C2", "unlimited: commits a clip", "", tuple(commits["slices"]), Goal("<=", 1.0)),
        Figure("C2", "unlimited: commits a clip that write", "", tuple(commits["writing"])),
        Figure("C2", "unlimited: WAL a clip", "KB", tuple(wal), Goal("<=", 4.0)),
        Figure("C2", "slices of one clip: commits a clip", "", tuple(commits["clips"])),
    ]  # fmt: skip


def in_flight(lab: Lab) -> list[Figure]:
    """C3: 4,000 in flight at once, and the memory of all workers."""
    jobs = lab.many(4500, least=1000)
    wanted = min(4000, jobs - 200)
    limits: dict[str, Any] = {"in_flight": wanted, "typical_time": "20s", "poll_every": "5s..20s"}
    most: list[float] = []
    memory: list[float] = []
    with lab.serving("tiny", generation=20) as server:
        for _ in range(lab.repeated(2)):
            server.reset()
            with cluster(lab, server) as made:
                made.manifest(jobs, **FULL_SPEED | limits)
                run, peak = made.run("-q", on="host-1"), 0
                while run.is_running:
                    peak = max(peak, sum(pss_bytes(one.pid) for one in made.workers))
                    time.sleep(LOOKS_S)
                ended(run)
            memory.append(peak / MIB)
            most.append(float(server.counts()["waiting_most"]))
    return [
        Figure("C3", f"in flight at once over {WORKERS} workers", "", tuple(most), Goal(">=", wanted)),
        Figure("C3", f"memory of all {WORKERS} (PSS)", "MB", tuple(memory), Goal("<=", 300.0)),
    ]


def pss_bytes(pid: int) -> int:
    """Return the memory of a process, where it shares pages its share of them; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def quota(lab: Lab) -> list[Figure]:
    """C4, and C2 at a limit: one quota, over 4 and 16 workers; N3 measures one machine."""
    jobs = max(4 * RATE, lab.many(round(PACED_S * RATE)))
    limits: dict[str, Any] = {"submits": f"{RATE}/s", "in_flight": 10_000, "typical_time": f"{GENERATION_S}s",
              "poll_every": f"{GENERATION_S}s..{2 * GENERATION_S}s"}  # fmt: skip
    most: dict[int, list[float]] = defaultdict(list)
    share: dict[int, list[float]] = defaultdict(list)
    commits: list[float] = []
    with lab.serving("tiny", generation=GENERATION_S) as server:
        for _ in range(lab.repeated(2)):
            for workers in (WORKERS, 16):
                server.reset()
                with cluster(lab, server, workers) as made:
                    before = commits_and_wal(made)
                    timed(made, jobs, **limits)
                    if workers == WORKERS:
                        commits.append((commits_and_wal(made)[0] - before[0]) / jobs)
                moments: list[float] = server.counts()["created_at"]
                most[workers].append(most_in_any_second(moments))
                share[workers].append(100 * share_used(moments, RATE))
    figures = [Figure("C2", f"at {RATE}/s: commits a clip", "", tuple(commits), Goal("<=", 4.0))]
    for workers in (WORKERS, 16):
        what = f"{RATE}/s, {workers} workers"
        figures += [
            Figure("C4", f"{what}: most submits in any second", "", tuple(most[workers]), Goal("<=", RATE)),
            Figure("C4", f"{what}: share of the quota used", "%", tuple(share[workers]), Goal(">=", 95.0)),
        ]
    return figures


def takeover(lab: Lab) -> list[Figure]:
    """C5: how long after a SIGKILL all that the worker had is another one's."""
    took_s: list[float] = []
    told = 0
    with lab.serving("tiny", generation=0.3) as server:
        for _ in range(lab.repeated(3)):
            server.reset()
            with cluster(lab, server, 2) as made:
                made.manifest(400, **FULL_SPEED | {"submits": "15/s"})
                (victim,) = made.workers
                run = made.run(on="host-1")
                made.until(partial(made.held_by, victim), what="slices")
                victim.kill()
                took_s.append(made.until(partial(made.has_lost, victim), what="takeover"))
                made.until(partial(is_told, run), within_s=10, what="it is told")
                told += 1
    note = f"told in {told} of {len(took_s)}"
    return [Figure("C5", "takeover after SIGKILL", "s", tuple(took_s), Goal("<=", 15.0), note)]


def is_told(run: Worker) -> bool:
    """Whether a run has said that it took something over."""
    said = run.text + run.log.with_suffix(".out").read_text("utf-8", errors="replace")
    return "taken over" in said or "took over" in said


def is_published(made: World, jobs: int) -> bool:
    """Whether so many jobs lie in slices."""
    return made.number("SELECT sum(jobs) FROM batchvid.slices") >= jobs


def publishing(lab: Lab) -> list[Figure]:
    """C6: 100,000 jobs published, and their status."""
    jobs = lab.many(100_000, least=2000)
    published_s: list[float] = []
    status_s: list[float] = []
    alone_s: list[float] = []
    with lab.serving("tiny") as server:
        for _ in range(lab.repeated(2)):
            with cluster(lab, server, 1) as made:
                made.manifest(jobs, **FULL_SPEED | {"submits": "1/min"})
                run = made.run("-q", on="host-1")
                published_s.append(made.until(partial(is_published, made, jobs), within_s=LONGEST_S, what="published"))
                run.end()
                run.wait()
                ran = made.call("status", "--json")
                if len(json.loads(ran.out)["jobs"]) != jobs:
                    raise ChildError(f"status: exit {ran.code}\n{ran.text[-2000:]}")
                status_s.append(made.call("status").seconds)
            command = lab.python("batchvid", "status", lab.finished(jobs))
            alone_s.append(child.run(command, log=lab.log()).wall_s)
    return [
        Figure("C6", f"{jobs:,} jobs published", "s", tuple(published_s), Goal("<=", 15.0)),
        Figure("C6", f"status of {jobs:,} jobs", "s", tuple(status_s), Goal("<=", 1.0)),
        Figure("C6", f"one machine: status of {jobs:,} finished jobs", "s", tuple(alone_s)),
    ]
