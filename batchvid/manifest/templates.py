"""``{name}`` in the manifest's texts, and the names of files, which such texts make.

A template is plain substitution. This is not ``str.format``: a name is looked up among the variables and nowhere else.
So no attribute, index or conversion of anything can be reached from a manifest. Folders come only from the slashes
of the ``filename`` template, never from a value. So all clips of a manifest lie equally deep, and none can be where
another needs a folder.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from batchvid.domain.filename import MAX_PART_BYTES, in_a_name, is_short
from batchvid.domain.frozen import frozen
from batchvid.domain.text import nfc
from batchvid.manifest.values import locale_trouble, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_PATH_BYTES = 1000
"""Below what the narrowest systems take, with room for the output folder."""

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class UnknownVariableError(ValueError):
    """A text names a variable that it does not have."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = ", ".join(f"{{{one}}}" for one in sorted(known))
        super().__init__(
            f"{shown(f'{{{name}}}')} is no variable here: known are {names}; a brace as text is {{{{ or }}}}"
        )
        self.name = name


@frozen
class Template:
    """A text that has been taken apart: literal pieces and, at the odd places, names of variables."""

    pieces: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """The variables that it wants."""
        return frozenset(self.pieces[1::2])

    def render(self, variables: Mapping[str, str]) -> str:
        """Return the text with every variable filled in; raises `UnknownVariableError`."""
        found = list(self.pieces)
        for place in range(1, len(found), 2):
            name = found[place]
            if name not in variables:
                raise UnknownVariableError(name, variables)
            found[place] = variables[name]
        return "".join(found)


@lru_cache(maxsize=1024)
def parse(text: str) -> Template:
    """Split *text* into its parts; raises `ValueError` for a single brace that belongs to nothing."""
    pieces = [""]
    end = 0
    for part in _PART.finditer(text):
        pieces[-1] += text[end : part.start()]
        end = part.end()
        match part[0]:
            case "{{" | "}}":
                pieces[-1] += part[0][0]
            case "{" | "}":
                raise ValueError(f'a single "{part[0]}" stands in the text: write {part[0] * 2} for a brace')
            case _:
                pieces += [nfc(part[1].strip()), ""]
    pieces[-1] += text[end:]
    return Template(tuple(pieces))


def has_braces(text: str) -> bool:
    """Whether *text* is more than a plain text."""
    return "{" in text or "}" in text


Spelt = Callable[[str], str]
"""Makes of a path as it is written the one that is meant."""


def file_name(text: str, *, spelt: Spelt = str) -> Template:
    """Split the manifest's ``filename`` into its parts; raises `ValueError` when no file could be named so."""
    template = parse(text)
    if not template.pieces[-1].endswith(".mp4"):
        raise ValueError(f"{shown(text)} does not end in .mp4")
    if text.startswith("/"):
        raise ValueError(f"{shown(text)} is absolute: write a path inside the output folder")
    sample = template.render(dict.fromkeys(template.names, "x"))
    if trouble := _path_trouble(sample) or _length_trouble(spelt(sample)):
        raise ValueError(f"{shown(text)} {trouble}")
    return template


def clip_path(template: Template, variables: Mapping[str, str], *, spelt: Spelt = str) -> str:
    """Return the path of one clip; what could lead elsewhere in a variable, or cannot be seen, is not in it.

    Raises `ValueError` when it is still no path inside the output folder, or an unknown variable is named.
    """
    path = spelt(nfc(template.render({name: in_a_name(value) for name, value in variables.items()})))
    if trouble := _path_trouble(path) or _length_trouble(path):
        raise ValueError(f"its file name {shown(path)} {trouble}")
    return path


def _path_trouble(path: str) -> str | None:
    """Return what keeps *path* from being a clip's path, or ``None``."""
    if "\\" in path or not path.isprintable():
        return "holds a backslash or a character that cannot be seen: write / for folders"
    if trouble := locale_trouble(path):
        return trouble
    parts = path.split("/")
    if parts[-1] == ".mp4":
        return "has no name before .mp4"
    for part in parts:
        if not part.strip():
            return "has an empty part"
        if part in {".", ".."}:
            return "leads elsewhere: write it without . and .. as parts"
        if part.lower().startswith(".batchvid"):
            return "begins a part with .batchvid, where the journal is"
    return None


def _length_trouble(path: str) -> str | None:
    """Return the same of its length."""
    if not is_short(path):
        return f"has a part of more than {MAX_PART_BYTES} bytes: safe_names: true cuts it"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"has more than {MAX_PATH_BYTES} bytes"
    return None


def same_file(path: str) -> str:
    """Return what two paths have in common when some file system takes them for one."""
    return (
        path.lower() if path.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    )
