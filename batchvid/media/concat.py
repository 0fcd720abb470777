"""Joins clips into one film with FFmpeg: its concat demuxer where their tracks are alike, else its filters and coders.

A part begins where the one before it has ended, picture and sound. Whatever is shorter of the two leaves a gap, in most
clips of less than a frame. So no part is cut, and picture and sound never drift apart. What is written begins with
its index (faststart), so that a browser plays it while it loads. It is decoded to its end before anybody sees it.
All of it blocks.
"""

from __future__ import annotations

import io
import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
from av.filter import Graph
from av.video.frame import PictureType

from batchvid.domain.frozen import frozen
from batchvid.media.frames import FrameCount, decode_clip
from batchvid.media.shown import (
    BT709,
    GOOD,
    MATRICES,
    RGB,
    SDR,
    UNSPECIFIED,
    chained,
    look_of,
    opened,
    screen_steps,
    source_steps,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.filter.context import FilterContext
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from batchvid.media.shown import Clip, Colours, Look, Step


USUAL_RATE = Fraction(24)
"""Frames a second of a film whose clips show a single frame each."""
RATES = (24, 25, 30, 50, 60)
"""For clips whose frames do not come evenly: the lowest of these that shows each when it is due."""
OFF_S, EVEN_S = 0.009, 0.002
"""So far from its moment a frame may be shown, before a higher rate is taken, and where frames come evenly."""
RATE_MAX = 120
DEEP_BITS = 10
MP4 = {"movflags": "+faststart"}
LIST = {"safe": "0", "auto_convert": "0", "format_whitelist": "concat,mp4", "protocol_whitelist": "file"}
"""For the concat demuxer: any path, packets as they are, and nothing opened that is not a clip on this machine."""
SOUND_RATES = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}
"""What AAC can have."""
OPUS_RATE = 48_000
SOUND_BITS = 96_000
"""A second, for each channel."""
LAYOUTS = {1: "mono", 2: "stereo"}
"""By the number of channels; more of them are 5.1."""
SCALED = {
    "bt709": "bt709",
    "fcc": "fcc",
    "smpte240m": "smpte240m",
    "bt2020nc": "bt2020",
    "bt2020c": "bt2020",
} | dict.fromkeys(("bt470bg", "smpte170m"), "bt601")
"""What FFmpeg's scaler calls the matrices."""


@frozen
class Coder:
    """What codes a film, so that it is hardly told from its clips, and about their size."""

    name: str
    tag: str
    options: tuple[tuple[str, str], ...]
    has_10_bits: bool


CODERS = {
    "h264": Coder("libx264", "avc1", (("preset", "medium"), ("crf", "16")), has_10_bits=False),
    "hevc": Coder(
        "libx265", "hvc1", (("preset", "medium"), ("crf", "16"), ("x265-params", "log-level=none")), has_10_bits=True
    ),
    "av1": Coder("libsvtav1", "av01", (("preset", "8"), ("crf", "18")), has_10_bits=True),
    "vp9": Coder(
        "libvpx-vp9", "vp09", (("crf", "16"), ("b", "0"), ("deadline", "good"), ("cpu-used", "4"), ("row-mt", "1")),
        has_10_bits=False,
    ),
}  # fmt: skip
"""By what all clips of the film are. H.264 is what else is made: it plays everywhere."""
SAME_CODEC = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx-vp9": "vp9", "libopus": "opus"}
"""Codecs by the names of FFmpeg's decoders."""


HIDDEN, UNCOPIED = "hidden frames", "what a copy cannot keep"
REASONS = {HIDDEN: "a copy would show frames that the clips hide", UNCOPIED: "a copy would not play"}


PLURALS = {"codec": "codecs", "size": "sizes", "sound": "sound tracks"}
"""What of a clip's kind needs another form where it is said of several."""


class NotJoinedError(ValueError):
    """The clips could not be joined; the text says why, for people."""


class StoppedError(Exception):
    """The person ended the run while clips were being joined."""


