"""The rate limits: evenly spaced, and never above the stated number in any window of the stated length.

``AsyncLimiter(10, 60)`` lets 10 through at once and 9 more before the minute is over. Here the bucket
holds one request, so that requests are spaced. It also holds as many as come due in `CATCH_UP_S`, so that timers that
fire a few milliseconds late do not add up. It leaks so much slower that both together stay within the limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from aiolimiter import AsyncLimiter

if TYPE_CHECKING:
    from batchvid.domain.limits import Rate
    from batchvid.engine.auto_limits import AutoLimits


CATCH_UP_S = 0.005
"""Timers of an event loop fire up to a few milliseconds late."""
ON_THE_WAY_S = 0.005
"""What is evenly spaced here arrives a few milliseconds earlier or later there, and there it is counted."""


LOOK_AGAIN_S = 5.0
"""A pace that is found out may have been raised meanwhile."""


class Pacing(Protocol):
    """What a run asks before it sends: a pace of its own, or one that it shares with other machines."""

    @property
    def is_limited(self) -> bool:
        """Whether anybody ever has to wait."""

    async def acquire(self, *, share: float = 1.0) -> None:
        """Wait until one more request may be sent, or, where it is made ready first, begun."""

    async def on_time(self) -> None:
        """Wait for the moment at which a request that is ready may leave."""

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


class Pace:
    """One rate limit, which the whole run shares; ``None`` is no limit.

    *share* is how much of the pace may be used (`batchvid.engine.throttle.Throttle`).
    """

    def __init__(self, rate: Rate | None) -> None:
        self._limiter: AsyncLimiter | None = None
        self._turn = asyncio.Lock()
        self._owed = 0.0
        self._sent = LastMinute()
        if rate is not None:
            per_s = rate.count / rate.period_s
            capacity = 1 + per_s * CATCH_UP_S
            leak_per_s = (rate.count + 1 - capacity) / (rate.period_s + ON_THE_WAY_S)
            self._limiter = AsyncLimiter(capacity, capacity / leak_per_s)

    @property
    def is_limited(self) -> bool:
        """Whether anybody ever has to wait."""
        return self._limiter is not None

    async def acquire(self, *, share: float = 1.0) -> None:
        """Wait until one more request may be sent."""
        if self._limiter is not None:
            # One at a time: what is owed for one request must not be paid for by the next, or both leave at once.
            async with self._turn:
                owed = self._owed + 1 / share
                while owed >= 1:
                    await self._limiter.acquire()
                    owed -= 1
                self._owed = owed
        self._sent.note(asyncio.get_running_loop().time())

    async def on_time(self) -> None:
        """Return at once: one process is quick enough between `acquire` and the request."""

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

    async def on_time(self) -> None:
        """Return at once: one process is quick enough between `acquire` and the request."""

    def per_minute(self) -> float:
        """Return how many requests were let through in the last minute."""
        return self._sent.count(asyncio.get_running_loop().time())
