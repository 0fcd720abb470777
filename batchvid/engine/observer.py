"""What a run tells to whoever watches it, and the watcher that says nothing.

A run that a program watches over: what a person must know goes to the program's own log.
"""

from __future__ import annotations

import logging
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.domain.job import Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.results import Snapshot, Summary


class Verbosity(IntEnum):
    """How much a person wants to read."""

    QUIET = -1
    """Problems and the summary."""
    NORMAL = 0
    VERBOSE = 1
    """Polls too."""


class View(Protocol):
    """Watches a run. Nothing here ever raises for the sake of its stream: paid work goes on unseen."""

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Tell that *event* was recorded for the job; *progress* is what came of it."""

    def stats(self, snapshot: Snapshot) -> None:
        """Show how the run stands; called often: the observer decides by ``elapsed_s`` when to show it."""

    def note(self, text: str) -> None:
        """Tell something that concerns the run and no single job."""

    def warn(self, text: str) -> None:
        """Tell something that a person must know, however little they want to read."""

    def summary(self, summary: Summary) -> None:
        """Return how the run ended. Nothing but `close` comes after it."""

    def close(self) -> None:
        """Return the terminal back. May be called more than once, and after any failure."""


class Silent:
    """A view for nobody: the Python API's, when the caller wants none."""

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Return nothing."""

    def stats(self, snapshot: Snapshot) -> None:
        """Return nothing."""

    def note(self, text: str) -> None:
        """Return nothing."""

    def warn(self, text: str) -> None:
        """Return nothing."""

    def summary(self, summary: Summary) -> None:
        """Return nothing."""

    def close(self) -> None:
        """Return nothing."""


class Several:
    """Some views that watch the same run: lines for people on stderr beside JSON on stdout."""

    def __init__(self, views: Sequence[View]) -> None:
        self._views = tuple(views)

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Pass it on."""
        for view in self._views:
            view.event(job_id, event, progress)

    def stats(self, snapshot: Snapshot) -> None:
        """Pass it on."""
        for view in self._views:
            view.stats(snapshot)

    def note(self, text: str) -> None:
        """Pass it on."""
        for view in self._views:
            view.note(text)

    def warn(self, text: str) -> None:
        """Pass it on."""
        for view in self._views:
            view.warn(text)

    def summary(self, summary: Summary) -> None:
        """Pass it on."""
        for view in self._views:
            view.summary(summary)

    def close(self) -> None:
        """Pass it on."""
        for view in self._views:
            view.close()


LOG = logging.getLogger("batchvid")


class Logged(Silent):
    """Logs warnings and notes as ``batchvid``, and says nothing else.

    A warning may hold a paid task id that could be written nowhere: where nobody set up logging, Python prints it.
    """

    def note(self, text: str) -> None:
        """Log it as information."""
        LOG.info("%s", text)

    def warn(self, text: str) -> None:
        """Log it as a warning."""
        LOG.warning("%s", text)
