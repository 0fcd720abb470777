"""What a run may cost is said before it begins, with its upper bound; where there is none, a person is asked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from batchvid.storage.state import hold
from tests.cli.test_doubts import CTRL_C, on_a_terminal

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
    assert not (project.out / ".batchvid").exists()
    assert on_a_terminal(project, "run", "m.yaml", "--max-jobs", "0", "--yes", answers=[])[0] == 5
    assert on_a_terminal(project, "run", "m.yaml", answers=[(QUESTION, "y")])[0] == 0
    assert QUESTION not in on_a_terminal(project, "run", "m.yaml", answers=[])[1]  # nothing is left to buy


def test_a_terminal_shows_what_is_bought_and_asks_once(project: Project) -> None:
    """Each job with its price, the most that it can be, and one question; a no sends nothing and leaves nothing."""
    project.manifest("kite", "gull", "wave")
    most = "m.yaml: submits 3 jobs for $1.20, at most $2.40 with second attempts, at http://127.0.0.1:"
    code, shown = on_a_terminal(project, "run", "m.yaml", answers=[("Submit these 3 jobs? [y/N]", "")])
    assert code == 5, shown
    assert most in shown
    assert "  + job-2  $0.40" in shown
    assert "batchvid: not begun, and nothing was sent" in shown
    assert project.creates() == {}
    assert not project.out.exists()
    bounds = ("--max-jobs", "1", "--max-cost", "0.50")
    code, shown = on_a_terminal(project, "run", "m.yaml", *bounds, answers=[("Submit this job? [y/N]", "y")])
    assert code == 5, shown
    assert "submits 1 of 3 jobs (--max-jobs) for $0.40, at most $0.50 by what may be spent" in shown
    code, shown = on_a_terminal(project, "run", "m.yaml", answers=[("Submit these 2 jobs? [y/N]", "y")])
    assert code == 0, shown
    assert sum(project.creates().values()) == 3


@pytest.mark.parametrize("answer", [CTRL_C, "\x04"])
def test_ctrl_c_and_the_end_of_the_input_at_the_question_send_nothing_and_say_so(project: Project, answer: str) -> None:
    """On a line of its own: a shell's next prompt must not stand behind the question."""
    project.manifest("kite")
    code, shown = on_a_terminal(project, "run", "m.yaml", answers=[("Submit this job? [y/N]: ", answer)])
    assert code == 130, shown
    assert shown.endswith("\nbatchvid: not begun, and nothing was sent\r\n"), shown
    assert project.creates() == {}
    assert not project.out.exists()


def test_a_terminal_is_not_asked_without_reason(project: Project) -> None:
    """Not with --yes or its variable, for the sandbox, with --json, or where nothing would be submitted."""
    project.manifest("kite", "gull")
    run = ("run", "m.yaml", "--no-report")
    for more in (("--sandbox", "--sandbox-speed", "400"), ("--max-jobs", "0"), ("--json", "--max-jobs", "0")):
        code, shown = on_a_terminal(project, *run, *more, answers=[])
        assert code in {0, 5}, shown
        assert "[y/N]" not in shown, more
    assert project.batchvid(*run).code == 0  # no terminal
    code, shown = on_a_terminal(project, *run, answers=[])
    assert code == 0, shown
    assert "[y/N]" not in shown
    project.manifest("kite", "gull", "wave")
    code, shown = on_a_terminal(project, *run, "--yes", answers=[])
    assert code == 0, shown
    assert "[y/N]" not in shown
    assert sum(project.creates().values()) == 3


def test_several_manifests_are_one_question(project: Project) -> None:
    """With the sum of all, each bounded by its own budget."""
    project.manifest("kite", "gull", budget="0.50")
    project.manifest("wave", name="n.yaml")
    ran = on_a_terminal(
        project, "run", "m.yaml", "n.yaml", "--no-report", answers=[("Submit these 3 jobs? [y/N]", "n")]
    )
    assert ran[0] == 5, ran
    assert "m.yaml: submits 2 jobs for $0.80, at most $0.50 by what may be spent" in ran[1]
    assert "n.yaml: submits 1 job for $0.40, at most $0.80 with second attempts" in ran[1]
    assert "Together: 3 jobs for $1.20, at most $1.30 by what may be spent" in ran[1]
    assert project.creates() == {}


@pytest.mark.parametrize(("what", "flag"), [("doomed", "--retry-failed"), ("unsure", "--resubmit-in-doubt")])
def test_a_renamed_job_that_is_opened_again_is_part_of_the_question(project: Project, what: str, flag: str) -> None:
    """The run moves it to its new id first, and then opens it."""
    path = project.manifest(what, "kite", attempts="1")
    project.batchvid("run", "m.yaml", "--no-report")
    path.write_text(path.read_text().replace("job-1", "renamed"))
    most = "m.yaml: submits 1 job for $0.40 at most"
    ran = on_a_terminal(project, "run", "m.yaml", flag, "--no-report", answers=[("Submit this job? [y/N]", "n")])
    assert (ran[0], most in ran[1]) == (5, True), ran


def test_what_goes_on_from_a_clip_that_is_fetched_again_is_part_of_the_question(project: Project) -> None:
    """Where what changed is bought again: the service may send the clip with other bytes."""
    path = project.manifest("=kite", "gull", on_change="rebuy")
    path.write_text(path.read_text().replace("{id: job-2,", "{id: job-2, continues: job-1,"))
    assert project.batchvid("run", "m.yaml", "--no-report").code == 0
    (project.out / "job-1.mp4").unlink()
    ran = on_a_terminal(project, "run", "m.yaml", "--no-report", answers=[("Submit this job? [y/N]", "n")])
    assert ran[0] == 5, ran
    assert "job-1 is made again; bought again (on_change: rebuy)" in ran[1]
    assert set(project.creates().values()) == {1}


def test_a_manifest_whose_output_is_held_is_part_of_the_question(project: Project) -> None:
    """The other run may be over before the person answers; where every one is held, nobody is asked."""
    project.manifest("kite")
    project.manifest("wave", "foam", name="n.yaml")
    with hold(project.folder / "out" / "n"):
        ran = on_a_terminal(
            project, "run", "m.yaml", "n.yaml", "--no-report", answers=[("Submit these 3 jobs? [y/N]", "n")]
        )
        assert ran[0] == 5, ran
        assert "n.yaml: submits 2 jobs for $0.80, at most $1.60 with second attempts" in ran[1]
        code, shown = on_a_terminal(project, "run", "n.yaml", "--no-report", answers=[])
        assert code == 75, shown
        assert "[y/N]" not in shown
    assert project.creates() == {}


def test_what_keeps_a_run_from_beginning_is_told_before_the_question(project: Project) -> None:
    """Nobody wants to accept a price and then hear that there is no key."""
    project.manifest("kite")
    process = on_a_terminal(project, "run", "m.yaml", "--api-key-file", "nowhere", answers=[])
    assert process[0] == 78, process
    assert "[y/N]" not in process[1]


def test_a_journal_that_only_a_run_can_read_is_told_beside_the_question(project: Project) -> None:
    """One of an older batchvid is migrated by the run: until then, what is paid counts as new, and that is said."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml").code == 0
    with closing(sqlite3.connect(project.state / "journal.db")) as db, db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        db.execute(f"PRAGMA user_version = {version - 1}")
    code, shown = on_a_terminal(project, "run", "m.yaml", answers=[("Submit this job? [y/N]", "n")])
    assert code == 5, shown
    assert "what is paid already was not read, and is not bought again: " in shown
    assert sum(project.creates().values()) == 1


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
