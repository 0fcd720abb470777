"""How long a run will take: the arithmetic alone, held against runs that are drawn at random."""

from __future__ import annotations

import heapq
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.limits import Rate
from batchvid.engine.eta import PRIOR_SPREAD, Load, Occupancy, remaining_s


def drawn_s(*, jobs: int, room: int, every_s: float, seed: int, spread: float = 0.45) -> float:
    """Return how long a run of tasks of about 100 s takes, each submitted when there is room and it is time."""
    dice = random.Random(seed)  # noqa: S311 dice
    free = [0.0] * room
    last = end = 0.0
    for number in range(jobs):
        last = max(heapq.heappop(free), last + every_s if number else 0.0)
        over = last + 90.0 * dice.lognormvariate(0.0, spread)
        heapq.heappush(free, over)
        end = max(end, over)
    return end


@pytest.mark.parametrize(
    ("jobs", "room", "every_s"),
    [(300, 4, 0.0), (300, 20, 0.0), (1000, 100, 0.0), (200, 1000, 6.0), (60, 1000, 2.0), (40, 1000, 60.0)],
)
def test_a_whole_run_is_foreseen_on_average(jobs: int, room: int, every_s: float) -> None:
    """Whether room or rate is what limits it, with the slowest of the last tasks."""
    taken_s = [drawn_s(jobs=jobs, room=room, every_s=every_s, seed=seed) for seed in range(100)]
    rate = Rate(1, every_s) if every_s else None
    foreseen_s = remaining_s(Load(jobs, 0, room, rate, task_s=99.6))
    assert foreseen_s == pytest.approx(sum(taken_s) / len(taken_s), rel=0.1)


def test_regular_tasks_end_together() -> None:
    """Where all take equally long, the last part is one task."""
    assert remaining_s(Load(100, 0, 10, None, task_s=60.0, spread=0.0)) == pytest.approx(600.0)


def test_early_in_a_run_the_tasks_that_are_out_count() -> None:
    """Only the shortest are over by now; the mean of those alone would be far too small."""
    dice = random.Random(3)  # noqa: S311 dice
    took_s = [180.0 * dice.lognormvariate(0.0, 0.45) for _ in range(400)]
    known = Occupancy(90.0)
    for one_s in took_s:
        if one_s < 120.0:
            known.add(one_s)
    still_out = sum(one_s >= 120.0 for one_s in took_s)
    naive_s = known.total_s / known.number
    found_s = known.mean_s([120.0] * 64, flying=still_out)
    true_s = sum(took_s) / len(took_s)
    assert abs(found_s - true_s) < 0.6 * abs(naive_s - true_s)


def test_a_young_task_tells_nothing() -> None:
    """What was just submitted moves the guess in no direction."""
    known = Occupancy(90.0)
    for _ in range(50):
        known.add(60.0)
    assert known.mean_s([0.0] * 20, flying=20) == pytest.approx(known.mean_s([], flying=0), rel=0.01)


def test_the_spread_begins_with_what_is_usual_and_follows_what_is_seen() -> None:
    """A regular service is found to be one."""
    known = Occupancy(90.0)
    assert known.spread == PRIOR_SPREAD
    for _ in range(200):
        known.add(60.0)
    assert known.spread < 0.01


def test_nothing_left_takes_no_time_and_a_late_task_takes_a_moment() -> None:
    """Never below nothing, and not nothing while a task is out."""
    load = Load(0, 0, 10, None, task_s=60.0)
    assert remaining_s(load) == 0.0
    assert 0 < remaining_s(replace(load, flying=1, since_submit_s=10_000.0)) < 20


@given(
    waiting=st.integers(0, 10**6),
    flying=st.integers(0, 10**4),
    room=st.integers(1, 10**4),
    per_min=st.none() | st.floats(0.01, 1e6),
    task_s=st.floats(0.01, 1e5),
)
def test_more_to_do_never_takes_less(
    waiting: int, flying: int, room: int, per_min: float | None, task_s: float
) -> None:
    """Whatever the limits are."""
    load = Load(waiting, flying, room, None if per_min is None else Rate(per_min, 60), task_s)
    assert remaining_s(load) <= remaining_s(replace(load, waiting=waiting + 1)) + 1e-6
