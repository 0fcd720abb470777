"""A clip on its way to the disk: the ``.part`` file beside its target, and the steps that turn it into the clip.

* Bytes are hashed in the thread that writes them.
* What is there of an earlier try counts only if it belongs to the same source, and if the machine has not
  been started anew since: bytes that were never synced may be holes after a power loss.
* The final name appears only after the box walk and the fsync, and never in place of something else.
* The note beside the part (``.part.meta``) is the last to go, and then the sidecar says the same, so that a crash
  between any two steps leaves either a part that can be taken up or a clip that is recognised as finished.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from aiofiles.threadpool import wrap

from batchvid.core.mp4 import NotAClip, probe
from batchvid.edge.clip_files import SIDECAR_MARK, SIDECAR_MAX_BYTES, ForeignFileError, Names, Note, Saved
from batchvid.edge.disk import (
    STATE_FILE_MODE,
    doing,
    exists,
    json_line,
    leave_room,
    open_folder,
    open_regular,
    place,
    read_json,
    settled,
    write_whole,
)
from batchvid.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from batchvid.core.mp4 import Clip

T = TypeVar("T")

HASH_BLOCK_BYTES = 1024 * 1024
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
SIDECAR_FORM = 1
"""Of the sidecar; additions do not change it."""


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


@dataclass(frozen=True, slots=True)
class _Where:
    folder: int
    """A descriptor, which the part owns."""
    names: Names
    path: str
    """Of the clip, relative to the output folder."""


class Part:
    """One open part; made by `batchvid.edge.outputs.Outputs.part`.

    Every method raises `StorageError` when the disk does not do its part.
    """

    def __init__(self, where: _Where, *, note: Note, file: HashingFile, mode: int) -> None:
        self._folder, self._names, self._path = where.folder, where.names, where.path
        self._note = note
        self._on_disk: Note | None = None
        self._file = file
        self._async_file = wrap(file)
        self._mode = mode

    @classmethod
    def open(cls, root: str, path: str, *, source: str, boot: str, mode: int) -> Self:
        """Open the part of the clip at *path*, taking up what is there of the same *source*. Blocks."""
        names = Names.of(path)
        with doing(f"open {path}.part"):
            folder = open_folder(root, *names.folders, create=True)
            try:
                found = Note.read(folder, names.note)
                note = found if found and found.continues(source, boot=boot) else Note(source, boot)
                file = _finished_before(folder, names, note)
                if file is None and (told := Note.of_sidecar(folder, names.sidecar, source=source, boot=boot)):
                    file = _finished_before(folder, names, told)
                    note = told if file else note
                file = file or _opened(folder, names, note, fresh=note is not found)
            except BaseException:  # whatever it was, no descriptor leaks, and it goes on its way
                os.close(folder)
                raise
        return cls(_Where(folder, names, path), note=note, file=file, mode=mode)

    @property
    def offset_bytes(self) -> int:
        """How many bytes are there; the next block is appended behind them."""
        return self._file.size_bytes

    @property
    def validator(self) -> str | None:
        """The ETag or date that the bytes belong to, when it is known."""
        return self._note.validator

    @property
    def complete(self) -> bool:
        """Whether an earlier run had all of the clip and did not live to say so: `finish` it, without a transfer."""
        return self._note.sha256 is not None and self._note.sha256 == self._file.sha256.hexdigest()

    async def remember(self, validator: str | None) -> None:
        """Note which version of the source the bytes belong to; without this a later try begins from zero."""
        note = replace(self._note, validator=validator, size_bytes=None, sha256=None)
        if note == self._on_disk:
            return
        self._note = self._on_disk = note
        await self._settled("note the source of", lambda: self._note.write(self._folder, self._names.note))

    async def write(self, block: bytes) -> None:
        """Append *block*. When the disk is full, the part makes room: the ids of paid tasks need it more."""
        with doing(f"write {self._path}.part"):
            try:
                await self._async_file.write(block)
            except OSError as error:
                if error.errno in NO_ROOM:
                    with suppress(StorageError):
                        await self.restart()
                raise

    async def restart(self) -> None:
        """Drop all bytes, and what was noted of them, to begin from zero."""
        self._note, self._on_disk = replace(self._note, validator=None, size_bytes=None, sha256=None), None
        await self._settled("empty", self._restart)

    def _restart(self) -> None:
        # The note goes first: it must never vouch for bytes of another version.
        _remove(self._folder, self._names.note)
        self._file.restart()

    async def finish(self, sidecar: Mapping[str, object]) -> Saved:
        """Turn the part into the clip, durably, and write its sidecar; in one thread, which a cancellation waits for.

        Raises `NotAClip` when the file is no complete clip (it is kept as ``.bad``), and `ForeignFileError` when
        something else has the clip's name (the part is kept, and is `complete` at the next try).
        """
        return await self._settled("finish", lambda: self._finish(sidecar))

    def _finish(self, sidecar: Mapping[str, object]) -> Saved:
        folder, names, file = self._folder, self._names, self._file
        saved = Saved(self._path, file.size_bytes, file.sha256.hexdigest(), self._probed())
        os.fchmod(file.fileno(), self._mode)
        self._sync()
        self._note = replace(self._note, size_bytes=saved.size_bytes, sha256=saved.sha256)
        self._note.write(folder, names.note)
        if exists(folder, names.sidecar) and not is_sidecar(folder, names.sidecar):
            raise ForeignFileError(_foreign(self._path, names.sidecar))
        self._place()
        os.fsync(folder)
        record = {SIDECAR_MARK: SIDECAR_FORM, **sidecar, "path": saved.path, "size_bytes": saved.size_bytes}
        record |= {"sha256": saved.sha256, **asdict(saved.clip)}
        write_whole(folder, names.sidecar, [json_line(record)], mode=self._mode, durable=False)
        _remove(folder, names.note)
        return saved

    def _probed(self) -> Clip:
        try:
            return probe(self._file.size_bytes, self._file.content)
        except NotAClip:
            with suppress(FileNotFoundError):
                os.rename(self._names.part, self._names.bad, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            _remove(self._folder, self._names.note)
            raise

    def _sync(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError:
            # The kernel may have dropped the pages that it could not write: a second fsync would
            # succeed and prove nothing. The clip is fetched again.
            with suppress(OSError):
                self._restart()
            raise

    def _place(self) -> None:
        """Give the part the clip's name, unless the clip has it from before."""
        folder, names = self._folder, self._names
        try:
            place(folder, names.part, names.clip)
        except (FileExistsError, FileNotFoundError):
            if not exists(folder, names.clip):
                raise
            if not _holds(folder, names.clip, self._note):
                raise ForeignFileError(_foreign(self._path, names.clip)) from None
            _remove(folder, names.part)

    async def close(self) -> None:
        """Let go of the part; its bytes stay for a later try, an empty one goes."""
        await self._settled("close", self.close_now)

    def close_now(self) -> None:
        """Do what `close` does, at once. Blocks."""
        try:
            if not self.offset_bytes and not self.complete:
                _remove(self._folder, self._names.part)
                _remove(self._folder, self._names.note)
        finally:
            self._file.close()
            os.close(self._folder)

    async def _settled(self, verb: str, work: Callable[[], T]) -> T:
        with doing(f"{verb} {self._path}.part"):
            return await settled(work)


