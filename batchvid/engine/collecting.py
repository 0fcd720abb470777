"""Approved clips are handed on: copied or linked into a folder, under names that a template makes.

What lies in the folder and was not put there by this, or was changed since, is never touched. A list in the folder
(`LIST`) tells what was put there, and of which output: what is not approved any more goes, and what is there already
is left as it is. A copy is compared with the clip's SHA-256 before it gets its name.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Any

from batchvid.domain.decision import Verdict
from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.filename import safe
from batchvid.domain.frozen import frozen
from batchvid.domain.takes import takes_by_first
from batchvid.engine.takes import takes_of
from batchvid.manifest.templates import clip_path, same_file
from batchvid.storage.fs import (
    doing,
    folder_below,
    json_line,
    make_folder,
    open_regular,
    place,
    public_mode,
    read_json,
    write_whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from batchvid.domain.job import Job
    from batchvid.domain.takes import Take
    from batchvid.journal.base import JournalReader
    from batchvid.manifest.model import Manifest
    from batchvid.manifest.templates import Template
    from batchvid.storage.base import ClipStore


LIST = ".batchvid-collected.json"
LIST_MAX_BYTES = 256 * 1024 * 1024
BLOCK_BYTES = 1024 * 1024


class Became(StrEnum):
    """What became of one file of the folder."""

    NEW = "new"
    """It was put there."""
    REPLACED = "replaced"
    """It took the place of one that was put there before."""
    KEPT = "kept"
    """It is there already."""
    REMOVED = "removed"
    """It was put there before, and its clip is not approved any more."""
    REFUSED = "refused"
    """Nothing was changed; see the reason."""


@frozen
class Collected:
    """One file of the folder."""

    name: str
    """Relative to the folder, with ``/``."""
    became: Became
    take: Take | None = None
    reason: str = ""


def approved(manifest: Manifest, journal: JournalReader, clips: ClipStore) -> list[Take]:
    """Return every approved take that is there, in the manifest's order, of each job the newest first. Blocks."""
    liked = {job_id for (job_id, _), one in journal.decisions().items() if one.verdict is Verdict.APPROVED}
    ids = [job.id for job in manifest.jobs if job.id in liked]
    found = takes_of(ids, journal, clips) if ids else {}
    return [take for job_id in ids for take in found.get(job_id, ()) if take.verdict is Verdict.APPROVED]


def not_there(manifest: Manifest, journal: JournalReader, takes: Sequence[Take]) -> frozenset[tuple[str, int]]:
    """Return the approved clips that are not among the *takes*, because they are not in the output, by job and attempt.

    What was collected of them may be all that is left of a paid clip.
    """
    ids, found = {job.id for job in manifest.jobs}, {(take.job_id, take.attempt) for take in takes}
    liked = {about for about, one in journal.decisions().items() if one.verdict is Verdict.APPROVED}
    return frozenset(about for about in liked - found if about[0] in ids)


def names_of(takes: Sequence[Take], jobs: Sequence[Job], template: Template) -> list[str]:
    """Return the name of each take, by the template; raises `ConfigError` where two would have one name."""
    by_id, groups = {job.id: job for job in jobs}, takes_by_first(jobs)
    digits = max(2, len(str(len(takes))))
    names: list[str] = []
    holder: dict[str, str] = {}
    for index, take in enumerate(takes, 1):
        job = by_id[take.job_id]
        number = groups.get(job.first_take or job.id, (job.id,)).index(job.id) + 1
        stars = take.decision.stars if take.decision is not None else None
        own = {
            "id": job.id, "take": str(number), "attempt": str(take.attempt), "stars": str(stars or 0),
            "model": job.model, "size": job.size or "default", "index": f"{index:0{digits}}",
        }  # fmt: skip
        try:
            name = clip_path(template, {"prompt": job.prompt, **job.variables, **own}, spelt=safe)
        except ValueError as error:
            raise ConfigError(f"job {job.id!r}: {error}") from None
        other = holder.setdefault(same_file(name), f"{take.job_id}, attempt {take.attempt}")
        if len(holder) < index:
            raise ConfigError(
                f"{name} would be the name of two clips: {other}, and {take.job_id}, attempt {take.attempt}. Write "
                "{id} and {attempt} into --name"
            )
        names.append(name)
    return names


