"""A journal that went back in time: what lies beside it knows what was paid, and nothing is bought or lost again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchvid.domain import lifecycle as life
from batchvid.domain.errors import ConfigError, Exit, StorageError
from batchvid.domain.job import State
from batchvid.engine.recovery import recover
from batchvid.journal import event_log as eventlog
from batchvid.journal.sqlite import SqliteStore
from batchvid.storage.output import Output
from tests.run.bench import jobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchvid.domain.lifecycle import Event
    from tests.run.bench import Bench
    from tests.run.conftest import MakeBench

WENT_BACK = "had gone back in time"


def state(bench: Bench) -> Path:
    """Return where the journal is."""
    return bench.folder / ".batchvid"


def delete_journal(bench: Bench) -> None:
    """Take the journal away, and nothing else."""
    for path in state(bench).glob("journal.db*"):
        path.unlink()


def backup(bench: Bench, name: str = "backup.db") -> None:
    """Copy the journal as a backup program does, also in the midst of a run."""
    source, copy = sqlite3.connect(state(bench) / "journal.db"), sqlite3.connect(bench.folder.parent / name)
    source.backup(copy)
    source.close()
    copy.close()


def restore(bench: Bench, name: str = "backup.db") -> None:
    """Put the copy in the journal's place."""
    delete_journal(bench)
    shutil.copy(bench.folder.parent / name, state(bench) / "journal.db")


def run_until(
    bench: Bench, kind: type[Event], nth: int, *, then: Callable[[], None] | None = None, checked: bool = True
) -> None:
    """Run four jobs up to the nth event of a kind: the journal is copied then, and *then* is done."""
    seen = []

    def look(_: str, event: Event) -> None:
        if isinstance(event, kind):
            seen.append(event)
            if len(seen) == nth:
                backup(bench)
                if then is not None:
                    then()

    def listen() -> None:
        bench.view.at_event = look

    bench.run(jobs(4), meanwhile=listen, checked=checked)


def stop(bench: Bench) -> Callable[[], None]:
    """Return what lets the run drain: its tasks go on at the service."""
    return lambda: bench.interrupts.received(Exit.INTERRUPTED)


def told(bench: Bench) -> list[str]:
    """Return what the person was told about the journal."""
    return [note for note in bench.view.notes if WENT_BACK in note]


def all_paid_once(bench: Bench) -> None:
    """Run to the end: every clip is there, and no prompt was billed twice."""
    assert bench.run(jobs(4)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}
    assert len(bench.bought()) == 4


def test_a_deleted_journal_is_made_again_from_what_lies_beside_it(make_bench: MakeBench) -> None:
    """All clips are done again, free, with their tasks, times, prices and files; one line tells it, with counts."""
    bench = make_bench()
    bench.run(jobs(4))
    before, money = bench.rows(), bench.attempts()
    delete_journal(bench)
    gets = len(bench.service.sent("get"))
    summary = bench.run(jobs(4))
    assert summary.exit_code is Exit.OK
    assert (len(bench.creates), len(bench.service.sent("get"))) == (4, gets)
    (line,) = told(bench)
    assert "4 paid attempts of 4 jobs" in line
    assert "(4 done)" in line
    for job_id, row in bench.rows().items():
        assert row._replace(version=0) == before[job_id]._replace(
            version=0, submitted_at=row.submitted_at, finished_at=row.finished_at, url=None, url_expires_at=None
        )
        assert int(before[job_id].finished_at or 0) == row.finished_at
        assert [one.price_micros for one in bench.attempts()[job_id]] == [one.price_micros for one in money[job_id]]
    assert not told_again(bench)


def told_again(bench: Bench) -> list[str]:
    """Return what a further run tells about the journal."""
    bench.run(jobs(4))
    return told(bench)


@pytest.mark.parametrize("lost", [["log"], ["sidecars"], ["log", "sidecars"], ["sidecars", "clips.jsonl"]])
def test_any_one_witness_is_enough(make_bench: MakeBench, lost: list[str]) -> None:
    """The journal is gone, and some of the rest: the log, the sidecars or ``clips.jsonl`` alone know what is paid."""
    bench = make_bench()
    bench.run(jobs(4))
    delete_journal(bench)
    gone = {
        "log": list(state(bench).glob("log.jsonl*")),
        "sidecars": list(bench.folder.glob("*.json")),
        "clips.jsonl": [bench.folder / "clips.jsonl"],
    }
    for name in lost:
        for path in gone[name]:
            path.unlink()
    all_paid_once(bench)
    assert len(told(bench)) == 1
    assert not told_again(bench)


@pytest.mark.parametrize("nth", [1, 2, 4])
@pytest.mark.parametrize("kind", [life.SubmitStarted, life.SubmitAccepted, life.TaskSucceeded, life.ClipSaved])
@pytest.mark.parametrize("drained", [False, True])
def test_a_backup_of_any_moment_is_brought_up_to_date(
    make_bench: MakeBench, kind: type[Event], nth: int, *, drained: bool
) -> None:
    """Whatever happened after the copy was made, to the end of the run or of the process, is known again."""
    bench = make_bench()
    run_until(bench, kind, nth, then=stop(bench) if drained else None)
    restore(bench)
    all_paid_once(bench)
    assert not told_again(bench)


