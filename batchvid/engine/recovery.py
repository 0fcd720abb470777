"""What comes before a run, or before a person's decision: the journal learns what is true now. Nothing is bought.

* Interrupted submits become doubts, and paid task ids that could not be journaled are given to their jobs.
* A journal that went back in time (a backup was restored, the -wal was lost, the file was deleted) is no longer sealed
  (`batchvid.journal.sqlite_file`). What lies beside it tells of paid attempts: log, sidecars, ``clips.jsonl``, orphans.
  It is compared by the rules of `batchvid.domain.history`, and what the journal does not know is recorded as it
  happened, or the run refuses. A file that cannot be read is an error, because it may be what knows of a paid task; a
  line that makes no sense tells what can still be read in it.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from batchvid.domain.dependencies import DependencyGraph, as_it_stands
from batchvid.domain.errors import StorageError
from batchvid.domain.history import (
    ContradictionError,
    Found,
    KnownRequests,
    Retelling,
    Witnesses,
    contested,
    needs_look,
)
from batchvid.domain.job import Outcome, Progress, State
from batchvid.domain.lifecycle import IllegalEventError, SubmitUnsure, TaskAdopted
from batchvid.domain.records import reviewed
from batchvid.domain.reopening import interrupted
from batchvid.domain.text import clean
from batchvid.engine.belonging import claim, claim_bucket
from batchvid.engine.planning import move_jobs
from batchvid.journal import orphans
from batchvid.journal.base import Change, TaskOwnedError
from batchvid.journal.event_log import LOG_FILE, PACE_MARK, rotated
from batchvid.journal.orphans import ADOPTED_FILE, ORPHANS_FILE
from batchvid.providers.response import loads
from batchvid.storage.fs import STATE_FOLDER, doing, folder_below, network_file_system, on_network, open_regular
from batchvid.storage.state import CLIPS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchvid.domain.job import Job
    from batchvid.domain.limits import RunOptions
    from batchvid.journal.base import Journal, JournalReader
    from batchvid.journal.orphans import Orphans
    from batchvid.manifest.model import Manifest
    from batchvid.storage.base import ClipStore
    from batchvid.storage.output import Output
    from batchvid.storage.state import StateFolder


ROWS_AT_ONCE = 500
"""How many rows are taken up in one transaction."""


def recover(
    journal: Journal,
    output: Output,
    manifest: Manifest,
    options: RunOptions | None,
    *,
    at: float,
    note: Callable[[str], None],
    warn: Callable[[str], None],
) -> DependencyGraph:
    """Bring the journal up to date before anything else is recorded, and return the links among the jobs.

    In this order: whose is the output, is it at home here, what has the journal forgotten, what did the run before
    leave, and which jobs have other ids now. *options* are a run's; ``None`` stands for a person's decision without
    one. Raises `StorageError`.
    """
    jobs, moved = {job.id: job for job in manifest.jobs}, options is not None and options.moved
    claim(journal, manifest, moved=moved)
    if manifest.bucket is not None:
        claim_bucket(journal, manifest, output.clips, moved=moved)
    journal.settle(None if options is None else jobs.keys(), moved=moved, note=warn)
    take_back(journal, output, jobs=jobs, leave_aside=moved, at=at, warn=warn)
    take_up(journal, output.state, at=at, warn=warn)
    dependencies = DependencyGraph(manifest.jobs)
    move_jobs(
        journal, output, jobs=manifest.jobs, dependencies=dependencies, limits=manifest.limits, at=at,
        note=note, warn=warn, rebuy=options is not None and options.rebuy,
    )  # fmt: skip
    return dependencies


def take_up(journal: Journal, state: StateFolder, *, at: float, warn: Callable[[str], None]) -> None:
    """Record what the end of the run before means for its jobs."""
    if kind := network_file_system(state.output):
        warn(f"the journal's folder {state.output} {on_network(kind)}")
    lost = orphans.read(state.output)
    beside = journal.kept_beside()
    known = {**beside, **{(one.job_id, one.attempt): one.task_id for one in lost.known.values()}}
    changes: list[Change] = []
    adoptions: list[Change] = []
    for row in journal.open_progress():
        events = interrupted(row, orphans=known)
        if events:
            change = Change.of(row, *((event, at) for event in events))
            (adoptions if isinstance(events[-1], TaskAdopted) else changes).append(change)
    for first in range(0, len(changes), ROWS_AT_ONCE):
        journal.record(changes[first : first + ROWS_AT_ONCE])
    for change in adoptions:
        _adopt(journal, change, warn)
    _put_away(journal, state.output, lost, warn)
    for (job_id, attempt), task_id in beside.items():
        if journal.owner_of_task(task_id) is None:
            warn(f"a worker was given {_task_of(task_id, job_id, attempt)}: look at the service's dashboard")


def _put_away(journal: Journal, output: Path, lost: Orphans, warn: Callable[[str], None]) -> None:
    """Put away the orphans that the journal has now; each of the others stays where it is, and is told."""
    taken = [line for line, one in lost.known.items() if journal.owner_of_task(one.task_id) is not None]
    waiting = {line: one for line, one in lost.known.items() if line not in set(taken)}
    where = orphans.path_of(output)
    for number in lost.strange.values():
        warn(f"line {number} of {where} makes no sense, and may name a paid task: look at it; it is kept")
    for one in waiting.values():
        task = _task_of(one.task_id, one.job_id, one.attempt)
        warn(f"{where} names {task}: look at the service's dashboard; the line is kept")
    if taken:
        orphans.put_away(output, taken, [*waiting, *lost.strange])


def _task_of(task_id: str, job_id: str, attempt: int) -> str:
    return (
        f"task {clean(task_id, TASK_SHOWN)} of job {clean(job_id, TASK_SHOWN)!r}, attempt {attempt}, which the journal "
        "cannot place"
    )


def _adopt(journal: Journal, change: Change, warn: Callable[[str], None]) -> None:
    """Record the task id that an earlier run paid for and could not journal; warn where another job has it."""
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
    journal: JournalReader, ids: Collection[str], *, again: Collection[str], whole: Collection[str]
) -> tuple[dict[str, Progress], dict[str, Progress], set[str]]:
    """Part these jobs into open ones, closed ones, and done ones; those that may be opened *again* count as open.

    Of the done ones only the ids are returned: a night may have a hundred thousand. Those that are to stay *whole*,
    because others may go on from their clips, are among the closed ones. Of a failed one only what a summary shows is
    read.
    """
    done = journal.ids(State.DONE).intersection(ids)
    opened = {row.job_id: row for row in journal.progress_of(sorted(done.intersection(again)))}
    done.difference_update(opened)
    closed = {row.job_id: row for row in journal.progress_of(done.intersection(whole))}
    done.difference_update(closed)
    for row in journal.undone_progress():
        if row.job_id not in ids:
            continue
        if row.state.is_open or row.job_id in again:
            opened[row.job_id] = row
        else:
            closed[row.job_id] = row if row.job_id in whole else Progress(row.job_id, row.state, reason=row.reason)
    return (dict(sorted(opened.items())) if again else opened), closed, done


def as_they_stand(jobs: Iterable[Job], dependencies: DependencyGraph, journal: Journal) -> dict[str, Job]:
    """Return the jobs by id, those that continue another with their fingerprint as far as its clip is there."""
    found = {job.id: job for job in jobs}
    rows = {row.job_id: row for row in journal.progress_of(dependencies.ids)}
    found.update((job_id, as_it_stands(found[job_id], rows)) for job_id in dependencies.ids)
    return found


LINE_MAX_BYTES = 1024 * 1024
"""The longest line that batchvid writes holds 4 KB of an answer, escaped."""
TELLS_NOTHING = (b'"event": "StillRunning"', b'"event": "PollFailed"', PACE_MARK)
"""Most lines of a log: how a poll went does not matter here. Inside a text, quotes are escaped."""
BEGINNING = re.compile(rb'\{"at": ')
ABOUT = re.compile(rb'"job": "((?:[^"\\]|\\.)*)", "attempt": (\d{1,9})\b')


def witnesses(output: Output) -> Witnesses:
    """Return what lies in *output* and tells of paid attempts; raises `StorageError` for what cannot be read."""
    found, folder = Witnesses(), output.state.output
    for log in reversed(rotated(output.state.folder / LOG_FILE)):
        for line in _lines(folder, STATE_FOLDER, log.name):
            if not any(words in line for words in TELLS_NOTHING):
                _take(found, line)
    for path, told in output.clips.sidecars():
        found.clip(told, path)
    for line in _lines(output.state.clips_folder, CLIPS_FILE):
        told = loads(line.decode("utf-8", "replace"))
        if isinstance(told, dict):
            found.clip(told, told.get("path"))
    for name in (ADOPTED_FILE, ORPHANS_FILE):
        for line in _lines(folder, STATE_FOLDER, name):
            told = loads(line.decode("utf-8", "replace"))
            if isinstance(told, dict):
                found.orphan(told)
    return found


def _lines(output: Path, *names: str) -> Iterator[bytes]:
    """Yield the lines of a file below *output*, none when it is not there."""
    *folders, name = names
    with doing(f"read {output.joinpath(*names)}, which may know what is paid"):
        try:
            with folder_below(output, *folders) as folder:
                descriptor = open_regular(folder, name, os.O_RDONLY)
        except FileNotFoundError:
            return
        with open(descriptor, "rb") as file:
            while line := file.readline(LINE_MAX_BYTES):
                yield line


def _take(found: Witnesses, line: bytes) -> None:
    """Read one line of the log, also what is left of one that broke off and the one written behind it."""
    told = loads(line.decode("utf-8", "replace"))
    if isinstance(told, dict):
        found.event(told)
        return
    begins = [match.start() for match in BEGINNING.finditer(line)][1:]
    broken = line[: begins[0]] if begins else line
    about = ABOUT.search(broken)
    if about is not None:
        job_id = loads(f'"{about[1].decode("utf-8", "replace")}"')
        if isinstance(job_id, str):
            found.cut(job_id, int(about[2]))
    if begins:
        _take(found, line[begins[0] :])


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


def take_back(
    journal: Journal,
    output: Output,
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
    aside, found = set(json.loads(journal.meta_get(LEFT_ASIDE) or "[]")), witnesses(output)
    told = list(_retellings(journal, output, jobs, found, aside=aside, at=at))
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
    _take_back_reviews(journal, found, warn)
    journal.seal()
    for line in _tidings([one for _, one in _kept(told)], "were taken back in"):
        warn(line)


def _take_back_reviews(journal: Journal, found: Witnesses, warn: Callable[[str], None]) -> None:
    """Let the journal have what sidecars tell of decisions about clips of which it knows no decision at all."""
    if not found.reviews:
        return
    known = {(one.job_id, one.attempt) for _, one in journal.decisions_after(0)}
    paid = [
        one
        for one in journal.attempts()
        if one.task_id in found.reviews and one.outcome is Outcome.SUCCEEDED and (one.job_id, one.attempt) not in known
    ]
    told = [reviewed(found.reviews[one.task_id or ""], job_id=one.job_id, attempt=one.attempt) for one in paid]
    decisions = [one for one in told if one is not None]
    journal.take_over_decisions(decisions)
    if decisions:
        what = "decision about a clip was" if len(decisions) == 1 else "decisions about clips were"
        warn(f"{len(decisions):,} {what} taken back in from the sidecars; a rejection only as a note: reject again")


class Forgotten(NamedTuple):
    """What lies beside a journal and is not in it, in words."""

    lines: list[str]
    is_refused: bool
    """Whether a run refuses to begin until a person has settled it."""


def forgotten(journal: JournalReader | None, output: Output, *, jobs: Mapping[str, Job], at: float) -> Forgotten:
    """Return, for who only looks, what the journal does not know; no *journal* stands for one that is not there.

    Raises `StorageError` when what lies beside it cannot be read.
    """
    if journal is not None and journal.is_sealed:
        return Forgotten([], is_refused=False)
    aside = set() if journal is None else set(json.loads(journal.meta_get(LEFT_ASIDE) or "[]"))
    told = list(_retellings(journal, output, jobs, witnesses(output), aside=aside, at=at))
    contradictions = [one for one in told if isinstance(one, ContradictionError)]
    lines = [f"a run refuses to begin: {one}" for one in contradictions]
    lines += _tidings([one for _, one in _kept(told)], "are taken back in by the next run")
    return Forgotten(lines, is_refused=bool(contradictions))


Told = tuple[Progress, Retelling] | ContradictionError


def _retellings(
    journal: JournalReader | None,
    output: Output,
    jobs: Mapping[str, Job],
    found: Witnesses,
    *,
    aside: Collection[str],
    at: float,
) -> Iterator[Told]:
    """Yield what is to be retold, job by job: the row as it is and the retelling, or what contradicts it."""
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
        _look_at_clips(output.clips, ones, row)
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
    journal: JournalReader | None, found: Witnesses, jobs: Mapping[str, Job]
) -> tuple[KnownRequests, dict[str, list[Found]], dict[str, Progress], dict[str, float], Collection[str]]:
    if journal is None:
        nothing = KnownRequests((), (), (), ())
        return nothing, found.of_jobs(nothing, wanted=jobs.keys()), {}, {}, ()
    tries = list(journal.attempts())
    known = KnownRequests.of(tries, journal.events(kinds=["SubmitStarted"]))
    open_rows = {row.job_id: row for row in journal.open_progress()}
    by_job = found.of_jobs(known, wanted=jobs.keys())
    newest = {(row.job_id, row.attempt) for row in open_rows.values()}
    starts = {one.job_id: one.started_at for one in tries if (one.job_id, one.attempt) in newest}
    return known, by_job, open_rows, starts, journal.reserved_jobs()


def _look_at_clips(clips: ClipStore, ones: Sequence[Found], row: Progress) -> None:
    """See which clips are there as they were noted; those that the journal has as done are not read."""
    for one in ones:
        clip = one.clip
        if clip is None or (one.is_known and not (row.state.is_open and one.task_id == row.task_id)):
            continue
        try:
            wrong = clips.check(clip.path, size_bytes=clip.size_bytes, sha256=clip.sha256, full=True)
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
        f"the journal {journal.name} went back in time, and what lies beside it contradicts it: {told}"
        f"{f' (and {more} more)' if more > 0 else ''}. Nothing was sent. Look for these tasks on the service's "
        "dashboard and save their clips by hand; or restore a newer backup of the journal. "
        "Then `batchvid run MANIFEST --moved` goes on and leaves them aside"
    )
