"""What a forked child must not have of its parent's run: the lock, the journal, the connections.

The kernel's lock belongs to whoever has the descriptor that took it, a forked child too: the lock would outlive a
killed parent, and a child that unlocked would unlock its parent. SQLite must not be touched by a child at all, not
even to close it. So each such descriptor leads to nothing in the child, from its first moment on. It is replaced and
not closed: what still knows its number would otherwise act on the next file that gets it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

OPEN_DESCRIPTORS = Path("/dev/fd")
_HELD: dict[object, Callable[[], Iterable[int]]] = {}
"""How to find what each run of this process holds. Of the process, as forking is: a hook cannot be taken back."""


@contextmanager
def kept_from_children(find: Callable[[], Iterable[int]]) -> Iterator[None]:
    """Let no child that is forked meanwhile keep the descriptors that *find* returns, in the child."""
    key = object()
    _HELD[key] = find
    try:
        yield
    finally:
        _HELD.pop(key, None)


def open_below(folder: Path) -> list[int]:
    """Return the descriptors of this process that belong to *folder* or to files in it."""
    with os.scandir(folder) as entries:
        looks = [folder.stat(), *(entry.stat(follow_symlinks=False) for entry in entries)]
    files = {(found.st_dev, found.st_ino) for found in looks}
    opened = []
    for descriptor in [int(path.name) for path in OPEN_DESCRIPTORS.iterdir()]:
        with suppress(OSError):  # the listing's own is closed
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) in files:
                opened.append(descriptor)
    return opened


def _let_go() -> None:
    held = [*_HELD.values()]
    _HELD.clear()
    if not held:
        return
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # not to be written: no write lock can be had on it
    try:
        for find in held:
            with suppress(OSError):  # the folder is gone
                for descriptor in find():
                    os.dup2(nothing, descriptor, inheritable=False)
    finally:
        os.close(nothing)


os.register_at_fork(after_in_child=_let_go)
