"""Slices: every job that is to do is in one, no chain is cut, and their sizes are those that were meant."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.dependencies import DependencyGraph
from batchvid.domain.job import Continuation, Job, Progress, State
from batchvid.domain.slices import JOBS_AT_LEAST, JOBS_AT_MOST, cut, left_to_do
from tests.engine.drive import a_job

if TYPE_CHECKING:
    from collections.abc import Sequence


def linked(parents: Sequence[int | None]) -> list[Job]:
    """Return jobs j0, j1 …, of which each names the place of the one that it continues, or none."""
    made: list[Job] = []
    for index, parent in enumerate(parents):
        job = a_job(f"j{index}")
        if parent is not None:
            values = {field.name: getattr(job, field.name) for field in fields(Job)}
            job = Continuation(**values, continues=f"j{parent}", at_s=None)
        made.append(job)
    return made


@st.composite
def manifests(draw: st.DrawFn) -> tuple[list[Job], list[int]]:
    """Draw jobs, some in chains that lie anywhere among the others, and which of them are to do."""
    count = draw(st.integers(0, 400))
    dice = draw(st.randoms(use_true_random=False))
    density = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    parents = [dice.randrange(index) if index and dice.random() < density else None for index in range(count)]
    order = list(range(count))
    dice.shuffle(order)
    parents = [None if parents[place] is None else order.index(parents[place] or 0) for place in order]
    share = draw(st.sampled_from([0.02, 0.5, 1.0]))
    return linked(parents), [index for index in range(count) if dice.random() < share]


def roots(jobs: Sequence[Job]) -> list[int]:
    """Return for each job the first of its chain."""
    graph = DependencyGraph(jobs)
    found = list(range(len(jobs)))
    for index in graph.in_order():
        found[index] = found[graph.parent[index]]
    return found


@given(manifests(), st.sampled_from([0, 3, 40, 150]))
def test_every_job_that_is_to_do_is_in_one_slice_with_its_whole_chain(
    manifest: tuple[list[Job], list[int]], canary: int
) -> None:
    """And no job in two. A job that is done is there for its chain only."""
    jobs, to_do = manifest
    slices = cut(jobs, to_do, canary=canary)
    placed = [position for one in slices for position in one.jobs]
    assert len(placed) == len(set(placed))
    assert set(placed) >= set(to_do)
    root = roots(jobs)
    wanted = {root[position] for position in to_do}
    assert set(placed) == {position for position in range(len(jobs)) if root[position] in wanted}
    for one in slices:
        assert list(one.jobs) == sorted(one.jobs)
        assert one.to_do == len(set(one.jobs) & set(to_do))
        assert {root[position] for position in one.jobs}.isdisjoint(
            root[position] for other in slices if other is not one for position in other.jobs
        )


@given(manifests())
def test_slices_come_in_the_manifests_order(manifest: tuple[list[Job], list[int]]) -> None:
    """By the first job of each that is to do."""
    jobs, to_do = manifest
    wanted = set(to_do)
    firsts = [min(wanted.intersection(one.jobs)) for one in cut(jobs, to_do)]
    assert firsts == sorted(firsts)


@given(manifests())
def test_a_slice_is_too_large_or_too_small_for_a_reason_only(manifest: tuple[list[Job], list[int]]) -> None:
    """Too large by one chain, and too small where it is the last and does not fit into the one before."""
    jobs, to_do = manifest
    root, wanted = roots(jobs), set(to_do)
    slices = cut(jobs, to_do)
    for number, one in enumerate(slices):
        chains: dict[int, int] = {}
        for position in wanted.intersection(one.jobs):
            chains[root[position]] = chains.get(root[position], 0) + 1
        assert one.to_do - max(chains.values()) < JOBS_AT_MOST
        if one.to_do > JOBS_AT_MOST:
            assert max(chains.values()) > JOBS_AT_MOST - JOBS_AT_LEAST
        if one.to_do < JOBS_AT_LEAST:
            assert number == len(slices) - 1
            assert not number or one.to_do + slices[number - 1].to_do > JOBS_AT_MOST


@given(manifests(), st.integers(0, 200))
def test_the_canary_is_in_the_first_slice(manifest: tuple[list[Job], list[int]], canary: int) -> None:
    """As many jobs as it asks for that wait for no other, where there are so many."""
    jobs, to_do = manifest
    ids = {jobs[position].id for position in to_do}

    def is_free(position: int) -> bool:
        job = jobs[position]
        return job.id in ids and not (isinstance(job, Continuation) and job.continues in ids)

    slices = cut(jobs, to_do, canary=canary)
    free = sum(map(is_free, to_do))
    if slices:
        assert sum(map(is_free, slices[0].jobs)) >= min(canary, free)


@pytest.mark.parametrize(
    ("count", "slices", "smallest", "largest"),
    [
        (0, 0, 0, 0),
        (1, 1, 1, 1),
        (30, 1, 30, 30),
        (50, 2, 25, 25),
        (74, 2, 37, 37),
        (1_610, 64, 25, 26),
        (3_200, 64, 50, 50),
        (6_400, 64, 100, 100),
        (10_001, 101, 99, 100),
        (100_000, 1000, 100, 100),
    ],
)
def test_the_size_follows_the_number(count: int, slices: int, smallest: int, largest: int) -> None:
    """So that machines have work until the end, and the engine little."""
    jobs = linked([None] * count)
    sizes = [one.to_do for one in cut(jobs, range(count))]
    assert (len(sizes), min(sizes, default=0), max(sizes, default=0)) == (slices, smallest, largest)


def test_all_that_continue_one_clip_are_in_its_slice() -> None:
    """However many they are; and quickly."""
    jobs = linked([None, *[0] * 20_000, *[None] * 50])
    slices = cut(jobs, range(len(jobs)), canary=5)
    assert slices[0].to_do == 20_001 + 4
    assert sum(one.to_do for one in slices) == 20_051


def row(job_id: str, state: State, *, parked: bool = False) -> Progress:
    """Return a row of the journal."""
    return Progress(job_id, state, 3, 1, parked=parked)


def test_what_is_left_to_do() -> None:
    """Paid work is collected of all; what is in doubt or closed waits until it is opened again."""
    states = [None, *State]
    jobs = [a_job(f"j{index}") for index in range(len(states))]
    rows = {job.id: row(job.id, state) for job, state in zip(jobs, states, strict=True) if state is not None}

    def left(**asked: list[str]) -> set[State | None]:
        return {states[position] for position in left_to_do(jobs, rows, **asked)}

    paid = {State.SUBMITTING, State.RUNNING, State.READY}
    assert left() == {None, State.PENDING} | paid
    assert left(only=[]) == paid
    assert left(only=["j0"]) == {None} | paid
    doubt, failed, done = (f"j{states.index(state)}" for state in (State.IN_DOUBT, State.FAILED, State.DONE))
    assert left(again=[doubt, failed, done]) == {None, *State}
    assert left(again=[doubt, failed, done], only=[failed]) == {State.FAILED} | paid
