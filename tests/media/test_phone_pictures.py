"""HEIC and AVIF, as phones write them, and JPEGs with more in them: sent as any service takes them."""

from __future__ import annotations

import hashlib
import io
import struct
import sys
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from batchvid.domain import fingerprint
from batchvid.domain.image_fit import Fit, fitting
from batchvid.media.image_metadata import kind_in_boxes, strip
from batchvid.media.images import FrameChangedError, frame_bytes, picture, read_frame
from batchvid.media.thumbnails import thumbnail_of_frame

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.job import Frame

pytest.importorskip("pillow_heif").register_heif_opener()
KINDS = ["HEIC", "AVIF"] if find_spec("PIL.AvifImagePlugin") else ["HEIC"]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
UNDONE = [
    Image.Transpose[name]
    for name in (
        "FLIP_LEFT_RIGHT",
        "ROTATE_180",
        "FLIP_TOP_BOTTOM",
        "TRANSPOSE",
        "ROTATE_90",
        "TRANSVERSE",
        "ROTATE_270",
    )
]
"""What a camera did that says 2 to 8."""
RED, BLUE = (255, 0, 0), (0, 0, 255)


def drawn(mode: str = "RGB") -> Image.Image:
    """Return a picture whose upper left is red, and whose rest is blue."""
    found = Image.new("RGB", (96, 64), BLUE)
    found.paste(RED, (0, 0, 48, 32))
    return found.convert(mode)


def coded(kind: str, image: Image.Image | None = None, *, turned: int = 1, **options: object) -> bytes:
    """Return the picture as a file; *turned* is how the camera was held."""
    out = io.BytesIO()
    if turned != 1:
        exif = Image.Exif()
        exif[0x0112] = turned
        options["exif"] = exif.tobytes()
    (image or drawn()).save(out, {"HEIC": "HEIF"}.get(kind, kind), quality=95, **options)
    return out.getvalue()


def sent(frame: Frame) -> Image.Image:
    """Return the picture that goes out."""
    found = Image.open(io.BytesIO(frame_bytes(frame)))
    found.load()
    return found


def colours(found: Image.Image) -> list[str]:
    """Return which colour is where: the four corners, from the upper left on, row by row."""
    image = found.convert("RGB")
    right, low = image.width - 6, image.height - 6
    pixels = [image.getpixel(at) for at in ((5, 5), (right, 5), (5, low), (right, low))]
    return ["red" if isinstance(one, tuple) and one[0] > 200 > one[2] else "blue" for one in pixels]


def fitted(frame: Frame, how: Fit) -> Frame:
    """Return the frame, fitted to 16x9."""
    return replace(frame, fitted=fitting(frame.width, frame.height, ratio=(16, 9), fit=how))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("name", ["IMG_0001.HEIC", "photo.jpg"])
def test_it_goes_out_upright_as_a_jpeg_and_nothing_else_of_it_does(
    tmp_path: Path, kind: str, turned: int, name: str
) -> None:
    """Whatever it is called, and however the camera was held: as a viewer shows it."""
    image = drawn() if turned == 1 else drawn().transpose(UNDONE[turned - 2])
    path = tmp_path / name
    path.write_bytes(coded(kind, image, turned=turned))
    before = path.read_bytes()
    frame = read_frame(path)
    assert (frame.mime, frame.recoded, frame.recipe) == ("image/jpeg", kind, f"{kind} as JPEG")
    assert (frame.width, frame.height, frame.turned) == (96, 64, 1)
    assert frame == read_frame(path, decode=False)
    data = frame_bytes(frame)
    assert data == frame_bytes(frame)
    assert data.startswith(b"\xff\xd8\xff")
    assert strip(data, "image/jpeg") is data
    found = sent(frame)
    assert (found.size, found.mode) == ((96, 64), "RGB")
    assert not found.getexif()
    assert colours(found) == ["red", "blue", "blue", "blue"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("how", "size"), [(Fit.PAD, (114, 64)), (Fit.CROP, (96, 54))])
