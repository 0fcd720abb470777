"""What a run may do: the manifest's ``limits`` with their defaults, and what a person or program asked of one call."""

from __future__ import annotations

import fnmatch
from dataclasses import field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from batchvid.domain.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


IN_FLIGHT_MOST = 10_000
"""Tasks in flight; where their number is found out, no more are ever tried."""
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


@frozen
class Rate:
    """At most *count* in any *period_s* seconds."""

    count: float
    period_s: float

    @property
    def per_s(self) -> float:
        """Return the rate per second."""
        return self.count / self.period_s


def strictest(rates: Iterable[Rate | None]) -> Rate | None:
    """Return the slowest rate; ``None`` is no limit."""
    return min((rate for rate in rates if rate is not None), key=lambda rate: rate.per_s, default=None)


@frozen
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
    budget_per_day_micros: int | None = None
    in_doubt: InDoubt = InDoubt.HOLD
    breaker: int = 10
    canary: int = 0
    on_change: OnChange = OnChange.KEEP
    auto_submits: bool = False
    """Whether the rate is found out; *submits* is then only the most that is tried, ``None`` is any."""
    auto_in_flight: bool = False
    """The same for *in_flight*."""

    @property
    def is_auto(self) -> bool:
        """Whether a limit is found out."""
        return self.auto_submits or self.auto_in_flight

    @property
    def found_out(self) -> tuple[str, ...]:
        """Return the names of the limits that are found out."""
        named = {"submits": self.auto_submits, "in_flight": self.auto_in_flight}
        return tuple(name for name, is_auto in named.items() if is_auto)

    @property
    def is_bounded(self) -> bool:
        """Whether money bounds what may be spent, so that nothing of unknown price is sent."""
        return self.budget_micros is not None or self.budget_per_day_micros is not None

    def sped_up(self, factor: float) -> Limits:
        """Return the limits for a service that generates *factor* times as fast: the sandbox."""
        return replace(
            self,
            typical_time_s=self.typical_time_s / factor,
            poll_shortest_s=self.poll_shortest_s / factor,
            poll_longest_s=self.poll_longest_s / factor,
        )


@frozen
class RunOptions:
    """All that was asked. By default a run goes on with what is left, at the real service, without further bounds."""

    retry_failed: bool = False
    rebuy: bool = False
    """Buy clips again whose content changed after they were paid."""
    resubmit_in_doubt: bool = False
    only: tuple[str, ...] | None = None
    """Patterns of job ids (``*``, ``?``, ``[…]``): no other job is submitted, and how the run ended is told of these.
    What is paid is still collected of all."""
    until_at: float | None = None
    """Submit nothing from this moment on (UTC epoch seconds)."""
    max_cost_micros: int | None = None
    max_jobs: int | None = None
    moved: bool = False
    """Go on in an output that was copied, moved or restored, whatever another copy of it does."""
    sandbox_speed: float | None = None
    """How many times as fast as the service the embedded sandbox is; ``None`` is the real service."""
    key_file: str | None = None
    ca_file: str | None = None
    """Certificate authorities to trust instead of the system's."""

    def chosen(self, ids: Collection[str]) -> frozenset[str] | None:
        """Return the ids that *only* chooses; ``None`` when all may be submitted."""
        return None if self.only is None else matching(ids, self.only)


def matching(ids: Collection[str], patterns: Iterable[str]) -> frozenset[str]:
    """Return the ids that match one of the patterns (``*``, ``?``, ``[…]``)."""
    return frozenset(job_id for pattern in patterns for job_id in fnmatch.filter(ids, pattern))
