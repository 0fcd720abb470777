"""Numbers read as people write them."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.cli.output import text
from batchvid.cli.streams import Interval
from batchvid.domain.limits import Rate
from batchvid.domain.records import dollars, rfc3339


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (0, "$0.00"),
        (400_000, "$0.40"),
        (12_400_000, "$12.40"),
        (62_500, "$0.0625"),
        (125_000, "$0.125"),
        (49, "$0.00"),
        (50, "$0.0001"),
        (999_999, "$1.00"),
        (1_234_567_800_000, "$1,234,567.80"),
        (-400_000, "-$0.40"),
        (-1, "$0.00"),
    ],
)
def test_money_has_two_decimals_and_up_to_four_when_it_needs_them(micros: int, shown: str) -> None:
    """A tenth of a cent is not rounded away, and no float noise appears."""
    assert text.money(micros) == shown


@given(st.integers(-(10**15), 10**15))
def test_money_is_exact_to_a_hundredth_of_a_cent(micros: int) -> None:
    """What is shown is the amount rounded once, half away from zero, for any sum of any size."""
    exact = (Decimal(micros) / 1_000_000).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    assert Decimal(text.money(micros).replace("$", "").replace(",", "")) == exact


@given(st.integers(0, 10**12))
def test_a_price_in_json_reads_back_as_the_same_millionths(micros: int) -> None:
    """The decimal number of dollars loses nothing."""
    number = dollars(micros)
    assert number is not None
    assert round(Decimal(repr(number)) * 1_000_000) == micros


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (43.4, "43 s"),
        (59.7, "1 min"),
        (125, "2 min 5 s"),
        (599.6, "10 min"),
        (725, "12 min"),
        (3599, "1 h"),
        (4320, "1 h 12 min"),
        (86_399, "1 d"),
        (97_200, "1 d 3 h"),
        (-3, "0 s"),
        (math.inf, "unknown"),
        (math.nan, "unknown"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, shown: str) -> None:
    """Nobody reads the seconds of an hour; and an estimate that is no number is not shown as one."""
    assert text.duration(seconds) == shown


@given(st.floats(0, 1e9))
def test_no_duration_says_sixty_minutes(seconds: float) -> None:
    """Rounding never leaves 60 s, 60 min or 24 h behind."""
    shown = text.duration(seconds)
    assert not {"60 s", "60 min", "24 h"} & {
        " ".join(pair) for pair in zip(shown.split(), shown.split()[1:], strict=False)
    }


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (9, "9 B"),
        (812, "812 B"),
        (1_000, "1.0 kB"),
        (999_600, "1.0 MB"),
        (1_400_000_000, "1.4 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_bytes_are_counted_in_powers_of_a_thousand(count: int, shown: str) -> None:
    """As disks are sold and as file managers show them."""
    assert text.size(count) == shown


def test_a_rate_reads_as_the_manifest_writes_it() -> None:
    """The person recognises the number that they set."""
    assert text.rate(Rate(10, 60)) == "10/min"
    assert text.rate(Rate(0.5, 1)) == "0.5/s"
    assert text.rate(Rate(100, 3600)) == "100/h"
    assert text.rate(Rate(1, 30)) == "2/min"
    assert text.rate(None) == "unlimited"


def test_times_are_in_utc_and_say_so() -> None:
    """Independent of the machine's time zone; unknown stays unknown."""
    assert text.clock(1_773_306_000.9) == "09:00:00Z"
    assert rfc3339(1_773_306_000.9) == "2026-03-12T09:00:00Z"
    assert rfc3339(None) is None


def test_a_beat_is_due_once_a_period_and_follows_a_clock_that_starts_anew() -> None:
    """A second run in the same process, whose clock begins at 0 again, is shown at once."""
    beat = Interval(60, first_at_s=60)
    assert [at for at in (0, 30, 59.9, 60, 61, 119, 121, 500, 501) if beat.due(at)] == [60, 121, 500]
    assert beat.due(0)
    assert not beat.due(1)
