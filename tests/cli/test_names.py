"""Output on real disks that do not take every name: exFAT, and NTFS with the rules of Windows; in a file each."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from shutil import which
from typing import TYPE_CHECKING

import pytest

from tests.cli.project import QUICK, Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = {
    "exfat": (["mkfs.exfat"], ["mount.exfat-fuse"]),
    "ntfs": (["mkfs.ntfs", "-F", "-q", "-f"], ["mount.ntfs-3g", "-o", "windows_names"]),
}
"""How such a disk is made, and mounted."""
TITLES = {"q": "What now?", "c": "Part 1: the boat", "d": "Dawn", "z": "Zenith"}
SAFE = {"q": "What now-.mp4", "c": "Part 1- the boat.mp4", "d": "Dawn.mp4", "z": "Zenith.mp4"}


def tried(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the system."""
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


def done(*words: str | Path) -> str:
    """Run a command of the system; skip the test where this machine cannot or may not."""
    ran = tried(*words)
    if ran.returncode:
        pytest.skip(f"{words[0]}: {ran.stderr.strip().splitlines()[-1:]}")
    return ran.stdout.strip()


@contextmanager
def disk(kind: str, folder: Path) -> Iterator[Path]:
    """Mount an empty disk of that kind."""
    make, mount = KINDS[kind]
    if os.geteuid() != 0 or not all(map(which, (make[0], mount[0], "losetup", "umount"))):
        pytest.skip(f"needs root, {make[0]} and {mount[0]}")
    image, point = folder / f"{kind}.img", folder / kind
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    done(*make, image)
    loop = done("losetup", "--find", "--show", image)
    try:
        done(*mount, loop, point)
        yield point
    finally:
        tried("umount", "-l", point)
        tried("losetup", "-d", loop)


@pytest.fixture
def exfat(project: Project) -> Iterator[Path]:
    """Mount exFAT."""
    with disk("exfat", project.folder) as point:
        yield point


def manifest(project: Project, output: Path, *, jobs: list[str], **more: str) -> None:
    """Write ``m.yaml``."""
    limits = ", ".join(f"{key}: {value}" for key, value in QUICK.items())
    head = {"version": "1", "output": f'"{output}"', "prices": "{veo3-fast: 0.40}", "limits": f"{{{limits}}}"}
    lines = [f"{key}: {value}" for key, value in (head | more).items()]
    (project.folder / "m.yaml").write_text("\n".join([*lines, "jobs:", *jobs]) + "\n", encoding="utf-8")


def titled(project: Project, **titles: str) -> list[str]:
    """Return jobs with these titles, by their ids."""
    return [
        f"  - {{id: {job_id}, prompt: '{job_id} of {project.folder.name}', matrix: {{title: [\"{title}\"]}}}}"
        for job_id, title in titles.items()
    ]


def clips(output: Path) -> set[str]:
    """Return the clips that are there."""
    return {str(path.relative_to(output)) for path in output.rglob("*.mp4")}


def test_one_name_that_the_disk_does_not_take_stops_nobody(project: Project, exfat: Path) -> None:
    """Two of four wait, and nothing is paid for them, however often it runs; check, plan and status say why."""
    out = exfat / "out"
    manifest(project, out, filename='"{title}.mp4"', jobs=titled(project, **TITLES))
    for command in ("check", "plan"):
        told = project.batchvid(command, "m.yaml")
        assert told.code == 0
        assert "that may not take 2 names: q: What now?.mp4; c: Part 1: the boat.mp4" in told.err
        assert "safe_names: true writes names that it takes" in told.err
    for _ in range(2):
        ran = project.batchvid("run", "m.yaml")
        assert ran.code == 3, ran
        assert "removed or unmounted" not in ran.out + ran.err
        for job_id, name in (("q", "What now?.mp4"), ("c", "Part 1: the boat.mp4")):
            assert f"{job_id} is not sent: its file system (fuseblk) does not take the name '{name}'" in ran.out
            assert f"  waiting   {job_id}: its file system" in ran.out
        assert clips(out) == {"Dawn.mp4", "Zenith.mp4"}
        assert len(project.creates()) == 2
    assert "may not take 2 names" in project.batchvid("status", "m.yaml").err


def test_an_output_that_cannot_be_called_so_is_told(project: Project, exfat: Path) -> None:
    """Before anything is paid, and not as one that was unmounted."""
    manifest(project, exfat / "what now?", jobs=["  - {id: kite, prompt: x}"])
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 8, ran
    assert "the file system does not take such a name: choose another one" in ran.err
    assert project.creates() == {}


