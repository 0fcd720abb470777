"""A job's fingerprint: what would be sent, as one hash that does not depend on names or order in the manifest."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batchvid.domain.job import Frame


def fields(
    *, prompt: str, model: str, size: str | None, seconds: str | None, form: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the text fields of the create request, in the order in which they are sent."""
    found = [("prompt", prompt), ("model", model)]
    if size is not None:
        found.append(("size", size))
    if seconds is not None:
        found.append(("seconds", seconds))
    found.extend(form)
    return found


def of_frame(frame: Frame) -> str:
    """Return the hash by which a fingerprint knows a frame: that of the bytes that are sent.

    Where they are made from the file's picture, it is that of the picture and of what is done to it instead. The
    two determine what the service will see, while the bytes depend on the version of the library that codes
    them as well: an upgrade must change no fingerprint, because what is changed may be bought again.
    """
    if not frame.recipe:
        return frame.sha256
    return hashlib.sha256(f"batchvid-frame-1\n{frame.sha256}\n{frame.recipe}".encode()).hexdigest()


def fingerprint(text_fields: Iterable[tuple[str, str]], frame_hashes: Iterable[str]) -> str:
    """Return the SHA-256 (hex) over the text fields (by name) and the frames' hashes (`of_frame`, in order).

    Each part is preceded by its length, so that no two different requests
    can run together into the same bytes.
    """
    parts = [
        _BEGINNING,
        *(_part(name) + _part(value) for name, value in sorted(text_fields)),
        *map(_frame, frame_hashes),
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()


_BEGINNING = b"batchvid-fingerprint-1\n"


def _part(text: str) -> bytes:
    data = text.encode()
    return b"%d:%b" % (len(data), data)


def _frame(frame_hash: str) -> bytes:
    return b"frame:" + frame_hash.encode()


def of_first(text_fields: Sequence[tuple[str, str]]) -> Callable[[str], str]:
    """Return what makes the same `fingerprint` quicker for requests that differ in their first field alone: the prompt.

    No other field has its name, there is no frame, and all texts are in ASCII.
    """
    (name, _), *others = text_fields
    parts = [(key, _part(key) + _part(value)) for key, value in sorted(others)]
    before = b"".join([_BEGINNING, *(part for key, part in parts if key < name), _part(name)])
    behind = b"".join(part for key, part in parts if key > name)

    def of(value: str, sha256: Callable[[bytes], Any] = hashlib.sha256) -> str:
        data = value.encode()
        found: str = sha256(b"%b%d:%b%b" % (before, len(data), data, behind)).hexdigest()
        return found

    return of


def spelled(text_fields: Sequence[tuple[str, str]], frame_hashes: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the fingerprint of the texts in NFC, and those that the same texts have in other Unicode forms.

    Texts were once sent as they were written. What was paid then is the same content still, whether it was written
    as *text_fields* are now or in NFD throughout.
    """
    for _, value in text_fields:
        if not value.isascii():
            break
    else:
        return fingerprint(text_fields, frame_hashes), ()
    composed, decomposed = (
        [(name, unicodedata.normalize(form, value)) for name, value in text_fields] for form in ("NFC", "NFD")
    )
    others = [texts for texts in (text_fields, decomposed) if texts != composed]
    also = dict.fromkeys(fingerprint(texts, frame_hashes) for texts in others)
    return fingerprint(composed, frame_hashes), tuple(also)


def taken_frame(clip_sha256: str, at_s: float | None) -> str:
    """Return what stands for the hash of a frame that is taken from a clip: the clip's content and the place in it.

    So the fingerprint does not hang on how a decoder of some version turns the frame into a picture.
    """
    place = "last" if at_s is None else f"{round(at_s * 1_000_000)}us"
    return f"clip:{clip_sha256}:{place}"
