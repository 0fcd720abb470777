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
from typing import TYPE_CHECKING, Any, TypeVar

from batchvid.domain import decision
from batchvid.domain.errors import ConfigError, OutputBusyError, StorageError
from batchvid.domain.history import MOVED
from batchvid.domain.records import rfc3339
from batchvid.domain.reopening import was_cut_short
from batchvid.journal.base import (
    Journal,
    JournalReader,
    JournalStore,
    StaleProgressError,
    check_copy,
    event_data,
    holds,
    is_copy,
    log_line,
    open_lines,
    refuse_other,
)
from batchvid.journal.changes import changed_attempts, joined
from batchvid.journal.event_log import LOG_FILE, EventLog
from batchvid.journal.postgres_db import (
    ALL_ATTEMPTS,
    BEGIN,
    FIRST_OF_ATTEMPT,
    FIRST_PROGRESS,
    FORGET_ATTEMPT,
    FORGET_TIMINGS,
    HOLDER,
    IN_THE_WAY,
    KEEP_ATTEMPT,
    KEEP_EVENT,
    KEEP_PROGRESS,
    KEEP_REMARK,
    KEEP_TAKEOVER,
    KEEP_TIMING,
    OPEN_ATTEMPTS,
    PUT_DOWN_TASK,
    PostgresError,
    RacedError,
    attempt_of,
    attempt_row,
    check_server,
    check_timeline,
    check_version,
    copy_rows,
    is_committed,
    keep_decisions,
    keep_timeline,
    migrate,
    newest_version,
    one_who_decides,
    progress_row,
    refuse_moved,
    refuse_older,
    scalar,
    version_of,
)
from batchvid.journal.postgres_reader import SEAL_FILE, Place, PostgresReader
from batchvid.storage.fs import STATE_FILE_MODE, STATE_FOLDER_MODE, storage_error, write_whole
from batchvid.storage.state import kept_from_children

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from types import TracebackType

    from batchvid.domain.decision import Decision
    from batchvid.journal.base import Change
    from batchvid.journal.changes import Here, Joined
    from batchvid.journal.postgres_db import Connection

T = TypeVar("T")

TRIES = 3
"""Of a transaction that another one got in the way of."""
PATIENCE_S = 60.0
"""How long a server that went away in the middle of a commit is waited for, to learn what became of it."""
LOOK_AGAIN_S = 0.2
ASIDE = "/"
"""Before an id for the moment in which two are exchanged; no id holds it."""

_HELD: dict[tuple[str, str], Connection] = {}
"""The sessions of this process that hold a journal, by database and name: who opens the journal writes with them."""


