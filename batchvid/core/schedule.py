"""Which job is served next: three lanes, each a pair of heaps, so that a step costs O(log n) at any size.

A job waits in a lane as one number and one small tuple; it occupies nothing else until its turn.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Lane:
    """Jobs, by their index in the manifest, that want the same kind of step.

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
        """Give rank and index of the job whose turn it is, and leave it there; ``None`` when none is due."""
        while self._later and self._later[0][0] <= now:
            _, rank, index = heappop(self._later)
            heappush(self._due, (rank, index))
        return self._due[0] if self._due else None

    def peek(self, now: float) -> int | None:
        """Give the job whose turn it is, and leave it there; ``None`` when none is due."""
        head = self.head(now)
        return None if head is None else head[1]

    def take(self, now: float) -> int | None:
        """Take out the job whose turn it is; ``None`` when none is due."""
        index = self.peek(now)
        if index is not None:
            heappop(self._due)
        return index

    def next_due_at(self) -> float | None:
        """Give the moment at which the next job becomes due; ``None`` when none is waiting for its time."""
        return self._later[0][0] if self._later else None


class Schedule:
    """The lanes of a run, and how many jobs may be in each part of their life at once.

    The lanes share the API fairly by having workers of their own; where they meet, finished
    downloads go first (earliest expiry first), then due polls, then submissions.
    """

    def __init__(self, *, in_flight_limit: int) -> None:
        self.submits = Lane()
        self.again = Lane()
        """Submits of jobs that have been out in this run: they may go while new ones must wait."""
        self.polls = Lane()
        self.downloads = Lane()
        self.in_flight = 0
        self.in_flight_limit = in_flight_limit

    @property
    def to_submit(self) -> int:
        """Count the jobs that wait to be submitted."""
        return len(self.submits) + len(self.again)

    @property
    def has_room(self) -> bool:
        """Whether one more task may be in flight."""
        return self.in_flight < self.in_flight_limit

    @property
    def nothing_to_collect(self) -> bool:
        """Whether no poll and no download is waiting."""
        return not self.polls and not self.downloads
