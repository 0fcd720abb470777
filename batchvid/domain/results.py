"""How a run stands at one moment, and how it ended: what every output draws from, and the exit code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchvid.domain.errors import Exit
from batchvid.domain.frozen import frozen
from batchvid.domain.job import State

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from batchvid.domain.doubts import Doubt
    from batchvid.domain.film import FilmReport
    from batchvid.domain.learned import Learned
    from batchvid.domain.limits import Rate
    from batchvid.domain.machines import Machines


@dataclass(frozen=True, slots=True)
class Summary:
    """A run that is over."""

    manifest: str
    """As the person named it, so that commands can be repeated as they are shown."""
    output: str
    """The folder that holds the clips."""
    counts: Mapping[State, int]
    """Jobs by state: of the manifest, or those that ``--only`` chose; a state that is missing counts as 0."""
    parked: int
    """Jobs left for the next run."""
    money: Money
    elapsed_s: float
    submits: int
    """Paid requests sent by this run."""
    polls: int
    downloaded_bytes: int
    exit_code: Exit
    stopped: str | None = None
    """Why the run ended before everything was tried, when that is so."""
    needs_person: tuple[NeedsAttention, ...] = ()
    """Jobs that go no further until somebody decides; the counts tell how many there are in all."""
    films: tuple[FilmReport, ...] = ()
    not_chosen: int = 0
    """Jobs of the manifest that ``--only`` did not choose; nothing else here counts them."""
    machines: Machines | None = None
    """Which machines took part; ``None`` when the journal is in no database."""
    parked_ready: int = 0
    """Of the *parked* ones, those whose clip waits to be fetched; the others wait for their task."""
    sandbox: bool = False
    """Whether the sandbox stood in for the service, so that nothing was paid."""
    learned: Learned | None = None
    """What is known of the account's limits, where they are found out."""


@frozen
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
    budget_per_day_micros: int | None = None
    today_micros: int = 0
    """What counts against that: attempts that were started on this local day, and what was refused without proof."""


@frozen
class NewClip:
    """A clip that this run has put on disk."""

    job_id: str
    path: str
    """Relative to the output folder."""
    size_bytes: int
    saved_at: float


@frozen
class UnderWay:
    """A job that is on its way: its request is sent, its task runs, or its clip is fetched."""

    job_id: str
    state: State
    age_s: float | None
    """Since its newest attempt was accepted, or sent; ``None`` while unknown."""
    progress_percent: float | None = None
    """As the service says; ``None`` when it says nothing, and to who watches from beside."""
    status: str = ""
    """The service's last word for it."""


@frozen
class NeedsAttention:
    """A job that goes no further until somebody decides."""

    job_id: str
    state: State
    reason: str
    doubt: Doubt | None = None
    """What is known of a paid request in doubt, where that was asked for."""


@frozen
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
    downloaded_bytes: int
    found_out: tuple[str, ...] = ()
    """The names of the limits that are found out on the way."""
    slowed_to: float = 1.0
    """The share of the allowed pace that is used: 1.0, or less after the service said "too fast"."""
    paused_s: float = 0.0
    """For how long nothing is sent, because the service asked for it or is away."""
    polls: int = 0
    """Polls sent by this run."""
    submits: int = 0
    """Paid requests sent by this run."""
    stopping: str | None = None
    """Why no more jobs are submitted, when that is so."""
    active: bool = True
    """Whether a run is at work; who only watches may find none."""
    slowed_by: str = ""
    """Why the run was last slowed or paused."""
    newest: tuple[NewClip, ...] = ()
    """Newest first, at most as many as a screen has lines."""
    needs_person: tuple[NeedsAttention, ...] = field(default=())
    """At most eight; the counts tell how many there are in all."""
    machines: Machines | None = None
    """Who works on it; ``None`` when the journal is in no database."""
    parked_ready: int = 0
    """Of the *parked* ones, those whose clip waits to be fetched; the others wait for their task."""
    under_way: tuple[UnderWay, ...] = ()
    """The oldest first, at most as many as a screen has lines; the counts tell how many there are in all."""
    eta_is_stated: bool = False
    """Whether *eta_s* rests on the manifest's ``typical_time`` alone: nothing is known yet of how long tasks take."""
    away_s: float | None = None
    """For how long the service has answered nobody; ``None`` when it answers."""
    away_because: str = ""
    """What came in place of an answer the last time."""
    next_look_s: float | None = None
    """Until something is asked or sent again, while the service is away."""
    at_most_s: float | None = None
    """How long a run that submits nothing more may still wait for what is under way; ``None`` while unknown."""
    sandbox: bool = False
    """Whether the sandbox stands in for the service."""
    account: Hashable = None
    """Equal for the runs of one account, which share their limits; ``None`` while unknown."""
    is_shared_pace: bool = False
    """Whether *submits_per_min* counts what all runs of the account submit."""


def worst(codes: Iterable[Exit]) -> Exit:
    """Return the code that wins when several apply: the one that stands first in `Exit`."""
    found = set(codes)
    return next((code for code in Exit if code in found), Exit.OK)


def exit_code(
    counts: Mapping[State, int], *, parked: int, halts: Iterable[Exit], interrupted: Exit | None, blocked: int = 0
) -> Exit:
    """Return the exit code of a run that has ended with the jobs in these states.

    *halts* are the reasons for which it stopped early, *interrupted* the code of the signal that ended it. *blocked*
    pending jobs wait for a clip that no further run brings by itself: they count as failed, not as left to do.
    """
    codes = set(halts)
    left = sum(number for state, number in counts.items() if state.is_open)
    if counts.get(State.IN_DOUBT, 0) or counts.get(State.SUBMITTING, 0):
        codes.add(Exit.IN_DOUBT)
    waiting = left - counts.get(State.IN_DOUBT, 0) - counts.get(State.SUBMITTING, 0) - blocked
    if interrupted is not None and waiting:
        codes.add(interrupted)
    else:
        if waiting or parked:
            codes.add(Exit.STOPPED)
        if counts.get(State.FAILED, 0) or blocked:
            codes.add(Exit.FAILED)
    return worst(codes)
