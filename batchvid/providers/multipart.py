"""A create request as a form, built by hand: the same bytes for the same job, its frames in order with true types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.providers.base import Request

if TYPE_CHECKING:
    from collections.abc import Iterable


EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
FRAME = "input_reference"
"""The field of a frame: several of them bear this one name, and only their order tells first from last."""


def form(
    fields: Iterable[tuple[str, str]], frames: Iterable[tuple[str, bytes]], *, path: str, boundary: str
) -> Request:
    """Return the ``multipart/form-data`` request (RFC 7578) with the text *fields* and the *frames* (type and bytes).

    File names are our own, because a user's could hold anything. *boundary* must be random.
    """
    pieces = []
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
        for name, value in fields
    )
    for place, (mime, data) in zip(("first", "last"), frames, strict=False):
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{FRAME}"; '
            f'filename="{place}.{EXTENSIONS[mime]}"\r\nContent-Type: {mime}\r\n\r\n'
        )
        pieces += [head.encode(), data]
        head = "\r\n"
    pieces.append(f"{head}--{boundary}--\r\n".encode())
    return Request("POST", path, {"Content-Type": f"multipart/form-data; boundary={boundary}"}, tuple(pieces))


def _quoted(name: str) -> str:
    """Escape a field name as browsers do (HTML, multipart/form-data encoding algorithm)."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
