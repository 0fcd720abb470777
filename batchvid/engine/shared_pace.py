"""One rate limit for an account over many processes and machines: slots from the database, used exactly on time.

A process takes slots in blocks, before it needs them, and only while somebody waits for one. A slot belongs to the
process and not to a request: whoever is ready first takes the earliest. What is missed is not made up for, because
others may be in the same window. The rules and their arithmetic are those of `batchvid.domain.slots`.
"""

from __future__ import annotations

import asyncio
import random
from bisect import insort
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from batchvid.domain.errors import StorageError
from batchvid.domain.limits import Rate
from batchvid.domain.slots import Asked, BlockSize, OtherClock, Spacing, thinned, unbroken
from batchvid.engine.rate_limit import LastMinute
from batchvid.storage.threads import Workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from batchvid.domain.slots import Dealt

AHEAD_S = 3.0
"""Nothing is dealt out further ahead than this: more than twice what 16 processes hold together."""
LOW_WATER_S = 0.5
"""More is asked for when what is held ends so soon: time enough for an answer, on a machine that is busy."""
ASK_AGAIN_S = 1.0
"""How long to wait before asking a database again that was away; and over how long those spread who came too early."""
GIVEN_BACK_S = 1.0
"""How soon to look again all the same: a slot may have been given back."""
PATIENCE_S = 900.0
"""How long a database may be away before those who wait hear of it: as long as `batchvid.journal.fenced` waits."""
CLOSE_S = 5.0
ROUND_TRIP_S = 0.02
LEAD_FIRST_S = 0.1
LEAD_SHORTEST_S = 0.08
"""Commits are `batchvid.journal.fenced.APART_S` apart; the first of a worker, which has company at once, says too
little of it."""
LEAD_LONGEST_S = 1.0
LEARNED_FROM = 32
"""Preparations, of which the three slowest are exceptions."""
EXCEPTIONS = 3
GIVEN_UP_AFTER_S = 2.0
"""Who got ready and was not seen for so long will send nothing: there was no turn for it after all."""
PUT_BACK_FROM_S = 0.5
"""A slot that is worth so much time is given back when nobody wants it."""
UNLIMITED = Rate(1000, 1)
"""Stands in where there is no limit, and nobody waits for a slot."""


class SlotPort(Protocol):
    """What deals out slots. Each of these blocks, and raises `StorageError`."""

    def deal(self, asked: Asked) -> Dealt:
        """Take a block of slots."""

    def put_back(self, first: float, end: float) -> None:
        """Return the slots from *first* to before *end*, if none after them was dealt out."""

    def close(self) -> None:
        """End the connection."""


class Slot(NamedTuple):
    """When a request may leave, on the loop's clock, and the same on the database's."""

    at: float
    theirs: float
    gap_s: float


