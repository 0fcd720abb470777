"""How a clip is shown: which of its tracks, from when on, which way up, with square pixels, in which colours.

All that looks at clips asks here, so that a film, a frame that is paid for and a thumbnail show what a player shows.
What is done to a frame is said in FFmpeg's filters. PyAV is imported on first use.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from batchvid.domain.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.filter import Graph
    from av.filter.context import FilterContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image

    Step = tuple[str, str]
    """A filter of FFmpeg's, and its options."""


@dataclass(frozen=True, slots=True)
class Clip:
    """An open clip, and what of it is seen and heard."""

    container: InputContainer
    video: VideoStream
    sound: AudioStream | None

    @property
    def tracks(self) -> list[VideoStream | AudioStream]:
        """Return the tracks that are shown."""
        return [self.video, self.sound] if self.sound else [self.video]

    @property
    def begins_s(self) -> Fraction:
        """When the first of picture and sound begins, on the clip's own clock: in a piece of a stream, not at zero."""
        begins = [(one.start_time, one.time_base) for one in self.tracks]
        return min((start * unit for start, unit in begins if start is not None and unit), default=Fraction(0))


@contextmanager
def opened(clip: Path | IO[bytes]) -> Iterator[Clip]:
    """Open a clip; raise `ValueError` when it has no pictures."""
    import av

    # The format is named, so that no playlist in disguise makes the library open something else.
    with av.open(str(clip) if isinstance(clip, Path) else clip, mode="r", format="mp4") as container:
        cover = av.stream.Disposition.attached_pic
        videos = [one for one in container.streams.video if not one.disposition & cover]
        moving = [one for one in videos if one.frames != 1] or videos  # beside them, a single picture is a cover, too
        best = container.streams.best("video")
        video = best if best in moving else next(iter(moving), None)
        if not isinstance(video, av.VideoStream):
            raise ValueError("has no video track")  # noqa: TRY004 it is the file that is wrong
        sound = container.streams.best("audio", related=video)
        yield Clip(container, video, sound if isinstance(sound, av.AudioStream) else None)


MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc", 10: "bt2020c"}
"""FFmpeg's names of how colours become numbers (ISO/IEC 23091-2, MatrixCoefficients)."""
UNSPECIFIED = 2
BT709, BT2020, P3 = "bt709", "bt2020", "smpte432"
GAMUTS = {9: BT2020, 11: P3, 12: P3}
"""Primaries that are wider than those of a usual screen; players show all others alike."""
SDR, PQ, HLG = "bt709", "smpte2084", "arib-std-b67"
TRANSFERS = {16: PQ, 18: HLG}
WIDE_TRANSFERS = {14, 15, 16, 18}
"""Beside primaries of BT.2020: a file that names these, too, means them."""
RGB = "gbr"
"""The matrix of frames that hold red, green and blue."""


@frozen
class Colours:
    """What the numbers of a frame mean."""

    matrix: int
    """As the file says it; may be `UNSPECIFIED`."""
    assumed: str
    """FFmpeg's name of the matrix. Where nobody specified it, that of BT.601: FFmpeg reads and writes such clips so, of
    any size, and so do services that code with it: a frame that goes out to them comes back in the same colours."""
    is_full: bool
    """Whether black is 0 and white 255, and not 16 and 235."""
    gamut: str
    transfer: str
    primaries: int
    """As the file says it, like the next one."""
    trc: int

    @property
    def light(self) -> tuple[str, str]:
        """Return what frames must have in common to be shown beside each other as they are."""
        return self.gamut, self.transfer


@frozen
class Look:
    """What is to be done to a clip's frames, so that they are as a player shows them."""

    turn: tuple[Step, ...]
    size: tuple[int, int]
    """Turned upright, with square pixels."""
    pixel: Fraction
    colours: Colours


def look_of(video: VideoStream, frame: VideoFrame) -> Look:
    """Return how the frames of a track are shown, by one of them."""
    pixel = Fraction(video.sample_aspect_ratio or 1)
    width, height = max(1, round(frame.width * pixel)), frame.height
    turn = _turn(frame)
    is_sideways = bool(turn) and turn[0][0] == "transpose"
    return Look(turn, (height, width) if is_sideways else (width, height), pixel, _colours(video, frame))


