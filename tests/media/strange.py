"""Clips of every kind, made by FFmpeg from pictures that are known, and how far a film is from these pictures.

A clip flashes and beeps at one moment. So what a film made of it can be measured: its pictures against those that were
drawn, its sound against its pictures, its length against the sum of the lengths.
"""

from __future__ import annotations

import io
import math
import struct
from array import array
from bisect import bisect_right
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av
from av.filter import Graph
from av.video.frame import PictureType
from PIL import Image, ImageChops, ImageDraw, ImageStat

from batchvid.media.concat import take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

UNSPECIFIED, BT709, BT601, BT2020, P3 = 2, 1, 6, 9, 12
"""ISO/IEC 23091-2: of matrices and primaries."""
PQ, HLG, BT2020_10 = 16, 18, 14
"""Of transfer characteristics."""
SWS = {BT709: "bt709", 5: "smpte170m", BT601: "smpte170m", BT2020: "bt2020", UNSPECIFIED: "smpte170m"}
QUIET = {
    "libx264": {"g": "12", "bf": "0", "crf": "8"},
    "libx265": {"x265-params": "log-level=none:keyint=12", "bf": "0", "crf": "8"},
    "libsvtav1": {"preset": "8", "crf": "12"},
    "libvpx-vp9": {"crf": "8", "b": "0", "deadline": "realtime", "cpu-used": "8"},
}
FLASH_S, FLASH_LASTS_S = 0.25, 0.125
LATE_S = 0.01
WHITE = (235, 235, 235)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a clip is like."""

    width: int = 64
    height: int = 36
    frames: int = 12
    rate: int | Fraction = 24
    times: Sequence[float] = ()
    """When its frames are shown, where that is not at *rate*."""
    pictures_from_s: float = 0.0
    codec: str = "libx264"
    tag: str = ""
    pix_fmt: str = "yuv420p"
    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    full: bool = False
    """Whether its luma runs from 0 to 255."""
    pixel: Fraction = Fraction(1)
    """The shape of a pixel."""
    options: tuple[tuple[str, str], ...] = ()
    sound: str = ""
    """The codec of its sound; none when empty."""
    sound_rate: int = 48_000
    layout: str = "stereo"
    sound_from_s: float = 0.0
    sound_s: float | None = None
    """How long the sound is; as long as the pictures when ``None``."""
    flash_s: float = FLASH_S
    """When it flashes and beeps."""
    movflags: str = ""
    form: str = "mp4"
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height with square pixels."""
        return round(self.width * self.pixel), self.height

    def shown_at(self, number: int) -> float:
        """Return when a frame is shown."""
        return (self.times[number] if self.times else number / float(self.rate)) + self.pictures_from_s

    @property
    def pictures_end_s(self) -> float:
        """When the last frame is over; of a variable rate, as long after it as it came after the one before."""
        if not self.times:
            return self.frames / float(self.rate) + self.pictures_from_s
        last = self.times[-1] - self.times[-2] if len(self.times) > 1 else 1 / float(self.rate)
        return self.times[-1] + last + self.pictures_from_s

    def truth(self, number: int, size: tuple[int, int] | None = None) -> Image.Image:
        """Return the frame as it was drawn."""
        return drawn(-1 if self.flashes(number) else number, size or self.shown_size)

    def flashes(self, number: int) -> bool:
        """Whether the frame is one of the flash."""
        return self.flash_s <= self.shown_at(number) + 0.001 < self.flash_s + FLASH_LASTS_S


