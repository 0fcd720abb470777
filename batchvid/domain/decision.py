"""What a person decided about a clip after looking at it: approved or rejected, stars, a note. Values and rules only.

A decision is about one paid attempt of one job, because what comes of the next attempt is another clip. Decisions are
kept for ever, one after the other; of one attempt the newest counts, so that an undo is a further decision. They are no
events of the job's life: nobody needs the output's lock to decide, and a run that is under way is not disturbed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

STARS_MAX = 5
NOTE_MAX = 2000
"""Characters of a note."""


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
