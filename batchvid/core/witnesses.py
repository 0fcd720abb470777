"""What lies beside a journal and tells of paid attempts: the event log, sidecars, ``clips.jsonl``, orphans.

They may be damaged, and each tells a part. What they tell is gathered here, attempt by attempt; what the journal makes
of it is in `batchvid.core.history`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from batchvid.core.figures import micros, moment
from batchvid.core.lifecycle import ClipSaved

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

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


@dataclass(frozen=True, slots=True)
class Known:
    """What the journal knows of paid requests."""

    tasks: Collection[str]
    starts: Collection[tuple[str, int, int]]
    """Job, attempt and second of every start."""
    numbers: Collection[tuple[str, int]]
    """Job and attempt of every start."""
    contents: Collection[tuple[int, int, str]]
    """Attempt, second and fingerprint: by these a request is known whose job was renamed since."""


class Witnesses:
    """Gathers what is told of paid attempts, in the order in which it happened."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.claims: dict[str, set[str]] = defaultdict(set)
        """The jobs that the log names for each task."""
        self._of_job: dict[str, list[Found]] = defaultdict(list)
        self._of_task: dict[str, Found] = {}

    def event(self, line: Mapping[str, Any]) -> None:
        """Take one event of the log; what is no event of a job is passed over."""
        job_id, attempt, name = line.get("job"), line.get("attempt"), line.get("event")
        if not isinstance(job_id, str) or not _is_number(attempt) or not isinstance(name, str):
            return
        if name == MOVED:
            self._moved(line.get("moved_from"), job_id)
        elif name == "SubmitStarted":
            self._started(job_id, attempt, line)
        elif (one := self._meant(job_id, attempt, name)) is not None:
            self._went_on(one, name, line)

    def cut(self, job_id: str, attempt: int) -> None:
        """Take a line that breaks off: something was told of this attempt."""
        if _is_number(attempt) and attempt:
            self._meant(job_id, attempt, "")

    def clip(self, line: Mapping[str, Any], path: object) -> None:
        """Take a sidecar, or a line of ``clips.jsonl``, that tells of the clip at *path*."""
        one = self._by_task(line.get("id"), line.get("attempt"), line.get("task_id"))
        if one is None:
            return
        one.job_id = str(line["id"])  # it is newer than what the log says
        one.succeeded = True
        one.clip = one.clip or _clip(line, path)
        one.fingerprint = one.fingerprint or _text(line.get("fingerprint"))
        one.price_micros = one.price_micros if one.price_micros is not None else micros(line.get("price"))
        one.resolved_model = one.resolved_model or _text(line.get("resolved_model"))
        one.accepted_at = one.accepted_at if one.accepted_at is not None else moment(line.get("submitted_at"))
        one.ended_at = moment(line.get("saved_at")) or moment(line.get("finished_at")) or one.ended_at

    def orphan(self, line: Mapping[str, Any]) -> None:
        """Take a task id that a run was given and could not journal."""
        is_new = str(line.get("task_id")) not in self._of_task
        one = self._by_task(line.get("job_id"), line.get("attempt"), line.get("task_id"))
        if one is not None and is_new:
            one.is_orphan, one.accepted_at = True, moment(line.get("at"))

    def of_jobs(self, known: Known, *, wanted: Collection[str]) -> dict[str, list[Found]]:
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
        """Give what is told of a job its new id; what the new id stood for gets the old one, as in the journal."""
        if not isinstance(old, str):
            return
        self._of_job[old], self._of_job[new] = self._of_job[new], self._of_job[old]
        for name in (old, new):
            for one in self._of_job[name]:
                one.former_ids, one.job_id = (*one.former_ids, one.job_id), name

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


def _is_known(one: Found, known: Known, wanted: Collection[str]) -> bool:
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
