"""Days begin when this machine's clock says so, also where it is set forward or back at midnight."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.engine.local_day import day_around, day_name, moment_words
from tests.cli.test_clock import APIA, BERLIN, LORD_HOWE, NEW_YORK, clock, utc

if TYPE_CHECKING:
    from collections.abc import Sequence

HAVANA, BEIRUT, SAO_PAULO = "America/Havana", "Asia/Beirut", "America/Sao_Paulo"
HOUR_S = 3600.0


@pytest.mark.parametrize(
    ("zone", "at", "begins", "hours"),
    [
        ("UTC", "2026-06-01T12:00:00", "2026-06-01T00:00:00", 24),
        ("UTC", "2026-06-01T00:00:00", "2026-06-01T00:00:00", 24),
        (BERLIN, "2026-06-01T21:59:59", "2026-05-31T22:00:00", 24),
        (BERLIN, "2026-06-01T22:00:00", "2026-06-01T22:00:00", 24),
        (BERLIN, "2026-03-29T12:00:00", "2026-03-28T23:00:00", 23),
        (BERLIN, "2026-10-25T12:00:00", "2026-10-24T22:00:00", 25),
        (BERLIN, "2026-10-25T00:30:00", "2026-10-24T22:00:00", 25),
        (BERLIN, "2026-10-25T01:30:00", "2026-10-24T22:00:00", 25),
        (LORD_HOWE, "2026-04-05T00:00:00", "2026-04-04T13:00:00", 24.5),
        (NEW_YORK, "2026-11-01T12:00:00", "2026-11-01T04:00:00", 25),
        # Midnight itself is left out (Beirut, Havana in spring), and comes twice (Havana in autumn).
        (BEIRUT, "2026-03-29T12:00:00", "2026-03-28T22:00:00", 23),
        (BEIRUT, "2026-03-28T21:59:59", "2026-03-27T22:00:00", 24),
        (HAVANA, "2026-03-08T12:00:00", "2026-03-08T05:00:00", 23),
        (HAVANA, "2026-11-01T04:30:00", "2026-11-01T04:00:00", 25),
        (HAVANA, "2026-11-01T05:30:00", "2026-11-01T04:00:00", 25),
        # The hour before midnight comes twice.
        (SAO_PAULO, "2018-02-18T02:30:00", "2018-02-17T02:00:00", 25),
        (SAO_PAULO, "2018-02-18T03:30:00", "2018-02-18T03:00:00", 24),
        # A day is left out.
        (APIA, "2011-12-30T08:00:00", "2011-12-29T10:00:00", 24),
        (APIA, "2011-12-30T10:00:00", "2011-12-30T10:00:00", 24),
    ],
)
def test_a_day_begins_and_ends_with_the_date(zone: str, at: str, begins: str, hours: float) -> None:
    """It has as many hours as the clock gives it."""
    with clock(zone, 0.0):
        begin, end = day_around(utc(at))
    assert begin == utc(begins)
    assert (end - begin) / HOUR_S == hours


@given(
    zone=st.sampled_from([BERLIN, LORD_HOWE, NEW_YORK, HAVANA, BEIRUT, SAO_PAULO, APIA, "Asia/Kolkata"]),
    at=st.integers(1_300_000_000, 1_830_000_000),
)
def test_every_moment_is_in_its_day_and_days_follow_each_other(zone: str, at: int) -> None:
    """None is in two, none in none, and the clock shows one date all the day."""
    with clock(zone, 0.0):
        begin, end = day_around(at)
        assert begin <= at < end
        assert day_around(begin) == day_around(end - 1) == (begin, end)
        assert day_around(end)[0] == end
        assert dates([begin, at, end - 1]) == {day_name(at)}
        assert timedelta(hours=22) < timedelta(seconds=end - begin) < timedelta(hours=26)


def dates(moments: Sequence[float]) -> set[str]:
    """Return the local dates of moments, by the C library."""
    return {time.strftime("%Y-%m-%d", time.localtime(at)) for at in moments}


def test_a_moment_is_told_with_its_zone() -> None:
    """In local time."""
    with clock(BERLIN, 0.0):
        assert moment_words(datetime.fromisoformat("2026-06-02T00:00:00+02:00").timestamp()) == "2026-06-02 00:00 CEST"
