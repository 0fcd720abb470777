"""What the tables tell of the workers of a journal, and of slices that change hands."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.machines import Standing
from batchvid.journal.engine_db import SEARCH_PATH
from batchvid.journal.ledger import Halt, Lease, Ledger, Report, account_number
from batchvid.journal.machines import machines_of
from batchvid.journal.publishing import publish
from tests.journal.published import connected, edition, linked, new_database, new_journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.journal.postgres_db import Connection, Database

DEAD_S = 2.0
"""A server that was started later than that is none that could tell who is dead."""
JOBS = 120
"""In four slices."""


class Scene:
    """A database with a published manifest, and workers."""

    def __init__(self, database: Database, db: Connection) -> None:
        self.database = database
        self.db = db
        self.account = account_number(db, "account", "https://service")
        self.journal = new_journal(db)
        self.ledgers: list[Ledger] = []

    def publish(self) -> None:
        """Publish a manifest."""
        publish(self.db, edition(self.journal, linked([None] * JOBS), account=self.account))

    def worker(self, name: str, dead_s: float = DEAD_S) -> Ledger:
        """Return a worker that has begun, and listened for long enough to judge others."""
        ledger = Ledger(self.database, name=name, version="1", dead_s=dead_s)
        self.ledgers.append(ledger)
        ledger.enter()
        ledger.beat([], {}, [])
        ledger.listens_since -= dead_s
        return ledger

    def silent(self, ledger: Ledger, silent_s: float) -> None:
        """Let a worker be one that was last heard of so long ago."""
        values = [silent_s, ledger.worker]
        query = "UPDATE batchvid.workers SET seen_at = clock_timestamp() - make_interval(secs => %s) WHERE worker = %s"
        self.db.execute(query, values)
        query = "UPDATE procrastinate_workers SET last_heartbeat = clock_timestamp() - make_interval(secs => %s)"
        with self.db.transaction():
            self.db.execute(SEARCH_PATH)
            self.db.execute(query + " WHERE id = %s", values)

    def stands(self, lease: Lease, states: str) -> None:
        """Let the first jobs of a slice stand so: ``done running``."""
        query = "SELECT job_id FROM batchvid.work WHERE slice = %s ORDER BY position"
        for (job_id,), state in zip(self.db.execute(query, [lease.slice]).fetchall(), states.split(), strict=False):
            self.db.execute(
                "INSERT INTO batchvid.jobs (journal, job_id, state, version, attempt, allowance_from, parked,"
                " unproven_micros) VALUES (%s, %s, %s, 1, 1, 0, false, 0)",
                [self.journal, job_id, state],
            )


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Return a database with nothing published."""
    database = new_database()
    with connected(database) as db:
        db.execute(
            "SELECT pg_sleep(greatest(0, extract(epoch FROM pg_postmaster_start_time() - clock_timestamp()) + %s))",
            [DEAD_S],
        )
        made = Scene(database, db)
        yield made
        for ledger in made.ledgers:
            ledger.close()


def taken(ledger: Ledger) -> Lease:
    """Return the next slice, which the worker takes."""
    lease = ledger.fetch(with_slices=True)
    assert isinstance(lease, Lease)
    return lease


def test_nothing_is_told_of_a_journal_that_was_never_published(scene: Scene) -> None:
    """Workers that live have nothing to do with it."""
    scene.worker("a:1")
    assert machines_of(scene.db, scene.journal) is None


def test_each_worker_is_shown_with_what_it_has(scene: Scene) -> None:
    """Its slices, its tasks in flight, its clips; one that only waits is there too."""
    scene.publish()
    first, second = scene.worker("a:1"), scene.worker("b:2")
    scene.worker("c:3")
    scene.stands(taken(first), "done done running")
    ended = taken(first)
    scene.stands(ended, "done")
    first.over(ended, polls=3)
    scene.stands(taken(second), "submitting")
    found = machines_of(scene.db, scene.journal)
    assert found is not None
    assert (found.revision, found.published_by, found.is_over, found.took_part) == (1, "here:1", False, 2)
    assert (found.waiting, found.taken, found.over) == (1, 2, 1)
    assert [(one.name, one.slices, one.in_flight, one.clips, one.took_part) for one in found.workers] == [
        ("a:1", 1, 1, 3, True),
        ("b:2", 1, 1, 0, True),
        ("c:3", 0, 0, 0, False),
    ]
    assert {one.standing for one in found.workers} == {Standing.ALIVE}
    assert max(one.seen_s for one in found.workers) < 10.0


