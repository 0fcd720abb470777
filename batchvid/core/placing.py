"""Puts the jobs of a run where an earlier one left them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.core.active import Active
from batchvid.core.job import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.core.course import Course
    from batchvid.core.job import Progress
    from batchvid.core.lifecycle import Reopened


def place_all(  # noqa: PLR0913 what is known when a run begins
    course: Course,
    rows: Mapping[str, Progress],
    *,
    again: Mapping[str, Reopened],
    held: frozenset[str],
    only: frozenset[str] | None,
    now: float,
    at: float,
) -> None:
    """Put every job of *course* where it stands: *rows* are the journal's, by job id; a job without a row is new.

    *held* are the jobs for whose newest attempt the budget holds money. *only* are the ids that may be submitted,
    *again* those of closed jobs and doubts that may be opened again, each with the event that does it.
    """
    fresh = []
    handover = course.handover
    course.only = only
    # A clip that is made again is not there for who goes on from it.
    seen = {**rows, **{job_id: rows[job_id]._replace(state=State.PENDING) for job_id in again}} if again else rows
    handover.place(course.jobs, seen, only=only)
    for index, job in enumerate(course.jobs):
        row = rows.get(job.id)
        chosen = course.may_submit(job.id)
        course.counts[State.PENDING if row is None else row.state] += 1
        if row is None:
            if chosen:
                fresh.append((float(index), index))
        elif row.state in {State.RUNNING, State.READY} or (row.state is State.PENDING and chosen) or job.id in again:
            reopening = (again[job.id],) if job.id in again else ()
            one = course.active[index] = Active(row, held=job.id in held, reopening=reopening)
            _resume(course, index, one, now=now, at=at)
    if handover.chains:
        fresh = [(course.rank(index), index) for _, index in fresh if index not in handover.waiting]
    course.schedule.submits.fill(fresh)


def _resume(course: Course, index: int, one: Active, *, now: float, at: float) -> None:
    row, limits = one.progress, course.limits
    age_s = max(0.0, at - row.submitted_at) if row.submitted_at is not None else 0.0
    one.task_from = now - age_s
    grace_s = 0.0 if row.parked else limits.typical_time_s
    one.deadline = max(one.task_from + limits.task_timeout_s, now + grace_s)
    one.progress = row._replace(parked=False)
    if row.state is State.RUNNING:
        course.schedule.in_flight += 1
        course.schedule.polls.put(index, rank=0.0, due_at=now)
    else:
        course.queue(index, one, wait_s=None, now=now)
