"""What the bench says: samples of a figure, its goal, the table and the JSON."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be."""

    sign: str
    """``>=`` or ``<=``."""
    value: float

    def met(self, value: float) -> bool:
        """Whether *value* is good enough."""
        return value >= self.value if self.sign == ">=" else value <= self.value

    def __str__(self) -> str:
        """Return it as the table shows it."""
        return f"{self.sign} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: a sample a repetition, each a ratio of two runs side by side where it is a ratio."""

    measure: str
    what: str
    unit: str
    samples: tuple[float, ...]
    goal: Goal | None = None
    """``None``: shown beside the others, to understand them."""
    note: str = ""

    @property
    def median(self) -> float | None:
        """Return the median; ``None`` when it was not measured."""
        return statistics.median(self.samples) if self.samples else None

    @property
    def verdict(self) -> str:
        """Return what the goal says of the median."""
        if self.median is None:
            return "not measured"
        if self.goal is None:
            return ""
        return "met" if self.goal.met(self.median) else "MISSED"

    def as_json(self) -> dict[str, Any]:
        """Return it as an object."""
        return {
            "measure": self.measure,
            "what": self.what,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.samples, default=None),
            "max": max(self.samples, default=None),
            "samples": list(self.samples),
            "goal": str(self.goal) if self.goal else None,
            "verdict": self.verdict,
            "note": self.note,
        }


def ratios(over: Iterable[float], under: Iterable[float]) -> tuple[float, ...]:
    """Return the ratio of each pair that was measured side by side."""
    return tuple(upper / lower for upper, lower in zip(over, under, strict=True))


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as lines."""
    rows = [("", "figure", "median", "least .. most of so many", "goal", "")]
    for one in figures:
        median = "-" if one.median is None else f"{_number(one.median)} {one.unit}"
        spread = ""
        if one.samples:
            spread = f"{_number(min(one.samples))} .. {_number(max(one.samples))} of {len(one.samples)}"
        verdict = " ".join(part for part in (one.verdict, f"({one.note})" if one.note else "") if part)
        rows.append((one.measure, one.what, median, spread, str(one.goal or ""), verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)).rstrip() for row in rows
    )


def _number(value: float) -> str:
    places = 0 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:,.{places}f}"


def machine() -> dict[str, Any]:
    """Return what it was measured on."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.exists() else []
    names = {line.partition(": ")[2] for line in lines if line.startswith("model name")}
    return {
        "cpu": sorted(names),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }
