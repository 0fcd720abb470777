"""The lock of an output, for who only looks, without changing anything."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


STATE = ".batchvid"
LOCK = f"{STATE}/lock"


def is_held(output: Path) -> bool:
    """Whether a run holds the output, without changing anything; ``False`` where that cannot be seen."""
    return any(_is_locked(output / name, flags) for name, flags in ((LOCK, 0), (STATE, os.O_DIRECTORY)))


def held_since(output: Path) -> float | None:
    """Return since when a run holds the output (UTC epoch seconds); ``None`` when none does. Changes nothing."""
    if not is_held(output):
        return None
    for path in (output / LOCK, output / STATE):  # the file may have been deleted
        try:
            return path.lstat().st_mtime
        except (OSError, UnicodeError):
            continue
    return None


def _is_locked(path: Path, flags: int) -> bool:
    try:
        descriptor = os.open(path, flags | os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, UnicodeError):  # a name that the locale cannot write
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)
    return False
