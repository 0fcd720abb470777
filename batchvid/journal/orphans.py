"""The emergency file: paid task ids that could not be journaled. No line of it is ever lost."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batchvid.providers.response import loads
from batchvid.storage.fs import STATE_FILE_MODE, STATE_FOLDER, doing, json_line, open_folder, open_regular, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


ORPHANS_FILE, ADOPTED_FILE = "orphans.jsonl", "orphans.adopted.jsonl"
ORPHAN_MAX_BYTES, ATTEMPT_MAX = 64 * 1024, 2**31
"""More than batchvid ever writes into a line."""


class Orphan(NamedTuple):
    """A paid task id that could not be journaled."""

    job_id: str
    attempt: int
    task_id: str


@dataclass(slots=True)
class Orphans:
    """What the file of orphans holds, by its lines."""

    known: dict[bytes, Orphan] = field(default_factory=dict)
    strange: dict[bytes, int] = field(default_factory=dict)
    """The lines that make no sense, each with its number."""


def path_of(output: Path) -> Path:
    """Return where the file is."""
    return output / STATE_FOLDER / ORPHANS_FILE


@contextmanager
def _opened(output: Path) -> Iterator[int]:
    state = open_folder(str(output), STATE_FOLDER, create=False)
    try:
        yield state
    finally:
        os.close(state)


def append(output: Path, record: Mapping[str, object]) -> None:
    """Keep a paid task id that could not be journaled: one line, synced before this returns. Blocks."""
    with doing(f"write {path_of(output)}"), _opened(output) as state:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        descriptor = open_regular(state, ORPHANS_FILE, flags, mode=STATE_FILE_MODE)
        try:
            size_bytes = os.fstat(descriptor).st_size
            is_cut = size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n"
            os.write(descriptor, b"\n" * bool(is_cut) + json_line(record))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(output: Path) -> Orphans:
    """Return the task ids that an earlier run could not journal. Blocks."""
    found = Orphans()
    with doing(f"read {path_of(output)}"), _opened(output) as state:
        try:
            descriptor = open_regular(state, ORPHANS_FILE, os.O_RDONLY)
        except FileNotFoundError:
            return found
        with open(descriptor, "rb") as file:
            for number, line in enumerate(file, 1):
                orphan = _orphan(line)
                if orphan is not None:
                    found.known[line] = orphan
                elif line.strip():
                    found.strange[line] = number
    return found


def put_away(output: Path, taken: Sequence[bytes], left: Sequence[bytes]) -> None:
    """Move the lines that were *taken* up behind those of earlier times, and leave the others. Blocks."""
    with doing(f"put away {path_of(output)}"), _opened(output) as state:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with open(open_regular(state, ADOPTED_FILE, flags, mode=STATE_FILE_MODE), "ab") as file:
            file.writelines(map(_ended, taken))
            file.flush()
            os.fsync(file.fileno())
        if left:
            write_whole(state, ORPHANS_FILE, map(_ended, left), mode=STATE_FILE_MODE, durable=True)
        else:
            os.unlink(ORPHANS_FILE, dir_fd=state)
            os.fsync(state)


def _orphan(line: bytes) -> Orphan | None:
    if len(line) > ORPHAN_MAX_BYTES:
        return None
    try:
        record = loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    job_id, attempt, task_id = record.get("job_id"), record.get("attempt"), record.get("task_id")
    if not isinstance(job_id, str) or not isinstance(task_id, str) or not task_id:
        return None
    if not isinstance(attempt, int) or isinstance(attempt, bool) or not 0 < attempt < ATTEMPT_MAX:
        return None
    return Orphan(job_id, attempt, task_id)


def _ended(line: bytes) -> bytes:
    return line if line.endswith(b"\n") else line + b"\n"
