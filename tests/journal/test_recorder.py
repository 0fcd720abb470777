"""The way to the journal: a change is durable when the call returns, and hundreds of callers share their commits."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import StorageError
from batchvid.domain.job import Progress, State
from batchvid.domain.lifecycle import ClipSaved, SubmitAccepted, SubmitStarted, SubmitUnsure, TaskSucceeded
from batchvid.journal.base import Change, StaleProgressError, TaskOwnedError
from batchvid.journal.group_commit import GROUP_MAX, Recorder
from batchvid.journal.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchvid.journal.sqlite import SqliteJournal

STARTED = SubmitStarted(1, 400_000, "f" * 64)


def started(name: str) -> Change:
    """Return the first change of a job."""
    return Change.of(Progress.fresh(name), (STARTED, 1.0))


@pytest.fixture
def journal(path: Path, service: str) -> Iterator[SqliteJournal]:
    """Return a journal whose disk can fail and whose commits can be held up."""
    with SqliteStore(path).open(service=service) as opened:
        yield opened


class Gate:
    """Holds a journal's commits until it is opened, to let things happen while one is under way."""

    def __init__(self, journal: SqliteJournal) -> None:
        self.sizes: list[int] = []
        self.open = threading.Event()
        self.reached = threading.Event()
        self._db = journal._db
        self._db.set_trace_callback(self._traced)
        self._rows = 0

    def _traced(self, statement: str) -> None:
        if statement.startswith("INSERT INTO jobs"):
            self._rows += statement.count(f"'{State.SUBMITTING}'")  # one in each row
        elif statement == "COMMIT":
            self.sizes.append(self._rows)
            self._rows = 0
            self.reached.set()
            self.open.wait(10)


@pytest.fixture
def gate(journal: SqliteJournal) -> Iterator[Gate]:
    """Put a closed gate before the journal's commits."""
    found = Gate(journal)
    yield found
    found.open.set()
    journal._db.set_trace_callback(None)


def test_a_recorded_change_is_durable_when_the_call_returns(journal: SqliteJournal, path: Path) -> None:
    """Another connection sees it at once."""

    async def run() -> None:
        records = Recorder(journal)
        await records.record(started("kite"))
        reader = SqliteStore(path).read()
        assert reader is not None
        with reader:
            assert reader.counts()[State.SUBMITTING] == 1
        await records.close()

    asyncio.run(run())


def test_only_the_caller_of_a_bad_change_hears_of_it(journal: SqliteJournal) -> None:
    """The good changes of a group are kept, in their order, and the bad ones leave nothing."""

    async def run() -> Sequence[BaseException | None]:
        records = Recorder(journal)
        first, second = started("a"), started("b")
        await asyncio.gather(records.record(first), records.record(second))
        accepted = Change.of(first.after, (SubmitAccepted("task"), 2.0))
        try:
            return await asyncio.gather(
                records.record(started("c")),
                records.record(accepted),
                records.record(Change.of(second.after, (SubmitAccepted("task"), 2.0))),
                records.record(started("a")),
                records.record(Change.of(accepted.after, (TaskSucceeded(None), 3.0))),
                records.record(started("d")),
                return_exceptions=True,
            )
        finally:
            await records.close()

    outcomes = asyncio.run(run())
    kinds = [type(outcome) for outcome in outcomes]
    none = type(None)
    assert kinds == [none, none, TaskOwnedError, StaleProgressError, none, none]
    assert {row.job_id: row.state for row in journal.all_progress()} == {
        "a": State.READY,
        "b": State.SUBMITTING,
        "c": State.SUBMITTING,
        "d": State.SUBMITTING,
    }


def test_a_full_disk_is_heard_by_every_caller_and_nothing_is_half_kept(journal: SqliteJournal) -> None:
    """What could not be written is not there, and when there is room again, recording goes on."""

    async def run() -> None:
        records = Recorder(journal)
        await records.record(started("before"))
        pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        huge = [Change.of(Progress.fresh(f"j{n}"), (SubmitStarted(1, 1, "f" * 9000), 1.0)) for n in range(20)]
        outcomes = await asyncio.gather(*map(records.record, huge), return_exceptions=True)
        failed = [change for change, outcome in zip(huge, outcomes, strict=True) if isinstance(outcome, StorageError)]
        assert len(failed) == 20
        assert all("the disk is full; free some space" in str(outcome) for outcome in outcomes)
        journal._db.execute("PRAGMA max_page_count = 1000000")
        await asyncio.gather(*map(records.record, failed))
        await records.close()

    asyncio.run(run())
    assert journal.counts()[State.SUBMITTING] == 21


def test_after_close_the_journal_is_its_owners_again(journal: SqliteJournal) -> None:
    """The sums at the end of a run are read from the same journal; closing twice is harmless."""

    async def run() -> None:
        records = Recorder(journal)
        await records.record(started("kite"))
        await records.close()
        await records.close()

    asyncio.run(run())
    assert journal.money().reserved_micros == 400_000


def test_what_comes_during_a_commit_shares_the_next_one(journal: SqliteJournal, gate: Gate) -> None:
    """No clock is waited for: the first goes at once, all others while it is under way go together."""

    async def run() -> None:
        async with Recorder(journal) as recorder, asyncio.TaskGroup() as group:
            group.create_task(recorder.record(started("first")))
            await asyncio.to_thread(gate.reached.wait)
            for number in range(100):
                group.create_task(recorder.record(started(f"job-{number}")))
            await asyncio.sleep(0)
            gate.open.set()

    asyncio.run(run())
    assert gate.sizes == [1, 100]


