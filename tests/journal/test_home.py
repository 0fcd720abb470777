"""Where a journal is at home, and what follows from finding it elsewhere."""

from __future__ import annotations

import pytest

from batchvid.journal.sqlite_file import Home, Whereabouts, verdict

BEFORE = Home("m1", "/films/out", 7)


@pytest.mark.parametrize(
    ("now", "was_clean", "is_work_left", "found"),
    [
        (Home("m1", "/films/out", 7), False, True, Whereabouts.AT_HOME),
        (Home("m1", "/renamed/out", 7), False, True, Whereabouts.AT_HOME),
        (Home(None, "/renamed/out", 7), False, True, Whereabouts.AT_HOME),
        (Home("m1", "/films/out", 8), False, True, Whereabouts.PUT_BACK),
        (Home("m1", "/films/copy", 8), True, True, Whereabouts.MOVED),
        (Home("m1", "/films/copy", 8), False, False, Whereabouts.MOVED),
        (Home("m1", "/films/copy", 8), False, True, Whereabouts.MAY_BE_A_COPY),
        (Home("m2", "/films/out", 8), False, True, Whereabouts.MAY_BE_A_COPY),
        (Home("m2", "/films/out", 7), False, True, Whereabouts.MAY_BE_A_COPY),
        (Home("m2", "/films/out", 8), True, True, Whereabouts.MOVED),
        (Home(None, "/films/copy", 8), False, True, Whereabouts.MAY_BE_A_COPY),
    ],
)
def test_the_table_decides(now: Home, *, was_clean: bool, is_work_left: bool, found: Whereabouts) -> None:
    """Only what may be a copy of an output that goes on needs a person's word."""
    assert verdict(BEFORE, now, was_clean=was_clean, is_work_left=is_work_left) is found


def test_a_journal_without_a_home_takes_the_one_where_it_is() -> None:
    """It is new, or of an older batchvid."""
    assert verdict(None, BEFORE, was_clean=False, is_work_left=True) is Whereabouts.AT_HOME
