"""Joins clips into one film with FFmpeg: its concat demuxer where their tracks are alike, else its filters and x264.

A part begins where the one before it has ended, picture and sound. Whatever is shorter of the two leaves a gap, in most
clips of less than a frame. So no part is cut, and picture and sound never drift apart. What is written begins with
its index (faststart), so that a browser plays it while it loads. All of it blocks.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, cast

import av
from av.filter import Graph
from av.video.frame import PictureType

from batchvid.media.frames import decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.filter.context import FilterContext
    from av.video.stream import VideoStream


CODING = {"preset": "medium", "crf": "16"}
"""Where clips must be coded again: hardly told from the original, and about its size."""
USUAL_RATE = Fraction(24)
"""Frames a second of a clip that does not say it."""
MP4 = {"movflags": "+faststart"}
LIST = {"safe": "0", "auto_convert": "0", "format_whitelist": "concat,mp4", "protocol_whitelist": "file"}
"""For the concat demuxer: any path, packets as they are, and nothing opened that is not a clip on this machine."""
UPRIGHT = {90: "transpose=cclock,", -90: "transpose=clock,", 180: "hflip,vflip,", -180: "hflip,vflip,"}
"""By how many degrees against the clock a clip wants to be turned."""
MATRICES = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020"}
"""FFmpeg's names of how colours become numbers (ISO/IEC 23091-2, MatrixCoefficients)."""


class NotJoinedError(ValueError):
    """The clips could not be joined; the text says why, for people."""


class StoppedError(Exception):
    """The person ended the run while clips were being joined."""


@dataclass(frozen=True, slots=True)
class Joined:
    """How clips were joined."""

    difference: str
    """In what the clips differ, so that they were coded again; nothing when every packet was copied as it was."""


@dataclass(frozen=True, slots=True)
class _Part:
    path: Path
    kind: dict[str, Any]
    """What two clips must have in common for their packets to follow each other in one track."""
    length_s: Fraction
    """Of the longer of picture and sound."""
    size: tuple[int, int]
    """As it is shown: turned upright, with square pixels."""
    tracks: list[int]


def join(parts: Sequence[Path], target: Path, *, is_stopped: Callable[[], bool]) -> Joined:
    """Join the clips into the file *target*, which is overwritten.

    Raise `NotJoinedError` when a clip is damaged or the disk takes no more, and `StoppedError` as soon as
    *is_stopped* says so. What is in *target* then is no film.
    """
    try:
        known = {path: _part(path, is_stopped) for path in dict.fromkeys(parts)}
        ready = [known[path] for path in parts]
        first = ready[0].kind | {"hidden frames": None}
        difference = next((what for part in ready for what in first if part.kind[what] != first[what]), "")
        with av.open(str(target), "w", format="mp4", options=MP4) as film:
            (_code if difference else _copy)(film, ready, is_stopped)
    except (av.FFmpegError, OSError) as error:
        raise NotJoinedError(f"its clips could not be joined: {error.strerror or error}") from None
    return Joined(difference)


def _part(path: Path, is_stopped: Callable[[], bool]) -> _Part:
    """Look at every packet of a clip: what its index says of its length is wrong in pieces of a stream."""
    try:
        with decoder(path) as (clip, video):
            return _looked_at(path, clip, video, is_stopped)
    except ValueError as error:
        if isinstance(error, av.FFmpegError):
            raise
        raise NotJoinedError(f"{path.name} {error}") from None


def _looked_at(path: Path, clip: InputContainer, video: VideoStream, is_stopped: Callable[[], bool]) -> _Part:
    sounds, shown, hides = clip.streams.audio[:1], list[av.VideoFrame](), False
    begins_s = ends_s = Fraction(clip.start_time or 0, av.time_base)
    for packet in clip.demux(video, *sounds):
        if is_stopped():
            raise StoppedError
        if packet.stream is video and not shown:
            shown = video.decode(packet)
        if packet.pts is None:
            continue
        if packet.is_discard:
            hides |= packet.stream is video
        else:
            ends_s = max(ends_s, (packet.pts + (packet.duration or 0)) * packet.time_base)
    if not shown:
        raise ValueError("has a video track without a single frame")
    turn, square = shown[0].rotation, video.sample_aspect_ratio or 1
    size = round(video.width * square), video.height
    kind = {
        "codec": (video.codec_context.name, video.codec_context.codec_tag),
        "size": (video.width, video.height),
        "colours": (video.pix_fmt, video.colorspace, video.color_range),
        "rate": video.average_rate,
        "sound": [(one.codec_context.name, one.rate, one.layout.name, one.codec_context.extradata) for one in sounds],
        "rotation": turn,
        "shape of a pixel": square,
        "tracks": [(one.type, one.time_base) for one in clip.streams],
        "coding": video.codec_context.extradata,
        "hidden frames": path if hides else None,  # never alike: a copy would show them
    }
    tracks = [one.index for one in (video, *sounds)]
    return _Part(path, kind, ends_s - begins_s, size[::-1] if turn % 180 else size, tracks)


