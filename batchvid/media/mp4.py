"""Whether a file is a complete MP4 clip: a walk over its boxes that looks at the index, never at the media.

* Every sample that the index names lies inside the file: in ``moov`` (before or after the media), or in the
  ``moof`` boxes of a fragmented file.
* Every box of the file is whole, or the index is complete without it: some gateways append a line to a clip.
* There is a video track with at least one sample of more than nothing and a duration of more than nothing.

A cut changes none of the bytes before it, so what is refused of a cut file is that something named is not
there. One cut cannot be seen: between two fragments of a file that states neither its length nor an index of its
fragments. Source: ISO/IEC 14496-12, to which every § here belongs.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Read = Callable[[int, int], bytes]
    """Return the bytes of the file from an offset on, at most so many; fewer only at its end."""


BOXES_MAX = 65_536
"""Boxes looked at in one container; a clip has about ten, and a hostile file could hold millions of empty ones."""


class NotAClip(ValueError):  # noqa: N818 the name says what the file is, which is all that went wrong
    """The file is no complete MP4 clip; the text says why, for people."""


class Box(NamedTuple):
    """One box: its type, and where it, its content and its end lie, counted from the start of what it was found in."""

    type: bytes
    start: int
    body: int
    end: int


def boxes(read: Read, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes that fill *start* to *end*, in order; raise `NotAClip` when one of them is not whole."""
    head_of = struct.Struct(">I4s").unpack_from
    for _ in range(BOXES_MAX):
        if start == end:
            return
        head = read(start, min(16, end - start))
        if len(head) < 8:  # noqa: PLR2004 the size and the type of a box
            raise NotAClip(f"is cut off: a box begins at byte {start:,}, and the data ends at {end:,}")
        size, kind = head_of(head)
        body = start + 8
        if size == 1 and len(head) == 16:  # noqa: PLR2004 a box with a 64-bit size
            size = int.from_bytes(head[8:])
            body = start + 16
        elif size == 0:
            size = end - start
        if size < body - start:
            raise NotAClip(f"is damaged: the {name(kind)} box at byte {start:,} has the impossible size {size:,}")
        if start + size > end:
            raise NotAClip(f"is cut off: its {name(kind)} box needs {start + size:,} bytes, and there are {end:,}")
        yield Box(kind, start, body, start + size)
        start += size
    raise NotAClip(f"is damaged: it holds more than {BOXES_MAX:,} boxes in one place")


def name(kind: bytes) -> str:
    """Return a box's or a codec's four letters, harmless to show."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in kind)  # noqa: PLR2004 printable ASCII


class Inside:
    """The content of one box that has been read into memory, and the boxes and numbers in it.

    `NotAClip` is raised for what should be there and is not.
    """

    __slots__ = ("_known", "_unread", "data", "kind")

    def __init__(self, kind: bytes, data: bytes | memoryview) -> None:
        self.kind = kind
        self.data = inside = memoryview(data)
        self._known: list[Inside] = []
        self._unread = boxes(lambda offset, length: inside[offset : offset + length].tobytes(), 0, len(inside))

    def all(self, kind: bytes) -> Iterator[Inside]:
        """Yield the contents of the boxes of one kind directly inside; each is looked at once, when it is wanted."""
        for place in count():
            if place == len(self._known):
                box = next(self._unread, None)
                if box is None:
                    return
                self._known.append(Inside(box.type, self.data[box.body : box.end]))
            if self._known[place].kind == kind:
                yield self._known[place]

    def first(self, *path: bytes) -> Inside | None:
        """Return the content of the first box along *path*, or ``None`` when there is none."""
        here: Inside | None = self
        for kind in path:
            here = next(here.all(kind), None) if here else None
        return here

    def one(self, *path: bytes) -> Inside:
        """Return the content of the first box along *path*."""
        found = self.first(*path)
        if found is None:
            raise NotAClip(f"is damaged: its {name(self.kind)} box holds no {'/'.join(map(name, path))}")
        return found

    def numbers(self, form: str, offset: int) -> tuple[int, ...]:
        """Return the big-endian numbers at *offset*, by the letters of `struct`."""
        try:
            return struct.unpack_from(">" + form, self.data, offset)
        except struct.error:
            raise NotAClip(f"is damaged: its {name(self.kind)} box is too short") from None

    def table(self, offset: int, *, count: int, width: int) -> memoryview:
        """Return the bytes of *count* rows of *width* bytes; the count is checked against the box before it is used."""
        if count * width > len(self.data) - offset:
            raise NotAClip(f"is damaged: its {name(self.kind)} box is too short for {count:,} entries")
        return self.data[offset : offset + count * width]


def column(letter: str, data: memoryview) -> array[int]:
    """Return big-endian whole numbers, each of the width that *letter* has in `array`."""
    found = array(letter)
    found.frombytes(data)
    if sys.byteorder == "little":
        found.byteswap()
    return found


BASE_OFFSET, DESCRIPTION, DURATION, SIZE, FLAGS = 0x01, 0x02, 0x08, 0x10, 0x20
"""What a ``tfhd`` may state (§8.8.7)."""
RUN_OFFSET, RUN_FIRST_FLAGS = 0x001, 0x004
"""What a ``trun`` may state once (§8.8.8)."""
RUN_DURATION, RUN_SIZE, RUN_FLAGS, RUN_TIME = 0x100, 0x200, 0x400, 0x800
"""What a ``trun`` may state of each sample."""


class Run(NamedTuple):
    """What the fragments hold of one track."""

    samples: int = 0
    media_bytes: int = 0
    duration: int = 0
    """In the track's own units."""

    def plus(self, other: Run) -> Run:
        """Return both, one after the other."""
        return Run(*map(sum, zip(self, other, strict=True)))


