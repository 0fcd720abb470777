"""The engine's tables: in a schema of their own, brought up to date once, and those that Procrastinate itself uses."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import procrastinate
import pytest
from procrastinate.schema import SchemaManager

from batchvid.domain.errors import ConfigError
from batchvid.journal import engine_db
from batchvid.journal.engine_db import ENGINE_SCHEMA, SEARCH_PATH, defer_closing, defer_slices, migrate_engine
from batchvid.journal.postgres_db import Database, PostgresError, migrate, scalar
from tests.journal.published import connected, new_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.journal.postgres_db import Connection

NEWEST = max(path.stem for path in Path(SchemaManager.get_migrations_path()).glob("*.sql"))
THINGS = (
    "SELECT 'function', proname, pg_get_functiondef(p.oid) FROM pg_proc AS p JOIN pg_namespace AS n"
    " ON n.oid = pronamespace WHERE nspname = %(schema)s"
    " UNION ALL SELECT 'column', table_name || '.' || column_name, data_type || is_nullable FROM"
    " information_schema.columns WHERE table_schema = %(schema)s"
    " UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = %(schema)s"
    " UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(t.oid) FROM pg_trigger AS t JOIN pg_class AS c"
    " ON c.oid = tgrelid JOIN pg_namespace AS n ON n.oid = relnamespace WHERE nspname = %(schema)s AND NOT tgisinternal"
    " UNION ALL SELECT 'word', typname, enumlabel FROM pg_enum JOIN pg_type AS t ON t.oid = enumtypid"
    " JOIN pg_namespace AS n ON n.oid = typnamespace WHERE nspname = %(schema)s"
)


@pytest.fixture
def database() -> Database:
    """Return an empty database."""
    return new_database()


@pytest.fixture
def db(database: Database) -> Iterator[Connection]:
    """Return a connection to a database with batchvid's own tables."""
    with closing(database.connect()) as opened:
        migrate(opened)
        yield opened


def things(db: Connection, schema: str = ENGINE_SCHEMA) -> set[tuple[str, str, str]]:
    """Return all that is in a schema, with how it is made."""
    return set(db.execute(THINGS, {"schema": schema}).fetchall())


def applied(db: Connection) -> str | None:
    """Return the newest migration that is noted."""
    found: str | None = scalar(db, "SELECT migration FROM batchvid.engine")
    return found


def as_of(db: Connection, last: str) -> None:
    """Make the engine's tables as an older Procrastinate did, with all migrations up to *last*."""
    db.execute(f"CREATE SCHEMA {ENGINE_SCHEMA}")
    for path in sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql")):
        if path.stem <= last:
            with db.transaction():
                db.execute(SEARCH_PATH)
                db.execute(path.read_bytes())
    db.execute("INSERT INTO batchvid.engine VALUES (%s)", [last])


def test_the_tables_are_made_once(db: Connection, database: Database) -> None:
    """With the newest migration noted; a second time changes nothing."""
    assert applied(db) is None
    migrate_engine(db, database)
    made = things(db)
    assert ("column", "procrastinate_jobs.args", "jsonbNO") in made
    assert applied(db) == NEWEST
    migrate_engine(db, database)
    assert things(db) == made
    assert scalar(db, "SELECT count(*) FROM batchvid.engine") == 1


def test_a_users_own_procrastinate_is_left_alone(db: Connection, database: Database) -> None:
    """Its tables in the same database stay as they are, and get no job of ours."""
    db.execute("SET search_path = public")  # else a user named batchvid would make them among ours
    db.execute(SchemaManager.get_schema())
    theirs = things(db, "public")
    migrate_engine(db, database)
    with db.transaction():
        db.execute(SEARCH_PATH)
        defer_slices(db, [(1, 0)])
    assert things(db, "public") == theirs
    assert scalar(db, "SELECT count(*) FROM procrastinate_jobs") == 0
    assert scalar(db, "SELECT count(*) FROM batchvid_engine.procrastinate_jobs") == 1