def _copy(film: OutputContainer, parts: Sequence[_Part], is_stopped: Callable[[], bool]) -> None:
    """Copy every packet as it is, at the place that the demuxer names."""
    with av.open(io.BytesIO(_list_of(parts)), "r", format="concat", options=LIST) as clips:
        tracks: dict[int, Any] = {}
        for stream in (clips.streams[index] for index in parts[0].tracks):
            tracks[stream.index] = film.add_stream_from_template(stream, opaque=True)
            if stream.codec_context.codec_tag == "hvc1":  # what the muxer would choose does not play on a Mac
                tracks[stream.index].codec_context.codec_tag = "hvc1"
        last: dict[int, int] = {}
        for packet in clips.demux(*(clips.streams[index] for index in tracks)):
            if is_stopped():
                raise StoppedError
            index = packet.stream_index
            if packet.dts is None:
                continue  # the end of a track, not a packet of it
            if packet.stream.type == "audio" and index in last and (packet.is_discard or packet.dts <= last[index]):
                continue  # what the decoder needs before the first sound; here the clip before has it running
            last[index] = packet.dts
            packet.stream = tracks[index]
            film.mux(packet)


def _list_of(parts: Sequence[_Part]) -> bytes:
    lines = [b"ffconcat version 1.0"]
    for part in parts:
        path = os.fsencode(part.path.absolute())
        if b"\n" in path:
            raise NotJoinedError("its clips lie in a folder with a line break in its name")
        lines += [b"file '%s'" % path.replace(b"'", rb"'\''"), b"option format_whitelist mp4"]
        lines.append(b"duration %.6f" % float(part.length_s))
    return b"\n".join(lines)


def _code(film: OutputContainer, parts: Sequence[_Part], is_stopped: Callable[[], bool]) -> None:
    """Code all parts as one film of the first one's size, rate and colours, and of the first sound that there is."""
    with decoder(parts[0].path) as (_, like):
        rates = [like.average_rate or USUAL_RATE]
        video = film.add_stream("libx264", rate=rates[0], options=CODING)
        video.width, video.height = (max(2, side // 2 * 2) for side in parts[0].size)
        video.pix_fmt = "yuv420p"
        video.colorspace, video.color_primaries, video.color_trc = like.colorspace, like.color_primaries, like.color_trc
    tracks: list[Any] = [video]
    if heard := next((sound for part in parts for sound in part.kind["sound"]), None):
        rates.append(Fraction(heard[1]))
        tracks.append(film.add_stream("aac", rate=heard[1], layout=heard[2]))
    ends_s, done = Fraction(0), [0, 0]
    for part in parts:
        ends_s += part.length_s
        until_s = max(done[0] + 1, round(ends_s * rates[0])) / rates[0]  # the sound ends where a frame does
        until = [round(until_s * rate) for rate in rates]
        with decoder(part.path) as (clip, source):
            source.thread_type = "AUTO"
            sounds, graph, sinks = clip.streams.audio[: len(tracks) - 1], Graph(), []
            for track, begin, end in zip(tracks, done, until, strict=False):
                fill = _pictures(part, source, track, rates[0]) if track is video else _sound(sounds, track)
                zero = f"setpts=PTS-{clip.start_time or 0}/{av.time_base}/TB"
                sinks.append(_chain(graph, fill.format(zero=zero, begin=begin, length=end - begin)))
            graph.configure()
            for frame in chain(clip.decode(source, *sounds), [None]):
                if is_stopped():
                    raise StoppedError
                graph.push(cast("av.VideoFrame | av.AudioFrame | None", frame))
                for track, sink in zip(tracks, sinks, strict=True):
                    for coded in _pulled(sink):
                        film.mux(track.encode(coded))
        done = until
    for track in tracks:
        film.mux(track.encode(None))


def _pictures(part: _Part, source: VideoStream, film: VideoStream, rate: Fraction) -> str:
    """Return the filters that bring pictures upright to the film's size, in bars, and rate, until the part ends."""
    scale = min(Fraction(film.width, part.size[0]), Fraction(film.height, part.size[1]))
    width, height = (max(2, round(side * scale / 2) * 2) for side in part.size)
    matrix = f":out_color_matrix={MATRICES[film.colorspace]}" if film.colorspace in MATRICES else ""
    return (
        f"buffer=video_size={source.width}x{source.height}:pix_fmt={source.pix_fmt}:time_base={source.time_base}"
        f":colorspace={source.colorspace}:range={source.color_range},{{zero}},{UPRIGHT.get(part.kind['rotation'], '')}"
        f"scale={width}:{height}:out_range=tv{matrix},pad={film.width}:{film.height}:(ow-iw)/2:(oh-ih)/2,setsar=1,"
        f"format=yuv420p,fps={rate}:start_time=0,tpad=stop=-1:stop_mode=clone,"
        "trim=end_frame={length},setpts=N+{begin},buffersink"
    )


def _sound(sounds: Sequence[AudioStream], film: AudioStream) -> str:
    """Return the filters that bring sound to the film's kind, with silence before, behind or instead of it."""
    begins = [
        f"abuffer=sample_rate={one.rate}:sample_fmt={one.format.name}:channel_layout={one.layout.name}:time_base={one.time_base}"
        for one in sounds
    ] or ["anullsrc"]
    return (
        f"{begins[0]},a{{zero}},aresample={film.rate}:async=1:first_pts=0,"
        f"aformat=sample_fmts=fltp:channel_layouts={film.layout.name},apad,"
        "atrim=end_sample={length},asetpts=N+{begin},abuffersink"
    )


def _chain(graph: Graph, text: str) -> FilterContext:
    """Add the filters to the graph, and return the last one."""
    filters = [graph.add(*step.split("=", 1)) for step in text.split(",")]
    for one, following in pairwise(filters):
        one.link_to(following)
    return filters[-1]


def _pulled(sink: FilterContext) -> Iterator[Any]:
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            frame = sink.pull()
            if isinstance(frame, av.VideoFrame):
                frame.pict_type = PictureType.NONE  # else the key frames of the clip would be key frames of the film
            yield frame
