"""Where a clip goes below the output folder: the rules of a file name.

Folders come only from the slashes of the template, never from a value, so all clips of a manifest lie
equally deep, and none can be where another needs a folder.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING

from batchvid.domain.text import nfc
from batchvid.manifest.template import Template, parse
from batchvid.manifest.units import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT = "{id}.mp4"
MAX_PART_BYTES = 200
"""File systems take 255; room is left for ``.part`` and an attempt's number."""
MAX_PATH_BYTES = 1000
"""Below what the narrowest systems take, with room for the output folder."""

_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")


def file_name(text: str) -> Template:
    """Take the manifest's ``filename`` apart; raises `ValueError` when no file could be named so."""
    template = parse(text)
    if not template.pieces[-1].endswith(".mp4"):
        raise ValueError(f"{shown(text)} does not end in .mp4")
    if text.startswith("/"):
        raise ValueError(f"{shown(text)} is absolute: write a path inside the output folder")
    sample = template.render(dict.fromkeys(template.names, "x"))
    if trouble := path_trouble(sample):
        raise ValueError(f"{shown(text)} {trouble}")
    return template


def clip_path(template: Template, variables: Mapping[str, str]) -> str:
    """Return the path of one clip; what could lead elsewhere in a variable becomes ``-``.

    Raises `ValueError` when it is still no path inside the output folder, or an unknown variable is named.
    """
    path = nfc(template.render({name: _UNSAFE.sub("-", value) for name, value in variables.items()}))
    if trouble := path_trouble(path):
        raise ValueError(f"its file name {shown(path)} {trouble}")
    return path


def path_trouble(path: str) -> str | None:
    """Return what keeps *path* from being a clip's path, or ``None``."""
    if "\\" in path or not path.isprintable():
        return "holds a backslash or a control character: write / for folders"
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
        if len(part.encode()) > MAX_PART_BYTES:
            return f"has a part of more than {MAX_PART_BYTES} bytes"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"has more than {MAX_PATH_BYTES} bytes"
    return None


def locale_trouble(path: str) -> str | None:
    """Return what keeps *path* from being the name of a file under this locale, or ``None``.

    It is asked before anything is paid: a clip whose file cannot be named could not be saved.
    """
    if path.isascii():
        return None
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return f"holds letters that this locale ({sys.getfilesystemencoding()}) cannot write: set LC_ALL=C.UTF-8"
    return None


def same_file(path: str) -> str:
    """Return what two paths have in common when some file system takes them for one."""
    return (
        path.lower() if path.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    )


def on_disk(path: Path) -> Path:
    """Return *path*, absolute, as the disk spells it.

    Where nothing has a name of it, but something has the same letters in another Unicode form, that is meant: a Mac
    and an archive may write names in a form that nobody types.
    """
    if str(path).isascii() or os.path.lexists(path):
        return path
    found = type(path)(path.anchor)
    for part in path.parts[1:]:
        here = found / part
        if not part.isascii() and not os.path.lexists(here):
            wanted = nfc(part)
            with suppress(OSError):
                here = next((one for one in sorted(found.iterdir()) if nfc(one.name) == wanted), here)
        found = here
    return found
