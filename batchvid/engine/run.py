"""One run, from the lock on the output to its summary and exit code; and several runs in one call.

Those of several outputs are at work at the same time, together within what their account allows.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

from batchvid.domain.dependencies import DependencyGraph, DependencyTracker
from batchvid.domain.doubts import doubts_of
from batchvid.domain.errors import BatchvidError, Exit, StorageError
from batchvid.domain.filename import is_plain
from batchvid.domain.film import FilmState
from batchvid.domain.frozen import frozen
from batchvid.domain.job import State
from batchvid.domain.reopening import CRASHED, rejection, reopenings, reopens_done, still_wakes
from batchvid.domain.results import NeedsAttention, Summary, exit_code
from batchvid.engine.answers import AnswerKeeper
from batchvid.engine.budget import SpendCap
from batchvid.engine.circuit_breaker import CircuitBreaker, worst_halt
from batchvid.engine.clip_list import write_clip_list
from batchvid.engine.films import make_films, take_still
from batchvid.engine.limits_file import limits_file_of
from batchvid.engine.limits_keeper import LimitsKeeper
from batchvid.engine.planning import planned, take_up_missing
from batchvid.engine.recovery import as_they_stand, parted, recover
from batchvid.engine.scheduler import Scheduler
from batchvid.engine.spending import day_budget_of, money_of
from batchvid.engine.stats import Statistics
from batchvid.engine.steps import Ports
from batchvid.engine.takes import takes_of_films
from batchvid.engine.target import journal_of
from batchvid.engine.workers import InFlightPool, Runner
from batchvid.journal import orphans
from batchvid.journal.group_commit import Recorder
from batchvid.media.images import frame_bytes
from batchvid.providers.registry import PROVIDERS
from batchvid.storage.output import Output
from batchvid.storage.state import CLIPS_FILE
from batchvid.storage.threads import settled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence

    from batchvid.domain.dependencies import Wait
    from batchvid.domain.doubts import Doubt
    from batchvid.domain.film import FilmReport
    from batchvid.domain.job import Job, Progress
    from batchvid.domain.learned import Learned
    from batchvid.domain.lifecycle import Reopened
    from batchvid.engine.context import Interrupts, RunContext
    from batchvid.journal.base import Journal
    from batchvid.storage.base import ClipStore


class Ended(Protocol):
    """Told how each of several runs ended, by its place among them."""

    def __call__(self, place: int, outcome: Summary | BatchvidError, /) -> Awaitable[None]:
        """Tell it."""


CHOSE_NONE = "--only chose none of its jobs"


def counts_of(scheduler: Scheduler, journal: Journal) -> Mapping[State, int]:
    """Count the chosen jobs by state."""
    if scheduler.only is None:
        return scheduler.counts
    states = {row.job_id: row.state for row in journal.progress_of(scheduler.only)}
    return Counter(states.get(job_id, State.PENDING) for job_id in scheduler.only)


def needing_person(
    scheduler: Scheduler, statistics: Statistics, waits: Iterable[Wait], journal: Journal
) -> tuple[NeedsAttention, ...]:
    """Return the chosen jobs that go no further until somebody decides.

    A run that was stopped at once waits for no answer: the paid requests that were under way are in doubt.
    """
    cut_short: list[NeedsAttention] = []
    if scheduler.counts[State.SUBMITTING]:
        open_rows = journal.undone_progress()
        cut_short = [
            NeedsAttention(row.job_id, row.state, CRASHED) for row in open_rows if row.state is State.SUBMITTING
        ]
    blocked = (NeedsAttention(wait.job_id, State.PENDING, wait.reason) for wait in waits if wait.blocked)
    stuck = (*cut_short, *statistics.needs_person.values(), *blocked)
    found = [one for one in stuck if scheduler.may_submit(one.job_id)]
    doubts: dict[str, Doubt] = {}
    if any(one.state in {State.IN_DOUBT, State.SUBMITTING} for one in found):
        doubts = {one.job_id: one for one in doubts_of(scheduler.jobs, journal.doubts())}
    return tuple(replace(one, doubt=doubts.get(one.job_id)) for one in found)


def summary_of(
    context: RunContext,
    scheduler: Scheduler,
    statistics: Statistics,
    needing: tuple[NeedsAttention, ...],
    *,
    counts: Mapping[State, int],
    films: tuple[FilmReport, ...],
    elapsed_s: float,
    learned: Learned | None = None,
) -> Summary:
    """Return the end of a run as a value."""
    counts, interrupted = {state: counts[state] for state in State}, context.interrupts.code
    # What others have met of the account concerns a run that has something left to do.
    breaker, unfinished = scheduler.breaker, any(counts[state] for state in State if state.is_open)
    halts = breaker.all_halts if unfinished else breaker.halts
    codes = [one.exit_code for one in halts]
    codes += [Exit.FAILED for report in films if report.state is FilmState.FAILED]
    nothing = CHOSE_NONE if scheduler.jobs and scheduler.only is not None and not scheduler.only else None
    if nothing is not None:  # a slip in a pattern must not look like a manifest that is done
        codes.append(Exit.STOPPED)
    ids, chosen = [job.id for job in scheduler.jobs], scheduler.may_submit
    exhausted = [
        NeedsAttention(ids[index], State.PENDING, last)
        for index, last in scheduler.exhausted.items()
        if chosen(ids[index])
    ]
    deferred = sum(chosen(ids[index]) for index in scheduler.deferred)
    deferred_ready = sum(chosen(ids[index]) for index in scheduler.deferred_ready)
    blocked = sum(one.state is State.PENDING for one in needing)
    halt = worst_halt(halts)
    reason = halt.reason if halt else nothing or _all_exhausted(exhausted)
    return Summary(
        manifest=context.named,
        output=context.manifest.place,
        counts=counts,
        parked=deferred,
        money=scheduler.budget.money,
        elapsed_s=elapsed_s,
        submits=statistics.submits,
        polls=statistics.polls,
        downloaded_bytes=statistics.downloaded_bytes,
        exit_code=exit_code(counts, parked=deferred, halts=codes, interrupted=interrupted, blocked=blocked),
        stopped="it was interrupted" if interrupted is not None else reason,
        needs_person=(*needing, *exhausted),
        films=films,
        not_chosen=len(scheduler.jobs) - sum(counts.values()),
        parked_ready=deferred_ready,
        sandbox=context.is_rehearsal,
        learned=learned,
    )


def _all_exhausted(jobs: Sequence[NeedsAttention]) -> str | None:
    """Return why the run ended where only jobs are left that may send nothing more in it."""
    if not jobs:
        return None
    what = "1 job has" if len(jobs) == 1 else f"{len(jobs)} jobs have"
    return f"{what} sent as many paid requests as one run may (limits.attempts + 2); run again later"


async def run(context: RunContext) -> Summary:
    """Do what is left of the manifest, and tell how it ended.

    Raises `ConfigError`, `OutputBusyError` or `StorageError` when the run cannot begin, and `StorageError` when the
    journal fails in its midst.
    """
    manifest, options, now = context.manifest, context.options, asyncio.get_running_loop().time()
    output = Output.of(manifest)
    await settled(output.prepare)
    if manifest.bucket is not None:
        context.observer.note(f"clips go into {manifest.bucket}; their journal stays in {output.state.folder}")
    if manifest.profile and options.sandbox_speed is None:
        context.observer.note(f"profile {manifest.profile}: requests go to {manifest.base_url}")
    store = journal_of(manifest)
    with store.lock(), store.open(service=context.identity) as journal:
        taken = take_stock(context, journal, output)
        again, only, refused, dependencies = taken.again, taken.only, taken.refused, taken.dependencies
        rows, closed, done = parted(journal, taken.jobs.keys(), again=again, whole=dependencies.ids)
        pool = context.pool or pool_of([context])
        breaker = CircuitBreaker(
            manifest.limits,
            stop_submitting_at=on_clock(options.until_at, now=now, at=context.wall()),
            window_ends_at=options.until_at,
            known=bool(done)
            or any(row.task_id is not None or row.state is State.DONE for row in chain(rows.values(), closed.values())),
            spend_cap=context.spend_cap or SpendCap(options.max_cost_micros, options.max_jobs),
            account=pool.account,
            out_before=sum(row.state is not State.PENDING and row.job_id not in again for row in rows.values()),
            clips_before=len(done) + sum(row.state is State.DONE for row in closed.values()),
        )
        scheduler = Scheduler(
            manifest.jobs,
            manifest.limits,
            breaker=breaker,
            money=money_of(journal, manifest.limits, wall=context.wall),
            day=day_budget_of(journal, manifest.limits, wall=context.wall),
            timings=journal.timings(),
            tracker=DependencyTracker(dependencies, limits=manifest.limits, rebuy=options.rebuy),
        )
        reserved, at = journal.reserved_jobs(), context.wall()
        scheduler.restore(
            rows | closed, done=done, again=again, reserved=reserved, only=only, refused=refused, now=now, at=at
        )
        statistics = Statistics()
        if not scheduler.is_over():
            statistics = await _work(context, scheduler, pool, rows=rows, journal=journal, output=output)
            rows = {}
        shared = dependencies.ids.union(refused, *(film.clips for film in manifest.films))
        known = {row.job_id: row for row in journal.progress_of(shared)}  # the others are read one by one
        waits = list(dependencies.waits(known, held_back=scheduler.tracker.reasons(manifest.jobs)))
        films = await _films(context, scheduler, known, journal, output.clips)
        for row in (rows | closed | known).values():  # a closed one may have been opened again behind a new clip
            statistics.stands(row)
        needing, counts = needing_person(scheduler, statistics, waits, journal), counts_of(scheduler, journal)
        elapsed_s = asyncio.get_running_loop().time() - now
        summary = summary_of(
            context, scheduler, statistics, needing, counts=counts, films=films, elapsed_s=elapsed_s,
            learned=pool.learned(context.wall()),
        )  # fmt: skip
        await settled(partial(write_clip_list, manifest, journal, output.state))
    try:
        await settled(partial(output.clips.publish, manifest.output, CLIPS_FILE))
    except StorageError as error:  # the clips are safe, and the next run publishes it
        context.observer.warn(str(error))
    if context.before_summary is not None:
        await context.before_summary(summary)
    context.observer.summary(summary)
    return summary


@frozen
class Stock:
    """What is found before anything is sent: the jobs as they stand, and what may become of them."""

    jobs: dict[str, Job]
    """All, by id, in the manifest's order."""
    only: frozenset[str] | None
    """The ids that may be submitted; ``None`` is all."""
    again: dict[str, Reopened]
    """The events that would open closed jobs and doubts again."""
    refused: dict[str, str]
    """The jobs whose file cannot be made, each with the reason."""
    dependencies: DependencyGraph

    @property
    def may_be_sent(self) -> frozenset[str] | None:
        """The ids that may be submitted and whose file can be made; ``None`` is all."""
        if not self.refused:
            return self.only
        return frozenset((self.jobs.keys() if self.only is None else self.only) - self.refused.keys())


