"""Projects for the tests of the command line, and one sandbox for all of them."""

from __future__ import annotations

from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING

import pytest

from batchvid.journal.postgres_db import Database
from batchvid.sandbox.process import Options, running
from tests import postgres
from tests.cli.project import KEY, RULES, Project, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBERS = count()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a sandbox in a process of its own, with tiny clips and a key that is looked for afterwards."""
    faults = tmp_path_factory.mktemp("sandbox") / "faults.yaml"
    faults.write_text(RULES, encoding="utf-8")
    with running(Options(key=KEY, speed=400.0, clip="tiny", faults_path=faults)) as (api, _):
        yield Service(api)


@pytest.fixture
def project(tmp_path: Path, service: Service) -> Project:
    """Return an empty folder to work in."""
    return Project(tmp_path, service)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Project:
    """Return a project that was run: two clips, a failed job and one in doubt. Only to be looked at."""
    found = Project(tmp_path_factory.mktemp("finished"), service)
    found.manifest("=kite", "gull", "doomed", "unsure", attempts="1", budget="9.00")
    ran = found.batchvid("run", "m.yaml")
    assert ran.code == 4, ran
    return found


@pytest.fixture
def url() -> str:
    """Return the address of an empty database."""
    server, name = postgres.server(), f"cli_{next(NUMBERS)}"
    with closing(Database(server.url()).connect()) as db:
        db.execute(f"CREATE DATABASE {name}")
    return server.url(name)
