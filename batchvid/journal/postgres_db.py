"""The journal as a database in PostgreSQL: its connections, tables and statements, and how older tables become these.

All tables are in the schema ``batchvid``, so that they are told from those of other programs. Each journal is a row of
``journals``, and every other table is keyed by it: the outputs of many manifests and accounts share one database.

PostgreSQL takes no NUL in a text. Here a NUL is kept as two characters, and so is the character that marks it. Every
text comes back as it was, two texts stay two, and their order stays what it was.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import field
from typing import TYPE_CHECKING, Any

from batchvid.domain.decision import Decision, Verdict, unknown
from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.job import Attempt, Outcome, Progress, State
from batchvid.domain.text import clean
from batchvid.journal import cluster_tables, published_tables
from batchvid.journal.base import IN_NO_PLAN, MOVED_TO, TIMINGS_KEPT, RewoundError, StandbyError

try:
    import psycopg
except ModuleNotFoundError as missing:
    raise ConfigError("a journal in PostgreSQL needs psycopg: pip install 'batchvid[cluster]'") from missing
from psycopg import conninfo, errors
from psycopg.adapt import Loader
from psycopg.types.string import StrDumper

from batchvid.domain.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg.abc import Buffer

    from batchvid.journal.base import JournalReader

    Connection = psycopg.Connection[tuple[Any, ...]]

DEFAULTS: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "batchvid",
    "keepalives_count": 3,
}
"""What an address that does not say it gets."""
SESSION = (
    "SELECT set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false),"
    " set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '60000', false),"
    " set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'"
    " ELSE current_setting('synchronous_commit') END, false)"
)
"""The server's own keepalives: a machine that lost its power loses the lock after a minute, not after two hours.

