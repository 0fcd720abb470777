"""Clips that stand in a JSON answer as ``data:`` URLs (RFC 2397): megabytes of base64 in the middle of a text.

They are taken out while the answer arrives, pictures too, so that neither a poll nor a download holds one in memory. In
the text the number of each video stands in its place, by which the right one is asked for later.
"""

from __future__ import annotations

import re
from base64 import b64decode

_BEGIN = re.compile(rb"data:(video|image|audio|application)\\?/[\w.+-]{1,40}(?:;[\w=.+-]{1,60}){0,4};base64,")
_END = re.compile(rb"[^A-Za-z0-9+/_\\-]")
_NAME = re.compile(rb'"([^"\\]{1,64})"\s*:')
BEGIN_MAX = 400
"""No beginning is longer."""
QUANTUM = 4
"""So many characters are three bytes."""
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))")
ESCAPE_MAX = 6
"""A sign of base64 may be written so in JSON: ``\\/``, ``\\u002b``, and ``\\n`` between its lines."""
PLAIN = bytes.maketrans(b"-_", b"+/")
"""Base64 has two alphabets (RFC 4648)."""


def names_before_first(body: bytes) -> list[str] | None:
    """Return the names of fields that stand before the first clip of a body, or of the beginning of one.

    The clip may be below any of them. ``None``: there is no clip.
    """
    found = next((one for one in _BEGIN.finditer(body) if one[1] == b"video"), None)
    if found is None:
        return None
    return [name.decode("utf-8", "replace") for name in _NAME.findall(body[: found.start()])]


def _unescaped(escape: re.Match[bytes]) -> bytes:
    """Return the sign of base64 that an escape of JSON stands for; nothing for the end of a line."""
    if escape[1]:
        return bytes([code]) if (code := int(escape[1], 16)) in b"+/-_" else b""
    return escape[2] if escape[2] == b"/" else b""


class DataURLs:
    """Parts a JSON text that comes in blocks into the text, and the clip of a number."""

    def __init__(self, wanted: int = 1) -> None:
        self._wanted = wanted
        self._held = b""
        self._number = 0
        self._is_inside = self._is_wanted = False
        self.is_over = False
        """Whether the clip has come to its end."""

    def feed(self, block: bytes) -> tuple[bytes, bytes]:
        """Return what of the text and what of the clip is certain now; an empty *block* is the end."""
        rest, self._held = self._held + block, b""
        text, clip = [], []
        while rest:
            if self._is_inside:
                rest, found = self._clip(rest, is_last=not block)
                clip.append(found)
            else:
                rest, found = self._text(rest, is_last=not block)
                text.append(found)
        return b"".join(text), b"".join(clip)

    def _text(self, held: bytes, *, is_last: bool) -> tuple[bytes, bytes]:
        """Return what stands behind the next beginning of a clip, and the text before it."""
        found = _BEGIN.search(held)
        if found is None:
            kept = 0 if is_last else min(BEGIN_MAX, len(held))
            self._held = held[len(held) - kept :]
            return b"", held[: len(held) - kept]
        is_video = found[1] == b"video"
        self._number += is_video
        self._is_inside, self._is_wanted = True, is_video and self._number == self._wanted
        return held[found.end() :], held[: found.end()] + (str(self._number).encode() if is_video else b"")

    def _clip(self, held: bytes, *, is_last: bool) -> tuple[bytes, bytes]:
        """Return the text behind a clip that ends here, and its bytes if it is the one that is wanted."""
        end = _END.search(held)
        packed, tail = held if end is None else held[: end.start()], b""
        if end is None and not is_last and (place := packed.rfind(b"\\", -ESCAPE_MAX)) >= 0:
            packed, tail = packed[:place], packed[place:]  # an escape that is not whole yet
        packed = (_ESCAPE.sub(_unescaped, packed) if b"\\" in packed else packed).translate(PLAIN)
        if end is None and not is_last:
            whole = len(packed) // QUANTUM * QUANTUM
            self._held, rest, padding = packed[whole:] + tail, b"", b""
            packed = packed[:whole]
        else:
            self._is_inside, rest = False, b"" if end is None else held[end.start() :]
            self.is_over = self.is_over or self._is_wanted
            packed = packed[: len(packed) - (len(packed) % QUANTUM == 1)]  # one character alone is no byte
            padding = b"=" * (-len(packed) % QUANTUM)
        return rest, b64decode(packed + padding) if self._is_wanted else b""
