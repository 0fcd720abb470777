"""How a journal in PostgreSQL is read. `batchvid.journal.postgres` writes it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchvid.domain.decision import newest
from batchvid.domain.job import Attempt, Progress, State
from batchvid.domain.lifecycle import KeptEvent
from batchvid.domain.reopening import WAKES_S
from batchvid.domain.results import Money
from batchvid.domain.text import clean
from batchvid.journal.base import (
    JournalReader,
)
from batchvid.journal.event_log import LOG_FILE, pace_changes
from batchvid.journal.machines import machines_of
from batchvid.journal.postgres_db import (
    ALL_ATTEMPTS,
    ALL_PROGRESS,
    AT_WORK_ON_EVENTS,
    DECISIONS_AFTER,
    DECISIONS_OF,
    EVENTS_LOCK_SPAN,
    IN_BRIEF,
    MAY_WAKE,
    MONEY,
    NEWEST_EVENT,
    RESERVED,
    UNFINISHED,
    Database,
    attempt_of,
    decision_of,
    lock_key,
    progress_of,
    scalar,
)
from batchvid.storage.fs import read_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from batchvid.domain.decision import Decision
    from batchvid.domain.machines import Machines
    from batchvid.domain.report import PaceChange
    from batchvid.journal.postgres_db import Connection

SEAL_FILE = "seal-database.json"
SEAL_MAX_BYTES = 64 * 1024
ASKED_AT_ONCE = 1000
"""Jobs in one query."""
NAME_MAX = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """Where a journal is."""

    database: Database
    name: str
    """Which of the journals there."""
    state: Path
    """The folder of the event log and the seal, on this machine."""

    def __str__(self) -> str:
        """Return what a person finds it by."""
        return f"{clean(self.name, NAME_MAX)} in the database {self.database}"

    @property
    def key(self) -> int:
        """Return the number of its lock: of one session alone, or shared among workers."""
        return lock_key(f"journal {self.name}")


class PostgresReader(JournalReader):
    """A journal that is open. Made by `batchvid.journal.postgres.PostgresStore`."""

    def __init__(self, db: Connection, store: Place, number: int) -> None:
        self._db = db
        self._store = store
        self._number = number
        self.name = str(store)

    @property
    def is_sealed(self) -> bool:
        """Whether its last session ended properly, on this machine, and knew all that lies beside it."""
        session = self.meta_get("session")
        return session is not None and self.meta_get("clean") == "1" and self._sealed_session() == session

    def _sealed_session(self) -> object:
        with suppress(OSError):
            folder = os.open(self._store.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return (read_json(folder, SEAL_FILE, max_bytes=SEAL_MAX_BYTES) or {}).get("session")
            finally:
                os.close(folder)
        return None

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def progress_of(self, job_ids: Iterable[str]) -> Iterator[Progress]:
        """Yield what has happened to these jobs, in their order."""
        left = iter(job_ids)
        while ids := list(islice(left, ASKED_AT_ONCE)):
            found = {row.job_id: row for row in self._progress("AND job_id = ANY(%s)", ids)}
            yield from (found[job_id] for job_id in ids if job_id in found)

    def all_progress(self) -> Iterator[Progress]:
        """Yield every job that anything has happened to, by id."""
        return self._progress("ORDER BY job_id")

    def open_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are neither done nor failed, by id."""
        return self._progress(f"AND {UNFINISHED} ORDER BY job_id")

    def undone_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are not done, by id."""
        return self._progress("AND state != 'done' ORDER BY job_id")

    def progress_in_brief(self) -> Iterator[Progress]:
        """Yield every job, of done ones only what a plan needs. One query, so that all is of one moment."""
        return map(progress_of, self._rows(IN_BRIEF, self._number))

    def states(self) -> dict[str, State]:
        """Return the state of every job, by id."""
        rows = self._rows("SELECT job_id, state FROM batchvid.jobs WHERE journal = %s")
        return {job_id: State(state) for job_id, state in rows}

    def done_clips(self) -> Iterator[tuple[str, str, int]]:
        """Yield id, path and size of each clip that is done."""
        columns = "job_id, coalesce(path, ''), coalesce(size_bytes, 0)"
        query = f"SELECT {columns} FROM batchvid.jobs WHERE journal = %s AND state = 'done' ORDER BY job_id"
        return self._rows(query)

    def clips_beyond_ascii(self) -> Iterator[Progress]:
        """Yield the done jobs whose path has other letters than ASCII."""
        return self._progress("AND state = 'done' AND octet_length(path) > char_length(path) ORDER BY job_id")

    def counts(self) -> dict[State, int]:
        """Count the jobs by state."""
        found = dict(self._rows("SELECT state, count(*) FROM batchvid.jobs WHERE journal = %s GROUP BY state"))
        return {state: found.get(state.value, 0) for state in State}

    def attempts(self, job_id: str | None = None) -> Iterator[Attempt]:
        """Yield the paid attempts of a job, or of all."""
        if job_id is None:
            return map(attempt_of, self._rows(f"{ALL_ATTEMPTS} ORDER BY job_id, attempt"))
        return map(attempt_of, self._rows(f"{ALL_ATTEMPTS} AND job_id = %s ORDER BY attempt", job_id))

    def money(self) -> Money:
        """Return what all attempts come to, as the database itself keeps count; nothing where there was never one."""
        spent, reserved, unpriced, unproven = next(self._rows(MONEY), (0, 0, 0, 0))
        return Money(
            spent_micros=spent,
            reserved_micros=reserved + unproven,
            unproven_micros=unproven,
            unpriced_attempts=unpriced,
        )

    def reserved_jobs(self, among: Collection[str] | None = None) -> frozenset[str]:
        """Return the ids of the jobs for which money is reserved."""
        query = f"SELECT DISTINCT job_id FROM batchvid.attempts WHERE journal = %s AND {RESERVED}"
        if among is None:
            return frozenset(job_id for (job_id,) in self._rows(query))
        return frozenset(job_id for (job_id,) in self._rows(f"{query} AND job_id = ANY(%s)", list(among)))

    def owner_of_task(self, task_id: str) -> str | None:
        """Return the id of the job that has this task."""
        rows = self._rows("SELECT job_id FROM batchvid.attempts WHERE journal = %s AND task_id = %s", task_id)
        return next((job_id for (job_id,) in rows), None)

    def may_wake(self) -> Mapping[str, float]:
        """Return the doubts that were taken over lately, with the seconds that are left, on the database's clock."""
        return dict(self._rows(MAY_WAKE, WAKES_S))

    def kept_beside(self) -> Mapping[tuple[str, int], str]:
        """Return the task ids that workers could not record any more."""
        rows = self._rows("SELECT job_id, attempt, task_id FROM batchvid.orphans WHERE journal = %s")
        return {(job_id, attempt): task_id for job_id, attempt, task_id in rows}

    def events(
        self,
        job_id: str | None = None,
        *,
        kinds: Collection[str] = (),
        after: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[KeptEvent]:
        """Yield the events of a job, or of all, as they were recorded."""
        where = "journal = %s"
        values: list[Any] = []
        if after is not None:
            where, values = f"{where} AND seq > %s AND seq <= %s", [after, self.settled()]
        if kinds:
            where, values = f"{where} AND kind = ANY(%s)", [*values, list(kinds)]
        if job_id is not None:
            where, values = f"{where} AND job_id = %s", [*values, job_id]
        order = " DESC" if newest_first else ""
        query = f"SELECT seq, job_id, attempt, at, kind, data FROM batchvid.events WHERE {where} ORDER BY seq{order}"
        rows = self._rows(query, *values)
        return (KeptEvent(seq, job, number, at, kind, json.loads(data)) for seq, job, number, at, kind, data in rows)

    def settled(self) -> int:
        """Return the number before which no transaction is left that may still record an event.

        What is asked first is what the newest number is, then who is at work, and by the caller what there is: whoever
        takes a number before the first question is over before the last one, or among those at work.
        """
        with self._store.database.translated():
            newest: int = scalar(self._db, NEWEST_EVENT)
            since = [begun for (begun,) in self._db.execute(AT_WORK_ON_EVENTS)]
        return min((newest - (newest - begun) % EVENTS_LOCK_SPAN for begun in since), default=newest)

    def decisions(self, among: Collection[str] | None = None) -> dict[tuple[str, int], Decision]:
        """Return what counts of what was decided; of few jobs, only theirs is read."""
        if among is None or len(among) > ASKED_AT_ONCE:
            return super().decisions(among)
        return newest(map(decision_of, self._rows(DECISIONS_OF, list(among))))

    def decisions_after(self, seq: int) -> list[tuple[int, Decision]]:
        """Return what was decided: who decides waits for who does so at the same time."""
        return [(number, decision_of(row)) for number, *row in self._rows(DECISIONS_AFTER, seq)]

    def pace_changes(self) -> list[PaceChange]:
        """Return what the event log of this machine tells of the pace."""
        return pace_changes(self._store.state / LOG_FILE)

    def timings(self) -> Mapping[str, list[float]]:
        """Return how long tasks took, by timing class."""
        found: dict[str, list[float]] = {}
        query = "SELECT timing_class, took_s FROM batchvid.timings WHERE journal = %s ORDER BY seq"
        for timing_class, took_s in self._rows(query):
            found.setdefault(timing_class, []).append(took_s)
        return found

    def meta_get(self, key: str) -> str | None:
        """Return a remark about the journal as a whole."""
        rows = self._rows("SELECT value FROM batchvid.meta WHERE journal = %s AND key = %s", key)
        return next((value for (value,) in rows), None)

    def machines(self) -> Machines | None:
        """Return which machines work on what is published of it."""
        with self._store.database.translated(), self._db.transaction():
            return machines_of(self._db, self._number)

    def moved_question(self, wanted: Collection[str]) -> str | None:  # noqa: ARG002 it does not lie with the clips
        """Return none: whoever copies the output copies no journal."""
        return None

    def _progress(self, where: str, *values: Any) -> Iterator[Progress]:
        return map(progress_of, self._rows(f"{ALL_PROGRESS} {where}", *values))

    def _rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query whose first value is the journal. All of them come at once: they are one moment."""
        with self._store.database.translated():
            yield from self._db.execute(query, (self._number, *values))
