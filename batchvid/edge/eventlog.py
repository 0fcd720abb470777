"""The event log: what happened, one JSON object a line, for people who look back. A run never fails because of it."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from batchvid.core.answer import loads
from batchvid.core.timeline import PaceChange
from batchvid.edge.disk import STATE_FILE_MODE, json_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BUFFER_BYTES = 64 * 1024
"""Written at once: a few hundred events, well under a millisecond."""
ROTATE_BYTES = 32 * 1024 * 1024
KEPT = 3
"""Older logs beside the newest: ``log.jsonl.1`` to ``log.jsonl.3``."""


PACE_CHANGED = "PaceChanged"
"""The event of a run whose pace is another share of what is allowed; its ``share`` is 1.0 for full pace."""

PACE_MARK = PACE_CHANGED.encode()


class EventLog:
    """Appends to one file, from one thread.

    After the first failure nothing more is written, and `failed` says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[bytes] = []
        self._buffered_bytes = 0
        self.failed: str | None = None

    def append(self, record: Mapping[str, object]) -> None:
        """Add one event; it is on disk after the next `flush`, or when enough have come together."""
        if self.failed is not None:
            return
        line = json_line(record)
        self._lines.append(line)
        self._buffered_bytes += len(line)
        if self._buffered_bytes >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has come together."""
        lines, self._lines, self._buffered_bytes = self._lines, [], 0
        if not lines or self.failed is not None:
            return
        try:
            self._write(b"".join(lines))
        except OSError as error:
            self.failed = f"the event log {self._path} is no longer written: {error.strerror or error}"

    def _write(self, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(self._path, flags, STATE_FILE_MODE), "ab", buffering=0) as file:  # noqa: PTH123 beside flags
            if os.fstat(file.fileno()).st_size + len(data) <= ROTATE_BYTES or not os.fstat(file.fileno()).st_size:
                _write_all(file.fileno(), data)
                return
        self._rotate()
        self._write(data)

    def _rotate(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{number}") for number in range(1, KEPT + 1))]
        for newer, older in reversed(list(pairwise(names))):
            with suppress(FileNotFoundError):
                newer.replace(older)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def pace_changes(path: Path) -> list[PaceChange]:
    """Give what the log at *path*, and the older ones beside it, tell of the pace; unreadable ones tell nothing."""
    found = []
    for name in [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, KEPT + 1))]:
        with suppress(OSError), name.open("rb") as file:
            found += [change for line in file if PACE_MARK in line and (change := _pace_change(line)) is not None]
    return sorted(found, key=lambda change: change.at)


def _pace_change(line: bytes) -> PaceChange | None:
    record = loads(line.decode("utf-8", "replace"))
    if not isinstance(record, dict) or record.get("event") != PACE_CHANGED:
        return None
    at, share = record.get("at"), record.get("share")
    if not isinstance(at, str) or not isinstance(share, float | int):
        return None
    try:
        return PaceChange(datetime.fromisoformat(at).timestamp(), float(share))
    except ValueError:
        return None
