"""The fragments of an MP4 file that was written piece by piece (ISO/IEC 14496-12 §8.8): where their samples end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchvid.core.boxes import Inside, NotAClip, column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BASE_OFFSET, DESCRIPTION, DURATION, SIZE, FLAGS = 0x01, 0x02, 0x08, 0x10, 0x20
"""What a ``tfhd`` may state (§8.8.7)."""
RUN_OFFSET, RUN_FIRST_FLAGS = 0x001, 0x004
"""What a ``trun`` may state once (§8.8.8)."""
RUN_DURATION, RUN_SIZE, RUN_FLAGS, RUN_TIME = 0x100, 0x200, 0x400, 0x800
"""What a ``trun`` may state of each sample."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the fragments hold of one track."""

    samples: int = 0
    media_bytes: int = 0
    duration: int = 0
    """In the track's own units."""

    def __add__(self, other: Run) -> Run:
        """Give both, one after the other."""
        return Run(self.samples + other.samples, self.media_bytes + other.media_bytes, self.duration + other.duration)


@dataclass(frozen=True, slots=True)
class Fragments:
    """What the fragments of a file hold, by track id, and how long the file says they last in all."""

    runs: Mapping[int, Run]
    stated_s: float


@dataclass(frozen=True, slots=True)
class _Defaults:
    duration: int = 0
    size: int = 0


def fragments_of(moov: Inside, moofs: Iterable[tuple[int, Inside]], *, size_bytes: int) -> Fragments:
    """Give what the fragments (each with its place in the file) hold.

    Raises `NotAClip` when a sample of theirs lies outside the file.
    """
    mvex = moov.first(b"mvex")
    defaults: dict[int, _Defaults] = {}
    for trex in mvex.all(b"trex") if mvex else ():
        track_id, _description, duration, size = trex.numbers("IIII", 4)
        defaults[track_id] = _Defaults(duration, size)
    runs: dict[int, Run] = {}
    for start, moof in moofs:
        end = start
        for traf in moof.all(b"traf"):
            track_id, run, end = _track_fragment(traf, defaults, start=start, following=end)
            if end > size_bytes:
                raise NotAClip(f"is cut off: a sample ends at byte {end:,}, the file at {size_bytes:,}")
            runs[track_id] = runs.get(track_id, Run()) + run
    return Fragments(runs, _stated_s(moov, mvex))


def _stated_s(moov: Inside, mvex: Inside | None) -> float:
    """Give the duration of all fragments, when the file states it (§8.8.2)."""
    mehd, mvhd = (mvex.first(b"mehd") if mvex else None), moov.first(b"mvhd")
    if mehd is None or mvhd is None:
        return 0.0
    (duration,) = mehd.numbers("Q" if mehd.numbers("B", 0)[0] else "I", 4)
    (timescale,) = mvhd.numbers("I", 20 if mvhd.numbers("B", 0)[0] else 12)
    return duration / timescale if timescale else 0.0


def _track_fragment(
    traf: Inside, defaults: Mapping[int, _Defaults], *, start: int, following: int
) -> tuple[int, Run, int]:
    """Give the track's id, what the fragment holds of it, and where that ends in the file.

    Offsets count from the ``moof``, or, for a further track that states nothing, from the end of the track before.
    """
    tfhd = traf.one(b"tfhd")
    flags, track_id = (tfhd.numbers("II", 0)[0] & 0xFFFFFF), tfhd.numbers("I", 4)[0]
    default = defaults.get(track_id, _Defaults())
    stated = {BASE_OFFSET: following, DURATION: default.duration, SIZE: default.size}
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
        total += run
    return track_id, total, end


def _run(trun: Inside, *, duration: int, size: int) -> tuple[Run, int | None]:
    """Give what one ``trun`` holds, and where its samples begin, counted from the fragment's base."""
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
    """Give where the fragments end that an index right before byte *after* names (§8.16.3)."""
    version = sidx.numbers("B", 0)[0]
    (first_offset,) = sidx.numbers("Q", 20) if version else sidx.numbers("I", 16)
    offset = 28 if version else 20
    (count,) = sidx.numbers("xxH", offset)
    rows = column("I", sidx.table(offset + 4, count=count, width=12))
    return after + int(first_offset) + sum(row & 0x7FFF_FFFF for row in rows[0::3])
