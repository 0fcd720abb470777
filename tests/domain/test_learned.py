"""What was learned of an account's limits: told, kept, trusted less as it ages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.learned import Found, Learned, expected, expected_words, read
from batchvid.domain.limits import Limits, Rate

DAY_S = 86_400.0
AT = 1_795_780_000.0
LEARNED = Learned(Found(28.0, is_met=True), Found(11.0, is_met=False), AT, nights=3)
FOUND = st.none() | st.builds(Found, st.integers(1, 100_000).map(float), st.booleans())
AUTO = Limits(submits=None, in_flight=10_000, auto_submits=True, auto_in_flight=True)


def test_it_is_told_in_words() -> None:
    """A limit that was never met may be higher."""
    assert str(LEARNED) == "28/min, at least 11 in flight, on 2026-11-27, 3 nights"


@given(FOUND, FOUND, st.floats(1, 1e11), st.integers(1, 10_000))
def test_what_is_written_is_read_back(rate: Found | None, room: Found | None, at: float, nights: int) -> None:
    """Unless it tells nothing."""
    learned = Learned(rate, room, at, nights)
    found = read(json.loads(json.dumps(learned.plain())))
    assert found == (learned if rate or room else None)


@given(st.dictionaries(st.sampled_from(sorted(LEARNED.plain())), st.none() | st.floats() | st.text() | st.booleans()))
def test_what_is_damaged_tells_nothing_or_sane_numbers(damage: dict[str, Any]) -> None:
    """Whatever stands in the file."""
    found = read(LEARNED.plain() | damage)
    for one in (found.per_minute, found.in_flight) if found else ():
        assert one is None or 1 <= one.value <= 1_000_000


@pytest.mark.parametrize(("days", "per_minute"), [(0, 28), (1, 28), (10, 22), (60, 14), (100, None)])
def test_it_is_trusted_less_as_it_ages(days: int, per_minute: int | None) -> None:
    """And after a season not at all."""
    aged = LEARNED.aged(AT + days * DAY_S)
    assert (aged and aged.per_minute and aged.per_minute.value) == per_minute
    assert aged is None or aged.per_minute is None or aged.per_minute.is_met == (days < 2)


def test_a_night_adds_to_what_was_known() -> None:
    """What it did not touch stays, and the same night counts once."""
    tonight = Learned(None, Found(9.0, is_met=True), AT + DAY_S)
    assert tonight.after(LEARNED) == Learned(LEARNED.per_minute, Found(9.0, is_met=True), AT + DAY_S, nights=4)
    assert Learned(None, None, AT + 60).after(LEARNED).nights == 3
    assert tonight.after(None) == tonight


def test_times_are_reckoned_with_what_is_known() -> None:
    """Or with the defaults; stated limits are left as they are."""
    assert expected(Limits(), LEARNED) == Limits()
    assert expected_words(Limits(), LEARNED, AT) == ""
    known = expected(AUTO, LEARNED)
    assert (known.submits, known.in_flight) == (Rate(28.0, 60.0), 11)
    assert "28/min, at least 11 in flight" in expected_words(AUTO, LEARNED, AT)
    unknown = expected(AUTO, None)
    assert (unknown.submits, unknown.in_flight) == (Limits().submits, Limits().in_flight)
    assert "nothing is learned yet" in expected_words(AUTO, None, AT)
