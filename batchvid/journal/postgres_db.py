"""The journal as a database in PostgreSQL: its connections, tables and statements, and how older tables become these.

All tables are in the schema ``batchvid``, so that they are told from those of other programs. Each journal is a row of
``journals``, and every other table is keyed by it: the outputs of many manifests and accounts share one database.

PostgreSQL takes no NUL in a text. Here a NUL is kept as two characters, and so is the character that marks it. Every
text comes back as it was, two texts stay two, and their order stays what it was.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.job import Attempt, Progress
from batchvid.domain.text import clean
from batchvid.journal.base import IN_NO_PLAN, TIMINGS_KEPT

try:
    import psycopg
except ModuleNotFoundError as missing:
    raise ConfigError("a journal in PostgreSQL needs psycopg: pip install 'batchvid[cluster]'") from missing
from psycopg import conninfo, errors
from psycopg.adapt import Loader
from psycopg.types.string import StrDumper

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.abc import Buffer

    Connection = psycopg.Connection[tuple[Any, ...]]

DEFAULTS: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "batchvid",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""What an address that does not say it gets."""
KEEPALIVES = (
    "SELECT set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false),"
    " set_config('tcp_keepalives_count', '3', false)"
)
"""The server's own: a machine that lost its power loses the lock after a minute, not after two hours."""
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
    # One row for each job that anything has happened to; the columns are those of domain.job.Progress, in order.
    """
    CREATE TABLE batchvid.jobs (
        journal BIGINT NOT NULL REFERENCES batchvid.journals,
        job_id TEXT COLLATE "C" NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('pending', 'submitting', 'in_doubt', 'running', 'ready', 'done', 'failed')),
        version BIGINT NOT NULL CHECK (version > 0),
        attempt BIGINT NOT NULL CHECK (attempt >= 0),
        allowance_from BIGINT NOT NULL,
        parked BOOLEAN NOT NULL,
        task_id TEXT,
        resolved_model TEXT,
        url TEXT,
        url_expires_at DOUBLE PRECISION,
        fingerprint TEXT,
        price_micros BIGINT,
        reason TEXT,
        submitted_at DOUBLE PRECISION,
        finished_at DOUBLE PRECISION,
        path TEXT,
        size_bytes BIGINT,
        sha256 TEXT,
        unproven_micros BIGINT NOT NULL CHECK (unproven_micros >= 0),
        PRIMARY KEY (journal, job_id)
    )
    """,
    "CREATE INDEX jobs_unfinished ON batchvid.jobs (journal, job_id) WHERE state NOT IN ('done', 'failed')",
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
    )
    """,
    "CREATE INDEX attempts_held ON batchvid.attempts (journal, job_id) WHERE outcome IN ('open', 'in_doubt')",
    "CREATE UNIQUE INDEX attempts_by_task ON batchvid.attempts (journal, task_id) WHERE task_id IS NOT NULL",
    """
    CREATE TABLE batchvid.events (
        seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        journal BIGINT NOT NULL,
        job_id TEXT COLLATE "C" NOT NULL,
        attempt BIGINT NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        kind TEXT NOT NULL,
        data TEXT NOT NULL,
        FOREIGN KEY (journal, job_id) REFERENCES batchvid.jobs ON UPDATE CASCADE
    )
    """,
    "CREATE INDEX events_by_journal ON batchvid.events (journal, seq)",
    "CREATE INDEX events_by_job ON batchvid.events (journal, job_id)",
    """
    CREATE TABLE batchvid.timings (
        seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        journal BIGINT NOT NULL REFERENCES batchvid.journals,
        timing_class TEXT COLLATE "C" NOT NULL,
        took_s DOUBLE PRECISION NOT NULL,
        at DOUBLE PRECISION NOT NULL
    )
    """,
    "CREATE INDEX timings_by_class ON batchvid.timings (journal, timing_class, seq)",
)

MIGRATIONS: tuple[tuple[int, tuple[str, ...]], ...] = ((1, VERSION_1),)
"""For each version of the schema, the statements that make it out of the one before; the newest is last."""

RESERVED = "outcome IN ('open', 'in_doubt')"
UNFINISHED = "state NOT IN ('done', 'failed')"
"""These two are word for word the conditions of the partial indexes."""
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
MONEY = (
    f"SELECT coalesce(sum(price_micros) FILTER (WHERE NOT {RESERVED}), 0),"
    f" coalesce(sum(price_micros) FILTER (WHERE {RESERVED}), 0),"
    " count(*) FILTER (WHERE price_micros IS NULL),"
    " (SELECT coalesce(sum(unproven_micros), 0) FROM batchvid.jobs WHERE journal = %s)"
    " FROM batchvid.attempts WHERE journal = %s"
)


def _upsert(table: str, fields: Sequence[str], key: Sequence[str]) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in fields if name not in key)
    return (
        f"INSERT INTO batchvid.{table} AS kept (journal, {', '.join(fields)})"
        f" VALUES (%s{', %s' * len(fields)}) ON CONFLICT (journal, {', '.join(key)}) DO UPDATE SET {changed}"
    )


KEEP_PROGRESS = f"{_upsert('jobs', Progress._fields, ['job_id'])} WHERE kept.version = %s"
"""The compare-and-set. It waits for another transaction that changes the row, and then sees its version."""
KEEP_ATTEMPT = _upsert("attempts", Attempt._fields, ["job_id", "attempt"])
KEEP_REMARK = _upsert("meta", ["key", "value"], ["key"])
PUT_DOWN_TASK = "UPDATE batchvid.attempts SET task_id = NULL WHERE journal = %s AND job_id = %s AND attempt = %s"
FORGET_ATTEMPT = "DELETE FROM batchvid.attempts WHERE journal = %s AND job_id = %s AND attempt = %s"
KEEP_EVENT = "INSERT INTO batchvid.events (journal, job_id, attempt, at, kind, data) VALUES (%s, %s, %s, %s, %s, %s)"
KEEP_TIMING = "INSERT INTO batchvid.timings (journal, timing_class, took_s, at) VALUES (%s, %s, %s, %s)"
FORGET_TIMINGS = (
    "DELETE FROM batchvid.timings WHERE journal = %s AND timing_class = %s AND seq <= (SELECT seq FROM batchvid.timings"
    f" WHERE journal = %s AND timing_class = %s ORDER BY seq DESC LIMIT 1 OFFSET {TIMINGS_KEPT})"
)
HOLDER = (
    "SELECT extract(epoch FROM coalesce(backend_start, now()))::float8"
    " FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND mode = 'ExclusiveLock'"
    " AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (classid::bigint << 32) | objid::bigint = %s"
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
    "25006": "it takes no changes, as a standby does; name the server that does",
    "42501": "its user may not do that; give it the right to make and use the schema batchvid",
    "42P01": "its tables are gone, and with them what was paid; restore it from a backup",
    "3F000": "its tables are gone, and with them what was paid; restore it from a backup",
    "XX001": "it is damaged; restore it from a backup",
    "XX002": "it is damaged; run REINDEX, or restore it from a backup",
}
"""What codes of PostgreSQL, or their classes, mean to a person. An error of another kind is a bug in batchvid."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where a database is. Neither its repr nor its text shows the password."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        """Return its address without the password."""
        parts = self._parts()
        user = f"{parts['user']}@" if "user" in parts else ""
        host = ":".join(str(parts[name]) for name in ("host", "port") if name in parts)
        return clean(f"postgresql://{user}{host}/{parts.get('dbname', '')}", MESSAGE_MAX)

    def connect(self) -> Connection:
        """Open a connection, with transactions begun and ended by hand only; raises `StorageError`."""
        with self.translated():
            connection: Connection = psycopg.connect(
                **{**DEFAULTS, **self._parts(), "client_encoding": "utf8"}, autocommit=True
            )
            connection.adapters.register_dumper(str, _Stored)
            connection.adapters.register_loader("text", _Read)
            connection.execute(KEEPALIVES)
            return connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what PostgreSQL says about itself into a `StorageError` that says what to do."""
        try:
            yield
        except psycopg.Error as error:
            code = error.sqlstate or ""
            advice = ADVICE.get(code) or ADVICE.get(code[:2])
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
    version = version_of(db)
    if version > newest_version():
        raise ConfigError(
            f"the database {database} was written by a newer batchvid (its version is {version}, this one knows "
            f"{newest_version()}); use that batchvid, or a newer one"
        )
    return version


def refuse_older(version: int, name: object) -> None:
    """Refuse a journal of an older batchvid, which reading must not change."""
    if version < newest_version():
        raise ConfigError(f"the journal {name} is of an older batchvid; `batchvid run` brings it up to date")


def check_server(db: Connection, database: Database) -> None:
    """Refuse a database that would lose what was paid, and let every commit of *db* survive a power loss."""
    if scalar(db, "SHOW server_encoding") != "UTF8":
        raise ConfigError(f"the database {database} does not hold every letter; make one with createdb -E UTF8")
    if scalar(db, "SHOW fsync") != "on":
        raise ConfigError(f"the database {database} forgets what is paid when its power fails; set fsync = on there")
    if scalar(db, "SHOW synchronous_commit") in {"off", "local"}:  # the others are as strict as this, or stricter
        db.execute("SET synchronous_commit = on")


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


def is_committed(db: Connection, transaction: str) -> bool | None:
    """Whether a transaction has become true; ``None`` while it is under way. A server that lost it says so."""
    try:
        status = scalar(db, "SELECT pg_xact_status(%s::xid8)", transaction)
    except errors.InvalidParameterValue:  # "in the future": it was begun before a crash, and never written
        return False
    return None if status == "in progress" else status != "aborted"
