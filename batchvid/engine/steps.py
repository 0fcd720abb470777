"""The three steps of a job as the run does them: submit, poll, download. The only place that sends paid requests.

Every path out of a step has recorded an event; "nothing happened" is not an outcome. Each step returns the wait until
the job's next one, or ``None`` to leave that to the scheduler. What an answer means is the policy's affair.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urljoin

from batchvid.domain import lifecycle as life
from batchvid.domain.dependencies import bound
from batchvid.domain.errors import (
    Exit,
    ForeignFileError,
    InTheWayError,
    StorageError,
    StoreAwayError,
    TooManyFilesError,
)
from batchvid.domain.filename import is_plain, kept_as
from batchvid.domain.frozen import frozen
from batchvid.domain.job import Continuation, State
from batchvid.domain.limits import InDoubt
from batchvid.domain.records import origin, rfc3339, sidecar
from batchvid.domain.reopening import is_for_rejection
from batchvid.domain.task import INLINE_CLIP, Fault, FaultKind, Phase, Proof
from batchvid.domain.text import clean
from batchvid.engine import policy
from batchvid.engine.films import ClipNotUsableError
from batchvid.journal.base import (
    DURABLE,
    Change,
    OverCeilingError,
    StaleProgressError,
    TaskOwnedError,
    Timing,
    log_line,
)
from batchvid.providers.base import Request, inline_number, source_of
from batchvid.providers.hints import limit_hint
from batchvid.storage.download import download
from batchvid.storage.threads import settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from batchvid.domain.job import Frame, Job, Progress
    from batchvid.domain.lifecycle import ClipSaved, Event
    from batchvid.domain.task import Created, TaskReport
    from batchvid.engine.answers import AnswerKeeper
    from batchvid.engine.auto_limits import Sent
    from batchvid.engine.observer import Observer
    from batchvid.engine.policy import Verdict
    from batchvid.engine.rate_limit import Pacing
    from batchvid.engine.scheduler import Scheduler
    from batchvid.engine.stats import RunStatistics
    from batchvid.journal.base import Journal, Log
    from batchvid.journal.group_commit import Recorder
    from batchvid.providers.base import Provider
    from batchvid.providers.http import Transfer
    from batchvid.providers.response import NoResponse, Response
    from batchvid.storage.base import ClipStore, Part


class Gets(Protocol):
    """What can ask for something that costs nothing."""

    async def get(self, request: Request) -> Response | NoResponse:
        """Ask once."""


async def poll(service: Gets, provider: Provider, task_id: str, *, wall: Callable[[], float]) -> TaskReport | Fault:
    """Ask how the task stands."""
    result = await service.get(provider.poll(task_id))
    return provider.read_poll(result, task_id=task_id, now=wall())


class Posts(Protocol):
    """What can send a paid request."""

    async def post(self, request: Request) -> Response | NoResponse:
        """Send it once."""


async def create_request(provider: Provider, job: Job, read_frame: Callable[[Frame], bytes]) -> Request:
    """Return the job's create request, complete.

    Raises ValueError when a frame is gone, is no longer the one that the job was made with, or cannot be sent.
    """
    frames = [await asyncio.to_thread(read_frame, frame) for frame in job.frames]
    return provider.create(job, frames, boundary=f"batchvid-{secrets.token_hex(16)}")


class Fetches(Protocol):
    """What can ask for a clip."""

    def fetch(
        self, source: str | Request, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Transfer | NoResponse]:
        """Ask for the clip at a URL, or at the service itself."""


async def fetch_clip(
    service: Fetches,
    provider: Provider,
    part: Part,
    *,
    source: str | Request | None,
    sidecar: dict[str, Any],
    wall: Callable[[], float],
    draining_s: Callable[[], float | None] = lambda: None,
) -> ClipSaved | Fault:
    """Fetch what is missing of a clip, and save it with *sidecar*; see `batchvid.storage.download`.

    An answer that says where the clip is instead is followed, without the key unless that is the service itself.
    """

    def refused(response: Response) -> Fault:
        return provider.read_refused_download(response, now=wall())

    outcome: ClipSaved | Fault = Fault(FaultKind.EXPIRED, "the service names no place where the clip is")
    for _ in range(PLACES_FOLLOWED):
        if source is None:
            break
        answered: list[str | None] = []
        fetch = partial(_noted, service, source, answered)
        outcome = await download(part, fetch, refused=refused, sidecar=sidecar, wall=wall, draining_s=draining_s)
        if not isinstance(outcome, Fault) or outcome.url is None:
            break
        source = _followed(source, outcome.url, foreign_url=answered[-1])
    return outcome


@asynccontextmanager
async def _noted(
    service: Fetches, source: str | Request, answered: list[str | None], headers: Mapping[str, str]
) -> AsyncIterator[Transfer | NoResponse]:
    """Ask for a clip, and note which foreign URL answered; ``None``: the service itself."""
    async with service.fetch(source, headers) as transfer:
        answered.append(getattr(transfer, "foreign_url", None))
        yield transfer


def _followed(source: str | Request, url: str, *, foreign_url: str | None) -> str | Request | None:
    """Return what to ask for after an answer that named *url*.

    Only the service itself may name one of its own paths: those are asked for with the key.
    """
    if foreign_url is not None:
        return None if url.startswith(INLINE_CLIP) else urljoin(foreign_url, url)
    if url.startswith(INLINE_CLIP):
        return replace(source, inline=inline_number(url)) if isinstance(source, Request) else None
    return Request("GET", url, is_from_root=True) if url.startswith("/") else url


PLACES_FOLLOWED = 3
"""An answer in place of a clip that names its place, and one more behind that."""


NOT_HEARD_OF = "this worker was not heard of for too long, so another one may have the job"


def taken_back(journal: Journal, *, progress: Progress, reopening: Sequence[life.Reopened]) -> int | None:
    """Return the attempt whose clip was rejected, wherefore the job is open, and is not any more; ``None``: go on.

    A refused request, a task that failed, or a doubt that the manifest buys again, leaves the job open although it was
    opened for a rejection. What a person opened since is wanted whatever was decided.
    """
    told: list[tuple[int, Any, bool]] = [(progress.attempt, one.reason, one.by_person) for one in reopening]
    if not told or not (is_for_rejection(told[0][1]) or told[0][2]):
        events = journal.events(progress.job_id, kinds=["Reopened", "ClipSaved"], newest_first=True)
        since = takewhile(lambda one: one.kind == "Reopened", events)
        told += [(one.attempt, one.data.get("reason"), one.data.get("by_person", True)) for one in since]
    attempt, reason, _ = next((one for one in told if is_for_rejection(one[1]) or one[2]), (0, None, False))
    if not is_for_rejection(reason):
        return None
    found = journal.decisions([progress.job_id]).get((progress.job_id, attempt))
    return None if found is not None and found.is_rejection else attempt


def saved_as(journal: Journal, *, progress: Progress) -> int:
    """Return the number of the attempt that brought the clip which the journal has of a job."""
    saved = journal.events(progress.job_id, kinds=["ClipSaved"], newest_first=True)
    found = (one.attempt for one in saved if one.data.get("sha256") == progress.sha256)
    return next(found, progress.allowance_from or progress.attempt)


WORTH_KEEPING = {
    Phase.SUCCEEDED,
    Phase.UNHEARD,
    FaultKind.BROKEN,
    FaultKind.REJECTED,
    FaultKind.NOT_ALLOWED,
    FaultKind.UNKNOWN_TASK,
}
"""What a poll may bring that a person wants to see who reports a gateway: the end of a task, or what was not read."""


class ServicePort(Posts, Gets, Fetches, Protocol):
    """What a run needs of the service."""


async def _nothing_to_keep() -> None:
    """Do nothing: all limits are stated."""


@frozen
class Ports:
    """What touches the world on behalf of a run, and what the service there speaks."""

    provider: Provider
    service: ServicePort
    records: Recorder
    clips: ClipStore
    keep_orphan: Callable[[Mapping[str, object]], None]
    """Keep a paid task id that could not be journaled, durably; blocks."""
    log: Log
    answers: AnswerKeeper
    observer: Observer
    read_frame: Callable[[Frame], bytes]
    take_still: Callable[[Progress, float | None, str], Frame]
    """Extract a frame of a finished clip, at a place in it, and keep it under a name; blocks."""
    still_sha256: Callable[[str], str | None]
    submit_pace: Pacing
    request_pace: Pacing
    keep_limits: Callable[[], Awaitable[None]] = _nothing_to_keep
    """Keep what was found out of the account's limits."""
    may_send: Callable[[], bool] = lambda: True
    """Whether what the journal says of the jobs is still ours to change; asked right before a paid request."""
    wall: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random


