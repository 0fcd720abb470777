"""What the journal is asked to keep: one step in the life of one job."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_args

from batchvid.domain.lifecycle import Event, PollFailed, StillRunning, SubmitRefused, SubmitStarted, advance
from batchvid.domain.records import rfc3339

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from batchvid.domain.job import Progress


DURABLE: frozenset[type[Event]] = frozenset(get_args(Event)) - {StillRunning, PollFailed}
"""The events that are kept. The other two change nothing that a later run needs and come with every poll,
so a run keeps them in memory and does not pass them on; when they are passed, they leave no event behind."""

NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in get_args(Event)}
"""What each event says, by field."""


class StaleProgressError(Exception):
    """A change does not start from what the journal holds: a bug in batchvid, and nothing was written."""


class TaskOwnedError(Exception):
    """A task id already belongs to another attempt; nothing was written.

    The service handed out one id twice, so nobody knows what became of the second paid request.
    """

    def __init__(self, task_id: str, owner: str) -> None:
        super().__init__(f"task {task_id!r} already belongs to job {owner!r}")
        self.task_id = task_id
        self.owner = owner
        """The id of the job that has it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the service took for one task of a timing class."""

    timing_class: str
    took_s: float
    at: float


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one job since the journal last heard of it.

    *before* is what the journal holds, *after* what `batchvid.domain.lifecycle.advance` made of it, and
    *events* the facts between the two, each with its time. All of it is kept, or nothing is.
    """

    before: Progress
    events: tuple[tuple[Event, float], ...]
    after: Progress
    timing: Timing | None = None
    """What the change teaches about how long tasks take; set when a task succeeded."""

    @classmethod
    def of(cls, before: Progress, *events: tuple[Event, float], timing: Timing | None = None) -> Change:
        """Return the change that *events* make, each an event and its time.

        Raises `batchvid.domain.lifecycle.IllegalEventError` when the lifecycle does not allow one of them.
        """
        after = before
        for event, at in events:
            after = advance(after, event, at=at)
        return cls(before, events, after, timing)


def numbered(change: Change) -> Iterator[tuple[int, Event, float]]:
    """Yield each event of *change* with the number of the attempt that it is about, and its time.

    A refused attempt gives its number back, so what follows is about the one before it.
    """
    attempt = change.before.attempt
    for event, at in change.events:
        if isinstance(event, SubmitStarted):
            attempt = event.attempt
        yield attempt, event, at
        if isinstance(event, SubmitRefused):
            attempt -= 1


def event_data(event: Event) -> dict[str, Any]:
    r"""Return what *event* says as plain JSON values, by field; bytes become text with ``\xNN`` for what is none."""
    values = ((name, getattr(event, name)) for name in NAMES[type(event)])
    return {
        name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for name, value in values
    }


def log_line(job_id: str, attempt: int, event: Event, *, at: float) -> dict[str, Any]:
    """Return an event as the event log has it."""
    line = {"at": rfc3339(at), "job": job_id, "attempt": attempt, "event": type(event).__name__}
    return line | event_data(event)


def execute(db: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> int:
    r"""Run *statement* and give how many rows it changed.

    Text with half a surrogate pair in it, which SQLite does not take, gets ``\udNNN`` instead. Such halves come from
    file names that are no UTF-8, and what they stand in must not lose a paid task id.
    """
    try:
        return db.execute(statement, values).rowcount
    except UnicodeEncodeError:
        storable = (
            value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value for value in values
        )
        return db.execute(statement, tuple(storable)).rowcount
