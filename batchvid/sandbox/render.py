"""The sandbox's clips: real H.264 in MP4 that opens on the first frame and closes on the last one.

The same order gives the same bytes: one thread, no dates in the file. The cross-fade is mixed in the encoder's own
colour planes, which is several times faster than mixing pictures and converting each. A large clip has fewer frames a
second, so that a demo stays quick on a laptop.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import av
from PIL import Image

from batchvid.sandbox.drawing import ends

if TYPE_CHECKING:
    from batchvid.sandbox.world import ClipOrder

FULL_RATE, LARGE_RATE, HUGE_RATE, TINY_RATE = 24, 12, 4, 8
"""Frames a second."""
LARGE_PIXELS, HUGE_PIXELS = 1280 * 720, 1920 * 1080
"""Above these many pixels a clip has fewer frames a second."""
STILL_SHARE = 0.1
"""Of its length, a clip rests on its first picture, and as long on its last."""
TINY_CLIPS_KEPT = 64


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
    """Give a clip at once, in full size: for a world without a server."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        render(order, path)
        return path.read_bytes()


def tiny_clips(order: ClipOrder) -> bytes:
    """Give a very small clip at once, the same for all orders of one shape and length: for thousands of jobs."""
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
    """Say how much of the last picture is in a frame: none in the first frames, all in the last ones."""
    at = index / (frames - 1)
    return min(1.0, max(0.0, (at - STILL_SHARE) / (1 - 2 * STILL_SHARE)))


def _planes(picture: Image.Image) -> list[Image.Image]:
    """Give a picture's luma and chroma as the encoder holds them, padding included."""
    frame = av.VideoFrame.from_image(picture).reformat(format="yuv420p")  # type: ignore[no-untyped-call] # PyAV's own gap
    return [Image.frombytes("L", (plane.line_size, plane.height), bytes(plane)) for plane in frame.planes]


def _mixed(first: list[Image.Image], last: list[Image.Image], share: float, order: ClipOrder) -> av.VideoFrame:
    frame = av.VideoFrame(order.width, order.height, "yuv420p")
    for plane, one, other in zip(frame.planes, first, last, strict=True):
        plane.update(Image.blend(one, other, share).tobytes())
    return frame
