"""The state folder beside the clips, always on this machine: private, and locked by the one who writes.

Who only reads looks at the lock, and a forked child never has it.

The kernel's lock belongs to whoever has the descriptor that took it, a forked child too: the lock would outlive a
killed parent, and a child that unlocked would unlock its parent. SQLite must not be touched by a child at all, not
even to close it. So each such descriptor leads to nothing in the child, from its first moment on. It is replaced and
not closed: what still knows its number would otherwise act on the next file that gets it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchvid.domain.errors import OutputBusyError, StorageError
from batchvid.storage.fs import (
    STATE_FILE_MODE,
    STATE_FOLDER,
    STATE_FOLDER_MODE,
    clear,
    doing,
    folder_below,
    holds,
    json_line,
    leave_room,
    make_folder,
    open_regular,
    prove_writable,
    public_mode,
    read_json,
    sync_folder,
    write_whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


CLIPS_FILE = "clips.jsonl"
FRAMES_FOLDER = "frames"
"""Below the state folder: the frames that were taken from clips to be sent, by the fingerprint of their job."""
FIRST_ANSWERS_FILE = "first-answers.json"
"""Below the state folder: the service's first answers, for a person who reports a gateway. No run needs it."""
FIRST_ANSWERS_MAX_BYTES = 4 * 1024 * 1024
"""Two bodies of 64 KiB with their headers, every byte of them escaped, come to less."""


class StateFolder:
    """The state of one output, in a folder below *output*, which is absolute and need not exist.

    `prepare` it before anything else.
    """

    def __init__(self, output: Path, *, clips_folder: Path | None = None) -> None:
        self.output = output
        self.clips_folder = clips_folder or output
        """Where ``clips.jsonl`` is, which is for everybody who may see the clips."""
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
        with doing(f"write {self.clips_folder / CLIPS_FILE}"), folder_below(self.clips_folder) as folder:
            if holds(folder, CLIPS_FILE, map(json_line, lines())):
                clear(folder, CLIPS_FILE)
            else:
                write_whole(folder, CLIPS_FILE, map(json_line, lines()), mode=public_mode(), durable=True)

    def drop_half_clips(self) -> None:
        """Remove what a ``write_clips`` that was cut off has left. Blocks."""
        with doing(f"write {self.clips_folder / CLIPS_FILE}"), folder_below(self.clips_folder) as folder:
            clear(folder, CLIPS_FILE)

    def clips_identity(self) -> str:
        """Return what tells this ``clips.jsonl`` from another one, and from itself once it was written to. Blocks."""
        try:
            found = os.lstat(self.clips_folder / CLIPS_FILE)
        except OSError:
            return "none"
        return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"

    def keep_frame(self, name: str, png: bytes) -> Path:
        """Keep a frame that was taken from a clip to be sent, durably, and return where it is. Blocks."""
        path = self.folder / FRAMES_FOLDER / f"{name}.png"
        with (
            doing(f"write the frame {STATE_FOLDER}/{FRAMES_FOLDER}/{path.name}"),
            folder_below(self.output, STATE_FOLDER, FRAMES_FOLDER, create=True) as folder,
        ):
            write_whole(folder, path.name, [png], mode=STATE_FILE_MODE, durable=True)
        return path

    def keep_first_answers(self, record: Mapping[str, object]) -> None:
        """Replace the first answers, in one step and durably, where the disk has room to spare. Blocks."""
        data = json.dumps(record, indent=2).encode() + b"\n"
        with doing(f"write {self.first_answers_path}"), folder_below(self.output, STATE_FOLDER) as folder:
            leave_room(folder, len(data))
            write_whole(folder, FIRST_ANSWERS_FILE, [data], mode=STATE_FILE_MODE, durable=True)

    def first_answers(self) -> dict[str, Any] | None:
        """Return the first answers as they were kept, ``None`` when there are none. Blocks.

        Raises ValueError when the file is damaged, or cannot be read.
        """
        if not os.path.lexists(self.first_answers_path):
            return None
        found = None
        with suppress(OSError), folder_below(self.output, STATE_FOLDER) as folder:
            found = read_json(folder, FIRST_ANSWERS_FILE, max_bytes=FIRST_ANSWERS_MAX_BYTES)
        if found is None:
            raise ValueError("it holds no JSON object, or cannot be read")
        return found

    @property
    def first_answers_path(self) -> Path:
        """Return where they are."""
        return self.folder / FIRST_ANSWERS_FILE

    def frame_sha256(self, name: str) -> str | None:
        """Return the SHA-256 of a frame that was kept; ``None`` when it is gone. Blocks."""
        try:
            return hashlib.sha256((self.folder / FRAMES_FOLDER / f"{name}.png").read_bytes()).hexdigest()
        except OSError:
            return None


OWNER_FILE = ".batchvid-journal.json"
"""Beside the clips, for all who may see them: which journal in a database they belong to."""
OWNER_MAX_BYTES = 64 * 1024


def owner_of(output: Path) -> dict[str, str] | None:
    """Return what an output says of its journal in a database; ``None`` when it says nothing. Blocks.

    Raises `StorageError` for what cannot be read: a run without that journal could buy everything again.
    """
    path = output / OWNER_FILE
    if not os.path.lexists(path):
        return None
    with doing(f"read {path}"), folder_below(output) as folder:
        os.close(open_regular(folder, OWNER_FILE, os.O_RDONLY))
        found = read_json(folder, OWNER_FILE, max_bytes=OWNER_MAX_BYTES)
    if found is None or not {"id", "journal", "database"} <= found.keys():
        raise StorageError(f"{path} makes no sense, and tells which database knows what is paid: restore it")
    return {name: str(value) for name, value in found.items()}


