"""The budget: money is reserved before a paid request leaves, so that no concurrency can overspend.

What was reserved comes back only for a request that never left, or that the service refused beyond doubt. So no run
sends more than its budget, even if every other refusal was a lie.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchvid.domain.results import Money


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


class Budget:
    """Spent and reserved money of one journal, in millionths; `reserve` never lets their sum grow above the limit.

    The limit of *money* bounds everything that the journal ever paid; *spend_cap* bounds what this call may add.
    """

    def __init__(self, money: Money, *, spend_cap: SpendCap | None = None) -> None:
        self._spent = money.spent_micros
        self._reserved = money.reserved_micros
        self._unproven = money.unproven_micros
        self._limit = money.budget_micros
        self._unpriced = money.unpriced_attempts
        self._spend_cap = spend_cap or SpendCap()

    @property
    def money(self) -> Money:
        """Return the sums as a value."""
        return Money(self._spent, self._reserved, self._limit, self._unpriced, self._unproven)

    def fits(self, price_micros: int | None) -> bool:
        """Whether one more attempt at this price may start. No price never fits a limit: it could be any."""
        if not self._spend_cap.pays(price_micros):
            return False
        if self._limit is None:
            return True
        return price_micros is not None and self._spent + self._reserved + price_micros <= self._limit

    def bound(self, price_micros: int | None) -> str:
        """Name what an attempt at this price does not fit into."""
        return "the budget" if self._spend_cap.pays(price_micros) else "--max-cost"

    @property
    def left_micros(self) -> int | None:
        """Return how much more may be spent; ``None`` when nothing bounds it."""
        cap = self._spend_cap
        left = []
        if self._limit is not None:
            left.append(self._limit - self._spent - self._reserved)
        if cap.max_cost_micros is not None:
            left.append(cap.max_cost_micros - cap.cost_micros)
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
        return True

    def release(self, price_micros: int | None) -> None:
        """Release what was reserved for an attempt that was never created."""
        if price_micros is None:
            self._unpriced -= 1
        else:
            self._reserved -= price_micros
            self._spend_cap.cost_micros -= price_micros

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
