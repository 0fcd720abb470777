"""How a run ended: of the jobs that were chosen, how many stand where, which need a person, and the exit code."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.core.brakes import worst_halt
from batchvid.core.doubt import doubts_of
from batchvid.core.film import FilmState
from batchvid.core.job import State
from batchvid.core.outcome import exit_code
from batchvid.core.snapshot import NeedsPerson
from batchvid.core.standing import Standing
from batchvid.core.summary import Summary
from batchvid.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchvid.core.chains import Wait
    from batchvid.core.course import Course
    from batchvid.core.doubt import Doubt
    from batchvid.core.film import FilmReport
    from batchvid.core.job import Progress
    from batchvid.edge.journal import Journal
    from batchvid.runner import Runner

CHOSE_NONE = "--only chose none of its jobs"


def counts_of(course: Course, journal: Journal) -> Mapping[State, int]:
    """Count the chosen jobs by state."""
    if course.only is None:
        return course.counts
    states = {row.job_id: row.state for row in journal.progress_of(course.only)}
    return Counter(states.get(job_id, State.PENDING) for job_id in course.only)


def needing_person(
    course: Course, runner: Runner | None, left: Iterable[Progress], waits: Iterable[Wait], *, journal: Journal
) -> tuple[NeedsPerson, ...]:
    """Return the chosen jobs that go no further until somebody decides; *left* is what the run did not touch."""
    standing = Standing(course, started=0.0) if runner is None else runner.standing
    for row in left:
        standing.take_over(row)
    blocked = (NeedsPerson(wait.job_id, State.PENDING, wait.reason) for wait in waits if wait.blocked)
    found = [one for one in (*standing.needs_person.values(), *blocked) if course.may_submit(one.job_id)]
    doubts: dict[str, Doubt] = {}
    if any(one.state is State.IN_DOUBT for one in found):
        doubts = {one.job_id: one for one in doubts_of(course.jobs, journal.doubts())}
    return tuple(replace(one, doubt=doubts.get(one.job_id)) for one in found)


def summary_of(  # noqa: PLR0913 the parts of a run's end
    course: Course,
    runner: Runner | None,
    needing: tuple[NeedsPerson, ...],
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
    brakes, unfinished = course.brakes, any(counts[state] for state in State if state.is_open)
    halts = brakes.all_halts if unfinished else brakes.halts
    halt = worst_halt(halts)
    parked = sum(course.may_submit(course.jobs[index].id) for index in course.parked)
    codes = [one.exit_code for one in halts]
    codes += [Exit.FAILED for report in films if report.state is FilmState.FAILED]
    blocked = sum(one.state is State.PENDING for one in needing)
    nothing = CHOSE_NONE if course.jobs and course.only is not None and not course.only else None
    if nothing is not None:  # a slip in a pattern must not look like a manifest that is done
        codes.append(Exit.STOPPED)
    jobs, chosen = course.jobs, course.may_submit
    deferred = {jobs[index].id: reason for index, reason in course.deferred.items()}
    spent = [NeedsPerson(job_id, State.PENDING, reason) for job_id, reason in deferred.items() if chosen(job_id)]
    return Summary(
        manifest=named,
        output=output,
        counts=counts,
        parked=parked,
        money=course.budget.money,
        elapsed_s=asyncio.get_running_loop().time() - began,
        submits=0 if runner is None else runner.standing.submits,
        polls=0 if runner is None else runner.standing.polls,
        downloaded_bytes=0 if runner is None else runner.standing.downloaded_bytes,
        exit_code=exit_code(counts, parked=parked, halts=codes, interrupted=interrupted, blocked=blocked),
        stopped="it was interrupted" if interrupted is not None else halt.reason if halt else nothing or _spent(spent),
        needs_person=(*needing, *spent),
        films=films,
        not_chosen=len(course.jobs) - sum(counts.values()),
    )


def _spent(jobs: Sequence[NeedsPerson]) -> str | None:
    """Return why the run ended where only jobs are left that may send nothing more in it."""
    if not jobs:
        return None
    what = "1 job has" if len(jobs) == 1 else f"{len(jobs)} jobs have"
    return f"{what} sent as many paid requests as one run may (limits.attempts + 2); run again later"
