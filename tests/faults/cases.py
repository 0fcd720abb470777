"""The list of faults: each case is a function that makes one fault happen in a lab and asks what held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.lab import Lab


class NotHereError(Exception):
    """The fault cannot be made on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """One fault."""

    fault: str
    """Its number in the list, ``F01`` to ``F84``."""
    done: str
    """What is done to the program, in one line."""
    make: Callable[[Lab], None]
    alone: bool = False
    """Whether nothing else may run meanwhile: it looks at times, or changes the whole machine."""


CASES: list[Case] = []


def fault(number: str, done: str, *, alone: bool = False) -> Callable[[Callable[[Lab], None]], Callable[[Lab], None]]:
    """Enter the function below into the list."""

    def enter(make: Callable[[Lab], None]) -> Callable[[Lab], None]:
        CASES.append(Case(number, done, make, alone))
        return make

    return enter
