"""The journal of a worker: one of many that write at the same time, each only what it has a lease on.

Every commit looks at the epochs of the slices that it is about, and holds them until it is over: whoever takes a slice
over waits for it, and what comes later from the old holder is refused (`LeaseLostError`).

A database that is away is waited for. Nothing new is sent meanwhile, because an intent is a commit; the task ids of
requests that were under way are kept beside, at once.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from batchvid.domain.errors import StorageError
from batchvid.domain.lifecycle import SubmitAccepted
from batchvid.journal.base import LeaseLostError, OverCeilingError, RewoundError
from batchvid.journal.cluster_tables import OVER_CEILING
from batchvid.journal.group_commit import Recorder
from batchvid.journal.ledger import HOLDS
from batchvid.journal.orphans import Orphan
from batchvid.journal.postgres import PostgresJournal
from batchvid.journal.postgres_db import FREE_THE_ROWS, PostgresError, check_server, check_timeline
from batchvid.storage.threads import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from batchvid.journal.base import Change, Journal
    from batchvid.journal.ledger import Lease
    from batchvid.journal.postgres import PostgresStore
    from batchvid.journal.postgres_db import Connection
    from batchvid.journal.postgres_reader import Place, PostgresReader

T = TypeVar("T")

AWAY_AT_MOST_S = 900.0
"""How long a database is waited for. Then the worker ends, and what it was given is beside."""
LOOK_AGAIN_S = 0.5
KEPT_BESIDE_AFTER_S = 1.0
"""How long a paid task id waits for the database before it is written to this machine's disk."""
STANDS_STILL_S = 5
"""How long a transaction may wait for its own process, which may be frozen in its midst."""
APART_S = 0.04
"""From one commit of a worker to the next: all of them wait for one disk, and for the row of the journal's sums. It is
part of what a request takes to get ready, for which a pace leaves time."""
BUSY_S = 60
"""How long a worker waits for one that publishes."""


def open_fenced(
    store: PostgresStore,
    *,
    worker: int,
    spill: Callable[[Iterable[Orphan]], None],
    patience_s: float = AWAY_AT_MOST_S,
) -> FencedJournal:
    """Open the journal to write about what this process takes, beside others that do the same.

    Who wants the journal for itself alone, to publish or to decide, waits until no worker has it. *spill* keeps task
    ids while the database is away; it is called in the thread that records.
    """
    db = _connected(store, worker)
    try:
        with store.database.translated():
            number = store.number_in(db)
        return FencedJournal(db, store, number, worker=worker, spill=spill, patience_s=patience_s)
    except BaseException:  # whatever it was, the connection is closed, and it is raised again
        db.close()
        raise


def _connected(store: Place, worker: int) -> Connection:
    """Return a connection that shares the journal; the server is looked at, as it may have taken another's place."""
    db = store.database.connect()
    try:
        with store.database.translated():
            check_server(db, store.database)
            check_timeline(db, store.database)
            db.execute("SELECT set_config('application_name', %s, false)", (HOLDS % worker,))
            db.execute("SELECT set_config('lock_timeout', %s, false)", (f"{BUSY_S}s",))
            db.execute(FREE_THE_ROWS, (f"{STANDS_STILL_S}s",))
            db.execute("SELECT pg_advisory_lock_shared(%s)", (store.key,))
    except BaseException:  # whatever it was, the connection is closed, and it is raised again
        db.close()
        raise
    return db


