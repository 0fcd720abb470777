"""The journal in a SQLite database: one file in the output's state folder, which `batchvid.journal.sqlite_file` keeps.

One connection writes, at any number of readers' side; the run's lock sees to the one.
"""

from __future__ import annotations

import json
import secrets
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchvid.domain import decision
from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.errors import ConfigError, OutputBusyError, StorageError
from batchvid.domain.job import Attempt, Outcome, Progress, State
from batchvid.domain.lifecycle import KeptEvent, TaskAdopted
from batchvid.domain.records import rfc3339
from batchvid.domain.results import Money
from batchvid.journal import sqlite_file
from batchvid.journal.base import (
    IN_NO_PLAN,
    TIMINGS_KEPT,
    Journal,
    JournalReader,
    JournalStore,
    StaleProgressError,
    TaskOwnedError,
    check_copy,
    event_data,
    followed,
    log_line,
    numbered,
    open_lines,
    refuse_other,
)
from batchvid.journal.event_log import LOG_FILE, EventLog, pace_changes
from batchvid.journal.sqlite_file import migrate, newest_version, version_of
from batchvid.storage.fs import doing, sync_folder
from batchvid.storage.state import held_since, hold

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from batchvid.domain.lifecycle import Event
    from batchvid.domain.report import PaceChange
    from batchvid.journal.base import Change, Timing


JOURNAL_FILE, MOVED_FILE = "journal.db", "journal.moved.db"
READER_PATIENCE_MS = 1000
"""How long the end of a session waits for who reads just now; without the last bit of order nothing is lost."""
ASKED_AT_ONCE = 500
"""Jobs in one query: fewer than SQLite takes values (999 in old ones), enough that asking costs nothing."""
ASIDE = "/"
"""Before an id for the moment in which two are exchanged; no id holds it."""

