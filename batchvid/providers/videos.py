"""The calls below ``/v1/videos`` that CometAPI's route and OpenAI's have in common; a provider adds its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from batchvid.domain import fingerprint
from batchvid.providers import payment, status
from batchvid.providers.base import Request, form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.domain.job import Frame, Job
    from batchvid.domain.task import Created, Fault, TaskReport
    from batchvid.providers.base import Vocabulary
    from batchvid.providers.response import NoResponse, Response


class VideosAPI:
    """A `Provider` with these calls; *words* are the service's."""

    def __init__(self, words: Vocabulary) -> None:
        self._words = words

    def sent_fields(self, job: Job) -> list[tuple[str, str]]:
        """Return what the manifest says, under its names."""
        return fingerprint.fields(prompt=job.prompt, model=job.model, size=job.size, seconds=job.seconds, form=job.form)

    def create(self, job: Job, frames: Sequence[bytes], *, boundary: str) -> Request:
        """Return a form with every frame, the first one first."""
        files = [(frame.mime, data) for frame, data in zip(job.frames, frames, strict=True)]
        return form(self.sent_fields(job), files, path="/videos", boundary=boundary)

    def read_create(
        self, result: Response | NoResponse, *, now: float, frames: Sequence[Frame] = (), known: bool = False
    ) -> Created | Fault:
        """Return what became of a paid request."""
        return payment.read_create(result, self._words, now=now, frames=frames, known=known)

    def poll(self, task_id: str) -> Request:
        """Return the question how a task stands."""
        return Request("GET", f"/videos/{quote(task_id, safe='')}")

    def read_poll(self, result: Response | NoResponse, *, task_id: str, now: float) -> TaskReport | Fault:
        """Return how the task stands."""
        return status.read_poll(result, self._words, task_id=task_id, now=now)

    def content(self, task_id: str) -> Request:
        """Return the request for the clip at the service, which has it or brings it from where it is."""
        return Request("GET", f"/videos/{quote(task_id, safe='')}/content")

    def read_refused_download(self, response: Response, *, now: float) -> Fault:
        """Return what an answer in place of a clip means."""
        return status.read_refused_download(response, self._words, now=now)

    def explain(self, answer: Response, *, task_id: str | None) -> list[str]:
        """Return what is read out of an answer, and where it stands."""
        if task_id is None:
            return [f"create: {line}" for line in payment.explained(answer, self._words)]
        return [f"poll: {line}" for line in status.explained(answer, self._words, task_id=task_id)]

    def hello(self) -> Request:
        """Return the question for the models."""
        return Request("GET", "/models")