And every commit survives a power loss, and that of the server where a standby is waited for; the settings that are left
are as strict as that, or stricter.
"""
FREE_THE_ROWS = "SELECT set_config('idle_in_transaction_session_timeout', %s, false)"
"""A process that stands still in a transaction must not hold the rows that others wait for to take over its work."""
MESSAGE_MAX = 300

VERSION_1 = (
    "CREATE SCHEMA IF NOT EXISTS batchvid",
    "CREATE TABLE batchvid.schema_version (version INTEGER NOT NULL)",
    "INSERT INTO batchvid.schema_version VALUES (0)",
    """
    CREATE TABLE batchvid.journals (
        journal BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name TEXT COLLATE "C" NOT NULL UNIQUE
    )
    """,
    """
    CREATE TABLE batchvid.meta (
        journal BIGINT NOT NULL REFERENCES batchvid.journals,
        key TEXT COLLATE "C" NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (journal, key)
    )
    """,
    # One row for each job that anything has happened to; the columns are those of domain.job.Progress. Each is changed
    # a few times soon after it is made: no index is about a column that changes then, and there is room beside it, so
    # that the new version stays on its page, and no index has to be written (a HOT update). Of such a change the
    # server writes down what lies between the first byte that differs and the last: what changes most stands last.
    """
    CREATE TABLE batchvid.jobs (
        journal BIGINT NOT NULL REFERENCES batchvid.journals,
        job_id TEXT COLLATE "C" NOT NULL,
        allowance_from BIGINT NOT NULL,
        attempt BIGINT NOT NULL CHECK (attempt >= 0),
        price_micros BIGINT,
        unproven_micros BIGINT NOT NULL CHECK (unproven_micros >= 0),
        fingerprint TEXT,
        submitted_at DOUBLE PRECISION,
        task_id TEXT,
        resolved_model TEXT,
        url TEXT,
        url_expires_at DOUBLE PRECISION,
        version BIGINT NOT NULL CHECK (version > 0),
        parked BOOLEAN NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('pending', 'submitting', 'in_doubt', 'running', 'ready', 'done', 'failed')),
        reason TEXT,
        finished_at DOUBLE PRECISION,
        path TEXT,
        size_bytes BIGINT,
        sha256 TEXT,
        PRIMARY KEY (journal, job_id)
    ) WITH (fillfactor = 33)
    """,
    """
    CREATE TABLE batchvid.attempts (
        journal BIGINT NOT NULL,
        job_id TEXT COLLATE "C" NOT NULL,
        attempt BIGINT NOT NULL CHECK (attempt > 0),
        price_micros BIGINT,
        fingerprint TEXT NOT NULL,
        started_at DOUBLE PRECISION NOT NULL,
        accepted_at DOUBLE PRECISION,
        task_id TEXT COLLATE "C",
        resolved_model TEXT,
        outcome TEXT NOT NULL CHECK (outcome IN ('open', 'in_doubt', 'succeeded', 'failed', 'abandoned')),
        finished_at DOUBLE PRECISION,
        reason TEXT,
        raw BYTEA,
        PRIMARY KEY (journal, job_id, attempt),
        FOREIGN KEY (journal, job_id) REFERENCES batchvid.jobs ON UPDATE CASCADE
    ) WITH (fillfactor = 50)
    """,
    "CREATE UNIQUE INDEX attempts_by_task ON batchvid.attempts (journal, task_id) WHERE task_id IS NOT NULL",
    # An event comes with its job's row, in one transaction. A foreign key would lock that row for each of its events.
    """
    CREATE TABLE batchvid.events (
        seq BIGINT GENERATED ALWAYS AS IDENTITY,
        journal BIGINT NOT NULL,
        job_id TEXT COLLATE "C" NOT NULL,
        attempt BIGINT NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        kind TEXT NOT NULL,
        data TEXT NOT NULL,
        PRIMARY KEY (journal, seq)
    )
    """,
    "CREATE INDEX events_by_job ON batchvid.events (journal, job_id)",
    # What persons decided about clips, one after the other: nothing in it is ever changed.
    """
    CREATE TABLE batchvid.decisions (
        seq BIGINT GENERATED ALWAYS AS IDENTITY,
        journal BIGINT NOT NULL,
        job_id TEXT COLLATE "C" NOT NULL,
        attempt BIGINT NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        by TEXT NOT NULL,
        verdict TEXT CHECK (verdict IN ('approved', 'rejected')),
        stars BIGINT CHECK (stars BETWEEN 0 AND 5),
        note TEXT NOT NULL,
        PRIMARY KEY (journal, seq),
        FOREIGN KEY (journal, job_id, attempt) REFERENCES batchvid.attempts ON UPDATE CASCADE
    )
    """,
    "CREATE INDEX decisions_by_clip ON batchvid.decisions (journal, job_id, attempt)",
    """
    CREATE TABLE batchvid.timings (
        seq BIGINT GENERATED ALWAYS AS IDENTITY,
        journal BIGINT NOT NULL,
        timing_class TEXT COLLATE "C" NOT NULL,
        took_s DOUBLE PRECISION NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (journal, timing_class, seq)
    )
    """,
    *published_tables.TABLES,
    *cluster_tables.TABLES,
)

MIGRATIONS: tuple[tuple[int, tuple[str, ...]], ...] = ((1, VERSION_1),)
"""For each version of the schema, the statements that make it out of the one before; the newest is last."""

RESERVED = "outcome IN ('open', 'in_doubt')"
UNFINISHED = "state NOT IN ('done', 'failed')"
ALL_PROGRESS = f"SELECT {', '.join(Progress._fields)} FROM batchvid.jobs WHERE journal = %s"
BRIEF = ", ".join("NULL" if name in IN_NO_PLAN else name for name in Progress._fields)
IN_BRIEF = (
    f"{ALL_PROGRESS} AND state != 'done'"
    f" UNION ALL SELECT {BRIEF} FROM batchvid.jobs WHERE journal = %s AND state = 'done'"
)
ALL_ATTEMPTS = f"SELECT {', '.join(Attempt._fields)} FROM batchvid.attempts WHERE journal = %s"
OPEN_ATTEMPTS = (
    f"SELECT {', '.join(f'attempts.{name}' for name in Attempt._fields)} FROM batchvid.jobs AS jobs"
    " JOIN batchvid.attempts AS attempts USING (journal, job_id, attempt)"
    f" WHERE journal = %s AND {UNFINISHED} AND state != 'pending'"
)
MONEY = "SELECT spent, reserved, unpriced, unproven FROM batchvid.sums WHERE journal = %s"


def _insert(table: str, fields: Sequence[str]) -> str:
    return f"INSERT INTO batchvid.{table} (journal, {', '.join(fields)}) VALUES (%s{', %s' * len(fields)})"


def _update(table: str, fields: Sequence[str], key: Sequence[str]) -> str:
    """Return an update that takes the values of `_insert`, and then once more the journal and the key."""
    changed = ", ".join(f"{name} = %s" for name in ("journal", *fields))
    return f"UPDATE batchvid.{table} SET {changed} WHERE {' AND '.join(f'{name} = %s' for name in ('journal', *key))}"


# An upsert would do for both, but it locks each row that is there, and writes that down, before it changes it.
FIRST_PROGRESS = _insert("jobs", Progress._fields)
KEEP_PROGRESS = _update("jobs", Progress._fields, ["job_id", "version"])
"""The compare-and-set. It waits for another transaction that changes the row, and then sees its version."""
FIRST_OF_ATTEMPT = _insert("attempts", Attempt._fields)
KEEP_ATTEMPT = _update("attempts", Attempt._fields, ["job_id", "attempt"])
KEEP_TAKEOVER = (
    "INSERT INTO batchvid.takeovers VALUES (%s, %s) ON CONFLICT (journal, job_id) DO UPDATE SET at = excluded.at"
)
MAY_WAKE = (
    "WITH taken AS (SELECT job_id, extract(epoch FROM clock_timestamp() - at)::float8 AS since_s"
    " FROM batchvid.takeovers JOIN batchvid.jobs USING (journal, job_id) WHERE journal = %s AND state = 'in_doubt')"
    " SELECT job_id, wakes_s - since_s FROM taken, CAST(%s AS float8) AS wakes_s WHERE since_s < wakes_s"
)
KEEP_REMARK = f"{_insert('meta', ['key', 'value'])} ON CONFLICT (journal, key) DO UPDATE SET value = excluded.value"
PUT_DOWN_TASK = "UPDATE batchvid.attempts SET task_id = NULL WHERE journal = %s AND job_id = %s AND attempt = %s"
FORGET_ATTEMPT = "DELETE FROM batchvid.attempts WHERE journal = %s AND job_id = %s AND attempt = %s"
KEEP_EVENT = "INSERT INTO batchvid.events (journal, job_id, attempt, at, kind, data) VALUES (%s, %s, %s, %s, %s, %s)"
NEWEST_EVENT = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM batchvid.events_seq_seq"
EVENTS_LOCK, EVENTS_LOCK_SPAN = 0x62764576, 2**32
"""The first part of a lock of two; the second part is a number below the other one."""
BEGIN = (
    f"BEGIN; SELECT pg_current_xact_id()::text, pg_advisory_xact_lock_shared({EVENTS_LOCK}, (({NEWEST_EVENT})"
    f" & {EVENTS_LOCK_SPAN - 1})::bit(32)::int)"
)
"""Begins a transaction that may record events: its lock tells everybody which number they come after."""
AT_WORK_ON_EVENTS = (
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
    f" AND classid::bigint = {EVENTS_LOCK} AND database = (SELECT oid FROM pg_database WHERE datname ="
    " current_database())"
)
DECISIONS_AFTER = (
    f"SELECT seq, {', '.join(Decision._fields)} FROM batchvid.decisions WHERE journal = %s AND seq > %s ORDER BY seq"
)
DECISIONS_OF = (
    f"SELECT {', '.join(Decision._fields)} FROM batchvid.decisions WHERE journal = %s AND job_id = ANY(%s) ORDER BY seq"
)
KEEP_DECISION = (
    f"INSERT INTO batchvid.decisions (journal, {', '.join(Decision._fields)})"
    " SELECT journal, job_id, attempt, %s, %s, %s, %s, %s FROM batchvid.attempts"
    " WHERE journal = %s AND job_id = %s AND attempt = %s AND outcome = 'succeeded'"
)
KEEP_TIMING = "INSERT INTO batchvid.timings (journal, timing_class, took_s, at) VALUES (%s, %s, %s, %s)"
FORGET_TIMINGS = (
    "DELETE FROM batchvid.timings WHERE journal = %s AND timing_class = %s AND seq <= (SELECT seq FROM batchvid.timings"
    f" WHERE journal = %s AND timing_class = %s ORDER BY seq DESC LIMIT 1 OFFSET {TIMINGS_KEPT})"
)
HOLDER = (
    "SELECT extract(epoch FROM coalesce(backend_start, now()))::float8"
    " FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND mode IN ('ExclusiveLock', 'ShareLock')"
    " AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (classid::bigint << 32) | objid::bigint = %s ORDER BY 1"
)

PostgresError = psycopg.Error
RacedError = errors.SerializationFailure
IN_THE_WAY = (RacedError, errors.DeadlockDetected, errors.UniqueViolation)
"""What a second try finds settled: the other session's transaction is over then."""

