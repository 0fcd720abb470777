"""What a person or a program asked of one call beyond its manifests: the flags of ``run``, the settings of the API."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


@dataclass(frozen=True, slots=True)
class RunOptions:
    """All that was asked. By default a run goes on with what is left, at the real service, without further bounds."""

    retry_failed: bool = False
    rebuy: bool = False
    """Buy clips again whose content changed after they were paid."""
    resubmit_in_doubt: bool = False
    only: tuple[str, ...] | None = None
    """Patterns of job ids (``*``, ``?``, ``[…]``): no other job is submitted, and how the run ended is told of these.
    What is paid is still collected of all."""
    until_at: float | None = None
    """Submit nothing from this moment on (UTC epoch seconds)."""
    max_cost_micros: int | None = None
    max_jobs: int | None = None
    moved: bool = False
    """Go on in an output that was copied, moved or restored, whatever another copy of it does."""
    sandbox_speed: float | None = None
    """How many times as fast as the service the embedded sandbox is; ``None`` is the real service."""
    key_file: str | None = None
    ca_file: str | None = None
    """Certificate authorities to trust instead of the system's."""

    def chosen(self, ids: Collection[str]) -> frozenset[str] | None:
        """Return the ids that *only* chooses; ``None`` when all may be submitted."""
        return None if self.only is None else matching(ids, self.only)


def matching(ids: Collection[str], patterns: Iterable[str]) -> frozenset[str]:
    """Return the ids that match one of the patterns (``*``, ``?``, ``[…]``)."""
    return frozenset(job_id for pattern in patterns for job_id in fnmatch.filter(ids, pattern))
