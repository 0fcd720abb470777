"""What is told of a clip beside it: its sidecar, and its line in ``clips.jsonl``.

Figures as programs read them: money as a decimal number, moments in RFC 3339.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from batchvid.domain.dependencies import bound
from batchvid.domain.job import Continuation
from batchvid.domain.limits import MICROS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.domain.job import Frame, Job, Progress


AMOUNT_MAX = 10**12
"""No price is like this, whatever a damaged line says."""


def dollars(micros: int | None) -> float | None:
    """Return money as a number of currency units; ``None`` stays unknown."""
    return None if micros is None else micros / MICROS


def rfc3339(at: float | None) -> str | None:
    """Return *at* (UTC epoch seconds) as ``2026-03-12T08:00:29Z``; unknown stays unknown."""
    return None if at is None else _second(int(at // 1))


def micros(amount: object) -> int | None:
    """Return a number of currency units, as `dollars` wrote it, in millionths; ``None`` for what is none."""
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool) and 0 <= amount < AMOUNT_MAX
    return round(float(str(amount)) * MICROS) if is_number else None


def moment(text: object) -> float | None:
    """Return a moment that `rfc3339` wrote, in UTC epoch seconds; ``None`` for what is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=256)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


NOTHING: Mapping[Any, str] = {}


def sidecar(job: Job, progress: Progress, *, made: Mapping[Frame, str] = NOTHING) -> dict[str, Any]:
    """Return the story of a clip that stands beside it, but for what only the file itself can say.

    *made* holds the hashes of what was sent of frames that were turned or fitted. Where the manifest says something
    else of the job now than what was paid for, what was sent is not known any more: it is ``None``, not the new words.
    """
    changed = job.has_changed(progress.fingerprint)
    sent: dict[str, Any] = {
        "prompt": job.prompt,
        "model": job.model,
        "size": job.size,
        "seconds": job.seconds,
        "form": dict(job.form),
        "frames": [
            {
                "file": frame.path,
                "sha256": made.get(frame) if frame.recipe else frame.sha256,
                "prepared": frame.recipe or None,
            }
            for frame in job.frames
        ],
    }
    return {
        "id": job.id,
        **(dict.fromkeys(sent) if changed else sent),
        "manifest_changed": changed,
        "resolved_model": progress.resolved_model,
        "fingerprint": progress.fingerprint,
        "attempt": progress.attempt,
        "task_id": progress.task_id,
        "submitted_at": rfc3339(progress.submitted_at),
        "price": dollars(progress.price_micros),
    }


def origin(job: Continuation, progress: Progress, clip: Progress | None, *, frame_sha256: str | None) -> dict[str, Any]:
    """Return what the sidecar tells of the clip that the job went on from, and of the frame that was sent of it.

    *clip* is that clip's row as it is now: when it was made anew since, it is not the one that the frame was of.
    """
    clip_sha256 = clip.sha256 if clip is not None else None
    same = clip_sha256 is not None and not bound(job, clip_sha256).has_changed(progress.fingerprint)
    return {
        "continues": {
            "id": job.continues,
            "clip_sha256": clip_sha256 if same else None,
            "at_s": job.at_s,
            "frame_sha256": frame_sha256,
        }
    }


def clip_line(job: Job, progress: Progress) -> dict[str, Any]:
    """Return a clip's line of ``clips.jsonl``."""
    line = {"continues": job.continues} if isinstance(job, Continuation) else {}
    return line | {
        "id": job.id,
        "path": progress.path,
        "size_bytes": progress.size_bytes,
        "sha256": progress.sha256,
        "model": job.model,
        "resolved_model": progress.resolved_model,
        "task_id": progress.task_id,
        "attempt": progress.attempt,
        "price": dollars(progress.price_micros),
        "submitted_at": rfc3339(progress.submitted_at),
        "finished_at": rfc3339(progress.finished_at),
    }
