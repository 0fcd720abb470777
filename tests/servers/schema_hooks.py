"""Loaded by schemathesis: the pictures that it sends, and the refusals that no schema could have told it of."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import schemathesis  # type: ignore[import-not-found]  # it has an environment of its own
from hypothesis import strategies
from schemathesis.core.failures import AcceptedNegativeData  # type: ignore[import-not-found]  # the same
from schemathesis.openapi.checks import RejectedPositiveData  # type: ignore[import-not-found]  # the same

NOT_IN_A_SCHEMA = ("Inpaint image must match", "invalid_image_file", "invalid_base64")
"""Whether a text is a picture, and whether a picture has the size of the video."""
FRAME, UNKNOWN = "input_reference", "application/octet-stream"


def png(width: int, height: int) -> bytes:
    """Return a black picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    lines = zlib.compress((b"\0" + bytes((width + 7) // 8)) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


schemathesis.openapi.format("binary", strategies.just(png(720, 1280)))


@schemathesis.hook  # type: ignore[untyped-decorator]  # unknown to mypy, as above
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Send the picture as what it is, or as nothing known."""
    types = case.multipart_content_types or {}
    if types.get(FRAME) != UNKNOWN:
        case.multipart_content_types = {**types, FRAME: "image/png"}


@schemathesis.hook  # type: ignore[untyped-decorator]  # the same
def filter_failure(_context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure counts."""
    if isinstance(failure, RejectedPositiveData):
        return not any(text in response.text for text in NOT_IN_A_SCHEMA)
    # schemathesis cannot judge a body with bytes: that null is sent as a text in a form, or that it fits another model.
    is_form = case.media_type == "multipart/form-data" and isinstance(case.body, dict)
    has_file = is_form and FRAME in case.body
    return not (isinstance(failure, AcceptedNegativeData) and has_file)
