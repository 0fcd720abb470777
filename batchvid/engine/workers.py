"""The loop of a run: whose turn is it → do one step → look again. The only place that starts tasks.

The scheduler (`batchvid.engine.scheduler`) decides and the steps (`batchvid.engine.steps`) do; this module only brings
them together. A fixed number of workers serves each kind of step. A job that waits occupies none of them: of all
the workers of a kind that have nothing to do, one watches the clock, and the others wait for it. Runs of one account
share a pool: the pace, the room in flight, and what was learned of the account.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from batchvid.domain.errors import Exit, StorageError
from batchvid.domain.frozen import frozen
from batchvid.domain.limits import strictest
from batchvid.domain.records import rfc3339
from batchvid.engine.account import SharedAccount
from batchvid.engine.auto_limits import AutoLimits
from batchvid.engine.rate_limit import AutoPace, Pace
from batchvid.engine.scheduler import Step
from batchvid.engine.stats import RunStatistics
from batchvid.engine.steps import Ports, Steps
from batchvid.engine.throttle import Throttle
from batchvid.journal.event_log import PACE_CHANGED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchvid.domain.learned import Learned
    from batchvid.domain.limits import Limits
    from batchvid.domain.results import Snapshot
    from batchvid.engine.limits_keeper import LimitsKeeper
    from batchvid.engine.rate_limit import Pacing
    from batchvid.engine.scheduler import Scheduler


SUBMIT_WORKERS = 32
POLL_WORKERS = 24
"""With the downloads, not more than the service's connections."""
STATS_EVERY_S = 0.25


class Runner:
    """One run over a scheduler's jobs. `run` returns when nothing is left that it could do.

    Raises `StorageError` when the journal can no longer be written; everything that was accepted is on record then,
    or in ``orphans.jsonl``. To be made inside a running event loop. *beside* are the runs of the same account,
    itself among them: what one of them does may give another its turn. Unless it *is_shown*, its observer is not told
    how it stands.
    """

    def __init__(
        self, scheduler: Scheduler, ports: Ports, beside: Sequence[Runner] = (), *, is_shown: bool = True
    ) -> None:
        self._is_shown = is_shown
        self.scheduler = scheduler
        self.ports = ports
        self.statistics = RunStatistics(scheduler, started=self._now())
        self._beside = beside
        self._draining_since: float | None = None
        self._steps = Steps(scheduler, ports, self.statistics, self._draining_s)
        self._changed = {step: asyncio.Event() for step in Step}
        self._turns = {step: asyncio.Lock() for step in Step}
        self._idle: set[asyncio.Task[Any]] = set()
        self._failure: StorageError | None = None
        self._over = False

    async def run(self) -> None:
        """Do what is left to do."""
        limits = self.scheduler.limits
        workers = {
            Step.SUBMIT: min(SUBMIT_WORKERS, limits.in_flight),
            Step.POLL: min(POLL_WORKERS, limits.in_flight),
            Step.DOWNLOAD: limits.downloads,
        }
        async with asyncio.TaskGroup() as group:
            for step, number in workers.items():
                for place in range(number):
                    group.create_task(self._work(step), name=f"{step}-{place + 1}")
            group.create_task(self._watch(), name="watch")
        if self._failure is not None:
            raise self._failure

    def snapshot(self) -> Snapshot:
        """Return the run as it stands now."""
        pace = self.ports.submit_pace.per_minute()
        return self.statistics.snapshot(now=self._now(), at=self.ports.wall(), submits_per_min=pace)

    def drain(self) -> None:
        """Send nothing new; let the requests in flight end and record them, and transfers for a little while."""
        self._begin_to_drain()
        self._look_again()

    def _begin_to_drain(self) -> None:
        if not self.scheduler.draining:
            self.scheduler.draining, self._draining_since = True, self._now()

    def _draining_s(self) -> float | None:
        """Return how long ago the run was told to stop; ``None`` when it was not."""
        return None if self._draining_since is None else self._now() - self._draining_since

    def ring(self) -> None:
        """Look again whether a job may be submitted: another run of the account made room, or met a refusal."""
        self._look_again_if_over()
        self._changed[Step.SUBMIT].set()

    # ---- workers

    async def _work(self, step: Step) -> None:
        do = {Step.SUBMIT: self._steps.submit, Step.POLL: self._steps.poll, Step.DOWNLOAD: self._steps.download}[step]
        while (index := await self._turn(step)) is not None:
            wait_s = None
            try:
                wait_s = await do(index)
            except StorageError as error:
                self._fail(error)
            self.scheduler.finish(step, index, wait_s=wait_s, now=self._now())
            self._look_again()
            for other in self._beside:
                if other is not self:
                    other.ring()

    async def _turn(self, step: Step) -> int | None:
        """Wait for a job whose turn it is and for the pace; ``None`` when the run is over."""
        turns = self._turns[step]
        if not turns.locked() and not self._over and not self._is_paced(step):
            index = self.scheduler.take(step, self._now())
            if index is not None:
                await self._pace(step)
                return index
        task = asyncio.current_task()
        if task is None:
            return None
        self._idle.add(task)
        try:
            async with turns:
                while not self._over:
                    now = self._now()
                    if self.scheduler.turn(step, now):
                        await self._pace(step)
                        index = self.scheduler.take(step, self._now())
                        if index is not None:
                            return index
                    else:
                        self._look_again_if_over()
                        if not self._over:  # whoever finds that the run is over is not woken up by anybody
                            await self._sleep(step, now)
        finally:
            self._idle.discard(task)
        return None

    def _is_paced(self, step: Step) -> bool:
        ports = self.ports
        return (step is Step.SUBMIT and ports.submit_pace.is_limited) or (
            step is Step.POLL and ports.request_pace.is_limited
        )

    async def _pace(self, step: Step) -> None:
        share = self.scheduler.breaker.throttle.share
        try:
            if step is Step.SUBMIT:
                await self.ports.submit_pace.acquire(share=share)
            elif step is Step.POLL:
                await self.ports.request_pace.acquire(share=share)
        except StorageError as error:  # whoever deals out the moments is away; what is taken now is refused
            self._fail(error)

    async def _sleep(self, step: Step, now: float) -> None:
        """Wait until something changes, or the moment comes at which a turn may come by itself.

        *now* is when there was no turn yet: a moment that has come since must wake this worker, and not be past to it.
        """
        changed = self._changed[step]
        wake_at = self.scheduler.wake_at(step, now)
        timer = None if wake_at is None else asyncio.get_running_loop().call_at(wake_at, changed.set)
        try:
            await changed.wait()
        finally:
            if timer is not None:
                timer.cancel()
        changed.clear()

    def _look_again(self) -> None:
        self._look_again_if_over()
        for changed in self._changed.values():
            changed.set()

    def _look_again_if_over(self) -> None:
        """End the run when nothing is left to do: workers without work are let go, wherever they wait."""
        if not self._over and self.scheduler.is_over():
            self._over = True
            current = asyncio.current_task()
            for task in self._idle:
                if task is not current:
                    task.cancel()

    def _fail(self, error: StorageError) -> None:
        """Stop because of the disk: let requests in flight end, and collect nothing more."""
        self._failure = self._failure or error
        self.scheduler.breaker.halt(Exit.DISK, str(error), polls_too=True, downloads_too=True, is_local=True)
        self._begin_to_drain()

    async def _watch(self) -> None:
        """Show how the run stands, until it is over."""
        task = asyncio.current_task()
        if task is None:
            return
        self._idle.add(task)
        share = None
        while not self._over:
            if self._is_shown:
                self.ports.observer.stats(self.snapshot())
            if share != self.scheduler.breaker.throttle.share:
                share = self.scheduler.breaker.throttle.share
                self.ports.log.append({"at": rfc3339(self.ports.wall()), "event": PACE_CHANGED, "share": share})
            self.ports.log.flush()
            await self.ports.keep_limits()
            await asyncio.sleep(STATS_EVERY_S)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


