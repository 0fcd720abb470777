"""A clip on its way to the disk: the ``.part`` file beside its target, and the steps that turn it into the clip.

A crash between any two of these leaves either a part that can be taken up, or a clip that is recognised as finished:

1. The note beside the part (``.part.meta``) says what the next bytes are.
2. The bytes are appended, and hashed in the thread that writes them.
3. `LocalPart.commit`: the box walk. The sidecar is written beside its name. The fsync of both.
4. The sidecar, which says what the clip is, gets its name, and vouches for the part from now on.
5. The part gets the clip's name, never in place of something else.
6. The fsync of the folder. Then the note goes.

Clips that end together take each step together: what they wait for on the disk is under way for all of them at once,
and one fsync of a folder is enough.

A film takes the same steps. It may replace an older one, so its sidecar tells of both, and is durable before step 5.

What is there of an earlier try counts only if it belongs to the same source and the machine was not started again
since. Bytes that were never synced may be holes after a power loss.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from batchvid.domain.delivery import differences
from batchvid.domain.errors import ForeignFileError, StorageError
from batchvid.domain.frozen import frozen
from batchvid.media.mp4 import NotAClip, probe
from batchvid.storage.base import SIDECAR_FORM, SIDECAR_MARK, Names, Saved
from batchvid.storage.finisher import Durable, Finisher, Steps
from batchvid.storage.fs import (
    STATE_FILE_MODE,
    Aside,
    begin_to_write,
    doing,
    exists,
    json_line,
    leave_room,
    open_folder,
    open_regular,
    place,
    read_json,
    write_whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchvid.media.mp4 import Clip
    from batchvid.storage.base import Accepts


T = TypeVar("T")

NOTE_MAX_BYTES = 64 * 1024
SIDECAR_MAX_BYTES = 4 * 1024 * 1024


@frozen
class Note:
    """What stands beside a part: where its bytes come from, and what it became when it was complete."""

    source: str
    boot: str
    validator: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None

    def continues(self, source: str, *, boot: str) -> bool:
        """Whether the part may be taken up for *source* by a process of this *boot*.

        A part that was complete was synced, and so outlives its boot.
        """
        return self.source == source and (self.boot == boot or self.sha256 is not None)

    @staticmethod
    def read(folder: int, name: str) -> Note | None:
        """Return the note that is there, ``None`` when there is none that can be read."""
        found = read_json(folder, name, max_bytes=NOTE_MAX_BYTES) or {}
        texts = [found.get(key) for key in ("source", "boot", "validator", "sha256")]
        size_bytes = found.get("size_bytes")
        if not all(isinstance(text, str) for text in texts[:2]) or not all(
            text is None or isinstance(text, str) for text in texts
        ):
            return None
        source, boot, validator, sha256 = texts
        known = isinstance(size_bytes, int)
        return Note(str(source), str(boot), validator, size_bytes if known else None, sha256 if known else None)

    @staticmethod
    def of_sidecar(folder: int, name: str, *, source: str, boot: str) -> Note | None:
        """Return what the sidecar of a finished clip says, when the clip is of *source*: its note is gone by then."""
        found = read_sidecar(folder, name)
        size_bytes, sha256 = found.get("size_bytes"), found.get("sha256")
        if found.get("task_id") != source or not isinstance(size_bytes, int) or not isinstance(sha256, str):
            return None
        return Note(source, boot, size_bytes=size_bytes, sha256=sha256)

    def write(self, folder: int, name: str) -> None:
        """Put the note in place."""
        write_whole(folder, name, [json_line(asdict(self))], mode=STATE_FILE_MODE, durable=False)


HASH_BLOCK_BYTES = 1024 * 1024
WRITTEN_EARLY_BYTES = 1024 * 1024
"""So much of a clip goes to the disk while the rest still arrives, and need not be waited for at the end."""


class HashingFile(io.FileIO):
    """A file that hashes what is appended to it, and writes all of it or raises."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "r+b")
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        self._begun_bytes = 0
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
            if self.size_bytes - self._begun_bytes >= WRITTEN_EARLY_BYTES:
                begin_to_write(self.fileno(), self._begun_bytes, self.size_bytes - self._begun_bytes)
                self._begun_bytes = self.size_bytes
        return len(block)

    def take_up(self, size_bytes: int) -> None:
        """Count the first *size_bytes*, which are there already, as written."""
        self.sha256 = hashlib.sha256()
        self.size_bytes = self._begun_bytes = 0
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
        """Return bytes of the file."""
        return os.pread(self.fileno(), length, offset)

    def close(self) -> None:
        """Close the file, after the write that is under way."""
        with self._busy:
            super().close()


NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class LocalPart:
    """The part of one clip; made by `batchvid.storage.local.LocalStore.part`.

    One that was not opened begins from zero, and does so with its first bytes: a clip that arrives in one block is
    written, checked and put in place in one turn of a thread. Every method raises `StorageError` when the disk does not
    do its part.
    """

    def __init__(
        self,
        finisher: Finisher,
        root: Path,
        path: str,
        *,
        source: str,
        boot: str,
        mode: int,
        replaces: Accepts | None = None,
    ) -> None:
        self._finisher = finisher
        self._root, self._path, self._names, self._mode = str(root), path, Names.of(path), mode
        self._replaces = replaces
        self._note = Note(source, boot)
        self._note_is_due = False
        self._on_disk: Note | None = None
        self._may_have_note = False
        self._folder = -1
        self._file: HashingFile | None = None

    @property
    def _bad(self) -> str:
        """Where a download that is no clip is kept, for people."""
        return f"{self._path}.bad"

    @property
    def offset_bytes(self) -> int:
        """How many bytes are there; the next block is appended behind them."""
        return 0 if self._file is None else self._file.size_bytes

    @property
    def validator(self) -> str | None:
        """The ETag or date that the bytes belong to, when it is known."""
        return self._note.validator

    @property
    def complete(self) -> bool:
        """Whether an earlier run had all of the clip and did not live to say so: `commit` it, without a transfer."""
        file, sha256 = self._file, self._note.sha256
        return file is not None and sha256 is not None and sha256 == file.sha256.hexdigest()

    def open(self) -> None:
        """Resume what is there of the same source. Blocks."""
        self._may_have_note = True
        with doing(f"open {self._path}.part"):
            folder = open_folder(self._root, *self._names.folders, create=True)
            try:
                self._replaced(folder)
                self._take_up(folder)
            except BaseException:  # whatever it was, no descriptor leaks, and it is raised again
                os.close(folder)
                raise
            self._folder = folder

    def _take_up(self, folder: int) -> None:
        names, new = self._names, self._note
        found = Note.read(folder, names.note)
        note = found if found and found.continues(new.source, boot=new.boot) else new
        file = _finished_before(folder, names.clip, note)
        if file is None and (told := Note.of_sidecar(folder, names.sidecar, source=new.source, boot=new.boot)):
            # The sidecar is written when all of the clip is safe in the part, and before that gets the clip's name.
            file = _finished_before(folder, names.clip, told) or _finished_before(folder, names.part, told, alone=True)
            note = told if file else note
        self._file = file or _opened(folder, names, note, fresh=note is not found)
        self._note = note

    def _begin(self) -> HashingFile:
        """Return the file, and begin it from zero when it was not opened."""
        if self._file is None:
            folder = open_folder(self._root, *self._names.folders, create=True)
            try:
                self._file = _created(folder, self._names)
            except BaseException:  # as above
                os.close(folder)
                raise
            self._folder = folder
        return self._file

    def remember(self, validator: str | None) -> None:
        """Note which version of the source the next bytes belong to; without this a later try begins from zero.

        The note is on disk before the first of these bytes is.
        """
        self._note = replace(self._note, validator=validator, size_bytes=None, sha256=None)
        self._note_is_due = self._note != self._on_disk

    async def write(self, block: bytes) -> None:
        """Append *block*. When the disk is full, the part makes room: the ids of paid tasks need it more."""
        if self._file is None or self._note_is_due:
            await self._settled("write", lambda: self._append(block))
            return
        from aiofiles.threadpool import wrap

        with doing(f"write {self._path}.part"):
            try:
                await wrap(self._file).write(block)
            except OSError as error:
                if error.errno in NO_ROOM:
                    with suppress(StorageError):
                        await self.restart()
                raise

    def _append(self, block: bytes) -> None:
        try:
            file = self._begin()
            if self._note_is_due:
                self._may_have_note = True
                self._note.write(self._folder, self._names.note)
                self._on_disk, self._note_is_due = self._note, False
            if block:
                file.write(block)
        except OSError as error:
            if error.errno in NO_ROOM and self._file is not None:
                with suppress(OSError):
                    self._restart()
            raise

    async def restart(self) -> None:
        """Drop all bytes, and what was noted of them, to begin from zero."""
        self._note = replace(self._note, validator=None, size_bytes=None, sha256=None)
        self._on_disk, self._note_is_due = None, False
        if self._file is not None:
            await self._settled("empty", self._restart)

    def _restart(self) -> None:
        # The note goes first: it must never vouch for bytes of another version.
        remove(self._folder, self._names.note)
        self._begin().restart()

    async def fill(self, make: Callable[[Path], T], *, size_bytes: int) -> T:
        """Let *make* write the whole part, in a thread, and count what it wrote."""
        from batchvid.storage.threads import settled

        await self.restart()
        with doing(f"write {self._path}.part"):
            return await settled(lambda: self._filled(make, size_bytes))

    def _filled(self, make: Callable[[Path], T], size_bytes: int) -> T:
        file = self._begin()
        leave_room(file.fileno(), size_bytes)
        try:
            made = make(Path(self._root, *self._names.folders, self._names.part))
        except BaseException:  # whatever it was, half of it does not stay, and it is raised again
            file.restart()
            raise
        file.take_up(os.fstat(file.fileno()).st_size)
        return made

    async def commit(self, sidecar: Mapping[str, object], rest: bytes = b"") -> Saved:
        """Append *rest*, turn the part into the clip, durably, and close it: in a thread that a cancellation waits for.

        Raises `NotAClip` when the file is no complete clip; it is kept as ``.bad``. Raises `ForeignFileError` when
        something else has the clip's name; the part is kept, and is `complete` at the next try.
        """
        with doing(f"finish {self._path}.part"):
            return await self._finisher.follow(self._commit(sidecar, rest))

    def _commit(self, sidecar: Mapping[str, object], rest: bytes) -> Steps[Saved]:
        saved, record, replaced = self._record(self._complete(rest), sidecar)
        file, folder, names = self._begin(), self._folder, self._names
        here = Durable(folder, (self._root, names.folders))
        with Aside(folder, names.sidecar, mode=self._mode) as aside:
            aside.write(json_line(record))
            lost, torn = yield Durable(file.fileno()), Durable(aside.descriptor)
            if lost is not None:
                self._drop_unsynced()
            if trouble := lost or torn:
                raise trouble
            aside.put()
        if self._replaces is not None:
            (trouble,) = yield (here,)
            if trouble is not None:
                raise trouble
        if replaced is not None:
            os.rename(names.part, names.clip, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            self._place()
        (trouble,) = yield (here,)
        if trouble is not None:
            raise trouble
        self._let_go()
        return saved

    def _complete(self, rest: bytes) -> Saved:
        """Append *rest*, and return what the clip is."""
        self._note_is_due = False  # it would say less than the sidecar does, a moment earlier
        self._append(rest)
        file = self._begin()
        saved = Saved(self._path, file.size_bytes, file.sha256.hexdigest(), self._probed(file, rest))
        os.fchmod(file.fileno(), self._mode)
        self._note = replace(self._note, size_bytes=saved.size_bytes, sha256=saved.sha256)
        return saved

    def _record(self, saved: Saved, sidecar: Mapping[str, object]) -> tuple[Saved, dict[str, object], str | None]:
        """Return what is saved, all that the sidecar tells of it, and the SHA-256 of what the clip replaces."""
        record: dict[str, object] = {SIDECAR_MARK: SIDECAR_FORM, **sidecar}
        replaced = None
        if self._replaces is not None:
            record["replaces"] = replaced = self._replaced(self._folder)
        else:
            self._refuse_foreign()
        record |= {"path": saved.path, "size_bytes": saved.size_bytes, "sha256": saved.sha256, **saved.clip.as_dict()}
        if "seconds" in record:  # of a film nothing of the kind was asked
            saved = replace(saved, differs=differences(record))
            record["differs"] = list(saved.differs)
        return saved, record, replaced

    def _replaced(self, folder: int) -> str | None:
        """Return the SHA-256 of the file that the part is going to replace, if there is one.

        Raises `ForeignFileError` when it may not be, because batchvid did not make it, or not as it is now.
        """
        names = self._names
        if self._replaces is None:
            return None
        told = read_sidecar(folder, names.sidecar)
        if exists(folder, names.sidecar) and not (told and self._replaces(told)):
            raise ForeignFileError(changed_words(str(PurePosixPath(*names.folders, names.sidecar))))
        if not exists(folder, names.clip):
            return None
        with HashingFile(open_regular(folder, names.clip, os.O_RDONLY)) as file:
            file.take_up(os.fstat(file.fileno()).st_size)
        sha256 = file.sha256.hexdigest()
        if not told or sha256 not in {told.get("sha256"), told.get("replaces")}:
            raise ForeignFileError(changed_words(self._path))
        return sha256

    def _let_go(self) -> None:
        """Do what is left to do once the clip's name is durable."""
        if self._may_have_note:
            remove(self._folder, self._names.note)
        self.close_now()

    def _probed(self, file: HashingFile, rest: bytes) -> Clip:
        is_at_hand = len(rest) == file.size_bytes
        try:
            return probe(file.size_bytes, partial(_between, rest) if is_at_hand else file.content)
        except NotAClip as error:
            with suppress(FileNotFoundError):
                os.rename(self._names.part, self._names.bad, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            remove(self._folder, self._names.note)
            raise NotAClip(f"{error} (kept as {self._bad})") from None

    def _sync(self) -> None:
        try:
            os.fsync(self._begin().fileno())
        except OSError:
            self._drop_unsynced()
            raise

    def _drop_unsynced(self) -> None:
        """Drop what the kernel could not write: a second fsync would succeed and prove nothing. It is fetched again."""
        self._note = replace(self._note, validator=None, size_bytes=None, sha256=None)
        with suppress(OSError):
            self._restart()

    def _refuse_foreign(self) -> None:
        """Keep the part for a later try when something that is not batchvid's has one of the two names."""
        folder, names = self._folder, self._names
        if exists(folder, names.sidecar) and not is_sidecar(folder, names.sidecar):
            foreign = names.sidecar
        elif exists(folder, names.clip) and not _holds(folder, names.clip, self._note):
            foreign = names.clip
        else:
            return
        self._sync()  # before the note vouches for it
        self._note.write(folder, names.note)
        raise ForeignFileError(foreign_words(self._path, foreign))

    def _place(self) -> None:
        """Rename the part to the clip, unless the clip has the name from before."""
        folder, names = self._folder, self._names
        try:
            place(folder, names.part, names.clip)
        except (FileExistsError, FileNotFoundError):
            if not exists(folder, names.clip):
                raise
            self._refuse_foreign()
            remove(folder, names.part)

    async def close(self) -> None:
        """Let go of the part; its bytes stay for a later try, an empty one goes."""
        if self._file is not None:
            await self._settled("close", self.close_now)

    def close_now(self) -> None:
        """Do what `close` does, at once. Blocks."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if not file.size_bytes and self._note.sha256 is None:
                remove(self._folder, self._names.part)
                remove(self._folder, self._names.note)
        finally:
            file.close()
            os.close(self._folder)

    async def _settled(self, verb: str, work: Callable[[], T]) -> T:
        with doing(f"{verb} {self._path}.part"):
            return await self._finisher.do(work)


def _between(data: bytes, offset: int, length: int) -> bytes:
    return data[offset : offset + length]


def _created(folder: int, names: Names) -> HashingFile:
    """Create the part itself, in place of one that is there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    try:
        descriptor = open_regular(folder, names.part, flags, mode=STATE_FILE_MODE)
    except FileExistsError:
        kind = os.lstat(names.part, dir_fd=folder).st_mode
        if stat.S_ISLNK(kind):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        if not stat.S_ISREG(kind):
            raise  # a folder is nobody's part: it is left where it is
        remove(folder, names.note)
        remove(folder, names.part)
        descriptor = open_regular(folder, names.part, flags, mode=STATE_FILE_MODE)
    return HashingFile(descriptor)


def _opened(folder: int, names: Names, note: Note, *, fresh: bool) -> HashingFile:
    """Open the part itself, empty unless *note* vouches for what is in it."""
    flags = os.O_RDWR | os.O_CREAT
    file = HashingFile(open_regular(folder, names.part, flags, mode=STATE_FILE_MODE))
    try:
        status = os.fstat(file.fileno())
        # A crash may have come between the two names of a finished clip: emptying one would empty the other.
        if fresh or status.st_nlink > 1:
            file.close()
            return _created(folder, names)
        file.take_up(status.st_size if note.size_bytes is None else min(status.st_size, note.size_bytes))
        file.truncate(file.size_bytes)
    except BaseException:  # whatever it was, no descriptor leaks, and it is raised again
        file.close()
        raise
    return file


def _finished_before(folder: int, name: str, note: Note, *, alone: bool = False) -> HashingFile | None:
    """Open the file of this name, when it is the clip that *note* says was finished; *alone*: under no other name."""
    if note.sha256 is None or not _holds(folder, name, note):
        return None
    # Read only: nothing that is done to a part may ever change a clip.
    file = HashingFile(open_regular(folder, name, os.O_RDONLY))
    if alone and os.fstat(file.fileno()).st_nlink > 1:
        file.close()
        return None
    file.take_up(note.size_bytes or 0)
    return file


def _holds(folder: int, name: str, note: Note) -> bool:
    """Whether the file has the size and the hash of *note*."""
    try:
        file = HashingFile(open_regular(folder, name, os.O_RDONLY))
    except OSError:
        return False
    with file:
        if os.fstat(file.fileno()).st_size != note.size_bytes:
            return False
        file.take_up(note.size_bytes)
        return file.sha256.hexdigest() == note.sha256


def read_sidecar(folder: int, name: str) -> dict[str, Any]:
    """Return what a sidecar tells; empty when there is none that batchvid wrote."""
    found = read_json(folder, name, max_bytes=SIDECAR_MAX_BYTES) or {}
    return found if SIDECAR_MARK in found else {}


def is_sidecar(folder: int, name: str) -> bool:
    """Whether the file is a sidecar that batchvid wrote."""
    return bool(read_sidecar(folder, name))


def foreign_words(path: str, name: str) -> str:
    """Return what to do about a file of that *name* that is in the clip's way, for people."""
    return f"{path}: {name} is there already, and is not batchvid's: move it away and run again"


def changed_words(name: str) -> str:
    """Return the same of a file that may only be replaced as batchvid made it."""
    return f"{name} is there already, and batchvid did not make it, or not as it is now: move it away"


def remove(folder: int, name: str) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
