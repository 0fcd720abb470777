"""The lock of an output, for who only looks, without changing anything."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOCK = ".batchvid/lock"


def is_held(output: Path) -> bool:
    """Say whether a run holds the output, without changing anything; ``False`` where that cannot be seen."""
    try:
        os.close(_shared(output))
    except (OSError, UnicodeError) as error:  # a name that the locale cannot write
        return isinstance(error, BlockingIOError)
    return False


def held_since(output: Path) -> float | None:
    """Give since when a run holds the output (UTC epoch seconds); ``None`` when none does. Changes nothing."""
    if not is_held(output):
        return None
    try:
        return (output / LOCK).lstat().st_mtime
    except (OSError, UnicodeError):
        return None


def _shared(output: Path) -> int:
    """Give a descriptor that shares the lock; raises `BlockingIOError` when a run holds it, or another `OSError`."""
    descriptor = os.open(output / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
