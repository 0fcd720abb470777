"""The budget holds under any concurrency: money is held before it is spent, and the sum never passes the limit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchvid.domain.results import Money
from batchvid.engine.budget import Budget, SpendCap

PRICES = st.none() | st.integers(0, 100)


class Spending(RuleBasedStateMachine):
    """Attempts start, are refused and end in any order, as many workers do it."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(Money())
        self.limit: int | None = None
        self.run_limit: int | None = None
        self.under_way: list[int | None] = []
        self.spent = self.added = self.unpriced = 0

    @initialize(
        limit=st.none() | st.integers(0, 300),
        run_limit=st.none() | st.integers(0, 300),
        spent=st.integers(0, 150),
        reserved=st.integers(0, 150),
    )
    def begin(self, limit: int | None, run_limit: int | None, spent: int, reserved: int) -> None:
        """Open a journal in which money was spent and held before."""
        self.limit, self.run_limit, self.spent, self.before = limit, run_limit, spent, reserved
        self.start = spent + reserved
        self.budget = Budget(Money(spent, reserved, limit), spend_cap=SpendCap(run_limit))

    @rule(price=PRICES)
    def reserve(self, price: int | None) -> None:
        """Start an attempt, if it fits."""
        fits, money = self.budget.fits(price), self.budget.money
        assert self.budget.reserve(price) is fits
        if not fits:
            assert self.budget.money == money
            return
        assert price is not None or (self.limit is None and self.run_limit is None)
        self.under_way.append(price)
        self.added += price or 0
        self.unpriced += price is None

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        """Take an attempt back that was never created."""
        price = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.budget.release(price)
        self.added -= price or 0
        self.unpriced -= price is None

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """Let the task of an attempt be over."""
        price = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.budget.settle(price)
        self.spent += price or 0

    @invariant()
    def nothing_is_overspent_and_every_sum_is_right(self) -> None:
        """Spent and held money never pass the limit by anything that this run did."""
        money = self.budget.money
        total = money.spent_micros + money.reserved_micros
        if self.limit is not None:
            assert total <= max(self.limit, self.start)
        if self.run_limit is not None:
            assert self.added <= self.run_limit
        assert money.spent_micros == self.spent
        assert money.reserved_micros == self.before + sum(price or 0 for price in self.under_way)
        assert money.unpriced_attempts == self.unpriced
        assert money.budget_micros == self.limit

    before = 0
    start = 0


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize(
    ("spent", "reserved", "price", "fits"),
    [(0, 0, 10, True), (5, 5, 0, True), (10, 0, 0, True), (9, 0, 1, True), (9, 0, 2, False), (0, 9, 2, False)],
)
def test_spent_and_in_flight_and_this_one_must_fit(spent: int, reserved: int, price: int, fits: bool) -> None:  # noqa: FBT001 a table
    """To the last millionth, and not one beyond."""
    assert Budget(Money(spent, reserved, 10)).fits(price) is fits


def test_without_a_price_nothing_fits_a_limit() -> None:
    """An unknown price could be any."""
    assert not Budget(Money(budget_micros=10**9)).fits(None)
    assert not Budget(Money(), spend_cap=SpendCap(10**9)).fits(None)
    assert Budget(Money()).fits(None)


def test_a_limit_that_was_lowered_below_what_is_spent_stops_everything() -> None:
    """Nothing is added, and nothing breaks."""
    budget = Budget(Money(spent_micros=100, reserved_micros=50, budget_micros=20))
    assert not budget.reserve(1)
    budget.settle(50)
    assert budget.money == Money(150, 0, 20)


def test_the_runs_own_limit_counts_what_the_run_adds_only() -> None:
    """``--max-cost`` starts again with each run; what came before is the budget's business."""
    budget = Budget(Money(spent_micros=10**6), spend_cap=SpendCap(10))
    assert budget.reserve(10)
    assert not budget.reserve(1)
    budget.settle(10)
    assert not budget.reserve(1)


def test_what_was_refused_can_be_spent_again() -> None:
    """A refusal costs nothing."""
    budget = Budget(Money(budget_micros=10), spend_cap=SpendCap(10))
    for _ in range(5):
        assert budget.reserve(10)
        budget.release(10)
    assert budget.money == Money(budget_micros=10)


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(0, 200))
def test_as_much_is_started_as_fits(prices: list[int], limit: int) -> None:
    """The budget is no stricter than promised: whatever fits may start."""
    budget, held = Budget(Money(budget_micros=limit)), 0
    for price in prices:
        expected = held + price <= limit
        assert budget.reserve(price) is expected
        held += price if expected else 0
