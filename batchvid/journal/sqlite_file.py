"""The journal as a file: its tables, how an older one becomes one of this, and its seal. Private and durable.

A journal that is not certain to be what it should be is refused, and never replaced by a fresh one: it knows what has
been paid, and a fresh one would pay for everything again.

The seal tells that the file is the very one that the last session closed properly. Whoever opens a journal for writing
breaks its seal, and whoever closes it properly seals it again. The seal holds the name of the session, which is in the
journal too. It also holds the file's number, size and time of change, which no backup brings back. So it does not hold
for

* a journal that was restored from a backup, alone or with all that lies beside it, seal included;
* a journal whose -wal was lost, or that was copied in the middle of a session: that session had broken the seal;
* a journal that was not closed, because its process was killed or met an error;
* a journal of an older batchvid, which sealed nothing, and a new one, which may stand in for one that was deleted.

Then everything that lies beside the journal is read and compared with it, once (`batchvid.engine.recovery`). While the
seal holds, nothing beside the journal can know more than it does, and nothing of it is read.

The home of a journal is its machine, its folder and the folder's number. By it a copy of an output is recognised.

An output that is copied while a run goes on has two journals that both know the same, and both would buy what is left.
The journal remembers its home. A session that finds itself elsewhere decides by this table, before it changes anything:

======================================  ==================================  =======================================
where it is                             how its last session ended          what a session does
======================================  ==================================  =======================================
no home is on record                    (either)                            takes this one: a new or an older journal
same machine, same number               (either)                            goes on: at most a folder above was renamed
same machine and folder, other number   (either)                            goes on and tells: a backup was put back
elsewhere                               properly, or nothing is left to do  goes on and tells: the output was moved
elsewhere                               not, and something is left to do    asks, or refuses: ``run --moved`` says yes
======================================  ==================================  =======================================

*Elsewhere* is another machine, or another number and another folder. The number is that of the state folder, which a
copy never keeps. A machine that has no id (a container) counts as the same. From the first moment of a session on,
every copy of the file says that it was not ended properly. What a restored backup does not know,
`batchvid.engine.recovery` finds out.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from enum import Enum, auto
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG
from typing import IO, TYPE_CHECKING, Any

from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.frozen import frozen
from batchvid.domain.reopening import rejection
from batchvid.domain.text import clean
from batchvid.journal.forks import not_forked
from batchvid.storage.fs import STATE_FILE_MODE, STATE_FOLDER_MODE, read_json, storage_error, sync_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from batchvid.journal.base import Journal, JournalReader


SEAL_FILE = "seal.json"
MAX_BYTES = 64 * 1024


APPLICATION_ID = 0x62766964
"""``bvid``: marks the file as a journal of batchvid, so that no other program's database is taken for one."""

