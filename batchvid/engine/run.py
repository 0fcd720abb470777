"""One run, from the lock on the output to the exit code: opens everything, lets the runner work, closes everything.

How a run ended: of the jobs that were chosen, how many stand where, which need a person, and the exit code.

Several runs in one call: at the same time where their outputs differ, together within what an account allows.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from batchvid.domain.dependencies import DependencyGraph, DependencyTracker
from batchvid.domain.doubts import doubts_of
from batchvid.domain.errors import BatchvidError, Exit
from batchvid.domain.film import FilmState
from batchvid.domain.job import State
from batchvid.domain.records import clip_line
from batchvid.domain.reopening import Wishes, matching, reopenings
from batchvid.domain.results import NeedsAttention, Summary, exit_code
from batchvid.engine.account import SpendCap
from batchvid.engine.circuit_breaker import CircuitBreaker, worst_halt
from batchvid.engine.films import make_films
from batchvid.engine.moving import move_jobs
from batchvid.engine.planning import planned, take_up_missing
from batchvid.engine.recovery import as_they_stand, parted, take_back, take_up
from batchvid.engine.scheduler import Scheduler, place_all
from batchvid.engine.stats import RunStatistics
from batchvid.engine.steps import Ports
from batchvid.engine.workers import InFlightPool, Runner
from batchvid.journal.group_commit import Recorder
from batchvid.media.frames import still_sha256, take_still
from batchvid.media.images import frame_bytes
from batchvid.providers.http import Service
from batchvid.storage.local import Outputs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from batchvid.domain.dependencies import Wait
    from batchvid.domain.doubts import Doubt
    from batchvid.domain.film import FilmReport
    from batchvid.domain.job import Progress
    from batchvid.domain.limits import Limits
    from batchvid.domain.plan import Plan
    from batchvid.domain.results import Money
    from batchvid.engine.observer import View
    from batchvid.engine.steps import ServicePort
    from batchvid.journal.base import Journal, JournalStore
    from batchvid.manifest.model import Manifest

    Ended = Callable[[int, Summary | BatchvidError], Awaitable[None]]


CHOSE_NONE = "--only chose none of its jobs"


def counts_of(scheduler: Scheduler, journal: Journal) -> Mapping[State, int]:
    """Count the chosen jobs by state."""
    if scheduler.only is None:
        return scheduler.counts
    states = {row.job_id: row.state for row in journal.progress_of(scheduler.only)}
    return Counter(states.get(job_id, State.PENDING) for job_id in scheduler.only)


def needing_person(
    scheduler: Scheduler, runner: Runner | None, left: Iterable[Progress], waits: Iterable[Wait], *, journal: Journal
) -> tuple[NeedsAttention, ...]:
    """Return the chosen jobs that go no further until somebody decides; *left* is what the run did not touch."""
    statistics = RunStatistics(scheduler, started=0.0) if runner is None else runner.statistics
    for row in left:
        statistics.take_over(row)
    blocked = (NeedsAttention(wait.job_id, State.PENDING, wait.reason) for wait in waits if wait.blocked)
    found = [one for one in (*statistics.needs_person.values(), *blocked) if scheduler.may_submit(one.job_id)]
    doubts: dict[str, Doubt] = {}
    if any(one.state is State.IN_DOUBT for one in found):
        doubts = {one.job_id: one for one in doubts_of(scheduler.jobs, journal.doubts())}
    return tuple(replace(one, doubt=doubts.get(one.job_id)) for one in found)


def summary_of(
    scheduler: Scheduler,
    runner: Runner | None,
    needing: tuple[NeedsAttention, ...],
    *,
    counts: Mapping[State, int],
    films: tuple[FilmReport, ...],
    began: float,
    named: str,
    output: str,
    interrupted: Exit | None,
) -> Summary:
    """Return the end of a run as a value; *began* is a moment of the loop's clock.

    *interrupted* is the code of the signal that ended it.
    """
    counts = {state: counts[state] for state in State}
    # What others have met of the account concerns a run that has something left to do.
    breaker, unfinished = scheduler.breaker, any(counts[state] for state in State if state.is_open)
    halts = breaker.all_halts if unfinished else breaker.halts
    halt = worst_halt(halts)
    parked = sum(scheduler.may_submit(scheduler.jobs[index].id) for index in scheduler.parked)
    codes = [one.exit_code for one in halts]
    codes += [Exit.FAILED for report in films if report.state is FilmState.FAILED]
    blocked = sum(one.state is State.PENDING for one in needing)
    nothing = CHOSE_NONE if scheduler.jobs and scheduler.only is not None and not scheduler.only else None
    if nothing is not None:  # a slip in a pattern must not look like a manifest that is done
        codes.append(Exit.STOPPED)
    jobs, chosen = scheduler.jobs, scheduler.may_submit
    deferred = {jobs[index].id: reason for index, reason in scheduler.deferred.items()}
    spent = [NeedsAttention(job_id, State.PENDING, reason) for job_id, reason in deferred.items() if chosen(job_id)]
    return Summary(
        manifest=named,
        output=output,
        counts=counts,
        parked=parked,
        money=scheduler.budget.money,
        elapsed_s=asyncio.get_running_loop().time() - began,
        submits=0 if runner is None else runner.statistics.submits,
        polls=0 if runner is None else runner.statistics.polls,
        downloaded_bytes=0 if runner is None else runner.statistics.downloaded_bytes,
        exit_code=exit_code(counts, parked=parked, halts=codes, interrupted=interrupted, blocked=blocked),
        stopped="it was interrupted" if interrupted is not None else halt.reason if halt else nothing or _spent(spent),
        needs_person=(*needing, *spent),
        films=films,
        not_chosen=len(scheduler.jobs) - sum(counts.values()),
    )


def _spent(jobs: Sequence[NeedsAttention]) -> str | None:
    """Return why the run ended where only jobs are left that may send nothing more in it."""
    if not jobs:
        return None
    what = "1 job has" if len(jobs) == 1 else f"{len(jobs)} jobs have"
    return f"{what} sent as many paid requests as one run may (limits.attempts + 2); run again later"


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked of this run beyond the manifest."""

    wishes: Wishes = field(default_factory=Wishes)
    stop_submitting_at: float | None = None
    """UTC epoch seconds."""
    max_cost_micros: int | None = None
    max_jobs: int | None = None
    only: tuple[str, ...] | None = None
    """Patterns of job ids (``*``, ``?``, ``[…]``): no other job is submitted, and how the run ended is told of these.
    What is paid is still collected of all."""
    ca_file: str | None = None
    moved: bool = False
    """Go on in an output that was copied, moved or restored, whatever another copy of it does."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where the paid requests go, and with which key. Its repr does not show the key."""

    base_url: str
    key: str = field(repr=False)


