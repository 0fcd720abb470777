"""What ``check`` shows of the frames, and that what is sent of a fitted one is what was promised."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.cli.project import Project

JOBS = """
defaults: {prompt: x, size: 16x9}
jobs:
  - {id: a, first_frame: wide.png, last_frame: square.png, fit: pad}
  - {id: b, first_frame: square.png}
  - {id: c, first_frame: square.png, size: landscape}
  - {id: d, first_frame: tall.jpg, takes: 1000, fit: crop}
"""


@pytest.fixture
def framed(project: Project) -> Project:
    """Return a project with frames of three shapes."""
    for name, size in (("wide.png", (160, 90)), ("square.png", (100, 100)), ("tall.jpg", (99, 201))):
        Image.new("RGB", size, "navy").save(project.folder / name)
    (project.folder / "m.yaml").write_text(JOBS, encoding="utf-8")
    return project


def test_check_shows_each_frame_with_what_becomes_of_it(framed: Project) -> None:
    """One line a file and use, and the misfits are warned of with their lines."""
    ran = framed.batchvid("check", "m.yaml")
    assert ran.code == 0, ran
    head, *lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert head == "m.yaml: 1,003 jobs, no problems"
    sizes = [f"{(framed.folder / name).stat().st_size} B" for name in ("wide.png", "square.png", "tall.jpg")]
    assert lines == [
        "frame pixels ratio type bytes jobs for",
        f"wide.png 160x90 16:9 PNG {sizes[0]} 1 16x9 fits",
        f"square.png 100x100 1:1 PNG {sizes[1]} 1 16x9 pad to 178x100",
        f"square.png 100x100 1:1 PNG {sizes[1]} 1 16x9 DOES NOT FIT: fit: pad or fit: crop helps",
        f"square.png 100x100 1:1 PNG {sizes[1]} 1 landscape sent as it is",
        f"tall.jpg 99x201 0.49:1 JPEG {sizes[2]} 1,000 16x9 crop to 99x56",
    ]
    assert ": jobs[1].first_frame: is 100x100, and the clip 16x9" in ran.err
    assert "jobs[0].last_frame: is 178x100, and the first frame 160x90: make them alike" in ran.err


def test_check_shows_a_few_frames_to_people_and_all_to_programs(project: Project) -> None:
    """A hundred thousand lines are no table."""
    for number in range(25):
        Image.new("RGB", (16, 9)).save(project.folder / f"f{number}.png")
    rows = "".join(f"  - {{id: j{n}, prompt: x, size: 16x9, first_frame: f{n}.png}}\n" for n in range(25))
    (project.folder / "m.yaml").write_text("jobs:\n" + rows, encoding="utf-8")
    lines = project.batchvid("check", "m.yaml").out.splitlines()
    assert len(lines) == 1 + 1 + 20 + 1
    assert lines[-1] == "  … and 5 more (all of them: batchvid check --json)"
    told = json.loads(project.batchvid("check", "m.yaml", "--json").out)
    assert [frame["file"] for frame in told["frames"]] == [f"f{number}.png" for number in range(25)]
    assert told["frames"][0] | {"size_bytes": 0, "sha256": ""} == {
        "manifest": "m.yaml",
        "file": "f0.png",
        "width": 16,
        "height": 9,
        "type": "image/png",
        "size_bytes": 0,
        "sha256": "",
        "jobs": 1,
        "size": "16x9",
        "fits": True,
        "prepared": None,
        "sent_width": 16,
        "sent_height": 9,
    }


def test_an_upgrade_of_the_image_library_buys_nothing_again(framed: Project) -> None:
    """Another coder makes other bytes of the same picture: with ``on_change: rebuy`` too, the plan stays empty."""
    limits = "limits: {submits: 50/s, typical_time: 0.3s, poll_every: 0.05s..0.5s, on_change: rebuy}\n"
    jobs = "jobs: [{id: a, prompt: 'upgrade of NAME', size: 16x9, fit: pad, first_frame: tall.jpg}]\n"
    jobs = jobs.replace("NAME", framed.folder.name)
    (framed.folder / "m.yaml").write_text(limits + jobs, encoding="utf-8")
    assert framed.batchvid("run", "m.yaml").code == 0
    upgraded = framed.folder / "upgraded"
    upgraded.mkdir()
    upgrade = """
        import sys
        import batchvid.media.images as preparation

        preparation.JPEG_QUALITY = 60
        print("upgraded", file=sys.stderr)
    """
    (upgraded / "sitecustomize.py").write_text(textwrap.dedent(upgrade), encoding="utf-8")
    path = f"{upgraded}:{framed.environment()['PYTHONPATH']}"
    ran = framed.batchvid("run", "m.yaml", PYTHONPATH=path)
    assert ran.code == 0, ran
    assert "upgraded" in ran.err
    assert framed.creates() == {f"upgrade of {framed.folder.name}": 1}
    changed = framed.folder / "tall.jpg"
    Image.new("RGB", (99, 201), "green").save(changed)
    assert framed.batchvid("run", "m.yaml", PYTHONPATH=path).code == 0
    assert framed.creates() == {f"upgrade of {framed.folder.name}": 2}


def test_only_who_would_send_a_frame_decodes_it(framed: Project) -> None:
    """What looks at paid jobs works beside a picture that is damaged inside; what would send it tells the damage."""
    path = framed.folder / "wide.png"
    data = path.read_bytes()
    path.write_bytes(data.replace(data[data.index(b"IDAT") + 6 :][:4], bytes(4)))
    for command, *options in (["plan"], ["check"], ["run", "--sandbox"]):
        ran = framed.batchvid(command, "m.yaml", *options)
        assert ran.code == 65, ran
        assert "jobs[0].first_frame: wide.png: is damaged: the PNG does not decode" in ran.err
    for command, *options in (["status"], ["export"], ["report"], ["doubts"], ["verify"], ["retry", "--failed"]):
        ran = framed.batchvid(command, "m.yaml", *options)
        assert ran.code != 65, ran
        assert "damaged" not in ran.err
