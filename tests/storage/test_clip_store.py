"""What every store of clips must do, whatever it is made of: each is a world with a store in it."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import secrets
import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import obstore
import pytest
from obstore.exceptions import GenericError

from batchvid.domain.errors import ForeignFileError, StorageError
from batchvid.media.mp4 import NotAClip
from batchvid.storage.base import KnownClip, Renamed
from batchvid.storage.local import LocalStore
from batchvid.storage.object_store import ObjectStore
from batchvid.storage.objects import connect
from tests.storage.buckets import BUCKET, KEYS
from tests.storage.memory import Bucket, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from batchvid.storage.base import Accepts, ClipStore, Saved
    from tests.conftest import MakeClip

ETAG = '"abc"'
BOTH = {"kite.mp4", "kite.json"}


class Killed(BaseException):
    """The process is gone."""


class Trouble:
    """Lets the effect of one number fail, or the process die before it: then no later one happens either."""

    def __init__(self, step: int, *, kills: bool) -> None:
        self._step, self._kills, self._at = step, kills, 0

    @property
    def came(self) -> bool:
        """Whether there were so many effects."""
        return self._at >= self._step

    def passes(self) -> None:
        """Let an effect happen, or not."""
        self._at += 1
        if self._kills and self.came:
            raise Killed
        if self._at == self._step:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class World(Protocol):
    """A store, and what others see and do."""

    def store(self) -> ClipStore:
        """Return the store, as a later run opens it."""

    def look(self) -> dict[str, bytes]:
        """Return all that is there, by name."""

    def put(self, name: str, data: bytes) -> None:
        """Put there what is not batchvid's, in place of what has the name."""

    def remove(self, name: str) -> None:
        """Take something away."""

    def trouble(self, step: int, *, kills: bool) -> AbstractContextManager[Trouble]:
        """Let the effect of this number fail while the context lasts."""


