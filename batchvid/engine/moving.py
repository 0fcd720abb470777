"""How a run and a person's decisions find the jobs that the manifest names otherwise than the journal, and move them.

In this order, so that a crash at any point is made good by the next call, with nothing bought and no clip lost:

1. What an earlier call left to be renamed is renamed, and so are clips that a copy has given another Unicode form.
2. The journal moves its rows, attempts and events in one transaction, which also notes the clips to be renamed.
3. The clips are renamed, one after the other (`batchvid.storage.local`). A clip whose new name is taken stays
   where it is, and each later call tries again.
4. The journal keeps where they lie, and notes what is left, in one transaction.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from batchvid.domain.identity import NOBODY, Identity, advice, identify, is_new
from batchvid.domain.job import State
from batchvid.domain.limits import OnChange
from batchvid.storage.base import Known, Renamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.dependencies import DependencyGraph
    from batchvid.domain.identity import Move
    from batchvid.domain.job import Job, Progress
    from batchvid.domain.limits import Limits
    from batchvid.journal.base import Journal, JournalReader
    from batchvid.storage.base import ClipStore
    from batchvid.storage.output import Output


Renaming = tuple[str, str, str]
"""Job id, path and new path of a clip."""
TO_RENAME = "to_rename"
"""The remark in the journal: each `Renaming` that is still to be done, as JSON."""
TOLD_AT_MOST = 20
"""Moves of which each gets a line."""


def identity_of(
    jobs: Sequence[Job], dependencies: DependencyGraph, journal: JournalReader, clips: ClipStore
) -> Identity:
    """Return which jobs the journal has under other ids. Quick where no id is new."""
    ids, states = {job.id for job in jobs}, journal.states()
    if ids.issuperset(states):
        return NOBODY
    orphans = sorted(states.keys() - ids)
    paid = {job_id for job_id in ids & states.keys() if states[job_id] not in {State.PENDING, State.FAILED}}
    unsure = sorted(ids & states.keys() - paid)
    paid.update(row.job_id for row in journal.progress_of(unsure) if not is_new(row))
    new = ids - paid
    if not new:
        return NOBODY
    rows = {row.job_id: row for row in journal.progress_of(dependencies.ids)}
    gone = journal.progress_of(orphans)
    return identify(
        jobs, dependencies, new=new, rows=rows, orphans=gone, story=lambda row: clips.sidecar(row.path or "")
    )


def as_moved(rows: Iterable[Progress], identity: Identity) -> Iterator[Progress]:
    """Yield the journal's rows under the ids that they will have once they are moved."""
    ids = {move.old: move.new for move in identity.moves}
    ids |= {new: old for old, new in ids.items()}  # in case something unpaid has the new id
    return (row._replace(job_id=ids.get(row.job_id, row.job_id)) for row in rows) if ids else iter(rows)


def move_jobs(
    journal: Journal,
    output: Output,
    *,
    jobs: Sequence[Job],
    dependencies: DependencyGraph,
    limits: Limits,
    at: float,
    note: Callable[[str], None],
    warn: Callable[[str], None],
    rebuy: bool = False,
) -> None:
    """Move every job that the journal has under another id, and tell of it; and of what a new one only resembles.

    What the run before left is taken up already: it is kept by the ids of then. Raises `StorageError`.
    """
    left = _rename(journal, output.clips)
    _respell(journal, output.clips)
    found = identity_of(jobs, dependencies, journal, output.clips)
    if found.moves:
        _move(journal, output, found.moves, left, paths={job.id: job.path for job in jobs}, at=at)
        left = _rename(journal, output.clips)
    for job_id, old, new in left:
        warn(f"the clip of {job_id} stays {old} while something else has the name {new}, or its sidecar's")
    for line in _lines(found, kept=not rebuy and limits.on_change is OnChange.KEEP):
        note(line)


def _lines(identity: Identity, *, kept: bool) -> Iterator[str]:
    """Yield what a person is told: the moves, and what is new and resembles what is paid."""
    for move in identity.moves[:TOLD_AT_MOST]:
        yield move.told(kept=kept)
    if (more := len(identity.moves) - TOLD_AT_MOST) > 0:
        yield f"and {more:,} more jobs moved"
    for new, old in identity.resembling[:TOLD_AT_MOST]:
        yield f"{new} is new, and {advice(old)}"
    if (more := len(identity.resembling) - TOLD_AT_MOST) > 0:
        yield f"and {more:,} more jobs resemble what is paid (batchvid plan)"


def _move(
    journal: Journal,
    output: Output,
    moves: Sequence[Move],
    left: Sequence[Renaming],
    *,
    paths: Mapping[str, str],
    at: float,
) -> None:
    """Move the rows, and note which clips are to be renamed, beside those that are *left*."""
    new_ids = {move.old: move.new for move in moves}
    rows = list(journal.progress_of(new_ids))
    clips = [one for one in left if one[0] not in new_ids]
    for row in rows:
        job_id, path = new_ids[row.job_id], paths[new_ids[row.job_id]]
        unrecorded = path.replace(job_id, row.job_id)  # where a clip lies that came and could not be journaled
        places = dict.fromkeys(place for place in (row.path, unrecorded) if place is not None)
        clips += [(job_id, place, path) for place in places if _clip_at(output.clips, row, place) is not None]
    journal.move(list(new_ids.items()), at=at, remark=(TO_RENAME, json.dumps(clips)))


def _respell(journal: Journal, clips: ClipStore) -> None:
    """Rename clips whose names a copy has spelt in another Unicode form to those that the journal knows."""
    for row in list(journal.clips_beyond_ascii()):
        clips.respell(row.path or "", Known(row.job_id, row.size_bytes or 0, row.sha256 or ""))


def _rename(journal: Journal, clips: ClipStore) -> list[Renaming]:
    """Rename the clips that the journal notes, keep where they lie then, and return those whose new name is taken."""
    noted = journal.meta_get(TO_RENAME) or "[]"
    wanted = [_renaming(one) for one in json.loads(noted)]
    if not wanted:
        return []
    rows = {row.job_id: row for row in journal.progress_of({job_id for job_id, _, _ in wanted})}
    known = [_clip_at(clips, rows[job_id], old) if job_id in rows else None for job_id, old, _ in wanted]
    left = {one: clip for one, clip in zip(wanted, known, strict=True) if clip is not None}
    renamed: dict[str, str] = {}
    went_on = True
    while went_on:  # a name may be free once the clip that has it got its own
        went_on = False
        for (job_id, old, new), clip in list(left.items()):
            outcome = clips.rename(old, new, clip)
            if outcome is not Renamed.TAKEN:
                went_on = True
                del left[job_id, old, new]
            if outcome is Renamed.DONE and rows[job_id].path == old:
                renamed[job_id] = new
    still = list(left)
    if json.dumps(still) != noted:
        journal.set_paths(renamed, remark=(TO_RENAME, json.dumps(still)))
    return still


def _clip_at(clips: ClipStore, row: Progress, path: str) -> Known | None:
    """Return the clip of the job that should be at *path*: the journal's, or one that came and is not in it yet."""
    if row.path == path:
        return Known(row.job_id, row.size_bytes or 0, row.sha256 or "")
    told = clips.sidecar(path) if row.task_id is not None and row.state.is_open else {}
    size_bytes, sha256 = told.get("size_bytes"), told.get("sha256")
    if told.get("task_id") != row.task_id or not isinstance(size_bytes, int) or not isinstance(sha256, str):
        return None
    return Known(row.job_id, size_bytes, sha256)


def _renaming(noted: Sequence[str]) -> Renaming:
    job_id, old, new = noted
    return job_id, old, new
