"""An output that is copied or moved: one copy goes on, and never two without a person's word."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.project import ended, read_until

if TYPE_CHECKING:
    from tests.cli.project import Process, Project

COPY = "elsewhere"


def copied_amid(project: Project, *how: str) -> Process:
    """Copy the output in the middle of a run, and return the run, which goes on.

    A file that the run renames while it is copied makes ``cp`` exit with 1, as it would for a person, who copies again.
    """
    project.manifest("=kite", "gull", "wave", "reef", submits="4/s")
    run = project.start("run", "m.yaml", "--no-report")
    read_until(run, "submitted")
    while subprocess.run([*how, f"{project.out}/", project.folder / COPY], check=False).returncode:
        shutil.rmtree(project.folder / COPY)
        assert run.poll() is None
    return run


def bought(project: Project) -> list[int]:
    """Return how often each job was paid."""
    return sorted(project.creates().values())


@pytest.mark.parametrize("how", [("cp", "-a"), ("rsync", "-a"), ("cp", "-a", "without -wal")])
def test_a_copy_that_was_made_amid_a_run_does_not_go_on_unasked(project: Project, how: tuple[str, ...]) -> None:
    """Exit 8, nothing sent, the flag is named; the original goes on; retry is refused as well."""
    if shutil.which(how[0]) is None:
        pytest.skip(f"{how[0]} is not installed")
    run = copied_amid(project, *how[:2])
    if how[2:]:
        (project.folder / COPY / ".batchvid" / "journal.db-wal").unlink()
        (project.folder / COPY / ".batchvid" / "journal.db-shm").unlink()
    copy = project.batchvid("run", "m.yaml", "--no-report", "--output", COPY)
    assert copy.code == 8, copy
    assert "was copied or moved here" in copy.err
    assert "--moved" in copy.err
    retry = project.batchvid("retry", "m.yaml", "--failed", "--output", COPY)
    assert retry.code == 8, retry
    assert project.batchvid("run", "m.yaml", "--no-report", "--output", COPY).code == 8
    assert ended(run).code == 0
    assert bought(project) == [1, 1, 1, 1]


def test_a_person_says_that_the_copy_is_the_one_that_goes_on(project: Project) -> None:
    """The original was stopped for good: the copy collects what is paid and buys the rest, and asks no more."""
    run = copied_amid(project, "cp", "-a")
    run.kill()
    ended(run)
    shutil.rmtree(project.out)
    before = len(project.creates())
    moved = project.batchvid("run", "m.yaml", "--no-report", "--output", COPY, "--moved")
    assert moved.code in {0, 4}, moved  # a request that was under way is in doubt
    assert before <= 4
    assert set(project.creates().values()) == {1}
    assert project.batchvid("run", "m.yaml", "--no-report", "--output", COPY).code == moved.code


def test_a_rejected_clip_is_left_to_do_for_both_copies(project: Project) -> None:
    """The run was killed when all was done; both copies would buy the clip again."""
    project.manifest("kite", "endless")
    run = project.start("run", "m.yaml", "--no-report")
    read_until(run, "saved")
    run.kill()
    ended(run)
    project.manifest("kite")
    with closing(sqlite3.connect(project.state / "journal.db")) as db, db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.executescript(
            "DELETE FROM events WHERE job_id = 'job-2'; DELETE FROM attempts WHERE job_id = 'job-2';"
            "DELETE FROM jobs WHERE job_id = 'job-2'"
        )
    assert project.batchvid("reject", "m.yaml", "job-1", "--note", "six fingers").code == 0
    shutil.copytree(project.out, project.folder / COPY)
    copy = project.batchvid("run", "m.yaml", "--no-report", "--output", COPY)
    assert (copy.code, "was copied or moved here" in copy.err) == (8, True), copy
    assert project.batchvid("run", "m.yaml", "--no-report").code == 0
    assert sum(number for prompt, number in project.creates().items() if "kite" in prompt) == 2


def test_a_terminal_is_asked(project: Project) -> None:
    """No is the default, and a yes goes on."""
    run = copied_amid(project, "cp", "-a")
    run.kill()
    ended(run)
    for answer, code in ((b"\n", {8}), (b"y\n", {0, 4})):
        ours, theirs = pty.openpty()
        asked = project.start("run", "m.yaml", "--no-report", "--output", COPY, stdin=theirs)
        os.close(theirs)
        os.write(ours, answer)
        ran = ended(asked)
        os.close(ours)
        assert "Is this the only copy that goes on?" in ran.err
        assert ran.code in code, ran


@pytest.mark.parametrize("is_copied", [False, True])
def test_an_output_that_was_moved_after_a_proper_end_goes_on(project: Project, *, is_copied: bool) -> None:
    """Drained, and then renamed or copied to another disk: at most a line tells it."""
    project.manifest("=kite", "gull", "wave", submits="2/s")
    run = project.start("run", "m.yaml", "--no-report")
    read_until(run, "submitted")
    run.send_signal(signal.SIGTERM)
    ended(run)
    if is_copied:
        shutil.copytree(project.out, project.folder / COPY)
        shutil.rmtree(project.out)
    else:
        project.out.rename(project.folder / COPY)
    ran = project.batchvid("run", "m.yaml", "--no-report", "--output", COPY)
    assert ran.code == 0, ran
    assert ("was moved here" in ran.out) is is_copied
    assert bought(project) == [1, 1, 1]


def test_a_killed_runs_output_may_be_renamed(project: Project) -> None:
    """It is the same folder still: nobody is asked."""
    run = copied_amid(project, "cp", "-a")
    run.kill()
    ended(run)
    project.out.rename(project.folder / "renamed")
    ran = project.batchvid("run", "m.yaml", "--no-report", "--output", "renamed")
    assert ran.code in {0, 4}, ran
    assert "moved" not in ran.err
    assert set(project.creates().values()) == {1}


def test_no_name_of_the_machine_is_kept(project: Project) -> None:
    """Only a hash tells it from others."""
    project.manifest("=kite")
    project.batchvid("run", "m.yaml", "--no-report")
    db = sqlite3.connect(project.state / "journal.db")
    home = json.loads(db.execute("SELECT value FROM meta WHERE key = 'home'").fetchone()[0])
    db.close()
    assert home["folder"] == str(project.out)
    for path in map(Path, ("/etc/machine-id", "/etc/hostname")):
        if path.exists() and (name := path.read_text().strip()):
            assert name not in str(home["machine"])
