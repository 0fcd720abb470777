"""What can be read of a journal: by its writer, and by whoever looks beside it.

The paid attempts: kept in step with the events, and what they come to in money.

A refused attempt leaves no row, because nothing was paid and its number is used again.
Every other row is money: held while the attempt is open or in doubt, spent once it is over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from batchvid.domain.job import Progress, State
from batchvid.domain.lifecycle import (
    GaveUp,
    Reopened,
    SubmitAccepted,
    SubmitRefused,
    SubmitStarted,
    SubmitUnsure,
    TaskAdopted,
    TaskFailed,
    TaskSucceeded,
)
from batchvid.domain.reopening import CRASHED
from batchvid.domain.results import Money
from batchvid.journal import sqlite_file
from batchvid.journal.base import StaleProgressError, TaskOwnedError, execute
from batchvid.providers.response import request_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from batchvid.domain.doubts import Doubt
    from batchvid.domain.history import Known
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.report import Paid, Trouble


COLUMNS = Progress._fields
STATES = {state.value: state for state in State}
ALL_PROGRESS = f"SELECT {', '.join(COLUMNS)} FROM jobs"  # noqa: S608 the names are the dataclass's own
TROUBLES = (
    "SubmitRefused", "SubmitUnsure", "TaskFailed", "TimedOut", "DownloadFailed", "UrlExpired", "ClipMissing", "GaveUp",
)  # fmt: skip
"""The events that tell of something that went wrong."""
ASKED_AT_ONCE = 500
"""Jobs in one query: fewer than SQLite takes values (999 in old ones), enough that asking costs nothing."""
UNFINISHED = "state NOT IN ('done', 'failed')"
"""Word for word the condition of the partial index, so that SQLite uses it."""


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event as the journal remembers it."""

    seq: int
    """Grows with time, over all jobs."""
    job_id: str
    attempt: int
    """The number of the paid attempt that it is about; 0 before the first."""
    at: float
    kind: str
    """The name of the event in `batchvid.domain.lifecycle`."""
    data: dict[str, Any]


