"""The sandbox's clips: real H.264 in MP4 that opens on the first frame and closes on the last one.

A clip without frames shows a card with its prompt. The same order gives the same bytes: one thread, no dates in the
file. The cross-fade is mixed in the encoder's own colour planes, which is several times faster than mixing pictures and
converting each. A large clip has fewer frames a second, so that a demo stays quick on a laptop.
"""

from __future__ import annotations

import colorsys
import hashlib
import os
from dataclasses import replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import TYPE_CHECKING
from unicodedata import combining, east_asian_width, normalize

import av
from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from batchvid.sandbox.tasks import ClipOrder

FULL_RATE, LARGE_RATE, HUGE_RATE, TINY_RATE = 24, 12, 4, 8
"""Frames a second."""
LARGE_PIXELS, HUGE_PIXELS = 1280 * 720, 1920 * 1080
"""Above these many pixels a clip has fewer frames a second."""
STILL_SHARE = 0.1
"""Of its length, a clip rests on its first picture, and as long on its last."""
TINY_CLIPS_KEPT = 64
SPRITES = 8
LINE_CHARS = 34
LINES_MOST = 7
LOOKED_AT_PX = 24
IN_NO_FONT = "\U0010fffd"
WITHOUT_BAR = {"đ": "d", "Đ": "D", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O"}
"""Letters that are none with a mark in Unicode."""
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts", "/Library/Fonts",
    "/System/Library/Fonts", "C:/Windows/Fonts")  # fmt: skip
FONTS = (
    "DejaVuSans.", "NotoSans-Regular.", "LiberationSans-Regular.", "Arial.", "arial.", "segoeui.",
    "NotoSansCJK", "SourceHanSans", "wqy-microhei.", "wqy-zenhei.", "DroidSansFallback", "Arial Unicode.",
    "PingFang.", "Hiragino Sans GB.", "AppleSDGothicNeo.", "msyh.", "meiryo.", "malgun.",
)  # fmt: skip
"""Beginnings of their files' names, in the order in which they are tried."""
SPELLABLE = str.maketrans(dict.fromkeys(map(chr, range(32)), " "))
"""The built-in font has no control characters."""


def render(order: ClipOrder, path: Path, *, rate: int | None = None) -> None:
    """Make the clip at *path*, which appears only when it is complete."""
    part = path.with_name(f"{path.name}.part")
    fps = rate or _rate(order)
    frames = fps * order.seconds
    with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = order.width, order.height, "yuv420p"
        stream.codec_context.thread_count = 1
        first, last = (_planes(picture) for picture in ends(order))
        for index in range(frames):
            container.mux(stream.encode(_mixed(first, last, _share(index, frames), order)))
        container.mux(stream.encode())
    os.replace(part, path)  # noqa: PTH105 its atomicity is the point, and the name says so


def instant_clips(order: ClipOrder) -> bytes:
    """Return a clip at once, in full size: for a world without a server."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        render(order, path)
        return path.read_bytes()


def tiny_clips(order: ClipOrder) -> bytes:
    """Return a very small clip at once, the same for all orders of one shape and length: for thousands of jobs."""
    upright = order.height > order.width
    return _tiny(
        replace(
            order, prompt="tiny", frames=(), frame_hashes=(), width=36 if upright else 64, height=64 if upright else 36
        )
    )


@lru_cache(maxsize=TINY_CLIPS_KEPT)
def _tiny(order: ClipOrder) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        render(order, path, rate=TINY_RATE)
        return path.read_bytes()


def _rate(order: ClipOrder) -> int:
    pixels = order.width * order.height
    if pixels > HUGE_PIXELS:
        return HUGE_RATE
    return LARGE_RATE if pixels > LARGE_PIXELS else FULL_RATE


def _share(index: int, frames: int) -> float:
    """Return the share of the last picture in a frame: none in the first frames, all in the last ones."""
    at = index / (frames - 1)
    return min(1.0, max(0.0, (at - STILL_SHARE) / (1 - 2 * STILL_SHARE)))


def _planes(picture: Image.Image) -> list[Image.Image]:
    """Return a picture's luma and chroma as the encoder holds them, padding included."""
    frame = av.VideoFrame.from_image(picture).reformat(format="yuv420p")  # type: ignore[no-untyped-call] # PyAV's own gap
    return [Image.frombytes("L", (plane.line_size, plane.height), bytes(plane)) for plane in frame.planes]


def _mixed(first: list[Image.Image], last: list[Image.Image], share: float, order: ClipOrder) -> av.VideoFrame:
    frame = av.VideoFrame(order.width, order.height, "yuv420p")
    for plane, one, other in zip(frame.planes, first, last, strict=True):
        plane.update(Image.blend(one, other, share).tobytes())
    return frame


# ---- pictures


def thumbnail(clip: bytes) -> bytes:
    """Return the first picture of a clip, as WEBP."""
    return _saved(_stills(clip, 1)[0], "WEBP")


