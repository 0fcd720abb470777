"""The clip store on a disk: one folder, in which each clip has its sidecar beside it.

Nothing here follows a symbolic link below the folder, writes outside it, or replaces a file that batchvid did not
make. An `OSError` becomes a `StorageError` that says what to do.

A clip is renamed so that it can be repeated: the clip goes first, by a link that replaces nothing (`fs.place`); then
its sidecar is written under the new name, with the new id; then the old sidecar goes. Whatever of this was done before
a crash is recognised: a clip under both names is one file, and one that lies under the new name only has the size and
SHA-256 of the journal.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import cached_property, partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from batchvid.domain.errors import InTheWayError, StorageError
from batchvid.domain.filename import is_plain, is_short
from batchvid.domain.text import nfc
from batchvid.media.mp4 import NotAClip, probe
from batchvid.storage.base import SIDECAR_MARK, KnownClip, Names, Renamed, WrongClip
from batchvid.storage.finisher import Finisher
from batchvid.storage.fs import (
    WIDE_TYPES,
    doing,
    exists,
    folder_below,
    json_line,
    make_folder,
    mounted_type,
    open_regular,
    place,
    prove_writable,
    public_mode,
    read_json,
    reason,
    refused_name,
    write_whole,
)
from batchvid.storage.part import LocalPart, is_sidecar, read_sidecar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from batchvid.storage.base import Accepts
    from batchvid.storage.threads import Batcher


BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Where Linux says which start of the machine this is."""
OWN_BOOT = os.urandom(8).hex()
"""Stands for the boot where the system does not name it: then only this process's own parts are taken up."""
PEEK_BYTES = 64
LOOKS_AT_ONCE = 64
TOLD_MAX_BYTES = 1024 * 1024
NAME_ADVICE = "write safe_names: true, or another filename or id"


