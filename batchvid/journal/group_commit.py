"""The way from a run to its journal: records one change, returns when it is durable.

Hundreds of jobs record at the same time, and each commit waits for the disk: they share their commits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, TypeVar

from batchvid.domain.errors import StorageError
from batchvid.storage.threads import Batcher, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from batchvid.journal.base import Change, Journal


T = TypeVar("T")

GROUP_MAX = 512
"""Changes in one commit: some 10 ms of work, after which the first of them should not wait for more."""


class Recorder:
    """Records in a thread of its own, which has the journal to itself until `close`.

    One commit is under way at a time. When one change spoils a group, the whole group is rolled back. Each of its
    changes then goes again alone, and only the guilty one's caller hears of it. When the disk refuses a group, all its
    callers hear of it at once: one by one they would wait for the same disk again.

    Commits are begun *apart_s* from each other where others commit at the same disk too.
    """

    def __init__(self, journal: Journal, *, apart_s: float = 0.0) -> None:
        self._journal = journal
        self._writer = Workers(1, "batchvid-journal")
        self._gatherer: Batcher[Change, None] = Batcher(
            self._commit, most=GROUP_MAX, executor=self._writer, again_alone=True, apart_s=apart_s
        )
        self._closed = False

    async def record(self, change: Change) -> None:
        """Keep *change*; it is durable when this returns.

        Raises as `Journal.record` does, and then nothing of the change was kept. It cannot be cancelled: a cancelled
        caller waits for the record to settle first. If the record failed, the caller gets that error instead, because
        a paid task id may depend on it.
        """
        if self._closed:
            raise RuntimeError("the recorder is closed")
        error, cancelled = await self._gatherer.outcome(change)
        if trouble := error or cancelled:
            raise trouble

    async def owner_of_task(self, task_id: str) -> str | None:
        """Return the id of the job that has this task; ``None`` when none has."""
        return await self.ask(lambda journal: journal.owner_of_task(task_id))

    async def ask(self, question: Callable[[Journal], T]) -> T:
        """Return what *question* finds in the journal, or writes there, between two commits."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, question, self._journal)

    async def close(self) -> None:
        """Wait for what is under way, and give the journal back to its owner, open."""
        self._closed = True
        try:
            await self._gatherer.finish()
        finally:
            self._writer.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _commit(self, changes: Sequence[Change]) -> Sequence[StorageError | None]:
        try:
            self._journal.record(changes)
        except StorageError as error:
            return [error] * len(changes)
        return [None] * len(changes)