def test_a_backup_is_noticed_though_all_beside_the_clips_is_as_old(make_bench: MakeBench) -> None:
    """The whole state folder was restored, log and seal too; only the sidecars are newer: they tell."""
    bench = make_bench()
    bench.run(jobs(2))
    old = bench.folder.parent / "old"
    shutil.copytree(state(bench), old)
    bench.run(jobs(4))
    shutil.rmtree(state(bench))
    shutil.copytree(old, state(bench))
    all_paid_once(bench)
    assert "2 paid attempts of 2 jobs" in told(bench)[0]


def test_clips_are_found_wherever_the_manifest_puts_them_now(make_bench: MakeBench) -> None:
    """``filename:`` was changed while an older journal was put back: the clips count where they are."""
    bench = make_bench()
    run_until(bench, life.SubmitAccepted, 2)
    restore(bench)
    wanted = [replace(one, path=f"new/{one.id}.mp4") for one in jobs(4)]
    assert bench.run(wanted).exit_code is Exit.OK
    assert len(bench.creates) == 4


def test_a_request_without_an_answer_is_in_doubt(make_bench: MakeBench) -> None:
    """The log ends with a paid request that left: a journal that never knew of it holds its job for a person."""
    bench = make_bench()
    bench.run(jobs(2))
    delete_journal(bench)
    log = state(bench) / "log.jsonl"
    lines = log.read_text().splitlines()
    sent = next(line for line in lines if "SubmitStarted" in line and "job-02" in line)
    log.write_text("".join(f"{line}\n" for line in lines if "job-02" not in line) + f"{sent}\n")
    for name in ("job-02.mp4", "job-02.json", "clips.jsonl"):
        (bench.folder / name).unlink()
    summary = bench.run(jobs(2), checked=False)
    assert summary.exit_code is Exit.IN_DOUBT
    assert len(bench.creates) == 2
    assert bench.row("job-02").state is State.IN_DOUBT
    assert summary.money.reserved_micros == 400_000


def test_a_log_that_was_cut_in_the_middle_of_a_line_still_tells(make_bench: MakeBench) -> None:
    """What is left of a line names its job, which is in doubt then; the next line is not glued to it."""
    bench = make_bench()
    run_until(bench, life.SubmitAccepted, 4, then=stop(bench))
    delete_journal(bench)
    log = state(bench) / "log.jsonl"
    lines = log.read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if "SubmitAccepted" in line)
    job_id = json.loads(lines[last])["job"]
    kept = [line for line in lines[:last] if not ("SubmitStarted" in line and job_id in line)]
    log.write_text("\n".join([*kept, lines[last][: lines[last].index("task_id")]]))
    summary = bench.run(jobs(4), checked=False)
    assert summary.exit_code is Exit.IN_DOUBT
    assert bench.row(job_id).state is State.IN_DOUBT
    assert len(bench.creates) == 4
    assert all(line.startswith('{"at"') for line in log.read_text().splitlines())


def test_lines_that_were_glued_together_are_read_apart(make_bench: MakeBench) -> None:
    """An older batchvid wrote behind a line that a crash had cut: the second of the two is whole."""
    bench = make_bench()
    run_until(bench, life.SubmitAccepted, 4, then=stop(bench))
    delete_journal(bench)
    log = state(bench) / "log.jsonl"
    cut = '{"at": "2027-01-15T08:00:00Z", "job": "job-01", "attempt": 1, "event": "Subm'
    log.write_text("".join(f"{cut}{line}\n" for line in log.read_text().splitlines()))
    all_paid_once(bench)


