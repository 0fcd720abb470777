"""Whether a file is a complete MP4 clip: a walk over its boxes that looks at the index, never at the media.

* Every box of the file is whole.
* Every sample that the index names lies inside the file: in ``moov`` (before or after the media), or in the
  ``moof`` boxes of a fragmented file.
* There is a video track with at least one sample of more than nothing and a duration of more than nothing.

A cut changes none of the bytes before it, so what is refused of a cut file is that something named is not
there. One cut cannot be seen: between two fragments of a file that states neither its length nor an index of its
fragments. Sources: ISO/IEC 14496-12 §4.2, §8.3-8.8.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchvid.core.boxes import Box, Inside, NotAClip, boxes, column, name
from batchvid.core.fragments import Run, fragments_of, index_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.core.boxes import Read
    from batchvid.core.fragments import Fragments

__all__ = ["Clip", "NotAClip", "probe"]

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
}
UNKNOWN_DURATION = {0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF}
"""What a muxer writes when it did not know the duration (§8.4.2.3)."""
STATED_SHARE = 0.9
"""A fragmented file states the length of its longest track, which its video track need not quite reach."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What a complete clip says of itself."""

    width: int
    """As shown, in pixels."""
    height: int
    duration_s: float
    codec: str
    """Of the video: ``h264``, ``hevc``, ``av1``, ``vp9``, or else the four letters that the file uses."""
    audio: bool
    samples: int
    """Of the video track; usually one a frame."""

    def as_dict(self) -> dict[str, object]:
        """Give it by name, as the sidecar tells it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class _Track:
    handler: bytes
    track_id: int
    width: int
    height: int
    codec: str
    timescale: int
    duration: int
    samples: int
    media_bytes: int


def probe(size_bytes: int, read: Read) -> Clip:
    """Give what the clip says of itself; raises `NotAClip` when the file is not a complete one.

    *read* gives the bytes at an offset, at most so many as are asked for. The work is bounded by the size of the
    index, and the media are not read.
    """
    if size_bytes == 0:
        raise NotAClip("is empty (0 bytes)")
    if read(4, 4) not in BEGINNINGS:
        raise NotAClip("is not an MP4 file: it does not begin like one")
    top = list(boxes(read, 0, size_bytes))
    index = next((box for box in top if box.type == b"moov"), None)
    if index is None:
        raise NotAClip("has no index (moov box): it is cut off, or was never finished")
    moov = _content(index, read)
    tracks = [_track(trak, size_bytes) for trak in moov.all(b"trak")]
    for box in top:
        if box.type == b"sidx" and (end := index_end(_content(box, read), after=box.end)) > size_bytes:
            raise NotAClip(f"is cut off: its fragments end at byte {end:,}, the file at {size_bytes:,}")
    moofs = ((box.start, _content(box, read)) for box in top if box.type == b"moof")
    fragments = fragments_of(moov, moofs, size_bytes=size_bytes)
    return _clip(moov, tracks, fragments)


def _content(box: Box, read: Read) -> Inside:
    length = box.end - box.body
    if length > INDEX_MAX_BYTES:
        raise NotAClip(f"is damaged: its {name(box.type)} box has {length:,} bytes, and no clip's index has so many")
    data = read(box.body, length)
    if len(data) != length:
        raise NotAClip(f"is cut off: its {name(box.type)} box could not be read to its end")
    return Inside(box.type, data)


def _clip(moov: Inside, tracks: list[_Track], fragments: Fragments) -> Clip:
    videos = [track for track in tracks if track.handler == b"vide"]
    if not videos:
        raise NotAClip("has no video track")
    video = max(videos, key=lambda track: track.width * track.height)
    run = fragments.runs.get(video.track_id, Run())
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
    duration_s = (own + run.duration or video.duration) / video.timescale or _movie_duration_s(moov)
    if not duration_s:
        raise NotAClip("has a video track that lasts 0 seconds")
    if run.samples and duration_s < fragments.stated_s * STATED_SHARE:
        raise NotAClip(f"is cut off: its fragments last {duration_s:.2f} s of {fragments.stated_s:.2f} s")
    return Clip(
        width=video.width,
        height=video.height,
        duration_s=duration_s,
        codec=video.codec,
        audio=any(track.handler == b"soun" for track in tracks),
        samples=samples,
    )


def _movie_duration_s(moov: Inside) -> float:
    header = moov.first(b"mvhd")
    timescale, duration = _times(header) if header else (0, 0)
    return duration / timescale if timescale else 0.0


def _times(header: Inside) -> tuple[int, int]:
    """Give the timescale and the duration of an ``mvhd`` or ``mdhd`` (§8.2.2, §8.4.2)."""
    form, offset = ("IQ", 20) if header.numbers("B", 0)[0] else ("II", 12)
    timescale, duration = header.numbers(form, offset)
    return timescale, 0 if duration in UNKNOWN_DURATION else duration


def _track(trak: Inside, size_bytes: int) -> _Track:
    header = trak.one(b"tkhd")
    long = header.numbers("B", 0)[0] == 1
    (track_id,) = header.numbers("I", 20 if long else 12)
    width, height = (value >> 16 for value in header.numbers("II", 88 if long else 76))
    timescale, duration = _times(trak.one(b"mdia", b"mdhd"))
    handler = trak.one(b"mdia", b"hdlr").table(8, count=1, width=4).tobytes()
    table = trak.one(b"mdia", b"minf", b"stbl")
    codec, coded_width, coded_height = _description(table.one(b"stsd")) if handler == b"vide" else ("", 0, 0)
    samples, media_bytes = _samples(table, size_bytes)
    return _Track(
        handler=handler,
        track_id=track_id,
        width=width or coded_width,
        height=height or coded_height,
        codec=codec,
        timescale=timescale,
        duration=duration,
        samples=samples,
        media_bytes=media_bytes,
    )


def _description(stsd: Inside) -> tuple[str, int, int]:
    """Give the codec and the coded size of a video track's first sample entry (§8.5.2, §12.1.3)."""
    if not stsd.numbers("I", 4)[0]:
        raise NotAClip("is damaged: its video track does not say how it is coded")
    letters = stsd.table(12, count=1, width=4).tobytes()
    width, height = stsd.numbers("HH", 40)
    return CODECS.get(letters, name(letters).strip()), width, height


def _samples(table: Inside, size_bytes: int) -> tuple[int, int]:
    """Give how many samples a track has and their bytes; raises `NotAClip` when one lies outside the file."""
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
    """Give the size that all samples share, or each one's own, and how many there are (§8.7.3)."""
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
    """Give where each chunk begins in the file (§8.7.5)."""
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
