"""A task at a service, as values: what a create request made, and what a look at it says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

TASK_ID_MAX = 2048
"""Known ids have 32 to 80 characters; a proxy that packs its own words into them makes several hundred."""


INTEGER_MAX = 2**63
"""An id that is a number comes out of a database."""


class Phase(StrEnum):
    """What a status word comes to."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNHEARD = "unheard"
    """A word that nobody listed: polled on until the deadline, and shown."""


@dataclass(frozen=True, slots=True)
class Created:
    """The service took a create request and named its task."""

    task_id: str
    resolved_model: str | None


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What a poll says of a task."""

    phase: Phase
    status: str
    """The service's own word, harmless to show."""
    progress_percent: float | None
    url: str | None
    url_expires_at: float | None
    resolved_model: str | None
    error: str | None
    other_id: str | None = None
    """The id that the answer gives the task, where it is not the one that was asked for: proxies rename tasks."""
    url_may_follow: bool = True
    """Whether a finished task without a URL may get one a little later."""

    @property
    def waits_for_url(self) -> bool:
        """Whether the next look may name the URL that is missing."""
        return self.url is None and self.url_may_follow


def id_text(value: Any) -> str | None:
    """Return *value* as a task's id, also where it is a number; ``None`` when it cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < INTEGER_MAX:
        return str(value)
    return value if isinstance(value, str) and usable_id(value) else None


def usable_id(task_id: str) -> bool:
    """Whether *task_id* can be one: printable, of sane length, and no path segment of dots."""
    return 0 < len(task_id) <= TASK_ID_MAX and task_id.isprintable() and task_id.strip(". ") != ""
