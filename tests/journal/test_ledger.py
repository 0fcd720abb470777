"""What workers agree on in a real PostgreSQL: who lives, who has which slice, and what an account may do."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import OutputBusyError, StorageError
from batchvid.domain.job import Progress, State
from batchvid.domain.lifecycle import SubmitAccepted, SubmitRefused, SubmitStarted, SubmitUnsure, TaskAdopted
from batchvid.domain.reopening import CRASHED, WAKES_S
from batchvid.journal.base import Change, LeaseLostError, OverCeilingError
from batchvid.journal.bell import Bell
from batchvid.journal.fenced import KeepingRecorder, open_fenced
from batchvid.journal.ledger import (
    Closing,
    Halt,
    Lease,
    Ledger,
    Report,
    account_number,
    open_the_brakes,
)
from batchvid.journal.orphans import Orphan
from batchvid.journal.postgres import PostgresStore
from batchvid.journal.postgres_db import scalar
from batchvid.journal.publishing import publish, put_aside, revision_of, withdraw
from tests.journal.conftest import SERVICE
from tests.journal.published import connected, edition, linked, new_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from batchvid.domain.lifecycle import Event
    from batchvid.journal.base import Journal
    from batchvid.journal.fenced import FencedJournal
    from batchvid.journal.postgres_db import Connection, Database
    from batchvid.journal.publishing import Published

PRICE = 400_000
DEAD_S = 0.4
NAMES = count()


class World:
    """One journal in a database, published, with workers that die on command."""

    def __init__(self, database: Database, folder: Path, stack: ExitStack) -> None:
        self.database = database
        self.store = PostgresStore(database, f"out {next(NUMBERS)}", folder)
        self.store.open(service=SERVICE).close()
        self.db: Connection = stack.enter_context(closing(database.connect()))
        self.number = self.store.number_in(self.db)
        self.account = account_number(self.db, f"account {self.number}", SERVICE)
        open_the_brakes(self.db, self.number, self.account, None, None)
        self.spilled: list[Orphan] = []
        self._stack = stack

    def publish(self, jobs: int = 60, **changed: Any) -> Published:
        """Publish so many single jobs, j0, j1 …, in slices."""
        return publish(self.db, edition(self.number, linked([None] * jobs), account=self.account, **changed))

    def worker(self, dead_s: float = DEAD_S) -> Ledger:
        """Return the ledger of a new worker, which lives."""
        ledger = Ledger(self.database, name=f"host:{next(NAMES)}", version="1", dead_s=dead_s)
        self._stack.enter_context(closing(ledger))
        ledger.enter()
        return ledger

    def journal(
        self, lease: Lease | None = None, ids: Iterable[str] = (), *, worker: int = 0, patience_s: float = 5.0
    ) -> FencedJournal:
        """Return the journal as a worker has it that holds a slice with these jobs."""
        made = open_fenced(self.store, worker=worker, spill=self.spilled.extend, patience_s=patience_s)
        self._stack.callback(made.close)
        if lease is not None:
            made.hold(lease, ids)
        return made

    def rows(self) -> dict[str, Progress]:
        """Return how the jobs stand."""
        reader = self.store.read()
        assert reader is not None
        with reader:
            return {row.job_id: row for row in reader.all_progress()}


NUMBERS = count()


@pytest.fixture(scope="module")
def database() -> Database:
    """Return a database with all tables, in which each test has a journal and an account of its own."""
    made = new_database()
    with connected(made):
        return made


@pytest.fixture
def world(database: Database, tmp_path: Path) -> Iterator[World]:
    """Return a journal to work on; what other tests have left for the engine is gone."""
    with ExitStack() as stack:
        with closing(database.connect()) as db:
            db.execute("TRUNCATE batchvid_engine.procrastinate_jobs CASCADE")
            db.execute("UPDATE batchvid.revisions SET ended_at = now() WHERE ended_at IS NULL")
        yield World(database, tmp_path, stack)


def taken(ledger: Ledger) -> Lease:
    """Return the next slice, which is there."""
    found = ledger.fetch(with_slices=True)
    assert isinstance(found, Lease)
    return found


def outlive(worker: Ledger) -> int:
    """Let a worker live until those that do not are dead; return how many slices it has freed."""
    until = time.monotonic() + 2 * DEAD_S
    freed = 0
    while time.monotonic() < until:
        time.sleep(DEAD_S / 5)
        freed += sum(one.slices for one in worker.beat([], {}, []).takeovers)
    return freed


def done(journal: Journal, job_id: str, *events: Event, row: Progress | None = None) -> Progress:
    """Record events of a job one after the other, and return how it stands."""
    now = row or Progress.fresh(job_id)
    for event in events:
        change = Change.of(now, (event, 1.0))
        journal.record([change])
        now = change.after
    return now


def started(attempt: int = 1, price: int | None = PRICE) -> SubmitStarted:
    """Return the intent of a paid request."""
    return SubmitStarted(attempt, price, "f" * 64)


# ---- slices and their fence


def test_each_slice_is_taken_once(world: World) -> None:
    """By however many workers, and nothing is left for the next."""
    made = world.publish(200)
    workers = [world.worker(dead_s=30) for _ in range(4)]
    found: list[Lease] = []

    def take_all(worker: Ledger) -> None:
        while isinstance(lease := worker.fetch(with_slices=True), Lease):
            found.append(lease)

    threads = [threading.Thread(target=take_all, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({lease.slice for lease in found}) == len(found) == made.slices
    assert {lease.epoch for lease in found} == {1}


def test_a_slice_goes_on_when_its_worker_is_dead_and_comes_first(world: World) -> None:
    """It is not taken while the worker lives; the one that dies is found by any other."""
    world.publish(120)
    gone, other = world.worker(), world.worker()
    lost = taken(gone)
    heard = other.beat([], {}, [])
    assert not heard.takeovers
    outlive(other)
    again = taken(other)
    assert (again.slice, again.epoch) == (lost.slice, lost.epoch + 1)


def test_a_live_worker_keeps_its_slices(world: World) -> None:
    """However often others look for dead ones."""
    world.publish(30)
    one, other = world.worker(), world.worker()
    lease = taken(one)
    for _ in range(4):
        time.sleep(DEAD_S / 2)
        assert one.beat([], {lease.slice: lease.epoch}, []).lost == frozenset()
        assert not other.beat([], {}, []).takeovers
    assert other.fetch(with_slices=True) is None


def test_who_was_taken_for_dead_records_nothing_more(world: World) -> None:
    """Neither an intent nor an answer; it hears so at its next heartbeat; what it gives back or ends is not its own."""
    world.publish(30)
    zombie, other = world.worker(), world.worker()
    lease = taken(zombie)
    journal = world.journal(lease, ["j0", "j1"])
    row = done(journal, "j0", started())
    outlive(other)
    assert taken(other).slice == lease.slice
    for job_id, event, before in (("j1", started(), None), ("j0", SubmitAccepted("task_a", None), row)):
        with pytest.raises(LeaseLostError, match="belongs to another worker"):
            done(journal, job_id, event, row=before)
    assert world.rows()["j0"].state is State.SUBMITTING
    assert "j1" not in world.rows()
    assert zombie.beat([], {lease.slice: lease.epoch}, []).lost == {lease.slice}
    zombie.hand_back(lease)
    zombie.over(lease, polls=3)
    assert scalar(world.db, "SELECT over_at IS NULL FROM batchvid.slices WHERE slice = %s", lease.slice)


def test_who_has_not_listened_for_long_judges_nobody(world: World) -> None:
    """After a pause of the database all of them were silent, and the first that is back must not fence the others."""
    world.publish(60)
    one, other = world.worker(), world.worker()
    lease = taken(one)
    assert not one.beat([], {lease.slice: lease.epoch}, []).takeovers
    assert not other.beat([], {}, []).takeovers
    time.sleep(2 * DEAD_S)
    assert not other.beat([], {}, []).takeovers
    assert not one.beat([], {lease.slice: lease.epoch}, []).lost


def test_slices_of_the_dead_are_taken_by_one_with_enough_to_do(world: World) -> None:
    """What is paid there waits for somebody."""
    world.publish(60)
    gone, other, third = world.worker(), world.worker(), world.worker(dead_s=30)
    lost = taken(gone)
    busy = partial(third.fetch, with_slices=False, with_begun=True)
    assert busy() is None
    outlive(other)
    found = busy()
    assert isinstance(found, Lease)
    assert found.slice == lost.slice
    assert busy() is None


def test_a_dead_worker_does_not_keep_the_journal_from_people(world: World) -> None:
    """One that only stands still has its session; whoever outlives it ends that, and it opens another when it wakes."""
    world.publish(60)
    gone, other = world.worker(), world.worker()
    journal = world.journal(taken(gone), ["j0"], worker=gone.worker)
    with pytest.raises(OutputBusyError), world.store.lock():
        pass
    outlive(other)
    with world.store.lock():
        pass
    assert done(journal, "j0", started()).state is State.SUBMITTING  # nobody has taken its slice yet


def test_a_worker_hears_of_a_newer_schema(world: World) -> None:
    """With its next heartbeat; while it drains, it lives on, so that nobody takes over what it has."""
    worker = world.worker()
    world.db.execute("UPDATE batchvid.schema_version SET version = version + 1")
    try:
        world.publish(60)
        lease = taken(worker)
        assert "newer batchvid" in worker.beat([], {lease.slice: lease.epoch}, []).outdated
        assert outlive(worker) == 0
        assert worker.beat([], {lease.slice: lease.epoch}, []).lost == frozenset()
    finally:
        world.db.execute("UPDATE batchvid.schema_version SET version = version - 1")


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_task_id_that_waits_for_the_database_is_kept_beside_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_slow: bool
) -> None:
    """Also behind a commit that hangs, on a network that swallows everything."""
    monkeypatch.setattr("batchvid.journal.fenced.KEPT_BESIDE_AFTER_S", 0.1)
    world.publish(60)
    journal = world.journal(taken(world.worker(dead_s=30)), ["j0", "j1"])
    row = done(journal, "j0", started())
    if is_slow:
        monkeypatch.setattr(journal, "_check_epochs", partial(time.sleep, 0.4))

    async def record() -> list[Orphan]:
        async with KeepingRecorder(journal, spill=world.spilled.extend) as recorder:
            first = asyncio.create_task(recorder.record(Change.of(Progress.fresh("j1"), (started(), 1.0))))  # noqa: TID251
            await asyncio.sleep(0)
            second = asyncio.create_task(recorder.record(Change.of(row, (SubmitAccepted("task_a", None), 2.0))))  # noqa: TID251
            await asyncio.sleep(0.3)
            found = list(world.spilled)
            await asyncio.gather(first, second)
            return found

    assert asyncio.run(record()) == ([Orphan("j0", 1, "task_a")] if is_slow else [])
    assert world.rows()["j0"].task_id == "task_a"


def test_a_worker_writes_only_about_what_it_has_taken(world: World) -> None:
    """Whatever it believes."""
    world.publish(60)
    worker = world.worker()
    lease = taken(worker)
    journal = world.journal(lease, ["j0"])
    with pytest.raises(LeaseLostError, match="not taken"):
        done(journal, "j59", started())
    journal.let_go(["j0"])
    with pytest.raises(LeaseLostError, match="not taken"):
        done(journal, "j0", started())
    assert world.rows() == {}


def test_what_is_handed_back_is_done_by_the_next(world: World) -> None:
    """At once, and before new work."""
    world.publish(120)
    one, other = world.worker(dead_s=30), world.worker(dead_s=30)
    lease = taken(one)
    one.hand_back(lease)
    assert taken(other).slice == lease.slice


def test_a_worker_that_leaves_frees_what_it_has(world: World) -> None:
    """Nobody waits for one that has said that it goes."""
    world.publish(30)
    one, other = world.worker(dead_s=30), world.worker(dead_s=30)
    lease = taken(one)
    one.leave("stopped")
    other.beat([], {}, [])
    assert taken(other).slice == lease.slice


# ---- the end of a revision


def test_a_revision_is_closed_once_after_its_last_slice(world: World) -> None:
    """Two that end the last two slices at once leave one closing, and of two that close it, one does."""
    made = world.publish(120)
    workers = [world.worker(dead_s=30) for _ in range(3)]
    leases = [(worker, taken(worker)) for worker in workers]
    assert made.slices >= 3
    rest = [(workers[0], lease) for lease in iter(partial(workers[0].fetch, with_slices=True), None)]
    threads = [
        threading.Thread(target=worker.over, args=(lease,), kwargs={"polls": 2})
        for worker, lease in [*leases, *rest]
        if isinstance(lease, Lease)
    ]
    for thread in threads:
        thread.start()
        thread.join() if thread in threads[:-2] else None
    for thread in threads:
        thread.join()
    closing_of = workers[0].fetch(with_slices=False)
    assert isinstance(closing_of, Closing)
    assert closing_of.revision == made.revision
    assert workers[1].fetch(with_slices=False) is None
    assert workers[0].closed(closing_of, exit_code=0, summary={"submits": 1})
    assert not workers[1].closed(closing_of, exit_code=5, summary={})
    found = revision_of(world.db, made.revision)
    assert (found.exit_code, found.ended_at is None) == (0, False)
    assert workers[2].polls(made.revision) == 2 * made.slices
    assert workers[1].beat([], {}, [made.revision]).ended == {made.revision}


ENGINE_TROUBLE = {
    "finished": "UPDATE procrastinate_jobs SET status = 'succeeded'",
    "deleted": "DELETE FROM procrastinate_jobs",
    "doubled": "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
    " SELECT queue_name, task_name, args FROM procrastinate_jobs",
}


@pytest.mark.parametrize("how", ENGINE_TROUBLE)
def test_what_the_engine_has_wrong_is_put_right(world: World, how: str) -> None:
    """Each slice is done, once, whatever somebody did to the engine's jobs."""
    made = world.publish(60)
    worker = world.worker(dead_s=30)
    with world.db.transaction():
        world.db.execute("SET LOCAL search_path = batchvid_engine")
        world.db.execute(ENGINE_TROUBLE[how])
    worker.mend()
    found = [lease for lease in iter(partial(worker.fetch, with_slices=True), None) if isinstance(lease, Lease)]
    newest = {lease.slice: lease for lease in found}
    assert len(newest) == made.slices
    for lease in newest.values():
        worker.over(lease, polls=0)
    assert worker.mend() == 0
    assert isinstance(worker.fetch(with_slices=True), Closing)


