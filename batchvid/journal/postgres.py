"""The journal in PostgreSQL: many journals share a database, whose tables `batchvid.journal.postgres_db` keeps.

One session writes. It is the session that holds the lock, where the process has taken it: a connection that is lost has
lost the lock, and nothing more can be written over it. A lock is never stale, as the server drops it with the session.
Between batchvid and the server, a pooler may not share one session among several.

The event log and the seal stay with the machine, in the state folder of the output. The seal names the last session of
the journal that ended properly here. A session elsewhere, a crash or a restored backup leaves another name in one of
the two places, and all that lies beside the journal is compared with it.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from batchvid.domain.errors import ConfigError, OutputBusyError, StorageError
from batchvid.domain.history import MOVED
from batchvid.domain.job import Attempt, Outcome, Progress, State
from batchvid.domain.lifecycle import KeptEvent, TaskAdopted
from batchvid.domain.records import rfc3339
from batchvid.domain.results import Money
from batchvid.domain.text import clean
from batchvid.journal.base import (
    Journal,
    JournalReader,
    JournalStore,
    StaleProgressError,
    TaskOwnedError,
    event_data,
    followed,
    log_line,
    numbered,
    open_lines,
    refuse_other,
)
from batchvid.journal.event_log import LOG_FILE, EventLog, pace_changes
from batchvid.journal.postgres_db import (
    ALL_ATTEMPTS,
    ALL_PROGRESS,
    FORGET_ATTEMPT,
    FORGET_TIMINGS,
    HOLDER,
    IN_BRIEF,
    IN_THE_WAY,
    KEEP_ATTEMPT,
    KEEP_EVENT,
    KEEP_PROGRESS,
    KEEP_REMARK,
    KEEP_TIMING,
    MONEY,
    OPEN_ATTEMPTS,
    PUT_DOWN_TASK,
    RESERVED,
    UNFINISHED,
    Database,
    PostgresError,
    RacedError,
    check_server,
    check_version,
    is_committed,
    lock_key,
    migrate,
    newest_version,
    refuse_older,
    scalar,
)
from batchvid.storage.fs import STATE_FILE_MODE, STATE_FOLDER_MODE, read_json, storage_error, write_whole
from batchvid.storage.state import kept_from_children

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from batchvid.domain.report import PaceChange
    from batchvid.journal.base import Change
    from batchvid.journal.postgres_db import Connection

T = TypeVar("T")

SEAL_FILE = "seal-database.json"
SEAL_MAX_BYTES = 64 * 1024
ASKED_AT_ONCE = 1000
"""Jobs in one query."""
TRIES = 3
"""Of a transaction that another one got in the way of."""
PATIENCE_S = 60.0
"""How long a server that went away in the middle of a commit is waited for, to learn what became of it."""
LOOK_AGAIN_S = 0.2
NAME_MAX = 4096
ASIDE = "/"
"""Before an id for the moment in which two are exchanged; no id holds it."""

STATES = {state.value: state for state in State}
OUTCOMES = {outcome.value: outcome for outcome in Outcome}

_HELD: dict[tuple[str, str], Connection] = {}
"""The sessions of this process that hold a journal, by database and name: who opens the journal writes with them."""


@dataclass(frozen=True, slots=True)
class PostgresStore(JournalStore):
    """A journal in a PostgreSQL database."""

    database: Database
    name: str
    """Which of the journals there."""
    state: Path
    """The folder of the event log and the seal, on this machine."""

    def __str__(self) -> str:
        """Return what a person finds it by."""
        return f"{clean(self.name, NAME_MAX)} in the database {self.database}"

    def exists(self) -> bool:
        """Whether the journal is there. One in a database that is away counts as there."""
        try:
            db = self.database.connect()
        except StorageError:
            return True
        with closing(db), self.database.translated():
            return self._number(db) is not None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the journal with a session of the server, which drops the lock when the session ends."""
        db = self.database.connect()
        try:
            with self.database.translated():
                if not scalar(db, "SELECT pg_try_advisory_lock(%s)", self._key):
                    raise OutputBusyError(
                        f"another run holds the journal {self}: wait for it, or choose another output"
                    )
            here = self.database.url, self.name
            # In a forked child the session would outlive a killed parent, and with it the lock.
            with kept_from_children(lambda: [] if db.closed else [db.fileno()]):
                _HELD[here] = db
                try:
                    yield
                finally:
                    del _HELD[here]
        finally:
            db.close()

    def held_since(self) -> float | None:
        """Return since when a session has held the journal; ``None`` when none does."""
        with closing(self.database.connect()) as db, self.database.translated():
            since: float | None = scalar(db, HOLDER, self._key)
            return since

    def open(self, *, service: str | None) -> PostgresJournal:
        """Open the journal for writing, or make it, with the session that has the lock if this process has it."""
        held = _HELD.get((self.database.url, self.name))
        db = self.database.connect() if held is None else held
        try:
            with self.database.translated():
                check_server(db, self.database)
                version = check_version(db, self.database)
                if version < newest_version() and (version or service is not None):
                    migrate(db)
                if service is not None:
                    self._make(db, service)
            journal = PostgresJournal(db, self, self._existing(db), is_borrowed=held is not None)
            journal.take_over(service)
        except BaseException:  # whatever it was, the connection is closed, and it is raised again
            if held is None:
                db.close()
            raise
        return journal

    def read(self) -> PostgresReader | None:
        """Open the journal for reading; ``None`` when there is none."""
        db = self.database.connect()
        try:
            with self.database.translated():
                db.execute("SET default_transaction_read_only = on")
                version = check_version(db, self.database)
                number = self._number(db) if version else None
                if number is not None:
                    refuse_older(version, self)
        except BaseException:  # whatever it was, the connection is closed, and it is raised again
            db.close()
            raise
        if number is None:
            db.close()
            return None
        return PostgresReader(db, self, number)

    @property
    def _key(self) -> int:
        return lock_key(f"journal {self.name}")

    def _number(self, db: Connection) -> Any:
        if scalar(db, "SELECT to_regclass('batchvid.journals')") is None:
            return None
        return scalar(db, "SELECT journal FROM batchvid.journals WHERE name = %s", self.name)

    def _existing(self, db: Connection) -> int:
        with self.database.translated():
            number: int | None = self._number(db)
        if number is None:
            raise StorageError(f"there is no journal {self}")
        return number

    def _make(self, db: Connection, service: str) -> None:
        """Make the journal where there is none, whole or not at all; one that is there keeps its service."""
        with db.transaction():
            query = "INSERT INTO batchvid.journals (name) VALUES (%s) ON CONFLICT DO NOTHING RETURNING journal"
            if (number := scalar(db, query, self.name)) is not None:
                db.cursor().executemany(KEEP_REMARK, [(number, "service", service), (number, "clean", "1")])


