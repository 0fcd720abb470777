"""What lies beside a journal knows of paid attempts, and how those that the journal does not know come back into it.

The event log, the sidecars, ``clips.jsonl`` and the orphans are the witnesses; `batchvid.takeback` asks them when the
journal may have gone back in time. Rules:

1. A task that the journal knows is known, whatever job has it now. A request without a task is known by its start:
   the journal keeps every start, also of requests that were refused.
2. What is not known is retold to the journal through the lifecycle, attempt after attempt, with the times of then.
   A request without an answer is in doubt. Nothing is ever forgotten by that, and nothing becomes free to be bought.
3. A clip counts as saved where the file is there, with the size and the SHA-256 that were noted. Else its task has
   succeeded all the same, and its clip is fetched again.
4. A task that failed did so by the log's word. A task of which no end is told is under way: a poll tells.
5. Where the journal uses the number for another task: a job that is pending or failed gets the attempt as its next
   one. For any other job, two paid tasks are a contradiction that only a person can settle. So are two jobs that
   both claim one task.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchvid.core import lifecycle as life
from batchvid.core.job import Progress, State
from batchvid.core.opening import CRASHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchvid.core.lifecycle import Event
    from batchvid.core.witnesses import Found, Known, Witnesses

NO_ANSWER = "this paid request is known from what lies beside the journal only, and its answer is not on record"
LATER = "a later attempt lies on record beside the journal"
FETCHED_AGAIN = "its task succeeded before the journal went back in time, and its clip is not there as it was saved"


class ContradictionError(Exception):
    """Two things that are on record cannot both be true of one attempt, or not both have a place in the journal."""

    def __init__(self, task_id: str, what: str) -> None:
        super().__init__(what)
        self.task_id = task_id


@dataclass(slots=True)
class Retelling:
    """What is retold of one job: from what the journal holds of it, one found attempt after the other."""

    row: Progress
    started_at: float | None
    """When the journal's newest attempt of it was sent."""
    fingerprint: str
    """Of the job as it is wanted now; stands for one that nobody has noted."""
    path: str | None
    """Of the clip as it is wanted now."""
    otherwise_at: float
    """Stands for a moment that nobody has noted."""
    is_settled: bool = False
    """Whether the journal knows that the newest attempt has succeeded."""
    events: list[tuple[Event, float]] = field(default_factory=list)
    placed: list[Found] = field(default_factory=list)

    def tell(self, found: Sequence[Found]) -> None:
        """Retell these attempts of the job, oldest first; raises `ContradictionError`."""
        before: Found | None = None
        for one in found:
            is_last = one is found[-1]
            if self._is_current(one, is_last=is_last):
                if one.is_orphan and self.row.task_id is None:
                    continue  # the run takes it up for what it is (`batchvid.takeover`)
                told = len(self.events)
                self._answer(one, at=self._moment(one.accepted_at, one.ended_at))
                self._end(one)
                self.placed += [one] if len(self.events) > told else []
            elif not one.is_known and one.refused is None and self._has_place(one):
                self._make_way(before, at=self._moment(one.began_at))
                self._send(one)
                self._end(one)
                self.placed.append(one)
            before = one

    def _is_current(self, one: Found, *, is_last: bool) -> bool:
        """Whether it is the attempt that the journal has open. A refused number is used again, so only the *last*."""
        row = self.row
        if row.attempt != one.attempt or not row.state.is_open or row.state is State.PENDING:
            return False
        if row.task_id is not None:
            return row.task_id == one.task_id
        if self.events or (one.refused is not None and not is_last):
            return False
        return one.started_at is None or (self.started_at is not None and int(one.started_at) == int(self.started_at))

    def _has_place(self, one: Found) -> bool:
        row = self.row
        if one.attempt > row.attempt:
            return True
        is_over = one.failed is not None or one.gave_up is not None
        if row.state in {State.PENDING, State.FAILED}:
            return not is_over
        if one.task_id is None or is_over or one.is_whole:
            return False  # nothing of it can be lost: what became of it is known, or the job goes on without it
        raise ContradictionError(
            one.task_id,
            f"job {row.job_id!r}: task {one.task_id} was paid as its attempt {one.attempt}, of which the journal says "
            f"that it is {f'task {row.task_id}' if row.task_id else 'in doubt'} ({row.state.value})",
        )

    def _make_way(self, before: Found | None, *, at: float) -> None:
        """Bring the job to where a further attempt begins."""
        if self.row.state is State.SUBMITTING:
            self._add(life.SubmitUnsure(CRASHED), at)
        if self.row.state is State.RUNNING and before is not None and before.failed is not None:
            self._add(life.TaskFailed(before.failed), at)
        elif self.row.state in {State.RUNNING, State.READY}:
            self._add(life.GaveUp(LATER), at)
        if self.row.state is not State.PENDING:
            by_person = before is not None and before.reopened_by_person
            self._add(life.Reopened(LATER, by_person=by_person), at)

    def _send(self, one: Found) -> None:
        number = max(one.attempt, self.row.attempt + 1)
        began = self._moment(one.began_at)
        self._add(life.SubmitStarted(number, one.price_micros, one.fingerprint or self.fingerprint), began)
        self._answer(one, at=self._moment(one.accepted_at, began))
        if self.row.state is State.SUBMITTING:
            self._add(life.SubmitUnsure(NO_ANSWER), began)
        self.is_settled = False

    def _answer(self, one: Found, *, at: float) -> None:
        match self.row.state:
            case State.SUBMITTING if one.task_id is not None:
                self._add(life.SubmitAccepted(one.task_id, one.resolved_model), at)
            case State.IN_DOUBT if one.task_id is not None:
                self._add(life.TaskAdopted(one.task_id), at)
            case State.SUBMITTING if one.refused is not None:
                self._add(life.SubmitRefused(one.refused), at)
            case State.SUBMITTING if one.doubt is not None:
                self._add(life.SubmitUnsure(one.doubt), at)

    def _end(self, one: Found) -> None:
        at = self._moment(one.ended_at, one.accepted_at, one.started_at)
        if self.row.state in {State.RUNNING, State.READY} and one.is_whole and one.clip is not None:
            if self.row.state is State.RUNNING:
                self._add(life.TaskSucceeded(None), at)
            if not one.is_known or one.clip.path != self.path:  # else the download stage finds it, and tidies up
                self._add(one.clip, at)
        elif self.row.state is State.RUNNING and (one.succeeded or one.clip is not None):
            if not self.is_settled:
                self._add(life.TaskSucceeded(None), at)
                self._add(life.UrlExpired(FETCHED_AGAIN), at)
        elif not one.is_known and self.row.state.is_open:
            if one.failed is not None and self.row.state is State.RUNNING:
                self._add(life.TaskFailed(one.failed), at)
            if one.gave_up is not None:
                self._add(life.GaveUp(one.gave_up), at)

    def _add(self, event: Event, at: float) -> None:
        self.row = life.advance(self.row, event, at=at)
        self.events.append((event, at))

    def _moment(self, *moments: float | None) -> float:
        return next((at for at in moments if at is not None), self.otherwise_at)


def contested(witnesses: Witnesses, known: Known) -> Iterator[ContradictionError]:
    """Yield the tasks that several jobs claim, and of which the journal does not say whose they are."""
    told = {one.task_id for one in witnesses.found if one.clip is not None}
    for task_id, jobs in witnesses.claims.items():
        if len(jobs) > 1 and task_id not in known.tasks and task_id not in told:
            yield ContradictionError(task_id, f"task {task_id} was paid for several jobs: {', '.join(sorted(jobs))}")


def needs_look(of_job: Iterable[Found], row: Progress | None) -> bool:
    """Whether there may be something to retell of a job; *row* is what the journal holds of it while it is open."""
    return any(not one.is_known for one in of_job) or (row is not None and row.state is not State.PENDING)
