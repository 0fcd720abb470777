"""The journal as a file: private, durable, and refused when it is not certain to be what it should be.

A journal that cannot be read is never replaced by a fresh one: it knows what has
been paid, and a fresh one would pay for everything again.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG
from typing import TYPE_CHECKING

from batchvid.edge.disk import STATE_FILE_MODE, STATE_FOLDER_MODE, storage_error
from batchvid.edge.journal_schema import APPLICATION_ID, application_of, migrate, newest_version, version_of
from batchvid.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_TIMEOUT_S = 60.0
"""There is one writer of ours, so it is another program that is waited for: a backup, a shell with a transaction."""
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
    """Turn what SQLite or the system says about the disk into a `StorageError` that says what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        advice = ADVICE.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF)
        if advice is None:
            raise
        raise StorageError(f"the journal {path}: {advice} (SQLite says: {error})") from error
    except OSError as error:
        raise storage_error(error, f"use the journal {path}") from error


def companions(path: Path) -> list[Path]:
    """Give the files that SQLite keeps beside *path* while it is open, or after a crash."""
    return [path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")]


def refuse_doubtful(path: Path) -> bool:
    """Say whether there is a journal at *path*; refuse what only looks like one.

    Raises `StorageError` for a symbolic link (at the file, its companions or its folder), for what
    is no plain file, and for an empty one, which SQLite would silently take for a fresh database.
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
    """Give the device and the number of the file at *path*, which tell it from any other."""
    found = path.lstat()
    return found.st_dev, found.st_ino


def create(path: Path, *, service: str) -> None:
    """Put a fresh journal for *service* at *path*, whole or not at all, readable by its owner only."""
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
        sync_folder(folder)


def make_private_file(path: Path) -> None:
    """Make an empty file that nobody else can read, where there is none."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, STATE_FILE_MODE))


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* survive a power loss; one that may not be read was not made just now."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private(path: Path) -> None:
    """Take the rights of others from the journal's files and folder, where somebody has given them.

    SQLite gives its companions the rights that the journal has at that moment. If it was not to be written
    then, they would stay so and block it for good, so they get the right to be written as well.
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
    if application_of(db) != APPLICATION_ID:
        raise StorageError(f"{path} is a database of another program; move it away, batchvid keeps its journal there")
    version = version_of(db)
    if version > newest_version():
        raise ConfigError(
            f"the journal {path} was written by a newer batchvid (its version is {version}, this one knows "
            f"{newest_version()}); use that batchvid, or a newer one"
        )


def refuse_older(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a journal of an older batchvid, for a reader that must not change it."""
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
    sync_folder(target.parent)