class JournalReader:
    """A journal that is open, for reading; used by one thread at a time."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self.path = path

    @classmethod
    def open_readonly(cls, path: Path) -> Self | None:
        """Open the journal at *path* for reading, beside a writer if there is one; ``None`` if there is no journal.

        Raises `StorageError` for a journal that cannot be read or might be something else, and `ConfigError` for one of
        a newer batchvid. A journal of an older batchvid is refused, because reading must not change it.
        """
        with sqlite_file.translated(path):
            if not sqlite_file.refuse_doubtful(path):
                return None
            db = sqlite_file.connect(path, readonly=True)
        try:
            with sqlite_file.translated(path):
                sqlite_file.check_kind(db, path)
                sqlite_file.refuse_older(db, path)
        except BaseException:  # whatever it was, the connection is closed, and it goes on its way
            db.close()
            raise
        return cls(db, path)

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def progress(self, job_id: str) -> Progress | None:
        """Return what has happened to a job; ``None`` when nothing has."""
        return next(map(_progress, self._rows(f"{ALL_PROGRESS} WHERE job_id = ?", job_id)), None)

    def progress_of(self, job_ids: Iterable[str]) -> Iterator[Progress]:
        """Yield what has happened to these jobs, in their order; nothing of those that nothing has happened to."""
        left = iter(job_ids)
        while ids := tuple(islice(left, ASKED_AT_ONCE)):
            query = f"{ALL_PROGRESS} WHERE job_id IN ({', '.join('?' * len(ids))})"
            found = {row.job_id: row for row in map(_progress, self._rows(query, *ids))}
            yield from (found[job_id] for job_id in ids if job_id in found)

    def all_progress(self) -> Iterator[Progress]:
        """Yield every job that anything has happened to, by id."""
        return map(_progress, self._rows(f"{ALL_PROGRESS} ORDER BY job_id"))

    def open_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are neither done nor failed, by id, without reading the others."""
        return map(_progress, self._rows(f"{ALL_PROGRESS} WHERE {UNFINISHED} ORDER BY job_id"))

    def done_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are done, by id."""
        return map(_progress, self._rows(f"{ALL_PROGRESS} WHERE state = 'done' ORDER BY job_id"))

    def clips_beyond_ascii(self) -> Iterator[Progress]:
        """Yield the jobs whose clip is done and has a path that not every file system spells in the same way."""
        ascii_only = "[^' || char(1) || '-' || char(127) || ']"
        query = f"{ALL_PROGRESS} WHERE state = 'done' AND path GLOB '*{ascii_only}*'"
        return map(_progress, self._rows(query))

    def counts(self) -> dict[State, int]:
        """Count the jobs by state; every state is there."""
        found = dict(self._rows("SELECT state, count(*) FROM jobs GROUP BY state"))
        return {state: found.get(state.value, 0) for state in State}

    def fingerprints(self) -> Iterator[tuple[str, State, str | None]]:
        """Yield id, state and the fingerprint of what the newest attempt sent, of every job, by id."""
        rows = self._rows("SELECT job_id, state, fingerprint FROM jobs ORDER BY job_id")
        return ((job_id, State(state), fingerprint) for job_id, state, fingerprint in rows)

    def money(self) -> Money:
        """Return what all attempts come to; see `batchvid.journal.sqlite_reader`. The budget is not known here."""
        spent, reserved, unpriced, unproven = next(
            self._rows(
                "SELECT coalesce(sum(price_micros) FILTER (WHERE outcome NOT IN ('open', 'in_doubt')), 0),"
                " coalesce(sum(price_micros) FILTER (WHERE outcome IN ('open', 'in_doubt')), 0),"
                " count(*) FILTER (WHERE price_micros IS NULL),"
                " (SELECT coalesce(sum(unproven_micros), 0) FROM jobs) FROM attempts"
            )
        )
        return Money(
            spent_micros=spent,
            reserved_micros=reserved + unproven,
            unproven_micros=unproven,
            unpriced_attempts=unpriced,
        )

    def held_jobs(self) -> frozenset[str]:
        """Return the ids of the jobs that have an attempt open or in doubt, for which money is held."""
        rows = self._rows("SELECT DISTINCT job_id FROM attempts WHERE outcome IN ('open', 'in_doubt')")
        return frozenset(job_id for (job_id,) in rows)

    def doubts(self) -> dict[str, Doubt]:
        """Return what is known of each paid request in doubt, by job id; also of one whose run has not recorded an end.

        An id in the answer that an attempt has is left out.
        """
        from batchvid.domain.doubts import Doubt, seen_ids

        rows = self._rows(
            "SELECT job_id, attempt, started_at, attempts.price_micros, attempts.reason, raw"  # noqa: S608 a constant
            f" FROM jobs JOIN attempts USING (job_id, attempt) WHERE {UNFINISHED}"
            " AND state IN ('in_doubt', 'submitting') ORDER BY job_id"
        )
        found = {}
        for job_id, attempt, sent_at, price_micros, said, raw in list(rows):
            reason = said or CRASHED
            named = request_id(reason) or request_id((raw or b"").decode("utf-8", "replace"))
            seen = tuple(one for one in seen_ids(raw or b"", reason) if self.owner_of_task(one) is None)
            found[job_id] = Doubt(job_id, attempt, sent_at, price_micros, reason, named, seen)
        return found

    def owner_of_task(self, task_id: str) -> str | None:
        """Return the id of the job that has this task; ``None`` when none has."""
        return next(
            (job_id for (job_id,) in self._rows("SELECT job_id FROM attempts WHERE task_id = ?", task_id)), None
        )

    def attempts(self, job_id: str) -> list[Attempt]:
        """Return the paid attempts of a job, oldest first."""
        names = [field.name for field in fields(Attempt)]
        rows = self._rows(
            f"SELECT {', '.join(names)} FROM attempts WHERE job_id = ? ORDER BY attempt",  # noqa: S608 the dataclass's own
            job_id,
        )
        found = (dict(zip(names, row, strict=True)) for row in rows)
        return [Attempt(**values | {"outcome": Outcome(values["outcome"])}) for values in found]

    def paid(self) -> Iterator[Paid]:
        """Yield every paid attempt of every job, by job and then oldest first."""
        from batchvid.domain.report import Paid

        names = ", ".join(field.name for field in fields(Paid))
        return (Paid(*row) for row in self._rows(f"SELECT {names} FROM attempts ORDER BY job_id, attempt"))  # noqa: S608 as above

    def troubles(self) -> Iterator[Trouble]:
        """Yield what went wrong with any job, in the order in which it was recorded."""
        from batchvid.domain.report import Trouble

        places = ", ".join("?" * len(TROUBLES))
        rows = self._rows(
            f"SELECT job_id, at, kind, data FROM events WHERE kind IN ({places}) ORDER BY seq",  # noqa: S608 only ?
            *TROUBLES,
        )
        return (Trouble(job_id, at, kind, json.loads(data).get("reason", "")) for job_id, at, kind, data in rows)

    def known_requests(self) -> Known:
        """Return what the journal knows of paid requests, to hold what lies beside it against it."""
        from batchvid.domain.history import Known

        tasks = {task_id for (task_id,) in self._rows("SELECT task_id FROM attempts WHERE task_id IS NOT NULL")}
        starts, numbers, contents = set(), set(), set()
        query = "SELECT job_id, attempt, at, json_extract(data, '$.fingerprint') FROM events WHERE kind = ?"
        for job_id, attempt, at, fingerprint in self._rows(query, "SubmitStarted"):
            starts.add((job_id, attempt, int(at)))
            numbers.add((job_id, attempt))
            contents.add((attempt, int(at), fingerprint))
        return Known(tasks, starts, numbers, contents)

    def open_starts(self) -> dict[str, float]:
        """Return when the newest attempt of each job that is neither done nor failed was sent, by job id."""
        rows = self._rows(
            f"SELECT job_id, started_at FROM jobs JOIN attempts USING (job_id, attempt) WHERE {UNFINISHED}"  # noqa: S608 a constant
        )
        return dict(rows)

    def events(self, job_id: str | None = None) -> Iterator[KeptEvent]:
        """Yield the events of a job, or of all, in the order in which they were recorded."""
        which = "" if job_id is None else "WHERE job_id = ?"
        rows = self._rows(
            f"SELECT seq, job_id, attempt, at, kind, data FROM events {which} ORDER BY seq",  # noqa: S608 two constants
            *(() if job_id is None else (job_id,)),
        )
        return (KeptEvent(seq, job, attempt, at, kind, json.loads(data)) for seq, job, attempt, at, kind, data in rows)

    def last_seq(self) -> int:
        """Return the number of the newest event; 0 when there is none."""
        return next(seq or 0 for (seq,) in self._rows("SELECT max(seq) FROM events"))

    def news(self, after: int) -> Iterator[tuple[int, str, float, str]]:
        """Yield number, job, time and kind of the events after the one with this number: what has happened since."""
        return self._rows("SELECT seq, job_id, at, kind FROM events WHERE seq > ? ORDER BY seq", after)

    def latest(self) -> Iterator[tuple[int, str, float, str]]:
        """Yield the events as `news` does, the newest first."""
        return self._rows("SELECT seq, job_id, at, kind FROM events ORDER BY seq DESC")

    def timings(self) -> Mapping[str, list[float]]:
        """Return how long tasks took in seconds, by timing class, oldest first, at most `TIMINGS_KEPT` of each."""
        found: dict[str, list[float]] = {}
        for timing_class, took_s in self._rows("SELECT timing_class, took_s FROM timings ORDER BY seq"):
            found.setdefault(timing_class, []).append(took_s)
        return found

    def is_as_sealed(self) -> bool:
        """Whether the journal is as its last session has left it, for who only looks."""
        found = sqlite_file.read(self.path)
        is_session = found.get("session") is not None and found["session"] == self.meta_get("session")
        return is_session and self.meta_get("clean") == "1" and sqlite_file.is_untouched(self.path, found)

    def meta_get(self, key: str) -> str | None:
        """Return a remark about the journal as a whole; ``service`` is the one it belongs to."""
        return next((value for (value,) in self._rows("SELECT value FROM meta WHERE key = ?", key)), None)

    def _rows(self, query: str, *values: str | int) -> Iterator[tuple[Any, ...]]:
        with sqlite_file.translated(self.path):
            yield from self._db.execute(query, values)


def _progress(row: tuple[Any, ...]) -> Progress:
    job_id, state, version, attempt, allowance_from, parked, *rest = row
    return Progress(job_id, STATES[state], version, attempt, allowance_from, bool(parked), *rest)


class Outcome(StrEnum):
    """What became of a paid attempt."""

    OPEN = "open"
    """Sent, or about to be, or its task is under way."""
    IN_DOUBT = "in_doubt"
    """Sent, and nobody knows what became of it."""
    SUCCEEDED = "succeeded"
    """Its task made a clip."""
    FAILED = "failed"
    """The service says that its task failed."""
    ABANDONED = "abandoned"
    """Given up on before its end was known. It may have been charged, so it counts as spent."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One paid submission of a job."""

    job_id: str
    attempt: int
    price_micros: int | None
    fingerprint: str
    """Of the content that was sent."""
    started_at: float
    accepted_at: float | None
    task_id: str | None
    resolved_model: str | None
    outcome: Outcome
    finished_at: float | None
    reason: str | None
    raw: bytes | None
    """What could not be read of the answer, when the attempt was in doubt."""


