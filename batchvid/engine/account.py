"""What the runs of one call share when one account pays for them.

Each run has a scheduler, a circuit breaker, a budget and a journal of its own. What the service says of the account
concerns all of them: how fast it may be asked, how much may be in flight, that the key is refused. A run of one
manifest has an account of its own, so there is one way through the code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from batchvid.domain.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchvid.domain.errors import Exit
    from batchvid.domain.limits import Limits
    from batchvid.engine.auto_limits import AutoLimits
    from batchvid.engine.throttle import Throttle


@frozen
class StopReason:
    """A reason for which no more jobs are submitted. What is paid is still collected, but for what is stopped *too*."""

    exit_code: Exit
    reason: str
    polls_too: bool = False
    downloads_too: bool = False
    is_local: bool = False
    """Whether it concerns this process alone: other machines may go on."""


class Member(Protocol):
    """One run of the account, in numbers."""

    in_flight: int
    """Tasks at the service, and requests for them under way."""

    @property
    def submitting(self) -> int:
        """Return how many paid requests are under way."""

    @property
    def to_submit(self) -> int:
        """Return how many jobs wait to be submitted."""

    def is_eager(self, now: float) -> bool:
        """Whether nothing but room keeps the run from submitting now, as far as that can be seen."""

    def waits_for_room(self, now: float) -> bool:
        """Whether a job of this run would be submitted now if there was room."""


@dataclass(slots=True)
class SharedAccount:
    """What a call knows of one account, and which runs use it."""

    throttle: Throttle
    limits: Limits | None = None
    """The strictest, for all runs together; ``None`` leaves it to the one that there is."""
    accepted: int = 0
    """Paid requests that the service took."""
    unsure_in_a_row: int = 0
    """Paid requests in doubt since the service last took one."""
    doubt_resume_at: float = 0.0
    """Until then nothing is submitted because of them (monotonic seconds)."""
    halts: list[StopReason] = field(default_factory=list)
    """Why nobody submits any more."""
    members: list[Member] = field(default_factory=list)
    """Those at work; the one that submitted last stands last."""
    auto: AutoLimits | None = None
    """Where limits are found out; *limits* is then only the most that is tried."""

    def beside(self, member: Member) -> Iterable[Member]:
        """Yield the others at work."""
        return (one for one in self.members if one is not member)

    @property
    def tasks(self) -> int:
        """Count the tasks in flight, and the requests for them, of all."""
        return sum(one.in_flight for one in self.members)

    def most_in_flight(self, limits: Limits) -> int:
        """Return how many there may be, where *limits* are those of the account."""
        found = None if self.auto is None else self.auto.in_flight
        return limits.in_flight if found is None else found

    @property
    def finds_rate(self) -> bool:
        """Whether the rate of paid requests is found out."""
        return self.auto is not None and self.auto.per_minute is not None

    def submitting(self, member: Member) -> int:
        """Return how many paid requests are under way, of *member* and of the others."""
        return member.submitting + sum(one.submitting for one in self.beside(member))

    def has_room_for(self, member: Member, now: float) -> bool:
        """Whether *member* may have one more task in flight.

        Where room is short, runs with fewer tasks in flight go first, and among equals the one that has waited
        longest: so none starves, and what one does not want the others may have.
        """
        if self.limits is None:
            return True
        room = self.most_in_flight(self.limits) - self.tasks
        if room >= len(self.members):
            return True
        behind_us, ahead = False, 0
        for one in self.members:
            if one is member:
                behind_us = True
            elif one.in_flight < member.in_flight + (not behind_us) and one.is_eager(now):
                ahead += 1
        return room > ahead

    def took_turn(self, member: Member) -> None:
        """Let the others go first now."""
        if len(self.members) > 1:
            self.members.remove(member)
            self.members.append(member)