def _fragments(moov: Inside, moofs: Iterable[tuple[int, Inside]], *, size_bytes: int) -> dict[int, Run]:
    """Return what the fragments (each with its place in the file) hold, by track id.

    Raise `NotAClip` when a sample of theirs lies outside the file.
    """
    mvex = moov.first(b"mvex")
    stated = (trex.numbers("IIII", 4) for trex in (mvex.all(b"trex") if mvex else ()))
    defaults = {track_id: (duration, size) for track_id, _description, duration, size in stated}
    runs: dict[int, Run] = {}
    for start, moof in moofs:
        end = start
        for traf in moof.all(b"traf"):
            track_id, run, end = _track_fragment(traf, defaults, start=start, following=end)
            if end > size_bytes:
                raise NotAClip(f"is cut off: a sample ends at byte {end:,}, the file at {size_bytes:,}")
            runs[track_id] = runs.get(track_id, Run()).plus(run)
    return runs


def _stated_s(moov: Inside) -> float:
    """Return the duration of all fragments, when the file states it (§8.8.2)."""
    mehd, mvhd = moov.first(b"mvex", b"mehd"), moov.first(b"mvhd")
    if mehd is None or mvhd is None:
        return 0.0
    (duration,) = mehd.numbers("Q" if mehd.numbers("B", 0)[0] else "I", 4)
    timescale, _ = _times(mvhd)
    return duration / timescale if timescale else 0.0


def _track_fragment(
    traf: Inside, defaults: Mapping[int, tuple[int, int]], *, start: int, following: int
) -> tuple[int, Run, int]:
    """Return the track's id, what the fragment holds of it, and where that ends in the file.

    Offsets count from the ``moof``, or, for a further track that states nothing, from the end of the track before.
    """
    tfhd = traf.one(b"tfhd")
    flags, track_id = (tfhd.numbers("II", 0)[0] & 0xFFFFFF), tfhd.numbers("I", 4)[0]
    duration, size = defaults.get(track_id, (0, 0))
    stated = {BASE_OFFSET: following, DURATION: duration, SIZE: size}
    if flags & 0x020000:  # default-base-is-moof
        stated[BASE_OFFSET] = start
    offset = 8
    for flag, letter, width in ((BASE_OFFSET, "Q", 8), (DESCRIPTION, "I", 4), (DURATION, "I", 4), (SIZE, "I", 4)):
        if flags & flag:
            stated[flag] = tfhd.numbers(letter, offset)[0]
            offset += width
    total, end = Run(), stated[BASE_OFFSET]
    for trun in traf.all(b"trun"):
        run, shift = _run(trun, duration=stated[DURATION], size=stated[SIZE])
        end = (end if shift is None else stated[BASE_OFFSET] + shift) + run.media_bytes
        total = total.plus(run)
    return track_id, total, end


