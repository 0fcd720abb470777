"""How calls end: exit codes, and messages that name the job, the cause and the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.project import Project


def test_a_run_whose_jobs_are_all_clips_ends_with_0_and_a_second_one_asks_the_service_nothing(project: Project) -> None:
    """Twice is as good as once: no request of any kind leaves for what is done."""
    project.manifest("kite", "gull")
    first = project.batchvid("run", "m.yaml")
    assert first.code == 0, first
    assert sorted(path.name for path in project.out.glob("*.mp4")) == ["job-1.mp4", "job-2.mp4"]
    assert list(project.creates().values()) == [1, 1]
    before = project.service.ledger()["requests"]
    second = project.batchvid("run", "m.yaml", COMETAPI_KEY=None)
    assert second.code == 0, second
    assert "2 done" in second.out
    assert project.service.ledger()["requests"] == before


@pytest.mark.parametrize(
    ("prompt", "limits", "options", "code", "words"),
    [
        (
            "doomed",
            {"attempts": "1"},
            (),
            3,
            ("the prompt was refused", "edit the prompt of job-1, then: batchvid retry m.yaml job-1"),
        ),
        ("unsure", {}, (), 4, ("job-1", "before an answer came", "batchvid adopt m.yaml job-1 TASK_ID")),
        ("kite", {}, ("--max-jobs", "0"), 5, ("--max-jobs", "Next: batchvid run m.yaml")),
        ("kite", {}, ("--for", "0.001s"), 5, ("the time window has closed", "Next: batchvid run m.yaml")),
        ("kite", {}, ("--until", "2020-01-01T06:00:00"), 5, ("the time window has closed", "1 pending")),
        ("endless", {"task_timeout": "1s"}, (), 5, ("job-1", "task_timeout", "free: batchvid run m.yaml")),
        ("broke", {}, (), 6, ("quota", "check the key and the quota", "batchvid run m.yaml")),
        ("kite", {"budget": "0.30"}, (), 7, ("the budget is reached: the price of 'job-1'", "raise limits.budget")),
        ("kite", {}, ("--max-cost", "0.39"), 7, ("--max-cost is reached: the price of 'job-1'", "raise")),
        ("moved", {}, (), 78, ("elsewhere.example", "check base_url", "batchvid doctor")),
    ],
)
def test_the_exit_code_says_how_a_run_ended_and_its_words_say_what_to_do(  # noqa: PLR0917 columns of the table
    project: Project, prompt: str, limits: dict[str, str], options: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    """Every promised code has its cause and its next step beside it, and the last line tells its meaning."""
    project.manifest(prompt, **limits)
    ran = project.batchvid("run", "m.yaml", *options)
    assert ran.code == code, ran
    for word in words:
        assert word in ran.out, ran.out
    assert ran.out.splitlines()[-1].startswith(f"Exit {code}: ")
    assert not ran.err


def test_an_advised_command_works_in_the_output_of_the_call_that_advises_it(project: Project) -> None:
    """A pasted command that fell back to the manifest's own output would buy there what is paid already."""
    project.manifest("kite", "gull", "unsure", "doomed", attempts="1")
    ran = project.batchvid("run", "m.yaml", "--output", "else where")
    assert ran.code == 4, ran
    paid = project.creates()
    assert "batchvid adopt m.yaml job-3 TASK_ID --output 'else where'" in ran.out
    assert "batchvid retry m.yaml job-4 --output 'else where'" in ran.out
    page = (project.folder / "else where" / "report.html").read_text(encoding="utf-8")
    assert "batchvid retry m.yaml job-4 --output &#39;else where&#39;" in page
    (project.folder / "else where" / "job-1.mp4").unlink()
    verified = project.batchvid("verify", "m.yaml", "--output", "else where")
    assert "batchvid verify m.yaml --repair --output 'else where'" in verified.out
    reopened = project.batchvid("retry", "m.yaml", "job-4", "--yes", "--output", "else where")
    assert "Next: batchvid run m.yaml --output 'else where'" in reopened.out
    assert project.creates() == paid
    assert not project.out.exists()


def test_a_pattern_that_no_job_matches_is_told(project: Project) -> None:
    """A slip in --only would look like a run that had nothing to do."""
    project.manifest("kite")
    ran = project.batchvid("run", "m.yaml", "--only", "jbo-*")
    assert ran.code == 5, ran
    assert "no job's id matches --only 'jbo-*'" in ran.err
    assert "matches" not in project.batchvid("run", "m.yaml", "--only", "job-*").err