def take_stock(context: RunContext, journal: Journal, output: Output) -> Stock:
    """Bring the journal up to date, decide what may be bought, and tell the plan. Nothing is sent."""
    manifest, options = context.manifest, context.options
    at, note, warn = context.wall(), context.observer.note, context.observer.warn
    dependencies = recover(journal, output, manifest, options, at=at, note=note, warn=warn)
    jobs = as_they_stand(manifest.jobs, dependencies, journal)
    only = options.chosen(jobs)
    chosen = jobs if only is None else {job_id: jobs[job_id] for job_id in only}
    decisions = journal.decisions(chosen)
    closed_too = reopens_done(options, manifest.limits)
    ids = sorted({job_id for (job_id, _), one in decisions.items() if one.is_rejection})
    rejected = [row for row in journal.progress_of(ids) if rejection(row, decisions) is not None]
    found = journal.progress_in_brief() if closed_too else journal.undone_progress()
    again = reopenings(chosen, chain(found, rejected), options=options, limits=manifest.limits, decisions=decisions)
    if stuck := [row.job_id for row in rejected if row.job_id not in again]:
        note(stuck_line(stuck))
    for job_id, left_s in (journal.may_wake() if again else {}).items():
        if again.pop(job_id, None) is not None:
            warn(f"{job_id} stays in doubt: {still_wakes(left_s)}")
    refused = refused_names(chosen.values(), journal, output.clips, again=again, warn=warn)
    again = {job_id: event for job_id, event in again.items() if job_id not in refused}
    kept = {job_id: job for job_id, job in jobs.items() if job_id not in again}
    take_up_missing(journal, output.clips, kept, at=at, warn=warn)
    stock = Stock(jobs, only, again, refused, dependencies)
    if context.planned is not None:
        context.planned(*planned(manifest, journal, rebuy=options.rebuy, again=again, only=stock.may_be_sent))
    return stock


