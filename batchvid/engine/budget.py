"""The budget: money is reserved before a paid request leaves, so that no concurrency can overspend.

What was reserved comes back only for a request that never left, or that the service refused beyond doubt. So no run
sends more than its budget, even if every other refusal was a lie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchvid.domain.results import Money

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class SpendCap:
    """What one call may spend and begin, over all its manifests; ``None`` is no bound."""

    max_cost_micros: int | None = None
    max_jobs: int | None = None
    cost_micros: int = 0
    """Of the attempts that this call has sent or is about to send."""
    jobs: int = 0
    """That this call has begun."""

    def pays(self, price_micros: int | None) -> bool:
        """Whether one more attempt at this price may be sent. No price never fits a bound: it could be any."""
        if self.max_cost_micros is None:
            return True
        return price_micros is not None and self.cost_micros + price_micros <= self.max_cost_micros

    @property
    def is_used_up(self) -> bool:
        """Whether no further job may begin."""
        return self.max_jobs is not None and self.jobs >= self.max_jobs


class DayBudget:
    """What one journal may spend on one local day: an attempt counts for the day on which it was started.

    What is reserved for attempts that are not on record yet counts for the day that it is, and for the next one as well
    when midnight passes first. So it does not matter on which side of midnight a commit ends.
    """

    def __init__(
        self,
        limit_micros: int,
        *,
        today_micros: int,
        wall: Callable[[], float],
        day_around: Callable[[float], tuple[float, float]],
        words: Callable[[float], str] = str,
    ) -> None:
        """Begin with what the journal's attempts of this day come to, *today_micros*.

        *wall* tells the time (UTC epoch seconds), *day_around* when the day of a moment begins and ends, and *words*
        a moment as people read it.
        """
        self.limit_micros = limit_micros
        self._wall, self._day_around, self._words = wall, day_around, words
        self._started = today_micros
        self._waiting = 0
        self._begins_at, self._ends_at = day_around(wall())

    @property
    def counted_micros(self) -> int:
        """Return what counts for this day."""
        self._turn_page()
        return self._started + self._waiting

    @property
    def left_micros(self) -> int:
        """Return how much more may be spent today."""
        return self.limit_micros - self.counted_micros

    @property
    def told(self) -> str:
        """Name it, with the moment from which more may be spent."""
        self._turn_page()
        return f"the budget of this day (limits.budget_per_day, again from {self._words(self._ends_at)})"

    def reserve(self, price_micros: int) -> None:
        """Count an attempt that is going to start."""
        self._turn_page()
        self._waiting += price_micros

    def begin(self, price_micros: int) -> float:
        """Count an attempt that was reserved as started; return the beginning of the day that it counts for."""
        self._turn_page()
        self._waiting -= price_micros
        self._started += price_micros
        return self._begins_at

    def release(self, price_micros: int, *, begun: float | None) -> None:
        """Count an attempt no more that was never created; *begun* is what `begin` returned, if it was started."""
        self._turn_page()
        if begun is None:
            self._waiting -= price_micros
        elif begun == self._begins_at:
            self._started -= price_micros

    def _turn_page(self) -> None:
        now = self._wall()
        if now >= self._ends_at:  # a clock that is set back over midnight begins no day again
            self._begins_at, self._ends_at = self._day_around(now)
            self._started = 0


class Budget:
    """Spent and reserved money of one journal, in millionths; `reserve` never lets their sum grow above the limit.

    The limit of *money* bounds everything that the journal ever paid; *spend_cap* bounds what this call may add.
    """

    def __init__(self, money: Money, *, spend_cap: SpendCap | None = None, day: DayBudget | None = None) -> None:
        self._spent = money.spent_micros
        self._reserved = money.reserved_micros
        self._unproven = money.unproven_micros
        self._limit = money.budget_micros
        self._unpriced = money.unpriced_attempts
        self._spend_cap = spend_cap or SpendCap()
        self._day = day

    @property
    def money(self) -> Money:
        """Return the sums as a value."""
        money = Money(self._spent, self._reserved, self._limit, self._unpriced, self._unproven)
        if self._day is None:
            return money
        return replace(money, budget_per_day_micros=self._day.limit_micros, today_micros=self._day.counted_micros)

    def fits(self, price_micros: int | None) -> bool:
        """Whether one more attempt at this price may start. No price never fits a limit: it could be any."""
        if not self._spend_cap.pays(price_micros) or not self._fits_today(price_micros):
            return False
        if self._limit is None:
            return True
        return price_micros is not None and self._spent + self._reserved + price_micros <= self._limit

    def bound(self, price_micros: int | None) -> str:
        """Name what an attempt at this price does not fit into."""
        if not self._spend_cap.pays(price_micros):
            return "--max-cost"
        return "the budget" if self._day is None or self._fits_today(price_micros) else self._day.told

    def _fits_today(self, price_micros: int | None) -> bool:
        return self._day is None or (price_micros is not None and price_micros <= self._day.left_micros)

    @property
    def left_micros(self) -> int | None:
        """Return how much more may be spent; ``None`` when nothing bounds it."""
        cap = self._spend_cap
        left = []
        if self._limit is not None:
            left.append(self._limit - self._spent - self._reserved)
        if cap.max_cost_micros is not None:
            left.append(cap.max_cost_micros - cap.cost_micros)
        if self._day is not None:
            left.append(self._day.left_micros)
        return max(0, min(left)) if left else None

    def reserve(self, price_micros: int | None) -> bool:
        """Reserve the price of one attempt, or change nothing and return ``False`` when it does not fit."""
        if not self.fits(price_micros):
            return False
        if price_micros is None:
            self._unpriced += 1
        else:
            self._reserved += price_micros
            self._spend_cap.cost_micros += price_micros
            if self._day is not None:
                self._day.reserve(price_micros)
        return True

    def begin(self, price_micros: int | None) -> float | None:
        """Record that a reserved attempt was started; return for `release` which day it counts for."""
        return None if self._day is None or price_micros is None else self._day.begin(price_micros)

    def release(self, price_micros: int | None, *, begun: float | None = None) -> None:
        """Release what was reserved for an attempt that was never created; *begun* is what `begin` returned for it."""
        if price_micros is None:
            self._unpriced -= 1
        else:
            self._reserved -= price_micros
            self._spend_cap.cost_micros -= price_micros
            if self._day is not None:
                self._day.release(price_micros, begun=begun)

    def keep(self, price_micros: int | None) -> None:
        """Go on counting what was reserved for a request that was sent and refused without proof."""
        if price_micros is None:
            self._unpriced -= 1
        else:
            self._unproven += price_micros

    def settle(self, price_micros: int | None) -> None:
        """Count what was reserved as spent: the task is over, well or badly."""
        if price_micros is not None:
            self._reserved -= price_micros
            self._spent += price_micros
