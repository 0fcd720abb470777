"""What a run may cost is said before it begins, with its upper bound; where there is none, a person is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.test_doubts import on_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.project import Project

QUESTION = "Nothing bounds what this run may cost: 2 jobs of unknown price. Go on? [y/N]"


def without_prices(project: Project) -> Path:
    """Write a manifest of two jobs whose price nobody stated."""
    path = project.manifest("kite", "gull")
    path.write_text(path.read_text().replace("prices: {veo3-fast: 0.40}", ""))
    return path


def test_plan_and_run_announce_the_price_and_the_most_that_it_can_be(project: Project) -> None:
    """With all attempts; cut by a budget, ``--max-cost`` and ``--max-jobs``; in JSON too."""
    project.manifest("kite", "gull", "wave")
    assert "submit 3 jobs for $1.20, at most $2.40 with second attempts" in project.batchvid("plan", "m.yaml").out
    told = project.batchvid("plan", "m.yaml", "--json").told[-1]
    assert (told["price"], told["price_at_most"]) == (1.2, 2.4)
    ran = project.batchvid("run", "m.yaml", "--max-jobs", "1", "--max-cost", "0.50", "--json")
    assert (ran.told[0]["price"], ran.told[0]["price_at_most"]) == (1.2, 0.5)
    assert "submits 1 of 3 jobs (--max-jobs) for up to $0.40, at most $0.50 by what may be spent" in ran.err
    project.manifest("kite", "gull", "wave", budget="1.60", attempts="3")
    assert "submit 2 jobs for $0.80, at most $1.20 by what may be spent" in project.batchvid("plan", "m.yaml").out
    ran = project.batchvid("run", "m.yaml", "--only", "job-3")
    assert "submits 1 job for $0.40, at most $1.20 with further attempts" in ran.out


def test_retry_failed_announces_and_reopens_only_what_it_may_submit(project: Project) -> None:
    """``--max-jobs 1`` of two failed jobs: the other stays failed, and a plain run does not buy it."""
    project.manifest("doomed", "doomed", "kite", attempts="1")
    assert project.batchvid("run", "m.yaml").code == 3
    before = sum(project.creates().values())
    ran = project.batchvid("run", "m.yaml", "--retry-failed", "--max-jobs", "1")
    assert "submits 1 of 2 jobs (--max-jobs) for up to $0.40 at most" in ran.out
    assert project.batchvid("run", "m.yaml").code == 3
    assert sum(project.creates().values()) == before + 1
    assert project.states() == {"job-1": "failed", "job-2": "failed", "job-3": "done"}


def test_without_prices_and_budget_a_person_is_asked(project: Project) -> None:
    """Enter and n mean no, and nothing is sent; y and --yes go on."""
    without_prices(project)
    for answer in ("", "n"):
        code, shown = on_a_terminal(project, "run", "m.yaml", answers=[(QUESTION, answer)])
        assert code == 5, shown
        assert "nothing was sent" in shown
    assert project.creates() == {}
    assert on_a_terminal(project, "run", "m.yaml", "--max-jobs", "0", "--yes", answers=[])[0] == 5
    assert on_a_terminal(project, "run", "m.yaml", answers=[(QUESTION, "y")])[0] == 0
    assert QUESTION not in on_a_terminal(project, "run", "m.yaml", answers=[])[1]  # nothing is left to buy


def test_where_nobody_can_be_asked_it_is_a_warning_and_the_sandbox_costs_nothing(project: Project) -> None:
    """Once, on standard error; with prices, or with --max-cost, there is nothing to say."""
    without_prices(project)
    rehearsed = project.batchvid("run", "m.yaml", "--sandbox", "--sandbox-speed", "400", "--output", "rehearsal")
    assert "bounds" not in rehearsed.err
    assert "bounds" not in project.batchvid("run", "m.yaml", "--max-cost", "5").err
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 0, ran
    assert ran.err.count("warning: nothing bounds what this run may cost: 2 jobs of unknown price") == 1
    assert "submits 2 jobs for an unknown price" in ran.out
