"""What a run does first: the events with which it takes up the jobs that an earlier run left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchvid.core import lifecycle as life
from batchvid.core.job import State
from batchvid.core.settings import InDoubt, Limits, OnChange

if TYPE_CHECKING:
    from batchvid.core.job import Job, Progress
    from batchvid.core.lifecycle import Event

CRASHED = "a run ended after this paid request was begun and before its answer was recorded"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked this run to do beyond going on."""

    retry_failed: bool = False
    rebuy: bool = False
    resubmit_in_doubt: bool = False


def opening(job: Job | None, progress: Progress, *, wishes: Wishes, limits: Limits) -> tuple[Event, ...]:
    """Give the events that a job's row calls for when a run begins; *job* is ``None`` when the manifest dropped it.

    A job that was caught submitting is in doubt, whatever the manifest says of it now. Everything else
    happens only to jobs that the manifest still wants.
    """
    events: tuple[Event, ...] = ()
    state = progress.state
    if state is State.SUBMITTING:
        events = (life.SubmitUnsure(CRASHED),)
        state = State.IN_DOUBT
    if job is None:
        return events
    match state:
        case State.IN_DOUBT:
            return events + _resubmitted(progress, wishes, limits)
        case State.DONE:
            rebuy = wishes.rebuy or limits.on_change is OnChange.REBUY
            if rebuy and progress.fingerprint != job.fingerprint:
                return (life.Reopened("its content changed, and rebuying was asked for"),)
        case State.FAILED:
            if wishes.retry_failed:
                return (life.Reopened("--retry-failed"),)
            if progress.attempt == 0 and progress.fingerprint != job.fingerprint:
                return (life.Reopened("its content changed, and nothing had been paid for it"),)
    return events


def _resubmitted(progress: Progress, wishes: Wishes, limits: Limits) -> tuple[Event, ...]:
    if wishes.resubmit_in_doubt:
        return (life.Reopened("--resubmit-in-doubt"),)
    if limits.in_doubt is InDoubt.RESUBMIT and life.attempts_used(progress) < limits.attempts:
        return (life.Reopened("in_doubt: resubmit", by_person=False),)
    return ()
