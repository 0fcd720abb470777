"""A task of the sandbox, and how it tells of itself: staged statuses, in each of the forms that were seen."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from batchvid.sandbox.models import Model, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORTEST_S, LONGEST_S = 11.0, 360.0
"""What clients have seen: 11 s to 6 min."""
SPREAD = NormalDist(0.0, 0.45)
"""Of the logarithm of a generation time around its model's typical time."""
QUEUED_SHARE = 0.15
"""Of its time, a task waits first."""
FIRST_NUMBER = 7_000_000_000
LARGE_PIXELS = 3840 * 2160
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Stage(StrEnum):
    """Where a task stands; the value is the status word of the plain form."""

    QUEUED = "queued"
    RUNNING = "in_progress"
    DONE = "completed"
    FAILED = "failed"


WRAPPED_WORDS = {
    Stage.QUEUED: "NOT_START",
    Stage.RUNNING: "IN_PROGRESS",
    Stage.DONE: "SUCCESS",
    Stage.FAILED: "FAILURE",
}


@dataclass(slots=True)
class Task:
    """One accepted create, and what has become of it."""

    n: int
    """Its line in the ledger, from 1."""
    task_id: str
    created_at: float
    took_s: float
    """How long it takes from its creation to its end."""
    model: Model
    prompt: str
    fields: Mapping[str, str]
    frame_hashes: tuple[str, ...]
    size: str
    seconds: int
    fail: str | None = None
    """Why it ends, or has ended, as failed."""
    never: bool = False
    numbered: bool = False
    """Whether its id is told as a number."""
    forgotten: bool = False
    url: str | None = None
    """The last one issued."""
    url_expires_at: float = 0.0

    @property
    def told_id(self) -> str | int:
        """Return the id as answers tell it."""
        return int(self.task_id) if self.numbered else self.task_id

    def stage(self, now: float, *, rendered: bool) -> Stage:
        """Say where it stands; it cannot be done before its clip is *rendered*."""
        age_s = now - self.created_at
        if self.never or age_s < self.took_s * QUEUED_SHARE:
            return Stage.QUEUED
        if age_s < self.took_s:
            return Stage.RUNNING
        if self.fail is not None:
            return Stage.FAILED
        return Stage.DONE if rendered else Stage.RUNNING

    def progress(self, now: float) -> int:
        """Give the percentage that an unfinished task reports."""
        share = (now - self.created_at) / self.took_s if self.took_s else 1.0
        return max(0, min(99, int(100 * (share - QUEUED_SHARE) / (1 - QUEUED_SHARE))))

    def ledger_line(self) -> dict[str, Any]:
        """Give the line of the ledger: what was sent, and what it is billed."""
        return {
            "n": self.n,
            "at": self.created_at,
            "task_id": self.task_id,
            "prompt": self.prompt,
            "fields": dict(self.fields),
            "frames": list(self.frame_hashes),
            "model": self.model.alias,
            "billed": True,
            "price": self.model.price_usd(self.seconds),
        }


def task_id(seed: int, n: int) -> str:
    """Give the id of the *n*-th task, in the service's style."""
    number = int.from_bytes(_draw(f"id:{seed}:{n}"))
    return "task_" + "".join(_BASE62[number // 62**place % 62] for place in range(32))


def number_id(n: int) -> str:
    """Return the id of the *n*-th task where ids are numbers: beyond 32 bits, as a database's may be."""
    return str(FIRST_NUMBER + n)


def generation_s(seed: int, n: int, *, model: Model, seconds: int, pixels: tuple[int, int]) -> float:
    """Draw how long the *n*-th task takes on the service, from the model's typical time and the clip's size."""
    chance = (int.from_bytes(_draw(f"time:{seed}:{n}")[:7]) + 1) / (2**56 + 1)
    typical_s = model.typical_s * (0.5 + seconds / 16) * (1.5 if pixels[0] * pixels[1] >= LARGE_PIXELS else 1.0)
    return min(LONGEST_S, max(SHORTEST_S, typical_s * math.exp(SPREAD.inv_cdf(chance))))


def created_form(task: Task) -> dict[str, Any]:
    """Give the answer to the create."""
    found = {
        "created_at": int(task.created_at),
        "id": task.told_id,
        "model": task.model.resolved,
        "object": "video",
        "progress": 0,
        "seconds": "" if task.model.contract == 1 else str(task.seconds),
        "size": task.size,
        "status": "queued",
    }
    return found if task.model.contract == 1 else {**found, "task_id": task.told_id}


def plain_form(task: Task, stage: Stage, *, now: float, shape: Shape) -> dict[str, Any]:
    """Give a poll's answer in the plain form; a URL only when the task has one."""
    found = {**created_form(task), "status": stage.value, "progress": task.progress(now)}
    if stage is Stage.QUEUED:
        return {**found, "progress": 0}
    if stage is Stage.FAILED:
        error = {"message": task.fail or "generation failed", "code": "generation_failed"}
        return {**found, "progress": 100, "error": error, "completed_at": int(now)}
    if stage is Stage.DONE:
        found |= {"progress": 100, "completed_at": int(task.created_at + task.took_s)}
        if task.model.contract != 1 and task.url:
            found["expires_at"] = int(task.url_expires_at)
        match shape:
            case Shape.OUTPUT:
                found["output"] = {"url": task.url}
            case Shape.METADATA:
                found["metadata"] = {"url": task.url}
            case Shape.CONTENT_ONLY:
                found["video_url"] = None
            case _:
                found["video_url"] = task.url
    return found


def wrapped_form(task: Task, stage: Stage, *, now: float) -> dict[str, Any]:
    """Give a poll's answer in the wrapped form: the URL of a clip, or what went wrong, stands in ``fail_reason``."""
    ended = stage in {Stage.DONE, Stage.FAILED}
    reason = {Stage.DONE: task.url or "", Stage.FAILED: task.fail or ""}.get(stage, "")
    percent = {Stage.QUEUED: 0, Stage.RUNNING: task.progress(now)}.get(stage, 100)
    data = {
        "task_id": task.told_id,
        "status": WRAPPED_WORDS[stage],
        "progress": f"{percent}%",
        "submit_time": int(task.created_at),
        "start_time": int(task.created_at + task.took_s * QUEUED_SHARE),
        "finish_time": int(now) if ended else 0,
        "fail_reason": reason,
        "data": {"model": task.model.resolved, "size": task.size},
    }
    return {"code": "success", "message": "", "data": data}


def _draw(what: str) -> bytes:
    return hashlib.sha256(what.encode()).digest()
