"""A journal in memory, which keeps the promises of `batchvid.journal.base` and survives no process: what they mean."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from batchvid.domain import decision
from batchvid.domain.errors import ConfigError, OutputBusyError, StorageError
from batchvid.domain.history import MOVED
from batchvid.domain.job import Outcome, State
from batchvid.domain.lifecycle import KeptEvent, TaskAdopted
from batchvid.domain.report import PaceChange
from batchvid.domain.results import Money
from batchvid.journal.base import (
    IN_NO_PLAN,
    TIMINGS_KEPT,
    Journal,
    JournalReader,
    JournalStore,
    StaleProgressError,
    TaskOwnedError,
    event_data,
    followed,
    numbered,
)
from batchvid.journal.event_log import PACE_CHANGED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.decision import Decision
    from batchvid.domain.job import Attempt, Progress
    from batchvid.journal.base import Change


@dataclass
class Tables:
    """What is kept."""

    rows: dict[str, Progress] = field(default_factory=dict)
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    events: list[KeptEvent] = field(default_factory=list)
    timings: dict[str, list[float]] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)

    def copy(self) -> Tables:
        """Return tables that can be changed while others read these."""
        timings = {name: list(took_s) for name, took_s in self.timings.items()}
        return Tables(
            dict(self.rows), dict(self.attempts), list(self.events), timings, dict(self.meta), list(self.decisions)
        )

    def event(self, job_id: str, attempt: int, at: float, kind: str, data: Mapping[str, Any]) -> None:
        """Add an event; its data is JSON."""
        self.events.append(KeptEvent(len(self.events) + 1, job_id, attempt, at, kind, json.loads(json.dumps(data))))


class MemoryLog:
    """An event log that never fails."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.failed: str | None = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one event."""
        self.lines.append(dict(record))

    def flush(self) -> None:
        """Do nothing."""