def _run(trun: Inside, *, duration: int, size: int) -> tuple[Run, int | None]:
    """Return what one ``trun`` holds, and where its samples begin, counted from the fragment's base."""
    flags, count = trun.numbers("II", 0)
    offset, shift = 8, None
    if flags & RUN_OFFSET:
        (shift,) = trun.numbers("i", offset)
        offset += 4
    if flags & RUN_FIRST_FLAGS:
        offset += 4
    columns = [flag for flag in (RUN_DURATION, RUN_SIZE, RUN_FLAGS, RUN_TIME) if flags & flag]
    if not columns:
        return Run(count, count * size, count * duration), shift
    table = trun.table(offset, count=count, width=4 * len(columns))
    rows = column("I", table)
    values = {flag: sum(rows[at :: len(columns)]) for at, flag in enumerate(columns)}
    return Run(count, values.get(RUN_SIZE, count * size), values.get(RUN_DURATION, count * duration)), shift


def index_end(sidx: Inside, *, after: int) -> int:
    """Return where the fragments end that an index right before byte *after* names (§8.16.3)."""
    version = sidx.numbers("B", 0)[0]
    (first_offset,) = sidx.numbers("Q", 20) if version else sidx.numbers("I", 16)
    offset = 28 if version else 20
    (count,) = sidx.numbers("xxH", offset)
    rows = column("I", sidx.table(offset + 4, count=count, width=12))
    return after + int(first_offset) + sum(row & 0x7FFF_FFFF for row in rows[0::3])


BEGINNINGS = {b"ftyp", b"styp", b"free", b"skip", b"wide", b"pdin", b"uuid"}
"""What may stand first (§4.3: ``ftyp``, as early as possible); an error page or another format does not."""
INDEX_MAX_BYTES = 64 * 1024 * 1024
"""The index of an 8-second clip has about 10 KB; more than this is not read into memory."""
CODECS = {
    b"avc1": "h264",
    b"avc3": "h264",
    b"hev1": "hevc",
    b"hvc1": "hevc",
    b"av01": "av1",
    b"vp08": "vp8",
    b"vp09": "vp9",
    b"mp4v": "mpeg4",
    **dict.fromkeys((b"apco", b"apcs", b"apcn", b"apch", b"ap4h", b"ap4x"), "prores"),
}
UNKNOWN_DURATION = {0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF}
"""What a muxer writes when it did not know the duration (§8.4.2.3)."""
EDITED_S = 0.01
"""An edit list that is nearer than this to the length of its track leaves nothing out: it counts in coarser units."""
STATED_SHARE = 0.9
"""A fragmented file states the length of its longest track, which its video track need not quite reach."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What a complete clip says of itself."""

    width: int
    """As shown: turned upright, in square pixels."""
    height: int
    duration_s: float
    """As shown: what an edit list leaves out is not in it."""
    codec: str
    """Of the video: ``h264``, ``hevc``, ``av1``, ``vp9``, or else the four letters that the file uses."""
    audio: bool
    samples: int
    """Of the video track; usually one a frame."""

    def as_dict(self) -> dict[str, object]:
        """Return it by name, as the sidecar tells it."""
        return {name: getattr(self, name) for name in self.__slots__}


