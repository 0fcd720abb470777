"""``doctor --database``: what it tells of real servers, in text and as JSON."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.journal.postgres_db import Database, newest_version
from tests.cli.project import read_until
from tests.postgres import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.project import Project


def told(project: Project, url: str, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code, and the first finding of each kind; those of the database come first."""
    ran = project.batchvid("doctor", *arguments, "--database", url, "--json")
    found: dict[str, dict[str, Any]] = {}
    for one in ran.told:
        found.setdefault(one["what"], one)
    return ran.code, found


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a server of this test alone."""
    made = Server.made(address="127.0.0.1", port=free_port())
    yield made
    made.remove()


def test_what_is_there_is_told_before_and_after_the_first_run(project: Project, url: str) -> None:
    """Versions, tables, clock, commits, standbys, workers and accounts; nothing is made by looking."""
    code, found = told(project, url)
    assert code == 0, found
    assert found["database"]["text"].startswith("PostgreSQL 1")
    assert found["tables"]["text"] == "there are no tables yet; the first run makes them"
    assert "engine" not in found
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml", "--database", url).code == 0
    code, found = told(project, url, "m.yaml")
    assert code == 0, found
    assert all(one["ok"] for one in found.values()), found
    assert found["tables"]["text"] == f"version {newest_version()}, with 1 journal"
    assert found["engine"]["text"].startswith("Procrastinate 3")
    assert "its tables are those of " in found["engine"]["text"]
    assert " the database's (give or take 0.0" in found["clock"]["text"]
    assert found["commits"]["text"] == "every commit is on the disk before anything is sent"
    assert found["standby"]["text"] == "there is none: what is paid is on this server alone, so back it up"
    assert found["workers"]["text"] == "0 live"
    assert found["account"]["text"] == (f"{project.service.api}: 0 published and not over, 100% of its pace")


def test_who_is_at_work_is_told(project: Project, url: str) -> None:
    """With its version; one that differs from the others is a finding."""
    project.manifest("kite", *["endless"] * 20, in_flight="2", typical_time="20s")
    process = project.start("run", "m.yaml", "--database", url, "--json")
    read_until(process, '"id": "job-1", "event": "clip_saved"')
    _, found = told(project, url)
    assert found["workers"]["text"].startswith("1 live: ")
    assert "1 published and not over" in found["account"]["text"]
    with closing(Database(url).connect()) as db:
        db.execute("INSERT INTO batchvid.workers (worker, name, version) VALUES (99, 'other:1', '0.0.9')")
        db.execute("INSERT INTO batchvid.halts (account, exit_code, reason, polls_too) VALUES (1, 6, 'no key', true)")
    _, found = told(project, url)
    assert found["workers"]["text"].startswith("2 live: other:1 (0.0.9), ")
    assert found["workers"]["text"].endswith("; they are of several versions of batchvid")
    assert (found["workers"]["ok"], found["account"]["ok"]) == (False, False)
    assert "stopped: no key" in found["account"]["text"]
    process.kill()
    process.communicate()


def test_tables_of_a_newer_batchvid_and_of_a_newer_engine_are_told(project: Project, url: str) -> None:
    """As a run would end because of them."""
    assert project.batchvid("work", "--once", "--database", url).code == 0
    with closing(Database(url).connect()) as db:
        db.execute("UPDATE batchvid.engine SET migration = '99.00.00_01_pre_new'")
        code, found = told(project, url)
        assert (code, found["engine"]["ok"]) == (78, False)
        assert "pip install --upgrade procrastinate" in found["engine"]["text"]
        db.execute("UPDATE batchvid.schema_version SET version = 99")
        code, found = told(project, url)
        assert (code, "was written by a newer batchvid" in found["tables"]["text"]) == (78, True)


def test_a_database_that_is_away_is_told(project: Project, url: str) -> None:
    """And the rest is looked at all the same."""
    code, found = told(project, url.replace("batchvid-pg-", "batchvid-gone-"))
    assert (code, found["database"]["ok"], found["service"]["ok"]) == (8, False, True)
    ran = project.batchvid("doctor", "--database", "postgresql://me:hush@[h/x")
    assert (ran.code, "hush" in ran.out + ran.err) == (78, False)


def test_standbys_are_told_by_what_a_failover_to_them_would_lose(project: Project, server: Server) -> None:
    """One that lags is a risk; one that is waited for is none; one that is gone keeps all commits waiting."""
    url = server.url_from_afar()
    assert project.batchvid("work", "--once", "--database", url).code == 0
    standby = server.standby(server.port + 1)
    try:
        _, found = told(project, url)
        assert not found["standby"]["ok"]
        assert "after a failover to it, the newest payments may be unknown there" in found["standby"]["text"]
        code, found = told(project, standby.url_from_afar())
        assert (code, "it is a standby: name the server that does" in found["database"]["text"]) == (78, True)
        project.manifest("kite")
        for command in (["work", "--once"], ["run", "m.yaml"]):
            ran = project.batchvid(*command, "--database", standby.url_from_afar())
            assert (ran.code, "takes no changes, as it is a standby" in ran.err) == (78, True), ran
        assert project.creates() == {}
        with closing(Database(server.url()).connect()) as db:
            db.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            db.execute("SELECT pg_reload_conf()")
        _, found = told(project, url)
        assert found["standby"]["text"].startswith("every commit waits for ")
        assert found["standby"]["ok"]
    finally:
        standby.remove()
    _, found = told(project, url)
    assert found["standby"]["text"] == "every commit waits for one of *, and none of them is there"


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_may_lose_what_is_paid_is_told(project: Project, server: Server, setting: str) -> None:
    """When its power fails."""
    server.stop("fast")
    server.start(f"-c {setting}=off")
    code, found = told(project, server.url_from_afar())
    wrong = found["database" if setting == "fsync" else "commits"]
    assert (code, wrong["ok"]) == (78 if setting == "fsync" else 0, False)
    assert "power" in wrong["text"]
