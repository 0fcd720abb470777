"""The life of a job: one table of (state, event), and what each event makes of the job and of its paid attempt.

Two rules hold everywhere:

1. A job moves only by `advance`, and only along `TABLE`; every other pair raises and nothing happens.
2. What `advance` returns is recorded durably before anybody acts on it: ``SubmitStarted`` before the
   paid request leaves, ``SubmitAccepted`` before the first poll, ``ClipSaved`` after the clip is safe on disk.

====================  ===========================  =================================================
from                  event                        to
====================  ===========================  =================================================
pending               SubmitStarted                submitting; on disk before the request leaves
submitting            SubmitAccepted               running; on disk before the first poll
submitting            SubmitRefused                pending; only with proof, see `batchvid.providers.payment`
submitting            SubmitUnsure                 in_doubt; never sent again by itself
any but submitting    TaskAdopted                  running; a person names the task of the newest attempt
in_doubt              Reopened                     pending; a person, or ``in_doubt: resubmit``
running               StillRunning, PollFailed     running; not an attempt
running               TaskSucceeded                ready
running               TaskFailed                   pending; followed by GaveUp when no attempt is left
running               TimedOut                     running, deferred until the next run
ready                 DownloadFailed               ready
ready                 UrlExpired                   running; polled for a fresh URL
ready                 ClipSaved                    done
done                  ClipMissing                  running; polled for a fresh URL, never bought again
any state             RefusalsProven               the same; a person found that nothing was billed
any open state        GaveUp                       failed
failed, done          Reopened                     pending; a person, or a clip that a person rejected
====================  ===========================  =================================================
"""

from __future__ import annotations

from typing import Any

from batchvid.domain.frozen import frozen
from batchvid.domain.job import Attempt, Outcome, Progress, State


@frozen
class SubmitStarted:
    """A paid attempt is about to be sent; *price_micros* of the budget is reserved for it."""

    attempt: int
    price_micros: int | None
    fingerprint: str


@frozen
class SubmitAccepted:
    """The service took the attempt and named its task; from here on it is paid."""

    task_id: str
    resolved_model: str | None = None


@frozen
class SubmitRefused:
    """Nothing was created."""

    reason: str
    counted: bool = False
    """Whether the budget goes on counting it: it was sent, and only the word of whoever answered says so."""


@frozen
class SubmitUnsure:
    """The request left, and nobody knows what became of it. *raw* is what could not be read of the answer."""

    reason: str
    raw: bytes = b""


@frozen
class TaskAdopted:
    """A person names the task of the newest paid attempt: found on the service's dashboard, or put right."""

    task_id: str


@frozen
class Reopened:
    """The job may be submitted again; *reason* says who wanted it.

    A person's word grants ``limits.attempts`` again; the rule ``in_doubt: resubmit`` and a rejected clip do not.
    """

    reason: str
    by_person: bool = True


@frozen
class StillRunning:
    """A poll found the task unfinished; *status* is the service's word for it."""

    status: str
    progress_percent: float | None = None


@frozen
class PollFailed:
    """A poll brought no usable answer."""

    reason: str


@frozen
class TaskSucceeded:
    """The clip exists on the service, at *url* or (``None``) behind ``/content``."""

    url: str | None
    url_expires_at: float | None = None
    resolved_model: str | None = None


@frozen
class TaskFailed:
    """The service says that the task failed."""

    reason: str


@frozen
class TimedOut:
    """The task is left alone until the next run; it is never bought again for that."""

    reason: str


@frozen
class DownloadFailed:
    """The clip did not arrive whole. When *parked*, it is left for the next run."""

    reason: str
    parked: bool = False


@frozen
class UrlExpired:
    """The clip's URL is no longer served."""

    reason: str


@frozen
class ClipSaved:
    """The clip is on disk under its final name, complete and synced."""

    path: str
    size_bytes: int
    sha256: str
    differs: tuple[str, ...] = ()
    """In what it is not what was asked for."""


@frozen
class ClipMissing:
    """The clip is no longer on disk as it was saved; it is paid, and is fetched again from its task."""

    reason: str


@frozen
class RefusalsProven:
    """A person found on the service's dashboard that the job's refused requests were not billed."""

    reason: str


@frozen
class GaveUp:
    """batchvid tries no further until a person reopens the job."""

    reason: str


Event = (
    SubmitStarted
    | SubmitAccepted
    | SubmitRefused
    | SubmitUnsure
    | TaskAdopted
    | Reopened
    | StillRunning
    | PollFailed
    | TaskSucceeded
    | TaskFailed
    | TimedOut
    | DownloadFailed
    | UrlExpired
    | ClipSaved
    | ClipMissing
    | RefusalsProven
    | GaveUp
)


@frozen
class KeptEvent:
    """An event as the journal remembers it."""

    seq: int
    """Grows with time, over all jobs."""
    job_id: str
    attempt: int
    """The number of the paid attempt that it is about; 0 before the first."""
    at: float
    kind: str
    """The name of the event."""
    data: dict[str, Any]


TABLE: dict[tuple[State, type[Event]], State] = {
    (State.PENDING, SubmitStarted): State.SUBMITTING,
    (State.SUBMITTING, SubmitAccepted): State.RUNNING,
    (State.SUBMITTING, SubmitRefused): State.PENDING,
    (State.SUBMITTING, SubmitUnsure): State.IN_DOUBT,
    (State.IN_DOUBT, Reopened): State.PENDING,
    (State.RUNNING, StillRunning): State.RUNNING,
    (State.RUNNING, PollFailed): State.RUNNING,
    (State.RUNNING, TaskSucceeded): State.READY,
    (State.RUNNING, TaskFailed): State.PENDING,
    (State.RUNNING, TimedOut): State.RUNNING,
    (State.READY, DownloadFailed): State.READY,
    (State.READY, UrlExpired): State.RUNNING,
    (State.READY, ClipSaved): State.DONE,
    (State.DONE, ClipMissing): State.RUNNING,
    (State.FAILED, Reopened): State.PENDING,
    (State.DONE, Reopened): State.PENDING,
}
TABLE |= {(state, GaveUp): State.FAILED for state in State if state.is_open}
TABLE |= {(state, RefusalsProven): state for state in State}
TABLE |= {(state, TaskAdopted): State.RUNNING for state in State if state is not State.SUBMITTING}


