"""A fuse that all effects of a run pass through: at the chosen one it blows, and what happens then is the test's."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import StorageError
from batchvid.journal.sqlite import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.run.bench import Bench

DISK_EFFECTS = ("fsync", "link", "unlink", "rename", "replace", "pwrite", "mkdir", "truncate", "ftruncate", "fchmod")
"""What `os` offers to change a disk, as far as batchvid uses it."""
JOURNAL_EFFECTS = ("record", "meta_set", "move", "set_paths")


class Killed(BaseException):
    """The process is gone."""


class Fuse:
    """Counts effects, and blows at one of them. *at* counts from 1; ``None`` never blows."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.effects: list[str] = []
        self.blown = False

    def passes(self, what: str) -> None:
        """Let an effect happen, or not."""
        self.effects.append(what)
        if len(self.effects) == self.at:
            self.blown = True


class Kill(Fuse):
    """Ends the process just before an effect: neither that one nor any later one happens.

    Effects come one after the other, and memory is thrown away; so just after one is just before the next.
    """

    def passes(self, what: str) -> None:
        """Let an effect happen, or not."""
        if not self.blown:
            super().passes(what)
        if self.blown:
            raise Killed(what)


class DiskTrouble(Fuse):
    """Lets a disk effect fail as a full or a broken disk does, once or from then on."""

    def __init__(self, at: int | None = None, *, for_ever: bool = False) -> None:
        super().__init__(at)
        self._for_ever = for_ever

    def passes(self, what: str) -> None:
        """Let an effect happen, or fail."""
        if what in {"post", "get", "fetch"}:
            return
        super().passes(what)
        if self.blown and (self._for_ever or len(self.effects) == self.at):
            if what in JOURNAL_EFFECTS:
                raise StorageError("cannot write the journal: the disk is full")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def wired(fuse: Fuse, bench: Bench) -> Iterator[None]:
    """Let every effect of the bench's runs pass through *fuse*."""

    def through(what: str, true: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*arguments: Any, **named: Any) -> Any:
            fuse.passes(what)
            return true(*arguments, **named)

        return effect

    with pytest.MonkeyPatch.context() as patch:
        for name in DISK_EFFECTS:
            patch.setattr(os, name, through(name, getattr(os, name)))
        for name in JOURNAL_EFFECTS:
            patch.setattr(SqliteJournal, name, through(name, getattr(SqliteJournal, name)))
        patch.setattr(bench.service, "effect", fuse.passes)
        yield
