"""The state folder beside the clips, always on this machine: private, held by one run. And the list of clips."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from batchvid.storage.fs import (
    STATE_FILE_MODE,
    STATE_FOLDER,
    STATE_FOLDER_MODE,
    clear,
    doing,
    folder_below,
    holds,
    json_line,
    make_folder,
    prove_writable,
    public_mode,
    sync_folder,
    write_whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path


CLIPS_FILE = "clips.jsonl"
FRAMES_FOLDER = "frames"
"""Below the state folder: the frames that were taken from clips to be sent, by the fingerprint of their job."""


class StateFolder:
    """The state of one output; *output* is absolute and need not exist. `prepare` it before anything else."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output / STATE_FOLDER
        """Where the journal, the lock and the logs are."""

    def prepare(self) -> None:
        """Make the folder, and prove by doing it that it can be written to; raises `StorageError`."""
        with doing(f"use the state folder {self.folder}"):
            make_folder(self.output)
            with suppress(FileExistsError):
                self.folder.mkdir(mode=STATE_FOLDER_MODE)
                sync_folder(self.output)
            prove_writable(self.output, STATE_FOLDER)
            with folder_below(self.output, STATE_FOLDER) as state:
                if stat.S_IMODE(os.fstat(state).st_mode) != STATE_FOLDER_MODE:
                    os.fchmod(state, STATE_FOLDER_MODE)

    def write_clips(self, lines: Callable[[], Iterable[Mapping[str, object]]]) -> None:
        """Replace ``clips.jsonl``, in one step, unless it holds just these *lines*. Blocks."""
        with doing(f"write {self.output / CLIPS_FILE}"), folder_below(self.output) as folder:
            if holds(folder, CLIPS_FILE, map(json_line, lines())):
                clear(folder, CLIPS_FILE)
            else:
                write_whole(folder, CLIPS_FILE, map(json_line, lines()), mode=public_mode(), durable=True)

    def keep_frame(self, name: str, png: bytes) -> Path:
        """Keep a frame that was taken from a clip to be sent, durably, and return where it is. Blocks."""
        path = self.folder / FRAMES_FOLDER / f"{name}.png"
        with (
            doing(f"write the frame {STATE_FOLDER}/{FRAMES_FOLDER}/{path.name}"),
            folder_below(self.output, STATE_FOLDER, FRAMES_FOLDER, create=True) as folder,
        ):
            write_whole(folder, path.name, [png], mode=STATE_FILE_MODE, durable=True)
        return path

    def frame_sha256(self, name: str) -> str | None:
        """Return the SHA-256 of a frame that was kept; ``None`` when it is gone. Blocks."""
        try:
            return hashlib.sha256((self.folder / FRAMES_FOLDER / f"{name}.png").read_bytes()).hexdigest()
        except OSError:
            return None