@frozen
class InFlightPool:
    """One account, as all runs of a call that use it see it."""

    account: SharedAccount
    submit_pace: Pacing
    request_pace: Pacing
    runners: list[Runner] = field(default_factory=list)
    """Those at work."""
    keeper: LimitsKeeper | None = None
    """Who keeps what is found out of the account's limits."""

    def learned(self, at: float) -> Learned | None:
        """Return what is known of the account's limits, where they are found out."""
        if self.account.auto is None:
            return None
        learned, before = self.account.auto.learned(at), None if self.keeper is None else self.keeper.before
        return before if learned is None else learned.after(before)

    async def keep_limits(self) -> None:
        """Keep what is new of them."""
        if self.keeper is not None:
            await self.keeper.keep()

    @classmethod
    def among(cls, limits: Sequence[Limits]) -> InFlightPool:
        """Return what runs with these limits share: the strictest of each holds for all of them together.

        A limit is found out where none of them states it.
        """
        common = replace(
            limits[0],
            submits=strictest(one.submits for one in limits),
            requests=strictest(one.requests for one in limits),
            in_flight=min(one.in_flight for one in limits),
            auto_submits=all(one.auto_submits for one in limits),
            auto_in_flight=all(one.auto_in_flight for one in limits),
        )
        account = SharedAccount(Throttle(), common if len(limits) > 1 else None)
        if not (common.auto_submits or common.auto_in_flight):
            return cls(account, Pace(common.submits, are_made_ready=True), Pace(common.requests))
        account.limits = common
        account.auto = auto = AutoLimits(
            finds_rate=common.auto_submits,
            finds_room=common.auto_in_flight,
            most_per_minute=math.inf if common.submits is None else 60 * common.submits.per_s,
            most_in_flight=common.in_flight,
        )
        submits = AutoPace(auto) if common.auto_submits else Pace(common.submits, are_made_ready=True)
        return cls(account, submits, Pace(common.requests))

    @contextmanager
    def joined(self, runner: Runner) -> Iterator[None]:
        """Count a run among those at work; when it leaves, the others may have its room."""
        self.account.members.append(runner.scheduler)
        self.runners.append(runner)
        try:
            yield
        finally:
            self.account.members.remove(runner.scheduler)
            self.runners.remove(runner)
            for other in self.runners:
                other.ring()
