"""What is left to do of a manifest, by its journal and by the clips that are there.

A run looks at the presence and the size of every clip before it says that all is there. Its rules:

* A clip that is missing, or has another size, is fetched again. Nothing is bought for it: its task has succeeded.
* A file of another size is somebody's work, or half a clip: it is kept beside, under the attempt's number.
* What is no regular file, or cannot be looked at, is left alone and told: a link may lead to where the clip is kept.
* Jobs that the manifest no longer names are left alone.

Jobs that the manifest names otherwise than the journal are moved to their new ids before that. The order makes a crash
at any point harmless: the next call goes on, nothing is bought and no clip is lost.

1. What an earlier call left to be renamed is renamed, and so are clips that a copy has given another Unicode form.
2. The journal moves its rows, attempts and events in one transaction, which also notes the clips to be renamed.
3. The clips are renamed, one after the other (`batchvid.storage.local`). A clip whose new name is taken, or refused by
   the file system, stays where it is, and each later call tries again.
4. The journal keeps where they lie, and notes what is left, in one transaction.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from batchvid.domain.dependencies import DependencyGraph, as_it_stands
from batchvid.domain.identity import NOBODY, Identity, advice, identify, is_new
from batchvid.domain.job import Continuation, State
from batchvid.domain.learned import expected, expected_words
from batchvid.domain.lifecycle import ClipMissing, advance
from batchvid.domain.limits import OnChange
from batchvid.domain.plan import Action, plan
from batchvid.domain.reopening import NO_DECISIONS, is_for_rejection, is_ordered_again
from batchvid.engine.clip_list import MADE_FROM
from batchvid.engine.limits_file import learned_of
from batchvid.engine.polling import PollPlanner
from batchvid.engine.spending import money_of
from batchvid.journal.base import Change
from batchvid.storage.base import KnownClip, Renamed
from batchvid.storage.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.changes import FieldChange
    from batchvid.domain.decision import Decision
    from batchvid.domain.identity import Move
    from batchvid.domain.job import Job, Progress
    from batchvid.domain.lifecycle import Reopened
    from batchvid.domain.limits import Limits
    from batchvid.domain.plan import Plan
    from batchvid.domain.results import Money
    from batchvid.journal.base import Journal, JournalReader
    from batchvid.manifest.model import Manifest
    from batchvid.storage.base import ClipStore, WrongClip


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
    ids = {job.id for job in jobs}
    if ids.issuperset(journal.ids()):
        return NOBODY
    states = journal.states()
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
        jobs, dependencies, new=new, rows=rows, orphans=gone, sidecar_of=lambda row: clips.sidecar(row.path or "")
    )


def decided(
    journal: JournalReader, identity: Identity = NOBODY, *, among: Collection[str] | None = None
) -> dict[tuple[str, int], Decision]:
    """Return what counts of what persons decided, by attempt, under the ids that jobs have once they are moved."""
    ids = {move.old: move.new for move in identity.moves}
    found = journal.decisions(among).items()
    return {(ids.get(job_id, job_id), attempt): one for (job_id, attempt), one in found}


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
        trouble = output.clips.name_trouble(new)
        why = f"while something else has the name {new}, or its sidecar's" if trouble is None else f"because {trouble}"
        warn(f"the clip of {job_id} stays {old} {why}")
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
        clips.respell(row.path or "", KnownClip(row.job_id, row.size_bytes or 0, row.sha256 or ""))


def _rename(journal: Journal, clips: ClipStore) -> list[Renaming]:
    """Rename the clips that the journal notes, keep where they lie then, and return those that cannot be renamed."""
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
            if outcome not in {Renamed.TAKEN, Renamed.REFUSED}:
                went_on = True
                del left[job_id, old, new]
            if outcome is Renamed.DONE and rows[job_id].path == old:
                renamed[job_id] = new
    still = list(left)
    if json.dumps(still) != noted:
        journal.meta_set(MADE_FROM, "")
        journal.set_paths(renamed, remark=(TO_RENAME, json.dumps(still)))
    return still


def _clip_at(clips: ClipStore, row: Progress, path: str) -> KnownClip | None:
    """Return the clip of the job that should be at *path*: the journal's, or one that came and is not in it yet."""
    if row.path == path:
        return KnownClip(row.job_id, row.size_bytes or 0, row.sha256 or "")
    told = clips.sidecar(path) if row.task_id is not None and row.state.is_open else {}
    size_bytes, sha256 = told.get("size_bytes"), told.get("sha256")
    if told.get("task_id") != row.task_id or not isinstance(size_bytes, int) or not isinstance(sha256, str):
        return None
    return KnownClip(row.job_id, size_bytes, sha256)


