"""A night under virtual time: the real engine, and a service whose tasks take as long as a script says.

Hours pass in seconds. The engine is the one that users have: its scheduler, its limiters, its journal. Only the clock
and the network are not real: each request is `ON_THE_WAY_S` under way.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from typing import TYPE_CHECKING
from unittest.mock import patch

from batchvid.domain.errors import Exit
from batchvid.sandbox.render import tiny_clips
from tests.benchmarks.durations import duration_s
from tests.run import bench as bench_module
from tests.run import memory
from tests.run.bench import Bench, Watcher, jobs, quick_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.domain.limits import Limits
    from batchvid.domain.results import Snapshot
    from batchvid.providers.base import Request
    from batchvid.providers.response import NoResponse, Response

ON_THE_WAY_S = 0.01


@dataclass(slots=True)
class Night:
    """What a run was like."""

    took_s: float
    """Until the last clip was on disk."""
    ideal_s: float
    polls: int
    late_s: list[float]
    """For each task, in the order of the jobs: how long after its end the run knew of it."""
    polled_at: dict[str, list[float]]
    """By task, when the service was asked how it stands."""
    said: list[tuple[float, float]]
    """Again and again: the seconds gone, and the seconds said to be left."""

    @property
    def over_ideal(self) -> float:
        """Return how many times as long as the ideal it took."""
        return self.took_s / self.ideal_s

    def foreseen(self, share: float) -> float:
        """Return the total that was foreseen after this share of the run, as a part of what it took."""
        return next((gone + left) / self.took_s for gone, left in self.said if gone >= share * self.took_s)


def listed_s(durations_s: Sequence[float], slots: int) -> float:
    """Return what the ideal list schedule takes: each slot has the next task the moment its task ends."""
    free_at = [0.0] * slots
    heapify(free_at)
    for took_s in durations_s:
        heapreplace(free_at, free_at[0] + took_s)
    return max(free_at)


def drawn(name: str, number: int, *, seed: int) -> list[float]:
    """Draw how long so many tasks of a class take, in the order in which they are submitted."""
    dice = random.Random(seed)  # noqa: S311 generation times, no secrets
    return [duration_s(name, dice, done=place / number) for place in range(number)]


@dataclass
class _Listener(Watcher):
    """Remembers what was said of the time."""

    said: list[tuple[float, float]] = field(default_factory=list)

    def stats(self, snapshot: Snapshot) -> None:
        """Remember it."""
        super().stats(snapshot)
        if snapshot.eta_s is not None:
            self.said.append((snapshot.elapsed_s, snapshot.eta_s))


class _Scripted(memory.MemoryService):
    """Gives each job's task the time that the script has for it, and remembers when it was asked."""

    took_s: dict[str, float]
    """By prompt."""

    def begin(self, durations_s: dict[str, float]) -> None:
        """Go by these times."""
        self.took_s, self.polled_at, self.late_s = durations_s, dict[str, list[float]](), dict[str, float]()

    async def post(self, request: Request) -> Response | NoResponse:
        """Send a create."""
        before = set(self.world.tasks)
        answer = await super().post(request)
        for task_id in self.world.tasks.keys() - before:
            task = self.world.tasks[task_id]
            task.took_s = self.took_s[task.prompt]
        return answer

    async def get(self, request: Request) -> Response | NoResponse:
        """Poll."""
        task_id = request.path.rpartition("/")[2]
        task = self.world.tasks[task_id]
        self.polled_at.setdefault(task_id, []).append(self._wall())
        answer = await super().get(request)
        if self._wall() >= task.created_at + task.took_s:
            self.late_s.setdefault(task.prompt, self._wall() - task.created_at - task.took_s)
        return answer


def night(durations_s: Sequence[float], limits: Limits, *, slots: int | None = None) -> Night:
    """Run a job for each of these times within *limits*, and hold it against the ideal with so many *slots*."""
    wanted = jobs(len(durations_s))
    prompts = [job.prompt for job in wanted]
    with (
        quick_folder() as folder,
        patch.multiple(memory, UPLOAD_S=ON_THE_WAY_S / 2, ANSWER_S=ON_THE_WAY_S / 2, BLOCK_S=0.001),
        patch.object(bench_module, "MemoryService", _Scripted),
        patch.object(bench_module, "Watcher", _Listener),
    ):
        bench = Bench(folder / "out", clips=tiny_clips)
        assert isinstance(bench.service, _Scripted)
        bench.service.begin(dict(zip(prompts, durations_s, strict=True)))
        began = bench.wall()
        summary = bench.run(wanted, limits, checked=False)
        assert summary.exit_code is Exit.OK, summary
        assert isinstance(bench.view, _Listener)
        polled_at = bench.service.polled_at
        return Night(
            took_s=bench.wall() - began,
            ideal_s=listed_s(durations_s, slots or limits.in_flight),
            polls=sum(map(len, polled_at.values())),
            late_s=[bench.service.late_s[prompt] for prompt in prompts],
            polled_at=polled_at,
            said=bench.view.said,
        )
