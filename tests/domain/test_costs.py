"""What was paid comes to the same in every grouping, to the last millionth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.costs import By, Ledger, Unproven, costs, unanswered, unproven_of
from batchvid.domain.job import Attempt, Outcome, State
from batchvid.domain.lifecycle import KeptEvent
from batchvid.domain.report import NIGHT_GAP_S
from batchvid.domain.results import Money

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY_S = 86_400.0
ATTEMPTS = st.lists(
    st.builds(
        Attempt,
        job_id=st.sampled_from(["kite", "gull", "gone"]),
        attempt=st.integers(1, 9),
        price_micros=st.none() | st.integers(0, 10**9),
        fingerprint=st.just("f"),
        started_at=st.floats(0, 10 * DAY_S),
        accepted_at=st.none() | st.floats(0, 10 * DAY_S),
        resolved_model=st.none() | st.just("veo"),
        outcome=st.sampled_from(Outcome),
    ),
    max_size=8,
)
UNPROVEN = st.lists(
    st.builds(Unproven, job_id=st.just("kite"), at=st.floats(0, 10 * DAY_S), price_micros=st.integers(0, 10**9)),
    max_size=3,
)


def ledger(name: str, attempts: Sequence[Attempt], unproven: Sequence[Unproven] = (), more: int = 0) -> Ledger:
    """Return a journal whose sums are those of its rows, and *more* for refused requests of which no event is left."""
    refused = sum(one.price_micros for one in unproven) + more
    prices = [(one.price_micros or 0, one.outcome.is_reserved) for one in attempts]
    reserved = sum(price for price, is_reserved in prices if is_reserved)
    spent = sum(price for price, is_reserved in prices if not is_reserved)
    money = Money(spent, reserved + refused, None, 0, refused)
    return Ledger(name, money, attempts, unproven, {"kite": "veo3", "gull": "veo3-fast"})


def day(at: float) -> str:
    """Return a day's number, with a width."""
    return f"{int(at // DAY_S):03}"


@given(st.lists(st.builds(ledger, st.sampled_from(["a", "b", "c"]), ATTEMPTS, UNPROVEN, st.integers(0, 9)), max_size=3))
def test_every_grouping_comes_to_what_the_journals_say(ledgers: list[Ledger]) -> None:
    """Spent and reserved are the sums of all journals; each attempt is in one group."""
    totals = []
    for by in By:
        groups, total = costs(ledgers, by, day_name=day)
        totals.append(total)
        assert total.spent_micros == sum(one.money.spent_micros for one in ledgers)
        assert total.reserved_micros == sum(one.money.reserved_micros for one in ledgers)
        assert total.unproven_micros == sum(one.money.unproven_micros for one in ledgers)
        assert total.attempts == sum(len(one.attempts) for one in ledgers) == sum(one.attempts for one in groups)
        assert total.in_doubt_micros + total.unproven_micros <= total.reserved_micros
        names = [one.name for one in groups]
        assert names == sorted(set(names))
    assert all(one == totals[0] for one in totals)


def test_groups_are_what_they_are_named_after() -> None:
    """By the day of the start, by the manifest's model or else the service's, by stretches of activity."""
    one = Attempt("kite", 1, 400_000, "f", 1000.0, 1001.0, "t1", outcome=Outcome.SUCCEEDED, finished_at=1100.0)
    same_run = Attempt("gull", 1, 300_000, "f", 1000.0 + NIGHT_GAP_S, outcome=Outcome.IN_DOUBT)
    next_day = Attempt("gone", 1, None, "f", DAY_S + 5, DAY_S + 6, "t3", "veo-x", Outcome.FAILED, DAY_S + 9)
    kept = [ledger("a.yaml", [one, same_run]), ledger("b.yaml", [next_day]), ledger("c.yaml", [])]
    shown = {by: [(found.name, found.attempts) for found in costs(kept, by, day_name=day)[0]] for by in By}
    assert shown == {
        By.DAY: [("000", 2), ("001", 1)],
        By.MODEL: [("veo-x", 1), ("veo3", 1), ("veo3-fast", 1)],
        By.MANIFEST: [("a.yaml", 2), ("b.yaml", 1), ("c.yaml", 0)],
        By.RUN: [("1970-01-01T00:16:40Z", 2), ("1970-01-02T00:00:05Z", 1)],
    }
    total = costs(kept, By.DAY, day_name=day)[1]
    assert (total.clips, total.spent_micros, total.reserved_micros, total.in_doubt_micros, total.unpriced) == (
        1, 400_000, 300_000, 300_000, 1,
    )  # fmt: skip
    assert (total.from_at, total.to_at) == (1000.0, DAY_S + 5)


def test_an_attempt_that_nobody_waits_for_any_more_is_in_doubt() -> None:
    """A run that was killed left it under way; while a run is at work, it is none."""
    states = {"kite": State.SUBMITTING, "gull": State.RUNNING}
    assert unanswered(states, run_active=True) == frozenset()
    open_ones = [Attempt("kite", 1, 7, "f", 1.0), Attempt("gull", 1, 5, "f", 1.0)]
    kept = Ledger("a", Money(0, 12), open_ones, unanswered=unanswered(states, run_active=False))
    total = costs([kept], By.DAY, day_name=day)[1]
    assert (total.reserved_micros, total.in_doubt_micros) == (12, 7)


def test_what_was_refused_without_proof_is_told_by_events() -> None:
    """Each with the moment of its start, until a person finds none of them on the dashboard."""
    told: list[tuple[str, float, str, dict[str, Any]]] = [
        ("kite", 1.0, "SubmitStarted", {"price_micros": 4}), ("kite", 2.0, "SubmitRefused", {"counted": True}),
        ("kite", 3.0, "SubmitStarted", {"price_micros": 5}), ("kite", 4.0, "SubmitRefused", {"counted": False}),
        ("gull", 5.0, "SubmitStarted", {"price_micros": 6}), ("gull", 6.0, "SubmitRefused", {"counted": True}),
        ("gull", 7.0, "RefusalsProven", {}),
        ("gull", 8.0, "SubmitStarted", {"price_micros": None}), ("gull", 9.0, "SubmitRefused", {"counted": True}),
    ]  # fmt: skip
    events = [KeptEvent(number, job, 1, at, kind, dict(data)) for number, (job, at, kind, data) in enumerate(told)]
    assert unproven_of(events) == [Unproven("kite", 1.0, 4), Unproven("gull", 8.0, 0)]
