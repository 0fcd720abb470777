"""A paid request in doubt: what is known of it, and what its answer shows of a task that it may have made."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from batchvid.core.wire import TASK_ID_MAX, usable_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchvid.core.job import Job

SHOWN_AT_MOST = 5
"""Ids of one answer: a page of something else may hold hundreds of words that look like one."""
WORDS = re.compile(
    r"""
      \btask\ ['"]?(?P<named>[^\s'",;]+?)['"]?\ was\ named      # the words of the reason
    | "task_?id"\s*:\s*"?(?P<task>[^"\\\s,}\]]+)                # JSON, also cut off: the task's own field
    | "id"\s*:\s*"?(?P<id>[^"\\\s,}\]]+)                        # the field that most things have
    | /videos/(?P<path>[^\s"'<>?\#/&;,)]+)                      # the path of a task, in a link or a Location
    | \b(?P<bare>(?:task|video)_[A-Za-z0-9_-]{6,})              # as this service forms its ids
    """,
    re.VERBOSE | re.IGNORECASE,
)
RANKS = ("named", "task", "path", "bare", "id")
"""The surest first: ``id`` may be that of anything."""
NO_IDS = {"null", "none", "true", "false", "content"}


@dataclass(frozen=True, slots=True)
class Doubt:
    """One paid request of which nobody knows whether it made a task."""

    job_id: str
    attempt: int
    sent_at: float
    """When it left, in UTC epoch seconds."""
    price_micros: int | None
    reason: str
    request_id: str | None
    """What the service's support asks for."""
    seen_ids: tuple[str, ...]
    """Ids in the answer that may be those of the task, the surest first."""
    prompt: str = ""
    model: str = ""

    def of(self, job: Job) -> Doubt:
        """Return it with what the manifest says of the job."""
        return replace(self, prompt=job.prompt, model=job.model)


def doubts_of(jobs: Iterable[Job], doubts: Mapping[str, Doubt]) -> list[Doubt]:
    """Return the doubts of these jobs, in their order, each with its prompt."""
    return [doubts[job.id].of(job) for job in jobs if job.id in doubts] if doubts else []


def seen_ids(raw: bytes, reason: str) -> tuple[str, ...]:
    """Return what may be the id of a task in a request's *reason* and its kept answer *raw*, the surest first."""
    found: dict[str, int] = {}
    for text in (reason, raw.decode("utf-8", "replace")):
        for match in WORDS.finditer(text):
            kind = match.lastgroup or ""
            task_id = unquote(match[kind]) if kind == "path" else match[kind]
            if usable_id(task_id) and len(task_id) <= TASK_ID_MAX and task_id.lower() not in NO_IDS:
                found[task_id] = min(found.get(task_id, len(RANKS)), RANKS.index(kind))
    return tuple(sorted(found, key=found.__getitem__))[:SHOWN_AT_MOST]