class MemoryStore(JournalStore):
    """Where the tables are, for as long as the process lives."""

    def __init__(self) -> None:
        self.tables: Tables | None = None
        self.log = MemoryLog()
        self._held_since: float | None = None

    def exists(self) -> bool:
        """Whether it was ever opened."""
        return self.tables is not None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold it."""
        if self._held_since is not None:
            raise OutputBusyError("another run holds it")
        self._held_since = time.time()
        try:
            yield
        finally:
            self._held_since = None

    def held_since(self) -> float | None:
        """Return when it was taken."""
        return self._held_since

    def open(self, *, service: str | None) -> MemoryJournal:
        """Open it for writing, or make it."""
        if self.tables is None:
            if service is None:
                raise StorageError("there is no journal")
            self.tables = Tables(meta={"service": service})
        if service not in {None, self.tables.meta["service"]}:
            raise ConfigError(f"the journal belongs to the service {self.tables.meta['service']}, not to {service}")
        return MemoryJournal(self)

    def decide(self, decisions: Sequence[Decision]) -> None:
        """Keep decisions about clips that there are."""
        decision.check(decisions)
        if self.tables is None:
            raise StorageError("there is no journal")
        for one in decisions:
            attempt = self.tables.attempts.get((one.job_id, one.attempt))
            if attempt is None or attempt.outcome is not Outcome.SUCCEEDED:
                raise decision.unknown(one)
        self.tables.decisions += map(_storable, decisions)

    def read(self) -> MemoryReader | None:
        """Open it for reading."""
        return None if self.tables is None else MemoryReader(self)


class MemoryReader(JournalReader):
    """A journal that is open. What it yields is of the moment at which it was asked."""

    name = "memory"

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    @property
    def _tables(self) -> Tables:
        assert self._store.tables is not None, "the journal is open"
        return self._store.tables

    @property
    def is_sealed(self) -> bool:
        """Nothing lies beside it."""
        return True

    def close(self) -> None:
        """Do nothing."""

    def progress_of(self, job_ids: Iterable[str]) -> Iterator[Progress]:
        """Yield the rows of these jobs."""
        rows = self._tables.rows
        return (rows[job_id] for job_id in job_ids if job_id in rows)

    def all_progress(self) -> Iterator[Progress]:
        """Yield all rows."""
        return iter(sorted(self._tables.rows.values()))

    def open_progress(self) -> Iterator[Progress]:
        """Yield those that are open."""
        return (row for row in self.all_progress() if row.state.is_open)

    def undone_progress(self) -> Iterator[Progress]:
        """Yield those that are not done."""
        return (row for row in self.all_progress() if row.state is not State.DONE)

    def progress_in_brief(self) -> Iterator[Progress]:
        """Yield all rows, some of them cut short."""
        nothing: dict[str, Any] = dict.fromkeys(IN_NO_PLAN)
        return (row._replace(**nothing) if row.state is State.DONE else row for row in self.all_progress())

    def states(self) -> dict[str, State]:
        """Return one column."""
        return {row.job_id: row.state for row in self.all_progress()}

    def done_clips(self) -> Iterator[tuple[str, str, int]]:
        """Yield three columns."""
        return ((row.job_id, row.path or "", row.size_bytes or 0) for row in self._done())

    def clips_beyond_ascii(self) -> Iterator[Progress]:
        """Look at the paths."""
        return (row for row in self._done() if not (row.path or "").isascii())

    def _done(self) -> Iterator[Progress]:
        return (row for row in self.all_progress() if row.state is State.DONE)

    def counts(self) -> dict[State, int]:
        """Count the rows."""
        found = Counter(row.state for row in self.all_progress())
        return {state: found[state] for state in State}

    def attempts(self, job_id: str | None = None) -> Iterator[Attempt]:
        """Yield the attempts."""
        return iter(sorted(one for one in self._tables.attempts.values() if job_id in {None, one.job_id}))

    def money(self) -> Money:
        """Sum up."""
        money = Money(unproven_micros=sum(row.unproven_micros for row in self.all_progress()))
        money = replace(money, reserved_micros=money.unproven_micros)
        for one in self.attempts():
            price = one.price_micros
            if price is None:
                money = replace(money, unpriced_attempts=money.unpriced_attempts + 1)
            elif one.outcome.is_reserved:
                money = replace(money, reserved_micros=money.reserved_micros + price)
            else:
                money = replace(money, spent_micros=money.spent_micros + price)
        return money

    def reserved_jobs(self, among: Collection[str] | None = None) -> frozenset[str]:
        """Return those with an attempt that is not over."""
        found = frozenset(one.job_id for one in self.attempts() if one.outcome.is_reserved)
        return found if among is None else found.intersection(among)

    def owner_of_task(self, task_id: str) -> str | None:
        """Look through the attempts."""
        return next((one.job_id for one in self.attempts() if one.task_id == task_id), None)

    def may_wake(self) -> Mapping[str, float]:
        """Return nothing: whoever writes here has the journal for itself, as long as it lives."""
        return {}

    def kept_beside(self) -> Mapping[tuple[str, int], str]:
        """Return nothing: they lie in ``orphans.jsonl``."""
        return {}

    def events(
        self,
        job_id: str | None = None,
        *,
        kinds: Collection[str] = (),
        after: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[KeptEvent]:
        """Yield the events that are wanted."""
        events = self._tables.events[after or 0 :]
        wanted = [one for one in events if job_id in {None, one.job_id} and (not kinds or one.kind in kinds)]
        return reversed(wanted) if newest_first else iter(wanted)

    def settled(self) -> int:
        """Return how many there are."""
        return len(self._tables.events)

    def decisions_after(self, seq: int) -> list[tuple[int, Decision]]:
        """Return what is there."""
        return list(enumerate(self._tables.decisions, 1))[seq:]

    def pace_changes(self) -> list[PaceChange]:
        """Look through the log."""
        found = [line for line in self._store.log.lines if line["event"] == PACE_CHANGED]
        return [PaceChange(datetime.fromisoformat(line["at"]).timestamp(), line["share"]) for line in found]

    def timings(self) -> Mapping[str, list[float]]:
        """Return them."""
        return self._tables.timings

    def meta_get(self, key: str) -> str | None:
        """Return a remark."""
        return self._tables.meta.get(key)

    def moved_question(self, wanted: Collection[str]) -> str | None:  # noqa: ARG002 nobody copies it
        """Return none: it has no place that could be another."""
        return None


class MemoryJournal(MemoryReader, Journal):
    """A journal that is open for writing. What is changed is a copy, which takes the place of the tables at the end."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.log = store.log

    def record(self, changes: Sequence[Change]) -> None:
        """Keep *changes*."""
        tables = self._tables.copy()
        for change in changes:  # two jobs may exchange their tasks
            for number, event, _ in numbered(change):
                here = change.before.job_id, number
                if isinstance(event, TaskAdopted) and here in tables.attempts:
                    tables.attempts[here] = tables.attempts[here]._replace(task_id=None)
        for change in changes:
            _write(tables, change)
        self._store.tables = tables

    def move(self, moves: Sequence[tuple[str, str]], *, at: float, remark: tuple[str, str]) -> None:
        """Exchange the ids."""
        tables = self._tables.copy()
        for old, new in moves:
            if old not in tables.rows:
                raise StaleProgressError(f"there is no job {old!r} to become {new!r}")
            ids = {old: new, new: old}
            tables.rows = {row.job_id: row for row in (_named(row, ids) for row in tables.rows.values())}
            attempts = (_named(one, ids) for one in tables.attempts.values())
            tables.attempts = {(one.job_id, one.attempt): one for one in attempts}
            tables.events = [replace(one, job_id=ids.get(one.job_id, one.job_id)) for one in tables.events]
            tables.decisions = [_named(one, ids) for one in tables.decisions]
            row = tables.rows[new] = tables.rows[new]._replace(version=tables.rows[new].version + 1)
            tables.event(new, row.attempt, at, MOVED, {"moved_from": old})
        tables.meta.update([remark])
        self._store.tables = tables

    def set_paths(self, paths: Mapping[str, str], *, remark: tuple[str, str]) -> None:
        """Keep paths."""
        tables = self._tables.copy()
        tables.rows |= {job_id: tables.rows[job_id]._replace(path=path) for job_id, path in paths.items()}
        tables.meta.update([remark])
        self._store.tables = tables

    def meta_set(self, key: str, value: str) -> None:
        """Keep a remark."""
        self._tables.meta[key] = value

    def fill(self, source: JournalReader, *, remarks: Mapping[str, str], at: float) -> None:  # noqa: ARG002 it keeps no time
        """Take over what another one holds."""
        self._store.tables = Tables(
            {row.job_id: row for row in source.all_progress()},
            {(one.job_id, one.attempt): one for one in source.attempts()},
            [replace(one, seq=number) for number, one in enumerate(source.events(), 1)],
            {name: list(took_s) for name, took_s in source.timings().items()},
            {**self._tables.meta, **remarks},
            [one for _, one in source.decisions_after(0)],
        )

    def take_over_decisions(self, decisions: Sequence[Decision]) -> None:
        """Keep them as all others."""
        self._store.decide(decisions)

    def seal(self) -> None:
        """Do nothing: it is sealed."""

    def settle(self, wanted: Collection[str] | None, *, moved: bool, note: Callable[[str], None]) -> None:
        """Do nothing: it is at home."""