AWAY = "it cannot be reached; look whether it runs and its address is right, then run again: nothing paid is lost"
ADVICE = {
    "28": "it does not let batchvid in; look at the user and the password",
    "3D": "there is no such database; make it (createdb) or put its name right",
    "53": "its disk is full, or it has too many connections; make room and run again, nothing that is paid is lost",
    "25P03": "this process stood still for too long in the middle of a transaction; nothing of that one is kept",
    "25006": "it takes no changes, as a standby does; name the server that does",
    "42501": "its user may not do that; give it the right to make and use the schemas batchvid and batchvid_engine",
    "42P01": "its tables are gone, and with them what was paid; restore it from a backup",
    "3F000": "its tables are gone, and with them what was paid; restore it from a backup",
    "XX001": "it is damaged; restore it from a backup",
    "XX002": "it is damaged; run REINDEX, or restore it from a backup",
}
"""What codes of PostgreSQL, or their classes, mean to a person. An error of another kind is a bug in batchvid."""


NO_ROOM = ADVICE["53"]
REFUSED = {
    "authentication failed": ADVICE["28"],
    "no password supplied": ADVICE["28"],
    "no pg_hba.conf entry": ADVICE["28"],
    "permission denied for database": ADVICE["28"],
    "is not permitted to log in": ADVICE["28"],
    "too many connections": NO_ROOM,
    "too many clients": NO_ROOM,
    "remaining connection slots": NO_ROOM,
}
"""What a server says that ends a connection before it begins: psycopg knows no code of those."""


