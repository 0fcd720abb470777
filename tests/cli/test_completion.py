"""Tab in a shell: what the real program answers, and what bash makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from batchvid.cli.main import COMMANDS

if TYPE_CHECKING:
    from tests.cli.project import Project

SHELLS = ("bash", "zsh", "fish")


def completed(project: Project, *words: str, shell: str = "zsh") -> list[tuple[str, str]]:
    """Return what the program would complete the last of *words* to: type and value."""
    more = {"_BATCHVID_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    if shell == "fish":
        more["COMP_CWORD"] = words[-1]
    ran = project.batchvid(**more)
    assert (ran.code, ran.err) == (0, ""), ran
    lines = ran.out.splitlines()
    if shell == "zsh":
        return list(zip(lines[::3], lines[1::3], strict=True))
    if shell == "fish":
        lines = [line for line in lines if "," in line]
        return [(kind, rest.split("\t")[0]) for kind, rest in (line.split(",", 1) for line in lines)]
    return [(kind, value) for kind, value in (line.split(",", 1) for line in lines)]


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_are_completed_in_every_shell(project: Project, shell: str) -> None:
    """All of them after a space, and those that begin with what is there."""
    assert [value for _, value in completed(project, "batchvid", "", shell=shell)] == [*COMMANDS]
    assert completed(project, "batchvid", "ru", shell=shell) == [("plain", "run")]
    assert [value for _, value in completed(project, "batchvid", "s", shell=shell)] == ["status", "sandbox", "schema"]


@pytest.mark.parametrize("shell", SHELLS)
def test_options_of_a_command_and_their_words_are_completed(project: Project, shell: str) -> None:
    """Also behind a manifest, where most people write them."""
    found = [value for _, value in completed(project, "batchvid", "run", "m.yaml", "--", shell=shell)]
    assert {"--until", "--max-cost", "--only", "--sandbox", "--output", "--help"} <= set(found)
    assert [value for _, value in completed(project, "batchvid", "export", "m.yaml", "--format", "", shell=shell)] == [
        "csv",
        "jsonl",
    ]


@pytest.mark.parametrize("command", ["approve", "reject", "redo"])
def test_ids_are_completed_behind_their_manifest(project: Project, command: str) -> None:
    """Those of the manifest; a broken one has none to offer."""
    project.manifest("=kite", "gull")
    assert completed(project, "batchvid", command, "m.yaml", "job") == [("plain", "job-1"), ("plain", "job-2")]
    assert completed(project, "batchvid", command, "m.yaml", "job-1", "job-2") == [("plain", "job-2")]
    (project.folder / "m.yaml").write_text("jobs: [", encoding="utf-8")
    words = {"COMP_WORDS": f"batchvid {command} m.yaml job", "COMP_CWORD": "3"}
    ran = project.batchvid(_BATCHVID_COMPLETE="bash_complete", **words)
    assert (ran.code, ran.out.strip(), ran.err) == (0, "", "")


@pytest.mark.parametrize("command", ["run", "check", "plan", "status", "retry", "verify", "export", "doctor", "adopt"])
def test_the_shell_completes_the_path_of_a_manifest(project: Project, command: str) -> None:
    """The program says that a file is wanted, and the shell knows its files best."""
    assert completed(project, "batchvid", command, "kit") == [("file", "kit")]


def test_completing_a_command_loads_none() -> None:
    """A person waits for it at every Tab."""
    code = (
        "import sys; from batchvid.cli.main import run_command\n"
        "try: run_command()\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('batchvid.cli.')), file=sys.stderr)"
    )
    words = {"_BATCHVID_COMPLETE": "zsh_complete", "COMP_WORDS": "batchvid s", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=os.environ | words, capture_output=True, text=True, check=True)
    assert "status" in ran.stdout
    assert ran.stderr.strip() == "['batchvid.cli.main', 'batchvid.cli.streams']"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_lines_of_the_help_give_a_script(project: Project, shell: str) -> None:
    """Which asks the program for what it completes."""
    ran = project.batchvid(_BATCHVID_COMPLETE=f"{shell}_source")
    assert ran.code == 0, ran
    assert f"_BATCHVID_COMPLETE={shell}_complete" in ran.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_itself_completes(project: Project) -> None:
    """With the help's line in its start file: the function that Tab calls, on a real program in the PATH."""
    tools = project.folder / "bin"
    tools.mkdir()
    (tools / "batchvid").write_text(f'#!/bin/sh\nexec {sys.executable} -m batchvid "$@"\n', encoding="utf-8")
    (tools / "batchvid").chmod(0o755)
    script = """
        eval "$(_BATCHVID_COMPLETE=bash_source batchvid)"
        complete -p batchvid
        ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); $function batchvid; echo "${COMPREPLY[*]}"; }
        function=$(complete -p batchvid | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        ask batchvid ver
        ask batchvid run m.yaml --max-
        ask batchvid sandbox --clip t
    """
    path = f"{tools}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "--norc", "-c", script],  # noqa: S607 the user's own
        env=project.environment(PATH=path),
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ran.stdout.splitlines()
    assert lines[1:] == ["verify", "--max-cost --max-jobs", "tiny"], ran
    assert "-o nosort" in lines[0]
    assert lines[0].endswith(" batchvid")
