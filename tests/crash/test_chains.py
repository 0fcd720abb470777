"""The process dies, or the disk fails, at every single effect of a run that makes a chain and a film of it.

After each death the next run goes on: no link is bought twice, and no half film has ever had the film's name.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import BatchvidError, Exit
from batchvid.domain.film import Film
from batchvid.domain.job import State
from batchvid.domain.limits import Rate
from batchvid.media.frames import decode_clip
from batchvid.sandbox.render import tiny_clips
from tests.crash.fuse import DiskTrouble, Fuse, Kill, wired
from tests.run.bench import QUICK, Bench, chain, quick_folder

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = replace(QUICK, in_flight=2, submits=Rate(60, 60), requests=Rate(20, 1), typical_time_s=30.0)
WANTED = chain("kite", "dive")
FILM = Film("both", ("kite", "dive"), "both.mp4")


def place(folder: Path) -> Bench:
    """Return a bench for the chain and its film."""
    bench = Bench(folder, clips=tiny_clips)
    bench.films = (FILM,)
    return bench


def run_into(fuse: Fuse, bench: Bench) -> None:
    """Run until the end, or until the fuse ends it."""
    with wired(fuse, bench):
        try:
            bench.run(WANTED, LIMITS, checked=False)
        except BatchvidError:
            assert fuse.blown
        except BaseException:  # the death or the disk that the test made; whatever else is raised again
            if not (isinstance(fuse, Kill) and fuse.blown):
                raise
    _check_film(bench)


def recover(bench: Bench) -> None:
    """Run again, undisturbed, and once more, which must change nothing."""
    bench.now += 5
    summary = bench.run(WANTED, LIMITS)
    doubtful = [row.job_id for row in bench.rows().values() if row.state is State.IN_DOUBT]
    assert len(doubtful) <= 1
    assert summary.exit_code is (Exit.IN_DOUBT if doubtful else Exit.OK), summary
    assert all(number == 1 for number in bench.bought().values()), bench.bought()
    if not doubtful:
        assert decode_clip(bench.folder / FILM.path).duration_s == pytest.approx(16.0, abs=0.2)
        told = json.loads(bench.clip("dive.json"))["continues"]
        assert told["frame_sha256"] == bench.creates[1]["frames"][0]
    _check_film(bench)
    assert not [*bench.folder.glob(".*.new"), *bench.folder.glob(f"{FILM.path}.part*")]
    calls = len(bench.service.calls)
    bench.run(WANTED, LIMITS)
    assert len(bench.service.calls) == calls


def _check_film(bench: Bench) -> None:
    path = bench.folder / FILM.path
    if path.exists():
        assert decode_clip(path).frames == 128


def test_a_death_before_any_effect_of_a_chain_buys_no_link_twice_and_leaves_no_half_film() -> None:
    """For n = 1, 2, 3 … the process dies just before its n-th effect, until a run gets through."""
    with quick_folder() as folder:
        n, blown = 0, True
        while blown:
            n += 1
            bench, fuse = place(folder / f"kill-{n}"), Kill(n)
            run_into(fuse, bench)
            blown = fuse.blown
            recover(bench)
    assert n > 70


def test_a_disk_that_fails_at_any_effect_of_a_chain_does_no_harm() -> None:
    """The n-th change of the disk fails, for every n; the next run has room."""
    with quick_folder() as folder:
        n, blown = 0, True
        while blown:
            n += 1
            bench, fuse = place(folder / f"disk-{n}"), DiskTrouble(n)
            run_into(fuse, bench)
            blown = fuse.blown
            recover(bench)
    assert n > 60
