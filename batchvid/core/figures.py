"""Figures as programs read them: money as a decimal number, moments in RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from batchvid.core.settings import MICROS

AMOUNT_MAX = 10**12
"""No price is like this, whatever a damaged line says."""


def dollars(micros: int | None) -> float | None:
    """Give money as a number of currency units; ``None`` stays unknown."""
    return None if micros is None else micros / MICROS


def rfc3339(at: float | None) -> str | None:
    """Give *at* (UTC epoch seconds) as ``2026-03-12T08:00:29Z``; unknown stays unknown."""
    return None if at is None else _second(int(at // 1))


def micros(amount: object) -> int | None:
    """Return a number of currency units, as `dollars` wrote it, in millionths; ``None`` for what is none."""
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool) and 0 <= amount < AMOUNT_MAX
    return round(float(str(amount)) * MICROS) if is_number else None


def moment(text: object) -> float | None:
    """Return a moment that `rfc3339` wrote, in UTC epoch seconds; ``None`` for what is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=256)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
