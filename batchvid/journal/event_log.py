"""The event log: what happened, one JSON object a line. A run never fails because of it.

People look back at it, and it is the second memory of what was paid: a journal that went back in time is compared
with it (`batchvid.domain.history`). What is covered:

* The events of a commit are written by one ``write()`` after the commit, and before anybody acts on them. So the log
  never knows more than the journal that it was written beside, and a killed process leaves no paid request out of it.
  It is not synced: after a power loss the newest lines may be missing. The journal, which is synced, has them.
* A line that was cut off is ended before the next one, so that no two lines become one.
* The log is rotated, and 128 MB of it are kept: the lives of some 100,000 jobs. What is still open at a rotation
  (sent, in doubt, under way, not yet saved) is written again at the head of the new file. A clip that was saved is
  told by its sidecar, too. Only attempts that failed, or were given up, go with the oldest file.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from batchvid.domain.history import MOVED
from batchvid.providers.response import loads
from batchvid.storage.fs import STATE_FILE_MODE, json_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from batchvid.domain.report import PaceChange


LOG_FILE = "log.jsonl"
BUFFER_BYTES = 64 * 1024
"""Written at once: a few hundred events, well under a millisecond."""
ROTATE_BYTES = 32 * 1024 * 1024
KEPT = 3
"""Older logs beside the newest: ``log.jsonl.1`` to ``log.jsonl.3``."""


PACE_CHANGED = "PaceChanged"
"""The event of a run whose pace is another share of what is allowed; its ``share`` is 1.0 for full pace."""

PACE_MARK = PACE_CHANGED.encode()


OPEN = frozenset({"SubmitStarted", "SubmitAccepted", "SubmitUnsure", "TaskAdopted", "TaskSucceeded"})
"""The events after which an attempt is open still."""
OVER = frozenset({"SubmitRefused", "TaskFailed", "ClipSaved", "GaveUp"})
"""The events after which it is not."""


def rotated(path: Path) -> list[Path]:
    """Return the log's files, the newest first, whether they exist or not."""
    return [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, KEPT + 1))]


class EventLog:
    """Appends to one file, from any thread.

    After the first failure nothing more is written, and `failed` says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._buffered_bytes = 0
        self._open: dict[str, dict[str, bytes]] = {}
        """What must outlive a rotation: of each job with an open attempt, its newest line of each kind."""
        self._is_whole = False
        """Whether the file is known to end with a whole line."""
        self.failed: str | None = None

    def append(self, record: Mapping[str, object]) -> None:
        """Add one event; it is in the file after the next `flush` or `keep`, or when enough have come together."""
        with self._lock:
            self._add(record)
            if self._buffered_bytes >= BUFFER_BYTES:
                self._flush()

    def keep(self, records: Iterable[Mapping[str, object]]) -> None:
        """Write these events, which are about jobs, at once: a killed process loses none of them."""
        with self._lock:
            for record in records:
                self._remember(record, self._add(record))
            self._flush()

    def remember(self, records: Iterable[Mapping[str, object]]) -> None:
        """Count these events, which are in the file already, as those of open attempts."""
        with self._lock:
            for record in records:
                self._remember(record, json_line(record))

    def flush(self) -> None:
        """Write what has come together."""
        with self._lock:
            self._flush()

    def _add(self, record: Mapping[str, object]) -> bytes:
        line = json_line(record)
        if self.failed is None:
            self._lines.append(line)
            self._buffered_bytes += len(line)
        return line

    def _remember(self, record: Mapping[str, object], line: bytes) -> None:
        job, event = str(record["job"]), str(record["event"])
        if event == MOVED:  # whose lines bear an id that is no longer theirs; `remember` brings them back
            self._open.pop(str(record["moved_from"]), None)
            self._open.pop(job, None)
        if event == "SubmitStarted" or event in OVER:
            self._open.pop(job, None)
        if event in OPEN:
            self._open.setdefault(job, {})[event] = line

    def _flush(self) -> None:
        lines, self._lines, self._buffered_bytes = self._lines, [], 0
        if not lines or self.failed is not None:
            return
        try:
            self._write(b"".join(lines))
        except OSError as error:
            self.failed = f"the event log {self._path} is no longer written: {error.strerror or error}"

    def _write(self, data: bytes) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, STATE_FILE_MODE)
        try:
            size_bytes = os.fstat(descriptor).st_size
            if size_bytes + len(data) <= ROTATE_BYTES or not size_bytes:
                if not self._is_whole and size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n":
                    data = b"\n" + data
                _write_all(descriptor, data)
                self._is_whole = True
                return
        finally:
            os.close(descriptor)
        for newer, older in reversed(list(pairwise(rotated(self._path)))):
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._write(b"".join(line for lines in self._open.values() for line in lines.values()) + data)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def pace_changes(path: Path) -> list[PaceChange]:
    """Return what the log at *path*, and the older ones beside it, tell of the pace; unreadable ones tell nothing."""
    found = []
    for name in rotated(path):
        with suppress(OSError), name.open("rb") as file:
            found += [change for line in file if PACE_MARK in line and (change := _pace_change(line)) is not None]
    return sorted(found, key=lambda change: change.at)


def _pace_change(line: bytes) -> PaceChange | None:
    from batchvid.domain.report import PaceChange

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
