"""The create request's body, built by hand: the same bytes for the same job, both frames in order, their true types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


@dataclass(frozen=True, slots=True)
class Multipart:
    """A ``multipart/form-data`` body (RFC 7578) as pieces, so that large frames are never copied together."""

    content_type: str
    pieces: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        """Return the length of the whole body."""
        return sum(map(len, self.pieces))


def create_body(fields: Iterable[tuple[str, str]], frames: Iterable[tuple[str, bytes]], *, boundary: str) -> Multipart:
    """Return the body for the text *fields* and the *frames* (type and bytes; the first one, then the last one).

    Both frames bear the same field name, ``input_reference``: the service tells first from last by
    their order alone. File names are our own, because a user's could hold anything. *boundary* must be random.
    """
    pieces = []
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
        for name, value in fields
    )
    for place, (mime, data) in zip(("first", "last"), frames, strict=False):
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="input_reference"; '
            f'filename="{place}.{EXTENSIONS[mime]}"\r\nContent-Type: {mime}\r\n\r\n'
        )
        pieces += [head.encode(), data]
        head = "\r\n"
    pieces.append(f"{head}--{boundary}--\r\n".encode())
    return Multipart(f"multipart/form-data; boundary={boundary}", tuple(pieces))


def _quoted(name: str) -> str:
    """Escape a field name as browsers do (HTML, multipart/form-data encoding algorithm)."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