class SharedPace:
    """One rate limit of an account, as one process of many sees it. To be made inside a running event loop.

    `acquire` returns when a request may leave, and it has to leave then. A *rate* of ``None`` is no limit. *at_hand*
    tells how many requests wait for their turn; more slots than that are not taken from the others.
    """

    def __init__(self, rate: Rate | None, port: SlotPort, *, at_hand: Callable[[], int] | None = None) -> None:
        self._rate = rate
        self._port = port
        self._at_hand = at_hand
        self._thread = Workers(1, "batchvid-pace")
        self._loop = asyncio.get_running_loop()
        self._spacing = Spacing.of(rate or UNLIMITED)
        self._size = BlockSize(self._spacing.gap_s)
        self._clock = OtherClock()
        self._slots: deque[Slot] = deque()
        self._held_until = float("-inf")
        self._share = 1.0
        self._under_way: set[asyncio.Future[Dealt] | asyncio.Future[None]] = set()
        self._is_asking = False
        self._ask_at = float("-inf")
        self._refusals = 0
        """How often in a row it was too early; who has waited longer comes sooner."""
        self._unheard_since: float | None = None
        self._trouble: BaseException | None = None
        self._sleepers: set[asyncio.Future[None]] = set()
        self._empty_handed = 0
        """How many could send at once, and have no slot in sight."""
        self._lead_s = 0.0
        """How long before a slot a request for it is begun."""
        self._sent = LastMinute()

    @property
    def is_limited(self) -> bool:
        """Whether anybody has to wait, as long as the limit is this one."""
        return self._rate is not None

    def limit(self, rate: Rate | None) -> None:
        """Keep to this rate from now on, with what is held as well; who waits goes by it, too."""
        if rate == self._rate:
            return
        before, self._rate = self._spacing.gap_s if self._rate else 0.0, rate
        self._spacing = Spacing.of(rate or UNLIMITED)
        self._size = BlockSize(self._spacing.gap_s)
        if before and rate is not None and self._spacing.gap_s > before:
            self._slots = deque(thinned(self._slots, before / self._spacing.gap_s))
        self._wake()

    async def acquire(self, *, share: float = 1.0) -> None:
        """Wait until one more request may leave; raises `StorageError` when the database is away for long."""
        self._go_at(share)
        await self._slot()

    async def on_time(self) -> float:
        """Return at once: `acquire` has waited for the moment itself."""
        return self._loop.time()

    def answered(self, left_at: float) -> None:
        """Do nothing: slots are so far apart that a request may be late."""

    def per_minute(self) -> float:
        """Return how many requests of this process were let through in the last minute."""
        return self._sent.count(self._loop.time())

    async def close(self) -> None:
        """Return what can be returned, and end the connection. A database that does not answer is left alone."""
        self._ask_at = float("inf")
        await self._settle()
        if self._slots:
            last = self._slots[-1]
            self._put_back(self._slots[-unbroken([slot.theirs for slot in self._slots], last.gap_s)], last)
            self._slots.clear()
            await self._settle()
        if not self._under_way:
            await self._loop.run_in_executor(self._thread, self._port.close)
        self._thread.shutdown(wait=False)

    async def _settle(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=CLOSE_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- using slots

    async def _slot(self) -> None:
        """Wait for the earliest slot that nobody has taken, and return exactly then."""
        while True:
            slot = await self._taken()
            if slot is None:
                self._sent.note(self._loop.time())
                return
            try:
                await asyncio.sleep(slot.at - self._loop.time())
            except asyncio.CancelledError:
                insort(self._slots, slot)
                self._wake()
                raise
            now = self._loop.time()
            if now <= slot.at + self._late_s(now):
                self._sent.note(now)
                return

    async def _taken(self) -> Slot | None:
        """Wait for a slot and take it; ``None`` where none is needed."""
        self._empty_handed += 1
        try:
            while True:
                if self._rate is None:
                    return None
                self._look(self._loop.time())
                if self._slots:
                    return self._slots.popleft()
                await self._sleep(self._looks_again_at())
        finally:
            self._empty_handed -= 1

    def _late_s(self, now: float) -> float:
        """Return how late a slot may be used, so surely that the clocks cannot make it later."""
        late_s = self._spacing.late_s
        return late_s - min(self._clock.error_s(now), late_s / 2)

    def _go_at(self, share: float) -> None:
        """Use this share of the pace from now on, also of what is held."""
        if share < self._share:
            self._slots = deque(thinned(self._slots, share / self._share))
        self._share = share

    # ---- having slots

    def _look(self, now: float) -> None:
        """Let go what was missed, and ask for more when little is left; only called for somebody who waits."""
        self._let_go(now)
        if isinstance(self._trouble, Exception) and not isinstance(self._trouble, StorageError):
            raise self._trouble
        if not self._is_asking and now >= self._looks_again_at():
            self._ask(now)
        if self._unheard_since is not None and now >= self._unheard_since + PATIENCE_S:
            raise StorageError(
                f"the database has not answered for {PATIENCE_S:.0f} s, and it says when a request may be sent"
            ) from self._trouble

    def _ask(self, now: float) -> None:
        self._is_asking = True
        if self._unheard_since is None or now > self._ask_at + PATIENCE_S:  # or nobody has asked meanwhile
            self._unheard_since = now
        number = min(self._size.number, max(1, self._lacks()))
        asked = Asked(number, self._spacing.gap_s / self._share, self._lead_s + ROUND_TRIP_S, AHEAD_S)
        future = self._loop.run_in_executor(self._thread, self._port.deal, asked)
        self._under_way.add(future)
        future.add_done_callback(partial(self._dealt, asked))

    def _lacks(self) -> int:
        """Return how many slots more than are held could be used by what is at hand."""
        if self._at_hand is None:
            return self._size.number
        return self._at_hand() + self._unserved - len(self._slots)

    @property
    def _unserved(self) -> int:
        """Count those that are no longer at hand, and have no slot yet."""
        return self._empty_handed

    def _looks_again_at(self) -> float:
        """Return when more is to be asked for, or a database that does not answer is to be given up."""
        if self._is_asking:
            return (self._unheard_since or 0.0) + PATIENCE_S
        if not self._slots:
            return self._ask_at
        if self._lacks() <= 0:  # others need them more
            return max(self._ask_at, self._slots[-1].at + self._spacing.late_s)
        return max(self._ask_at, self._held_until - LOW_WATER_S - self._lead_s)

    def _dealt(self, asked: Asked, future: asyncio.Future[Dealt]) -> None:
        """Take over what was dealt out."""
        self._under_way.discard(future)
        self._is_asking = False
        now = self._loop.time()
        self._trouble = future.exception()
        if self._trouble is None:
            self._unheard_since = None
            self._take_over(asked, future.result(), now)
        else:
            self._ask_at = max(self._ask_at, now + ASK_AGAIN_S)
        self._wake()

    def _take_over(self, asked: Asked, dealt: Dealt, now: float) -> None:
        for reading in dealt.readings:
            self._clock.note(reading)
        first = self._clock.here(dealt.first)
        if not dealt.number:
            self._refusals += 1
            later_s = ASK_AGAIN_S / self._refusals * random.random()  # noqa: S311 those who wait for one moment spread
            soon_enough = min(first - AHEAD_S, now + GIVEN_BACK_S)
            self._ask_at = max(self._ask_at, now + ROUND_TRIP_S, soon_enough + later_s)
            return
        self._refusals = 0
        self._slots.extend(
            Slot(first + number * asked.gap_s, dealt.first + number * asked.gap_s, asked.gap_s)
            for number in range(dealt.number)
        )
        last = self._slots[-1].at
        self._size.dealt(lasts_s=last - max(now, self._held_until))
        self._held_until = last
        self._loop.call_at(last + self._spacing.late_s, self._let_go_of_all)

    def _let_go_of_all(self) -> None:
        self._let_go(self._loop.time())

    def _let_go(self, now: float) -> None:
        """Forget the slots that were missed. When it was for want of something to send, somebody else may have them."""
        late_s = self._late_s(now)
        while self._slots and self._slots[0].at < now - late_s:
            slot = self._slots.popleft()
            if not self._is_wanted:
                self._size.unwanted()
                if not self._slots and slot.gap_s >= PUT_BACK_FROM_S:
                    self._put_back(slot, slot)

    @property
    def _is_wanted(self) -> bool:
        return self._empty_handed > 0

    def _put_back(self, first: Slot, last: Slot) -> None:
        future = self._loop.run_in_executor(self._thread, self._put_back_now, first.theirs, last.theirs + last.gap_s)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)

    def _put_back_now(self, first: float, end: float) -> None:
        with suppress(StorageError):  # then it is lost
            self._port.put_back(first, end)

    # ---- waiting

    async def _sleep(self, until: float) -> None:
        """Wait until slots come, or until this moment."""
        woken: asyncio.Future[None] = self._loop.create_future()
        timer = None
        if until < float("inf"):
            timer = self._loop.call_at(until, _end, woken)
        self._sleepers.add(woken)
        try:
            await woken
        finally:
            self._sleepers.discard(woken)
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        for woken in self._sleepers:
            _end(woken)