def test_a_doubled_engine_job_fences_the_first(world: World) -> None:
    """Two have the slice for the engine; one has it for the journal."""
    world.publish(20)
    one, other = world.worker(dead_s=30), world.worker(dead_s=30)
    first = taken(one)
    with world.db.transaction():
        world.db.execute("SET LOCAL search_path = batchvid_engine")
        world.db.execute(ENGINE_TROUBLE["doubled"])
    second = taken(other)
    assert second.slice == first.slice
    journals = [world.journal(lease, ["j0"]) for lease in (first, second)]
    with pytest.raises(LeaseLostError):
        done(journals[0], "j0", started())
    done(journals[1], "j0", started())
    assert world.rows()["j0"].attempt == 1


@pytest.mark.parametrize("how", ["doubled", "freed"])
def test_who_has_a_slice_keeps_it_when_it_comes_again(world: World, how: str) -> None:
    """The engine has it twice, or a worker with another dead time took this one for dead."""
    world.publish(20)
    one, other = world.worker(dead_s=30), world.worker(dead_s=30)
    lease = taken(one)
    freed = "SELECT procrastinate_retry_job_v2(id, now(), 0, NULL, NULL) FROM procrastinate_jobs WHERE status = 'doing'"
    with world.db.transaction():
        world.db.execute("SET LOCAL search_path = batchvid_engine")
        world.db.execute({"freed": freed, **ENGINE_TROUBLE}[how])
    assert one.fetch(with_slices=True, held={lease.slice: lease}) is None
    assert other.fetch(with_slices=True) is None
    done(world.journal(lease, ["j0"]), "j0", started())
    one.over(lease, polls=0)
    assert one.mend() == 0
    assert isinstance(one.fetch(with_slices=True), Closing)