def test_a_rehearsal_that_stopped_advises_a_rehearsal(project: Project) -> None:
    """Not the real service, which is paid."""
    project.manifest("kite", "gull")
    ran = project.batchvid("run", "m.yaml", "--sandbox", "--max-jobs", "0", "--output", "rehearsal")
    assert "Next: batchvid run m.yaml --output rehearsal --sandbox does the remaining 2 jobs" in ran.out


def test_a_rehearsal_has_an_output_of_its_own_beside_the_real_one(project: Project) -> None:
    """Nobody names it, and it is not in the way of the run that is paid; only advice about it names --sandbox."""
    project.manifest("kite", "gull")
    ran = project.batchvid("run", "m.yaml", "--sandbox", "--sandbox-speed", "400", "--max-jobs", "1", COMETAPI_KEY=None)
    assert ran.code == 5, ran
    assert "Next: batchvid run m.yaml --sandbox does the remaining job" in ran.out
    assert [path.name for path in (project.folder / "out" / "m-sandbox").glob("*.mp4")] == ["job-1.mp4"]
    assert not project.out.exists()
    (project.folder / "out" / "m-sandbox" / "job-1.mp4").unlink()
    verified = project.batchvid("verify", "m.yaml", "--output", "out/m-sandbox")
    assert "Next: batchvid verify m.yaml --repair --output out/m-sandbox" in verified.out
    real = project.batchvid("run", "m.yaml", "--max-jobs", "0")
    assert "Next: batchvid run m.yaml --base-url " in real.out
    assert "--sandbox" not in real.out


def test_a_refused_key_ends_with_6_after_one_request(project: Project) -> None:
    """Nobody else tries a key that was refused, and nothing was created."""
    project.manifest("kite", "gull", "wave")
    before = project.service.ledger()["requests"]["create"]
    ran = project.batchvid("run", "m.yaml", COMETAPI_KEY="sk-revoked")
    assert ran.code == 6, ran
    assert "the key was refused" in ran.out
    assert project.creates() == {}
    assert project.service.ledger()["requests"]["create"] - before <= 3


def test_what_is_left_after_max_jobs_and_only_is_done_by_the_next_run(project: Project) -> None:
    """Narrowing a run leaves the rest pending, and pays for nothing twice."""
    project.manifest("kite", "gull", "wave", "dune")
    assert project.batchvid("run", "m.yaml", "--max-jobs", "1").code == 5
    assert len(project.creates()) == 1
    narrowed = project.batchvid("run", "m.yaml", "--only", "job-3", "--only", "*-4")
    assert narrowed.code == 0, narrowed
    assert "2 jobs: 2 done. 2 not chosen (--only)." in narrowed.out
    assert project.states() == {"job-1": "done", "job-2": "pending", "job-3": "done", "job-4": "done"}
    assert project.batchvid("run", "m.yaml").code == 0
    assert set(project.creates().values()) == {1}


def test_a_flag_wins_over_its_variable_and_that_over_the_manifest(project: Project) -> None:
    """The window of the variable closes at once; the flag opens it again."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml", BATCHVID_FOR="0.001s").code == 5
    assert project.batchvid("run", "m.yaml", "--for", "1h", BATCHVID_FOR="0.001s").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), "MANIFESTS"),
        (("fly",), "No such command 'fly'"),
        (("run", "m.yaml", "--for", "8"), "with its unit, such as 90s"),
        (("run", "m.yaml", "--until", "25:00"), "write 06:00"),
        (("run", "m.yaml", "--max-cost", "much"), "digits such as 25.00"),
        (("run", "m.yaml", "m.yaml", "--output", "o"), "--output goes with one manifest"),
        (("retry", "m.yaml"), "--failed, --timed-out or --in-doubt"),
        (("sandbox", "--port", "99999"), "--port"),
    ],
)
def test_a_command_that_is_not_understood_ends_with_2(project: Project, arguments: tuple[str, ...], words: str) -> None:
    """The message shows what to write instead."""
    project.manifest("kite")
    ran = project.batchvid(*arguments)
    assert ran.code == 2, ran
    assert words in ran.err
    assert not ran.out


def test_a_run_without_a_key_ends_with_78_and_leaves_nothing_behind(project: Project) -> None:
    """A rehearsal into the same folder is still possible then."""
    project.manifest("kite")
    ran = project.batchvid("run", "m.yaml", COMETAPI_KEY=None)
    assert ran.code == 78, ran
    assert "set the variable COMETAPI_KEY" in ran.err
    assert [path.name for path in project.folder.iterdir()] == ["m.yaml"]


def test_a_base_url_that_is_none_ends_with_78(project: Project) -> None:
    """And is not repeated, because it may hold a password."""
    project.manifest("kite")
    ran = project.batchvid("run", "m.yaml", "--base-url", "https://me:s3cret@api.example.com")
    assert ran.code == 78, ran
    assert "user name or a password" in ran.err
    assert "s3cret" not in ran.err


def test_the_journal_of_one_service_refuses_another(project: Project) -> None:
    """What was paid there is unknown here, so going on would mean paying again."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml").code == 0
    ran = project.batchvid("run", "m.yaml", "--base-url", "https://api.example.com")
    assert ran.code == 78, ran
    assert project.service.api in ran.err
    assert "https://api.example.com/v1" in ran.err
    assert "--output FOLDER" in ran.err