def over_http(account: Account, options: Options, downloads: int) -> AbstractAsyncContextManager[ServicePort]:
    """Return the way to the service over the network, for so many *downloads* at once."""
    return Service(account.base_url, account.key, ca_file=options.ca_file, downloads=downloads)


@dataclass(slots=True)
class Interrupts:
    """The signals that end the runs of a call: the first drains them, the second stops them at once."""

    runners: list[Runner] = field(default_factory=list)
    tasks: set[asyncio.Task[object]] = field(default_factory=set)
    code: Exit | None = None
    at_once: bool = False

    def install(self) -> None:
        """Listen to SIGINT, SIGTERM and SIGHUP in the running loop; to SIGHUP not where it is ignored (``nohup``)."""
        loop = asyncio.get_running_loop()
        for number, code in (
            (signal.SIGINT, Exit.INTERRUPTED),
            (signal.SIGTERM, Exit.TERMINATED),
            (signal.SIGHUP, Exit.TERMINATED),
        ):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.received, code)

    def received(self, code: Exit) -> None:
        """Drain the run, or stop it when it is draining already."""
        if self.code is None:
            self.code = code
            for runner in self.runners[:1]:
                runner.edges.view.note(
                    "stopping: nothing new is sent, requests in flight end and are recorded; "
                    "once more stops at once (paid tasks stay in the journal)"
                )
            for runner in self.runners:
                runner.drain()
        elif self.tasks and not self.at_once:
            self.at_once = True
            for task in self.tasks:
                task.cancel()


@dataclass(frozen=True, slots=True)
class Order:
    """Everything that one run needs to be told."""

    manifest: Manifest
    named: str
    """The manifest as the person wrote it."""
    identity: str
    """What the journal is bound to: the base URL, or ``sandbox``."""
    account: Callable[[], Account]
    """Asked only when there is something to do."""
    options: Options
    view: View
    journal: JournalStore
    interrupts: Interrupts | None = None
    connect: Callable[[Account, Options, int], AbstractAsyncContextManager[ServicePort]] = over_http
    wall: Callable[[], float] = time.time
    planned: Callable[[Plan, Money], None] | None = None
    """Told what the run is going to do, before it does anything."""
    before_summary: Callable[[Summary], Awaitable[None]] | None = None
    """Awaited when all is on disk and the output is free again, before the view is told the summary."""
    sharing: InFlightPool | None = None
    """The account, when other runs of the call use it too."""
    ration: SpendCap | None = None
    """What the whole call may do; by default *options* say it, for this run alone."""


