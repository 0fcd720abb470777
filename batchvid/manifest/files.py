"""How the disk spells the paths that a manifest names, and what was probably meant by one that leads to nothing."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from batchvid.domain.text import nfc
from batchvid.manifest.templates import same_file

if TYPE_CHECKING:
    from pathlib import Path

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|(?:data|file|blob):", re.IGNORECASE)
_HINTS = 20
"""Missing files for which a similar name is looked for: it takes longer than all else."""
_LOOKED_AT = 5_000
"""Names among which it is looked for."""


class Disk:
    """Folders, each listed once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[str]]] = {}
        self._hints = 0

    def spelled(self, path: Path, *, any_case: bool = False) -> Path:
        """Return *path*, absolute, as the disk spells it.

        Where nothing has a name of it, but something has the same letters in another Unicode form, that is meant: a
        Mac and an archive may write names in a form that nobody types. *any_case*: so is the only one that has them
        in another case; this is for what is read, never for what is written.
        """
        if (not any_case and str(path).isascii()) or os.path.lexists(path):
            return path
        found = type(path)(path.anchor)
        for part in path.parts[1:]:
            here = found / part
            if not os.path.lexists(here):
                alike = self._names(found).get(same_file(part), [])
                same = [name for name in alike if nfc(name) == nfc(part)][:1] or (alike if any_case else [])
                if len(same) == 1:
                    here = found / same[0]
            found = here
        return found

    def hint(self, path: Path, written: str) -> str:
        """Return what to write instead of a path that leads to nothing, behind a colon; nothing where it is there."""
        spelled = self.spelled(path, any_case=True)
        if os.path.lexists(spelled):
            return ""
        if written.startswith("~") or "$" in written:
            return ": ~ and variables such as $HOME are not expanded; write the path in full"
        if "\\" in written:
            return ": write / between folders"
        self._hints += 1
        names = self._names(spelled.parent)
        if self._hints > _HINTS or len(names) > _LOOKED_AT:
            return ""
        from difflib import get_close_matches

        close = get_close_matches(same_file(path.name), names, n=1, cutoff=0.7)
        return f": did you mean {' or '.join(names[close[0]])}?" if close else ""

    def _names(self, folder: Path) -> dict[str, list[str]]:
        """Return what is in a folder, by what two spellings of a name have in common."""
        found = self._folders.get(folder)
        if found is None:
            found = self._folders[folder] = {}
            with suppress(OSError):
                for name in sorted(os.listdir(folder)):  # noqa: PTH208 names, not paths
                    found.setdefault(same_file(name), []).append(name)
        return found


def on_disk(path: Path) -> Path:
    """Return *path*, absolute, as the disk spells it; see `Disk.spelled`."""
    return Disk().spelled(path)


def is_address(text: str) -> bool:
    """Whether a text that should be a path is an address on the net instead."""
    return _ADDRESS.match(text) is not None
