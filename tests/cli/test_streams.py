"""Streams that close or fill up, terminals that can little, and surroundings that are nearly empty."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.project import command, ended

if TYPE_CHECKING:
    from tests.cli.project import Project

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")


def on_a_terminal(project: Project, *arguments: str, **more: str | None) -> tuple[int, str]:
    """Run a command whose standard streams are a terminal; give its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    given = {"COLUMNS": "100", **more}
    process = project.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, more=given)
    os.close(theirs)
    got = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not block:
            break
        got += block
    os.close(ours)
    return process.wait(), got.decode()


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_paid_work_goes_on_when_nobody_reads_any_more(project: Project, options: tuple[str, ...]) -> None:
    """``| head -1`` ends the reading, not the run."""
    project.manifest("kite", "gull")
    run = project.start("run", "m.yaml", *options)
    assert run.stdout is not None
    run.stdout.readline()
    run.stdout.close()
    run.stdout = None
    ran = ended(run)
    assert ran.code == 0, ran
    assert "Traceback" not in ran.err
    assert len(list(project.out.glob("*.mp4"))) == 2


@needs_full
def test_paid_work_goes_on_when_the_streams_are_full(project: Project) -> None:
    """A log that no longer fits on its disk concerns nobody's clips."""
    project.manifest("kite")
    with FULL.open("w") as full:
        run = project.start("run", "m.yaml", stdout=full, stderr=full)
        assert run.wait() == 0
    assert (project.out / "job-1.mp4").exists()


def test_a_run_needs_no_standard_streams_at_all(project: Project) -> None:
    """Some supervisors close them."""
    project.manifest("kite")
    line = " ".join(f"'{word}'" for word in command("run", "m.yaml"))
    run = subprocess.run(
        ["/bin/sh", "-c", f"exec {line} <&- >&- 2>&-"], cwd=project.folder, env=project.environment(), check=False
    )
    assert run.returncode == 0
    assert (project.out / "job-1.mp4").exists()


def test_an_export_ends_in_peace_when_its_reader_leaves(finished: Project) -> None:
    """A pipe that closes is no bug of anybody."""
    process = finished.start("export", "m.yaml")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    ran = ended(process)
    assert (ran.code, ran.err) == (0, "")


@needs_full
@pytest.mark.parametrize("arguments", [("export", "m.yaml"), ("status", "m.yaml", "--json"), ("plan", "m.yaml")])
def test_an_answer_that_cannot_be_written_is_an_error(finished: Project, arguments: tuple[str, ...]) -> None:
    """Half a table must not look like a whole one."""
    with FULL.open("w") as full:
        ran = ended(finished.start(*arguments, stdout=full))
    assert ran.code == 8, ran
    assert "standard output cannot be written" in ran.err


def test_a_path_and_a_key_are_surroundings_enough(project: Project) -> None:
    """Cron gives little: no HOME, no LANG, no terminal."""
    project.manifest("kite éß 風")
    ran = project.batchvid("run", "m.yaml", HOME=None, LANG=None)
    assert ran.code == 0, ran
    assert set(project.creates().values()) == {1}


def test_a_prompt_that_the_locale_cannot_write_breaks_no_export(project: Project) -> None:
    """It is a file of data, and so in UTF-8 whatever the locale; only a terminal is shown a question mark."""
    project.manifest("風")
    more = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    assert ",風 1 of" in project.raw("export", "m.yaml", **more).decode()
    code, got = on_a_terminal(project, "export", "m.yaml", **more)
    assert code == 0, got
    assert ",? 1 of" in got
    assert project.batchvid("export", "m.yaml", "--format", "jsonl", **more).told[0]["prompt"].startswith("風")


def test_a_terminal_gets_one_picture_in_place(project: Project) -> None:
    """It moves the cursor, and the summary stays below it."""
    project.manifest("kite", "gull")
    code, got = on_a_terminal(project, "run", "m.yaml", "--yes", TERM="xterm-256color")
    assert code == 0, got
    assert re.search(r"\x1b\[\d+A", got)
    assert "\x1b[32m" in got
    assert "2 jobs: 2 done." in got
    assert got.rstrip().endswith("Exit 0: every job is a clip on disk.")
    assert got.count("\x1b[?25l") == got.count("\x1b[?25h")


def test_no_color_is_heeded_on_a_terminal(finished: Project) -> None:
    """The plan has its colours, unless the person wants none."""
    _, coloured = on_a_terminal(finished, "plan", "m.yaml", TERM="xterm-256color")
    _, plain = on_a_terminal(finished, "plan", "m.yaml", TERM="xterm-256color", NO_COLOR="1")
    assert "\x1b[31m" in coloured
    assert "\x1b[3" not in plain
    assert "job-3" in plain


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_terminal_that_cannot_draw_gets_plain_lines(project: Project, term: str | None) -> None:
    """Editors' shells and the like show no garbage."""
    project.manifest("kite")
    code, got = on_a_terminal(project, "run", "m.yaml", "--yes", TERM=term)
    assert code == 0, got
    assert "\x1b" not in got
    assert "saved     job-1" in got
