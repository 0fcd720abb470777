"""A run that has nothing to buy: it looks at every clip before it says that all is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.project import Project


@pytest.fixture
def made(project: Project) -> Project:
    """Return a project whose three clips are there."""
    project.manifest("=kite", "gull", "wave")
    ran = project.batchvid("run", "m.yaml", "--no-report")
    assert ran.code == 0, ran
    return project


def bought(project: Project) -> int:
    """Count what was paid."""
    return sum(project.creates().values())


def cut(clip: Path) -> None:
    """Leave half of a clip."""
    clip.write_bytes(clip.read_bytes()[:-1])


@pytest.mark.parametrize("options", [(), ("-q",), ("-v",), ("--json",), ("--until", "06:00"), ("--only", "job-1")])
def test_a_finished_manifest_says_the_same_every_night(made: Project, options: tuple[str, ...]) -> None:
    """Nothing is sent, asked or changed; text, JSON and exit code are those of a run that is through."""
    requests = made.service.ledger()["requests"]
    first, again = (made.batchvid("run", "m.yaml", "--no-report", *options) for _ in range(2))
    assert first.code == again.code == 0
    assert made.service.ledger()["requests"] == requests
    assert bought(made) == 3
    if options == ("--json",):
        kinds = [row["type"] for row in first.told]
        assert kinds == [row["type"] for row in again.told] == ["plan", "summary", "exit"]
        assert first.told[1]["counts"]["done"] == 3
    else:
        assert ("1 job: 1 done." if "--only" in options else "3 jobs: 3 done.") in first.out
        assert first.out.splitlines()[0] == again.out.splitlines()[0]


def test_notes_are_told_every_night(made: Project) -> None:
    """A job that changed and is kept, and one that the manifest no longer names, are mentioned by every run."""
    path = made.folder / "m.yaml"
    lines = path.read_text(encoding="utf-8").replace("=kite", "=red kite").splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    for _ in range(2):
        ran = made.batchvid("run", "m.yaml", "--no-report")
        assert "1 job changed after being paid: kept as paid (--rebuy buys the new content): job-1" in ran.out
        assert "1 job in the journal that the manifest no longer names: left alone" in ran.out
        assert "2 jobs: 2 done." in ran.out
    assert "changed" not in made.batchvid("run", "m.yaml", "--no-report", "-q").out


def test_a_missing_clip_is_fetched_again_free(made: Project) -> None:
    """plan, status and report say that it is missing; the run asks for its task and fetches it; nothing is bought."""
    clip = made.out / "job-2.mp4"
    data = clip.read_bytes()
    clip.unlink()
    words = "1 clip is missing or not as saved; a run fetches it again, free: job-2"
    plan = made.batchvid("plan", "m.yaml")
    assert words in plan.out
    assert "collect 1 clip already paid" in plan.out
    rows = {row["id"]: row for row in made.batchvid("plan", "m.yaml", "--json").told if "id" in row}
    assert [name for name, row in rows.items() if row.get("missing")] == ["job-2"]
    assert words in made.batchvid("status", "m.yaml").out
    assert made.status()["missing"] == ["job-2"]
    assert json.loads(made.batchvid("report", "m.yaml", "--json").out)["missing"] == ["job-2"]
    assert "1 clip missing; a run fetches them again, free" in (made.out / "report.html").read_text()
    ran = made.batchvid("run", "m.yaml")
    assert ran.code == 0, ran
    assert words in ran.out
    assert clip.read_bytes() == data
    assert bought(made) == 3
    assert made.status()["missing"] == []
    assert made.states() == {"job-1": "done", "job-2": "done", "job-3": "done"}
    assert made.batchvid("verify", "m.yaml").code == 0
    assert "missing on" not in made.batchvid("run", "m.yaml").out


def test_a_clip_of_another_size_is_kept_beside_and_fetched_again(made: Project) -> None:
    """Somebody has worked on it, or a copy was cut: neither is overwritten."""
    clip = made.out / "job-2.mp4"
    data = clip.read_bytes()
    cut(clip)
    ran = made.batchvid("run", "m.yaml", "--no-report")
    assert ran.code == 0, ran
    assert clip.read_bytes() == data
    assert (made.out / "job-2.attempt-1.mp4").read_bytes() == data[:-1]
    assert bought(made) == 3


def test_a_link_in_a_clips_place_is_left_alone(made: Project) -> None:
    """It may lead to where the clip is kept: it is told, and that is all."""
    clip = made.out / "job-2.mp4"
    clip.rename(made.folder / "elsewhere.mp4")
    clip.symlink_to(made.folder / "elsewhere.mp4")
    ran = made.batchvid("run", "m.yaml", "--no-report")
    assert ran.code == 0, ran
    assert "job-2.mp4 is no regular file: left alone" in ran.out
    assert clip.is_symlink()


def test_a_missing_clip_that_nobody_wants_any_more_is_left_alone(made: Project) -> None:
    """Its job is no longer in the manifest."""
    (made.out / "job-3.mp4").unlink()
    made.manifest("=kite", "gull")
    ran = made.batchvid("run", "m.yaml", "--no-report")
    assert ran.code == 0
    assert not (made.out / "job-3.mp4").exists()
    assert "missing on" not in ran.out


def test_a_missing_clip_comes_although_only_others_may_be_submitted(made: Project) -> None:
    """``--only`` bounds what is bought; what is paid is collected."""
    (made.out / "job-3.mp4").unlink()
    assert made.batchvid("run", "m.yaml", "--no-report", "--only", "job-1").code == 0
    assert (made.out / "job-3.mp4").exists()


@pytest.mark.parametrize(
    ("words", "damage"),
    [
        ("is missing", lambda clip: clip.unlink()),
        ("bytes instead of", cut),
        ("is no regular file", lambda clip: (clip.unlink(), clip.symlink_to("/nowhere"))),
    ],
)
def test_a_quick_verify_finds_what_is_gone_or_cut_off(
    made: Project, words: str, damage: Callable[[Path], object]
) -> None:
    """By presence and size; the exit code and the counts say it."""
    sound = made.batchvid("verify", "m.yaml", "--quick")
    assert sound.code == 0
    assert sound.out == "3 clips OK (presence and size only)\n"
    assert json.loads(made.batchvid("verify", "m.yaml", "--quick", "--json").out) == {
        "type": "verify", "clips": 3, "wrong": 0, "repaired": 0, "quick": True,
    }  # fmt: skip
    damage(made.out / "job-1.mp4")
    found = made.batchvid("verify", "m.yaml", "--quick")
    assert found.code == 3
    assert found.out.startswith("job-1: job-1.mp4 ")
    assert words in found.out.splitlines()[0]
    assert "2 of 3 clips OK" in found.out
    assert "Next: batchvid verify m.yaml --repair" in found.out


def test_a_quick_verify_that_is_to_decode_is_refused(made: Project) -> None:
    """It cannot do both."""
    assert made.batchvid("verify", "m.yaml", "--quick", "--deep").code == 2


def test_another_service_is_refused(made: Project) -> None:
    """The journal belongs to the first."""
    ran = made.batchvid("run", "m.yaml", "--base-url", "http://127.0.0.1:1/v1")
    assert ran.code == 78
    assert "belongs to the service" in ran.err
