"""Frames and clips as people bring them: real files, read by the real libraries."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageCms

from batchvid.domain.image_fit import Fit, fitting
from batchvid.media.frames import decode_clip
from batchvid.media.image_metadata import mime_of, strip
from batchvid.media.images import FrameChangedError, frame_bytes, read_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchvid.domain.job import Frame

    MakeClip = Callable[..., bytes]

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MIMES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def picture(width: int = 40, height: int = 24) -> Image.Image:
    """Return a small picture whose upper left is red and whose rest is blue."""
    found = Image.new("RGB", (width, height), (0, 0, 255))
    found.paste((255, 0, 0), (0, 0, width // 2, height // 2))
    return found


def coded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    """Return the picture as a file."""
    out = io.BytesIO()
    (image or picture()).save(out, kind, **options)
    return out.getvalue()


def turned(value: int) -> bytes:
    """Return EXIF that says how the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


@pytest.mark.parametrize("kind", MIMES)
def test_a_frame_without_metadata_goes_out_byte_for_byte(tmp_path: Path, kind: str) -> None:
    """Size, hash and type are of the file's own bytes, whatever the file is called."""
    path = tmp_path / "frame.bin"
    data = coded(kind)
    path.write_bytes(data)
    frame = read_frame(path)
    assert frame.sha256 == hashlib.sha256(data).hexdigest()
    assert (frame.size_bytes, frame.mime, frame.width, frame.height) == (len(data), MIMES[kind], 40, 24)
    assert frame.path == str(path)
    assert frame_bytes(frame) == data


@pytest.mark.parametrize("kind", MIMES)
@pytest.mark.parametrize("how", range(2, 9))
def test_a_frame_that_a_camera_turned_is_sent_upright(tmp_path: Path, kind: str, how: int) -> None:
    """What goes out looks like what a viewer shows, and says nothing about the camera."""
    upright = picture()
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[how]
    path = tmp_path / "frame"
    path.write_bytes(coded(kind, upright.transpose(back), exif=turned(how)))
    frame = read_frame(path)
    assert (frame.width, frame.height, frame.mime) == (40, 24, MIMES[kind])
    with Image.open(io.BytesIO(frame_bytes(frame))) as sent:
        assert sent.size == (40, 24)
        assert not sent.getexif()
        red, blue = sent.convert("RGB").getpixel((3, 3)), sent.convert("RGB").getpixel((36, 20))
        assert isinstance(red, tuple)
        assert isinstance(blue, tuple)
        assert red[0] > 200 > red[2]
        assert blue[2] > 200 > blue[0]


@pytest.mark.parametrize("kind", MIMES)
def test_a_frame_is_made_ready_the_same_each_time_without_metadata_and_the_file_is_left_alone(
    tmp_path: Path, kind: str
) -> None:
    """A second attempt sends what the first one sent."""
    path = tmp_path / "frame"
    path.write_bytes(coded(kind, exif=turned(6)))
    before = path.read_bytes()
    frame = fit(path, Fit.PAD)
    sent = frame_bytes(frame)
    assert sent == frame_bytes(frame)
    assert mime_of(sent) == MIMES[kind]
    assert strip(sent, MIMES[kind]) is sent
    assert path.read_bytes() == before


def fit(path: Path, how: Fit, ratio: tuple[int, int] = (16, 9)) -> Frame:
    """Return the frame in the file, fitted to a ratio."""
    frame = read_frame(path)
    return replace(frame, fitted=fitting(frame.width, frame.height, ratio=ratio, fit=how))


