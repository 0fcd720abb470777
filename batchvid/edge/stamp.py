"""The stamp: what a run left behind that ended with nothing more to do, so that the next one sees it at a glance.

Rules that it keeps:

* It is a shortcut and never the truth. Who finds none, or is not certain of it, reads the manifest and the journal.
* It answers one order only (which manifest, output, service and version), and only while all that the answer came
  from is untouched: texts by their SHA-256, frames and folders of frames by sizes and times, and the journal by its
  file's number, size and times. Whoever writes to the journal (``retry``, ``adopt``, another manifest's run)
  changes these.
* A source that was changed after the run began to read leaves no stamp: nobody knows which of the two was read.
* A stamp can say "nothing to do" and nothing else, so no mistake of it can pay for anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

STATE_FOLDER, JOURNAL_FILE, ORPHANS_FILE = ".batchvid", "journal.db", "orphans.jsonl"
STAMP_FILE, CLIPS_FILE = "finished.json", "clips.jsonl"
FORM = 2
"""Of the stamp's file; another one is no stamp."""
JOURNAL_VERSION = 2
"""The newest that this batchvid reads; a test holds it against `batchvid.edge.journal_schema`, which needs SQLite."""
VERSION_AT = slice(60, 64)
"""Where a SQLite file says the version that its owner gave it (``user_version``: SQLite, Database File Format, 1.3)."""
PRIVATE_FILE_MODE, PRIVATE_FOLDER_MODE = 0o600, 0o700
TICK_S = 0.02
"""File systems stamp times by a clock that ticks every 4 to 10 ms: two changes within a tick look like one."""


Seen = dict[str, dict[str, Any]]
"""The sources as they were when they were read, by kind and path. All paths are absolute."""


def look(*, texts: Sequence[str], folders: Sequence[str], frames: Sequence[str], read_from: float) -> Seen | None:
    """Take note of what was read just now; ``None`` when what is there is not certain to be what was read.

    *texts* are the manifest and its tables, *folders* those of frame pairs, of which every file counts.
    *read_from* is when the reading began (UTC epoch seconds).
    """
    try:
        last_ns = max(map(_changed_at_ns, (*texts, *frames, *_each_in(folders))))
        if last_ns >= (read_from - TICK_S) * 1e9:
            return None
        return {
            "texts": {path: _digest(path) for path in texts},
            "folders": {path: _listing(path) for path in folders},
            "frames": {path: _signature(_status(path)) for path in frames},
        }
    except OSError:
        return None


def leave(output: Path, order: Mapping[str, Any], seen: Seen, *, answer: Mapping[str, Any]) -> None:
    """Leave the stamp that *answer* is what a further run of this *order* would say.

    To be called while the output's lock is held and after the journal was closed. It never raises for the sake of a
    file: without a stamp the next run reads.
    """
    with suppress(OSError):
        time.sleep(TICK_S)  # from here on, a change of the journal shows in its times
        journal = _journal(output)
        if journal is not None:
            found = {
                "form": FORM,
                "order": order,
                "journal": journal,
                "clips": _signature(os.lstat(output / CLIPS_FILE)),
                "seen": seen,
                "answer": answer,
            }
            _write(output / STATE_FOLDER, json.dumps(found).encode())


def find(output: Path, order: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the answer to this *order* that an earlier run has left in *output*; ``None`` when it may not hold any more.

    To be called inside `batchvid.edge.lock.held_still`.
    """
    try:
        state = output / STATE_FOLDER
        if _is_foreign(output) or os.path.lexists(state / ORPHANS_FILE):
            return None
        with open(os.open(state / STAMP_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 a link is not followed
            found = json.loads(file.read())
        holds = (
            found["form"] == FORM
            and found["order"] == dict(order)
            and found["journal"] == _journal(output)
            and found["clips"] == _signature(os.lstat(output / CLIPS_FILE))
            and all(_signature(_status(path)) == seen for path, seen in found["seen"]["frames"].items())
            and all(_listing(path) == seen for path, seen in found["seen"]["folders"].items())
            and all(_digest(path) == seen for path, seen in found["seen"]["texts"].items())
        )
        answer: dict[str, Any] = found["answer"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # no stamp, or something that is none: whatever it is, the manifest and the journal tell
    return answer if holds else None


def _is_foreign(output: Path) -> bool:
    """Say whether the folders are not as a run leaves them: links, or open to others."""
    folder, state = os.lstat(output), os.lstat(output / STATE_FOLDER)
    are_folders = stat.S_ISDIR(folder.st_mode) and stat.S_ISDIR(state.st_mode)
    return not are_folders or stat.S_IMODE(state.st_mode) != PRIVATE_FOLDER_MODE


def _journal(output: Path) -> list[int] | None:
    """Give what tells this state of the journal from every other; ``None`` while part of it is in another file."""
    path = output / STATE_FOLDER / JOURNAL_FILE
    for beside in ("-wal", "-journal"):
        with suppress(FileNotFoundError):
            if os.lstat(f"{path}{beside}").st_size:
                return None
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        return None
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 as below
        version = int.from_bytes(file.read(VERSION_AT.stop)[VERSION_AT])
    return None if version > JOURNAL_VERSION else [found.st_ino, *_signature(found), version]


def _status(path: str) -> os.stat_result:
    return os.stat(path)  # noqa: PTH116 there may be a hundred thousand, none of which needs to be taken apart


def _signature(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _digest(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123 as above
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listing(folder: str) -> str:
    """Give a hash over the names, sizes and times of all that is in *folder*."""
    with os.scandir(folder) as entries:
        found = sorted((entry.name, *_signature(entry.stat())) for entry in entries)
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _each_in(folders: Sequence[str]) -> Iterator[str]:
    for folder in folders:
        yield folder
        with os.scandir(folder) as entries:
            yield from (entry.path for entry in entries)


def _changed_at_ns(path: str) -> int:
    found = _status(path)
    return max(found.st_mtime_ns, found.st_ctime_ns)


def _write(state: Path, content: bytes) -> None:
    """Put the stamp in place in one step. It need not survive a power loss: torn, it is none."""
    growing = state / f".{STAMP_FILE}.new"
    growing.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(growing, flags, PRIVATE_FILE_MODE), "wb") as file:  # noqa: PTH123 a mode from the first byte on
        file.write(content)
    growing.rename(state / STAMP_FILE)
