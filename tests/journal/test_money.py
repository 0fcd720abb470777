"""Money: what is held, what is spent, and what nobody knows the price of, through whole lives of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchvid.domain.lifecycle import (
    ClipSaved,
    Event,
    GaveUp,
    Reopened,
    SubmitAccepted,
    SubmitRefused,
    SubmitStarted,
    SubmitUnsure,
    TaskAdopted,
    TaskFailed,
    TaskSucceeded,
    TimedOut,
    UrlExpired,
)

if TYPE_CHECKING:
    from batchvid.journal.sqlite import Journal
    from tests.journal.conftest import Life

PRICE = 400_000
START = SubmitStarted(1, PRICE, "f" * 64)
AGAIN = SubmitStarted(2, PRICE, "f" * 64)
ACCEPT = SubmitAccepted("task_1")
UNSURE = SubmitUnsure("reset")
HELD, SPENT, NOTHING = (0, PRICE), (PRICE, 0), (0, 0)

LIVES: dict[str, tuple[tuple[Event, ...], tuple[int, int]]] = {
    "a request under way holds its price": ((START,), HELD),
    "a refused request costs nothing": ((START, SubmitRefused("too fast")), NOTHING),
    "a running task holds its price": ((START, ACCEPT), HELD),
    "a task that timed out still holds its price": ((START, ACCEPT, TimedOut("late")), HELD),
    "a finished task is paid before its clip is here": ((START, ACCEPT, TaskSucceeded("u")), SPENT),
    "an expired url changes nothing": ((START, ACCEPT, TaskSucceeded("u"), UrlExpired("403")), SPENT),
    "a task that fails after its url expired is paid once": (
        (START, ACCEPT, TaskSucceeded("u"), UrlExpired("403"), TaskFailed("gone")),
        SPENT,
    ),
    "a clip on disk is paid": ((START, ACCEPT, TaskSucceeded("u"), ClipSaved("p", 1, "s")), SPENT),
    "a clip that is given up on is paid": ((START, ACCEPT, TaskSucceeded("u"), GaveUp("no clip")), SPENT),
    "a failed task counts as paid": ((START, ACCEPT, TaskFailed("blocked")), SPENT),
    "a task that is given up on counts as paid": ((START, ACCEPT, GaveUp("lost")), SPENT),
    "a request in doubt holds its price": ((START, UNSURE), HELD),
    "a request in doubt that is given up on counts as paid": ((START, UNSURE, GaveUp("no")), SPENT),
    "a request in doubt that is sent again counts as paid": ((START, UNSURE, Reopened("resubmit")), SPENT),
    "a request in doubt whose task is found is an attempt like others": ((START, UNSURE, TaskAdopted("t")), HELD),
    "an adopted task is paid once": ((START, UNSURE, TaskAdopted("t"), TaskSucceeded(None)), SPENT),
    "giving up before anything is sent costs nothing": ((GaveUp("frame gone"),), NOTHING),
    "a second attempt is held on top of the first": ((START, ACCEPT, TaskFailed("b"), AGAIN), (PRICE, PRICE)),
    "a refused second attempt leaves the first paid": (
        (START, ACCEPT, TaskFailed("b"), AGAIN, SubmitRefused("429"), GaveUp("enough")),
        SPENT,
    ),
    "a doubt that is resubmitted and succeeds is paid twice": (
        (START, UNSURE, Reopened("resubmit", by_person=False), AGAIN, ACCEPT, TaskSucceeded("u")),
        (2 * PRICE, 0),
    ),
    "a clip that is bought again is paid twice": (
        (START, ACCEPT, TaskSucceeded("u"), ClipSaved("p", 1, "s"), Reopened("--rebuy"), AGAIN),
        (PRICE, PRICE),
    ),
}


@pytest.mark.parametrize("name", LIVES)
def test_money_follows_the_lives_of_attempts(life: Life, journal: Journal, name: str) -> None:
    """After the events, spent and held are as the name of the case says; what is held names its job."""
    events, (spent, reserved) = LIVES[name]
    life.goes(*events)
    money = journal.money()
    assert (money.spent_micros, money.reserved_micros, money.unpriced_attempts) == (spent, reserved, 0)
    assert journal.held_jobs() == ({"kite"} if reserved else set())


def test_attempts_without_a_price_are_counted_and_not_summed(life: Life, other: Life, journal: Journal) -> None:
    """A sum that leaves something out says so."""
    life.goes(SubmitStarted(1, None, "f"), ACCEPT)
    other.goes(SubmitStarted(1, None, "f"), SubmitRefused("too fast"), START)
    money = journal.money()
    assert (money.spent_micros, money.reserved_micros, money.unpriced_attempts) == (0, PRICE, 1)
    assert journal.held_jobs() == {"kite", "dawn"}


def test_sums_are_exact(journal: Journal, life: Life) -> None:
    """Money is whole millionths, so that no cent is lost among a hundred thousand clips."""
    life.goes(SubmitStarted(1, 2**53 + 1, "f"), ACCEPT, TaskFailed("b"), SubmitStarted(2, 1, "f"), GaveUp("b"))
    assert journal.money().spent_micros == 2**53 + 2
