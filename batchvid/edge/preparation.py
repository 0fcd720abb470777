"""A picture made ready to be sent: turned as its camera meant it, fitted to the clip's ratio, coded again.

The same picture and recipe give the same bytes under one version of Pillow. Nothing is scaled, and PNG and WEBP
are coded without loss: of these every pixel that stays is the file's own.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from batchvid.core.fit import Fit
from batchvid.core.strip import JPEG, PNG, UPRIGHT, strip

if TYPE_CHECKING:
    from PIL.Image import Image

    from batchvid.core.fit import Fitting

JPEG_QUALITY = 95
"""With full colour resolution: above it files grow, and nobody sees a difference."""
PLAIN_MODES = {"1": "L", "P": "RGB", "PA": "RGBA"}
"""What a picture becomes in which black can stand beside it."""


def made(picture: Image, *, turned: int, fitted: Fitting | None, mime: str) -> bytes:
    """Give the file to send of a decoded picture, of the same type and without metadata."""
    profile = picture.info.get("icc_profile")
    if turned != UPRIGHT:
        picture = _upright(picture, turned)
    if fitted is not None:
        picture = _fitted(picture, fitted)
    out = io.BytesIO()
    if mime == JPEG:
        picture.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0, icc_profile=profile)
    elif mime == PNG:
        picture.save(out, "PNG", icc_profile=profile)
    else:
        picture.save(out, "WEBP", lossless=True, exact=True, icc_profile=profile)
    return strip(out.getvalue(), mime)


def _upright(picture: Image, turned: int) -> Image:
    from PIL.Image import Transpose  # noqa: PLC0415 heavy

    turns = (
        Transpose.FLIP_LEFT_RIGHT,
        Transpose.ROTATE_180,
        Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )
    return picture.transpose(turns[turned - 2])


def _fitted(picture: Image, wanted: Fitting) -> Image:
    """Give the middle of the picture, or the picture in the middle of black."""
    left, top = (wanted.width - picture.width) // 2, (wanted.height - picture.height) // 2
    if wanted.fit is Fit.CROP:
        return picture.crop((-left, -top, -left + wanted.width, -top + wanted.height))
    from PIL.Image import new  # noqa: PLC0415 heavy

    mode = "RGBA" if "transparency" in picture.info else PLAIN_MODES.get(picture.mode, picture.mode)
    if mode != picture.mode:
        picture = picture.convert(mode)
    black = {"RGBA": (0, 0, 0, 255), "LA": (0, 255)}.get(mode, 0)
    canvas = new(mode, (wanted.width, wanted.height), black)
    canvas.paste(picture, (left, top))
    return canvas
