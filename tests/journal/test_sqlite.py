"""The journal's file: what is certain to be ours is opened, privately and durably; everything else is refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from stat import S_IMODE
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import ConfigError, Exit, StorageError
from batchvid.domain.job import Attempt, Progress
from batchvid.domain.lifecycle import GaveUp, SubmitAccepted, SubmitStarted, TaskFailed
from batchvid.journal import sqlite_file as journal_schema
from batchvid.journal.sqlite import UNFINISHED, SqliteJournal, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.journal.conftest import Life

STARTED = SubmitStarted(1, 400_000, "f" * 64)
FAILED = TaskFailed("blocked")


@pytest.fixture
def store(path: Path) -> SqliteStore:
    """Return where the file is."""
    return SqliteStore(path)


@pytest.fixture
def journal(store: SqliteStore, service: str) -> Iterator[SqliteJournal]:
    """Return a fresh journal, open for writing."""
    with store.open(service=service) as opened:
        yield opened


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Act as an account that file modes apply to, and give it *folder*."""
    if os.geteuid() != 0:
        yield
        return
    for place in (folder, *folder.rglob("*")):
        os.chown(place, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Return a folder that every account can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_fresh_journal_is_private_under_any_umask(path: Path, service: str) -> None:
    """File and companions are for their owner alone, and so is the folder."""
    before = os.umask(0)
    try:
        with SqliteStore(path).open(service=service) as journal:
            journal.meta_set("x", "y")
            assert S_IMODE(path.parent.stat().st_mode) == 0o700
            assert {S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
            assert len(list(path.parent.iterdir())) == 3
    finally:
        os.umask(before)
    assert [file.name for file in path.parent.iterdir()] == ["journal.db"]


def test_rights_that_others_were_given_are_taken_back(path: Path, service: str) -> None:
    """A journal that was copied with a careless umask becomes private again."""
    SqliteStore(path).open(service=service).close()
    path.chmod(0o644)
    path.parent.chmod(0o755)
    SqliteStore(path).open(service=service).close()
    assert S_IMODE(path.stat().st_mode) == 0o600
    assert S_IMODE(path.parent.stat().st_mode) == 0o700


def test_commits_survive_a_power_loss_and_readers_read_beside(journal: SqliteJournal) -> None:
    """The log is synced at each commit: FULL, which WAL alone does not give."""
    pragmas = {name: journal._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
    assert journal._db.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    assert journal._db.execute("PRAGMA busy_timeout").fetchone()[0] >= 5000
    assert journal._db.execute("PRAGMA application_id").fetchone()[0] == journal_schema.APPLICATION_ID
    assert journal._db.execute("PRAGMA user_version").fetchone()[0] == journal_schema.newest_version()


def test_a_reader_sees_what_is_committed_while_the_writer_goes_on(life: Life, path: Path) -> None:
    """Status works beside a run, and its iterations see one moment."""
    life.goes(STARTED)
    reader = SqliteStore(path).read()
    assert reader is not None
    with reader:
        rows = reader.all_progress()
        assert next(rows) == life.progress
        life.goes(SubmitAccepted("task_1"))
        assert reader.progress("kite") is not None
        assert list(rows) == []
        assert reader.progress("kite") == life.progress
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._db.execute("DELETE FROM jobs")


def test_a_reader_needs_no_writer(path: Path, service: str) -> None:
    """After a clean end there is only the one file, and reading leaves it as it was."""
    SqliteStore(path).open(service=service).close()
    content = path.read_bytes()
    reader = SqliteStore(path).read()
    assert reader is not None
    assert reader.meta_get("service") == service
    reader.close()
    assert path.read_bytes() == content


def test_without_a_journal_a_reader_gets_none_and_makes_nothing(path: Path) -> None:
    """Looking at an output that never ran leaves no trace."""
    assert SqliteStore(path).read() is None
    assert not path.parent.exists()


def test_a_crash_while_it_is_made_leaves_no_half_journal(path: Path, service: str) -> None:
    """What a crash leaves behind has another name, and the next run makes a whole one."""
    path.parent.mkdir(parents=True)
    path.with_name("journal.db.new").write_bytes(b"half")
    SqliteStore(path).open(service=service).close()
    assert [file.name for file in path.parent.iterdir()] == ["journal.db"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty, so what was paid is unknown"),
        (b"version: 1\njobs: []\n" * 100, "it is not a journal"),
        (b"SQLite format 3\x00" + b"\xff" * 5000, "it is not a journal|it is damaged"),
    ],
)
def test_what_cannot_be_read_is_refused_and_left_alone(path: Path, service: str, content: bytes, says: str) -> None:
    """Never begin again over something unreadable: it may know what is paid."""
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(content)
    openings: list[Callable[[], object]] = [
        partial(SqliteStore(path).open, service=service),
        SqliteStore(path).read,
    ]
    for opening in openings:
        with pytest.raises(StorageError, match=says) as caught:
            opening()
        assert str(path) in str(caught.value)
        assert "restore it from a backup" in str(caught.value)
        assert caught.value.exit_code is Exit.DISK
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(path: Path, service: str) -> None:
    """A database is ours by its mark, not by its name."""
    path.parent.mkdir(parents=True, mode=0o700)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE jobs (x)")
    db.close()
    content = path.read_bytes()
    with pytest.raises(StorageError, match="is a database of another program"):
        SqliteStore(path).open(service=service)
    with pytest.raises(StorageError, match="is a database of another program"):
        SqliteStore(path).read()
    assert path.read_bytes() == content


def test_a_journal_that_was_cut_off_is_refused(life: Life, journal: SqliteJournal, path: Path, service: str) -> None:
    """Half a journal knows half of what was paid."""
    for number in range(1, 40):
        life.goes(SubmitStarted(number, 1, "f" * 64), SubmitAccepted(f"task_{number}"), FAILED)
    journal.backup(path.with_name("whole.db"))
    cut = path.with_name("cut.db")
    whole = path.with_name("whole.db").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2 // 4096 * 4096])
    with pytest.raises(StorageError, match=r"it is damaged; restore it from a backup.*Do not delete it"):
        SqliteStore(cut).open(service=service)


def test_after_an_unclean_end_every_page_is_checked(
    life: Life, journal: SqliteJournal, path: Path, service: str
) -> None:
    """A page that a failing disk has changed is found before anything is paid, though no query would touch it."""
    for number in range(1, 40):
        life.goes(SubmitStarted(number, 1, "f" * 64), SubmitAccepted(f"task_{number}"), FAILED)
    spoilt = path.with_name("spoilt.db")
    journal.backup(spoilt)  # a copy of a journal in use is one that was not closed
    content = bytearray(spoilt.read_bytes())
    content[-4096:] = b"\x0d" + b"\xff" * 4095
    spoilt.write_bytes(content)
    with pytest.raises(StorageError, match="it is damaged"):
        SqliteStore(spoilt).open(service=service)


def test_an_unclean_end_is_noted(path: Path, service: str) -> None:
    """Only a journal that was closed without an error skips the check next time."""
    journal = SqliteStore(path).open(service=service)
    assert journal.meta_get("clean") == "0"
    journal.close()
    reader = SqliteStore(path).read()
    assert reader is not None
    assert reader.meta_get("clean") == "1"
    reader.close()
    with pytest.raises(ZeroDivisionError), SqliteStore(path).open(service=service) as journal:
        raise ZeroDivisionError
    reader = SqliteStore(path).read()
    assert reader is not None
    assert reader.meta_get("clean") == "0"
    reader.close()


def test_a_journal_of_a_newer_batchvid_is_refused_and_left_alone(path: Path, service: str) -> None:
    """What a newer version knows of payments cannot be read by an older one."""
    SqliteStore(path).open(service=service).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    content = path.read_bytes()
    with pytest.raises(ConfigError, match=r"newer batchvid \(its version is 7, this one knows 3\)"):
        SqliteStore(path).open(service=service)
    with pytest.raises(ConfigError, match="newer batchvid"):
        SqliteStore(path).read()
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal", "journal.db-shm", "journal.db-journal"])
def test_a_symbolic_link_is_refused(path: Path, service: str, name: str) -> None:
    """Nobody makes batchvid write through a link, not even through one that leads nowhere."""
    SqliteStore(path).open(service=service).close()
    path.with_name(name).unlink(missing_ok=True)
    path.with_name(name).symlink_to(path.parent.parent / "elsewhere")
    with pytest.raises(StorageError, match="is a symbolic link"):
        SqliteStore(path).open(service=service)
    with pytest.raises(StorageError, match="is a symbolic link"):
        SqliteStore(path).read()
    assert not (path.parent.parent / "elsewhere").exists()


def test_a_link_instead_of_the_folder_is_refused(path: Path, service: str, tmp_path: Path) -> None:
    """The state folder is a folder of the output itself."""
    (tmp_path / "elsewhere").mkdir()
    path.parent.parent.mkdir()
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is a symbolic link"):
        SqliteStore(path).open(service=service)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_is_no_file_or_no_folder_is_refused(path: Path, service: str) -> None:
    """A folder in the journal's place, or a file in the folder's, is moved away by a person."""
    path.mkdir(parents=True)
    with pytest.raises(StorageError, match="is not a plain file; move it away"):
        SqliteStore(path).open(service=service)
    file = path.parent.parent / "file"
    file.write_text("x")
    with pytest.raises(StorageError):
        SqliteStore(file / "journal.db").open(service=service)


@pytest.mark.parametrize(
    ("of_file", "of_folder", "says"),
    [
        (0o400, 0o700, "it cannot be written; give the account"),
        (0o600, 0o500, "it cannot be written; give the account"),
        (0o000, 0o700, "it cannot be opened; give the account"),
    ],
)
def test_a_journal_that_cannot_be_written_is_refused_before_anything_is_paid(
    public_folder: Path, service: str, *, of_file: int, of_folder: int, says: str
) -> None:
    """A run finds out at its start, not at its first payment; when a person gives the right, it goes on."""
    path = public_folder / ".batchvid" / "journal.db"
    SqliteStore(path).open(service=service).close()
    with as_nobody(public_folder):
        path.chmod(of_file)
        path.parent.chmod(of_folder)
        with pytest.raises(StorageError, match=says):
            SqliteStore(path).open(service=service)
        path.parent.chmod(0o700)
        path.chmod(0o600)
        SqliteStore(path).open(service=service).close()


def test_a_forbidden_output_is_refused(public_folder: Path, service: str) -> None:
    """Where no journal can be made, nothing can be paid."""
    with as_nobody(public_folder):
        public_folder.chmod(0o500)
        with pytest.raises(StorageError, match="permission denied"):
            SqliteStore(public_folder / ".batchvid" / "journal.db").open(service=service)
        public_folder.chmod(0o700)


def test_a_copy_is_whole_private_and_a_journal(life: Life, journal: SqliteJournal, path: Path, service: str) -> None:
    """A backup may be taken while the journal is in use, and opens as one; an older copy is replaced."""
    life.goes(STARTED)
    copy = path.parent / "copy.db"
    journal.backup(copy)
    life.goes(SubmitAccepted("task_1"))
    journal.backup(copy)
    assert S_IMODE(copy.stat().st_mode) == 0o600
    with SqliteStore(copy).open(service=service) as opened:
        assert opened.progress("kite") == life.progress


def test_an_older_journal_is_copied_and_then_migrated(
    life: Life, path: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invented newer schema: the rows live on in it, and the old file is beside it, whole."""
    life.goes(STARTED)
    life.journal.meta_set("clean", "1")
    now = journal_schema.newest_version()
    newer = (now + 1, ("ALTER TABLE jobs ADD COLUMN mood TEXT", "UPDATE jobs SET mood = 'calm'"))
    monkeypatch.setattr(journal_schema, "MIGRATIONS", (*journal_schema.MIGRATIONS, newer))
    with pytest.raises(ConfigError, match="older batchvid; `batchvid run` brings it up to date"):
        SqliteStore(path).read()
    with SqliteStore(path).open(service=service) as journal:
        assert journal.progress("kite") == life.progress
        assert journal._db.execute("SELECT mood FROM jobs").fetchone() == ("calm",)
        assert journal_schema.version_of(journal._db) == now + 1
    copy = path.with_name(f"journal.db.v{now}.bak")
    assert S_IMODE(copy.stat().st_mode) == 0o600
    monkeypatch.undo()
    with SqliteStore(copy).open(service=service) as old:
        assert old.progress("kite") == life.progress


def test_a_migration_that_fails_leaves_the_old_journal(
    path: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are one transaction."""
    SqliteStore(path).open(service=service).close()
    now = journal_schema.newest_version()
    steps = (
        (now + 1, ("ALTER TABLE jobs ADD COLUMN mood TEXT",)),
        (now + 2, ("ALTER TABLE nowhere ADD COLUMN x TEXT",)),
    )
    monkeypatch.setattr(journal_schema, "MIGRATIONS", (*journal_schema.MIGRATIONS, *steps))
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        SqliteStore(path).open(service=service)
    monkeypatch.undo()
    with SqliteStore(path).open(service=service) as journal:
        assert journal_schema.version_of(journal._db) == now
        assert "mood" not in [row[1] for row in journal._db.execute("PRAGMA table_info(jobs)")]


def test_a_journal_is_sealed_only_when_it_knows_all(path: Path, service: str) -> None:
    """Somebody who opens it without holding it against what lies beside must not hide that it went back in time."""
    for knows_all in (False, True, True):
        with SqliteStore(path).open(service=service) as journal:
            if knows_all:
                journal.seal()
    with SqliteStore(path).open(service=None) as journal:
        assert journal.is_sealed
    reader = SqliteStore(path).read()
    assert reader is not None
    assert reader.is_sealed
    reader.close()
    assert SqliteStore(path).open(service=service).is_sealed


SPOILED: dict[str, Callable[[Path], object]] = {
    "another file": lambda path: shutil.copy2(path, path.with_name("copy")) and path.with_name("copy").replace(path),
    "the same file, written again": lambda path: path.write_bytes(path.read_bytes()),
    "changes beside it": lambda path: path.with_name("journal.db-wal").write_bytes(b"x"),
    "no seal": lambda path: path.with_name("seal.json").unlink(),
    "a seal that says nothing": lambda path: path.with_name("seal.json").write_text("[]"),
    "a seal that is cut off": lambda path: path.with_name("seal.json").write_text("{"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_seal_holds_for_one_file_in_one_state(path: Path, service: str, what: str) -> None:
    """Whatever was put in its place is held against what lies beside it."""
    with SqliteStore(path).open(service=service) as journal:
        journal.seal()
    SPOILED[what](path)
    with SqliteStore(path).open(service=service) as journal:
        assert not journal.is_sealed


def test_a_session_that_was_not_ended_leaves_no_seal(path: Path, service: str) -> None:
    """Nor does one whose journal was taken away under it; every copy of the file shows that it was not closed."""
    with SqliteStore(path).open(service=service) as journal:
        journal.seal()
    journal = SqliteStore(path).open(service=service)
    copy = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)  # the file alone, without its -wal
    assert copy.execute("SELECT value FROM meta WHERE key = 'clean'").fetchone() == ("0",)
    copy.close()
    journal.close(clean=False)
    assert not path.with_name("seal.json").exists()
    with SqliteStore(path).open(service=service) as journal:
        journal.seal()
        shutil.copy2(path, path.with_name("copy"))
        path.with_name("copy").replace(path)
    assert not path.with_name("seal.json").exists()


@pytest.mark.parametrize(("table", "value"), [("jobs", Progress), ("attempts", Attempt)])
def test_every_field_is_a_column(journal: SqliteJournal, table: str, value: type[Progress | Attempt]) -> None:
    """A field that is added to the value needs a new version of the schema."""
    columns = [row[1] for row in journal._db.execute(f"PRAGMA table_info({table})")]
    assert columns == list(value._fields)


@pytest.mark.parametrize("put_back", [False, True])
def test_a_journal_that_was_moved_or_removed_takes_nothing_more(life: Life, path: Path, *, put_back: bool) -> None:
    """SQLite would go on writing to a file without a name, and a run would go on buying; put back, it is whole."""
    life.goes(STARTED)
    away = path.parent.with_name("away")
    path.parent.rename(away)
    with pytest.raises(StorageError, match="removed or unmounted"):
        life.goes(SubmitAccepted("task_kite"))
    if put_back:
        away.rename(path.parent)
        life.goes(SubmitAccepted("task_kite"))
        return
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StorageError, match="replaced"):
        life.goes(SubmitAccepted("task_kite"))


def test_unfinished_jobs_are_found_without_reading_the_finished(
    life: Life, other: Life, journal: SqliteJournal
) -> None:
    """The partial index answers, so that a journal of 100,000 clips costs nothing to go on with."""
    life.goes(STARTED)
    other.goes(STARTED, GaveUp("lost"))
    assert [progress.job_id for progress in journal.open_progress()] == ["kite"]
    plan = journal._db.execute(f"EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE {UNFINISHED} ORDER BY job_id").fetchall()  # noqa: S608 a constant
    assert "jobs_unfinished" in plan[0][-1]
