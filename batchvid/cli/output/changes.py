"""What an edit has changed of a paid job, for people, as a diff, and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchvid.cli.output import text
from batchvid.domain.changes import Shot, words
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchvid.domain.changes import FieldChange, Value

CONTEXT_CHARS = 40
"""Of a text that is the same, on each side of what is not."""
VALUE_SHOWN = 1000
HASH_SHOWN = 12
NOT_KNOWN = "what was sent for it is not known here, so neither is what has changed"


def change_lines(
    changed: Mapping[str, Sequence[FieldChange] | None], *, folder: str, more: bool = False
) -> Iterator[str]:
    """Yield what has changed of each job: ``[-removed-]``, ``{+added+}``, and ``old -> new`` for other fields.

    Frames below *folder* are named from there. *more*: not all such jobs are among them.
    """
    if not changed:
        return
    yield "What has changed since it was paid:"
    for job_id, found in changed.items():
        yield f"  {text.job_name(job_id)}"
        if found is None:
            yield f"    {NOT_KNOWN}"
        elif not found:
            yield "    nothing that its sidecar tells: the picture of a frame, perhaps"
        for one in found or ():
            yield f"    {clean(one.field, 100)}: {_shown(one, folder)}"
    if more:
        yield "  … and more (all of them: batchvid plan --json)"


def _shown(one: FieldChange, folder: str) -> str:
    if one.field == "prompt" and isinstance(one.old, str) and isinstance(one.new, str):
        return clean(_diff(one.old, one.new), VALUE_SHOWN)
    return f"{_value(one.old, folder)} -> {_value(one.new, folder)}"


def _diff(old: str, new: str) -> str:
    parts = list(words(old, new))
    shown = []
    for number, (kind, part) in enumerate(parts):
        match kind:
            case "removed":
                shown.append(f"[-{part}-]")
            case "added":
                shown.append(f"{{+{part}+}}")
            case _:
                shown.append(_context(part, begins=number == 0, ends=number == len(parts) - 1))
    return "".join(shown)


def _context(part: str, *, begins: bool, ends: bool) -> str:
    """Return a text that is the same, without what is far from any change."""
    before = "" if begins else part[:CONTEXT_CHARS]
    after = "" if ends else part[-CONTEXT_CHARS:]
    return part if len(part) <= len(before) + len(after) + 1 else f"{before}…{after}"


def _value(value: Value, folder: str) -> str:
    match value:
        case None:
            return "(not sent)"
        case Shot():
            return _shot(value, folder)
        case _:
            return clean(value, VALUE_SHOWN) or '""'


def _shot(shot: Shot, folder: str) -> str:
    told = [shot.sha256[:HASH_SHOWN]] if shot.sha256 else []
    told += [f"{shot.width}x{shot.height}"] if shot.width and shot.height else []
    told += [text.size(shot.size_bytes)] if shot.size_bytes is not None else []
    told += [shot.prepared] if shot.prepared else []
    name = clean(shot.file.removeprefix(f"{folder}/"), 200) or "a frame"
    return f"{name} ({clean(', '.join(told), 200)})" if told else name


def changes_json(found: Sequence[FieldChange] | None) -> list[dict[str, Any]] | None:
    """Return the changes of a job as objects; ``None`` where they are not known."""
    if found is None:
        return None
    return [{"field": one.field, "old": _plain(one.old), "new": _plain(one.new)} for one in found]


def _plain(value: Value) -> str | dict[str, Any] | None:
    if not isinstance(value, Shot):
        return value
    return {
        "file": value.file,
        "sha256": value.sha256,
        "prepared": value.prepared,
        "width": value.width,
        "height": value.height,
        "size_bytes": value.size_bytes,
    }
