"""An account that other machines use too: what it may do just now is told by the database at each heartbeat.

Between two heartbeats a worker goes by what it was told last: seats that are its own, brakes that hold for all. What it
learns itself holds for it at once, and for the others with its next heartbeat, which is brought forward for that.

Times named ``now`` are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchvid.engine.account import Member, SharedAccount
from batchvid.engine.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchvid.domain.limits import Limits
    from batchvid.domain.task import Fault


POSTS_AT_MOST = 16
"""Paid requests under way in one process: so many are in doubt when it is killed."""


class SharedThrottle(Throttle):
    """The share of the pace that all workers of an account have; the database alone raises it again."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell
        self.hit: tuple[float, float] | None = None
        """When the request left that was last called too fast, and until when nothing is sent for it."""
        self.is_well = False

    def too_fast(
        self, fault: Fault, *, sent_at: float, now: float, jitter: float, limits: Limits, halves: bool = True
    ) -> None:
        """Slow down at once, and have the others told."""
        super().too_fast(fault, sent_at=sent_at, now=now, jitter=jitter, limits=limits, halves=halves)
        self.hit = max(self.hit or (sent_at, 0.0), (sent_at, self.resume_at))
        self.is_well = False
        self._tell()

    def went_well(self, *, now: float) -> None:  # noqa: ARG002 the pace is regained by all together
        """Note it for the next heartbeat."""
        self._in_a_row = 0
        self.is_well = True

    def taken_hit(self) -> tuple[tuple[float, float] | None, bool]:
        """Return what is to be told: the last hit, and whether all went well since; it counts as told then."""
        told = self.hit, self.is_well
        self.hit, self.is_well = None, False
        return told

    def follow(self, *, share: float, resume_at: float, slowed_by: str) -> None:
        """Go by what holds for all."""
        if self.hit is None:  # else what this worker has met is not told yet
            self.share = share
        self.resume_at = max(self.resume_at, resume_at)
        self.slowed_by = slowed_by or self.slowed_by


@dataclass(slots=True)
class WorkerAccount(SharedAccount):
    """An account as one worker of many sees it. *limits* are the strictest, with the worker's own seats in flight."""

    number: int = 0
    """In the database."""
    shared_throttle: SharedThrottle = field(default_factory=lambda: SharedThrottle(lambda: None))
    """The same as the *throttle*."""
    in_flight_limit: int = 1
    """For all workers together."""
    may_send: Callable[[], bool] = field(default=lambda: False)
    """Whether the worker was heard of lately, so that nobody has taken over what it has."""
    told_accepted: int = 0
    told_unsure: int = 0
    is_short: bool = False
    """Whether a job had to wait for a seat since the last heartbeat."""

    def has_room_for(self, member: Member, now: float) -> bool:
        """Whether *member* may have one more task in flight: within the seats, and the requests of one process."""
        if not self.may_send() or sum(one.submitting for one in self.members) >= POSTS_AT_MOST:
            return False
        has_room = SharedAccount.has_room_for(self, member, now)
        self.is_short = self.is_short or not has_room
        return has_room

    @property
    def in_flight(self) -> int:
        """Count the tasks in flight of this worker."""
        return sum(one.in_flight for one in self.members)

    @property
    def to_submit(self) -> int:
        """Count the jobs here that wait to be submitted."""
        return sum(one.to_submit for one in self.members)

    def can_submit(self) -> int:
        """Return how many jobs could be submitted here now, if it was their turn."""
        seats = self.to_submit if self.limits is None else self.limits.in_flight - self.in_flight
        return max(0, min(self.to_submit, seats))

    def news(self) -> tuple[int, int]:
        """Return how many paid requests were taken, and how many are in doubt, that the database has not heard of."""
        accepted = self.accepted - self.told_accepted
        return accepted, max(0, self.unsure_in_a_row - (0 if accepted else self.told_unsure))

    def follow(self, *, seats: int, accepted: int, unsure: int, told: tuple[int, int]) -> None:
        """Go by what holds for all; *told* is the news that the database counts already."""
        more_accepted, more_unsure = (late - early for late, early in zip(self.news(), told, strict=True))
        self.told_accepted, self.accepted = accepted, accepted + max(0, more_accepted)
        self.told_unsure, self.unsure_in_a_row = unsure, unsure + max(0, more_unsure)
        if more_accepted > 0:
            self.unsure_in_a_row = max(0, more_unsure)
        if self.limits is not None:
            self.limits = replace(self.limits, in_flight=seats)
        self.is_short = False
