"""OpenAI's ``/v1/videos``, as LiteLLM, vLLM-Omni and SGLang serve it too: clips are behind the service.

The request is the form that OpenAI's SDK sends, with a frame or without: every one of these servers reads it, and
vLLM-Omni reads nothing else. (Old SGLangs refuse one without a frame, free.) Many of them keep the last of two frames,
and begin the clip with it: the manifest says which service may be sent two (``service.frames``).
A clip has no URL as a rule, so a finished one is asked for at once. Where a server names a URL, it is used first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.domain.task import TaskReport
from batchvid.providers.base import Vocabulary
from batchvid.providers.videos import VideosAPI

if TYPE_CHECKING:
    from batchvid.domain.task import Fault
    from batchvid.providers.response import NoResponse, Response

WORDS = Vocabulary(
    quota=frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "budget_exceeded"}),
    bad_key=frozenset({"invalid_api_key", "no_db_connection"}),  # LiteLLM without a database says the second one
    no_task=frozenset({"video_not_found", "not_found"}),
)
"""No 5xx proves anything here: what stands before a model, or calls one, answers so after the work, too."""


class OpenAI(VideosAPI):
    """The provider ``openai``."""

    def __init__(self) -> None:
        super().__init__(WORDS)

    def read_poll(self, result: Response | NoResponse, *, task_id: str, now: float) -> TaskReport | Fault:
        """Return how the task stands; no URL is waited for."""
        report = super().read_poll(result, task_id=task_id, now=now)
        return replace(report, url_may_follow=False) if isinstance(report, TaskReport) else report
