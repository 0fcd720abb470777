"""The tables in PostgreSQL as this batchvid makes them: other programs read them, and older ones meet them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from batchvid.journal.engine_db import make_ready
from batchvid.journal.postgres_db import MIGRATIONS, Database
from tests import postgres
from tests.golden.compare import same_as_golden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.journal.postgres_db import Connection

COLUMNS = """
    SELECT relname, format('%s %s%s%s%s%s', attname, format_type(atttypid, atttypmod),
        CASE WHEN collname <> 'default' THEN ' COLLATE ' || collname ELSE '' END,
        CASE WHEN attidentity <> '' THEN ' IDENTITY' ELSE '' END,
        CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END,
        ' DEFAULT ' || pg_get_expr(adbin, adrelid))
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    LEFT JOIN pg_collation ON pg_collation.oid = attcollation
    WHERE relnamespace = 'batchvid'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    ORDER BY relname, attnum
"""
CONSTRAINTS = """
    SELECT relname, format('%s %s', conname, pg_get_constraintdef(pg_constraint.oid))
    FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
    WHERE connamespace = 'batchvid'::regnamespace AND contype <> 'n' ORDER BY relname, conname
"""
INDEXES = "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'batchvid' ORDER BY tablename, indexname"
TRIGGERS = """
    SELECT relname, pg_get_triggerdef(pg_trigger.oid) FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE relnamespace = 'batchvid'::regnamespace AND NOT tgisinternal ORDER BY relname, tgname
"""
FUNCTIONS = """
    SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'batchvid'::regnamespace ORDER BY proname
"""


def test_the_tables_in_a_database_are_what_they_were() -> None:
    """Column by column, with what refuses a row, what finds it and what follows it."""
    with closing(Database(postgres.server().url()).connect()) as db:
        db.execute("CREATE DATABASE golden")
    made = Database(postgres.server().url("golden"))
    make_ready(made)
    with closing(made.connect()) as db:
        db.execute("SET timezone = 'UTC'")
        same_as_golden("database-schema.sql", "\n".join(_lines(db)) + "\n")


def _lines(db: Connection) -> Iterator[str]:
    yield f"-- version {MIGRATIONS[-1][0]}"
    tables: dict[str, list[str]] = {}
    for query in (COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS):
        for table, line in db.execute(query):
            tables.setdefault(table, []).append(line)
    for table, lines in tables.items():
        yield f"\n-- {table}"
        yield from lines
    for (text,) in db.execute(FUNCTIONS):
        yield f"\n{text.strip()}"