@frozen
class Steps:
    """The steps of one run over *scheduler*."""

    scheduler: Scheduler
    ports: Ports
    statistics: RunStatistics
    draining_s: Callable[[], float | None]
    """How long ago the run was told to stop; ``None`` when it was not."""

    async def submit(self, index: int) -> float | None:  # noqa: C901, PLR0912 the steps of a paid request, in their order
        """Send the job's next paid attempt, once, with the intent on disk before it leaves."""
        job, one = self.scheduler.jobs[index], self.scheduler.active[index]
        # 1. What can be refused is refused while nothing is on record, and the request is complete.
        try:
            await self._refuse_taken_name(job, one.progress)
            if isinstance(job, Continuation):
                job = await self._with_first_frame(index, job)
            request = await create_request(self.ports.provider, job, self.ports.read_frame)
        except ClipNotUsableError as error:
            reason = f"{error}: batchvid verify MANIFEST --repair fetches it again, free"
            self.scheduler.hold_back(index, reason)
            self.ports.observer.warn(f"{job.id} is not sent: {reason}")
            return None
        except StoreAwayError as error:
            self.scheduler.withdraw(index)
            self._store_is_away(error, writing=False)
            return None
        except StorageError:
            self.scheduler.withdraw(index)
            raise
        except ValueError as error:
            self.scheduler.withdraw(index)
            if one.reopening:
                self.ports.observer.warn(f"{job.id} is not sent again, and stays as it is: {error}")
            else:
                await self._record(index, life.GaveUp(f"not sent: {error}"))
            return None
        if self.scheduler.breaker.window_has_ended(at=self.ports.wall()):
            self.scheduler.withdraw(index)
            return None
        if await self._is_kept_after_all(index):
            return None
        # 2. The intent is durable: a crash from here on leaves a doubt, and never a request that nobody knows of.
        new = not one.started
        if not await self._intended(index, job):
            return None
        # 3. The request is sent once, at its moment. Whatever happens to it, the answer is a value.
        sent = await self._until_its_moment(index)
        known = self.scheduler.breaker.service_is_known
        if not self.ports.may_send():
            unsent = Fault(FaultKind.UNAVAILABLE, NOT_HEARD_OF, proof=Proof.NOT_SENT)
            return await self._refused(index, unsent, sent=sent, new=new)
        beside = self._leaves(sent)
        result = await self.ports.service.post(request)
        self.ports.submit_pace.answered(sent)
        took_s = self._now() - sent
        outcome = self.ports.provider.read_create(result, now=self.ports.wall(), frames=job.frames, known=known)
        # 4. The answer is durable before all else: a task, a doubt, or a refusal.
        if not (isinstance(outcome, Fault) and outcome.proof is Proof.NOT_SENT):
            self.scheduler.was_sent(index)
        wait_s = None
        if not isinstance(outcome, Fault):
            await self._accepted(index, outcome)
        elif outcome.kind is FaultKind.UNSURE:
            await self._unsure(index, life.SubmitUnsure(str(outcome), outcome.raw))
        else:
            wait_s = await self._refused(index, outcome, sent=sent, new=new)
        self._learn_limits(beside, outcome, result)
        # 5. The first answer is kept for a report. Nothing depends on it.
        await self.ports.answers.created(request, job, result, took_s=took_s)
        return wait_s

    async def _is_kept_after_all(self, index: int) -> bool:
        """Whether a person has taken back meanwhile the rejection for which the job would be bought again."""
        one = self.scheduler.active[index]
        if one.progress.sha256 is None:  # it never had a clip
            return False
        ask = partial(taken_back, progress=one.progress, reopening=one.reopening)
        if (attempt := await self.ports.records.ask(ask)) is None:
            return False
        if one.progress.state is State.DONE:
            self.scheduler.leave_done(index, now=self._now())
            self.ports.observer.note(f"{one.progress.job_id} is not bought again: its clip is not rejected any more")
            return True
        reason = f"the clip of its attempt {attempt} is not rejected any more, and is kept; reject it to go on"
        self.scheduler.hold_back(index, reason)
        self.ports.observer.warn(f"{one.progress.job_id} is not sent: {reason}")
        return True

    def _leaves(self, now: float) -> Sent | None:
        """Record that a paid request leaves, where limits are found out; its own place in flight is counted already."""
        account = self.scheduler.account
        return None if account.auto is None else account.auto.sends(in_flight=account.tasks - 1, now=now)

    def _learn_limits(self, sent: Sent | None, outcome: Created | Fault, result: Response | NoResponse) -> None:
        """Learn from what became of a paid request how many the account may send. That is on record already."""
        auto = self.scheduler.account.auto
        if auto is None or sent is None:
            return
        hint, now = limit_hint(result, now=self.ports.wall()), self._now()
        if not isinstance(outcome, Fault):
            auto.took(sent, hint, now=now)
        elif outcome.kind is FaultKind.THROTTLED:
            auto.refused(sent, hint, now=now)
        elif outcome.kind is not FaultKind.UNSURE:  # else it may have been taken
            auto.came_to_nothing(sent)

    async def _intended(self, index: int, job: Job) -> bool:
        """Record that the job is about to be paid for; ``False`` when that would cost more than may be spent."""
        attempt = self.scheduler.active[index].progress.attempt + 1
        try:
            await self._record(index, life.SubmitStarted(attempt, job.price_micros, job.fingerprint))
        except StorageError:
            self.scheduler.withdraw(index)
            raise
        except OverCeilingError as error:
            self.scheduler.withdraw(index)
            self.scheduler.breaker.halt(Exit.BUDGET, str(error))
            return False
        return True

    async def _until_its_moment(self, index: int) -> float:
        """Wait for the moment that the pace has for the request; one that is stopped meanwhile was not sent."""
        try:
            return await self.ports.submit_pace.on_time()
        except (asyncio.CancelledError, StorageError) as error:
            why = str(error) or "it was stopped before"
            await self._record(index, life.SubmitRefused(f"not sent: {why}"))
            raise

    async def _with_first_frame(self, index: int, job: Continuation) -> Job:
        """Return the job as it can be sent: with the frame of the clip that it goes on from, and its fingerprint.

        Raises `ClipNotUsableError` when that clip is not the journal's, `ValueError` when it shows no such frame.
        """
        clip = self.scheduler.tracker.clip_for(index)
        if clip is None or clip.sha256 is None:
            raise ClipNotUsableError(f"it goes on from {job.continues}, whose clip is not there")
        job = bound(job, clip.sha256)
        try:
            first = await settled(partial(self.ports.take_still, clip, job.at_s, job.fingerprint))
        except ClipNotUsableError as error:
            raise ClipNotUsableError(f"it goes on from {job.continues}, whose clip {clip.path} {error}") from None
        except ValueError as error:
            raise ValueError(f"its first frame cannot be taken from {clip.path}, which {error}") from None
        return replace(job, frames=(first, *job.frames))

    def _store_is_away(self, error: StoreAwayError, *, writing: bool) -> bool:
        """Pause buying; whether the store has been away for too long."""
        breaker, text = self.scheduler.breaker, str(error)
        if breaker.slowed_by != text:
            self.ports.observer.warn(f"nothing is bought meanwhile: {text}")
        return breaker.store_is_away(text, now=self._now(), writing=writing)

    async def _refuse_taken_name(self, job: Job, progress: Progress) -> None:
        """Refuse to pay for a clip whose name is taken by what the journal does not know: it could not be saved there.

        When a journal was lost, that is every clip that was paid.
        """
        if progress.path == job.path:
            return
        is_taken = await self.ports.clips.asked_if_taken(job.path)
        self.scheduler.breaker.store_answered(wrote=False)
        if is_taken:
            raise ValueError(
                f"something that this journal does not know has the name of {job.path}, of its sidecar or its folder: "
                "move it away, then batchvid retry"
            )

    async def _accepted(self, index: int, created: Created) -> None:
        """Keep the task id of a paid attempt, by whatever means are left."""
        try:
            await self._record(index, life.SubmitAccepted(created.task_id, created.resolved_model))
        except TaskOwnedError as error:
            reason = f"the service named task {created.task_id}, which already belongs to job {error.owner!r}"
            await self._unsure(index, life.SubmitUnsure(reason))
            return
        except (StorageError, StaleProgressError):
            self._orphan(index, created)
            raise
        self.scheduler.task_began(index, now=self._now())
        self.scheduler.breaker.submit_accepted(now=self._now())

    def _orphan(self, index: int, created: Created) -> None:
        """Save a paid task id that the journal did not take: beside it, and in front of the person's eyes."""
        job = self.scheduler.jobs[index]
        attempt = self.scheduler.active[index].progress.attempt
        where = "it is kept in .batchvid/orphans.jsonl"
        try:
            self.ports.keep_orphan(
                {"job_id": job.id, "attempt": attempt, "task_id": created.task_id, "at": rfc3339(self.ports.wall())}
            )
        except StorageError:
            where = "it could not be written anywhere: note it down"
        self.ports.observer.warn(
            f"PAID, NOT JOURNALED: job {job.id!r}, attempt {attempt}, task {created.task_id}; {where}. "
            f"Next: batchvid adopt MANIFEST {job.id} {created.task_id}"
        )

    async def _unsure(self, index: int, unsure: life.SubmitUnsure) -> None:
        """Hold an attempt whose outcome is unknown; buy another only where the manifest says so."""
        limits = self.scheduler.limits
        events: list[Event] = [unsure]
        used = life.attempts_used(self.scheduler.active[index].progress)
        if limits.in_doubt is InDoubt.RESUBMIT and used < limits.attempts:
            events.append(life.Reopened("in_doubt: resubmit", by_person=False))
        await self._record(index, *events)
        self.scheduler.breaker.submit_unsure(now=self._now())
        self._tell_if_spent(index)

    async def _refused(self, index: int, fault: Fault, *, sent: float, new: bool) -> float | None:
        scheduler, jitter = self.scheduler, self.ports.jitter()
        scheduler.breaker.submit_refused(fault, sent_at=sent, now=self._now(), jitter=jitter, new=new)
        retries = scheduler.refused(index, fault)
        sends = scheduler.active[index].sends
        follow = policy.after_refusal(fault, retries, sends=sends, jitter=jitter, limits=scheduler.limits)
        await self._record(index, *follow.events)
        self._tell_if_spent(index)
        return follow.wait_s

    def _tell_if_spent(self, index: int) -> None:
        """Tell a person of a job that may send nothing more in this run."""
        one = self.scheduler.active[index]
        if self.scheduler.is_exhausted(index):
            self.ports.observer.warn(
                f"{one.progress.job_id} has sent {one.sends} paid requests in this run (limits.attempts + "
                f"{policy.SENDS_BEYOND_ATTEMPTS} is the most) and is left for the next one: {one.progress.reason}"
            )

    async def poll(self, index: int) -> float | None:
        """Look at the job's task once."""
        scheduler = self.scheduler
        one = scheduler.active[index]
        sent = self._now()
        self.statistics.polls += 1
        task_id = one.progress.task_id or ""
        request = self.ports.provider.poll(task_id)
        result = await self.ports.service.get(request)
        took_s = self._now() - sent
        report = self.ports.provider.read_poll(result, task_id=task_id, now=self.ports.wall())
        if not isinstance(report, Fault) and report.other_id is not None:
            report = await self._of_this_task(one.progress, report, report.other_id)
        now, jitter = self._now(), self.ports.jitter()
        timing = None
        if isinstance(report, Fault):
            scheduler.breaker.poll_refused(report, sent_at=sent, now=now, jitter=jitter, task=index)
            late = scheduler.is_late(index, now=now)
            one.retries = one.retries.with_poll_fault(report)
            follow = policy.after_poll_fault(
                report, one.retries, age_s=now - one.task_from, late=late, jitter=jitter, limits=scheduler.limits
            )
        else:
            scheduler.breaker.poll_answered(now=now)
            late = scheduler.is_late(index, now=now)
            one.retries = one.retries.with_report(report)
            follow = policy.after_report(
                report, one.progress, one.retries, succeeded=one.has_succeeded, late=late, limits=scheduler.limits
            )
            timing = self._timing(index, follow, now=now)
            self._tell_of_new_word(one.progress.job_id, report)
        await self._record(index, *follow.events, timing=timing)
        self._warn_of_shared_url(one.progress)
        self._tell_if_spent(index)
        what = report.kind if isinstance(report, Fault) else report.phase
        if what in WORTH_KEEPING:
            await self.ports.answers.looked(request, task_id, result, took_s=took_s)
        return follow.wait_s

    async def _of_this_task(self, progress: Progress, report: TaskReport, other_id: str) -> TaskReport | Fault:
        """Return the report, whatever id it gives the task, unless another job has a task of that id.

        The answer to a question about our task is about our task: proxies call it by a name of their own.
        """
        owner = await self.ports.records.owner_of_task(other_id)
        shown = clean(other_id, 80)
        if owner is not None:
            return Fault(FaultKind.BROKEN, f"the answer is about task {shown}, which belongs to job {owner!r}")
        if self.statistics.is_first_renaming():
            self.ports.observer.note(f"job {progress.job_id!r}: the service calls its task {shown}; its own id is kept")
        return report

    def _tell_of_new_word(self, job_id: str, report: TaskReport) -> None:
        """Tell a person once of a status that nobody listed: it may be why a task seems to take for ever."""
        if report.phase is Phase.UNHEARD and self.statistics.is_new_word(report.status):
            self.ports.observer.note(
                f"job {job_id!r}: the service calls its task {report.status!r}, which batchvid does not know; "
                "it is polled on until task_timeout"
            )

    def _warn_of_shared_url(self, progress: Progress) -> None:
        """Tell a person when the service names one URL for two clips: one of the two jobs gets the other's."""
        if progress.state is not State.READY or progress.url is None:
            return
        other = self.statistics.other_with(progress.url, job_id=progress.job_id)
        if other is not None:
            self.ports.observer.warn(
                f"jobs {other!r} and {progress.job_id!r}: the service named the same URL for both clips, so one of "
                "them is hardly what was asked for; look at both, and tell the service's support their task ids "
                "(batchvid export)"
            )

    def _timing(self, index: int, follow: Verdict, *, now: float) -> Timing | None:
        finished = isinstance(follow.events[0], life.TaskSucceeded) and not self.scheduler.active[index].has_succeeded
        took_s = self.scheduler.looked(index, now=now, finished=finished)
        if took_s is None:
            return None
        self.statistics.task_took(now - self.scheduler.active[index].task_from)
        return Timing(self.scheduler.jobs[index].timing_class, took_s, self.ports.wall())

    async def download(self, index: int) -> float | None:
        """Fetch the job's clip, or what is left of it, once."""
        scheduler, ports = self.scheduler, self.ports
        job, one = scheduler.jobs[index], scheduler.active[index]
        task_id, url = one.progress.task_id or "", one.progress.url
        own = ports.provider.content(task_id) if one.other_source else None
        source = own or source_of(ports.provider, task_id, url)
        if isinstance(source, Request):
            await ports.request_pace.acquire(share=scheduler.breaker.throttle.share)
        path, trouble = await self._place(job)
        try:
            await self._retire_older_clip(path, one.progress)
            told = await self._sidecar(index, job, one.progress)
            fresh = one.started and not one.retries.download_faults
            async with ports.clips.part(path, source=task_id, fresh=fresh) as part:
                outcome = await fetch_clip(
                    ports.service, ports.provider, part, source=source, sidecar=told, wall=ports.wall,
                    draining_s=self.draining_s,
                )  # fmt: skip
        except (ForeignFileError, InTheWayError) as error:
            await self._record(index, life.DownloadFailed(str(error), parked=True))
            return None
        except TooManyFilesError as error:
            outcome = Fault(FaultKind.UNAVAILABLE, str(error))
        except StoreAwayError as error:  # the clip waits in scratch, however long that takes
            one.retries = one.retries.with_download_fault(Fault(FaultKind.UNAVAILABLE, str(error)))
            parked = self._store_is_away(error, writing=True) or one.retries.download_faults >= policy.STORE_TRIES
            await self._record(index, life.DownloadFailed(str(error), parked=parked))
            return scheduler.limits.backoff_longest_s
        if not isinstance(outcome, Fault):
            scheduler.breaker.store_answered(wrote=True)
            await self._record(index, outcome)
            if outcome.differs:
                what = "; ".join(outcome.differs)
                ports.observer.warn(f"{job.id} is not what was asked for: {outcome.path} has {what}. It is kept")
            if trouble is not None:
                ports.observer.warn(f"{job.id}: its clip is kept as {path}, because {trouble}")
            self.scheduler.set_free(index, now=self._now())
            return None
        if own is None and url is not None:
            one.url_trouble = outcome.reason
        elif one.url_trouble and own is not None:
            outcome = replace(outcome, reason=f"its URL: {one.url_trouble}; /content: {outcome.reason}")
        one.retries = one.retries.with_download_fault(outcome)
        one.other_source = policy.wants_other_source(outcome, one.retries) and not one.other_source
        follow = policy.after_download_fault(outcome, one.retries, jitter=ports.jitter(), limits=scheduler.limits)
        await self._record(index, *follow.events)
        return follow.wait_s

    async def _place(self, job: Job) -> tuple[str, str | None]:
        """Return where the job's paid clip is saved: at its path, or where that is refused, elsewhere, with the reason.

        That was no trouble when it was paid: the output is on another disk now, or an older batchvid did not ask.
        """
        if is_plain(job.path):
            return job.path, None
        trouble = await settled(partial(self.ports.clips.name_trouble, job.path))
        return (job.path if trouble is None else kept_as(job.id, job.path)), trouble

    async def _made(self, job: Job, progress: Progress) -> dict[Frame, str]:
        """Return the hashes of what was made of the job's frames and sent; what cannot be made any more is left out."""
        made: dict[Frame, str] = {}
        for frame in job.frames if progress.fingerprint in {job.fingerprint, *job.also} else ():
            if frame.recipe:
                with suppress(ValueError):
                    data = await asyncio.to_thread(self.ports.read_frame, frame)
                    made[frame] = hashlib.sha256(data).hexdigest()
        return made

    async def _sidecar(self, index: int, job: Job, progress: Progress) -> dict[str, Any]:
        """Return what the clip's sidecar tells, with the clip that the job goes on from, if it does."""
        if not isinstance(job, Continuation):
            return sidecar(job, progress, made=await self._made(job, progress))
        clip = self.scheduler.tracker.clip_for(index)
        known = job if clip is None or clip.sha256 is None else bound(job, clip.sha256)
        sent = self.ports.still_sha256(progress.fingerprint or "")
        made = await self._made(known, progress)
        return sidecar(known, progress, made=made) | origin(job, progress, clip, frame_sha256=sent)

    async def _retire_older_clip(self, path: str, progress: Progress) -> None:
        """Keep the clip of an earlier attempt, if it is still there under the clip's name."""
        if progress.sha256 is None or progress.size_bytes is None or progress.path != path:
            return
        clips = self.ports.clips
        if (await settled(partial(clips.sidecar, path))).get("task_id") == progress.task_id:
            return  # it was missing, and is there again: the part finds it
        size_bytes, sha256 = progress.size_bytes, progress.sha256
        if await settled(partial(clips.check, path, size_bytes=size_bytes, sha256=sha256, full=True)) is None:
            number = await self.ports.records.ask(partial(saved_as, progress=progress))
            await settled(partial(clips.retire, path, number))

    async def _record(self, index: int, *events: Event, timing: Timing | None = None) -> None:
        """Make *events* durable, and only then true for the run, the log and the observer."""
        at = self.ports.wall()
        events = (*self.scheduler.active[index].reopening, *events)
        kept = tuple(event for event in events if type(event) in DURABLE)
        after = self.scheduler.active[index].progress
        cancelled = None
        if kept:
            before, after = self.scheduler.change(index, kept, at=at)
            try:
                await self.ports.records.record(Change(before, tuple((event, at) for event in kept), after, timing))
            except asyncio.CancelledError as error:  # it is on record all the same, and the run's last word must say so
                cancelled = error
            self.scheduler.commit(index, kept, after)
        for event in events:
            self.statistics.happened(event, after, at=at)
            if type(event) not in DURABLE:  # the others were written with their commit
                self.ports.log.append(log_line(after.job_id, after.attempt, event, at=at))
            self.ports.observer.event(after.job_id, event, after)
        if cancelled is not None:
            raise cancelled

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
