"""The seal of a journal: what tells that the file is the very one that the last session closed properly.

Whoever opens a journal for writing breaks its seal, and whoever closes it properly seals it again. The seal holds the
name of the session, which is in the journal too, and the file's number, size and time of change, which no backup brings
back. So the seal does not hold for

* a journal that was restored from a backup, alone or with all that lies beside it, seal included;
* a journal whose -wal was lost, or that was copied in the middle of a session: that session had broken the seal;
* a journal that was not closed, because its process was killed or met an error;
* a journal of an older batchvid, which sealed nothing, and a new one, which may stand in for one that was deleted.

Then everything that lies beside the journal is read and held against it, once (`batchvid.takeback`). While the seal
holds, nothing beside the journal can know more than it does, and nothing of it is read.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from batchvid.edge.disk import STATE_FILE_MODE, read_json, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEAL_FILE = "seal.json"
MAX_BYTES = 64 * 1024


def read(journal: Path) -> dict[str, Any]:
    """Return what the seal beside *journal* says; empty when there is none that can be read."""
    with suppress(OSError):
        folder = os.open(journal.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return read_json(folder, SEAL_FILE, max_bytes=MAX_BYTES) or {}
        finally:
            os.close(folder)
    return {}


def is_untouched(journal: Path, seal: dict[str, Any]) -> bool:
    """Whether the file at *journal* is the one that *seal* was put on, as far as can be seen without opening it."""
    with suppress(OSError):
        return seal.get("file") == _mark(journal) and not any(_changes_beside(journal))
    return False


def put(journal: Path, *, service: str | None, session: str | None) -> None:
    """Seal the closed *journal*. Without a seal the next session reads more, so no trouble with it is an error."""
    with suppress(OSError):
        seal = {"service": service, "session": session, "file": _mark(journal)}
        folder = os.open(journal.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_whole(folder, SEAL_FILE, [json.dumps(seal).encode()], mode=STATE_FILE_MODE, durable=False)
        finally:
            os.close(folder)


def break_(journal: Path) -> None:
    """Take the seal away: from now on the journal changes."""
    with suppress(OSError):  # one that stays does not hold any more
        journal.with_name(SEAL_FILE).unlink()


def _mark(journal: Path) -> list[int]:
    found = journal.lstat()
    return [found.st_ino, found.st_size, found.st_ctime_ns]


def _changes_beside(journal: Path) -> Iterator[int]:
    """Yield the size of each file that may hold changes of the journal; readers leave empty ones behind."""
    for end in ("-wal", "-journal"):
        with suppress(FileNotFoundError):
            yield journal.with_name(journal.name + end).lstat().st_size
