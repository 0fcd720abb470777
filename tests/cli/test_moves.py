"""A manifest is edited between two nights, and the real program finds what is paid under its other name."""

from __future__ import annotations

import json
import os
import pty
import select
from typing import TYPE_CHECKING

from batchvid.domain.identity import Edit
from tests.cli.project import ENDS_S, QUICK

if TYPE_CHECKING:
    from tests.cli.project import Project


def write(project: Project, *jobs: str, more: str = "") -> None:
    """Write a manifest of these jobs, as YAML."""
    limits = ", ".join(f"{key}: {value}" for key, value in QUICK.items())
    lines = ["version: 1", more, "prices: {veo3-fast: 0.40}", f"limits: {{{limits}}}", "jobs:"]
    (project.folder / "m.yaml").write_text("\n".join([*lines, *(f"  - {job}" for job in jobs)]) + "\n", "utf-8")


def named(project: Project, job_id: str, words: str = "a kite") -> str:
    """Return a job with an id; the prompt names the project."""
    return f'{{id: {job_id}, prompt: "{words} of {project.folder.name}"}}'


def nameless(project: Project, words: str) -> str:
    """Return a job without an id."""
    return f'{{prompt: "{words} of {project.folder.name}"}}'


def clips(project: Project) -> list[str]:
    """Return the names of the clips and sidecars."""
    return sorted(path.name for path in project.out.iterdir() if path.suffix in {".mp4", ".json"})


def test_a_plan_says_what_moves_and_a_run_moves_it(project: Project) -> None:
    """Free, and nothing is left to be done; before the run, a status has the clip under its new id already."""
    write(project, named(project, "kite"))
    assert project.batchvid("run", "m.yaml").code == 0
    write(project, named(project, "kite-v2"))
    plan = project.batchvid("plan", "m.yaml")
    assert "moved kite -> kite-v2" in plan.out
    assert "1 moved." in plan.out
    row, sums = project.batchvid("plan", "m.yaml", "--json").told
    assert (row["action"], row["submits"], row["moved_from"]) == ("moved", False, "kite")
    assert (sums["submits"], sums["counts"]["moved"], sums["counts"]["orphaned"]) == (0, 1, 0)
    assert project.states() == {"kite-v2": "done"}
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 0
    assert "moved kite -> kite-v2" in ran.out
    assert clips(project) == ["kite-v2.json", "kite-v2.mp4"]
    assert sum(project.creates().values()) == 1
    assert project.batchvid("verify", "m.yaml").code == 0


def test_a_person_decides_on_a_job_under_its_new_id(project: Project) -> None:
    """A command that holds the lock moves it as a run does, and says so."""
    write(project, named(project, "kite", "unsure kite"), named(project, "gull", "doomed gull"))
    assert project.batchvid("run", "m.yaml").code == 4
    write(project, named(project, "kite-v2", "unsure kite"), named(project, "gull-v2", "doomed gull"))
    retried = project.batchvid("retry", "m.yaml", "gull-v2", "--yes")
    assert retried.code == 0, retried
    assert "moved gull -> gull-v2" in retried.err
    assert project.states() == {"kite-v2": "in_doubt", "gull-v2": "pending"}


def test_a_rehearsal_finds_its_own(project: Project) -> None:
    """The sandbox' journal is moved like any other."""
    write(project, named(project, "kite"))
    assert project.batchvid("run", "m.yaml", "--sandbox", "--sandbox-speed", "200", "--output", "out/m").code == 0
    write(project, named(project, "Kite"))
    ran = project.batchvid("run", "m.yaml", "--sandbox", "--sandbox-speed", "200", "--output", "out/m")
    assert "moved kite -> Kite" in ran.out
    assert clips(project) == ["Kite.json", "Kite.mp4"]