def test_five_hundred_jobs_share_their_commits(journal: SqliteJournal, gate: Gate) -> None:
    """Twenty times fewer commits than changes, and twenty times is the least."""
    gate.open.set()

    async def live(recorder: Recorder, name: str) -> None:
        progress = Progress.fresh(name)
        for event in (STARTED, SubmitAccepted(name), TaskSucceeded(None), ClipSaved("p", 1, "s")):
            change = Change.of(progress, (event, 1.0))
            await recorder.record(change)
            progress = change.after

    async def run() -> None:
        async with Recorder(journal) as recorder:
            await asyncio.gather(*(live(recorder, f"job-{number}") for number in range(500)))

    asyncio.run(run())
    assert journal.counts()[State.DONE] == 500
    assert len(gate.sizes) <= 2000 / 20


def test_a_group_has_a_bound(journal: SqliteJournal, gate: Gate) -> None:
    """The first of a very large group does not wait for all of it."""

    async def run() -> None:
        async with Recorder(journal) as recorder, asyncio.TaskGroup() as group:
            group.create_task(recorder.record(started("first")))
            await asyncio.to_thread(gate.reached.wait)
            for number in range(GROUP_MAX + 1):
                group.create_task(recorder.record(started(f"job-{number}")))
            await asyncio.sleep(0)
            gate.open.set()

    asyncio.run(run())
    assert gate.sizes == [1, GROUP_MAX, 1]


def test_a_cancelled_caller_waits_for_its_record(journal: SqliteJournal, gate: Gate) -> None:
    """Cancelled while the commit is under way, again and again: it is kept, and only then the caller is cancelled."""

    async def run() -> None:
        async with Recorder(journal) as recorder, asyncio.TaskGroup() as group:
            task = group.create_task(recorder.record(started("kite")))
            late = group.create_task(recorder.record(started("dawn")))
            await asyncio.to_thread(gate.reached.wait)
            for _ in range(3):
                task.cancel()
                late.cancel()
                await asyncio.sleep(0)
            assert not task.done()
            gate.open.set()
            await asyncio.wait([task, late])
            assert task.cancelled()
            assert late.cancelled()

    asyncio.run(run())
    assert journal.counts()[State.SUBMITTING] == 2


def test_a_cancelled_caller_hears_of_a_failed_record(journal: SqliteJournal, gate: Gate) -> None:
    """The failure outweighs the cancellation, because a paid task id may have to be saved elsewhere."""
    gate.open.set()
    journal.record([started("kite")])
    gate.open.clear()
    gate.reached.clear()

    async def run() -> None:
        async with Recorder(journal) as recorder, asyncio.TaskGroup() as group:
            group.create_task(recorder.record(started("dawn")))
            await asyncio.to_thread(gate.reached.wait)
            task = asyncio.ensure_future(recorder.record(started("kite")))  # noqa: TID251 its error is looked at here
            await asyncio.sleep(0)
            task.cancel()
            gate.open.set()
            await asyncio.wait([task])
            assert isinstance(task.exception(), StaleProgressError)

    asyncio.run(run())


def test_closing_waits_for_what_is_under_way_even_when_cancelled(journal: SqliteJournal, gate: Gate) -> None:
    """The journal is never handed back while the thread still writes to it."""

    async def run() -> None:
        recorder = Recorder(journal)
        async with asyncio.TaskGroup() as group:
            group.create_task(recorder.record(started("kite")))
            await asyncio.to_thread(gate.reached.wait)
            group.create_task(recorder.record(started("dawn")))
            await asyncio.sleep(0)
            closing = group.create_task(recorder.close())
            await asyncio.sleep(0)
            closing.cancel()
            await asyncio.sleep(0)
            assert not closing.done()
            gate.open.set()
            await asyncio.wait([closing])
            assert closing.cancelled()
            assert not any(thread.name.startswith("batchvid-journal") for thread in threading.enumerate())

    asyncio.run(run())
    assert journal.counts()[State.SUBMITTING] == 2


def test_a_closed_recorder_takes_nothing(journal: SqliteJournal) -> None:
    """A record that nobody would write must not seem to wait for its turn."""

    async def run() -> None:
        recorder = Recorder(journal)
        await recorder.close()
        with pytest.raises(RuntimeError, match="closed"):
            await recorder.record(started("kite"))

    asyncio.run(run())


def test_an_error_that_nobody_foresaw_reaches_its_caller_alone(journal: SqliteJournal) -> None:
    """A bug in one change hangs nobody and takes no other change with it."""

    async def run() -> Sequence[BaseException | None]:
        async with Recorder(journal) as recorder:
            too_large = Change.of(Progress.fresh("huge"), (SubmitStarted(1, 2**70, "f"), 1.0))
            changes = [started("a"), too_large, started("b"), Change.of(Progress.fresh("c"), (STARTED, 1.0))]
            return await asyncio.gather(*map(recorder.record, changes), return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(run())] == [type(None), OverflowError, type(None), type(None)]
    assert [row.job_id for row in journal.all_progress()] == ["a", "b", "c"]


def test_a_task_that_has_an_owner_goes_in_doubt_instead(journal: SqliteJournal) -> None:
    """What a caller does after `TaskOwnedError`: the same job, from the same progress, is recorded as in doubt."""

    async def run() -> None:
        records = Recorder(journal)
        first, second = started("a"), started("b")
        await asyncio.gather(records.record(first), records.record(second))
        await records.record(Change.of(first.after, (SubmitAccepted("task"), 2.0)))
        with pytest.raises(TaskOwnedError):
            await records.record(Change.of(second.after, (SubmitAccepted("task"), 2.0)))
        await records.record(Change.of(second.after, (SubmitUnsure("task belongs to a"), 2.0)))
        await records.close()

    asyncio.run(run())
    assert journal.counts()[State.IN_DOUBT] == 1
