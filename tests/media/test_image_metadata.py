"""Metadata goes, pixels stay: real pictures of the three types."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from batchvid.media.image_metadata import JPEG, PNG, WEBP, mime_of, orientation, strip

FORMATS = {JPEG: "JPEG", PNG: "PNG", WEBP: "WEBP"}
SECRET = b"52.5163N 13.3777E"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture() -> Image.Image:
    """Return a small picture that is not the same anywhere."""
    return Image.linear_gradient("L").resize((40, 24)).convert("RGB")


def exif(turned: int = 1) -> Image.Exif:
    """Return EXIF that names a place and how the camera was held."""
    found = Image.Exif()
    found[0x0112] = turned
    found[0x010E] = SECRET.decode()
    return found


def coded(mime: str, **options: object) -> bytes:
    """Return the picture as a file."""
    out = io.BytesIO()
    picture().save(out, FORMATS[mime], **options)
    return out.getvalue()


def pixels(data: bytes) -> bytes:
    """Return the decoded pixels."""
    with Image.open(io.BytesIO(data)) as found:
        return found.convert("RGB").tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Build a PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("mime", FORMATS)
@pytest.mark.parametrize("profile", [None, PROFILE])
def test_a_picture_without_metadata_is_the_same_object(mime: str, profile: bytes | None) -> None:
    """A frame without metadata goes out byte for byte; a colour profile is none."""
    data = coded(mime, icc_profile=profile)
    assert mime_of(data) == mime
    assert strip(data, mime) is data


@pytest.mark.parametrize("mime", FORMATS)
def test_exif_and_xmp_go_and_the_rest_stays(mime: str) -> None:
    """Not a pixel and not the colour profile changes; the place is gone."""
    xmp = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"
    extra = {"pnginfo": _xmp_png(xmp)} if mime == PNG else {"xmp": xmp}
    data = coded(mime, exif=exif().tobytes(), icc_profile=PROFILE, **extra)
    assert SECRET in data
    found = strip(data, mime)
    assert SECRET not in found
    assert pixels(found) == pixels(data)
    assert strip(found, mime) is found
    with Image.open(io.BytesIO(found)) as opened:
        assert opened.info["icc_profile"] == PROFILE
        assert not opened.getexif()


def _xmp_png(xmp: bytes) -> PngInfo:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return info


def test_every_kind_of_png_text_goes_and_what_shows_stays() -> None:
    """Plain, packed and international text and the time go; gamma and resolution stay."""
    data = coded(PNG, dpi=(72, 72))
    end = data.index(b"IEND") - 4
    secrets = [chunk(b"tEXt", b"Comment\0" + SECRET), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(SECRET))]
    secrets += [chunk(b"iTXt", b"Comment\0\0\0\0\0" + SECRET), chunk(b"tIME", bytes(7)), chunk(b"eXIf", b"MM\0*")]
    assert strip(data[:end] + b"".join(secrets) + data[end:], PNG) == data
    assert b"pHYs" in data


def segment(marker: int, content: bytes) -> bytes:
    """Build a JPEG segment."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize("marker", [0xE1, 0xE3, 0xEB, 0xEC, 0xED, 0xEF, 0xFE])
def test_segments_that_do_not_change_how_a_jpeg_looks_go(marker: int) -> None:
    """EXIF, XMP, Photoshop's block, comments, provenance manifests: all go."""
    data = coded(JPEG)
    assert strip(data[:2] + segment(marker, SECRET) + data[2:], JPEG) == data


@pytest.mark.parametrize("marker", [0xE0, 0xEE])
def test_segments_that_change_how_a_jpeg_looks_stay(marker: int) -> None:
    """JFIF and Adobe's colour transform stay."""
    data = coded(JPEG)
    marked = data[:2] + segment(marker, b"Adobe\0d\0\0\0\0\1") + data[2:]
    assert strip(marked, JPEG) is marked


def test_a_second_picture_behind_a_jpeg_goes() -> None:
    """Phones hide previews, depth maps and films behind the picture's end; they carry the place, too."""
    data = coded(JPEG)
    hidden = data[:2] + segment(0xE2, b"MPF\0" + bytes(20)) + data[2:] + coded(JPEG, exif=exif().tobytes())
    assert strip(hidden, JPEG) == data


def test_a_comment_between_the_scans_of_a_progressive_jpeg_goes() -> None:
    """A progressive JPEG holds several scans, and segments between them."""
    data = coded(JPEG, progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    marked = data[:second] + segment(0xFE, SECRET) + data[second:]
    assert strip(marked, JPEG) == data
    assert strip(data, JPEG) is data


def test_a_jpeg_with_restart_markers_and_fill_bytes_is_left_alone() -> None:
    """Neither ends the coded data."""
    data = coded(JPEG, restart_marker_blocks=1)
    filled = data[:2] + b"\xff\xff" + data[2:]
    assert b"\xff\xd0" in data
    assert strip(filled, JPEG) is filled
    assert pixels(filled) == pixels(data)


@pytest.mark.parametrize("mime", FORMATS)
@pytest.mark.parametrize("turned", range(1, 9))
def test_the_orientation_is_the_one_that_the_camera_noted(mime: str, turned: int) -> None:
    """All eight, in all three types."""
    assert orientation(coded(mime, exif=exif(turned).tobytes()), mime) == turned


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"MM",
        b"XX\0*\0\0\0\x08",
        b"MM\0*\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",
    ],
)
def test_an_orientation_that_cannot_be_read_is_upright(block: bytes) -> None:
    """Broken EXIF is dropped, and no reason to refuse the frame."""
    data = coded(JPEG)
    assert orientation(data[:2] + segment(0xE1, b"Exif\0\0" + block) + data[2:], JPEG) == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(order: str) -> None:
    """Cameras write either."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1)
    block = head + struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    data = coded(JPEG)
    assert orientation(data[:2] + segment(0xE1, b"Exif\0\0" + block) + data[2:], JPEG) == 6


@pytest.mark.parametrize("mime", FORMATS)
def test_every_cut_is_refused(mime: str) -> None:
    """What is not there to its end raises, with a reason, and nothing is guessed."""
    data = coded(mime, exif=exif().tobytes())
    for length in range(12, len(data)):
        with pytest.raises(ValueError, match=r"is cut off|is damaged"):
            strip(data[:length], mime)


def test_webp_keeps_its_alpha_and_says_no_longer_that_it_has_exif() -> None:
    """The flags and the size of the file fit what is left."""
    out = io.BytesIO()
    seen_through = picture()
    seen_through.putalpha(128)
    seen_through.save(out, "WEBP", lossless=True, exif=exif().tobytes())
    found = strip(out.getvalue(), WEBP)
    assert found[12:16] == b"VP8X"
    assert found[20] == 0x10
    assert int.from_bytes(found[4:8], "little") == len(found) - 8


@settings(deadline=None, max_examples=150)
@given(
    mime=st.sampled_from(sorted(FORMATS)),
    changes=st.lists(st.tuples(st.integers(12, 1500), st.integers(0, 255)), max_size=6),
)
def test_damage_is_refused_or_stripped_and_never_crashes(mime: str, changes: list[tuple[int, int]]) -> None:
    """Whatever bytes come, the answer is a file without metadata or a refusal; stripping twice changes nothing."""
    data = bytearray(coded(mime, exif=exif(6).tobytes()))
    for offset, value in changes:
        if offset < len(data):
            data[offset] = value
    try:
        found = strip(bytes(data), mime)
    except ValueError:
        return
    assert 1 <= orientation(bytes(data), mime) <= 8
    assert strip(found, mime) is found
