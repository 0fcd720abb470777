"""The arithmetic of a pace over many machines: windows, clocks, and blocks that become equally large."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.limits import Rate
from batchvid.domain.slots import (
    BLOCK_LASTS_S,
    SLOTS_MAX,
    Asked,
    BlockSize,
    OtherClock,
    Reading,
    Spacing,
    thinned,
    unbroken,
)
from tests.cluster.pace_bench import most_in_a_window

RATES = [Rate(50, 1), Rate(500, 1), Rate(10, 60), Rate(10, 6), Rate(1, 60), Rate(50, 3600), Rate(1.5, 1), Rate(0.5, 1)]


@given(st.sampled_from(RATES), st.integers(0, 2**32), st.sampled_from([0.0, 0.3, 1.0]))
def test_no_window_holds_more_than_the_limit_however_late_each_request_is(rate: Rate, seed: int, often: float) -> None:
    """Late by all that is allowed or by nothing, and slow or quick on the way: the window holds."""
    spacing = Spacing.of(rate)
    draw = Random(seed).random  # noqa: S311 the same seed, the same lateness
    arrived = sorted(
        number * spacing.gap_s
        + (draw() < often) * spacing.late_s
        + (draw() < often) * draw() * spacing.on_the_way_s * 0.999
        for number in range(int(rate.count * 3) + 5)
    )
    assert most_in_a_window(arrived, rate.period_s) <= math.ceil(rate.count)


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_the_spacing_uses_nearly_all_of_the_quota(rate: Rate) -> None:
    """What is given for late timers is three hundredths, and never more than a second of a period."""
    assert 0.97 <= rate.period_s / rate.count / Spacing.of(rate).gap_s < 1
    assert Spacing.of(rate).late_s < 1


@given(
    st.floats(-1e9, 1e9),
    st.floats(-100e-6, 100e-6),
    st.lists(st.tuples(st.floats(0, 300), st.floats(0, 0.1), st.floats(0, 0.1)), min_size=1, max_size=20),
)
def test_a_clock_is_where_the_error_says(apart_s: float, drift: float, trips: list[tuple[float, float, float]]) -> None:
    """However far apart the clocks are, and however slow the way there or back."""
    clock, now = OtherClock(), 1000.0
    for pause_s, there_s, back_s in trips:
        sent = now + pause_s
        theirs = (sent + there_s) * (1 + drift) + apart_s
        now = sent + there_s + back_s
        clock.note(Reading(sent, theirs, now))
        later = now + 5
        true = later * (1 + drift) + apart_s
        assert abs(clock.here(true) - later) <= clock.error_s(later) + 1e-5  # of floats as large as these


def test_the_best_reading_counts() -> None:
    """A reading that waited for the disk takes nothing away from a quick one."""
    clock = OtherClock()
    assert clock.error_s(0.0) == math.inf
    clock.note(Reading(10.0, 510.0005, 10.001))
    clock.note(Reading(11.0, 511.0005, 11.5))
    assert clock.error_s(11.5) < 0.001
    assert clock.here(512.0) == pytest.approx(12.0, abs=0.001)


def test_a_clock_that_is_set_anew_is_believed() -> None:
    """An hour forward or back: the new reading counts alone."""
    clock = OtherClock()
    for theirs in (500.0, 4100.0, 400.0):
        clock.note(Reading(10.0, theirs, 10.001))
        assert clock.here(theirs) == pytest.approx(10.0, abs=0.001)


@pytest.mark.parametrize(("processes", "gap_s"), [(16, 0.02), (4, 0.02), (4, 0.1), (8, 0.01)])
def test_blocks_become_equally_large(processes: int, gap_s: float) -> None:
    """Whatever they were at the start, after some blocks each process has the same part."""
    sizes = [BlockSize(gap_s) for _ in range(processes)]
    for size in sizes[: processes // 2]:
        for _ in range(20):
            size.dealt(lasts_s=0.0)
    held_until = [0.0] * processes
    next_at = 0.0
    for _ in range(40 * processes):
        lowest = held_until.index(min(held_until))
        before, size = held_until[lowest], sizes[lowest]
        next_at = max(next_at, before) + size.number * gap_s
        held_until[lowest] = next_at
        size.dealt(lasts_s=next_at - before)
    numbers = [size.number for size in sizes]
    assert max(numbers) - min(numbers) <= 1
    assert 3 <= min(numbers) <= max(numbers) <= SLOTS_MAX
    assert processes * max(numbers) * gap_s <= 1.5 * BLOCK_LASTS_S


def test_a_slow_pace_is_dealt_out_one_by_one() -> None:
    """A slot of six seconds is not taken in advance."""
    size = BlockSize(6.0)
    for _ in range(10):
        size.dealt(lasts_s=0.0)
    assert size.number == 1


def test_a_slot_that_nobody_wanted_makes_blocks_smaller() -> None:
    """And never smaller than one."""
    size = BlockSize(0.02)
    for _ in range(10):
        size.dealt(lasts_s=0.0)
    numbers = []
    for _ in range(6):
        numbers.append(size.number)
        size.unwanted()
    assert numbers == [16, 8, 4, 2, 1, 1]


@given(st.integers(0, 200), st.sampled_from([1 / 2, 1 / 8, 1 / 16, 0.9]))
def test_what_is_held_is_thinned_evenly(number: int, share: float) -> None:
    """The share of it stays, and never two that lie closer than the new gap."""
    kept = thinned(range(number), share)
    assert len(kept) == math.floor(number * share + 1e-6)
    assert all(later - earlier >= math.floor(1 / share) for earlier, later in pairwise(kept))


def test_only_what_lies_together_at_the_end_can_be_put_back() -> None:
    """Between two blocks lie those of others."""
    assert unbroken([], 1.0) == 0
    assert unbroken([5.0], 1.0) == 1
    assert unbroken([1.0, 2.0, 7.0, 8.0, 9.0], 1.0) == 3
    assert unbroken([1.0, 2.0, 3.0], 1.0) == 3


def test_the_next_slot_can_be_no_further_than_others_can_have_pushed_it() -> None:
    """Also when one that was slowed to a sixteenth took a whole block just now."""
    asked = Asked(4, 0.02, 0.05, 3.0)
    assert asked.furthest_s == pytest.approx(3.0 + 16 * 0.02 * 16)