def test_open_tasks_outlive_the_rotation_of_the_log(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is told after a paid task began, its id is in the newest log; also that of an earlier run."""
    bench = make_bench()
    run_until(bench, life.SubmitAccepted, 4, then=stop(bench))
    monkeypatch.setattr(eventlog, "ROTATE_BYTES", 4000)
    with SqliteStore(state(bench) / "journal.db").open(service="https://api.example.com/v1") as journal:
        for number in range(1000):
            journal.log.append({"at": "2027-01-15T08:00:00Z", "event": "PaceChanged", "share": number})
            journal.log.flush()
    delete_journal(bench)
    all_paid_once(bench)


@pytest.mark.parametrize("older", [False, True])
def test_a_moved_task_outlives_the_rotation_of_the_log(
    make_bench: MakeBench,
    monkeypatch: pytest.MonkeyPatch,
    older: bool,  # noqa: FBT001 a table
) -> None:
    """It is told again under its new id; an *older* batchvid told it under the one before, and that is known, too."""
    bench = make_bench()
    run_until(bench, life.SubmitAccepted, 4, then=stop(bench))
    log = state(bench) / "log.jsonl"
    first, *others = jobs(4)
    wanted = [replace(first, id="kite", path="kite.mp4"), *others]
    before, output, notes = log.read_text(), Output.at(bench.folder), list[str]()
    monkeypatch.setattr(eventlog, "ROTATE_BYTES", 4000)
    with SqliteStore(state(bench) / "journal.db").open(service="https://api.example.com/v1") as journal:
        recover(
            journal, output, bench.context(wanted).manifest, None, at=bench.now, note=notes.append, warn=notes.append
        )
        for number in range(50):
            journal.log.append({"at": "2027-01-15T08:00:00Z", "event": "PaceChanged", "share": number})
            journal.log.flush()
    assert '"kite"' in log.read_text()
    assert '"job-01"' not in log.read_text()
    if older:
        log.write_text(before)
    delete_journal(bench)
    assert bench.run(wanted, checked=False).exit_code is Exit.OK
    assert sorted(bench.bought().values()) == [1, 1, 1, 1]
    assert set(bench.rows()) == {one.id for one in wanted}


def test_a_crash_that_lost_nothing_is_not_told(make_bench: MakeBench) -> None:
    """The journal was not closed, so all is compared, and all is known."""
    bench = make_bench()
    run_until(bench, life.SubmitAccepted, 4, then=stop(bench))
    SqliteStore(state(bench) / "journal.db").open(service="https://api.example.com/v1").close(clean=False)
    all_paid_once(bench)
    assert not told(bench)


def test_attempts_that_failed_are_known_again(make_bench: MakeBench) -> None:
    """A job whose attempts are used up stays failed: an older journal does not buy them a second time."""
    bench = make_bench({"on": "create", "prompt": "*job-03*", "fail": "blocked"})
    run_until(bench, life.SubmitAccepted, 1)
    paid = len(bench.creates)
    restore(bench)
    summary = bench.run(jobs(4))
    assert summary.exit_code is Exit.FAILED
    assert len(bench.creates) == paid
    assert bench.row("job-03").attempt == 2


def test_two_paid_tasks_of_one_attempt_are_for_a_person_to_settle(make_bench: MakeBench) -> None:
    """An older batchvid had gone back in time and bought again: exit 8, both tasks named, nothing sent or changed."""
    bench = make_bench()
    run_until(bench, life.SubmitAccepted, 4, then=stop(bench))
    log = (state(bench) / "log.jsonl").read_bytes()
    delete_journal(bench)
    (state(bench) / "log.jsonl").unlink()
    run_until(bench, life.SubmitAccepted, 4, then=stop(bench), checked=False)
    restore(bench)
    with (state(bench) / "log.jsonl").open("ab") as file:
        file.write(log)
    rows = bench.rows()
    with pytest.raises(StorageError, match="contradicts it") as refused:
        bench.run(jobs(4), checked=False)
    assert refused.value.exit_code is Exit.DISK
    assert "--moved" in str(refused.value)
    assert rows == bench.rows()
    assert len(bench.creates) == 8
    summary = bench.run(jobs(4), checked=False, moved=True)
    assert summary.exit_code is Exit.OK
    assert len(bench.creates) == 8
    SqliteStore(state(bench) / "journal.db").open(service="https://api.example.com/v1").close(clean=False)
    assert bench.run(jobs(4), checked=False).exit_code is Exit.OK


def test_one_task_of_two_jobs_is_for_a_person_to_settle(make_bench: MakeBench) -> None:
    """Nobody can tell whose it is: the run refuses, and names both."""
    bench = make_bench()
    run_until(bench, life.SubmitAccepted, 4, then=stop(bench))
    delete_journal(bench)
    log = state(bench) / "log.jsonl"
    lines = [line for line in log.read_text().splitlines() if "SubmitAccepted" in line]
    more = [line.replace(json.loads(line)["job"], "elsewhere") for line in lines[:1]]
    log.write_text("".join(f"{line}\n" for line in [*log.read_text().splitlines(), *more]))
    with pytest.raises(StorageError, match="paid for several jobs: elsewhere, job-0"):
        bench.run(jobs(4), checked=False)


def test_a_log_that_cannot_be_read_stops_the_run(make_bench: MakeBench) -> None:
    """It may be what knows of a paid task: exit 8, and nothing is sent."""
    bench = make_bench()
    run_until(bench, life.SubmitAccepted, 4, then=stop(bench))
    delete_journal(bench)
    (state(bench) / "log.jsonl").unlink()
    (state(bench) / "log.jsonl").mkdir()
    with pytest.raises(StorageError, match="which may know what is paid"):
        bench.run(jobs(4), checked=False)
    assert len(bench.creates) == 4


def test_the_seal_of_a_deleted_journal_tells_its_service(make_bench: MakeBench) -> None:
    """Clips of a rehearsal are not taken for paid ones of another service."""
    bench = make_bench()
    bench.run(jobs(2))
    delete_journal(bench)
    with pytest.raises(ConfigError, match="belongs to the service https:"):
        SqliteStore(state(bench) / "journal.db").open(service="sandbox")


def test_a_sealed_journal_asks_nobody(make_bench: MakeBench) -> None:
    """While nothing is wrong, not a byte of the log is read, however large it is."""
    bench = make_bench()
    bench.run(jobs(4))
    log = state(bench) / "log.jsonl"
    log.unlink()
    log.mkdir()  # who reads it fails
    assert bench.run(jobs(4)).exit_code is Exit.OK
