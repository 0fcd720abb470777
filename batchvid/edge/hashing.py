"""The file into which a clip's bytes go: it hashes them in the thread that writes them."""

from __future__ import annotations

import hashlib
import io
import os
from threading import Lock
from typing import Any

from batchvid.edge.disk import leave_room

HASH_BLOCK_BYTES = 1024 * 1024


class HashingFile(io.FileIO):
    """A file that hashes what is appended to it, and writes all of it or raises."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "r+b")
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        # A cancelled write goes on in its thread: closing waits, or the bytes could land in another file
        # that was given the same descriptor.
        self._busy = Lock()

    def write(self, block: Any, /) -> int:
        """Append *block*."""
        with self._busy:
            rest = memoryview(block)
            leave_room(self.fileno(), len(rest))
            while rest:
                written = os.pwrite(self.fileno(), rest, self.size_bytes)
                self.sha256.update(rest[:written])
                self.size_bytes += written
                rest = rest[written:]
        return len(block)

    def take_up(self, size_bytes: int) -> None:
        """Count the first *size_bytes*, which are there already, as written."""
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        while self.size_bytes < size_bytes:
            block = self.content(self.size_bytes, min(HASH_BLOCK_BYTES, size_bytes - self.size_bytes))
            if not block:
                return
            self.sha256.update(block)
            self.size_bytes += len(block)

    def restart(self) -> None:
        """Drop everything that is in the file."""
        self.take_up(0)
        self.truncate(0)

    def content(self, offset: int, length: int) -> bytes:
        """Give bytes of the file."""
        return os.pread(self.fileno(), length, offset)

    def close(self) -> None:
        """Close the file, after the write that is under way."""
        with self._busy:
            super().close()
