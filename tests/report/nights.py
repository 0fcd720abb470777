"""Outputs to report on: a long night as a journal would hold it, written through the journal's own interface.

The clips are a few real MP4s under many names, so that ten thousand of them cost no disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import batchvid
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import (
    ClipSaved,
    DownloadFailed,
    GaveUp,
    SubmitAccepted,
    SubmitRefused,
    SubmitStarted,
    SubmitUnsure,
    TaskFailed,
    TaskSucceeded,
    TimedOut,
)
from batchvid.domain.records import rfc3339
from batchvid.engine.posters import FOLDER, picture_name
from batchvid.journal.base import Change
from batchvid.journal.event_log import PACE_CHANGED, EventLog
from batchvid.journal.sqlite import SqliteStore
from batchvid.storage.fs import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchvid.domain.job import Job
    from batchvid.domain.lifecycle import Event

TEN_PM = 1_773_352_800.0
"""2026-03-12T22:00:00Z."""
GROUP = 2000
SUBJECTS = (
    "A paper kite floats above a wide green field",
    "Rain runs down the window of a night train",
    "A potter's hands shape a tall vase on the wheel",
    "Lanterns rise from a river at dusk",
    "A fox crosses fresh snow and looks back",
    "Steam lifts from a bowl of noodles in a street kitchen",
    "The tide turns around a lighthouse",
    "An old cyclist climbs an alpine pass",
)
CAMERAS = ("slow dolly in", "wide, locked off", "handheld, close", "aerial, gliding forward", "macro, shallow focus")
LIGHTS = ("soft morning light", "golden hour", "overcast, muted colours", "neon and wet asphalt")
REFUSED = "the prompt was refused by the safety system"


@dataclass
class Life:
    """The events of one job, as they come to be recorded."""

    job: Job
    events: list[tuple[Event, float]] = field(default_factory=list)

    def change(self) -> Change:
        """Return all of it as one change."""
        return Change.of(Progress.fresh(self.job.id), *self.events)


def write_manifest(folder: Path, number: int) -> Path:
    """Write a manifest of *number* jobs, with two models, and some of them portrait."""
    dice = random.Random(number)  # noqa: S311 an example
    rows = [
        {
            "id": f"{('kite', 'train', 'vase', 'river', 'fox', 'noodles', 'tide', 'pass')[n % 8]}-{n:05d}",
            "prompt": f"{SUBJECTS[n % 8]}, {dice.choice(CAMERAS)}, {dice.choice(LIGHTS)}.",
            "model": "veo3.1" if n % 7 == 3 else "veo3-fast",
            "size": "9x16" if n % 9 == 4 else "16x9",
        }
        for n in range(number)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / "night.yaml"
    head = "version: 1\nprices: {veo3-fast: 0.40, veo3.1: 1.20}\nlimits: {budget: 9000.00}\n"
    path.write_text(f"{head}jobs:\n  - {{from: rows.jsonl}}\n", encoding="utf-8")
    return path


def write_night(folder: Path, number: int, *, clips: Sequence[Path], pictures: Sequence[Path] = ()) -> Path:
    """Let *number* jobs have had their night in *folder*; give the manifest.

    *clips* are the MP4s that the clips are made of, *pictures* their posters (none: there are none yet).
    """
    manifest_path = write_manifest(folder, number)
    manifest = batchvid.load(manifest_path)
    dice = random.Random(1)  # noqa: S311 an example
    state = manifest.output / STATE_FOLDER
    state.mkdir(mode=0o700, parents=True)
    gap_s = 8 * 3600 / number
    with SqliteStore(state / "journal.db").open(service="https://api.example.com/v1") as journal:
        sizes = [clip.stat().st_size for clip in clips]
        lives = [
            _life(job, n, TEN_PM + n * gap_s, dice, size_bytes=sizes[n % len(sizes)])
            for n, job in enumerate(manifest.jobs)
        ]
        changes = {n: life.change() for n, life in enumerate(lives) if life.events}
        every = list(changes.values())
        for first in range(0, len(every), GROUP):
            journal.record(every[first : first + GROUP])
    (manifest.output / FOLDER).mkdir()
    for n, change in changes.items():
        after = change.after
        if after.state == "done" and after.path and after.sha256:
            _link(clips[n % len(clips)], manifest.output / after.path)
            if pictures:
                _link(pictures[n % len(pictures)], manifest.output / FOLDER / picture_name(after.sha256))
    _write_log(state / "log.jsonl")
    return manifest_path


def _link(source: Path, target: Path) -> None:
    copy = target.parent / f".{source.name}"
    if not copy.exists():
        copy.write_bytes(source.read_bytes())
    try:
        os.link(copy, target)
    except OSError:  # a file system without so many links
        target.write_bytes(source.read_bytes())


def _write_log(path: Path) -> None:
    log = EventLog(path)
    slow = [(0, 1.0), (7200, 0.5), (7260, 0.25), (7500, 0.5), (8400, 1.0), (19800, 0.5), (20700, 1.0)]
    for after_s, share in slow:
        log.append({"at": rfc3339(TEN_PM + after_s), "event": PACE_CHANGED, "share": share})
    log.flush()


def _life(job: Job, number: int, at: float, dice: random.Random, *, size_bytes: int) -> Life:
    """Return a job's night: most go well at once, some at the second attempt, a few need a person or wait."""
    life = Life(job)
    if number % 97 == 96:
        return life

    def then(event: Event, after_s: float) -> None:
        nonlocal at
        at += after_s
        life.events.append((event, at))

    def attempt(n: int) -> None:
        then(SubmitStarted(n, job.price_micros, job.fingerprint), 0)

    attempt(1)
    if number % 211 == 40:
        then(SubmitUnsure("the connection broke before an answer came"), 2)
        return life
    if number % 83 == 20:
        then(SubmitRefused("503: the service is busy"), 1)
        attempt(1)
    resolved = "veo-3.1-generate-001" if job.model == "veo3.1" else "veo-3.0-fast-generate-001"
    then(SubmitAccepted(f"task-{job.id}", resolved), 1.2)
    if number % 151 == 77:
        then(TimedOut("the task is still unfinished after 20 min"), 1200)
        return life
    took_s = dice.lognormvariate(4.5, 0.28) * (1.7 if job.model == "veo3.1" else 1)
    if number % 41 == 17:
        then(TaskFailed(REFUSED if number % 123 == 17 else "internal error of the generator"), took_s / 2)
        if number % 123 == 17:
            then(GaveUp(f"{REFUSED}; no attempt is left"), 0)
            return life
        attempt(2)
        then(SubmitAccepted(f"task-{job.id}-again", resolved), 1.2)
    then(TaskSucceeded(f"https://clips.example.com/{job.id}", None, resolved), took_s)
    if number % 61 == 30:
        then(DownloadFailed("the transfer broke off after 812 kB"), 3)
    then(ClipSaved(job.path, size_bytes, hashlib.sha256(job.id.encode()).hexdigest()), 4)
    return life