class _Track(NamedTuple):
    handler: bytes
    track_id: int
    is_on: bool
    width: int
    height: int
    codec: str
    timescale: int
    duration: int
    edited: int
    """How long its edit list is, in units of the whole file; 0 when it says nothing."""
    samples: int
    media_bytes: int

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The greater, the likelier it is the one that players show; a single picture is a cover."""
        return self.samples != 1, self.is_on, self.width * self.height


def probe(size_bytes: int, read: Read) -> Clip:
    """Return what the clip says of itself; raise `NotAClip` when the file is not a complete one.

    *read* returns the bytes at an offset, at most so many as are asked for. The work is bounded by the size of the
    index, and the media are not read.
    """
    if size_bytes == 0:
        raise NotAClip("is empty (0 bytes)")
    if read(4, 4) not in BEGINNINGS:
        raise NotAClip("is not an MP4 file: it does not begin like one")
    top: list[Box] = []
    try:
        for box in boxes(read, 0, size_bytes):
            top.append(box)  # noqa: PERF402 those before one that is not whole count, too
    except NotAClip as damage:
        try:
            return _clip(top, read, size_bytes, is_whole=False)
        except NotAClip:
            raise damage from None
    return _clip(top, read, size_bytes, is_whole=True)


def _may_be_a_box(rest: bytes) -> bool:
    """Whether what stands behind the last whole box may be the beginning of a further one, and not a gateway's line.

    The sizes of all that describe fragments begin with a zero. Of media that are cut off the index tells.
    """
    return rest[:1] == b"\0"


def _content(box: Box, read: Read) -> Inside:
    length = box.end - box.body
    if length > INDEX_MAX_BYTES:
        raise NotAClip(f"is damaged: its {name(box.type)} box has {length:,} bytes, and no clip's index has so many")
    data = read(box.body, length)
    if len(data) != length:
        raise NotAClip(f"is cut off: its {name(box.type)} box could not be read to its end")
    return Inside(box.type, data)


def _clip(top: Sequence[Box], read: Read, size_bytes: int, *, is_whole: bool) -> Clip:
    index = next((box for box in top if box.type == b"moov"), None)
    if index is None:
        raise NotAClip("has no index (moov box): it is cut off, or was never finished")
    moov = _content(index, read)
    if not is_whole and moov.first(b"mvex") and _may_be_a_box(read(max(box.end for box in top), 8)):
        raise NotAClip("is cut off: what its fragments hold stands in boxes that are not there")
    tracks = [_track(trak, size_bytes) for trak in moov.all(b"trak")]
    for box in top:
        if box.type == b"sidx" and (end := index_end(_content(box, read), after=box.end)) > size_bytes:
            raise NotAClip(f"is cut off: its fragments end at byte {end:,}, the file at {size_bytes:,}")
    moofs = ((box.start, _content(box, read)) for box in top if box.type == b"moof")
    return _told(moov, tracks, _fragments(moov, moofs, size_bytes=size_bytes))


def _told(moov: Inside, tracks: Sequence[_Track], runs: Mapping[int, Run]) -> Clip:
    videos = [track for track in tracks if track.handler == b"vide"]
    if not videos:
        raise NotAClip("has no video track")
    video = max(videos, key=lambda track: track.rank)
    run = runs.get(video.track_id, Run())
    samples = video.samples + run.samples
    if not samples:
        raise NotAClip("has a video track without a single frame")
    if not video.media_bytes + run.media_bytes:
        raise NotAClip("has a video track whose frames are all empty")
    if not video.width or not video.height:
        raise NotAClip("has a video track without a width and height")
    if not video.timescale:
        raise NotAClip("is damaged: its video track counts no time")
    own = video.duration if video.samples else 0
    movie_units, movie_duration = _times(header) if (header := moov.first(b"mvhd")) else (0, 0)
    duration_s = (own + run.duration or video.duration) / video.timescale
    if movie_units and not run.samples:
        duration_s = duration_s or movie_duration / movie_units
        edited_s = video.edited / movie_units
        duration_s = edited_s if duration_s and edited_s and abs(edited_s - duration_s) > EDITED_S else duration_s
    if not duration_s:
        raise NotAClip("has a video track that lasts 0 seconds")
    if run.samples and duration_s < (stated_s := _stated_s(moov)) * STATED_SHARE:
        raise NotAClip(f"is cut off: its fragments last {duration_s:.2f} s of {stated_s:.2f} s")
    audio = any(track.handler == b"soun" for track in tracks)
    return Clip(video.width, video.height, duration_s, video.codec, audio=audio, samples=samples)


def _times(header: Inside) -> tuple[int, int]:
    """Return the timescale and the duration of an ``mvhd`` or ``mdhd`` (§8.2.2, §8.4.2)."""
    form, offset = ("IQ", 20) if header.numbers("B", 0)[0] else ("II", 12)
    timescale, duration = header.numbers(form, offset)
    return timescale, 0 if duration in UNKNOWN_DURATION else duration


def _track(trak: Inside, size_bytes: int) -> _Track:
    header = trak.one(b"tkhd")
    long = header.numbers("B", 0)[0] == 1
    (track_id,) = header.numbers("I", 20 if long else 12)
    size = tuple(value >> 16 for value in header.numbers("II", 88 if long else 76))
    a, b, _, c, d = header.numbers("5i", 52 if long else 40)
    timescale, duration = _times(trak.one(b"mdia", b"mdhd"))
    handler = trak.one(b"mdia", b"hdlr").table(8, count=1, width=4).tobytes()
    table = trak.one(b"mdia", b"minf", b"stbl")
    codec, coded, pixel = _description(table.one(b"stsd")) if handler == b"vide" else ("", (0, 0), (1, 1))
    samples, media_bytes = _samples(table, size_bytes)
    if pixel[0] != pixel[1]:  # then some muxers write the coded size into the header
        size = round(coded[0] * pixel[0] / pixel[1]), coded[1]
    width, height = size[0] or coded[0], size[1] or coded[1]
    if abs(b) + abs(c) > abs(a) + abs(d):  # the display matrix lays it on its side
        width, height = height, width
    is_on, edited = bool(header.numbers("I", 0)[0] & 1), _edited(trak.first(b"edts", b"elst"))
    return _Track(
        handler, track_id, is_on, width, height, codec, timescale, duration, edited, samples, media_bytes
    )  # fmt: skip


def _edited(elst: Inside | None) -> int:
    """Return how long all edits are together that show something, in units of the whole file (§8.6.6)."""
    if elst is None:
        return 0
    form = struct.Struct(">QqI" if elst.numbers("B", 0)[0] == 1 else ">IiI")
    rows = elst.table(8, count=elst.numbers("I", 4)[0], width=form.size)
    return sum(length for length, begin, _ in form.iter_unpack(rows) if begin >= 0)


PASP = struct.pack(">I4s", 16, b"pasp")
"""How the box begins that tells the shape of a pixel (§12.1.4), among those of the codec."""


def _description(stsd: Inside) -> tuple[str, tuple[int, int], tuple[int, int]]:
    """Return codec, coded size and shape of a pixel, by a video track's first sample entry (§8.5.2, §12.1.3)."""
    if not stsd.numbers("I", 4)[0]:
        raise NotAClip("is damaged: its video track does not say how it is coded")
    letters = stsd.table(12, count=1, width=4).tobytes()
    width, height = stsd.numbers("HH", 40)
    entry = stsd.data.tobytes()
    at = entry.find(PASP)
    across, down = stsd.numbers("II", at + len(PASP)) if at >= 0 else (1, 1)
    return CODECS.get(letters, name(letters).strip()), (width, height), (across or 1, down or 1)


