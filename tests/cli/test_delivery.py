"""A clip that is not what was asked for is kept, told everywhere, and never bought again by itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cli.project import QUICK

if TYPE_CHECKING:
    from tests.cli.project import Project

DIFFERS = ["64x36 pixels, not 1920x1080"]


def test_other_pixels_than_were_asked_for_are_told_once_and_nothing_is_bought_for_them(project: Project) -> None:
    """By the run, the sidecar, the report and ``verify``; the exit code stays 0. The sandbox draws small here."""
    limits = "\n".join(f"  {key}: {value}" for key, value in QUICK.items())
    jobs = "\n".join(
        f'  - {{id: {name}, prompt: "{name} of {project.folder.name}", model: veo3.1, size: {size}, seconds: "4"}}'
        for name, size in (("large", "1920x1080"), ("hint", "16x9"))
    ).replace('model: veo3.1, size: 16x9, seconds: "4"', "size: 16x9")
    (project.folder / "m.yaml").write_text(f"version: 1\nlimits:\n{limits}\njobs:\n{jobs}\n", encoding="utf-8")
    ran = project.batchvid("run", "m.yaml", "--json")
    assert ran.code == 0, ran
    warning = "large is not what was asked for: large.mp4 has 64x36 pixels, not 1920x1080. It is kept"
    assert ran.err.count(warning) == 1
    assert "hint is not" not in ran.err
    assert [row.get("differs") for row in ran.told if row.get("event") == "clip_saved" and row["id"] == "large"] == [
        DIFFERS
    ]
    told = {name: json.loads((project.out / f"{name}.json").read_bytes())["differs"] for name in ("large", "hint")}
    assert told == {"large": DIFFERS, "hint": []}
    again = project.batchvid("run", "m.yaml")
    assert (again.code, sum(project.creates().values())) == (0, 2)
    assert "not what was asked for" not in again.err
    verified = project.batchvid("verify", "m.yaml")
    assert verified.code == 0
    assert verified.out == (
        "large: not what was asked for, but whole: 64x36 pixels, not 1920x1080\n2 clips OK (1 not as asked)\n"
    )
    assert project.batchvid("verify", "m.yaml", "--repair", "--json").told == [
        {"type": "differs", "id": "large", "differs": DIFFERS},
        {"type": "verify", "clips": 2, "wrong": 0, "repaired": 0, "differs": 1},
    ]
    assert "not as asked: 64x36 pixels, not 1920x1080" in (project.out / "report.html").read_text(encoding="utf-8")
