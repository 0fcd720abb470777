"""Frames as they are sent: a file of the person's without its metadata, turned and fitted where its job asks for that.

Every refusal is a `ValueError` whose text completes "this file …". Pillow is imported on first use. The same picture
and recipe give the same bytes under one version of Pillow. Nothing is scaled, and PNG and WEBP are coded without loss:
of these every pixel that stays is the file's own. What phones write and no service is known to take, HEIC and AVIF, is
sent as a JPEG, or as a PNG where it is clear in places.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from batchvid.domain.image_fit import Fit
from batchvid.domain.job import Frame
from batchvid.media.image_metadata import (
    JPEG,
    ORIENTATION_TAG,
    PNG,
    UPRIGHT,
    WEBP,
    is_high_dynamic,
    is_sequence,
    kind_in_boxes,
    mime_of,
    orientation,
    pixel_size,
    strip,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    from batchvid.domain.image_fit import Fitting


FRAME_MAX_BYTES = 64 * 1024 * 1024
"""Two of them fit into the 128 MiB that the service's gateway takes by default."""
FRAME_MAX_PIXELS = 100_000_000
"""12000 x 8333: far above what any model looks at, and about 400 MB once decoded."""
OTHER_TYPES = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\x00", "a TIFF"),
    (b"MM\x00*", "a TIFF"),
    (b"II+\x00", "a TIFF"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"<svg", "an SVG"),
    (b"FUJIFILM", "a camera's raw picture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance picture"),
    (b"DDS ", "a DDS texture"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"gimp xcf", "a GIMP file"),
    (b"\x1aE\xdf\xa3", "a video"),
)
ADVICE = "the service takes PNG, JPEG or WEBP: convert it"
NO_PICTURES = (
    (re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE), "a web page; download the picture itself"),
    (re.compile(rb"\s*<\?xml[^>]*>.{0,2000}?<svg\b", re.DOTALL), f"an SVG; {ADVICE}"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS; fetch the picture with git lfs pull"),
    (re.compile(rb"\x00\x05\x16[\x00\x07]"), "what macOS keeps beside a file; name the file without ._"),
    (re.compile(rb"PK\x03\x04"), "an archive; unpack it"),
    (re.compile(rb"\s*[\[{]"), "JSON; download the picture itself"),
)
"""What a download or a copy may leave in place of a picture, with what to do."""
HEIF_EXTRA = "pip install 'batchvid[heif]'"
AVIF_NEEDS = "pip install --upgrade pillow"
NAMES = {JPEG: "JPEG", PNG: "PNG", WEBP: "WEBP"}
LYING = frozenset({5, 6, 7, 8})
"""The EXIF orientations whose width is the picture's height."""
ONE_AT_A_TIME = Lock()
"""A decoded picture has up to 400 MB, and several may be under way: one is made after the other."""
CODING: Mapping[str, dict[str, Any]]
CODING = {JPEG: {"quality": 95, "subsampling": 0}, WEBP: {"lossless": True, "exact": True}}
"""Without loss; a JPEG with full colour resolution, and a quality above which nobody sees a difference."""
RECODED = {"AVIF", "HEIC", "HEIF"}
JPEG_MODES = {"L", "RGB"}
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
)
"""What the readers raise where a file is damaged."""
PLAIN_MODES = {"1": "L", "P": "RGB", "PA": "RGBA"}
"""What a picture becomes in which black can stand beside it."""


def _free() -> None:
    if ONE_AT_A_TIME.locked():
        ONE_AT_A_TIME.release()


os.register_at_fork(after_in_child=_free)  # the thread that held it stayed in the parent


class FrameChangedError(ValueError):
    """The frame is not what it was when the job was made from it, so nothing of it may be sent."""


