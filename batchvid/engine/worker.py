"""One worker of many: takes slices, works on them side by side, and tells the database that it lives.

Everything that decides about money is checked where it is written (`batchvid.journal.fenced`). This module only brings
together: which slices this process has, how its accounts stand, and how it ends.

* A slice is fetched when those at hand leave room. One whose worker is gone comes first.
* A heartbeat tells what this worker has in flight and hears what it may have. It is brought forward when there is news.
* Who was not heard of for as long as others wait for a dead worker sends nothing paid any more.
* A worker that has lost a slice ends: what it believes is not true any more. Its requests under way end before that.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from batchvid.domain.errors import BatchvidError, Exit, StorageError
from batchvid.domain.results import worst
from batchvid.engine.account import StopReason
from batchvid.journal.fenced import AWAY_AT_MOST_S
from batchvid.journal.ledger import Closing, Halt, Lease, Report, since_boot
from batchvid.storage.threads import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from batchvid.engine.context import Interrupts
    from batchvid.engine.published import OpenManifest, SliceEnd
    from batchvid.engine.shared_account import WorkerAccount
    from batchvid.engine.workers import InFlightPool, Runner
    from batchvid.journal.bell import Bell
    from batchvid.journal.ledger import Ledger, Standing, Takeover

T = TypeVar("T")

LOST = "this worker was not heard of for so long that another one has its slices: start it again, nothing paid is lost"

BEAT_S = 1.0
SOONER_S = 0.1
"""The least between two heartbeats when there is news."""
MEND_S = 15.0
SLICES_AT_MOST = 64
TAKEN_OVER_AT_MOST = 256
"""With those of dead workers, whose tasks are paid and wait for somebody."""
AHEAD = 16
"""So many jobs to submit are at hand before another slice is fetched; what one takes too early, others lack."""
SEATS_AHEAD = 32
"""Seats for so many more tasks are asked for by who has something to submit."""
MARGIN_S = 1.0
"""Before others may think that this worker is dead, it sends nothing paid."""


def taken_over(what: Takeover) -> str:
    """Return what people are told of slices that are taken over."""
    theirs = "slice is" if what.slices == 1 else f"{what.slices} slices are"
    return f"worker {what.name} was not heard of for {what.silent_s:.0f} s: its {theirs} taken over"


async def rung(bell: asyncio.Event, patience_s: float) -> None:
    """Wait for a bell, at most so long. Python 3.11's ``wait_for`` loses a cancellation that comes with the ring."""
    with suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            await bell.wait()


@dataclass(slots=True)
class Ending:
    """Why and how a worker ends."""

    codes: list[Exit] = field(default_factory=list)
    reason: str = ""

    @property
    def code(self) -> Exit:
        """Return the code that wins."""
        return worst(self.codes)

    def add(self, code: Exit, reason: str) -> None:
        """Have it end, for a reason."""
        self.codes.append(code)
        self.reason = self.reason or reason


