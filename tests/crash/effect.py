"""Fuses that blow at one effect of a kind, such as the third record in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.crash.fuse import DiskTrouble, Fuse, Kill

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Effect:
    """The *nth* effect of a run, or the *nth* of one kind."""

    kind: str | None
    nth: int


class _At(Fuse):
    """Counts only effects of the kind, until it has blown."""

    kind: str | None = None

    def passes(self, what: str) -> None:
        """Let an effect happen, or not."""
        if self.blown or self.kind in {None, what}:
            super().passes(what)


class KillAt(_At, Kill):
    """Ends the process just before the effect."""

    def __init__(self, effect: Effect) -> None:
        super().__init__(effect.nth)
        self.kind = effect.kind


class DiskTroubleAt(_At, DiskTrouble):
    """Lets the disk fail at the effect, once or from then on; what is no effect on the disk does not fail."""

    def __init__(self, effect: Effect, *, for_ever: bool) -> None:
        DiskTrouble.__init__(self, effect.nth, for_ever=for_ever)
        self.kind = effect.kind


class PressAt(_At):
    """Presses Ctrl-C at the effect, and perhaps once more so many effects later; all effects happen."""

    def __init__(self, effect: Effect, press: Callable[[], None], *, again_after: int | None) -> None:
        super().__init__(effect.nth)
        self.kind = effect.kind
        self._press = press
        self._presses = [0, again_after]

    def passes(self, what: str) -> None:
        """Let an effect happen."""
        super().passes(what)
        effects_since = len(self.effects) - (self.at or 0)
        for _ in range(self._presses.count(effects_since)):
            self._press()
