"""Approved clips are handed on in a folder, which may be filled again after each review, and never loses a file."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.project import Project, Ran


@pytest.fixture
def reviewed(project: Project) -> Project:
    """Return a project with three clips, two of them approved."""
    project.manifest("=kite", "gull", "wave", budget="9.00")
    assert project.batchvid("run", "m.yaml", "--no-report").code == 0
    assert project.batchvid("approve", "m.yaml", "job-1", "job-3", "--stars", "4").code == 0
    return project


def names(folder: Path) -> list[str]:
    """Return the files of a folder, without the list."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name[:1] != "."
    )


def collect(project: Project, *more: str) -> Ran:
    """Collect into ``final``."""
    return project.batchvid("collect", "m.yaml", "final", *more)


def test_approved_clips_are_copied_once_and_follow_the_reviews(reviewed: Project) -> None:
    """Again and again: what is there stays, and what is not approved any more goes."""
    final = reviewed.folder / "final"
    first = collect(reviewed)
    assert (first.code, first.out) == (0, "2 clips in final (2 new)\n"), first
    assert names(final) == ["job-1.mp4", "job-3.mp4"]
    assert (final / "job-1.mp4").read_bytes() == (reviewed.out / "job-1.mp4").read_bytes()
    before = (final / "job-1.mp4").stat()
    assert collect(reviewed).out == "2 clips in final (2 kept)\n"
    assert (final / "job-1.mp4").stat().st_ino == before.st_ino
    reviewed.batchvid("reject", "m.yaml", "job-1", "--note", "no")
    reviewed.batchvid("run", "m.yaml", "--no-report")
    gone = collect(reviewed, "--json")
    assert [(one["file"], one["became"]) for one in gone.told[:-1]] == [("job-3.mp4", "kept"), ("job-1.mp4", "removed")]
    reviewed.batchvid("approve", "m.yaml", "job-1")
    collect(reviewed)
    assert (final / "job-1.mp4").read_bytes() == (reviewed.out / "job-1.mp4").read_bytes()
    reviewed.batchvid("approve", "m.yaml", "job-1", "--clear")
    reviewed.batchvid("approve", "m.yaml", "job-1", "--attempt", "1")
    assert collect(reviewed).code == 0
    assert (final / "job-1.mp4").read_bytes() == (reviewed.out / "job-1.attempt-1.mp4").read_bytes()


def test_links_need_no_room(reviewed: Project) -> None:
    """They are the very files."""
    assert collect(reviewed, "--link").code == 0
    final = reviewed.folder / "final"
    assert (final / "job-1.mp4").samefile(reviewed.out / "job-1.mp4")
    assert collect(reviewed, "--link").out == "2 clips in final (2 kept)\n"


def test_nobody_elses_file_is_touched(reviewed: Project) -> None:
    """Neither one that has a clip's name, nor one that was edited since."""
    final = reviewed.folder / "final"
    final.mkdir()
    (final / "job-1.mp4").write_bytes(b"my own")
    (final / "notes.txt").write_text("keep")
    found = collect(reviewed)
    assert (found.code, found.err) == (8, "job-1.mp4: another file has the name: move it away\n"), found
    assert (final / "job-1.mp4").read_bytes() == b"my own"
    (final / "job-3.mp4").write_bytes(b"edited")
    reviewed.batchvid("approve", "m.yaml", "job-*", "--clear")
    found = collect(reviewed)
    assert (found.code, "it was changed since it was collected, and stays" in found.err) == (8, True), found
    assert names(final) == ["job-1.mp4", "job-3.mp4", "notes.txt"]
    assert collect(reviewed).code == 0


@pytest.mark.parametrize("how", [(), ("--link",)])
def test_the_last_copy_of_a_paid_clip_stays(reviewed: Project, how: tuple[str, ...]) -> None:
    """An earlier attempt is approved and collected, and then its clip is deleted from the output."""
    reviewed.batchvid("reject", "m.yaml", "job-2", "--note", "no")
    reviewed.batchvid("run", "m.yaml", "--no-report")
    reviewed.batchvid("approve", "m.yaml", "job-2", "--attempt", "1")
    assert collect(reviewed, *how).code == 0
    final = reviewed.folder / "final"
    (reviewed.out / "job-2.attempt-1.mp4").unlink()
    for _ in range(2):
        found = collect(reviewed, *how)
        assert (found.code, found.err) == (8, "job-2.mp4: its clip is not in the output any more: it stays\n"), found
        assert names(final) == ["job-1.mp4", "job-2.mp4", "job-3.mp4"]
    reviewed.batchvid("approve", "m.yaml", "job-2", "--attempt", "1", "--clear")
    assert collect(reviewed, *how).code == 0
    assert names(final) == ["job-1.mp4", "job-3.mp4"]


def test_two_outputs_share_a_folder(reviewed: Project) -> None:
    """What another one has collected is not taken away."""
    collect(reviewed, "--name", "a/{id}.mp4")
    reviewed.batchvid("run", "m.yaml", "--no-report", "--output", "other")
    reviewed.batchvid("approve", "m.yaml", "job-2", "--output", "other")
    other = reviewed.batchvid("collect", "m.yaml", "final", "--output", "other")
    assert other.code == 0, other
    assert names(reviewed.folder / "final") == ["a/job-1.mp4", "a/job-3.mp4", "job-2.mp4"]


