"""Lossless removal of metadata from JPEG, PNG and WEBP: places, names and times go, every pixel stays.

Kept is what decides how the picture looks (colour profile, gamma, Adobe's colour transform); everything else
that a file may carry beside its pixels is dropped, and so is whatever follows the picture's end. What has
nothing to drop comes back as the same object.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    Piece = tuple[bytes, int, int]
    """A segment or chunk: its kind, its start and its end in the file."""


JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
PNG_BEGINNING = b"\x89PNG\r\n\x1a\n"
PNG_METADATA = {b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME"}
WEBP_METADATA = {b"EXIF", b"XMP "}
WEBP_METADATA_FLAGS = 0x08 | 0x04
"""EXIF and XMP in the flags of VP8X."""
ORIENTATION_TAG = 0x0112
UPRIGHT = 1
_FTYP_MAX_BYTES = 1024
_BRANDS = (
    ({b"avif", b"avis"}, "AVIF"),
    ({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}, "HEIC"),
    ({b"mif1", b"msf1"}, "HEIF"),
    ({b"crx "}, "Canon raw picture"),
)
"""The first of them that a file has says what it is: all pictures have mif1 or msf1 beside their own."""


def mime_of(data: bytes) -> str | None:
    """Return the type by the first bytes, ``None`` when it is none of the three."""
    if data.startswith(PNG_BEGINNING):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    return None


def kind_in_boxes(data: bytes) -> str | None:
    """Return what a file in the boxes of an MP4 (ISO/IEC 14496-12) holds, by the brands in its ``ftyp``.

    ``None`` when it has no such boxes. What a phone writes may put its brand behind that of HEIF itself.
    """
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4]), _FTYP_MAX_BYTES)
    brands = [data[8:12], *(data[place : place + 4] for place in range(16, end - 3, 4))]
    for known, kind in _BRANDS:
        if not known.isdisjoint(brands):
            return kind
    return "video"


def is_sequence(data: bytes) -> bool:
    """Whether a file is in boxes, and first of all a film of pictures."""
    return data[4:8] == b"ftyp" and data[8:12] in {b"avis", b"hevc", b"hevx", b"msf1"}


def is_high_dynamic(data: bytes) -> bool:
    """Whether the colours of a file in boxes are for screens of high dynamic range: PQ or HLG (ITU-T H.273), only.

    A phone's picture has a colour profile, or an ordinary one beside what makes it brighter.
    """
    curves = {data[found.end() + 2 : found.end() + 4] for found in re.finditer(b"colrnclx", data)}
    return bool(curves) and curves <= {b"\0\x10", b"\0\x12"} and not re.search(b"colr(?:prof|rICC)", data)


def strip(data: bytes, mime: str) -> bytes:
    """Return the picture without metadata: *data* itself when it holds none.

    Raise `ValueError`, with a reason for people, when the file does not hold together.
    """
    keep = {JPEG: _kept_of_jpeg, PNG: _kept_of_png, WEBP: _kept_of_webp}[mime]
    pieces = list(_pieces(data, mime))
    kept = [piece for piece in pieces if keep(data, piece)]
    if len(kept) == len(pieces) and pieces[-1][2] == len(data):
        return data
    beginning = {JPEG: 2, PNG: 8, WEBP: 12}[mime]
    body = b"".join([data[:beginning], *(data[start:end] for _, start, end in kept)])
    return _webp_mended(body) if mime == WEBP else body


def orientation(data: bytes, mime: str) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) when there is none or it cannot be read."""
    for kind, start, end in _pieces(data, mime):
        exif = _exif(data, (kind, start, end), mime)
        if exif is not None:
            return _orientation_in(exif)
    return UPRIGHT


def pixel_size(data: bytes, mime: str) -> tuple[int, int]:
    """Return width and height as the file states them, not turned; raise `ValueError` where it states none."""
    try:
        for piece in _pieces(data, mime):
            if (found := _size_in(data, piece, mime)) is not None:
                return found
    except (struct.error, IndexError):
        pass
    raise ValueError(f"is damaged: the {mime.removeprefix('image/').upper()} does not say how large the picture is")


def _size_in(data: bytes, piece: Piece, mime: str) -> tuple[int, int] | None:
    kind, start, _ = piece
    if mime == JPEG:
        if kind[0] not in _SOF:
            return None
        height, width = struct.unpack_from(">HH", data, _payload(data, piece) + 1)
        return width, height
    if mime == PNG:
        width, height = struct.unpack_from(">II", data, start + 8)
        return (width, height) if kind == b"IHDR" else None
    if kind == b"VP8X":
        wide, high = (int.from_bytes(data[at : at + 3], "little") for at in (start + 12, start + 15))
        return wide + 1, high + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, start + 9)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, start + 14)
    return (width & 0x3FFF, height & 0x3FFF) if kind == b"VP8 " else None