def test_a_revision_that_gives_way_is_begun_no_more(world: World) -> None:
    """What is begun ends as it began, and then the revision is closed."""
    made = world.publish(120)
    worker = world.worker(dead_s=30)
    lease = taken(worker)
    assert withdraw(world.db, made.revision, by="there:2") == (made.slices - 1, 1)
    assert worker.fetch(with_slices=True) is None
    assert worker.mend() == 0
    done(world.journal(lease, ["j0"]), "j0", started())
    worker.over(lease, polls=0)
    found = worker.fetch(with_slices=True)
    assert isinstance(found, Closing)
    assert worker.closed(found, exit_code=5, summary={})
    assert revision_of(world.db, made.revision).withdrawn_by == "there:2"


def test_one_that_nobody_works_on_is_put_aside_and_its_zombie_fenced(world: World) -> None:
    """The next one may be published."""
    made = world.publish(30)
    zombie = world.worker()
    lease = taken(zombie)
    journal = world.journal(lease, ["j0"])
    put_aside(world.db, made.revision, by="there:2")
    with pytest.raises(LeaseLostError):
        done(journal, "j0", started())
    assert world.publish(30, digest="e" * 64).is_new
    assert zombie.fetch(with_slices=True) not in {None, lease}


# ---- doubts of a takeover


