"""What a run does first with the jobs that an earlier run left behind: what it records, and what it may open again.

A clip that a person rejected is bought again as the next attempt of its job, within ``limits.attempts``: nobody's word
grants more of them. What was decided about the clip of an earlier attempt opens nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain import lifecycle as life
from batchvid.domain.job import State
from batchvid.domain.limits import InDoubt, Limits, OnChange
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchvid.domain.decision import Decision
    from batchvid.domain.job import Job, Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.limits import RunOptions


WAKES_S = 300.0
"""So long after somebody else took up a job in doubt, who had begun it may still wake, and its request leave then."""
REJECTED = "rejected"
"""How the reason begins for which a rejected clip is bought again."""
NOTE_SHOWN = 200
"""Characters of a note, in a reason."""
NO_DECISIONS: Mapping[tuple[str, int], Decision] = {}
CRASHED = "a run ended after this paid request was begun and before its answer was recorded"


def interrupted(progress: Progress, *, orphans: Mapping[tuple[str, int], str]) -> tuple[Event, ...]:
    """Return the events that a job's row calls for when a run begins, whatever the manifest says of the job now.

    *orphans* are the task ids that an earlier run was given and could not journal, by job id and attempt.
    A job that was caught submitting is in doubt, and is given its orphaned task.
    """
    events: tuple[Event, ...] = ()
    state = progress.state
    if state is State.SUBMITTING:
        events = (life.SubmitUnsure(CRASHED),)
        state = State.IN_DOUBT
    task_id = orphans.get((progress.job_id, progress.attempt))
    if state is State.IN_DOUBT and task_id is not None:
        return (*events, life.TaskAdopted(task_id))
    return events


def was_cut_short(event: Event) -> bool:
    """Whether an event says of a paid request that nobody has heard more of whoever had begun it."""
    return isinstance(event, life.SubmitUnsure) and event.reason == CRASHED


def still_wakes(left_s: float) -> str:
    """Return why a doubt is not opened again just now, in words."""
    return (
        "the worker that had begun it is not heard of any more, but may still wake and send it; it can be bought again "
        f"in {round(left_s) + 1} s"
    )


def rejection(progress: Progress, decisions: Mapping[tuple[str, int], Decision]) -> str | None:
    """Return why the job's newest clip was rejected, in words; ``None`` when it was not."""
    found = decisions.get((progress.job_id, progress.attempt)) if progress.state is State.DONE else None
    if found is None or not found.is_rejection:
        return None
    note = clean(found.note, NOTE_SHOWN)
    return f"{REJECTED}: {note}" if note else REJECTED


def is_ordered_again(progress: Progress, decisions: Mapping[tuple[str, int], Decision], *, limits: Limits) -> bool:
    """Whether a run buys the job's clip again because a person rejected it: an attempt is left."""
    return rejection(progress, decisions) is not None and life.attempts_used(progress) < limits.attempts


def is_for_rejection(reason: object) -> bool:
    """Whether this is the reason of a `Reopened` that follows from a rejection."""
    return isinstance(reason, str) and (reason == REJECTED or reason.startswith(f"{REJECTED}: "))


def reopenings(
    jobs: Mapping[str, Job],
    rows: Iterable[Progress],
    *,
    options: RunOptions,
    limits: Limits,
    decisions: Mapping[tuple[str, int], Decision] = NO_DECISIONS,
) -> dict[str, life.Reopened]:
    """Return the events that would open closed jobs and doubts again, by job id: of *jobs*, what a run may submit.

    *decisions* are what counts of what persons decided, by job id and attempt.

    Nobody records them now. A run may end before a job's turn comes, and then the next one must not buy it unasked.
    """
    found = {
        row.job_id: reopened(jobs[row.job_id], row, options=options, limits=limits, decisions=decisions)
        for row in rows
        if row.job_id in jobs
    }
    return {job_id: event for job_id, event in found.items() if event is not None}


def reopens_done(options: RunOptions, limits: Limits) -> bool:
    """Whether what is done may be opened again: where its content has changed."""
    return options.rebuy or limits.on_change is OnChange.REBUY


def reopened(
    job: Job,
    progress: Progress,
    *,
    options: RunOptions,
    limits: Limits,
    decisions: Mapping[tuple[str, int], Decision] = NO_DECISIONS,
) -> life.Reopened | None:
    """Return the event that opens a job again which is closed or in doubt, when there is a reason to."""
    changed = job.has_changed(progress.fingerprint)
    match progress.state:
        case State.IN_DOUBT if options.resubmit_in_doubt:
            return life.Reopened("--resubmit-in-doubt")
        case State.IN_DOUBT if limits.in_doubt is InDoubt.RESUBMIT and life.attempts_used(progress) < limits.attempts:
            return life.Reopened("in_doubt: resubmit", by_person=False)
        case State.DONE if changed and reopens_done(options, limits):
            return life.Reopened("its content changed, and rebuying was asked for")
        case State.DONE if (why := rejection(progress, decisions)) is not None:
            return life.Reopened(why, by_person=False) if life.attempts_used(progress) < limits.attempts else None
        case State.FAILED if options.retry_failed:
            return life.Reopened("--retry-failed")
        case State.FAILED if changed and progress.attempt == 0:
            return life.Reopened("its content changed, and nothing had been paid for it")
        case _:
            return None
