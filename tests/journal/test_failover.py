"""A server that takes the place of another one: real servers, of which one follows the other and is promoted."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import Exit, StorageError
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import SubmitAccepted, SubmitStarted
from batchvid.journal.base import Change, RewoundError, StandbyError
from batchvid.journal.engine_db import make_ready
from batchvid.journal.fenced import open_fenced
from batchvid.journal.ledger import Ledger
from batchvid.journal.orphans import Orphan
from batchvid.journal.postgres import PostgresStore
from batchvid.journal.postgres_db import Database, scalar
from batchvid.journal.publishing import publish
from tests.journal.conftest import SERVICE, Life
from tests.journal.published import edition, linked
from tests.postgres import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STARTED = SubmitStarted(1, 400_000, "f" * 64)


@pytest.fixture
def first() -> Iterator[Server]:
    """Return a server of this test alone."""
    made = Server.made(address="127.0.0.1", port=free_port())
    yield made
    made.remove()


@pytest.fixture
def standby(first: Server, store: PostgresStore) -> Iterator[Server]:
    """Return a server that follows it, once a worker has come there and a job is paid."""
    make_ready(store.database)
    with store.open(service=SERVICE) as journal:
        Life(journal, Progress.fresh("kite")).goes(STARTED)
    made = first.standby(free_port())
    yield made
    made.remove()


@pytest.fixture
def store(first: Server, tmp_path: Path) -> PostgresStore:
    """Return a journal, by the address at which one of the two servers is."""
    return PostgresStore(Database(first.url_from_afar()), "out", tmp_path / "state")


def takes_over(first: Server, standby: Server) -> None:
    """Let the standby be at the address of the server that it followed, which is dead."""
    first.kill()
    standby.stop("fast")
    standby.port = first.port
    standby.promote()


def wait_for_standbys(first: Server) -> None:
    """Let every commit wait for a standby."""
    with closing(Database(first.url()).connect()) as db:
        db.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        db.execute("SELECT pg_reload_conf()")


def test_a_standby_is_refused_by_whoever_writes(standby: Server, tmp_path: Path) -> None:
    """Before anything is sent; who only reads may look there."""
    there = PostgresStore(Database(standby.url_from_afar()), "out", tmp_path / "state")
    for write in (lambda: there.open(service=SERVICE), lambda: make_ready(there.database)):
        with pytest.raises(StandbyError, match="takes no changes, as it is a standby: name the server that") as caught:
            write()
        assert caught.value.exit_code is Exit.CONFIG
    reader = there.read()
    assert reader is not None
    with reader:
        assert list(reader.states()) == ["kite"]


def test_a_server_that_may_lack_the_last_commits_is_refused_until_a_person_has_looked(
    first: Server, standby: Server, store: PostgresStore
) -> None:
    """Nobody waited for the standby, so what was paid last may be known nowhere."""
    takes_over(first, standby)
    for write in (lambda: store.open(service=SERVICE), lambda: make_ready(store.database)):
        with pytest.raises(RewoundError, match="was promoted or restored, and may have lost what was") as caught:
            write()
        assert caught.value.exit_code is Exit.CONFIG
        assert "`batchvid run MANIFEST --moved` goes on" in str(caught.value)
    store.trust_server()
    make_ready(store.database)
    with store.open(service=SERVICE) as journal:
        assert list(journal.states()) == ["kite"]


def test_a_standby_that_every_commit_waited_for_goes_on(first: Server, standby: Server, store: PostgresStore) -> None:
    """It knows all that anybody was told; a server that only crashed does, too."""
    first.kill()
    first.start()
    wait_for_standbys(first)
    make_ready(store.database)
    takes_over(first, standby)
    with store.open(service=SERVICE) as journal:
        assert list(journal.states()) == ["kite"]
    with closing(store.database.connect()) as db:
        assert scalar(db, "SELECT timeline FROM batchvid.timeline") == 2


def test_a_worker_whose_server_was_replaced_writes_nothing_and_keeps_what_is_paid(
    first: Server, standby: Server, store: PostgresStore
) -> None:
    """Its next commit meets the other server; the task that was just paid is kept beside."""
    spilled: list[Orphan] = []
    with ExitStack() as stack:
        db = stack.enter_context(closing(store.database.connect()))
        publish(db, edition(store.number_in(db), linked([None])))
        ledger = Ledger(store.database, name="host:1", version="1", dead_s=10.0)
        stack.callback(ledger.close)
        ledger.enter()
        lease = ledger.fetch(with_slices=True)
        journal = stack.enter_context(open_fenced(store, worker=ledger.worker, spill=spilled.extend, patience_s=20.0))
        journal.hold(lease, ["j0"])  # type: ignore[arg-type]
        begun = Change.of(Progress.fresh("j0"), (STARTED, 1.0))
        journal.record([begun])
        takes_over(first, standby)
        with pytest.raises(RewoundError):
            journal.record([Change.of(begun.after, (SubmitAccepted("task_paid"), 2.0))])
        assert spilled == [Orphan("j0", 1, "task_paid")]
        with pytest.raises(StorageError):  # on the connection to the server that is dead
            ledger.fetch(with_slices=True)
        for _ in range(2):
            with pytest.raises(RewoundError):
                ledger.fetch(with_slices=True)
