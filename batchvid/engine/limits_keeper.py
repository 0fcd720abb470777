"""Keeps what a run finds out of its account's limits, while it goes on and at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from batchvid.domain.errors import StorageError
from batchvid.storage.threads import settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchvid.domain.learned import Learned
    from batchvid.engine.auto_limits import AutoLimits
    from batchvid.engine.limits_file import LimitsFile


KEPT_EVERY_S = 30.0
"""What a crash may lose."""


@dataclass(slots=True)
class LimitsKeeper:
    """Keeps what a run learns, now and then and at its end."""

    file: LimitsFile
    auto: AutoLimits
    before: Learned | None
    """What was known when the run began."""
    wall: Callable[[], float]
    failed: str | None = None
    """Why it could not be kept."""
    _version: int = 0
    _kept_at: float = field(default=float("-inf"))

    async def keep(self, *, at_end: bool = False) -> None:
        """Keep what is new, not too often; *at_end*: also that nothing has changed."""
        at = self.wall()
        is_new = self.auto.version != self._version
        if not (at_end or (is_new and not 0 <= at - self._kept_at < KEPT_EVERY_S)):
            return
        learned = self.auto.learned(at)
        if learned is None:
            return
        self._version, self._kept_at = self.auto.version, at
        try:
            await settled(partial(self.file.save, learned.after(self.before)))
        except StorageError as error:
            self.failed = str(error)
