"""Frames as they are sent: a file of the person's without its metadata, turned and fitted where its job asks for that.

Every refusal is a `ValueError` whose text completes "this file …". Pillow is imported on first use. The same picture
and recipe give the same bytes under one version of Pillow. Nothing is scaled, and PNG and WEBP are coded without loss:
of these every pixel that stays is the file's own.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from threading import Lock
from typing import TYPE_CHECKING, Any

from batchvid.domain.image_fit import Fit
from batchvid.domain.job import Frame
from batchvid.media.image_metadata import JPEG, PNG, UPRIGHT, WEBP, mime_of, orientation, pixel_size, strip

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
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"<svg", "an SVG"),
)
ISO_BRANDS = {b"heic": "a HEIC", b"heix": "a HEIC", b"mif1": "a HEIC", b"msf1": "a HEIC", b"avif": "an AVIF"}
"""Pictures in the boxes of an MP4, by the brand in their ``ftyp``."""
NAMES = {JPEG: "JPEG", PNG: "PNG", WEBP: "WEBP"}
LYING = frozenset({5, 6, 7, 8})
"""The EXIF orientations whose width is the picture's height."""
ONE_AT_A_TIME = Lock()
"""A decoded picture has up to 400 MB, and several may be under way: one is made after the other."""
ADVICE = "the service takes PNG, JPEG or WEBP: convert it"
CODING: Mapping[str, dict[str, Any]]
CODING = {JPEG: {"quality": 95, "subsampling": 0}, WEBP: {"lossless": True, "exact": True}}
"""Without loss; a JPEG with full colour resolution, and a quality above which nobody sees a difference."""
PLAIN_MODES = {"1": "L", "P": "RGB", "PA": "RGBA"}
"""What a picture becomes in which black can stand beside it."""


def _free() -> None:
    if ONE_AT_A_TIME.locked():
        ONE_AT_A_TIME.release()


os.register_at_fork(after_in_child=_free)  # the thread that held it stayed in the parent


class FrameChangedError(ValueError):
    """The frame is not what it was when the job was made from it, so nothing of it may be sent."""


def read_frame(path: Path, *, decode: bool = True) -> Frame:
    """Return the frame in the file; raise `ValueError` when it is none.

    It is decoded in full to prove that it is one: before anything is paid for it. Who only looks at what was paid
    does without (*decode*); the frame is the same.
    """
    data = _read(path)
    mime = _mime(data)
    turned, plain = orientation(data, mime), strip(data, mime)
    width, height = _decoded(plain, mime).size if decode else pixel_size(data, mime)
    if turned in LYING:
        width, height = height, width
    return Frame(
        path=os.path.abspath(path),  # noqa: PTH100 Path.resolve would follow the links that a person made on purpose
        sha256=hashlib.sha256(plain).hexdigest(),
        size_bytes=len(plain),
        mime=mime,
        width=width,
        height=height,
        turned=turned,
    )


def frame_bytes(frame: Frame) -> bytes:
    """Return the bytes to send: the file's own without metadata, or the picture that is made from them.

    Raise `FrameChangedError` when the file is not the one that the job was made from, and `ValueError` when the
    picture cannot be made.
    """
    name = os.path.basename(frame.path)  # noqa: PTH119 frame.path is text, and stays so
    try:
        data = _read(frame.path)
        mime = _mime(data)
        plain = strip(data, mime)
        found = mime, orientation(data, mime), hashlib.sha256(plain).hexdigest()
    except ValueError as error:
        raise FrameChangedError(f"the frame {name} was changed after the job was made from it: it {error}") from None
    if found != (frame.mime, frame.turned, frame.sha256):
        raise FrameChangedError(f"the frame {name} was changed after the job was made from it: run again to use it")
    if not frame.recipe:
        return plain
    try:
        with ONE_AT_A_TIME:
            sent = _made(_decoded(plain, mime), turned=frame.turned, fitted=frame.fitted, mime=mime)
    except (OSError, MemoryError) as error:
        raise ValueError(
            f"the frame {name} cannot be made ready ({frame.recipe}): {str(error) or 'no memory'}"
        ) from None
    if len(sent) > FRAME_MAX_BYTES:
        raise ValueError(f"the frame {name} {_too_large(len(sent))} (prepared: {frame.recipe})")
    return sent


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


def picture(path: Path | str) -> ImageFile:
    """Return the picture in the file, decoded; raise `ValueError` when it is none that the service takes."""
    data = _read(path)
    return _decoded(data, _mime(data))


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


def _mime(data: bytes) -> str:
    if mime := mime_of(data):
        return mime
    if data[4:8] == b"ftyp":
        raise ValueError(f"is {ISO_BRANDS.get(data[8:12], 'a video')}; {ADVICE}")
    for beginning, what in OTHER_TYPES:
        if data.startswith(beginning):
            raise ValueError(f"is {what}; {ADVICE}")
    raise ValueError("is not an image that the service takes (PNG, JPEG or WEBP)")


def _decoded(data: bytes, mime: str) -> ImageFile:
    """Return the picture, decoded to its last pixel.

    The three readers are called by name: `PIL.Image.open` would warn of a large picture, on stderr, where this
    refuses it, and would hand a JPEG of several pictures to another reader.
    """
    from PIL import PngImagePlugin
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = FRAME_MAX_BYTES  # a workflow, or a large profile
    readers: dict[str, Callable[[io.BytesIO], ImageFile]]
    readers = {JPEG: JpegImageFile, PNG: PngImagePlugin.PngImageFile, WEBP: WebPImageFile}
    try:
        picture = readers[mime](io.BytesIO(data))
        _refuse(picture, mime)
        picture.load()
    except (OSError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(_damage(error, mime)) from None
    return picture


def _refuse(picture: ImageFile, mime: str) -> None:
    pixels = picture.width * picture.height
    if pixels > FRAME_MAX_PIXELS:
        raise ValueError(
            f"has {pixels / 1e6:,.0f} million pixels ({picture.width}x{picture.height}); "
            f"a frame may have {FRAME_MAX_PIXELS // 1_000_000}: make it smaller"
        )
    if getattr(picture, "is_animated", False):
        raise ValueError(f"is an animated {NAMES[mime]}; a frame is one picture: save the one that you want")
    if picture.mode in {"CMYK", "YCCK"}:
        raise ValueError("is a CMYK JPEG, made for print, whose colours services get wrong: convert it to RGB")


def _damage(error: Exception, mime: str) -> str:
    text = str(error) or type(error).__name__
    if "truncated" in text.lower():
        return f"is cut off: the {NAMES[mime]} ends before the picture does"
    return f"is damaged: the {NAMES[mime]} does not decode ({text})"
