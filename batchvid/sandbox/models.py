"""The models that the sandbox offers: which contract each follows, how its tasks answer, how long it takes, its price.

Aliases, resolved names and the prices of ``veo3-fast``, ``veo3.1`` and ``veo3.1-fast`` are those seen at the service in
2026; the other prices are made up. Each alias answers in another of the shapes that were seen, so that a run over
several models meets them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

HINTS = {"16x9": (640, 360), "9x16": (360, 640)}
"""Contract 1 takes an orientation; the sandbox draws small clips for it."""
PIXELS = {
    "1280x720": (1280, 720),
    "720x1280": (720, 1280),
    "1920x1080": (1920, 1080),
    "3840x2160": (3840, 2160),
}
"""Contract 2 takes pixels."""
LENGTHS_S = {"4": 4, "6": 6, "8": 8}


class Shape(StrEnum):
    """Where a finished task holds its clip's URL."""

    VIDEO_URL = "video_url"
    OUTPUT = "output.url"
    METADATA = "metadata.url"
    WRAPPED = "the wrapped form, in fail_reason"
    CONTENT_ONLY = "nowhere: the clip is at /content alone"


@dataclass(frozen=True, slots=True)
class Model:
    """One alias."""

    alias: str
    resolved: str
    """What answers call it."""
    contract: int
    """1: an orientation, up to two frames, always 8 s. 2: pixels, 4, 6 or 8 s, up to one frame."""
    shape: Shape
    typical_s: float
    """The median time that a clip of 8 s takes."""
    usd: float
    per_second: bool = False

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Give the allowed sizes, the default first, with the pixels that are drawn."""
        return HINTS if self.contract == 1 else PIXELS

    @property
    def frames_most(self) -> int:
        """Give how many frames a create may bring."""
        return 2 if self.contract == 1 else 1

    def price_usd(self, seconds: int) -> float:
        """Give what one clip is billed."""
        return round(self.usd * seconds, 4) if self.per_second else self.usd


DEFAULT_MODEL = "veo3-fast"
MODELS = {
    model.alias: model
    for model in (
        Model("veo3-fast", "veo_3_1-fast", 1, Shape.VIDEO_URL, 60, 0.40),
        Model("veo3", "veo_3_1", 1, Shape.OUTPUT, 90, 1.20),
        Model("veo3-pro", "veo_3_1-4K", 1, Shape.WRAPPED, 110, 2.00),
        Model("veo3.1-fast", "veo-3.1-fast-generate-preview", 2, Shape.VIDEO_URL, 60, 0.10, per_second=True),
        Model("veo3.1", "veo-3.1-generate-preview", 2, Shape.METADATA, 90, 0.40, per_second=True),
        Model("veo3.1-pro", "veo-3.1-generate-preview", 2, Shape.CONTENT_ONLY, 110, 0.60, per_second=True),
    )
}
