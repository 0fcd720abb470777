"""The journal's tables, and how a journal of an older batchvid becomes one of this."""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x62766964
"""``bvid``: marks the file as a journal of batchvid, so that no other program's database is taken for one."""

VERSION_1 = (
    "CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    # One row for each job that anything has happened to; the columns are those of core.job.Progress, in order.
    """
    CREATE TABLE jobs (
        job_id TEXT NOT NULL PRIMARY KEY,
        state TEXT NOT NULL
            CHECK (state IN ('pending', 'submitting', 'in_doubt', 'running', 'ready', 'done', 'failed')),
        version INTEGER NOT NULL CHECK (version > 0),
        attempt INTEGER NOT NULL CHECK (attempt >= 0),
        allowance_from INTEGER NOT NULL,
        parked INTEGER NOT NULL CHECK (parked IN (0, 1)),
        task_id TEXT,
        resolved_model TEXT,
        url TEXT,
        url_expires_at REAL,
        fingerprint TEXT,
        price_micros INTEGER,
        reason TEXT,
        submitted_at REAL,
        finished_at REAL,
        path TEXT,
        size_bytes INTEGER,
        sha256 TEXT
    ) STRICT, WITHOUT ROWID
    """,
    # A journal of 100,000 finished clips is asked every night what is left.
    "CREATE INDEX jobs_unfinished ON jobs (job_id) WHERE state NOT IN ('done', 'failed')",
    """
    CREATE TABLE attempts (
        job_id TEXT NOT NULL REFERENCES jobs (job_id),
        attempt INTEGER NOT NULL CHECK (attempt > 0),
        price_micros INTEGER,
        fingerprint TEXT NOT NULL,
        started_at REAL NOT NULL,
        accepted_at REAL,
        task_id TEXT,
        resolved_model TEXT,
        outcome TEXT NOT NULL CHECK (outcome IN ('open', 'in_doubt', 'succeeded', 'failed', 'abandoned')),
        finished_at REAL,
        reason TEXT,
        raw BLOB,
        PRIMARY KEY (job_id, attempt)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX attempts_held ON attempts (job_id) WHERE outcome IN ('open', 'in_doubt')",
    "CREATE UNIQUE INDEX attempts_by_task ON attempts (task_id) WHERE task_id IS NOT NULL",
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        job_id TEXT NOT NULL REFERENCES jobs (job_id),
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        data TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX events_by_job ON events (job_id)",
    """
    CREATE TABLE timings (
        seq INTEGER PRIMARY KEY,
        timing_class TEXT NOT NULL,
        took_s REAL NOT NULL,
        at REAL NOT NULL
    ) STRICT
    """,
    "CREATE INDEX timings_by_class ON timings (timing_class, seq)",
)

VERSION_2 = (
    # What refused requests would have cost of which nothing proves that they were not billed: the budget counts it.
    "ALTER TABLE jobs ADD COLUMN unproven_micros INTEGER NOT NULL DEFAULT 0 CHECK (unproven_micros >= 0)",
)

MIGRATIONS: tuple[tuple[int, tuple[str, ...]], ...] = ((1, VERSION_1), (2, VERSION_2))
"""For each version of the schema, the statements that make it out of the one before; the newest is last."""


def newest_version() -> int:
    """Give the version of the schema that this batchvid reads and writes."""
    return MIGRATIONS[-1][0]


def version_of(db: sqlite3.Connection) -> int:
    """Give the version of the schema that *db* has; 0 when it has none."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def application_of(db: sqlite3.Connection) -> int:
    """Give the mark of the program that *db* belongs to; 0 when it bears none."""
    mark: int = db.execute("PRAGMA application_id").fetchone()[0]
    return mark


def migrate(db: sqlite3.Connection) -> None:
    """Bring *db* to the newest version, in one transaction: it has the new schema, or still the old one."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(db)
        for number, statements in MIGRATIONS:
            if number > version:
                for statement in statements:
                    db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {newest_version()}")
        db.execute("COMMIT")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