@pytest.mark.parametrize("last", ["02.14.01_01_add_indexes_for_fetch_job", "03.03.00_01_pre_priority_lock_fetch_job"])
def test_tables_of_an_older_procrastinate_become_the_newest(db: Connection, database: Database, last: str) -> None:
    """All of its migrations that are missing, in their order, with what waits there kept."""
    as_of(db, last)
    with db.transaction():
        db.execute(SEARCH_PATH)
        db.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')")
    migrate_engine(db, database)
    assert applied(db) == NEWEST
    assert scalar(db, "SELECT task_name FROM batchvid_engine.procrastinate_jobs") == "t"
    with connected(new_database()) as fresh:
        migrated, made = things(db), things(fresh)
    assert {one[:2] for one in made if one[0] in {"function", "trigger", "word"}} == {
        one[:2] for one in migrated if one[0] in {"function", "trigger", "word"}
    }


def test_tables_of_a_newer_procrastinate_are_refused(db: Connection, database: Database) -> None:
    """An older program would call what may be gone; nothing is changed."""
    migrate_engine(db, database)
    db.execute("UPDATE batchvid.engine SET migration = '98.00.00_01_other'")
    before = things(db)
    with pytest.raises(ConfigError, match=r"newer Procrastinate.*pip install --upgrade procrastinate"):
        migrate_engine(db, database)
    assert things(db) == before


def test_without_procrastinate_a_person_is_told_what_to_install(
    db: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra."""
    monkeypatch.setattr(engine_db, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install 'batchvid\[cluster\]'"):
        migrate_engine(db, database)


def test_a_migration_that_fails_leaves_nothing(
    db: Connection, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the schema; the next try begins again."""
    broken = tmp_path / "schema.sql"
    broken.write_text("CREATE TABLE half (); SELECT no_such_function();")
    monkeypatch.setattr(engine_db, "_files", lambda: (broken, {"01": broken}))
    with pytest.raises(PostgresError):
        migrate_engine(db, database)
    monkeypatch.undo()
    assert scalar(db, "SELECT to_regnamespace(%s)", ENGINE_SCHEMA) is None
    migrate_engine(db, database)
    assert applied(db) == NEWEST


def test_many_that_begin_at_once_make_the_tables_once(db: Connection, database: Database) -> None:
    """One makes them, and the others wait for it."""
    trouble: list[Exception] = []
    at_once = threading.Barrier(4)

    def one_of_them() -> None:
        with closing(database.connect()) as own:
            at_once.wait()
            try:
                migrate_engine(own, database)
            except (ConfigError, PostgresError) as error:
                trouble.append(error)

    threads = [threading.Thread(target=one_of_them) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    assert scalar(db, "SELECT count(*) FROM batchvid.engine") == 1


def test_procrastinate_itself_hands_out_what_was_put_there(db: Connection, database: Database) -> None:
    """Its own worker, over its own connector, with the search path as an option; each slice once, by priority."""
    migrate_engine(db, database)
    with db.transaction():
        db.execute(SEARCH_PATH)
        defer_slices(db, [(7, 0), (8, 0), (9, 10)])
    done: list[int] = []

    async def works() -> None:
        connector = procrastinate.PsycopgConnector(
            conninfo=database.url, kwargs={"options": f"-c search_path={ENGINE_SCHEMA}"}
        )
        app = procrastinate.App(connector=connector)

        @app.task(name="batchvid.slice")
        async def work(slice: int) -> None:  # noqa: A002 the name in the engine's job
            done.append(slice)

        async with app.open_async():
            await app.run_worker_async(queues=["batchvid"], wait=False, install_signal_handlers=False)

    asyncio.run(works())
    assert done == [9, 7, 8]


def test_a_slice_that_waits_is_not_put_there_twice(db: Connection, database: Database) -> None:
    """Nor is a closing; a slice that somebody has may be put there for who comes next."""
    migrate_engine(db, database)

    def transact(then: Any, *arguments: Any) -> None:
        with db.transaction():
            db.execute(SEARCH_PATH)
            then(db, *arguments)

    transact(defer_slices, [(7, 0)])
    with pytest.raises(PostgresError):
        transact(defer_slices, [(7, 0)])
    transact(defer_closing, 3)
    transact(defer_closing, 3)
    assert scalar(db, "SELECT count(*) FROM batchvid_engine.procrastinate_jobs") == 2
