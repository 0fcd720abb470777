"""Programs that fork in the middle of a run: no child begins its life while another thread is inside SQLite.

What SQLite holds for a moment, to allocate memory for one, a child would find held for ever, by a thread that stayed
with its parent: the child's first query would never end. So a fork waits until all threads are out, which takes as long
as a commit, and nobody goes in meanwhile. On a disk that hangs it waits no longer than `PATIENCE_S`: a child that may
hang is better than a program that does.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


PATIENCE_S = 30.0


class _Gate:
    """Many threads may be inside, each as deep as it likes; a fork has the gate for itself."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._inside = 0
        self._is_forking = False
        self._changed = threading.Condition(threading.Lock())

    @property
    def _depth(self) -> int:
        depth: int = getattr(self._own, "depth", 0)
        return depth

    def enter(self) -> None:
        """Go in, once nobody forks."""
        if not self._depth:
            with self._changed:
                while self._is_forking:
                    self._changed.wait()
                self._inside += 1
        self._own.depth = self._depth + 1

    def leave(self) -> None:
        """Go out."""
        self._own.depth = self._depth - 1
        if not self._depth:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Wait until all other threads are out, and let nobody in."""
        self._changed.acquire()
        self._is_forking = True
        until = time.monotonic() + PATIENCE_S
        while self._inside > (self._depth > 0) and (left_s := until - time.monotonic()) > 0:
            self._changed.wait(left_s)

    def open(self) -> None:
        """Let the others in again."""
        self._is_forking = False
        self._changed.notify_all()
        self._changed.release()

    def renew(self) -> None:
        """Begin again in a child, which has one thread."""
        self._inside = int(self._depth > 0)
        self._is_forking = False
        self._changed = threading.Condition(threading.Lock())


_GATE = _Gate()
os.register_at_fork(before=_GATE.close, after_in_parent=_GATE.open, after_in_child=_GATE.renew)


@contextmanager
def not_forked() -> Iterator[None]:
    """Keep every fork of this process waiting until this is over, and wait for one that is going on."""
    _GATE.enter()
    try:
        yield
    finally:
        _GATE.leave()