STATES = {state.value: state for state in State}
OUTCOMES = {outcome.value: outcome for outcome in Outcome}
UNDER_WAY = {State.SUBMITTING, State.RUNNING, State.READY}
"""More is soon recorded of the attempts of such jobs."""
ALL_PROGRESS = f"SELECT {', '.join(Progress._fields)} FROM jobs"
BRIEF = ", ".join("NULL" if name in IN_NO_PLAN else name for name in Progress._fields)
IN_BRIEF = f"{ALL_PROGRESS} WHERE state != 'done' UNION ALL SELECT {BRIEF} FROM jobs WHERE state = 'done'"
"""Most rows of a long night are done, and most of what they hold is text that costs time to read."""
ALL_ATTEMPTS = f"SELECT {', '.join(Attempt._fields)} FROM attempts"
UNFINISHED = "state NOT IN ('done', 'failed')"
"""Word for word the condition of the partial index, so that SQLite uses it."""
BEYOND_ASCII = "[^' || char(1) || '-' || char(127) || ']"
IN_STATE = "SELECT job_id FROM jobs WHERE state = ?"
RESERVED = "outcome IN ('open', 'in_doubt')"
"""The same of the attempts."""
MONEY = (
    f"SELECT coalesce(sum(price_micros) FILTER (WHERE NOT {RESERVED}), 0),"
    f" coalesce(sum(price_micros) FILTER (WHERE {RESERVED}), 0),"
    " count(*) FILTER (WHERE price_micros IS NULL),"
    " (SELECT coalesce(sum(unproven_micros), 0) FROM jobs) FROM attempts"
)
INSERT_PROGRESS = (
    f"INSERT INTO jobs ({', '.join(Progress._fields)}) VALUES ({', '.join('?' * len(Progress._fields))})"
    " ON CONFLICT DO NOTHING"
)
UPDATE_PROGRESS = (
    f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in Progress._fields[1:])} WHERE job_id = ? AND version = ?"
)
"""It leaves the id alone: setting it to what it is makes SQLite look through all that refers to it."""
INSERT_ATTEMPT = f"INSERT INTO attempts ({', '.join(Attempt._fields)}) VALUES ({', '.join('?' * len(Attempt._fields))})"
EVENT_WIDTH, EVENT_PLACES = 5, "(?, ?, ?, ?, ?)"
INSERT_EVENT = f"INSERT INTO events (job_id, attempt, at, kind, data) VALUES {EVENT_PLACES}"
EVENTS_AT_ONCE = 100
"""In one statement: fewer values than SQLite takes."""
ALL_DECISIONS = f"SELECT {', '.join(Decision._fields)} FROM decisions"
DECISIONS_AFTER = f"SELECT seq, {', '.join(Decision._fields)} FROM decisions WHERE seq > ? ORDER BY seq"
INTO_DECISIONS = f"INSERT INTO decisions ({', '.join(Decision._fields)})"
INSERT_DECISION = (
    f"{INTO_DECISIONS} SELECT {', '.join('?' * len(Decision._fields))}"
    " WHERE EXISTS (SELECT 1 FROM attempts WHERE job_id = ? AND attempt = ? AND outcome = 'succeeded')"
)
INSERT_TIMING = "INSERT INTO timings (timing_class, took_s, at) VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True)
class SqliteStore(JournalStore):
    """A SQLite journal at a path."""

    path: Path

    def exists(self) -> bool:
        """Whether the journal is there. One in a folder that may not be read counts as there."""
        try:
            return self.path.exists()
        except PermissionError:
            return True

    def lock(self) -> AbstractContextManager[None]:
        """Hold the output's lock, which the kernel drops when the process ends."""
        return hold(self.path.parent.parent)

    def held_since(self) -> float | None:
        """Return since when another process has held the output's lock; ``None`` when none does."""
        return held_since(self.path.parent.parent)

    def open(self, *, service: str | None) -> SqliteJournal:
        """Open the journal for writing, or make it.

        A journal of an older batchvid is copied to ``<name>.v<its version>.bak`` and then migrated. One that was not
        closed properly is checked page by page.
        """
        path, found = self.path, sqlite_file.read_seal(self.path)
        with sqlite_file.translated(path):
            if sqlite_file.refuse_doubtful(path):
                sealed_by = found.get("session") if sqlite_file.is_untouched(path, found) else None
            elif service is None:
                raise StorageError(f"there is no journal {path}")
            else:
                refuse_other(path, found.get("service"), service)  # one that is gone has left its seal
                sqlite_file.create(path, service=service)
                sealed_by = None
            sqlite_file.make_private(path)
            db = sqlite_file.connect(path)
        journal = SqliteJournal(db, path)
        try:
            journal.take_over(service, sealed_by)
        except BaseException:  # whatever it was, the connection is closed, and it is raised again
            db.close()
            raise
        return journal

    def decide(self, decisions: Sequence[Decision]) -> None:
        """Keep what persons decided, beside whoever writes the journal."""
        decision.check(decisions)
        with sqlite_file.translated(self.path):
            if not sqlite_file.refuse_doubtful(self.path):
                raise StorageError(f"there is no journal {self.path}")
        self._bring_up_to_date()
        with sqlite_file.beside(self.path) as db, sqlite_file.transaction(db, is_guest=True):
            _keep_decisions(db, decisions)

    def _bring_up_to_date(self) -> None:
        """Migrate a journal of an older batchvid, unless a run has it."""
        with sqlite_file.translated(self.path), closing(sqlite_file.connect(self.path, readonly=True)) as db:
            sqlite_file.check_kind(db, self.path)
            if version_of(db) == newest_version():
                return
        try:
            with self.lock(), self.open(service=None):
                pass
        except OutputBusyError:
            raise ConfigError(
                f"the journal {self.path} is of an older batchvid, and a run of that one holds it: decide once it is "
                "over"
            ) from None

    def put_away(self) -> SqliteStore:
        """Rename the file of a closed journal, so that nothing goes on with it; return it as it is then."""
        there = self.path.with_name(MOVED_FILE)
        with doing(f"rename {self.path}"):
            self.path.rename(there)
            sync_folder(there.parent)
        return SqliteStore(there)

    def read(self) -> SqliteReader | None:
        """Open the journal for reading; ``None`` when there is none."""
        with sqlite_file.translated(self.path):
            if not sqlite_file.refuse_doubtful(self.path):
                return None
            db = sqlite_file.connect(self.path, readonly=True)
        try:
            with sqlite_file.translated(self.path):
                sqlite_file.check_kind(db, self.path)
                sqlite_file.refuse_older(db, self.path)
        except BaseException:  # whatever it was, the connection is closed, and it is raised again
            db.close()
            raise
        return SqliteReader(db, self.path)


