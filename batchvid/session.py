"""One run, from the lock on the output to the exit code: opens everything, lets the runner work, closes everything."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from batchvid.core.account import Ration
from batchvid.core.brakes import Brakes
from batchvid.core.chains import Chains
from batchvid.core.course import Course
from batchvid.core.handover import Handover
from batchvid.core.job import State
from batchvid.core.opening import Wishes, matching, reopenings
from batchvid.core.placing import place_all
from batchvid.core.story import clip_line
from batchvid.edge import home
from batchvid.edge.journal import Journal
from batchvid.edge.media import frame_bytes
from batchvid.edge.outputs import Outputs
from batchvid.edge.recorder import Recorder
from batchvid.edge.service import Service
from batchvid.edge.stills import still_sha256, take_still
from batchvid.ending import counts_of, needing_person, summary_of
from batchvid.errors import Exit
from batchvid.films import make_films
from batchvid.missing import take_up_missing
from batchvid.moving import move_jobs
from batchvid.planning import planned
from batchvid.runner import Runner
from batchvid.sharing import Sharing
from batchvid.steps import Edges
from batchvid.takeback import take_back
from batchvid.takeover import as_they_stand, parted, take_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from batchvid.core.film import FilmReport
    from batchvid.core.job import Progress
    from batchvid.core.plan import Plan
    from batchvid.core.snapshot import Money
    from batchvid.core.summary import Summary
    from batchvid.manifest.model import Manifest
    from batchvid.steps import ServicePort
    from batchvid.views.view import View

JOURNAL = "journal.db"


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
    """Give the way to the service over the network, for so many *downloads* at once."""
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
    interrupts: Interrupts | None = None
    connect: Callable[[Account, Options, int], AbstractAsyncContextManager[ServicePort]] = over_http
    wall: Callable[[], float] = time.time
    planned: Callable[[Plan, Money], None] | None = None
    """Told what the run is going to do, before it does anything."""
    before_summary: Callable[[Summary], Awaitable[None]] | None = None
    """Awaited when all is on disk and the output is free again, before the view is told the summary."""
    sharing: Sharing | None = None
    """The account, when other runs of the call use it too."""
    ration: Ration | None = None
    """What the whole call may do; by default *options* say it, for this run alone."""


async def run(order: Order) -> Summary:
    """Do what is left of the manifest, and tell how it ended.

    Raises `ConfigError`, `OutputBusyError` or `StorageError` when the run cannot begin, and `StorageError` when the
    journal fails in its midst.
    """
    manifest, options, now = order.manifest, order.options, asyncio.get_running_loop().time()
    outputs = Outputs(manifest.output)
    outputs.prepare()
    journal_path = outputs.state_folder / JOURNAL
    with outputs.lock(), Journal.open(journal_path, service=order.identity) as journal:
        chains, at, named = Chains(manifest.jobs), order.wall(), {job.id: job for job in manifest.jobs}
        home.settle(journal, named.keys(), moved=options.moved, note=order.view.warn)
        take_back(journal, outputs, jobs=named, leave_aside=options.moved, at=at, warn=order.view.warn)
        take_up(journal, outputs, at=at, warn=order.view.warn)
        move_jobs(
            journal, outputs, jobs=manifest.jobs, chains=chains, limits=manifest.limits, at=at,
            note=order.view.note, warn=order.view.warn, rebuy=options.wishes.rebuy,
        )  # fmt: skip
        jobs = as_they_stand(manifest.jobs, chains, journal)
        only = None if options.only is None else matching(jobs, options.only)
        chosen = jobs if only is None else {job_id: jobs[job_id] for job_id in only}
        again = reopenings(chosen, journal.all_progress(), wishes=options.wishes, limits=manifest.limits)
        kept = {job_id: job for job_id, job in jobs.items() if job_id not in again}
        take_up_missing(journal, outputs, kept, at=at, warn=order.view.warn)
        if order.planned is not None:
            order.planned(*planned(manifest, journal, rebuy=options.wishes.rebuy, again=again, only=only))
        rows, closed = parted(journal.all_progress(), jobs.keys(), again=again, whole=chains.ids)
        sharing = order.sharing or Sharing.among([manifest.limits])
        brakes = Brakes(
            manifest.limits,
            stop_submitting_at=_on_clock(options.stop_submitting_at, now=now, at=order.wall()),
            window_ends_at=options.stop_submitting_at,
            known=any(row.task_id is not None or row.state is State.DONE for row in (rows | closed).values()),
            ration=order.ration or Ration(options.max_cost_micros, options.max_jobs),
            account=sharing.account,
            out_before=sum(row.state is not State.PENDING and row.job_id not in again for row in rows.values()),
            clips_before=sum(row.state is State.DONE for row in closed.values()),
        )
        course = Course(
            manifest.jobs,
            manifest.limits,
            brakes=brakes,
            money=replace(journal.money(), budget_micros=manifest.limits.budget_micros),
            timings=journal.timings(),
            handover=Handover(chains, limits=manifest.limits, rebuy=options.wishes.rebuy),
        )
        place_all(course, rows | closed, again=again, held=journal.held_jobs(), only=only, now=now, at=order.wall())
        runner = None
        if not course.is_over():
            runner = await _work(order, course, sharing, rows=rows, journal=journal, outputs=outputs)
        shared = chains.ids.union(*(film.clips for film in manifest.films))
        known = {row.job_id: row for row in journal.progress_of(shared)}  # the others are read one by one
        waits = list(chains.waits(known, held_back=course.handover.reasons(manifest.jobs)))
        films = await _films(order, course, known, outputs)
        left = closed if runner is not None else rows | closed
        needing = needing_person(course, runner, left.values(), waits, journal=journal)
        summary = summary_of(
            course, runner, needing, counts=counts_of(course, journal), films=films, began=now,
            named=order.named, output=str(manifest.output),
            interrupted=None if order.interrupts is None else order.interrupts.code,
        )  # fmt: skip
        await outputs.write_clips(_clip_lines(manifest, journal))
    if order.before_summary is not None:
        await order.before_summary(summary)
    order.view.summary(summary)
    return summary


def _on_clock(moment: float | None, *, now: float, at: float) -> float | None:
    """Give a moment of the wall clock on the monotonic one, which nobody sets."""
    return None if moment is None else now + moment - at


async def _work(  # noqa: PLR0913 what a run works with
    order: Order, course: Course, sharing: Sharing, *, rows: dict[str, Progress], journal: Journal, outputs: Outputs
) -> Runner:
    """Let the runner work until it is over."""
    account, downloads = order.account(), order.manifest.limits.downloads
    async with AsyncExitStack() as stack:
        edges = Edges(
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
        runner = Runner(course, edges, sharing.runners)
        for row in rows.values():
            runner.standing.take_over(row)
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
    order: Order, course: Course, known: Mapping[str, Progress], outputs: Outputs
) -> tuple[FilmReport, ...]:
    """Join what is there to be joined, unless the run was interrupted or the disk is in trouble."""
    interrupts, films = order.interrupts, order.manifest.films
    if not films:
        return ()
    stopped = course.brakes.downloads_stopped

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
