"""How a night is spent: places are soon taken while jobs wait for them, and requests are saved while nobody does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from batchvid.domain.limits import Limits, Rate
from tests.benchmarks.parts.scripted import Night, drawn, night

ROOM = Limits(submits=None, in_flight=5, poll_shortest_s=1.0)
"""Jobs wait for the place of a task, and for nothing else."""
NOBODY_WAITS = Limits(submits=Rate(10, 60), in_flight=100)


def polls_in_a_second(found: Night) -> int:
    """Return the most polls that the service saw in any second."""
    moments = sorted(at for of_task in found.polled_at.values() for at in of_task)
    return max(sum(first <= at < first + 1.0 for at in moments) for first in moments)


def shortest_gap_s(found: Night) -> float:
    """Return the shortest time between two polls of one task."""
    return min(after - before for of_task in found.polled_at.values() for before, after in pairwise(of_task))


@pytest.mark.parametrize("of_class", ["tight", "wide", "shifting"])
def test_a_place_is_taken_again_soon_while_jobs_wait_for_it(of_class: str) -> None:
    """The run takes hardly longer than if each place was taken the moment a task ends; the limits hold all the same."""
    found = night(drawn(of_class, 60, seed=1), ROOM)
    assert found.over_ideal < 1.02
    assert polls_in_a_second(found) <= 5
    assert shortest_gap_s(found) >= ROOM.poll_shortest_s


def test_the_shortest_gap_is_kept_although_jobs_wait() -> None:
    """``poll_every`` is what the person allowed: however many requests are left, no task is asked more often."""
    found = night(drawn("tight", 40, seed=1), replace(ROOM, poll_shortest_s=7.0))
    assert shortest_gap_s(found) >= 7.0


@pytest.mark.parametrize(("of_class", "polls"), [("tight", 5.5), ("wide", 11.0)])
def test_requests_are_saved_while_nobody_waits(of_class: str, polls: float) -> None:
    """With room for all, a late look costs nobody a place: a few polls a job are enough."""
    found = night(drawn(of_class, 60, seed=1), NOBODY_WAITS)
    assert found.polls / 60 < polls