def test_it_is_fitted_like_any_other(tmp_path: Path, kind: str, how: Fit, size: tuple[int, int]) -> None:
    """And the recipe says both."""
    path = tmp_path / "x.heic"
    path.write_bytes(coded(kind, turned=6))
    frame = read_frame(path)
    assert (frame.width, frame.height) == (64, 96)
    path.write_bytes(coded(kind))
    frame = fitted(read_frame(path), how)
    assert frame.recipe == f"{kind} as JPEG, {how} {size[0]}x{size[1]}"
    assert sent(frame).size == size


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_clear_in_places_goes_out_as_a_png(tmp_path: Path, kind: str) -> None:
    """A JPEG has no such places."""
    image = drawn("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((96, 64)))
    path = tmp_path / "x"
    path.write_bytes(coded(kind, image))
    frame = read_frame(path)
    assert (frame.mime, frame.recipe) == ("image/png", f"{kind} as PNG")
    assert frame == read_frame(path, decode=False)
    found = sent(frame)
    assert found.mode == "RGBA"
    clear, solid = found.getpixel((50, 0)), found.getpixel((50, 63))
    assert isinstance(clear, tuple)
    assert isinstance(solid, tuple)
    assert clear[3] < 20
    assert solid[3] > 230


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_its_colour_profile_goes_with_it(tmp_path: Path, kind: str, mode: str) -> None:
    """A phone's colours are wider than those that are taken for granted."""
    path = tmp_path / "x"
    path.write_bytes(coded(kind, drawn(mode), icc_profile=PROFILE))
    assert sent(read_frame(path)).info["icc_profile"] == PROFILE


def test_a_fingerprint_is_of_the_file_and_of_what_is_done_to_it(tmp_path: Path) -> None:
    """The version of the library that decodes it is no part of it; a job without such a frame keeps what it had."""
    path = tmp_path / "x.heic"
    path.write_bytes(coded("HEIC"))
    frame = fitted(read_frame(path), Fit.PAD)
    assert frame.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    told = f"batchvid-frame-1\n{frame.sha256}\nHEIC as JPEG, pad 114x64"
    assert fingerprint.of_frame(frame) == hashlib.sha256(told.encode()).hexdigest()


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        (b"heic\0\0\0\0mif1heic", "HEIC"),
        (b"mif1\0\0\0\0mif1heicmiaf", "HEIC"),
        (b"heix\0\0\0\0mif1", "HEIC"),
        (b"mif1\0\0\0\0miaf", "HEIF"),
        (b"avif\0\0\0\0avifmif1miaf", "AVIF"),
        (b"mif1\0\0\0\0avifmiaf", "AVIF"),
        (b"crx \0\0\0\1crx isom", "Canon raw picture"),
        (b"isom\0\0\2\0isomiso2avc1mp41", "video"),
        (b"qt  \0\0\2\0qt  ", "video"),
    ],
)
def test_what_is_in_boxes_is_told_by_all_of_its_brands(brands: bytes, kind: str) -> None:
    """The first may be that of all pictures in boxes."""
    assert kind_in_boxes(struct.pack(">I4s", len(brands) + 8, b"ftyp") + brands + b"\0\0\0\0meta") == kind
    assert kind_in_boxes(b"\0\0\0\x08ftyp") == "video"
    assert kind_in_boxes(b"\xff\xd8\xff") is None


def test_a_heic_whose_first_brand_is_that_of_all_pictures_is_one(tmp_path: Path) -> None:
    """Some cameras write it so."""
    path = tmp_path / "x.heif"
    path.write_bytes(coded("HEIC").replace(b"ftypheic", b"ftypmif1", 1))
    assert read_frame(path).recipe == "HEIC as JPEG"


def test_of_more_than_one_picture_the_one_that_is_shown_is_sent(tmp_path: Path) -> None:
    """A phone keeps others beside it."""
    path = tmp_path / "x.heic"
    path.write_bytes(
        coded("HEIC", Image.new("RGB", (96, 64), BLUE), save_all=True, append_images=[drawn()], primary_index=1)
    )
    assert colours(sent(read_frame(path))) == ["red", "blue", "blue", "blue"]


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_film_of_pictures_is_refused(tmp_path: Path, kind: str, decode: bool) -> None:  # noqa: FBT001 parametrized
    """As an animated PNG is."""
    path = tmp_path / "x"
    data = coded(kind, save_all=True, append_images=[Image.new("RGB", (96, 64))])
    path.write_bytes(data.replace(b"ftypheic", b"ftyphevc", 1))
    with pytest.raises(ValueError, match=f"is an animated {kind}; a frame is one picture"):
        read_frame(path, decode=decode)


@pytest.mark.parametrize("curve", [16, 18])
def test_a_picture_for_bright_screens_only_is_refused(tmp_path: Path, curve: int) -> None:
    """Its colours would come out pale; one with a profile of its own is not meant."""
    path = tmp_path / "x.heif"
    curves: dict[str, Any] = {"color_primaries": 9, "transfer_characteristics": curve, "matrix_coefficients": 9}
    path.write_bytes(coded("HEIC", **curves))
    for decode in (True, False):
        with pytest.raises(ValueError, match="is an HDR HEIC, whose colours would come out wrong: export it"):
            read_frame(path, decode=decode)
    path.write_bytes(coded("HEIC", **curves, icc_profile=PROFILE))
    assert read_frame(path).recipe == "HEIC as JPEG"


