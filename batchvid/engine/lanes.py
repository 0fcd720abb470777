"""Jobs that wait for a step: whose turn it is, and from when on. Synchronous, O(log n) a step."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Lane:
    """Jobs, by their index in the manifest, that want the same kind of step: a pair of heaps, O(log n) a step.

    A job is *due* from a moment of the monotonic clock on; among the due ones the smallest rank goes first,
    and among equal ranks the one that was put first in the manifest.
    """

    def __init__(self) -> None:
        self._later: list[tuple[float, float, int]] = []
        self._due: list[tuple[float, int]] = []

    def __len__(self) -> int:
        """Count the jobs in the lane, due or not."""
        return len(self._later) + len(self._due)

    def fill(self, ranked: Iterable[tuple[float, int]]) -> None:
        """Put many jobs that are due at once, as (rank, index)."""
        self._due.extend(ranked)
        heapify(self._due)

    def put(self, index: int, *, rank: float, due_at: float) -> None:
        """Put a job that is due at *due_at* (monotonic seconds)."""
        heappush(self._later, (due_at, rank, index))

    def head(self, now: float) -> tuple[float, int] | None:
        """Return rank and index of the job whose turn it is, and leave it there; ``None`` when none is due."""
        while self._later and self._later[0][0] <= now:
            _, rank, index = heappop(self._later)
            heappush(self._due, (rank, index))
        return self._due[0] if self._due else None

    def peek(self, now: float) -> int | None:
        """Return the job whose turn it is, and leave it there; ``None`` when none is due."""
        head = self.head(now)
        return None if head is None else head[1]

    def take(self, now: float) -> int | None:
        """Remove and return the job whose turn it is; ``None`` when none is due."""
        index = self.peek(now)
        if index is not None:
            heappop(self._due)
        return index

    def next_due_at(self) -> float | None:
        """Return the moment at which the next job becomes due; ``None`` when none is waiting for its time."""
        return self._later[0][0] if self._later else None


class PollLane:
    """Looks at tasks, by the index of the job.

    Each is *due* from a moment on, and the one that was due first goes first. In need it may be taken earlier, from
    another moment on; then the one with the smallest rank goes first. Need may come and go: nothing is planned again.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        """By job: of what is planned for it. What else the heaps hold of it was taken already."""
        self._number = 0
        self._due: list[tuple[float, int, int]] = []
        self._later: list[tuple[float, float, int, int]] = []
        self._early: list[tuple[float, int, int]] = []

    def __len__(self) -> int:
        """Count the looks that are planned."""
        return len(self._numbers)

    def put(self, index: int, *, due_at: float, early_at: float | None = None, rank: float | None = None) -> None:
        """Plan a look that is due at *due_at*, or in need at *early_at*."""
        self.next_due_at()
        self.next_early_at()  # which of the two forgets what is over depends on the need, and a night is long
        self._number += 1
        self._numbers[index] = self._number
        heappush(self._due, (due_at, self._number, index))
        early_at, rank = due_at if early_at is None else early_at, due_at if rank is None else rank
        heappush(self._later, (early_at, rank, self._number, index))

    def peek(self, now: float, *, in_need: bool) -> int | None:
        """Return the job whose turn it is, and leave it there; ``None`` when none may be taken."""
        if not in_need:
            due_at = self.next_due_at()
            return self._due[0][2] if due_at is not None and due_at <= now else None
        while self._later and self._later[0][0] <= now:
            _, rank, number, index = heappop(self._later)
            heappush(self._early, (rank, number, index))
        while self._early and self._is_over(self._early[0]):
            heappop(self._early)
        return self._early[0][2] if self._early else None

    def take(self, now: float, *, in_need: bool) -> int | None:
        """Remove and return the job whose turn it is; ``None`` when none may be taken."""
        index = self.peek(now, in_need=in_need)
        if index is not None:
            del self._numbers[index]
        return index

    def next_due_at(self) -> float | None:
        """Return the moment at which the next look is due."""
        while self._due and self._is_over(self._due[0]):
            heappop(self._due)
        return self._due[0][0] if self._due else None

    def next_early_at(self) -> float | None:
        """Return the next moment at which another look may be taken in need."""
        while self._later and self._is_over(self._later[0][1:]):
            heappop(self._later)
        return self._later[0][0] if self._later else None

    def _is_over(self, one: tuple[float, int, int]) -> bool:
        return self._numbers.get(one[2]) != one[1]
