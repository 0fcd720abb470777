"""How workers hear at once of what cannot wait: a notification of the database, for which each listens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batchvid.domain.errors import StorageError
from batchvid.journal.postgres_db import PostgresError

if TYPE_CHECKING:
    from batchvid.journal.postgres_db import Connection, Database

CHANNEL = "batchvid"
"""On which workers hear that something has changed that cannot wait."""


class Bell:
    """Rings when another worker has told of what cannot wait; used by one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None

    def wait(self, patience_s: float) -> bool:
        """Wait until it rings, at most so long; whether it did. A database that is away does not ring."""
        try:
            with self._database.translated():
                if self._connection is None or self._connection.closed:
                    self._connection = self._database.connect()
                    self._connection.execute(f"LISTEN {CHANNEL}")
                return next(self._connection.notifies(timeout=patience_s, stop_after=1), None) is not None
        except (StorageError, PostgresError):
            time.sleep(patience_s)
            return False

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