def test_a_takeover_is_told_once_to_each_worker_with_the_name_and_the_slices(scene: Scene) -> None:
    """Whoever has noticed it. The dead one is shown, and the clips in its slices count for who goes on with them."""
    scene.publish()
    dead, other, third = scene.worker("a:1"), scene.worker("b:2"), scene.worker("c:3")
    scene.stands(taken(dead), "done")
    taken(dead)
    assert other.beat([], {}, []).takeovers == ()
    scene.silent(dead, 42.0)
    (told,) = other.beat([], {}, []).takeovers
    assert (told.name, told.slices, round(told.silent_s)) == ("a:1", 2, 42)
    assert third.beat([], {}, []).takeovers == (told,)
    assert other.beat([], {}, []).takeovers == third.beat([], {}, []).takeovers == ()
    later = scene.worker("d:4")
    assert later.beat([], {}, []).takeovers == ()
    taken(other)
    taken(third)
    found = machines_of(scene.db, scene.journal)
    assert found is not None
    by_name = {one.name: one for one in found.workers}
    gone = by_name["a:1"]
    assert (gone.standing, round(gone.seen_s), gone.slices, gone.clips, gone.lost) == (Standing.SILENT, 42, 0, 0, 2)
    assert by_name["b:2"].clips + by_name["c:3"].clips == 1
    assert found.took_part == 3
    assert dead.beat([], {}, []).takeovers == ()  # it is told by its epochs


def test_who_has_handed_back_and_left_is_shown_as_one_that_has_ended(scene: Scene) -> None:
    """And its slice as one that waits."""
    scene.publish()
    worker = scene.worker("a:1")
    lease = taken(worker)
    scene.stands(lease, "done running")
    worker.hand_back(lease)
    worker.leave("done")
    found = machines_of(scene.db, scene.journal)
    assert found is not None
    (one,) = found.workers
    assert (one.standing, one.slices, one.in_flight, one.clips) == (Standing.LEFT, 0, 0, 1)
    assert (found.waiting, found.taken) == (4, 0)


def test_the_brakes_of_the_account_are_shown(scene: Scene) -> None:
    """Its own, and those of this journal; not those of another journal of the account."""
    scene.publish()
    scene.db.execute(
        "UPDATE batchvid.accounts SET share = 0.5, slowed_by = 'too fast', unsure_in_a_row = 3,"
        " resume_at = clock_timestamp() + interval '20 s', doubt_resume_at = clock_timestamp() + interval '60 s'"
    )
    elsewhere = new_journal(scene.db, "elsewhere")
    worker = scene.worker("a:1")
    for reason, journal in (("the key", None), ("the breaker", scene.journal), ("another's", elsewhere)):
        worker.halt(scene.account, [Halt(6, reason, polls_too=False, journal=journal)])
    found = machines_of(scene.db, scene.journal)
    assert found is not None
    assert (found.slowed_to, found.slowed_by, found.unsure_in_a_row) == (0.5, "too fast", 3)
    assert (round(found.paused_s), round(found.doubt_s)) == (20, 60)
    assert found.halts == ("the key", "the breaker")


def test_a_reader_may_look_that_changes_nothing(scene: Scene) -> None:
    """In a session that only reads."""
    scene.publish()
    with closing(scene.database.connect()) as db:
        db.execute("SET default_transaction_read_only = on")
        assert machines_of(db, scene.journal) is not None


def test_a_worker_frozen_in_a_transaction_holds_nobody_up(scene: Scene) -> None:
    """The server ends its session after half the dead time: else none could send a heartbeat any more."""
    frozen = Ledger(scene.database, name="a:1", version="1", dead_s=1.0)
    other = Ledger(scene.database, name="b:2", version="1", dead_s=1.0)
    scene.ledgers += [frozen, other]
    frozen.enter()
    other.enter()
    scene.publish()
    taken(frozen)
    report = Report(scene.account, limit=4, in_flight=0, wants=4)
    assert frozen._connection is not None
    frozen._connection.execute("BEGIN")
    frozen._connection.execute("SELECT FROM batchvid.accounts FOR NO KEY UPDATE")
    frozen._connection.execute("UPDATE batchvid.workers SET seen_at = clock_timestamp()")
    end = time.monotonic() + 10.0
    while not other.beat([report], {}, []).takeovers:
        assert time.monotonic() < end, "its slice was never taken over"


def test_a_slice_whose_worker_is_gone_is_taken_by_one_that_has_enough_to_do(scene: Scene) -> None:
    """What is paid in it is to be collected; a slice that nobody has begun waits for one that has room."""
    scene.publish()
    dead, busy = scene.worker("a:1"), scene.worker("b:2")
    lost = taken(dead)
    assert busy.fetch(with_slices=False, with_begun=True) is None
    scene.silent(dead, 42.0)
    busy.beat([], {}, [])
    assert busy.fetch(with_slices=False) is None
    found = busy.fetch(with_slices=False, with_begun=True)
    assert isinstance(found, Lease)
    assert (found.slice, found.epoch) == (lost.slice, lost.epoch + 1)
    assert busy.fetch(with_slices=False, with_begun=True) is None
