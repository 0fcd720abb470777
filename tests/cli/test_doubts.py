"""The morning: what is in doubt is listed, walked through, and given its tasks, one by one or from a file."""

from __future__ import annotations

import json
import os
import pty
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from tests.cli.project import ENDS_S

if TYPE_CHECKING:
    from tests.cli.project import Project

CTRL_C = "^C"


def tasks(project: Project) -> dict[str, str]:
    """Return what the service's dashboard shows: the newest task of each job."""
    lines = project.service.ledger()["creates"]
    mine = (line for line in lines if line["prompt"].endswith(f"of {project.folder.name}"))
    return {f"job-{line['prompt'].split()[1]}": line["task_id"] for line in mine}


def on_a_terminal(project: Project, *arguments: str, answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a terminal, and type each answer when its words are shown; return its code and what it showed.

    The answer `CTRL_C` is the signal that a terminal sends.
    """
    ours, theirs = pty.openpty()
    more = {"COLUMNS": "200", "TERM": "dumb"}
    process = project.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, more=more)
    os.close(theirs)
    got, looked, left = b"", 0, list(answers)
    stuck = threading.Timer(ENDS_S, process.kill)
    stuck.start()
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not block:
            break
        got += block
        while left and (found := got.find(left[0][0].encode(), looked)) >= 0:
            looked = found + len(left[0][0].encode())
            answer = left.pop(0)[1]
            if answer == CTRL_C:
                process.send_signal(signal.SIGINT)
            else:
                os.write(ours, f"{answer}\n".encode())
    os.close(ours)
    stuck.cancel()
    assert not left, got.decode()
    return process.wait(), got.decode()


@pytest.fixture
def doubtful(project: Project) -> Project:
    """Return a project with two clips and three doubts."""
    project.manifest("unsure", "gull", "unsure", "kite", "unsure")
    assert project.batchvid("run", "m.yaml").code == 4
    return project


def test_what_is_in_doubt_is_listed_with_all_by_which_it_is_found(doubtful: Project) -> None:
    """Time, prompt, price, reason and the commands; the summary and the status name the walk."""
    shown = doubtful.batchvid("doubts", "m.yaml")
    assert shown.code == 0, shown
    assert shown.out.startswith("3 paid requests of $1.20 in doubt")
    assert f"  prompt: unsure 3 of {doubtful.folder.name}" in shown.out
    assert "batchvid adopt m.yaml job-3 TASK_ID" in shown.out
    told = doubtful.batchvid("doubts", "m.yaml", "--json").told
    assert [one.get("id") for one in told] == ["job-1", "job-3", "job-5", None]
    assert told[-1] == {"type": "summary", "doubts": 3, "price": 1.2, "unproven": 0.0}
    assert {key: told[0][key] for key in ("type", "attempt", "model", "price", "request_id", "seen_ids")} == {
        "type": "doubt", "attempt": 1, "model": "veo3-fast", "price": 0.4, "request_id": None, "seen_ids": [],
    }  # fmt: skip
    status = doubtful.batchvid("status", "m.yaml").out
    assert f'$0.40, "unsure 3 of {doubtful.folder.name}"' in status
    assert "To go through what is in doubt: batchvid doubts m.yaml" in status
    run = doubtful.batchvid("run", "m.yaml", "--json")
    assert run.told[-2]["needs_person"][0]["prompt"] == f"unsure 1 of {doubtful.folder.name}"
    assert "batchvid doubts m.yaml" in run.err


def test_the_time_is_that_of_the_clock_on_the_wall(doubtful: Project) -> None:
    """A person compares it with a dashboard; programs get UTC."""
    utc, there = (doubtful.batchvid("doubts", "m.yaml", TZ=zone).out for zone in ("UTC", "Etc/GMT-9"))
    (at,) = {one["sent_at"] for one in doubtful.batchvid("doubts", "m.yaml", "--json").told if one.get("id") == "job-1"}
    assert f"job-1: sent {at[:10]} {at[11:19]}" in utc
    assert f"job-1: sent {at[:10]} {at[11:19]}" not in there


def test_a_walk_records_each_decision_at_once(doubtful: Project) -> None:
    """Adopted, to be bought again, left: with what the service knows, and the price, said before."""
    found = tasks(doubtful)
    code, shown = on_a_terminal(
        doubtful,
        "doubts",
        "m.yaml",
        answers=[
            ("[q]uit", "what"),
            ("a, b, l or q", "a"),
            ("Its task id", "task_unknown"),
            ("does not know task task_unknown", "a"),
            ("Its task id", found["job-2"]),
            ("belongs to job 'job-2' already", "a"),
            ("Its task id", found["job-1"]),
            ("(2 of 3)", "b"),
            ("at most $0.80 with second attempts? It may be paid twice", "n"),
            ("[q]uit", "b"),
            ("It may be paid twice", "y"),
            ("(3 of 3)", "q"),
        ],
    )
    assert code == 0, shown
    assert "3 doubts: 1 adopted, 1 to be bought again, 1 left in doubt." in shown
    assert "Next: batchvid run m.yaml" in shown
    assert [doubtful.states()[f"job-{n}"] for n in (1, 3, 5)] == ["running", "pending", "in_doubt"]
    before = sum(doubtful.creates().values())
    doubtful.batchvid("run", "m.yaml")
    assert doubtful.states()["job-1"] == "done"
    assert sum(doubtful.creates().values()) == before + 1


def test_a_walk_that_is_broken_off_keeps_what_was_decided(doubtful: Project) -> None:
    """Ctrl-C at a question; the summary is told all the same."""
    code, shown = on_a_terminal(
        doubtful,
        "doubts",
        "m.yaml",
        "--offline",
        answers=[("(1 of 3)", "a"), ("Its task id", tasks(doubtful)["job-1"]), ("(2 of 3)", CTRL_C)],
    )
    assert code == 130, shown
    assert "3 doubts: 1 adopted, 2 left in doubt." in shown
    assert doubtful.states()["job-1"] == "running"


def test_where_nothing_is_in_doubt_nothing_is_asked(project: Project) -> None:
    """On a terminal and elsewhere; of an output that was never used too."""
    project.manifest("kite")
    assert project.batchvid("doubts", "m.yaml").out == "Nothing is in doubt.\n"
    assert project.batchvid("run", "m.yaml").code == 0
    assert project.batchvid("doubts", "m.yaml").out == "Nothing is in doubt.\n"
    assert on_a_terminal(project, "doubts", "m.yaml", answers=[])[1].strip() == "Nothing is in doubt."


def test_a_file_adopts_many_at_once_and_the_next_run_buys_nothing(doubtful: Project) -> None:
    """All or none; twice says so; as JSON too."""
    found = tasks(doubtful)
    file = doubtful.folder / "found.csv"
    file.write_text("".join(f"job-{n};{found[f'job-{n}']}\n" for n in (1, 3, 5)))
    before = doubtful.creates()
    ran = doubtful.batchvid("adopt", "m.yaml", "--from", "found.csv")
    assert ran.code == 0, ran
    assert "3 jobs adopted. Next: batchvid run m.yaml" in ran.out
    again = doubtful.batchvid("adopt", "m.yaml", "--from", "found.csv", "--json").told
    assert [one["already"] for one in again] == [True, True, True, 3]
    assert doubtful.batchvid("run", "m.yaml").code == 0
    assert doubtful.creates() == before


def test_one_wrong_line_keeps_a_whole_file_out(doubtful: Project) -> None:
    """First what can be seen, all of it with its line; then what the service says."""
    found = tasks(doubtful)
    file = doubtful.folder / "found.jsonl"
    right = json.dumps({"id": "job-1", "task_id": found["job-1"]})
    file.write_text(
        f'{right}\n{{"id": "job-9", "task_id": "t"}}\n{{"id": "job-3", "task_id": "{found["job-2"]}"}}\nno\n'
    )
    ran = doubtful.batchvid("adopt", "m.yaml", "--from", "found.jsonl")
    assert ran.code == 65, ran
    assert ran.err.splitlines()[0] == "found.jsonl:2: m.yaml and its journal have no job 'job-9'"
    assert ran.err.splitlines()[1].startswith(f"found.jsonl:3: task {found['job-2']} belongs to job 'job-2' already")
    assert ran.err.splitlines()[2].startswith("found.jsonl:4: no JSON object")
    assert ran.err.splitlines()[3] == "3 problems: nothing was recorded"
    file.write_text(f'{right}\n{{"id": "job-3", "task_id": "task_nobody"}}\n')
    ran = doubtful.batchvid("adopt", "m.yaml", "--from", "found.jsonl", "--json")
    assert ran.code == 65, ran
    assert [(one["type"], one["line"]) for one in ran.told] == [("problem", 2)]
    assert "the service does not know task task_nobody" in ran.told[0]["text"]
    assert doubtful.states()["job-1"] == "in_doubt"


def test_tasks_that_were_mixed_up_are_exchanged_and_the_clips_too(doubtful: Project) -> None:
    """Also after they were collected: the clips that lay there are kept beside the right ones."""
    found = tasks(doubtful)
    assert doubtful.batchvid("adopt", "m.yaml", "job-1", found["job-3"]).code == 0
    assert doubtful.batchvid("adopt", "m.yaml", "job-3", found["job-1"]).code == 0
    before = doubtful.creates()
    assert doubtful.batchvid("run", "m.yaml").code == 4
    (doubtful.folder / "right.csv").write_text(f"job-1,{found['job-1']}\njob-3,{found['job-3']}\n")
    unasked = doubtful.batchvid("adopt", "m.yaml", "--from", "right.csv")
    assert unasked.code == 2, unasked
    assert "job job-1 is done: its clip is kept beside the new one" in unasked.out
    ran = doubtful.batchvid("adopt", "m.yaml", "--from", "right.csv", "--yes")
    assert ran.code == 0, ran
    assert f"its task before, {found['job-3']}, is not collected any more" in ran.out
    assert doubtful.batchvid("run", "m.yaml").code == 4
    jobs = {job["id"]: job for job in doubtful.status()["jobs"]}
    for name in ("job-1", "job-3"):
        assert (jobs[name]["state"], jobs[name]["task_id"], jobs[name]["attempt"]) == ("done", found[name], 1)
        assert json.loads((doubtful.out / f"{name}.json").read_bytes())["task_id"] == found[name]
        assert (doubtful.out / f"{name}.attempt-1.mp4").exists()
    assert doubtful.creates() == before
    assert doubtful.batchvid("verify", "m.yaml").code == 0


def test_a_failed_job_is_given_its_task_again_and_a_failed_task_needs_a_yes(project: Project) -> None:
    """The service's word is told before, and the money counts as it did."""
    project.manifest("doomed", "unsure", attempts="1", budget="0.80")
    assert project.batchvid("run", "m.yaml").code == 4
    task = tasks(project)["job-1"]
    ran = project.batchvid("adopt", "m.yaml", "job-1", task)
    assert ran.code == 2, ran
    assert f"the service says 'failed' of task {task}: the prompt was refused" in ran.out
    assert project.states()["job-1"] == "failed"
    assert project.batchvid("adopt", "m.yaml", "job-1", task, "--yes").code == 0
    assert project.status()["money"] == {"spent": 0.0, "reserved": 0.8, "unproven": 0.0, "budget": 0.8}
    assert project.batchvid("run", "m.yaml").code == 4
    assert project.status()["money"] == {"spent": 0.4, "reserved": 0.4, "unproven": 0.0, "budget": 0.8}


def test_a_service_that_cannot_be_asked_is_told_with_the_way_without_it(doubtful: Project) -> None:
    """Away, without a key, another one than the journal's: nothing is recorded, and ``--offline`` does it."""
    task = tasks(doubtful)["job-1"]
    keyless = doubtful.batchvid("adopt", "m.yaml", "job-1", task, COMETAPI_KEY=None)
    refused = doubtful.batchvid("adopt", "m.yaml", "job-1", task, COMETAPI_KEY="sk-another-1234")
    for ran, code in ((keyless, 78), (refused, 78)):
        assert ran.code == code, ran
        assert "--offline adopts without asking" in ran.err
    assert doubtful.states()["job-1"] == "in_doubt"
    assert doubtful.batchvid("adopt", "m.yaml", "job-1", task, "--offline", COMETAPI_KEY=None).code == 0
    assert doubtful.states()["job-1"] == "running"


def test_adopt_names_what_it_wants(finished: Project) -> None:
    """A job without a task, both a job and a file, a file that is not there."""
    for arguments in (("job-4",), (), ("job-4", "task_x", "--from", "x.csv"), ("--from", "x.csv")):
        ran = finished.batchvid("adopt", "m.yaml", *arguments)
        assert ran.code == 2, ran


def test_a_doubt_of_the_rehearsal_is_adopted_from_the_rehearsal(project: Project) -> None:
    """The embedded sandbox is asked, without a key; it does not know the task either."""
    project.manifest("kite")
    assert (
        project.batchvid(
            "run", "m.yaml", "--sandbox", "--sandbox-speed", "400", "--output", "out/m", COMETAPI_KEY=None
        ).code
        == 0
    )
    task = project.status()["jobs"][0]["task_id"]
    same = project.batchvid("adopt", "m.yaml", "job-1", task, COMETAPI_KEY=None)
    assert (same.code, same.out[:34]) == (0, "job job-1 has that task already. N")
    ran = project.batchvid("adopt", "m.yaml", "job-1", "task_x", COMETAPI_KEY=None)
    assert ran.code == 2, ran
    assert "the service does not know task task_x" in ran.err


def test_a_refusal_at_somebodys_word_is_counted_until_a_person_says_otherwise(project: Project) -> None:
    """The budget holds even if it was a lie; ``--not-billed`` gives the money back, and the rest can be bought."""
    project.manifest("wordy", attempts="1", budget="0.80")
    assert project.batchvid("run", "m.yaml").code in {3, 7}
    assert project.status()["money"]["unproven"] == 0.8
    listed = project.batchvid("doubts", "m.yaml")
    assert "The budget counts $0.80" in listed.out
    assert "--not-billed" in listed.out
    assert "$0.80 of 1 job is counted no more" in project.batchvid("doubts", "m.yaml", "--not-billed").out
    assert project.status()["money"] == {"spent": 0.0, "reserved": 0.0, "unproven": 0.0, "budget": 0.8}
    assert "Nothing was counted so" in project.batchvid("doubts", "m.yaml", "--not-billed").out
