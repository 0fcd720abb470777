"""What a sandbox keeps on disk to know its tasks after a restart: lines of JSON, and the uploaded frames."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PRIVATE = 0o700


class StateFolder:
    """A folder of state; usable as a world's ``memory``."""

    def __init__(self, folder: Path) -> None:
        self.clips = folder / "clips"
        self._frames = folder / "frames"
        self._lines = folder / "ledger.jsonl"
        for one in (folder, self._frames):
            one.mkdir(mode=PRIVATE, parents=True, exist_ok=True)

    def keep_frame(self, sha256: str, data: bytes) -> None:
        """Keep an uploaded frame."""
        path = self._frames / sha256
        if not path.exists():
            part = path.with_name(f"{sha256}.part")
            part.write_bytes(data)
            part.replace(path)

    def keep(self, line: Mapping[str, Any]) -> None:
        """Append one line and wait until it is on the disk: an accepted create must survive a kill."""
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the kept lines; one that a kill cut short was never answered, and goes."""
        if not self._lines.exists():
            return
        whole, _, torn = self._lines.read_bytes().rpartition(b"\n")
        if torn:
            with self._lines.open("r+b") as file:
                file.truncate(len(whole) + 1 if whole else 0)
        for line in whole.decode().splitlines():
            yield json.loads(line)

    def frames_of(self, line: Mapping[str, Any]) -> dict[str, bytes]:
        """Give the frames that a line names."""
        return {sha256: (self._frames / sha256).read_bytes() for sha256 in line.get("frame_hashes", ())}
