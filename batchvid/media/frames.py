"""Frames taken out of clips: decoded where the clip shows them, and kept as PNG, which loses nothing.

Every refusal of a clip is a `ValueError` whose text completes "this clip …". PyAV and Pillow are imported on first use.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


SEEK_BEFORE_S = 0.5
"""So far before the wanted frame decoding begins: an index may be off by some frames."""
SLACK_S = 0.001
"""Times in a file are rounded to its own ticks; less than any frame lasts."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame of a clip, as a PNG."""

    png: bytes
    width: int
    height: int
    at_s: float
    """When the clip shows it, counted from its beginning."""


def picture_of(clip: Path | IO[bytes], *, at_s: float | None) -> Picture:
    """Return the frame that the clip shows *at_s* seconds after its beginning, or before its end when negative.

    ``None`` is the last frame. Raises `ValueError` when the clip is damaged or shows nothing then.
    """
    import av

    try:
        # The format is named, so that no playlist in disguise makes the library open something else.
        with av.open(str(clip) if isinstance(clip, Path) else clip, mode="r", format="mp4") as container:
            if not container.streams.video:
                raise ValueError("has no video track")
            frame, shown_s = _found(container, container.streams.video[0], at_s)
            return _drawn(frame, shown_s)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"does not decode: {error.strerror or error}") from None


def _found(container: InputContainer, video: VideoStream, at_s: float | None) -> tuple[VideoFrame, float]:
    """Decode from the nearest key frame before the wanted one, or, where that misses it, from the beginning."""
    import av

    begin_s, length_s = _span(video)
    wanted_s = math.inf if at_s is None else at_s if at_s >= 0 else length_s + at_s
    if at_s is not None and not 0 <= wanted_s < length_s:
        raise ValueError(f"lasts {length_s:.2f} s, and shows nothing at {at_s:g}s")
    for from_s in (min(wanted_s, length_s) - SEEK_BEFORE_S, 0.0):
        if from_s < 0:
            continue
        container.seek(int((begin_s + from_s) * av.time_base), backward=True)
        found = None
        for frame in container.decode(video):
            if frame.is_corrupt or frame.time is None:
                raise ValueError("is damaged: a frame does not decode")
            shown_s = float(frame.time) - begin_s
            if found is None or shown_s <= wanted_s + SLACK_S:
                found = frame, shown_s
            if shown_s > wanted_s + SLACK_S:
                break
        if found is not None and found[1] <= wanted_s + SLACK_S:
            return found
    raise ValueError("has a video track without a single frame")


def _span(video: VideoStream) -> tuple[float, float]:
    """Return when the video begins and how long it lasts, in seconds."""
    if not video.duration or video.time_base is None:
        raise ValueError("has a video track that does not say how long it lasts")
    begin = video.start_time or 0
    return float(begin * video.time_base), float(video.duration * video.time_base)


def _drawn(frame: VideoFrame, shown_s: float) -> Picture:
    picture = frame.to_image()  # type: ignore[no-untyped-call] # PyAV's own gap
    out = io.BytesIO()
    picture.save(out, "PNG")
    return Picture(out.getvalue(), picture.width, picture.height, max(0.0, shown_s))