def _turn(frame: VideoFrame) -> tuple[Step, ...]:
    """Return the filters for the track's display matrix (ISO/IEC 14496-12 §8.3.2).

    x' = ax + cy and y' = bx + dy. One that is skewed counts as the nearest of the eight ways to hold a picture, as in
    most players.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return ()
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    is_sideways = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if is_sideways else (a, d)
    steps = [("transpose", "dir=cclock_flip")] if is_sideways else []
    steps += [("hflip", "")] if across < 0 else []
    steps += [("vflip", "")] if down < 0 else []
    return tuple(steps)


def _colours(video: VideoStream, frame: VideoFrame) -> Colours:
    context, name = video.codec_context, frame.format.name
    primaries, transfer = int(context.color_primaries or 0), int(context.color_trc or 0)
    gamut = GAMUTS.get(primaries, BT709)
    if gamut == BT2020 and transfer not in WIDE_TRANSFERS:
        gamut = BT709
    light = gamut, TRANSFERS.get(transfer, SDR), primaries, transfer
    is_full = name.startswith("yuvj") or int(frame.color_range) == 2 or frame.format.is_rgb  # noqa: PLR2004 JPEG's range
    if frame.format.is_rgb:
        return Colours(0, RGB, is_full, *light)
    matrix = int(frame.colorspace) if int(frame.colorspace) in MATRICES else UNSPECIFIED
    guess = "bt2020nc" if gamut == BT2020 else "smpte170m"
    return Colours(matrix, MATRICES.get(matrix, guess), is_full, *light)


GOOD = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
"""Of the scaler, where pictures are converted."""


def source_steps(frame: VideoFrame, look: Look, *, time_base: Fraction | None) -> list[Step]:
    """Return the filters that frames go into, and come out of upright, saying themselves what their numbers mean."""
    colours = look.colours
    size = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base={time_base}"
    known = f"colorspace={colours.matrix}:range={2 if colours.is_full else 1}"
    meant = f"range={'pc' if colours.is_full else 'tv'}:color_primaries={colours.gamut}:color_trc={colours.transfer}"
    matrix = "" if colours.assumed == RGB else f":colorspace={colours.assumed}"
    return [("buffer", f"{size}:{known}"), ("setparams", meant + matrix), *look.turn]


# ---- colours that a usual screen cannot show

WHITE_NITS = 203
"""How bright the white of a page is in a clip of high dynamic range (ITU-R BT.2408)."""
SCREEN_GAMMA = 2.2
KNEE = 0.8
"""Of white: what is brighter is squeezed into the rest."""
LIGHT = {
    SDR: f"pow(ld(0),{SCREEN_GAMMA})",
    PQ: f"st(2,pow(ld(0),1/78.84375))*0+{10_000 / WHITE_NITS}"
    "*pow(max(ld(2)-0.8359375,0)/(18.8515625-18.6875*ld(2)),1/0.1593017578125)",
    HLG: f"{1000 / WHITE_NITS}*pow("
    "if(lte(ld(0),0.5),ld(0)*ld(0)/3,(exp((ld(0)-0.55991073)/0.17883277)+0.28466892)/12),1.2)",
}
"""How bright a number is, where 1 is white: SMPTE ST 2084 and ARIB STD-B67."""
TO_BT709 = {
    BT2020: (1.6605, -0.5876, -0.0728, -0.1246, 1.1329, -0.0083, -0.0182, -0.1006, 1.1187),
    P3: (1.2249, -0.2247, 0.0, -0.0420, 1.0419, 0.0, -0.0197, -0.0786, 1.0979),
}
"""Of light: what of red, green and blue makes red, green and blue (ITU-R BT.2087)."""


def screen_steps(colours: Colours) -> list[Step]:
    """Return the filters that bring frames to the colours of a usual screen; none where they have them."""
    if colours.light == (BT709, SDR):
        return []
    light = f"st(0,val/maxval)*0+st(1,{LIGHT[colours.transfer]})*0"
    if colours.transfer == SDR:
        light += "+ld(1)"
    else:
        light += (
            f"+st(2,(ld(1)-{KNEE})/{1 - KNEE:.2f})*0+if(lte(ld(1),{KNEE}),ld(1),{KNEE}+{1 - KNEE:.2f}*ld(2)/(1+ld(2)))"
        )
    steps = [("scale", f"out_range=pc:{GOOD}"), ("format", "gbrp16le"), _each(f"maxval*({light})")]
    if colours.gamut in TO_BT709:
        names = (one + other for one in "rgb" for other in "rgb")
        mixed = zip(names, TO_BT709[colours.gamut], strict=True)
        steps.append(("colorchannelmixer", ":".join(f"{name}={share}" for name, share in mixed)))
    steps.append(_each(f"maxval*pow(val/maxval,1/{SCREEN_GAMMA})"))
    return [*steps, ("setparams", "color_primaries=bt709:color_trc=bt709")]


def _each(expression: str) -> Step:
    return "lutrgb", ":".join(f"{one}={expression}" for one in "rgb")


# ---- filters, at work


def chained(graph: Graph, steps: Iterable[Step]) -> FilterContext:
    """Add the filters to the graph, one behind the other, and return the last one."""
    filters = [graph.add(*step) for step in steps]
    for one, following in pairwise(filters):
        one.link_to(following)
    return filters[-1]


def image_of(video: VideoStream, frame: VideoFrame, *, longest: int | None = None) -> Image:
    """Return the frame as it is shown; *longest*: of its sides, at most so many pixels."""
    from av.filter import Graph

    look = look_of(video, frame)
    scale = min(Fraction(1), Fraction(longest or max(look.size), max(look.size)))
    width, height = (max(1, round(side * scale)) for side in look.size)
    steps = [
        *source_steps(frame, look, time_base=Fraction(1, 1000)),
        ("scale", f"{width}:{height}:out_range=pc:{GOOD}"),
        *screen_steps(look.colours),
        ("format", "rgb24"),
        ("buffersink", ""),
    ]
    graph: Any = Graph()
    sink = chained(graph, steps)
    graph.configure()
    frame.pts = 0
    graph.push(frame)
    graph.push(None)
    shown: Any = sink.pull()
    image: Image = shown.to_image()
    return image