VERSION_1 = (
    "CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    # One row for each job that anything has happened to; the columns are those of domain.job.Progress, in order.
    """
    CREATE TABLE jobs (
        job_id TEXT NOT NULL PRIMARY KEY,
        state TEXT NOT NULL
            CHECK (state IN ('pending', 'submitting', 'in_doubt', 'running', 'ready', 'done', 'failed')),
        version INTEGER NOT NULL CHECK (version > 0),
        attempt INTEGER NOT NULL CHECK (attempt >= 0),
        allowance_from INTEGER NOT NULL,
        parked INTEGER NOT NULL CHECK (parked IN (0, 1)),
        task_id TEXT,
        resolved_model TEXT,
        url TEXT,
        url_expires_at REAL,
        fingerprint TEXT,
        price_micros INTEGER,
        reason TEXT,
        submitted_at REAL,
        finished_at REAL,
        path TEXT,
        size_bytes INTEGER,
        sha256 TEXT
    ) STRICT, WITHOUT ROWID
    """,
    # A journal of 100,000 finished clips is asked every night what is left.
    "CREATE INDEX jobs_unfinished ON jobs (job_id) WHERE state NOT IN ('done', 'failed')",
    """
    CREATE TABLE attempts (
        job_id TEXT NOT NULL REFERENCES jobs (job_id),
        attempt INTEGER NOT NULL CHECK (attempt > 0),
        price_micros INTEGER,
        fingerprint TEXT NOT NULL,
        started_at REAL NOT NULL,
        accepted_at REAL,
        task_id TEXT,
        resolved_model TEXT,
        outcome TEXT NOT NULL CHECK (outcome IN ('open', 'in_doubt', 'succeeded', 'failed', 'abandoned')),
        finished_at REAL,
        reason TEXT,
        raw BLOB,
        PRIMARY KEY (job_id, attempt)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX attempts_held ON attempts (job_id) WHERE outcome IN ('open', 'in_doubt')",
    "CREATE UNIQUE INDEX attempts_by_task ON attempts (task_id) WHERE task_id IS NOT NULL",
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        job_id TEXT NOT NULL REFERENCES jobs (job_id),
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        data TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX events_by_job ON events (job_id)",
    """
    CREATE TABLE timings (
        seq INTEGER PRIMARY KEY,
        timing_class TEXT NOT NULL,
        took_s REAL NOT NULL,
        at REAL NOT NULL
    ) STRICT
    """,
    "CREATE INDEX timings_by_class ON timings (timing_class, seq)",
)

VERSION_2 = (
    # What refused requests would have cost of which nothing proves that they were not billed: the budget counts it.
    "ALTER TABLE jobs ADD COLUMN unproven_micros INTEGER NOT NULL DEFAULT 0 CHECK (unproven_micros >= 0)",
)

VERSION_3 = (
    # What persons decided about clips, one after the other: nothing in it is ever changed.
    """
    CREATE TABLE decisions (
        seq INTEGER PRIMARY KEY,
        job_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        by TEXT NOT NULL,
        verdict TEXT CHECK (verdict IN ('approved', 'rejected')),
        stars INTEGER CHECK (stars BETWEEN 0 AND 5),
        note TEXT NOT NULL,
        FOREIGN KEY (job_id, attempt) REFERENCES attempts (job_id, attempt)
    ) STRICT
    """,
    "CREATE INDEX decisions_by_clip ON decisions (job_id, attempt)",
)

MIGRATIONS: tuple[tuple[int, tuple[str, ...]], ...] = ((1, VERSION_1), (2, VERSION_2), (3, VERSION_3))
"""For each version of the schema, the statements that make it out of the one before; the newest is last."""


def newest_version() -> int:
    """Return the version of the schema that this batchvid reads and writes."""
    return MIGRATIONS[-1][0]


def version_of(db: sqlite3.Connection) -> int:
    """Return the version of the schema that *db* has; 0 when it has none."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(db: sqlite3.Connection) -> None:
    """Bring *db* to the newest version, in one transaction: it has the new schema, or still the old one."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(db)
        for number, statements in MIGRATIONS:
            if number > version:
                for statement in statements:
                    db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {newest_version()}")
        db.execute("COMMIT")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


BUSY_TIMEOUT_S = 60.0
"""There is one writer of ours, so it is another program that is waited for: a backup, a shell with a transaction."""
GUEST_LOOKS_AGAIN_S = 0.001
KEEP = "Do not delete it: it knows what is paid, and without it everything would be paid for again."

ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and run again, nothing that is paid is lost",
    sqlite3.SQLITE_IOERR: "the disk did not read or write it; look at the disk's health and free space, then run again",
    sqlite3.SQLITE_CORRUPT: f"it is damaged; restore it from a backup, or try the sqlite3 shell's .recover. {KEEP}",
    sqlite3.SQLITE_NOTADB: f"it is not a journal, or its first bytes are damaged; restore it from a backup. {KEEP}",
    sqlite3.SQLITE_READONLY: "it cannot be written; give the account that runs batchvid the right to it and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; give the account that runs batchvid the right to its folder, "
    "and enough open files (ulimit -n)",
    sqlite3.SQLITE_PERM: "it may not be opened; give the account that runs batchvid the right to read and write it",
    sqlite3.SQLITE_BUSY: "another program keeps it locked; close what has it open and run again",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked; close what has it open and run again",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work on this file system; put the output on a local disk",
    sqlite3.SQLITE_NOLFS: "the file system cannot hold a file of its size; put the output on another disk",
}
"""What SQLite's primary result codes mean to a person. A code that is not here is a bug in batchvid."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite or the system says about the disk into a `StorageError` that says what to do.

    Nothing is forked meanwhile (`batchvid.journal.forks`): it holds what asks SQLite, and not what waits for anything.
    """
    try:
        with not_forked():
            yield
    except sqlite3.DatabaseError as error:
        advice = ADVICE.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF)
        if advice is None:
            raise
        raise StorageError(f"the journal {path}: {advice} (SQLite says: {error})") from error
    except OSError as error:
        raise storage_error(error, f"use the journal {path}") from error


def companions(path: Path) -> list[Path]:
    """Return the files that SQLite keeps beside *path* while it is open, or after a crash."""
    return [path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")]


def refuse_doubtful(path: Path) -> bool:
    """Whether there is a journal at *path*; refuse what only looks like one.

    Raises `StorageError` for a symbolic link (at the file, its companions or its folder) and for what
    is no plain file. So it does for an empty file, which SQLite would silently take for a fresh database.
    """
    exists = False
    for place in (path.parent, path, *companions(path)):
        try:
            found = place.lstat()
        except FileNotFoundError:
            continue
        if S_ISLNK(found.st_mode):
            raise StorageError(f"{place} is a symbolic link; batchvid keeps its journal only in a real folder and file")
        if place == path.parent:
            if not S_ISDIR(found.st_mode):
                raise StorageError(f"{place} is not a folder; move it away, batchvid keeps its journal there")
            continue
        if not S_ISREG(found.st_mode):
            raise StorageError(f"{place} is not a plain file; move it away, batchvid keeps its journal there")
        if place == path:
            exists = True
            if found.st_size == 0:
                raise StorageError(
                    f"the journal {path} is empty, so what was paid is unknown; restore it from a backup"
                )
    return exists


def identity(path: Path) -> tuple[int, int]:
    """Return the device and the number of the file at *path*, which tell it from any other."""
    found = path.lstat()
    return found.st_dev, found.st_ino


def create(path: Path, *, service: str) -> None:
    """Make a fresh journal for *service* at *path*, whole or not at all, readable by its owner only."""
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=STATE_FOLDER_MODE, exist_ok=True)
    growing = path.with_name(path.name + ".new")
    growing.unlink(missing_ok=True)  # left by a crash before it became a journal: nothing was sent yet
    make_private_file(growing)
    db = connect(growing)
    try:
        migrate(db)
        db.execute("INSERT INTO meta VALUES ('service', ?), ('clean', '1')", (service,))
    finally:
        db.close()
    growing.rename(path)
    for folder in path.absolute().parents[:3]:  # its folder, the output and what that is in may all be new
        with suppress(PermissionError):  # one that may not be read was not made just now
            sync_folder(folder)


def make_private_file(path: Path) -> None:
    """Make an empty file that nobody else can read, where there is none."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, STATE_FILE_MODE))


def make_private(path: Path) -> None:
    """Remove the rights of others from the journal's files and folder, where somebody has granted them.

    SQLite gives its companions the rights that the journal has at that moment. Companions of a
    read-only journal would stay read-only and block it for good. So they get the right to be written, too.
    """
    for place, mode in ((path.parent, STATE_FOLDER_MODE), (path, STATE_FILE_MODE)):
        if place.stat().st_mode & 0o077:
            place.chmod(mode)
    for place in companions(path):
        if place.exists() and S_IMODE(place.stat().st_mode) != STATE_FILE_MODE:
            place.chmod(STATE_FILE_MODE)


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """Open an existing database, with transactions begun and ended by hand only."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rw'}",
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,  # made by one thread and handed to another, never used by two at once
        uri=True,
    )
    db.execute("PRAGMA foreign_keys = ON")
    return db


@contextmanager
def transaction(db: sqlite3.Connection, *, is_guest: bool = False) -> Iterator[None]:
    """Let all that is written in this block be kept, or nothing.

    A *guest* comes between the commits of a run, which may follow closely: it looks more often than SQLite does.
    """
    (_begin_between if is_guest else _begin)(db)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:  # whatever it was, nothing of the transaction stays, and it is raised again
        if db.in_transaction:  # SQLite itself has rolled back after some errors of the disk
            db.execute("ROLLBACK")
        raise


def _begin(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")


def _begin_between(db: sqlite3.Connection) -> None:
    until = time.monotonic() + BUSY_TIMEOUT_S
    db.execute("PRAGMA busy_timeout = 0")
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(GUEST_LOOKS_AGAIN_S)
        else:
            db.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")
            return


def make_durable(db: sqlite3.Connection, path: Path) -> None:
    """Make every commit survive a power loss, and let readers read beside the writer."""
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StorageError(
            f"the journal {path}: this file system cannot hold it safely; put the output on a local disk"
        )
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # on macOS a plain fsync leaves the data in the disk's cache
    db.execute("PRAGMA checkpoint_fullfsync = ON")


def check_kind(db: sqlite3.Connection, path: Path) -> None:
    """Refuse another program's database, and a journal of a newer batchvid."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StorageError(f"{path} is a database of another program; move it away, batchvid keeps its journal there")
    version = version_of(db)
    if version > newest_version():
        raise ConfigError(
            f"the journal {path} was written by a newer batchvid (its version is {version}, this one knows "
            f"{newest_version()}); use that batchvid, or a newer one"
        )


def refuse_older(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a journal of an older batchvid, which reading must not change."""
    if version_of(db) < newest_version():
        raise ConfigError(f"the journal {path} is of an older batchvid; `batchvid run` brings it up to date")


def check_pages(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a journal whose pages do not fit together."""
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StorageError(f"the journal {path}: {ADVICE[sqlite3.SQLITE_CORRUPT]} (SQLite says: {found})")


def copy_to(db: sqlite3.Connection, target: Path) -> None:
    """Write a whole copy of *db* to *target*, in place of an older copy, readable by its owner only."""
    growing = target.with_name(target.name + ".new")
    growing.unlink(missing_ok=True)
    make_private_file(growing)
    copy = connect(growing)
    try:
        db.backup(copy)
    finally:
        copy.close()
    growing.rename(target)
    with suppress(PermissionError):
        sync_folder(target.parent)


def read_seal(journal: Path) -> dict[str, Any]:
    """Return what the seal beside *journal* says; empty when there is none that can be read."""
    with suppress(OSError):
        folder = os.open(journal.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return read_json(folder, SEAL_FILE, max_bytes=MAX_BYTES) or {}
        finally:
            os.close(folder)
    return {}


def is_untouched(journal: Path, seal: dict[str, Any]) -> bool:
    """Whether the file at *journal* is the one that *seal* was put on, as far as can be seen without opening it."""
    with suppress(OSError):
        return seal.get("file") == _mark(journal) and not any(_changes_beside(journal))
    return False


def seal(journal: Path, *, service: str | None, session: str | None) -> None:
    """Seal the closed *journal*. Without a seal the next session reads more, so no trouble with it is an error."""
    with suppress(OSError):
        content = {"service": service, "session": session, "file": _mark(journal)}
        folder = os.open(journal.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_whole(folder, SEAL_FILE, [json.dumps(content).encode()], mode=STATE_FILE_MODE, durable=False)
        finally:
            os.close(folder)


DECISIONS_LOCK = "decisions.lock"
"""Beside the journal: who adds a decision has it, so that one seals the journal again at a time."""
DECISIONS_PATIENCE_S = 5.0
LOOK_AGAIN_S = 0.005


@contextmanager
def beside(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that adds to the journal at *path*, which another process may be writing.

    A seal that held before holds again. It names the session, so it is worth nothing once a run has begun another one.
    """
    with translated(path), _alone(path) as is_alone:
        found, file = read_seal(path), identity(path)
        holds = is_alone and is_untouched(path, found)
        db = connect(path)
        try:
            check_kind(db, path)
            refuse_older(db, path)
            make_durable(db, path)
            yield db
            if not _is_there(path, file):
                raise StorageError(f"the journal {path} was moved away just now, and not all may be kept: do it again")
            told = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('clean', 'session')"))
            holds = holds and told.get("clean") == "1" and told.get("session") == found.get("session") is not None
            if holds:
                db.execute("PRAGMA busy_timeout = 0")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # where somebody reads just now, the seal does not hold
        finally:
            db.close()
        if holds and _is_there(path, file):
            seal(path, service=found.get("service"), session=found["session"])


def _is_there(path: Path, file: tuple[int, int]) -> bool:
    """Whether this very file is still at *path*."""
    with suppress(FileNotFoundError):
        return identity(path) == file
    return False


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Yield whether nobody else adds a decision meanwhile; only as far as the file system can lock."""
    with ExitStack() as stack:
        is_alone = False
        with suppress(OSError):
            file = stack.enter_context(open(path.with_name(DECISIONS_LOCK), "ab", opener=_private))
            is_alone = _is_locked(file)
        yield is_alone


def _is_locked(file: IO[bytes]) -> bool:
    """Lock *file*, and return whether that could be done before long."""
    until = time.monotonic() + DECISIONS_PATIENCE_S
    while time.monotonic() < until:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(LOOK_AGAIN_S)
    return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, STATE_FILE_MODE)


def break_seal(journal: Path) -> None:
    """Remove the seal: from now on the journal changes."""
    with suppress(OSError):  # one that stays does not hold any more
        journal.with_name(SEAL_FILE).unlink()


def _mark(journal: Path) -> list[int]:
    found = journal.lstat()
    return [found.st_ino, found.st_size, found.st_ctime_ns]


def _changes_beside(journal: Path) -> Iterator[int]:
    """Yield the size of each file that may hold changes of the journal; readers leave empty ones behind."""
    for end in ("-wal", "-journal"):
        with suppress(FileNotFoundError):
            yield journal.with_name(journal.name + end).lstat().st_size


MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
HOME = "home"
"""The remark in the journal that holds it."""


@frozen
class Home:
    """Where a journal is."""

    machine: str | None
    """A hash, which tells machines apart and names none; ``None`` where a machine has no id."""
    folder: str
    number: int
    """Of the state folder (inode)."""

    @classmethod
    def of(cls, journal: Path) -> Home:
        """Return where the journal at this path is now."""
        state = journal.absolute().parent
        return cls(_machine(), str(state.parent), state.stat().st_ino)


class Whereabouts(Enum):
    """What follows from where a journal is found."""

    AT_HOME = auto()
    PUT_BACK = auto()
    MOVED = auto()
    MAY_BE_A_COPY = auto()


def verdict(before: Home | None, now: Home, *, was_clean: bool, is_work_left: bool) -> Whereabouts:
    """Return what the table says."""
    if before is None:
        return Whereabouts.AT_HOME
    same_machine = None in {before.machine, now.machine} or before.machine == now.machine
    if same_machine and before.number == now.number:
        return Whereabouts.AT_HOME
    if same_machine and before.folder == now.folder:
        return Whereabouts.PUT_BACK
    return Whereabouts.MOVED if was_clean or not is_work_left else Whereabouts.MAY_BE_A_COPY


def settle(
    journal: Journal,
    wanted: Collection[str] | None,
    *,
    path: Path,
    was_clean: bool,
    moved: bool,
    note: Callable[[str], None],
) -> bool:
    """Let *journal*, at this path, be at home there, as `Journal.settle` does; return whether its home is another now.

    *was_clean*: its last session ended properly.
    """
    before, now = _remembered(journal), Home.of(path)
    is_left = wanted is None or before == now or _is_work_left(journal, wanted)
    match verdict(before, now, was_clean=was_clean, is_work_left=is_left):
        case Whereabouts.AT_HOME:
            pass
        case Whereabouts.PUT_BACK:
            note("the output was put back from a copy (its folder is another one now): it goes on from what it knows")
        case Whereabouts.MOVED:
            note(f"the output was moved here{_from(before)}: from now on only this copy of it may go on")
        case Whereabouts.MAY_BE_A_COPY if not moved:
            raise StorageError(
                f"the output {clean(now.folder, 4096)} was copied or moved here{_from(before)} while a run was going "
                "on, or after one that did not end properly: if two copies go on, both buy what is left. Make sure "
                "that the other one is stopped for good; then `batchvid run MANIFEST --moved` goes on with this one"
            )
        case Whereabouts.MAY_BE_A_COPY:
            note(f"the output was moved here{_from(before)}, as you said: only this copy of it may go on")
    if before != now:
        journal.meta_set(HOME, json.dumps(asdict(now)))
    return before != now


def question(journal: JournalReader, wanted: Collection[str], *, path: Path, was_clean: bool) -> str | None:
    """Return what `JournalReader.moved_question` does, of the journal at this path."""
    before, now = _remembered(journal), Home.of(path)
    found = verdict(before, now, was_clean=was_clean, is_work_left=_is_work_left(journal, wanted))
    if found is not Whereabouts.MAY_BE_A_COPY:
        return None
    return (
        f"The output {clean(now.folder, 4096)} was copied or moved here{_from(before)} in the middle of a run. If two "
        "copies go on, both buy what is left. Is this the only copy that goes on?"
    )


def _is_work_left(journal: JournalReader, wanted: Collection[str]) -> bool:
    if next(journal.open_progress(), None) is not None:
        return True
    if not journal.states().keys() >= set(wanted):
        return True
    decisions = journal.decisions()  # a rejected clip is bought again
    ids = sorted({job_id for (job_id, _), one in decisions.items() if one.is_rejection})
    return any(rejection(row, decisions) is not None for row in journal.progress_of(ids))


def _remembered(journal: JournalReader) -> Home | None:
    with suppress(ValueError, TypeError):
        return Home(**json.loads(journal.meta_get(HOME) or ""))
    return None


def _from(before: Home | None) -> str:
    return "" if before is None else f" (its home was {clean(before.folder, 4096)})"


def _machine() -> str | None:
    for path in MACHINE_IDS:
        with suppress(OSError, UnicodeDecodeError):
            if found := path.read_text(encoding="ascii").strip():
                return hashlib.sha256(f"batchvid {found}".encode()).hexdigest()[:16]
    return None
