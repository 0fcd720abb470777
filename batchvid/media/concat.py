"""Joins clips into one film with PyAV: packet by packet where their streams are alike, else coded anew, once.

A part begins where the one before it has ended, picture and sound: whatever is shorter of the two leaves a gap, in most
clips of less than a frame, so that no part is cut and picture and sound never drift apart. What is written begins with
its index (faststart), so that a browser plays it while it loads. All of it blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
from av.audio.fifo import AudioFifo
from av.audio.resampler import AudioResampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream


CODING = {"preset": "medium", "crf": "16"}
"""Where clips must be coded again: hardly told from the original, and about its size."""
SOUND_SAMPLES = 1024
"""Of one AAC frame."""
USUAL_RATE = Fraction(24)
"""Frames a second of a clip that does not say it."""
MP4 = {"movflags": "+faststart"}


class NotJoinedError(ValueError):
    """The clips could not be joined; the text says why, for people."""


class StoppedError(Exception):
    """The person ended the run while clips were being joined."""


@dataclass(frozen=True, slots=True)
class Joined:
    """How clips were joined."""

    difference: str
    """In what the clips differ, so that they were coded again; nothing when every packet was copied as it was."""


def join(parts: Sequence[Path], target: Path, *, is_stopped: Callable[[], bool]) -> Joined:
    """Join the clips into the file *target*, which is overwritten.

    Raises `NotJoinedError` when a clip is damaged or the disk takes no more, and `StoppedError` as soon as
    *is_stopped* says so. What is in *target* then is no film.
    """
    try:
        difference = _difference([_kind(part) for part in parts])
        with av.open(str(target), "w", format="mp4", options=MP4) as film:
            if difference:
                _Coder(film, parts, is_stopped).code()
            else:
                _copy(film, parts, is_stopped)
    except (av.FFmpegError, OSError) as error:
        raise NotJoinedError(f"its clips could not be joined: {error.strerror or error}") from None
    return Joined(difference)


def _opened(part: Path) -> InputContainer:
    # The format is named, so that no playlist in disguise makes the library open something else.
    return av.open(str(part), "r", format="mp4")


def _kind(part: Path) -> dict[str, Any]:
    """Return what two clips must have in common for their packets to follow each other in one track."""
    with _opened(part) as clip:
        if not clip.streams.video:
            raise NotJoinedError(f"{part.name} has no video track")
        video = clip.streams.video[0]
        kind: dict[str, Any] = {
            "codec": video.codec_context.name,
            "size": (video.width, video.height),
            "colours": (video.pix_fmt, video.codec_context.colorspace, video.codec_context.color_range),
            "rate": video.average_rate,
            "sound": None,
            "coding": (video.codec_context.extradata, video.time_base),
        }
        if clip.streams.audio:
            sound = clip.streams.audio[0]
            context = sound.codec_context
            kind["sound"] = context.name, sound.rate, sound.layout.name, context.extradata
        return kind


def _difference(kinds: Sequence[dict[str, Any]]) -> str:
    first = kinds[0]
    return next((what for kind in kinds for what, value in kind.items() if value != first[what]), "")


def _copy(film: OutputContainer, parts: Sequence[Path], is_stopped: Callable[[], bool]) -> None:
    """Copy every packet as it is, moved to its place in time."""
    tracks: dict[str, Any] = {}
    begins_at = Fraction(0)
    for number, part in enumerate(parts):
        ends_at = begins_at
        with _opened(part) as clip:
            streams = [clip.streams.video[0], *clip.streams.audio[:1]]
            if not tracks:
                tracks = {stream.type: film.add_stream_from_template(stream) for stream in streams}
            for packet in clip.demux(streams):
                if is_stopped():
                    raise StoppedError
                if packet.dts is None or packet.pts is None:
                    continue  # the end of a track, not a packet of it
                length = packet.duration or 0
                kind = packet.stream.type
                if number and kind == "audio" and packet.pts + length <= 0:
                    continue  # what the decoder needs before the first sound; here the clip before has it running
                ends_at = max(ends_at, begins_at + (packet.pts + length) * packet.time_base)
                shift = round(begins_at / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = tracks[kind]
                film.mux(packet)
        begins_at = ends_at


class _Coder:
    """Codes clips of different kinds as one film of the first one's size, rate and sound."""

    def __init__(self, film: OutputContainer, parts: Sequence[Path], is_stopped: Callable[[], bool]) -> None:
        self._film = film
        self._parts = parts
        self._is_stopped = is_stopped
        self._frames = 0
        self._samples = 0
        self._sound: AudioStream | None = None
        self._waiting = AudioFifo()
        with _opened(parts[0]) as first:
            video = first.streams.video[0]
            self._rate = video.average_rate or USUAL_RATE
            self._video = film.add_stream("libx264", rate=self._rate, options=CODING)
            self._video.width, self._video.height = video.width // 2 * 2, video.height // 2 * 2
            self._video.pix_fmt = "yuv420p"
        for part in parts:
            with _opened(part) as clip:
                if clip.streams.audio:
                    like = clip.streams.audio[0]
                    self._sound = film.add_stream("aac", rate=like.rate, layout=like.layout.name)
                    break

    def code(self) -> None:
        """Code all parts."""
        for part in self._parts:
            with _opened(part) as clip:
                self._code_pictures(clip)
            if self._sound is not None:
                with _opened(part) as clip:
                    self._code_sound(clip, self._sound)
        self._film.mux(self._video.encode(None))
        if self._sound is not None:
            self._send_sound(self._sound, to_the_end=True)
            self._film.mux(self._sound.encode(None))

    def _code_pictures(self, clip: InputContainer) -> None:
        video = clip.streams.video[0]
        video.thread_type = "AUTO"
        graph = self._fitting(video)
        for frame in clip.decode(video):
            if self._is_stopped():
                raise StoppedError
            graph.push(frame)
            self._send_pictures(graph)
        graph.push(None)
        self._send_pictures(graph)

    def _fitting(self, video: VideoStream) -> av.filter.Graph:
        """Return the filters that bring a clip to the film's size, with bars where its shape differs, and rate."""
        width, height = self._video.width, self._video.height
        chain = (
            ("scale", f"{width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2"),
            ("pad", f"{width}:{height}:(ow-iw)/2:(oh-ih)/2"),
            ("setsar", "1"),
            ("fps", f"{self._rate.numerator}/{self._rate.denominator}"),
            ("format", "yuv420p"),
            ("buffersink", None),
        )
        graph = av.filter.Graph()
        last = graph.add_buffer(template=video)
        for name, arguments in chain:
            step = graph.add(name, arguments)
            last.link_to(step)
            last = step
        graph.configure()
        return graph

    def _send_pictures(self, graph: av.filter.Graph) -> None:
        for picture in _pulled(graph):
            picture.pts, picture.time_base = self._frames, 1 / self._rate
            picture.pict_type = 0
            self._frames += 1
            self._film.mux(self._video.encode(picture))

    def _code_sound(self, clip: InputContainer, sound: AudioStream) -> None:
        """Add the clip's sound, as long as its pictures are: the rest of it is cut, or filled with silence."""
        wanted = round(self._frames / self._rate * sound.rate) - self._samples
        heard = AudioFifo()
        if clip.streams.audio:
            resampler = AudioResampler(format="fltp", layout=sound.layout.name, rate=sound.rate)
            for frame in clip.decode(clip.streams.audio[0]):
                if self._is_stopped():
                    raise StoppedError
                for piece in resampler.resample(frame):
                    piece.pts = None
                    heard.write(piece)
            for piece in resampler.resample(None):
                piece.pts = None
                heard.write(piece)
        if (there := min(wanted, heard.samples)) and (chunk := heard.read(there, partial=True)) is not None:
            chunk.pts = None
            self._waiting.write(chunk)
        if wanted > there:
            self._waiting.write(_silence(sound, wanted - there))
        self._samples += wanted
        self._send_sound(sound, to_the_end=False)

    def _send_sound(self, sound: AudioStream, *, to_the_end: bool) -> None:
        sent = self._samples - self._waiting.samples
        while self._waiting.samples >= SOUND_SAMPLES or (to_the_end and self._waiting.samples):
            chunk = self._waiting.read(SOUND_SAMPLES, partial=True)
            if chunk is None:
                return
            chunk.pts, chunk.time_base, chunk.sample_rate = sent, Fraction(1, sound.rate), sound.rate
            sent += chunk.samples
            self._film.mux(sound.encode(chunk))


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield cast("av.VideoFrame", graph.pull())
        except (av.BlockingIOError, av.EOFError):
            return


def _silence(sound: AudioStream, samples: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout=sound.layout.name, samples=samples)
    frame.sample_rate = sound.rate
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return frame
