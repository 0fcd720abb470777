"""Takes: all clips that were made of one entry of a manifest, and which of them is the best.

Takes are the jobs of one entry (``takes: 3``), and the clips of a job's earlier attempts that are kept beside. What
persons decided orders them:

1. An approved one comes before one that nobody judged, and that before a rejected one.
2. More stars come first; none given count as none.
3. Of the jobs of an entry, an earlier take comes first; of one job, a later attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain.decision import Verdict
from batchvid.domain.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchvid.domain.decision import Decision
    from batchvid.domain.job import Job


@frozen
class Take:
    """A clip that is there."""

    job_id: str
    attempt: int
    """The number of the paid attempt that brought it."""
    path: str
    """Relative to the output, with ``/``."""
    size_bytes: int
    sha256: str
    is_current: bool
    """Whether it is the clip that its job has now; others are kept beside it."""
    decision: Decision | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What a person said of it."""
        return None if self.decision is None else self.decision.verdict


RANKS = {Verdict.APPROVED: 0, None: 1, Verdict.REJECTED: 2}


def best_first(takes: Iterable[Take], ids: Sequence[str]) -> list[Take]:
    """Return the takes of one entry in the order of the rules; *ids* are its jobs, the first take first."""
    place = {job_id: number for number, job_id in enumerate(ids)}

    def rank(one: Take) -> tuple[int, int, int, int]:
        stars = one.decision.stars if one.decision is not None else None
        return RANKS[one.verdict], -(stars or 0), place.get(one.job_id, len(place)), -one.attempt

    return sorted(takes, key=rank)


def takes_by_first(jobs: Iterable[Job]) -> dict[str, tuple[str, ...]]:
    """Return the ids of each entry that has several takes, in their order, by the id of the first."""
    found: dict[str, list[str]] = {}
    for job in jobs:
        if job.first_take:
            found.setdefault(job.first_take, [job.first_take]).append(job.id)
    return {first: tuple(ids) for first, ids in found.items()}
