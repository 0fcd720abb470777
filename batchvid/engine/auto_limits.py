"""Finds the limits of an account that publishes none: ``submits: auto`` and ``in_flight: auto``.

Two things may be limited: how many paid requests a minute takes, and how many tasks may be in the making. Each is a
`Bound` here. Its rules:

* It starts low. While nothing is refused, each accepted request that used all of it raises it by one. For the rate
  that doubles it within a minute; of the tasks in flight never more than one is beyond what was taken before.
* A refusal shows the limit exactly: so many were taken, and one more was not. It is the ceiling then.
* Refusals in a row of no more than was taken before mean that a limit was lowered. Each halves the bound, and so holds
  back what follows, until enough tasks have ended or enough of the minute is over. Then it grows as at the start.
* Above a ceiling one more is tried every few minutes, and while refusals stay few. If it is taken, the limit was
  raised, and the bound grows as at the start.

A refusal does not say which of the two it was for, unless the service's words do. It is the one of which more was asked
than was ever taken. When that holds for both, both have a ceiling that is tried again soon: the one that is in the way
is tried alone, and that tells them apart.

Nothing here reads a clock. Times named ``now`` are monotonic seconds.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from batchvid.domain.frozen import frozen
from batchvid.domain.learned import Found, Learned
from batchvid.domain.task import LimitHint, LimitKind

if TYPE_CHECKING:
    from collections.abc import Sequence


FIRST_PER_MINUTE = 6
"""Slower accounts are not known; a refusal below this pace is about the tasks in flight."""
FIRST_IN_FLIGHT = 2
MINUTE_S = 60.0
WINDOW_S = 61.0
"""In which no more is sent than a minute may have: requests are evenly spaced here, and not when they arrive."""
RETREAT = 0.5
"""What is left of a bound after each refusal in a row but the first."""
CHANCE = 1
"""So many refusals in a row may be chance: a task may have ended before anybody knows, and leave room for one more."""
UNTRIED = 2
"""Times what was taken: more is not allowed before it was tried."""
SOON, LATER = 8, 200
"""Accepted requests, after which a ceiling is tried again that may not be one: twice as many each time."""
AGAIN_S = 420.0
"""After which a certain ceiling is tried again, at the earliest."""
FEW = 0.009
"""Refusals that each accepted request pays for; a certain ceiling is tried when one is paid for."""
LEAST_PAID = -5.0
"""More is not owed, or what was found wrongly in bad times would stay for hours."""
NEAR = 0.8
"""Of a bound: a refusal below that, alone, is about something else."""
AS_NEAR = 0.05
"""Two bounds that are reached alike, to so much, may both be the one."""


@frozen
class Sent:
    """A paid request that leaves, and what there was beside it."""

    at: float
    in_flight: int
    """Tasks at the service, and requests for them, without this one."""
    in_minute: int
    """Requests of the minute before that were taken, or are under way."""
    fills_room: bool
    """Whether it takes the last place that is allowed in flight."""
    waited: bool
    """Whether the pace made it wait."""


class Bound:
    """One limit: what is allowed now, what was taken, and the ceiling, above which a request was refused."""

    def __init__(self, first: int, *, most: float = math.inf) -> None:
        self._stated = self._most = most
        self.allowed = min(most, first)
        self.taken = 0
        self.ceiling: int | None = None
        self.is_sure = False
        self.doubts = 0
        """How often in a row it may have been the other limit that was met."""
        self._before: tuple[float, int, int | None, bool] | None = None
        """What it was before it was cut."""
        self.was_used = False
        """Whether anything was learned of it: one that was never in the way was not tried."""

    def begin_with(self, known: Found) -> None:
        """Begin at what was found out in an earlier night."""
        value = max(1, int(known.value))
        self.allowed = min(self._most, value)
        self.taken = value
        if known.is_met:
            self.ceiling, self.is_sure = value, True

    @property
    def frontier(self) -> int:
        """Return how many are known to be taken."""
        return max(self.taken, self.ceiling or 0)

    def is_new(self, number: int) -> bool:
        """Whether so many were hardly taken before; after a cut nothing is new."""
        return self.taken > 0 and (number > self.frontier or (self.ceiling is None and number >= self.allowed))

    @property
    def found(self) -> Found | None:
        """Return what is known of it."""
        if not self.was_used:
            return None
        if self.ceiling is not None:
            return Found(float(self.ceiling), is_met=True)
        return Found(float(self.taken), is_met=False) if self.taken else None

    def took(self, number: int, *, used_up: bool) -> None:
        """Learn that the service has taken the last of *number*; *used_up*: all that was allowed."""
        self.taken = max(self.taken, number)
        self.was_used = self.was_used or used_up
        if self.ceiling is not None and number > self.ceiling:
            self.ceiling, self.is_sure = None, False
        top = UNTRIED * self.taken + FIRST_PER_MINUTE if self.ceiling is None else self.ceiling
        if used_up and self.allowed < min(self._most, top):
            self.allowed += 1

    def refused(self, taken: int, *, is_sure: bool, in_a_row: int) -> None:
        """Learn that one more than *taken* was refused."""
        self.was_used = True
        is_near = taken + 1 >= NEAR * self.frontier
        if in_a_row > CHANCE or not is_near:
            self._cut(max(1, taken if is_near else self.allowed))
            return
        self.ceiling, self.is_sure = max(1, taken), is_sure
        self.doubts = 0 if is_sure else self.doubts + 1
        self.allowed = min(self.allowed, self.ceiling)
        if is_sure:  # else it may be for the other limit, and what was taken was taken
            self.taken = min(self.taken, self.ceiling)

    def _cut(self, most: float) -> None:
        """Begin again at a part of it, *most* at most: the limit was lowered, and nobody knows how far."""
        if self.taken:
            self._before = (self.allowed, self.taken, self.ceiling, self.is_sure)
        self.allowed = min(most, max(1, int(self.allowed * RETREAT)))
        self.taken, self.ceiling, self.is_sure, self.doubts = 0, None, False, 0

    def acquit(self) -> None:
        """Take back the cuts since the last request was taken: they were for the other limit."""
        if not self.taken and self._before is not None:
            self.allowed, self.taken, self.ceiling, self.is_sure = self._before

    def told(self, limit: int) -> None:
        """Go by the service's own word: never above it, until it says another one."""
        self._most = min(self._stated, limit)
        self.allowed = min(self.allowed, self._most)

    def is_due(self, accepted: int, waited_s: float, *, is_paid: bool) -> bool:
        """Whether the ceiling is to be tried again, so many accepted requests and so long after the last refusal."""
        if self.ceiling is None or self.ceiling >= self._most:
            return False
        if self.is_sure:
            return is_paid and waited_s >= AGAIN_S
        return accepted >= min(LATER, SOON << max(0, self.doubts - 1))