def _refused(said: str) -> str | None:
    if said.rstrip().endswith("does not exist"):
        return ADVICE["28" if ' role "' in said else "3D"]
    return next((advice for words, advice in REFUSED.items() if words in said), None)


@frozen
class Database:
    """Where a database is. Neither its repr nor its text shows the password."""

    url: str = field(repr=False)
    silent_s: float = 30.0
    """How long nothing may be heard of its machine. Where a cable is pulled, Linux would wait for a quarter of an hour
    otherwise, and what comes meanwhile would be kept nowhere."""

    def __str__(self) -> str:
        """Return its address without the password."""
        parts = self._parts()
        user = f"{parts['user']}@" if "user" in parts else ""
        host = ":".join(str(parts[name]) for name in ("host", "port") if name in parts)
        return clean(f"postgresql://{user}{host}/{parts.get('dbname', '')}", MESSAGE_MAX)

    @property
    def is_secret(self) -> bool:
        """Whether its address holds a password."""
        return not {"password", "sslpassword"}.isdisjoint(self._parts())

    @property
    def place(self) -> str:
        """Return which server and database it is, whoever asks, for telling databases apart."""
        parts = self._parts()
        return " ".join(str(parts.get(name, "")) for name in ("hostaddr", "host", "port", "service", "dbname"))

    def connect(self) -> Connection:
        """Open a connection, with transactions begun and ended by hand only; raises `StorageError`."""
        with self.translated():
            own = {
                **DEFAULTS,
                "keepalives_idle": max(1, round(self.silent_s)),
                "keepalives_interval": max(1, round(self.silent_s / 3)),
                "tcp_user_timeout": round(self.silent_s * 1000),
            }
            connection: Connection = psycopg.connect(
                **{**own, **self._parts(), "client_encoding": "utf8"}, autocommit=True
            )
            connection.adapters.register_dumper(str, _Stored)
            connection.adapters.register_loader("text", _Read)
            connection.execute(SESSION)
            return connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what PostgreSQL says about itself into a `StorageError` that says what to do."""
        try:
            yield
        except psycopg.Error as error:
            code = error.sqlstate or ""
            advice = ADVICE.get(code) or ADVICE.get(code[:2]) or _refused(str(error))
            if advice is None and not isinstance(error, psycopg.OperationalError):
                raise
            said = clean(str(error), MESSAGE_MAX)
            raise StorageError(f"the database {self}: {advice or AWAY} (PostgreSQL says: {said})") from error

    def _parts(self) -> dict[str, Any]:
        try:
            return conninfo.conninfo_to_dict(self.url)
        except psycopg.ProgrammingError:  # whose text would show the password
            raise ConfigError(
                "the address of the database cannot be read; write it as postgresql://USER@HOST:PORT/NAME"
            ) from None


class _Stored(StrDumper):
    def dump(self, obj: str) -> bytes:
        r"""Return text as it is kept; half a surrogate pair, which no encoding takes, becomes ``\udNNN``."""
        if "\0" in obj or "\1" in obj:
            obj = obj.replace("\1", "\1\2").replace("\0", "\1\1")
        return obj.encode("utf-8", "backslashreplace")


class _Read(Loader):
    def load(self, data: Buffer) -> str:
        """Return text as it was before it was kept."""
        text = bytes(data).decode()
        return text.replace("\1\1", "\0").replace("\1\2", "\1") if "\1" in text else text


def lock_key(text: str) -> int:
    """Return the number of an advisory lock: 64 bits that say *text*."""
    return int.from_bytes(
        hashlib.sha256(f"batchvid {text}".encode("utf-8", "backslashreplace")).digest()[:8], signed=True
    )


def newest_version() -> int:
    """Return the version of the schema that this batchvid reads and writes."""
    return MIGRATIONS[-1][0]


def version_of(db: Connection) -> int:
    """Return the version of the schema that *db* has; 0 when it has none."""
    if scalar(db, "SELECT to_regclass('batchvid.schema_version')") is None:
        return 0
    version: int = scalar(db, "SELECT version FROM batchvid.schema_version")
    return version


def check_version(db: Connection, database: Database) -> int:
    """Return the version of the schema; raises `ConfigError` for that of a newer batchvid."""
    if trouble := outdated(db, database):
        raise ConfigError(trouble)
    return version_of(db)


def outdated(db: Connection, database: Database) -> str:
    """Return why this batchvid is too old for the schema; empty when it is not."""
    version = version_of(db)
    if version <= newest_version():
        return ""
    return (
        f"the database {database} was written by a newer batchvid (its version is {version}, this one knows "
        f"{newest_version()}); use that batchvid, or a newer one"
    )


def refuse_older(version: int, name: object) -> None:
    """Refuse a journal of an older batchvid, which reading must not change."""
    if version < newest_version():
        raise ConfigError(f"the journal {name} is of an older batchvid; `batchvid run` brings it up to date")


def check_server(db: Connection, database: Database) -> None:
    """Refuse a database that would lose what was paid, or may have lost it."""
    if scalar(db, "SELECT pg_is_in_recovery()"):
        raise StandbyError(f"the database {database} takes no changes, as it is a standby: name the server that does")
    if scalar(db, "SHOW server_encoding") != "UTF8":
        raise ConfigError(f"the database {database} does not hold every letter; make one with createdb -E UTF8")
    if scalar(db, "SHOW fsync") != "on":
        raise ConfigError(f"the database {database} forgets what is paid when its power fails; set fsync = on there")


TIMELINE = (
    "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int,"
    " current_setting('synchronous_standby_names') <> ''"
)
"""The number of the server's history, another one after each promotion; and whether a standby is waited for."""


