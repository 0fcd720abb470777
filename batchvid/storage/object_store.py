"""The clip store in a bucket: S3 and what speaks it, Google Cloud Storage, Azure Blob Storage.

A clip gathers in a scratch folder of this machine, by the steps of `batchvid.storage.part` up to the fsync. Then:

1. The note beside the part says that it is complete: whatever the store does, it is not fetched again.
2. The sidecar is written, unless something that is not batchvid's has one of the two names.
3. The clip is written where none is, by one request, with its SHA-256, task and attempt as attributes. Requests in
   parts know no such condition everywhere, and leave invisible bytes when they break; one holds the clip in memory.
4. The part goes. A crash before that finds the clip by its SHA-256, and counts it once.

Nothing is renamed in a bucket: a clip is copied where none is, and then deleted under its old name.
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from batchvid.domain.errors import ForeignFileError, StorageError
from batchvid.domain.filename import is_plain
from batchvid.domain.text import nfc
from batchvid.storage.base import SIDECAR_MARK, KnownClip, Names, Renamed, WrongClip
from batchvid.storage.finisher import Finisher
from batchvid.storage.fs import PROBE, STATE_FOLDER_MODE, doing, json_line, make_folder, public_mode, refused_name
from batchvid.storage.local import clip_of, content_trouble, this_boot, with_field
from batchvid.storage.objects import SHA256, WAITS_S, Objects, connect
from batchvid.storage.part import SIDECAR_MAX_BYTES, LocalPart, changed_words, foreign_words, remove
from batchvid.storage.threads import Workers, settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from batchvid.storage.base import Accepts, Saved


PART_MAX_BYTES = 240
"""Of one part of a name: scratch folders, and most stores that lie on disks, take 255 with what is added to it."""
KEY_MAX_BYTES = 900
"""Of a whole name. Stores take 1024, with the prefix."""
NAME_ADVICE = "write safe_names: true, or another filename or id"
READ_AT_ONCE = SENT_AT_ONCE = 8
"""Sidecars, and pictures of a report."""
TYPES = {"html": "text/html; charset=utf-8", "jsonl": "application/x-ndjson", "webp": "image/webp"}
"""What is published, by the end of its name."""


class ObjectStore:
    """The clips below a *url* such as ``s3://bucket/prefix``; parts gather below *scratch*, a folder of this machine.

    *options* are those of the store's client in obstore, such as ``endpoint``. Raises `ConfigError` when the library is
    not installed, or the URL is none.
    """

    def __init__(
        self, url: str, scratch: Path, *, options: Mapping[str, str] | None = None, waits_s: Sequence[float] = WAITS_S
    ) -> None:
        self._url, self._scratch = url.rstrip("/"), scratch
        self._objects = Objects(connect(self._url, options or {}), self._url, waits_s=waits_s)
        self._mode = public_mode()
        self._boot = this_boot()
        self._finisher = Finisher()

    def prepare(self) -> None:
        """Make the scratch folder, and prove that the store takes clips and never replaces one unasked.

        Raises `ConfigError` for a store that ignores ``If-None-Match: *``.
        """
        with doing(f"use the scratch folder {self._scratch}"):
            self._make_scratch()
        self._objects.prove(f"{PROBE}-{secrets.token_hex(8)}")

    def _make_scratch(self) -> None:
        make_folder(self._scratch.parent)
        self._scratch.mkdir(mode=STATE_FOLDER_MODE, exist_ok=True)

    @asynccontextmanager
    async def part(
        self, path: str, *, source: str, fresh: bool = False, replaces: Accepts | None = None
    ) -> AsyncIterator[ObjectPart]:
        """Open the part of the clip at *path*, in the scratch folder."""
        part = ObjectPart(
            self._finisher, self._scratch, path, source=source, boot=self._boot, mode=self._mode, replaces=replaces,
            objects=self._objects,
        )  # fmt: skip
        if not fresh:
            await settled(part.open, undo=lambda _: part.close_now())
        try:
            yield part
        finally:
            await part.close()

    def name_trouble(self, path: str) -> str | None:
        """Return why no clip may lie at *path*: stores differ in names, and this is what all of them take.

        The scratch folder is asked too, which is a folder of some file system.
        """
        names = Names.of(path)
        if is_plain(path) and len(path) <= KEY_MAX_BYTES:
            return None
        parts, why = (*names.folders, names.clip), None
        if not path.isprintable() or "\\" in path:
            why = "a control character or backslash is in it"
        elif max(len(part.encode("utf-8", "replace")) for part in parts) > PART_MAX_BYTES:
            why = f"a part of it is longer than {PART_MAX_BYTES} bytes"
        elif len(path.encode("utf-8", "replace")) > KEY_MAX_BYTES:
            why = f"it is longer than {KEY_MAX_BYTES} bytes"
        else:
            try:
                why = refused_name(self._scratch, *parts)
            except OSError:
                return None  # the folder is not there, or is none of ours: who saves a clip tells it
        if why is None:
            return None
        return f"the object store{why and f' ({why})'} does not take the name {path!r}: {NAME_ADVICE}"

    async def asked_if_taken(self, path: str) -> bool:
        """Return `is_taken`, which is asked in a thread; a cancelled caller waits for the answer first."""
        return await settled(partial(self.is_taken, path))

    def is_taken(self, path: str) -> bool:
        """Whether an object has the clip's name, or one that is not batchvid's its sidecar's."""
        names = Names.of(path)
        return self._objects.find(_key(names, names.clip)) is not None or _is_foreign(self._objects, names)

    def check(self, path: str, *, size_bytes: int, sha256: str, full: bool) -> str | None:
        """Return what is wrong with a clip that was done; *full* streams all of it."""
        names = Names.of(path)
        key = _key(names, names.clip)
        try:
            found = self._objects.find(key)
            if found is None:
                return "is missing"
            if found.size_bytes != size_bytes:
                return f"has {found.size_bytes:,} bytes instead of {size_bytes:,}"
            if not full:
                return None
            with self._objects.open(key) as file:
                return content_trouble(file, size_bytes, sha256)
        except FileNotFoundError:
            return "is missing"
        except StorageError as error:
            return f"cannot be read: {error}"

    def wrong_clips(self, clips: Iterable[tuple[str, str, int]]) -> Iterator[WrongClip]:
        """Yield each clip that is missing or has another size, by one listing of all that is there."""
        wanted = list(clips)
        keys = {path for _, path, _ in wanted}
        sizes = {key: size_bytes for key, size_bytes in self._objects.list() if key in keys} if keys else {}
        for job_id, path, size_bytes in wanted:
            found = sizes.get(path)
            if found is None:
                yield WrongClip(job_id, f"{path} is missing", is_lost=True)
            elif found != size_bytes:
                yield WrongClip(job_id, f"{path} has {found:,} bytes instead of {size_bytes:,}", is_lost=True)

    def open(self, path: str) -> IO[bytes]:
        """Open a clip to read it by ranges; raises `OSError`."""
        names = Names.of(path)
        try:
            return self._objects.open(_key(names, names.clip))
        except StorageError as error:
            raise OSError(str(error)) from error

    @contextmanager
    def file(self, path: str) -> Iterator[Path]:
        """Return a copy on this machine; raises `OSError` where there is no clip."""
        names = Names.of(path)
        with self._copied(_key(names, names.clip)) as (copy, _):
            yield copy

    @contextmanager
    def _copied(self, key: str) -> Iterator[tuple[Path, dict[str, str]]]:
        """Return a copy of an object on this machine, and the attributes of the object, with its SHA-256."""
        self._make_scratch()
        with TemporaryDirectory(dir=self._scratch, prefix=".copy-") as folder:
            copy, digest = Path(folder) / key.rpartition("/")[2], hashlib.sha256()
            found = self._objects.find(key)
            if found is None:
                raise FileNotFoundError(key)
            with copy.open("wb") as file:
                for block in self._objects.blocks(key, found.size_bytes):
                    digest.update(block)
                    file.write(block)
            yield copy, {**found.attributes, SHA256: digest.hexdigest()}

    def sidecar(self, path: str) -> dict[str, Any]:
        """Return what the sidecar of the clip at *path* tells."""
        return _told(self._objects, Names.of(path)) or {}

    def sidecars(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the path of each clip that has a sidecar, and what that tells; some are read at once."""
        keys = (key for key, _ in self._objects.list() if key.endswith(".json") and "/." not in f"/{key}")
        with Workers(READ_AT_ONCE, "batchvid-sidecars") as workers:
            while some := list(islice(keys, READ_AT_ONCE * 8)):
                for key, told in zip(some, workers.map(self._read, some), strict=True):
                    if told and SIDECAR_MARK in told:
                        folder, slash, name = key.rpartition("/")
                        yield f"{folder}{slash}{clip_of(name, told.get('path'))}", told

    def _read(self, key: str) -> dict[str, Any] | None:
        return self._objects.told(key, max_bytes=SIDECAR_MAX_BYTES)

    def retire(self, path: str, attempt: int) -> str | None:
        """Keep the clip of an earlier attempt, and its sidecar, beside their names; return the clip's new path."""
        names = Names.of(path)
        if self._objects.find(_key(names, names.clip)) is None:
            return None
        with doing(f"keep the old {path}"):
            copies = (names.retired(attempt, copy=copy) for copy in count(1))
            new = next(one for one in copies if self._keep(names, one))
            sidecar = _key(names, names.sidecar)
            is_kept = self._objects.find(sidecar) is not None
            if is_kept and self._copy((names, names.sidecar), (new, new.sidecar)):
                self._objects.delete(sidecar)
            self._objects.delete(_key(names, names.clip))
        return _key(new, new.clip)

    def _keep(self, names: Names, new: Names) -> bool:
        """Copy a clip to a name under which nothing was kept yet."""
        is_free = self._objects.find(_key(new, new.clip)) is None
        return is_free and self._copy((names, names.clip), (new, new.clip))

    def _copy(self, old: tuple[Names, str], new: tuple[Names, str]) -> bool:
        """Copy an object that is there to where none is; ``False`` when another one is."""
        with self._copied(_key(*old)) as (copy, attributes):
            return self._objects.put_new(_key(*new), copy, attributes=attributes, size_bytes=copy.stat().st_size)

    def rename(self, old: str, new: str, clip: KnownClip) -> Renamed:
        """Copy the clip at *old* to *new*, write its sidecar there, and then delete what has the old names."""
        if self.name_trouble(new) is not None:
            return Renamed.REFUSED
        before, after = Names.of(old), Names.of(new)
        source, target = _key(before, before.clip), _key(after, after.clip)
        found = self._objects.find(source)
        is_there = found is not None and found.size_bytes == clip.size_bytes
        if not is_there and not self._objects.holds(target, clip.size_bytes, clip.sha256):
            return Renamed.MISSING
        if is_there and source != target:
            if _is_foreign(self._objects, after):
                return Renamed.TAKEN
            with doing(f"rename {old} to {new}"):
                if not self._copy((before, before.clip), (after, after.clip)):
                    return Renamed.TAKEN
        told = _told(self._objects, before) or _told(self._objects, after) or {}
        if told.get("sha256") == clip.sha256:
            _put_sidecar(self._objects, after, told | {"id": clip.job_id, "path": new})
            if _key(before, before.sidecar) != _key(after, after.sidecar):
                self._objects.delete(_key(before, before.sidecar))
        if is_there and source != target:
            self._objects.delete(source)
        return Renamed.DONE

    def tell_more(self, path: str, name: str, value: object, *, sha256: str) -> bool:
        """Set one field of the sidecar of the clip at *path*."""
        names = Names.of(path)
        told = _told(self._objects, names) or {}
        if told.get("sha256") != sha256:
            return False
        if (more := with_field(told, name, value)) != told:
            _put_sidecar(self._objects, names, more)
        return True

    def respell(self, path: str, clip: KnownClip) -> None:
        """Rename the clip to *path* where a copy has spelt that in another Unicode form."""
        names = Names.of(path)
        if path.isascii() or self._objects.find(_key(names, names.clip)) is not None:
            return
        depth = next((at for at, folder in enumerate(names.folders) if not folder.isascii()), len(names.folders))
        for key, _ in self._objects.list("/".join(names.folders[:depth])):
            if nfc(key) == nfc(path):
                self.rename(key, path, clip)
                return

    def told(self, name: str) -> dict[str, Any] | None:
        """Return what a small JSON file beside the clips holds, ``None`` when there is none."""
        return self._read(name)

    def publish(self, folder: Path, *names: str) -> None:
        """Put files of this machine beside the clips; what is there with the same bytes is left alone."""
        for name in names:
            if (folder / name).is_dir():
                there = {key for key, _ in self._objects.list(name)}
                files = sorted(one.name for one in (folder / name).iterdir() if not one.name.startswith("."))
                new = [f"{name}/{one}" for one in files if f"{name}/{one}" not in there]
                with Workers(SENT_AT_ONCE, "batchvid-publish") as workers:
                    for _ in workers.map(partial(self._publish, folder), new):
                        pass
            else:
                self._publish(folder, name)

    def _publish(self, folder: Path, name: str) -> None:
        with doing(f"read {folder / name}"), (folder / name).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = file.tell()
        if not self._objects.holds(name, size_bytes, sha256):
            attributes = {"Content-Type": TYPES.get(name.rpartition(".")[2], "application/octet-stream")}
            self._objects.put(name, folder / name, attributes={**attributes, SHA256: sha256})


class ObjectPart(LocalPart):
    """The part of one clip, in the scratch folder; `commit` sends it."""

    def __init__(self, *args: Any, objects: Objects, **options: Any) -> None:
        super().__init__(*args, **options)
        self._objects = objects

    @property
    def _bad(self) -> str:
        return str(Path(self._root, *self._names.folders, self._names.bad))

    def _take_up(self, folder: int) -> None:
        """Resume what is in the scratch folder; a clip of the same source that the store has is brought back instead.

        Its attempt was not recorded before a crash: it is checked again, and nothing is asked of the service.
        """
        told = _told(self._objects, self._names) or {}
        size_bytes, sha256 = told.get("size_bytes"), told.get("sha256")
        key, of_source = _key(self._names, self._names.clip), told.get("task_id") == self._note.source
        is_there = of_source and isinstance(size_bytes, int) and isinstance(sha256, str)
        is_there = is_there and self._objects.holds(key, size_bytes or 0, sha256 or "")
        super()._take_up(folder)
        if self.complete or not is_there or self._file is None:
            return
        try:
            self._file.restart()
            for block in self._objects.blocks(key, size_bytes or 0):
                self._file.write(block)
        except BaseException:  # whatever it was, no descriptor leaks, and it is raised again
            self._file.close()
            self._file = None
            raise
        self._note = replace(self._note, validator=None, size_bytes=size_bytes, sha256=sha256)

    async def commit(self, sidecar: Mapping[str, object], rest: bytes = b"") -> Saved:
        """Append *rest*, check the clip, and send its sidecar and then the clip, in a thread."""
        with doing(f"finish {self._path}.part"):
            return await settled(lambda: self._sent(sidecar, rest))

    def _sent(self, sidecar: Mapping[str, object], rest: bytes) -> Saved:
        complete = self._complete(rest)
        self._sync()
        saved, record, replaced = self._record(complete, sidecar)
        folder, names = self._folder, self._names
        self._note.write(folder, names.note)
        _put_sidecar(self._objects, names, record)
        key, part = _key(names, names.clip), Path(self._root, *names.folders, names.part)
        attributes = _attributes(saved, record)
        if replaced is not None:
            self._objects.put(key, part, attributes=attributes)
        elif not self._objects.put_new(key, part, attributes=attributes, size_bytes=saved.size_bytes):
            # Another one came first, and our sidecar may have replaced its: no sidecar is better than a wrong one.
            if (_told(self._objects, names) or {}).get("sha256") == saved.sha256:
                self._objects.delete(_key(names, names.sidecar))
            raise ForeignFileError(foreign_words(self._path, names.clip))
        remove(folder, names.part)
        remove(folder, names.note)
        self.close_now()
        return saved

    def _replaced(self, folder: int) -> str | None:  # noqa: ARG002 what a local part looks into
        if self._replaces is None:
            return None
        names, told = self._names, _told(self._objects, self._names)
        if told is not None and not (told and self._replaces(told)):
            raise ForeignFileError(changed_words(_key(names, names.sidecar)))
        key = _key(names, names.clip)
        found = self._objects.find(key)
        if found is None:
            return None
        sha256 = self._objects.sha256(key, found)
        if not told or sha256 not in {told.get("sha256"), told.get("replaces")}:
            raise ForeignFileError(changed_words(self._path))
        return sha256

    def _refuse_foreign(self) -> None:
        names, size_bytes, sha256 = self._names, self.offset_bytes, self._note.sha256
        self._note.write(self._folder, names.note)
        if _is_foreign(self._objects, names):
            raise ForeignFileError(foreign_words(self._path, names.sidecar))
        key = _key(names, names.clip)
        if self._objects.find(key) is not None and not self._objects.holds(key, size_bytes, sha256 or ""):
            raise ForeignFileError(foreign_words(self._path, names.clip))


def _key(names: Names, name: str) -> str:
    return "/".join((*names.folders, name))


def _told(objects: Objects, names: Names) -> dict[str, Any] | None:
    """Return what a sidecar tells; empty when it is not batchvid's, ``None`` when there is none."""
    found = objects.told(_key(names, names.sidecar), max_bytes=SIDECAR_MAX_BYTES)
    return found if found is None or SIDECAR_MARK in found else {}


def _is_foreign(objects: Objects, names: Names) -> bool:
    """Whether something that is not batchvid's has the sidecar's name."""
    return _told(objects, names) == {}


def _put_sidecar(objects: Objects, names: Names, record: Mapping[str, object]) -> None:
    objects.put(_key(names, names.sidecar), json_line(record), attributes={"Content-Type": "application/json"})


def _attributes(saved: Saved, record: Mapping[str, object]) -> dict[str, str]:
    """Return what is told of a clip beside its bytes; a header takes ASCII only."""
    told = {"task": record.get("task_id"), "attempt": record.get("attempt")}
    texts = {name: quote(str(value)) for name, value in told.items() if value is not None}
    return {"Content-Type": "video/mp4", SHA256: saved.sha256, **texts}