class AutoLimits:
    """What an account may be asked, found out on the way; one for all who use the account.

    *rate* or *room* is ``None`` where the manifest states that limit.
    """

    def __init__(
        self,
        *,
        finds_rate: bool = True,
        finds_room: bool = True,
        most_per_minute: float = math.inf,
        most_in_flight: float = math.inf,
    ) -> None:
        self.rate = Bound(FIRST_PER_MINUTE, most=most_per_minute) if finds_rate else None
        self.room = Bound(FIRST_IN_FLIGHT, most=most_in_flight) if finds_room else None
        self.accepted = 0
        self.refusals = 0
        self.version = 0
        """Raised with everything that is worth keeping."""
        self._since = SOON
        """Accepted since the last refusal."""
        self._paid = 0.0
        """How many refusals the accepted requests have paid for that were not met yet: one at most is saved up."""
        self._in_a_row = 0
        """Refusals since one was accepted, of no more than was taken before."""
        self._retreated_at = float("-inf")
        self._window: deque[Sent] = deque()
        self._granted_at = float("-inf")
        self._waited = False
        self._tried: Bound | None = None
        self._resume_at = float("-inf")

    def begin_with(self, known: Learned | None) -> None:
        """Begin near what is known already; before anything is sent."""
        if known is None:
            return
        self._paid = -1.0  # what was learned is trusted at first
        if self.rate is not None and known.per_minute is not None:
            self.rate.begin_with(known.per_minute)
        if self.room is not None and known.in_flight is not None:
            self.room.begin_with(known.in_flight)

    # ---- what is allowed

    @property
    def per_minute(self) -> float | None:
        """Return how many paid requests a minute may have; ``None`` where the manifest says."""
        if self.rate is None:
            return None
        if self.rate is not self._tried:
            return self.rate.allowed
        return self.rate.allowed + 1 + self.rate.allowed // MINUTE_S  # so many in `WINDOW_S` are one more in a minute

    @property
    def in_flight(self) -> int | None:
        """Return how many tasks may be in flight; ``None`` where the manifest says."""
        return None if self.room is None else int(self.room.allowed) + (self.room is self._tried)

    def next_at(self, now: float, *, share: float = 1.0) -> float:
        """Return when the next paid request may be let through, at this share of the pace."""
        if self.per_minute is None:
            return now
        per_minute = max(1.0, self.per_minute * share)
        moments = [now, self._granted_at + WINDOW_S / per_minute, self._resume_at]
        self._forget(now)
        if len(self._window) >= per_minute:
            moments.append(self._window[-int(per_minute)].at + WINDOW_S)
        return max(moments)

    def granted(self, now: float, *, waited: bool) -> None:
        """Record that one is let through; whether it had to wait."""
        self._granted_at = now
        self._waited = waited

    # ---- what is learned

    def sends(self, *, in_flight: int, now: float) -> Sent:
        """Record that a paid request leaves, beside so many tasks in flight."""
        self._forget(now)
        in_minute = sum(now - one.at < MINUTE_S for one in self._window)
        fills = self.in_flight is not None and in_flight + 1 >= self.in_flight
        sent = Sent(now, in_flight, in_minute, fills, self._waited)
        self._window.append(sent)
        return sent

    def took(self, sent: Sent, hint: LimitHint | None = None, *, now: float) -> None:
        """Learn from a request that was accepted."""
        self.accepted += 1
        self._paid = min(1.0, self._paid + FEW)
        self._since += 1
        if sent.at >= self._retreated_at:
            self._in_a_row = 0
        before = self._state()
        if self.room is not None:
            self.room.took(sent.in_flight + 1, used_up=sent.fills_room)
        if self.rate is not None:
            self.rate.took(sent.in_minute + 1, used_up=sent.waited)
        self._heed(hint, now=now, is_taken=True)
        self._try_again(sent, now=now)
        self.version += self._state() != before

    def refused(self, sent: Sent, hint: LimitHint | None = None, *, now: float) -> None:
        """Learn from a request that was refused as too fast; one that left before the last retreat says nothing new."""
        self.refusals += 1
        self._paid = max(LEAST_PAID, self._paid - 1.0)
        self._drop(sent)
        self._heed(hint, now=now, is_taken=False)
        if sent.at < self._retreated_at:
            return
        kind = None if hint is None else hint.kind
        asked = self._asked(sent, kind)
        self._in_a_row += not any(bound.is_new(number) for bound, number in asked)
        blamed, is_sure = self._blamed(asked) if kind is None else ([bound for bound, _ in asked], True)
        for bound in blamed:
            taken = sent.in_flight if bound is self.room else sent.in_minute
            bound.refused(taken, is_sure=is_sure, in_a_row=self._in_a_row)
        self._since = 0
        self._retreated_at = now
        self._tried = None
        self.version += bool(blamed)

    def came_to_nothing(self, sent: Sent) -> None:
        """Forget a request that never left, or was refused for another reason."""
        self._drop(sent)

    def learned(self, at: float) -> Learned | None:
        """Return what is known now, at this moment of the wall clock; ``None`` while that is nothing."""
        rate = None if self.rate is None else self.rate.found
        room = None if self.room is None else self.room.found
        if not (self.accepted or self.refusals) or (rate is None and room is None):
            return None
        return Learned(rate, room, at)

    def _asked(self, sent: Sent, kind: LimitKind | None) -> list[tuple[Bound, int]]:
        """Return each limit that a request may have met, and its number there; *kind* is what the service says."""
        asked = (self.rate, sent.in_minute + 1, LimitKind.RATE), (self.room, sent.in_flight + 1, LimitKind.ROOM)
        if kind is None and self.room is not None and sent.in_minute < FIRST_PER_MINUTE:
            kind = LimitKind.ROOM
        return [(bound, number) for bound, number, its in asked if bound is not None and kind in {None, its}]

    def _blamed(self, asked: Sequence[tuple[Bound, int]]) -> tuple[Sequence[Bound], bool]:
        """Return which limits a refusal was for, as far as can be told, and whether that is certain."""
        if self._in_a_row > CHANCE:  # it was the other one, or both, or the account was cut down
            bounds = [bound for bound, _ in asked]
            if self.rate is not None and self.rate not in bounds:
                self.rate.acquit()
            return bounds, False
        reached = [(bound, number / max(1, bound.frontier)) for bound, number in asked]
        found = [bound for bound, share in reached if share > 1.0]
        if not found:
            nearest = max(share for _, share in reached)
            least = 0.0 if self._since < SOON else NEAR  # it goes on: then it is a limit, and was lowered
            found = [bound for bound, share in reached if share >= max(least, nearest - AS_NEAR)]
        return found, len(found) == 1

    def _heed(self, hint: LimitHint | None, *, now: float, is_taken: bool) -> None:
        """Go by what the service says of its rate.

        A number counts where the request was taken: what was refused may have been by a gateway, with its own number.
        """
        if hint is None or self.rate is None:
            return
        if is_taken and hint.per_minute is not None and hint.per_minute >= 1:
            self.rate.told(int(hint.per_minute))
        if hint.none_left_s is not None:
            self._resume_at = max(self._resume_at, now + hint.none_left_s)

    def _try_again(self, sent: Sent, *, now: float) -> None:
        """Choose the ceiling above which one more may be tried: that of the limit that is in the way just now."""
        bound = self.room if sent.fills_room else self.rate if sent.waited else None
        if self._tried is not None and self._tried.ceiling is None:
            self._tried = None
        if bound is not None and bound.is_due(self._since, now - self._retreated_at, is_paid=self._paid >= 1.0):
            self._tried = bound

    def _drop(self, sent: Sent) -> None:
        self._window = deque(one for one in self._window if one is not sent)

    def _forget(self, now: float) -> None:
        while self._window and self._window[0].at <= now - WINDOW_S:
            self._window.popleft()

    def _state(self) -> tuple[Found | None, Found | None]:
        return (None if self.rate is None else self.rate.found), (None if self.room is None else self.room.found)
