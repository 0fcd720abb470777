"""A store of clips in memory: what an object store is like, with a scratch file of the worker for each part."""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, TypeVar

from batchvid.domain.errors import ForeignFileError
from batchvid.domain.text import nfc
from batchvid.media.mp4 import Clip, NotAClip, probe
from batchvid.storage.base import SIDECAR_FORM, SIDECAR_MARK, KnownClip, Names, Renamed, Saved, WrongClip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from batchvid.storage.base import Accepts

T = TypeVar("T")
KEY_MAX = 240
"""Letters of one part of a key."""


@dataclass
class Scratch:
    """What the worker holds of a clip."""

    source: str
    data: bytes = b""
    validator: str | None = None
    is_vouched_for: bool = False
    sha256: str | None = None
    """Of all of it, once it is complete."""


@dataclass
class Bucket:
    """The objects, what the worker holds, and what every change passes through."""

    objects: dict[str, bytes] = field(default_factory=dict)
    scratch: dict[str, Scratch] = field(default_factory=dict)
    effect: Callable[[str], None] = lambda _: None

    def put(self, name: str, data: bytes) -> None:
        """Put an object."""
        self.effect("put")
        self.objects[name] = data

    def delete(self, name: str) -> None:
        """Delete an object that is there."""
        self.effect("delete")
        self.objects.pop(name, None)

    def told(self, name: str) -> dict[str, Any]:
        """Return what a sidecar of ours tells."""
        try:
            found = json.loads(self.objects.get(name, b"null"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) and SIDECAR_MARK in found else {}


def key(names: Names, name: str) -> str:
    """Return the object of one of a clip's names."""
    return "/".join((*names.folders, name))


def sha256_of(data: bytes) -> str:
    """Return the SHA-256."""
    return hashlib.sha256(data).hexdigest()


class MemoryPart:
    """The part of one clip."""

    def __init__(self, bucket: Bucket, path: str, *, source: str, fresh: bool, replaces: Accepts | None) -> None:
        self._bucket, self._path, self._replaces = bucket, path, replaces
        names = Names.of(path)
        self._clip, self._sidecar = key(names, names.clip), key(names, names.sidecar)
        self._replaced()
        held = Scratch(source) if fresh else bucket.scratch.get(self._clip, Scratch(source))
        told, there = bucket.told(self._sidecar), bucket.objects.get(self._clip)
        if there is not None and told.get("task_id") == source and told.get("sha256") == sha256_of(there):
            held = Scratch(source, there, sha256=told["sha256"])
        self._held = held if held.source == source and (held.is_vouched_for or held.sha256) else Scratch(source)

    @property
    def offset_bytes(self) -> int:
        """How many bytes are there."""
        return len(self._held.data)

    @property
    def validator(self) -> str | None:
        """What they belong to."""
        return self._held.validator

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return self._held.sha256 is not None

    def remember(self, validator: str | None) -> None:
        """Note it."""
        self._held.validator, self._held.is_vouched_for, self._held.sha256 = validator, True, None

    async def write(self, block: bytes) -> None:
        """Append *block*."""
        self._bucket.effect("write")
        self._held.data += block

    async def restart(self) -> None:
        """Drop everything."""
        self._held = Scratch(self._held.source)

    async def fill(self, make: Callable[[Path], T], *, size_bytes: int) -> T:  # noqa: ARG002 no room is counted
        """Let *make* write a file, and take it."""
        await self.restart()
        with TemporaryDirectory() as folder:
            path = Path(folder) / "part"
            made = make(path)
            await self.write(path.read_bytes())
        return made

    async def commit(self, sidecar: Mapping[str, object], rest: bytes = b"") -> Saved:
        """Put the sidecar, and then the clip."""
        if rest:
            await self.write(rest)
        data, record = self._held.data, {SIDECAR_MARK: SIDECAR_FORM, **sidecar}
        clip = self._probed(data)
        self._held.sha256 = sha256_of(data)
        if self._replaces is not None:
            record["replaces"] = self._replaced()
        elif self._sidecar in self._bucket.objects and not self._bucket.told(self._sidecar):
            raise ForeignFileError(f"{self._path}: {self._sidecar} is there already: move it away")
        elif self._bucket.objects.get(self._clip, data) != data:
            raise ForeignFileError(f"{self._path}: {self._clip} is there already: move it away")
        record |= {"path": self._path, "size_bytes": len(data), "sha256": self._held.sha256, **clip.as_dict()}
        self._bucket.put(self._sidecar, json.dumps(record).encode())
        self._bucket.put(self._clip, data)
        await self.restart()
        return Saved(self._path, len(data), sha256_of(data), clip)

    def _probed(self, data: bytes) -> Clip:
        try:
            return probe(len(data), lambda offset, length: data[offset : offset + length])
        except NotAClip:
            self._held = Scratch(self._held.source)
            raise

    def _replaced(self) -> str | None:
        objects, told = self._bucket.objects, self._bucket.told(self._sidecar)
        if self._replaces is None:
            return None
        if self._sidecar in objects and not (told and self._replaces(told)):
            raise ForeignFileError(f"{self._sidecar} is there already")
        if self._clip not in objects:
            return None
        sha256 = sha256_of(objects[self._clip])
        if sha256 not in {told.get("sha256"), told.get("replaces")}:
            raise ForeignFileError(f"{self._clip} is there already")
        return sha256

    def close(self) -> None:
        """Keep what there is for a later try."""
        self._bucket.scratch.pop(self._clip, None)
        if self._held.data:
            self._bucket.scratch[self._clip] = self._held


class MemoryStore:
    """The clips of one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def prepare(self) -> None:
        """Do nothing."""

    @asynccontextmanager
    async def part(
        self, path: str, *, source: str, fresh: bool = False, replaces: Accepts | None = None
    ) -> AsyncIterator[MemoryPart]:
        """Open a part."""
        part = MemoryPart(self._bucket, path, source=source, fresh=fresh, replaces=replaces)
        try:
            yield part
        finally:
            part.close()

    def name_trouble(self, path: str) -> str | None:
        """Refuse what is longer than a store of objects takes."""
        return f"it does not take the name {path!r}" if any(len(part) > KEY_MAX for part in path.split("/")) else None

    async def asked_if_taken(self, path: str) -> bool:
        """Ask at once: nothing here blocks."""
        return self.is_taken(path)

    def is_taken(self, path: str) -> bool:
        """Whether something has one of its names."""
        names = Names.of(path)
        clip, sidecar = key(names, names.clip), key(names, names.sidecar)
        return clip in self._bucket.objects or (sidecar in self._bucket.objects and not self._bucket.told(sidecar))

    def check(self, path: str, *, size_bytes: int, sha256: str, full: bool) -> str | None:
        """Return what is wrong with a clip."""
        try:
            data = self.open(path).read()
        except FileNotFoundError:
            return "is missing"
        if len(data) != size_bytes:
            return f"has {len(data):,} bytes instead of {size_bytes:,}"
        if full and sha256_of(data) != sha256:
            return f"was changed: its SHA-256 is {sha256_of(data)}"
        try:
            probe(len(data), lambda offset, length: data[offset : offset + length])
        except NotAClip as error:
            return str(error) if full else None
        return None

    def wrong_clips(self, clips: Iterable[tuple[str, str, int]]) -> Iterator[WrongClip]:
        """Yield what is missing, or of another size."""
        for job_id, path, size_bytes in clips:
            wrong = self.check(path, size_bytes=size_bytes, sha256="", full=False)
            if wrong is not None:
                yield WrongClip(job_id, f"{path} {wrong}", is_lost=True)

    def open(self, path: str) -> IO[bytes]:
        """Open a clip."""
        names = Names.of(path)
        try:
            return io.BytesIO(self._bucket.objects[key(names, names.clip)])
        except KeyError:
            raise FileNotFoundError(path) from None

    @contextmanager
    def file(self, path: str) -> Iterator[Path]:
        """Write a clip into a file of this machine."""
        with TemporaryDirectory() as folder:
            file = Path(folder) / "clip.mp4"
            file.write_bytes(self.open(path).read())
            yield file

    def sidecar(self, path: str) -> dict[str, Any]:
        """Return what a sidecar tells."""
        names = Names.of(path)
        return self._bucket.told(key(names, names.sidecar))

    def sidecars(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield all of them."""
        for name in sorted(self._bucket.objects):
            if name.endswith(".json") and (told := self._bucket.told(name)):
                yield f"{name.removesuffix('.json')}.mp4", told

    def retire(self, path: str, attempt: int) -> str | None:
        """Keep a clip beside its name."""
        names, objects = Names.of(path), self._bucket.objects
        if key(names, names.clip) not in objects:
            return None
        copies = (names.retired(attempt, copy=copy) for copy in count(1))
        new = next(one for one in copies if key(one, one.clip) not in objects)
        for old, other in ((names.clip, new.clip), (names.sidecar, new.sidecar)):
            if key(names, old) in objects:
                self._bucket.put(key(new, other), objects[key(names, old)])
                self._bucket.delete(key(names, old))
        return key(new, new.clip)

    def rename(self, old: str, new: str, clip: KnownClip) -> Renamed:
        """Copy under the new name, and then delete under the old one."""
        before, after, objects = Names.of(old), Names.of(new), self._bucket.objects
        if self.name_trouble(new) is not None:
            return Renamed.REFUSED
        source, target = key(before, before.clip), key(after, after.clip)
        told, strange = key(before, before.sidecar), key(after, after.sidecar)
        is_there = objects.get(target) is not None and sha256_of(objects[target]) == clip.sha256
        if len(objects.get(source, b"")) != clip.size_bytes:
            if not is_there:
                return Renamed.MISSING
        elif (target in objects and not is_there) or (strange in objects and not self._bucket.told(strange)):
            return Renamed.TAKEN
        elif not is_there:
            self._bucket.put(target, objects[source])
        tells = self._bucket.told(told) or self._bucket.told(strange)
        if tells.get("sha256") == clip.sha256:
            self._bucket.put(strange, json.dumps(tells | {"id": clip.job_id, "path": new}).encode())
            if told != strange:
                self._bucket.delete(told)
        if source != target and len(objects.get(source, b"")) == clip.size_bytes:
            self._bucket.delete(source)
        return Renamed.DONE

    def tell_more(self, path: str, name: str, value: object, *, sha256: str) -> bool:
        """Change a sidecar."""
        told = self.sidecar(path)
        if told.get("sha256") != sha256:
            return False
        more = {one: kept for one, kept in (told | {name: value}).items() if kept is not None or one != name}
        if more != told:
            names = Names.of(path)
            self._bucket.put(key(names, names.sidecar), json.dumps(more).encode())
        return True

    def respell(self, path: str, clip: KnownClip) -> None:
        """Rename a clip whose name has another Unicode form."""
        found = next((one for one in self._bucket.objects if one != path and nfc(one) == path), None)
        if found is not None and path not in self._bucket.objects:
            self.rename(found, path, clip)

    def told(self, name: str) -> dict[str, Any] | None:
        """Return what a small JSON file holds."""
        return self._bucket.told(name) if name in self._bucket.objects else None

    def publish(self, folder: Path, *names: str) -> None:
        """Keep the bytes of files."""
        for name in names:
            self._bucket.put(name, (folder / name).read_bytes())
