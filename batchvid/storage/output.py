"""One output: where its clips lie, and its state; the one place that chooses the store of the clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchvid.storage.local import LocalStore
from batchvid.storage.state import StateFolder

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.storage.base import ClipStore


@dataclass(frozen=True, slots=True)
class Output:
    """The clips of one output, and its state."""

    clips: ClipStore
    state: StateFolder

    @staticmethod
    def of(folder: Path) -> Output:
        """Return the output at *folder*, which is absolute and need not exist."""
        return Output(LocalStore(folder), StateFolder(folder))

    def prepare(self) -> None:
        """Make what is missing, and prove that clips and state can be written; raises `StorageError`."""
        self.clips.prepare()
        self.state.prepare()