@dataclass(frozen=True, slots=True)
class PostgresStore(Place, JournalStore):
    """A journal in a PostgreSQL database."""

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
                if not scalar(db, "SELECT pg_try_advisory_lock(%s)", self.key):
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
            since: float | None = scalar(db, HOLDER, self.key)
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
                if version_of(db) == newest_version():
                    check_timeline(db, self.database)
                if service is not None:
                    self._make(db, service)
                number = self._existing(db)
                refuse_moved(db, number, self)
            journal = PostgresJournal(db, self, number, is_borrowed=held is not None)
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
                    refuse_moved(db, number, self)
        except BaseException:  # whatever it was, the connection is closed, and it is raised again
            db.close()
            raise
        if number is None:
            db.close()
            return None
        return PostgresReader(db, self, number)

    def decide(self, decisions: Sequence[Decision]) -> None:
        """Keep what persons decided, beside all who write the journal."""
        decision.check(decisions)
        with closing(self.database.connect()) as db, self.database.translated():
            check_server(db, self.database)
            refuse_older(check_version(db, self.database), self)
            number = self._existing(db)
            check_timeline(db, self.database, keeps=False)
            with one_who_decides(db, number):
                refuse_moved(db, number, self)
                keep_decisions(db, number, decisions)

    def await_decisions(self) -> None:
        """Wait for who decides just now. Whoever begins later finds where the journal is then."""
        with (
            closing(self.database.connect()) as db,
            self.database.translated(),
            one_who_decides(db, self._existing(db)),
        ):
            pass

    def is_current(self, db: Connection) -> bool:
        """Whether the journal is there, in tables of this version."""
        return version_of(db) == newest_version() and self._number(db) is not None

    def trust_server(self) -> None:
        """Let a person's word be enough that the server knows all that is paid, though it is not the one it was."""
        with closing(self.database.connect()) as db, self.database.translated():
            if version_of(db) == newest_version():
                keep_timeline(db)

    def number_in(self, db: Connection) -> int:
        """Return the number of the journal, which must be there."""
        return self._existing(db)

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
        self._fence_workers()
        self._remarks({"clean": "0", "session": secrets.token_hex(8)})
        try:
            self._store.state.parent.mkdir(parents=True, exist_ok=True)
            self._store.state.mkdir(mode=STATE_FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise storage_error(error, f"use the state folder {self._store.state}") from error
        self._remember()

    def _fence_workers(self) -> None:
        """Let a worker that has lost its share of the lock, and does not know it yet, record nothing more."""
        query = (
            "UPDATE batchvid.slices SET epoch = epoch + 1 FROM batchvid.revisions"
            " WHERE revisions.revision = slices.revision AND journal = %s AND over_at IS NULL AND worker IS NOT NULL"
        )
        with self._store.database.translated():
            self._db.execute(query, (self._number,))

    def _remember(self) -> None:
        self.log.remember(open_lines(map(attempt_of, self._rows(OPEN_ATTEMPTS))))

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
            self.log.keep(self._transaction(lambda: self._write(changes), lambda reader: holds(reader, changes)))

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
        query = "UPDATE batchvid.{} SET job_id = %s WHERE journal = %s AND job_id = %s"
        self._db.execute(query.format("events"), (new, self._number, old))
        return self._db.execute(query.format("jobs"), (new, self._number, old)).rowcount  # its attempts follow

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

    def take_over_decisions(self, decisions: Sequence[Decision]) -> None:
        """Keep decisions that something beside the journal tells."""
        decision.check(decisions)
        with self._store.database.translated():
            keep_decisions(self._db, self._number, decisions)

    def fill(self, source: JournalReader, *, remarks: Mapping[str, str], at: float) -> None:
        """Take over all that *source* holds, in one transaction."""

        def work() -> None:
            copy_rows(self._db, self._number, source, at=at)
            for key, value in remarks.items():
                self._remark(key, value)
            check_copy(self, source)

        self._transaction(work, lambda reader: is_copy(reader, source))
        self._remember()

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
                    begun = self._db.execute(BEGIN)
                    begun.nextset()
                    ((transaction, _),) = begun.fetchall()
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
                check_server(db, self._store.database)  # a standby may not have come to this transaction yet
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
        """Write *changes*, and return their events as lines of the event log."""
        group = joined(changes)
        starts, rows = group.starts, group.rows
        ids = sorted(rows)  # two writers take what both want in the same order
        query = "SELECT job_id, version FROM batchvid.jobs WHERE journal = %s AND job_id = ANY(%s)"
        group.check(dict(self._db.execute(query, (self._number, ids)).fetchall()))
        first = [(self._number, *progress_row(rows[one])) for one in ids if not starts[one]]
        kept = [(self._number, *progress_row(rows[one]), self._number, one, starts[one]) for one in ids if starts[one]]
        if self._many(FIRST_PROGRESS, first) + self._many(KEEP_PROGRESS, kept) != len(ids):
            raise RacedError("another session was quicker")  # the next try tells which job it was
        self._many(
            KEEP_EVENT,
            [
                (self._number, job_id, attempt, at, type(event).__name__, json.dumps(event_data(event)))
                for job_id, attempt, event, at in group.events
            ],
        )
        cut_short = {change.before.job_id for change in changes if any(was_cut_short(one) for one, _ in change.events)}
        self._many(KEEP_TAKEOVER, [(self._number, job_id) for job_id in sorted(cut_short)])
        timings = [change.timing for change in changes if change.timing is not None]
        self._many(KEEP_TIMING, [(self._number, one.timing_class, one.took_s, one.at) for one in timings])
        classes = sorted({one.timing_class for one in timings})
        self._many(FORGET_TIMINGS, [(self._number, name, self._number, name) for name in classes])
        self._write_attempts(group, ids)  # last: until the commit is over, others wait for the sums that follow them
        return [log_line(job_id, attempt, event, at=at) for job_id, attempt, event, at in group.events]

    def _write_attempts(self, group: Joined, ids: list[str]) -> None:
        """Store what the events make of the attempts that they are about; the rows of their jobs are this session's."""
        query = f"{ALL_ATTEMPTS} AND job_id = ANY(%s)"
        found = map(attempt_of, self._db.execute(query, (self._number, ids)))
        before = {(one.job_id, one.attempt): one for one in found}
        changed = changed_attempts(group.events, before)
        self._many(PUT_DOWN_TASK, [(self._number, *here) for here in changed.adopted])
        changed.check(self._owners(changed.tasks.values()))
        self._many(FORGET_ATTEMPT, [(self._number, *here) for here, one in changed.rows.items() if one is None])
        kept = [(here, (self._number, *attempt_row(one))) for here, one in changed.rows.items() if one is not None]
        self._many(FIRST_OF_ATTEMPT, [row for here, row in kept if here not in before])
        self._many(KEEP_ATTEMPT, [(*row, self._number, *here) for here, row in kept if here in before])

    def _owners(self, tasks: Collection[str]) -> dict[str, Here]:
        query = "SELECT task_id, job_id, attempt FROM batchvid.attempts WHERE journal = %s AND task_id = ANY(%s)"
        rows = self._db.execute(query, (self._number, list(tasks))) if tasks else ()
        return {task_id: (job_id, attempt) for task_id, job_id, attempt in rows}

    def _many(self, statement: str, values: Sequence[Sequence[Any]]) -> int:
        """Run *statement* with each of *values*, all on their way at once, and return how many rows changed."""
        if not values:
            return 0
        cursor = self._db.cursor()
        cursor.executemany(statement, values)
        return cursor.rowcount


def _has_remark(reader: PostgresReader, key: str, value: str) -> bool:
    return reader.meta_get(key) == value