def in_doubt(world: World) -> tuple[Ledger, Lease]:
    """Return a worker with a slice of which one job was taken over as a doubt."""
    world.publish(30)
    gone, other = world.worker(), world.worker()
    lease = taken(gone)
    row = done(world.journal(lease, ["j0"]), "j0", started())
    outlive(other)
    lease = taken(other)
    done(world.journal(lease, ["j0"]), "j0", SubmitUnsure(CRASHED), row=row)
    return other, lease


def test_a_doubt_of_a_takeover_waits_for_whoever_may_wake(world: World) -> None:
    """On the database's clock; a doubt of an answer does not wait."""
    _, lease = in_doubt(world)
    done(world.journal(lease, ["j1"]), "j1", started(), SubmitUnsure("HTTP 502"))
    reader = world.store.read()
    assert reader is not None
    with reader:
        assert WAKES_S - 30 < reader.may_wake()["j0"] <= WAKES_S
        assert set(reader.may_wake()) == {"j0"}
        world.db.execute("UPDATE batchvid.takeovers SET at = at - make_interval(secs => %s)", [WAKES_S])
        assert reader.may_wake() == {}


def test_a_late_orphan_opens_its_slice_again(world: World) -> None:
    """Also when the slice is over; once its task is known, nothing more comes of it."""
    worker, lease = in_doubt(world)
    worker.over(lease, polls=0)
    found = worker.fetch(with_slices=True)
    assert isinstance(found, Closing)
    assert worker.mend() == 0
    worker.spill(world.number, [Orphan("j0", 1, "task_late"), Orphan("j9", 4, "task_strange")])
    worker.spill(world.number, [Orphan("j0", 1, "task_late")])
    assert worker.mend() == 1
    assert not worker.closed(found, exit_code=4, summary={})
    again = taken(worker)
    journal = world.journal(again, ["j0"])
    assert journal.kept_beside() == {("j0", 1): "task_late", ("j9", 4): "task_strange"}
    row = next(iter(journal.progress_of(["j0"])))
    done(journal, "j0", TaskAdopted("task_late"), row=row)
    worker.over(again, polls=0)
    assert worker.mend() == 0
    assert isinstance(worker.fetch(with_slices=True), Closing)


