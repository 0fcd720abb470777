"""What an answer to a paid request tells of the account's limits. None of it says whether the request was paid.

Services that name their limits do so in the words of a refusal, or in headers: ``x-ratelimit-limit-requests`` and its
like (OpenAI), ``RateLimit-Policy`` (``"default";q=30;w=60``). What is not understood counts as absent.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from batchvid.domain.task import LimitHint, LimitKind
from batchvid.providers.response import RETRY_AFTER_MAX_S, Response, envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.providers.response import NoResponse

TOO_MANY_REQUESTS = 429
WORDS_READ = 2048
_ROOM = re.compile(
    r"(?i)\bconcurren|\bsimultaneous|\bin parallel\b|\bin progress\b|\bin flight\b"
    r"|\b(?:running|pending|queued|unfinished|active) (?:tasks?|jobs?|videos?|generations?)\b|并发|同时"
)
_RATE = re.compile(
    r"(?i)\bper (?:second|sec|minute|min|hour|day)\b|\d ?/ ?(?:s|sec|min|minute|h|hour|day)\b|\b(?:rpm|rps|rpd|qps)\b"
    r"|每(?:秒|分钟|小时)"
)
_LIMIT, _LEFT = ("x-ratelimit-limit-requests",), ("x-ratelimit-remaining-requests", "x-ratelimit-remaining")
_RESET = ("x-ratelimit-reset-requests", "x-ratelimit-reset")
_POLICY = re.compile(r"\bq=(\d{1,9})\b[^,]*\bw=60\b")
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)
_SPAN_UNITS_S = (3600.0, 60.0, 1.0, 0.001)
EPOCH_FROM = 1e9
"""A number of this size is a moment, and no time to wait."""


def limit_hint(result: Response | NoResponse, *, now: float) -> LimitHint | None:
    """Return what is told of the limits; ``None`` when that is nothing. *now* is UTC epoch seconds."""
    if not isinstance(result, Response):
        return None
    hint = LimitHint(_kind(result), _per_minute(result.headers), _none_left_s(result.headers, now=now))
    return None if hint == LimitHint() else hint


def _kind(answer: Response) -> LimitKind | None:
    if answer.status != TOO_MANY_REQUESTS:
        return None
    error = envelope(answer.json())
    said = (error.message if error is not None else answer.excerpt(WORDS_READ))[:WORDS_READ]
    is_room, is_rate = _ROOM.search(said) is not None, _RATE.search(said) is not None
    if is_room == is_rate:
        return None
    return LimitKind.ROOM if is_room else LimitKind.RATE


def _per_minute(headers: Mapping[str, str]) -> float | None:
    told = [value for name in _LIMIT if (value := _number(headers.get(name))) is not None]
    told += [float(found[1]) for found in _POLICY.finditer(headers.get("ratelimit-policy", ""))]
    return min((one for one in told if one >= 1), default=None)


def _none_left_s(headers: Mapping[str, str], *, now: float) -> float | None:
    if not any(_number(headers.get(name)) == 0 for name in _LEFT):
        return None
    waits_s = (_wait_s(headers.get(name, ""), now=now) for name in _RESET)
    wait_s = next((one for one in waits_s if one is not None), None)
    return wait_s if wait_s is None else min(wait_s, RETRY_AFTER_MAX_S)


def _wait_s(text: str, *, now: float) -> float | None:
    number = _number(text)
    if number is not None:
        return max(0.0, number - now) if number >= EPOCH_FROM else number
    found = _SPAN.fullmatch(text.strip()) if text.strip() else None
    if found is None or not any(found.groups()):
        return None
    wait_s = sum(float(part) * unit_s for part, unit_s in zip(found.groups(), _SPAN_UNITS_S, strict=True) if part)
    return wait_s if math.isfinite(wait_s) else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
