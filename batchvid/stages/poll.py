"""The poll stage: one look at one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from batchvid.core.wire import read_poll, task_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchvid.core.answer import Answer, NoAnswer
    from batchvid.core.fault import Fault
    from batchvid.core.wire import TaskReport


class Gets(Protocol):
    """What can ask for something that costs nothing."""

    async def get(self, path: str) -> Answer | NoAnswer:
        """Ask once."""


async def poll(service: Gets, task_id: str, *, wall: Callable[[], float]) -> TaskReport | Fault:
    """Ask how the task stands."""
    result = await service.get(task_path(task_id))
    return read_poll(result, task_id=task_id, now=wall())
