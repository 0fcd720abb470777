"""batchvid without some of its durability, to see what that costs. For the bench only.

The first argument says what is left out: ``journal`` (its commits do not wait for the disk) or ``everything`` (nothing
waits for the disk). The others are batchvid's.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from batchvid.cli.main import main
from batchvid.journal import sqlite_file as journal_file

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def no_wait(_descriptor: object) -> None:
    """Do not sync."""


def make_fast(db: sqlite3.Connection, path: Path) -> None:
    """Prepare the journal as always, and then take the durability out."""
    durable(db, path)
    db.execute("PRAGMA synchronous = OFF")


durable = journal_file.make_durable

if __name__ == "__main__":
    what = sys.argv.pop(1)
    journal_file.make_durable = make_fast
    if what == "everything":
        vars(os)["fsync"] = no_wait
    main()
