"""The six jobs that every server gets, and what becomes of them: asked of the real program, and of whoever was paid."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
from PIL import Image

from batchvid.media.frames import decode_clip
from tests.servers.environments import REPOSITORY

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path

KEY_ENV = "SERVERS_KEY"
KEY, WRONG_KEY = "sk-servers-5f1d7c0b9a3e", "sk-nobody-0c4e8d21"
RUN_TIMEOUT_S = 180.0
FIRST, LAST = (200, 30, 30), (30, 30, 200)
"""The colours of the two frames."""
PROMPTS = {
    "model": "A model that nobody has.",
    "text": "A paper kite floats above a field.",
    "first": "The kite rises from its first frame.",
    "size": "A clip of an odd size.",
    "fails": "A clip that fails at the server.",
    "lost": "A clip whose answer is lost.",
    "key": "A clip for a key that nobody knows.",
    "both": "The kite flies from its first frame to its last.",
    "two": "The same, at a service that is said to take two frames.",
}
"""The prompt of each job."""
FIVE = ("model", "text", "first", "size", "fails")
"""The jobs of one manifest. The wrong model comes first: it must not end the run."""


@dataclass(frozen=True, slots=True)
class Site:
    """A server at work."""

    base_url: str
    model: str
    size: str
    odd_size: str
    paid: Callable[[], Counter[str]]
    """How many times each prompt was paid for, or was begun by the engine."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One call of batchvid."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a job."""

    job: str
    became: str
    """``clip``, with the frames that it shows; ``failed``; ``refused``, where nothing was paid; ``stopped by check``;
    or the state that it is in."""
    reason: str
    paid: int
    code: int


class Scene:
    """A folder with the manifests for one server, and the runs of them."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        self.site = site
        width, height = map(int, site.size.split("x"))
        for name, colour in (("first", FIRST), ("last", LAST)):
            Image.new("RGB", (width, height), colour).save(folder / f"{name}.png")

    def batchvid(self, *arguments: str | Path, key: str = KEY) -> Ran:
        """Run the real program to its end."""
        ran = subprocess.run(
            [sys.executable, "-m", "batchvid", *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, KEY_ENV: key, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def five(self) -> Path:
        """Write the jobs that every provider can have."""
        more = {
            "model": {"model": "no-such-model"},
            "first": {"first_frame": "first.png"},
            "size": {"size": self.site.odd_size},
        }
        jobs = [{"id": name, "prompt": PROMPTS[name], **more.get(name, {})} for name in FIVE]
        return self._write("five.yaml", jobs)

    def one(self, job: str) -> Path:
        """Write a job that has a manifest of its own."""
        return self._write(f"{job}.yaml", [{"id": job, "prompt": PROMPTS[job]}])

    def both(self) -> Path:
        """Write the job with two frames."""
        return self._write("both.yaml", [self._with_two_frames("both")])

    def two(self) -> Path:
        """Write the same, and that the server takes two frames."""
        return self._write("two.yaml", [self._with_two_frames("two")], frames="two")

    def _with_two_frames(self, job: str) -> dict[str, Any]:
        return {"id": job, "prompt": PROMPTS[job], "first_frame": "first.png", "last_frame": "last.png"}

    def _write(self, name: str, jobs: list[dict[str, Any]], **service: Any) -> Path:
        tree = {
            "version": 1,
            "service": {"provider": "openai", "base_url": self.site.base_url, "key_env": KEY_ENV, **service},
            "limits": {
                "submits": "20/s", "requests": "50/s", "in_flight": 3, "attempts": 1, "typical_time": "2s",
                "poll_every": "0.3s..2s", "backoff": "0.1s..1s", "task_timeout": "60s", "budget": 10,
            },
            "prices": {self.site.model: 0.4, "no-such-model": 0.4},
            "defaults": {"model": self.site.model, "size": self.site.size, "seconds": "4"},
            "jobs": jobs,
        }  # fmt: skip
        path = self.folder / name
        path.write_text(json.dumps(tree, indent=1), encoding="utf-8")  # JSON is YAML
        return path

    def run(self, path: Path, *, key: str = KEY) -> Ran:
        """Run a manifest."""
        return self.batchvid("run", path, "--json", "--no-report", key=key)

    def states(self, path: Path) -> dict[str, dict[str, Any]]:
        """Return what the journal holds of each job."""
        found = self.batchvid("status", path, "--json").out
        return {job["id"]: job for job in json.loads(found)["jobs"]}

    def rows(self, path: Path, ran: Ran) -> list[Row]:
        """Return what became of the jobs of a manifest that was run."""
        paid = self.site.paid()
        return [self._row(path, job, found, ran, paid) for job, found in self.states(path).items()]

    def _row(self, path: Path, job: str, found: dict[str, Any], ran: Ran, paid: Counter[str]) -> Row:
        times = paid[PROMPTS[job]]
        became, reason = found["state"], str(found["reason"] or "")
        if became == "done":
            clip = self.folder / "out" / path.stem / str(found["path"])
            became, reason = look(clip)
        elif became == "failed" and not times:
            became = "refused"
        return Row(job, became, reason, times, ran.code)


def look(clip: Path) -> tuple[str, str]:
    """Return what a clip is of, ``clip from first to last``, and its size; a clip that does not decode is lost."""
    try:
        probe = decode_clip(clip)
    except (ValueError, OSError) as error:
        return "lost", str(error)
    with av.open(str(clip), "r") as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]  # type: ignore[no-untyped-call] # PyAV's own gap
    begins, ends = _shows(pictures[0]), _shows(pictures[-1])
    words = ["clip", *([f"from {begins}"] if begins else []), *([f"to {ends}"] if ends != begins else [])]
    return " ".join(words), f"{probe.width}x{probe.height}, {probe.frames} frames"


def _shows(picture: Image.Image) -> str:
    """Return which of the two frames a picture is, if it is one."""
    colour = picture.convert("RGB").resize((1, 1)).getpixel((0, 0))
    for name, wanted in (("first", FIRST), ("last", LAST)):
        if isinstance(colour, tuple) and all(abs(a - b) < 30 for a, b in zip(colour, wanted, strict=True)):
            return name
    return ""