class SqliteReader(JournalReader):
    """A journal that is open. Made by `SqliteStore`."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self.path = path
        self.name = str(path)

    @property
    def is_sealed(self) -> bool:
        """Whether the journal is as its last session has left it."""
        found = sqlite_file.read_seal(self.path)
        is_session = found.get("session") is not None and found["session"] == self.meta_get("session")
        return is_session and self.meta_get("clean") == "1" and sqlite_file.is_untouched(self.path, found)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def progress_of(self, job_ids: Iterable[str]) -> Iterator[Progress]:
        """Yield what has happened to these jobs, in their order."""
        left = iter(job_ids)
        while ids := tuple(islice(left, ASKED_AT_ONCE)):
            with sqlite_file.translated(self.path):
                rows = self._db.execute(f"{ALL_PROGRESS} WHERE job_id IN ({', '.join('?' * len(ids))})", ids).fetchall()
            found = {row[0]: row for row in rows}
            yield from (_progress(found[job_id]) for job_id in ids if job_id in found)

    def all_progress(self) -> Iterator[Progress]:
        """Yield every job that anything has happened to, by id."""
        return self._progress("ORDER BY job_id")

    def open_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are neither done nor failed, by id."""
        return self._progress(f"WHERE {UNFINISHED} ORDER BY job_id")

    def undone_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are not done, by id."""
        return self._progress("WHERE state != 'done' ORDER BY job_id")

    def progress_in_brief(self) -> Iterator[Progress]:
        """Yield every job, of done ones only what a plan needs. One query, so that all is of one moment."""
        return map(_progress, self._rows(IN_BRIEF))

    def states(self) -> dict[str, State]:
        """Return the state of every job, by id."""
        with sqlite_file.translated(self.path):
            return {job_id: STATES[state] for job_id, state in self._db.execute("SELECT job_id, state FROM jobs")}

    def ids(self, state: State | None = None) -> set[str]:
        """Return the ids of all jobs, or of those in a *state*."""
        rows = self._rows("SELECT job_id FROM jobs") if state is None else self._rows(IN_STATE, state.value)
        return {job_id for (job_id,) in rows}

    def done_clips(self) -> Iterator[tuple[str, str, int]]:
        """Yield id, path and size of each clip that is done."""
        query = "SELECT job_id, coalesce(path, ''), coalesce(size_bytes, 0) FROM jobs WHERE state = 'done'"
        return self._rows(f"{query} ORDER BY job_id")

    def clips_beyond_ascii(self) -> Iterator[Progress]:
        """Yield the done jobs whose path has other letters than ASCII."""
        return self._progress(f"WHERE state = 'done' AND path GLOB '*{BEYOND_ASCII}*' ORDER BY job_id")

    def counts(self) -> dict[State, int]:
        """Count the jobs by state."""
        found = dict(self._rows("SELECT state, count(*) FROM jobs GROUP BY state"))
        return {state: found.get(state.value, 0) for state in State}

    def attempts(self, job_id: str | None = None) -> Iterator[Attempt]:
        """Yield the paid attempts of a job, or of all."""
        if job_id is None:
            return map(_attempt, self._rows(f"{ALL_ATTEMPTS} ORDER BY job_id, attempt"))
        return map(_attempt, self._rows(f"{ALL_ATTEMPTS} WHERE job_id = ? ORDER BY attempt", job_id))

    def money(self) -> Money:
        """Return what all attempts come to."""
        spent, reserved, unpriced, unproven = next(self._rows(MONEY))
        return Money(
            spent_micros=spent,
            reserved_micros=reserved + unproven,
            unproven_micros=unproven,
            unpriced_attempts=unpriced,
        )

    def paid_since(self, at: float) -> int:
        """Return what the attempts come to that were started since."""
        query = "SELECT coalesce(sum(price_micros), 0) FROM attempts WHERE started_at >= ?"
        ((found,),) = self._rows(query, at)
        return int(found)

    def reserved_jobs(self, among: Collection[str] | None = None) -> frozenset[str]:
        """Return the ids of the jobs for which money is reserved; they are read from an index of their own."""
        found = frozenset(job_id for (job_id,) in self._rows(f"SELECT DISTINCT job_id FROM attempts WHERE {RESERVED}"))
        return found if among is None else found.intersection(among)

    def owner_of_task(self, task_id: str) -> str | None:
        """Return the id of the job that has this task."""
        rows = self._rows("SELECT job_id FROM attempts WHERE task_id = ?", task_id)
        return next((job_id for (job_id,) in rows), None)

    def may_wake(self) -> Mapping[str, float]:
        """Return nothing: whoever writes here has the journal for itself, as long as it lives."""
        return {}

    def kept_beside(self) -> Mapping[tuple[str, int], str]:
        """Return nothing: they lie in ``orphans.jsonl``."""
        return {}

    def events(
        self,
        job_id: str | None = None,
        *,
        kinds: Collection[str] = (),
        after: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[KeptEvent]:
        """Yield the events of a job, or of all, as they were recorded."""
        values: tuple[str | int, ...] = (after or 0, *kinds)
        where = "seq > ?"
        if kinds:
            where += f" AND kind IN ({', '.join('?' * len(kinds))})"
        if job_id is not None:
            where += " AND job_id = ?"
            values = (*values, job_id)
        order = " DESC" if newest_first else ""
        query = f"SELECT seq, job_id, attempt, at, kind, data FROM events WHERE {where} ORDER BY seq{order}"
        rows = self._rows(query, *values)
        return (KeptEvent(seq, job, number, at, kind, json.loads(data)) for seq, job, number, at, kind, data in rows)

    def settled(self) -> int:
        """Return the newest event's number, as one writes only."""
        ((found,),) = self._rows("SELECT coalesce(max(seq), 0) FROM events")
        return int(found)

    def decisions(self, among: Collection[str] | None = None) -> dict[tuple[str, int], Decision]:
        """Return what counts of what was decided; of few jobs, only theirs is read."""
        if among is None or len(among) > ASKED_AT_ONCE:
            return super().decisions(among)
        query = f"{ALL_DECISIONS} WHERE job_id IN ({', '.join('?' * len(among))}) ORDER BY seq"
        return decision.newest(map(_decision, self._rows(query, *among)))

    def decisions_after(self, seq: int) -> list[tuple[int, Decision]]:
        """Return what was decided, by one after the other."""
        rows = self._rows(DECISIONS_AFTER, seq)
        return [(number, _decision(row)) for number, *row in rows]

    def pace_changes(self) -> list[PaceChange]:
        """Return what the event log beside the journal tells of the pace."""
        return pace_changes(self.path.with_name(LOG_FILE))

    def timings(self) -> Mapping[str, list[float]]:
        """Return how long tasks took, by timing class."""
        found: dict[str, list[float]] = {}
        for timing_class, took_s in self._rows("SELECT timing_class, took_s FROM timings ORDER BY seq"):
            found.setdefault(timing_class, []).append(took_s)
        return found

    def meta_get(self, key: str) -> str | None:
        """Return a remark about the journal as a whole."""
        return next((value for (value,) in self._rows("SELECT value FROM meta WHERE key = ?", key)), None)

    def moved_question(self, wanted: Collection[str]) -> str | None:
        """Return what a person is asked before a run in what may be a copy."""
        return sqlite_file.question(self, wanted, path=self.path, was_clean=self.meta_get("clean") == "1")

    def _progress(self, where: str, *values: str) -> Iterator[Progress]:
        return map(_progress, self._rows(f"{ALL_PROGRESS} {where}", *values))

    def _rows(self, query: str, *values: str | float) -> Iterator[tuple[Any, ...]]:
        with sqlite_file.translated(self.path):
            yield from self._db.execute(query, values)


