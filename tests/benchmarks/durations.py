"""How long tasks take, in four classes: what a polling strategy meets in real life, seeded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

CLASSES = ("tight", "wide", "bimodal", "shifting")
TIGHT_SPREAD, WIDE_SPREAD = 0.05, 0.5
"""The standard deviation of a generation time's natural logarithm."""


def duration_s(name: str, dice: random.Random, *, done: float) -> float:
    """Draw the generation time of a task of the class *name*; *done* is the share of the run that lies behind it.

    *tight* tasks all take about 80 s, *wide* ones between 30 s and 4 min, *bimodal* ones 40 s or 3 min, and *shifting*
    ones 60 s at first, then 150 s, then 90 s.
    """
    match name:
        case "tight":
            return dice.lognormvariate(0.0, TIGHT_SPREAD) * 80.0
        case "wide":
            return dice.lognormvariate(0.0, WIDE_SPREAD) * 90.0
        case "bimodal":
            return dice.lognormvariate(0.0, TIGHT_SPREAD) * dice.choice((40.0, 180.0))
        case "shifting":
            return dice.lognormvariate(0.0, 2 * TIGHT_SPREAD) * (60.0, 150.0, 90.0)[min(int(done * 3), 2)]
    raise ValueError(name)
