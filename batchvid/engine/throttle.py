"""How long to wait and how fast to go on, by what the service has refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain.task import Fault, FaultKind

if TYPE_CHECKING:
    from batchvid.domain.limits import Limits


SLOWEST = 1 / 16
RECOVERY_STEP = 1 / 8
"""Of the allowed pace, regained after each `RECOVERY_EVERY_S` without "too fast"; binary, so that the sum is exact."""
RECOVERY_EVERY_S = 15.0


def backoff_s(failures: int, limits: Limits, *, jitter: float) -> float:
    """Return the wait after so many failures in a row: doubling from the first to the longest, full jitter.

    *jitter* is in [0, 1]. At least a tenth of the doubled value is kept, so that "full" never means "at once".
    """
    longest_s = min(limits.backoff_longest_s, limits.backoff_first_s * 2.0 ** min(max(failures - 1, 0), 32))
    return longest_s * (0.1 + 0.9 * jitter)


def slowed_by(fault: Fault) -> str:
    """Return why the run goes slower, in words."""
    return f'the service said "too fast": {fault}' if fault.kind is FaultKind.THROTTLED else str(fault)


class Throttle:
    """The share of the allowed pace that the service bears just now, and until when nothing may be sent."""

    def __init__(self) -> None:
        self.share = 1.0
        self.resume_at = 0.0
        self.slowed_by = ""
        """Why it was last slowed."""
        self._slowed_at = float("-inf")
        self._in_a_row = 0

    def too_fast(
        self, fault: Fault, *, sent_at: float, now: float, jitter: float, limits: Limits, halves: bool = True
    ) -> None:
        """Halve the pace and pause. Answers to requests that left before the last halving only prolong the pause.

        *halves* is false where somebody else sets the pace by what is refused.
        """
        self.slowed_by = slowed_by(fault)
        if sent_at >= self._slowed_at:
            if halves:
                self.share = max(SLOWEST, self.share / 2)
            self._slowed_at = now
            self._in_a_row += 1
        wait_s = fault.retry_after_s
        if wait_s is None:
            wait_s = backoff_s(self._in_a_row, limits, jitter=jitter)
        self.resume_at = max(self.resume_at, now + wait_s)

    def went_well(self, *, now: float) -> None:
        """Regain a step of the pace when there has been peace for long enough."""
        self._in_a_row = 0
        if self.share < 1.0 and now - max(self._slowed_at, self.resume_at) >= RECOVERY_EVERY_S:
            self.share = min(1.0, self.share + RECOVERY_STEP)
            self._slowed_at = now