def _write(tables: Tables, change: Change) -> None:
    job_id = change.before.job_id
    row = tables.rows.get(job_id)
    if change.before.version != (0 if row is None else row.version):
        raise StaleProgressError(f"job {job_id!r} is no longer at version {change.before.version}")
    tables.rows[job_id] = _storable(change.after)
    for number, event, at in numbered(change):
        here = job_id, number
        attempt = followed(tables.attempts.pop(here, None), event, job_id=job_id, number=number, at=at)
        if attempt is not None:
            for other in tables.attempts.values():
                if other.task_id is not None and other.task_id == attempt.task_id:
                    raise TaskOwnedError(other.task_id, other.job_id)
            tables.attempts[here] = _storable(attempt)
        tables.event(*here, at, type(event).__name__, event_data(event))
    if change.timing is not None:
        took_s = tables.timings.setdefault(change.timing.timing_class, [])
        took_s.append(change.timing.took_s)
        del took_s[:-TIMINGS_KEPT]


def _named(one: Any, ids: Mapping[str, str]) -> Any:
    return one._replace(job_id=ids.get(one.job_id, one.job_id))


def _storable(row: Any) -> Any:
    """Return *row* with text that UTF-8 can hold: what is half a letter stands as its escape."""
    return type(row)(
        *(type(one)(one.encode("utf-8", "backslashreplace").decode()) if isinstance(one, str) else one for one in row)
    )
