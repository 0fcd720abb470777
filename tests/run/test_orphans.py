"""Paid task ids that could not be journaled: whatever stands in their file, a run goes on, and no line is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.journal.orphans import append, path_of, read
from tests.run.bench import jobs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.bench import Bench
    from tests.run.conftest import MakeBench

GOOD = {"job_id": "job-02", "attempt": 1, "task_id": "", "at": "2027-01-15T08:00:00Z"}
STRANGE: dict[str, bytes] = {
    "a list": b"[1, 2]",
    "lists in it": b'{"job_id": ["kite"], "attempt": [1], "task_id": ["t"]}',
    "a number beyond 64 bits": b'{"job_id": "kite", "attempt": 18446744073709551616, "task_id": "t"}',
    "a number of 5,000 digits": b'{"job_id": "kite", "attempt": ' + b"9" * 5000 + b', "task_id": "t"}',
    "wrong types": b'{"job_id": 1, "attempt": "1", "task_id": null}',
    "a truth": b'{"job_id": "kite", "attempt": true, "task_id": "t"}',
    "no task": b'{"job_id": "kite", "attempt": 1}',
    "an empty task": b'{"job_id": "kite", "attempt": 1, "task_id": ""}',
    "a huge line": b'{"job_id": "' + b"x" * 5_000_000 + b'", "attempt": 1, "task_id": "t"}',
    "no UTF-8": b'{"job_id": "\xff\xfe", "attempt": 1, "task_id": "t"}',
    "NUL": b"\0\0\0",
    "half a line": b'{"job_id": "ki',
    "a deep one": b"[" * 100_000,
}


def orphans(bench: Bench) -> Path:
    """Return the file."""
    return bench.folder / ".batchvid" / "orphans.jsonl"


@pytest.mark.parametrize("what", STRANGE)
def test_a_line_that_makes_no_sense_is_told_and_kept(make_bench: MakeBench, what: str) -> None:
    """Its number is named; what is beside it is taken up; every run tells of it until somebody has looked."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "reset": "after-effect"})
    assert bench.run(jobs(2)).exit_code is Exit.IN_DOUBT
    task_id = next(line["task_id"] for line in bench.creates if "job-02" in line["prompt"])
    good = json.dumps(GOOD | {"task_id": task_id}).encode()
    orphans(bench).write_bytes(STRANGE[what] + b"\n" + good)
    assert bench.run(jobs(2), checked=False).exit_code is Exit.OK
    assert bench.row("job-02").task_id == task_id
    assert orphans(bench).read_bytes() == STRANGE[what] + b"\n"
    assert good in (bench.folder / ".batchvid" / "orphans.adopted.jsonl").read_bytes()
    assert any("line 1 of" in note and "makes no sense" in note for note in bench.view.notes)
    assert bench.run(jobs(2), checked=False).exit_code is Exit.OK
    assert any("line 1 of" in note for note in bench.view.notes)


def test_a_task_that_the_journal_cannot_place_is_told_and_kept(make_bench: MakeBench) -> None:
    """Its job is done with another task: the line stays where it is."""
    bench = make_bench()
    bench.run(jobs(2))
    line = json.dumps(GOOD | {"task_id": "task_other"}) + "\n"
    orphans(bench).write_text(line)
    assert bench.run(jobs(2), checked=False).exit_code is Exit.OK
    assert any("names task task_other of job 'job-02', attempt 1" in note for note in bench.view.notes)
    assert orphans(bench).read_text() == line


def test_what_was_taken_up_earlier_is_kept_too(make_bench: MakeBench) -> None:
    """A second emergency does not overwrite the record of the first."""
    bench = make_bench({"on": "create", "prompt": "*", "reset": "after-effect"})
    for number in (1, 2):
        assert bench.run(jobs(number)).exit_code is Exit.IN_DOUBT
        prompt = f"The clip job-{number:02}."
        task_id = next(line["task_id"] for line in bench.creates if line["prompt"] == prompt)
        orphans(bench).write_text(json.dumps({"job_id": f"job-{number:02}", "attempt": 1, "task_id": task_id}))
        bench.run(jobs(number))
        assert bench.row(f"job-{number:02}").state is State.DONE
    kept = (bench.folder / ".batchvid" / "orphans.adopted.jsonl").read_text().splitlines()
    assert len(kept) == 2
    assert not orphans(bench).exists()


def test_a_line_that_was_cut_off_takes_no_later_one_with_it(tmp_path: Path) -> None:
    """A full disk left half a line: the next paid task id stands in a line of its own."""
    (tmp_path / ".batchvid").mkdir()
    path_of(tmp_path).write_bytes(b'{"job_id": "ki')
    append(tmp_path, GOOD | {"task_id": "t"})
    found = read(tmp_path)
    assert [one.task_id for one in found.known.values()] == ["t"]
    assert list(found.strange.values()) == [1]