def follow(db: sqlite3.Connection, job_id: str, *, attempt: int, event: Event, at: float) -> None:
    """Bring the row of an attempt in step with *event*, which is about it.

    Raises `TaskOwnedError` when the event names a task that another attempt has, and
    `StaleProgressError` when it starts an attempt that exists: the caller rolls back.
    """
    here = (job_id, attempt)

    def write(statement: str, *values: Any) -> int:
        return execute(db, statement, (*values, *here))

    match event:
        case SubmitStarted():
            added = write(
                "INSERT INTO attempts (price_micros, fingerprint, started_at, outcome, job_id, attempt)"
                " VALUES (?, ?, ?, 'open', ?, ?) ON CONFLICT DO NOTHING",
                event.price_micros,
                event.fingerprint,
                at,
            )
            if not added:
                raise StaleProgressError(f"job {job_id!r}: attempt {attempt} was started before")
        case SubmitRefused():
            write("DELETE FROM attempts WHERE job_id = ? AND attempt = ?")
        case SubmitUnsure():
            write(
                "UPDATE attempts SET outcome = 'in_doubt', reason = ?, raw = ? WHERE job_id = ? AND attempt = ?",
                event.reason,
                event.raw,
            )
        case SubmitAccepted() | TaskAdopted():
            _refuse_second_owner(db, event.task_id, here)
            model = event.resolved_model if isinstance(event, SubmitAccepted) else None
            write(
                "UPDATE attempts SET outcome = 'open', task_id = ?, resolved_model = ?, accepted_at = ?,"
                " finished_at = NULL, reason = NULL WHERE job_id = ? AND attempt = ?",
                event.task_id,
                model,
                at,
            )
        case TaskSucceeded():
            # The task of an expired URL succeeds a second time, but it was over at the first.
            write(
                "UPDATE attempts SET outcome = 'succeeded', finished_at = coalesce(finished_at, ?),"
                " resolved_model = coalesce(?, resolved_model) WHERE job_id = ? AND attempt = ?",
                at,
                event.resolved_model,
            )
        case TaskFailed():
            write(
                "UPDATE attempts SET outcome = 'failed', finished_at = ?, reason = ? WHERE job_id = ? AND attempt = ?",
                at,
                event.reason,
            )
        case GaveUp() | Reopened():
            write(
                "UPDATE attempts SET outcome = 'abandoned', finished_at = ?, reason = ?"
                " WHERE job_id = ? AND attempt = ? AND outcome IN ('open', 'in_doubt')",
                at,
                event.reason,
            )
        case _:
            pass  # the rest happens to a clip or to a poll, not to what was paid


def _refuse_second_owner(db: sqlite3.Connection, task_id: str, here: tuple[str, int]) -> None:
    owner = db.execute(
        "SELECT job_id FROM attempts WHERE task_id = ? AND (job_id, attempt) != (?, ?)", (task_id, *here)
    ).fetchone()
    if owner:
        raise TaskOwnedError(task_id, owner[0])