STUCK_TOLD = 5


def stuck_line(ids: Sequence[str]) -> str:
    """Return, in one line, which rejected clips no run buys again."""
    names = ", ".join(ids[:STUCK_TOLD]) + (", …" if len(ids) > STUCK_TOLD else "")
    what = "1 rejected clip has" if len(ids) == 1 else f"{len(ids):,} rejected clips have"
    return f"{what} no attempt left (limits.attempts): batchvid redo MANIFEST ID buys one again: {names}"


NAMES_TOLD = 20
"""Jobs of which each gets a line."""


def refused_names(
    jobs: Iterable[Job],
    journal: Journal,
    clips: ClipStore,
    *,
    again: Collection[str],
    warn: Callable[[str], None],
) -> dict[str, str]:
    """Return which of the *jobs* that would be bought cannot have their file, each with the reason, and tell of them.

    They wait, and nothing is paid for them. Only names that are not plain are tried; most manifests have none.
    """
    odd = [job for job in jobs if not is_plain(job.path)]
    states = {row.job_id: row.state for row in journal.progress_of([job.id for job in odd])}
    wanted = [job for job in odd if states.get(job.id, State.PENDING) is State.PENDING or job.id in again]
    found = {job.id: trouble for job in wanted if (trouble := clips.name_trouble(job.path)) is not None}
    for job_id, trouble in islice(found.items(), NAMES_TOLD):
        warn(f"{job_id} is not sent: {trouble}")
    if (more := len(found) - NAMES_TOLD) > 0:
        warn(f"and {more:,} more jobs are not sent for their names")
    return found


