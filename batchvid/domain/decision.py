"""What a person decided about a clip after looking at it: approved or rejected, stars, a note. Values and rules only.

A decision is about one paid attempt of one job, because what comes of the next attempt is another clip. Decisions are
kept for ever, one after the other; of one attempt the newest counts, so that an undo is a further decision. They are no
events of the job's life: nobody needs the output's lock to decide, and a run that is under way is not disturbed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

STARS_MAX = 5
NOTE_MAX = 2000
"""Characters of a note."""
BY_MAX = 200
"""Characters of who decided."""


class Verdict(StrEnum):
    """What a person says of a clip; no verdict is ``None``."""

    APPROVED = "approved"
    REJECTED = "rejected"


class Decision(NamedTuple):
    """What one person decided about the clip of one paid attempt, all of it: it replaces the one before."""

    job_id: str
    attempt: int
    """The number of the paid attempt that brought the clip."""
    at: float
    """When (UTC epoch seconds)."""
    by: str
    """Who: the name of a user account, or the one that a reviewer gave."""
    verdict: Verdict | None = None
    stars: int | None = None
    """0 to `STARS_MAX`; ``None`` when none were given."""
    note: str = ""

    @property
    def says_nothing(self) -> bool:
        """Whether it only takes back what was decided before."""
        return self.verdict is None and self.stars is None and not self.note

    @property
    def is_rejection(self) -> bool:
        """Whether another clip is wanted in the place of this one."""
        return self.verdict is Verdict.REJECTED


def check(decisions: Iterable[Decision]) -> None:
    """Raise ValueError for a decision that no journal takes."""
    for one in decisions:
        if one.stars is not None and (type(one.stars) is not int or not 0 <= one.stars <= STARS_MAX):
            raise ValueError(f"stars are a whole number from 0 to {STARS_MAX}, not {one.stars!r}")
        if len(one.note) > NOTE_MAX:
            raise ValueError(f"a note has at most {NOTE_MAX:,} characters, and this one has {len(one.note):,}")
        if len(one.by) > BY_MAX:
            raise ValueError(f"the name of who decides has at most {BY_MAX} characters")


def unknown(decision: Decision) -> ValueError:
    """Return what is raised for a decision about a clip that there is not."""
    return ValueError(f"job {decision.job_id!r} has no clip of an attempt {decision.attempt}")


def newest(decisions: Iterable[Decision]) -> dict[tuple[str, int], Decision]:
    """Return what counts of all decisions, oldest first: the newest of each attempt, unless that takes it back."""
    found = {(one.job_id, one.attempt): one for one in decisions}
    return {about: one for about, one in found.items() if not one.says_nothing}
