"""The lab of one row of the matrix: its worlds, what held, and what was seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.cluster.invariants import INVARIANTS, broken, words
from tests.cluster.world import world
from tests.faults.lab import BrokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from tests.cluster.world import Ran, World

DEAD_S = 10.0
"""The default of ``--dead-time``."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the matrix."""

    row: str
    done: str
    """What is done to the cluster."""
    expected: str
    make: Callable[[Lab], None]


CASES: list[Case] = []


def row(number: str, done: str, expected: str) -> Callable[[Callable[[Lab], None]], Callable[[Lab], None]]:
    """Enter the function below into the matrix."""

    def enter(make: Callable[[Lab], None]) -> Callable[[Lab], None]:
        CASES.append(Case(number, done, expected, make))
        return make

    return enter


@dataclass(slots=True)
class Lab:
    """One row's own."""

    stack: ExitStack
    held: list[str] = field(default_factory=list)
    """What was looked at and held."""
    seen: list[str] = field(default_factory=list)
    """Figures, for the reader."""

    def world(self, **options: Any) -> World:
        """Return a new world."""
        return self.stack.enter_context(world(**options))

    def expect(self, name: str, holds: object, what: str) -> None:
        """Note that something held, or raise `BrokenError`."""
        if not holds:
            raise BrokenError(name, what)
        if name not in self.held:
            self.held.append(name)

    def note(self, what: str) -> None:
        """Note a figure."""
        self.seen.append(what)

    def ended(self, ran: Ran, *codes: int) -> None:
        """Look at an exit code, and that no traceback was shown."""
        self.expect("exit", ran.code in codes, f"exit {ran.code}, promised {codes}: {ran.text[-800:]}")
        self.expect("exit", "Traceback" not in ran.text, f"a traceback: {ran.text[-1200:]}")

    def survived(self, world: World, *, name: str = "m", foreign: Sequence[str] = (), is_over: bool = True) -> None:
        """Look at every invariant; *foreign* objects are the row's own."""
        found = world.evidence(name, is_over=is_over)
        objects = {path: one for path, one in found.objects.items() if path not in foreign}
        troubles = broken(replace(found, objects=objects))
        if troubles:
            raise BrokenError(next(iter(troubles)), words(troubles))
        for invariant in INVARIANTS:
            self.expect(invariant, holds=True, what="")

    def all_done(self, world: World, *, name: str = "m", but: int = 0) -> None:
        """Look whether all clips are done, *but* for so many."""
        wanted, states = len(world.wanted[name]), Counter(world.states(name).values())
        self.expect("done", states["done"] >= wanted - but, f"{dict(states)} of {wanted}")


def most_in_any_second(moments: Sequence[float]) -> int:
    """Return the most *moments* in any window of one second."""
    moments, first, most = sorted(moments), 0, 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def share_used(moments: Sequence[float], rate: float) -> float:
    """Return how much of a *rate* a second was used from the first to the last of the *moments*."""
    return (len(moments) - 1) / ((max(moments) - min(moments)) * rate)