class LocalStore:
    """The clips below one *folder*, which is absolute and need not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mode = public_mode()
        self._boot = this_boot()

    @cached_property
    def _finisher(self) -> Finisher:
        """What does the work of all parts on the disk; a command that only looks at clips does without its threads."""
        return Finisher()

    @cached_property
    def _looker(self) -> Batcher[str, bool]:
        """What looks at names for many paid requests together: a turn of a thread costs more than the look."""
        from batchvid.storage.threads import Batcher

        return Batcher(lambda paths: [self.is_taken(path) for path in paths], most=LOOKS_AT_ONCE)

    @cached_property
    def _kind(self) -> str | None:
        """The type of the file system, where that is known."""
        return mounted_type(self._folder)

    def prepare(self) -> None:
        """Make the folder, and prove by doing it that it can be written to."""
        with doing(f"use the output folder {self._folder}"):
            if self._folder.is_symlink():
                raise StorageError(
                    f"cannot use the output folder {self._folder}: it is a symbolic link; "
                    f"name the real folder, {self._folder.resolve()}"
                )
            make_folder(self._folder)
            prove_writable(self._folder)

    @asynccontextmanager
    async def part(
        self,
        path: str,
        *,
        source: str,
        fresh: bool = False,
        replaces: Accepts | None = None,
    ) -> AsyncIterator[LocalPart]:
        """Open the part of the clip at *path*, beside its place."""
        from batchvid.storage.threads import settled

        part = LocalPart(
            self._finisher, self._folder, path, source=source, boot=self._boot, mode=self._mode, replaces=replaces
        )
        if not fresh:
            await settled(part.open, undo=lambda _: part.close_now())
        try:
            yield part
        finally:
            await part.close()

    def name_trouble(self, path: str) -> str | None:
        """Return why the file system takes no clip at *path*, by making an empty file of a longer name in its place.

        It is not asked where the answer is known: a manifest may have a hundred thousand names in another script.
        """
        if is_plain(path) or (is_short(path) and self._kind in WIDE_TYPES):
            return None
        names = Names.of(path)
        try:
            why = refused_name(self._folder, *names.folders, names.clip)
        except OSError:
            return None  # the folder is not there, or is none of ours: who saves a clip tells it
        if why is None:
            return None
        told = ", ".join(filter(None, (self._kind, why)))
        return f"its file system{told and f' ({told})'} does not take the name {path!r}: {NAME_ADVICE}"

    def is_taken(self, path: str) -> bool:
        """Whether something has the clip's name, its sidecar's or a folder's."""
        names = Names.of(path)
        if not names.folders:  # the most frequent one, asked before each paid request
            return self._has(names.clip) or (self._has(names.sidecar) and self._is_taken(names))
        return self._is_taken(names)

    async def asked_if_taken(self, path: str) -> bool:
        """Return `is_taken`, which is asked in a thread; a cancelled caller waits for the answer first."""
        answer, cancelled = await self._looker.outcome(path)
        if trouble := answer if isinstance(answer, BaseException) else cancelled:
            raise trouble
        return answer is True

    def _has(self, name: str) -> bool:
        try:
            os.lstat(f"{self._folder}/{name}")
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def _is_taken(self, names: Names) -> bool:
        try:
            with folder_below(self._folder, *names.folders) as folder:
                sidecar_is_foreign = exists(folder, names.sidecar) and not is_sidecar(folder, names.sidecar)
                return sidecar_is_foreign or exists(folder, names.clip)
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def check(self, path: str, *, size_bytes: int, sha256: str, full: bool) -> str | None:
        """Return what is wrong with a clip that was done, ``None`` when nothing is."""
        try:
            file = self.open(path)
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read: {reason(error)}"
        with file:
            size = os.fstat(file.fileno()).st_size
            if size != size_bytes:
                return f"has {size:,} bytes instead of {size_bytes:,}"
            return content_trouble(file, size, sha256) if full else None

    def wrong_clips(self, clips: Iterable[tuple[str, str, int]]) -> Iterator[WrongClip]:
        """Yield each clip that is missing, has another size or cannot be looked at."""
        with ExitStack() as stack:
            folders: dict[str, int] = {}
            for job_id, path, size_bytes in clips:
                folder, _, name = path.rpartition("/")
                try:
                    if folder not in folders:
                        folders[folder] = stack.enter_context(folder_below(self._folder, *PurePosixPath(folder).parts))
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
                    words = f"{path} has {found.st_size:,} bytes instead of {size_bytes:,}"
                    yield WrongClip(job_id, words, is_lost=True)

    def open(self, path: str) -> IO[bytes]:
        """Open a clip to read it and seek in it; raises `OSError`."""
        names = Names.of(path)
        with folder_below(self._folder, *names.folders) as folder:
            return open(open_regular(folder, names.clip, os.O_RDONLY), "rb")

    @contextmanager
    def file(self, path: str) -> Iterator[Path]:
        """Return the clip's own file."""
        names = Names.of(path)
        yield self._folder.joinpath(*names.folders, names.clip)

    def sidecar(self, path: str) -> dict[str, Any]:
        """Return what the sidecar of the clip at *path* tells."""
        names = Names.of(path)
        try:
            with folder_below(self._folder, *names.folders) as folder:
                return read_sidecar(folder, names.sidecar)
        except OSError:
            return {}

    def sidecars(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the path of each clip that has a sidecar, and what that tells."""
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            names = waiting.pop()
            with doing(f"read the folder {self._folder.joinpath(*names)}"), ExitStack() as stack:
                try:
                    folder = stack.enter_context(folder_below(self._folder, *names))
                except FileNotFoundError:
                    continue
                for entry in stack.enter_context(os.scandir(folder)):
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                        waiting.append((*names, entry.name))
                    elif entry.name.endswith(".json") and _may_be_sidecar(folder, entry.name):
                        told = read_sidecar(folder, entry.name)
                        if told:
                            yield "/".join((*names, clip_of(entry.name, told.get("path")))), told

    def retire(self, path: str, attempt: int) -> str | None:
        """Keep the clip of an earlier attempt, and its sidecar, beside their names; return the clip's new path."""
        names = Names.of(path)
        with doing(f"keep the old {path}"):
            try:
                with folder_below(self._folder, *names.folders) as folder:
                    return _retired(folder, names, attempt)
            except FileNotFoundError:
                return None

    def rename(self, old: str, new: str, clip: KnownClip) -> Renamed:
        """Rename the clip at *old* to *new*, and its sidecar, which then names the job."""
        before, after = Names.of(old), Names.of(new)
        if self.name_trouble(new) is not None:
            return Renamed.REFUSED
        try:
            with doing(f"rename {old} to {new}"), ExitStack() as stack:
                target = stack.enter_context(folder_below(self._folder, *after.folders, create=True))
                try:
                    source = stack.enter_context(folder_below(self._folder, *before.folders))
                except FileNotFoundError:
                    source = -1
                return _renamed(source, target, (before, after), clip=clip, path=new)
        except InTheWayError:
            return Renamed.TAKEN

    def tell_more(self, path: str, name: str, value: object, *, sha256: str) -> bool:
        """Set one field of the sidecar of the clip at *path*."""
        names = Names.of(path)
        with doing(f"write the sidecar of {path}"):
            try:
                with folder_below(self._folder, *names.folders) as folder:
                    return _told_more(folder, names.sidecar, (name, value), sha256=sha256)
            except FileNotFoundError:
                return False

    def respell(self, path: str, clip: KnownClip) -> None:
        """Rename the clip to *path* where a copy has spelt that in another Unicode form."""
        here = self._folder
        for part in PurePosixPath(path).parts:
            spelt = part
            if not part.isascii() and not os.path.lexists(here / part):
                with suppress(OSError):
                    spelt = next((one.name for one in sorted(here.iterdir()) if nfc(one.name) == nfc(part)), part)
            here /= spelt
        found = here.relative_to(self._folder).as_posix()
        if found != path and here.exists():
            self.rename(found, path, clip)

    def told(self, name: str) -> dict[str, Any] | None:
        """Return what a small JSON file beside the clips holds, ``None`` when there is none."""
        if not os.path.lexists(self._folder / name):
            return None
        with doing(f"read {self._folder / name}"), folder_below(self._folder) as folder:
            return read_json(folder, name, max_bytes=TOLD_MAX_BYTES) or {}

    def publish(self, folder: Path, *names: str) -> None:
        """Do nothing: the clips lie in that folder."""


def this_boot() -> str:
    """Return what tells this start of the machine from every other one."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip() or OWN_BOOT
    except (OSError, ValueError):
        return OWN_BOOT


def _told_more(folder: int, sidecar: str, field: tuple[str, object], *, sha256: str) -> bool:
    told = read_sidecar(folder, sidecar)
    if told.get("sha256") != sha256:
        return False
    if (more := with_field(told, *field)) != told:
        mode = stat.S_IMODE(os.lstat(sidecar, dir_fd=folder).st_mode)
        write_whole(folder, sidecar, [json_line(more)], mode=mode, durable=True)
    return True


def with_field(told: Mapping[str, Any], name: str, value: object) -> dict[str, Any]:
    """Return what a sidecar tells with this field, or without it where *value* is ``None``."""
    others = {key: kept for key, kept in told.items() if key != name}
    return others if value is None else {**others, name: value}


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


def content_trouble(file: IO[bytes], size_bytes: int, sha256: str) -> str | None:
    """Return what is wrong with the content of a clip."""
    try:
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        if digest != sha256:
            return f"was changed: its SHA-256 is {digest}"
        probe(size_bytes, partial(_read_at, file))
    except NotAClip as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {reason(error)}"
    return None


def _read_at(file: IO[bytes], offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _may_be_sidecar(folder: int, name: str) -> bool:
    try:
        descriptor = open_regular(folder, name, os.O_RDONLY)
    except OSError:
        return False
    try:
        return SIDECAR_MARK.encode() in os.read(descriptor, PEEK_BYTES)
    finally:
        os.close(descriptor)


def clip_of(sidecar: str, path: object) -> str:
    """Return the name of the clip that stands beside *sidecar*; one that was kept from before is under another name."""
    noted = path.rpartition("/")[2] if isinstance(path, str) else ""
    same = noted not in {"", ".", ".."} and Names((), noted).sidecar == sidecar
    return noted if same else f"{sidecar.removesuffix('.json')}.mp4"


class _File(NamedTuple):
    """A name in a folder."""

    folder: int
    name: str

    def status(self) -> tuple[int, int] | None:
        """Return what tells the file from every other one; ``None`` when nothing has the name."""
        try:
            found = os.lstat(self.name, dir_fd=self.folder)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def is_at(self, other: _File) -> bool:
        """Whether it is the same name in the same folder."""
        return self.name == other.name and os.path.samestat(os.fstat(self.folder), os.fstat(other.folder))

    @property
    def is_listed(self) -> bool:
        """Whether the folder holds the name as it is written: some file systems answer to another case, too."""
        return self.name in os.listdir(self.folder)  # noqa: PTH208 a descriptor has no path


def _renamed(source: int, target: int, names: tuple[Names, Names], *, clip: KnownClip, path: str) -> Renamed:
    """Rename between two folders, from the first of the *names*; *source* is -1 when the old folder is not there."""
    before, after = names
    new, new_sidecar = _File(target, after.clip), _File(target, after.sidecar)
    old, old_sidecar = _File(source, before.clip), _File(source, before.sidecar)
    if source < 0 or not _has_size(old, clip):  # not there, or somebody's file is in its place
        if not _holds(new, clip):
            return Renamed.MISSING
    elif _is_strange(old_sidecar, new_sidecar) or not _rename(old, new):
        return Renamed.TAKEN
    if source >= 0:
        _rewrite(old_sidecar, new_sidecar, clip=clip, path=path)
        os.fsync(source)
    os.fsync(target)
    return Renamed.DONE


def _is_strange(own: _File, other: _File) -> bool:
    """Whether *other* is there, and is neither *own* by another name nor a sidecar of batchvid's."""
    found = other.status()
    return found is not None and found != own.status() and not is_sidecar(other.folder, other.name)


def _rename(old: _File, new: _File) -> bool:
    """Rename a file that is there; ``False`` when another file has the new name."""
    found = new.status()
    if found is None:
        try:
            place(old.folder, old.name, new.name, into=new.folder)
        except FileExistsError:
            return False
        return True
    if found != old.status():
        return False
    if not new.is_listed:  # a file system that does not tell case or Unicode forms apart
        os.rename(old.name, new.name, src_dir_fd=old.folder, dst_dir_fd=new.folder)
    elif not old.is_at(new) and old.is_listed:  # a crash came between the link and the end of the old name
        os.unlink(old.name, dir_fd=old.folder)
    return True


def _rewrite(old: _File, new: _File, *, clip: KnownClip, path: str) -> None:
    """Write the sidecar under its new name, and remove the old one; do nothing where there is none of ours."""
    told = read_sidecar(old.folder, old.name) or read_sidecar(new.folder, new.name)
    if not told or told.get("sha256") != clip.sha256:
        return
    if old.status() is not None:
        _rename(old, new)
    mode = stat.S_IMODE(os.lstat(new.name, dir_fd=new.folder).st_mode)
    lines = [json_line(told | {"id": clip.job_id, "path": path})]
    write_whole(new.folder, new.name, lines, mode=mode, durable=False, never_torn=True)
    if old.status() not in {None, new.status()}:
        os.unlink(old.name, dir_fd=old.folder)


def _has_size(file: _File, clip: KnownClip) -> bool:
    try:
        found = os.lstat(file.name, dir_fd=file.folder)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == clip.size_bytes


def _holds(file: _File, clip: KnownClip) -> bool:
    """Whether the file is that clip."""
    try:
        descriptor = open_regular(file.folder, file.name, os.O_RDONLY)
    except OSError:
        return False
    with open(descriptor, "rb", buffering=0) as content:
        same_size = os.fstat(descriptor).st_size == clip.size_bytes
        return same_size and hashlib.file_digest(content, "sha256").hexdigest() == clip.sha256
