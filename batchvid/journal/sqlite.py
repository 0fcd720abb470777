"""The journal in a SQLite database: one file in the output's state folder, which `batchvid.journal.sqlite_file` keeps.

One connection writes, at any number of readers' side; the run's lock sees to the one.
"""

from __future__ import annotations

import json
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchvid.domain import decision
from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.errors import ConfigError, OutputBusyError, StorageError
from batchvid.domain.job import Attempt, Progress, State
from batchvid.domain.lifecycle import KeptEvent
from batchvid.domain.records import rfc3339
from batchvid.domain.results import Money
from batchvid.journal import sqlite_file
from batchvid.journal.base import (
    IN_NO_PLAN,
    Journal,
    JournalReader,
    JournalStore,
    StaleProgressError,
    check_copy,
    log_line,
    open_lines,
    refuse_other,
)
from batchvid.journal.event_log import LOG_FILE, EventLog, pace_changes
from batchvid.journal.sqlite_file import migrate, newest_version, version_of
from batchvid.journal.sqlite_tables import (
    ALL_ATTEMPTS,
    EVENT_FIELDS,
    INTO_ATTEMPTS,
    INTO_EVENTS,
    INTO_JOBS,
    INTO_TIMINGS,
    STATES,
    TIMING_FIELDS,
    Writer,
    attempt_of,
    attempt_values,
    job_of,
    job_values,
    storable,
    values,
)
from batchvid.storage.fs import doing, sync_folder
from batchvid.storage.state import held_since, hold

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from batchvid.domain.report import PaceChange
    from batchvid.journal.base import Change


JOURNAL_FILE, MOVED_FILE = "journal.db", "journal.moved.db"
READER_PATIENCE_MS = 1000
"""How long the end of a session waits for who reads just now; without the last bit of order nothing is lost."""
ASKED_AT_ONCE = 500
"""Jobs in one query: fewer than SQLite takes values (999 in old ones), enough that asking costs nothing."""
FETCHED_AT_ONCE = 500
"""Rows that are read before who wants them has his turn: nothing waits inside SQLite for a reader."""
ASIDE = "/"
"""Before an id for the moment in which two are exchanged; no id holds it."""

ALL_PROGRESS = f"SELECT {', '.join(Progress._fields)} FROM jobs"
BRIEF = ", ".join("NULL" if name in IN_NO_PLAN else name for name in Progress._fields)
IN_BRIEF = f"{ALL_PROGRESS} WHERE state != 'done' UNION ALL SELECT {BRIEF} FROM jobs WHERE state = 'done'"
"""Most rows of a long night are done, and most of what they hold is text that costs time to read."""
UNFINISHED = "state NOT IN ('done', 'failed')"
"""Word for word the condition of the partial index, so that SQLite uses it."""
BEYOND_ASCII = "[^' || char(1) || '-' || char(127) || ']"
RESERVED = "outcome IN ('open', 'in_doubt')"
"""The same of the attempts."""
MONEY = (
    f"SELECT coalesce(sum(price_micros) FILTER (WHERE NOT {RESERVED}), 0),"
    f" coalesce(sum(price_micros) FILTER (WHERE {RESERVED}), 0),"
    " count(*) FILTER (WHERE price_micros IS NULL),"
    " (SELECT coalesce(sum(unproven_micros), 0) FROM jobs) FROM attempts"
)
ALL_DECISIONS = f"SELECT {', '.join(Decision._fields)} FROM decisions"
DECISIONS_AFTER = f"SELECT seq, {', '.join(Decision._fields)} FROM decisions WHERE seq > ? ORDER BY seq"
INTO_DECISIONS = f"INSERT INTO decisions ({', '.join(Decision._fields)})"
INSERT_DECISION = (
    f"{INTO_DECISIONS} SELECT {', '.join('?' * len(Decision._fields))}"
    " WHERE EXISTS (SELECT 1 FROM attempts WHERE job_id = ? AND attempt = ? AND outcome = 'succeeded')"
)


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
        with sqlite_file.translated(self.path):
            self._db.close()

    def progress_of(self, job_ids: Iterable[str]) -> Iterator[Progress]:
        """Yield what has happened to these jobs, in their order."""
        left = iter(job_ids)
        while ids := tuple(islice(left, ASKED_AT_ONCE)):
            with sqlite_file.translated(self.path):
                rows = self._db.execute(f"{ALL_PROGRESS} WHERE job_id IN ({', '.join('?' * len(ids))})", ids).fetchall()
            found = {row[0]: row for row in rows}
            yield from (job_of(found[job_id]) for job_id in ids if job_id in found)

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
        return map(job_of, self._rows(IN_BRIEF))

    def states(self) -> dict[str, State]:
        """Return the state of every job, by id."""
        with sqlite_file.translated(self.path):
            return {job_id: STATES[state] for job_id, state in self._db.execute("SELECT job_id, state FROM jobs")}

    def ids(self, state: State | None = None) -> set[str]:
        """Return the ids of all jobs, or of those in a *state*."""
        where, wanted = ("", ()) if state is None else (" WHERE state = ?", (state.value,))
        return {job_id for (job_id,) in self._rows(f"SELECT job_id FROM jobs{where}", *wanted)}

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
            return map(attempt_of, self._rows(f"{ALL_ATTEMPTS} ORDER BY job_id, attempt"))
        return map(attempt_of, self._rows(f"{ALL_ATTEMPTS} WHERE job_id = ? ORDER BY attempt", job_id))

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
        return map(job_of, self._rows(f"{ALL_PROGRESS} {where}", *values))

    def _rows(self, query: str, *values: str | float) -> Iterator[tuple[Any, ...]]:
        with sqlite_file.translated(self.path):
            cursor = self._db.execute(query, values)
            rows = cursor.fetchmany(FETCHED_AT_ONCE)
        while rows:
            yield from rows
            with sqlite_file.translated(self.path):
                rows = cursor.fetchmany(FETCHED_AT_ONCE)


