"""``submits: auto`` from the command line: checked, planned, run, remembered, shown; and refused with a database."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.learned import Found, Learned
from batchvid.engine.limits_file import LimitsFile, limits_file
from tests.cli.project import KEY

if TYPE_CHECKING:
    from tests.cli.project import Project

AUTO = {"submits": "auto", "in_flight": "auto"}


def file_of(project: Project) -> LimitsFile:
    """Return the file of the account, as the program names it."""
    file = limits_file(project.service.api, KEY)
    assert file is not None
    return LimitsFile(project.folder / ".local" / "state" / "batchvid" / "limits", file.name)


def test_what_was_learned_is_used_and_shown(project: Project) -> None:
    """By plan, run, doctor, report and the summaries for people and programs; the key is in none of it."""
    service = f"service: {{base_url: {project.service.api}}}"
    project.manifest("kite", "wave", text=service, **AUTO)
    before = project.batchvid("plan", "m.yaml")
    assert "limits: auto, and nothing is learned yet; reckoned with the defaults" in before.out, before
    told = project.batchvid("doctor", "m.yaml")
    assert "submits: auto and in_flight: auto; nothing is learned yet" in told.out
    learned = Learned(Found(600.0, is_met=True), Found(11.0, is_met=True), at=time.time() - 86_400, nights=3)
    words = str(learned)
    file = file_of(project)
    file.save(learned)
    assert f"limits: auto; learned: {words}" in project.batchvid("plan", "m.yaml").out
    assert f"ok   limits    learned: {words}" in project.batchvid("doctor", "m.yaml").out
    ran = project.batchvid("run", "m.yaml", "--json")
    assert ran.code == 0, ran
    rows = [json.loads(line) for line in ran.out.splitlines()]
    summary = next(row for row in rows if row["type"] == "summary")
    assert summary["limits_learned"]["in_flight"] == 11.0
    assert any(row.get("auto") == ["submits", "in_flight"] for row in rows if row["type"] == "stats")
    assert "Limits learned" in (project.out / "report.html").read_text(encoding="utf-8")
    for path in file.folder.iterdir():
        assert KEY not in path.name + path.read_text(encoding="utf-8")


def test_without_a_number_a_run_starts_low_and_remembers(project: Project) -> None:
    """The last lines tell what was learned, and a file in the user's folder keeps it."""
    project.manifest("kite", "wave", "gull", **AUTO, requests="100/s")
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 0, ran
    assert "Limits learned: " in ran.out
    found = file_of(project).load()
    assert found is not None
    assert found.in_flight == Found(3.0, is_met=False) or found.per_minute is not None


@pytest.mark.parametrize("command", ["check", "run", "status"])
def test_with_a_database_numbers_are_asked_for(project: Project, command: str) -> None:
    """Machines that share a database share a limit; nothing is sent, and the database is not even asked."""
    project.manifest("kite", **AUTO)
    ran = project.batchvid(command, "m.yaml", "--database", "postgresql://nobody@127.0.0.1:9/none")
    assert ran.code == 78, ran
    assert "limits.submits: auto finds out what one machine may send" in ran.err
    assert "give numbers, such as submits: 10/min and in_flight: 20" in ran.err


def test_a_word_that_is_no_limit_is_answered_with_what_may_be_written(project: Project) -> None:
    """Auto is named with the others."""
    project.manifest("kite", submits="quick", in_flight="many")
    ran = project.batchvid("check", "m.yaml")
    assert ran.code == 65, ran
    assert 'limits.submits: "quick" is not a rate: write such as 10/min, 5/s, 100/h, auto or unlimited' in ran.err
    assert 'limits.in_flight: "many" is no number: write one from 1 to 10000, or auto' in ran.err
