"""What lies beside a journal knows of paid attempts, and how those that the journal does not know come back into it.

The event log, the sidecars, ``clips.jsonl`` and the orphans are the witnesses; `batchvid.engine.recovery` asks them
when the journal may have gone back in time. Rules:

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

The witnesses may be damaged, and each tells a part: `Witnesses` gathers it, attempt by attempt, and `Retelling` makes
of it what the journal records.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

from batchvid.domain import lifecycle as life
from batchvid.domain.frozen import frozen
from batchvid.domain.job import Progress, State
from batchvid.domain.lifecycle import ClipSaved
from batchvid.domain.records import micros, moment
from batchvid.domain.reopening import CRASHED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.job import Attempt
    from batchvid.domain.lifecycle import Event, KeptEvent


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
                    continue  # the run takes it up for what it is (`batchvid.engine.recovery`)
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
        if one.attempt > row.attempt or not row.attempt:  # a damaged line may have the number 0
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


def contested(witnesses: Witnesses, known: KnownRequests) -> Iterator[ContradictionError]:
    """Yield the tasks that several jobs claim, and of which the journal does not say whose they are."""
    told = {one.task_id for one in witnesses.found if one.clip is not None}
    for task_id, jobs in witnesses.claims.items():
        if len(jobs) > 1 and task_id not in known.tasks and task_id not in told:
            yield ContradictionError(task_id, f"task {task_id} was paid for several jobs: {', '.join(sorted(jobs))}")


def needs_look(of_job: Iterable[Found], row: Progress | None) -> bool:
    """Whether there may be something to retell of a job; *row* is what the journal holds of it while it is open."""
    return any(not one.is_known for one in of_job) or (row is not None and row.state is not State.PENDING)


MOVED = "Moved"
"""The event of a job that has another id from then on; its ``moved_from`` is the one before."""
NUMBER_MAX = 2**31
"""No attempt has a number like this, whatever a damaged line says."""


@dataclass(slots=True)
class Found:
    """One paid attempt, as the witnesses tell of it."""

    job_id: str
    attempt: int
    former_ids: tuple[str, ...] = ()
    """The ids that its job had before it was moved."""
    started_at: float | None = None
    price_micros: int | None = None
    fingerprint: str | None = None
    task_id: str | None = None
    accepted_at: float | None = None
    resolved_model: str | None = None
    refused: str | None = None
    doubt: str | None = None
    succeeded: bool = False
    failed: str | None = None
    gave_up: str | None = None
    reopened_by_person: bool = False
    ended_at: float | None = None
    """When the last thing that is told of it happened."""
    clip: ClipSaved | None = None
    is_whole: bool = False
    """Whether that clip is there, as it was noted."""
    is_orphan: bool = False
    """Whether only the orphans name its task."""
    is_known: bool = False
    """Whether the journal knows that it was sent."""

    @property
    def began_at(self) -> float | None:
        """The first moment that is told of it."""
        return next((at for at in (self.started_at, self.accepted_at, self.ended_at) if at is not None), None)


@frozen
class KnownRequests:
    """What the journal knows of paid requests."""

    tasks: Collection[str]
    starts: Collection[tuple[str, int, int]]
    """Job, attempt and second of every start."""
    numbers: Collection[tuple[str, int]]
    """Job and attempt of every start."""
    contents: Collection[tuple[int, int, str | None]]
    """Attempt, second and fingerprint: by these a request is known whose job was renamed since."""

    @classmethod
    def of(cls, attempts: Iterable[Attempt], starts: Iterable[KeptEvent]) -> KnownRequests:
        """Return it from all attempts of a journal and all its events ``SubmitStarted``."""
        sent = [(one.job_id, one.attempt, int(one.at), one.data.get("fingerprint")) for one in starts]
        return cls(
            tasks={one.task_id for one in attempts if one.task_id is not None},
            starts={(job_id, number, second) for job_id, number, second, _ in sent},
            numbers={(job_id, number) for job_id, number, _, _ in sent},
            contents={(number, second, fingerprint) for _, number, second, fingerprint in sent},
        )


class Witnesses:
    """Gathers what is told of paid attempts, in the order in which it happened."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.reviews: dict[str, object] = {}
        """What sidecars tell of decisions, by the task of the clip."""
        self.claims: dict[str, set[str]] = defaultdict(set)
        """The jobs that the log names for each task."""
        self._of_job: dict[str, list[Found]] = defaultdict(list)
        self._of_task: dict[str, Found] = {}
        self._formerly_of: dict[str, list[Found]] = defaultdict(list)

    def event(self, line: Mapping[str, Any]) -> None:
        """Learn from one event of the log; what is no event of a job is passed over."""
        job_id, attempt, name = line.get("job"), line.get("attempt"), line.get("event")
        if not isinstance(job_id, str) or not _is_number(attempt) or not isinstance(name, str):
            return
        if name == MOVED:
            self._moved(line.get("moved_from"), job_id)
        elif self._is_told_of_moved(job_id, attempt, line):
            return
        elif name == "SubmitStarted":
            self._started(job_id, attempt, line)
        elif (one := self._meant(job_id, attempt, name)) is not None:
            self._went_on(one, name, line)

    def cut(self, job_id: str, attempt: int) -> None:
        """Learn from a line that breaks off: something was told of this attempt."""
        if _is_number(attempt) and attempt:
            self._meant(job_id, attempt, "")

    def clip(self, line: Mapping[str, Any], path: object) -> None:
        """Learn from a sidecar, or a line of ``clips.jsonl``, of the clip at *path*."""
        one = self._by_task(line.get("id"), line.get("attempt"), line.get("task_id"))
        if one is None:
            return
        if line.get("review") is not None and one.task_id is not None:
            self.reviews.setdefault(one.task_id, line["review"])
        one.job_id = str(line["id"])  # it is newer than what the log says
        one.succeeded = True
        one.clip = one.clip or _clip(line, path)
        one.fingerprint = one.fingerprint or _text(line.get("fingerprint"))
        one.price_micros = one.price_micros if one.price_micros is not None else micros(line.get("price"))
        one.resolved_model = one.resolved_model or _text(line.get("resolved_model"))
        one.accepted_at = one.accepted_at if one.accepted_at is not None else moment(line.get("submitted_at"))
        one.ended_at = moment(line.get("saved_at")) or moment(line.get("finished_at")) or one.ended_at

    def orphan(self, line: Mapping[str, Any]) -> None:
        """Learn of a task id that a run got and could not journal."""
        is_new = str(line.get("task_id")) not in self._of_task
        one = self._by_task(line.get("job_id"), line.get("attempt"), line.get("task_id"))
        if one is not None and is_new:
            one.is_orphan, one.accepted_at = True, moment(line.get("at"))

    def of_jobs(self, known: KnownRequests, *, wanted: Collection[str]) -> dict[str, list[Found]]:
        """Return the attempts by job, oldest first, each marked with whether it is known.

        A job that is not *wanted* any more may have been renamed: its requests are known by their content.
        """
        jobs: dict[str, list[Found]] = defaultdict(list)
        for one in self.found:
            one.is_known = _is_known(one, known, wanted)
            jobs[one.job_id].append(one)
        for of_job in jobs.values():
            of_job.sort(key=lambda one: one.attempt)  # the clock may have been set: the log's order stays among equals
        return jobs

    def _went_on(self, one: Found, name: str, line: Mapping[str, Any]) -> None:
        at = moment(line.get("at"))
        one.ended_at = at if at is not None else one.ended_at
        reason = _text(line.get("reason")) or ""
        match name:
            case "SubmitAccepted" | "TaskAdopted":
                self._named(one, line.get("task_id"))
                one.accepted_at, one.resolved_model = at, _text(line.get("resolved_model"))
            case "SubmitRefused":
                one.refused = reason
            case "SubmitUnsure":
                one.doubt = reason
            case "TaskSucceeded":
                one.succeeded = True
                one.resolved_model = _text(line.get("resolved_model")) or one.resolved_model
            case "TaskFailed":
                one.failed = reason
            case "GaveUp":
                one.gave_up = reason
            case "Reopened":
                one.reopened_by_person = line.get("by_person") is True
            case "ClipSaved":
                one.clip = _clip(line, line.get("path"))

    def _started(self, job_id: str, attempt: int, line: Mapping[str, Any]) -> None:
        at, price = moment(line.get("at")), line.get("price_micros")
        tries = [one for one in self._of_job[job_id] if one.attempt == attempt and one.refused is None]
        if any(one.started_at == at for one in tries):
            return  # a line that was written again when the log was rotated
        hinted = (one for one in tries if one.started_at is None and one.task_id is None)
        one = next(hinted, None) or self._add(job_id, attempt)
        one.started_at, one.fingerprint = at, _text(line.get("fingerprint"))
        one.price_micros = price if _is_number(price, most=2**62) else None

    def _moved(self, old: object, new: str) -> None:
        """Move what is told of a job to its *new* id; what had that id gets the *old* one, as in the journal."""
        if not isinstance(old, str):
            return
        self._of_job[old], self._of_job[new] = self._of_job[new], self._of_job[old]
        for name in (old, new):
            for one in self._of_job[name]:
                if one.task_id is not None and one.job_id in self.claims[one.task_id]:
                    self.claims[one.task_id] = self.claims[one.task_id] - {one.job_id} | {name}
                self._formerly_of[one.job_id].append(one)
                one.former_ids, one.job_id = (*one.former_ids, one.job_id), name

    def _is_told_of_moved(self, job_id: str, attempt: int, line: Mapping[str, Any]) -> bool:
        """Whether a line says again, under the id of then, what is known of a job that was moved since.

        Such lines stand at the head of a log that an older batchvid rotated.
        """
        tries = [one for one in self._formerly_of.get(job_id, ()) if one.attempt == attempt]
        if line["event"] == "SubmitStarted":
            at = moment(line.get("at"))
            return at is not None and any(one.started_at == at for one in tries)
        task_id = line.get("task_id")
        return task_id is not None and any(one.task_id == task_id for one in tries)

    def _meant(self, job_id: str, attempt: int, name: str) -> Found | None:
        """Return the attempt that an event is about."""
        tries = self._of_job[job_id]
        if name == "SubmitRefused":  # an older batchvid wrote the number of the attempt before
            return tries[-1] if tries and tries[-1].task_id is None else None
        for one in reversed(tries):
            if one.attempt == attempt and one.refused is None:
                return one
        if not attempt or name in {"GaveUp", "Reopened"}:
            return None
        return self._add(job_id, attempt)

    def _by_task(self, job_id: object, attempt: object, task_id: object) -> Found | None:
        """Return the attempt that has this task; one without a task gets it."""
        if not isinstance(job_id, str) or not isinstance(task_id, str) or not task_id or not _is_number(attempt):
            return None
        one = self._of_task.get(task_id)
        if one is None and attempt:
            tries = self._of_job[job_id]
            open_ones = (x for x in reversed(tries) if x.attempt == attempt and x.task_id is None and x.refused is None)
            one = next(open_ones, None) or self._add(job_id, attempt)
            one.task_id = task_id
            self._of_task[task_id] = one
        return one

    def _named(self, one: Found, task_id: object) -> None:
        if isinstance(task_id, str) and task_id:
            self.claims[task_id].add(one.job_id)
            one.task_id = task_id
            self._of_task.setdefault(task_id, one)

    def _add(self, job_id: str, attempt: int) -> Found:
        one = Found(job_id, attempt)
        self.found.append(one)
        self._of_job[job_id].append(one)
        return one


def _is_known(one: Found, known: KnownRequests, wanted: Collection[str]) -> bool:
    if one.task_id is not None:
        return one.task_id in known.tasks
    ids = (one.job_id, *one.former_ids)
    if one.started_at is None:
        return any((job_id, one.attempt) in known.numbers for job_id in ids)
    second = int(one.started_at)
    renamed = one.job_id not in wanted and (one.attempt, second, one.fingerprint) in known.contents
    return renamed or any((job_id, one.attempt, second) in known.starts for job_id in ids)


def _clip(line: Mapping[str, Any], path: object) -> ClipSaved | None:
    size_bytes, sha256 = line.get("size_bytes"), line.get("sha256")
    if not isinstance(path, str) or not _is_number(size_bytes, most=2**62) or not isinstance(sha256, str):
        return None
    return ClipSaved(path, size_bytes, sha256)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _is_number(value: object, *, most: int = NUMBER_MAX) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < most