class _Content(NamedTuple):
    """What is in a file, before it is decoded."""

    data: bytes
    """Without metadata, where that can be cut out; as it is, where the picture is coded again."""
    mime: str
    """Of what is sent."""
    recoded: str = ""
    turned: int = UPRIGHT

    @property
    def name(self) -> str:
        """What the file is called in a message."""
        return self.recoded or NAMES[self.mime]


def read_frame(path: Path, *, decode: bool = True) -> Frame:
    """Return the frame in the file; raise `ValueError` when it is none.

    It is decoded in full to prove that it is one: before anything is paid for it. Who only looks at what was paid
    does without (*decode*); the frame is the same.
    """
    found = _content(_read(path))
    if decode:
        width, height = _decoded(found).size
    elif found.recoded:
        width, height = _size_of(_opened(found))
    else:
        width, height = pixel_size(found.data, found.mime)
    if found.turned in LYING:
        width, height = height, width
    return Frame(
        path=os.path.abspath(path),  # noqa: PTH100 Path.resolve would follow the links that a person made on purpose
        sha256=hashlib.sha256(found.data).hexdigest(),
        size_bytes=len(found.data),
        mime=found.mime,
        width=width,
        height=height,
        turned=found.turned,
        recoded=found.recoded,
    )


def frame_bytes(frame: Frame) -> bytes:
    """Return the bytes to send: the file's own without metadata, or the picture that is made from them.

    Raise `FrameChangedError` when the file is not the one that the job was made from, and `ValueError` when the
    picture cannot be made.
    """
    return sent_bytes(frame, source_bytes(frame))


def source_bytes(frame: Frame) -> bytes:
    """Return the picture in the file without its metadata, whose hash the frame has; raise `FrameChangedError`."""
    name = _name(frame)
    try:
        found = _content(_read(frame.path))
    except ValueError as error:
        raise FrameChangedError(f"the frame {name} was changed after the job was made from it: it {error}") from None
    known = frame.mime, frame.recoded, frame.turned, frame.sha256
    if (found.mime, found.recoded, found.turned, hashlib.sha256(found.data).hexdigest()) != known:
        raise FrameChangedError(f"the frame {name} was changed after the job was made from it: run again to use it")
    return found.data


def sent_bytes(frame: Frame, source: bytes) -> bytes:
    """Return the bytes to send of a frame whose `source_bytes` are known; raise `ValueError` as `frame_bytes` does."""
    if not frame.recipe:
        return source
    name = _name(frame)
    try:
        with ONE_AT_A_TIME:
            sent = _made(_decoded(_content(source)), turned=frame.turned, fitted=frame.fitted, mime=frame.mime)
    except (OSError, MemoryError) as error:
        raise ValueError(
            f"the frame {name} cannot be made ready ({frame.recipe}): {str(error) or 'no memory'}"
        ) from None
    if len(sent) > FRAME_MAX_BYTES:
        raise ValueError(f"the frame {name} {_too_large(len(sent))} (prepared: {frame.recipe})")
    return sent


def _name(frame: Frame) -> str:
    return os.path.basename(frame.path)  # noqa: PTH119 frame.path is text, and stays so


def _content(data: bytes) -> _Content:
    """Return what is in a file; raise `ValueError` when it is no picture that can be sent."""
    if mime := mime_of(data):
        return _Content(strip(data, mime), mime, turned=orientation(data, mime))
    kind = kind_in_boxes(data)
    if kind in RECODED:
        found = _Content(data, PNG, recoded=kind)
        reader = _opened(found)
        is_clear = reader.mode not in JPEG_MODES or "transparency" in reader.info
        return found if is_clear else found._replace(mime=JPEG)
    if kind is not None:
        raise ValueError(f"is a {kind}; {ADVICE}")
    for beginning, what in OTHER_TYPES:
        if data.startswith(beginning):
            raise ValueError(f"is {what}; {ADVICE}")
    for pattern, text in NO_PICTURES:
        if pattern.match(data):
            raise ValueError(f"is {text}")
    raise ValueError("is not an image that the service takes (PNG, JPEG or WEBP)")


