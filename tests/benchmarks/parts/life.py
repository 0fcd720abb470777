"""A job's whole life as the journal hears of it, for programs that need many rows and no service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain import lifecycle as life
from batchvid.domain.job import Progress
from batchvid.journal.base import Change

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = 1_773_297_229.0
SHA256 = "0" * 64


def changes(
    job_id: str, *, path: str, fingerprint: str = SHA256, price_micros: int | None = 400_000, size_bytes: int = 1,
    sha256: str = SHA256,
) -> Iterator[Change]:  # fmt: skip
    """Return the four changes from nothing to a clip on disk, one after the other."""
    progress = Progress.fresh(job_id)
    events: tuple[life.Event, ...] = (
        life.SubmitStarted(1, price_micros, fingerprint),
        life.SubmitAccepted(f"task_{job_id}", "veo_3_1-4K"),
        life.TaskSucceeded(f"https://clips.example.net/{job_id}.mp4"),
        life.ClipSaved(path, size_bytes, sha256),
    )
    for event in events:
        change = Change.of(progress, (event, AT))
        progress = change.after
        yield change