def _opened(folder: int, names: Names, note: Note, *, fresh: bool) -> HashingFile:
    """Open the part itself, empty unless *note* vouches for what is in it."""
    flags = os.O_RDWR | os.O_CREAT
    file = HashingFile(open_regular(folder, names.part, flags, mode=STATE_FILE_MODE))
    try:
        status = os.fstat(file.fileno())
        # A crash may have come between the two names of a finished clip: emptying one would empty the other.
        if fresh or status.st_nlink > 1:
            file.close()
            _remove(folder, names.note)
            _remove(folder, names.part)
            return HashingFile(open_regular(folder, names.part, flags | os.O_EXCL, mode=STATE_FILE_MODE))
        file.take_up(status.st_size if note.size_bytes is None else min(status.st_size, note.size_bytes))
        file.truncate(file.size_bytes)
    except BaseException:  # whatever it was, no descriptor leaks, and it goes on its way
        file.close()
        raise
    return file


def _finished_before(folder: int, names: Names, note: Note) -> HashingFile | None:
    """Open the clip itself, when it is the one that *note* says was finished."""
    if note.sha256 is None or not _holds(folder, names.clip, note):
        return None
    # Read only: nothing that is done to a part may ever change a clip.
    file = HashingFile(open_regular(folder, names.clip, os.O_RDONLY))
    file.take_up(note.size_bytes or 0)
    return file


def _holds(folder: int, name: str, note: Note) -> bool:
    """Say whether the file has the size and the hash of *note*."""
    try:
        file = HashingFile(open_regular(folder, name, os.O_RDONLY))
    except OSError:
        return False
    with file:
        if os.fstat(file.fileno()).st_size != note.size_bytes:
            return False
        file.take_up(note.size_bytes)
        return file.sha256.hexdigest() == note.sha256


def is_sidecar(folder: int, name: str) -> bool:
    """Say whether the file is a sidecar that batchvid wrote."""
    return SIDECAR_MARK in (read_json(folder, name, max_bytes=SIDECAR_MAX_BYTES) or {})


def _foreign(path: str, name: str) -> str:
    return f"{path}: {name} is there already, and is not batchvid's: move it away and run again"


def _remove(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
