"""Figures as programs read them: money as a decimal number, moments in RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from batchvid.core.settings import MICROS


def dollars(micros: int | None) -> float | None:
    """Give money as a number of currency units; ``None`` stays unknown."""
    return None if micros is None else micros / MICROS


def rfc3339(at: float | None) -> str | None:
    """Give *at* (UTC epoch seconds) as ``2026-03-12T08:00:29Z``; unknown stays unknown."""
    return None if at is None else _second(int(at // 1))


@lru_cache(maxsize=256)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
