"""How a run takes up what the one before it left: interrupted submits and orphaned task ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.core.chains import as_it_stands
from batchvid.core.job import Progress
from batchvid.core.lifecycle import SubmitUnsure, TaskAdopted
from batchvid.core.opening import interrupted
from batchvid.core.text import clean
from batchvid.edge import orphans
from batchvid.edge.change import Change, TaskOwnedError
from batchvid.edge.mounts import network_file_system, on_network

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from batchvid.core.chains import Chains
    from batchvid.core.job import Job
    from batchvid.edge.journal import Journal
    from batchvid.edge.orphans import Orphans
    from batchvid.edge.outputs import Outputs

ROWS_AT_ONCE = 500
"""How many rows are taken up in one transaction."""


def take_up(journal: Journal, outputs: Outputs, *, at: float, warn: Callable[[str], None]) -> None:
    """Record what the end of the run before means for its jobs."""
    if kind := network_file_system(outputs.folder):
        warn(f"the output {outputs.folder} {on_network(kind)}")
    lost = orphans.read(outputs.folder)
    known = {(one.job_id, one.attempt): one.task_id for one in lost.known.values()}
    changes: list[Change] = []
    adoptions: list[Change] = []
    for row in journal.all_progress():
        events = interrupted(row, orphans=known)
        if events:
            change = Change.of(row, *((event, at) for event in events))
            (adoptions if isinstance(events[-1], TaskAdopted) else changes).append(change)
    for first in range(0, len(changes), ROWS_AT_ONCE):
        journal.record(changes[first : first + ROWS_AT_ONCE])
    for change in adoptions:
        _adopt(journal, change, warn)
    _put_away(journal, outputs, lost, warn)


def _put_away(journal: Journal, outputs: Outputs, lost: Orphans, warn: Callable[[str], None]) -> None:
    """Put away the orphans that the journal has now; each of the others stays where it is, and is told."""
    taken = [line for line, one in lost.known.items() if journal.owner_of_task(one.task_id) is not None]
    waiting = {line: one for line, one in lost.known.items() if line not in set(taken)}
    where = orphans.path_of(outputs.folder)
    for number in lost.strange.values():
        warn(f"line {number} of {where} makes no sense, and may name a paid task: look at it; it is kept")
    for one in waiting.values():
        warn(
            f"{where} names task {clean(one.task_id, 100)} of job {clean(one.job_id, 100)!r}, attempt {one.attempt}, "
            "which the journal cannot place: look at the service's dashboard; the line is kept"
        )
    if taken:
        orphans.put_away(outputs.folder, taken, [*waiting, *lost.strange])


def _adopt(journal: Journal, change: Change, warn: Callable[[str], None]) -> None:
    """Give a job the task id that an earlier run could not journal."""
    job_id, task_id = change.after.job_id, change.after.task_id
    try:
        journal.record([change])
    except TaskOwnedError as error:
        warn(f"{job_id} stays in doubt: its orphaned task {task_id} belongs to job {error.owner!r} already")
        doubt = [(event, at) for event, at in change.events if isinstance(event, SubmitUnsure)]
        if doubt:
            journal.record([Change.of(change.before, *doubt)])
        return
    warn(f"adopted {job_id}: task {task_id}, which was paid and could not be journaled then")


def parted(
    rows: Iterable[Progress], ids: Collection[str], *, again: Collection[str], whole: Collection[str]
) -> tuple[dict[str, Progress], dict[str, Progress]]:
    """Part the rows of these jobs into open and closed ones; those that may be opened *again* count as open.

    Of a closed one only what a summary shows is kept, unless it is to stay *whole*: others may go on from its clip.
    """
    opened, closed = {}, {}
    for row in rows:
        if row.job_id not in ids:
            continue
        if row.state.is_open or row.job_id in again:
            opened[row.job_id] = row
        else:
            closed[row.job_id] = row if row.job_id in whole else Progress(row.job_id, row.state, reason=row.reason)
    return opened, closed


def as_they_stand(jobs: Iterable[Job], chains: Chains, journal: Journal) -> dict[str, Job]:
    """Give the jobs by id, those that continue another with their fingerprint as far as its clip is there."""
    found = {job.id: job for job in jobs}
    rows = {row.job_id: row for row in journal.progress_of(chains.ids)}
    found.update((job_id, as_it_stands(found[job_id], rows)) for job_id in chains.ids)
    return found