@pytest.mark.parametrize("where", ["out", "out/m/.batchvid"])
def test_an_output_that_cannot_be_written_ends_with_8_before_anything_is_sent(project: Project, where: str) -> None:
    """A file lies where a folder is needed."""
    project.manifest("kite")
    in_the_way = project.folder / where
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("mine", encoding="utf-8")
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 8, ran
    assert str(project.out) in ran.err
    assert in_the_way.read_text(encoding="utf-8") == "mine"
    assert project.creates() == {}


def test_a_journal_that_is_none_is_never_taken_for_a_fresh_start(project: Project) -> None:
    """Starting again would mean paying again."""
    project.manifest("kite")
    project.state.mkdir(parents=True)
    (project.state / "journal.db").write_text("this is no database, and longer than a header", encoding="utf-8")
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 8, ran
    assert "journal.db" in ran.err
    assert project.creates() == {}
    assert project.batchvid("doctor", "m.yaml").code == 8


def test_twenty_mistakes_are_twenty_lines(project: Project) -> None:
    """All at once, each with its place, and nothing is sent."""
    path = project.folder / "m.yaml"
    path.write_text("version: 1\njobs:\n" + "  - {promt: A kite.}\n" * 20, encoding="utf-8")
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 65, ran
    lines = ran.err.splitlines()
    assert [line for line in lines[:20] if not line.startswith("m.yaml:")] == []
    assert len(lines) == 21
    assert lines[0].startswith("m.yaml:3:")
    assert "prompt" in lines[0]
    assert lines[20] == "20 problems: nothing was sent"
    assert not project.out.exists()


def test_several_manifests_run_one_after_the_other_and_the_worst_end_counts(project: Project) -> None:
    """One that failed does not keep the next from being made."""
    project.manifest("doomed", name="m.yaml", attempts="1")
    project.manifest("kite", name="n.yaml")
    ran = project.batchvid("run", "m.yaml", "n.yaml")
    assert ran.code == 3, ran
    assert (project.folder / "out" / "n" / "job-1.mp4").exists()


def test_two_manifests_with_one_output_stay_apart_and_what_both_name_is_bought_once(project: Project) -> None:
    """The second one keeps the clip of the first, says so, and touches nothing of it."""
    project.manifest("kite", "gull", text="output: clips")
    assert project.batchvid("run", "m.yaml").code == 0
    clips = {path.name: path.read_bytes() for path in (project.folder / "clips").glob("*.mp4")}
    project.manifest("wave", name="n.yaml", text="output: clips")
    ran = project.batchvid("run", "n.yaml")
    assert ran.code == 0, ran
    assert "1 job changed after being paid: kept as paid (--rebuy" in ran.out
    assert "1 job in the journal that the manifest no longer names: left alone" in ran.out
    assert len(project.creates()) == 2
    assert {path.name: path.read_bytes() for path in (project.folder / "clips").glob("*.mp4")} == clips


def test_rebuy_buys_new_content_and_keeps_the_old_clip(project: Project) -> None:
    """A change costs money only when it is asked to."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml").code == 0
    old = (project.out / "job-1.mp4").read_bytes()
    project.manifest("red kite")
    assert project.batchvid("run", "m.yaml").code == 0
    assert len(project.creates()) == 1
    assert project.batchvid("run", "m.yaml", "--rebuy").code == 0
    assert len(project.creates()) == 2
    assert old in [path.read_bytes() for path in project.out.glob("*.mp4") if path.name != "job-1.mp4"]
