"""What a worker has of a published manifest: its journal, its clips, its service, and the way through one slice.

A slice is a run of its own over the same scheduler, steps and runner as on one machine. What differs is what they stand
on: a journal that checks the lease, an account that others use too, and frames that come from the database.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Self

from batchvid.domain.dependencies import DependencyGraph, DependencyTracker
from batchvid.domain.errors import BatchvidError
from batchvid.domain.frozen import frozen
from batchvid.domain.job import State
from batchvid.domain.lifecycle import SubmitUnsure
from batchvid.domain.reopening import interrupted
from batchvid.engine.answers import AnswerKeeper
from batchvid.engine.belonging import ID, check_shared
from batchvid.engine.budget import SpendCap
from batchvid.engine.circuit_breaker import CircuitBreaker
from batchvid.engine.films import take_still
from batchvid.engine.run import on_clock, refused_names
from batchvid.engine.scheduler import Scheduler
from batchvid.engine.steps import Ports
from batchvid.engine.workers import Runner
from batchvid.journal import orphans
from batchvid.journal.base import Change, TaskOwnedError
from batchvid.journal.fenced import KeepingRecorder, open_fenced
from batchvid.media.images import frame_bytes
from batchvid.providers.http import Service
from batchvid.providers.registry import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from batchvid.domain.job import Frame, Job, Progress
    from batchvid.domain.lifecycle import Reopened
    from batchvid.domain.limits import RunOptions
    from batchvid.engine.observer import Observer
    from batchvid.engine.shared_account import WorkerAccount
    from batchvid.engine.target import Account
    from batchvid.engine.workers import InFlightPool
    from batchvid.journal.base import Journal
    from batchvid.journal.fenced import FencedJournal
    from batchvid.journal.group_commit import Recorder
    from batchvid.journal.ledger import Lease
    from batchvid.journal.orphans import Orphan
    from batchvid.journal.postgres import PostgresStore
    from batchvid.manifest.model import Manifest
    from batchvid.storage.output import Output


@frozen
class Surroundings:
    """What a process brings to every manifest that it works on."""

    observer: Observer
    worker: int
    """Its number in the database."""
    spill: Callable[[int, Iterable[Orphan]], None]
    """Keep paid task ids of a journal where all find them; raises `StorageError`. Blocks."""
    read_frame: Callable[[Frame], bytes]
    """Return the bytes to send of a published frame. Blocks."""
    is_ending: Callable[[], bool]
    """Whether this process begins nothing new any more."""
    until_at: float | None = None
    """Until when this worker submits (UTC epoch seconds)."""
    wall: Callable[[], float] = time.time


@dataclass(slots=True)
class SliceEnd:
    """How a slice was left."""

    is_over: bool
    """Whether nothing is left in it that anybody could do under this publication."""
    polls: int = 0


@dataclass(slots=True)
class OpenManifest:
    """A published manifest that this process works on. To be entered and left as a context manager."""

    revision: int
    number: int
    """Of the journal."""
    manifest: Manifest
    """Without its jobs."""
    options: RunOptions
    store: PostgresStore
    output: Output
    service: Account
    account: WorkerAccount
    pool: InFlightPool
    here: Surroundings
    breaker: CircuitBreaker = field(init=False)
    journal: FencedJournal = field(init=False)
    records: Recorder = field(init=False)
    _ports: Ports = field(init=False)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        """Open journal, clips and service."""
        async with AsyncExitStack() as stack:
            self.journal = await asyncio.to_thread(
                partial(open_fenced, self.store, worker=self.here.worker, spill=self._spill)
            )
            stack.callback(self.journal.close)
            await asyncio.to_thread(self._prepare)
            self.records = await stack.enter_async_context(KeepingRecorder(self.journal, spill=self._spill))
            downloads = self.manifest.limits.downloads
            service = await stack.enter_async_context(
                Service(self.service.base_url, self.service.key, network=self.service.network, downloads=downloads)
            )
            self.breaker = await self.records.ask(self._new_breaker)
            self._ports = self._made_ports(service)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close them."""
        await self._stack.aclose()

    def _prepare(self) -> None:
        """Make what is missing on this machine, but not the folder of the clips: where that is missing, it is another.

        The journal is used by this thread alone so far.
        """
        check_shared(self.manifest, self.journal.meta_get(ID))
        self.output.prepare()

    def _new_breaker(self, journal: Journal) -> CircuitBreaker:
        counts, options, now = journal.counts(), self.options, time.monotonic()
        until = min((at for at in (options.until_at, self.here.until_at) if at is not None), default=None)
        out = sum(number for state, number in counts.items() if state not in {State.PENDING, State.DONE})
        return CircuitBreaker(
            self.manifest.limits,
            stop_submitting_at=on_clock(until, now=now, at=self.here.wall()),
            window_ends_at=until,
            known=out + counts[State.DONE] > 0,
            spend_cap=SpendCap(),  # what may be spent is kept by the database
            account=self.account,
            out_before=out,
            clips_before=counts[State.DONE],
        )

    def _made_ports(self, service: Service) -> Ports:
        here, output = self.here, self.output
        return Ports(
            provider=PROVIDERS[self.manifest.provider],
            service=service,
            records=self.records,
            clips=output.clips,
            keep_orphan=self._keep_orphan,
            log=self.journal.log,
            answers=AnswerKeeper(
                output.state,
                provider=self.manifest.provider,
                base_url=self.manifest.base_url,
                wall=here.wall,
                warn=here.observer.warn,
            ),
            observer=here.observer,
            read_frame=self._frame_bytes,
            take_still=partial(take_still, output),
            still_sha256=output.state.frame_sha256,
            submit_pace=self.pool.submit_pace,
            request_pace=self.pool.request_pace,
            may_send=self.account.may_send,
            wall=here.wall,
        )

    def _frame_bytes(self, frame: Frame) -> bytes:
        """Return a frame's bytes: one that was taken from a clip lies here, the others come from the database."""
        is_ours = frame.path.startswith(f"{self.output.state.folder}/")
        return frame_bytes(frame) if is_ours else self.here.read_frame(frame)

    # ---- orphans

    def _keep_orphan(self, record: Mapping[str, object]) -> None:
        """Keep a paid task id on this machine, and then where all find it."""
        orphans.append(self.output.state.output, record)
        one = orphans.Orphan(str(record["job_id"]), int(str(record["attempt"])), str(record["task_id"]))
        with suppress(BatchvidError):  # this machine tells it when it works again
            self.here.spill(self.number, [one])

    def _spill(self, found: Iterable[Orphan]) -> None:
        for one in found:
            record = {"job_id": one.job_id, "attempt": one.attempt, "task_id": one.task_id}
            orphans.append(self.output.state.output, record)

    # ---- a slice

    async def work(
        self,
        lease: Lease,
        jobs: Sequence[Job],
        again: Mapping[str, tuple[Reopened, int]],
        lost: Mapping[tuple[str, int], str],
        runners: list[Runner],
    ) -> SliceEnd:
        """Do what is left in a slice; *lost* are task ids that were kept beside, by job and attempt.

        Raises `LeaseLostError` when the slice belongs to somebody else by now, and `StorageError` when the journal
        cannot be written.
        """
        ids = [job.id for job in jobs]
        self.journal.hold(lease, ids)
        try:
            begun = await self.records.ask(partial(self._take_up, ids=ids, lost=lost))
            return await self._run(jobs, begun, again, runners)
        finally:
            self.journal.let_go(ids)

    def _take_up(
        self, journal: Journal, *, ids: Sequence[str], lost: Mapping[tuple[str, int], str]
    ) -> tuple[dict[str, Progress], frozenset[str], dict[str, list[float]]]:
        """Record what the end of the worker before means for the jobs, and return how they stand."""
        at, warn = self.here.wall(), self.here.observer.warn
        for row in list(journal.progress_of(ids)):
            events = interrupted(row, orphans=lost)
            if not events:
                continue
            try:
                journal.record([Change.of(row, *((event, at) for event in events))])
            except TaskOwnedError as error:
                warn(f"{row.job_id} stays in doubt: its orphaned task belongs to job {error.owner!r} already")
                if doubt := [event for event in events if isinstance(event, SubmitUnsure)]:
                    journal.record([Change.of(row, *((event, at) for event in doubt))])
            else:
                task_id = lost.get((row.job_id, row.attempt))
                warn(f"adopted {row.job_id}: task {task_id}" if task_id else f"{row.job_id} is in doubt")
        rows = {row.job_id: row for row in journal.progress_of(ids)}
        reserved = journal.reserved_jobs(ids)
        return rows, reserved, {name: list(took_s) for name, took_s in journal.timings().items()}

    async def _run(
        self,
        jobs: Sequence[Job],
        begun: tuple[dict[str, Progress], frozenset[str], dict[str, list[float]]],
        again: Mapping[str, tuple[Reopened, int]],
        runners: list[Runner],
    ) -> SliceEnd:
        rows, reserved, timings = begun
        limits, here = self.manifest.limits, self.here
        by_id = {job.id: job for job in jobs}
        # One that has moved since it was decided on has had its chance: it may have been bought and failed meanwhile.
        opening = {
            name: event for name, (event, version) in again.items() if name in rows and rows[name].version == version
        }
        refused = await self.records.ask(
            lambda journal: refused_names(
                by_id.values(), journal, self.output.clips, again=opening, warn=here.observer.warn
            )
        )
        opening = {job_id: event for job_id, event in opening.items() if job_id not in refused}
        dependencies = DependencyGraph(jobs)
        scheduler = Scheduler(
            jobs,
            replace(limits, budget_micros=None),  # what may be spent is kept by the database
            breaker=self.breaker,
            money=await self.records.ask(lambda journal: journal.money()),
            timings=timings,
            tracker=DependencyTracker(dependencies, limits=limits, rebuy=self.options.rebuy),
        )
        now = asyncio.get_running_loop().time()
        scheduler.restore(
            rows,
            again=opening,
            reserved=reserved,
            only=self._chosen(by_id),
            refused=refused,
            now=now,
            at=here.wall(),
        )
        if scheduler.is_over():
            return SliceEnd(is_over=self._is_left_by_nobody(scheduler))
        runner = Runner(scheduler, self._ports, self.pool.runners, is_shown=False)
        runners.append(runner)
        if here.is_ending():  # it was told so before there was this runner to tell
            runner.drain()
        try:
            with self.pool.joined(runner):
                await runner.run()
        finally:
            runners.remove(runner)
            self._ports.log.flush()
        return SliceEnd(is_over=self._is_left_by_nobody(scheduler), polls=runner.statistics.polls)

    def _chosen(self, jobs: Collection[str]) -> frozenset[str] | None:
        return self.options.chosen(list(jobs))

    def _is_left_by_nobody(self, scheduler: Scheduler) -> bool:
        """Whether another worker could do nothing either: what stopped this one holds for all, or nothing is left."""
        if scheduler.draining:
            return not (scheduler.polls or scheduler.downloads or scheduler.to_submit or scheduler.tracker.waiting)
        left = scheduler.polls or scheduler.downloads or scheduler.to_submit
        return not left or not any(halt.is_local for halt in self.breaker.all_halts)