def check_timeline(db: Connection, database: Database, *, keeps: bool = True) -> None:
    """Refuse a server that took the place of another one and may lack its last commits, until a person has looked.

    Whoever *keeps* it has it known to the next one.
    """
    now = db.execute(TIMELINE).fetchone()
    kept = db.execute("SELECT timeline, is_synchronous FROM batchvid.timeline").fetchone()
    if kept is not None and now is not None and kept[0] != now[0] and not kept[1]:
        raise RewoundError(
            f"the database {database} was promoted or restored, and may have lost what was paid last: no standby was "
            "waited for (synchronous_standby_names). Look on the service's dashboard for tasks that `batchvid status` "
            "does not know. Then `batchvid run MANIFEST --moved` goes on"
        )
    if kept != now and keeps:
        keep_timeline(db)


def keep_timeline(db: Connection) -> None:
    """Take the server as it is now for the one that knows all that is paid."""
    with db.transaction():
        db.execute("LOCK TABLE batchvid.timeline")
        db.execute("DELETE FROM batchvid.timeline")
        db.execute(f"INSERT INTO batchvid.timeline {TIMELINE}")


def migrate(db: Connection) -> None:
    """Bring *db* to the newest version, in one transaction and one after the other: it has all of it, or nothing."""
    key = lock_key("schema")
    db.execute("SELECT pg_advisory_lock(%s)", [key])  # before the transaction, which would not see all that was made
    try:
        with db.transaction():
            version = version_of(db)
            for number, statements in MIGRATIONS:
                if number > version:
                    for statement in statements:
                        db.execute(statement)
                    db.execute("UPDATE batchvid.schema_version SET version = %s", [number])
    finally:
        db.execute("SELECT pg_advisory_unlock(%s)", [key])


