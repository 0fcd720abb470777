"""What a run does first: the events with which it takes up the jobs that an earlier run left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchvid.core import lifecycle as life
from batchvid.core.job import State
from batchvid.core.settings import InDoubt, Limits, OnChange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.core.job import Job, Progress
    from batchvid.core.lifecycle import Event

CRASHED = "a run ended after this paid request was begun and before its answer was recorded"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked this run to do beyond going on."""

    retry_failed: bool = False
    rebuy: bool = False
    resubmit_in_doubt: bool = False


def opening(
    job: Job | None, progress: Progress, *, orphans: Mapping[tuple[str, int], str], wishes: Wishes, limits: Limits
) -> tuple[Event, ...]:
    """Give the events that a job's row calls for when a run begins; *job* is ``None`` when the manifest dropped it.

    *orphans* are the task ids that an earlier run was given and could not journal, by job id and attempt.
    A job that was caught submitting is in doubt, whatever the manifest says of it now, and is given its orphaned
    task. Everything else happens only to jobs that the manifest still wants.
    """
    events: tuple[Event, ...] = ()
    state = progress.state
    if state is State.SUBMITTING:
        events = (life.SubmitUnsure(CRASHED),)
        state = State.IN_DOUBT
    task_id = orphans.get((progress.job_id, progress.attempt))
    if state is State.IN_DOUBT and task_id is not None:
        return (*events, life.TaskAdopted(task_id))
    if job is None:
        return events
    return events + reopened(job, progress, state, wishes=wishes, limits=limits)


def reopened(job: Job, progress: Progress, state: State, *, wishes: Wishes, limits: Limits) -> tuple[Event, ...]:
    """Give the event that opens a job again which is closed or in doubt, when there is a reason to."""
    changed = job.has_changed(progress.fingerprint)
    found = None
    match state:
        case State.IN_DOUBT if wishes.resubmit_in_doubt:
            found = life.Reopened("--resubmit-in-doubt")
        case State.IN_DOUBT if limits.in_doubt is InDoubt.RESUBMIT and life.attempts_used(progress) < limits.attempts:
            found = life.Reopened("in_doubt: resubmit", by_person=False)
        case State.DONE if changed and (wishes.rebuy or limits.on_change is OnChange.REBUY):
            found = life.Reopened("its content changed, and rebuying was asked for")
        case State.FAILED if wishes.retry_failed:
            found = life.Reopened("--retry-failed")
        case State.FAILED if changed and progress.attempt == 0:
            found = life.Reopened("its content changed, and nothing had been paid for it")
    return () if found is None else (found,)
