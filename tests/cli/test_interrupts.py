"""What ends a run from outside: signals, kills, and another run."""

from __future__ import annotations

import signal
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.cli.project import command, ended, read_until

if TYPE_CHECKING:
    from tests.cli.project import Project


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=str
)
def test_one_signal_drains_a_run_and_the_next_one_completes_it(
    project: Project, number: signal.Signals, code: int
) -> None:
    """What is paid is on record, what is not waits, and each job is bought once."""
    project.manifest("kite", "gull", "wave", submits="2/s")
    run = project.start("run", "m.yaml")
    read_until(run, "submitted")
    run.send_signal(number)
    ran = ended(run)
    assert ran.code == code, ran
    assert "stopping: nothing new is sent" in ran.out
    assert "Next: batchvid run m.yaml" in ran.out
    assert 0 < len(project.creates()) < 3
    assert project.batchvid("run", "m.yaml").code == 0
    assert list(project.creates().values()) == [1, 1, 1]


def test_a_second_signal_stops_at_once_and_the_paid_request_under_way_is_in_doubt(project: Project) -> None:
    """Nobody waits for the answer any more, and nobody sends it again either."""
    project.manifest("kite", "slow")
    run = project.start("run", "m.yaml", "-v")
    read_until(run, "sending   job-2")
    run.send_signal(signal.SIGINT)
    read_until(run, "stopping: ")
    run.send_signal(signal.SIGINT)
    ran = ended(run)
    assert ran.code == 4, ran
    assert "2 jobs: 1 running, 1 in doubt." in ran.out
    assert "  in doubt  job-2: " in ran.out
    assert f"      sent {datetime.now(UTC).astimezone():%Y-}" in ran.out
    assert "If the dashboard shows this task, run  batchvid adopt m.yaml job-2 TASK_ID" in ran.out
    assert "does the remaining job, and nothing twice." in ran.out
    assert ran.out.splitlines()[-1] == "Exit 4: 1 job is in doubt: it may be paid, and only a person can tell."
    again = project.batchvid("run", "m.yaml")
    assert again.code == 4, again
    assert "batchvid adopt m.yaml job-2 TASK_ID" in again.out
    assert set(project.creates().values()) == {1}


def test_a_second_signal_with_nothing_in_doubt_ends_with_130(project: Project) -> None:
    """What is paid is on record; the next run looks for it."""
    project.manifest("endless", "wave", submits="1/min")
    run = project.start("run", "m.yaml")
    read_until(run, "submitted job-1")
    run.send_signal(signal.SIGINT)
    read_until(run, "stopping")
    run.send_signal(signal.SIGINT)
    ran = ended(run)
    assert ran.code == 130, ran
    assert "2 jobs: 1 running, 1 pending." in ran.out
    assert "does the remaining 2 jobs, and nothing twice." in ran.out
    assert "in doubt" not in ran.out


def test_a_hang_up_does_not_concern_a_run_under_nohup(project: Project) -> None:
    """A person who logs out in the evening finds the clips in the morning."""
    project.manifest("kite", "gull", submits="2/s")
    run = subprocess.Popen(
        ["/usr/bin/env", "nohup", *command("run", "m.yaml")],
        cwd=project.folder,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    read_until(run, "submitted")
    run.send_signal(signal.SIGHUP)
    assert ended(run).code == 0
    assert len(project.creates()) == 2


def test_a_killed_run_is_completed_by_the_next_one_with_one_create_a_job(project: Project) -> None:
    """Only a job whose paid request was under way is left to a person; the others are collected, or bought now."""
    project.manifest("kite", "slow", "gull", "wave", "dune", submits="4/s")
    run = project.start("run", "m.yaml", "-v")
    read_until(run, "sending   job-2")
    run.kill()
    assert ended(run).code == -signal.SIGKILL
    assert project.batchvid("run", "m.yaml").code == 4
    states = project.states()
    assert states.pop("job-2") == "in_doubt"
    assert set(states.values()) == {"done"}
    assert set(project.creates().values()) == {1}


def test_a_second_run_is_turned_away_at_once_and_sends_nothing(project: Project) -> None:
    """The output has one run at a time; the first one is not disturbed, and its lock dies with it."""
    project.manifest("kite", "slow")
    before = project.service.ledger()["requests"]["create"]
    run = project.start("run", "m.yaml", "-v")
    read_until(run, "sending   job-2")
    second = project.batchvid("run", "m.yaml", "--json")
    assert second.code == 75, second
    assert f"another run (process {run.pid}) holds the output" in second.err
    assert [(line["type"], line["code"]) for line in second.told] == [("exit", 75)]
    assert project.batchvid("retry", "m.yaml", "job-1").code == 75
    assert project.service.ledger()["requests"]["create"] == before + 2
    run.kill()
    ended(run)
    assert project.batchvid("run", "m.yaml").code == 4


def test_a_killed_rehearsal_goes_on_with_the_same_tasks(project: Project) -> None:
    """The embedded sandbox ends with its run, and remembers what it was paid."""
    project.manifest("kite", "gull", "wave", submits="4/s")
    arguments = ("run", "m.yaml", "--sandbox", "--sandbox-speed", "400", "--output", "out/m", "--json")
    run = project.start(*arguments)
    read_until(run, '"submit_accepted"')
    run.kill()
    ended(run)
    ran = project.batchvid(*arguments, COMETAPI_KEY=None)
    assert ran.told[-1]["code"] in {0, 4}, ran
    lines = (project.state / "sandbox" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 3 + ran.told[-2]["counts"]["in_doubt"]
    assert ran.told[-2]["counts"]["done"] + ran.told[-2]["counts"]["in_doubt"] == 3


def test_a_lock_file_that_was_deleted_lets_no_second_run_through(project: Project) -> None:
    """The state folder is locked as well: exit 75 with words, and the first run goes on as if nothing had been."""
    project.manifest("kite", "endless")
    run = project.start("run", "m.yaml")
    read_until(run, "job-1.mp4")
    (project.state / "lock").unlink()
    second = project.batchvid("run", "m.yaml")
    assert second.code == 75, second
    assert "another run" in second.err
    assert project.batchvid("retry", "m.yaml", "--failed").code == 75
    assert "a run is active" in project.batchvid("status", "m.yaml").out
    run.send_signal(signal.SIGTERM)
    assert ended(run).code == 143
    assert set(project.creates().values()) == {1}