def scalar(db: Connection, query: str, *values: Any) -> Any:
    """Return the first column of the first row; ``None`` when there is no row."""
    row = db.execute(query, values or None).fetchone()
    return None if row is None else row[0]


STATES = {state.value: state for state in State}
OUTCOMES = {outcome.value: outcome for outcome in Outcome}


def progress_row(progress: Progress) -> tuple[Any, ...]:
    """Return what happened to a job as its row."""
    return progress._replace(state=progress.state.value)  # type: ignore[arg-type]


def progress_of(row: tuple[Any, ...]) -> Progress:
    """Return what happened to a job, by its row."""
    return Progress._make((row[0], STATES[row[1]], *row[2:]))


def attempt_row(attempt: Attempt) -> tuple[Any, ...]:
    """Return an attempt as its row."""
    return attempt._replace(outcome=attempt.outcome.value)  # type: ignore[arg-type]


def attempt_of(row: tuple[Any, ...]) -> Attempt:
    """Return an attempt by its row."""
    return Attempt._make((*row[:8], OUTCOMES[row[8]], *row[9:]))


def decision_row(one: Decision) -> tuple[Any, ...]:
    """Return what a person decided as its row."""
    return one._replace(verdict=one.verdict and one.verdict.value)  # type: ignore[arg-type]


def decision_of(row: Sequence[Any]) -> Decision:
    """Return what a person decided, by its row."""
    job_id, attempt, at, by, verdict, stars, note = row
    return Decision(job_id, attempt, at, by, None if verdict is None else Verdict(verdict), stars, note)


@contextmanager
def one_who_decides(db: Connection, number: int) -> Iterator[None]:
    """Hold a transaction in which nobody else decides about this journal: others come before or after it.

    So a smaller number is never committed later.
    """
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(f"decisions {number}")])
        yield


def keep_decisions(db: Connection, number: int, decisions: Sequence[Decision]) -> None:
    """Keep what persons decided, all of it or nothing, within `one_who_decides`."""
    for one in decisions:
        job_id, attempt, *said = decision_row(one)
        if not db.execute(KEEP_DECISION, (*said, number, job_id, attempt)).rowcount:
            raise unknown(one)


def copy_rows(db: Connection, number: int, source: JournalReader, *, at: float) -> None:
    """Write the rows of *source* as those of the journal *number*, within a transaction of the caller."""
    events = ((one.job_id, one.attempt, one.at, one.kind, json.dumps(one.data)) for one in source.events())
    timings = ((name, took_s, at) for name, known in source.timings().items() for took_s in known)
    tables: tuple[tuple[str, Sequence[str], Iterable[tuple[Any, ...]]], ...] = (
        ("jobs", Progress._fields, map(progress_row, source.all_progress())),
        ("attempts", Attempt._fields, map(attempt_row, source.attempts())),
        ("events", ("job_id", "attempt", "at", "kind", "data"), events),
        ("timings", ("timing_class", "took_s", "at"), timings),
        ("decisions", Decision._fields, (decision_row(one) for _, one in source.decisions_after(0))),
    )
    for table, columns, rows in tables:
        statement = f"COPY batchvid.{table} (journal, {', '.join(columns)}) FROM STDIN"
        with db.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row((number, *row))


def moved_to(db: Connection, number: int) -> str | None:
    """Return where the journal of this number is now; ``None`` when it is here."""
    query = "SELECT value FROM batchvid.meta WHERE journal = %s AND key = %s"
    where: str | None = scalar(db, query, number, MOVED_TO)
    return where


def refuse_moved(db: Connection, number: int, name: object) -> None:
    """Refuse a journal that was moved elsewhere."""
    if (where := moved_to(db, number)) is not None:
        raise ConfigError(f"the journal {name} was moved to {clean(where, 4096)}, which knows what is paid now")


def make_room(db: Connection, number: int) -> None:
    """Rename a journal that was moved elsewhere, so that one of its name can be here again."""
    if moved_to(db, number) is not None:
        query = "UPDATE batchvid.journals SET name = name || ' (number ' || journal || ')' WHERE journal = %s"
        db.execute(query, [number])


def is_committed(db: Connection, transaction: str) -> bool | None:
    """Whether a transaction has become true; ``None`` while it is under way. A server that lost it says so."""
    try:
        status = scalar(db, "SELECT pg_xact_status(%s::xid8)", transaction)
    except errors.InvalidParameterValue:  # "in the future": it was begun before a crash, and never written
        return False
    return None if status == "in progress" else status != "aborted"