def set_owner(output: Path, owner: Mapping[str, str]) -> None:
    """Let an output say which journal in a database it belongs to, durably. Blocks."""
    with doing(f"write {output / OWNER_FILE}"):
        make_folder(output)
        with folder_below(output) as folder:
            write_whole(folder, OWNER_FILE, [json_line(owner)], mode=public_mode(), durable=True)


def drop_owner(output: Path) -> None:
    """Let an output no longer say that it belongs to a journal in a database. Blocks."""
    with doing(f"remove {output / OWNER_FILE}"):
        (output / OWNER_FILE).unlink(missing_ok=True)
        sync_folder(output)


LOCK_FILE = "lock"
LOCK_PATIENCE_S = 0.25
"""Longer than the moment for which `is_held` touches the lock: a look must not turn a run away."""
PID_MAX_CHARS = 20


@contextmanager
def hold(output: Path) -> Iterator[None]:
    """Hold the output for one run; raises `OutputBusyError` at once when another run holds it.

    It is the kernel's lock on a file, which ends with the process: it is never stale. The state folder is locked as
    well, where the file system can do that: somebody may delete the file, and a second run would lock a new one.
    A forked child has neither lock, nor the journal and the log that are open in the state folder meanwhile.
    """
    from filelock import FileLock, Timeout

    path, holder = output / STATE_FOLDER / LOCK_FILE, _holder(output)
    busy = f"another run{holder} holds the output {output}"
    lock = FileLock(path, mode=STATE_FILE_MODE, thread_local=False)
    with doing(f"lock {path}"):
        try:
            lock.acquire(timeout=LOCK_PATIENCE_S, poll_interval=LOCK_PATIENCE_S / 5)
        except Timeout:
            raise OutputBusyError(f"{busy}: wait for it, or choose another output") from None
    try:
        with kept_from_children(partial(open_below, path.parent)), ExitStack() as stack:
            with doing(f"lock {path}"):
                state = stack.enter_context(folder_below(output, STATE_FOLDER))
                if not _lock_folder(state):
                    raise OutputBusyError(f"{busy}, whose lock file was deleted: wait for it, or choose another output")
                _sign(state)
            yield
    finally:
        lock.release()


def _sign(state: int) -> None:
    """Write the number of this process into the lock."""
    descriptor = open_regular(state, LOCK_FILE, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
    finally:
        os.close(descriptor)


def _lock_folder(state: int) -> bool:
    """Lock the state folder itself; ``False`` when another run has done so."""
    until = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(LOCK_PATIENCE_S / 5)
        except OSError:
            return True  # a file system that locks no folders
        else:
            return True


def _holder(output: Path) -> str:
    """Name the process that wrote its number into the lock, when that can be read."""
    try:
        with folder_below(output, STATE_FOLDER) as state:
            descriptor = open_regular(state, LOCK_FILE, os.O_RDONLY)
        with open(descriptor, "rb") as file:
            text = file.read(PID_MAX_CHARS).strip()
    except OSError:
        return ""
    return f" (process {text.decode()})" if text.isdigit() else ""


def is_held(output: Path) -> bool:
    """Whether a run holds the output, without changing anything; ``False`` where that cannot be seen."""
    state = output / STATE_FOLDER
    return _is_locked(state / LOCK_FILE, 0) or _is_locked(state, os.O_DIRECTORY)


def held_since(output: Path) -> float | None:
    """Return since when a run holds the output (UTC epoch seconds); ``None`` when none does. Changes nothing."""
    if not is_held(output):
        return None
    state = output / STATE_FOLDER
    for path in (state / LOCK_FILE, state):  # the file may have been deleted
        try:
            return path.lstat().st_mtime
        except (OSError, UnicodeError):
            continue
    return None


def _is_locked(path: Path, flags: int) -> bool:
    try:
        descriptor = os.open(path, flags | os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, UnicodeError):  # a name that the locale cannot write
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)
    return False


OPEN_DESCRIPTORS = Path("/dev/fd")
_HELD: dict[object, Callable[[], Iterable[int]]] = {}
"""How to find what each run of this process holds. Of the process, as forking is: a hook cannot be taken back."""


@contextmanager
def kept_from_children(find: Callable[[], Iterable[int]]) -> Iterator[None]:
    """Let no child that is forked meanwhile keep the descriptors that *find* returns, in the child."""
    key = object()
    _HELD[key] = find
    try:
        yield
    finally:
        _HELD.pop(key, None)


def open_below(folder: Path) -> list[int]:
    """Return the descriptors of this process that belong to *folder* or to files in it."""
    with os.scandir(folder) as entries:
        looks = [folder.stat(), *(entry.stat(follow_symlinks=False) for entry in entries)]
    files = {(found.st_dev, found.st_ino) for found in looks}
    opened = []
    for descriptor in [int(path.name) for path in OPEN_DESCRIPTORS.iterdir()]:
        with suppress(OSError):  # the listing's own is closed
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) in files:
                opened.append(descriptor)
    return opened


def _let_go() -> None:
    held = [*_HELD.values()]
    _HELD.clear()
    if not held:
        return
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # not to be written: no write lock can be had on it
    try:
        for find in held:
            with suppress(OSError):  # the folder is gone
                for descriptor in find():
                    os.dup2(nothing, descriptor, inheritable=False)
    finally:
        os.close(nothing)


os.register_at_fork(after_in_child=_let_go)
