"""What follows from what happened: for one job, the events to record and when to look again.

Three questions are asked of every failure: again? this job's fault? must all stop? The first two are
answered here, from plain numbers; the third in `batchvid.engine.circuit_breaker`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from batchvid.domain import lifecycle as life
from batchvid.domain.frozen import frozen
from batchvid.domain.task import Fault, FaultKind, Phase, Proof, TaskReport
from batchvid.engine.throttle import backoff_s

if TYPE_CHECKING:
    from batchvid.domain.job import Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.limits import Limits


SENDS_BEYOND_ATTEMPTS = 2
"""Paid requests that a job may send in one run beyond ``limits.attempts``, whatever became of them. Some rule about
answers will be wrong one day: this bounds what it costs."""
LAST_SEND_AFTER = 60.0
"""Longest waits that a job lets pass before its last request of a run when it is told "too fast" each time: an hour by
default, so that a small run outlasts a crowded service."""
FAILED_LOOKS = 2
"""So many looks in a row must call a task failed: one can be wrong, and then the clip would be bought again."""
NO_CHANNEL_TRIES = 5
"""An unrouted model comes back within minutes, or it does not exist."""
REFUSALS_ALONE = 10
"""A job that is refused so often while others are accepted is itself the trouble."""
UNKNOWN_TASK_GRACE_S = 60.0
"""A new id takes a few seconds to become known on every server of the service."""
UNKNOWN_TASK_LOOKS = 5
THROTTLED_LOOKS = 10
"""A late task whose looks have all been throttled for so long is left to the next run, or this one would never end."""
OVERDUE = 5.0
"""The same for one of so many times ``limits.task_timeout``: the service may ask for 15 minutes before each look."""
WITHOUT_URL_LOOKS = 3
"""A completed task may get its URL a little later; after that the clip is asked for behind ``/content``."""
NO_URL_YET = "completed, without a URL yet"
DOWNLOAD_TRIES = 8
"""Then the clip is left for the next run: the paid task is still there."""
STORE_TRIES = 90
"""The same where the store takes others, and not this clip, which is on this machine: some two hours."""
FRESH_URL_AFTER = {3, 6}
"""After so many failures the host may be at fault: the service may name another one."""
GONE = {FaultKind.EXPIRED, FaultKind.NOT_READY, FaultKind.UNKNOWN_TASK}
"""The clip is not where it was said to be; a poll tells where it is."""
EXPIRIES = 4
"""So many URLs that were gone when they were used mean that the service has lost the clip for now."""


@frozen
class Verdict:
    """The events that follow, in order, and the wait until the next step that the job's new state wants.

    ``None`` leaves the wait to the schedule: at once, or for a poll when the planner says.
    """

    events: tuple[Event, ...]
    wait_s: float | None = None


class RetryCounts(NamedTuple):
    """What one job has gone through in this run, since its last good step of the same kind."""

    refusals: int = 0
    """Refused submits while others were accepted."""
    poll_faults: int = 0
    unknown_looks: int = 0
    without_url_looks: int = 0
    failed_looks: int = 0
    """In a row."""
    download_faults: int = 0
    expiries: int = 0

    def with_refusal(self) -> RetryCounts:
        """Count a refused submit."""
        return self._replace(refusals=self.refusals + 1)

    def with_report(self, report: TaskReport) -> RetryCounts:
        """Count a look that brought an answer."""
        without_url = self.without_url_looks + 1 if report.phase is Phase.SUCCEEDED and report.url is None else 0
        failed = self.failed_looks + 1 if report.phase is Phase.FAILED else 0
        found = self._replace(poll_faults=0, unknown_looks=0, without_url_looks=without_url, failed_looks=failed)
        return self if found == self else found  # most looks change nothing, and a night has 100,000 tasks

    def with_poll_fault(self, fault: Fault) -> RetryCounts:
        """Count a look that brought none."""
        unknown = self.unknown_looks + 1 if fault.kind is FaultKind.UNKNOWN_TASK else 0
        return self._replace(poll_faults=self.poll_faults + 1, unknown_looks=unknown)

    def with_download_fault(self, fault: Fault) -> RetryCounts:
        """Count a failed transfer."""
        return self._replace(download_faults=self.download_faults + 1, expiries=self.expiries + (fault.kind in GONE))


def sends_at_most(limits: Limits) -> int:
    """Return how many paid requests a job may send in one run."""
    return limits.attempts + SENDS_BEYOND_ATTEMPTS


def after_refusal(fault: Fault, retries: RetryCounts, *, sends: int, jitter: float, limits: Limits) -> Verdict:
    """Return what becomes of a job whose submit was refused; *retries* and *sends* count this request already.

    A throttled request and an absent service say nothing about the job. Some requests are of no
    use again, but nothing proves that they were not paid: such a request ends the job, and its price counts as spent.
    """
    if fault.kind is FaultKind.REJECTED and fault.proof is Proof.NONE:
        return Verdict((life.GaveUp(str(fault)),))
    refused = life.SubmitRefused(str(fault), counted=fault.proof is Proof.WORD)
    gave_up = Verdict((refused, life.GaveUp(str(fault))))
    wait_s = backoff_s(retries.refusals, limits, jitter=jitter)
    match fault.kind:
        case FaultKind.THROTTLED if sends > 1:
            is_last = sends >= sends_at_most(limits) - 1
            return Verdict((refused,), limits.backoff_longest_s * (LAST_SEND_AFTER if is_last else 1.0))
        case FaultKind.THROTTLED | FaultKind.ACCOUNT | FaultKind.MISCONFIGURED:
            return Verdict((refused,))
        case FaultKind.NO_CHANNEL:
            tries = min(NO_CHANNEL_TRIES, sends_at_most(limits))
            return Verdict((refused,), wait_s) if max(sends, retries.refusals) < tries else gave_up
        case FaultKind.UNAVAILABLE:
            return Verdict((refused,), wait_s) if retries.refusals < REFUSALS_ALONE else gave_up
        case _:
            return gave_up


def after_report(
    report: TaskReport, progress: Progress, retries: RetryCounts, *, succeeded: bool, late: bool, limits: Limits
) -> Verdict:
    """Return what a poll's answer means for a job; *late*: the task's time is over.

    *succeeded*: an earlier look found the task finished. It was paid then, whatever the service calls it now: its clip
    can be fetched or is left to a person, and is never bought again.
    """
    match report.phase:
        case Phase.SUCCEEDED:
            ended = life.TaskSucceeded(report.url, report.url_expires_at, report.resolved_model)
            if not report.waits_for_url or retries.without_url_looks >= WITHOUT_URL_LOOKS:
                return Verdict((ended,))
            if succeeded:
                return Verdict((life.StillRunning(NO_URL_YET, report.progress_percent),))
            # That it succeeded is on record at once: whatever the next looks say, it is not bought again.
            return Verdict((ended, life.UrlExpired(NO_URL_YET)))
        case Phase.FAILED:
            reason = report.error or f"the service says {report.status!r}, without a reason"
            if retries.failed_looks < FAILED_LOOKS:
                return Verdict((life.PollFailed(f"{reason} (asked once more)"),), limits.poll_longest_s)
            if succeeded:
                lost = f"lost: its task was finished and is paid, and now the service says {report.status!r}: {reason}"
                return Verdict(
                    (life.TimedOut(f"{lost}; ask its support, or batchvid retry --timed-out buys it again"),)
                )
            return after_task_failed(progress, reason, limits)
    if late:
        return Verdict((life.TimedOut(f"still {report.status!r} after {limits.task_timeout_s:.0f} s (task_timeout)"),))
    return Verdict((life.StillRunning(report.status, report.progress_percent),))


def after_task_failed(progress: Progress, reason: str, limits: Limits) -> Verdict:
    """Return what a failed task means for its job: a further paid attempt, or the end when all are used."""
    failed = life.TaskFailed(reason)
    if life.attempts_used(progress) < limits.attempts:
        return Verdict((failed,))
    return Verdict((failed, life.GaveUp(reason)))


def after_poll_fault(
    fault: Fault, retries: RetryCounts, *, age_s: float, late: bool, jitter: float, limits: Limits
) -> Verdict:
    """Return what a failed poll means for a job: never more than that it is looked at later, or by the next run.

    *age_s* is the task's. *late*: its time is over, and the service answers.
    """
    is_unknown = retries.unknown_looks >= UNKNOWN_TASK_LOOKS and age_s >= UNKNOWN_TASK_GRACE_S
    if fault.kind is FaultKind.UNKNOWN_TASK and is_unknown:
        return Verdict((life.TimedOut(f"lost: {fault}; look for the task on the service's dashboard"),))
    is_overdue = age_s >= OVERDUE * limits.task_timeout_s
    if late and (fault.kind is not FaultKind.THROTTLED or retries.poll_faults >= THROTTLED_LOOKS or is_overdue):
        return Verdict((life.TimedOut(f"no usable answer within task_timeout, the last: {fault}"),))
    return Verdict((life.PollFailed(str(fault)),), backoff_s(retries.poll_faults, limits, jitter=jitter))


def wants_other_source(fault: Fault, retries: RetryCounts) -> bool:
    """Whether the next transfer goes to the service itself where this one went to the clip's URL, or back.

    A URL that brings no clip brings none the next time, and a host that wants a key never gets ours; one that fails
    again and again may not be reachable at all.
    """
    match fault.kind:
        case FaultKind.BROKEN | FaultKind.FORBIDDEN | FaultKind.ACCOUNT:
            return True
        case FaultKind.EXPIRED:
            return retries.expiries > 1
        case FaultKind.UNAVAILABLE:
            return retries.download_faults == max(FRESH_URL_AFTER)
        case _:
            return False


def after_download_fault(fault: Fault, retries: RetryCounts, *, jitter: float, limits: Limits) -> Verdict:
    """Return what a failed transfer means; *retries* count it already. A paid clip is never given up."""
    wait_s = fault.retry_after_s or backoff_s(retries.download_faults + retries.expiries, limits, jitter=jitter)
    if fault.kind in GONE and retries.expiries < EXPIRIES:
        return Verdict((life.UrlExpired(str(fault)),), 0.0 if retries.expiries <= 1 else wait_s)
    if fault.kind is FaultKind.UNAVAILABLE and retries.download_faults in FRESH_URL_AFTER:
        return Verdict((life.UrlExpired(f"a fresh URL is asked for, because {fault}"),), wait_s)
    parked = retries.download_faults >= DOWNLOAD_TRIES or retries.expiries >= EXPIRIES
    return Verdict((life.DownloadFailed(str(fault), parked=parked),), wait_s)
