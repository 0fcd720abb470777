"""Clips, decoded: a frame is taken where the clip shows it, and kept as PNG, which loses nothing.

Every refusal of a clip is a `ValueError` whose text completes "this clip …". PyAV and Pillow are imported on first use.
"""

from __future__ import annotations

import io
import math
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image


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


@dataclass(frozen=True, slots=True)
class ClipProbe:
    """What a clip turned out to hold when every frame of it was decoded."""

    width: int
    height: int
    duration_s: float
    codec: str
    frames: int
    """Of the video."""


@contextmanager
def decoder(clip: Path | IO[bytes]) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a clip, and return it with the track of its pictures, which may stand behind a cover picture.

    Raise `ValueError` when it has no such track.
    """
    import av

    # The format is named, so that no playlist in disguise makes the library open something else.
    with av.open(str(clip) if isinstance(clip, Path) else clip, mode="r", format="mp4") as container:
        cover = av.stream.Disposition.attached_pic
        video = next((one for one in container.streams.video if not one.disposition & cover), None)
        if video is None:
            raise ValueError("has no video track")
        yield container, video


def image_of(frame: VideoFrame, **size: int) -> Image:
    """Return the frame as it is shown: turned upright. *size*: the wanted ``width`` and ``height`` before the turn."""
    image: Image = frame.to_image(**size)  # type: ignore[no-untyped-call] # PyAV's own gap
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def decode_clip(path: Path) -> ClipProbe:
    """Decode every frame of the clip's video and sound; raise `ValueError` where it is damaged."""
    import av

    frames = hidden = 0
    try:
        with decoder(path) as (container, video):
            for packet in container.demux(video, *container.streams.audio[:1]):
                hidden += packet.is_discard and packet.stream is video  # an edit list leaves it out
                for frame in packet.decode():
                    if isinstance(frame, av.VideoFrame | av.AudioFrame) and frame.is_corrupt:
                        raise ValueError(f"is damaged: frame {frames} does not decode")
                    frames += isinstance(frame, av.VideoFrame)
            if video.frames and frames < video.frames - hidden:
                raise ValueError(f"is damaged: {frames} of {video.frames - hidden} frames decode")
            if not frames:
                raise ValueError("has a video track without a single frame")
            duration = video.duration * video.time_base if video.duration and video.time_base else 0
            return ClipProbe(video.width, video.height, float(duration), video.codec_context.name, frames)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"does not decode to its end: {error.strerror or error}") from None


def picture_of(clip: Path | IO[bytes], *, at_s: float | None) -> Picture:
    """Return the frame that the clip shows *at_s* seconds after its beginning, or before its end when negative.

    ``None`` is the last frame. Raise `ValueError` when the clip is damaged or shows nothing then.
    """
    import av

    try:
        with decoder(clip) as (container, video):
            frame, shown_s = _found(container, video, at_s)
            image, out = image_of(frame), io.BytesIO()
            image.save(out, "PNG")
            return Picture(out.getvalue(), image.width, image.height, max(0.0, shown_s))
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"does not decode: {error.strerror or error}") from None


def _found(container: InputContainer, video: VideoStream, at_s: float | None) -> tuple[VideoFrame, float]:
    """Decode from the nearest key frame before the wanted one, or, where that misses it, from the beginning."""
    import av

    begin_s, length_s = _span(container, video)
    wanted_s = math.inf if at_s is None else at_s if at_s >= 0 else length_s + at_s
    if at_s is not None and not 0 <= wanted_s < length_s:
        raise ValueError(f"lasts {length_s:.2f} s, and shows nothing at {at_s:g}s")
    for from_s in (max(0.0, min(wanted_s, length_s) - SEEK_BEFORE_S), 0.0):
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


def _span(container: InputContainer, video: VideoStream) -> tuple[float, float]:
    """Return when the first frame is shown and how long all of them last, in seconds, by the packets of the track.

    What the index of a piece of a stream says counts from the beginning of the stream.
    """
    shown = [
        (one.pts, one.duration or 0) for one in container.demux(video) if one.pts is not None and not one.is_discard
    ]
    if not shown or video.time_base is None:
        raise ValueError("has a video track without a single frame")
    begin, end = min(pts for pts, _ in shown), max(map(sum, shown))
    return float(begin * video.time_base), float((end - begin) * video.time_base)
