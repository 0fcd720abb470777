"""Whole runs whose clips go into a bucket of a real store."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore
import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.film import Film
from batchvid.domain.job import State
from batchvid.storage.object_store import ObjectStore
from batchvid.storage.objects import connect
from tests.run.bench import Bench, chain, jobs, small_clips
from tests.storage.buckets import BUCKET, KEYS, Way, moto, way_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from obstore.store import ObjectStore as Client

    from tests.run.conftest import MakeBench

pytestmark = pytest.mark.xdist_group("moto")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the clips of all runs of a test go."""

    client: Client
    way: Way

    def keys(self) -> set[str]:
        """Return what is there."""
        return {one["path"] for page in obstore.list(self.client) for one in page}

    def read(self, key: str) -> bytes:
        """Return an object."""
        return bytes(obstore.get(self.client, key).bytes())

    def watched(self, bench: Bench) -> Bench:
        """Let the bench look for clips here, after each run too."""
        bench.clip = self.read  # type: ignore[method-assign, assignment]
        return bench


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a store."""
    with moto(tmp_path_factory.mktemp("moto")) as found:
        yield found


@pytest.fixture
def bucket(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Return an empty one, which every run uses."""
    url = f"s3://{BUCKET}/runs/{secrets.token_hex(4)}"
    with way_to(address) as (way_in, way):
        options = {**KEYS, "endpoint": way_in}

        def store(_: Path) -> ObjectStore:
            return ObjectStore(url, tmp_path / "scratch", options=options, waits_s=())

        monkeypatch.setattr("batchvid.storage.output.LocalStore", store)
        yield Bucket(connect(url, options), way)


def test_a_chain_and_its_film_are_made_in_a_bucket(make_bench: MakeBench, bucket: Bucket) -> None:
    """Frames are taken from clips there; a second run buys and fetches nothing, and a lost clip is fetched again."""
    bench = bucket.watched(make_bench(clips=small_clips))
    bench.films = (Film("flight", ("kite", "dive"), "flight.mp4"),)
    wanted = chain("kite", "dive")
    assert bench.run(wanted).exit_code is Exit.OK
    names = {f"{name}.{kind}" for name in ("kite", "dive", "flight") for kind in ("mp4", "json")}
    assert bucket.keys() == names
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