class IllegalEventError(Exception):
    """An event that the table does not allow in that state: a bug in batchvid, never a job's trouble."""

    def __init__(self, progress: Progress, event: Event) -> None:
        super().__init__(f"job {progress.job_id!r} is {progress.state}: {type(event).__name__} cannot happen to it")


def advance(progress: Progress, event: Event, *, at: float) -> Progress:
    """Return the progress after *event*, which happened at *at* (UTC epoch seconds).

    Raises `IllegalEventError`, and changes nothing, when the table has no such pair. It does the same when a job that
    was never paid for adopts a task.
    """
    state = TABLE.get((progress.state, type(event)))
    if state is None or (isinstance(event, TaskAdopted) and not progress.attempt):
        raise IllegalEventError(progress, event)
    return progress._replace(state=state, version=progress.version + 1, **_facts(progress, event, at))


def _facts(  # noqa: C901, PLR0911, PLR0912 a flat table, one branch an event
    progress: Progress, event: Event, at: float
) -> dict[str, Any]:
    """Return what *event* adds to the progress, besides the state."""
    match event:
        case SubmitStarted():
            return {
                "attempt": event.attempt,
                "price_micros": event.price_micros,
                "fingerprint": event.fingerprint,
                "submitted_at": None,
                "task_id": None,
                "resolved_model": None,
                "url": None,
                "url_expires_at": None,
                "finished_at": None,
                "parked": False,
                "reason": None,
            }
        case SubmitAccepted():
            return {"task_id": event.task_id, "resolved_model": event.resolved_model, "submitted_at": at}
        case SubmitRefused():
            unproven = (progress.price_micros or 0) if event.counted else 0
            return {
                "attempt": progress.attempt - 1,
                "reason": event.reason,
                "unproven_micros": progress.unproven_micros + unproven,
            }
        case TaskAdopted():
            return {
                "task_id": event.task_id,
                "resolved_model": None,
                "submitted_at": at,
                "url": None,
                "url_expires_at": None,
                "finished_at": None,
                "parked": False,
                "reason": None,
            }
        case Reopened():
            return {
                "allowance_from": progress.attempt if event.by_person else progress.allowance_from,
                "parked": False,
                "finished_at": None,
                "reason": event.reason,
            }
        case TaskSucceeded():
            return {
                "url": event.url,
                "url_expires_at": event.url_expires_at,
                "resolved_model": event.resolved_model or progress.resolved_model,
                "parked": False,
                "reason": None,
            }
        case UrlExpired():
            return {"url": None, "url_expires_at": None, "reason": event.reason}
        case ClipMissing():
            return {"url": None, "url_expires_at": None, "finished_at": None, "reason": event.reason}
        case TimedOut():
            return {"parked": True, "reason": event.reason}
        case DownloadFailed():
            return {"parked": event.parked, "reason": event.reason}
        case ClipSaved():
            return {
                "path": event.path,
                "size_bytes": event.size_bytes,
                "sha256": event.sha256,
                "finished_at": at,
                "parked": False,
                "reason": None,
            }
        case GaveUp():
            return {"finished_at": at, "parked": False, "reason": event.reason}
        case RefusalsProven():
            return {"unproven_micros": 0}
        case SubmitUnsure() | TaskFailed() | PollFailed():
            return {"reason": event.reason}
        case StillRunning():
            return {"parked": False, "reason": None}


def attempts_used(progress: Progress) -> int:
    """Count the paid attempts that count against ``limits.attempts``."""
    return progress.attempt - progress.allowance_from


def follow(attempt: Attempt | None, event: Event, *, job_id: str, number: int, at: float) -> Attempt | None:
    """Return what *event* makes of the paid attempt that it is about: attempt *number* of this job.

    ``None`` is no attempt. A refused one is none, because nothing was paid and its number is used again. What happens
    to a clip or to a poll changes nothing of what was paid.
    """
    if isinstance(event, SubmitStarted):
        return Attempt(job_id, number, event.price_micros, event.fingerprint, started_at=at)
    if isinstance(event, SubmitRefused) or attempt is None:
        return None
    match event:
        case SubmitUnsure():
            return attempt._replace(outcome=Outcome.IN_DOUBT, reason=event.reason, raw=event.raw)
        case SubmitAccepted() | TaskAdopted():
            return attempt._replace(
                outcome=Outcome.OPEN,
                task_id=event.task_id,
                resolved_model=event.resolved_model if isinstance(event, SubmitAccepted) else None,
                accepted_at=at,
                finished_at=None,
                reason=None,
            )
        case TaskSucceeded():
            return attempt._replace(
                outcome=Outcome.SUCCEEDED,
                # The task of an expired URL succeeds a second time, but it was over at the first.
                finished_at=at if attempt.finished_at is None else attempt.finished_at,
                resolved_model=attempt.resolved_model if event.resolved_model is None else event.resolved_model,
            )
        case TaskFailed():
            return attempt._replace(outcome=Outcome.FAILED, finished_at=at, reason=event.reason)
        case GaveUp() | Reopened() if attempt.outcome.is_reserved:
            return attempt._replace(outcome=Outcome.ABANDONED, finished_at=at, reason=event.reason)
    return attempt
