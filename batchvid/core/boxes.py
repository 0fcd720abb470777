"""The boxes that an MP4 file is made of (ISO/IEC 14496-12 §4.2), and the one error for a file that is no whole clip."""

from __future__ import annotations

import struct
import sys
from array import array
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]
    """Give the bytes of the file from an offset on, at most so many; fewer only at its end."""

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
    """Yield the boxes that fill *start* to *end*, in order; raises `NotAClip` when one of them is not whole."""
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
    """Give a box's or a codec's four letters, harmless to show."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in kind)  # noqa: PLR2004 printable ASCII


class Inside:
    """The content of one box that has been read into memory, and the boxes and numbers in it.

    Everything raises `NotAClip` for what should be there and is not.
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
        """Give the content of the first box along *path*, or ``None`` when there is none."""
        here: Inside | None = self
        for kind in path:
            here = next(here.all(kind), None) if here else None
        return here

    def one(self, *path: bytes) -> Inside:
        """Give the content of the first box along *path*."""
        found = self.first(*path)
        if found is None:
            raise NotAClip(f"is damaged: its {name(self.kind)} box holds no {'/'.join(map(name, path))}")
        return found

    def numbers(self, form: str, offset: int) -> tuple[int, ...]:
        """Give the big-endian numbers at *offset*, by the letters of `struct`."""
        try:
            return struct.unpack_from(">" + form, self.data, offset)
        except struct.error:
            raise NotAClip(f"is damaged: its {name(self.kind)} box is too short") from None

    def table(self, offset: int, *, count: int, width: int) -> memoryview:
        """Give the bytes of *count* rows of *width* bytes; the count is checked against the box before it is used."""
        if count * width > len(self.data) - offset:
            raise NotAClip(f"is damaged: its {name(self.kind)} box is too short for {count:,} entries")
        return self.data[offset : offset + count * width]


def column(letter: str, data: memoryview) -> array[int]:
    """Give big-endian whole numbers, each of the width that *letter* has in `array`."""
    found = array(letter)
    found.frombytes(data)
    if sys.byteorder == "little":
        found.byteswap()
    return found
