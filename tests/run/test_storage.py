"""The disk fails in the midst of a run: nothing is sent that could not be remembered, and no paid id is lost."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit, StorageError
from batchvid.domain.job import State
from batchvid.journal.sqlite import SqliteJournal
from tests.run.bench import jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.domain.lifecycle import Event
    from batchvid.journal.base import Change
    from tests.run.conftest import MakeBench


def break_journal(patch: pytest.MonkeyPatch, kind: type[Event], *, job_id: str) -> None:
    """Let the journal refuse everything, from the moment at which it should keep such an event of this job."""
    true_record = SqliteJournal.record
    broken: list[str] = []

    def record(journal: SqliteJournal, changes: Sequence[Change]) -> None:
        kinds = {type(event) for change in changes if change.before.job_id == job_id for event, _ in change.events}
        if kind in kinds:
            broken.append(job_id)
        if broken:
            raise StorageError("cannot write the journal: the disk is full")
        true_record(journal, changes)

    patch.setattr(SqliteJournal, "record", record)


def test_what_cannot_be_journaled_is_not_sent(make_bench: MakeBench) -> None:
    """The intent does not reach the disk: no POST for it, the run ends with the disk's error, later runs are whole."""
    bench = make_bench()
    with pytest.MonkeyPatch.context() as patch:
        break_journal(patch, life.SubmitStarted, job_id="job-03")
        with pytest.raises(StorageError, match="the disk is full"):
            bench.run(jobs(5))
    assert sorted(bench.bought()) == ["The clip job-01.", "The clip job-02."]
    assert len(bench.service.sent("post")) == 2
    assert bench.run(jobs(5)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}


def test_a_paid_id_that_cannot_be_journaled_is_kept_and_told(make_bench: MakeBench) -> None:
    """The answer came, the disk failed: the id is in ``orphans.jsonl`` and on the screen; the next run takes it up."""
    bench = make_bench()
    with pytest.MonkeyPatch.context() as patch:
        break_journal(patch, life.SubmitAccepted, job_id="job-03")
        with pytest.raises(StorageError, match="the disk is full"):
            bench.run(jobs(5))
    paid = next(line["task_id"] for line in bench.creates if "job-03" in line["prompt"])
    (orphan,) = [json.loads(line) for line in bench.clip(".batchvid/orphans.jsonl").splitlines()]
    assert (orphan["job_id"], orphan["attempt"], orphan["task_id"]) == ("job-03", 1, paid)
    assert any(paid in note and "batchvid adopt" in note for note in bench.view.notes)
    assert len(bench.service.sent("post")) == 3
    assert bench.run(jobs(5)).exit_code is Exit.OK
    assert bench.row("job-03").task_id == paid
    assert set(bench.bought().values()) == {1}


@pytest.mark.parametrize("kind", [life.SubmitRefused, life.SubmitUnsure, life.TaskSucceeded, life.ClipSaved])
def test_a_journal_that_fails_at_any_other_event_costs_a_second_run_and_no_money(
    make_bench: MakeBench, kind: type[Event]
) -> None:
    """Whatever is not recorded is found again or held: no create is repeated."""
    bench = make_bench(
        {"on": "create", "prompt": "*job-02*", "nth": 1, "status": 429, "body": ""}
        if kind is life.SubmitRefused
        else {"on": "create", "prompt": "*job-02*", "reset": "after-effect"},
    )
    job_id = "job-02" if kind in {life.SubmitRefused, life.SubmitUnsure} else "job-01"
    with pytest.MonkeyPatch.context() as patch:
        break_journal(patch, kind, job_id=job_id)
        with pytest.raises(StorageError):
            bench.run(jobs(4))
    assert bench.run(jobs(4)).exit_code is Exit.IN_DOUBT
    assert bench.row("job-02").state is State.IN_DOUBT
    assert all(creates == 1 for creates in bench.bought().values())


def test_when_neither_journal_nor_orphans_can_be_written_the_id_is_told(make_bench: MakeBench) -> None:
    """The last resort is the person: the note says the id, and that it stands nowhere else; the job is in doubt."""
    bench = make_bench()
    in_the_way = bench.folder / ".batchvid" / "orphans.jsonl"

    def put_in_the_way() -> None:
        asyncio.get_running_loop().call_later(0.1, in_the_way.mkdir)

    with pytest.MonkeyPatch.context() as patch:
        break_journal(patch, life.SubmitAccepted, job_id="job-01")
        with pytest.raises(StorageError):
            bench.run(jobs(2), meanwhile=put_in_the_way, checked=False)
    (note,) = [note for note in bench.view.notes if note.startswith("PAID")]
    assert bench.creates[0]["task_id"] in note
    assert "note it down" in note
    in_the_way.rmdir()
    assert bench.run(jobs(2)).exit_code is Exit.IN_DOUBT
    assert set(bench.bought().values()) == {1}
