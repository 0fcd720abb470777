"""What must hold whatever happened to a cluster, asked of what the service billed, the database kept and the store has.

`Evidence` is all that was found; each invariant is a function of it that returns what is wrong. So that a state that
must be found wrong can be written down by hand, nothing here asks anybody.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batchvid.domain.job import Outcome, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SHOWN = 5
"""Of the faults of one kind; a thousand of them say no more."""


class Create(NamedTuple):
    """A task that the service billed."""

    job_id: str
    task_id: str


class AttemptRow(NamedTuple):
    """A paid attempt, as the database has it."""

    job_id: str
    attempt: int
    task_id: str | None
    outcome: str
    price_micros: int | None


class JobRow(NamedTuple):
    """A job, as the database has it."""

    job_id: str
    state: str
    path: str | None
    size_bytes: int | None
    sha256: str | None
    unproven_micros: int


class Sums(NamedTuple):
    """What the database says that all attempts come to, in millionths, and what they may."""

    spent: int
    reserved: int
    unproven: int
    unpriced: int
    ceiling: int | None


class StoredObject(NamedTuple):
    """What lies in the store, read to its end."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was found of one output."""

    creates: Sequence[Create]
    attempts: Sequence[AttemptRow]
    jobs: Sequence[JobRow]
    sums: Sums
    orphans: frozenset[str] = frozenset()
    """The task ids that are spilled: in the table, or in the file of a worker."""
    objects: Mapping[str, StoredObject] = field(default_factory=dict)
    """By their names."""
    sidecars: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 that each sidecar tells, by the name of its clip."""
    scratch: Sequence[str] = ()
    """Files of clips on machines on which no worker lives, and none was killed."""
    unfinished: Sequence[str] = ()
    """Revisions that have not ended, slices that are not over and engine jobs that wait."""
    wanted: int = 0
    """How many jobs the manifest has."""
    is_over: bool = True
    """Whether all of it has come to its end, so that nothing may be under way any more."""


def no_create_twice(found: Evidence) -> Iterable[str]:
    """Yield each job that was billed more often than it was attempted.

    A create belongs to the attempt that has its task. Any other needs an attempt of the same job of which no task is
    known, and each such attempt counts for one.
    """
    owners = {row.task_id: row.job_id for row in found.attempts if row.task_id is not None}
    without = Counter(row.job_id for row in found.attempts if row.task_id is None)
    attempts = Counter(row.job_id for row in found.attempts)
    billed = Counter(one.job_id for one in found.creates)
    for create in found.creates:
        owner = owners.get(create.task_id)
        if owner is None:
            without[create.job_id] -= 1
        elif owner != create.job_id:
            yield f"{create.task_id} was billed for {create.job_id} and is an attempt of {owner}"
    for job_id, number in without.items():
        if number < 0:
            yield f"{job_id}: {billed[job_id]} creates, {attempts[job_id]} attempts"
    for task_id, number in Counter(one.task_id for one in found.creates).items():
        if number > 1:
            yield f"the ledger has {task_id} {number} times"


def no_paid_task_lost(found: Evidence) -> Iterable[str]:
    """Yield each billed task that is not on record, not spilled, and whose job is not shown in doubt."""
    recorded = {row.task_id for row in found.attempts}
    states = {row.job_id: row.state for row in found.jobs}
    unknown = {row.job_id for row in found.attempts if row.task_id is None}
    doubtful = {State.IN_DOUBT} if found.is_over else {State.IN_DOUBT, State.SUBMITTING}
    for create in found.creates:
        in_doubt = create.job_id in unknown and states.get(create.job_id) in doubtful
        if create.task_id not in recorded and create.task_id not in found.orphans and not in_doubt:
            yield f"{create.task_id} of {create.job_id}, which is {states.get(create.job_id, 'unknown')}"


def every_task_is_real(found: Evidence) -> Iterable[str]:
    """Yield each task on record that the service never billed."""
    billed = {create.task_id for create in found.creates}
    for row in found.attempts:
        if row.task_id is not None and row.task_id not in billed:
            yield f"{row.job_id}, attempt {row.attempt}: {row.task_id}"


def sums_equal_the_attempts(found: Evidence) -> Iterable[str]:
    """Yield how the sums differ from what they are sums of, and whether they are above what may be spent."""
    held = [row for row in found.attempts if Outcome(row.outcome).is_reserved]
    over = [row for row in found.attempts if not Outcome(row.outcome).is_reserved]
    counted = {
        "spent": sum(row.price_micros or 0 for row in over),
        "reserved": sum(row.price_micros or 0 for row in held),
        "unproven": sum(row.unproven_micros for row in found.jobs),
        "unpriced": sum(row.price_micros is None for row in found.attempts),
    }
    for name, value in counted.items():
        kept = getattr(found.sums, name)
        if kept != value:
            yield f"{name}: {kept} kept, {value} counted"
    spent = found.sums.spent + found.sums.reserved + found.sums.unproven
    if found.sums.ceiling is not None and spent > found.sums.ceiling:
        yield f"{spent} of at most {found.sums.ceiling}"


def one_good_object_a_clip(found: Evidence) -> Iterable[str]:
    """Yield each clip that is done and is not in the store as the database says, and each object that is nobody's."""
    done = defaultdict(list)
    for row in found.jobs:
        if row.state == State.DONE:
            done[row.path or ""].append(row)
    for path, rows in done.items():
        if len(rows) > 1:
            yield f"{path} is the clip of {', '.join(row.job_id for row in rows)}"
        yield from _clip_trouble(found, path, rows[0])
    ready = {row.job_id for row in found.jobs if row.state == State.READY and not found.is_over}
    for path in found.objects.keys() - done.keys():
        if path.rpartition("/")[2].removesuffix(".mp4") not in ready:
            yield f"{path} is the clip of no job that is done"