@frozen
class Joined:
    """How clips were joined."""

    difference: str
    """In what the clips differ, so that they were coded again; nothing when every packet was copied as it was."""

    @property
    def why(self) -> str:
        """Return why they were re-encoded, for people."""
        return REASONS.get(self.difference) or f"{PLURALS.get(self.difference, self.difference)} differ"


@frozen
class _Sound:
    codec: str
    rate: int
    layout: str
    channels: int
    coding: bytes | None


@frozen
class _Part:
    path: Path
    kind: dict[str, Any]
    """What two clips must have in common for their packets to follow each other in one track."""
    length_s: Fraction
    """Of the longer of picture and sound."""
    rate: Fraction | None
    """On the average."""
    times: list[Fraction]
    """When its frames are shown, counted from its beginning."""
    count: FrameCount
    look: Look
    codec: str
    bits: int
    """Of a sample of its pictures."""
    source: list[Step]
    """The filters that its frames go into."""
    sound: _Sound | None
    ids: list[int]
    """Of the tracks that are shown."""

    def is_shown_at(self, rate: Fraction, off_s: float) -> bool:
        """Whether this rate shows every frame, and not farther than *off_s* from its moment."""
        slots = [round(at * rate) for at in self.times]
        near = all(abs(slot / rate - at) <= off_s for slot, at in zip(slots, self.times, strict=True))
        return near and len(set(slots)) == len(slots)


def join(parts: Sequence[Path], target: Path, *, is_stopped: Callable[[], bool]) -> Joined:
    """Join the clips into the file *target*, which is overwritten.

    Raise `NotJoinedError` when a clip is damaged or the disk takes no more, and `StoppedError` as soon as
    *is_stopped* says so. What is in *target* then is no film.
    """

    def go_on() -> None:
        if is_stopped():
            raise StoppedError

    try:
        known = {path: _part(path, go_on) for path in dict.fromkeys(parts)}
        ready = [known[path] for path in parts]
        first = ready[0].kind | {HIDDEN: None}
        difference = next((what for part in ready for what in first if part.kind[what] != first[what]), "")
        if not difference and not _copied(target, ready, go_on):
            difference = UNCOPIED
        if difference:
            with av.open(str(target), "w", format="mp4", options=MP4) as film:
                _code(film, ready, go_on)
            _checked(target, go_on)
    except (av.FFmpegError, OSError) as error:
        raise NotJoinedError(f"its clips could not be joined: {error.strerror or error}") from None
    return Joined(difference)


def _checked(film: Path, go_on: Callable[[], None]) -> int:
    """Decode the film to its end, and return the number of its frames."""
    try:
        return decode_clip(film, between=go_on).frames
    except ValueError as error:
        raise NotJoinedError(f"what came of joining its clips {error}") from None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error tell which clip it is about."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, av.FFmpegError | NotJoinedError):
            raise
        raise NotJoinedError(f"{path.name} {error}") from None


def _part(path: Path, go_on: Callable[[], None]) -> _Part:
    with _naming(path), opened(path) as clip:
        return _looked_at(path, clip, go_on)


