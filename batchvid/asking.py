"""Asks the service for tasks, one free request each; it cannot submit."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from batchvid.core.fault import Fault, FaultKind
from batchvid.edge.pace import Pace
from batchvid.edge.service import Service
from batchvid.errors import ConfigError, ServiceError
from batchvid.stages.poll import poll

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchvid.core.settings import Rate
    from batchvid.core.wire import TaskReport

ASKED_AT_MOST = 3
"""Times, when the service is too busy or away for a moment: a person waits for the answer."""
WAIT_S = 2.0
WAIT_AT_MOST_S = 30.0


async def ask_for(
    task_ids: Iterable[str], *, base_url: str, key: str, ca_file: str | None, pace: Rate | None
) -> dict[str, TaskReport | Fault]:
    """Return what the service says of each task; a `Fault` says that it does not know the task.

    Raises `ServiceError` when it cannot be asked, and `ConfigError` when it refuses the key or is not the service.
    """
    limit = Pace(pace)
    said: dict[str, TaskReport | Fault] = {}
    async with Service(base_url, key, ca_file=ca_file) as service:
        for task_id in task_ids:
            said[task_id] = await _ask(service, task_id, limit)
    return said


async def _ask(service: Service, task_id: str, limit: Pace) -> TaskReport | Fault:
    times_left = ASKED_AT_MOST
    while True:
        times_left -= 1
        await limit.acquire()
        answer = await poll(service, task_id, wall=time.time)
        if not isinstance(answer, Fault) or answer.kind is FaultKind.UNKNOWN_TASK:
            return answer
        if answer.kind in {FaultKind.ACCOUNT, FaultKind.MISCONFIGURED}:
            raise ConfigError(f"the service could not be asked for task {task_id}: {answer}")
        if not times_left or answer.kind not in {FaultKind.THROTTLED, FaultKind.UNAVAILABLE}:
            raise ServiceError(f"the service could not be asked for task {task_id}: {answer}")
        await asyncio.sleep(min(answer.retry_after_s or WAIT_S, WAIT_AT_MOST_S))
