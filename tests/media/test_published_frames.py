"""Frames on a machine that has none of the manifest's files: what is sent is the same, byte for byte."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from batchvid.domain.image_fit import Fit, fitting
from batchvid.media.images import FrameChangedError, frame_bytes, read_frame, sent_bytes, source_bytes

if TYPE_CHECKING:
    from batchvid.domain.job import Frame

with suppress(ImportError):
    __import__("pillow_heif").register_heif_opener()

SECRET = b"52.5163N 13.3777E"


def drawn(folder: Path, kind: str, turned: int) -> Frame:
    """Return a frame whose file tells a place, and how the camera was held."""
    image = Image.linear_gradient("L").resize((90, 64)).convert("RGB")
    image.paste((255, 0, 0), (0, 0, 40, 30))
    exif = Image.Exif()
    exif[0x0112] = turned
    exif[0x010E] = SECRET.decode()
    out = io.BytesIO()
    image.save(out, {"HEIC": "HEIF"}.get(kind, kind), exif=exif.tobytes())
    path = folder / f"kite-{turned}.{kind.lower()}"
    path.write_bytes(out.getvalue())
    return read_frame(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "HEIC"])
@pytest.mark.parametrize("turned", [1, 3, 6, 8])
@pytest.mark.parametrize("how", list(Fit))
def test_what_is_sent_is_the_same_as_where_the_file_is(tmp_path: Path, kind: str, turned: int, how: Fit) -> None:
    """Plain, turned, fitted or coded again; and what is published does not tell where the picture was taken."""
    if kind == "HEIC":
        pytest.importorskip("pillow_heif")
    frame = drawn(tmp_path, kind, turned)
    frame = replace(frame, fitted=fitting(frame.width, frame.height, ratio=(16, 9), fit=how))
    sent, source = frame_bytes(frame), source_bytes(frame)
    Path(frame.path).unlink()
    assert hashlib.sha256(source).hexdigest() == frame.sha256
    assert kind == "HEIC" or SECRET not in source
    assert sent_bytes(frame, source) == sent


def test_a_picture_that_was_changed_is_not_published(tmp_path: Path) -> None:
    """The job was made from the one before."""
    frame = drawn(tmp_path, "PNG", 1)
    Image.new("RGB", (90, 64)).save(frame.path)
    with pytest.raises(FrameChangedError, match="run again to use it"):
        source_bytes(frame)
