"""Whole runs whose clips go into a bucket of a real store."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore
import pytest

from batchvid.domain.errors import ConfigError, Exit, StoreAwayError
from batchvid.domain.film import Film
from batchvid.domain.job import State
from batchvid.storage.object_store import ObjectStore
from batchvid.storage.objects import connect
from tests.run.bench import Bench, chain, jobs, small_clips
from tests.storage.buckets import BUCKET, KEYS, Way, moto, way_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import ObjectStore as Client

    from tests.run.conftest import MakeBench

pytestmark = pytest.mark.xdist_group("moto")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the clips of all runs of a test go."""

    url: str
    client: Client
    way: Way

    def keys(self) -> set[str]:
        """Return what is there."""
        return {one["path"] for page in obstore.list(self.client) for one in page}

    def read(self, key: str) -> bytes:
        """Return an object."""
        return bytes(obstore.get(self.client, key).bytes())

    def watched(self, bench: Bench) -> Bench:
        """Let the bench put its clips here, and look for them after each run."""
        bench.bucket = self.url
        bench.clip = self.read  # type: ignore[method-assign, assignment]
        return bench


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a store."""
    with moto(tmp_path_factory.mktemp("moto")) as found:
        yield found


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Return an empty one, to which the environment leads."""
    url = f"s3://{BUCKET}/runs/{secrets.token_hex(4)}"
    with way_to(address) as (way_in, way):
        for name, value in {**KEYS, "endpoint_url": way_in}.items():
            monkeypatch.setenv(f"AWS_{name.upper()}", value)
        monkeypatch.setattr(ObjectStore.__init__, "__kwdefaults__", {"options": None, "waits_s": ()})
        yield Bucket(url, connect(url, {}), way)


def test_a_chain_and_its_film_are_made_in_a_bucket(make_bench: MakeBench, bucket: Bucket) -> None:
    """Frames are taken from clips there; a second run buys and fetches nothing, and a lost clip is fetched again."""
    bench = bucket.watched(make_bench(clips=small_clips))
    bench.films = (Film("flight", ("kite", "dive"), "flight.mp4"),)
    wanted = chain("kite", "dive")
    assert bench.run(wanted).exit_code is Exit.OK
    names = {f"{name}.{kind}" for name in ("kite", "dive", "flight") for kind in ("mp4", "json")} | {"clips.jsonl"}
    assert bucket.keys() == names
    assert bucket.read("clips.jsonl") == (bench.folder / "clips.jsonl").read_bytes()
    bucket.way.asked.clear()
    assert bench.run(wanted).exit_code is Exit.OK
    assert not [what for what in bucket.way.asked if what.startswith("PUT") and "probe" not in what]
    obstore.delete(bucket.client, "dive.mp4")
    assert bench.run(wanted).exit_code is Exit.OK
    assert bucket.keys() == names
    assert set(bench.bought().values()) == {1}


def test_a_store_that_is_away_for_a_while_costs_tries_and_no_money(make_bench: MakeBench, bucket: Bucket) -> None:
    """The run goes on, the clip waits on this machine, and nothing is transferred or bought twice."""
    bench = bucket.watched(make_bench())
    away: list[str] = []

    def fails(what: str) -> bool:
        if what.startswith("PUT") and "job-02" in what and len(away) < 3:
            away.append(what)
            return True
        return False

    bucket.way.fails = fails
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert len(away) == 3
    assert {row.state for row in bench.rows().values()} == {State.DONE}
    assert set(bench.bought().values()) == {1}
    assert len(bench.service.sent("fetch")) == 3


def test_a_name_that_is_taken_in_the_bucket_is_refused_before_the_paid_post(
    make_bench: MakeBench, bucket: Bucket
) -> None:
    """It could not be saved there."""
    bench = bucket.watched(make_bench())
    obstore.put(bucket.client, "job-02.mp4", b"a holiday film")
    assert bench.run(jobs(3)).exit_code is Exit.FAILED
    assert sorted(bench.bought()) == ["The clip job-01.", "The clip job-03."]
    assert bucket.read("job-02.mp4") == b"a holiday film"


def test_clips_wait_on_this_machine_while_the_store_is_away(make_bench: MakeBench, bucket: Bucket) -> None:
    """After an hour the run ends with exit 8 and has bought nothing more; the next one sends what waits, free."""
    bench = bucket.watched(make_bench())
    bucket.way.fails = lambda what: what.startswith("PUT") and "job-" in what
    summary = bench.run(jobs(30), checked=False)
    assert summary.exit_code is Exit.DISK
    assert "503" in (summary.stopped or "")
    bought, fetched = len(bench.creates), len(bench.service.sent("fetch"))
    assert 0 < bought < 30
    assert fetched == bought
    bucket.way.fails = lambda _: False
    assert bench.run(jobs(30)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}
    assert len(bench.service.sent("fetch")) == 30
    assert not list((bench.folder / ".batchvid" / "scratch").rglob("*.part"))


def test_a_store_that_is_away_at_the_beginning_costs_nothing(make_bench: MakeBench, bucket: Bucket) -> None:
    """The run does not begin."""
    bench = bucket.watched(make_bench())
    bucket.way.fails = lambda _: True
    with pytest.raises(StoreAwayError) as caught:
        bench.run(jobs(3))
    assert caught.value.exit_code == 8
    assert bench.creates == []


def test_a_store_that_is_away_while_names_are_looked_up_only_delays(make_bench: MakeBench, bucket: Bucket) -> None:
    """The night goes on behind it."""
    bench = bucket.watched(make_bench())
    away: list[str] = []

    def fails(what: str) -> bool:
        if what.startswith("HEAD") and "job-02" in what and len(away) < 5:
            away.append(what)
            return True
        return False

    bucket.way.fails = fails
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert len(away) == 5
    assert [note for note in bench.view.notes if note.startswith("nothing is bought meanwhile: cannot look at job-02")]
    assert set(bench.bought().values()) == {1}


def test_a_store_that_replaces_unasked_is_refused_before_anything_is_paid(
    make_bench: MakeBench, bucket: Bucket
) -> None:
    """Two workers could replace each other's clips there."""
    bench = bucket.watched(make_bench())
    bucket.way.lies = True
    with pytest.raises(ConfigError, match="If-None-Match") as caught:
        bench.run(jobs(3))
    assert caught.value.exit_code == 78
    assert bench.creates == []


def test_a_scratch_folder_that_is_lost_is_fetched_again_free(make_bench: MakeBench, bucket: Bucket) -> None:
    """The paid tasks are in the journal, which is elsewhere."""
    bench = bucket.watched(make_bench())
    bucket.way.fails = lambda what: what.startswith("PUT") and "job-" in what
    assert bench.run(jobs(2), checked=False).exit_code is Exit.DISK
    shutil.rmtree(bench.folder / ".batchvid" / "scratch")
    bucket.way.fails = lambda _: False
    assert bench.run(jobs(2)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}
    assert len(bench.service.sent("fetch")) > 2


def test_a_run_with_nothing_to_do_asks_for_one_list(make_bench: MakeBench, bucket: Bucket) -> None:
    """And not for each clip."""
    bench = bucket.watched(make_bench())
    assert bench.run(jobs(30)).exit_code is Exit.OK
    bucket.way.asked.clear()
    assert bench.run(jobs(30), checked=False).exit_code is Exit.OK
    asked = [what for what in bucket.way.asked if "probe" not in what and not what.startswith("POST")]
    kinds = Counter(what.split()[0] for what in asked)
    assert kinds == {"GET": 3, "HEAD": 1}, asked  # whose it is; two pages of a list, the last one empty; clips.jsonl
