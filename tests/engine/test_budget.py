"""The budget holds under any concurrency: money is held before it is spent, and the sum never passes the limit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchvid.domain.results import Money
from batchvid.engine.budget import Budget, DayBudget, SpendCap

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


DAY_S = 100.0


class SpendingByTheDay(RuleBasedStateMachine):
    """Attempts are reserved, put on record, refused and forgotten by a crash, while days pass.

    The journal is the list of what is on record; a run that begins knows no more than that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.limit, self.now = 0, 0.0
        self.journal: list[tuple[float, int]] = []
        self.reserved: list[int] = []
        self.begun: list[tuple[float, int, float | None]] = []
        self.late: list[tuple[float, int]] = []

    @initialize(limit=st.integers(0, 200), now=st.floats(0, 300))
    def begin(self, limit: int, now: float) -> None:
        """Open a new journal."""
        self.limit, self.now = limit, now
        self.restart()

    @rule()
    def restart(self) -> None:
        """End at once, and begin again: what was reserved and is not on record was not sent."""
        start = self.now - self.now % DAY_S
        self.reserved, self.begun, self.late = [], [], []
        day = DayBudget(
            self.limit,
            today_micros=sum(price for at, price in self.journal if at >= start),
            wall=lambda: self.now,
            day_around=lambda at: (at - at % DAY_S, at - at % DAY_S + DAY_S),
        )
        self.budget = Budget(Money(), day=day)

    @rule(passes_s=st.floats(0, 60))
    def wait(self, passes_s: float) -> None:
        """Let time pass."""
        self.now += passes_s

    @rule(price=st.integers(0, 100))
    def reserve(self, price: int) -> None:
        """Take a turn to submit, if it fits; all of the day can be had, but for commits that ended after midnight."""
        fits = self.budget.fits(price)
        today = self.now - self.now % DAY_S
        on_record = sum(one for at, one in self.journal if at >= today)
        late = sum(one for day, one in self.late if day == today)
        assert fits or on_record + late + sum(self.reserved) + price > self.limit
        assert self.budget.reserve(price) is fits
        if fits:
            self.reserved.append(price)

    @precondition(lambda self: self.reserved)
    @rule(passes_s=st.floats(0, 60), data=st.data())
    def record(self, passes_s: float, data: st.DataObject) -> None:
        """Put an attempt on record; the commit may take its time, also over midnight."""
        price = self.reserved.pop(data.draw(st.integers(0, len(self.reserved) - 1)))
        at = self.now
        self.journal.append((at, price))
        self.now += passes_s
        begun = self.budget.begin(price)
        self.begun.append((at, price, begun))
        if begun is not None and at < begun:
            self.late.append((begun, price))

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """Give a turn back that was not used."""
        self.budget.release(self.reserved.pop(data.draw(st.integers(0, len(self.reserved) - 1))))

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        """Take an attempt back that the service has refused beyond doubt."""
        at, price, begun = self.begun.pop(data.draw(st.integers(0, len(self.begun) - 1)))
        self.journal.remove((at, price))
        self.budget.release(price, begun=begun)

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """Let a task be over: it counts for its day all the same."""
        _, price, _ = self.begun.pop(data.draw(st.integers(0, len(self.begun) - 1)))
        self.budget.settle(price)

    @invariant()
    def no_day_has_more_than_its_limit(self) -> None:
        """Whatever happens, and the run never believes that less is used than what is on record."""
        days: dict[float, int] = {}
        for at, price in self.journal:
            days[at - at % DAY_S] = days.get(at - at % DAY_S, 0) + price
        assert all(spent <= self.limit for spent in days.values())
        if hasattr(self, "budget"):
            assert self.budget.money.today_micros >= days.get(self.now - self.now % DAY_S, 0)


TestSpendingByTheDay = SpendingByTheDay.TestCase
TestSpendingByTheDay.settings = settings(max_examples=80, stateful_step_count=40)


def test_the_limit_of_a_day_is_named_with_the_moment_at_which_the_next_begins() -> None:
    """And nothing of unknown price fits it."""
    now = 50.0
    day = DayBudget(
        10, today_micros=4, wall=lambda: now, day_around=lambda at: (at - at % DAY_S, at - at % DAY_S + DAY_S)
    )
    budget = Budget(Money(budget_micros=100), day=day)
    assert budget.fits(6)
    assert not budget.fits(7)
    assert not budget.fits(None)
    assert budget.left_micros == 6
    assert budget.bound(7) == "the budget of this day (limits.budget_per_day, again from 100.0)"
    now = 100.0
    assert budget.fits(10)
    assert budget.left_micros == 10
    assert budget.bound(101) == "the budget of this day (limits.budget_per_day, again from 200.0)"


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
