"""What was delivered, held against what was asked for. A difference is told; it never buys a clip again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

from batchvid.domain.image_fit import ratio_of

if TYPE_CHECKING:
    from collections.abc import Mapping


RATIO_MAX = 99
"""``16x9`` is a ratio, ``640x360`` are pixels: no clip has fewer than a hundred."""
RATIO_OFF = 0.02
"""Coders want sides that are multiples of 16: 1360x768 is 16x9 still."""
LENGTH_OFF_S = 0.25
"""Services count frames: 5 seconds come as 5.04, 8 as 8.1."""
SOUND = {"audio", "sound", "generate_audio", "generateAudio", "with_audio", "enable_audio"}
"""Text fields (``form``) by which services are asked for sound."""
ON, OFF = {"true", "on", "1", "yes"}, {"false", "off", "0", "no"}


def differences(told: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in what a clip is not what was asked for, by the fields of its sidecar; nothing where that is unknown."""
    return tuple(one for one in (_size(told), _length(told), _sound(told)) if one)


def _size(told: Mapping[str, Any]) -> str:
    asked, width, height = told.get("size"), told.get("width"), told.get("height")
    ratio = ratio_of(asked) if isinstance(asked, str) else None
    if ratio is None or not (_is_number(width) and _is_number(height)):
        return ""
    if max(ratio) > RATIO_MAX:
        return "" if [width, height] == [*ratio] else f"{width}x{height} pixels, not {asked}"
    off = width * ratio[1] / (height * ratio[0])
    return "" if abs(off - 1) <= RATIO_OFF else f"{width}x{height} pixels, which is not {asked}"


def _length(told: Mapping[str, Any]) -> str:
    length_s = told.get("duration_s")
    try:
        asked_s = float(told.get("seconds") or "")
    except (TypeError, ValueError):
        return ""
    if not 0 < asked_s < math.inf or not _is_number(length_s):
        return ""
    return "" if abs(length_s - asked_s) <= LENGTH_OFF_S else f"{length_s:.2f} s, not {asked_s:g} s"


def _sound(told: Mapping[str, Any]) -> str:
    form, has_sound = told.get("form"), told.get("audio")
    if not isinstance(form, dict) or not isinstance(has_sound, bool):
        return ""
    words = {str(value).lower() for name, value in form.items() if name in SOUND}
    if words & ON and not has_sound:
        return "no sound, which was asked for"
    return "sound, which was not asked for" if words & OFF and has_sound else ""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
