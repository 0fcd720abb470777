"""The bare surroundings of cron, containers and odd shells: each call ends well, or says what is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.project import command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.project import Project, Ran

HERE_IS_GONE = "the current folder was deleted: go to another one, or write the paths in full"


def in_shell(
    project: Project, before: str, *arguments: str | Path, **more: str | None
) -> subprocess.CompletedProcess[str]:
    """Run ``batchvid ARGUMENTS`` from a shell that has done something *before*."""
    words = ["sh", "-c", f'{before} && exec "$@"', "sh", *command(*arguments)]
    env = project.environment(**more)
    return subprocess.run(words, cwd=project.folder, env=env, capture_output=True, text=True, check=False)


def gone(project: Project) -> str:
    """Return what makes a shell stand in a folder that is no more."""
    place = project.folder / "gone"
    return f"mkdir {place} && cd {place} && rmdir {place}"


@pytest.mark.parametrize(
    "more",
    [
        {"HOME": None, "PATH": None, "LANG": None},
        {"HOME": "/", "LANG": "C", "LC_ALL": "C"},
        {"HOME": "/proc", "TMPDIR": "/nowhere"},
        {"TMPDIR": "/proc", "LANG": "de_DE.ISO-8859-1"},
    ],
    ids=["nothing", "C", "no home", "no room"],
)
def test_a_run_needs_nothing_of_its_surroundings_but_the_key(project: Project, more: dict[str, str | None]) -> None:
    """Neither a home, nor a place for temporary files, nor a language."""
    project.manifest("kite")
    ran: Ran = project.batchvid("run", "m.yaml", **more)
    assert (ran.code, ran.err) == (0, ""), ran
    assert (project.out / "job-1.mp4").exists()


@pytest.mark.parametrize("closed", ["0<&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_are_nobodys(project: Project, closed: str) -> None:
    """The paid work is done all the same."""
    project.manifest("kite", "gull")
    ran = in_shell(project, f"exec {closed}", "run", "m.yaml")
    assert ran.returncode == 0, ran
    assert set(project.creates().values()) == {1}
    assert in_shell(project, "true", "verify", "m.yaml", "--deep").returncode == 0


def test_no_file_gets_the_number_of_a_standard_stream() -> None:
    """Else what a C library complains of would be written into a clip, or to the service."""
    look = "from batchvid.cli.streams import keep_standard_numbers as keep; import os; keep(); "
    look += "os.write(5, ' '.join(os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)).encode())"
    words = ["sh", "-c", 'exec 5>&1 0<&- 1>&- 2>&-; exec "$@"', "sh", sys.executable, "-c", look]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == " ".join([os.devnull] * 3)


def test_a_folder_that_was_deleted_is_told_where_it_matters(project: Project) -> None:
    """What is named from there cannot be found; paths in full work on."""
    manifest = project.manifest("kite")
    for words in (["check", "../m.yaml"], ["run", manifest, "--output", "x"], ["plan", "m.yaml"], ["status", "m.yaml"]):
        ran = in_shell(project, gone(project), *words)
        assert (ran.returncode, ran.stderr.strip()) == (78, f"batchvid: {HERE_IS_GONE}"), ran
    told = json.loads(in_shell(project, gone(project), "run", "m.yaml", "--json").stdout)
    assert (told["type"], told["code"], told["reason"]) == ("exit", 78, HERE_IS_GONE)
    assert project.creates() == {}
    assert in_shell(project, gone(project), "run", manifest).returncode == 0
    assert set(project.creates().values()) == {1}


@pytest.mark.parametrize(
    ("umask", "clips", "folder"), [("077", 0o600, 0o700), ("000", 0o666, 0o777), ("022", 0o644, 0o755)]
)
def test_the_umask_says_who_may_see_clips_and_never_who_may_see_the_state(
    project: Project, umask: str, clips: int, folder: int
) -> None:
    """The state folder is private under each."""
    project.manifest("kite")
    assert in_shell(project, f"umask {umask}", "run", "m.yaml").returncode == 0
    for name in ("job-1.mp4", "job-1.json", "clips.jsonl"):
        assert (project.out / name).stat().st_mode & 0o777 == clips, name
    assert project.out.stat().st_mode & 0o777 == folder
    assert project.state.stat().st_mode & 0o777 == 0o700
    for path in project.state.rglob("*"):
        assert path.is_dir() or path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(
    ("words", "more", "told"),
    [
        ((), {"XDG_CONFIG_HOME": f"/{'x' * 300}"}, "cannot look for the config file /xxx"),
        (("--api-key-file", "x" * 300), {}, "the key file xxx"),
        ((), {"CREDENTIALS_DIRECTORY": f"/{'x' * 300}"}, "the key file /xxx"),
    ],
)
def test_a_place_that_cannot_be_looked_at_is_named(
    project: Project, words: tuple[str, ...], more: dict[str, str], told: str
) -> None:
    """It may hold another account, or another key, so nothing is sent."""
    project.manifest("kite")
    ran = in_shell(project, "true", "run", "m.yaml", *words, **more)
    assert (ran.returncode, told in ran.stderr) == (78, True), ran
    assert "File name too long" in ran.stderr
    assert project.creates() == {}


def test_a_state_folder_that_is_closed_to_this_user_is_named(project: Project) -> None:
    """By `run`, and by what only tells; nothing is bought again for that."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml", "--no-report").code == 0
    project.state.chmod(0o000)
    rights = "-dac_override,-dac_read_search"
    less = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", "--"] if os.geteuid() == 0 else []
    if less and shutil.which("setpriv") is None:
        pytest.skip("root needs setpriv to have fewer rights")
    try:
        for words in (["run", "m.yaml"], ["run", "m.yaml", "--sandbox", "--output", "out/m"], ["status", "m.yaml"]):
            ran = subprocess.run(
                [*less, *command(*words)],
                cwd=project.folder, env=project.environment(), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (ran.returncode, "permission denied" in ran.stderr) == (8, True), ran
            assert str(project.state) in ran.stderr
    finally:
        project.state.chmod(0o700)
    assert set(project.creates().values()) == {1}


def test_the_collector_begins_late_and_then_works_as_usual() -> None:
    """A night of weeks must not keep what nobody needs, because its start was to be short."""
    told = "import gc; from batchvid.cli.main import collect_late; usual = gc.get_threshold(); collect_late(); "
    told += "late = gc.get_threshold(); many = [[] for _ in range(late[0] + 1)]; "
    told += "print(late > usual, gc.get_threshold() == usual, gc.callbacks)"
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert ran.stdout == "True True []\n"


@pytest.mark.parametrize("number", [6, 10, 14, 17, 32])
def test_few_open_files_end_well_or_with_their_reason(project: Project, number: int) -> None:
    """Whatever cannot be opened any more: no bug is claimed, and nothing is bought twice."""
    project.manifest("kite")
    ran = in_shell(project, f"ulimit -n {number}", "run", "m.yaml")
    assert ran.returncode in {0, 5, 8}, ran
    if ran.returncode:
        assert "open" in ran.stdout + ran.stderr
        assert "ulimit" in ran.stdout + ran.stderr or "runs batchvid" in ran.stderr, ran
    assert "Traceback" not in ran.stderr
    assert in_shell(project, "true", "run", "m.yaml").returncode == 0
    assert set(project.creates().values()) == {1}
