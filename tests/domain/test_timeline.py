"""What the plots of a report are drawn from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.job import Attempt, Outcome
from batchvid.domain.report import NIGHT_GAP_S, NIGHTS_SHOWN, PaceChange, histogram, nights, slowed

AT = 1_773_352_800.0


def paid(number: int, *, accepted: float | None, finished: float | None, outcome: str = "succeeded") -> Attempt:
    """Return an attempt that was started a second before it was accepted."""
    started = AT + (accepted or 0) - 1
    return Attempt(
        f"j{number}",
        1,
        400_000,
        "f" * 64,
        started,
        None if accepted is None else AT + accepted,
        outcome=Outcome(outcome),
        finished_at=None if finished is None else AT + finished,
    )


def test_nothing_that_happened_is_no_night() -> None:
    """A journal of a run that ended before it sent anything."""
    assert nights([], [], []) == ()
    assert histogram([]) is None


def test_a_night_counts_what_was_submitted_what_runs_and_what_is_done() -> None:
    """Two tasks overlap, one is left running."""
    attempts = [
        paid(1, accepted=0, finished=60),
        paid(2, accepted=30, finished=90),
        paid(3, accepted=100, finished=None, outcome="open"),
    ]
    (night,) = nights(attempts, [AT + 65, AT + 95], [])
    assert (night.from_at, night.to_at) == (AT - 1, AT + 100)
    assert (night.submitted[0], night.submitted[-1]) == (0, 3)
    assert max(night.running) == 2
    assert night.running[-1] == 1
    assert (night.done[0], night.done[-1]) == (0, 2)
    assert len(night.submitted) == len(night.running) == len(night.done)


def test_what_happened_after_a_long_pause_is_another_night_that_counts_anew() -> None:
    """Cron runs once a day."""
    day = 86_400.0
    first = [paid(1, accepted=0, finished=60)]
    second = [paid(2, accepted=day, finished=day + 60)]
    one, two = nights([*first, *second], [AT + 61, AT + day + 61], [])
    assert one.to_at == AT + 61
    assert (two.submitted[-1], two.done[-1]) == (1, 1)
    assert two.from_at - one.to_at > NIGHT_GAP_S


def test_a_task_left_over_from_the_night_before_runs_in_the_next_one() -> None:
    """It was accepted then, and collected now."""
    day = 86_400.0
    left = [paid(1, accepted=0, finished=day + 10), paid(2, accepted=day, finished=day + 60)]
    night = nights(left, [], [])[-1]
    assert max(night.running) == 2
    assert night.submitted[-1] == 1


def test_only_a_months_nights_are_kept() -> None:
    """A page that grows for ever is not opened any more."""
    attempts = [paid(n, accepted=n * 86_400.0, finished=n * 86_400.0 + 60) for n in range(NIGHTS_SHOWN + 5)]
    found = nights(attempts, [], [])
    assert len(found) == NIGHTS_SHOWN
    assert found[-1].to_at == attempts[-1].finished_at


def test_a_single_moment_is_a_night_without_length() -> None:
    """One refused request and nothing else."""
    (night,) = nights([paid(1, accepted=None, finished=None, outcome="in_doubt")], [], [])
    assert night.from_at == night.to_at
    assert night.submitted == (0,)


def test_a_slowed_stretch_lasts_until_the_pace_is_full_again_and_tells_the_lowest() -> None:
    """From half to a quarter and step by step back."""
    pace = [PaceChange(10, 0.5), PaceChange(20, 0.25), PaceChange(40, 0.5), PaceChange(60, 1.0), PaceChange(90, 0.5)]
    found = slowed(pace, from_at=0, to_at=100)
    assert [(one.from_at, one.to_at, one.share) for one in found] == [(10, 60, 0.25), (90, 100, 0.5)]


def test_a_killed_run_was_not_slow_for_ever() -> None:
    """The next run begins at full pace, and says so."""
    found = slowed([PaceChange(10, 0.5), PaceChange(80, 1.0)], from_at=0, to_at=100)
    assert [(one.from_at, one.to_at) for one in found] == [(10, 80)]
    assert slowed([PaceChange(10, 0.5), PaceChange(80, 1.0)], from_at=90, to_at=100) == ()


def test_one_stray_does_not_flatten_the_histogram_and_is_counted_all_the_same() -> None:
    """It stands in the last bin."""
    times = [60.0 + n % 30 for n in range(500)] + [36_000.0]
    found = histogram(times)
    assert found is not None
    assert len(found.counts) * found.width_s < 200
    assert sum(found.counts) == len(times)
    assert found.longest_s == 36_000.0


@given(st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=300))
def test_every_time_is_in_exactly_one_bin(times: list[float]) -> None:
    """And the bins are few, and the median is one that a person would give."""
    found = histogram(times)
    assert found is not None
    assert sum(found.counts) == len(times)
    assert 1 <= len(found.counts) <= 25
    assert min(times) <= found.median_s <= found.p90_s <= found.longest_s == max(times)
