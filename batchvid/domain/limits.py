"""What a run is allowed to do: the manifest's ``limits`` as values, with the defaults the README states."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

MICROS = 1_000_000
"""Money is counted in whole millionths of the currency unit, so that sums are exact."""


class InDoubt(StrEnum):
    """What to do with a paid POST whose outcome is unknown."""

    HOLD = "hold"
    RESUBMIT = "resubmit"


class OnChange(StrEnum):
    """What to do with a job whose content changed after it was paid."""

    KEEP = "keep"
    REBUY = "rebuy"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most *count* in any *period_s* seconds."""

    count: float
    period_s: float

    @property
    def per_s(self) -> float:
        """Return it as a number a second."""
        return self.count / self.period_s


@dataclass(frozen=True, slots=True)
class Limits:
    """The manifest's ``limits``; ``None`` for a rate or the budget means unlimited."""

    submits: Rate | None = field(default_factory=lambda: Rate(10, 60))
    requests: Rate | None = field(default_factory=lambda: Rate(5, 1))
    in_flight: int = 20
    downloads: int = 4
    attempts: int = 2
    typical_time_s: float = 90.0
    poll_shortest_s: float = 3.0
    poll_longest_s: float = 30.0
    backoff_first_s: float = 1.0
    backoff_longest_s: float = 60.0
    task_timeout_s: float = 1200.0
    budget_micros: int | None = None
    in_doubt: InDoubt = InDoubt.HOLD
    breaker: int = 10
    canary: int = 0
    on_change: OnChange = OnChange.KEEP

    def sped_up(self, factor: float) -> Limits:
        """Return the limits for a service that generates *factor* times as fast: the sandbox."""
        return replace(
            self,
            typical_time_s=self.typical_time_s / factor,
            poll_shortest_s=self.poll_shortest_s / factor,
            poll_longest_s=self.poll_longest_s / factor,
        )
