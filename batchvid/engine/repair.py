"""Fetches damaged or missing clips again from their paid tasks, and asks how tasks stand. It cannot submit."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError, ForeignFileError, ServiceError
from batchvid.domain.records import sidecar
from batchvid.domain.task import Fault, FaultKind, Phase
from batchvid.engine.rate_limit import Pace
from batchvid.engine.steps import fetch_clip, poll
from batchvid.providers.base import source_of
from batchvid.providers.http import Service
from batchvid.storage.threads import settled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchvid.domain.job import Job, Progress
    from batchvid.domain.lifecycle import ClipSaved
    from batchvid.domain.limits import Rate
    from batchvid.domain.task import TaskReport
    from batchvid.engine.target import Account
    from batchvid.providers.base import Provider
    from batchvid.storage.base import ClipStore


class Repairer:
    """Fetches clips of one output again."""

    def __init__(self, clips: ClipStore, provider: Provider, *, account: Account) -> None:
        self._clips = clips
        self._provider = provider
        self._account = account
        self.replaced: list[tuple[str, ClipSaved]] = []
        """The jobs for which the service sent another file than the one that was saved first, and what that is."""

    async def fetch_again(self, wanted: Iterable[tuple[Job, Progress]]) -> dict[str, str]:
        """Fetch these clips again, one after the other, and return what is still wrong, by job id.

        What lies under a clip's name is kept beside it, with the attempt's number.
        """
        wrong = {}
        account = self._account
        async with Service(account.base_url, account.key, network=account.network) as service:
            for job, row in wanted:
                reason = await self._fetch_one(service, job, row)
                if reason is not None:
                    wrong[job.id] = f"{row.path} could not be repaired: {reason}"
        return wrong

    async def _fetch_one(self, service: Service, job: Job, row: Progress) -> str | None:
        task_id, path = row.task_id or "", row.path or ""
        report = await poll(service, self._provider, task_id, wall=time.time)
        if isinstance(report, Fault):
            return str(report)
        if report.phase is not Phase.SUCCEEDED:
            return f"the service says {report.status!r} of task {task_id}"
        if trouble := await settled(partial(self._clips.name_trouble, path)):
            return f"{trouble}; or let batchvid run keep it under another name"
        # The sidecar was written when the clip was fetched first, and all was known best.
        known = await settled(partial(self._clips.sidecar, path))
        if known.get("task_id") != task_id:
            known = sidecar(job, row)
        try:
            await settled(partial(self._clips.retire, path, row.attempt))
            source = source_of(self._provider, task_id, report.url)
            async with self._clips.part(path, source=task_id) as part:
                outcome = await fetch_clip(service, self._provider, part, source=source, sidecar=known, wall=time.time)
        except ForeignFileError as error:
            return str(error)
        if isinstance(outcome, Fault):
            return str(outcome)
        if outcome.sha256 != row.sha256:
            self.replaced.append((job.id, outcome))
            return "the service sends another file now than the one that was saved first; it is complete, and kept"
        return None


ASKED_AT_MOST = 3
"""Times, when the service is too busy or away for a moment: a person waits for the answer."""
WAIT_S = 2.0
WAIT_AT_MOST_S = 30.0


async def ask_for(
    task_ids: Iterable[str],
    provider: Provider,
    *,
    account: Account,
    pace: Rate | None,
) -> dict[str, TaskReport | Fault]:
    """Return what the service says of each task; a `Fault` says that it does not know the task.

    Raises `ServiceError` when it cannot be asked, and `ConfigError` when it refuses the key or is not the service.
    """
    limit = Pace(pace)
    said: dict[str, TaskReport | Fault] = {}
    async with Service(account.base_url, account.key, network=account.network) as service:
        for task_id in task_ids:
            said[task_id] = await _ask(service, provider, task_id, limit)
    return said


async def _ask(service: Service, provider: Provider, task_id: str, limit: Pace) -> TaskReport | Fault:
    times_left = ASKED_AT_MOST
    while True:
        times_left -= 1
        await limit.acquire()
        answer = await poll(service, provider, task_id, wall=time.time)
        if not isinstance(answer, Fault) or answer.kind is FaultKind.UNKNOWN_TASK:
            return answer
        if answer.kind in {FaultKind.ACCOUNT, FaultKind.MISCONFIGURED}:
            raise ConfigError(f"the service could not be asked for task {task_id}: {answer}")
        if not times_left or answer.kind not in {FaultKind.THROTTLED, FaultKind.UNAVAILABLE}:
            raise ServiceError(f"the service could not be asked for task {task_id}: {answer}")
        await asyncio.sleep(min(answer.retry_after_s or WAIT_S, WAIT_AT_MOST_S))