def on_clock(moment: float | None, *, now: float, at: float) -> float | None:
    """Return a moment of the wall clock on the monotonic one, which nobody sets."""
    return None if moment is None else now + moment - at


async def _work(
    context: RunContext,
    scheduler: Scheduler,
    pool: InFlightPool,
    *,
    rows: dict[str, Progress],
    journal: Journal,
    output: Output,
) -> Statistics:
    """Let the runner work until it is over, and return what it did; *rows* are the open jobs."""
    async with AsyncExitStack() as stack:
        ports = Ports(
            provider=PROVIDERS[context.manifest.provider],
            service=await stack.enter_async_context(context.connect(context)),
            records=await stack.enter_async_context(Recorder(journal)),
            clips=output.clips,
            keep_orphan=partial(orphans.append, output.state.output),
            log=journal.log,
            answers=AnswerKeeper(
                output.state,
                provider=context.manifest.provider,
                base_url=context.identity,
                wall=context.wall,
                warn=context.observer.warn,
            ),
            observer=context.observer,
            read_frame=frame_bytes,
            take_still=partial(take_still, output),
            still_sha256=output.state.frame_sha256,
            submit_pace=pool.submit_pace,
            request_pace=pool.request_pace,
            keep_limits=pool.keep_limits,
            wall=context.wall,
        )
        runner = Runner(scheduler, ports, pool.runners)
        runner.statistics.sandbox = context.is_rehearsal
        resumed = [row.job_id for row in rows.values() if row.parked]
        for row in rows.values():  # what an earlier run has deferred is looked for again
            runner.statistics.stands(row._replace(parked=False))
        stack.enter_context(pool.joined(runner))
        try:
            await _interruptible(runner, context.interrupts)
        finally:
            if pool.keeper is not None:
                await pool.keeper.keep(at_end=True)
                if pool.keeper.failed is not None:
                    context.observer.warn(pool.keeper.failed)
            ports.log.flush()
            if ports.log.failed is not None:
                context.observer.warn(ports.log.failed)
            context.observer.stats(runner.snapshot())
        for row in journal.progress_of(resumed):
            runner.statistics.stands(row)
        return runner.statistics


