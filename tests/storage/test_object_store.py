"""What is special about a clip store in a bucket: answers that are lost, stores that are away, and those that lie."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from typing import TYPE_CHECKING, NamedTuple

import obstore
import pytest

from batchvid.domain.errors import ConfigError, Exit, ForeignFileError, StorageError, StoreAwayError
from batchvid.storage.base import KnownClip, Renamed
from batchvid.storage.object_store import ObjectStore
from batchvid.storage.objects import BLOCK_BYTES, Objects, connect
from tests.storage.buckets import BUCKET, KEYS, Way, free_ports, way_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchvid.storage.base import Saved
    from tests.conftest import MakeClip

pytestmark = pytest.mark.xdist_group("moto")
AT_ONCE = (0.0, 0.0)
"""Two more tries, without a wait."""
TOLD = {"id": "kite", "task_id": "task_1", "attempt": 2}


class Place(NamedTuple):
    """A prefix of a bucket, and the way to it."""

    url: str
    options: dict[str, str]
    way: Way
    scratch: Path

    def store(self, *, waits_s: tuple[float, ...] = AT_ONCE) -> ObjectStore:
        """Return the store, as a later run opens it."""
        return ObjectStore(self.url, self.scratch, options=self.options, waits_s=waits_s)

    def keys(self) -> set[str]:
        """Return what is there."""
        return {one["path"] for page in obstore.list(connect(self.url, self.options)) for one in page}


@pytest.fixture
def place(moto: str, tmp_path: Path) -> Iterator[Place]:
    """Return an empty one."""
    with way_to(moto) as (address, way):
        made = Place(f"s3://{BUCKET}/way/{secrets.token_hex(4)}", {**KEYS, "endpoint": address}, way, tmp_path / "s")
        made.store().prepare()
        way.asked.clear()
        yield made


@pytest.fixture
def clip(make_clip: MakeClip) -> bytes:
    """Return a whole clip."""
    return make_clip(audio=True)


async def save(store: ObjectStore, data: bytes) -> Saved:
    """Put a clip in place, as a download does."""
    async with store.part("kite.mp4", source="task_1") as part:
        if not part.complete:
            part.remember('"abc"')
            await part.write(data)
        return await part.commit(TOLD)


def puts_clip(what: str) -> bool:
    """Whether a request writes the clip."""
    return what.startswith("PUT ") and what.endswith("/kite.mp4")


# ---- what is kept


def test_a_clip_tells_its_sha256_task_and_attempt_and_comes_after_its_sidecar(place: Place, clip: bytes) -> None:
    """As attributes of the object; whatever finds the clip finds the sidecar, too."""
    asyncio.run(save(place.store(), clip))
    found = obstore.get(connect(place.url, place.options), "kite.mp4", options={"head": True})
    assert found.attributes == {
        "Content-Type": "video/mp4",
        "sha256": hashlib.sha256(clip).hexdigest(),
        "task": "task_1",
        "attempt": "2",
    }
    writes = [what.rpartition("/")[2] for what in place.way.asked if what.startswith("PUT")]
    assert writes == ["kite.json", "kite.mp4"]


def test_a_clip_keeps_what_it_tells_under_another_name(place: Place, clip: bytes) -> None:
    """A copy is told by its attributes as the first one was."""
    asyncio.run(save(place.store(), clip))
    known = KnownClip("gull", len(clip), hashlib.sha256(clip).hexdigest())
    assert place.store().rename("kite.mp4", "gull.mp4", known) is Renamed.DONE
    found = obstore.get(connect(place.url, place.options), "gull.mp4", options={"head": True}).attributes
    assert (found["task"], found["attempt"], found["sha256"]) == ("task_1", "2", known.sha256)


def test_nothing_of_a_saved_clip_stays_on_this_machine(place: Place, clip: bytes) -> None:
    """The scratch folder holds what is under way, and nothing else."""
    asyncio.run(save(place.store(), clip))
    with place.store().file("kite.mp4") as copy:
        assert copy.read_bytes() == clip
    assert [*place.scratch.rglob("*")] == []


def test_a_large_object_is_read_in_blocks_and_from_anywhere(place: Place) -> None:
    """A film may be larger than the memory."""
    data = secrets.token_bytes(BLOCK_BYTES + 100)
    obstore.put(connect(place.url, place.options), "film.mp4", data)
    with place.store().open("film.mp4") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == hashlib.sha256(data).hexdigest()  # type: ignore[arg-type]
        assert file.seek(-100, 2) == BLOCK_BYTES
        assert file.read() == data[-100:]


# ---- answers that are lost


def test_a_clip_whose_answer_is_lost_counts_once(place: Place, clip: bytes) -> None:
    """The store has it; the second try would find the name taken, by nobody but the first."""
    lost: list[str] = []
    place.way.loses = lambda what: puts_clip(what) and not lost and not lost.append(what)  # type: ignore[func-returns-value]
    saved = asyncio.run(save(place.store(), clip))
    assert (saved.size_bytes, len(lost)) == (len(clip), 1)
    assert sum(map(puts_clip, place.way.asked)) == 1
    assert place.keys() == {"kite.mp4", "kite.json"}


def test_a_clip_whose_answers_are_all_lost_is_found_by_the_next_run(place: Place, clip: bytes) -> None:
    """Also where the scratch folder went with its machine: the service is asked for nothing."""
    cut: list[str] = []

    def loses(what: str) -> bool:
        if puts_clip(what):
            cut.append(what)
        return bool(cut)

    place.way.loses = loses
    with pytest.raises(StoreAwayError):
        asyncio.run(save(place.store(), clip))
    place.way.loses = lambda _: False
    for path in sorted(place.scratch.rglob("*")):
        path.unlink()
    assert asyncio.run(save(place.store(), b"never asked for")).size_bytes == len(clip)
    assert place.keys() == {"kite.mp4", "kite.json"}


def test_a_strangers_clip_that_comes_first_stays_and_so_does_ours(place: Place, clip: bytes) -> None:
    """It came after the name was looked at: the one conditional request decides."""
    raw = connect(place.url, place.options)

    def stranger(what: str) -> bool:
        if puts_clip(what) and sum(map(puts_clip, place.way.asked)) == 1:
            obstore.put(raw, "kite.mp4", b"a holiday film")
        return False

    place.way.fails = stranger
    with pytest.raises(ForeignFileError, match=r"kite\.mp4 is there already"):
        asyncio.run(save(place.store(), clip))
    assert bytes(obstore.get(raw, "kite.mp4").bytes()) == b"a holiday film"
    assert place.keys() == {"kite.mp4"}
    obstore.delete(raw, "kite.mp4")
    assert asyncio.run(save(place.store(), b"never asked for")).size_bytes == len(clip)


# ---- stores that are away


def test_a_store_that_fails_for_a_moment_is_asked_again(place: Place, clip: bytes) -> None:
    """Each request, not only those that write."""
    seen: set[str] = set()
    place.way.fails = lambda what: what not in seen and not seen.add(what)  # type: ignore[func-returns-value]
    saved = asyncio.run(save(place.store(), clip))
    assert place.store().check("kite.mp4", size_bytes=len(clip), sha256=saved.sha256, full=True) is None
    assert [path for path, _ in place.store().sidecars()] == ["kite.mp4"]
    assert place.keys() == {"kite.mp4", "kite.json"}


def test_a_store_that_is_away_loses_no_clip(place: Place, clip: bytes) -> None:
    """The clip waits on this machine, complete; nothing is transferred again once the store is back."""
    place.way.fails = lambda what: what.startswith("PUT")
    with pytest.raises(StoreAwayError, match=f"cannot write kite.json at {place.url}: 503 Service Unavailable"):
        asyncio.run(save(place.store(), clip))
    assert sum(what.startswith("PUT") for what in place.way.asked) == 1 + len(AT_ONCE)
    place.way.fails = lambda _: False
    assert asyncio.run(save(place.store(), b"never asked for")).size_bytes == len(clip)


def test_a_store_that_is_away_has_no_lost_clips(place: Place, clip: bytes) -> None:
    """Not to be reached is not missing: nothing would be fetched again for it."""
    saved = asyncio.run(save(place.store(), clip))
    place.way.fails = lambda _: True
    with pytest.raises(StoreAwayError):
        [*place.store().wrong_clips([("kite", "kite.mp4", len(clip))])]
    wrong = place.store().check("kite.mp4", size_bytes=len(clip), sha256=saved.sha256, full=True)
    assert str(wrong).startswith("cannot be read: cannot look at kite.mp4")
    with pytest.raises(OSError, match="cannot look at kite"):
        place.store().open("kite.mp4")
    with pytest.raises(StoreAwayError):
        place.store().is_taken("kite.mp4")


def test_more_objects_than_one_page_holds_are_all_seen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a page has to be asked for twice."""
    monkeypatch.setattr("batchvid.storage.objects.LISTED_AT_ONCE", 7)
    raw = connect(place.url, place.options)
    names = [f"{number}/{number}.mp4" for number in range(30)]
    for name in names:
        obstore.put(raw, name, b"x")
    assert [key for key, _ in Objects(raw, place.url, waits_s=()).list()] == sorted(names)
    assert [*place.store().wrong_clips((name, name, 1) for name in names)] == []


