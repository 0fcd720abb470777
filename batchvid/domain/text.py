"""Text from outside, harmless to show: one line, of bounded length, that cannot drive a terminal or mislead a reader.

Prompts, ids, file names and the service's messages may hold terminal escapes, control characters
(C0, C1), marks that reverse the reading direction, invisible characters and halves of surrogate
pairs. None of them has a meaning in a message, a log line or a table, so they go.
"""

from __future__ import annotations

import re
import unicodedata

READ_PER_SHOWN = 8
"""How many characters are looked at for each one shown, so that a 4 MB message costs no more than a long one."""
READ_AT_LEAST = 4096

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # control sequences: colours, cursor moves (ECMA-48 §5.4)
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"  # titles, links
    r"|\x1b[ -/]*[0-~]"  # two-character escapes
)


def clean(text: str, limit: int) -> str:
    """Return *text* as one line of at most *limit* printable characters, ending in ``…`` when it was longer.

    White space of any kind becomes single spaces. Escape sequences go as a whole, everything else that
    is not printable goes by itself. Cleaning twice is the same as cleaning once.
    """
    if len(text) <= limit and text.isprintable() and " ".join(text.split()) == text:
        return text
    looked_at = text[: max(READ_AT_LEAST, limit * READ_PER_SHOWN)]
    printable = (char for char in without_escapes(looked_at) if char.isprintable() or char.isspace())
    shown = " ".join("".join(printable).split())
    if len(shown) <= limit and len(looked_at) == len(text):
        return shown
    return shown[: max(0, limit - 1)].rstrip() + "…" if limit > 0 else ""


def without_escapes(text: str) -> str:
    """Return *text* without the sequences that drive a terminal."""
    return _ESCAPES.sub("", text)


def nfc(text: str) -> str:
    """Return *text* with every letter in its composed Unicode form, in which texts are compared and sent.

    An editor, a file system or an archive may spell the same letters in another form (NFD).
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)
