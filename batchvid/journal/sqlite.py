"""The journal: what has happened to every job, durably; the only truth about money.

Rules that it keeps:

* A call of `Journal.record` is one transaction, on disk when it returns; if it raises, nothing of it is.
* A job moves only from what the journal holds: every update compares the version and sets it.
* What it has kept is in the event log beside it before anybody hears that it is kept.
* It computes no states. What a job has become is said by `batchvid.domain.lifecycle.advance`, before.
* One connection writes, at any number of readers' side; the run's lock sees to the one. What it and they can read is in
  `batchvid.journal.sqlite_reader`.
"""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.history import MOVED
from batchvid.domain.lifecycle import SubmitAccepted, SubmitStarted, TaskAdopted
from batchvid.journal import sqlite_file
from batchvid.journal.base import DURABLE, StaleProgressError, event_data, execute, log_line, numbered
from batchvid.journal.event_log import LOG_FILE, EventLog
from batchvid.journal.sqlite_file import migrate, newest_version, version_of
from batchvid.journal.sqlite_reader import COLUMNS, JournalReader, follow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from batchvid.domain.job import Progress
    from batchvid.journal.base import Change, Timing


READER_PATIENCE_MS = 1000
"""How long the end of a session waits for who reads just now; without the last bit of order nothing is lost."""
OPEN_ATTEMPTS = (
    "SELECT job_id, attempt, attempts.price_micros, attempts.fingerprint, started_at, attempts.task_id,"
    " attempts.resolved_model, accepted_at FROM jobs JOIN attempts USING (job_id, attempt)"
    " WHERE state NOT IN ('done', 'failed') AND state != 'pending'"
)
TIMINGS_KEPT = 200
"""Of each timing class: enough for its tail, few enough that a change at the service is learnt in a night."""

ASIDE = "/"
"""Before an id for the moment in which two are exchanged; no id holds it."""

INSERT_PROGRESS = (
    f"INSERT INTO jobs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 as above
    " ON CONFLICT DO NOTHING"
)
UPDATE_PROGRESS = (
    f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in COLUMNS[1:])}"  # noqa: S608 as above
    " WHERE job_id = ? AND version = ?"
)
"""It leaves the id alone: setting it to what it is makes SQLite look through all that refers to it."""