def _pieces(data: bytes, mime: str) -> Iterator[Piece]:
    return {JPEG: _jpeg_pieces, PNG: _png_pieces, WEBP: _webp_pieces}[mime](data)


def _cut_off(what: str, position: int) -> ValueError:
    return ValueError(f"is cut off: {what} at byte {position:,} is not there")


# JPEG: ITU-T T.81 Annex B

_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_SOS, _EOI, _COM, _APP0, _APP2, _APP14, _APP15 = 0xDA, 0xD9, 0xFE, 0xE0, 0xE2, 0xEE, 0xEF
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The frame headers, one for each way of coding."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""Inside coded data FF is followed by 00 or by a restart marker; anything else ends them."""


def _jpeg_pieces(data: bytes) -> Iterator[Piece]:
    position = 2
    while True:
        start = position
        if data[position : position + 1] != b"\xff":
            raise (
                _cut_off("its next segment", position)
                if position >= len(data)
                else ValueError(f"is damaged: no JPEG segment begins at byte {position:,}; save it again")
            )
        while data[position : position + 1] == b"\xff":
            position += 1
        if position >= len(data):
            raise _cut_off("its next segment", position)
        marker = data[position]
        position += 1
        if marker == _EOI:
            yield bytes((marker,)), start, position
            return
        if marker not in _STANDALONE:
            length = int.from_bytes(data[position : position + 2])
            if length < 2 or position + length > len(data):  # noqa: PLR2004 the length counts its own two bytes
                raise _cut_off("a segment's end", position + length)
            position += length
        if marker == _SOS:
            following = _NEXT_MARKER.search(data, position)
            if following is None:
                raise _cut_off("the end of the picture", len(data))
            position = following.start()
        yield bytes((marker,)), start, position


def _kept_of_jpeg(data: bytes, piece: Piece) -> bool:
    marker = piece[0][0]
    if marker == _APP2:
        return data.startswith(b"ICC_PROFILE\x00", _payload(data, piece))
    return marker in {_APP0, _APP14} or not (_APP0 < marker <= _APP15 or marker == _COM)


def _payload(data: bytes, piece: Piece) -> int:
    """Return where a segment's content begins, behind fill bytes, marker and length."""
    position = piece[1]
    while data[position] == 0xFF:  # noqa: PLR2004 the first half of a marker, or fill
        position += 1
    return position + 3


# PNG: W3C PNG (third edition) §5


def _png_pieces(data: bytes) -> Iterator[Piece]:
    position = 8
    while True:
        if position + 12 > len(data):
            raise _cut_off("its next chunk", position)
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _cut_off("a chunk's end", end)
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end


def _kept_of_png(_data: bytes, piece: Piece) -> bool:
    return piece[0] not in PNG_METADATA


# WEBP: RFC 9649 §2


def _webp_pieces(data: bytes) -> Iterator[Piece]:
    total = 8 + int.from_bytes(data[4:8], "little")
    if total > len(data):
        raise _cut_off("its end", total)
    position = 12
    while position + 8 <= total:
        kind, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length + (length & 1)
        if end > total + (length & 1):
            raise _cut_off("a chunk's end", end)
        yield kind, position, min(end, total)
        position = end
    if position == 12:  # noqa: PLR2004 the file's own header
        raise _cut_off("its first chunk", position)


def _kept_of_webp(_data: bytes, piece: Piece) -> bool:
    return piece[0] not in WEBP_METADATA


def _webp_mended(data: bytes) -> bytes:
    """Return the file with the size and the flags that fit what is left of it."""
    mended = bytearray(data)
    if len(mended) % 2:
        mended.append(0)
    struct.pack_into("<I", mended, 4, len(mended) - 8)
    if mended[12:16] == b"VP8X":
        mended[20] &= ~WEBP_METADATA_FLAGS & 0xFF
    return bytes(mended)


# EXIF: CIPA DC-008 §4.6


def _exif(data: bytes, piece: Piece, mime: str) -> bytes | None:
    """Return the TIFF structure that *piece* holds, ``None`` when it is not EXIF."""
    kind, start, end = piece
    if mime == JPEG:
        begin = _payload(data, piece) if kind == b"\xe1" else end
        return data[begin + 6 : end] if data.startswith(b"Exif\x00", begin) else None
    if kind not in {b"eXIf", b"EXIF"}:
        return None
    return data[start + 8 : end].removeprefix(b"Exif\x00\x00")


def _orientation_in(exif: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, _count, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == ORIENTATION_TAG and kind == 3 and 1 <= value <= 8:  # noqa: PLR2004 a SHORT, of eight meanings
                return int(value)
    except struct.error:
        return UPRIGHT
    return UPRIGHT