class SqliteJournal(SqliteReader, Journal):
    """A journal that is open for writing. Made by `SqliteStore`."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        super().__init__(db, path)
        self._identity: tuple[int, int] | None = None
        self.log = EventLog(path.with_name(LOG_FILE))
        self._was_clean = True
        """Whether its last session had ended properly."""
        self._is_sealed = False
        self._at_work: dict[str, Attempt] = {}
        """By job id, the newest attempt of what is under way, as the table has it: nobody else changes that."""

    @property
    def is_sealed(self) -> bool:
        """Whether it was found sealed, or was compared with all that lies beside it since."""
        return self._is_sealed

    def seal(self) -> None:
        """Have it sealed when it is closed."""
        self._is_sealed = True

    def take_over(self, service: str | None, sealed_by: str | None) -> None:
        """Begin a session: bring the file up to date and check it; *sealed_by* is the session of a seal that holds."""
        with sqlite_file.translated(self.path):
            self._identity = sqlite_file.identity(self.path)
            sqlite_file.check_kind(self._db, self.path)
            sqlite_file.make_durable(self._db, self.path)
            version = version_of(self._db)
            if version < newest_version():
                sqlite_file.copy_to(self._db, self.path.with_name(f"{self.path.name}.v{version}.bak"))
                migrate(self._db)
        if service is not None:
            refuse_other(self.path, self.meta_get("service"), service)
        self._was_clean = self.meta_get("clean") == "1"
        self._is_sealed = self._was_clean and sealed_by is not None and sealed_by == self.meta_get("session")
        if not self._is_sealed:
            with sqlite_file.translated(self.path):
                sqlite_file.check_pages(self._db, self.path)
        # Every copy that is made of the file from now on shows that this session was not ended.
        sqlite_file.break_seal(self.path)
        self._meta_set({"clean": "0", "session": secrets.token_hex(8)})
        self._checkpoint()
        self.log.remember(self._open_lines())

    def _checkpoint(self) -> None:
        """Bring what is in the -wal into the file itself, as far as no reader is in the way."""
        with sqlite_file.translated(self.path):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _open_lines(self) -> Iterator[dict[str, Any]]:
        """Return, as the log has them, the events that made each open attempt what it is."""
        columns = ", ".join(f"attempts.{name}" for name in Attempt._fields)
        query = f"SELECT {columns} FROM jobs JOIN attempts USING (job_id, attempt) WHERE {UNFINISHED}"
        return open_lines(map(_attempt, self._rows(f"{query} AND state != 'pending'")))

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
            if session is not None and self._is_sealed and sqlite_file.identity(self.path) == self._identity:
                sqlite_file.seal(self.path, service=service, session=session)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the journal. It counts as clean unless an error says otherwise."""
        self.close(clean=error is None or isinstance(error, ConfigError))  # a missing key says nothing of the journal

    def record(self, changes: Sequence[Change]) -> None:
        """Keep *changes* in one transaction.

        Raises `StorageError` also when the journal was moved or removed: SQLite would go on writing to a file that no
        later run finds.
        """
        with sqlite_file.translated(self.path):
            if sqlite_file.identity(self.path) != self._identity:
                raise StorageError(f"the journal {self.path} was replaced by another file in the middle of this run")
        try:
            with self._transaction():
                for change in changes:
                    self._put_down(change)
                lines, events = [], []
                for change in changes:
                    for attempt, event, at in self._write(change):
                        job_id = change.before.job_id
                        events += [job_id, attempt, at, type(event).__name__, json.dumps(event_data(event))]
                        lines.append(log_line(job_id, attempt, event, at=at))
                self._add_events(events)
                self._note([change.timing for change in changes if change.timing is not None])
        except BaseException:  # whatever it was, nothing of it is in the tables, and it is raised again
            self._at_work.clear()
            raise
        self.log.keep(lines)

    def move(self, moves: Sequence[tuple[str, str]], *, at: float, remark: tuple[str, str]) -> None:
        """Set other ids for jobs, all in one transaction."""
        from batchvid.domain.history import MOVED

        lines = []
        self._at_work.clear()
        with self._transaction():
            self._db.execute("PRAGMA defer_foreign_keys = ON")  # until the end of this transaction
            for old, new in moves:
                in_the_way = self._rename(new, ASIDE + new)
                if not self._rename(old, new):
                    raise StaleProgressError(f"there is no job {old!r} to become {new!r}")
                if in_the_way:
                    self._rename(ASIDE + new, old)
                query = "UPDATE jobs SET version = version + 1 WHERE job_id = ? RETURNING attempt"
                (attempt,) = self._db.execute(query, (new,)).fetchone()
                self._db.execute(INSERT_EVENT, (new, attempt, at, MOVED, json.dumps({"moved_from": old})))
                lines.append({"at": rfc3339(at), "job": new, "attempt": attempt, "event": MOVED, "moved_from": old})
            self._remark(*remark)
        self.log.keep(lines)
        self.log.remember(self._open_lines())

    def _rename(self, old: str, new: str) -> int:
        for table in ("attempts", "events", "decisions"):
            self._db.execute(f"UPDATE {table} SET job_id = ? WHERE job_id = ?", (new, old))
        return self._db.execute("UPDATE jobs SET job_id = ? WHERE job_id = ?", (new, old)).rowcount

    def set_paths(self, paths: Mapping[str, str], *, remark: tuple[str, str]) -> None:
        """Keep where clips lie now, all in one transaction."""
        with self._transaction():
            for job_id, path in paths.items():
                self._execute("UPDATE jobs SET path = ? WHERE job_id = ?", (path, job_id))
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

    def take_over_decisions(self, decisions: Sequence[Decision]) -> None:
        """Keep decisions that something beside the journal tells."""
        decision.check(decisions)
        with self._transaction():
            _keep_decisions(self._db, decisions)

    def fill(self, source: JournalReader, *, remarks: Mapping[str, str], at: float) -> None:
        """Take over all that *source* holds, in one transaction."""
        events = ((one.job_id, one.attempt, one.at, one.kind, json.dumps(one.data)) for one in source.events())
        timings = ((name, took_s, at) for name, known in source.timings().items() for took_s in known)
        with self._transaction():
            self._db.executemany(INSERT_PROGRESS, map(_row, source.all_progress()))
            self._db.executemany(INSERT_ATTEMPT, map(_attempt_row, source.attempts()))
            self._db.executemany(INSERT_EVENT, events)
            self._db.executemany(INSERT_TIMING, timings)
            self._db.executemany(
                f"{INTO_DECISIONS} VALUES ({', '.join('?' * len(Decision._fields))})",
                [_decision_row(one) for _, one in source.decisions_after(0)],
            )
            for key, value in remarks.items():
                self._remark(key, value)
            check_copy(self, source)
        self.log.remember(self._open_lines())

    def settle(self, wanted: Collection[str] | None, *, moved: bool, note: Callable[[str], None]) -> None:
        """Let the journal be at home where it is now, or refuse."""
        if sqlite_file.settle(self, wanted, path=self.path, was_clean=self._was_clean, moved=moved, note=note):
            self._checkpoint()

    def backup(self, path: Path) -> None:
        """Write a whole copy of the journal to *path*, also while it is being written to."""
        with sqlite_file.translated(path):
            sqlite_file.copy_to(self._db, path)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with sqlite_file.translated(self.path), sqlite_file.transaction(self._db):
            yield

    def _put_down(self, change: Change) -> None:
        """Forget the task of an attempt that is given another one, so that two jobs can exchange theirs in a record."""
        for attempt, event, _ in numbered(change):
            if isinstance(event, TaskAdopted):
                self._at_work.pop(change.before.job_id, None)
                here = (change.before.job_id, attempt)
                self._execute("UPDATE attempts SET task_id = NULL WHERE job_id = ? AND attempt = ?", here)

    def _write(self, change: Change) -> list[tuple[int, Event, float]]:
        """Write what *change* makes of the job and its attempts; return its events, which are still to be added."""
        before, (job_id, *row) = change.before, _row(change.after)
        if before.version:
            moved = self._execute(UPDATE_PROGRESS, (*row, job_id, before.version))
        else:
            moved = self._execute(INSERT_PROGRESS, (job_id, *row))
        if not moved:
            raise StaleProgressError(f"job {before.job_id!r} is no longer at version {before.version}")
        events = list(numbered(change))
        for attempt, event, at in events:
            self._follow(job_id, attempt, event, at=at)
        if change.after.state not in UNDER_WAY:
            self._at_work.pop(job_id, None)
        return events

    def _follow(self, job_id: str, number: int, event: Event, *, at: float) -> None:
        """Store what *event* makes of the attempt that it is about."""
        before = self._attempt(job_id, number)
        after = followed(before, event, job_id=job_id, number=number, at=at)
        if after == before:
            return
        here = (job_id, number)
        self._at_work.pop(job_id, None)
        if after is None:
            self._db.execute("DELETE FROM attempts WHERE job_id = ? AND attempt = ?", here)
            return
        if before is None:
            self._execute(INSERT_ATTEMPT, _attempt_row(after))
        else:
            old, new = _attempt_row(before), _attempt_row(after)
            changed = {name: value for name, was, value in zip(Attempt._fields, old, new, strict=True) if value != was}
            self._refuse_second_owner(changed.get("task_id"))
            columns = ", ".join(f"{name} = ?" for name in changed)
            query = f"UPDATE attempts SET {columns} WHERE job_id = ? AND attempt = ?"
            self._execute(query, (*changed.values(), *here))
        self._at_work[job_id] = after

    def _attempt(self, job_id: str, number: int) -> Attempt | None:
        """Return an attempt as the table has it."""
        found = self._at_work.get(job_id)
        if found is not None and found.attempt == number:
            return found
        row = self._db.execute(f"{ALL_ATTEMPTS} WHERE job_id = ? AND attempt = ?", (job_id, number)).fetchone()
        return None if row is None else _attempt(row)

    def _add_events(self, values: Sequence[Any]) -> None:
        """Add events, five *values* each, by few statements: at each of them another thread may have its turn."""
        for start in range(0, len(values), EVENTS_AT_ONCE * EVENT_WIDTH):
            some = tuple(values[start : start + EVENTS_AT_ONCE * EVENT_WIDTH])
            self._execute(INSERT_EVENT + f", {EVENT_PLACES}" * (len(some) // EVENT_WIDTH - 1), some)

    def _refuse_second_owner(self, task_id: Any) -> None:
        if task_id is not None and (owner := self.owner_of_task(task_id)) is not None:
            raise TaskOwnedError(task_id, owner)

    def _note(self, timings: Sequence[Timing]) -> None:
        for one in timings:
            self._db.execute(INSERT_TIMING, (one.timing_class, one.took_s, one.at))
        for name in dict.fromkeys(one.timing_class for one in timings):
            self._db.execute(
                "DELETE FROM timings WHERE timing_class = ? AND seq <="
                " (SELECT seq FROM timings WHERE timing_class = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
                (name, name, TIMINGS_KEPT),
            )

    def _execute(self, statement: str, values: tuple[Any, ...]) -> int:
        r"""Run *statement* and return how many rows it changed.

        Text with half a surrogate pair in it, which SQLite does not take, gets ``\udNNN`` instead. Such halves come
        from file names that are no UTF-8, and what they stand in must not lose a paid task id.
        """
        try:
            return self._db.execute(statement, values).rowcount
        except UnicodeEncodeError:
            return self._db.execute(statement, tuple(map(_storable, values))).rowcount


def _keep_decisions(db: sqlite3.Connection, decisions: Sequence[Decision]) -> None:
    for one in decisions:
        values = [_storable(value) for value in _decision_row(one)]
        if not db.execute(INSERT_DECISION, (*values, *values[:2])).rowcount:
            raise decision.unknown(one)


def _storable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


# For the subclasses of plain values, SQLite's module looks through its adapters first: it gets plain ones.


def _row(progress: Progress) -> tuple[Any, ...]:
    return progress._replace(state=progress.state.value, parked=int(progress.parked))  # type: ignore[arg-type]


def _progress(row: tuple[Any, ...]) -> Progress:
    job_id, state, version, attempt, allowance_from, parked, *others = row
    return _made(Progress, (job_id, STATES[state], version, attempt, allowance_from, parked == 1, *others))


_made: Callable[[type[Progress], tuple[Any, ...]], Progress] = tuple.__new__
"""What `Progress._make` calls: a journal is read a hundred thousand rows at a time."""


def _attempt_row(attempt: Attempt) -> tuple[Any, ...]:
    return attempt._replace(outcome=attempt.outcome.value)  # type: ignore[arg-type]


def _attempt(row: tuple[Any, ...]) -> Attempt:
    return Attempt._make((*row[:8], OUTCOMES[row[8]], *row[9:]))


def _decision_row(one: Decision) -> tuple[Any, ...]:
    return one._replace(verdict=one.verdict and one.verdict.value)  # type: ignore[arg-type]


def _decision(row: Sequence[Any]) -> Decision:
    job_id, attempt, at, by, verdict, stars, note = row
    return Decision(job_id, attempt, at, by, None if verdict is None else Verdict(verdict), stars, note)
