"""The rate limits: evenly spaced, and never above the stated number in any window of the stated length.

``AsyncLimiter(10, 60)`` lets 10 through at once and 9 more before the minute is over. Here the bucket
holds one request, so that requests are spaced. It also holds as many as come due in `CATCH_UP_S`, so that timers that
fire a few milliseconds late do not add up. It leaks somewhat slower than the limit says.

Who counts is the service, when a request arrives there. So the window is kept at the moment at which a request leaves,
and one that may have arrived late is counted from the latest moment at which it can have arrived (`Window`).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from heapq import heapify, heappop, heappush, nsmallest
from typing import TYPE_CHECKING, Protocol

from aiolimiter import AsyncLimiter

if TYPE_CHECKING:
    from batchvid.domain.limits import Rate
    from batchvid.engine.auto_limits import AutoLimits


CATCH_UP_S = 0.005
"""Timers of an event loop fire up to a few milliseconds late."""
SPARE, SPARE_MOST_S = 0.008, 1.0
"""Of the period: so much longer is it taken to be for spacing requests; all of it is given for safety."""
MARGIN, MARGIN_MOST_S = 0.005, 0.5
"""Of the period: so much later than a window ends the next request leaves. What is left of `SPARE` makes up for
requests that left late."""
LATE_SHARE, LATE_MOST_S = 0.05, 1.0
"""Of the period: so much later at most does a request count. What is answered later still was not so long on its way:
the service has taken its time itself, and where its answers differ, that is all that the rate loses."""
FIRST_ANSWERS = 8
"""Until there are so many, none of them is known to have been quick, and a request may have arrived with its answer."""
EVEN = 0.95
"""Of the usual distance: the least one between two requests, so that those that were held back do not leave at once."""
WHOLE = 10
"""Periods taken together where the number in one is no whole one."""


LOOK_AGAIN_S = 5.0
"""A pace that is found out may have been raised meanwhile."""


class Pacing(Protocol):
    """What a run asks before it sends: a pace of its own, or one that it shares with other machines."""

    @property
    def is_limited(self) -> bool:
        """Whether anybody ever has to wait."""

    async def acquire(self, *, share: float = 1.0) -> None:
        """Wait until one more request may be sent, or, where it is made ready first, begun."""

    async def on_time(self) -> float:
        """Wait for the moment at which a request that is ready may leave, and return it."""

    def answered(self, left_at: float) -> None:
        """Record that the request which left at this moment is answered now."""

    def per_minute(self) -> float:
        """Return how many requests were let through in the last minute."""


class LastMinute:
    """How many there were in the last minute."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque()

    def note(self, now: float) -> None:
        """Count one more."""
        self._forget(now)
        self._moments.append(now)

    def count(self, now: float) -> float:
        """Return how many there were."""
        self._forget(now)
        return float(len(self._moments))

    def _forget(self, now: float) -> None:
        while self._moments and self._moments[0] < now - 60:
            self._moments.popleft()


class Window:
    """No more than a number of requests in any window of a length, as the service counts them.

    Nobody knows when a request arrives: not before it leaves, and not after its answer has begun to come back. The
    quickest answer of all says how long both ways take at least. So a request that is answered so much later than that
    may have arrived so much later, and one that is not answered yet is as late as it is overdue.
    """

    def __init__(self, rate: Rate) -> None:
        periods = WHOLE if rate.count > 1 and rate.count % 1 else 1
        self._count = max(1, int(rate.count * periods))
        self._period_s = self._count / rate.per_s
        self._margin_s = min(MARGIN * self._period_s, MARGIN_MOST_S)
        self._late_most_s = min(LATE_SHARE * self._period_s, LATE_MOST_S)
        self._apart_s = max(0.0, EVEN / rate.per_s - CATCH_UP_S)
        self._left_at = -math.inf
        self._quickest_s = 0.0
        """Of the answers, once there are some to choose from."""
        self._first_s: list[float] = []
        self._answered: list[tuple[float, float, float]] = []
        """Until when each counts, when it left, and when it was answered; a heap."""
        self._unanswered: list[float] = []
        """When those left that are not answered yet."""

    def next_at(self, now: float) -> float:
        """Return the moment at which the next request may leave, as far as is known; *now* is at once."""
        while self._answered and self._answered[0][0] <= now:
            heappop(self._answered)
        self._unanswered = [left_at for left_at in self._unanswered if self._until(left_at, now) > now]
        soonest_at = max(now, self._left_at + self._apart_s)
        too_many = len(self._answered) + len(self._unanswered) - self._count
        if too_many < 0:
            return soonest_at
        until = [self._until(left_at, now) for left_at in self._unanswered] + [one[0] for one in self._answered]
        return max(soonest_at, nsmallest(too_many + 1, until)[-1])

    def left(self, now: float, *, is_answered: bool) -> None:
        """Record a request that leaves; *is_answered* where nobody is going to tell of its answer."""
        self._left_at = now
        if is_answered:
            heappush(self._answered, (self._until(now, now), now, now))
        else:
            self._unanswered.append(now)

    def answered(self, left_at: float, now: float) -> None:
        """Record an answer. When it is the quickest, others may have been late that seemed to be on time."""
        took_s = now - left_at
        if len(self._first_s) < FIRST_ANSWERS:
            self._first_s.append(took_s)
            if len(self._first_s) == FIRST_ANSWERS:
                self._learn(min(self._first_s))
        elif took_s < self._quickest_s:
            self._learn(took_s)
        if left_at in self._unanswered:
            self._unanswered.remove(left_at)
            heappush(self._answered, (self._until(left_at, now), left_at, now))

    def _learn(self, quickest_s: float) -> None:
        self._quickest_s = quickest_s
        self._answered = [(self._until(left, back), left, back) for _, left, back in self._answered]
        heapify(self._answered)

    def _until(self, left_at: float, answered_at: float) -> float:
        """Return until when a request counts; one that is not answered yet would be answered now at the earliest."""
        late_s = min(max(0.0, answered_at - left_at - self._quickest_s), self._late_most_s)
        return left_at + late_s + self._period_s + self._margin_s


