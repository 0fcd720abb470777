"""The budget: money is reserved before a paid request leaves, so that no concurrency can overspend.

What was reserved comes back only for a request that never left, or that the service refused beyond doubt. So no run
sends more than its budget, even if every other refusal was a lie.
"""

from __future__ import annotations

from batchvid.domain.results import Money
from batchvid.engine.account import SpendCap


class Budget:
    """Spent and held money of one journal, in millionths; `reserve` never lets their sum grow above the limit.

    *limit_micros* bounds everything the journal ever paid; *ration* bounds what this call may add.
    """

    def __init__(self, money: Money, *, ration: SpendCap | None = None) -> None:
        self._spent = money.spent_micros
        self._reserved = money.reserved_micros
        self._unproven = money.unproven_micros
        self._limit = money.budget_micros
        self._unpriced = money.unpriced_attempts
        self._ration = ration or SpendCap()

    @property
    def money(self) -> Money:
        """Return the sums as a value."""
        return Money(self._spent, self._reserved, self._limit, self._unpriced, self._unproven)

    def fits(self, price_micros: int | None) -> bool:
        """Whether one more attempt at this price may start. No price never fits a limit: it could be any."""
        if not self._ration.pays(price_micros):
            return False
        if self._limit is None:
            return True
        return price_micros is not None and self._spent + self._reserved + price_micros <= self._limit

    def bound(self, price_micros: int | None) -> str:
        """Name what an attempt at this price does not fit into."""
        return "the budget" if self._ration.pays(price_micros) else "--max-cost"

    @property
    def left_micros(self) -> int | None:
        """Return how much more may be spent; ``None`` when nothing bounds it."""
        ration = self._ration
        left = []
        if self._limit is not None:
            left.append(self._limit - self._spent - self._reserved)
        if ration.max_cost_micros is not None:
            left.append(ration.max_cost_micros - ration.cost_micros)
        return max(0, min(left)) if left else None

    def reserve(self, price_micros: int | None) -> bool:
        """Hold the price of one attempt, or change nothing and return ``False`` when it does not fit."""
        if not self.fits(price_micros):
            return False
        if price_micros is None:
            self._unpriced += 1
        else:
            self._reserved += price_micros
            self._ration.cost_micros += price_micros
        return True

    def release(self, price_micros: int | None) -> None:
        """Return back what was held for an attempt that was never created."""
        if price_micros is None:
            self._unpriced -= 1
        else:
            self._reserved -= price_micros
            self._ration.cost_micros -= price_micros

    def keep(self, price_micros: int | None) -> None:
        """Go on counting what was reserved for a request that was sent and refused without proof."""
        if price_micros is None:
            self._unpriced -= 1
        else:
            self._unproven += price_micros

    def settle(self, price_micros: int | None) -> None:
        """Count what was held as spent: the task is over, well or badly."""
        if price_micros is not None:
            self._reserved -= price_micros
            self._spent += price_micros
