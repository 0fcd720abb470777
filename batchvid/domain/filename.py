"""The names of clips: which ones every file system takes, what is made of the others, and under what a clip is kept.

The narrowest rules are those of Windows. exFAT, FAT, NTFS and shares have them, in part or all:

1. No ``? : * < > | "``. ``/`` parts folders, and a backslash and what cannot be seen are in no name anyway.
2. No dot and no blank at the end of a folder's name.
3. No name of a device (``CON``, ``nul.mp4``), whatever stands behind its first dot.
4. Not more than 255 bytes, or UTF-16 units; some encrypted folders take 143.

Two names that differ in case or Unicode form only are one there; the manifest refuses such names everywhere.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_PART_BYTES = 200
"""File systems take 255; room is left for ``.part`` and an attempt's number."""
PLAIN_PART_BYTES = 120
"""The same for the narrowest, which take 143."""
ENDING = ".mp4"
_TAKEN_NOWHERE = re.compile(r"[/\\]")
_NOT_TAKEN = re.compile(r'[?:*<>|"]')
_DEVICE_WORD = r"(?i:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])"
_DEVICE = re.compile(rf"\A({_DEVICE_WORD} *)(?=\.|\Z)")
_PLAIN_PART = rf"(?!{_DEVICE_WORD} *(?:\.|/|\Z))" + r'[^/\\?:*<>|"\x00-\x1f\x7f]' + f"{{1,{PLAIN_PART_BYTES}}}"
_PLAIN = re.compile(rf"(?:{_PLAIN_PART}(?<![. ])/)*{_PLAIN_PART}")
"""The same as `safe` says, in one look: there may be a hundred thousand names."""
_DIGEST_DIGITS = 8


def in_a_name(value: str) -> str:
    """Return the text of a variable as it stands in a name: visible, and without what would make a folder.

    What joins letters or turns their direction goes, a blank of any width is a plain one, and the rest becomes ``-``.
    """
    if not value.isprintable():
        value = "".join(char if char.isprintable() else _visible(char) for char in value)
    return _TAKEN_NOWHERE.sub("-", value)


def _visible(char: str) -> str:
    return {"Zs": " ", "Cf": ""}.get(unicodedata.category(char), "-")


def safe(path: str) -> str:
    """Return the *path* of a clip, or of a film, with names in it that every file system takes."""
    *folders, file = path.split("/")
    return "/".join([*map(_safe, folders), _safe(file.removesuffix(ENDING), ENDING)])


def _safe(name: str, ending: str = "") -> str:
    found = _DEVICE.sub(r"\1-", _NOT_TAKEN.sub("-", name))
    found = found if ending else found.rstrip(". ") or "-"
    if _size(found + ending) <= MAX_PART_BYTES:
        return found + ending
    behind = f"-{_digest(name)}{ending}"
    kept = found.encode("utf-8", "replace")[: MAX_PART_BYTES - len(behind)].decode("utf-8", "ignore")
    return kept.rstrip(". ") + behind


def is_plain(path: str) -> bool:
    """Whether every store takes the *path* for sure, so that it need not be tried."""
    return path.isascii() and _PLAIN.fullmatch(path) is not None


def is_short(path: str) -> bool:
    """Whether no part of the *path* is too long for a common file system."""
    return all(_size(part) <= MAX_PART_BYTES for part in path.split("/"))


def kept_as(job_id: str, path: str) -> str:
    """Return under which path the clip of a job is kept where its own *path* is refused: plain, and no other job's."""
    return f"{job_id}-{_digest(path)}{ENDING}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:_DIGEST_DIGITS]


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
