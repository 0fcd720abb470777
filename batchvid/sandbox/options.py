"""How a sandbox is to be started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from batchvid.sandbox.world import DEFAULT_KEY, Terms

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of a sandbox."""

    port: int = 0
    """Of the API; 0 takes any free one. The file host always takes any."""
    host: str = "127.0.0.1"
    key: str = DEFAULT_KEY
    speed: float = 1.0
    """How many times faster than the service clips are made."""
    seed: int = 1
    faults_path: Path | None = None
    state_dir: Path | None = None
    """Where tasks and ledger outlive a restart; without it they end with the sandbox."""
    rate_per_minute: int | None = None
    """How many creates it takes within any minute; above that it answers 429."""
    grace_s: float = 0.0
    """How long a fresh id is not found yet."""
    url_life_s: float = 3600.0
    clip: Literal["full", "tiny"] = "full"
    """``tiny``: one very small clip for all jobs of a shape, for load tests."""
    latency_s: float = 0.0
    """Before every answer."""

    @property
    def terms(self) -> Terms:
        """Give what the world needs to know."""
        return Terms(
            key=self.key,
            seed=self.seed,
            speed=self.speed,
            rate_per_minute=self.rate_per_minute,
            grace_s=self.grace_s,
            url_life_s=self.url_life_s,
        )
