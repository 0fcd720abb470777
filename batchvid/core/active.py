"""A job that something has happened to, as one run keeps it in mind, and the kinds of step that it can take."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from batchvid.core.job import State
from batchvid.core.policy import Tally

if TYPE_CHECKING:
    from batchvid.core.job import Progress
    from batchvid.core.lifecycle import Reopened


class Step(StrEnum):
    """The three kinds of work, most urgent first."""

    DOWNLOAD = "download"
    POLL = "poll"
    SUBMIT = "submit"


@dataclass(slots=True)
class Active:
    """A job that something has happened to: its progress, and what this run keeps in mind about it."""

    progress: Progress
    tally: Tally = field(default_factory=Tally)
    started: bool = False
    """Whether this run has submitted it."""
    task_from: float = 0.0
    """When its task began, on the monotonic clock."""
    deadline: float = 0.0
    """When its task counts as timed out."""
    looked: float | None = None
    """When it was last polled by this run."""
    held: bool = False
    """Whether its price is reserved: the newest attempt is neither refused nor over."""
    sends: int = 0
    """How many paid requests this run has sent for it, whatever became of them."""
    accepted_before: int = 0
    """How many requests the service had accepted when it last refused this job."""
    other_source: bool = False
    """Whether the next transfer goes to ``/content`` although a URL is known, because that brought no clip."""
    reopening: tuple[Reopened, ...] = ()
    """The event that opens a closed job or a doubt again. It is recorded together with the job's next paid request:
    what a run does not come to stays as it was, however the run ends."""

    @property
    def wants_submit(self) -> bool:
        """Whether a paid request is its next step."""
        return bool(self.reopening) or self.progress.state is State.PENDING

    @property
    def has_succeeded(self) -> bool:
        """Whether its task was over well once: its clip can only be fetched, and is never bought again."""
        return self.progress.state in {State.RUNNING, State.READY} and not self.held
