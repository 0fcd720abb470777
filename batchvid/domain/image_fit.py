"""How a picture is fitted to a clip's ratio: geometry alone, the same on every machine and with every library.

Nothing is scaled. ``pad`` puts black beside the picture, ``crop`` cuts from both sides, until the ratio is the
clip's to the pixel; a picture that is at most one pixel off is left as it is.
"""

from __future__ import annotations

import re
from enum import StrEnum

from batchvid.domain.frozen import frozen

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


class Fit(StrEnum):
    """What is done to a frame whose ratio is not the clip's, before it goes out."""

    NONE = "none"
    PAD = "pad"
    CROP = "crop"


@frozen
class Fitting:
    """What a picture is made into, around its centre."""

    fit: Fit
    width: int
    height: int


def ratio_of(size: str | None) -> tuple[int, int] | None:
    """Return the ratio that a ``size`` names, such as ``16x9`` or ``1280x720``; ``None`` when it names none."""
    found = _SIZE.fullmatch(size or "")
    ratio = (int(found[1]), int(found[2])) if found else (0, 0)
    return ratio if all(ratio) else None


def fitting(width: int, height: int, *, ratio: tuple[int, int], fit: Fit) -> Fitting | None:
    """Return what a picture of *width* x *height* is made into; ``None`` when it goes out as it is."""
    if fit is Fit.NONE:
        return None
    across, down = ratio
    if (width * down > height * across) is (fit is Fit.PAD):  # too wide to pad, or too narrow to crop
        wanted = Fitting(fit, width, max(1, _rounded(width * down, across)))
    else:
        wanted = Fitting(fit, max(1, _rounded(height * across, down)), height)
    off = max(abs(wanted.width - width), abs(wanted.height - height))
    return wanted if off > 1 else None


def _rounded(part: int, whole: int) -> int:
    """Divide to the nearest whole number, halves up: as integers, so that no machine gives another one."""
    return (2 * part + whole) // (2 * whole)