class OnDisk:
    """A folder of a real disk."""

    EFFECTS = ("fsync", "link", "unlink", "rename", "pwrite", "fchmod", "mkdir", "truncate", "ftruncate")

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "out"
        self.store().prepare()

    def store(self) -> LocalStore:
        """Return a new one."""
        return LocalStore(self._folder)

    def look(self) -> dict[str, bytes]:
        """Read all files."""
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self._folder)): path.read_bytes() for path in files}

    def put(self, name: str, data: bytes) -> None:
        """Write a file."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def remove(self, name: str) -> None:
        """Delete a file."""
        (self._folder / name).unlink()

    @contextmanager
    def trouble(self, step: int, *, kills: bool) -> Iterator[Trouble]:
        """Let a system call fail."""
        trouble = Trouble(step, kills=kills)

        def through(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                trouble.passes()
                return real(*args, **options)

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in self.EFFECTS:
                patch.setattr(os, name, through(getattr(os, name)))
            yield trouble


class InBucket:
    """A prefix of a real object store's bucket."""

    def __init__(self, address: str, folder: Path) -> None:
        self._url, self._scratch = f"s3://{BUCKET}/tests/{folder.name}-{secrets.token_hex(4)}", folder / "scratch"
        self._options = {**KEYS, "endpoint": address}
        self._client = connect(self._url, self._options)
        self._read: dict[tuple[str, str | None], bytes] = {}
        self.store().prepare()

    def store(self) -> ObjectStore:
        """Return a new one."""
        return ObjectStore(self._url, self._scratch, options=self._options, waits_s=())

    def look(self) -> dict[str, bytes]:
        """Read all objects; those that are as they were at the last look are not read again."""
        found = {(one["path"], one["e_tag"]) for page in obstore.list(self._client) for one in page}
        unread = found - self._read.keys()
        self._read |= {(key, tag): bytes(obstore.get(self._client, key).bytes()) for key, tag in unread}
        return {key: self._read[key, tag] for key, tag in sorted(found)}

    def put(self, name: str, data: bytes) -> None:
        """Put an object."""
        obstore.put(self._client, name, data)

    def remove(self, name: str) -> None:
        """Delete an object."""
        obstore.delete(self._client, name)

    @contextmanager
    def trouble(self, step: int, *, kills: bool) -> Iterator[Trouble]:
        """Let a system call or a change of the bucket fail."""
        trouble = Trouble(step, kills=kills)

        def through(real: Callable[..., Any], raised: type[Exception]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                try:
                    trouble.passes()
                except OSError as error:
                    raise raised(*error.args) from error
                return real(*args, **options)

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in OnDisk.EFFECTS:
                patch.setattr(os, name, through(getattr(os, name), OSError))
            for name in ("put", "delete"):
                patch.setattr(obstore, name, through(getattr(obstore, name), GenericError))
            yield trouble


class InMemory:
    """A bucket in memory."""

    def __init__(self) -> None:
        self._bucket = Bucket()

    def store(self) -> MemoryStore:
        """Return a new one."""
        return MemoryStore(self._bucket)

    def look(self) -> dict[str, bytes]:
        """Return the objects."""
        return dict(self._bucket.objects)

    def put(self, name: str, data: bytes) -> None:
        """Put an object."""
        self._bucket.objects[name] = data

    def remove(self, name: str) -> None:
        """Delete an object."""
        del self._bucket.objects[name]

    @contextmanager
    def trouble(self, step: int, *, kills: bool) -> Iterator[Trouble]:
        """Let a change fail."""
        trouble = Trouble(step, kills=kills)

        def effect(_: str) -> None:
            try:
                trouble.passes()
            except OSError as error:
                raise StorageError(str(error)) from error

        self._bucket.effect = effect
        yield trouble
        self._bucket.effect = lambda _: None


WORLDS = ["disk", "memory", *(pytest.param(one, marks=pytest.mark.xdist_group(one)) for one in ("moto", "seaweedfs"))]


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Return each world, empty; one worker runs all tests of a server."""
    if request.param == "disk":
        return OnDisk(tmp_path)
    if request.param == "memory":
        return InMemory()
    return InBucket(request.getfixturevalue(request.param), tmp_path)


@pytest.fixture
def clip(make_clip: MakeClip) -> bytes:
    """Return a whole clip."""
    return make_clip(audio=True)


async def save(
    store: ClipStore,
    data: bytes,
    *,
    path: str = "kite.mp4",
    source: str = "task_1",
    at_once: bool = False,
    replaces: Accepts | None = None,
) -> Saved:
    """Put a clip in place as the download does: in blocks, or *at once* with one that is fetched for the first time."""
    async with store.part(path, source=source, fresh=at_once, replaces=replaces) as part:
        if part.complete:
            return await part.commit({"id": "kite", "task_id": source})
        await part.restart()
        part.remember(ETAG)
        for begin in range(0, 0 if at_once else len(data), 1000):
            await part.write(data[begin : begin + 1000])
        return await part.commit({"id": "kite", "task_id": source}, data if at_once else b"")


def known(data: bytes, job_id: str = "gull") -> KnownClip:
    """Return what the journal knows of a clip."""
    return KnownClip(job_id, len(data), hashlib.sha256(data).hexdigest())


# ---- a clip comes


@pytest.mark.parametrize("at_once", [False, True])
def test_a_clip_is_saved_with_its_sidecar_and_nothing_else(world: World, clip: bytes, *, at_once: bool) -> None:
    """The name holds the bytes, and the sidecar what is known."""
    saved = asyncio.run(save(world.store(), clip, at_once=at_once))
    digest = hashlib.sha256(clip).hexdigest()
    assert (saved.path, saved.size_bytes, saved.sha256, saved.clip.samples) == ("kite.mp4", len(clip), digest, 10)
    assert world.look().keys() == BOTH
    assert world.look()["kite.mp4"] == clip
    told = json.loads(world.look()["kite.json"])
    assert list(told)[:6] == ["batchvid", "id", "task_id", "path", "size_bytes", "sha256"]
    assert (told["width"], told["height"], told["codec"], told["audio"]) == (64, 36, "h264", True)
    assert world.store().sidecar("kite.mp4") == told


def test_folders_in_the_name_are_made(world: World, clip: bytes) -> None:
    """A file name may hold folders."""
    asyncio.run(save(world.store(), clip, path="hanoi/dawn/kite.mp4"))
    assert world.look().keys() == {"hanoi/dawn/kite.mp4", "hanoi/dawn/kite.json"}


@pytest.mark.parametrize(
    "path", ["", ".", "/etc/kite.mp4", "../kite.mp4", "a/../../kite.mp4", ".batchvid/k.mp4", "a\0b"]
)
def test_no_path_leads_out_of_the_output(world: World, path: str) -> None:
    """A path that would leave the output, or enter the state folder, is a bug and raises."""
    with pytest.raises(ValueError, match="is no path inside the output folder"):
        asyncio.run(save(world.store(), b"", path=path))
    with pytest.raises(ValueError, match="is no path inside the output folder"):
        world.store().check(path, size_bytes=1, sha256="", full=True)


def test_a_part_goes_on_where_it_stopped(world: World, clip: bytes) -> None:
    """Bytes of an earlier try count, with their hash and the validator that they belong to."""

    async def twice() -> Saved:
        async with world.store().part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)
            await part.write(clip[:700])
        assert "kite.mp4" not in world.look()
        async with world.store().part("kite.mp4", source="task_1") as part:
            assert (part.offset_bytes, part.validator, part.complete) == (700, ETAG, False)
            await part.write(clip[700:])
            return await part.commit({})

    assert asyncio.run(twice()).sha256 == hashlib.sha256(clip).hexdigest()


@pytest.mark.parametrize("change", ["source", "unremembered", "restarted", "fresh"])
def test_bytes_that_nothing_vouches_for_are_dropped(world: World, clip: bytes, change: str) -> None:
    """Of another task, or of a version that nobody noted: the part begins from zero."""

    async def first() -> None:
        async with world.store().part("kite.mp4", source="task_1") as part:
            if change != "unremembered":
                part.remember(ETAG)
            await part.write(clip[:700])
            if change == "restarted":
                await part.restart()
                await part.write(clip[:700])

    async def then() -> tuple[int, str | None]:
        source = "task_2" if change == "source" else "task_1"
        async with world.store().part("kite.mp4", source=source, fresh=change == "fresh") as part:
            return part.offset_bytes, part.validator

    asyncio.run(first())
    assert asyncio.run(then()) == (0, None)
    assert change == "fresh" or world.look() == {}


def test_an_empty_part_leaves_nothing_behind(world: World) -> None:
    """A transfer that never began is not to be seen."""

    async def nothing() -> None:
        async with world.store().part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)

    asyncio.run(nothing())
    assert world.look() == {}


@pytest.mark.parametrize("length", [0, 1, 500, -1])
def test_what_is_no_clip_gets_no_name(world: World, clip: bytes, length: int) -> None:
    """Half a clip never has the final name, and the next try begins from zero."""

    async def offset() -> int:
        async with world.store().part("kite.mp4", source="task_1") as part:
            return part.offset_bytes

    with pytest.raises(NotAClip):
        asyncio.run(save(world.store(), clip[:length]))
    assert not world.look().keys() & BOTH
    assert asyncio.run(offset()) == 0


@pytest.mark.parametrize("name", ["kite.mp4", "kite.json"])
def test_a_file_that_is_not_ours_is_never_touched(world: World, clip: bytes, name: str) -> None:
    """The message says which one to move; once it is moved away, nothing needs to be transferred."""
    world.put(name, b"mine")
    with pytest.raises(ForeignFileError, match=f"kite.mp4: {name} is there already.*move it away"):
        asyncio.run(save(world.store(), clip))
    assert world.look()[name] == b"mine"
    assert not BOTH - {name} & world.look().keys() - {name}
    world.remove(name)
    assert asyncio.run(save(world.store(), b"never asked for")).size_bytes == len(clip)
    assert world.look().keys() == BOTH
    assert world.look()["kite.mp4"] == clip


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("kills", [False, True])
def test_a_trouble_at_any_step_leaves_no_half_clip_and_the_next_try_ends_with_the_clip(
    world: World, clip: bytes, *, at_once: bool, kills: bool
) -> None:
    """Whichever effect fails, or was never reached because the process died. What has its name is not fetched again."""
    step, came = 0, True
    while came:
        step += 1
        path, sidecar = f"{step}.mp4", f"{step}.json"
        with world.trouble(step, kills=kills) as trouble:
            try:
                asyncio.run(save(world.store(), clip, path=path, at_once=at_once))
            except StorageError:
                assert not kills
            except Killed:
                assert kills
        came = trouble.came
        assert world.look().get(path, clip) == clip, step
        rest = b"never asked for" if path in world.look() else clip
        saved = asyncio.run(save(world.store(), rest, path=path))
        assert world.look()[path] == clip
        assert json.loads(world.look()[sidecar])["sha256"] == saved.sha256
        assert {name for name in world.look() if name.startswith(f"{step}.")} == {path, sidecar}, step
    assert step > 3


def test_a_clip_that_is_there_already_needs_no_transfer(world: World, clip: bytes) -> None:
    """It has its name, and the journal does not know: the next run takes it. Another task's does not count."""
    asyncio.run(save(world.store(), clip))
    assert asyncio.run(save(world.store(), b"never asked for")).size_bytes == len(clip)

    async def complete(source: str) -> bool:
        async with world.store().part("kite.mp4", source=source) as part:
            return part.complete

    assert asyncio.run(complete("task_1"))
    assert not asyncio.run(complete("task_2"))
    with pytest.raises(ForeignFileError):
        asyncio.run(save(world.store(), clip[:-1] + bytes([clip[-1] ^ 1]), source="task_2"))
    assert world.look()["kite.mp4"] == clip


# ---- what can be made again: films


def is_film(sidecar: Any) -> bool:
    """Whether it may be replaced."""
    return "film" in sidecar


async def film(store: ClipStore, data: bytes) -> Saved:
    """Put a film in place."""
    async with store.part("film.mp4", source="", replaces=is_film) as part:
        assert await part.fill(lambda path: path.write_bytes(data), size_bytes=len(data)) == len(data)
        return await part.commit({"id": "film", "film": 1})


def test_what_can_be_made_again_replaces_what_is_ours_only(world: World, make_clip: MakeClip) -> None:
    """Not what somebody else put there, or changed; and a clip never replaces anything."""
    first, second = make_clip(frames=10), make_clip(frames=12)
    old = asyncio.run(film(world.store(), first))
    assert json.loads(world.look()["film.json"])["replaces"] is None
    assert list(json.loads(world.look()["film.json"]))[:6] == [
        "batchvid",
        "id",
        "film",
        "replaces",
        "path",
        "size_bytes",
    ]
    asyncio.run(film(world.store(), second))
    assert json.loads(world.look()["film.json"])["replaces"] == old.sha256
    assert world.look().keys() == {"film.mp4", "film.json"}
    with pytest.raises(ForeignFileError):
        asyncio.run(save(world.store(), first, path="film.mp4"))
    assert world.look()["film.mp4"] == second
    world.put("film.mp4", b"edited")
    with pytest.raises(ForeignFileError, match=r"film\.mp4 is there already"):
        asyncio.run(film(world.store(), first))
    world.remove("film.mp4")
    for told in (b"mine", b'{"batchvid": 1, "task_id": "task_1"}'):
        world.put("film.json", told)
        with pytest.raises(ForeignFileError, match=r"film\.json is there already"):
            asyncio.run(film(world.store(), first))
        assert world.look()["film.json"] == told


@pytest.mark.parametrize("kills", [False, True])
def test_a_trouble_at_any_step_of_a_replacement_leaves_the_old_or_the_new(
    world: World, make_clip: MakeClip, *, kills: bool
) -> None:
    """And the next try replaces it."""
    films, step, came = (make_clip(frames=10), make_clip(frames=12)), 0, True
    asyncio.run(film(world.store(), films[0]))
    while came:
        step += 1
        with world.trouble(step, kills=kills) as trouble:
            try:
                asyncio.run(film(world.store(), films[step % 2]))
            except StorageError:
                assert not kills
            except Killed:
                assert kills
        came = trouble.came
        assert world.look()["film.mp4"] in films, step
        asyncio.run(film(world.store(), films[step % 2]))
        assert world.look().keys() == {"film.mp4", "film.json"}, step
        assert world.look()["film.mp4"] == films[step % 2]


def test_what_fails_to_be_made_leaves_nothing(world: World, clip: bytes) -> None:
    """Half of it does not stay, and the error is the maker's."""

    async def broken() -> None:
        async with world.store().part("film.mp4", source="", replaces=is_film) as part:

            def make(path: Path) -> None:
                path.write_bytes(clip[:100])
                raise LookupError

            await part.fill(make, size_bytes=1)

    with pytest.raises(LookupError):
        asyncio.run(broken())
    assert world.look() == {}


# ---- clips that are there


def test_a_damaged_clip_is_found(world: World, clip: bytes) -> None:
    """Missing, another length, other bytes, cut off: each has its words. A look at the size reads nothing."""
    store, saved = world.store(), asyncio.run(save(world.store(), clip))

    def wrong(*, full: bool, data: bytes = clip) -> str | None:
        sha256 = hashlib.sha256(data).hexdigest()
        return store.check("kite.mp4", size_bytes=len(data), sha256=sha256, full=full)

    def looked() -> list[tuple[str, bool]]:
        return [(one.words, one.is_lost) for one in store.wrong_clips([("kite", "kite.mp4", saved.size_bytes)])]

    assert (wrong(full=True), looked()) == (None, [])
    world.put("kite.mp4", clip[:-1] + b"x")
    assert (wrong(full=False), looked()) == (None, [])
    assert str(wrong(full=True)).startswith("was changed: its SHA-256 is ")
    world.put("kite.mp4", clip[:-1])
    words = f"has {len(clip) - 1:,} bytes instead of {len(clip):,}"
    assert (wrong(full=False), looked()) == (words, [(f"kite.mp4 {words}", True)])
    assert "is cut off" in str(wrong(full=True, data=clip[:-1]))
    world.remove("kite.mp4")
    assert (wrong(full=False), looked()) == ("is missing", [("kite.mp4 is missing", True)])
    assert store.check("none/kite.mp4", size_bytes=1, sha256="", full=True) == "is missing"


def test_a_clip_can_be_read(world: World, clip: bytes) -> None:
    """In its place, and as a file of this machine."""
    asyncio.run(save(world.store(), clip, path="a/kite.mp4"))
    with world.store().open("a/kite.mp4") as file:
        assert file.seek(4) == 4
        assert file.read() == clip[4:]
    with world.store().file("a/kite.mp4") as path:
        assert path.read_bytes() == clip
    for path_of_none in ("a/gull.mp4", "b/kite.mp4"):
        with pytest.raises(FileNotFoundError):
            world.store().open(path_of_none)


def test_all_sidecars_are_found_and_nobody_elses(world: World, clip: bytes) -> None:
    """In folders too, and whether the clip is there or not."""
    for path in ("kite.mp4", "a/b/gull.mp4"):
        asyncio.run(save(world.store(), clip, path=path))
    world.remove("kite.mp4")
    world.put("other.json", b'{"mine": true}')
    world.put("torn.json", b'{"batchvid": 1, ')
    found = dict(world.store().sidecars())
    assert found.keys() == {"kite.mp4", "a/b/gull.mp4"}
    assert found["kite.mp4"] == world.store().sidecar("kite.mp4")
    assert world.store().sidecar("other.mp4") == world.store().sidecar("none/none.mp4") == {}


def test_a_taken_name_is_known_before_anything_is_paid(world: World, clip: bytes) -> None:
    """Something has the clip's name, or its sidecar's and is not ours."""
    world.put("file/a.mp4", b"mine")
    world.put("side/a.json", b"mine")
    asyncio.run(save(world.store(), clip))
    for path in ("file/a.mp4", "side/a.mp4", "kite.mp4"):
        assert world.store().is_taken(path), path
    world.remove("kite.mp4")
    for path in ("free.mp4", "new/free.mp4", "file/b.mp4", "kite.mp4"):
        assert not world.store().is_taken(path), path


# ---- other names


TOO_LONG = "x" * 245


@pytest.mark.parametrize("path", [f"{TOO_LONG}.mp4", f"{TOO_LONG * 2}/kite.mp4", f"shots/{TOO_LONG}.mp4"])
def test_a_name_that_the_store_does_not_take_is_known_before_anything_is_paid(
    world: World, clip: bytes, path: str
) -> None:
    """By trying it, which leaves nothing; what the store takes is no trouble, and neither is a clip that is there."""
    asyncio.run(save(world.store(), clip))
    before = world.look()
    for fine in ("kite.mp4", "gull.mp4", "gr\u00f6\u00dfe/\u65e5\u672c.mp4", f"{'y' * 190}.mp4", "what now?.mp4"):
        assert world.store().name_trouble(fine) is None
    trouble = world.store().name_trouble(path)
    assert trouble is not None
    assert f"does not take the name '{path}'" in trouble
    assert world.store().rename("kite.mp4", path, known(clip)) is Renamed.REFUSED
    assert world.look() == before


def test_an_old_clip_is_kept_with_its_attempt_number(world: World, clip: bytes) -> None:
    """Its sidecar too, and what was kept before is never replaced."""
    store = world.store()
    asyncio.run(save(store, clip, path="a/kite.mp4"))
    assert store.retire("a/kite.mp4", 1) == "a/kite.attempt-1.mp4"
    assert store.retire("a/kite.mp4", 1) is None
    asyncio.run(save(store, clip, path="a/kite.mp4", source="task_2"))
    assert store.retire("a/kite.mp4", 1) == "a/kite.attempt-1.2.mp4"
    assert world.look().keys() == {f"a/kite.attempt-1{copy}.{kind}" for copy in ("", ".2") for kind in ("mp4", "json")}
    assert store.retire("none/none.mp4", 1) is None


@pytest.mark.parametrize(("old", "new"), [("kite", "gull"), ("kite", "shots/gull"), ("shots/kite", "shots/gull")])
def test_clip_and_sidecar_get_the_name_and_the_sidecar_tells_it(world: World, clip: bytes, old: str, new: str) -> None:
    """Folders are made; what the sidecar tells besides stays; doing it again changes nothing."""
    asyncio.run(save(world.store(), clip, path=f"{old}.mp4"))
    before = world.store().sidecar(f"{old}.mp4")
    for _ in range(2):
        assert world.store().rename(f"{old}.mp4", f"{new}.mp4", known(clip)) is Renamed.DONE
        assert world.look().keys() == {f"{new}.json", f"{new}.mp4"}
        assert world.look()[f"{new}.mp4"] == clip
        assert json.loads(world.look()[f"{new}.json"]) == before | {"id": "gull", "path": f"{new}.mp4"}


@pytest.mark.parametrize("taken", ["gull.mp4", "gull.json"])
def test_what_has_the_new_name_stays_and_so_does_the_clip(world: World, clip: bytes, taken: str) -> None:
    """A person's file is neither replaced nor removed."""
    asyncio.run(save(world.store(), clip))
    world.put(taken, b"a holiday film")
    assert world.store().rename("kite.mp4", "gull.mp4", known(clip)) is Renamed.TAKEN
    assert world.look().keys() == {*BOTH, taken}
    assert world.look()[taken] == b"a holiday film"
    assert json.loads(world.look()["kite.json"])["id"] == "kite"


def test_a_clip_that_is_not_there_is_not_renamed(world: World, clip: bytes) -> None:
    """Also where another file has the new name, or the old one; by their size they are not the clip."""
    store = world.store()
    assert store.rename("kite.mp4", "gull.mp4", known(clip)) is Renamed.MISSING
    assert store.rename("gone/kite.mp4", "gull.mp4", known(clip)) is Renamed.MISSING
    world.put("gull.mp4", b"a holiday film")
    assert store.rename("kite.mp4", "gull.mp4", known(clip)) is Renamed.MISSING
    world.remove("gull.mp4")
    world.put("kite.mp4", b"a holiday film")
    assert store.rename("kite.mp4", "gull.mp4", known(clip)) is Renamed.MISSING
    world.put("gull.mp4", clip)
    assert store.rename("kite.mp4", "gull.mp4", known(clip)) is Renamed.DONE
    assert world.look() == {"gull.mp4": clip, "kite.mp4": b"a holiday film"}


def test_a_clip_that_a_person_has_renamed_already_is_known_by_its_content(world: World, clip: bytes) -> None:
    """Its sidecar follows; the sidecar of another clip does not."""
    asyncio.run(save(world.store(), clip))
    world.put("gull.mp4", clip)
    world.remove("kite.mp4")
    assert world.store().rename("kite.mp4", "gull.mp4", known(clip)) is Renamed.DONE
    assert world.look().keys() == {"gull.json", "gull.mp4"}
    assert json.loads(world.look()["gull.json"])["id"] == "gull"
    world.put("gull.json", b'{"batchvid": 1, "id": "x", "sha256": "of another clip"}')
    assert world.store().rename("gull.mp4", "tern.mp4", known(clip, "tern")) is Renamed.DONE
    assert world.look().keys() == {"gull.json", "tern.mp4"}


@pytest.mark.parametrize("new", ["gull.mp4", "shots/kite.mp4"])
@pytest.mark.parametrize("kills", [False, True])
def test_a_trouble_at_any_step_of_a_renaming_is_made_good_by_the_next(
    world: World, clip: bytes, new: str, *, kills: bool
) -> None:
    """The clip is there at every moment, under one of its names or both."""
    step, came = 0, True
    while came:
        step += 1
        asyncio.run(save(world.store(), clip))
        with world.trouble(step, kills=kills) as trouble:
            try:
                world.store().rename("kite.mp4", new, known(clip))
            except StorageError:
                assert not kills
            except Killed:
                assert kills
        came = trouble.came
        assert clip in world.look().values(), step
        assert world.store().rename("kite.mp4", new, known(clip)) is Renamed.DONE
        sidecar = new.replace(".mp4", ".json")
        assert world.look().keys() == {new, sidecar}, step
        assert json.loads(world.look()[sidecar])["id"] == "gull"
        for name in (new, sidecar):
            world.remove(name)
    assert step > 2


def test_a_sidecar_tells_more_and_the_clip_stays_what_it_is(world: World, clip: bytes) -> None:
    """Only that of this very clip, and nobody else's file; a field of nothing is taken away again."""
    sha256 = known(clip).sha256
    assert not world.store().tell_more("gone/kite.mp4", "review", {"stars": 5}, sha256=sha256)
    asyncio.run(save(world.store(), clip))
    before = json.loads(world.look()["kite.json"])
    assert world.store().tell_more("kite.mp4", "review", {"stars": 5}, sha256=sha256)
    assert json.loads(world.look()["kite.json"]) == before | {"review": {"stars": 5}}
    assert not world.store().tell_more("kite.mp4", "review", {"stars": 1}, sha256="of another clip")
    assert world.store().sidecar("kite.mp4")["review"] == {"stars": 5}
    assert world.store().tell_more("kite.mp4", "review", None, sha256=sha256)
    assert json.loads(world.look()["kite.json"]) == before
    world.put("kite.json", b'{"sha256": "mine"}')
    assert not world.store().tell_more("kite.mp4", "review", {"stars": 5}, sha256="mine")
    assert world.look()["kite.mp4"] == clip


@pytest.mark.parametrize("kills", [False, True])
def test_a_trouble_at_any_step_leaves_a_whole_sidecar(world: World, clip: bytes, *, kills: bool) -> None:
    """The old one or the new one."""
    step, came = 0, True
    asyncio.run(save(world.store(), clip))
    before = json.loads(world.look()["kite.json"])
    while came:
        step += 1
        with world.trouble(step, kills=kills) as trouble:
            try:
                world.store().tell_more("kite.mp4", "review", {"stars": step}, sha256=known(clip).sha256)
            except StorageError:
                assert not kills
            except Killed:
                assert kills
        came = trouble.came
        told = json.loads(world.look()["kite.json"])
        assert {**told, "review": None} == {**before, "review": None}, step
        assert told.get("review") in [None, *({"stars": number} for number in range(1, step + 1))]


def test_a_name_that_a_copy_has_spelt_in_another_form_is_found(world: World, clip: bytes) -> None:
    """As a Mac or an archive does; a name that is as the journal has it stays."""
    path = "Tür/café.mp4"
    spelt = unicodedata.normalize("NFD", path)
    world.put(spelt, clip)
    world.store().respell(path, known(clip, "café"))
    assert path in world.look()
    world.store().respell(path, known(clip, "café"))
    assert world.look()[path] == clip
