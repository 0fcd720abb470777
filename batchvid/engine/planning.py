"""What is left to do of a manifest, by its journal and by the clips that are there.

A run looks at the presence and the size of every clip before it says that all is there. Its rules:

* A clip that is missing, or has another size, is fetched again. Nothing is bought for it: its task has succeeded.
* A file of another size is somebody's work, or half a clip: it is kept beside, under the attempt's number.
* What is no regular file, or cannot be looked at, is left alone and told: a link may lead to where the clip is kept.
* Jobs that the manifest no longer names are left alone.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from batchvid.domain.dependencies import DependencyGraph
from batchvid.domain.identity import Identity
from batchvid.domain.job import State
from batchvid.domain.lifecycle import ClipMissing, advance
from batchvid.domain.limits import OnChange
from batchvid.domain.plan import Plan, plan
from batchvid.domain.results import Money
from batchvid.engine.moving import as_moved, identity_of
from batchvid.engine.polling import PollPlanner
from batchvid.journal.base import Change
from batchvid.storage.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from batchvid.domain.job import Job, Progress
    from batchvid.domain.lifecycle import Reopened
    from batchvid.journal.base import Journal, JournalReader
    from batchvid.manifest.model import Manifest
    from batchvid.storage.base import ClipStore, WrongClip


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
    clips, ids = Output.of(manifest.output).clips, {job.id for job in manifest.jobs}
    return _lost(_wrong(clips, journal.done_clips(), ids))


def _wrong(clips: ClipStore, done: Iterable[tuple[str, str, int]], ids: Collection[str]) -> Iterator[WrongClip]:
    return clips.wrong_clips(one for one in done if one[0] in ids)


def _lost(found: Iterable[WrongClip]) -> dict[str, str]:
    return {one.job_id: one.words for one in found if one.is_lost}


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
    the run may open again, each with the event that does it. *only*: the ids that it may submit.
    """
    limits = replace(manifest.limits, on_change=OnChange.REBUY) if rebuy else manifest.limits
    money, timings, identity = Money(), None, Identity()
    rows: Iterable[Progress] = ()
    if journal is not None:
        clips = Output.of(manifest.output).clips
        identity = identity_of(manifest.jobs, DependencyGraph(manifest.jobs), journal, clips)
        money, timings, rows = journal.money(), journal.timings(), as_moved(journal.progress_in_brief(), identity)
    rows = as_a_run_finds(rows, lost) if lost else rows
    if run_active:
        rows = (row._replace(state=State.RUNNING) if row.state is State.SUBMITTING else row for row in rows)
    if again:
        rows = (advance(row, again[row.job_id], at=0.0) if row.job_id in again else row for row in rows)
    planner = PollPlanner(limits.typical_time_s, timings)
    made = plan(
        manifest.jobs, rows, limits=limits, typical_s=lambda name: planner.of(name).typical_s, identity=identity,
        only=only,
    )  # fmt: skip
    return made, replace(money, budget_micros=limits.budget_micros)
