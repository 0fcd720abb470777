"""Who watches a run: what is told to them, and those that tell nobody, several others, or a program's own log."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from logging import Logger

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


class Observer(Protocol):
    """Watches a run; a class that inherits from it does nothing where it says nothing else.

    Nothing here ever raises for the sake of its stream: paid work goes on unseen.
    """

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Tell that *event* was recorded for the job; *progress* is what came of it."""
        return

    def stats(self, snapshot: Snapshot) -> None:
        """Show how the run stands; called often: the observer decides by ``elapsed_s`` when to show it."""
        return

    def note(self, text: str) -> None:
        """Tell something that concerns the run and no single job."""
        return

    def warn(self, text: str) -> None:
        """Tell something that a person must know, however little they want to read."""
        return

    def summary(self, summary: Summary) -> None:
        """Tell how the run ended. Nothing but `close` comes after it."""
        return

    def close(self) -> None:
        """Leave the terminal as it was. May be called more than once, and after any failure."""
        return


View = Observer
"""Its public name: ``batchvid.View``."""


class Silent(Observer):
    """An observer that shows nothing."""


class Several(Observer):
    """Passes all on to several: lines for people on stderr beside JSON on stdout."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Pass it on."""
        for one in self._observers:
            one.event(job_id, event, progress)

    def stats(self, snapshot: Snapshot) -> None:
        """Pass it on."""
        for one in self._observers:
            one.stats(snapshot)

    def note(self, text: str) -> None:
        """Pass it on."""
        for one in self._observers:
            one.note(text)

    def warn(self, text: str) -> None:
        """Pass it on."""
        for one in self._observers:
            one.warn(text)

    def summary(self, summary: Summary) -> None:
        """Pass it on."""
        for one in self._observers:
            one.summary(summary)

    def close(self) -> None:
        """Pass it on."""
        for one in self._observers:
            one.close()


class Logged(Observer):
    """Logs warnings and notes as ``batchvid``.

    A warning may hold a paid task id that could be written nowhere: where nobody set up logging, Python prints it.
    """

    def note(self, text: str) -> None:
        """Log it as information."""
        log().info("%s", text)

    def warn(self, text: str) -> None:
        """Log it as a warning."""
        log().warning("%s", text)


def log() -> Logger:
    """Return what a program's own log calls ``batchvid``."""
    import logging

    return logging.getLogger("batchvid")
