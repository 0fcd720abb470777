"""What is only true of a journal in PostgreSQL: sessions, lost connections, servers that die, many journals in one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import ConfigError, Exit, OutputBusyError, StorageError
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import GaveUp, SubmitAccepted, SubmitStarted, SubmitUnsure
from batchvid.journal import postgres as journal_module
from batchvid.journal import postgres_db
from batchvid.journal.base import Change, StaleProgressError, holds
from batchvid.journal.postgres import PostgresStore
from batchvid.journal.postgres_db import Database, scalar
from tests import postgres
from tests.journal.conftest import SERVICE, Life

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchvid.journal.postgres_reader import PostgresReader
    from tests.postgres import Server

STARTED = SubmitStarted(1, 400_000, "f" * 64)
NUMBERS = count()
SOON_S = 30.0


def started(job_id: str = "kite", *, at: float = 1.0) -> Change:
    """Return the first change of a job."""
    return Change.of(Progress.fresh(job_id), (STARTED, at))


def until(is_so: Callable[[], object]) -> None:
    """Wait for the server or the system to get there."""
    end = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < end, "it never came"


@pytest.fixture
def server() -> Server:
    """Return the server of this process."""
    return postgres.server()


@pytest.fixture
def database(server: Server) -> Database:
    """Return an empty database."""
    name = f"test_{next(NUMBERS)}"
    with closing(Database(server.url()).connect()) as db:
        db.execute(f"CREATE DATABASE {name}")
    return Database(server.url(name))


@pytest.fixture
def store(database: Database, path: Path) -> PostgresStore:
    """Return a store in a database of its own."""
    return PostgresStore(database, "out", path.parent)


@pytest.fixture
def mortal() -> Iterator[Server]:
    """Return a server that a test may kill."""
    made = postgres.Server.made()
    yield made
    made.remove()


def ask(database: Database, query: str, *values: Any) -> Any:
    """Return what another session finds."""
    with closing(database.connect()) as db:
        return scalar(db, query, *values)


# ---- the database


def test_nobody_is_shown_the_password() -> None:
    """Neither in messages nor in a traceback, also of an address that cannot be read."""
    database = Database("postgresql://me:hush@db.example.com:5433/films?sslmode=require&password=hush2")
    assert str(database) == "postgresql://me@db.example.com:5433/films"
    assert "hush" not in repr(PostgresStore(database, "out", Path("x")))
    with pytest.raises(ConfigError, match="cannot be read; write it as postgresql://") as caught:
        Database("postgresql://me:hush@[db/films").connect()
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_database_that_is_away_is_named_and_counts_as_one_with_a_journal(tmp_path: Path) -> None:
    """A run does not take it for a fresh one; whoever looks hears what to do."""
    away = Database(f"postgresql://me:hush@/films?host={tmp_path}")
    store = PostgresStore(away, "out", tmp_path)
    assert store.exists()
    for look in (store.read, store.held_since, lambda: store.open(service=SERVICE)):
        with pytest.raises(StorageError, match="cannot be reached; look whether it runs") as caught:
            look()
        assert caught.value.exit_code is Exit.DISK
        assert "postgresql://me@" in str(caught.value)
        assert "hush" not in str(caught.value)


def test_only_opening_for_writing_makes_tables(store: PostgresStore) -> None:
    """Looking at what never ran leaves no trace."""
    assert not store.exists()
    assert store.read() is None
    assert not store.is_held()
    with pytest.raises(StorageError, match="there is no journal out in the database postgresql://"):
        store.open(service=None)
    assert ask(store.database, "SELECT to_regnamespace('batchvid')") is None
    store.open(service=SERVICE).close()
    assert ask(store.database, "SELECT version FROM batchvid.schema_version") == postgres_db.newest_version()


def test_two_that_come_first_make_one_set_of_tables(store: PostgresStore, path: Path) -> None:
    """At the same moment; each gets its own journal."""
    failed: list[BaseException] = []

    def make(name: str) -> None:
        try:
            PostgresStore(store.database, name, path.parent).open(service=SERVICE).close()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=make, args=(f"out-{number % 4}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert ask(store.database, "SELECT count(*) FROM batchvid.journals") == 4


def test_journals_in_one_database_do_not_see_each_other(store: PostgresStore, path: Path) -> None:
    """The same job and the same task in two outputs, at two services, are four things."""
    other = PostgresStore(store.database, "other", path.parent.parent / "other")
    with store.open(service=SERVICE) as here, other.open(service="http://127.0.0.1:8000/v1") as there:
        life = Life(here, Progress.fresh("kite")).goes(STARTED, SubmitAccepted("task_1"))
        assert there.progress("kite") is None
        assert (there.owner_of_task("task_1"), list(there.events()), there.states()) == (None, [], {})
        assert there.money().reserved_micros == 0
        Life(there, Progress.fresh("kite")).goes(SubmitStarted(1, 7, "g"), SubmitAccepted("task_1"))
        there.move([("kite", "gull")], at=1.0, remark=("note", "there"))
        assert list(here.all_progress()) == [life.progress]
        assert (here.money().reserved_micros, there.money().reserved_micros) == (400_000, 7)
        assert (here.owner_of_task("task_1"), there.owner_of_task("task_1")) == ("kite", "gull")
        assert (here.meta_get("note"), here.meta_get("service")) == (None, SERVICE)
        with store.lock(), other.lock():
            pass


@pytest.mark.parametrize("setting", ["off", "local"])
def test_a_commit_is_durable_whatever_the_database_is_set_to(store: PostgresStore, setting: str) -> None:
    """A quicker setting for other programs does not hold for what is paid."""
    with closing(store.database.connect()) as db:
        name = scalar(db, "SELECT current_database()")
        db.execute(f"ALTER DATABASE {name} SET synchronous_commit = {setting}")
    with store.open(service=SERVICE) as journal:
        assert scalar(journal._db, "SHOW synchronous_commit") == "on"


def test_a_database_that_cannot_hold_every_letter_is_refused(server: Server, path: Path) -> None:
    """Before anything is written."""
    with closing(Database(server.url()).connect()) as db:
        db.execute("CREATE DATABASE narrow ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(ConfigError, match="createdb -E UTF8"):
        PostgresStore(Database(server.url("narrow")), "out", path.parent).open(service=SERVICE)


# ---- versions of the tables

NEWEST = postgres_db.newest_version()
TOY = (NEWEST + 1, ("ALTER TABLE batchvid.jobs ADD COLUMN toy TEXT", "CREATE TABLE batchvid.toys (toy TEXT)"))


def test_older_tables_are_brought_up_to_date_by_a_run_only(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they hold stays; who only reads changes nothing, and says what does."""
    with store.open(service=SERVICE) as journal:
        life = Life(journal, Progress.fresh("kite")).goes(STARTED)
    monkeypatch.setattr(postgres_db, "MIGRATIONS", (*postgres_db.MIGRATIONS, TOY))
    with pytest.raises(ConfigError, match="older batchvid; `batchvid run` brings it up to date"):
        store.read()
    assert ask(store.database, "SELECT version FROM batchvid.schema_version") == NEWEST
    with store.open(service=None) as journal:
        assert list(journal.all_progress()) == [life.progress]
    assert ask(store.database, "SELECT version FROM batchvid.schema_version") == NEWEST + 1
    assert ask(store.database, "SELECT count(*) FROM batchvid.toys") == 0


