"""The pictures of a clip: an uploaded frame made to fit, or a card that shows the prompt."""

from __future__ import annotations

import colorsys
import hashlib
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from batchvid.sandbox.world import ClipOrder

LINE_CHARS = 34
LINES_MOST = 7
SPELLABLE = str.maketrans(dict.fromkeys(map(chr, range(32)), " "))
"""The built-in font has no control characters."""


def ends(order: ClipOrder) -> tuple[Image.Image, Image.Image]:
    """Give the picture that a clip opens on and the one that it closes on."""
    size = (order.width, order.height)
    if not order.frames:
        return _card(order, closing=False), _card(order, closing=True)
    first = fitted(order.frames[0], size)
    if len(order.frames) > 1:
        return first, fitted(order.frames[1], size)
    return first, _zoomed(first)


def fitted(data: bytes, size: tuple[int, int]) -> Image.Image:
    """Give the picture in *data*, upright, filling *size* around its middle."""
    with Image.open(BytesIO(data)) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.has_transparency_data:
            paper = Image.new("RGBA", upright.size, "white")
            upright = Image.alpha_composite(paper, upright.convert("RGBA"))
        return ImageOps.fit(upright.convert("RGB"), size, Image.Resampling.BILINEAR)


def _zoomed(picture: Image.Image) -> Image.Image:
    """Give the middle of a picture, so that a clip with one frame moves."""
    width, height = picture.size
    margin_x, margin_y = width // 16, height // 16
    box = (margin_x, margin_y, width - margin_x, height - margin_y)
    return picture.resize(picture.size, Image.Resampling.BILINEAR, box=box)


def _card(order: ClipOrder, *, closing: bool) -> Image.Image:
    """Draw the prompt on a gradient whose colours are the prompt's own."""
    hue = hashlib.sha256(f"{order.seed}:{order.prompt}".encode()).digest()[0] / 256
    size = (order.width, order.height)
    shade = Image.linear_gradient("L").resize(size)
    if closing:
        shade = ImageOps.flip(shade)
    card = Image.composite(
        Image.new("RGB", size, _colour(hue, 0.55)), Image.new("RGB", size, _colour(hue + 0.12, 0.30)), shade
    )
    draw = ImageDraw.Draw(card)
    unit = min(size) / 18
    text = "\n".join(wrap(order.prompt.translate(SPELLABLE), LINE_CHARS)[:LINES_MOST])
    font = ImageFont.load_default(max(4.0, unit * (1.15 if order.width > order.height else 0.95)))
    middle = (order.width / 2, order.height * 0.46)
    draw.multiline_text(middle, text, fill="white", font=font, anchor="mm", align="center", spacing=unit * 0.4)
    bar = (unit, order.height - 1.6 * unit, order.width - unit, order.height - 1.2 * unit)
    draw.rectangle(bar, outline="white")
    if closing:
        draw.rectangle(bar, fill="white")
    return card


def _colour(hue: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, 0.6, value)
    return round(255 * red), round(255 * green), round(255 * blue)