def _clip_trouble(found: Evidence, path: str, kept: JobRow) -> Iterable[str]:
    stored = found.objects.get(path)
    if stored is None:
        yield f"{path} of {kept.job_id} is missing"
    elif stored != StoredObject(kept.size_bytes or 0, kept.sha256 or ""):
        yield f"{path} of {kept.job_id} differs: {stored}"
    elif found.sidecars.get(path) != kept.sha256:
        yield f"the sidecar of {path} is missing or of another clip"


def nothing_left_over(found: Evidence) -> Iterable[str]:
    """Yield what should be gone or come to an end by now."""
    if found.is_over:
        yield from (f"{path} is left in scratch" for path in found.scratch)
        yield from found.unfinished
        yield from (f"{row.job_id} is {row.state}" for row in found.jobs if row.state == State.SUBMITTING)
        yield from (
            f"the sidecar of {path} is left without its clip" for path in found.sidecars.keys() - found.objects.keys()
        )


INVARIANTS: Mapping[str, Callable[[Evidence], Iterable[str]]] = {
    "creates": no_create_twice,
    "records": no_paid_task_lost,
    "tasks": every_task_is_real,
    "sums": sums_equal_the_attempts,
    "clips": one_good_object_a_clip,
    "leftovers": nothing_left_over,
}


def broken(found: Evidence) -> dict[str, list[str]]:
    """Return what is wrong, by invariant; empty when all of them hold."""
    troubles = {name: list(invariant(found)) for name, invariant in INVARIANTS.items()}
    return {name: said for name, said in troubles.items() if said}


def words(troubles: Mapping[str, Sequence[str]]) -> str:
    """Return what is wrong in one line."""
    return "; ".join(
        f"{name}: {', '.join(said[:SHOWN])}{f' and {len(said) - SHOWN} more' if len(said) > SHOWN else ''}"
        for name, said in troubles.items()
    )
