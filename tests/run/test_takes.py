"""The takes of a job that are there: the clip that it has now, and those that are kept beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.domain.film import Film, FilmState
from batchvid.domain.job import State
from batchvid.engine.takes import takes_of
from batchvid.storage.local import LocalStore
from tests.run.bench import QUICK, job, jobs
from tests.run.test_rejected import NO, YES, decide, each_another, store_of

if TYPE_CHECKING:
    from batchvid.domain.job import Job
    from batchvid.domain.takes import Take
    from tests.run.bench import Bench
    from tests.run.conftest import MakeBench

OFTEN = replace(QUICK, attempts=5)


def takes(bench: Bench) -> list[Take]:
    """Return the takes of the first job."""
    reader = store_of(bench).read()
    assert reader is not None
    with reader:
        return takes_of(["job-01", "unknown"], reader, LocalStore(bench.folder)).get("job-01", [])


def test_every_clip_that_is_there_is_a_take(make_bench: MakeBench) -> None:
    """The newest first, each with what was decided about it, and its own content."""
    bench = make_bench(clips=each_another())
    for verdict in (NO, NO, YES):
        bench.run(jobs(1), OFTEN)
        decide(bench, "job-01", verdict=verdict)
    found = takes(bench)
    assert [(one.attempt, one.path, one.is_current, one.verdict) for one in found] == [
        (3, "job-01.mp4", True, YES),
        (2, "job-01.attempt-2.mp4", False, NO),
        (1, "job-01.attempt-1.mp4", False, NO),
    ]
    for one in found:
        assert bench.clip(one.path)
        assert LocalStore(bench.folder).check(one.path, size_bytes=one.size_bytes, sha256=one.sha256, full=True) is None
    (bench.folder / "job-01.attempt-2.mp4").unlink()
    assert [one.attempt for one in takes(bench)] == [3, 1]


def test_the_clip_of_before_is_a_take_while_the_next_one_is_made(make_bench: MakeBench) -> None:
    """It still has the job's name then."""
    bench = make_bench(clips=each_another())
    bench.run(jobs(1), OFTEN)
    decide(bench, "job-01")
    bench.script({"on": "create", "fail": "blocked"})
    bench.run(jobs(1))
    assert [(one.attempt, one.path, one.is_current) for one in takes(bench)] == [(1, "job-01.mp4", False)]


def test_a_damaged_clip_that_is_kept_beside_is_no_take(make_bench: MakeBench) -> None:
    """It has the number of the attempt, and the true one gets another name."""
    bench = make_bench(clips=each_another())
    bench.run(jobs(1), OFTEN)
    (bench.folder / "job-01.mp4").write_bytes(b"half")
    bench.run(jobs(1), OFTEN)
    decide(bench, "job-01")
    bench.run(jobs(1), OFTEN)
    assert bench.clip("job-01.attempt-1.mp4") == b"half"
    assert [one.path for one in takes(bench)] == ["job-01.mp4", "job-01.attempt-1.2.mp4"]


# ---- films


FILM = Film("film", ("job-01", "job-02"), "film.mp4", (("job-01", "job-01-2"),))


def three() -> list[Job]:
    """Return two clips of a film, and a second take of the first."""
    return [*jobs(2), replace(job("job-01-2"), first_take="job-01")]


def made_of(bench: Bench) -> list[str]:
    """Return the SHA-256 of the clips that the film is made of."""
    return [clip["sha256"] for clip in json.loads(bench.clip("film.json"))["clips"]]


def hashes(bench: Bench, *paths: str) -> list[str]:
    """Return the SHA-256 of these files."""
    return [hashlib.sha256(bench.clip(path)).hexdigest() for path in paths]


def test_a_film_takes_the_approved_take_and_is_made_again_only_then(make_bench: MakeBench) -> None:
    """Without decisions it is what it was: the first take, and the very same bytes."""
    bench = make_bench(clips=each_another())
    bench.films = (FILM,)
    bench.run(three(), OFTEN)
    first = bench.clip("film.json")
    assert made_of(bench) == hashes(bench, "job-01.mp4", "job-02.mp4")
    bench.run(three(), OFTEN)
    assert bench.clip("film.json") == first
    decide(bench, "job-01-2", verdict=YES)
    bench.run(three(), OFTEN)
    assert made_of(bench) == hashes(bench, "job-01-2.mp4", "job-02.mp4")
    decide(bench, "job-01", verdict=YES)
    bench.run(three(), OFTEN)
    assert made_of(bench) == hashes(bench, "job-01.mp4", "job-02.mp4")
    assert len(bench.creates) == 3


def test_a_film_takes_the_clip_of_an_earlier_attempt_that_is_approved_after_all(make_bench: MakeBench) -> None:
    """It is kept beside; what a job has now is no longer what the film is made of."""
    bench = make_bench(clips=each_another())
    bench.films = (FILM,)
    bench.run(three(), OFTEN)
    decide(bench, "job-02")
    bench.run(three(), OFTEN)
    assert made_of(bench) == hashes(bench, "job-01.mp4", "job-02.mp4")
    decide(bench, "job-02", attempt=1, verdict=YES)
    bench.run(three(), OFTEN)
    assert made_of(bench) == hashes(bench, "job-01.mp4", "job-02.attempt-1.mp4")
    (bench.folder / "job-02.attempt-1.mp4").unlink()
    bench.run(three(), OFTEN)
    assert made_of(bench) == hashes(bench, "job-01.mp4", "job-02.mp4")


def test_a_film_waits_for_the_next_attempt_unless_another_take_is_approved(make_bench: MakeBench) -> None:
    """A rejected clip whose job failed since is nothing to show."""
    bench = make_bench(clips=each_another())
    bench.run(three(), OFTEN)
    decide(bench, "job-01")
    bench.script({"on": "create", "fail": "blocked"})
    bench.run(three())
    assert bench.row("job-01").state is State.FAILED
    bench.films = (FILM,)
    assert bench.run(three()).films[0].state is FilmState.WAITING
    decide(bench, "job-01-2", verdict=YES)
    assert bench.run(three()).films[0].state is FilmState.MADE
    assert made_of(bench) == hashes(bench, "job-01-2.mp4", "job-02.mp4")


def test_a_film_that_shows_two_takes_shows_both(make_bench: MakeBench) -> None:
    """Whoever names them wants them."""
    bench = make_bench(clips=each_another())
    bench.films = (replace(FILM, clips=("job-01", "job-01-2")),)
    bench.run(three(), OFTEN)
    decide(bench, "job-01-2", verdict=YES)
    bench.run(three(), OFTEN)
    assert made_of(bench) == hashes(bench, "job-01.mp4", "job-01-2.mp4")
