"""The days of this machine's clock: when each begins, also where the clock is set forward or back at midnight."""

from __future__ import annotations

from datetime import datetime, timedelta


def moments_of(wall: datetime) -> list[float]:
    """Return when the local clock shows *wall*, earliest first, as UTC epoch seconds: it may do so twice in autumn.

    A time that spring leaves out is the moment at which the clock is set forward past it.
    """
    first, second = (wall.replace(fold=fold).timestamp() for fold in (0, 1))
    if first <= second:
        return [first, second]
    before, after = second, first  # PEP 495: each is on its own side of the gap
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if wall.fromtimestamp(middle) < wall else (before, middle)
    return [after]


def day_around(at: float) -> tuple[float, float]:
    """Return when the local day of a moment begins and ends, in UTC epoch seconds.

    It has 23 or 25 hours where the clock is set in it. A day that a zone leaves out, because it changes sides of the
    date line, belongs to the one before.
    """
    midnight = datetime.fromtimestamp(at).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)  # noqa: DTZ006 local
    days = 1
    while (end := moments_of(midnight + timedelta(days=days))[0]) <= at:
        days += 1
    return moments_of(midnight)[0], end


def day_name(at: float) -> str:
    """Return the local day of a moment as ``2026-01-31``."""
    return f"{datetime.fromtimestamp(at):%Y-%m-%d}"  # noqa: DTZ006 local


def moment_words(at: float) -> str:
    """Return a moment in local time with its zone, as people read it: ``2026-01-31 00:00 CET``."""
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M %Z}"
