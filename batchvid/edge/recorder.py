"""The way from a run to its journal: records one change, returns when it is durable.

Hundreds of jobs record at the same time, and each commit waits for the disk. So while one commit is
under way, what comes in is gathered, and the next commit takes all of it: nobody waits for a clock,
and the slower the disk, the larger the groups.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self

from batchvid.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from batchvid.edge.change import Change
    from batchvid.edge.journal import Journal

GROUP_MAX = 512
"""Changes in one commit: some 10 ms of work, after which the first of them should not wait for more."""


class Records(Protocol):
    """Where a run records what happened."""

    async def record(self, change: Change) -> None:
        """Keep *change*; it is durable when this returns.

        Raises `StorageError`, `TaskOwnedError` or `StaleProgressError` as `Journal.record` does, and then nothing of
        the change was kept. It cannot be cancelled: a cancelled caller waits for the record to settle first, and
        if the record failed, gets that error instead, because a paid task id may depend on it.
        """

    async def close(self) -> None:
        """Wait for what is under way. The journal stays open and is its owner's again."""


class InlineRecorder:
    """Records at once, in the caller's own thread: for runs whose clock is not the real one."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def record(self, change: Change) -> None:
        """Keep *change*; it is durable when this returns."""
        self._journal.record((change,))

    async def close(self) -> None:
        """Do nothing: nothing is ever under way."""


class Recorder:
    """Records in a thread of its own, which has the journal to itself until `close`.

    One commit is under way at a time. When one change spoils a group, the group was rolled back as a
    whole, so each of its changes goes again alone and only the guilty one's caller hears of it. When the disk
    refuses a group, all its callers hear of it at once: one by one they would wait for the same disk again.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batchvid-journal")
        self._waiting: deque[tuple[Change, asyncio.Future[None]]] = deque()
        self._alone = 0
        """How many of the first that wait go one by one."""
        self._under_way: asyncio.Future[None] | None = None
        self._closed = False

    async def record(self, change: Change) -> None:
        """Keep *change*; it is durable when this returns. See `Records.record`."""
        if self._closed:
            raise RuntimeError("the recorder is closed")
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, settled))
        self._commit_next()
        cancelled = await _outlast(settled)
        settled.result()
        if cancelled:
            raise cancelled

    async def close(self) -> None:
        """Wait for what is under way, and give the journal back to its owner, open."""
        self._closed = True
        cancelled = None
        while self._under_way:
            cancelled = await _outlast(self._under_way) or cancelled
        self._writer.shutdown()
        if cancelled:
            raise cancelled

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _commit_next(self) -> None:
        if self._under_way or not self._waiting:
            return
        size = 1 if self._alone else min(len(self._waiting), GROUP_MAX)
        self._alone = max(0, self._alone - 1)
        group = [self._waiting.popleft() for _ in range(size)]
        changes = [change for change, _ in group]
        self._under_way = asyncio.get_running_loop().run_in_executor(self._writer, self._journal.record, changes)
        self._under_way.add_done_callback(partial(self._committed, group))

    def _committed(self, group: Sequence[tuple[Change, asyncio.Future[None]]], commit: asyncio.Future[None]) -> None:
        self._under_way = None
        error = commit.exception()
        if error is not None and len(group) > 1 and not isinstance(error, StorageError):
            self._waiting.extendleft(reversed(group))
            self._alone = len(group)
        else:
            for _, settled in group:
                if error is None:
                    settled.set_result(None)
                else:
                    settled.set_exception(error)
        self._commit_next()


async def _outlast(future: asyncio.Future[None]) -> asyncio.CancelledError | None:
    """Wait until *future* is done, whatever happens; give the cancellation that came meanwhile, for later."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
