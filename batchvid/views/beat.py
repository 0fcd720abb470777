"""When a view may show again what changes all the time."""

from __future__ import annotations


class Beat:
    """Tells when something that may be shown only every so often is due again, by a run's own clock."""

    def __init__(self, every_s: float, *, first_at_s: float = 0.0) -> None:
        self._every_s = every_s
        self._due_s = first_at_s

    def due(self, elapsed_s: float) -> bool:
        """Say whether it is time, and if so count from now on. A clock that starts anew is followed."""
        if self._due_s - self._every_s <= elapsed_s < self._due_s:
            return False
        self._due_s = elapsed_s + self._every_s
        return True
