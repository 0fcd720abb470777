"""Small pictures of a clip and of a frame, for the contact sheet of a report."""

from __future__ import annotations

import io
from itertools import islice
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


SIDE = 400
"""Pixels of the longer side: a tile of the contact sheet on a screen of twice the density."""
QUALITY = 72
PIXELS_AT_MOST = 100_000_000


def thumbnail_of_clip(file: IO[bytes]) -> bytes:
    """Return the first frame as WebP: it is what the player begins with, so that nothing jumps."""
    from batchvid.media.shown import image_of, opened

    with opened(file) as clip:
        video, container = clip.video, clip.container
        video.codec_context.thread_count = 1
        if video.width * video.height > PIXELS_AT_MOST:
            raise ValueError("is too large")
        # The first packet alone, and then the end: else the decoder holds the frame back until it has seen more.
        packet = next(container.demux(video))
        first = packet.decode() or ([] if packet.is_discard else video.codec_context.decode(None))
        frame = (first or list(islice(container.decode(video), 1)))[0]
        return _webp(image_of(video, frame, longest=SIDE))


def thumbnail_of_frame(path: str) -> bytes:
    """Return the picture of a frame as WebP, held upright, as it is sent."""
    from batchvid.media.images import picture

    found = picture(path).convert("RGB")
    found.thumbnail((SIDE, SIDE))
    return _webp(found)


def _webp(picture: Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=QUALITY, method=2)
    return out.getvalue()