class Journal(JournalReader):
    """A journal that is open for writing. Make one by `open` or `reopen`; used by one thread at a time."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        super().__init__(db, path)
        self._identity: tuple[int, int] | None = None
        self.log = EventLog(path.with_name(LOG_FILE))
        self.was_clean = True
        """Whether its last session had ended properly."""
        self.is_sealed = False
        """Whether nothing beside it knows more: it was found sealed, or was held against all that (`takeback`)."""

    @classmethod
    def open(cls, path: Path, *, service: str) -> Journal:
        """Open the journal at *path* for writing, or create it for *service* (a normalised base URL).

        A journal of an older batchvid is copied to ``<name>.v<its version>.bak`` and then migrated. One that was
        not closed properly is checked page by page. Raises `StorageError` for a journal that cannot be read or
        written, or might be something else, and `ConfigError` for one of another service or a newer batchvid.
        """
        found = sqlite_file.read(path)
        with sqlite_file.translated(path):
            if not sqlite_file.refuse_doubtful(path):
                _refuse_other(path, found.get("service"), service)
                sqlite_file.create(path, service=service)
                found = {}
            elif not sqlite_file.is_untouched(path, found):
                found = {}
            sqlite_file.make_private(path)
            db = sqlite_file.connect(path)
        journal = cls(db, path)
        try:
            journal._take_over(service, found.get("session"))
        except BaseException:  # whatever it was, the connection is closed, and it goes on its way
            db.close()
            raise
        return journal

    @classmethod
    def reopen(cls, path: Path) -> Journal:
        """Open the journal that exists at *path* for writing, whatever service it is of: for a person's decisions.

        Raises as `open` does, and `StorageError` when there is none.
        """
        with sqlite_file.translated(path):
            if not sqlite_file.refuse_doubtful(path):
                raise StorageError(f"there is no journal {path}")
            found = sqlite_file.read(path)
            untouched = sqlite_file.is_untouched(path, found)
            db = sqlite_file.connect(path)
        journal = cls(db, path)
        try:
            journal._take_over(None, found.get("session") if untouched else None)
        except BaseException:  # whatever it was, the connection is closed, and it goes on its way
            db.close()
            raise
        return journal

    def _take_over(self, service: str | None, sealed_by: str | None) -> None:
        with sqlite_file.translated(self.path):
            self._identity = sqlite_file.identity(self.path)
            sqlite_file.check_kind(self._db, self.path)
            sqlite_file.make_durable(self._db, self.path)
            version = version_of(self._db)
            if version < newest_version():
                sqlite_file.copy_to(self._db, self.path.with_name(f"{self.path.name}.v{version}.bak"))
                migrate(self._db)
        if service is not None:
            _refuse_other(self.path, self.meta_get("service"), service)
        self.was_clean = self.meta_get("clean") == "1"
        self.is_sealed = self.was_clean and sealed_by is not None and sealed_by == self.meta_get("session")
        if not self.is_sealed:
            with sqlite_file.translated(self.path):
                sqlite_file.check_pages(self._db, self.path)
        self._begin()

    def _begin(self) -> None:
        """Begin a session; every copy that is made of the file from now on shows that it was not ended."""
        sqlite_file.break_(self.path)
        self._meta_set({"clean": "0", "session": secrets.token_hex(8)})
        self.checkpoint()
        self.log.remember(self._open_lines())

    def checkpoint(self) -> None:
        """Bring what is in the -wal into the file itself, as far as no reader is in the way."""
        with sqlite_file.translated(self.path):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _open_lines(self) -> Iterator[dict[str, Any]]:
        """Yield, as the log has them, the events that made each open attempt what it is."""
        for job_id, attempt, *started, started_at, task_id, model, accepted_at in self._rows(OPEN_ATTEMPTS):
            yield log_line(job_id, attempt, SubmitStarted(attempt, *started), at=started_at)
            if task_id is not None:
                yield log_line(job_id, attempt, SubmitAccepted(task_id, model), at=accepted_at or started_at)

    def close(self, *, clean: bool = True) -> None:
        """Close the journal. One that knows all, and whose use ended properly (*clean*), is sealed."""
        service = session = None
        try:
            if clean:
                self.meta_set("clean", "1")
                service, session = self.meta_get("service"), self.meta_get("session")
                with sqlite_file.translated(self.path):
                    self._db.execute(f"PRAGMA busy_timeout = {READER_PATIENCE_MS}")
                    self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nothing is left for a reader to write later
        finally:
            self._db.close()
        with suppress(OSError):
            if session is not None and self.is_sealed and sqlite_file.identity(self.path) == self._identity:
                sqlite_file.put(self.path, service=service, session=session)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(clean=error is None or isinstance(error, ConfigError))  # a missing key says nothing of the journal

    def record(self, changes: Sequence[Change]) -> None:
        """Keep *changes*, all of them or none; when this returns, they survive a power loss.

        Raises `StaleProgressError` when a change does not start from what the journal holds (a bug),
        `TaskOwnedError` when one names a task that another attempt has, and `StorageError` when
        the disk does not take them, or the journal was moved or removed: SQLite would go on writing to a file
        that no later run finds.
        """
        with sqlite_file.translated(self.path):
            if sqlite_file.identity(self.path) != self._identity:
                raise StorageError(f"the journal {self.path} was replaced by another file in the middle of this run")
        with self._transaction():
            for change in changes:
                self._put_down(change)
            lines = [line for change in changes for line in self._write(change)]
        self.log.keep(lines)

    def move(self, moves: Sequence[tuple[str, str]], *, at: float, remark: tuple[str, str]) -> None:
        """Return jobs other ids, with their attempts and events, all of them or none; each move is an old and a new id.

        A job that has the new id, and for which nothing was paid, gets the old one. *remark* is kept beside it, as by
        `meta_set`. Raises `StaleProgressError` when the journal does not hold a job of an old id.
        """
        with self._transaction():
            self._db.execute("PRAGMA defer_foreign_keys = ON")  # until the end of this transaction
            for old, new in moves:
                in_the_way = self._rename(new, ASIDE + new)
                if not self._rename(old, new):
                    raise StaleProgressError(f"there is no job {old!r} to become {new!r}")
                if in_the_way:
                    self._rename(ASIDE + new, old)
                self._db.execute("UPDATE jobs SET version = version + 1 WHERE job_id = ?", (new,))
                self._db.execute(
                    "INSERT INTO events (job_id, attempt, at, kind, data)"
                    " SELECT job_id, attempt, ?, ?, ? FROM jobs WHERE job_id = ?",
                    (at, MOVED, json.dumps({"moved_from": old}), new),
                )
            self._remark(*remark)

    def _rename(self, old: str, new: str) -> int:
        for table in ("attempts", "events"):
            self._db.execute(f"UPDATE {table} SET job_id = ? WHERE job_id = ?", (new, old))  # noqa: S608 two constants
        return self._db.execute("UPDATE jobs SET job_id = ? WHERE job_id = ?", (new, old)).rowcount

    def set_paths(self, paths: Mapping[str, str], *, remark: tuple[str, str]) -> None:
        """Keep where the clips of these jobs lie now, all of them or none, and a *remark* as `move` does."""
        with self._transaction():
            for job_id, path in paths.items():
                execute(self._db, "UPDATE jobs SET path = ? WHERE job_id = ?", (path, job_id))
            self._remark(*remark)

    def meta_set(self, key: str, value: str) -> None:
        """Keep a remark about the journal as a whole."""
        self._meta_set({key: value})

    def _meta_set(self, values: Mapping[str, str]) -> None:
        with self._transaction():
            for key, value in values.items():
                self._remark(key, value)

    def _remark(self, key: str, value: str) -> None:
        self._db.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value)
        )

    def backup(self, path: Path) -> None:
        """Write a whole copy of the journal to *path*, also while it is being written to."""
        with sqlite_file.translated(path):
            sqlite_file.copy_to(self._db, path)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with sqlite_file.translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:  # whatever it was, nothing of the transaction stays, and it goes on its way
                if self._db.in_transaction:  # SQLite itself has rolled back after some errors of the disk
                    self._db.execute("ROLLBACK")
                raise

    def _put_down(self, change: Change) -> None:
        """Forget the task of an attempt that is given another one, so that two jobs can exchange theirs in a record."""
        for attempt, event, _ in numbered(change):
            if isinstance(event, TaskAdopted):
                here = (change.before.job_id, attempt)
                execute(self._db, "UPDATE attempts SET task_id = NULL WHERE job_id = ? AND attempt = ?", here)

    def _write(self, change: Change) -> list[dict[str, Any]]:
        """Write *change*, and return its events as lines of the event log."""
        before, (job_id, *row) = change.before, _row(change.after)
        if before.version:
            moved = execute(self._db, UPDATE_PROGRESS, (*row, job_id, before.version))
        else:
            moved = execute(self._db, INSERT_PROGRESS, (job_id, *row))
        if not moved:
            raise StaleProgressError(f"job {before.job_id!r} is no longer at version {before.version}")
        lines = []
        for attempt, event, at in numbered(change):
            if type(event) in DURABLE:
                follow(self._db, job_id, attempt=attempt, event=event, at=at)
                execute(
                    self._db,
                    "INSERT INTO events (job_id, attempt, at, kind, data) VALUES (?, ?, ?, ?, ?)",
                    (job_id, attempt, at, type(event).__name__, json.dumps(event_data(event))),
                )
                lines.append(log_line(job_id, attempt, event, at=at))
        if change.timing:
            self._note(change.timing)
        return lines

    def _note(self, timing: Timing) -> None:
        self._db.execute(
            "INSERT INTO timings (timing_class, took_s, at) VALUES (?, ?, ?)",
            (timing.timing_class, timing.took_s, timing.at),
        )
        self._db.execute(
            "DELETE FROM timings WHERE timing_class = ? AND seq <="
            " (SELECT seq FROM timings WHERE timing_class = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (timing.timing_class, timing.timing_class, TIMINGS_KEPT),
        )


def _refuse_other(path: Path, bound_to: str | None, service: str) -> None:
    """Refuse a journal that belongs to another service, also one that is gone and has left its seal."""
    if bound_to not in {None, service}:
        raise ConfigError(
            f"the journal {path} belongs to the service {bound_to}, and this run is for {service}; "
            f"what was paid there is unknown here: choose another output (--output FOLDER)"
        )


def _row(progress: Progress) -> tuple[Any, ...]:
    # Plain values: for its subclasses, SQLite's module looks through its adapters first.
    return progress._replace(state=progress.state.value, parked=int(progress.parked))  # type: ignore[arg-type]