def test_a_migration_that_fails_leaves_the_tables_as_they_were(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, or nothing."""
    store.open(service=SERVICE).close()
    broken = (NEWEST + 1, (TOY[1][0], "SELECT 1/0"))
    with monkeypatch.context() as patched:
        patched.setattr(postgres_db, "MIGRATIONS", (*postgres_db.MIGRATIONS, broken))
        with pytest.raises(Exception, match="division by zero"):
            store.open(service=SERVICE)
    store.open(service=SERVICE).close()
    found = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'batchvid' AND column_name = 'toy'"
    assert ask(store.database, found) == 0


def test_tables_of_a_newer_batchvid_are_refused(store: PostgresStore) -> None:
    """By whoever reads or writes; the message names both versions."""
    store.open(service=SERVICE).close()
    with closing(store.database.connect()) as db:
        db.execute("UPDATE batchvid.schema_version SET version = 9")
    for look in (store.read, lambda: store.open(service=SERVICE)):
        with pytest.raises(
            ConfigError, match=rf"newer batchvid \(its version is 9, this one knows {NEWEST}\)"
        ) as caught:
            look()
        assert caught.value.exit_code is Exit.CONFIG


# ---- two writers, and the lock


def test_of_two_writers_of_a_job_one_loses(store: PostgresStore) -> None:
    """At the same moment, over two sessions: the row, its attempt and its event are all of the winner."""
    jobs = [f"job-{number}" for number in range(40)]
    gate = threading.Barrier(2, timeout=SOON_S)
    won: dict[float, list[str]] = {1.0: [], 2.0: []}
    lost: list[str] = []

    def write(at: float) -> None:
        with store.open(service=SERVICE) as journal:
            for job_id in jobs:
                gate.wait()
                try:
                    journal.record([started(job_id, at=at), started(f"{job_id}-of-{at}", at=at)])
                    won[at].append(job_id)
                except StaleProgressError:
                    lost.append(job_id)

    threads = [threading.Thread(target=write, args=(at,)) for at in won]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lost) == sorted(jobs) == sorted(won[1.0] + won[2.0])
    with store.open(service=None) as journal:
        for at, names in won.items():
            for job_id in names:
                assert [one.started_at for one in journal.attempts(job_id)] == [at]
                assert [one.at for one in journal.events(job_id)] == [at]
        assert sum(journal.counts().values()) == 2 * len(jobs)


def test_a_writer_that_waited_for_another_sees_what_it_wrote(store: PostgresStore) -> None:
    """Both start from what was there; the second comes while the first is not yet committed, and loses."""
    lost: list[StaleProgressError] = []
    with store.open(service=SERVICE) as first, store.open(service=None) as second:
        life = Life(first, Progress.fresh("kite")).goes(STARTED)
        accepted, unsure = life.change(SubmitAccepted("task_1")), life.change(SubmitUnsure("reset"))

        def come_second() -> None:
            try:
                second.record([unsure])
            except StaleProgressError as error:
                lost.append(error)

        writer = threading.Thread(target=come_second)

        def come_first() -> None:
            first._write([accepted])
            writer.start()
            until(lambda: ask(store.database, WAITS_FOR_A_ROW))

        first._transaction(come_first, bool)
        writer.join()
        assert [str(error) for error in lost] == ["job 'kite' is no longer at version 1"]
        assert second.progress("kite") == accepted.after
        assert [one.kind for one in second.events("kite")] == ["SubmitStarted", "SubmitAccepted"]


def test_who_follows_misses_nothing_that_is_committed_late(store: PostgresStore) -> None:
    """The first of two takes the smaller number and is committed last; until then, what came behind it waits."""
    with store.open(service=SERVICE) as first, store.open(service=None) as second, reading(store) as reader:
        second.record([started("gull")])
        (gull,) = reader.events(after=0)

        def come_late() -> None:  # about a job that is not paid for: what is paid of one journal comes in turn
            first._write([Change.of(Progress.fresh("kite"), (GaveUp("its frame is gone"), 1.0))])
            second.record([started("dawn")])
            assert [one.job_id for one in reader.events()] == ["gull", "dawn"]
            assert reader.settled() == gull.seq
            assert list(reader.events(after=gull.seq)) == []

        first._transaction(come_late, bool)
        assert [one.job_id for one in reader.events(after=gull.seq)] == ["kite", "dawn"]
        assert reader.settled() == gull.seq + 2


def test_who_follows_many_writers_sees_each_event_once(store: PostgresStore) -> None:
    """Whenever it looks."""
    writers, jobs = 4, 60
    with store.open(service=SERVICE) as made:
        made.record([started()])
    done: list[int] = []

    def write(name: int) -> None:
        with store.open(service=None) as journal:
            for number in range(jobs):
                journal.record([started(f"{name}-{number}-{part}") for part in range(3)])
        done.append(name)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(writers)]
    seen, last = [], 0
    with reading(store) as reader:
        for thread in threads:
            thread.start()
        while len(done) < writers or last < reader.settled():
            for event in reader.events(after=last):
                seen.append(event.job_id)
                last = event.seq
    for thread in threads:
        thread.join()
    assert len(seen) == len(set(seen)) == 1 + writers * jobs * 3


def reading(store: PostgresStore) -> PostgresReader:
    """Open the journal beside its writers."""
    reader = store.read()
    assert reader is not None
    return reader


WAITS_FOR_A_ROW = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def test_a_lost_session_has_lost_the_lock_and_records_nothing_more(store: PostgresStore, path: Path) -> None:
    """Another run may hold the journal by then; it is free at once."""
    with store.lock():
        journal = store.open(service=SERVICE)
        journal.record([started()])
        ask(store.database, "SELECT pg_terminate_backend(%s)", journal._db.info.backend_pid)
        with pytest.raises(StorageError, match="postgresql://batchvid@"):
            journal.record([started("dawn")])
        until(lambda: not store.is_held())
        elsewhere = PostgresStore(store.database, store.name, path.parent.parent / "elsewhere")
        second = subprocess.run(
            [sys.executable, "-c", SECOND, store.database.url, store.name, str(elsewhere.state)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert second.stdout == "recorded\n"
        for _ in range(2):
            with pytest.raises(StorageError, match="was lost, and with it the lock of the journal"):
                journal.record([started("gull")])
        with pytest.raises(StorageError, match="was lost, and with it the lock"):
            journal.close()
    with store.open(service=None) as journal:
        assert set(journal.states()) == {"dawn", "kite"}


SECOND = """
import sys
from pathlib import Path
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import SubmitStarted
from batchvid.journal.base import Change
from batchvid.journal.postgres import PostgresStore
from batchvid.journal.postgres_db import Database

store = PostgresStore(Database(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
with store.lock(), store.open(service=None) as journal:
    journal.record([Change.of(Progress.fresh("dawn"), (SubmitStarted(1, 1, "f"), 1.0))])
    print("recorded")
"""

HOLDER = """
import os, sys, time
from pathlib import Path
from batchvid.journal.postgres import PostgresStore
from batchvid.journal.postgres_db import Database

store = PostgresStore(Database(sys.argv[1]), "out", Path(sys.argv[2]))
with store.lock():
    child = os.fork()
    if not child:
        os.close(1)
        time.sleep(600)
    print(child, flush=True)
    time.sleep(600)
"""


def test_a_killed_process_holds_nothing_any_more(store: PostgresStore, path: Path) -> None:
    """Nor does a child that it has forked, and that lives on."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HOLDER, store.database.url, str(path.parent)],
        stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert store.is_held()
            with (
                pytest.raises(OutputBusyError, match="another run holds the journal out in the database"),
                store.lock(),
            ):
                pass
            parent.kill()
            until(lambda: not store.is_held())
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_session_elsewhere_or_a_restored_database_breaks_the_seal(store: PostgresStore, path: Path) -> None:
    """What lies beside the journal may know more than it does then."""
    with store.open(service=SERVICE) as journal:
        journal.seal()
        before = journal.meta_get("session")
    with store.open(service=None) as journal:
        assert journal.is_sealed
    elsewhere = PostgresStore(store.database, store.name, path.parent.parent / "elsewhere")
    with elsewhere.open(service=None) as journal:
        assert not journal.is_sealed
        journal.seal()
    with store.open(service=None) as journal:
        assert not journal.is_sealed
        journal.seal()
    with closing(store.database.connect()) as db:
        db.execute("UPDATE batchvid.meta SET value = %s WHERE key = 'session'", [before])
    with store.open(service=None) as journal:
        assert not journal.is_sealed


# ---- commits with an unknown end


class Relay:
    """Stands between a journal and its server, over a Unix socket, and cuts the connection at a commit."""

    def __init__(self, server: Server, *, is_passed_on: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="batchvid-relay-"))
        self._target = str(server.folder / ".s.PGSQL.5432")
        self._is_passed_on = is_passed_on
        self.is_armed = self._is_cutting = False
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.folder / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        shutil.rmtree(self.folder)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                threading.Thread(target=self._copy, args=(client, server), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.is_armed and b"COMMIT" in data:
                    self.is_armed = False
                    if not self._is_passed_on:
                        break
                    self._is_cutting = True  # nobody hears the answer
                elif self._is_cutting and source.getpeername() == self._target:
                    self._is_cutting = False
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()


@pytest.fixture(params=[True, False], ids=["passed on", "lost"])
def relay(request: pytest.FixtureRequest, server: Server) -> Iterator[Relay]:
    """Return a relay that cuts at a commit, after or before the server has it."""
    made = Relay(server, is_passed_on=request.param)
    yield made
    made.close()


def test_a_commit_whose_answer_is_lost_is_looked_for(
    store: PostgresStore, database: Database, server: Server, relay: Relay, path: Path
) -> None:
    """It is kept, or it is not, and the caller hears which; the session is over either way."""
    name = ask(database, "SELECT current_database()")
    through = PostgresStore(Database(server.url(name, host=relay.folder)), store.name, path.parent)
    with through.lock():
        journal = through.open(service=SERVICE)
        journal.record([started("dawn")])
        relay.is_armed = True
        if relay._is_passed_on:
            journal.record([started(), started("gull")])
        else:
            with pytest.raises(StorageError, match="cannot be reached"):
                journal.record([started(), started("gull")])
        with pytest.raises(StorageError, match="lost, and with it the lock"):
            journal.record([started("lark")])
    with store.open(service=None) as journal:
        assert set(journal.states()) == ({"dawn", "kite", "gull"} if relay._is_passed_on else {"dawn"})


def test_what_another_run_wrote_in_the_same_place_is_not_taken_for_ours(store: PostgresStore) -> None:
    """The same job, attempt and version, at another moment: who took it for its own would pay a second time."""
    with store.open(service=SERVICE) as journal:
        journal.record([started(at=2.0)])
        assert holds(journal, [started(at=2.0)])
        assert not holds(journal, [started(at=1.0)])
        assert not holds(journal, [started(at=2.0), started("dawn", at=2.0)])


WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def test_a_server_killed_in_the_middle_of_a_commit_is_asked_when_it_is_back(mortal: Server, path: Path) -> None:
    """SIGKILL of all its processes while the commit, which is on its disk, waits for a standby."""
    store = PostgresStore(Database(mortal.url()), "out", path.parent)
    outcomes: list[object] = []

    def record() -> None:
        try:
            journal.record([started(), started("dawn")])
            outcomes.append("kept")
        except StorageError as error:
            outcomes.append(error)

    with store.lock():
        journal = store.open(service=SERVICE)
        with closing(store.database.connect()) as db:
            db.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            db.execute("SELECT pg_reload_conf()")
            until(lambda: scalar(db, "SHOW synchronous_standby_names") == "nobody")
            writer = threading.Thread(target=record)
            writer.start()
            until(lambda: scalar(db, WAITS))
        mortal.kill()
        mortal.start("-c synchronous_standby_names=")
        writer.join()
        assert outcomes == ["kept"]
        with pytest.raises(StorageError, match="lost, and with it the lock"):
            journal.record([started("gull")])
    with store.lock(), store.open(service=SERVICE) as journal:
        assert set(journal.states()) == {"kite", "dawn"}
        journal.record([started("gull")])


def test_a_commit_whose_end_cannot_be_known_is_an_error(
    mortal: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server dies in the middle of it, and does not come back in time."""
    monkeypatch.setattr(journal_module, "PATIENCE_S", 0.0)
    store = PostgresStore(Database(mortal.url()), "out", path.parent)
    journal = store.open(service=SERVICE)

    def die() -> list[Any]:
        mortal.kill()
        return []

    with pytest.raises(StorageError, match="in the middle of a commit, and it cannot be known") as caught:
        journal._transaction(die, bool)
    assert caught.value.exit_code is Exit.DISK
    assert "hush" not in str(caught.value)
    with pytest.raises(StorageError, match="cannot be reached"):
        store.read()


@pytest.mark.parametrize(
    ("user", "name", "advice"),
    [
        ("batchvid", "nowhere", "there is no such database; make it (createdb)"),
        ("nobody", "postgres", "it does not let batchvid in; look at the user and the password"),
        ("guest", "postgres", "it does not let batchvid in; look at the user and the password"),
    ],
)
def test_a_server_that_refuses_the_connection_is_not_one_that_is_away(
    server: Server, user: str, name: str, advice: str
) -> None:
    """Whoever looks for a server that is down looks in vain."""
    with closing(Database(server.url()).connect()) as db:
        db.execute("DROP ROLE IF EXISTS guest; CREATE ROLE guest NOLOGIN")
    with pytest.raises(StorageError, match=re.escape(advice)):
        Database(server.url(name).replace("//batchvid:hush@", f"//{user}@")).connect()
