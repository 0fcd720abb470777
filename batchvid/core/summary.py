"""How a run ended: the value that the last lines, the notification and the exit code are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.core.film import FilmReport
    from batchvid.core.job import State
    from batchvid.core.snapshot import Money, NeedsPerson
    from batchvid.errors import Exit


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
    needs_person: tuple[NeedsPerson, ...] = ()
    """Jobs that go no further until somebody decides; the counts tell how many there are in all."""
    films: tuple[FilmReport, ...] = ()
    not_chosen: int = 0
    """Jobs of the manifest that ``--only`` did not choose; nothing else here counts them."""
