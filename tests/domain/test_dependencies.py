"""Chains as values: who waits for whom, what goes first, and what a finished clip sets free."""

from __future__ import annotations

from dataclasses import fields as fields_of
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.dependencies import DependencyGraph, Wait, as_it_stands, bound
from batchvid.domain.job import Continuation, Job, Progress, State
from batchvid.engine.scheduler import Step
from tests.engine.drive import Drive, a_job

if TYPE_CHECKING:
    from collections.abc import Sequence

SHA = "ab" * 32


def after(above: str, name: str, *, at_s: float | None = None) -> Continuation:
    """Return a job that goes on from another's clip."""
    plain = a_job(name)
    values = {field.name: getattr(plain, field.name) for field in fields_of(Job)} | {"fingerprint": ""}
    return Continuation(**values, continues=above, at_s=at_s)


def done(name: str, sha256: str = SHA) -> Progress:
    """Return the row of a finished clip."""
    return Progress(name, State.DONE, 5, 1, path=f"{name}.mp4", size_bytes=10, sha256=sha256, fingerprint=f"f-{name}")


def linked(parents: Sequence[int | None]) -> list[Job]:
    """Return jobs j0, j1 …, of which each names the place of the one that it continues, or none."""
    return [
        a_job(f"j{index}") if parent is None else after(f"j{parent}", f"j{index}")
        for index, parent in enumerate(parents)
    ]


FORESTS = st.lists(st.integers(0, 5), min_size=1, max_size=12).map(
    lambda draws: [None if not index or draw == 0 else draw % index for index, draw in enumerate(draws)]
)


@given(FORESTS)
def test_every_link_comes_after_the_one_that_it_continues_and_once(parents: list[int | None]) -> None:
    """In whatever order they stand; and the rank of a job is before that of all that hang on it."""
    dependencies = DependencyGraph(linked(parents))
    order = list(dependencies.in_order())
    assert sorted(order) == [index for index, parent in enumerate(parents) if parent is not None]
    seen = {index for index, parent in enumerate(parents) if parent is None}
    for index in order:
        assert dependencies.parent[index] in seen
        assert dependencies.rank(dependencies.parent[index]) < dependencies.rank(index)
        seen.add(index)


def test_jobs_without_links_are_no_chain_and_keep_their_order() -> None:
    """The way of most manifests, which must cost nothing."""
    dependencies = DependencyGraph(linked([None] * 4))
    assert not dependencies
    assert [dependencies.rank(index) for index in range(4)] == [0.0, 1.0, 2.0, 3.0]
    assert list(dependencies.waits({})) == []


def test_what_a_link_sends_is_known_by_the_content_of_the_clip_and_the_place_in_it() -> None:
    """Not by the clip's name, and not before it is there."""
    link = after("kite", "dive")
    assert as_it_stands(link, {}).fingerprint == ""
    assert as_it_stands(link, {"kite": Progress("kite", State.RUNNING)}).fingerprint == ""
    known = as_it_stands(link, {"kite": done("kite")})
    assert known.fingerprint == bound(after("other", "dive"), SHA).fingerprint
    others = {
        bound(link, "cd" * 32).fingerprint,
        bound(after("kite", "dive", at_s=-0.2), SHA).fingerprint,
        bound(after("kite", "dive", at_s=0.0), SHA).fingerprint,
    }
    assert len(others | {known.fingerprint}) == 4


@pytest.mark.parametrize(
    ("row", "reason", "blocked"),
    [
        (None, "waits for j0", False),
        (Progress("j0", State.RUNNING), "waits for j0", False),
        (
            Progress("j0", State.RUNNING, parked=True, reason="late"),
            "waits for j0, which is left for the next run: late",
            False,
        ),
        (Progress("j0", State.FAILED, reason="blocked"), "waits for j0, which failed: blocked", True),
        (Progress("j0", State.IN_DOUBT), "waits for j0, which is in doubt", True),
    ],
)
def test_each_waiting_job_says_for_what_and_whether_a_person_must_act(
    row: Progress | None,
    reason: str,
    blocked: bool,  # noqa: FBT001 a table
) -> None:
    """The next one in the chain, and the one after that."""
    waits = list(DependencyGraph(linked([None, 0, 1])).waits({} if row is None else {"j0": row}))
    assert waits[0] == Wait("j1", reason, blocked)
    assert waits[1].reason.startswith("waits for j1, in the chain behind j0")
    assert waits[1].blocked is blocked


def test_nothing_waits_behind_a_clip_that_is_there_unless_it_cannot_be_used() -> None:
    """Then the reason is the run's own."""
    dependencies = DependencyGraph(linked([None, 0, 1]))
    assert [wait.job_id for wait in dependencies.waits({"j0": done("j0")})] == ["j2"]
    held = list(dependencies.waits({"j0": done("j0")}, held_back={"j1": "its clip is gone"}))
    assert held == [
        Wait("j1", "its clip is gone", blocked=True),
        Wait("j2", "waits for j1: its clip is gone", blocked=True),
    ]


def test_a_link_is_in_no_lane_until_the_clip_is_on_disk() -> None:
    """Not when its task was accepted, and not when it succeeded."""
    drive = Drive(linked([None, 0]))
    drive.submit()
    assert drive.in_lanes() == 1
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    index = drive.ready()
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    drive.take(Step.DOWNLOAD)
    assert not drive.scheduler.is_over()
    drive.save_and_set_free(index)
    assert drive.wait_for(Step.SUBMIT) == 1


def test_a_run_is_over_when_only_links_are_left_that_cannot_come() -> None:
    """They hold nothing, and nothing waits for them."""
    drive = Drive(linked([None, 0, 1]))
    drive.unsendable(drive.take(Step.SUBMIT))
    assert drive.scheduler.is_over()
    assert drive.counts() == {"failed": 1, "pending": 2}
    assert drive.scheduler.tracker.waiting == set()


def test_a_link_that_is_held_back_gives_all_back_and_ends_the_run() -> None:
    """Money, room in flight, and its place among the jobs that may be submitted."""
    drive = Drive(linked([None, 0]), rows=[done("j0")], max_jobs=1)
    index = drive.take(Step.SUBMIT)
    drive.scheduler.hold_back(index, "gone")
    drive.finish(Step.SUBMIT, index)
    assert drive.scheduler.is_over()
    assert (drive.scheduler.in_flight, drive.scheduler.budget.money.reserved_micros) == (0, 0)
    assert drive.scheduler.breaker.new_jobs_wait is None
    assert drive.counts() == {"done": 1, "pending": 1}
