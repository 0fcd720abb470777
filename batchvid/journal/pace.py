"""The slots of a pace that many machines share, dealt out by a row in PostgreSQL on the database's own clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batchvid.domain.slots import Asked, Dealt, Reading

if TYPE_CHECKING:
    from batchvid.journal.postgres_db import Connection, Database

CLOCK = "extract(epoch FROM clock_timestamp())::float8"
HERE = "WHERE account = %(account)s AND kind = %(kind)s"
MAKE = (
    "INSERT INTO batchvid.paces (account, kind, next_at) VALUES (%(account)s, %(kind)s, 0)"
    " ON CONFLICT (account, kind) DO NOTHING"
)
DEAL = (
    # Where the clock was set back, the slots that others still hold may lie as far ahead as any may.
    f"UPDATE batchvid.paces SET next_at = %(number)s * %(gap)s + CASE WHEN next_at > {CLOCK} + %(furthest)s"
    f" THEN {CLOCK} + %(ahead)s ELSE greatest(next_at, {CLOCK} + %(ready)s) END"
    f" {HERE} AND (next_at <= {CLOCK} + %(ahead)s OR next_at > {CLOCK} + %(furthest)s)"
    f" RETURNING next_at, {CLOCK}"
)
LOOK = f"SELECT next_at, {CLOCK} FROM batchvid.paces {HERE}"
PUT_BACK = (
    f"UPDATE batchvid.paces SET next_at = %(first)s {HERE}"
    " AND abs(next_at - %(end)s) < (%(end)s - %(first)s) / 100"  # they are sums, and rounded
)
COMMIT_HERE = "SET synchronous_commit = local"
"""A crash must not deal out slots again. Waiting for a standby would keep all the others from the row."""
READINGS = 5
READ_AGAIN_AFTER_S = 10.0
"""The clocks part by 2 ms meanwhile. A reading beside a commit is worth less: it also waits for the disk."""


class PostgresPace:
    """The row of one pace of an account. To be used in one thread; opens its connection when it is needed."""

    def __init__(self, database: Database, account: int, kind: str) -> None:
        self._database = database
        self._row = {"account": account, "kind": kind}
        self._db: Connection | None = None
        self._read_at = 0.0

    def deal(self, asked: Asked) -> Dealt:
        """Take a block of slots; raises `StorageError`."""
        with self._database.translated():
            db = self._connected()
            readings = self._readings(db)
            values = {
                **self._row,
                "number": asked.number,
                "gap": asked.gap_s,
                "ready": asked.ready_s,
                "ahead": asked.ahead_s,
                "furthest": asked.furthest_s,
            }
            sent = time.monotonic()
            row = db.execute(DEAL, values).fetchone()
            number = asked.number if row else 0
            if row is None:
                sent = time.monotonic()
                row = db.execute(LOOK, values).fetchone()
            if row is None:  # its account was forgotten while we looked
                db.execute(MAKE, values)
                return Dealt(0.0, 0, readings)
            next_at, theirs = row
            readings = (*readings, Reading(sent, theirs, time.monotonic()))
            return Dealt(next_at - number * asked.gap_s, number, readings)

    def put_back(self, first: float, end: float) -> None:
        """Return the slots from *first* to before *end*, if none after them was dealt out; raises `StorageError`."""
        with self._database.translated():
            self._connected().execute(PUT_BACK, {**self._row, "first": first, "end": end})

    def close(self) -> None:
        """Close the connection."""
        if self._db is not None:
            self._db.close()

    def _connected(self) -> Connection:
        if self._db is None or self._db.closed:
            self._db = self._database.connect()
            self._read_at = 0.0
            self._db.execute(COMMIT_HERE)
            self._db.execute(MAKE, self._row)
        return self._db

    def _readings(self, db: Connection) -> tuple[Reading, ...]:
        """Read the clock by itself, when that was not done for a while."""
        now = time.monotonic()
        if self._read_at and now < self._read_at + READ_AGAIN_AFTER_S:
            return ()
        self._read_at = now
        found = []
        for _ in range(READINGS):
            sent = time.monotonic()
            (theirs,) = db.execute(f"SELECT {CLOCK}").fetchone() or (0.0,)
            found.append(Reading(sent, theirs, time.monotonic()))
        return tuple(found)