MODES = [
    ("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
] + [("JPEG", "L"), ("JPEG", "RGB"), ("WEBP", "RGB"), ("WEBP", "RGBA")]  # fmt: skip


@pytest.mark.parametrize(("kind", "mode"), MODES)
@pytest.mark.parametrize(("size", "padded"), [((40, 24), (43, 24)), ((40, 10), (40, 23))])
def test_pad_puts_black_beside_a_picture_of_any_kind_and_keeps_its_pixels(
    tmp_path: Path, kind: str, mode: str, size: tuple[int, int], padded: tuple[int, int]
) -> None:
    """It stands in the middle; what is coded without loss keeps every pixel."""
    source = Image.effect_noise(size, 90) if mode == "I;16" else picture(*size)
    path = tmp_path / "frame"
    path.write_bytes(coded(kind, source.convert("I;16" if mode == "I;16" else mode)))
    frame = fit(path, Fit.PAD)
    assert (frame.sent_size, frame.mime) == (padded, MIMES[kind])
    with Image.open(io.BytesIO(frame_bytes(frame))) as sent, Image.open(path) as was:
        assert sent.size == padded
        left, top = (padded[0] - size[0]) // 2, (padded[1] - size[1]) // 2
        middle = sent.crop((left, top, left + size[0], top + size[1]))
        if kind == "JPEG":
            assert middle.convert("L").getpixel((2, 2)) == pytest.approx(was.convert("L").getpixel((2, 2)), abs=8)
        else:
            assert middle.convert("RGBA").tobytes() == was.convert("RGBA").tobytes()
        for corner in ((0, 0), (padded[0] - 1, padded[1] - 1)):
            assert sent.convert("RGBA").getpixel(corner) == pytest.approx((0, 0, 0, 255), abs=8)


@pytest.mark.parametrize(("kind", "mode"), MODES)
def test_crop_keeps_the_middle_of_a_picture_of_any_kind(tmp_path: Path, kind: str, mode: str) -> None:
    """As much is cut from one side as from the other."""
    path = tmp_path / "frame"
    path.write_bytes(
        coded(kind, picture(41, 40).convert("L").convert(mode) if mode == "I;16" else picture(41, 40).convert(mode))
    )
    frame = fit(path, Fit.CROP)
    assert frame.sent_size == (41, 23)
    with Image.open(io.BytesIO(frame_bytes(frame))) as sent, Image.open(path) as was:
        assert sent.size == (41, 23)
        if kind != "JPEG":
            assert sent.convert("RGBA").tobytes() == was.convert("RGBA").crop((0, 9, 41, 32)).tobytes()


def test_a_transparent_colour_stays_transparent_beside_the_black(tmp_path: Path) -> None:
    """A PNG may name one colour of its palette, or of all, as not there."""
    path = tmp_path / "frame.png"
    path.write_bytes(coded("PNG", picture(), transparency=(255, 0, 0)))
    with Image.open(io.BytesIO(frame_bytes(fit(path, Fit.PAD)))) as sent:
        assert sent.mode == "RGBA"
        assert [sent.getpixel(at) for at in ((0, 0), (3, 3), (38, 20))] == [
            (0, 0, 0, 255), (255, 0, 0, 0), (0, 0, 255, 255),
        ]  # fmt: skip


def test_grey_of_16_bits_with_a_transparent_value_keeps_its_greys(tmp_path: Path) -> None:
    """Converted to eight bits with transparency, Pillow makes it white."""
    path, grey = tmp_path / "frame.png", Image.new("I;16", (40, 40), 20_000)
    path.write_bytes(with_chunk(coded("PNG", grey), b"tRNS", bytes(2)))
    with Image.open(io.BytesIO(frame_bytes(fit(path, Fit.PAD)))) as sent:
        assert sent.size == (71, 40)
        assert [sent.getpixel(at) for at in ((0, 0), (35, 20))] == [0, 20_000]


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """Put a chunk behind the header of a PNG."""
    check = struct.pack(">I", zlib.crc32(kind + content))
    return png[:33] + struct.pack(">I", len(content)) + kind + content + check + png[33:]


@pytest.mark.parametrize("how", [Fit.NONE, Fit.PAD])
def test_a_picture_with_a_large_workflow_and_a_large_profile_is_taken(tmp_path: Path, how: Fit) -> None:
    """More than Pillow unpacks by itself."""
    large = bytearray(PROFILE + bytes(1_200_000))
    struct.pack_into(">I", large, 0, len(large))
    texts = b"workflow\0\0" + zlib.compress(bytes(2_000_000))
    path = tmp_path / "frame.png"
    path.write_bytes(with_chunk(coded("PNG", icc_profile=bytes(large)), b"zTXt", texts))
    with Image.open(io.BytesIO(frame_bytes(fit(path, how)))) as sent:
        assert sent.size == ((40, 24) if how is Fit.NONE else (43, 24))


def test_the_colour_profile_goes_with_a_picture_that_was_made_ready(tmp_path: Path) -> None:
    """It decides how the colours look."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in MIMES:
        path = tmp_path / kind
        path.write_bytes(coded(kind, icc_profile=profile))
        with Image.open(io.BytesIO(frame_bytes(fit(path, Fit.CROP)))) as sent:
            assert sent.info["icc_profile"] == profile


def test_what_becomes_too_large_to_be_sent_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture may grow when it is coded again, and the service would refuse it."""
    path = tmp_path / "frame.png"
    path.write_bytes(coded("PNG"))
    frame = fit(path, Fit.PAD)
    monkeypatch.setattr("batchvid.media.images.FRAME_MAX_BYTES", path.stat().st_size)
    with pytest.raises(ValueError, match=r"the frame frame\.png has .* make it smaller \(prepared: pad 43x24\)"):
        frame_bytes(frame)


@pytest.mark.parametrize("how", [Fit.PAD, Fit.CROP])
def test_a_frame_that_was_changed_is_not_made_ready(tmp_path: Path, how: Fit) -> None:
    """Neither its pixels nor the way its camera was held may be others than those the fingerprint covers."""
    path = tmp_path / "frame.jpg"
    path.write_bytes(coded("JPEG", exif=turned(6)))
    frame = fit(path, how)
    for other in (coded("JPEG", exif=turned(8)), coded("JPEG"), coded("JPEG", picture(41, 24), exif=turned(6))):
        path.write_bytes(other)
        with pytest.raises(FrameChangedError, match="run again to use it"):
            frame_bytes(frame)


def test_metadata_is_cut_out_without_coding_again(tmp_path: Path) -> None:
    """An upright frame with EXIF loses the EXIF and nothing else."""
    path = tmp_path / "frame.jpg"
    path.write_bytes(coded("JPEG", exif=turned(1)))
    assert frame_bytes(read_frame(path)) == coded("JPEG")


def _bomb() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def _animated(kind: str) -> bytes:
    return coded(kind, save_all=True, append_images=[Image.new("RGB", (40, 24))])


REFUSED = [
    (b"", r"is empty \(0 bytes\)"),
    (b"hello", "is not an image that the service takes"),
    (coded("GIF"), "is a GIF; the service takes PNG, JPEG or WEBP: convert it"),
    (coded("BMP"), "is a BMP; the service takes"),
    (coded("TIFF"), "is a TIFF; the service takes"),
    (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(99), "is a Canon raw picture; the service takes"),
    (b"<?xml version='1.0'?>\n<!-- x --><svg xmlns=''/>", "is an SVG; the service takes"),
    (b"\n<!DOCTYPE html><title>404</title>", "is a web page; download the picture itself"),
    (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS; fetch the picture with git lfs pull"),
    (b"\0\5\x16\7" + bytes(80), "is what macOS keeps beside a file; name the file without"),
    (b"PK\3\4" + bytes(80), "is an archive; unpack it"),
    (b'{"error": "not found"}', "is JSON; download the picture itself"),
    (b"8BPS" + bytes(80), "is a Photoshop file; the service takes"),
    (b"\0\0\0\x20ftypisom" + bytes(99), "is a video; the service takes"),
    (b"%PDF-1.7", "is a PDF; the service takes"),
    (b"<svg xmlns=''/>", "is an SVG; the service takes"),
    (coded("JPEG", picture().convert("CMYK")), "is a CMYK JPEG.*convert it to RGB"),
    (_animated("PNG"), "is an animated PNG; a frame is one picture"),
    (_animated("WEBP"), "is an animated WEBP; a frame is one picture"),
    (_bomb(), r"has 200 million pixels \(20000x10000\); a frame may have 100: make it smaller"),
    *((coded(kind)[:-40], "is cut off|is damaged") for kind in MIMES),
    (coded("PNG")[:-12], "is cut off"),
    (coded("JPEG")[:-2], "is cut off"),
]


@pytest.mark.parametrize(("data", "text"), REFUSED, ids=[text[:24] for _, text in REFUSED])
def test_what_is_no_frame_is_refused_with_a_reason(tmp_path: Path, data: bytes, text: str) -> None:
    """Every refusal completes "this file …" and says what to do where something can be done."""
    path = tmp_path / "frame.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=text):
        read_frame(path)


@pytest.mark.parametrize("kind", MIMES)
def test_every_cut_of_a_frame_is_refused(tmp_path: Path, kind: str) -> None:
    """No half-transferred picture is ever sent."""
    data = coded(kind)
    path = tmp_path / "frame"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="is "):
            read_frame(path)


def test_pixels_that_do_not_decode_are_refused(tmp_path: Path) -> None:
    """A frame whose container is whole and whose pixels are not."""
    data = bytearray(coded("PNG"))
    begin = data.index(b"IDAT") + 6
    data[begin : begin + 8] = bytes(8)
    path = tmp_path / "frame.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="the PNG does not decode"):
        read_frame(path)


LOOKS = [
    *((kind, options) for kind in MIMES for options in ({}, {"exif": turned(6)}, {"icc_profile": PROFILE})),
    ("JPEG", {"progressive": True, "quality": 40}),
    ("JPEG", {"comment": "\u00ff" * 300}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"lossless": True, "exif": turned(8)}),
]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (40, 24), (16383, 2), (3, 700)])
@pytest.mark.parametrize(("kind", "options"), LOOKS)
def test_a_frame_is_the_same_where_it_is_not_decoded(
    tmp_path: Path, kind: str, options: dict[str, object], size: tuple[int, int], mode: str
) -> None:
    """Size, type and hash, and with them every fingerprint: a look at what was paid knows the same content."""
    if (kind, mode) == ("JPEG", "RGBA"):
        mode = "CMYK"
    path = tmp_path / "frame"
    path.write_bytes(coded(kind, Image.new(mode, size), **options))
    looked_at = read_frame(path, decode=False)
    assert {looked_at.width, looked_at.height} == set(size)
    if mode != "CMYK":  # which is looked at, and refused where it would be sent
        assert looked_at == read_frame(path)


