"""Makes films of finished clips: those whose clips are all there, and that are not made of them already.

A film never endangers a clip: it is made when the paid work is over, beside its place, and one that cannot be made
is a line of the summary and exit code 3, nothing more. The next run, or ``batchvid films``, tries again.

The files of a film: made beside their place, verified, put there in one step; a sidecar tells what it is made of.

The sidecar is written just before the film takes its name, and says which older film that replaces: after a crash
between the two, both the old and the new file are known as batchvid's own. Any other file is left alone.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from batchvid.domain.errors import StorageError
from batchvid.domain.film import FilmReport, FilmState, is_made_of, missing, recipe
from batchvid.media.mp4 import NotAClip, probe
from batchvid.storage.fs import (
    doing,
    exists,
    json_line,
    leave_room,
    open_folder,
    open_regular,
    place,
    read_json,
    settled,
)
from batchvid.storage.fs import write_whole as write_file
from batchvid.storage.names import SIDECAR_MARK, SIDECAR_MAX_BYTES, ForeignFileError, Names
from batchvid.storage.part import SIDECAR_FORM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchvid.domain.film import Film
    from batchvid.domain.job import Progress
    from batchvid.media.concat import Joined
    from batchvid.storage.local import Outputs


async def make_films(
    films: Iterable[Film],
    progress: Mapping[str, Progress],
    outputs: Outputs,
    *,
    say: Callable[[str], None],
    is_stopped: Callable[[], bool],
) -> AsyncIterator[FilmReport]:
    """Yield how each film stands, after making it where that is possible; *progress* is the journal's, by job id.

    Once *is_stopped* says so, nothing more is made, and what is half made goes.
    """
    for film in films:
        try:
            yield await _made(film, progress, outputs, say=say, is_stopped=is_stopped)
        except (ForeignFileError, StorageError) as error:
            yield FilmReport(film, FilmState.FAILED, str(error))


def film_reports(films: Iterable[Film], progress: Mapping[str, Progress], folder: Path) -> list[FilmReport]:
    """Return how each film stands, by a look at its sidecar and size: nothing is read of it, made or changed."""
    return [_seen(film, progress, folder) for film in films]


def _seen(film: Film, progress: Mapping[str, Progress], folder: Path) -> FilmReport:

    if reason := missing(film, progress):
        return FilmReport(film, FilmState.WAITING, reason)
    try:
        current = FilmFile(folder, film.path).is_current(recipe(film, progress), full=False)
    except (ForeignFileError, StorageError) as error:
        return FilmReport(film, FilmState.FAILED, str(error))
    return FilmReport(film, FilmState.DONE) if current else FilmReport(film, FilmState.DUE, "its clips are there")


async def _made(
    film: Film,
    progress: Mapping[str, Progress],
    outputs: Outputs,
    *,
    say: Callable[[str], None],
    is_stopped: Callable[[], bool],
) -> FilmReport:
    from batchvid.media.concat import NotJoinedError, StoppedError

    if reason := missing(film, progress):
        return FilmReport(film, FilmState.WAITING, reason)
    wanted = recipe(film, progress)
    file = FilmFile(outputs.folder, film.path)
    if await settled(partial(file.is_current, wanted, full=True)):
        await settled(file.tidy)
        return FilmReport(film, FilmState.DONE)
    if is_stopped():
        return FilmReport(film, FilmState.DUE, "the run was stopped before")
    rows = [progress[job_id] for job_id in film.clips]
    if reason := await _damage(rows, outputs):
        return FilmReport(film, FilmState.FAILED, reason)
    say(f"film {film.id}: joining {len(rows)} clips")
    parts = [outputs.folder / (row.path or "") for row in rows]
    try:
        joined = await settled(
            partial(file.make, parts, {"id": film.id, **wanted}, mode=outputs.clip_mode, is_stopped=is_stopped)
        )
    except StoppedError:
        return FilmReport(film, FilmState.DUE, "the run was stopped while it was being joined")
    except NotJoinedError as error:
        return FilmReport(film, FilmState.FAILED, str(error))
    how = f"coded again, because its clips differ in {joined.difference}" if joined.difference else "without loss"
    say(f"film {film.id}: {film.path}, {len(rows)} clips joined {how}")
    return FilmReport(film, FilmState.MADE, how)


async def _damage(rows: Iterable[Progress], outputs: Outputs) -> str:
    """Return which clip is not the one that the journal knows; nothing when all are."""
    for row in {row.job_id: row for row in rows}.values():
        size_bytes, sha256 = row.size_bytes or 0, row.sha256 or ""
        trouble = await outputs.check(row.path or "", size_bytes=size_bytes, sha256=sha256, full=True)
        if trouble is not None:
            return f"its clip {row.path} {trouble}: batchvid verify MANIFEST --repair fetches it again, free"
    return ""


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
        """Whether the film is there, made of what *recipe* names; *full* also compares its SHA-256."""
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
        """Return what the film's sidecar tells; nothing when there is none of ours."""
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
        from batchvid.media.concat import join

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
        from batchvid.media.concat import NotJoinedError

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
        """Return the SHA-256 of the film that stands there now, if one does."""
        told = self._told(folder)
        if not exists(folder, self._names.clip):
            return None
        _, sha256 = _identity(folder, self._names.clip, full=True)
        if not told or sha256 not in {told.get("sha256"), told.get("replaces")}:
            raise ForeignFileError(_foreign(self._path))
        return sha256

    def _told(self, folder: int) -> dict[str, Any]:
        """Return what the sidecar says; nothing when there is none."""
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
    """Return the size of a file and, *full*, its SHA-256."""
    with open(open_regular(folder, name, os.O_RDONLY), "rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest() if full else None
        return os.fstat(file.fileno()).st_size, digest


def _foreign(path: str) -> str:
    return f"{path} is there already, and batchvid did not make it, or not as it is now: move it away"


def _remove(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