class Worker:
    """The work of one process on all that is published in one database."""

    def __init__(
        self,
        ledger: Ledger,
        bell: Bell,
        *,
        dead_s: float,
        once: bool,
        until_at: float | None,
        interrupts: Interrupts,
        open_manifest: Callable[[Worker, int], Awaitable[OpenManifest]],
        close_manifest: Callable[[Worker, Closing], Awaitable[None]],
        heed: Callable[[Worker, int, frozenset[int]], Awaitable[None]],
        is_over: Callable[[], bool] | None,
        note: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._bell = bell
        self._dead_s = dead_s
        self._once = once
        self._until_at = until_at
        self._interrupts = interrupts
        self._open_manifest = open_manifest
        self._close_manifest = close_manifest
        self._heed = heed
        """Keeps to the limits of these revisions of an account."""
        self._is_over = is_over
        self._note = note
        self._warn = warn
        self._thread = Workers(1, "batchvid-ledger")
        self._listener = Workers(1, "batchvid-bell")
        self._alive_until = 0.0
        self._news = asyncio.Event()
        self._changed = asyncio.Event()
        self._opening = asyncio.Lock()
        self._leases: dict[int, Lease] = {}
        self._runners: list[Runner] = interrupts.runners
        self._tasks: set[asyncio.Task[object]] = interrupts.tasks
        self.ending = Ending()
        self.manifests: dict[int, OpenManifest] = {}
        self.accounts: dict[int, WorkerAccount] = {}
        self.pools: dict[int, InFlightPool] = {}
        self._told: dict[int, set[StopReason]] = {}
        self._released: set[int] = set()

    # ---- its life

    async def run(self) -> None:
        """Work until nothing is left that it is to do; `ending` says how it ended."""
        await self.ask(self._ledger.enter)
        await self._beat()
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self._guarded(self._beats()), name="heartbeat")
            listening = group.create_task(self._guarded(self._listen()), name="bell")
            await self._guarded(self._fetch_all(group))
            listening.cancel()
            self.drain()
            while self._tasks:
                await asyncio.wait(self._tasks)
            beating.cancel()
        await self._end()

    async def _end(self) -> None:
        for one in self.manifests.values():
            await one.__aexit__()
        self.manifests.clear()
        with suppress(StorageError):
            await self._beat()
            await self.ask(partial(self._ledger.leave, self.ending.reason or "done"))
        for thread in (self._thread, self._listener):
            thread.shutdown(wait=False)

    def ask(self, work: Callable[[], T]) -> Awaitable[T]:
        """Have *work* done in the thread that has the ledger."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def may_send(self) -> bool:
        """Whether nobody can have taken over yet what this worker has."""
        return since_boot() < self._alive_until

    def tell(self) -> None:
        """Bring the next heartbeat forward."""
        self._news.set()

    def drain(self) -> None:
        """Send nothing new, and end when what is under way is over."""
        for runner in self._runners:
            runner.drain()
        self._changed.set()

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Do one of the works of this process; what goes wrong in it ends the others in good order."""
        try:
            await work
        except BatchvidError as error:
            self.ending.add(error.exit_code, str(error))
            self.drain()
        finally:
            self._changed.set()

    # ---- slices

    async def _fetch_all(self, group: asyncio.TaskGroup) -> None:
        mended_at, away_since = 0.0, None
        while not self.is_ending():
            found = None
            try:
                if time.monotonic() - mended_at >= MEND_S:
                    mended_at = time.monotonic()
                    await self.ask(self._ledger.mend)
                fetch = partial(self._ledger.fetch, with_slices=self._wants_slices(), with_begun=self._may_take())
                found = await self.ask(partial(fetch, held=dict(self._leases)))
            except StorageError as error:
                if away_since is None:
                    away_since = time.monotonic()
                    self._warn(f"nothing new is sent until the database is back: {error}")
                elif not self._leases and time.monotonic() - away_since >= AWAY_AT_MOST_S:
                    raise
            else:
                if away_since is not None:
                    self._warn(f"the database is back after {time.monotonic() - away_since:.0f} s")
                away_since = None
            if found is not None:
                self._begin(group, found)
                continue
            if await self._has_ended():
                return
            await self._until_more_is_wanted()

    async def _until_more_is_wanted(self) -> None:
        """Wait for news, or until what is at hand leaves room again; look whether there is more now and then."""
        was_wanted, until = self._wants_slices(), time.monotonic() + BEAT_S
        while time.monotonic() < until and not self._changed.is_set():
            await rung(self._changed, SOONER_S)
            if self._wants_slices() and not was_wanted:
                break
        self._changed.clear()

    def is_ending(self) -> bool:
        """Whether nothing new is begun any more."""
        return bool(self.ending.codes) or self._interrupts.code is not None

    async def _has_ended(self) -> bool:
        """Whether what this process waits for is over, or there is nothing that it could do."""
        with suppress(StorageError):
            if self._is_over is not None and await self.ask(self._is_over):
                return True
        return not self._leases and not self._tasks and self._may_stop()

    def _may_stop(self) -> bool:
        """Whether a worker with nothing at hand, that found nothing to fetch, is done."""
        halts = [halt for account in self.accounts.values() for halt in account.halts]
        for halt in halts:
            self.ending.add(halt.exit_code, halt.reason)
        is_late = self._until_at is not None and time.time() >= self._until_at
        return bool(halts) or is_late or self._once

    def _may_take(self) -> bool:
        """Whether one more slice may be taken, however much is at hand: one whose worker is gone does not wait."""
        if self._until_at is not None and time.time() >= self._until_at:
            return False
        if len(self._leases) > len(self._runners) or not self.may_send():  # one is just being begun
            return False
        return len(self._leases) < TAKEN_OVER_AT_MOST

    def _wants_slices(self) -> bool:
        """Whether what is at hand leaves room for more work."""
        if not self._may_take() or len(self._leases) >= SLICES_AT_MOST:
            return False
        accounts = list(self.accounts.values())
        to_submit = sum(one.to_submit for one in accounts)
        seats = sum(one.limits.in_flight - one.in_flight for one in accounts if one.limits is not None)
        return not self._runners or to_submit < min(AHEAD, max(1, seats))

    def _begin(self, group: asyncio.TaskGroup, found: Lease | Closing) -> None:
        if isinstance(found, Lease) and found.slice in self._leases:
            # Another one had it meanwhile. What is under way in it here is recorded no more; nor is it begun beside
            # itself, under the new epoch.
            self.ending.add(Exit.BUSY, LOST)
            self.drain()
            return
        work = self._work(found) if isinstance(found, Lease) else self._close(found)
        if isinstance(found, Lease):
            self._leases[found.slice] = found
        task = group.create_task(self._guarded(work), name=f"{found}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, lease: Lease) -> None:
        try:
            async with self._opening:
                if lease.revision not in self.manifests:
                    self.manifests[lease.revision] = await self._open_manifest(self, lease.revision)
            opened = self.manifests[lease.revision]
            jobs, again, lost = await self.ask(partial(self._ledger.slice, lease))
            self._changed.set()
            end = await opened.work(lease, jobs, again, lost, self._runners)
            self._leave_if_stopped(opened)
        except BaseException:  # whatever it was, the slice is no longer this worker's, and it is raised again
            self._leases.pop(lease.slice, None)
            raise
        await self._put_down(lease, end)

    def _leave_if_stopped(self, opened: OpenManifest) -> None:
        """End when something on this machine alone keeps it from working."""
        for halt in opened.breaker.halts:
            if halt.is_local:
                self.ending.add(halt.exit_code, halt.reason)

    async def _put_down(self, lease: Lease, end: SliceEnd) -> None:
        """Record how a slice was left, however long the database is away; nobody else has it meanwhile."""
        while lease.slice in self._leases:
            try:
                await self._tell_halts()
                if end.is_over:
                    await self.ask(partial(self._ledger.over, lease, polls=end.polls))
                else:
                    await self.ask(partial(self._ledger.hand_back, lease))
                del self._leases[lease.slice]
            except StorageError:
                if not self.may_send():
                    del self._leases[lease.slice]
                    raise
                await asyncio.sleep(SOONER_S)

    async def _close(self, closing: Closing) -> None:
        if (opened := self.manifests.pop(closing.revision, None)) is not None:
            await opened.__aexit__()
        await self._close_manifest(self, closing)

    # ---- heartbeats

    async def _beats(self) -> None:
        while True:
            until = time.monotonic() + BEAT_S
            while time.monotonic() < until and not (self._news.is_set() or self._is_short()):
                await rung(self._news, SOONER_S)
            self._news.clear()
            with suppress(StorageError):  # it is away: this worker stops sending in time
                await self._tell_halts()
                await self._release()
                await self._beat()
            await asyncio.sleep(SOONER_S)

    def _is_short(self) -> bool:
        """Whether a job waits for a seat or for the first answer: the next heartbeat cannot wait long then."""
        return any(one.is_short for one in self.accounts.values())

    async def _beat(self) -> None:
        began = since_boot()
        told = {number: account.news() for number, account in self.accounts.items()}
        reports = [self._report(number, account, told[number]) for number, account in self.accounts.items()]
        held = {lease.slice: lease.epoch for lease in self._leases.values()}
        heard = await self.ask(partial(self._ledger.beat, reports, held, list(self.manifests)))
        self._alive_until = began + self._dead_s - MARGIN_S
        for number, standing in heard.standings.items():
            self._follow(number, standing, told[number])
            await self._heed(self, number, heard.live[number])
        for one in heard.takeovers:
            self._warn(taken_over(one))
        if heard.takeovers:
            self._changed.set()
        if heard.lost & self._leases.keys():
            self.ending.add(Exit.BUSY, LOST)
            self.drain()
        if heard.outdated and not self.ending.codes:
            self.ending.add(Exit.CONFIG, heard.outdated)
            self.drain()
        await self._close_ended(heard.ended)

    async def _close_ended(self, ended: Collection[int]) -> None:
        """Close the manifests that are over, so that a person may have their journals."""
        busy = {lease.revision for lease in self._leases.values()}
        for number in (self.manifests.keys() & ended) - busy:
            await self.manifests.pop(number).__aexit__()

    def _report(self, number: int, account: WorkerAccount, news: tuple[int, int]) -> Report:
        throttle, now = account.shared_throttle, time.monotonic()
        hit, is_well = throttle.taken_hit()
        return Report(
            account=number,
            limit=account.in_flight_limit,
            in_flight=account.in_flight,
            wants=account.in_flight
            + (max(account.to_submit, SEATS_AHEAD) if account.to_submit or account.is_short else 0),
            accepted=news[0],
            unsure=news[1],
            doubt_resume_s=max(0.0, account.doubt_resume_at - now),
            hit_age_s=None if hit is None else now - hit[0],
            hit_wait_s=0.0 if hit is None else max(0.0, hit[1] - now),
            slowed_by=throttle.slowed_by,
            went_well=is_well,
        )

    def _follow(self, number: int, standing: Standing, told: tuple[int, int]) -> None:
        account, now = self.accounts[number], time.monotonic()
        account.follow(seats=standing.seats, accepted=standing.accepted, unsure=standing.unsure_in_a_row, told=told)
        account.doubt_resume_at = now + standing.doubt_resume_s if standing.doubt_resume_s else 0.0
        account.shared_throttle.follow(
            share=standing.share, resume_at=now + standing.resume_s, slowed_by=standing.slowed_by
        )
        for halt in standing.halts:
            reason = StopReason(Exit(halt.exit_code), halt.reason, halt.polls_too)
            if halt.journal is None:
                if reason not in account.halts:
                    account.halts.append(reason)
                continue
            for one in self.manifests.values():
                if one.number == halt.journal and reason not in one.breaker.halts:
                    one.breaker.halts.append(reason)
        for runner in self.pools[number].runners:
            runner.ring()

    async def _tell_halts(self) -> None:
        """Tell all others why nothing more is submitted, once."""
        for one in list(self.manifests.values()):
            told = self._told.setdefault(one.revision, set())
            news = [halt for halt in one.breaker.all_halts if halt not in told and not halt.is_local]
            if not news:
                continue
            of_account = one.account.halts
            await self.ask(
                partial(
                    self._ledger.halt,
                    one.account.number,
                    [
                        Halt(halt.exit_code, halt.reason, halt.polls_too, None if halt in of_account else one.number)
                        for halt in news
                    ],
                )
            )
            told.update(news)

    async def _release(self) -> None:
        """Let others begin on a manifest whose canary jobs have brought their clips."""
        for one in list(self.manifests.values()):
            if one.manifest.limits.canary and not one.breaker.canary_is_out and one.revision not in self._released:
                await self.ask(partial(self._ledger.release, one.revision))
                self._released.add(one.revision)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if await loop.run_in_executor(self._listener, partial(self._bell.wait, BEAT_S)):
                self.tell()
                self._changed.set()