@cache
def drawn(number: int, size: tuple[int, int]) -> Image.Image:
    """Return picture *number*: soft colours, a corner that tells what is up and what is left, a block that walks."""
    if number < 0:
        return Image.new("RGB", size, WHITE)
    across, down = 32, 18
    image = Image.new("RGB", (across, down))
    image.putdata([(60 + 4 * x, 70 + 6 * y, 150 - 3 * x) for y in range(down) for x in range(across)])
    draw = ImageDraw.Draw(image)
    draw.rectangle((1, 1, 6, 4), fill=WHITE)
    row = 9 - 4 * (number // 20 % 2)
    draw.rectangle((8 + number % 20, row, 11 + number % 20, row + 4), fill=(40, 40, 40))
    return image.resize(size, Image.Resampling.BICUBIC)


def make(path: Path, kind: Kind) -> Path:
    """Write the clip."""
    options = {"movflags": kind.movflags} if kind.movflags else {}
    with av.open(str(path), "w", format=kind.form, options=options) as clip:
        clip.metadata.update(kind.metadata)
        video = clip.add_stream(kind.codec, rate=kind.rate, options=QUIET.get(kind.codec, {}) | dict(kind.options))
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = kind.width, kind.height, kind.pix_fmt
        context = video.codec_context
        if kind.times:
            context.time_base = Fraction(1, 1000)
        context.sample_aspect_ratio = kind.pixel
        context.colorspace, context.color_range = kind.matrix, 2 if kind.full else 1
        context.color_primaries, context.color_trc = kind.primaries, kind.transfer
        if kind.tag:
            context.codec_tag = kind.tag
        sound = clip.add_stream(kind.sound, rate=kind.sound_rate, layout=kind.layout) if kind.sound else None
        for number, frame in enumerate(_coded(kind)):
            frame.pict_type = PictureType.NONE
            frame.time_base, frame.pts = Fraction(1, 90_000), round(kind.shown_at(number) * 90_000)
            clip.mux(video.encode(frame))
            take_turns()
        if isinstance(sound, av.AudioStream):
            for piece in _tones(kind):
                clip.mux(sound.encode(piece))
            clip.mux(sound.encode(None))
        clip.mux(video.encode(None))
    return path


def _coded(kind: Kind) -> Iterator[av.VideoFrame]:
    """Yield its frames in the numbers of its own colours."""
    size = (kind.width, kind.height)
    matrix, reach = SWS[kind.matrix], "pc" if kind.full else "tv"
    source, sink, graph = _graph(
        ("buffer", f"video_size={kind.width}x{kind.height}:pix_fmt=rgb24:time_base=1/24:colorspace=0:range=2"),
        ("scale", f"out_color_matrix={matrix}:out_range={reach}:flags=bicubic+accurate_rnd+full_chroma_int"),
        ("format", kind.pix_fmt),
    )
    for number in range(kind.frames):
        frame = av.VideoFrame.from_image(kind.truth(number, size))  # type: ignore[no-untyped-call] # PyAV's own gap
        frame.pts = number
        source.push(frame)
        coded = sink.pull()
        assert isinstance(coded, av.VideoFrame)
        yield coded
    del graph


def _tones(kind: Kind) -> Iterator[av.AudioFrame]:
    """Yield its sound in pieces of 20 ms: a beep while it flashes, else silence."""
    rate, size = kind.sound_rate, kind.sound_rate // 50
    length_s = kind.pictures_end_s - kind.sound_from_s if kind.sound_s is None else kind.sound_s
    first = round(kind.sound_from_s * rate)
    for begin in range(first, first + round(length_s * rate), size):
        samples = min(size, first + round(length_s * rate) - begin)
        loud_from, loud_to = kind.flash_s * rate, (kind.flash_s + FLASH_LASTS_S) * rate
        wave = array(
            "f",
            (
                0.5 * math.sin(2 * math.pi * 1000 * at / rate) if loud_from <= at < loud_to else 0.0
                for at in range(begin, begin + samples)
            ),
        )
        piece = av.AudioFrame(format="fltp", layout=kind.layout, samples=samples)
        piece.sample_rate, piece.pts, piece.time_base = rate, begin, Fraction(1, rate)
        for plane in piece.planes:
            plane.update(wave.tobytes().ljust(plane.buffer_size, b"\0"))
        if kind.sound in {"libopus", "flac"}:
            piece = _resampled(piece, "flt" if kind.sound == "libopus" else "s16")
        yield piece


def _resampled(piece: av.AudioFrame, form: str) -> av.AudioFrame:
    (found,) = av.AudioResampler(format=form, layout=piece.layout, rate=piece.sample_rate).resample(piece)
    found.pts, found.time_base = piece.pts, piece.time_base
    return found


# ---- clips that are brighter and more colourful than a usual screen

PATCHES = ((200, 40, 40), (30, 30, 30), (128, 128, 128), (40, 90, 180))
"""As a usual screen shows them."""
TO_BT2020 = ((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956))
"""Of light, from BT.709 (ITU-R BT.2087)."""
PAPER_NITS = 203


def _pq(nits: float) -> float:
    """Return the number for so much light (SMPTE ST 2084)."""
    power = (nits / 10_000) ** (2610 / 16384)
    return float(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32))


def _hlg(nits: float) -> float:
    """Return the number for so much light on a screen of 1,000 nits (ARIB STD-B67)."""
    scene = (nits / 1000) ** (1 / 1.2)
    return math.sqrt(3 * scene) if scene <= 1 / 12 else 0.17883277 * math.log(12 * scene - 0.28466892) + 0.55991073


NUMBERS: dict[int, Callable[[float], float]] = {
    PQ: _pq,
    HLG: _hlg,
    BT2020_10: lambda nits: (nits / PAPER_NITS) ** (1 / 2.2),
}
"""By transfer characteristic: what stands in a clip for so many nits."""


