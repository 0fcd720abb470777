"""CometAPI's Veo route, and the gateways that speak it: up to two frames, told apart by their order alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from batchvid.domain import fingerprint
from batchvid.providers import payment, status
from batchvid.providers.base import Request, Vocabulary, form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.domain.job import Frame, Job
    from batchvid.domain.task import Created, Fault, TaskReport
    from batchvid.providers.response import NoResponse, Response

QUOTA = frozenset({"insufficient_user_quota", "pre_consume_token_quota_failed", "insufficient_quota"})
NO_CHANNEL = frozenset({"model_not_found", "get_channel_failed"})
WORDS = Vocabulary(
    quota=QUOTA,
    no_channel=NO_CHANNEL,
    no_task=frozenset({"task_not_exist", "task_not_found"}),
    before_work=QUOTA | NO_CHANNEL | {"invalid_request"},
    is_flat_403_quota=True,
)


class CometAPI:
    """The provider ``cometapi``."""

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
        return payment.read_create(result, WORDS, now=now, frames=frames, known=known)

    def poll(self, task_id: str) -> Request:
        """Return the question how a task stands."""
        return Request("GET", f"/videos/{quote(task_id, safe='')}")

    def read_poll(self, result: Response | NoResponse, *, task_id: str, now: float) -> TaskReport | Fault:
        """Return how the task stands."""
        return status.read_poll(result, WORDS, task_id=task_id, now=now)

    def content(self, task_id: str) -> Request:
        """Return the request for the clip through the gateway, which brings it from where it is."""
        return Request("GET", f"/videos/{quote(task_id, safe='')}/content")

    def read_refused_download(self, response: Response, *, now: float) -> Fault:
        """Return what an answer in place of a clip means."""
        return status.read_refused_download(response, now=now)

    def hello(self) -> Request:
        """Return the question for the models."""
        return Request("GET", "/models")
