"""A journal that went back in time: its paid tasks are taken back in from what lies beside it, or the run refuses.

A backup was restored, the -wal was lost, the file was deleted: whatever happened to a journal, its seal does not hold
any more (`batchvid.edge.seal`). Then, before anything else is recorded, what lies beside it is read and held against it
by the rules of `batchvid.core.history`. What it does not know is recorded as it happened. Nothing is bought for it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from batchvid.core.history import ContradictionError, Retelling, contested, needs_look
from batchvid.core.job import Progress, State
from batchvid.core.lifecycle import IllegalEventError
from batchvid.core.text import clean
from batchvid.core.witnesses import Found, Known
from batchvid.edge.beside import witnesses
from batchvid.edge.change import Change
from batchvid.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from batchvid.core.job import Job
    from batchvid.core.witnesses import Witnesses
    from batchvid.edge.journal import Journal
    from batchvid.edge.outputs import Outputs
    from batchvid.edge.readings import Readings

JOBS_TOLD = 5
"""Each is told in a line of its own; of more, the number."""
TASK_SHOWN = 100
RECORDED_AT_ONCE = 500
LEFT_ASIDE = "left_aside"
"""The remark in the journal that names the tasks which a person has decided to leave out of it."""
WORDS = {
    State.DONE: "done",
    State.RUNNING: "under way",
    State.READY: "to be fetched",
    State.IN_DOUBT: "in doubt",
    State.FAILED: "failed",
    State.PENDING: "over, without a clip",
}


def take_back(  # noqa: PLR0913 the journal, what lies beside it, and what is wanted
    journal: Journal,
    outputs: Outputs,
    *,
    jobs: Mapping[str, Job],
    leave_aside: bool,
    at: float,
    warn: Callable[[str], None],
) -> None:
    """Bring the journal up to what lies beside it, unless it is sealed and so knows all.

    *jobs* are all that the manifest names. Raises `StorageError`, and records nothing, when two witnesses contradict
    each other, unless a person has said to *leave aside* such tasks.
    """
    if journal.is_sealed:
        return
    aside = set(json.loads(journal.meta_get(LEFT_ASIDE) or "[]"))
    told = list(_retellings(journal, outputs, jobs, aside=aside, at=at))
    contradictions = [one for one in told if isinstance(one, ContradictionError)]
    if contradictions and not leave_aside:
        raise StorageError(_contradicted(journal, contradictions))
    changes = [Change.of(before, *one.events) for before, one in _kept(told)]
    for first in range(0, len(changes), RECORDED_AT_ONCE):
        journal.record(changes[first : first + RECORDED_AT_ONCE])
    if contradictions:
        journal.meta_set(LEFT_ASIDE, json.dumps(sorted(aside | {one.task_id for one in contradictions})))
        for one in contradictions:
            warn(f"left aside as you said: {one}")
    journal.is_sealed = True
    for line in _tidings([one for _, one in _kept(told)], "were taken back in"):
        warn(line)


class Forgotten(NamedTuple):
    """What lies beside a journal and is not in it, in words."""

    lines: list[str]
    is_refused: bool
    """Whether a run refuses to begin until a person has settled it."""


def forgotten(journal: Readings | None, outputs: Outputs, *, jobs: Mapping[str, Job], at: float) -> Forgotten:
    """Return, for who only looks, what the journal does not know; no *journal* stands for one that is not there.

    Raises `StorageError` when what lies beside it cannot be read.
    """
    if journal is not None and journal.is_as_sealed():
        return Forgotten([], is_refused=False)
    aside = set() if journal is None else set(json.loads(journal.meta_get(LEFT_ASIDE) or "[]"))
    told = list(_retellings(journal, outputs, jobs, aside=aside, at=at))
    contradictions = [one for one in told if isinstance(one, ContradictionError)]
    lines = [f"a run refuses to begin: {one}" for one in contradictions]
    lines += _tidings([one for _, one in _kept(told)], "are taken back in by the next run")
    return Forgotten(lines, is_refused=bool(contradictions))


Told = tuple[Progress, Retelling] | ContradictionError


def _retellings(
    journal: Readings | None, outputs: Outputs, jobs: Mapping[str, Job], *, aside: Collection[str], at: float
) -> Iterator[Told]:
    """Yield what is to be retold, job by job: the row as it is and the retelling, or what contradicts it."""
    found = witnesses(outputs.folder)
    if not found.found:
        return
    known, by_job, open_rows, starts, held = _what_is_known(journal, found, jobs)
    for contest in contested(found, known):
        if contest.task_id not in aside:
            yield contest
    unsettled = {task_id for task_id, claimed in found.claims.items() if len(claimed) > 1}
    ids = [job_id for job_id, ones in by_job.items() if needs_look(ones, open_rows.get(job_id))]
    rows = {} if journal is None else {row.job_id: row for row in journal.progress_of(ids)}
    for job_id in ids:
        row = rows.get(job_id, Progress.fresh(job_id))
        ones = [one for one in by_job[job_id] if one.task_id is None or one.task_id not in aside]
        ones = [one for one in ones if one.is_known or one.clip is not None or one.task_id not in unsettled]
        _look_at_clips(outputs, ones, row)
        wanted = jobs.get(job_id)
        retelling = Retelling(
            row,
            starts.get(job_id),
            "" if wanted is None else wanted.fingerprint,
            None if wanted is None else wanted.path,
            at,
            is_settled=job_id not in held,
        )
        try:
            retelling.tell(ones)
        except ContradictionError as error:
            yield error
        except IllegalEventError as error:
            yield ContradictionError(ones[-1].task_id or "", str(error))
        else:
            if retelling.events:
                yield row, retelling


def _what_is_known(
    journal: Readings | None, found: Witnesses, jobs: Mapping[str, Job]
) -> tuple[Known, dict[str, list[Found]], dict[str, Progress], dict[str, float], Collection[str]]:
    if journal is None:
        nothing = Known((), (), (), ())
        return nothing, found.of_jobs(nothing, wanted=jobs.keys()), {}, {}, ()
    known = journal.known_requests()
    open_rows = {row.job_id: row for row in journal.open_progress()}
    by_job = found.of_jobs(known, wanted=jobs.keys())
    return known, by_job, open_rows, journal.open_starts(), journal.held_jobs()


def _look_at_clips(outputs: Outputs, ones: Sequence[Found], row: Progress) -> None:
    """See which clips are there as they were noted; those that the journal has as done are not read."""
    for one in ones:
        clip = one.clip
        if clip is None or (one.is_known and not (row.state.is_open and one.task_id == row.task_id)):
            continue
        try:
            wrong = outputs.trouble(clip.path, size_bytes=clip.size_bytes, sha256=clip.sha256, full=True)
        except ValueError:  # a path that no clip can have
            continue
        one.is_whole = wrong is None


def _kept(told: Sequence[Told]) -> Iterator[tuple[Progress, Retelling]]:
    return (one for one in told if not isinstance(one, ContradictionError))


def _tidings(told: Sequence[Retelling], what: str) -> list[str]:
    """Put what is retold into words: the sums in one line, and then each job of a few."""
    placed = [(one.row, found) for one in told for found in one.placed]
    if not placed:
        return []
    states = Counter(one.row.state for one in told)
    sums = ", ".join(f"{states[state]:,} {word}" for state, word in WORDS.items() if states[state])
    attempts = f"{len(placed):,} paid attempt{'s' if len(placed) != 1 else ''}"
    jobs = f"{len(told):,} job{'s' if len(told) != 1 else ''}"
    first = (
        f"the journal had gone back in time (restored, cut off or deleted): {attempts} of {jobs} that it did not know "
        f"{what} from the event log and the sidecars beside it ({sums}); nothing is bought again"
    )
    lines = [first]
    for row, found in placed[:JOBS_TOLD]:
        task = f"task {clean(found.task_id, TASK_SHOWN)}" if found.task_id else "a request without an answer"
        lines.append(f"{clean(row.job_id, TASK_SHOWN)}: {task} ({WORDS.get(row.state, row.state.value)})")
    return lines


def _contradicted(journal: Journal, contradictions: Sequence[ContradictionError]) -> str:
    more = len(contradictions) - JOBS_TOLD
    told = "; ".join(clean(str(one), 500) for one in contradictions[:JOBS_TOLD])
    return (
        f"the journal {journal.path} went back in time, and what lies beside it contradicts it: {told}"
        f"{f' (and {more} more)' if more > 0 else ''}. Nothing was sent. Look for these tasks on the service's "
        "dashboard and save their clips by hand; or restore a newer backup of the journal. "
        "Then `batchvid run MANIFEST --moved` goes on and leaves them aside"
    )