def patches(path: Path, transfer: int, *, size: int = 64, frames: int = 6) -> Path:
    """Write a clip of BT.2020 that shows `PATCHES`, two by two, where paper is as bright as it should be."""
    rows = list[tuple[float, float, float]]()
    for colour in PATCHES:
        light = [(one / 255) ** 2.2 for one in colour]
        red, green, blue = (
            NUMBERS[transfer](PAPER_NITS * sum(share * one for share, one in zip(row, light, strict=True)))
            for row in TO_BT2020
        )
        luma = 0.2627 * red + 0.678 * green + 0.0593 * blue
        rows.append((64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746))
    half = size // 2
    with av.open(str(path), "w") as clip:
        options = {"x265-params": "log-level=none:bframes=0", "crf": "4"}
        video = clip.add_stream("libx265", rate=24, options=options)
        assert isinstance(video, av.VideoStream)
        video.width = video.height = size
        video.pix_fmt = "yuv444p10le"
        context = video.codec_context
        context.codec_tag, context.colorspace, context.color_range = "hvc1", BT2020, 1
        context.color_primaries, context.color_trc = BT2020, transfer
        frame = av.VideoFrame(size, size, "yuv444p10le")
        for number, plane in enumerate(frame.planes):
            lines = [
                array("H", [round(one[number]) for one in pair for _ in range(half)]) for pair in (rows[:2], rows[2:])
            ]
            upper, lower = (line.tobytes().ljust(plane.line_size, b"\0") for line in lines)
            plane.update(upper * half + lower * half)
        for number in range(frames):
            frame.pts = number
            clip.mux(video.encode(frame))
        clip.mux(video.encode(None))
    return path


