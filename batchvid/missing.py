"""Clips that are done by the journal and not there on the disk: a run fetches them again from their tasks, free.

Every run looks at every clip of its manifest, at its presence and its size, before it says that all is there. Rules:

* A clip that is missing, or has another size, is fetched again. Nothing is bought for it: its task has succeeded.
* A file of another size is somebody's work, or half a clip: it is kept beside, under the attempt's number.
* What is no regular file, or cannot be looked at, is left alone and told: a link may lead to where the clip is kept.
* Jobs that the manifest no longer names are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.core.job import State
from batchvid.core.lifecycle import ClipMissing, advance
from batchvid.edge.change import Change
from batchvid.edge.clip_sizes import wrong_clips

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from batchvid.core.job import Job, Progress
    from batchvid.edge.clip_sizes import WrongClip
    from batchvid.edge.journal import Journal
    from batchvid.edge.outputs import Outputs
    from batchvid.edge.readings import Readings
    from batchvid.manifest.model import Manifest

NAMED_AT_MOST = 5
RECORDED_AT_ONCE = 500


def lost_clips(output: Path, rows: Iterable[Progress], ids: Collection[str]) -> dict[str, str]:
    """Return what is wrong with those clips of the jobs *ids* that a run would fetch again, by job id."""
    return {one.job_id: one.words for one in _wrong(output, rows, ids) if one.is_lost}


def lost_of(manifest: Manifest, journal: Readings | None) -> dict[str, str]:
    """Return the same of a manifest; nothing where there is no *journal*."""
    if journal is None:
        return {}
    return lost_clips(manifest.output, journal.done_progress(), {job.id for job in manifest.jobs})


def _wrong(output: Path, rows: Iterable[Progress], ids: Collection[str]) -> Iterator[WrongClip]:
    done = (row for row in rows if row.state is State.DONE and row.job_id in ids)
    return wrong_clips(output, ((row.job_id, row.path or "", row.size_bytes or 0) for row in done))


def as_a_run_finds(rows: Iterable[Progress], lost: Mapping[str, str]) -> Iterator[Progress]:
    """Yield the rows as a run would take them up: a job whose clip is *lost* is under way again."""
    for row in rows:
        reason = lost.get(row.job_id)
        yield row if reason is None else advance(row, ClipMissing(reason), at=0.0)


def missing_line(lost: Collection[str]) -> str:
    """Return what is missing and what a run does about it, in one line."""
    names = ", ".join(sorted(lost)[:NAMED_AT_MOST]) + (", …" if len(lost) > NAMED_AT_MOST else "")
    is_one = len(lost) == 1
    what = "1 clip is missing on disk" if is_one else f"{len(lost):,} clips are missing on disk"
    return f"{what} or not as saved; a run fetches {'it' if is_one else 'them'} again, free: {names}"


def take_up_missing(
    journal: Journal, outputs: Outputs, jobs: Mapping[str, Job], *, at: float, warn: Callable[[str], None]
) -> None:
    """Look at every clip of *jobs*, and record which of them are to be fetched again."""
    found = list(_wrong(outputs.folder, journal.done_progress(), jobs.keys()))
    for one in found:
        if not one.is_lost:
            warn(f"{one.job_id}: {one.words}: left alone")
    lost = {one.job_id: one.words for one in found if one.is_lost}
    if not lost:
        return
    rows = list(journal.progress_of(lost))
    for row in rows:
        outputs.retire_now(row.path or "", row.attempt)
    changes = [Change.of(row, (ClipMissing(lost[row.job_id]), at)) for row in rows]
    for first in range(0, len(changes), RECORDED_AT_ONCE):
        journal.record(changes[first : first + RECORDED_AT_ONCE])
    warn(missing_line(lost))
