"""What an edit has changed of a job since it was paid: by the clip's sidecar, field by field, and word by word.

A frame is the same as long as its picture is, whatever its file is called now. Of a frame that was turned or fitted
the sidecar knows the hash of what was sent, and not of the file; it counts as changed where its file has another name
or is made into something else.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from batchvid.domain.frozen import frozen
from batchvid.domain.job import Continuation
from batchvid.domain.text import nfc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchvid.domain.job import Frame, Job

TOKENS_AT_MOST = 2000
"""Words and spaces between the first and the last change that are compared; that takes their number squared."""
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKENS = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|\s+|.", re.DOTALL)
"""A word, a letter of a script that puts no spaces between words, spaces, or one other sign."""
FRAME_NAMES = ("first_frame", "last_frame")
CONTINUED_CLIP = "continued_clip"
"""The SHA-256 of the clip that the job continues."""


@frozen
class Shot:
    """A frame, as far as it is known."""

    file: str
    sha256: str | None
    """Of what was sent, or of the file's picture; ``None`` where that is not known."""
    prepared: str | None
    """What is done to the picture before it is sent."""
    width: int | None = None
    height: int | None = None
    size_bytes: int | None = None

    def is_same(self, other: Shot) -> bool:
        """Whether nothing tells the one from the other."""
        if self.prepared or other.prepared:
            return (self.prepared, _name(self.file)) == (other.prepared, _name(other.file))
        return self.sha256 == other.sha256


Value = str | Shot | None
"""``None``: it is not sent."""


@frozen
class FieldChange:
    """One field that is another one now."""

    field: str
    """As the manifest calls it; of a further field ``form.NAME``."""
    old: Value
    new: Value


def changes(job: Job, told: Mapping[str, Any], *, clip_sha256: str | None = None) -> list[FieldChange] | None:
    """Return what is another one of the job than its sidecar tells; ``None`` where that does not tell what was sent.

    *clip_sha256* is of the clip that the job continues, as it is on disk now.
    """
    prompt, form, frames = told.get("prompt"), told.get("form"), told.get("frames")
    if not isinstance(prompt, str) or not isinstance(form, dict) or not isinstance(frames, list):
        return None
    old: dict[str, Value] = {"prompt": prompt, **{name: _text(told.get(name)) for name in ("model", "size", "seconds")}}
    new: dict[str, Value] = {"prompt": job.prompt, "model": job.model, "size": job.size, "seconds": job.seconds}
    old |= {f"form.{name}": _text(value) for name, value in form.items()}
    new |= {f"form.{name}": value for name, value in job.form}
    before = told.get("continues")
    above = before if isinstance(before, dict) else {}
    is_continued = isinstance(job, Continuation)
    old |= zip(FRAME_NAMES[bool(above) :], map(_shot_told, frames), strict=False)
    new |= zip(FRAME_NAMES[is_continued:], map(_shot, job.frames), strict=False)
    if isinstance(job, Continuation):
        new |= {"continues": job.continues, "at": _moment(job.at_s)}
    if above:
        old |= {"continues": _text(above.get("id")), "at": _moment(above.get("at_s"))}
    if above and new.get("continues") == old["continues"] and clip_sha256 and above.get("clip_sha256"):
        old[CONTINUED_CLIP], new[CONTINUED_CLIP] = _text(above["clip_sha256"]), clip_sha256
    names = dict.fromkeys([*new, *old])
    found = (FieldChange(name, old.get(name), new.get(name)) for name in names)
    return [one for one in found if not _is_same(one.old, one.new)]


def words(old: str, new: str) -> Iterator[tuple[str, str]]:
    """Yield how one text becomes the other: pairs of ``same``, ``removed`` or ``added`` and the text."""
    before, after = _TOKENS.findall(old), _TOKENS.findall(new)
    head = _alike(before, after)
    tail = _alike(before[head:][::-1], after[head:][::-1])
    if head:
        yield "same", "".join(before[:head])
    end = len(before) - tail
    yield from _inner_words(before[head:end], after[head : len(after) - tail])
    if tail:
        yield "same", "".join(before[end:])


def _alike(ones: Sequence[str], others: Sequence[str]) -> int:
    """Count how many are the same from the beginning on."""
    return next(
        (at for at, (one, other) in enumerate(zip(ones, others, strict=False)) if one != other),
        min(len(ones), len(others)),
    )


def _inner_words(before: list[str], after: list[str]) -> Iterator[tuple[str, str]]:
    if len(before) + len(after) > TOKENS_AT_MOST:
        yield from (("removed", "".join(before)), ("added", "".join(after)))
        return
    for kind, first, last, begin, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            yield "same", "".join(before[first:last])
            continue
        if last > first:
            yield "removed", "".join(before[first:last])
        if end > begin:
            yield "added", "".join(after[begin:end])


def _is_same(old: Value, new: Value) -> bool:
    if isinstance(old, Shot) and isinstance(new, Shot):
        return old.is_same(new)
    if isinstance(old, str) and isinstance(new, str):
        return nfc(old) == nfc(new)
    return old == new


def _shot(frame: Frame) -> Shot:
    return Shot(
        frame.path,
        None if frame.recipe else frame.sha256,
        frame.recipe or None,
        frame.width,
        frame.height,
        frame.size_bytes,
    )


def _shot_told(told: object) -> Shot:
    known = told if isinstance(told, dict) else {}
    return Shot(_text(known.get("file")) or "", _text(known.get("sha256")), _text(known.get("prepared")))


def _moment(at_s: object) -> str | None:
    return f"{at_s:g}s" if isinstance(at_s, int | float) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
