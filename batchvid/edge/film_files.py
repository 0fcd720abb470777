"""The files of a film: made beside their place, verified, put there in one step; a sidecar tells what it is made of.

The sidecar is written just before the film takes its name, and says which older film that replaces: after a crash
between the two, both the old and the new file are known as batchvid's own. Any other file is left alone.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from batchvid.core.film import is_made_of
from batchvid.core.mp4 import NotAClip, probe
from batchvid.edge.clip_files import SIDECAR_MARK, SIDECAR_MAX_BYTES, ForeignFileError, Names
from batchvid.edge.disk import doing, exists, json_line, leave_room, open_folder, open_regular, place, read_json
from batchvid.edge.disk import write_whole as write_file
from batchvid.edge.part import SIDECAR_FORM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchvid.edge.join import Joined


class FilmFile:
    """The place of one film, *path* below the output *folder*. Everything blocks.

    Raises `ForeignFileError` where something that batchvid did not make is in the way, and `StorageError`.
    """

    def __init__(self, folder: Path, path: str) -> None:
        self._folder = folder
        self._names = Names.of(path)
        self._path = path

    @property
    def _new(self) -> str:
        return f".{self._names.clip}.new"

    def is_current(self, recipe: Mapping[str, Any], *, full: bool) -> bool:
        """Say whether the film is there, made of what *recipe* names; *full* also compares its SHA-256."""
        with self._opened() as folder:
            told = self._told(folder)
            if not exists(folder, self._names.clip):
                return False
            if not told:
                raise ForeignFileError(_foreign(self._path))
            size_bytes, sha256 = _identity(folder, self._names.clip, full=full)
            same = size_bytes == told.get("size_bytes") and sha256 in {None, told.get("sha256")}
            return same and is_made_of(told, recipe)

    def story(self) -> Mapping[str, Any]:
        """Give what the film's sidecar tells; nothing when there is none of ours."""
        with self._opened() as folder:
            return self._told(folder)

    def tidy(self) -> None:
        """Remove what a crash has left of an earlier making, which may be a second name of the film itself."""
        with self._opened() as folder:
            _remove(folder, self._new)

    def make(
        self, parts: Sequence[Path], story: Mapping[str, Any], *, mode: int, is_stopped: Callable[[], bool]
    ) -> Joined:
        """Join *parts* and put the film in place, with *story* in its sidecar; an older one of ours is replaced.

        *mode* are the permissions of both files.
        """
        from batchvid.edge.join import join  # noqa: PLC0415 PyAV is heavy, and who only looks does without it

        with self._opened() as folder:
            replaces = self._replaced(folder)
            _remove(folder, self._new)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            descriptor = open_regular(folder, self._new, flags, mode=mode)
            try:
                leave_room(descriptor, sum(part.stat().st_size for part in parts))
                joined = join(parts, self._folder.joinpath(*self._names.folders, self._new), is_stopped=is_stopped)
                told = {**story, "lossless": not joined.difference, "replaces": replaces}
                self._put(folder, descriptor, told, mode=mode)
            except BaseException:  # whatever it was, half a film does not stay, and it goes on its way
                _remove(folder, self._new)
                raise
            finally:
                os.close(descriptor)
            return joined

    def _put(self, folder: int, descriptor: int, story: Mapping[str, Any], *, mode: int) -> None:
        from batchvid.edge.join import NotJoinedError  # noqa: PLC0415 as above

        size_bytes = os.fstat(descriptor).st_size
        try:
            found = probe(size_bytes, lambda offset, length: os.pread(descriptor, length, offset))
        except NotAClip as error:
            raise NotJoinedError(f"what came of joining its clips {error}") from None
        os.fsync(descriptor)
        _, sha256 = _identity(folder, self._new, full=True)
        record = {SIDECAR_MARK: SIDECAR_FORM, **story, "path": self._path, "size_bytes": size_bytes, "sha256": sha256}
        line = json_line(record | asdict(found))
        write_file(folder, self._names.sidecar, [line], mode=mode, durable=True)
        if story["replaces"] is None:
            place(folder, self._new, self._names.clip)
        else:
            os.rename(self._new, self._names.clip, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)

    def _replaced(self, folder: int) -> str | None:
        """Give the SHA-256 of the film that stands there now, if one does."""
        told = self._told(folder)
        if not exists(folder, self._names.clip):
            return None
        _, sha256 = _identity(folder, self._names.clip, full=True)
        if not told or sha256 not in {told.get("sha256"), told.get("replaces")}:
            raise ForeignFileError(_foreign(self._path))
        return sha256

    def _told(self, folder: int) -> dict[str, Any]:
        """Give what the sidecar says; nothing when there is none."""
        told = read_json(folder, self._names.sidecar, max_bytes=SIDECAR_MAX_BYTES) or {}
        ours = SIDECAR_MARK in told and "film" in told
        if not ours and exists(folder, self._names.sidecar):
            raise ForeignFileError(_foreign(self._names.sidecar))
        return told

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with doing(f"make the film {self._path}"):
            folder = open_folder(str(self._folder), *self._names.folders, create=False)
            try:
                yield folder
            finally:
                os.close(folder)


def _identity(folder: int, name: str, *, full: bool) -> tuple[int, str | None]:
    """Give the size of a file and, *full*, its SHA-256."""
    with open(open_regular(folder, name, os.O_RDONLY), "rb", buffering=0) as file:  # noqa: PTH123 beside a descriptor
        digest = hashlib.file_digest(file, "sha256").hexdigest() if full else None
        return os.fstat(file.fileno()).st_size, digest


def _foreign(path: str) -> str:
    return f"{path} is there already, and batchvid did not make it, or not as it is now: move it away"


def _remove(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
