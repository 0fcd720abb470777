"""The journal: what has happened to every job, durably; the only truth about money.

Rules that it keeps:

* A call of `Journal.record` is one transaction, on disk when it returns; if it raises, nothing of it is.
* A job moves only from what the journal holds: every update compares the version and sets it.
* It computes no states. What a job has become is said by `batchvid.core.lifecycle.advance`, before.
* One connection writes, at any number of readers' side; the run's lock sees to the one.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from batchvid.core.job import Progress, State
from batchvid.core.report import Trouble
from batchvid.core.timeline import Paid
from batchvid.edge import journal_file
from batchvid.edge.change import DURABLE, StaleProgressError, event_data, execute, numbered
from batchvid.edge.journal_schema import migrate, newest_version, version_of
from batchvid.edge.ledger import Attempt, Outcome, follow, held, money
from batchvid.errors import ConfigError, StorageError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from batchvid.core.snapshot import Money
    from batchvid.edge.change import Change, Timing

TIMINGS_KEPT = 200
"""Of each timing class: enough for its tail, few enough that a change at the service is learnt in a night."""

COLUMNS = Progress._fields
STATES = {state.value: state for state in State}
ALL_PROGRESS = f"SELECT {', '.join(COLUMNS)} FROM jobs"  # noqa: S608 the names are the dataclass's own
INSERT_PROGRESS = (
    f"INSERT INTO jobs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 as above
    " ON CONFLICT DO NOTHING"
)
UPDATE_PROGRESS = (
    f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in COLUMNS[1:])}"  # noqa: S608 as above
    " WHERE job_id = ? AND version = ?"
)
"""It leaves the id alone: setting it to what it is makes SQLite look through all that refers to it."""
TROUBLES = ("SubmitRefused", "SubmitUnsure", "TaskFailed", "TimedOut", "DownloadFailed", "UrlExpired", "GaveUp")
"""The events that tell of something that went wrong."""
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
    """The name of the event in `batchvid.core.lifecycle`."""
    data: dict[str, Any]


class Journal:
    """An open journal. Make one by `open` or `open_readonly`; used by one thread at a time."""

    def __init__(self, db: sqlite3.Connection, path: Path, *, readonly: bool) -> None:
        self._db = db
        self._readonly = readonly
        self._identity: tuple[int, int] | None = None
        self.path = path

    @classmethod
    def open(cls, path: Path, *, service: str) -> Journal:
        """Open the journal at *path* for writing, or create it for *service* (a normalised base URL).

        A journal of an older batchvid is copied to ``<name>.v<its version>.bak`` and then migrated. One that was
        not closed properly is checked page by page. Raises `StorageError` for a journal that cannot be read or
        written, or might be something else, and `ConfigError` for one of another service or a newer batchvid.
        """
        with journal_file.translated(path):
            if not journal_file.refuse_doubtful(path):
                journal_file.create(path, service=service)
            journal_file.make_private(path)
            db = journal_file.connect(path)
        journal = cls(db, path, readonly=False)
        try:
            journal._take_over(service)
        except BaseException:  # whatever it was, the connection is closed, and it goes on its way
            db.close()
            raise
        return journal

    @classmethod
    def reopen(cls, path: Path) -> Journal:
        """Open the journal that exists at *path* for writing, whatever service it is of: for a person's decisions.

        Raises as `open` does, and `StorageError` when there is none.
        """
        with journal_file.translated(path):
            if not journal_file.refuse_doubtful(path):
                raise StorageError(f"there is no journal {path}")
            db = journal_file.connect(path)
        journal = cls(db, path, readonly=False)
        try:
            journal._take_over(None)
        except BaseException:  # whatever it was, the connection is closed, and it goes on its way
            db.close()
            raise
        return journal

    @classmethod
    def open_readonly(cls, path: Path) -> Journal | None:
        """Open the journal at *path* for reading, beside a writer if there is one; ``None`` if there is no journal.

        Raises as `open` does; a journal of an older batchvid is refused, because reading must not change it.
        """
        with journal_file.translated(path):
            if not journal_file.refuse_doubtful(path):
                return None
            db = journal_file.connect(path, readonly=True)
        try:
            with journal_file.translated(path):
                journal_file.check_kind(db, path)
                journal_file.refuse_older(db, path)
        except BaseException:  # whatever it was, the connection is closed, and it goes on its way
            db.close()
            raise
        return cls(db, path, readonly=True)

    def _take_over(self, service: str | None) -> None:
        with journal_file.translated(self.path):
            self._identity = journal_file.identity(self.path)
            journal_file.check_kind(self._db, self.path)
            journal_file.make_durable(self._db, self.path)
            version = version_of(self._db)
            if version < newest_version():
                journal_file.copy_to(self._db, self.path.with_name(f"{self.path.name}.v{version}.bak"))
                migrate(self._db)
        bound_to = self.meta_get("service")
        if service is not None and bound_to != service:
            raise ConfigError(
                f"the journal {self.path} belongs to the service {bound_to}, and this run is for {service}; "
                f"what was paid there is unknown here: choose another output (--output FOLDER)"
            )
        if self.meta_get("clean") != "1":
            with journal_file.translated(self.path):
                journal_file.check_pages(self._db, self.path)
        self.meta_set("clean", "0")

    def close(self, *, clean: bool = True) -> None:
        """Close the journal; it notes whether its use ended properly (*clean*), and so needs no check next time."""
        try:
            if clean and not self._readonly:
                self.meta_set("clean", "1")
        finally:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(clean=error is None)

    # ------------------------------------------------------------------ writing

    def record(self, changes: Sequence[Change]) -> None:
        """Keep *changes*, all of them or none; when this returns, they survive a power loss.

        Raises `StaleProgressError` when a change does not start from what the journal holds (a bug),
        `TaskOwnedError` when one names a task that another attempt has, and `StorageError` when
        the disk does not take them, or the journal was moved or removed: SQLite would go on writing to a file
        that no later run finds.
        """
        with journal_file.translated(self.path):
            if journal_file.identity(self.path) != self._identity:
                raise StorageError(f"the journal {self.path} was replaced by another file in the middle of this run")
        with self._transaction():
            for change in changes:
                self._write(change)

    def meta_set(self, key: str, value: str) -> None:
        """Keep a remark about the journal as a whole."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value)
            )

    def backup(self, path: Path) -> None:
        """Write a whole copy of the journal to *path*, also while it is being written to."""
        with journal_file.translated(path):
            journal_file.copy_to(self._db, path)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with journal_file.translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:  # whatever it was, nothing of the transaction stays, and it goes on its way
                if self._db.in_transaction:  # SQLite itself has rolled back after some errors of the disk
                    self._db.execute("ROLLBACK")
                raise

    def _write(self, change: Change) -> None:
        before, (job_id, *row) = change.before, _row(change.after)
        if before.version:
            moved = execute(self._db, UPDATE_PROGRESS, (*row, job_id, before.version))
        else:
            moved = execute(self._db, INSERT_PROGRESS, (job_id, *row))
        if not moved:
            raise StaleProgressError(f"job {before.job_id!r} is no longer at version {before.version}")
        for attempt, event, at in numbered(change):
            if type(event) in DURABLE:
                follow(self._db, job_id, attempt=attempt, event=event, at=at)
                execute(
                    self._db,
                    "INSERT INTO events (job_id, attempt, at, kind, data) VALUES (?, ?, ?, ?, ?)",
                    (job_id, attempt, at, type(event).__name__, json.dumps(event_data(event))),
                )
        if change.timing:
            self._note(change.timing)

    def _note(self, timing: Timing) -> None:
        self._db.execute(
            "INSERT INTO timings (timing_class, took_s, at) VALUES (?, ?, ?)",
            (timing.timing_class, timing.took_s, timing.at),
        )
        self._db.execute(
            "DELETE FROM timings WHERE timing_class = ?1 AND seq <="
            " (SELECT seq FROM timings WHERE timing_class = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
            (timing.timing_class, TIMINGS_KEPT),
        )

    # ------------------------------------------------------------------ reading

    def progress(self, job_id: str) -> Progress | None:
        """Give what has happened to a job; ``None`` when nothing has."""
        return next(map(_progress, self._rows(f"{ALL_PROGRESS} WHERE job_id = ?", job_id)), None)

    def all_progress(self) -> Iterator[Progress]:
        """Yield every job that anything has happened to, by id."""
        return map(_progress, self._rows(f"{ALL_PROGRESS} ORDER BY job_id"))

    def open_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are neither done nor failed, by id, without reading the others."""
        return map(_progress, self._rows(f"{ALL_PROGRESS} WHERE {UNFINISHED} ORDER BY job_id"))

    def clips(self) -> Iterator[tuple[str, str, int]]:
        """Yield id, path and size in bytes of every clip that is done, by id."""
        rows = self._rows("SELECT job_id, path, size_bytes FROM jobs WHERE state = 'done' ORDER BY job_id")
        return ((job_id, path or "", size_bytes or 0) for job_id, path, size_bytes in rows)

    def counts(self) -> dict[State, int]:
        """Count the jobs by state; every state is there."""
        found = dict(self._rows("SELECT state, count(*) FROM jobs GROUP BY state"))
        return {state: found.get(state.value, 0) for state in State}

    def fingerprints(self) -> Iterator[tuple[str, State, str | None]]:
        """Yield id, state and the fingerprint of what the newest attempt sent, of every job, by id."""
        rows = self._rows("SELECT job_id, state, fingerprint FROM jobs ORDER BY job_id")
        return ((job_id, State(state), fingerprint) for job_id, state, fingerprint in rows)

    def money(self) -> Money:
        """Give what all attempts come to; see `batchvid.edge.ledger`. The budget is not known here."""
        with journal_file.translated(self.path):
            return money(self._db)

    def held_jobs(self) -> frozenset[str]:
        """Give the ids of the jobs that have an attempt open or in doubt, for which money is held."""
        with journal_file.translated(self.path):
            return held(self._db)

    def owner_of_task(self, task_id: str) -> str | None:
        """Give the id of the job that has this task; ``None`` when none has."""
        return next(
            (job_id for (job_id,) in self._rows("SELECT job_id FROM attempts WHERE task_id = ?", task_id)), None
        )

    def attempts(self, job_id: str) -> list[Attempt]:
        """Give the paid attempts of a job, oldest first."""
        names = [field.name for field in fields(Attempt)]
        rows = self._rows(
            f"SELECT {', '.join(names)} FROM attempts WHERE job_id = ? ORDER BY attempt",  # noqa: S608 the dataclass's own
            job_id,
        )
        found = (dict(zip(names, row, strict=True)) for row in rows)
        return [Attempt(**values | {"outcome": Outcome(values["outcome"])}) for values in found]

    def paid(self) -> Iterator[Paid]:
        """Yield every paid attempt of every job, by job and then oldest first."""
        names = ", ".join(field.name for field in fields(Paid))
        return (Paid(*row) for row in self._rows(f"SELECT {names} FROM attempts ORDER BY job_id, attempt"))  # noqa: S608 as above

    def troubles(self) -> Iterator[Trouble]:
        """Yield what went wrong with any job, in the order in which it was recorded."""
        places = ", ".join("?" * len(TROUBLES))
        rows = self._rows(
            f"SELECT job_id, at, kind, data FROM events WHERE kind IN ({places}) ORDER BY seq",  # noqa: S608 only ?
            *TROUBLES,
        )
        return (Trouble(job_id, at, kind, json.loads(data).get("reason", "")) for job_id, at, kind, data in rows)

    def events(self, job_id: str | None = None) -> Iterator[KeptEvent]:
        """Yield the events of a job, or of all, in the order in which they were recorded."""
        which = "" if job_id is None else "WHERE job_id = ?"
        rows = self._rows(
            f"SELECT seq, job_id, attempt, at, kind, data FROM events {which} ORDER BY seq",  # noqa: S608 two constants
            *(() if job_id is None else (job_id,)),
        )
        return (KeptEvent(seq, job, attempt, at, kind, json.loads(data)) for seq, job, attempt, at, kind, data in rows)

    def last_seq(self) -> int:
        """Give the number of the newest event; 0 when there is none."""
        return next(seq or 0 for (seq,) in self._rows("SELECT max(seq) FROM events"))

    def news(self, after: int) -> Iterator[tuple[int, str, float, str]]:
        """Yield number, job, time and kind of the events after the one with this number: what has happened since."""
        return self._rows("SELECT seq, job_id, at, kind FROM events WHERE seq > ? ORDER BY seq", after)

    def latest(self) -> Iterator[tuple[int, str, float, str]]:
        """Yield the events as `news` does, the newest first."""
        return self._rows("SELECT seq, job_id, at, kind FROM events ORDER BY seq DESC")

    def timings(self) -> Mapping[str, list[float]]:
        """Give how long tasks took in seconds, by timing class, oldest first, at most `TIMINGS_KEPT` of each."""
        found: dict[str, list[float]] = {}
        for timing_class, took_s in self._rows("SELECT timing_class, took_s FROM timings ORDER BY seq"):
            found.setdefault(timing_class, []).append(took_s)
        return found

    def meta_get(self, key: str) -> str | None:
        """Give a remark about the journal as a whole; ``service`` is the one it belongs to."""
        return next((value for (value,) in self._rows("SELECT value FROM meta WHERE key = ?", key)), None)

    def _rows(self, query: str, *values: str | int) -> Iterator[tuple[Any, ...]]:
        with journal_file.translated(self.path):
            yield from self._db.execute(query, values)


def _row(progress: Progress) -> tuple[Any, ...]:
    # Plain values: for its subclasses, SQLite's module looks through its adapters first.
    return progress._replace(state=progress.state.value, parked=int(progress.parked))  # type: ignore[arg-type]


def _progress(row: tuple[Any, ...]) -> Progress:
    job_id, state, version, attempt, allowance_from, parked, *rest = row
    return Progress(job_id, STATES[state], version, attempt, allowance_from, bool(parked), *rest)