def _made(picture: Image, *, turned: int, fitted: Fitting | None, mime: str) -> bytes:
    """Return the file to send of a decoded picture, of the same type and without metadata."""
    profile = picture.info.get("icc_profile")
    if turned != UPRIGHT:
        picture = _upright(picture, turned)
    if fitted is not None:
        picture = _fitted(picture, fitted)
    out = io.BytesIO()
    picture.save(out, NAMES[mime], icc_profile=profile, **CODING.get(mime, {}))
    return strip(out.getvalue(), mime)


def _upright(picture: Image, turned: int) -> Image:
    from PIL.Image import Transpose

    turns = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
    return picture.transpose(Transpose[turns[turned - 2]])


def _fitted(picture: Image, wanted: Fitting) -> Image:
    """Return the middle of the picture, or the picture in the middle of black."""
    left, top = (wanted.width - picture.width) // 2, (wanted.height - picture.height) // 2
    if wanted.fit is Fit.CROP:
        return picture.crop((-left, -top, -left + wanted.width, -top + wanted.height))
    from PIL.Image import new

    mode = PLAIN_MODES.get(picture.mode, picture.mode)
    if "transparency" in picture.info and not mode.startswith("I"):  # Pillow makes grey of 16 bits white in RGBA
        mode = "RGBA"
    if mode != picture.mode:
        picture = picture.convert(mode)
    black = {"RGBA": (0, 0, 0, 255), "LA": (0, 255)}.get(mode, 0)
    canvas = new(mode, (wanted.width, wanted.height), black)
    canvas.paste(picture, (left, top))
    return canvas


def picture(path: Path | str) -> Image:
    """Return the picture in the file, decoded and upright, of 8 bits a colour; raise `ValueError` when it is none."""
    found = _content(_read(path))
    decoded: Image = _decoded(found)
    if decoded.mode.startswith("I"):  # Pillow makes 16 bits white
        decoded = decoded.point(lambda value: value / 256).convert("L")
    return decoded if found.turned == UPRIGHT else _upright(decoded, found.turned)


