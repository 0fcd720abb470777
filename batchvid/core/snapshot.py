"""What a run looks like at one moment: the value that every view draws from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.core.doubt import Doubt
    from batchvid.core.job import State
    from batchvid.core.settings import Rate


@dataclass(frozen=True, slots=True)
class Money:
    """What the attempts cost, in millionths of the currency unit.

    *spent* is what accepted attempts cost whose task is over, failed ones included: the service
    may refund a failure, but promises nothing. *reserved* is for attempts under way or in doubt, and for *unproven*
    requests: sent and refused, of which only the word of whoever answered says that they were not billed.
    """

    spent_micros: int = 0
    reserved_micros: int = 0
    budget_micros: int | None = None
    unpriced_attempts: int = 0
    """Attempts whose price nobody stated; they are in neither sum."""
    unproven_micros: int = 0
    """The part of *reserved* that is for requests refused without proof."""


@dataclass(frozen=True, slots=True)
class NewClip:
    """A clip that this run has put on disk."""

    job_id: str
    path: str
    """Relative to the output folder."""
    size_bytes: int
    saved_at: float


@dataclass(frozen=True, slots=True)
class NeedsPerson:
    """A job that goes no further until somebody decides."""

    job_id: str
    state: State
    reason: str
    doubt: Doubt | None = None
    """What is known of a paid request in doubt, where that was asked for."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment."""

    counts: Mapping[State, int]
    """Jobs of the manifest by state; every state is there."""
    parked: int
    """Jobs left for the next run: tasks timed out, clips that could not be fetched."""
    money: Money
    elapsed_s: float
    eta_s: float | None
    """Until the last job is done; ``None`` while unknown."""
    in_flight: int
    in_flight_limit: int
    downloading: int
    downloads_limit: int
    submits_per_min: float
    """Measured over the last minute."""
    submit_limit: Rate | None
    slowed_to: float
    """The share of the allowed pace that is used: 1.0, or less after the service said "too fast"."""
    paused_s: float
    """For how long nothing is sent, because the service asked for it or is away."""
    polls: int
    """Polls sent by this run."""
    submits: int
    """Paid requests sent by this run."""
    downloaded_bytes: int
    stopping: str | None
    """Why no more jobs are submitted, when that is so."""
    active: bool = True
    """Whether a run is at work; who only watches may find none."""
    slowed_by: str = ""
    """Why the run was last slowed or paused."""
    newest: tuple[NewClip, ...] = ()
    """Newest first, at most eight."""
    needs_person: tuple[NeedsPerson, ...] = field(default=())
    """At most eight; the counts tell how many there are in all."""