@frozen
class Folder:
    """The folder that clips are collected in, absolute, and the output that they come from."""

    path: Path
    place: str
    clips: ClipStore
    source: Path | None
    """Where the clips lie, to be linked; ``None``: they are copied."""
    only_here: frozenset[tuple[str, int]] = frozenset()
    """The approved clips that the output has no more, by job and attempt: what was collected of them stays."""

    def collect(self, takes: Sequence[Take], names: Sequence[str]) -> Iterator[Collected]:
        """Put these takes there under these names, and remove what was put there and is not among them. Blocks.

        Yield what became of each file. Raises `StorageError`.
        """
        with doing(f"use the folder {self.path}"):
            make_folder(self.path)
        listed = self._listed()
        wanted = dict(zip(names, takes, strict=True))
        try:
            for name, take in wanted.items():
                yield self._put(name, take, listed)
            for name in [one for one, told in listed.items() if told.get("from") == self.place and one not in wanted]:
                if (gone := self._remove(name, listed)) is not None:
                    yield gone
        finally:
            self._keep(listed)

    def _put(self, name: str, take: Take, listed: dict[str, dict[str, Any]]) -> Collected:
        *folders, file = name.split("/")
        try:
            with doing(f"write {name}"), folder_below(self.path, *folders, create=True) as folder:
                found = _status(folder, file)
                told = listed.get(name)
                is_ours = found is not None and told is not None and told.get("file") == _mark(found)
                if is_ours and told is not None and told.get("sha256") == take.sha256:
                    return Collected(name, Became.KEPT, take)
                if found is not None and not is_ours:
                    if _holds(folder, file, take):
                        return Collected(name, Became.KEPT, take)
                    return Collected(name, Became.REFUSED, take, "another file has the name: move it away")
                temporary = f".{file}.new"
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                if (trouble := self._fill(folder, temporary, take)) is not None:
                    return Collected(name, Became.REFUSED, take, trouble)
                if is_ours:
                    os.rename(temporary, file, src_dir_fd=folder, dst_dir_fd=folder)
                else:
                    place(folder, temporary, file)
                os.fsync(folder)
                now = _status(folder, file)
                if now is not None:
                    listed[name] = self._line(now, take)
                return Collected(name, Became.REPLACED if is_ours else Became.NEW, take)
        except StorageError as error:
            return Collected(name, Became.REFUSED, take, str(error))

    def _line(self, found: os.stat_result, take: Take) -> dict[str, Any]:
        return {
            "sha256": take.sha256, "file": _mark(found), "from": self.place, "id": take.job_id,
            "attempt": take.attempt,
        }  # fmt: skip

    def _fill(self, folder: int, temporary: str, take: Take) -> str | None:
        """Let *temporary* be the clip; return what is wrong with that clip, and then nothing is there."""
        if self.source is not None:
            trouble = self.clips.check(take.path, size_bytes=take.size_bytes, sha256=take.sha256, full=True)
            if trouble is None:
                os.link(self.source / take.path, temporary, dst_dir_fd=folder, follow_symlinks=False)
            return trouble and f"its clip {take.path} {trouble}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        digest = hashlib.sha256()
        try:
            with self.clips.open(take.path) as clip:
                with open(os.open(temporary, flags, public_mode(), dir_fd=folder), "wb") as file:
                    while block := clip.read(BLOCK_BYTES):
                        digest.update(block)
                        file.write(block)
                    file.flush()
                    os.fsync(file.fileno())
                if digest.hexdigest() == take.sha256:
                    return None
        except FileNotFoundError:
            return f"its clip {take.path} is missing: batchvid verify MANIFEST --repair fetches it again, free"
        except BaseException:  # whatever it was, nothing half is left, and it is raised again
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        os.unlink(temporary, dir_fd=folder)
        return f"its clip {take.path} was changed: batchvid verify MANIFEST --repair fetches it again, free"

    def _remove(self, name: str, listed: dict[str, dict[str, Any]]) -> Collected | None:
        *folders, file = name.split("/")
        told = listed.pop(name)
        try:
            with doing(f"remove {name}"), folder_below(self.path, *folders) as folder:
                found = _status(folder, file)
                if found is None:
                    return None
                if (told.get("id"), told.get("attempt")) in self.only_here:
                    listed[name] = told
                    return Collected(name, Became.REFUSED, None, "its clip is not in the output any more: it stays")
                if told.get("file") != _mark(found):
                    return Collected(name, Became.REFUSED, None, "it was changed since it was collected, and stays")
                os.unlink(file, dir_fd=folder)
        except StorageError as error:
            listed[name] = told
            return (
                None
                if isinstance(error.__cause__, FileNotFoundError)
                else Collected(name, Became.REFUSED, None, str(error))
            )
        return Collected(name, Became.REMOVED)

    def _listed(self) -> dict[str, dict[str, Any]]:
        with doing(f"read {self.path / LIST}"), folder_below(self.path) as folder:
            told = read_json(folder, LIST, max_bytes=LIST_MAX_BYTES) or {}
        found = told.get("collected")
        listed = found if isinstance(found, dict) else {}
        return {name: line for name, line in listed.items() if isinstance(line, dict) and _is_inside(name)}

    def _keep(self, listed: Mapping[str, Any]) -> None:
        with doing(f"write {self.path / LIST}"), folder_below(self.path) as folder:
            write_whole(
                folder, LIST, [json_line({"batchvid": 1, "collected": listed})], mode=public_mode(), durable=True
            )


def _is_inside(name: str) -> bool:
    return {"", ".", ".."}.isdisjoint(name.split("/")) and "\0" not in name


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None


def _mark(found: os.stat_result) -> list[int]:
    """Return by what a file is known that nobody has changed since."""
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _holds(folder: int, name: str, take: Take) -> bool:
    """Whether the file is that very clip."""
    found = _status(folder, name)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != take.size_bytes:
        return False
    file: IO[bytes]
    with open(open_regular(folder, name, os.O_RDONLY), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == take.sha256
