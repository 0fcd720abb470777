"""The output tree: clips and their sidecars, and the private state folder beside them.

Nothing here follows a symbolic link below the output folder, writes outside it, or replaces a file that batchvid
did not make. An `OSError` becomes a `StorageError` that says what to do.

Whether clips are where they should be, and of the right size: a look at the folder, without opening a file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from batchvid.domain.errors import OutputBusyError, StorageError
from batchvid.journal import orphans
from batchvid.media.mp4 import NotAClip, probe
from batchvid.storage.fs import (
    STATE_FILE_MODE,
    STATE_FOLDER,
    STATE_FOLDER_MODE,
    doing,
    exists,
    json_line,
    open_folder,
    open_regular,
    place,
    read_json,
    reason,
    settled,
    sync_folder,
    write_whole,
)
from batchvid.storage.names import SIDECAR_MARK, SIDECAR_MAX_BYTES, ForeignFileError, Names, Saved
from batchvid.storage.part import Finisher, Part, is_sidecar
from batchvid.storage.threads import kept_from_children, open_below

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
    from io import FileIO


__all__ = ["STATE_FOLDER", "ForeignFileError", "NotAClip", "Outputs", "Part", "Saved"]

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Where Linux says which start of the machine this is."""
OWN_BOOT = os.urandom(8).hex()
"""Stands for the boot where the system does not name it: then only this process's own parts are taken up."""
PID_MAX_CHARS = 20
LOCK_PATIENCE_S = 0.25
"""Longer than the moment for which `batchvid.storage.lock.is_held` touches the lock: a look must not turn a run
away."""
PROBE = ".batchvid-probe"
CLIPS_FILE, LOCK_FILE = "clips.jsonl", "lock"


