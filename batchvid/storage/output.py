"""One output: where its clips lie, and its state; the one place that chooses the store of the clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from batchvid.domain.frozen import frozen
from batchvid.storage.local import LocalStore
from batchvid.storage.state import StateFolder

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.storage.base import ClipStore


SCRATCH_FOLDER = "scratch"
"""Below the state folder: where the clips of a bucket gather before they are sent."""


class Placed(Protocol):
    """What says where its output is, as a manifest does."""

    @property
    def output(self) -> Path:
        """A folder of this machine, absolute; it need not exist."""

    @property
    def bucket(self) -> str | None:
        """Where the clips lie, when that is not the folder."""

    @property
    def home(self) -> Path | None:
        """Where the state is, when machines share the output: a folder of this one."""


@frozen
class Output:
    """The clips of one output, and its state."""

    clips: ClipStore
    state: StateFolder

    @staticmethod
    def of(manifest: Placed) -> Output:
        """Return the output of a manifest."""
        return Output.at(manifest.output, manifest.bucket, home=manifest.home)

    @staticmethod
    def at(folder: Path, bucket: str | None = None, *, home: Path | None = None) -> Output:
        """Return the output whose clips are in *folder* or in a *bucket*, and its state in *home* or beside them."""
        state = StateFolder(home or folder, clips_folder=folder)
        if bucket is None:
            return Output(LocalStore(folder), state)
        from batchvid.storage.object_store import ObjectStore

        return Output(ObjectStore(bucket, state.folder / SCRATCH_FOLDER), state)

    def prepare(self) -> None:
        """Make what is missing, and prove that clips and state can be written; raises `StorageError`."""
        self.clips.prepare()
        self.state.prepare()
