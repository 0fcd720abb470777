"""The process dies, or the disk fails, at any effect of a run that gives jobs other ids; the next one makes it good."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import BatchvidError, Exit
from batchvid.domain.job import State
from tests.crash.fuse import DiskTrouble, Fuse, Kill, wired
from tests.run.bench import Bench, after, chain, job, quick_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchvid.domain.job import Job

NEW_IDS = {"kite": "gull", "one": "a", "two": "b"}


@pytest.fixture
def quick() -> Iterator[Path]:
    """Return a folder in memory."""
    with quick_folder() as folder:
        yield folder


def before() -> list[Job]:
    """Return the jobs under their first ids: one by itself, and a chain."""
    return [job("kite"), *chain("one", "two")]


def afterwards() -> list[Job]:
    """Return them under other ids, one with another folder for its clip."""
    kite, one, two = before()
    return [
        replace(kite, id="gull", path="shots/gull.mp4"),
        replace(one, id="a", path="a.mp4"),
        after("a", "b", like=replace(two, id="b", path="b.mp4")),
    ]


def run_into(fuse: Fuse, bench: Bench, wanted: list[Job]) -> None:
    """Run until the end, or until the fuse ends it."""
    with wired(fuse, bench):
        try:
            bench.run(wanted, checked=False)
        except BatchvidError:
            assert fuse.blown
        except BaseException:  # the death that the test made; whatever else is raised again
            if not (isinstance(fuse, Kill) and fuse.blown):
                raise


@pytest.mark.parametrize("then", [before, afterwards], ids=["taken back", "kept"])
@pytest.mark.parametrize("make", [Kill, DiskTrouble])
def test_wherever_it_ends_nothing_is_bought_and_no_clip_is_lost(
    quick: Path, make: Callable[[int], Fuse], then: Callable[[], list[Job]]
) -> None:
    """For n = 1, 2, 3 … its n-th effect is its last; then the manifest stays as it is, or is as it was again."""
    n, blown = 0, True
    while blown:
        n += 1
        bench, fuse = Bench(quick / f"n-{n}"), make(n)
        bench.run(before())
        clips = {name: bench.clip(f"{name}.mp4") for name in NEW_IDS}
        run_into(fuse, bench, afterwards())
        blown = fuse.blown
        bench.now += 5
        summary = bench.run(then())
        assert summary.exit_code is Exit.OK, (n, fuse.effects[-3:], summary)
        assert len(bench.creates) == len(NEW_IDS)
        for (old, clip), one in zip(clips.items(), then(), strict=True):
            row = bench.row(one.id)
            assert (row.state, row.path) == (State.DONE, one.path), (n, fuse.effects[-3:], old)
            assert bench.clip(one.path) == clip
        found = {str(path.relative_to(bench.folder)) for path in bench.folder.rglob("*.*") if path.is_file()}
        expected = {one.path for one in then()} | {one.path.replace(".mp4", ".json") for one in then()}
        left = {name for name in found - expected if not name.startswith(".batchvid") and name != "clips.jsonl"}
        assert left == set(), (n, fuse.effects[-3:])
    assert n > 20