async def _interruptible(runner: Runner, interrupts: Interrupts) -> None:
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
    context: RunContext, scheduler: Scheduler, known: Mapping[str, Progress], journal: Journal, clips: ClipStore
) -> tuple[FilmReport, ...]:
    """Join what is there to be joined, unless the run was interrupted or the disk is in trouble."""
    interrupts, films = context.interrupts, context.manifest.films
    if not films:
        return ()
    stopped = scheduler.breaker.downloads_stopped

    def is_stopped() -> bool:
        return stopped or interrupts.code is not None

    takes = await settled(partial(takes_of_films, films, journal, clips))
    made = make_films(films, known, clips, say=context.observer.note, is_stopped=is_stopped, takes=takes)
    return tuple([report async for report in made])


def pool_of(contexts: Sequence[RunContext]) -> InFlightPool:
    """Return the account that these runs share. Where its limits are found out, what was learned of them is kept."""
    pool = InFlightPool.among([context.manifest.limits for context in contexts])
    auto, first = pool.account.auto, contexts[0]
    file = None if auto is None else limits_file_of(first.manifest, first.options)
    if auto is None or file is None:
        return pool
    before = file.load()
    if before is not None:
        auto.begin_with(before.aged(first.wall()))
    return replace(pool, keeper=LimitsKeeper(file, auto, before, first.wall))


async def run_many(contexts: Sequence[RunContext], ended: Ended) -> None:
    """Do what is left of each manifest, and tell how each ended, by its place in *contexts*.

    Those with equal accounts share the pace, the room and the refusals of that account. Those that share an output
    are done one after the other. What keeps one of them from beginning does not stop the others.
    """
    sharing: dict[Hashable, list[RunContext]] = {}
    accounts = [context.account_id for context in contexts]
    for context, account in zip(contexts, accounts, strict=True):
        sharing.setdefault(account, []).append(context)
    shared = {account: pool_of(of_account) for account, of_account in sharing.items()}
    by_output: dict[object, list[int]] = {}
    for place, context in enumerate(contexts):
        by_output.setdefault(context.manifest.output.resolve(), []).append(place)

    async def one_after_the_other(places: Sequence[int]) -> None:
        for place in places:
            context = contexts[place]
            if context.interrupts.code is not None and place != places[0]:
                return
            await ended(place, await _outcome(replace(context, pool=shared[accounts[place]])))

    async with asyncio.TaskGroup() as group:
        for places in by_output.values():
            group.create_task(one_after_the_other(places), name=contexts[places[0]].named)


async def _outcome(context: RunContext) -> Summary | BatchvidError:
    try:
        return await run(context)
    except BatchvidError as error:
        return error
