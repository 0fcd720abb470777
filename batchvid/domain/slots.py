"""The arithmetic of one pace over many machines: moments at which one request may leave, dealt out in blocks.

A slot is such a moment, on the clock of the database that deals them out. Rules:

- Slots are a gap apart, and each is dealt out once. A request leaves at its slot or at most `Spacing.late_s` later;
  a slot that is missed by more is nobody's any more. The gap is so long that count + 1 slots span the period, the
  lateness of the first, and `Spacing.on_the_way_s` of what the network adds. So no window holds more than the limit.
- The clocks of the machines do not matter. Each maps the database's clock onto its own monotonic one.
- A process holds few slots, and none far ahead: what it does not use is lost to all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from batchvid.domain.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchvid.domain.limits import Rate

T = TypeVar("T")

SPARE = 0.03
"""How much longer than the period count + 1 slots span: so much of the quota is given for timers that fire late."""
SPARE_MAX_S = 1.0
ON_THE_WAY = 1 / 3
"""Of what is spare, for requests that arrive sooner or later than others; the rest is for those that leave late."""


@frozen
class Spacing:
    """How far apart slots are, and how late each may be used."""

    gap_s: float
    late_s: float
    on_the_way_s: float

    @classmethod
    def of(cls, rate: Rate) -> Spacing:
        """Return the closest spacing that keeps to *rate* in every window of its period."""
        spare_s = min(SPARE * rate.period_s, SPARE_MAX_S)
        on_the_way_s = ON_THE_WAY * spare_s
        return cls((rate.period_s + spare_s) / rate.count, spare_s - on_the_way_s, on_the_way_s)


@frozen
class Reading:
    """Another machine's clock, read between two moments of the monotonic one here."""

    sent: float
    theirs: float
    received: float


DRIFT = 200e-6
"""How much two clocks may part in a second: four times what a crystal does."""


class OtherClock:
    """Another machine's clock as it is seen from here: what all readings leave possible.

    A reading proves that theirs - here lies between theirs - received and theirs - sent. A reading that contradicts
    the earlier ones says that their clock was set, and counts alone.
    """

    def __init__(self) -> None:
        self._low = -math.inf
        self._high = math.inf
        self._at = -math.inf

    def note(self, reading: Reading) -> None:
        """Learn from *reading*."""
        low, high = reading.theirs - reading.received, reading.theirs - reading.sent
        if math.isfinite(self._at):
            parted_s = DRIFT * max(0.0, reading.received - self._at)
            kept_low, kept_high = max(low, self._low - parted_s), min(high, self._high + parted_s)
            if kept_low <= kept_high:
                low, high = kept_low, kept_high
        self._low, self._high, self._at = low, high, reading.received

    def here(self, theirs: float) -> float:
        """Return when it is *theirs* there, on the clock here; at most `error_s` wrong."""
        return theirs - (self._low + self._high) / 2

    def error_s(self, now: float) -> float:
        """Return how wrong `here` may be by *now*; endless before the first reading."""
        return (self._high - self._low) / 2 + (DRIFT * max(0.0, now - self._at) if math.isfinite(self._at) else 0.0)


@frozen
class Asked:
    """A block of slots as a process asks for it."""

    number: int
    gap_s: float
    ready_s: float
    """How soon the first may come: one that comes earlier would be missed."""
    ahead_s: float
    """How far ahead the first may be; when the next slot is further, nothing is dealt out."""

    @property
    def furthest_s(self) -> float:
        """Return how far ahead the next slot can be at all: when it is further, the clock was set back."""
        return self.ahead_s + SLOTS_MAX * self.gap_s * SLOWEST_IN


SLOWEST_IN = 16
"""A share (`batchvid.engine.throttle`) stretches the gap at most so much; another machine may just have let go."""


@frozen
class Dealt:
    """What was dealt out: *number* slots from *first* on. It is 0 when the next slot, *first*, is too far ahead."""

    first: float
    number: int
    readings: tuple[Reading, ...]


SLOTS_MAX = 16
"""As many as a run has submitters: more could not be used at once."""
BLOCK_LASTS_S = 1.5
"""A process should live no longer than this on a block: the queue for the next is as long."""
LIKED = 4.0
"""The number of slots that costs little: a fourth of a commit for each."""
STEP = 0.5
"""How much of the way to what seems right is gone with each block."""


class BlockSize:
    """How many slots a process asks for at once: more while the queue for them is short, fewer while it is long.

    All see the same queue, and each grows by as much and shrinks by a part of what it has. So the blocks of all become
    equally large, whatever they were: where n processes are at work, about sqrt(LIKED * BLOCK_LASTS_S / (gap * n)).
    """

    def __init__(self, gap_s: float) -> None:
        self._most = float(max(1, min(SLOTS_MAX, int(BLOCK_LASTS_S / gap_s))))
        self._size = 1.0

    @property
    def number(self) -> int:
        """Return how many to ask for."""
        return round(self._size)

    def dealt(self, *, lasts_s: float) -> None:
        """Learn from a block that lasts so long after what was held before."""
        length = min(max(lasts_s / BLOCK_LASTS_S, 0.0), 1 / STEP)
        self._size = min(self._most, max(1.0, self._size + STEP * (LIKED - length * self._size)))

    def unwanted(self) -> None:
        """Learn that a slot came for which there was nothing to do."""
        self._size = max(1.0, self._size / 2)


def unbroken(moments: Sequence[float], gap_s: float) -> int:
    """Return how many of the last *moments* follow each other a gap apart: nobody else has one between them."""
    number = min(1, len(moments))
    while number < len(moments) and moments[-number] - moments[-number - 1] < 1.5 * gap_s:
        number += 1
    return number


def thinned(slots: Iterable[T], share: float) -> list[T]:
    """Return the *share* of *slots* that stays when the pace goes down to it, spread evenly."""
    kept, owed = [], 0.0
    for slot in slots:
        owed += share
        if owed >= 1 - ROUNDING:
            kept.append(slot)
            owed -= 1
    return kept


ROUNDING = 1e-9