class SubmitPace(SharedPace):
    """A shared pace for requests that are made ready first: the frames read, the intent on record.

    `acquire` returns when there is just time to get ready for a slot, and `on_time` at the slot. How long it takes
    to get ready is learned.
    """

    def __init__(self, rate: Rate | None, port: SlotPort, *, at_hand: Callable[[], int] | None = None) -> None:
        super().__init__(rate, port, at_hand=at_hand)
        self._lead_s = LEAD_FIRST_S
        self._not_ready = 0
        """How many wait for their turn to get ready."""
        self._getting_ready: dict[asyncio.Task[Any] | None, float] = {}
        """Since when, by task: one that found nothing to send after all must not be taken for the next one."""
        self._took_s: deque[float] = deque(maxlen=LEARNED_FROM)

    async def acquire(self, *, share: float = 1.0) -> None:
        """Wait until it is time to get one more request ready; raises `StorageError` like `on_time`."""
        self._go_at(share)
        self._getting_ready.pop(asyncio.current_task(), None)
        self._not_ready += 1
        try:
            while self._rate is not None:
                now = self._loop.time()
                self._look(now)
                begins_at = self._begins_at(now)
                if begins_at <= now:
                    self._getting_ready[asyncio.current_task()] = now
                    return
                await self._sleep(min(begins_at, self._looks_again_at()))
        finally:
            self._not_ready -= 1

    def _begins_at(self, now: float) -> float:
        """Return when to begin for the first slot that nobody gets ready for."""
        given_up = now - max(GIVEN_UP_AFTER_S, 4 * self._lead_s)
        for task in [task for task, since in self._getting_ready.items() if since < given_up]:
            del self._getting_ready[task]
        ahead = len(self._getting_ready) + self._empty_handed
        return self._slots[ahead].at - self._lead_s if ahead < len(self._slots) else float("inf")

    async def on_time(self) -> float:
        """Wait until the request that is ready may leave; raises `StorageError` when the database is away for long."""
        since = self._getting_ready.pop(asyncio.current_task(), None)
        if since is not None:
            self._took_s.append(self._loop.time() - since)
            usual_s = sorted(self._took_s)[-min(EXCEPTIONS + 1, len(self._took_s))]
            self._lead_s = min(LEAD_LONGEST_S, max(LEAD_SHORTEST_S, 1.25 * usual_s))
        await self._slot()
        return self._loop.time()

    @property
    def _unserved(self) -> int:
        return self._empty_handed + len(self._getting_ready)

    @property
    def _is_wanted(self) -> bool:
        return self._empty_handed + self._not_ready > 0


def _end(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