def patches_of(image: Image.Image) -> list[tuple[int, ...]]:
    """Return the four colours that a picture shows in its middle square."""
    side, left, top = (
        min(image.size) // 2,
        (image.width - min(image.size)) // 2,
        (image.height - min(image.size)) // 2,
    )
    places = [(left + side // 2 + side * across, top + side // 2 + side * down) for down in (0, 1) for across in (0, 1)]
    found = [image.getpixel(place) for place in places]
    return [one for one in found if isinstance(one, tuple)]


# ---- what is done to a clip's boxes (ISO/IEC 14496-12); its index is the last one, so that no offset changes

CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf"}


@dataclass(slots=True)
class Box:
    """One box: what it holds, or the boxes in it."""

    kind: bytes
    body: bytes = b""
    inside: list[Box] = field(default_factory=list)

    def all(self, kind: bytes) -> Iterator[Box]:
        """Yield the boxes of one kind below it."""
        for one in self.inside:
            if one.kind == kind:
                yield one
            yield from one.all(kind)

    def written(self) -> bytes:
        """Return it as bytes."""
        body = b"".join(one.written() for one in self.inside) or self.body
        return struct.pack(">I4s", 8 + len(body), self.kind) + body


def parsed(data: bytes) -> list[Box]:
    """Return the boxes that fill the data."""
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + (size or len(data))]
        found.append(Box(kind, b"" if kind in CONTAINERS else body, parsed(body) if kind in CONTAINERS else []))
        at += size or len(data)
    return found


def changed(path: Path, change: Callable[[Box], object], *, track: bytes = b"vide") -> Path:
    """Let *change* change the boxes of a clip's track."""
    boxes = parsed(path.read_bytes())
    index = next(box for box in boxes if box.kind == b"moov")
    change(next(one for one in index.all(b"trak") if next(one.all(b"hdlr")).body[8:12] == track))
    path.write_bytes(b"".join(box.written() for box in boxes))
    return path


UPRIGHT = (1.0, 0.0, 0.0, 1.0)
TURNS = {
    "90": (0.0, 1.0, -1.0, 0.0),
    "180": (-1.0, 0.0, 0.0, -1.0),
    "270": (0.0, -1.0, 1.0, 0.0),
    "mirrored": (-1.0, 0.0, 0.0, 1.0),
    "flipped": (1.0, 0.0, 0.0, -1.0),
    "transposed": (0.0, 1.0, 1.0, 0.0),
    "transverse": (0.0, -1.0, -1.0, 0.0),
}
"""How a picture is turned for those who look: by so many degrees with the clock, or over one of its axes."""
BACK = {
    "90": Image.Transpose.ROTATE_270,
    "180": Image.Transpose.ROTATE_180,
    "270": Image.Transpose.ROTATE_90,
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "flipped": Image.Transpose.FLIP_TOP_BOTTOM,
    "transposed": Image.Transpose.TRANSPOSE,
    "transverse": Image.Transpose.TRANSVERSE,
}
"""What Pillow calls the same."""


def turned(path: Path, matrix: tuple[float, float, float, float]) -> Path:
    """Give a clip's track a display matrix (§8.3.2): a, b, c, d of x' = ax + cy, y' = bx + dy."""

    def change(track: Box) -> None:
        header = next(track.all(b"tkhd"))
        place = 52 if header.body[0] else 40
        a, b, c, d = (round(one * 0x10000) for one in matrix)
        numbers = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
        header.body = header.body[:place] + numbers + header.body[place + 36 :]

    return changed(path, change)


def edited(path: Path, edits: Iterable[tuple[float, float | None]], *, track: bytes = b"vide") -> Path:
    """Give a clip's track an edit list (§8.6.6): each its length and where it begins; ``None`` shows nothing."""

    def change(box: Box) -> None:
        header = next(box.all(b"mdhd")).body
        (timescale,) = struct.unpack_from(">I", header, 20 if header[0] else 12)
        old = next(iter(box.all(b"elst")), None)
        shift = 0  # what the encoder's own edit leaves out: frames are counted from the first that is shown
        if old is not None:
            begins = [struct.unpack_from(">i", old.body, 12 + 12 * row)[0] for row in range(len(old.body) // 12)]
            shift = next((begin for begin in begins if begin >= 0), 0)
        rows = [
            struct.pack(
                ">IiI", round(length * 1000), -1 if begin is None else round(begin * timescale) + shift, 0x10000
            )
            for length, begin in edits
        ]
        new = Box(b"edts", inside=[Box(b"elst", struct.pack(">II", 0, len(rows)) + b"".join(rows))])
        box.inside = [one for one in box.inside if one.kind != b"edts"]
        box.inside.insert(1, new)

    return changed(path, change, track=track)


def covered(path: Path, picture: Image.Image | None = None) -> Path:
    """Put a green picture into the tags of a clip, before its tracks, as taggers do."""
    out = io.BytesIO()
    (picture or Image.new("RGB", (320, 320), "lime")).save(out, "JPEG")
    cover = Box(b"covr", inside=[Box(b"data", struct.pack(">II", 13, 0) + out.getvalue())])
    handler = Box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    meta = Box(b"meta", bytes(4) + handler.written() + Box(b"ilst", inside=[cover]).written())
    boxes = parsed(path.read_bytes())
    index = next(box for box in boxes if box.kind == b"moov")
    index.inside.insert(1, Box(b"udta", inside=[meta]))
    path.write_bytes(b"".join(box.written() for box in boxes))
    return path


def started(path: Path, at_s: int) -> Path:
    """Let the clock of a fragmented clip stand at *at_s* when it begins, as in a piece that was cut out of a stream."""
    boxes = parsed(path.read_bytes())
    index = next(box for box in boxes if box.kind == b"moov")
    scales = {}
    for track in index.all(b"trak"):
        header, times = next(track.all(b"tkhd")).body, next(track.all(b"mdhd")).body
        (number,) = struct.unpack_from(">I", header, 20 if header[0] else 12)
        (scales[number],) = struct.unpack_from(">I", times, 20 if times[0] else 12)
    for fragment in (one for box in boxes if box.kind == b"moof" for one in box.all(b"traf")):
        (number,) = struct.unpack_from(">I", next(fragment.all(b"tfhd")).body, 4)
        for time in fragment.all(b"tfdt"):
            form = ">Q" if time.body[0] else ">I"
            (old,) = struct.unpack_from(form, time.body, 4)
            time.body = time.body[:4] + struct.pack(form, old + at_s * scales[number])
    path.write_bytes(b"".join(box.written() for box in boxes))
    return path


def combined(target: Path, *sources: Path) -> Path:
    """Copy the tracks of several clips into one."""
    with ExitStack() as stack:
        copy = stack.enter_context(av.open(str(target), "w", format="mp4"))
        clips = [stack.enter_context(av.open(str(source))) for source in sources]
        tracks = {
            (number, one.index): copy.add_stream_from_template(one, opaque=True)
            for number, clip in enumerate(clips)
            for one in clip.streams
        }
        for number, clip in enumerate(clips):
            for packet in clip.demux():
                if packet.dts is not None:
                    packet.stream = tracks[number, packet.stream_index]
                    copy.mux(packet)
    return target


def switched_off(path: Path, *numbers: int) -> Path:
    """Switch off the tracks with these numbers: players leave them out (§8.3.1)."""
    boxes = parsed(path.read_bytes())
    for track in next(box for box in boxes if box.kind == b"moov").all(b"tkhd"):
        (number,) = struct.unpack_from(">I", track.body, 20 if track.body[0] else 12)
        is_on = number not in numbers
        track.body = track.body[:3] + bytes([track.body[3] & 0xFE | is_on]) + track.body[4:]
    path.write_bytes(b"".join(box.written() for box in boxes))
    return path


def remuxed(path: Path, target: Path, change: Callable[[av.Packet[Any]], bool] = lambda _: True, **how: Any) -> Path:
    """Copy a clip's packets, those of which *change* says so, into another file."""
    with av.open(str(path)) as source, av.open(str(target), "w", format=how.get("form", "mp4")) as copy:
        tracks = {one.index: copy.add_stream_from_template(one, opaque=True) for one in source.streams}
        for packet in source.demux():
            if packet.dts is not None and change(packet):
                packet.stream = tracks[packet.stream_index]
                copy.mux(packet)
    return target


def cut(path: Path, target: Path, *, at_s: Fraction) -> Path:
    """Cut off a clip's beginning without coding it: what comes before *at_s* is in the file, and is not shown."""

    def earlier(packet: av.Packet[Any]) -> bool:
        shift = round(at_s / packet.time_base)
        if packet.stream.type == "audio" and (packet.pts or 0) < shift:
            return False
        packet.pts, packet.dts = (packet.pts or 0) - shift, (packet.dts or 0) - shift
        return True

    return remuxed(path, target, earlier)


# ---- what a film is like


@dataclass(frozen=True, slots=True)
class Made:
    """A clip, and what a player shows of it, counted from its beginning."""

    path: Path
    shows: tuple[tuple[float, float, Image.Image], ...]
    """From when to when it shows which picture."""
    length_s: float
    flash_s: float | None
    """When it beeps; ``None`` where it does not beep and flash."""
    apart_s: float = 0.0
    """How long before its beep the flash begins: a frame comes when it comes."""

    def turned(self, how: str) -> Made:
        """Return it held another way."""
        turned(self.path, TURNS[how])
        shows = tuple((begin, end, image.transpose(BACK[how])) for begin, end, image in self.shows)
        return replace(self, shows=shows)

    def shortened(self, *spans: tuple[float, float]) -> Made:
        """Return it with an edit list that shows these spans of it, one behind the other; it has no sound."""
        edited(self.path, [(end - begin, begin) for begin, end in spans])
        shows, at_s = [], 0.0
        for begin, end in spans:
            inside = [one for one in self.shows if begin - 0.001 <= one[0] < end - 0.001]
            shows += [(one[0] - begin + at_s, one[1] - begin + at_s, one[2]) for one in inside]
            at_s += end - begin
        return replace(self, shows=tuple(shows), length_s=at_s, flash_s=None)


def made(path: Path, kind: Kind) -> Made:
    """Make a clip."""
    return seen(make(path, kind), kind)


def seen(path: Path, kind: Kind) -> Made:
    """Return what a clip shows whose pictures are those of *kind*: its own frames, when FFmpeg has them."""
    frames, (begin_s, end_s) = shown(path), span_of(path)
    assert len(frames) == kind.frames
    shows = []
    for number, (one, following) in enumerate(
        pairwise([*frames, Shown(max(end_s, frames[-1].at_s), frames[-1].image)])
    ):
        assert psnr(one.image, kind.truth(number)) > 28  # FFmpeg 7 blurs the last column of an odd number
        shows.append((one.at_s - begin_s, following.at_s - begin_s, one.image))
    lit, beeps = [one.at_s for number, one in enumerate(frames) if kind.flashes(number)], heard(path)
    if not lit or not beeps:
        return Made(path, tuple(shows), end_s - begin_s, None)
    return Made(path, tuple(shows), end_s - begin_s, beeps[0] - begin_s, beeps[0] - lit[0])


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame of a film, as a player shows it."""

    at_s: float
    image: Image.Image


@dataclass(frozen=True, slots=True)
class Measured:
    """How far a film is from its clips."""

    psnr: tuple[float, ...]
    """Of each part: of the worst of its frames."""
    apart_s: tuple[float | None, ...]
    """Of each part: how much later it beeps than in the clip, counted from its flash."""
    longer_s: float
    """Than all parts together."""
    widest_gap_s: float
    """Between two frames."""
    joints: tuple[tuple[Image.Image, Image.Image], ...]
    """The frames before and behind each joint."""


def measured(film: Path, parts: Sequence[Made]) -> Measured:
    """Compare a film with the clips that it was made of."""
    frames, beeps = shown(film), heard(film)
    lit = flashes(frames)
    times = [one.at_s for one in frames]
    levels, apart, joints, at_s = list[float](), list[float | None](), [], 0.0
    for part in parts:
        worst = 99.0
        for begin, end, picture in part.shows:
            # A film begins each part with a frame of its own: all of the part may be a little early or late.
            middle = at_s + (begin + end) / 2
            near = {max(0, bisect_right(times, middle + off) - 1) for off in (-LATE_S, 0, LATE_S)}
            due = placed(picture, frames[0].image.size)
            worst = min(worst, max(psnr(frames[number].image, due) for number in near))
        levels.append(worst)
        if part.flash_s is None:
            apart.append(None)
        else:
            flash = next((one for one in lit if one > at_s + part.flash_s - 0.1), math.inf)
            beep = next((one for one in beeps if one > at_s + part.flash_s - 0.1), -math.inf)
            apart.append(beep - flash - part.apart_s)
        if at_s:
            before, behind = (max(0, bisect_right(times, at_s + one) - 1) for one in (-0.02, 0.02))
            joints.append((frames[before].image, frames[behind].image))
        at_s += part.length_s
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return Measured(
        tuple(levels),
        tuple(apart),
        span_of(film)[1] - at_s,
        max(gaps, default=0.0),
        tuple(joints),
    )


MAKERS: dict[str, Callable[[Path], Made]] = {}
"""How to make a clip of each kind."""


def _is(name: str, **what: Any) -> None:
    MAKERS[name] = lambda path: made(path, Kind(**what))


def _becomes(name: str, change: Callable[[Made], object], **what: Any) -> None:
    """Add a clip to which something is done when it is made; *change* returns what it shows then, if that differs."""

    def make_it(path: Path) -> Made:
        found = made(path, Kind(**what))
        after = change(found)
        return after if isinstance(after, Made) else found

    MAKERS[name] = make_it


AAC: dict[str, Any] = {"sound": "aac"}
OPUS: dict[str, Any] = {"sound": "libopus"}
PIECE = AAC | {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
LONG: dict[str, Any] = {"frames": 24, "flash_s": 9}
_is("plain", **AAC)
_is("B-frames", **AAC, options=(("bf", "2"),))
_is("full range", **AAC, full=True, matrix=BT709)
_is("full range of yuvj", **AAC, full=True, pix_fmt="yuvj420p")
_is("BT.601", **AAC, matrix=BT601)
_is("BT.709", **AAC, matrix=BT709, primaries=BT709, transfer=BT709)
_is("BT.2020 matrix", **AAC, matrix=BT2020)
_is("4:4:4", **AAC, pix_fmt="yuv444p")
_is("RGB", codec="libx264rgb", pix_fmt="bgr24")
_is("portrait", **AAC, width=36, height=64)
_is("odd", **AAC, width=65, height=37, pix_fmt="yuv444p")
_is("odd VP9", width=67, height=41, codec="libvpx-vp9")
_is("wide pixels", **AAC, width=48, pixel=Fraction(4, 3))
_is("narrow pixels", **AAC, width=72, pixel=Fraction(8, 9))
_is("wide pixels, in the container only", width=48, pixel=Fraction(4, 3), codec="libvpx-vp9")
_is("HEVC of 10 bits", **AAC, codec="libx265", pix_fmt="yuv420p10le", matrix=BT709, tag="hvc1")
_is("hev1", **AAC, codec="libx265", tag="hev1")
_is("AV1", **OPUS, codec="libsvtav1", height=64)
_is("AV1 of 10 bits", codec="libsvtav1", height=64, pix_fmt="yuv420p10le", matrix=BT709)
_is("VP9", **OPUS, codec="libvpx-vp9", full=True, matrix=BT709)
_is("ProRes", sound="pcm_s16le", codec="prores_ks", pix_fmt="yuv422p10le", form="mov", matrix=BT709)
_is("MPEG-4", **AAC, codec="mpeg4", options=(("b", "4000000"),))
_is("30 frames a second", **AAC, rate=30, frames=15)
_is("29.97 frames a second", **AAC, rate=Fraction(30_000, 1001), frames=15)
_is("8 frames a second", **AAC, rate=8, frames=6)
_is("100 frames a second", **AAC, rate=100, frames=50)
_is("variable rate", **AAC, frames=11, times=(0, 0.04, 0.08, 0.2, 0.24, 0.26, 0.3, 0.38, 0.4, 0.44, 0.47))
_is("one frame", frames=1, flash_s=9)
_is("one frame with sound", **AAC, frames=1, flash_s=9, sound_s=0.5)
_is("late sound", **AAC, sound_from_s=0.13)
_is("late pictures", **AAC, pictures_from_s=0.11, flash_s=0.4)
_is("both late", **AAC, pictures_from_s=0.3, sound_from_s=0.2, flash_s=0.55)
_is("longer sound", **AAC, sound_s=0.7)
_is("shorter sound", **AAC, sound_s=0.4)
_is("mono", **AAC, layout="mono", sound_rate=22_050)
_is("5.1", **AAC, layout="5.1", sound_rate=44_100)
_is("Opus", **OPUS)
_is("Opus of 5.1", **OPUS, layout="5.1")
_is("FLAC", sound="flac")
_is("timecode", **AAC, metadata=(("timecode", "01:00:00:00"),))
_is("index first", **AAC, movflags="faststart")
_is("fragments", **PIECE)
_is("fragments of VP9", **PIECE | OPUS, codec="libvpx-vp9")
_is("VP9 alone", codec="libvpx-vp9")
_becomes("a piece of a stream", lambda clip: started(clip.path, 10), **PIECE)
_becomes("cover", lambda clip: covered(clip.path), **AAC)
_becomes("bytes behind its end", lambda clip: appended(clip.path, b"<!-- served in 0.02 s -->\r\n"), **AAC)
_becomes("bytes behind its fragments", lambda clip: appended(clip.path, b"\r\n"), **PIECE)
for _how in TURNS:
    _becomes(_how, lambda clip, how=_how: clip.turned(how), **AAC)  # type: ignore[misc] # a default binds the loop's word
_becomes("turned, of wide pixels", lambda clip: clip.turned("90"), **AAC, width=48, pixel=Fraction(4, 3))
_becomes("a little skewed", lambda clip: turned(clip.path, (0.98, 0.17, -0.17, 0.98)), **AAC)
_becomes("sheared", lambda clip: turned(clip.path, (1, 0.3, 0, 1)), **AAC)
_becomes("turned by nothing at all", lambda clip: turned(clip.path, (0, 0, 0, 0)), **AAC)
_becomes("an edit that begins inside", lambda clip: clip.shortened((0.375, 0.875)), **LONG)
_becomes("an edit that begins at a key frame", lambda clip: clip.shortened((0.5, 0.75)), **LONG)
_becomes("two edits", lambda clip: clip.shortened((0.125, 0.375), (0.625, 0.875)), **LONG)
_becomes("two edits, the later one first", lambda clip: clip.shortened((0.625, 0.875), (0.125, 0.375)), **LONG)
_becomes("an edit shown twice", lambda clip: clip.shortened((0.125, 0.375), (0.125, 0.375)), **LONG)
_becomes("an edit among B-frames", lambda clip: clip.shortened((0.375, 0.875)), **LONG, options=(("bf", "2"),))
_becomes("an edit of HEVC", lambda clip: clip.shortened((0.375, 0.875)), **LONG, codec="libx265", tag="hvc1")


def appended(path: Path, more: bytes) -> None:
    """Append bytes to a clip, as some gateways do."""
    path.write_bytes(path.read_bytes() + more)


def _cut(path: Path) -> Made:
    whole = made(path.with_suffix(".whole.mp4"), Kind(**AAC, frames=30, flash_s=1.0, options=(("g", "30"),)))
    cut(whole.path, path, at_s=Fraction(3, 4))
    shows = tuple((begin - 0.75, end - 0.75, image) for begin, end, image in whole.shows if begin > 0.74)
    return Made(path, shows, whole.length_s - 0.75, 0.25)


def _holes(path: Path) -> Made:
    """Make a clip in whose sound packets are missing: not even silence is there."""
    kind = Kind(**AAC, frames=18, flash_s=0.5)
    whole, holes = make(path.with_suffix(".whole.mp4"), kind), ((0.05, 0.11), (0.16, 0.24), (0.3, 0.36))

    def stays(packet: av.Packet[Any]) -> bool:
        at_s = (packet.pts or 0) * packet.time_base
        return packet.stream.type == "video" or not any(begin <= at_s < end for begin, end in holes)

    return seen(remuxed(whole, path, stays), kind)


def _second(path: Path) -> Made:
    """Make a clip of two languages and two cameras: the first of each is switched off."""
    other = make(path.with_suffix(".other.mp4"), Kind(**AAC, width=32, height=18, flash_s=0.1))
    clip = made(path.with_suffix(".clip.mp4"), Kind(**AAC))
    switched_off(combined(path, other, clip.path), 1, 2)
    return replace(clip, path=path)


def _picture_first(path: Path) -> Made:
    """Make a clip whose cover is called a track."""
    picture = make(
        path.with_suffix(".jpg.mp4"), Kind(width=320, height=180, frames=1, codec="mjpeg", pix_fmt="yuvj420p")
    )
    clip = made(path.with_suffix(".clip.mp4"), Kind(**AAC))
    combined(path, picture, clip.path)
    return replace(clip, path=path)


MAKERS["cut without coding"] = _cut
MAKERS["holes in the sound"] = _holes
MAKERS["the second track is the one"] = _second
MAKERS["a picture as first track"] = _picture_first


def span_of(clip: Path, *kinds: str) -> tuple[float, float]:
    """Return when the first of a clip's pictures and sound begins, and when the last of them ends, by its packets.

    *kinds*: those tracks alone.
    """
    begins, ends = [], []
    with av.open(str(clip)) as container:
        for packet in container.demux():
            if packet.pts is not None and not packet.is_discard and packet.stream.type in (kinds or {"video", "audio"}):
                begins.append(
                    max(float(packet.pts * packet.time_base), float((packet.stream.start_time or 0) * packet.time_base))
                )
                ends.append(float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return min(begins), max(ends)


def shown(path: Path) -> list[Shown]:
    """Return all frames of a film, or of a clip that is not turned: by its own matrix, range and shape of a pixel."""
    with av.open(str(path)) as film:
        cover = av.stream.Disposition.attached_pic
        video = next(one for one in film.streams.video if not one.disposition & cover)
        frames = [Shown(float(frame.time or 0), _image(frame)) for frame in film.decode(video)]
        pixel = video.sample_aspect_ratio or 1
    if pixel == 1:
        return frames
    size = round(frames[0].image.width * pixel), frames[0].image.height
    return [Shown(one.at_s, one.image.resize(size, Image.Resampling.BICUBIC)) for one in frames]


def _image(frame: av.VideoFrame) -> Image.Image:
    """Return a frame by its own matrix and range, which old PyAV does not look at by itself."""
    matrix = {BT709: "bt709", BT2020: "bt2020"}.get(int(frame.colorspace), "bt601")
    size = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/24"
    source, sink, _graph_kept = _graph(
        ("buffer", f"{size}:colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"),
        ("scale", f"in_color_matrix={matrix}:out_range=pc:flags=bicubic+accurate_rnd+full_chroma_int"),
        ("format", "rgb24"),
    )
    source.push(frame)
    source.push(None)
    found: Any = sink.pull()
    image: Image.Image = found.to_image()
    return image


def _graph(*steps: tuple[str, str]) -> tuple[Any, Any, Graph]:
    """Return where frames go in and come out of filters; the graph has to be kept as long as these."""
    graph = Graph()
    filters = [graph.add(*step) for step in (*steps, ("buffersink", ""))]
    for one, following in pairwise(filters):
        one.link_to(following)
    graph.configure()
    return filters[0], filters[-1], graph


def heard(path: Path) -> list[float]:
    """Return when each beep of a film begins."""
    begins, before = list[float](), -1.0
    with av.open(str(path)) as film:
        if not film.streams.audio:
            return []
        resampler = av.AudioResampler(format="flt", layout="mono", rate=48_000)
        for frame in film.decode(audio=0):
            at_s = float(frame.time or 0)
            for piece in resampler.resample(frame):
                values = array("f", bytes(piece.planes[0])[: piece.samples * 4])
                for first in range(0, piece.samples, 48):
                    if max(map(abs, values[first : first + 48])) > 0.1:
                        loud_s = at_s + first / 48_000
                        if loud_s - before > 0.05:
                            begins.append(loud_s)
                        before = loud_s
    return begins


def flashes(frames: Sequence[Shown]) -> list[float]:
    """Return when each flash of a film begins; bars beside the picture stay black."""
    lit = [(one.at_s, one.image.getpixel((one.image.width // 2, one.image.height // 2))) for one in frames]
    bright = [(at_s, isinstance(pixel, tuple) and min(pixel[:3]) > 200) for at_s, pixel in lit]
    return [at_s for (_, before), (at_s, now) in pairwise([(0.0, False), *bright]) if now and not before]


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Return how near two pictures are, in dB."""
    squares = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).sum2
    mean = sum(squares) / (3 * one.width * one.height)
    return 99.0 if not mean else min(99.0, 10 * math.log10(255**2 / mean))


def placed(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a picture as a film of this size shows it: whole, in its proportions, in black bars."""
    if size == picture.size:
        return picture
    scale = min(size[0] / picture.width, size[1] / picture.height)
    width, height = (max(2, round(side * scale / 2) * 2) for side in picture.size)
    film = Image.new("RGB", size)
    place = ((size[0] - width) // 4 * 2, (size[1] - height) // 4 * 2)  # colours come in squares of two by two
    film.paste(picture.resize((width, height), Image.Resampling.BICUBIC), place)
    return film