@pytest.mark.parametrize("kind", MIMES)
def test_a_look_at_a_damaged_frame_tells_or_takes_what_its_file_says(tmp_path: Path, kind: str) -> None:
    """Wherever a byte is wrong, and wherever the file ends, there is a frame or a reason."""
    data = coded(kind, exif=turned(6))
    path = tmp_path / "frame"
    for place in range(len(data)):
        for damaged in (data[:place], data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]):
            path.write_bytes(damaged)
            with suppress(ValueError):
                assert read_frame(path, decode=False).path == str(path)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """A folder, a FIFO that nobody writes to, an endless device and a socket are no images."""
    fifo, bound = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bound))
        for path, text in [
            (tmp_path, "is a folder, not an image"),
            (fifo, "is not a regular file"),
            (bound, "is not a regular file"),
            (Path("/dev/zero"), "is not a regular file"),
            (tmp_path / "none.png", "does not exist"),
            (tmp_path / "fifo" / "x.png", "does not exist: a part of its path is a file"),
            (tmp_path / ("x" * 300), "has a path that is too long"),
        ]:
            with pytest.raises(ValueError, match=text):
                read_frame(path)


def test_a_link_that_leads_back_to_itself_is_refused(tmp_path: Path) -> None:
    """A link to a picture is fine, a circle of links is not."""
    (tmp_path / "frame.png").write_bytes(coded("PNG"))
    (tmp_path / "good.png").symlink_to("frame.png")
    (tmp_path / "circle.png").symlink_to("circle.png")
    assert read_frame(tmp_path / "good.png").width == 40
    with pytest.raises(ValueError, match="leads back to itself"):
        read_frame(tmp_path / "circle.png")