class Pace:
    """One rate limit, which the whole run shares; ``None`` is no limit.

    *share* is how much of the pace may be used (`batchvid.engine.throttle.Throttle`). Where requests are made ready
    first, which takes a moment that differs, `acquire` spaces them and `on_time` keeps the window; else `acquire` does
    both.
    """

    def __init__(self, rate: Rate | None, *, are_made_ready: bool = False) -> None:
        self._limiter: AsyncLimiter | None = None
        self._window: Window | None = None
        self._are_made_ready = are_made_ready
        self._turn = asyncio.Lock()
        self._leaving = asyncio.Lock()
        self._owed = 0.0
        self._sent = LastMinute()
        if rate is not None:
            per_s = rate.count / rate.period_s
            capacity = 1 + per_s * CATCH_UP_S
            leak_per_s = rate.count / (rate.period_s + min(SPARE * rate.period_s, SPARE_MOST_S))
            self._limiter = AsyncLimiter(capacity, capacity / leak_per_s)
            self._window = Window(rate)

    @property
    def is_limited(self) -> bool:
        """Whether anybody ever has to wait."""
        return self._limiter is not None

    async def acquire(self, *, share: float = 1.0) -> None:
        """Wait until one more request may be sent, or made ready."""
        if self._limiter is not None:
            # One at a time: what is owed for one request must not be paid for by the next, or both leave at once.
            async with self._turn:
                owed = self._owed + 1 / share
                while owed >= 1:
                    await self._limiter.acquire()
                    owed -= 1
                self._owed = owed
                if not self._are_made_ready:
                    await self._leave()
        self._sent.note(asyncio.get_running_loop().time())

    async def on_time(self) -> float:
        """Wait until a request that is ready may leave, and return when that is."""
        if not self._are_made_ready:
            return asyncio.get_running_loop().time()
        async with self._leaving:
            return await self._leave()

    async def _leave(self) -> float:
        loop = asyncio.get_running_loop()
        if self._window is None:
            return loop.time()
        while True:
            now = loop.time()
            at = self._window.next_at(now)
            if at <= now:
                self._window.left(now, is_answered=not self._are_made_ready)
                return now
            await asyncio.sleep(at - now)

    def answered(self, left_at: float) -> None:
        """Record that the request which left at this moment is answered now."""
        if self._window is not None and self._are_made_ready:
            self._window.answered(left_at, asyncio.get_running_loop().time())

    def per_minute(self) -> float:
        """Return how many requests were let through in the last minute."""
        return self._sent.count(asyncio.get_running_loop().time())


class AutoPace:
    """The rate limit that is found out on the way; evenly spaced, and in no minute more than was allowed in it."""

    def __init__(self, limits: AutoLimits) -> None:
        self._limits = limits
        self._turn = asyncio.Lock()
        self._sent = LastMinute()

    @property
    def is_limited(self) -> bool:
        """Whether anybody ever has to wait."""
        return True

    async def acquire(self, *, share: float = 1.0) -> None:
        """Wait until one more request may be sent; what is allowed may change meanwhile."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            waited = False
            while (at := self._limits.next_at(loop.time(), share=share)) > loop.time():
                waited = True
                await asyncio.sleep(min(at - loop.time(), LOOK_AGAIN_S))
            self._limits.granted(loop.time(), waited=waited)
        self._sent.note(loop.time())

    async def on_time(self) -> float:
        """Return at once: one process is quick enough between `acquire` and the request."""
        return asyncio.get_running_loop().time()

    def answered(self, left_at: float) -> None:
        """Do nothing: the account's refusals tell more."""

    def per_minute(self) -> float:
        """Return how many requests were let through in the last minute."""
        return self._sent.count(asyncio.get_running_loop().time())
