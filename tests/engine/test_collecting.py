"""What is put into a folder of approved clips, from a disk and from a bucket, whatever becomes of it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.takes import Take
from batchvid.engine.collecting import Became, Folder
from batchvid.storage.local import LocalStore
from tests.storage.memory import Bucket, MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.storage.base import ClipStore


class Studio:
    """Clips of some content, on a disk or in a bucket."""

    def __init__(self, folder: Path, *, in_bucket: bool) -> None:
        self._bucket = Bucket() if in_bucket else None
        self._folder = folder / "out"
        self._folder.mkdir()
        self.final = folder / "final"

    @property
    def clips(self) -> ClipStore:
        """Return the store."""
        return LocalStore(self._folder) if self._bucket is None else MemoryStore(self._bucket)

    def put(self, name: str, data: bytes, *, sha256: str | None = None) -> Take:
        """Put a clip there, and return the take."""
        if self._bucket is None:
            (self._folder / name).write_bytes(data)
        else:
            self._bucket.put(name, data)
        found = sha256 or hashlib.sha256(data).hexdigest()
        said = Decision("kite", 1, 0.0, "ada", Verdict.APPROVED)
        return Take("kite", 1, name, len(data), found, is_current=True, decision=said)

    def collect(self, **takes: Take) -> dict[str, Became]:
        """Collect takes under these names."""
        folder = Folder(self.final, "the output", self.clips, None)
        found = folder.collect([*takes.values()], [f"{name}.mp4" for name in takes])
        return {one.name: one.became for one in found}


@pytest.fixture(params=[False, True], ids=["disk", "bucket"])
def studio(request: pytest.FixtureRequest, tmp_path: Path) -> Studio:
    """Return clips on a disk, and in a bucket."""
    return Studio(tmp_path, in_bucket=request.param)


def test_another_clip_takes_the_place_of_the_one_before(studio: Studio) -> None:
    """Only where that is as it was put there."""
    assert studio.collect(a=studio.put("one.mp4", b"first")) == {"a.mp4": Became.NEW}
    second = studio.put("two.mp4", b"second")
    assert studio.collect(a=second) == {"a.mp4": Became.REPLACED}
    assert (studio.final / "a.mp4").read_bytes() == b"second"
    assert studio.collect(a=second) == {"a.mp4": Became.KEPT}
    (studio.final / "a.mp4").write_bytes(b"edited")
    assert studio.collect(a=studio.put("one.mp4", b"first")) == {"a.mp4": Became.REFUSED}
    assert (studio.final / "a.mp4").read_bytes() == b"edited"


def test_a_clip_that_a_person_has_put_there_stays(studio: Studio) -> None:
    """It is the same, to the last byte, but it is not ours to take away; nor is any where the list was lost."""
    take = studio.put("one.mp4", b"first")
    studio.collect(a=take)
    (studio.final / ".batchvid-collected.json").unlink()
    assert studio.collect(a=take) == {"a.mp4": Became.KEPT}
    assert studio.collect() == {}
    assert (studio.final / "a.mp4").read_bytes() == b"first"


def test_a_clip_of_another_content_gets_no_name(studio: Studio) -> None:
    """It was changed since it was saved."""
    take = studio.put("one.mp4", b"changed", sha256="0" * 64)
    assert studio.collect(a=take) == {"a.mp4": Became.REFUSED}
    assert [path.name for path in studio.final.iterdir()] == [".batchvid-collected.json"]


def test_a_link_in_the_way_is_left_alone(studio: Studio) -> None:
    """Nothing is written through it, nor into a folder that is one."""
    studio.final.mkdir()
    victim = studio.final.parent / "victim.mp4"
    victim.write_bytes(b"precious")
    (studio.final / "a.mp4").symlink_to(victim)
    (studio.final / "b").symlink_to(studio.final.parent)
    take = studio.put("one.mp4", b"first")
    assert studio.collect(a=take) == {"a.mp4": Became.REFUSED}
    assert studio.collect(**{"b/victim": take}) == {"b/victim.mp4": Became.REFUSED}
    assert victim.read_bytes() == b"precious"
