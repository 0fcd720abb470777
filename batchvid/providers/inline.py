"""Clips that stand in a JSON answer as a ``data:`` URL (RFC 2397): megabytes of base64 in the middle of a text.

They are taken out while the answer arrives, so that neither a poll nor a download holds one in memory.
"""

from __future__ import annotations

import re
from base64 import b64decode

_BEGIN = re.compile(rb"data:video\\?/[\w.+-]{1,40}(?:;[\w=.+-]{1,60}){0,4};base64,")
_END = re.compile(rb"[^A-Za-z0-9+/_\\-]")
BEGIN_MAX = 400
"""No beginning is longer."""
QUANTUM = 4
"""So many characters are three bytes."""
PLAIN = bytes.maketrans(b"-_", b"+/")
"""Base64 has two alphabets (RFC 4648)."""


def holds_clip(body: bytes) -> bool:
    """Whether a body, or the beginning of one, holds the beginning of a clip."""
    return _BEGIN.search(body) is not None


class DataURLs:
    """Parts a JSON text that comes in blocks into the text and the first clip in it."""

    def __init__(self) -> None:
        self._held = b""
        self._is_before, self._is_inside = True, False

    def feed(self, block: bytes) -> tuple[bytes, bytes]:
        """Return what of the text and what of the clip is certain now; an empty *block* is the end."""
        held, self._held = self._held + block, b""
        text = b""
        if self._is_before:
            found = _BEGIN.search(held)
            if found is None:
                kept = min(BEGIN_MAX, len(held)) if block else 0
                self._held = held[len(held) - kept :]
                return held[: len(held) - kept], b""
            self._is_before, self._is_inside = False, True
            text, held = held[: found.end()], held[found.end() :]
        if not self._is_inside:
            return held, b""
        end = _END.search(held)
        packed = (
            (held if end is None else held[: end.start()]).replace(b"\\", b"").translate(PLAIN)
        )  # JSON may write \/
        if end is None and block:
            whole = len(packed) // QUANTUM * QUANTUM
            self._held = packed[whole:]
            return text, b64decode(packed[:whole])
        self._is_inside = False
        packed = packed[: len(packed) - (len(packed) % QUANTUM == 1)]  # one character alone is no byte
        return text + (b"" if end is None else held[end.start() :]), b64decode(packed + b"=" * (-len(packed) % QUANTUM))