def _renaming(noted: Sequence[str]) -> Renaming:
    job_id, old, new = noted
    return job_id, old, new


NAMED_AT_MOST = 5
RECORDED_AT_ONCE = 500


def lost_clips(clips: ClipStore, rows: Iterable[Progress], ids: Collection[str]) -> dict[str, str]:
    """Return what is wrong with those clips of the jobs *ids* that a run would fetch again, by job id."""
    done = ((row.job_id, row.path or "", row.size_bytes or 0) for row in rows if row.state is State.DONE)
    return _lost(_wrong(clips, done, ids))


def lost_of(manifest: Manifest, journal: JournalReader | None) -> dict[str, str]:
    """Return the same of a manifest; nothing where there is no *journal*."""
    if journal is None:
        return {}
    clips, ids = Output.of(manifest).clips, {job.id for job in manifest.jobs}
    return _lost(_wrong(clips, journal.done_clips(), ids))


def _wrong(clips: ClipStore, done: Iterable[tuple[str, str, int]], ids: Collection[str]) -> Iterator[WrongClip]:
    return clips.wrong_clips(one for one in done if one[0] in ids)


def _lost(found: Iterable[WrongClip]) -> dict[str, str]:
    return {one.job_id: one.words for one in found if one.is_lost}


def as_a_run_finds(
    rows: Iterable[Progress], lost: Mapping[str, str], *, but_not: Callable[[Progress], bool] = lambda _: False
) -> Iterator[Progress]:
    """Yield the rows as a run would take them up: a job whose clip is *lost* is under way again, *but not* these."""
    for row in rows:
        reason = lost.get(row.job_id) if not but_not(row) else None
        yield row if reason is None else advance(row, ClipMissing(reason), at=0.0)


def missing_line(lost: Collection[str]) -> str:
    """Return which clips are missing and what a run does about it, in one line."""
    names = ", ".join(sorted(lost)[:NAMED_AT_MOST]) + (", …" if len(lost) > NAMED_AT_MOST else "")
    is_one = len(lost) == 1
    what = "1 clip is missing" if is_one else f"{len(lost):,} clips are missing"
    return f"{what} or not as saved; a run fetches {'it' if is_one else 'them'} again, free: {names}"


def take_up_missing(
    journal: Journal, clips: ClipStore, jobs: Mapping[str, Job], *, at: float, warn: Callable[[str], None]
) -> None:
    """Look at every clip of *jobs*, and record which of them are to be fetched again."""
    found = list(_wrong(clips, journal.done_clips(), jobs.keys()))
    for one in found:
        if not one.is_lost:
            warn(f"{one.job_id}: {one.words}: left alone")
    lost = _lost(found)
    if not lost:
        return
    rows = list(journal.progress_of(lost))
    for row in rows:
        clips.retire(row.path or "", row.attempt)
    changes = [Change.of(row, (ClipMissing(lost[row.job_id]), at)) for row in rows]
    for first in range(0, len(changes), RECORDED_AT_ONCE):
        journal.record(changes[first : first + RECORDED_AT_ONCE])
    warn(missing_line(lost))