class FencedJournal(PostgresJournal):
    """A journal that is open for the slices which this process has. Made by `open_fenced`."""

    def __init__(
        self,
        db: Connection,
        store: PostgresStore,
        number: int,
        *,
        worker: int,
        spill: Callable[[Iterable[Orphan]], None],
        patience_s: float,
    ) -> None:
        super().__init__(db, store, number, is_borrowed=False)
        self._leases: dict[str, Lease] = {}
        self._worker = worker
        self._spill = spill
        self._patience_s = patience_s
        self._until = 0.0
        self._changes: Sequence[Change] = ()
        """What is being recorded, and is not kept beside yet."""
        self._epochs: dict[int, int] = {}

    def hold(self, lease: Lease, job_ids: Iterable[str]) -> None:
        """Let this process write about the jobs of a slice."""
        self._leases.update(dict.fromkeys(job_ids, lease))

    def let_go(self, job_ids: Iterable[str]) -> None:
        """Let it no longer do so."""
        for job_id in job_ids:
            self._leases.pop(job_id, None)

    def close(self, *, clean: bool = True) -> None:  # noqa: ARG002 a seal is for who writes alone
        """Close the connection. Others may be at work on the journal, so nothing is said of its end."""
        self._db.close()

    def record(self, changes: Sequence[Change]) -> None:
        """Keep *changes* in one transaction, as long as their slices are this worker's.

        Raises `LeaseLostError` when one is not, and `OverCeilingError` when an attempt would cost too much; then
        nothing of them is kept.
        """
        leases = [self._leases.get(change.before.job_id) for change in changes]
        if None in leases:
            raise LeaseLostError("a worker wrote about a job that it has not taken")
        self._epochs = {lease.slice: lease.epoch for lease in leases if lease is not None}
        self._changes = changes
        try:
            self._patiently(lambda: super(FencedJournal, self).record(changes))
        except PostgresError as error:
            if error.sqlstate == OVER_CEILING:
                raise OverCeilingError(error.diag.message_primary or str(error)) from error
            raise

    def _rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        return iter(self._patiently(lambda: list(super(FencedJournal, self)._rows(query, *values))))

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do *work*, again on a new connection each time that the database goes away in its midst."""
        self._until = time.monotonic() + self._patience_s
        while True:
            try:
                if self._db.closed:
                    self._db = _connected(self._store, self._worker)
                return work()
            except StorageError as error:
                if not self._db.closed:
                    raise
                self._keep_beside()
                if isinstance(error, RewoundError) or time.monotonic() >= self._until:
                    raise
                time.sleep(LOOK_AGAIN_S)

    def _keep_beside(self) -> None:
        changes, self._changes = self._changes, ()
        if orphans := _accepted(changes):
            self._spill(orphans)

    def _became_true(self, transaction: str, is_kept: Callable[[PostgresReader], bool]) -> bool:
        self._keep_beside()
        while True:
            try:
                return super()._became_true(transaction, is_kept)
            except StorageError:
                if time.monotonic() >= self._until:
                    raise

    def _write(self, changes: Sequence[Change]) -> list[dict[str, object]]:
        self._check_epochs()
        return super()._write(changes)

    def _check_epochs(self) -> None:
        query = "SELECT slice, epoch FROM batchvid.slices WHERE slice = ANY(%s) ORDER BY slice FOR SHARE"
        found: dict[int, int] = dict(self._db.execute(query, (list(self._epochs),)).fetchall())
        for number, epoch in self._epochs.items():
            if found.get(number) != epoch:
                raise LeaseLostError(
                    f"slice {number} belongs to another worker now: this one was not heard of for too long; start it "
                    "again, nothing that is paid is lost"
                )


class KeepingRecorder(Recorder):
    """The way to a journal that may be slow or away: a paid task id that waits for it is kept beside meanwhile.

    Behind a commit that hangs, all others wait, and a network that swallows everything takes long to say so.
    """

    def __init__(self, journal: Journal, *, spill: Callable[[Iterable[Orphan]], None]) -> None:
        super().__init__(journal, apart_s=APART_S)
        self._spill = spill
        self._beside = Workers(1, "batchvid-beside")

    async def record(self, change: Change) -> None:
        """Keep *change*, as `Recorder.record` does; a task id in it is on this machine's disk in time."""
        orphans = _accepted([change])
        if not orphans:
            await super().record(change)
            return
        late = asyncio.get_running_loop().call_later(KEPT_BESIDE_AFTER_S, self._beside.submit, self._spill, orphans)
        try:
            await super().record(change)
        finally:
            late.cancel()

    async def close(self) -> None:
        """Close it, with all that waited on record or beside."""
        try:
            await super().close()
        finally:
            await asyncio.to_thread(self._beside.shutdown)


def _accepted(changes: Sequence[Change]) -> list[Orphan]:
    return [
        Orphan(change.before.job_id, change.after.attempt, event.task_id)
        for change in changes
        for event, _ in change.events
        if isinstance(event, SubmitAccepted)
    ]