def _looked_at(path: Path, clip: Clip, go_on: Callable[[], None]) -> _Part:
    """Look at every packet of a clip: what its index says of its length is wrong in pieces of a stream."""
    video, begins_s = clip.video, clip.begins_s
    first: VideoFrame | None = None
    times, ends_s, hides, count = list[Fraction](), begins_s, False, FrameCount()
    for packet in clip.container.demux(*clip.tracks):
        go_on()
        if packet.stream is video:
            count.add(packet)
        if packet.stream is video and first is None:
            first = next(iter(video.decode(cast("Packet[VideoStream]", packet))), None)
        if packet.pts is None:
            continue
        if packet.is_discard:
            hides |= packet.stream is video
            continue
        ends_s = max(ends_s, (packet.pts + (packet.duration or 0)) * packet.time_base)
        if packet.stream is video:
            times.append(packet.pts * packet.time_base - begins_s)
    if first is None:
        raise ValueError("has a video track without a single frame")
    look, context = look_of(video, first), video.codec_context
    heard = _sound_of(clip.sound) if clip.sound else None
    kind = {
        "codec": (context.name, context.codec_tag),
        "size": (first.width, first.height),
        "colours": (first.format.name, look.colours),
        "sound": heard,
        "rotation": look.turn,
        "shape of a pixel": look.pixel,
        "tracks": [(one.id, one.time_base) for one in clip.tracks],
        "coding": context.extradata,
        HIDDEN: path if hides else None,  # never alike: a copy would show them
    }
    return _Part(
        path, kind, ends_s - begins_s, video.average_rate, times, count, look,
        codec=SAME_CODEC.get(context.name, context.name),
        bits=max(component.bits for component in first.format.components),
        source=source_steps(first, look, time_base=video.time_base),
        sound=heard,
        ids=[one.id for one in clip.tracks],
    )  # fmt: skip


def _sound_of(sound: AudioStream) -> _Sound:
    name, layout = sound.codec_context.name, sound.layout
    coding = sound.codec_context.extradata
    return _Sound(SAME_CODEC.get(name, name), sound.rate, layout.name, layout.nb_channels, coding)


def _rate(parts: Sequence[_Part]) -> Fraction:
    """Return the lowest rate at which a film shows each frame of its clips, and when it is due."""
    moving = [part for part in parts if len(part.times) > 1]
    own = {part.rate for part in moving if part.rate and part.rate <= RATE_MAX and part.is_shown_at(part.rate, EVEN_S)}
    rates = sorted(own | {Fraction(rate) for rate in RATES}) if moving else [USUAL_RATE]
    return next((rate for rate in rates if all(part.is_shown_at(rate, OFF_S) for part in moving)), rates[-1])


def _copied(target: Path, parts: Sequence[_Part], go_on: Callable[[], None]) -> bool:
    """Whether the film is all its clips, copied as they are."""
    try:
        with av.open(str(target), "w", format="mp4", options=MP4) as film:
            _copy(film, parts, go_on)
        made, is_whole = _part(target, go_on), _checked(target, go_on) == sum(len(part.times) for part in parts)
        return is_whole and abs(made.length_s - sum(part.length_s for part in parts)) <= OFF_S * len(parts)
    except (av.FFmpegError, ValueError):  # MP4 does not take their codec, or their times
        return False


def _copy(film: OutputContainer, parts: Sequence[_Part], go_on: Callable[[], None]) -> None:
    """Copy every packet as it is, at the place that the demuxer names."""
    with av.open(io.BytesIO(_list_of(parts)), "r", format="concat", options=LIST) as clips:
        tracks: dict[int, Any] = {}
        for stream in clips.streams:
            tracks[stream.index] = copy = film.add_stream_from_template(cast("VideoStream", stream), opaque=True)
            if stream.type == "video":
                copy.codec_context.sample_aspect_ratio = parts[0].look.pixel
            if stream.codec_context.codec_tag == "hvc1":  # what the muxer would choose does not play on a Mac
                copy.codec_context.codec_tag = "hvc1"
        last: dict[int, int] = {}
        for packet in clips.demux():
            go_on()
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
    lines += [b"stream\nexact_stream_id %d" % number for number in parts[0].ids]
    for part in parts:
        path = os.fsencode(part.path.absolute())
        if b"\n" in path:
            raise NotJoinedError("its clips lie in a folder with a line break in its name")
        lines += [b"file '%s'" % path.replace(b"'", rb"'\''"), b"option format_whitelist mp4"]
        lines.append(b"duration %.6f" % float(part.length_s))
    return b"\n".join(lines)


# ---- coded again


