"""What people write for numbers, times, rates and money, as values; each function raises `ValueError` with advice."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from batchvid.domain.limits import MICROS, Rate
from batchvid.manifest.read import Plain

_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII
)
_DURATION_UNITS_S = (86400, 3600, 60, 1)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|min|h)", re.ASCII)
_RATE_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}
_MONEY = re.compile(r"\d{1,100}(?:\.\d{1,100})?", re.ASCII)
_WHOLE = re.compile(r"[-+]?\d+", re.ASCII)

MAX_DURATION_S = 30 * 86400
"""Longer than any generation or run; keeps sums of times far from overflow."""
MIN_DURATION_S = 0.001
"""Shorter than any answer takes; a loop that waits for less only turns."""
MAX_RATE = 10_000.0
"""Per period; more is as good as unlimited."""
MIN_RATE_PER_H = 0.001
"""One in six weeks; keeps the waits between two requests far from overflow."""
WHOLE_MAX_CHARS = 20
"""More than any number here needs."""
MAX_MONEY = 1_000_000_000
"""In whole units: a slip of the finger, and it keeps micros inside 64 bits."""


def written(value: object) -> str:
    """Return a single value as it stands in the file."""
    match value:
        case str():
            return value.strip()
        case Plain(kind="nothing"):
            raise ValueError("is empty: write a value, or remove the key")
        case Plain():
            return value.text
        case dict():
            raise ValueError("is a map, and one value is wanted")
        case _:
            raise ValueError("is a list, and one value is wanted")


def whole(value: object) -> int:
    """Return a whole number, as YAML 1.1 reads it (``0x10``, ``1_000``)."""
    text = written(value)
    if not isinstance(value, Plain) or value.kind != "a number":
        raise ValueError(f"{shown(text)} is not a whole number: write one without quotes")
    digits = text.replace("_", "")
    if len(digits) > WHOLE_MAX_CHARS:
        raise ValueError(f"{shown(text)} is not a whole number that means anything here")
    if re.fullmatch(r"[-+]?0[0-7]+", digits):
        return int(digits, 8)
    if _WHOLE.fullmatch(digits):
        return int(digits)
    if re.fullmatch(r"[-+]?0[xb][0-9a-fA-F]+", digits):
        return int(digits, 0)
    raise ValueError(f"{shown(text)} is not a whole number")


def duration_s(value: object) -> float:
    """Return the seconds of ``90s``, ``20m``, ``1h30m`` or ``2d``; always more than nothing."""
    text = written(value)
    found = _DURATION.fullmatch(text)
    parts = found.groups() if found else ()
    if not any(parts):
        raise ValueError(f"{shown(text)} is not a time: write it with its unit, such as 90s, 20m or 1h30m")
    total = sum(float(part) * unit for part, unit in zip(parts, _DURATION_UNITS_S, strict=True) if part)
    if not MIN_DURATION_S <= total <= MAX_DURATION_S:
        raise ValueError(
            f"{shown(text)} is out of bounds: write at least {MIN_DURATION_S}s and at most {MAX_DURATION_S // 86400}d"
        )
    return total


def moment_s(value: object) -> float:
    """Return the seconds of a moment in a clip: ``3.5s`` after its beginning, or ``-0.2s``: before its end."""
    text = written(value)
    from_the_end = text.startswith("-")
    if text == "0s":
        return 0.0
    try:
        found = duration_s(text.removeprefix("-"))
    except ValueError:
        raise ValueError(
            f"{shown(text)} is no moment of a clip: write -0.2s (before its end) or 3.5s (after its beginning)"
        ) from None
    return -found if from_the_end else found


class DurationRange(NamedTuple):
    """A shortest and a longest time."""

    shortest_s: float
    longest_s: float


def duration_range(value: object) -> DurationRange:
    """Return both ends of ``3s..30s``."""
    text = written(value)
    shortest, dots, longest = text.partition("..")
    if not dots:
        raise ValueError(f"{shown(text)} is not a range of times: write the shortest and the longest, such as 3s..30s")
    found = DurationRange(duration_s(shortest), duration_s(longest))
    if found.shortest_s > found.longest_s:
        raise ValueError(f"{shown(text)} has the longer time first: write the shortest first, such as 3s..30s")
    return found


def rate(value: object) -> Rate | None:
    """Return the rate of ``10/min``, ``5/s`` or ``100/h``; ``None`` for ``unlimited``."""
    text = written(value)
    if text == "unlimited":
        return None
    found = _RATE.fullmatch(text)
    if not found:
        raise ValueError(f"{shown(text)} is not a rate: write such as 10/min, 5/s, 100/h or unlimited")
    count = float(found[1])
    if not (count <= MAX_RATE and count * 3600 >= MIN_RATE_PER_H * _RATE_UNITS_S[found[2]]):
        raise ValueError(
            f"{shown(text)} is out of bounds: write at least {MIN_RATE_PER_H}/h, at most {MAX_RATE:.0f}, or unlimited"
        )
    return Rate(count, _RATE_UNITS_S[found[2]])


def money_micros(value: object) -> int:
    """Return money in millionths, exactly as the digits say, rounded up below that."""
    text = written(value)
    if not _MONEY.fullmatch(text):
        raise ValueError(f"{shown(text)} is not an amount of money: write digits such as 25.00")
    amount = Decimal(text)
    if amount > MAX_MONEY:
        raise ValueError(f"{shown(text)} is more than {MAX_MONEY:,}: write a smaller amount")
    return int((amount * MICROS).to_integral_value(ROUND_CEILING))


def shown(text: str) -> str:
    """Return *text* quoted and cut, for a message."""
    longest = 60
    return f'"{text}"' if len(text) <= longest else f'"{text[:longest]}…"'
