"""Fetches damaged or missing clips again from the tasks that were paid for them; it cannot submit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batchvid.core.fault import Fault
from batchvid.core.story import sidecar
from batchvid.core.wire import Phase, content_path
from batchvid.edge.outputs import ForeignFileError
from batchvid.edge.service import Service
from batchvid.stages.download import download
from batchvid.stages.poll import poll

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchvid.core.job import Job, Progress
    from batchvid.core.lifecycle import ClipSaved
    from batchvid.edge.outputs import Outputs


class Mender:
    """Fetches clips of one output again."""

    def __init__(self, outputs: Outputs, *, base_url: str, key: str, ca_file: str | None) -> None:
        self._outputs = outputs
        self._base_url = base_url
        self._key = key
        self._ca_file = ca_file
        self.replaced: list[tuple[str, ClipSaved]] = []
        """The jobs for which the service sent another file than the one that was saved first, and what that is."""

    async def mend(self, wanted: Iterable[tuple[Job, Progress]]) -> dict[str, str]:
        """Fetch these clips again, one after the other; give what is still wrong, by job id.

        What lies under a clip's name is kept beside it, with the attempt's number.
        """
        wrong = {}
        async with Service(self._base_url, self._key, ca_file=self._ca_file) as service:
            for job, row in wanted:
                reason = await self._mend_one(service, job, row)
                if reason is not None:
                    wrong[job.id] = f"{row.path} could not be repaired: {reason}"
        return wrong

    async def _mend_one(self, service: Service, job: Job, row: Progress) -> str | None:
        task_id, path = row.task_id or "", row.path or ""
        report = await poll(service, task_id, wall=time.time)
        if isinstance(report, Fault):
            return str(report)
        if report.phase is not Phase.SUCCEEDED:
            return f"the service says {report.status!r} of task {task_id}"
        # The story was told when the clip was fetched first, and known best then.
        story = await self._outputs.story(path)
        if story.get("task_id") != task_id:
            story = sidecar(job, row)
        try:
            await self._outputs.retire(path, row.attempt)
            outcome = await download(
                service,
                self._outputs,
                path=path,
                task_id=task_id,
                source=report.url or content_path(task_id),
                sidecar=story,
                wall=time.time,
            )
        except ForeignFileError as error:
            return str(error)
        if isinstance(outcome, Fault):
            return str(outcome)
        if outcome.sha256 != row.sha256:
            self.replaced.append((job.id, outcome))
            return "the service sends another file now than the one that was saved first; it is complete, and kept"
        return None