def test_a_frame_that_the_locale_cannot_name_is_refused_with_the_way_out() -> None:
    """Python's own words for it name a codec and a position, which helps nobody."""
    with pytest.raises(ValueError, match=r"a name that this locale cannot write: set LC_ALL=C\.UTF-8"):
        read_frame(Path("\ud800.png"))


def test_a_file_too_large_for_a_frame_is_not_read(tmp_path: Path) -> None:
    """A sparse terabyte costs nothing."""
    path = tmp_path / "frame.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="has 1,048,576 MiB; a frame may have 64: make it smaller"):
        read_frame(path)


@pytest.mark.parametrize("data", [b"", b"hello", coded("PNG", picture(8, 8)), coded("GIF"), coded("JPEG")[:-40]])
def test_a_frame_that_changed_since_is_not_sent(tmp_path: Path, data: bytes) -> None:
    """Between check and submit the file may become another; nothing of the other goes out."""
    path = tmp_path / "frame.jpg"
    path.write_bytes(coded("JPEG"))
    frame = read_frame(path)
    path.write_bytes(data)
    with pytest.raises(FrameChangedError, match=r"the frame frame\.jpg was changed after the job was made"):
        frame_bytes(frame)


def test_a_frame_that_is_gone_is_not_sent(tmp_path: Path) -> None:
    """The message names the file and says that it is not there."""
    path = tmp_path / "frame.png"
    path.write_bytes(coded("PNG"))
    frame = read_frame(path)
    path.unlink()
    with pytest.raises(FrameChangedError, match="it does not exist"):
        frame_bytes(frame)


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov"])
def test_a_whole_clip_decodes_to_its_end(tmp_path: Path, make_clip: MakeClip, movflags: str) -> None:
    """Every frame is counted."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(make_clip(audio=True, movflags=movflags))
    found = decode_clip(path)
    assert (found.width, found.height, found.codec, found.frames) == (64, 36, "h264", 10)
    assert found.duration_s == pytest.approx(10 / 24, abs=0.1)


def test_damage_inside_the_media_is_found(tmp_path: Path, make_clip: MakeClip) -> None:
    """The index is whole, the frames are not: only decoding sees it."""
    data = bytearray(make_clip(frames=30))
    begin = data.index(b"mdat") + 800
    data[begin : begin + 200] = bytes(range(200))
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"does not decode to its end|is damaged"):
        decode_clip(path)


@pytest.mark.parametrize("data", [b"", b"hello", b"ffconcat version 1.0\nfile other.mp4\n"])
def test_what_is_no_clip_does_not_decode(tmp_path: Path, make_clip: MakeClip, data: bytes) -> None:
    """A playlist that is called a clip opens nothing else."""
    path = tmp_path / "clip.mp4"
    (tmp_path / "other.mp4").write_bytes(make_clip())
    path.write_bytes(data)
    with pytest.raises(ValueError, match="does not decode to its end"):
        decode_clip(path)
