"""Slices: the portions of a manifest that workers take, each the work of one machine for a while.

1. A chain is never cut. Whoever works on one of its jobs has all of them, finished ones too: a clip is needed by what
   goes on from it, and a clip that is made again may open again what is behind it.
2. The jobs that `limits.canary` sends first are all in the first slice, so that one machine sees how they end.
3. A slice has 25 to 100 jobs to do, and there are 64 slices where there is enough to do: fewer jobs would cost the
   engine more than they bring, and fewer slices would leave machines without work at the end. A chain may make a slice
   larger, and what is left at the end may be less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from batchvid.domain.dependencies import DependencyGraph
from batchvid.domain.job import Continuation, State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from batchvid.domain.job import Job, Progress

JOBS_AT_LEAST, JOBS_AT_MOST = 25, 100
"""In a slice."""
SLICES_WANTED = 64


class Slice(NamedTuple):
    """One portion."""

    jobs: tuple[int, ...]
    """The positions of its jobs in the manifest, in order: those to do, and the rest of their chains."""
    to_do: int
    """How many of them are to do."""


def left_to_do(
    jobs: Sequence[Job],
    rows: Mapping[str, Progress],
    *,
    again: Collection[str] = (),
    only: Collection[str] | None = None,
) -> list[int]:
    """Return the positions of the jobs for which a run may do something, in order.

    *rows* are the journal's, *again* the ids that the run opens again, *only* those that it may submit; what is paid is
    collected of all. What is in doubt waits for a person.
    """

    def is_left(job: Job) -> bool:
        row = rows.get(job.id)
        if row is not None and row.state in {State.SUBMITTING, State.RUNNING, State.READY}:
            return True
        may_be_sent = only is None or job.id in only
        return may_be_sent and (row is None or row.state is State.PENDING or job.id in again)

    return [position for position, job in enumerate(jobs) if is_left(job)]


def cut(jobs: Sequence[Job], to_do: Collection[int], *, canary: int = 0) -> list[Slice]:
    """Return the slices of a manifest's *jobs* of which those at the positions *to_do* are to do, in order."""
    wanted = frozenset(to_do)
    found: list[Slice] = []
    left = len(wanted)
    size = _size(left, made=0)
    current: list[int] = []
    count = first = 0

    def close() -> None:
        nonlocal current, count, left, size
        found.append(Slice(tuple(sorted(current)), count))
        left -= count
        size = _size(left, made=len(found))
        current, count = [], 0

    for unit in units(jobs, sorted(wanted)):
        more = sum(position in wanted for position in unit)
        is_early = not found and first < canary
        if count >= JOBS_AT_LEAST and count + more > JOBS_AT_MOST and not is_early:
            close()
        current += unit
        count += more
        if not found:
            first += _sent_first([jobs[position] for position in unit if position in wanted])
        if count >= size and (found or first >= canary):
            close()
    if current:
        close()
    if len(found) > 1 and found[-1].to_do < JOBS_AT_LEAST and found[-1].to_do + found[-2].to_do <= JOBS_AT_MOST:
        last, before = found.pop(), found.pop()
        found.append(Slice(tuple(sorted(before.jobs + last.jobs)), before.to_do + last.to_do))
    return found


def _size(left: int, *, made: int) -> int:
    """Return how many jobs the next slice should have, with *left* jobs to do and some slices made."""
    slices = max(1, -(-left // JOBS_AT_MOST), min(SLICES_WANTED - made, left // JOBS_AT_LEAST))
    return -(-left // slices)


def _sent_first(to_do: Sequence[Job]) -> int:
    """Return how many jobs of a chain wait for no other of them."""
    ids = {job.id for job in to_do}
    return sum(not isinstance(job, Continuation) or job.continues not in ids for job in to_do)


def units(jobs: Sequence[Job], to_do: Sequence[int]) -> Iterator[list[int]]:
    """Yield what may not be cut: each job that is to do, or the whole of its chain at the place of its first one."""
    graph = DependencyGraph(jobs)
    if not graph:
        yield from ([position] for position in to_do)
        return
    root = {position: position for position in graph.children if position not in graph.parent}
    members = {position: [position] for position in root}
    for position in graph.in_order():
        root[position] = root[graph.parent[position]]
        members[root[position]].append(position)
    for position in to_do:
        if position not in root:
            yield [position]
        elif unit := members.pop(root[position], None):
            yield unit