def _code(film: OutputContainer, parts: Sequence[_Part], go_on: Callable[[], None]) -> None:
    """Code all parts as one film.

    It has the size of the first one, a rate at which no frame is lost, and a sound in which no channel is. What all
    clips have in common it has, too: the codec, ten bits, colours that a usual screen cannot show.
    """
    rate, colours = _rate(parts), _colours(parts)
    tracks: list[Any] = [_video_track(film, parts, colours, rate)]
    sounds = [part.sound for part in parts if part.sound]
    if sounds:
        tracks.append(_sound_track(film, sounds))
    rates = [rate, *(Fraction(track.rate) for track in tracks[1:])]
    ends_s, done = Fraction(0), [0, 0]
    for part in parts:
        ends_s += part.length_s
        until_s = max(done[0] + 1, round(ends_s * rate)) / rate  # the sound ends where a frame does
        until = [round(until_s * one) for one in rates]
        with _naming(part.path), opened(part.path) as clip:
            clip.video.thread_type = "AUTO"
            zero = f"PTS-({clip.begins_s})/TB"
            filters = [_pictures(part, tracks[0], colours, rate, zero=zero)]
            filters += [_sound(clip.sound, track, zero=zero) for track in tracks[1:]]
            graph, spans = Graph(), zip(tracks, filters, done, until, strict=False)
            sinks = [chained(graph, [*steps, *_span(track, begin, end - begin)]) for track, steps, begin, end in spans]
            graph.configure()
            for frame in chain(_decoded(part, clip, rate, with_sound=bool(sounds)), [None]):
                go_on()
                graph.push(frame)
                for track, sink in zip(tracks, sinks, strict=True):
                    for coded in _pulled(sink):
                        is_new = not track.codec_context.is_open
                        film.mux(track.encode(coded))
                        if is_new:
                            take_turns()
        done = until
    for track in tracks:
        film.mux(track.encode(None))


def _decoded(part: _Part, clip: Clip, rate: Fraction, *, with_sound: bool) -> Iterator[VideoFrame | AudioFrame]:
    """Yield the frames of a part; raise `ValueError` where it is damaged."""
    pictures = 0
    for frame in clip.container.decode(*(clip.tracks if with_sound else [clip.video])):
        if frame.is_corrupt:
            raise ValueError("is damaged: a frame does not decode")
        if isinstance(frame, av.VideoFrame):
            pictures += 1
            # The filter that makes the rate drops a last frame that lasts no time; some decoders do not say how long.
            frame.duration = frame.duration or round(1 / rate / (frame.time_base or 1))
        yield frame
    part.count.compare(pictures)


def _colours(parts: Sequence[_Part]) -> Colours:
    """Return the film's: the first clip's, where all clips can be shown in them, else those of a usual screen.

    What no clip specifies is left open.
    """
    own = [part.look.colours for part in parts]
    first = replace(own[0], is_full=False)
    if any(one.light != first.light for one in own) or first.assumed == RGB:
        return replace(first, matrix=1, assumed="bt709", gamut=BT709, transfer=SDR, primaries=1, trc=1)
    if first.matrix == UNSPECIFIED and any(one.matrix != UNSPECIFIED for one in own):
        return replace(first, matrix=next(number for number, name in MATRICES.items() if name == first.assumed))
    return first


