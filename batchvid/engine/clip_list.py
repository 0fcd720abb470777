"""The list of an output's clips, ``clips.jsonl``: written at the end of a run, where it would say something new.

To build it only to find that it is the same took a third of a run that has nothing to do. So the journal remembers
from what the list was made, and which file it was: its inode, size and time. Whoever changes either gets it made again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from batchvid import __version__
from batchvid.domain.job import Continuation, State
from batchvid.domain.records import CLIP, clip_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.journal.base import Journal, JournalReader
    from batchvid.manifest.model import Manifest
    from batchvid.storage.state import StateFolder


MADE_FROM = "clips_made_from"
"""The remark in the journal: from what the list was made, and which file it is; empty: nobody knows."""


def clip_lines(manifest: Manifest, journal: JournalReader) -> Iterator[dict[str, Any]]:
    """Yield one object per clip on disk, in the manifest's order."""
    jobs, decisions = {job.id: job for job in manifest.jobs}, journal.decisions()
    for row in journal.progress_of(jobs):
        if row.state is State.DONE:
            yield clip_line(jobs[row.job_id], row, decisions.get((row.job_id, row.attempt)))


def write_clip_list(manifest: Manifest, journal: Journal, state: StateFolder) -> None:
    """Have the list say what the manifest and the journal do. Blocks; raises `StorageError`."""
    made_from = _made_from(manifest, journal)
    if journal.meta_get(MADE_FROM) == f"{made_from} {state.clips_identity()}":
        state.drop_half_clips()
        return
    state.write_clips(lambda: clip_lines(manifest, journal))
    journal.meta_set(MADE_FROM, f"{made_from} {state.clips_identity()}")


def _made_from(manifest: Manifest, journal: Journal) -> str:
    """Return a hash of all that the list depends on."""
    digest = hashlib.sha256(f"{__version__} {CLIP} {journal.settled()} {sorted(journal.decisions().items())}".encode())
    told = ((job.id, job.model, job.continues if isinstance(job, Continuation) else "") for job in manifest.jobs)
    digest.update("\0".join(part for one in told for part in one).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