def _read(path: Path | str) -> bytes:
    """Return the bytes of a regular file of a sane size, without ever waiting for one that is not."""
    try:
        # Without O_NONBLOCK a FIFO that nobody writes to would be waited for, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise ValueError("is a folder, not an image")
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is not a regular file: a frame must be an image file")
            if status.st_size > FRAME_MAX_BYTES:
                raise ValueError(_too_large(status.st_size))
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(status.st_size + 1)  # room for much more would be had from the system each time
                if len(data) > status.st_size:
                    data += file.read(FRAME_MAX_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ValueError(_unreadable(error)) from None
    except UnicodeEncodeError:
        raise ValueError("has a name that this locale cannot write: set LC_ALL=C.UTF-8") from None
    if not data:
        raise ValueError("is empty (0 bytes)")
    if len(data) > FRAME_MAX_BYTES:
        raise ValueError(_too_large(len(data)))
    return data


def _too_large(size_bytes: int) -> str:
    return f"has {size_bytes / 2**20:,.0f} MiB; a frame may have {FRAME_MAX_BYTES // 2**20}: make it smaller"


def _unreadable(error: OSError) -> str:
    known = {
        errno.ENOENT: "does not exist",
        errno.ENOTDIR: "does not exist: a part of its path is a file, not a folder",
        errno.EACCES: "may not be read: change its permissions",
        errno.ELOOP: "is a symbolic link that leads back to itself",
        errno.ENXIO: "is not a regular file: a frame must be an image file",
        errno.ENAMETOOLONG: "has a path that is too long",
    }
    return known.get(error.errno or 0, f"cannot be read: {error.strerror or error}")


def _opened(found: _Content) -> ImageFile:
    """Return the reader of a picture, which has read its head; raise `ValueError` where that is damaged or refused.

    The readers are called by name: `PIL.Image.open` would warn of a large picture, on stderr, where this
    refuses it, and would hand a JPEG of several pictures to another reader.
    """
    reader = _reader(found)
    try:
        picture = reader(io.BytesIO(found.data))
    except _DAMAGE as error:
        raise ValueError(_damage(error, found.name)) from None
    _refuse(picture, found)
    return picture


def _reader(found: _Content) -> Callable[[io.BytesIO], ImageFile]:
    if found.recoded == "AVIF":
        try:
            from PIL import AvifImagePlugin
        except ImportError:
            raise ValueError(f"is an AVIF, which this Pillow does not read: {AVIF_NEEDS}, or convert it") from None
        if not AvifImagePlugin.SUPPORTED:
            raise ValueError(f"is an AVIF, which this Pillow does not read: {AVIF_NEEDS}, or convert it")
        return AvifImagePlugin.AvifImageFile
    if found.recoded:
        try:
            from pillow_heif import HeifImageFile
        except ImportError:
            raise ValueError(f"is a {found.recoded}: {HEIF_EXTRA} makes it readable, or convert it to JPEG") from None
        return HeifImageFile
    from PIL import PngImagePlugin
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = FRAME_MAX_BYTES  # a large profile
    readers: dict[str, Callable[[io.BytesIO], ImageFile]]
    readers = {JPEG: JpegImageFile, PNG: PngImagePlugin.PngImageFile, WEBP: WebPImageFile}
    return readers[found.mime]


def _decoded(found: _Content) -> Image:
    """Return the picture, decoded to its last pixel; one that is coded again is upright."""
    picture = _opened(found)
    size = picture.size
    try:
        picture.load()
    except _DAMAGE as error:
        raise ValueError(_damage(error, found.name)) from None
    if picture.size != size:
        raise ValueError(f"is damaged: the {found.name} says another size than its picture has")
    return _held_upright(picture) if found.recoded else picture


def _held_upright(picture: Image) -> Image:
    """Return a picture in boxes as it is shown: a HEIC's reader has turned it already, an AVIF's only says how."""
    turned = picture.getexif().get(ORIENTATION_TAG, UPRIGHT)
    return picture if turned == UPRIGHT else _upright(picture, turned)


def _size_of(picture: Image) -> tuple[int, int]:
    """Return width and height of a picture in boxes as it is shown."""
    width, height = picture.size
    return (height, width) if picture.getexif().get(ORIENTATION_TAG) in LYING else (width, height)


def _refuse(picture: ImageFile, found: _Content) -> None:
    pixels = picture.width * picture.height
    if pixels > FRAME_MAX_PIXELS:
        raise ValueError(
            f"has {pixels / 1e6:,.0f} million pixels ({picture.width}x{picture.height}); "
            f"a frame may have {FRAME_MAX_PIXELS // 1_000_000}: make it smaller"
        )
    # a HEIC may hold more than one picture, of which one is shown
    if is_sequence(found.data) or (found.recoded != "HEIC" and getattr(picture, "is_animated", False)):
        raise ValueError(f"is an animated {found.name}; a frame is one picture: save the one that you want")
    if picture.mode in {"CMYK", "YCCK"}:
        raise ValueError("is a CMYK JPEG, made for print, whose colours services get wrong: convert it to RGB")
    if found.recoded and is_high_dynamic(found.data):
        raise ValueError(f"is an HDR {found.name}, whose colours would come out wrong: export it as an ordinary JPEG")


def _damage(error: Exception, name: str) -> str:
    text = str(error) or type(error).__name__
    if "MAX_TEXT_CHUNK" in text or "MAX_TEXT_MEMORY" in text:
        return f"is a PNG with a colour profile of more than {FRAME_MAX_BYTES // 2**20} MiB: save it without"
    if re.search("truncated|cut off|end of file|too small|cannot read full", text, re.IGNORECASE):
        return f"is cut off: the {name} ends before the picture does"
    return f"is damaged: the {name} does not decode ({text})"
