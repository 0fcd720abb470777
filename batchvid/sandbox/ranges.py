"""A clip's bytes over HTTP: the whole, or the part that was asked for.

RFC 9110 §13.1.5 (If-Range), §14.2 (Range), §15.3.7 (206), §15.5.17 (416). Only one range at a time;
whatever else a client asks for is answered with the whole clip, as the RFC allows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchvid.sandbox.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def part_of(clip: bytes, headers: Mapping[str, str], *, etag: str) -> Reply:
    """Give what the request's *headers* (names in lower case) ask of *clip*."""
    common = {"content-type": "video/mp4", "accept-ranges": "bytes", "etag": etag}
    whole = Reply(200, common, clip)
    found = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if not found or found[0] == "bytes=-" or headers.get("if-range", etag) != etag:
        return whole
    size = len(clip)
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
        if found[2] and int(found[2]) < first:
            return whole
    else:
        first, last = max(0, size - int(found[2])), size - 1
    if first >= size:
        return Reply(416, {**common, "content-range": f"bytes */{size}"})
    return Reply(206, {**common, "content-range": f"bytes {first}-{last}/{size}"}, clip[first : last + 1])