def changes_of(
    manifest: Manifest, journal: JournalReader | None, made: Plan, *, at_most: int | None = None
) -> dict[str, list[FieldChange] | None]:
    """Return what an edit has changed of the jobs that are paid, by id, in the plan's order: of *at_most* so many.

    ``None`` stands where nobody has noted what was sent: no clip is there yet, or its sidecar does not tell it.
    """
    from batchvid.domain.changes import changes

    if journal is None:
        return {}
    jobs, clips = {job.id: job for job in manifest.jobs}, Output.of(manifest).clips
    rows = [row for row in made.rows if row.job_id in jobs and (row.action in MAY_BE_EDITED or row.moved_from)]
    known_as = {row.job_id: row.moved_from or row.job_id for row in rows}
    wanted = [jobs[row.job_id] for row in rows]
    above = [one.continues for one in wanted if isinstance(one, Continuation)]
    known = {row.job_id: row for row in journal.progress_of(dict.fromkeys([*known_as.values(), *above]))}
    found: dict[str, list[FieldChange] | None] = {}
    for job in wanted:
        row = known.get(known_as[job.id])
        if row is None or not as_it_stands(job, known).has_changed(row.fingerprint):
            continue
        clip = known.get(job.continues) if isinstance(job, Continuation) else None
        told = clips.sidecar(row.path) if row.state is State.DONE and row.path else {}
        found[job.id] = changes(job, told, clip_sha256=None if clip is None else clip.sha256)
        if len(found) == at_most:
            break
    return found


MAY_BE_EDITED = {Action.CHANGED, Action.MOVED, Action.RUNNING, Action.IN_DOUBT, Action.FAILED}
"""How jobs stand that may be paid for another content than the manifest has for them now."""
NOTHING_LOST: Mapping[str, str] = MappingProxyType({})
NOTHING: Mapping[str, Reopened] = MappingProxyType({})


def planned(
    manifest: Manifest,
    journal: JournalReader | None,
    *,
    rebuy: bool = False,
    run_active: bool = False,
    lost: Mapping[str, str] = NOTHING_LOST,
    again: Mapping[str, Reopened] = NOTHING,
    only: Collection[str] | None = None,
) -> tuple[Plan, Money]:
    """Return the plan and the money so far; no *journal* stands for a manifest that was never run.

    *rebuy*: as a run with ``--rebuy`` would do it. *run_active*: a run is at work, so that a paid request that is under
    way is no doubt. *lost* is what is wrong with clips that a run would fetch again, by job id. *again*: the jobs that
    the run may open again, each with the event that does it; rejected clips are found here. *only*: the ids that it
    may submit.
    """
    learned = learned_of(manifest) if manifest.limits.is_auto else None
    limits = expected(manifest.limits, learned)
    limits = replace(limits, on_change=OnChange.REBUY) if rebuy else limits
    money, timings, identity = money_of(journal, manifest.limits), None, Identity()
    rows: Iterable[Progress] = ()
    decisions: Mapping[tuple[str, int], Decision] = NO_DECISIONS
    if journal is not None:
        clips = Output.of(manifest).clips
        identity = identity_of(manifest.jobs, DependencyGraph(manifest.jobs), journal, clips)
        timings, rows = journal.timings(), as_moved(journal.progress_in_brief(), identity)
        decisions = decided(journal, identity)
    if lost:  # of a clip that is bought again, nobody misses the one before
        rows = as_a_run_finds(rows, lost, but_not=partial(is_ordered_again, decisions=decisions, limits=limits))
    if run_active:
        rows = (row._replace(state=State.RUNNING) if row.state is State.SUBMITTING else row for row in rows)
    again = {job_id: event for job_id, event in again.items() if not is_for_rejection(event.reason)}
    if again:
        rows = (advance(row, again[row.job_id], at=0.0) if row.job_id in again else row for row in rows)
    planner = PollPlanner(limits.typical_time_s, timings)
    made = plan(
        manifest.jobs, rows, limits=limits, typical_s=lambda name: planner.of(name).typical_s, identity=identity,
        only=only, decisions=decisions,
    )  # fmt: skip
    made = replace(made, reckoned_with=expected_words(manifest.limits, learned, time.time()))
    return made, money
