"""Manifests of chains and single jobs as they are published, and databases to publish them in."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import fields
from itertools import count
from typing import TYPE_CHECKING, Any

from batchvid.domain.job import Continuation, Job
from batchvid.domain.limits import RunOptions
from batchvid.domain.spec import OPTIONS
from batchvid.journal.engine_db import migrate_engine
from batchvid.journal.postgres_db import Database, migrate, scalar
from batchvid.journal.publishing import Edition
from tests import postgres
from tests.engine.drive import a_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchvid.journal.postgres_db import Connection

NUMBERS = count()


def new_database() -> Database:
    """Return an empty database."""
    name = f"published_{next(NUMBERS)}"
    with closing(Database(postgres.server().url()).connect()) as db:
        db.execute(f"CREATE DATABASE {name}")
    return Database(postgres.server().url(name))


@contextmanager
def connected(database: Database) -> Iterator[Connection]:
    """Open a connection to a database with all tables."""
    with closing(database.connect()) as db:
        migrate(db)
        migrate_engine(db, database)
        yield db


def new_journal(db: Connection, name: str = "out") -> int:
    """Return the number of a journal."""
    number: int = scalar(db, "INSERT INTO batchvid.journals (name) VALUES (%s) RETURNING journal", name)
    return number


def linked(parents: Sequence[int | None]) -> list[Job]:
    """Return jobs j0, j1 …, of which each names the place of the one that it continues, or none."""
    made: list[Job] = []
    for index, parent in enumerate(parents):
        job = a_job(f"j{index}")
        if parent is not None:
            values = {field.name: getattr(job, field.name) for field in fields(Job)}
            job = Continuation(**values, continues=f"j{parent}", at_s=None)
        made.append(job)
    return made


def edition(journal: int, jobs: Sequence[Job], *, options: RunOptions | None = None, **changed: Any) -> Edition:
    """Return an edition of *jobs*, all of which are to do."""
    values: dict[str, Any] = {
        "journal": journal,
        "account": 1,
        "digest": "d" * 64,
        "head": '{"spec":1}',
        "options": OPTIONS.text(options or RunOptions()),
        "jobs": jobs,
        "to_do": range(len(jobs)),
        "by": "here:1",
    }
    return Edition(**values | changed)
