"""Journals in a database, and clips in an object store: the page is the same, and one for all machines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.decision import Decision, Verdict
from batchvid.engine.api import load_to_look
from batchvid.engine.target import journal_of
from batchvid.journal.postgres_db import Database
from tests import postgres
from tests.report.browser import REPOSITORY
from tests.review.server import reviewing
from tests.storage import buckets

if TYPE_CHECKING:
    from pathlib import Path

    from tests.review.server import Served


def call(*arguments: str, cwd: Path, environment: dict[str, str]) -> None:
    """Call a command that does its work."""
    subprocess.run(
        [sys.executable, "-m", "batchvid", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        check=True,
        capture_output=True,
        timeout=120,
    )


@pytest.fixture
def url() -> str:
    """Return the address of an empty database."""
    server = postgres.server()
    with closing(Database(server.url()).connect()) as db:
        db.execute("CREATE DATABASE review")
    return server.url("review")


def test_with_a_database_it_is_one_page_for_all_machines(project: Path, url: str) -> None:
    """What one machine decides, the page on another shows."""
    hidden = {"BATCHVID_DATABASE": url}
    call("move-journal", project.name, cwd=project.parent, environment=hidden)
    with (
        reviewing(project.name, "--by", "Ana", cwd=project.parent, environment=hidden) as served,
        reviewing(project.name, "--by", "Ben", cwd=project.parent, environment=hidden) as other,
    ):
        assert len(served.rows()["rows"]) == 30
        assert served.decide("kite-00000", {"verdict": "approved", "stars": 5}).status == 200
        wait_for(other, "kite-00000", [1, 5, "", "Ana"])
        assert other.decide("kite-00000", {"verdict": "rejected", "note": "no"}).status == 200
        wait_for(served, "kite-00000", [2, 5, "no", "Ben"])
        assert b"hush" not in served.get("/").body + served.get("/rows?after=0").body
    journal = journal_of(load_to_look(project, database=url)).read()
    assert journal is not None
    with journal:
        kept: Decision = journal.decisions()["kite-00000", 1]
    assert kept[3:] == ("Ben", Verdict.REJECTED, 5, "no")


def wait_for(served: Served, job: str, decision: list[object]) -> None:
    """Wait until a page shows a decision that another one has kept."""
    until = time.monotonic() + 10
    while next(row for row in served.rows()["rows"] if row[1] == job)[19][0][3:7] != decision:
        assert time.monotonic() < until


def test_clips_of_an_object_store_are_served_through(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Parts of them, too; whoever looks needs no key of the store."""
    (tmp_path / "m.yaml").write_text(
        "version: 1\noutput: s3://clips/night\ndefaults: {model: veo3-fast, size: 16x9}\n"
        "jobs:\n  - {id: kite, prompt: A kite.}\n",
        encoding="utf-8",
    )
    with buckets.moto(tmp_path_factory.mktemp("moto")) as address:
        hidden = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "XDG_STATE_HOME": str(tmp_path / "state"),
        }
        place = "s3://clips/night-sandbox"
        call("run", "m.yaml", "--sandbox", "--output", place, cwd=tmp_path, environment=hidden)
        with reviewing("m.yaml", "--output", place, cwd=tmp_path, environment=hidden) as served:
            whole = served.get("/clip/0/1/kite")
            assert whole.status == 200
            assert whole.body[4:8] == b"ftyp"
            part = served.get("/clip/0/1/kite", {"Range": "bytes=1000-1999"})
            assert (part.status, part.body) == (206, whole.body[1000:2000])
            assert served.decide("kite", {"verdict": "approved"}).status == 200
            assert served.rows()["rows"][0][19][0][3] == 1