def test_a_slip_that_is_corrected_without_an_id_buys_nothing(project: Project) -> None:
    """The clip gets the new name; --rebuy buys the new words."""
    write(project, nameless(project, "A paper kiet"))
    project.batchvid("run", "m.yaml")
    write(project, nameless(project, "A paper kite"))
    assert Edit.PROMPT in project.batchvid("plan", "m.yaml").out
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 0
    assert "kept as paid, --rebuy buys the new content" in ran.out
    assert sum(project.creates().values()) == 1
    again = project.batchvid("run", "m.yaml", "--rebuy")
    assert again.code == 0
    assert sum(project.creates().values()) == 2


def test_another_wish_is_told_by_the_plan_and_asked_for_on_a_terminal(project: Project) -> None:
    """It can be held back, and the others go on; who says no buys nothing, and who asks nobody buys it, and is told."""
    write(project, nameless(project, "A red paper kite"))
    project.batchvid("run", "m.yaml")
    write(project, nameless(project, "A blue paper kite"), named(project, "other", "other"))
    plan = project.batchvid("plan", "m.yaml")
    assert "resembles a-red-paper-kite" in plan.out
    assert "write id: a-red-paper-kite" in plan.out
    code, shown = on_terminal(project, "n\n")
    assert code == 5, shown
    assert len(project.creates()) == 1
    code, shown = on_terminal(project, "w\n")
    assert code == 5, shown
    assert "w submits them without the 1 job that resembles what is paid" in shown
    assert "resembles a-red-paper-kite" in shown
    assert len(project.creates()) == 2
    code, shown = on_terminal(project, "y\n")
    assert code == 0, shown
    assert len(project.creates()) == 3
    write(project, nameless(project, "A green paper kite"), named(project, "other", "other"))
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 0
    assert "is new, and resembles" in ran.out
    assert len(project.creates()) == 4


def on_terminal(project: Project, answer: str) -> tuple[int, str]:
    """Run on a terminal, and answer its question; return the exit code and what was shown."""
    mine, theirs = pty.openpty()
    arguments = ("run", "m.yaml", "-q", "--no-report")
    process = project.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, more={"TERM": "dumb"})
    os.close(theirs)
    shown = b""
    answered = False
    while True:
        if not select.select([mine], [], [], ENDS_S)[0]:
            process.kill()
        try:
            shown += os.read(mine, 4096)
        except OSError:  # its end of the terminal is closed
            break
        if not answered and b"/N]" in shown:
            os.write(mine, answer.encode())
            answered = True
    os.close(mine)
    assert answered, shown.decode()
    return process.wait(30), shown.decode()


def test_an_id_that_is_written_keeps_the_clip(project: Project) -> None:
    """As the plan says."""
    write(project, nameless(project, "A red paper kite"))
    project.batchvid("run", "m.yaml")
    (old,) = project.states()
    write(project, named(project, old, "A blue paper kite"))
    assert project.batchvid("run", "m.yaml").code == 0
    assert len(project.creates()) == 1


def test_a_folder_that_comes_back_in_another_form_is_the_same(project: Project) -> None:
    """The ids are made of the file names, and so are the clips' names."""
    from PIL import Image  # noqa: PLC0415 one test draws

    pairs = project.folder / "p"
    pairs.mkdir()
    Image.new("RGB", (64, 36), "blue").save(pairs / "cafe\u0301_first.png")
    job = f'{{pairs: p, prompt: "a move, {{name}} of {project.folder.name}"}}'
    write(project, job, more='filename: "{name}.mp4"')
    assert project.batchvid("run", "m.yaml").code == 0
    (pairs / "cafe\u0301_first.png").rename(pairs / "caf\u00e9_first.png")
    (project.out / "caf\u00e9.mp4").rename(project.out / "cafe\u0301.mp4")
    assert project.batchvid("run", "m.yaml").code == 0
    assert sum(project.creates().values()) == 1
    assert (project.out / "caf\u00e9.mp4").exists()
    told = json.loads((project.out / "clips.jsonl").read_text("utf-8"))
    assert told["path"] == "caf\u00e9.mp4"