async def run(order: Order) -> Summary:
    """Do what is left of the manifest, and tell how it ended.

    Raises `ConfigError`, `OutputBusyError` or `StorageError` when the run cannot begin, and `StorageError` when the
    journal fails in its midst.
    """
    manifest, options, now = order.manifest, order.options, asyncio.get_running_loop().time()
    outputs = Outputs(manifest.output)
    outputs.prepare()
    with outputs.lock(), order.journal.open(service=order.identity) as journal:
        dependencies, at, named = DependencyGraph(manifest.jobs), order.wall(), {job.id: job for job in manifest.jobs}
        journal.settle(named.keys(), moved=options.moved, note=order.view.warn)
        take_back(journal, outputs, jobs=named, leave_aside=options.moved, at=at, warn=order.view.warn)
        take_up(journal, outputs, at=at, warn=order.view.warn)
        move_jobs(
            journal, outputs, jobs=manifest.jobs, dependencies=dependencies, limits=manifest.limits, at=at,
            note=order.view.note, warn=order.view.warn, rebuy=options.wishes.rebuy,
        )  # fmt: skip
        jobs = as_they_stand(manifest.jobs, dependencies, journal)
        only = None if options.only is None else matching(jobs, options.only)
        chosen = jobs if only is None else {job_id: jobs[job_id] for job_id in only}
        again = reopenings(chosen, journal.all_progress(), wishes=options.wishes, limits=manifest.limits)
        kept = {job_id: job for job_id, job in jobs.items() if job_id not in again}
        take_up_missing(journal, outputs, kept, at=at, warn=order.view.warn)
        if order.planned is not None:
            order.planned(*planned(manifest, journal, rebuy=options.wishes.rebuy, again=again, only=only))
        rows, closed = parted(journal.all_progress(), jobs.keys(), again=again, whole=dependencies.ids)
        sharing = order.sharing or InFlightPool.among([manifest.limits])
        breaker = CircuitBreaker(
            manifest.limits,
            stop_submitting_at=_on_clock(options.stop_submitting_at, now=now, at=order.wall()),
            window_ends_at=options.stop_submitting_at,
            known=any(row.task_id is not None or row.state is State.DONE for row in (rows | closed).values()),
            ration=order.ration or SpendCap(options.max_cost_micros, options.max_jobs),
            account=sharing.account,
            out_before=sum(row.state is not State.PENDING and row.job_id not in again for row in rows.values()),
            clips_before=sum(row.state is State.DONE for row in closed.values()),
        )
        scheduler = Scheduler(
            manifest.jobs,
            manifest.limits,
            breaker=breaker,
            money=replace(journal.money(), budget_micros=manifest.limits.budget_micros),
            timings=journal.timings(),
            tracker=DependencyTracker(dependencies, limits=manifest.limits, rebuy=options.wishes.rebuy),
        )
        place_all(
            scheduler, rows | closed, again=again, held=journal.reserved_jobs(), only=only, now=now, at=order.wall()
        )
        runner = None
        if not scheduler.is_over():
            runner = await _work(order, scheduler, sharing, rows=rows, journal=journal, outputs=outputs)
        shared = dependencies.ids.union(*(film.clips for film in manifest.films))
        known = {row.job_id: row for row in journal.progress_of(shared)}  # the others are read one by one
        waits = list(dependencies.waits(known, held_back=scheduler.tracker.reasons(manifest.jobs)))
        films = await _films(order, scheduler, known, outputs)
        left = closed if runner is not None else rows | closed
        needing = needing_person(scheduler, runner, left.values(), waits, journal=journal)
        summary = summary_of(
            scheduler, runner, needing, counts=counts_of(scheduler, journal), films=films, began=now,
            named=order.named, output=str(manifest.output),
            interrupted=None if order.interrupts is None else order.interrupts.code,
        )  # fmt: skip
        await outputs.write_clips(_clip_lines(manifest, journal))
    if order.before_summary is not None:
        await order.before_summary(summary)
    order.view.summary(summary)
    return summary


