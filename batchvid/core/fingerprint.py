"""A job's fingerprint: what would be sent, as one hash that does not depend on names or order in the manifest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def fields(
    *, prompt: str, model: str, size: str | None, seconds: str | None, form: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Give the text fields of the create request, in the order in which they are sent."""
    found = [("prompt", prompt), ("model", model)]
    if size is not None:
        found.append(("size", size))
    if seconds is not None:
        found.append(("seconds", seconds))
    found.extend(form)
    return found


def fingerprint(text_fields: Iterable[tuple[str, str]], frame_hashes: Iterable[str]) -> str:
    """Give the SHA-256 (hex) over the text fields (by name) and the frames' hashes (in order).

    Each part is preceded by its length, so that no two different requests
    can run together into the same bytes.
    """
    parts = [b"batchvid-fingerprint-1\n"]
    for name, value in sorted(text_fields):
        key, text = name.encode(), value.encode()
        parts.append(b"%d:%b%d:%b" % (len(key), key, len(text), text))
    parts.extend(b"frame:" + frame.encode() for frame in frame_hashes)
    return hashlib.sha256(b"".join(parts)).hexdigest()
