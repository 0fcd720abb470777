"""The machines that work on a published manifest, for people: who lives, who has which part, and what holds them back.

Times are seconds before the moment of looking, by the database's clock.
"""

from __future__ import annotations

from enum import Enum

from batchvid.domain.frozen import frozen

DEAD_S = 10.0
"""So long after it was last heard of, a worker's slices are taken over."""
DEAD_AT_LEAST_S = 3.0
"""A heartbeat comes each second, and a worker sends nothing paid in the last second before others may think it dead."""
DEAD_AT_MOST_S = 120.0
"""Less than `batchvid.domain.reopening.WAKES_S`, by which a doubt may be bought again after a worker with a shorter
dead time has taken it over: by then, the one that had it must have stopped sending."""


class Standing(Enum):
    """How a worker stands."""

    ALIVE = "alive"
    SILENT = "silent"
    """It did not say that it ends, and it is not heard of any more."""
    LEFT = "left"


@frozen
class Machine:
    """One worker: a process on a machine."""

    name: str
    """``host:pid``."""
    standing: Standing
    seen_s: float
    """How long ago it was last heard of."""
    slices: int
    """Which it has now."""
    in_flight: int
    clips: int
    """That are done, in the slices that it had last."""
    lost: int
    """How many slices were taken over from it by others."""
    took_part: bool
    """Whether it ever had a slice of this revision."""


@frozen
class Machines:
    """A published manifest and all who work on it, at one moment."""

    revision: int
    published_at: float
    """UTC epoch seconds."""
    published_by: str
    is_over: bool
    waiting: int
    """Slices that nobody has."""
    taken: int
    over: int
    workers: tuple[Machine, ...]
    took_part: int
    """How many workers ever had a slice, with those that are forgotten by now."""
    slowed_to: float
    """The share of the allowed pace that the account uses."""
    paused_s: float
    """For how long nothing is sent, because the service asked for it."""
    slowed_by: str
    unsure_in_a_row: int
    doubt_s: float
    """For how long nothing is submitted, because too many requests in a row are in doubt."""
    halts: tuple[str, ...]
    """Why nothing more is submitted."""

    def count(self, standing: Standing) -> int:
        """Count the workers that stand so."""
        return sum(one.standing is standing for one in self.workers)
