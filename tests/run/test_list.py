"""The list of clips is true after every run, also after one that finds it so and does not write it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.lifecycle import ClipMissing
from batchvid.journal.base import Change
from batchvid.journal.sqlite import SqliteStore
from tests.crash.effect import Effect, KillAt
from tests.crash.fuse import Fuse, Killed, wired
from tests.run.bench import BASE_URL, Bench, after, changed, jobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchvid.domain.job import Job


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a place to run in, whose clips are made."""
    bench = Bench(tmp_path / "out")
    bench.run(jobs(3))
    return bench


def listed(bench: Bench, field: str = "id") -> list[Any]:
    """Return one field of each line."""
    return [json.loads(line)[field] for line in (bench.folder / "clips.jsonl").read_text("utf-8").splitlines()]


def is_left_alone(bench: Bench, wanted: Sequence[Job]) -> bool:
    """Run, and return whether the list is still the same file."""
    before = (bench.folder / "clips.jsonl").stat()
    bench.run(wanted)
    after = (bench.folder / "clips.jsonl").stat()
    return (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_run_with_nothing_to_do_leaves_the_list_alone(bench: Bench) -> None:
    """However often."""
    assert is_left_alone(bench, jobs(3))
    assert is_left_alone(bench, jobs(3))
    assert listed(bench) == ["job-01", "job-02", "job-03"]


def test_the_list_follows_the_manifest(bench: Bench) -> None:
    """Its order, its jobs, its models and its chains, although nothing is recorded; and back again."""
    one, two, three = jobs(3)
    for wanted in ([three, one, two], [three, one], jobs(3)):
        assert not is_left_alone(bench, wanted)
        assert listed(bench) == [each.id for each in wanted]
    assert not is_left_alone(bench, [one, two, replace(three, model="veo4")])
    assert listed(bench, "model") == ["veo3-fast", "veo3-fast", "veo4"]
    behind = after("job-01", "job-03")
    assert not is_left_alone(bench, [one, two, behind])
    assert json.loads((bench.folder / "clips.jsonl").read_text("utf-8").splitlines()[2])["continues"] == "job-01"
    assert is_left_alone(bench, [one, two, behind])


def test_a_run_with_nothing_to_do_does_not_read_the_list(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes it at the word of the journal, and of the file's inode, size and time."""
    monkeypatch.setattr("batchvid.storage.state.holds", None)  # what compares it, line by line
    assert is_left_alone(bench, jobs(3))


@pytest.mark.parametrize("what", ["gone", "edited", "longer", "a link", "an older one"])
def test_a_list_that_is_not_as_it_was_left_is_written_again(bench: Bench, what: str) -> None:
    """Also where it is of the same length."""
    path = bench.folder / "clips.jsonl"
    whole = path.read_bytes()
    match what:
        case "gone":
            path.unlink()
        case "edited":
            path.write_bytes(b" " * len(whole))
        case "longer":
            path.write_bytes(whole * 2)
        case "a link":
            path.rename(path.with_name("mine.jsonl"))
            path.symlink_to("mine.jsonl")
        case "an older one":  # of the same length, with the time that it had
            stat = path.stat()
            path.rename(path.with_name("old.jsonl"))
            path.write_bytes(b" " * len(whole))
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    bench.run(jobs(3))
    assert path.read_bytes() == whole
    assert not path.is_symlink()


def test_what_came_between_two_runs_is_in_the_list(bench: Bench) -> None:
    """A person's session records, and writes no list."""
    store = SqliteStore(bench.folder / ".batchvid" / "journal.db")
    with store.open(service=BASE_URL) as journal:
        row = journal.progress("job-02")
        assert row is not None
        journal.record([Change.of(row, (ClipMissing("a person looked"), bench.wall()))])
    assert not is_left_alone(bench, jobs(3))
    first, second, _ = listed(bench, "finished_at")
    assert second > first


def test_a_decision_stands_in_the_list_after_the_next_run(bench: Bench) -> None:
    """Though that has nothing to do."""
    store = SqliteStore(bench.folder / ".batchvid" / "journal.db")
    store.decide([Decision("job-01", 1, bench.wall(), "mai", Verdict.APPROVED, 5, "good")])
    assert not is_left_alone(bench, jobs(3))
    assert json.loads((bench.folder / "clips.jsonl").read_text("utf-8").splitlines()[0])["review"]["note"] == "good"


def test_a_clip_that_was_bought_again_is_listed_as_it_is(bench: Bench) -> None:
    """Its attempt and its hash, in a line of the same length."""
    bench.run([changed(jobs(3)[0], "Another clip one."), *jobs(3)[1:]], rebuy=True, checked=False)
    assert listed(bench, "attempt") == [2, 1, 1]


def test_a_run_that_is_killed_at_its_end_leaves_no_old_list(bench: Bench) -> None:
    """Wherever it is killed: before the list, in it, or behind it."""
    wanted, fuse = jobs(3), Fuse()
    with wired(fuse, bench):
        bench.run(wanted[::-1])
    for at in range(1, len(fuse.effects) + 1):
        wanted = wanted[::-1]
        with wired(KillAt(Effect(None, at)), bench), pytest.raises(Killed):
            bench.run(wanted, checked=False)
        bench.run(wanted)
        assert listed(bench) == [one.id for one in wanted]
        assert is_left_alone(bench, wanted)
        assert not (bench.folder / ".clips.jsonl.new").exists()


def test_half_a_list_does_not_stay_beside_a_true_one(bench: Bench) -> None:
    """A run was killed in the midst of a list, and the manifest is as it was again."""
    half = bench.folder / ".clips.jsonl.new"
    half.write_bytes(b'{"id": ')
    assert is_left_alone(bench, jobs(3))
    assert not half.exists()
