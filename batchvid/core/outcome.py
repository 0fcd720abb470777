"""How a run ends: from the states of its jobs and what stopped it to one exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.core.job import State
from batchvid.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def worst(codes: Iterable[Exit]) -> Exit:
    """Give the code that wins when several apply: the one that stands first in `Exit`."""
    found = set(codes)
    return next((code for code in Exit if code in found), Exit.OK)


def exit_code(
    counts: Mapping[State, int], *, parked: int, halts: Iterable[Exit], interrupted: Exit | None, blocked: int = 0
) -> Exit:
    """Give the exit code of a run that has ended with the jobs in these states.

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
