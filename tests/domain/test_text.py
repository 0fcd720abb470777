"""Text from outside is harmless once it is cleaned."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.text import clean

NASTY = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "\x1b\x9b\x9d\x90\x07\x9c\u202e\u2066\u200f\u200b\u2028\x85\x00\r\n\t[]0;31mA\\\ud800\U000e0041"
        ),
    ),
    max_size=200,
)


@given(text=NASTY, limit=st.integers(0, 120))
def test_what_is_cleaned_is_one_printable_line_within_the_limit(text: str, limit: int) -> None:
    """No control, format, surrogate or separator character but a plain space comes through, at any length."""
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert {unicodedata.category(char)[0] for char in shown if char != " "} <= set("LMNPS")
    assert "  " not in shown
    assert shown == shown.strip()
    shown.encode()


@given(text=NASTY, limit=st.integers(0, 120))
def test_cleaning_twice_is_cleaning_once(text: str, limit: int) -> None:
    """What is harmless stays as it is, so that no caller must know whether another one has cleaned before."""
    assert clean(clean(text, limit), limit) == clean(text, limit)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a \x1b[1;31mred\x1b[0m kite", "a red kite"),
        ("\x9b2Jgone", "gone"),
        ("\x1b]0;new title\x07kite", "kite"),
        ("\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x1bPq#0;2;0\x1b\\pixels", "pixels"),
        ("\x1b]0;never ended, kite", "0;never ended, kite"),
        ("\x1b(Bkite\x1bc", "kite"),
        ("exe\u202egpj.", "exegpj."),
        ("\u2066inner\u2069 \u200eltr", "inner ltr"),
        ("one\r\ntwo\tthree\u2028four\x85five\xa0six", "one two three four five six"),
        ("half \ud83d of a pair", "half of a pair"),
        ("Đà Nẵng 凧 🪁", "Đà Nẵng 凧 🪁"),
    ],
)
def test_what_could_drive_a_terminal_or_mislead_a_reader_is_gone(text: str, shown: str) -> None:
    """Escape sequences go as a whole, bidi marks and controls by themselves; letters of any script stay."""
    assert clean(text, 100) == shown


def test_a_cut_text_says_so() -> None:
    """A reader can tell a whole text from the beginning of one."""
    assert clean("abcdef", 6) == "abcdef"
    assert clean("abcdefg", 6) == "abcde…"
    assert clean("\x00" * 5000 + "abc", 6) == "…"


def test_a_huge_text_costs_no_more_than_a_long_one() -> None:
    """Of a 40 MB message made of unfinished escapes only the beginning is looked at."""
    assert len(clean("\x1b]\x9d" * 14_000_000, 80)) <= 80
