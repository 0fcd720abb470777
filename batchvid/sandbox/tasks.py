"""A task of the sandbox: what was ordered, how long it takes, where it stands, and what it is billed."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORTEST_S, LONGEST_S = 11.0, 360.0
"""What clients have seen: 11 s to 6 min."""
SPREAD = NormalDist(0.0, 0.45)
"""Of the logarithm of a generation time around its model's typical time."""
QUEUED_SHARE = 0.15
"""Of its time, a task waits first."""
LARGE_PIXELS = 3840 * 2160
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Model:
    """One model that a service offers."""

    alias: str
    resolved: str
    """What answers call it."""
    typical_s: float
    """The median time that a clip of 8 s takes."""
    usd: float
    sizes: Mapping[str, tuple[int, int]]
    """The allowed sizes, the default first, with the pixels that are drawn."""
    per_second: bool = False
    usd_of_size: Mapping[str, float] = field(default_factory=dict)
    """The price of the sizes that cost more."""

    def price_usd(self, seconds: int, size: str) -> float:
        """Return what one clip is billed."""
        usd = self.usd_of_size.get(size, self.usd)
        return round(usd * seconds, 4) if self.per_second else usd


@dataclass(frozen=True, slots=True)
class Order:
    """A valid create request; only an order is billed."""

    model: Model
    prompt: str
    fields: Mapping[str, str]
    """Every text field as it was sent."""
    frames: tuple[bytes, ...]
    """First, last."""
    size: str
    seconds: int
    """Of the clip that will be made."""

    @property
    def frame_hashes(self) -> tuple[str, ...]:
        """The SHA-256 of each frame, in the order of the upload."""
        return tuple(hashlib.sha256(frame).hexdigest() for frame in self.frames)

    @property
    def pixels(self) -> tuple[int, int]:
        """The width and height of the clip that will be made."""
        return self.model.sizes[self.size]


@dataclass(frozen=True, slots=True)
class ClipOrder:
    """Everything that a clip depends on."""

    prompt: str
    width: int
    height: int
    seconds: int
    seed: int
    frames: tuple[bytes, ...] = ()
    """First, last."""
    frame_hashes: tuple[str, ...] = ()


class Stage(StrEnum):
    """Where a task stands; the value is the status word of a plain answer."""

    QUEUED = "queued"
    RUNNING = "in_progress"
    DONE = "completed"
    FAILED = "failed"


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
    deleted: bool = False
    url: str | None = None
    """The last one issued."""
    url_expires_at: float = 0.0
    """Of the URL; where a service issues none, of the clip."""

    @property
    def told_id(self) -> str | int:
        """The id as answers tell it."""
        return int(self.task_id) if self.numbered else self.task_id

    def stage(self, now: float, *, rendered: bool) -> Stage:
        """Return where it stands; it cannot be done before its clip is *rendered*."""
        age_s = now - self.created_at
        if self.never or age_s < self.took_s * QUEUED_SHARE:
            return Stage.QUEUED
        if age_s < self.took_s:
            return Stage.RUNNING
        if self.fail is not None:
            return Stage.FAILED
        return Stage.DONE if rendered else Stage.RUNNING

    def progress(self, now: float) -> int:
        """Return the percentage that an unfinished task reports."""
        share = (now - self.created_at) / self.took_s if self.took_s else 1.0
        return max(0, min(99, int(100 * (share - QUEUED_SHARE) / (1 - QUEUED_SHARE))))

    def ledger_line(self) -> dict[str, Any]:
        """Return the line of the ledger: what was sent, and what it is billed."""
        return {
            "n": self.n,
            "at": self.created_at,
            "task_id": self.task_id,
            "prompt": self.prompt,
            "fields": dict(self.fields),
            "frames": list(self.frame_hashes),
            "model": self.model.alias,
            "billed": True,
            "price": self.model.price_usd(self.seconds, self.size),
        }


def generation_s(seed: int, n: int, *, model: Model, seconds: int, pixels: tuple[int, int]) -> float:
    """Draw how long the *n*-th task takes on the service, from the model's typical time and the clip's size."""
    chance = (int.from_bytes(draw(f"time:{seed}:{n}")[:7]) + 1) / (2**56 + 1)
    typical_s = model.typical_s * (0.5 + seconds / 16) * (1.5 if pixels[0] * pixels[1] >= LARGE_PIXELS else 1.0)
    return min(LONGEST_S, max(SHORTEST_S, typical_s * math.exp(SPREAD.inv_cdf(chance))))


def letters(what: str, count: int) -> str:
    """Draw *count* letters and digits that *what* decides."""
    number = int.from_bytes(draw(what))
    return "".join(_BASE62[number // 62**place % 62] for place in range(count))


def draw(what: str) -> bytes:
    """Return 32 bytes that *what* decides."""
    return hashlib.sha256(what.encode()).digest()
