"""Every state that breaks a promise is found: an invariant that cannot fail proves nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.cluster.invariants import (
    INVARIANTS,
    AttemptRow,
    Create,
    Evidence,
    JobRow,
    StoredObject,
    Sums,
    broken,
)

PRICE = 400_000
A, B = "a" * 64, "b" * 64
GOOD = Evidence(
    creates=[Create("one", "task_1"), Create("two", "task_2"), Create("two", "task_3"), Create("three", "task_4")],
    attempts=[
        AttemptRow("one", 1, "task_1", "succeeded", PRICE),
        AttemptRow("two", 1, "task_2", "failed", PRICE),
        AttemptRow("two", 2, "task_3", "succeeded", PRICE),
        AttemptRow("three", 1, None, "in_doubt", PRICE),
    ],
    jobs=[
        JobRow("one", "done", "one.mp4", 10, A, 0),
        JobRow("two", "done", "two.mp4", 20, B, 0),
        JobRow("three", "in_doubt", None, None, None, PRICE),
    ],
    sums=Sums(3 * PRICE, PRICE, PRICE, 0, 5 * PRICE),
    objects={"one.mp4": StoredObject(10, A), "two.mp4": StoredObject(20, B)},
    sidecars={"one.mp4": A, "two.mp4": B},
)


def test_a_good_state_is_good() -> None:
    """Two clips, of which one took two attempts, and a request in doubt."""
    assert broken(GOOD) == {}


def test_what_is_under_way_is_no_fault_before_the_end() -> None:
    """A request that is being sent, a clip that was sent to the store a moment ago, scratch, slices."""
    one, two, three = GOOD.jobs
    jobs = [one, two._replace(state="ready"), three._replace(state="submitting")]
    found = replace(GOOD, jobs=jobs, scratch=["two.mp4.part"], unfinished=["slice 1"])
    assert broken(replace(found, is_over=False)) == {}
    assert broken(found).keys() == {"records", "clips", "leftovers"}


def without(rows: Any, number: int) -> list[Any]:
    """Return *rows* but for one."""
    return [row for at, row in enumerate(rows) if at != number]


def changed(rows: Any, number: int, **fields: Any) -> list[Any]:
    """Return *rows* with another one in its place."""
    return [row._replace(**fields) if at == number else row for at, row in enumerate(rows)]


BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "a second create of one attempt": ("creates", {"creates": [*GOOD.creates, Create("one", "task_9")]}),
    "a create of a job that was never attempted": ("creates", {"creates": [*GOOD.creates, Create("four", "task_9")]}),
    "a second create of an attempt in doubt": ("creates", {"creates": [*GOOD.creates, Create("three", "task_9")]}),
    "a create whose attempt is another job's": (
        "creates",
        {"attempts": changed(changed(GOOD.attempts, 0, task_id="task_3"), 2, task_id="task_1")},
    ),
    "one task for two creates": ("creates", {"creates": [*GOOD.creates, GOOD.creates[0]]}),
    "an id that nobody wrote down": ("records", {"attempts": changed(GOOD.attempts, 0, task_id=None)}),
    "a paid request that is called pending": ("records", {"jobs": changed(GOOD.jobs, 2, state="pending")}),
    "a paid request in doubt whose attempt is gone": ("records", {"attempts": without(GOOD.attempts, 3)}),
    "a task that was never billed": ("tasks", {"creates": without(GOOD.creates, 0)}),
    "sums that forgot an attempt": ("sums", {"sums": GOOD.sums._replace(spent=2 * PRICE)}),
    "sums that reserve what is spent": ("sums", {"sums": GOOD.sums._replace(reserved=2 * PRICE)}),
    "sums without what is unproven": ("sums", {"sums": GOOD.sums._replace(unproven=0)}),
    "sums that miss an unpriced attempt": ("sums", {"attempts": changed(GOOD.attempts, 0, price_micros=None)}),
    "a cent above the ceiling": ("sums", {"sums": GOOD.sums._replace(ceiling=5 * PRICE - 10_000)}),
    "a clip that is missing": ("clips", {"objects": {"one.mp4": StoredObject(10, A)}}),
    "other bytes": ("clips", {"objects": {**GOOD.objects, "two.mp4": StoredObject(20, A)}}),
    "a clip that is cut": ("clips", {"objects": {**GOOD.objects, "two.mp4": StoredObject(19, B)}}),
    "a clip without its sidecar": ("clips", {"sidecars": {"one.mp4": A}}),
    "a sidecar of another clip": ("clips", {"sidecars": {"one.mp4": A, "two.mp4": A}}),
    "a clip twice": ("clips", {"objects": {**GOOD.objects, "two.attempt-1.mp4": StoredObject(20, B)}}),
    "one clip for two jobs": ("clips", {"jobs": changed(GOOD.jobs, 1, path="one.mp4", size_bytes=10, sha256=A)}),
    "a clip of a job in doubt": ("clips", {"objects": {**GOOD.objects, "three.mp4": StoredObject(20, B)}}),
    "scratch of nobody": ("leftovers", {"scratch": ["one.mp4.part"]}),
    "a slice that is not over": ("leftovers", {"unfinished": ["slice 1 is not over"]}),
    "a request that is still being sent": ("leftovers", {"jobs": changed(GOOD.jobs, 2, state="submitting")}),
    "a sidecar without a clip": ("leftovers", {"sidecars": {**GOOD.sidecars, "three.mp4": B}}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_breaks_a_promise_is_found(name: str) -> None:
    """Under its own name."""
    invariant, fields = BAD[name]
    assert invariant in broken(replace(GOOD, **fields))


def test_each_invariant_can_fail() -> None:
    """There is a state for each that breaks it."""
    assert {invariant for invariant, _ in BAD.values()} == INVARIANTS.keys()
