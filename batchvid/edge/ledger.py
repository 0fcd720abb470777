"""The paid attempts: kept in step with the events, and what they come to in money.

A refused attempt leaves no row, because nothing was paid and its number is used again.
Every other row is money: held while the attempt is open or in doubt, spent once it is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batchvid.core.lifecycle import (
    GaveUp,
    Reopened,
    SubmitAccepted,
    SubmitRefused,
    SubmitStarted,
    SubmitUnsure,
    TaskAdopted,
    TaskFailed,
    TaskSucceeded,
)
from batchvid.edge.change import StaleProgressError, TaskOwnedError, execute

if TYPE_CHECKING:
    import sqlite3

    from batchvid.core.lifecycle import Event


class Outcome(StrEnum):
    """What became of a paid attempt."""

    OPEN = "open"
    """Sent, or about to be, or its task is under way."""
    IN_DOUBT = "in_doubt"
    """Sent, and nobody knows what became of it."""
    SUCCEEDED = "succeeded"
    """Its task made a clip."""
    FAILED = "failed"
    """The service says that its task failed."""
    ABANDONED = "abandoned"
    """Given up on before its end was known. It may have been charged, so it counts as spent."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One paid submission of a job."""

    job_id: str
    attempt: int
    price_micros: int | None
    fingerprint: str
    """Of the content that was sent."""
    started_at: float
    accepted_at: float | None
    task_id: str | None
    resolved_model: str | None
    outcome: Outcome
    finished_at: float | None
    reason: str | None
    raw: bytes | None
    """What could not be read of the answer, when the attempt was in doubt."""


def follow(db: sqlite3.Connection, job_id: str, *, attempt: int, event: Event, at: float) -> None:
    """Bring the row of an attempt in step with *event*, which is about it.

    Raises `TaskOwnedError` when the event names a task that another attempt has, and
    `StaleProgressError` when it starts an attempt that exists: the caller rolls back.
    """
    here = (job_id, attempt)

    def write(statement: str, *values: Any) -> int:
        return execute(db, statement, (*values, *here))

    match event:
        case SubmitStarted():
            added = write(
                "INSERT INTO attempts (price_micros, fingerprint, started_at, outcome, job_id, attempt)"
                " VALUES (?, ?, ?, 'open', ?, ?) ON CONFLICT DO NOTHING",
                event.price_micros,
                event.fingerprint,
                at,
            )
            if not added:
                raise StaleProgressError(f"job {job_id!r}: attempt {attempt} was started before")
        case SubmitRefused():
            write("DELETE FROM attempts WHERE job_id = ? AND attempt = ?")
        case SubmitUnsure():
            write(
                "UPDATE attempts SET outcome = 'in_doubt', reason = ?, raw = ? WHERE job_id = ? AND attempt = ?",
                event.reason,
                event.raw,
            )
        case SubmitAccepted() | TaskAdopted():
            _refuse_second_owner(db, event.task_id, here)
            model = event.resolved_model if isinstance(event, SubmitAccepted) else None
            write(
                "UPDATE attempts SET outcome = 'open', task_id = ?, resolved_model = ?, accepted_at = ?,"
                " finished_at = NULL, reason = NULL WHERE job_id = ? AND attempt = ?",
                event.task_id,
                model,
                at,
            )
        case TaskSucceeded():
            # The task of an expired URL succeeds a second time, but it was over at the first.
            write(
                "UPDATE attempts SET outcome = 'succeeded', finished_at = coalesce(finished_at, ?),"
                " resolved_model = coalesce(?, resolved_model) WHERE job_id = ? AND attempt = ?",
                at,
                event.resolved_model,
            )
        case TaskFailed():
            write(
                "UPDATE attempts SET outcome = 'failed', finished_at = ?, reason = ? WHERE job_id = ? AND attempt = ?",
                at,
                event.reason,
            )
        case GaveUp() | Reopened():
            write(
                "UPDATE attempts SET outcome = 'abandoned', finished_at = ?, reason = ?"
                " WHERE job_id = ? AND attempt = ? AND outcome IN ('open', 'in_doubt')",
                at,
                event.reason,
            )
        case _:
            pass  # the rest happens to a clip or to a poll, not to what was paid


def _refuse_second_owner(db: sqlite3.Connection, task_id: str, here: tuple[str, int]) -> None:
    owner = db.execute(
        "SELECT job_id FROM attempts WHERE task_id = ? AND (job_id, attempt) != (?, ?)", (task_id, *here)
    ).fetchone()
    if owner:
        raise TaskOwnedError(task_id, owner[0])
