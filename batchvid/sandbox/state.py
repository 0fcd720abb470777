"""What a sandbox keeps on disk to know its tasks after a restart: lines of JSON, and the uploaded frames."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout

from batchvid.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PRIVATE = 0o700
PREDECESSOR_S = 15.0
"""How long a sandbox whose parent was killed may still take to end, and to bill what it has already received."""


class StateFolder:
    """A folder of state; usable as a world's ``memory`` while it is `held`."""

    def __init__(self, folder: Path) -> None:
        self.clips = folder / "clips"
        self._frames = folder / "frames"
        self._lines = folder / "ledger.jsonl"
        self._lock = folder / "lock"
        for one in (folder, self._frames):
            one.mkdir(mode=PRIVATE, parents=True, exist_ok=True)

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Hold the folder alone. Raises `ConfigError` when another sandbox keeps it."""
        lock = FileLock(self._lock)
        try:
            lock.acquire(timeout=PREDECESSOR_S, poll_interval=0.02)
        except Timeout:
            raise ConfigError(f"another sandbox holds {self._lock.parent}") from None
        try:
            yield self
        finally:
            lock.release()

    def keep_frame(self, sha256: str, data: bytes) -> None:
        """Keep an uploaded frame."""
        path = self._frames / sha256
        if not path.exists():
            part = path.with_name(f"{sha256}.part")
            part.write_bytes(data)
            part.replace(path)

    def keep(self, line: Mapping[str, Any]) -> None:
        """Append one line, in one write: it survives a kill of the sandbox, though not a loss of power."""
        with self._lines.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")

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