@pytest.mark.parametrize(
    ("kind", "module", "text"),
    [
        ("HEIC", "pillow_heif", r"is a HEIC: pip install 'batchvid\[heif\]' makes it readable, or convert it to JPEG"),
        ("AVIF", "PIL.AvifImagePlugin", "is an AVIF, which this Pillow does not read: pip install --upgrade pillow"),
    ],
)
def test_what_cannot_be_read_here_is_told_with_what_would_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: str, text: str
) -> None:
    """The library is an extra, and an old Pillow has no AVIF."""
    if kind not in KINDS:
        pytest.skip("this Pillow writes no AVIF")
    path = tmp_path / "photo.jpg"
    path.write_bytes(coded(kind))
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delattr("PIL.AvifImagePlugin", raising=False)
    for decode in (True, False):
        with pytest.raises(ValueError, match=text):
            read_frame(path, decode=decode)


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_is_refused(tmp_path: Path, kind: str) -> None:
    """No half-transferred picture is ever sent."""
    data = coded(kind)
    path = tmp_path / "x"
    for length in range(8, len(data), 23):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"is cut off|is damaged|is not an image|is a video"):
            read_frame(path)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.lists(st.tuples(st.integers(16, 500), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_is_refused_or_taken_and_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[int, int]]
) -> None:
    """Whatever bytes come."""
    data = bytearray(coded(kind))
    for place, value in changes:
        if place < len(data):
            data[place] = value
    path = tmp_path_factory.mktemp("damaged") / "x"
    path.write_bytes(data)
    with suppress(ValueError):
        assert frame_bytes(read_frame(path))


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_was_changed_since_is_not_sent(tmp_path: Path, kind: str) -> None:
    """Neither other pixels, nor another kind of file."""
    path = tmp_path / "x"
    path.write_bytes(coded(kind))
    frame = read_frame(path)
    for other in (coded(kind, turned=6), coded(kind, drawn("L")), coded("JPEG"), b"hello"):
        path.write_bytes(other)
        with pytest.raises(FrameChangedError, match="was changed after the job was made from it"):
            frame_bytes(frame)


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_shows_it(tmp_path: Path, kind: str) -> None:
    """Upright, as it is sent."""
    path = tmp_path / "x"
    path.write_bytes(coded(kind, drawn().transpose(Image.Transpose.ROTATE_90), turned=6))
    assert colours(picture(path)) == ["red", "blue", "blue", "blue"]
    with Image.open(io.BytesIO(thumbnail_of_frame(str(path)))) as small:
        assert colours(small) == ["red", "blue", "blue", "blue"]


def test_a_report_shows_grey_of_16_bits_as_grey(tmp_path: Path) -> None:
    """Pillow makes it white."""
    path = tmp_path / "x.png"
    Image.new("I;16", (40, 40), 20_000).save(path)
    with Image.open(io.BytesIO(thumbnail_of_frame(str(path)))) as small:
        assert small.convert("L").getpixel((20, 20)) == pytest.approx(78, abs=3)


@pytest.mark.parametrize("name", ["x.jfif", "x.jpe", "x.JPG", "x.png"])
def test_a_jpeg_is_one_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    """And goes out byte for byte."""
    path = tmp_path / name
    path.write_bytes(coded("JPEG"))
    frame = read_frame(path)
    assert (frame.mime, frame.recipe) == ("image/jpeg", "")
    assert frame_bytes(frame) == path.read_bytes()


def test_of_a_jpeg_with_more_pictures_behind_it_the_first_is_sent(tmp_path: Path) -> None:
    """A phone's picture with a map of what is brighter in it, or a depth map, or a film."""
    plain = coded("JPEG")
    beside = b"MPF\0" + bytes(40), b"http://ns.adobe.com/xap/1.0/\0hdrgm:Version='1.0'"
    segments = b"".join(
        marker + (len(content) + 2).to_bytes(2) + content
        for marker, content in zip((b"\xff\xe2", b"\xff\xe1"), beside, strict=True)
    )
    path = tmp_path / "x.jpg"
    path.write_bytes(plain[:2] + segments + plain[2:] + coded("JPEG", drawn("L")) + b"\0\0\0\x18ftypmp42")
    assert frame_bytes(read_frame(path)) == plain


def test_an_mpo_is_a_jpeg(tmp_path: Path) -> None:
    """Its second picture stays at home."""
    path = tmp_path / "x.mpo"
    drawn().save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (96, 64))])
    frame = read_frame(path)
    assert (frame.mime, frame.recipe) == ("image/jpeg", "")
    assert colours(sent(frame)) == ["red", "blue", "blue", "blue"]
    assert len(frame_bytes(frame)) < path.stat().st_size
