"""Clips, decoded: a frame is taken where the clip shows it, and kept as PNG, which loses nothing.

Every refusal of a clip is a `ValueError` whose text completes "this clip …". PyAV and Pillow are imported on first use.
"""

from __future__ import annotations

import io
import math
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from batchvid.domain.frozen import frozen
from batchvid.media.shown import image_of, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from av.packet import Packet
    from av.video.frame import VideoFrame

    from batchvid.media.shown import Clip


SEEK_BEFORE_S = 0.5
"""So far before the wanted frame decoding begins: an index may be off by some frames."""
SLACK_S = 0.001
"""Times in a file are rounded to its own ticks; less than any frame lasts."""


@frozen
class Picture:
    """One frame of a clip, as a PNG."""

    png: bytes
    width: int
    height: int
    at_s: float
    """When the clip shows it, counted from its beginning."""


@frozen
class ClipProbe:
    """What a clip turned out to hold when every frame of it was decoded."""

    width: int
    height: int
    duration_s: float
    codec: str
    frames: int
    """Of the video."""


def decode_clip(path: Path, *, between: Callable[[], None] = lambda: None) -> ClipProbe:
    """Decode every frame of the clip's video and sound; raise `ValueError` where it is damaged.

    *between* two packets something else may be done, or raised.
    """
    import av

    frames, count = 0, FrameCount()
    try:
        with opened(path) as clip:
            video = clip.video
            video.thread_type = "AUTO"
            for packet in clip.container.demux(*clip.tracks):
                between()
                if packet.stream is video:
                    count.add(packet)
                for frame in packet.decode():
                    if isinstance(frame, av.VideoFrame | av.AudioFrame) and frame.is_corrupt:
                        raise ValueError(f"is damaged: frame {frames} does not decode")
                    frames += isinstance(frame, av.VideoFrame)
            count.compare(frames)
            if not frames:
                raise ValueError("has a video track without a single frame")
            duration = video.duration * video.time_base if video.duration and video.time_base else 0
            return ClipProbe(video.width, video.height, float(duration), video.codec_context.name, frames)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"does not decode to its end: {error.strerror or error}") from None


class FrameCount:
    """How many frames the packets of a track promise.

    None is due of what an edit list leaves out, nor of what is shown before the first key frame: after a cut without
    coding its references may be missing, and no player shows it.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._key: int | None = None

    def add(self, packet: Packet[Any]) -> None:
        """Count one more packet."""
        if packet.pts is None or not packet.size:
            return
        if self._key is None and packet.is_keyframe:
            self._key = packet.pts
        self.frames += not packet.is_discard and self._key is not None and packet.pts >= self._key

    def compare(self, decoded: int) -> None:
        """Raise `ValueError` when fewer frames were decoded."""
        if decoded < self.frames:
            raise ValueError(f"is damaged: {decoded} of {self.frames} frames decode")


def picture_of(file: Path | IO[bytes], *, at_s: float | None) -> Picture:
    """Return the frame that the clip shows *at_s* seconds after its beginning, or before its end when negative.

    ``None`` is the last frame. Raise `ValueError` when the clip is damaged or shows nothing then.
    """
    import av

    try:
        with opened(file) as clip:
            frame, shown_s = _found(clip, at_s)
            image, out = image_of(clip.video, frame), io.BytesIO()
            image.save(out, "PNG")
            return Picture(out.getvalue(), image.width, image.height, max(0.0, round(shown_s, 6)))
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"does not decode: {error.strerror or error}") from None


def _found(clip: Clip, at_s: float | None) -> tuple[VideoFrame, float]:
    """Decode from the nearest key frame before the wanted one, or, where that misses it, from the beginning."""
    import av

    begin_s, length_s = _span(clip)
    wanted_s = math.inf if at_s is None else at_s if at_s >= 0 else length_s + at_s
    if at_s is not None and not 0 <= wanted_s < length_s:
        raise ValueError(f"lasts {length_s:.2f} s, and shows nothing at {at_s:g}s")
    near_s = max(0.0, min(wanted_s, length_s) - SEEK_BEFORE_S)
    with suppress(ValueError, av.FFmpegError):
        found = _last_until(clip, wanted_s, from_s=near_s, begin_s=begin_s)
        if found[1] <= wanted_s + SLACK_S:
            return found
    # Where pictures begin after the sound, the first one is what there is before it.
    return _last_until(clip, wanted_s, from_s=0.0, begin_s=begin_s)


def _last_until(clip: Clip, wanted_s: float, *, from_s: float, begin_s: float) -> tuple[VideoFrame, float]:
    """Return the last frame until *wanted_s*, or the first one that is decoded, and when it is shown."""
    import av

    clip.container.seek(int((begin_s + from_s) * av.time_base), backward=True)
    found = None
    for frame in clip.container.decode(clip.video):
        if frame.is_corrupt or frame.time is None:
            raise ValueError("is damaged: a frame does not decode")
        shown_s = float(frame.time) - begin_s
        if found is not None and shown_s > wanted_s + SLACK_S:
            break
        found = frame, shown_s
    if found is None:
        raise ValueError("has a video track without a single frame")
    return found


def _span(clip: Clip) -> tuple[float, float]:
    """Return when the clip begins and how long it lasts, in seconds, picture and sound, by its packets.

    What the index of a piece of a stream says counts from the beginning of the stream.
    """
    ends_s = float(clip.begins_s)
    for packet in clip.container.demux(*clip.tracks):
        if packet.pts is not None and not packet.is_discard:
            ends_s = max(ends_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return float(clip.begins_s), ends_s - float(clip.begins_s)
