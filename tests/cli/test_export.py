"""``export`` and the sidecar: what is told of clips is complete, true, and survives awkward prompts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import av
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.cli.project import Project

JOB_1 = (
    "id: job-1, first_frame: dawn.png, last_frame: dusk.png, size: 16x9, fit: crop, seconds: '8', form: {seed: '7'}, "
)
PAGE = Path(__file__).parents[2] / "batchvid" / "help" / "report.md"
AWKWARD = [
    "=1+1",
    "@SUM(A1)",
    "+49 kites",
    "-2 gulls",
    "\ttab first",
    "\rreturn first",
    "two\nlines",
    "a\rreturn and\r\nboth",
    "quotes \" and , commas; and ' more",
    "the sea, Hội An 🪁 \u202e reversed",
    " space first",
    "'already defused",
]


@pytest.fixture
def awkward(project: Project) -> Project:
    """Return a manifest of awkward prompts, which was never run."""
    jobs = [{"id": f"j{number}", "prompt": prompt} for number, prompt in enumerate(AWKWARD)]
    (project.folder / "m.yaml").write_text(json.dumps({"jobs": jobs}, ensure_ascii=False), encoding="utf-8")
    return project


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_awkward_prompts_come_back_as_they_were(awkward: Project, encoding: str) -> None:
    """In both forms, and whatever the terminal speaks: a file of data is UTF-8."""
    for form in ("csv", "jsonl"):
        ran = awkward.batchvid("export", "m.yaml", "--format", form, PYTHONIOENCODING=encoding)
        assert (ran.code, ran.err) == (0, "")
    raw = awkward.raw("export", "m.yaml", PYTHONIOENCODING=encoding).decode()
    rows = list(csv.DictReader(io.StringIO(raw, newline="")))
    assert [row["prompt"] for row in rows] == AWKWARD
    assert [row["where"] for row in rows] == ["m.yaml:1"] * len(AWKWARD)
    lines = awkward.raw("export", "m.yaml", "--format", "jsonl", PYTHONIOENCODING=encoding).decode().splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == AWKWARD


def test_safe_cells_change_what_begins_like_a_formula_and_nothing_else(awkward: Project) -> None:
    """A spreadsheet computes nothing, and a person still reads the prompt."""
    raw = awkward.raw("export", "m.yaml", "--safe-cells").decode()
    found = [row["prompt"] for row in csv.DictReader(io.StringIO(raw, newline=""))]
    assert found == [f"'{prompt}" for prompt in AWKWARD[:6]] + AWKWARD[6:]


def test_a_hundred_thousand_jobs_are_exported(project: Project) -> None:
    """One row each, in the manifest's order; a reader who has seen enough is no error."""
    text = "jobs:\n" + "".join(f"  - {{id: k{number}, prompt: kite {number}}}\n" for number in range(100_000))
    (project.folder / "m.yaml").write_text(text, encoding="utf-8")
    lines = project.raw("export", "m.yaml").decode().splitlines()
    assert len(lines) == 100_001
    assert lines[-1].startswith("k99999,pending,0,")


def test_a_sidecar_tells_the_truth_in_every_field(project: Project) -> None:
    """Each is held against where it comes from: the manifest, the journal, the file itself, and a decoder."""
    Image.new("RGB", (90, 90), "teal").save(project.folder / "dawn.png")
    Image.new("RGB", (160, 90), "navy").save(project.folder / "dusk.png")
    path = project.manifest("kite")
    text = path.read_text(encoding="utf-8").replace("id: job-1,", JOB_1)
    path.write_text(text, encoding="utf-8")
    before = datetime.now(UTC).replace(microsecond=0)
    assert project.batchvid("run", "m.yaml").code == 0
    told = json.loads((project.out / "job-1.json").read_text(encoding="utf-8"))
    (row,) = project.status()["jobs"]
    data = (project.out / "job-1.mp4").read_bytes()
    with av.open(io.BytesIO(data)) as container:
        video = container.streams.video[0]
        probed = (video.width, video.height, video.codec_context.name, video.frames, bool(container.streams.audio))
        duration_s = float((video.duration or 0) * (video.time_base or 0))
    assert (told["width"], told["height"], told["codec"], told["samples"], told["audio"]) == probed
    assert told["duration_s"] == pytest.approx(duration_s, abs=0.001)
    assert (told["size_bytes"], told["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    for name in ("id", "task_id", "resolved_model", "attempt", "price", "submitted_at", "path", "size_bytes", "sha256"):
        assert told[name] == row[name], name
    first, last = told["frames"]
    assert [frame["file"] for frame in (first, last)] == [
        str(project.folder / name) for name in ("dawn.png", "dusk.png")
    ]
    assert (first["prepared"], last["prepared"]) == ("crop 90x51", None)
    assert last["sha256"] == hashlib.sha256((project.folder / "dusk.png").read_bytes()).hexdigest()
    assert len(first["sha256"]) == 64
    assert (told["prompt"], told["model"], told["size"]) == (f"kite 1 of {project.folder.name}", "veo3-fast", "16x9")
    assert (told["seconds"], told["form"]) == ("8", {"seed": "7"})
    assert (told["batchvid"], told["manifest_changed"]) == (1, False)
    submitted, saved = (datetime.fromisoformat(told[name]) for name in ("submitted_at", "saved_at"))
    assert before <= submitted <= saved <= datetime.now(UTC)
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index("| in `kite.json` |") :].split("\n\n")[0]
    assert [name for name in told if f"`{name}`" not in table] == []
