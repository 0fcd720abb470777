"""``costs``: what was paid in groups, and a total that is what ``status`` says."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.costs import By
from batchvid.domain.records import rfc3339

if TYPE_CHECKING:
    from tests.cli.project import Project


@pytest.fixture
def paid(project: Project) -> Project:
    """Return a project with two manifests: clips, a failure, a doubt and a refusal that may be billed."""
    project.manifest("kite", "doomed", "unsure", "wordy", "gull", attempts="1", breaker="9")
    project.manifest("wave", "kite", name="n.yaml")
    assert project.batchvid("run", "m.yaml").code == 4
    assert project.batchvid("run", "n.yaml").code == 0
    return project


def told(project: Project, *arguments: str) -> list[dict[str, Any]]:
    """Return what ``costs --json`` says."""
    ran = project.batchvid("costs", *arguments, "--json")
    assert ran.code == 0, ran
    return ran.told


def money(project: Project, name: str, *more: str) -> dict[str, float]:
    """Return the money of ``status --json``."""
    found: dict[str, float] = json.loads(project.batchvid("status", name, "--json", *more).out)["money"]
    return found


@pytest.mark.parametrize("by", By)
def test_the_total_is_what_status_says(paid: Project, by: str) -> None:
    """Of one manifest exactly, and of two their sum."""
    one, other = money(paid, "m.yaml"), money(paid, "n.yaml")
    assert one["unproven"] > 0
    total = told(paid, "m.yaml", "--by", by)[-1]
    assert {name: total[name] for name in ("spent", "reserved", "unproven")} == {
        name: one[name] for name in ("spent", "reserved", "unproven")
    }
    assert total["in_doubt"] == 0.4
    rows = told(paid, "m.yaml", "n.yaml", "--by", by)
    assert rows[-1]["type"] == "total"
    assert rows[-1]["spent"] == pytest.approx(one["spent"] + other["spent"])
    assert sum(row["spent"] for row in rows[:-1]) == pytest.approx(rows[-1]["spent"])
    assert {row["type"] for row in rows[:-1]} == {"cost"}
    assert {row["by"] for row in rows[:-1]} == {by}


def test_people_read_a_table(paid: Project) -> None:
    """With the columns that are not empty, and a total at its end."""
    ran = paid.batchvid("costs", "m.yaml", "n.yaml", "--by", "manifest")
    assert ran.code == 0, ran
    head, one, other, total = (line.split() for line in ran.out.splitlines())
    assert head == ["manifest", "clips", "attempts", "spent", "reserved", "in", "doubt", "unproven"]
    assert one[:4] == ["m.yaml", "2", "4", "$1.20"]
    assert other == ["n.yaml", "2", "2", "$0.80"]
    assert total[:4] == ["total", "4", "6", "$2.00"]
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert paid.batchvid("costs", "m.yaml", TZ="UTC").out.splitlines()[1].startswith(f"{today}  ")
    assert " UTC " in paid.batchvid("costs", "m.yaml", "--by", "run", TZ="UTC").out


def test_one_journal_is_told_once_and_none_is_nothing(paid: Project) -> None:
    """Two manifests may share an output, and of one nothing may have been run."""
    paid.manifest("kite", name="o.yaml", text="output: out/m")
    ran = paid.batchvid("costs", "m.yaml", "o.yaml", "--json")
    assert "warning: o.yaml has the output of m.yaml" in ran.err
    assert ran.told[-1] == told(paid, "m.yaml")[-1]
    paid.manifest("kite", name="new.yaml")
    (total,) = told(paid, "new.yaml")
    assert (total["spent"], total["from"]) == (0.0, None)
    assert told(paid, "new.yaml", "--by", "manifest")[0]["manifest"] == "new.yaml"


def test_a_journal_in_a_database_is_told_as_well(project: Project, url: str) -> None:
    """As status tells it."""
    project.manifest("kite", "unsure", "wordy", attempts="1")
    began = rfc3339(time.time())
    assert project.batchvid("run", "m.yaml", "--database", url).code == 4
    kept = money(project, "m.yaml", "--database", url)
    for by in By:
        total = told(project, "m.yaml", "--database", url, "--by", by)[-1]
        assert (total["spent"], total["reserved"], total["unproven"]) == (
            kept["spent"], kept["reserved"], kept["unproven"],
        )  # fmt: skip
    assert began is not None
    assert told(project, "m.yaml", "--database", url)[-1]["from"] >= began