def _samples(table: Inside, size_bytes: int) -> tuple[int, int]:
    """Return how many samples a track has and their bytes; raise `NotAClip` when one lies outside the file."""
    fixed, sizes, count = _sizes(table)
    if not count:
        return 0, 0
    offsets = _offsets(table)
    at = chunk = media_bytes = 0
    for chunks, per_chunk in _chunk_runs(table.one(b"stsc"), len(offsets)):
        for offset in offsets[chunk : chunk + chunks]:
            until = min(count, at + per_chunk)
            length = (until - at) * fixed if sizes is None else sum(sizes[at:until])
            if offset + length > size_bytes:
                raise NotAClip(f"is cut off: a sample ends at byte {offset + length:,}, the file at {size_bytes:,}")
            media_bytes += length
            at = until
            if at == count:
                return count, media_bytes
        chunk += chunks
    raise NotAClip(f"is damaged: its index names {count:,} samples and says where {at:,} of them are")


def _sizes(table: Inside) -> tuple[int, array[int] | None, int]:
    """Return the size that all samples share, or each one's own, and how many there are (§8.7.3)."""
    stsz = table.first(b"stsz")
    if stsz is not None:
        fixed, count = stsz.numbers("II", 4)
        return fixed, None if fixed else column("I", stsz.table(12, count=count, width=4)), count
    stz2 = table.one(b"stz2")
    bits, count = stz2.numbers("xxxBI", 4)
    if bits == 4:  # noqa: PLR2004 two sizes share a byte, the first in the upper half
        packed = stz2.table(12, count=(count + 1) // 2, width=1)
        return 0, array("B", (half for byte in packed for half in (byte >> 4, byte & 15)))[:count], count
    if bits not in {8, 16}:
        raise NotAClip(f"is damaged: its sample sizes have {bits} bits")
    return 0, column("B" if bits == 8 else "H", stz2.table(12, count=count, width=bits // 8)), count  # noqa: PLR2004


def _offsets(table: Inside) -> array[int]:
    """Return where each chunk begins in the file (§8.7.5)."""
    stco = table.first(b"stco")
    found, letter, width = (stco, "I", 4) if stco is not None else (table.one(b"co64"), "Q", 8)
    return column(letter, found.table(8, count=found.numbers("I", 4)[0], width=width))


def _chunk_runs(stsc: Inside, chunks: int) -> Iterator[tuple[int, int]]:
    """Yield (how many chunks, samples in each of them), in the order of the file (§8.7.4)."""
    rows = column("I", stsc.table(8, count=stsc.numbers("I", 4)[0], width=12))
    firsts = [*rows[0::3], chunks + 1]
    for first, following, per_chunk in zip(firsts, firsts[1:], rows[1::3], strict=False):
        if not 1 <= first < following <= chunks + 1 or (first == rows[0] and first != 1):
            raise NotAClip("is damaged: its index counts its chunks in a wrong order")
        yield following - first, per_chunk