# ---- stores that no clip may be entrusted to


def test_a_store_that_replaces_unasked_is_refused(place: Place) -> None:
    """It is found out before anything is paid, and nothing stays of it."""
    place.way.lies = True
    with pytest.raises(
        ConfigError, match=r"replaces an object where it was asked not to \(If-None-Match: \*\)"
    ) as told:
        place.store().prepare()
    assert told.value.exit_code is Exit.CONFIG
    assert place.keys() == set()


def test_a_store_that_is_not_there_is_told(place: Place) -> None:
    """No bucket, nobody at the address, no such kind of store: each has its words and its exit code."""
    none = place._replace(url="s3://no-such-bucket/x")
    with pytest.raises(StorageError, match="s3://no-such-bucket/x is not there: make the bucket first"):
        none.store().prepare()
    away = place._replace(options={**KEYS, "endpoint": f"http://127.0.0.1:{free_ports(1)[0]}"})
    with pytest.raises(StoreAwayError, match="error sending request"):
        away.store().prepare()
    with pytest.raises(ConfigError, match="ftp://x is no object store that batchvid knows: write s3://"):
        place._replace(url="ftp://x").store()


def test_a_store_that_is_proven_keeps_nothing_of_it(place: Place) -> None:
    """Each run proves it."""
    place.store().prepare()
    assert place.keys() == set()


@pytest.mark.parametrize("path", ["a\\b.mp4", "tab\there.mp4", f"{'d/' * 460}kite.mp4"])
def test_a_name_that_some_stores_change_is_refused(place: Place, path: str) -> None:
    """SeaweedFS makes two folders of a backslash."""
    assert "does not take the name" in str(place.store().name_trouble(path))


def test_a_sidecar_of_another_task_is_no_proof(place: Place, clip: bytes) -> None:
    """What it tells must be there, too."""
    raw = connect(place.url, place.options)
    told = {"batchvid": 1, "task_id": "task_1", "size_bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    obstore.put(raw, "kite.json", json.dumps(told).encode())
    assert asyncio.run(save(place.store(), clip)).size_bytes == len(clip)
    assert place.store().sidecar("kite.mp4")["size_bytes"] == len(clip)