def spritesheet(clip: bytes) -> bytes:
    """Return pictures from the whole of a clip side by side, as JPEG."""
    stills = _stills(clip, SPRITES)
    width, height = stills[0].width // SPRITES, stills[0].height // SPRITES
    sheet = Image.new("RGB", (width * len(stills), height))
    for place, still in enumerate(stills):
        sheet.paste(still.resize((width, height)), (place * width, 0))
    return _saved(sheet, "JPEG")


def _stills(clip: bytes, count: int) -> list[Image.Image]:
    with av.open(BytesIO(clip), "r") as container:
        stream = container.streams.video[0]
        step = max(1, stream.frames // count)
        kept = [frame for at, frame in enumerate(container.decode(stream)) if at % step == 0]
        return [frame.to_image() for frame in kept[:count]]  # type: ignore[no-untyped-call] # PyAV's own gap


def _saved(picture: Image.Image, kind: str) -> bytes:
    file = BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def ends(order: ClipOrder) -> tuple[Image.Image, Image.Image]:
    """Return the picture that a clip opens on and the one that it closes on."""
    size = (order.width, order.height)
    if not order.frames:
        return _card(order, closing=False), _card(order, closing=True)
    first = fitted(order.frames[0], size)
    if len(order.frames) > 1:
        return first, fitted(order.frames[1], size)
    return first, _zoomed(first)


def fitted(data: bytes, size: tuple[int, int]) -> Image.Image:
    """Return the picture in *data*, upright, filling *size* around its middle."""
    with Image.open(BytesIO(data)) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.has_transparency_data:
            paper = Image.new("RGBA", upright.size, "white")
            upright = Image.alpha_composite(paper, upright.convert("RGBA"))
        return ImageOps.fit(upright.convert("RGB"), size, Image.Resampling.BILINEAR)


def _zoomed(picture: Image.Image) -> Image.Image:
    """Return the middle of a picture, so that a clip with one frame moves."""
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
    size_px = max(4.0, unit * (1.15 if order.width > order.height else 0.95))
    prompt, path = spelled(order.prompt.translate(SPELLABLE), font_files())
    text = "\n".join(_lines(prompt)[:LINES_MOST])
    font = ImageFont.load_default(size_px) if path is None else ImageFont.truetype(path, size_px)
    middle = (order.width / 2, order.height * 0.46)
    draw.multiline_text(middle, text, fill="white", font=font, anchor="mm", align="center", spacing=unit * 0.4)
    bar = (unit, order.height - 1.6 * unit, order.width - unit, order.height - 1.2 * unit)
    draw.rectangle(bar, outline="white")
    if closing:
        draw.rectangle(bar, fill="white")
    return card


# ---- letters


@lru_cache(maxsize=1)
def font_files() -> tuple[str, ...]:
    """Return the fonts of this machine that may have what the built-in one has not, those with most letters last."""
    found: dict[int, str] = {}
    for folder in FONT_FOLDERS:
        for path in sorted(Path(folder).expanduser().rglob("*")):
            rank = next((rank for rank, name in enumerate(FONTS) if path.name.startswith(name)), None)
            if rank is not None:
                found.setdefault(rank, str(path))
    return tuple(found[rank] for rank in sorted(found))


@lru_cache(maxsize=256)
def spelled(text: str, fonts: tuple[str, ...]) -> tuple[str, str | None]:
    """Return the text as it can be drawn, and the font for it; ``None`` is the built-in one.

    A letter that no font has loses its marks, so that Vietnamese can be read on any machine.
    """
    if text.isascii():
        return text, None
    missing: dict[str | None, frozenset[str]] = {}
    for path in (None, *fonts):
        missing[path] = _missing(text, path)
        if not missing[path]:
            return text, path
    best = min(missing, key=lambda path: len(missing[path]))  # the first one of equals
    return text.translate({ord(char): _bare(char) for char in missing[best]}), best


def _missing(text: str, path: str | None) -> frozenset[str]:
    """Return the characters that the font draws as it draws what no font has."""
    try:
        font = ImageFont.load_default(LOOKED_AT_PX) if path is None else ImageFont.truetype(path, LOOKED_AT_PX)
    except OSError:  # no font after all
        return frozenset(text)
    nothing = bytes(font.getmask(IN_NO_FONT))
    return frozenset(char for char in set(text) if not char.isspace() and bytes(font.getmask(char)) == nothing)


def _bare(char: str) -> str:
    """Return a letter without its marks."""
    plain = "".join(part for part in normalize("NFD", char) if not combining(part))
    return WITHOUT_BAR.get(plain, plain)


def _lines(text: str) -> list[str]:
    """Wrap the text; a letter of East Asia takes the room of two."""
    is_wide = any(east_asian_width(char) in {"W", "F"} for char in text)
    return wrap(text, LINE_CHARS // 2 if is_wide else LINE_CHARS)


def _colour(hue: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, 0.6, value)
    return round(255 * red), round(255 * green), round(255 * blue)
