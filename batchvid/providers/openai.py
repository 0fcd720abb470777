"""OpenAI's ``/v1/videos``, as LiteLLM, vLLM-Omni and SGLang serve it too: one frame, and clips behind the service.

The request is the form that OpenAI's SDK sends, with a frame or without: every one of these servers reads it, and
vLLM-Omni reads nothing else. (Old SGLangs refuse one without a frame, free.)
A clip has no URL as a rule, so a finished one is asked for at once. Where a server names a URL, it is used first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from batchvid.domain import fingerprint
from batchvid.domain.task import TaskReport
from batchvid.providers import payment, status
from batchvid.providers.base import Request, Vocabulary, form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.domain.job import Frame, Job
    from batchvid.domain.task import Created, Fault
    from batchvid.providers.response import NoResponse, Response

WORDS = Vocabulary(
    quota=frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "budget_exceeded"}),
    no_task=frozenset({"video_not_found", "not_found"}),
)
"""No 5xx proves anything here: what stands before a model, or calls one, answers so after the work, too."""


class OpenAI:
    """The provider ``openai``."""

    def sent_fields(self, job: Job) -> list[tuple[str, str]]:
        """Return what the manifest says, under its names, which are OpenAI's."""
        return fingerprint.fields(prompt=job.prompt, model=job.model, size=job.size, seconds=job.seconds, form=job.form)

    def create(self, job: Job, frames: Sequence[bytes], *, boundary: str) -> Request:
        """Return a form with the first frame.

        Raises ValueError for a second one: servers keep the last of two, and begin the clip with it.
        """
        if len(frames) > 1:
            raise ValueError("a last frame cannot be sent to this service: remove it")
        files = [(frame.mime, data) for frame, data in zip(job.frames, frames, strict=True)]
        return form(self.sent_fields(job), files, path="/videos", boundary=boundary)

    def read_create(
        self, result: Response | NoResponse, *, now: float, frames: Sequence[Frame] = (), known: bool = False
    ) -> Created | Fault:
        """Return what became of a paid request."""
        return payment.read_create(result, WORDS, now=now, frames=frames, known=known)

    def poll(self, task_id: str) -> Request:
        """Return the question how a task stands."""
        return Request("GET", f"/videos/{quote(task_id, safe='')}")

    def read_poll(self, result: Response | NoResponse, *, task_id: str, now: float) -> TaskReport | Fault:
        """Return how the task stands; no URL is waited for."""
        report = status.read_poll(result, WORDS, task_id=task_id, now=now)
        return replace(report, url_may_follow=False) if isinstance(report, TaskReport) else report

    def content(self, task_id: str) -> Request:
        """Return the request for the clip."""
        return Request("GET", f"/videos/{quote(task_id, safe='')}/content")

    def read_refused_download(self, response: Response, *, now: float) -> Fault:
        """Return what an answer in place of a clip means."""
        return status.read_refused_download(response, now=now)

    def hello(self) -> Request:
        """Return the question for the models."""
        return Request("GET", "/models")