class SqliteJournal(SqliteReader, Journal):
    """A journal that is open for writing. Made by `SqliteStore`."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        super().__init__(db, path)
        self._identity: tuple[int, int] | None = None
        self.log = EventLog(path.with_name(LOG_FILE))
        self._was_clean = True
        """Whether its last session had ended properly."""
        self._is_sealed = False
        self._writer = Writer(db)

    @property
    def is_sealed(self) -> bool:
        """Whether it was found sealed, or was compared with all that lies beside it since."""
        return self._is_sealed

    def seal(self) -> None:
        """Have it sealed when it is closed."""
        self._is_sealed = True

    def take_over(self, service: str | None, sealed_by: str | None) -> None:
        """Begin a session: bring the file up to date and check it; *sealed_by* is the session of a seal that holds."""
        from secrets import token_hex

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
        self._meta_set({"clean": "0", "session": token_hex(8)})
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
        return open_lines(map(attempt_of, self._rows(f"{query} AND state != 'pending'")))

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
            super().close()
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
                events = self._writer.write(changes)
        except BaseException:  # whatever it was, nothing of it is in the tables, and it is raised again
            self._writer.forget()
            raise
        self.log.keep([log_line(job_id, attempt, event, at=at) for job_id, attempt, event, at in events])

    def move(self, moves: Sequence[tuple[str, str]], *, at: float, remark: tuple[str, str]) -> None:
        """Set other ids for jobs, all in one transaction."""
        from batchvid.domain.history import MOVED

        lines = []
        self._writer.forget()
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
                moved = (new, attempt, at, MOVED, json.dumps({"moved_from": old}))
                self._db.execute(f"{INTO_EVENTS} {values(len(moved))}", moved)
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
                self._db.execute("UPDATE jobs SET path = ? WHERE job_id = ?", (storable(path), job_id))
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
            for into, width, rows in (
                (INTO_JOBS, len(Progress._fields), map(job_values, source.all_progress())),
                (INTO_ATTEMPTS, len(Attempt._fields), map(attempt_values, source.attempts())),
                (INTO_EVENTS, len(EVENT_FIELDS), events),
                (INTO_TIMINGS, len(TIMING_FIELDS), timings),
                (INTO_DECISIONS, len(Decision._fields), [_decision_row(one) for _, one in source.decisions_after(0)]),
            ):
                self._db.executemany(f"{into} {values(width)}", rows)
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


def _keep_decisions(db: sqlite3.Connection, decisions: Sequence[Decision]) -> None:
    for one in decisions:
        values = [storable(value) for value in _decision_row(one)]
        if not db.execute(INSERT_DECISION, (*values, *values[:2])).rowcount:
            raise decision.unknown(one)


def _decision_row(one: Decision) -> tuple[Any, ...]:
    return one._replace(verdict=one.verdict and one.verdict.value)  # type: ignore[arg-type]


def _decision(row: Sequence[Any]) -> Decision:
    job_id, attempt, at, by, verdict, stars, note = row
    return Decision(job_id, attempt, at, by, None if verdict is None else Verdict(verdict), stars, note)
