"""What the manifests of one call share: an account of the service, and what the call as a whole may spend.

Each manifest has a course, brakes, a budget and a journal of its own. What the service says of the account concerns all
of them: how fast it may be asked, how much may be in flight, that the key is refused. A run of one manifest has
an account of its own, so there is one way through the code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchvid.domain.limits import Limits
    from batchvid.engine.circuit_breaker import StopReason, Throttle
    from batchvid.engine.scheduler import Scheduler


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
    def is_eaten(self) -> bool:
        """Whether no further job may begin."""
        return self.max_jobs is not None and self.jobs >= self.max_jobs


@dataclass(slots=True)
class SharedAccount:
    """What a call knows of one account, and which courses use it."""

    throttle: Throttle
    limits: Limits | None = None
    """The strictest, for all courses together; ``None`` leaves it to the one that there is."""
    accepted: int = 0
    """Paid requests that the service took."""
    unsure_in_a_row: int = 0
    """Paid requests in doubt since the service last took one."""
    doubt_resume_at: float = 0.0
    """Until then nothing is submitted because of them (monotonic seconds)."""
    halts: list[StopReason] = field(default_factory=list)
    """Why nobody submits any more."""
    schedulers: list[Scheduler] = field(default_factory=list)
    """Those at work; the one that submitted last stands last."""

    def submitting(self, scheduler: Scheduler) -> int:
        """Return how many paid requests are under way, of *scheduler* and of the others."""
        return sum(one.submitting for one in {id(one): one for one in (scheduler, *self.schedulers)}.values())

    def has_room_for(self, scheduler: Scheduler, now: float) -> bool:
        """Whether *scheduler* may have one more task in flight.

        Where room is short, courses with fewer tasks in flight go first, and among equals the one that has waited
        longest: so none starves, and what one does not want the others may have.
        """
        if self.limits is None:
            return True
        room = self.limits.in_flight - sum(one.schedule.in_flight for one in self.schedulers)
        if room >= len(self.schedulers):
            return True
        own = scheduler.schedule.in_flight
        behind_us, ahead = False, 0
        for one in self.schedulers:
            if one is scheduler:
                behind_us = True
            elif one.schedule.in_flight < own + (not behind_us) and one.is_eager(now):
                ahead += 1
        return room > ahead

    def took_turn(self, scheduler: Scheduler) -> None:
        """Let the others go first now."""
        if len(self.schedulers) > 1:
            self.schedulers.remove(scheduler)
            self.schedulers.append(scheduler)