def test_a_changed_clip_is_not_handed_on(reviewed: Project) -> None:
    """Nothing half is left either."""
    data = bytearray((reviewed.out / "job-1.mp4").read_bytes())
    data[-1] ^= 1
    (reviewed.out / "job-1.mp4").write_bytes(data)
    (reviewed.out / "job-3.mp4").unlink()
    for how in ("--copy", "--link"):
        found = collect(reviewed, how)
        assert found.code == 8
        assert "its clip job-1.mp4 was changed" in found.err
        assert "its clip job-3.mp4 is missing" in found.err
        assert sorted(os.listdir(reviewed.folder / "final")) == [".batchvid-collected.json"]  # noqa: PTH208 hidden ones too


def test_names_are_made_by_a_template(project: Project) -> None:
    """With what a job is made of, and safe for every file system."""
    (project.folder / "m.yaml").write_text(
        "version: 1\nprices: {veo3-fast: 0.40}\nlimits: {submits: 50/s, typical_time: 0.3s, poll_every: 0.05s..0.5s}\n"
        "jobs:\n- {id: '{hue}', prompt: 'a {hue} kite, {mood}', takes: 2, size: 16x9,\n"
        "   matrix: {hue: [red, blue], mood: ['calm: or \\u0022wild\\u0022?']}}\n".replace("\\u0022", '"'),
        encoding="utf-8",
    )
    ran = project.batchvid("run", "m.yaml", "--no-report")
    assert ran.code == 0, ran
    project.batchvid("approve", "m.yaml", "*", "--stars", "3")
    found = collect(project, "--name", "{hue}/{index}-{mood}-{take}-{stars}-{model}-{size}.mp4")
    assert found.code == 0, found
    assert names(project.folder / "final") == [
        "blue/03-calm- or -wild---1-3-veo3-fast-16x9.mp4",
        "blue/04-calm- or -wild---2-3-veo3-fast-16x9.mp4",
        "red/01-calm- or -wild---1-3-veo3-fast-16x9.mp4",
        "red/02-calm- or -wild---2-3-veo3-fast-16x9.mp4",
    ]
    for wrong, words in (
        ("{hue}.mp4", "would be the name of two clips"),
        ("{nobody}.mp4", "is no variable here"),
        ("../{id}.mp4", "leads elsewhere"),
        ("/var/{id}.mp4", "is absolute"),
        ("{id}", "does not end in .mp4"),
    ):
        slip = collect(project, "--name", wrong)
        assert (slip.code in {2, 78}, words in slip.err) == (True, True), slip
    assert project.batchvid("collect", "m.yaml", "out/m").code == 2


def test_names_may_hold_the_prompt_and_a_tables_columns(project: Project) -> None:
    """Also a column from which the prompt is only made, and one that is a field of the job."""
    (project.folder / "rows.csv").write_text("id,prompt,hero\na,Kite,Mia\nb,Boat,Noa\n", encoding="utf-8")
    (project.folder / "m.yaml").write_text(
        "version: 1\nprices: {veo3-fast: 0.40}\nlimits: {submits: 50/s, typical_time: 0.3s, poll_every: 0.05s..0.5s}\n"
        "jobs:\n- {from: rows.csv, prompt: '{prompt} of {hero}'}\n- {id: c, prompt: Gull}\n- {from: more.csv}\n",
        encoding="utf-8",
    )
    (project.folder / "more.csv").write_text("id,prompt,seconds\nd,Dove,8\n", encoding="utf-8")
    ran = project.batchvid("run", "m.yaml", "--no-report")
    assert ran.code == 0, ran
    project.batchvid("approve", "m.yaml", "*")
    found = collect(project, "--name", "{id}-{prompt}.mp4")
    assert found.code == 0, found
    assert names(project.folder / "final") == ["a-Kite.mp4", "b-Boat.mp4", "c-Gull.mp4", "d-Dove.mp4"]
    assert project.batchvid("reject", "m.yaml", "c", "d", "--note", "dull").code == 0
    found = collect(project, "--name", "{hero}.mp4")
    assert found.code == 0, found
    assert names(project.folder / "final") == ["Mia.mp4", "Noa.mp4"]


def test_a_list_that_leads_elsewhere_removes_nothing(reviewed: Project) -> None:
    """Somebody may have written it."""
    collect(reviewed)
    victim = reviewed.folder / "victim.mp4"
    victim.write_bytes(b"precious")
    found = victim.stat()
    listed = reviewed.folder / "final" / ".batchvid-collected.json"
    told = json.loads(listed.read_text())
    mark = [found.st_ino, found.st_size, found.st_mtime_ns]
    line = next(iter(told["collected"].values())) | {"file": mark, "sha256": hashlib.sha256(b"precious").hexdigest()}
    told["collected"] |= {"../victim.mp4": line, str(victim): line}
    (reviewed.folder / "final" / "link").symlink_to(reviewed.folder)
    told["collected"] |= {"link/victim.mp4": line}
    listed.write_text(json.dumps(told))
    collect(reviewed)
    assert victim.read_bytes() == b"precious"