class PostgresReader(JournalReader):
    """A journal that is open. Made by `PostgresStore`."""

    def __init__(self, db: Connection, store: PostgresStore, number: int) -> None:
        self._db = db
        self._store = store
        self._number = number
        self.name = str(store)

    @property
    def is_sealed(self) -> bool:
        """Whether its last session ended properly, on this machine, and knew all that lies beside it."""
        session = self.meta_get("session")
        return session is not None and self.meta_get("clean") == "1" and self._sealed_session() == session

    def _sealed_session(self) -> object:
        with suppress(OSError):
            folder = os.open(self._store.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return (read_json(folder, SEAL_FILE, max_bytes=SEAL_MAX_BYTES) or {}).get("session")
            finally:
                os.close(folder)
        return None

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def progress_of(self, job_ids: Iterable[str]) -> Iterator[Progress]:
        """Yield what has happened to these jobs, in their order."""
        left = iter(job_ids)
        while ids := list(islice(left, ASKED_AT_ONCE)):
            found = {row.job_id: row for row in self._progress("AND job_id = ANY(%s)", ids)}
            yield from (found[job_id] for job_id in ids if job_id in found)

    def all_progress(self) -> Iterator[Progress]:
        """Yield every job that anything has happened to, by id."""
        return self._progress("ORDER BY job_id")

    def open_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are neither done nor failed, by id."""
        return self._progress(f"AND {UNFINISHED} ORDER BY job_id")

    def undone_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are not done, by id."""
        return self._progress("AND state != 'done' ORDER BY job_id")

    def progress_in_brief(self) -> Iterator[Progress]:
        """Yield every job, of done ones only what a plan needs. One query, so that all is of one moment."""
        return map(_progress, self._rows(IN_BRIEF, self._number))

    def states(self) -> dict[str, State]:
        """Return the state of every job, by id."""
        rows = self._rows("SELECT job_id, state FROM batchvid.jobs WHERE journal = %s")
        return {job_id: STATES[state] for job_id, state in rows}

    def done_clips(self) -> Iterator[tuple[str, str, int]]:
        """Yield id, path and size of each clip that is done."""
        columns = "job_id, coalesce(path, ''), coalesce(size_bytes, 0)"
        query = f"SELECT {columns} FROM batchvid.jobs WHERE journal = %s AND state = 'done' ORDER BY job_id"
        return self._rows(query)

    def clips_beyond_ascii(self) -> Iterator[Progress]:
        """Yield the done jobs whose path has other letters than ASCII."""
        return self._progress("AND state = 'done' AND octet_length(path) > char_length(path) ORDER BY job_id")

    def counts(self) -> dict[State, int]:
        """Count the jobs by state."""
        found = dict(self._rows("SELECT state, count(*) FROM batchvid.jobs WHERE journal = %s GROUP BY state"))
        return {state: found.get(state.value, 0) for state in State}

    def attempts(self, job_id: str | None = None) -> Iterator[Attempt]:
        """Yield the paid attempts of a job, or of all."""
        if job_id is None:
            return map(_attempt, self._rows(f"{ALL_ATTEMPTS} ORDER BY job_id, attempt"))
        return map(_attempt, self._rows(f"{ALL_ATTEMPTS} AND job_id = %s ORDER BY attempt", job_id))

    def money(self) -> Money:
        """Return what all attempts come to. PostgreSQL's sums are decimal numbers of any length."""
        spent, reserved, unpriced, unproven = map(int, next(self._rows(MONEY, self._number)))
        return Money(
            spent_micros=spent,
            reserved_micros=reserved + unproven,
            unproven_micros=unproven,
            unpriced_attempts=unpriced,
        )

    def reserved_jobs(self) -> frozenset[str]:
        """Return the ids of the jobs for which money is reserved."""
        query = f"SELECT DISTINCT job_id FROM batchvid.attempts WHERE journal = %s AND {RESERVED}"
        return frozenset(job_id for (job_id,) in self._rows(query))

    def owner_of_task(self, task_id: str) -> str | None:
        """Return the id of the job that has this task."""
        rows = self._rows("SELECT job_id FROM batchvid.attempts WHERE journal = %s AND task_id = %s", task_id)
        return next((job_id for (job_id,) in rows), None)

    def events(
        self,
        job_id: str | None = None,
        *,
        kinds: Collection[str] = (),
        after: int = 0,
        newest_first: bool = False,
    ) -> Iterator[KeptEvent]:
        """Yield the events of a job, or of all, as they were recorded."""
        where = "journal = %s AND seq > %s"
        values: list[Any] = [after]
        if kinds:
            where, values = f"{where} AND kind = ANY(%s)", [*values, list(kinds)]
        if job_id is not None:
            where, values = f"{where} AND job_id = %s", [*values, job_id]
        order = " DESC" if newest_first else ""
        query = f"SELECT seq, job_id, attempt, at, kind, data FROM batchvid.events WHERE {where} ORDER BY seq{order}"
        rows = self._rows(query, *values)
        return (KeptEvent(seq, job, number, at, kind, json.loads(data)) for seq, job, number, at, kind, data in rows)

    def pace_changes(self) -> list[PaceChange]:
        """Return what the event log of this machine tells of the pace."""
        return pace_changes(self._store.state / LOG_FILE)

    def timings(self) -> Mapping[str, list[float]]:
        """Return how long tasks took, by timing class."""
        found: dict[str, list[float]] = {}
        query = "SELECT timing_class, took_s FROM batchvid.timings WHERE journal = %s ORDER BY seq"
        for timing_class, took_s in self._rows(query):
            found.setdefault(timing_class, []).append(took_s)
        return found

    def meta_get(self, key: str) -> str | None:
        """Return a remark about the journal as a whole."""
        rows = self._rows("SELECT value FROM batchvid.meta WHERE journal = %s AND key = %s", key)
        return next((value for (value,) in rows), None)

    def moved_question(self, wanted: Collection[str]) -> str | None:  # noqa: ARG002 it does not lie with the clips
        """Return none: whoever copies the output copies no journal."""
        return None

    def _progress(self, where: str, *values: Any) -> Iterator[Progress]:
        return map(_progress, self._rows(f"{ALL_PROGRESS} {where}", *values))

    def _rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query whose first value is the journal. All of them come at once: they are one moment."""
        with self._store.database.translated():
            yield from self._db.execute(query, (self._number, *values))


class PostgresJournal(PostgresReader, Journal):
    """A journal that is open for writing. Made by `PostgresStore`."""

    def __init__(self, db: Connection, store: PostgresStore, number: int, *, is_borrowed: bool) -> None:
        super().__init__(db, store, number)
        self._is_borrowed = is_borrowed
        """Whether the connection is the lock's, which outlives the journal."""
        self._is_sealed = False
        self.log = EventLog(store.state / LOG_FILE)

    @property
    def is_sealed(self) -> bool:
        """Whether it was found sealed, or was compared with all that lies beside it since."""
        return self._is_sealed

    def seal(self) -> None:
        """Have it sealed when it is closed."""
        self._is_sealed = True

    def take_over(self, service: str | None) -> None:
        """Begin a session; from now on every copy of the database shows that it was not ended."""
        if service is not None:
            refuse_other(self.name, self.meta_get("service"), service)
        self._is_sealed = super().is_sealed
        self._remarks({"clean": "0", "session": secrets.token_hex(8)})
        try:
            self._store.state.parent.mkdir(parents=True, exist_ok=True)
            self._store.state.mkdir(mode=STATE_FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise storage_error(error, f"use the state folder {self._store.state}") from error
        self._remember()

    def _remember(self) -> None:
        self.log.remember(open_lines(map(_attempt, self._rows(OPEN_ATTEMPTS))))

    def close(self, *, clean: bool = True) -> None:
        """Close the journal. One that knows all, and whose use ended properly (*clean*), is sealed."""
        try:
            if clean:
                self.meta_set("clean", "1")
                if self._is_sealed:
                    self._write_seal()
        finally:
            if not self._is_borrowed:
                self._db.close()

    def _write_seal(self) -> None:
        """Seal the journal. Without a seal the next session reads more, so no trouble with it is an error."""
        content = json.dumps({"session": self.meta_get("session")}).encode()
        with suppress(OSError):
            folder = os.open(self._store.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                write_whole(folder, SEAL_FILE, [content], mode=STATE_FILE_MODE, durable=False)
            finally:
                os.close(folder)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the journal. It counts as clean unless an error says otherwise."""
        self.close(clean=error is None or isinstance(error, ConfigError))  # a missing key says nothing of the journal

    def record(self, changes: Sequence[Change]) -> None:
        """Keep *changes* in one transaction."""
        if changes:
            self.log.keep(self._transaction(lambda: self._write(changes), lambda reader: _holds(reader, changes)))

    def move(self, moves: Sequence[tuple[str, str]], *, at: float, remark: tuple[str, str]) -> None:
        """Set other ids for jobs, all in one transaction."""

        def work() -> list[dict[str, Any]]:
            lines = []
            for old, new in moves:
                in_the_way = self._rename(new, ASIDE + new)
                if not self._rename(old, new):
                    raise StaleProgressError(f"there is no job {old!r} to become {new!r}")
                if in_the_way:
                    self._rename(ASIDE + new, old)
                query = "UPDATE batchvid.jobs SET version = version + 1 WHERE journal = %s AND job_id = %s"
                attempt = scalar(self._db, f"{query} RETURNING attempt", self._number, new)
                self._db.execute(KEEP_EVENT, (self._number, new, attempt, at, MOVED, json.dumps({"moved_from": old})))
                lines.append({"at": rfc3339(at), "job": new, "attempt": attempt, "event": MOVED, "moved_from": old})
            self._remark(*remark)
            return lines

        self.log.keep(self._transaction(work, lambda reader: _has_remark(reader, *remark)))
        self._remember()

    def _rename(self, old: str, new: str) -> int:
        query = "UPDATE batchvid.jobs SET job_id = %s WHERE journal = %s AND job_id = %s"  # attempts and events follow
        return self._db.execute(query, (new, self._number, old)).rowcount

    def set_paths(self, paths: Mapping[str, str], *, remark: tuple[str, str]) -> None:
        """Keep where clips lie now, all in one transaction."""

        def work() -> None:
            query = "UPDATE batchvid.jobs SET path = %s WHERE journal = %s AND job_id = %s"
            self._many(query, [(path, self._number, job_id) for job_id, path in paths.items()])
            self._remark(*remark)

        self._transaction(work, lambda reader: _has_remark(reader, *remark))

    def meta_set(self, key: str, value: str) -> None:
        """Keep a remark about the journal as a whole."""
        self._remarks({key: value})

    def _remarks(self, values: Mapping[str, str]) -> None:
        def work() -> None:
            for key, value in values.items():
                self._remark(key, value)

        self._transaction(work, lambda reader: all(_has_remark(reader, *item) for item in values.items()))

    def _remark(self, key: str, value: str) -> None:
        self._db.execute(KEEP_REMARK, (self._number, key, value))

    def settle(self, wanted: Collection[str] | None, *, moved: bool, note: Callable[[str], None]) -> None:
        """Do nothing: a copy of the output is no copy of the journal."""

    def _transaction(self, work: Callable[[], T], is_kept: Callable[[PostgresReader], bool]) -> T:
        """Do *work* in one transaction, and return what it returns once that is durable.

        *is_kept* tells by reading whether it is, and is asked when the connection is lost in the middle of the commit.
        """
        for left in reversed(range(TRIES)):
            if self._db.closed:
                raise StorageError(
                    f"the connection to the database {self._store.database} was lost, and with it the lock of the "
                    "journal, so nothing more is recorded; run again: nothing that is paid is lost"
                )
            try:
                with self._store.database.translated(), self._undone_on_error():
                    begun = self._db.execute("BEGIN; SELECT pg_current_xact_id()::text")
                    begun.nextset()
                    ((transaction,),) = begun.fetchall()
                    result = work()
                    self._commit(transaction, is_kept)
                    return result
            except (StorageError, PostgresError) as error:
                cause = error.__cause__ if isinstance(error, StorageError) else error
                if not left or not isinstance(cause, IN_THE_WAY):
                    raise
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:  # whatever it was, nothing of the transaction stays, and it is raised again
            if not self._db.closed:
                self._db.execute("ROLLBACK")
            raise

    def _commit(self, transaction: str, is_kept: Callable[[PostgresReader], bool]) -> None:
        try:
            self._db.execute("COMMIT")
        except PostgresError:
            if not (self._db.closed and self._became_true(transaction, is_kept)):
                raise

    def _became_true(self, transaction: str, is_kept: Callable[[PostgresReader], bool]) -> bool:
        """Whether a transaction whose connection was lost in the middle of the commit is kept.

        Its number alone does not tell: a server that crashed, or another one in its place, may give it again. Nor do
        the rows alone, while the server is still at it.
        """
        until = time.monotonic() + PATIENCE_S
        while True:
            with (
                suppress(StorageError),
                closing(self._store.database.connect()) as db,
                self._store.database.translated(),
            ):
                committed = is_committed(db, transaction)
                if committed is not None:
                    return committed and is_kept(PostgresReader(db, self._store, self._number))
            if time.monotonic() >= until:
                raise StorageError(
                    f"the connection to the database {self._store.database} was lost in the middle of a commit, and "
                    "it cannot be known whether it is kept; look whether the database runs, then run again"
                )
            time.sleep(LOOK_AGAIN_S)

    def _write(self, changes: Sequence[Change]) -> list[dict[str, Any]]:
        """Write *changes*, and return their events as lines of the event log.

        Several changes of a job are written as one, from where the first starts to where the last ends.
        """
        starts: dict[str, int] = {}
        rows: dict[str, Progress] = {}
        for change in changes:
            job_id, version = change.before.job_id, change.before.version
            if version != (rows[job_id].version if job_id in rows else version):
                raise _stale(job_id, version)
            starts.setdefault(job_id, version)
            rows[job_id] = change.after
        ids = sorted(rows)  # two writers take what both want in the same order
        query = "SELECT job_id, version FROM batchvid.jobs WHERE journal = %s AND job_id = ANY(%s)"
        versions: dict[str, int] = dict(self._db.execute(query, (self._number, ids)).fetchall())
        for job_id in ids:
            if versions.get(job_id, 0) != starts[job_id]:
                raise _stale(job_id, starts[job_id])
        if self._many(KEEP_PROGRESS, [(self._number, *_row(rows[one]), starts[one]) for one in ids]) != len(ids):
            raise RacedError("another session was quicker")  # the next try tells which job it was
        self._write_attempts(changes, ids)
        events = [
            (change.before.job_id, attempt, event, at) for change in changes for attempt, event, at in numbered(change)
        ]
        self._many(
            KEEP_EVENT,
            [
                (self._number, job_id, attempt, at, type(event).__name__, json.dumps(event_data(event)))
                for job_id, attempt, event, at in events
            ],
        )
        timings = [change.timing for change in changes if change.timing is not None]
        self._many(KEEP_TIMING, [(self._number, one.timing_class, one.took_s, one.at) for one in timings])
        classes = sorted({one.timing_class for one in timings})
        self._many(FORGET_TIMINGS, [(self._number, name, self._number, name) for name in classes])
        return [log_line(job_id, attempt, event, at=at) for job_id, attempt, event, at in events]

    def _write_attempts(self, changes: Sequence[Change], ids: list[str]) -> None:
        """Store what the events make of the attempts that they are about; the rows of their jobs are this session's."""
        query = f"{ALL_ATTEMPTS} AND job_id = ANY(%s)"
        found = map(_attempt, self._db.execute(query, (self._number, ids)))
        before = {(one.job_id, one.attempt): one for one in found}
        after: dict[tuple[str, int], Attempt | None] = dict(before)
        adopted = []
        for change in changes:
            job_id = change.before.job_id
            for number, event, at in numbered(change):
                here = job_id, number
                after[here] = followed(after.get(here), event, job_id=job_id, number=number, at=at)
                if isinstance(event, TaskAdopted) and here in before:
                    adopted.append(here)
        # Two jobs exchange their tasks in a record: each puts down its own before one takes the other's.
        self._many(PUT_DOWN_TASK, [(self._number, *here) for here in adopted])
        changed = {here: one for here, one in after.items() if one != before.get(here) or here in adopted}
        self._refuse_second_owner([one for one in changed.values() if one is not None])
        self._many(FORGET_ATTEMPT, [(self._number, *here) for here, one in changed.items() if one is None])
        kept = [one for one in changed.values() if one is not None]
        self._many(KEEP_ATTEMPT, [(self._number, *_attempt_row(one)) for one in kept])

    def _refuse_second_owner(self, attempts: Sequence[Attempt]) -> None:
        tasks = [one.task_id for one in attempts if one.task_id is not None]
        query = "SELECT task_id, job_id, attempt FROM batchvid.attempts WHERE journal = %s AND task_id = ANY(%s)"
        owners = {row[0]: (row[1], row[2]) for row in self._db.execute(query, (self._number, tasks))} if tasks else {}
        for one in attempts:
            here = one.job_id, one.attempt
            if one.task_id is not None and owners.setdefault(one.task_id, here) != here:
                raise TaskOwnedError(one.task_id, owners[one.task_id][0])

    def _many(self, statement: str, values: Sequence[Sequence[Any]]) -> int:
        """Run *statement* with each of *values*, all on their way at once, and return how many rows changed."""
        if not values:
            return 0
        cursor = self._db.cursor()
        cursor.executemany(statement, values)
        return cursor.rowcount


def _holds(reader: PostgresReader, changes: Sequence[Change]) -> bool:
    """Whether the journal holds these very changes: every event with its time, and no row from before."""
    ids = {change.before.job_id for change in changes}
    versions = {row.job_id: row.version for row in reader.progress_of(ids)}
    events = {
        (one.job_id, one.attempt, one.at, one.kind, json.dumps(one.data))
        for job_id in ids
        for one in reader.events(job_id)
    }
    return all(
        versions.get(change.before.job_id, 0) >= change.after.version
        and all(
            (change.before.job_id, attempt, at, type(event).__name__, json.dumps(event_data(event))) in events
            for attempt, event, at in numbered(change)
        )
        for change in changes
    )


def _has_remark(reader: PostgresReader, key: str, value: str) -> bool:
    return reader.meta_get(key) == value


def _stale(job_id: str, version: int) -> StaleProgressError:
    return StaleProgressError(f"job {job_id!r} is no longer at version {version}")


def _row(progress: Progress) -> tuple[Any, ...]:
    return progress._replace(state=progress.state.value)  # type: ignore[arg-type]


def _progress(row: tuple[Any, ...]) -> Progress:
    return Progress._make((row[0], STATES[row[1]], *row[2:]))


def _attempt_row(attempt: Attempt) -> tuple[Any, ...]:
    return attempt._replace(outcome=attempt.outcome.value)  # type: ignore[arg-type]


def _attempt(row: tuple[Any, ...]) -> Attempt:
    return Attempt._make((*row[:8], OUTCOMES[row[8]], *row[9:]))