class Outputs:
    """One output folder. Make it before threads start, and `prepare` it before anything else.

    *folder* is absolute and need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Reading the umask means setting it, for the whole process: once, here.
        umask = os.umask(0o077)
        os.umask(umask)
        self.clip_mode = 0o666 & ~umask
        """The mode of clips, and of what else is for everybody who may see the output."""
        self._boot = _boot()
        self._finisher = Finisher()

    @property
    def state_folder(self) -> Path:
        """Where the journal, the lock and the logs are."""
        return self.folder / STATE_FOLDER

    def prepare(self) -> None:
        """Make the folders, and prove by doing it that they can be written to; raises `StorageError`."""
        with doing(f"use the output folder {self.folder}"):
            if self.folder.is_symlink():
                raise StorageError(
                    f"cannot use the output folder {self.folder}: it is a symbolic link; "
                    f"name the real folder, {self.folder.resolve()}"
                )
            for missing in reversed([path for path in (self.folder, *self.folder.parents) if not path.exists()]):
                missing.mkdir(exist_ok=True)
                sync_folder(missing.parent)
            if not self.folder.is_dir():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self._prove_writable()
        with doing(f"use the state folder {self.state_folder}"):
            with suppress(FileExistsError):
                self.state_folder.mkdir(mode=STATE_FOLDER_MODE)
                sync_folder(self.folder)
            self._prove_writable(STATE_FOLDER)
            state = open_folder(str(self.folder), STATE_FOLDER, create=False)
            try:
                if stat.S_IMODE(os.fstat(state).st_mode) != STATE_FOLDER_MODE:
                    os.fchmod(state, STATE_FOLDER_MODE)
            finally:
                os.close(state)

    def _prove_writable(self, *names: str) -> None:
        # A run that starts at the same moment proves the same, and may take our probe away: the lock decides who stays.
        with self._opened(*names) as folder, suppress(FileExistsError, FileNotFoundError):
            write_whole(folder, PROBE, [b"batchvid\n"], mode=STATE_FILE_MODE, durable=True)
            os.unlink(PROBE, dir_fd=folder)

    @contextmanager
    def _opened(self, *names: str, create: bool = False) -> Iterator[int]:
        folder = open_folder(str(self.folder), *names, create=create)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the output for one run; raises `OutputBusyError` at once when another run holds it.

        It is the kernel's lock on a file, which ends with the process: it is never stale. The state folder is locked as
        well, where the file system can do that: somebody may delete the file, and a second run would lock a new one.
        A forked child has neither lock, nor the journal and the log that are open in the state folder meanwhile.
        """
        from filelock import FileLock, Timeout

        path = self.state_folder / LOCK_FILE
        holder = self._holder()
        lock = FileLock(path, mode=STATE_FILE_MODE, thread_local=False)
        with doing(f"lock {path}"):
            try:
                lock.acquire(timeout=LOCK_PATIENCE_S, poll_interval=LOCK_PATIENCE_S / 5)
            except Timeout:
                raise OutputBusyError(
                    f"another run{holder} holds the output {self.folder}: wait for it, or choose another output"
                ) from None
        try:
            with kept_from_children(partial(open_below, self.state_folder)), ExitStack() as stack:
                with doing(f"lock {path}"):
                    state = stack.enter_context(self._opened(STATE_FOLDER))
                    self._lock_folder(state, holder)
                    self._sign_lock(state)
                yield
        finally:
            lock.release()

    @staticmethod
    def _sign_lock(state: int) -> None:
        descriptor = open_regular(state, LOCK_FILE, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b"%d\n" % os.getpid())
        finally:
            os.close(descriptor)

    def _lock_folder(self, state: int, holder: str) -> None:
        until = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise OutputBusyError(
                        f"another run{holder} holds the output {self.folder}, whose lock file was deleted: "
                        "wait for it, or choose another output"
                    ) from None
                time.sleep(LOCK_PATIENCE_S / 5)
            except OSError:
                return  # a file system that locks no folders
            else:
                return

    def _holder(self) -> str:
        """Name the process that wrote its number into the lock, when that can be read."""
        try:
            with self._opened(STATE_FOLDER) as state:
                descriptor = open_regular(state, LOCK_FILE, os.O_RDONLY)
            with open(descriptor, "rb") as file:
                text = file.read(PID_MAX_CHARS).strip()
        except OSError:
            return ""
        return f" (process {text.decode()})" if text.isdigit() else ""

    @asynccontextmanager
    async def part(self, path: str, *, source: str, fresh: bool = False) -> AsyncIterator[Part]:
        """Open the part of the clip at *path*, with what is there of the same *source* (the task's id).

        A *fresh* one is of a source that nothing was ever fetched from: it is not looked for, and begins from zero.
        One at a time for each path. Its bytes stay when the block ends before the part is finished.
        """
        part = Part(self._finisher, str(self.folder), path, source=source, boot=self._boot, mode=self.clip_mode)
        if not fresh:
            await settled(part.open, undo=lambda _: part.close_now())
        try:
            yield part
        finally:
            await part.close()

    async def retire(self, path: str, attempt: int) -> str | None:
        """Keep the clip of an earlier attempt, and its sidecar, beside their names; give the clip's new path.

        ``None`` when there is no such clip. What was kept before, of the same attempt too, is never replaced:
        a second one becomes ``kite.attempt-1.2.mp4``.
        """
        return await settled(lambda: self.retire_now(path, attempt))

    def retire_now(self, path: str, attempt: int) -> str | None:
        """Do what `retire` does. Blocks."""
        names = Names.of(path)
        with doing(f"keep the old {path}"):
            try:
                with self._opened(*names.folders) as folder:
                    return _retired(folder, names, attempt)
            except FileNotFoundError:
                return None

    async def story(self, path: str) -> dict[str, Any]:
        """Return what the clip's sidecar says; empty when there is none that batchvid wrote."""
        return await settled(lambda: self.told(path))

    def told(self, path: str) -> dict[str, Any]:
        """Return what `story` does, at once. Blocks."""
        names = Names.of(path)
        try:
            with self._opened(*names.folders) as folder:
                found = read_json(folder, names.sidecar, max_bytes=SIDECAR_MAX_BYTES) or {}
        except OSError:
            return {}
        return found if SIDECAR_MARK in found else {}

    async def check(self, path: str, *, size_bytes: int, sha256: str, full: bool) -> str | None:
        """Return what is wrong with a clip that was done, ``None`` when nothing is.

        Its size is looked at; *full* also reads it, to compare the SHA-256 and walk its boxes.
        """
        return await settled(lambda: self.trouble(path, size_bytes=size_bytes, sha256=sha256, full=full))

    def trouble(self, path: str, *, size_bytes: int, sha256: str, full: bool) -> str | None:
        """Return what `check` does. Blocks."""
        names = Names.of(path)
        try:
            with self._opened(*names.folders) as folder:
                descriptor = open_regular(folder, names.clip, os.O_RDONLY)
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read: {reason(error)}"
        with open(descriptor, "rb", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            if size != size_bytes:
                return f"has {size:,} bytes instead of {size_bytes:,}"
            return _content_trouble(file, size, sha256) if full else None

    async def write_clips(self, lines: Iterable[Mapping[str, object]]) -> None:
        """Replace ``clips.jsonl``, in one step."""
        await settled(lambda: self._write_clips(lines))

    def _write_clips(self, lines: Iterable[Mapping[str, object]]) -> None:
        with doing(f"write {self.folder / CLIPS_FILE}"), self._opened() as folder:
            write_whole(folder, CLIPS_FILE, map(json_line, lines), mode=self.clip_mode, durable=True)

    def append_orphan(self, record: Mapping[str, object]) -> None:
        """Keep a paid task id that could not be journaled: one line, synced before this returns. Blocks."""
        orphans.append(self.folder, record)

    def is_taken(self, path: str) -> bool:
        """Whether the clip at *path* could not be saved: something has its name, its sidecar's or a folder's."""
        names = Names.of(path)
        if not names.folders:  # the most frequent one, asked before each paid request
            return self._has(names.clip) or (self._has(names.sidecar) and self._is_taken(names))
        return self._is_taken(names)

    def _has(self, name: str) -> bool:
        try:
            os.lstat(f"{self.folder}/{name}")
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def _is_taken(self, names: Names) -> bool:
        try:
            with self._opened(*names.folders) as folder:
                sidecar_is_foreign = exists(folder, names.sidecar) and not is_sidecar(folder, names.sidecar)
                return sidecar_is_foreign or exists(folder, names.clip)
        except FileNotFoundError:
            return False
        except OSError:
            return True


def _retired(folder: int, names: Names, attempt: int) -> str | None:
    if not exists(folder, names.clip):
        return None
    copies = (names.retired(attempt, copy=copy) for copy in count(1))
    new = next(each for each in copies if not exists(folder, each.clip))
    place(folder, names.clip, new.clip)
    if exists(folder, names.sidecar) and not exists(folder, new.sidecar):
        place(folder, names.sidecar, new.sidecar)
    os.fsync(folder)
    return str(PurePosixPath(*new.folders, new.clip))


def _content_trouble(file: FileIO, size_bytes: int, sha256: str) -> str | None:
    """Return what is wrong with the content of a clip."""
    try:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256:
            return f"was changed: its SHA-256 is {digest}"
        probe(size_bytes, lambda offset, length: os.pread(file.fileno(), length, offset))
    except NotAClip as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {reason(error)}"
    return None


def _boot() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip() or OWN_BOOT
    except (OSError, ValueError):
        return OWN_BOOT


class WrongClip(NamedTuple):
    """A clip that is not where it should be, or not as it should be."""

    job_id: str
    words: str
    is_lost: bool
    """Whether it is missing or has another size, and so has to be fetched again. What else lies there is left alone."""


def wrong_clips(output: Path, clips: Iterable[tuple[str, str, int]]) -> Iterator[WrongClip]:
    """Yield each clip that is missing, has another size or cannot be looked at; *clips* are id, path and size.

    As everywhere, no symbolic link below the output is followed.
    """
    with ExitStack() as stack:
        folders: dict[str, int] = {}
        for job_id, path, size_bytes in clips:
            folder, _, name = path.rpartition("/")
            try:
                if folder not in folders:
                    folders[folder] = open_folder(str(output), *PurePosixPath(folder).parts, create=False)
                    stack.callback(os.close, folders[folder])
                found = os.lstat(name, dir_fd=folders[folder])
            except FileNotFoundError:
                yield WrongClip(job_id, f"{path} is missing", is_lost=True)
                continue
            except OSError as error:
                yield WrongClip(job_id, f"{path} cannot be read: {reason(error)}", is_lost=False)
                continue
            if not stat.S_ISREG(found.st_mode):
                yield WrongClip(job_id, f"{path} is no regular file", is_lost=False)
            elif found.st_size != size_bytes:
                yield WrongClip(job_id, f"{path} has {found.st_size:,} bytes instead of {size_bytes:,}", is_lost=True)