def test_safe_names_are_the_names_everywhere(project: Project, exfat: Path) -> None:
    """On disk, in the sidecars, the list, the report, the film, and for verify; what was there keeps its name."""
    out = exfat / "out"
    manifest(project, out, filename='"{title}.mp4"', jobs=titled(project, **TITLES))
    assert project.batchvid("run", "m.yaml").code == 3
    films = "[{id: nul, clips: [q, d]}]"
    manifest(project, out, filename='"{title}.mp4"', safe_names="true", films=films, jobs=titled(project, **TITLES))
    for command in ("check", "plan"):
        told = project.batchvid(command, "m.yaml")
        assert "may not take" not in told.err
        names = "What now?.mp4 -> What now-.mp4; Part 1: the boat.mp4 -> Part 1- the boat.mp4"
        assert f"safe_names: 2 names not as written: {names}" in told.out
    checked = project.batchvid("check", "m.yaml", "--json").told[0]
    written = {one["id"]: (one["written"], one["path"]) for one in checked["safe_names"]}
    assert written == {job_id: (f"{TITLES[job_id]}.mp4", SAFE[job_id]) for job_id in ("q", "c")}
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 0, ran
    assert set(project.creates().values()) == {1}
    assert len(project.creates()) == 4
    assert clips(out) == {*SAFE.values(), "nul-.mp4"}
    listed = [json.loads(line) for line in (out / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["id"]: line["path"] for line in listed} == SAFE
    for name in SAFE.values():
        assert json.loads((out / name.replace(".mp4", ".json")).read_text(encoding="utf-8"))["path"] == name
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What%20now-.mp4" in page or "What now-.mp4" in page
    assert project.batchvid("verify", "m.yaml", "--deep").code == 0
    (out / SAFE["q"]).unlink()
    again = project.batchvid("run", "m.yaml")
    assert again.code == 0, again
    assert clips(out) == {*SAFE.values(), "nul-.mp4"}
    assert set(project.creates().values()) == {1}


def test_what_was_paid_for_another_disk_is_kept_on_this_one(project: Project, exfat: Path) -> None:
    """A night that began on a disk that takes the name goes on where it is refused: the clip is not lost."""
    out = project.folder / "out" / "m"
    manifest(project, out, filename='"{title}.mp4"', jobs=titled(project, q="What now?", d="Dawn"))
    assert project.batchvid("run", "m.yaml", "--max-jobs", "1").code == 5
    journal = out / ".batchvid"
    for path in out.glob("*now*"):
        path.unlink()
    (exfat / "out").mkdir()
    done("cp", "-r", journal, exfat / "out")
    ran = project.batchvid("run", "m.yaml", "--output", exfat / "out", "--moved")
    assert ran.code == 0, ran
    kept = json.loads((exfat / "out" / "clips.jsonl").read_text(encoding="utf-8").splitlines()[0])["path"]
    assert clips(exfat / "out") == {kept, "Dawn.mp4"}
    assert kept.startswith("q-")
    assert f"q: its clip is kept as {kept}, because its file system (fuseblk) does not take the name" in ran.out
    assert set(project.creates().values()) == {1}
    assert project.batchvid("verify", "m.yaml", "--output", exfat / "out", "--deep").code == 0


def test_windows_rules_for_folders_and_devices_are_tried_and_obeyed(project: Project) -> None:
    """A folder that ends in a dot, and a job that is called like a device: refused first, and then written safely."""
    with disk("ntfs", project.folder) as point:
        jobs = titled(project, con="act 1.", kite="act 2")
        manifest(project, point / "out", filename='"{title}/{id}.mp4"', jobs=jobs)
        ran = project.batchvid("run", "m.yaml")
        assert ran.code == 3, ran
        assert "does not take the name 'act 1./con.mp4'" in ran.out
        assert clips(point / "out") == {"act 2/kite.mp4"}
        manifest(project, point / "out", filename='"{title}/{id}.mp4"', safe_names="true", jobs=jobs)
        assert project.batchvid("run", "m.yaml").code == 0
        assert clips(point / "out") == {"act 1/con-.mp4", "act 2/kite.mp4"}
        assert set(project.creates().values()) == {1}


def test_names_of_any_script_are_made_and_found_again(project: Project, exfat: Path) -> None:
    """Emoji beyond 16 bits, long names, and letters in two forms; another case of an id is the same clip."""
    titles = {"a": "\U0001f600 größe", "b": "日" * 60, "c": "cafe\u0301", "Kite": "kite"}
    manifest(project, exfat / "out", filename='"{id} {title}.mp4"', jobs=titled(project, **titles))
    assert project.batchvid("run", "m.yaml").code == 0
    assert project.batchvid("run", "m.yaml").code == 0
    assert "c caf\u00e9.mp4" in clips(exfat / "out")
    titles = {"a": titles["a"], "b": titles["b"], "c": "caf\u00e9", "kite": "kite"}
    manifest(project, exfat / "out", filename='"{id} {title}.mp4"', jobs=titled(project, **titles))
    text = (project.folder / "m.yaml").read_text(encoding="utf-8").replace("'kite of", "'Kite of")
    (project.folder / "m.yaml").write_text(text, encoding="utf-8")
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 0, ran
    assert len(clips(exfat / "out")) == 4
    assert set(project.creates().values()) == {1}
    assert project.batchvid("verify", "m.yaml").code == 0
