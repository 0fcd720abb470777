"""``clips.jsonl`` says after each run what is true, and is left alone when it does already."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.decision import Decision, Verdict
from batchvid.journal.sqlite import SqliteStore
from tests.run.bench import Bench, job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchvid.domain.job import Job

JOBS = [job("kite"), job("dawn")]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return an output with two clips, after a run that had nothing to do."""
    found = Bench(tmp_path / "out")
    found.run(JOBS)
    found.run(JOBS)
    return found


def told(bench: Bench) -> list[dict[str, Any]]:
    """Return the lines of the list."""
    return [json.loads(line) for line in bench.clip("clips.jsonl").splitlines()]


def test_a_run_that_has_nothing_to_do_reads_the_list_no_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes it at the word of the journal, and of the file's inode, size and time."""
    before = told(bench)
    monkeypatch.setattr("batchvid.storage.state.holds", None)  # what compares it, line by line
    bench.run(JOBS)
    assert told(bench) == before


def edited(bench: Bench) -> None:
    """Somebody wrote to it, as many bytes as before."""
    path = bench.folder / "clips.jsonl"
    path.write_text(path.read_text().replace("kite", "kitf"))


def removed(bench: Bench) -> None:
    """Somebody removed it."""
    (bench.folder / "clips.jsonl").unlink()


def copied(bench: Bench) -> None:
    """Somebody put an older one in its place, with the time that it had."""
    path = bench.folder / "clips.jsonl"
    stat, content = path.stat(), path.read_text()
    path.unlink()
    (bench.folder / "hold-the-inode").touch()
    path.write_text(content.replace("kite", "kitf"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("change", [edited, removed, copied])
def test_a_list_that_somebody_touched_is_written_again(bench: Bench, change: Callable[[Bench], None]) -> None:
    """It is a memory of what was paid."""
    before = told(bench)
    change(bench)
    bench.run(JOBS)
    assert told(bench) == before


def test_a_decision_stands_in_it_after_the_next_run(bench: Bench) -> None:
    """Though the run has nothing to do."""
    store = SqliteStore(bench.folder / ".batchvid" / "journal.db")
    store.decide([Decision("kite", 1, 1_800_000_000.0, "mai", Verdict.APPROVED, 5, "good")])
    bench.run(JOBS)
    assert told(bench)[0]["review"]["note"] == "good"


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        (JOBS[::-1], [("dawn", "dawn.mp4"), ("kite", "kite.mp4")]),
        (JOBS[:1], [("kite", "kite.mp4")]),
        ([replace(JOBS[0], id="gull", path="gull.mp4"), JOBS[1]], [("gull", "gull.mp4"), ("dawn", "dawn.mp4")]),
    ],
    ids=["another order", "fewer jobs", "another name"],
)
def test_it_follows_the_manifest(bench: Bench, jobs: list[Job], expected: list[tuple[str, str]]) -> None:
    """Its lines are the manifest's jobs, in their order, under the names that their clips have now."""
    bench.run(jobs)
    bench.run(jobs)
    assert [(line["id"], line["path"]) for line in told(bench)] == expected