def take_turns() -> None:
    """Give the real-time priority back that SVT-AV1 takes where it may (root): nothing else would run beside a film.

    It does so for the whole process when it is opened, at the first frame.
    """
    if not hasattr(os, "sched_setscheduler"):
        return
    with suppress(OSError):
        for thread in (int(one.name) for one in Path("/proc/self/task").iterdir()):
            if os.sched_getscheduler(thread) in {os.SCHED_FIFO, os.SCHED_RR}:
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _video_track(film: OutputContainer, parts: Sequence[_Part], colours: Colours, rate: Fraction) -> VideoStream:
    codecs, is_wide = {part.codec for part in parts}, colours.light != (BT709, SDR)
    coder = CODERS.get(codecs.pop() if len(codecs) == 1 else "", CODERS["h264"])
    if coder.name not in av.codecs_available:
        coder = CODERS["h264"]
    if is_wide and not coder.has_10_bits:
        coder = CODERS["hevc"]
    video = cast("VideoStream", film.add_stream(coder.name, rate=rate, options=dict(coder.options)))
    deep = coder.has_10_bits and (is_wide or min(part.bits for part in parts) >= DEEP_BITS)
    video.width, video.height = (max(2, side // 2 * 2) for side in parts[0].look.size)
    video.pix_fmt = "yuv420p10le" if deep else "yuv420p"
    context = video.codec_context
    context.codec_tag, context.colorspace, context.color_range = coder.tag, colours.matrix, 1
    context.color_primaries, context.color_trc = colours.primaries, colours.trc
    return video


def _sound_track(film: OutputContainer, sounds: Sequence[_Sound]) -> AudioStream:
    is_opus = all(one.codec == "opus" for one in sounds)
    rate, channels = max(one.rate for one in sounds), max(one.channels for one in sounds)
    if is_opus or rate not in SOUND_RATES:
        rate = OPUS_RATE
    layout = LAYOUTS.get(channels, "5.1")
    track = film.add_stream("libopus" if is_opus else "aac", rate=rate, layout=layout)
    track.bit_rate = SOUND_BITS * channels
    return track


def _pictures(part: _Part, film: VideoStream, colours: Colours, rate: Fraction, *, zero: str) -> list[Step]:
    """Return the filters that bring pictures to the film's size, in bars, to its colours and its rate."""
    scale = min(Fraction(film.width, part.look.size[0]), Fraction(film.height, part.look.size[1]))
    width, height = (max(2, round(side * scale / 2) * 2) for side in part.look.size)
    own = part.look.colours
    return [
        *part.source,
        ("setpts", zero),
        *(screen_steps(own) if own.light != colours.light else []),
        ("scale", f"{width}:{height}:out_range=tv:out_color_matrix={SCALED[colours.assumed]}:{GOOD}"),
        ("format", film.pix_fmt or ""),
        ("pad", f"{film.width}:{film.height}:(ow-iw)/2:(oh-ih)/2"),
        ("setsar", "1"),
        ("fps", f"{rate}:start_time=0"),
        ("tpad", "stop=-1:stop_mode=clone"),
    ]


def _sound(source: AudioStream | None, film: AudioStream, *, zero: str) -> list[Step]:
    """Return the filters that bring sound to the film's kind, with silence before, behind, within or instead of it."""
    form = f"sample_fmts={film.format.name}:channel_layouts={film.layout.name}"
    if source is None:
        return [("anullsrc", f"sample_rate={film.rate}:channel_layout={film.layout.name}"), ("aformat", form)]
    own = f"sample_rate={source.rate}:sample_fmt={source.format.name}:channel_layout={source.layout.name}"
    # Players let both speakers play one channel as loud as it is; FFmpeg's mixer would take 3 dB off.
    both = [("pan", "stereo|c0=c0|c1=c0")] if (source.layout.nb_channels, film.layout.name) == (1, "stereo") else []
    return [
        ("abuffer", f"{own}:time_base={source.time_base}"),
        ("asetpts", zero),
        *both,
        ("aresample", f"{film.rate}:async=1:min_hard_comp=0.01:first_pts=0"),
        ("aformat", form),
        ("apad", ""),
    ]


def _span(track: VideoStream | AudioStream, begin: int, length: int) -> list[Step]:
    """Return the filters that end a part after *length* frames or samples, and let it begin at *begin* in the film."""
    if track.type == "video":
        return [("trim", f"end_frame={length}"), ("setpts", f"N+{begin}"), ("buffersink", "")]
    return [("atrim", f"end_sample={length}"), ("asetpts", f"N+{begin}"), ("abuffersink", "")]


def _pulled(sink: FilterContext) -> Iterator[Any]:
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            frame = sink.pull()
            if isinstance(frame, av.VideoFrame):
                frame.pict_type = PictureType.NONE  # else the key frames of the clip would be key frames of the film
            yield frame
