"""Outputs to review whose jobs are named in the test: each done, and its clip a real one."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import batchvid
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import ClipSaved, SubmitAccepted, SubmitStarted, TaskSucceeded
from batchvid.engine.target import journal_of
from batchvid.journal.base import Change
from batchvid.storage.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.lifecycle import Event

TOOK_S = 40.0


def write_done(manifest_path: Path, clip: bytes) -> Path:
    """Let all jobs of a manifest be done; return the manifest."""
    manifest = batchvid.load(manifest_path)
    Output.of(manifest).prepare()
    ended = time.time() - 60
    with journal_of(manifest).open(service=manifest.base_url) as journal:
        for number, job in enumerate(manifest.jobs):
            path = manifest.output / job.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(clip)
            began = ended - TOOK_S - number
            events: list[tuple[Event, float]] = [
                (SubmitStarted(1, job.price_micros, job.fingerprint or "0" * 64), began),
                (SubmitAccepted(f"task-{job.id}", "veo-3.0"), began),
                (TaskSucceeded(None), ended - number),
                (ClipSaved(job.path, len(clip), hashlib.sha256(clip).hexdigest()), ended - number),
            ]
            journal.record([Change.of(Progress.fresh(job.id), *events)])
    return manifest_path
