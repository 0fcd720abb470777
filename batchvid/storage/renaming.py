"""Gives a finished clip and its sidecar other names: never in place of something else, and so that it can be repeated.

The clip goes first, by a link that replaces nothing (`batchvid.storage.fs.place`); then its sidecar is written under
the new name, with the new id; then the old sidecar goes. Whatever of this was done before a crash is recognised: a clip
under both names is one file, and one that lies under the new name only has the size and SHA-256 of the journal.
"""

from __future__ import annotations

import hashlib
import os
import stat
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from batchvid.storage.fs import (
    InTheWayError,
    doing,
    json_line,
    open_folder,
    open_regular,
    place,
    read_json,
    write_whole,
)
from batchvid.storage.names import SIDECAR_MARK, SIDECAR_MAX_BYTES, Names
from batchvid.storage.part import is_sidecar

if TYPE_CHECKING:
    from pathlib import Path


class Renamed(Enum):
    """What became of it."""

    DONE = auto()
    """The clip has the new name."""
    TAKEN = auto()
    """Something else has it; nothing was changed."""
    MISSING = auto()
    """The clip is not there; nothing was changed."""


class Known(NamedTuple):
    """What the journal knows of the clip."""

    job_id: str
    size_bytes: int
    sha256: str


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


def rename_clip(root: Path, old: str, new: str, clip: Known) -> Renamed:
    """Return the clip at *old* the path *new*, both below *root*, and its sidecar with it, which then names the job.

    Raises `StorageError`. Blocks.
    """
    before, after = Names.of(old), Names.of(new)
    try:
        with doing(f"rename {old} to {new}"):
            target = open_folder(str(root), *after.folders, create=True)
            try:
                source = _opened(root, before.folders)
                try:
                    return _renamed(source, target, (before, after), clip=clip, path=new)
                finally:
                    if source >= 0:
                        os.close(source)
            finally:
                os.close(target)
    except InTheWayError:
        return Renamed.TAKEN


def _opened(root: Path, folders: tuple[str, ...]) -> int:
    try:
        return open_folder(str(root), *folders, create=False)
    except FileNotFoundError:
        return -1


def _renamed(source: int, target: int, names: tuple[Names, Names], *, clip: Known, path: str) -> Renamed:
    """Do it from one folder to another, from the first of the *names*; *source* is -1 when the old folder is gone."""
    before, after = names
    new, new_sidecar = _File(target, after.clip), _File(target, after.sidecar)
    old, old_sidecar = _File(source, before.clip), _File(source, before.sidecar)
    if source < 0 or not _has_size(old, clip):  # gone, or somebody's file is in its place
        if not _holds(new, clip):
            return Renamed.MISSING
    elif _is_strange(old_sidecar, new_sidecar) or not _give(old, new):
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


def _give(old: _File, new: _File) -> bool:
    """Return a file that is there the new name; ``False`` when another file has it."""
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


def _rewrite(old: _File, new: _File, *, clip: Known, path: str) -> None:
    """Write the sidecar under its new name, and remove the old one; do nothing where there is none of ours."""
    found = [read_json(one.folder, one.name, max_bytes=SIDECAR_MAX_BYTES) or {} for one in (old, new)]
    told = next((one for one in found if SIDECAR_MARK in one), None)
    if told is None or told.get("sha256") != clip.sha256:
        return
    if old.status() is not None:
        _give(old, new)
    mode = stat.S_IMODE(os.lstat(new.name, dir_fd=new.folder).st_mode)
    lines = [json_line(told | {"id": clip.job_id, "path": path})]
    write_whole(new.folder, new.name, lines, mode=mode, durable=False, never_torn=True)
    if old.status() not in {None, new.status()}:
        os.unlink(old.name, dir_fd=old.folder)


def _has_size(file: _File, clip: Known) -> bool:
    try:
        found = os.lstat(file.name, dir_fd=file.folder)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == clip.size_bytes


def _holds(file: _File, clip: Known) -> bool:
    """Whether the file is that clip."""
    try:
        descriptor = open_regular(file.folder, file.name, os.O_RDONLY)
    except OSError:
        return False
    with open(descriptor, "rb", buffering=0) as content:
        same_size = os.fstat(descriptor).st_size == clip.size_bytes
        return same_size and hashlib.file_digest(content, "sha256").hexdigest() == clip.sha256