# ---- money


def test_the_ceiling_holds_however_many_spend_at_once(world: World) -> None:
    """Each commit is refused or counted; a refusal gives its money back."""
    open_the_brakes(world.db, world.number, world.account, 10 * PRICE, None)
    world.publish(60)
    worker = world.worker(dead_s=30)
    leases = [lease for lease in iter(partial(worker.fetch, with_slices=True), None) if isinstance(lease, Lease)]
    assert leases
    ids = {lease.slice: worker.slice(lease)[0] for lease in leases}
    bought: list[str] = []
    refused: list[str] = []

    def spend(lease: Lease, numbers: range) -> None:
        journal = world.journal(lease, [job.id for job in ids[lease.slice]])
        for job in list(ids[lease.slice])[numbers.start : numbers.stop]:
            try:
                done(journal, job.id, started())
            except OverCeilingError:
                refused.append(job.id)
            else:
                bought.append(job.id)

    threads = [
        threading.Thread(target=spend, args=(lease, range(first, first + 10))) for lease in leases for first in (0, 10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bought) == 10
    assert len(refused) >= 20
    one = bought[0]
    lease = next(lease for lease in leases if one in {job.id for job in ids[lease.slice]})
    journal = world.journal(lease, [one, refused[0]])
    row = next(iter(journal.progress_of([one])))
    done(journal, one, SubmitRefused("not sent"), row=row)
    other = next(lease for lease in leases if refused[0] in {job.id for job in ids[lease.slice]})
    done(world.journal(other, [refused[0]]), refused[0], started())
    sums = world.db.execute("SELECT spent + reserved FROM batchvid.sums WHERE journal = %s", [world.number]).fetchone()
    assert sums == (10 * PRICE,)


def test_max_cost_bounds_what_is_paid_from_now_on(world: World) -> None:
    """The budget bounds all that was ever paid; the stricter of the two is named. What has no price fits in neither."""
    world.publish(30)
    worker = world.worker(dead_s=30)
    lease = taken(worker)
    journal = world.journal(lease, [f"j{number}" for number in range(9)])
    done(journal, "j0", started(), SubmitAccepted("task_0", None))
    open_the_brakes(world.db, world.number, world.account, 100 * PRICE, 2 * PRICE)
    done(journal, "j1", started())
    done(journal, "j2", started())
    with pytest.raises(OverCeilingError, match="--max-cost is reached"):
        done(journal, "j3", started())
    open_the_brakes(world.db, world.number, world.account, 100 * PRICE, None)
    done(journal, "j3", started())
    with pytest.raises(OverCeilingError, match="the budget"):
        done(journal, "j4", started(price=None))


def test_what_is_paid_already_is_recorded_whatever_it_costs(world: World) -> None:
    """The ceiling is for what is about to be paid: a request that the journal has forgotten is taken back in."""
    open_the_brakes(world.db, world.number, world.account, PRICE, None)
    with world.store.lock(), world.store.open(service=SERVICE) as journal:
        done(journal, "j0", started(), SubmitAccepted("task_0", None))
        for job_id, price, *told in (
            ("j1", PRICE, SubmitAccepted("task_1", None)),
            ("j2", None, SubmitUnsure("its answer is not known")),
        ):
            change = Change.of(Progress.fresh(job_id), *((event, 1.0) for event in (started(price=price), *told)))
            journal.record([change])
    assert {row.job_id: row.state for row in world.rows().values()} == {
        "j0": State.RUNNING,
        "j1": State.RUNNING,
        "j2": State.IN_DOUBT,
    }


# ---- the account


def report(world: World, **changed: Any) -> Report:
    """Return what a worker tells of its account."""
    return Report(**{"account": world.account, "limit": 20, "in_flight": 0, "wants": 20} | changed)


def seats(world: World, worker: Ledger, **changed: Any) -> int:
    """Return the seats that a worker gets."""
    return worker.beat([report(world, **changed)], {}, []).standings[world.account].seats


def test_the_seats_of_all_are_never_more_than_the_limit(world: World) -> None:
    """The first has all of them only as long as nobody else is hungry, and gives them back as its tasks end."""
    workers = [world.worker(dead_s=30) for _ in range(4)]
    assert seats(world, workers[0]) == 1  # nothing was accepted ever: the first goes alone
    assert seats(world, workers[1]) == 0
    assert seats(world, workers[1], wants=0) == 0
    assert seats(world, workers[0], accepted=1, in_flight=1) == 20
    has = dict.fromkeys(range(4), 0)
    has[0] = 20
    for _ in range(6):
        for number, worker in enumerate(workers):
            has[number] = seats(world, worker, in_flight=min(has[number], 5))
            assert sum(has.values()) <= 20
    assert sorted(has.values()) == [5, 5, 5, 5]


def test_seats_of_the_dead_go_to_the_living_but_for_their_tasks(world: World) -> None:
    """A task goes on at the service, whoever polls it."""
    world.publish(30)
    gone, other = world.worker(), world.worker()
    lease = taken(gone)
    journal = world.journal(lease, [f"j{number}" for number in range(9)])
    for number in range(3):
        done(journal, f"j{number}", started(), SubmitAccepted(f"task_{number}", None))
    assert seats(world, gone, accepted=3, in_flight=3) == 20
    assert seats(world, other) == 0
    time.sleep(DEAD_S + 0.1)
    assert seats(world, other) == 17
    outlive(other)
    taken(other)
    assert seats(world, other, in_flight=3) == 20


def test_what_one_is_told_slows_all(world: World) -> None:
    """A halving for each wave of refusals, not for each refusal; calm lets the pace grow again."""
    one, other = world.worker(dead_s=30), world.worker(dead_s=30)
    hit = partial(report, world, hit_wait_s=5.0, slowed_by="too many requests")
    one.beat([hit(hit_age_s=0.0)], {}, [])
    other.beat([hit(hit_age_s=1.0)], {}, [])
    standing = other.beat([report(world)], {}, []).standings[world.account]
    assert (standing.share, standing.slowed_by) == (0.5, "too many requests")
    assert 4 < standing.resume_s <= 5
    other.beat([hit(hit_age_s=0.0)], {}, [])
    assert one.beat([report(world, went_well=True)], {}, []).standings[world.account].share == 0.25
    world.db.execute(
        "UPDATE batchvid.accounts SET slowed_at = now() - interval '1 minute', resume_at = 'epoch' WHERE account = %s",
        [world.account],
    )
    assert one.beat([report(world, went_well=True)], {}, []).standings[world.account].share == 0.375


def test_doubts_in_a_row_are_those_of_all(world: World) -> None:
    """An accepted request of anybody ends the row."""
    one, other = world.worker(dead_s=30), world.worker(dead_s=30)
    one.beat([report(world, unsure=2, doubt_resume_s=9.0)], {}, [])
    standing = other.beat([report(world, unsure=1)], {}, []).standings[world.account]
    assert standing.unsure_in_a_row == 3
    assert 8 < standing.doubt_resume_s <= 9
    standing = one.beat([report(world, accepted=1)], {}, []).standings[world.account]
    assert (standing.unsure_in_a_row, standing.doubt_resume_s, standing.accepted) == (0, 0.0, 1)


def test_a_halt_is_heard_by_all_until_a_person_goes_on(world: World) -> None:
    """Told twice, it is one; the bell rings for those who wait."""
    one, other = world.worker(dead_s=30), world.worker(dead_s=30)
    bell = Bell(world.database)
    with closing(bell):
        bell.wait(0.01)
        halts = [
            Halt(6, "the key was refused", polls_too=True, journal=None),
            Halt(7, "the budget is reached", polls_too=False, journal=world.number),
        ]
        one.halt(world.account, halts)
        one.halt(world.account, halts)
        assert bell.wait(5)
    assert other.beat([report(world)], {}, []).standings[world.account].halts == tuple(halts)
    assert other.halts_of(world.account, world.number) == halts
    assert other.halts_of(world.account, world.number + 1) == halts[:1]
    open_the_brakes(world.db, world.number, world.account, None, None)
    assert other.halts_of(world.account, world.number) == []


# ---- who has the journal


def test_who_decides_waits_until_no_worker_has_the_journal(world: World) -> None:
    """And a worker does not begin beside one that decides."""
    journal = world.journal()
    with pytest.raises(OutputBusyError), world.store.lock():
        pass
    assert world.store.is_held()
    journal.close()
    with world.store.lock(), world.store.open(service=None):
        pass


def test_a_database_that_is_away_is_waited_for_and_ids_are_kept(world: World) -> None:
    """What was paid is kept beside at once, and recorded when the database is there again."""
    world.publish(20)
    worker = world.worker(dead_s=30)
    lease = taken(worker)
    journal = world.journal(lease, ["j0"])
    row = done(journal, "j0", started())
    world.db.execute("SELECT pg_terminate_backend(%s)", [journal._db.info.backend_pid])
    done(journal, "j0", SubmitAccepted("task_0", None), row=row)
    assert world.rows()["j0"].task_id == "task_0"
    assert world.spilled in ([], [Orphan("j0", 1, "task_0")])


def test_a_database_that_stays_away_ends_the_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was paid kept beside."""
    world.publish(20)
    worker = world.worker(dead_s=30)
    lease = taken(worker)
    journal = world.journal(lease, ["j0"], patience_s=0.7)
    row = done(journal, "j0", started())
    world.db.execute("SELECT pg_terminate_backend(%s)", [journal._db.info.backend_pid])

    def away(*_: object) -> None:
        raise StorageError("it is away")

    monkeypatch.setattr(type(world.database), "connect", away)
    with pytest.raises(StorageError, match="away"):
        done(journal, "j0", SubmitAccepted("task_0", None), row=row)
    assert world.spilled == [Orphan("j0", 1, "task_0")]
