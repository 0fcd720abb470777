"""The engine's tables, Procrastinate's, in a schema of their own: how they are made, and what is put into them.

A user's own Procrastinate in the same database is not touched. Its functions find their tables by the search path, so
whatever calls one sets that first (`SEARCH_PATH`). Two things both share: a notification wakes the workers of either,
which does no harm, and a request to abort a job reaches them by its number alone. So batchvid aborts no engine job.

The files of its package say how its schema is made and changed; the package itself is not loaded for that.
"""

from __future__ import annotations

from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError
from batchvid.journal.postgres_db import (
    check_server,
    check_timeline,
    check_version,
    lock_key,
    migrate,
    newest_version,
    scalar,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchvid.journal.postgres_db import Connection, Database

ENGINE_SCHEMA = "batchvid_engine"
SEARCH_PATH = f"SET LOCAL search_path = {ENGINE_SCHEMA}, pg_catalog"
QUEUE, BEGUN_QUEUE, CLOSE_QUEUE = "batchvid", "batchvid-begun", "batchvid-close"
"""Slices, those of them whose worker is gone, and what comes after the last one of a revision."""
SLICE_TASK, CLOSE_TASK = "batchvid.slice", "batchvid.close"
FIRST_OF_ALL = 10
"""The priority of a slice that the others wait for: the one with the canary."""


def make_ready(database: Database) -> None:
    """Make all tables of a database, or bring them to the newest version, for a worker that comes before any run."""
    with closing(database.connect()) as db, database.translated():
        check_server(db, database)
        if check_version(db, database) < newest_version():
            migrate(db)
        check_timeline(db, database)
        migrate_engine(db, database)


def migrate_engine(db: Connection, database: Database) -> None:
    """Bring the engine's tables to what the installed Procrastinate wants, in one transaction.

    batchvid's own tables are there already. Raises `ConfigError` where a newer Procrastinate has changed them, and
    where none is installed.
    """
    schema, migrations = _files()
    newest = max(migrations)
    if _applied(db) == newest:
        return
    key = lock_key("engine")
    db.execute("SELECT pg_advisory_lock(%s)", [key])  # before the transaction, which would not see all that was made
    try:
        with db.transaction():
            applied = _applied(db)
            if applied == "":
                db.execute(f"CREATE SCHEMA {ENGINE_SCHEMA}")
                statements = [schema]
                db.execute("INSERT INTO batchvid.engine VALUES ('')")
            elif applied > newest:
                raise ConfigError(_too_old(database, applied, newest))
            else:
                statements = [path for name, path in sorted(migrations.items()) if name > applied]
            db.execute(SEARCH_PATH)
            for path in statements:
                db.execute(path.read_bytes())
            db.execute("UPDATE batchvid.engine SET migration = %s", [newest])
    finally:
        db.execute("SELECT pg_advisory_unlock(%s)", [key])


def engine_versions(db: Connection, database: Database) -> tuple[str, Callable[[], None]]:
    """Return what there is of the engine, in words, and what raises `ConfigError` where it is too old."""
    applied = _applied(db)

    def check() -> None:
        _, migrations = _files()
        if applied > max(migrations):
            raise ConfigError(_too_old(database, applied, max(migrations)))

    try:
        text = f"Procrastinate {version('procrastinate')}"
    except PackageNotFoundError:
        text = "Procrastinate"
    return f"{text}, {f'its tables are those of {applied}' if applied else 'the next run makes its tables'}", check


def _too_old(database: Database, applied: str, newest: str) -> str:
    return (
        f"the database {database} was changed by a newer Procrastinate (up to {applied}, the one installed here knows "
        f"{newest}): pip install --upgrade procrastinate"
    )


def _applied(db: Connection) -> str:
    """Return the newest migration that the engine's tables have; empty where there are none."""
    found: str | None = scalar(db, "SELECT migration FROM batchvid.engine")
    return found or ""


def _files() -> tuple[Path, dict[str, Path]]:
    """Return where the installed Procrastinate has its schema, and its migrations by name, which order them."""
    found = find_spec("procrastinate")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("many machines need Procrastinate: pip install 'batchvid[cluster]'")
    sql = Path(next(iter(found.submodule_search_locations))) / "sql"
    return sql / "schema.sql", {path.stem: path for path in (sql / "migrations").glob("*.sql")}


LATER = "9000-01-01 00:00:00+00"
"""When a slice is handed out that waits for `release_slices`."""


def defer_slices(db: Connection, slices: Sequence[tuple[int, int]], *, later: Sequence[int] = ()) -> None:
    """Have the engine hand out these slices, each with its priority, once this transaction is over.

    Those that are to come *later* wait until they are released.
    A slice that waits to be handed out is not put there twice: that would raise `psycopg.errors.UniqueViolation`.
    """
    db.execute(
        "SELECT procrastinate_defer_jobs_v1((SELECT array_agg(ROW(%(queue)s, %(task)s, rank, NULL,"
        " 'batchvid slice ' || slice, jsonb_build_object('slice', slice),"
        " CASE WHEN slice = ANY(%(held)s::bigint[]) THEN %(later)s::timestamptz END)"
        "::procrastinate_job_to_defer_v1 ORDER BY place)"
        " FROM unnest(%(slices)s::bigint[], %(ranks)s::int[]) WITH ORDINALITY AS wanted (slice, rank, place)))",
        {
            "queue": QUEUE,
            "task": SLICE_TASK,
            "slices": [number for number, _ in slices],
            "ranks": [rank for _, rank in slices],
            "held": list(later),
            "later": LATER,
        },
    )


def release_slices(db: Connection, revision: int) -> None:
    """Have the slices of a revision handed out that were to come later."""
    db.execute(
        "UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo' AND task_name = %s"
        " AND scheduled_at = %s::timestamptz"
        " AND queueing_lock IN (SELECT 'batchvid slice ' || slice FROM batchvid.slices WHERE revision = %s)",
        (SLICE_TASK, LATER, revision),
    )


def defer_closing(db: Connection, revision: int) -> None:
    """Have somebody close a revision; told twice, it is done once."""
    db.execute(
        "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(%(queue)s, %(task)s, 0, NULL, %(lock)s::text,"
        " jsonb_build_object('revision', %(revision)s::bigint), NULL::timestamptz)::procrastinate_job_to_defer_v1])"
        " WHERE NOT EXISTS (SELECT FROM procrastinate_jobs WHERE queueing_lock = %(lock)s AND status = 'todo')",
        {"queue": CLOSE_QUEUE, "task": CLOSE_TASK, "lock": f"batchvid revision {revision}", "revision": revision},
    )


def forget_slices(db: Connection, slices: Sequence[int]) -> None:
    """Have the engine no longer hand out those of these slices that wait for it.

    One that is being handed out is left to whoever takes it, and who would wait for this transaction, not this for him.
    """
    db.execute(
        "DELETE FROM procrastinate_jobs WHERE id IN (SELECT id FROM procrastinate_jobs WHERE queue_name"
        " = ANY(%s) AND status = 'todo' AND queueing_lock = ANY(%s) FOR UPDATE SKIP LOCKED)",
        [[QUEUE, BEGUN_QUEUE], [f"batchvid slice {number}" for number in slices]],
    )
