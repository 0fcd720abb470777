"""When to look: near the time at which tasks finish, with few requests, and never far from the truth for long."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.limits import Limits
from batchvid.engine.polling import SAMPLES_KEPT, PollPlanner, TimingClass

LIMITS = Limits()
SHORTEST_S, LONGEST_S = LIMITS.poll_shortest_s, LIMITS.poll_longest_s


def looks_until(planner: PollPlanner, took_s: float, *, name: str = "m", answer_s: float = 0.0) -> list[float]:
    """Return the ages at which a task that takes *took_s* is looked at, the last one being after its end."""
    looks: list[float] = []
    while not looks or looks[-1] < took_s:
        age_s = looks[-1] + answer_s if looks else 0.0
        gap_s = planner.next_poll_in_s(name, age_s=age_s, shortest_s=SHORTEST_S, longest_s=LONGEST_S, first=not looks)
        looks.append(age_s + gap_s)
    return looks


def tight(around_s: float, number: int = 60, spread: float = 0.01, seed: int = 1) -> list[float]:
    """Return how long tasks of a regular class took."""
    random = Random(seed)  # noqa: S311 a simulation, repeatable by its seed
    return [around_s * random.lognormvariate(0, spread) for _ in range(number)]


@pytest.mark.parametrize("typical_s", [1.0, 3.0, 10.0, 30.0, 90.0, 300.0, 1200.0])
def test_the_first_look_at_an_unknown_class_lies_around_the_typical_time(typical_s: float) -> None:
    """Nothing is known but what the manifest says."""
    first_s = TimingClass(typical_s).next_look_s(0.0)
    assert 0.2 * typical_s <= first_s <= 1.5 * typical_s


@pytest.mark.parametrize("around_s", [4.0, 8.0, 15.0, 30.0, 60.0, 90.0, 150.0, 300.0])
@pytest.mark.parametrize("typical_s", [30.0, 90.0, 200.0])
def test_a_tight_class_is_looked_at_close_behind_its_peak(around_s: float, typical_s: float) -> None:
    """Whatever the manifest said of it before: nearly every task is found within seconds, by few looks."""
    planner = PollPlanner(typical_s, {"m": tight(around_s)})
    stories = [looks_until(planner, took_s) for took_s in tight(around_s, 200, seed=2)]
    delays = [looks[-1] - took_s for looks, took_s in zip(stories, tight(around_s, 200, seed=2), strict=True)]
    assert fmean(delays) <= max(3.5, 0.05 * around_s)
    assert fmean(map(len, stories)) <= max(3.0, around_s / 40)


@pytest.mark.parametrize("around_s", [8.0, 30.0, 60.0, 90.0])
def test_a_tight_class_is_rarely_looked_at_before_its_peak(around_s: float) -> None:
    """A look before anything can have finished is a request for nothing."""
    planner = PollPlanner(90.0, {"m": tight(around_s)})
    times = tight(around_s, 200, seed=2)
    early = [look for took_s in times for look in looks_until(planner, took_s) if look < 0.9 * around_s]
    assert len(early) <= 0.1 * len(times)


@given(
    st.floats(0.05, 5000),
    st.lists(st.floats(0, 20_000), max_size=200),
    st.floats(0, 100_000),
    st.booleans(),
)
def test_a_gap_is_within_its_bounds_and_never_in_the_past(
    typical_s: float,
    samples_s: list[float],
    age_s: float,
    first: bool,  # noqa: FBT001 hypothesis gives values by place
) -> None:
    """Whatever was measured, also nothing at all or a task that took no time."""
    planner = PollPlanner(typical_s, {"m": samples_s})
    gap_s = planner.next_poll_in_s("m", age_s=age_s, shortest_s=SHORTEST_S, longest_s=LONGEST_S, first=first)
    assert math.isfinite(gap_s)
    assert gap_s >= SHORTEST_S
    assert first or gap_s <= LONGEST_S
    assert planner.of("m").next_look_s(age_s) >= age_s


@given(st.lists(st.floats(0, 5000), max_size=40))
def test_later_ages_are_never_looked_at_earlier(samples_s: list[float]) -> None:
    """The plan of looks runs forward."""
    known = TimingClass(90.0, samples_s)
    looks = [known.next_look_s(age / 7.0) for age in range(0, 3000, 50)]
    assert all(later >= sooner - 1e-6 for sooner, later in pairwise(looks))


def test_learning_moves_the_looks_to_where_tasks_end() -> None:
    """A class that is faster than stated is found out within a few tasks."""
    planner = PollPlanner(90.0)
    before = planner.of("m").next_look_s(0.0)
    for took_s in tight(20.0, 12):
        planner.of("m").learn(took_s)
    assert planner.of("m").next_look_s(0.0) < 0.7 * before
    assert planner.of("m").next_look_s(0.0) == pytest.approx(21.0, abs=4.0)
    assert planner.of("m").typical_s == pytest.approx(20.0, rel=0.05)


def test_a_class_that_changes_is_found_again() -> None:
    """The service becomes slower or faster overnight; old samples do not hold the looks back."""
    planner = PollPlanner(90.0, {"m": tight(40.0, 100)})
    for took_s in tight(120.0, SAMPLES_KEPT):
        planner.of("m").learn(took_s)
    assert planner.of("m").next_look_s(60.0) > 100.0
    assert planner.of("m").typical_s == pytest.approx(120.0, rel=0.05)


def test_what_is_learned_of_one_class_says_nothing_of_another() -> None:
    """4K takes longer."""
    planner = PollPlanner(90.0, {"fast": tight(10.0)})
    assert planner.of("slow").next_look_s(0.0) == PollPlanner(90.0).of("slow").next_look_s(0.0)
    assert planner.of("fast").typical_s == pytest.approx(10.0, rel=0.05)
    assert planner.of("slow").typical_s == 90.0


def test_samples_from_a_journal_and_samples_learned_lead_to_the_same_looks() -> None:
    """A run goes on with what the one before it knew."""
    samples = tight(60.0, 64)
    learned = TimingClass(90.0)
    for took_s in samples:
        learned.learn(took_s)
    assert learned.next_look_s(0.0) == pytest.approx(TimingClass(90.0, samples).next_look_s(0.0), rel=0.03)


@pytest.mark.parametrize("around_s", [25.0, 60.0, 75.0, 140.0])
def test_a_tight_class_needs_fewer_polls_than_a_fixed_interval_and_waits_no_longer(around_s: float) -> None:
    """Against looks every 10 s, over 300 seeded tasks, learning on the way: fewer requests, no more mean delay."""
    planner, random = PollPlanner(LIMITS.typical_time_s), Random(5)  # noqa: S311 a simulation, repeatable by its seed
    polls = fixed_polls = 0
    delays, fixed_delays = [], []
    for _ in range(300):
        took_s = around_s * random.lognormvariate(0, 0.03)
        looks = looks_until(planner, took_s, answer_s=random.uniform(0.05, 0.3))
        polls += len(looks)
        delays.append(looks[-1] - took_s)
        before = looks[-2] if len(looks) > 1 else 0.0
        planner.of("m").learn((looks[-1] + before) / 2)
        fixed_polls += math.ceil(took_s / 10.0)
        fixed_delays.append(math.ceil(took_s / 10.0) * 10.0 - took_s)
    assert polls < fixed_polls
    assert fmean(delays) <= fmean(fixed_delays)


def test_a_wide_class_costs_no_more_polls_than_a_fixed_interval() -> None:
    """Nothing can be foreseen of it, and nothing is wasted on it."""
    planner, random = PollPlanner(LIMITS.typical_time_s), Random(6)  # noqa: S311 a simulation, repeatable by its seed
    polls = fixed_polls = 0
    delays = []
    for _ in range(300):
        took_s = min(360.0, max(11.0, 80.0 * random.lognormvariate(0, 0.7)))
        looks = looks_until(planner, took_s, answer_s=0.1)
        polls += len(looks)
        delays.append(looks[-1] - took_s)
        planner.of("m").learn((looks[-1] + (looks[-2] if len(looks) > 1 else 0.0)) / 2)
        fixed_polls += math.ceil(took_s / 10.0)
    assert polls <= fixed_polls
    assert fmean(delays) <= 10.0


def test_only_the_newest_samples_count() -> None:
    """Memory is bounded, however long the run."""
    known = TimingClass(90.0)
    for took_s in range(1, 10 * SAMPLES_KEPT):
        known.learn(float(took_s))
    assert known.typical_s == pytest.approx(9.5 * SAMPLES_KEPT, abs=2)