def _on_clock(moment: float | None, *, now: float, at: float) -> float | None:
    """Return a moment of the wall clock on the monotonic one, which nobody sets."""
    return None if moment is None else now + moment - at


async def _work(
    order: Order,
    scheduler: Scheduler,
    sharing: InFlightPool,
    *,
    rows: dict[str, Progress],
    journal: Journal,
    outputs: Outputs,
) -> Runner:
    """Let the runner work until it is over."""
    account, downloads = order.account(), order.manifest.limits.downloads
    async with AsyncExitStack() as stack:
        edges = Ports(
            service=await stack.enter_async_context(order.connect(account, order.options, downloads)),
            records=await stack.enter_async_context(Recorder(journal)),
            outputs=outputs,
            log=journal.log,
            view=order.view,
            read_frame=frame_bytes,
            take_still=partial(take_still, outputs.folder),
            still_sha256=partial(still_sha256, outputs.folder),
            submit_pace=sharing.submit_pace,
            request_pace=sharing.request_pace,
            wall=order.wall,
        )
        runner = Runner(scheduler, edges, sharing.runners)
        for row in rows.values():
            runner.statistics.take_over(row)
        stack.enter_context(sharing.joined(runner))
        try:
            await _interruptible(runner, order.interrupts)
        finally:
            edges.log.flush()
            if edges.log.failed is not None:
                order.view.warn(edges.log.failed)
            order.view.stats(runner.snapshot())
        return runner


async def _interruptible(runner: Runner, interrupts: Interrupts | None) -> None:
    if interrupts is None:
        await runner.run()
        return
    task = asyncio.current_task()
    if task is None:
        return
    interrupts.runners.append(runner)
    interrupts.tasks.add(task)
    if interrupts.code is not None:
        runner.drain()
    try:
        await runner.run()
    except asyncio.CancelledError:
        if not interrupts.at_once:
            raise
        task.uncancel()
    finally:
        interrupts.runners.remove(runner)
        interrupts.tasks.discard(task)  # what is left is the summary, which nobody has to hurry


async def _films(
    order: Order, scheduler: Scheduler, known: Mapping[str, Progress], outputs: Outputs
) -> tuple[FilmReport, ...]:
    """Join what is there to be joined, unless the run was interrupted or the disk is in trouble."""
    interrupts, films = order.interrupts, order.manifest.films
    if not films:
        return ()
    stopped = scheduler.breaker.downloads_stopped

    def is_stopped() -> bool:
        return stopped or (interrupts is not None and interrupts.code is not None)

    made = make_films(films, known, outputs, say=order.view.note, is_stopped=is_stopped)
    return tuple([report async for report in made])


def _clip_lines(manifest: Manifest, journal: Journal) -> Iterator[dict[str, Any]]:
    """Yield one object per clip on disk, in the manifest's order."""
    jobs = iter(manifest.jobs)
    for row in journal.progress_of(job.id for job in manifest.jobs):
        job = next(job for job in jobs if job.id == row.job_id)
        if row.state is State.DONE:
            yield clip_line(job, row)


async def run_many(orders: Sequence[Order], accounts: Sequence[Hashable], ended: Ended) -> None:
    """Do what is left of each manifest, and tell how each ended, by its place in *orders*.

    Orders with equal *accounts* share the pace, the room and the refusals of that account. Those that share an output
    are done one after the other. What keeps one of them from beginning does not stop the others.
    """
    limits: dict[Hashable, list[Limits]] = {}
    for order, account in zip(orders, accounts, strict=True):
        limits.setdefault(account, []).append(order.manifest.limits)
    shared = {account: InFlightPool.among(of_account) for account, of_account in limits.items()}
    by_output: dict[object, list[int]] = {}
    for place, order in enumerate(orders):
        by_output.setdefault(order.manifest.output.resolve(), []).append(place)

    async def one_after_the_other(places: Sequence[int]) -> None:
        for place in places:
            order = orders[place]
            if order.interrupts is not None and order.interrupts.code is not None and place != places[0]:
                return
            await ended(place, await _outcome(replace(order, sharing=shared[accounts[place]])))

    async with asyncio.TaskGroup() as group:
        for places in by_output.values():
            group.create_task(one_after_the_other(places), name=orders[places[0]].named)


async def _outcome(order: Order) -> Summary | BatchvidError:
    try:
        return await run(order)
    except BatchvidError as error:
        return error
