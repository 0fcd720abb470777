"""The tables of a SQLite journal: their rows as values, and how changes are written into them.

At each statement Python lets another thread have its turn, and then waits for its own. With hundreds of jobs at work
that is what a commit takes its time for. So a group of changes is written by few statements, of many rows each.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

from batchvid.domain.job import Attempt, Outcome, Progress, State
from batchvid.journal.base import TIMINGS_KEPT, event_data
from batchvid.journal.changes import changed_attempts, joined

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterator, Sequence

    from batchvid.journal.base import Change, Timing
    from batchvid.journal.changes import Happened, Here, Joined


ROWS_AT_ONCE = 32
"""In one statement, or half as many, and so on: few statements differ, and SQLite has compiled each of them before."""
STATES = {state.value: state for state in State}
OUTCOMES = {outcome.value: outcome for outcome in Outcome}
UNDER_WAY = {State.SUBMITTING, State.RUNNING, State.READY}
"""More is soon recorded of the attempts of such jobs."""
ALL_ATTEMPTS = f"SELECT {', '.join(Attempt._fields)} FROM attempts"
INTO_JOBS = f"INSERT INTO jobs ({', '.join(Progress._fields)})"
KEEP_JOB = f" ON CONFLICT (job_id) DO UPDATE SET {', '.join(f'{one} = excluded.{one}' for one in Progress._fields[1:])}"
"""It leaves the id alone: setting it to what it is makes SQLite look through all that refers to it."""
INTO_ATTEMPTS = f"INSERT INTO attempts ({', '.join(Attempt._fields)})"
KEEP_ATTEMPT = (
    " ON CONFLICT (job_id, attempt) DO UPDATE SET"
    f" {', '.join(f'{one} = excluded.{one}' for one in Attempt._fields[2:])}"
)
EVENT_FIELDS = ("job_id", "attempt", "at", "kind", "data")
INTO_EVENTS = f"INSERT INTO events ({', '.join(EVENT_FIELDS)})"
TIMING_FIELDS = ("timing_class", "took_s", "at")
INTO_TIMINGS = f"INSERT INTO timings ({', '.join(TIMING_FIELDS)})"
ONE_ATTEMPT = "job_id = ? AND attempt = ?"


class Writer:
    """Writes changes, each time within a transaction of its owner; nobody else changes jobs or attempts meanwhile."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._at_work: dict[str, Attempt] = {}
        """By job id, the newest attempt of what is under way, as the table has it."""

    def forget(self) -> None:
        """Forget what the tables hold: the transaction was rolled back, or they were written by other means."""
        self._at_work.clear()

    def write(self, changes: Sequence[Change]) -> list[Happened]:
        """Write *changes* and return what happened.

        Raises `StaleProgressError` and `TaskOwnedError`; then the transaction is to be rolled back.
        """
        group = joined(changes)
        group.check(dict(self._found("SELECT job_id, version FROM jobs WHERE job_id IN", group.starts)))
        self._insert(INTO_JOBS, [job_values(row) for row in group.rows.values()], KEEP_JOB)
        self._write_attempts(group)
        self._insert(
            INTO_EVENTS,
            [
                (job_id, attempt, at, type(event).__name__, json.dumps(event_data(event)))
                for job_id, attempt, event, at in group.events
            ],
        )
        self._note([change.timing for change in changes if change.timing is not None])
        return group.events

    def _write_attempts(self, group: Joined) -> None:
        """Store what the events make of the attempts that they are about."""
        changed = changed_attempts(group.events, self._attempts(group))
        for here in changed.adopted:
            self._execute(f"UPDATE attempts SET task_id = NULL WHERE {ONE_ATTEMPT}", here)
        tasks = {storable(task_id): task_id for task_id in changed.tasks.values()}
        owners = self._found("SELECT task_id, job_id, attempt FROM attempts WHERE task_id IN", tasks)
        changed.check({tasks[task_id]: (job_id, attempt) for task_id, job_id, attempt in owners})
        for here in (here for here, one in changed.rows.items() if one is None):
            self._execute(f"DELETE FROM attempts WHERE {ONE_ATTEMPT}", here)
        kept = [one for one in changed.rows.values() if one is not None]
        self._insert(INTO_ATTEMPTS, [attempt_values(one) for one in kept], KEEP_ATTEMPT)
        for (job_id, number), attempt in changed.rows.items():
            self._at_work.pop(job_id, None)
            if attempt is not None and number == group.rows[job_id].attempt:
                self._at_work[job_id] = attempt
        for job_id, row in group.rows.items():
            if row.state not in UNDER_WAY:
                self._at_work.pop(job_id, None)

    def _attempts(self, group: Joined) -> dict[Here, Attempt]:
        """Return, of the attempts that the events are about, those that there are."""
        found: dict[Here, Attempt] = {}
        unknown: list[str] = []
        for job_id, number in group.attempts:
            known = self._at_work.get(job_id)
            if known is not None and known.attempt == number:
                found[job_id, number] = known
            elif group.starts[job_id]:  # else nothing has happened to it, and it has none
                unknown.append(job_id)
        for row in self._found(f"{ALL_ATTEMPTS} WHERE job_id IN", dict.fromkeys(unknown)):
            one = attempt_of(row)
            found[one.job_id, one.attempt] = one
        return found

    def _note(self, timings: Sequence[Timing]) -> None:
        self._insert(INTO_TIMINGS, [(one.timing_class, one.took_s, one.at) for one in timings])
        for name in dict.fromkeys(one.timing_class for one in timings):
            self._db.execute(
                "DELETE FROM timings WHERE timing_class = ? AND seq <="
                " (SELECT seq FROM timings WHERE timing_class = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
                (name, name, TIMINGS_KEPT),
            )

    def _insert(self, into: str, rows: Sequence[tuple[Any, ...]], on_conflict: str = "") -> None:
        for some in _pieces(rows):
            statement = f"{into} {values(len(some[0]), rows=len(some))}{on_conflict}"
            self._execute(statement, tuple(chain.from_iterable(some)))

    def _found(self, query: str, wanted: Collection[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a *query* that ends in ``IN``, for these values."""
        for some in _pieces(list(wanted)):
            yield from self._execute(f"{query} ({', '.join('?' * len(some))})", tuple(some)).fetchall()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        r"""Run *statement*.

        Text with half a surrogate pair in it, which SQLite does not take, gets ``\udNNN`` instead. Such halves come
        from file names that are no UTF-8, and what they stand in must not lose a paid task id.
        """
        try:
            return self._db.execute(statement, values)
        except UnicodeEncodeError:
            return self._db.execute(statement, tuple(map(storable, values)))


def _pieces(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield *rows* in pieces whose lengths are powers of two."""
    start, size = 0, ROWS_AT_ONCE
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


def values(width: int, *, rows: int = 1) -> str:
    """Return the ``VALUES`` of so many rows, each of so many values."""
    one = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([one] * rows)}"


def storable(value: Any) -> Any:
    """Return the value as SQLite takes it."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


# For the subclasses of plain values, SQLite's module looks through its adapters first: it gets plain ones.


def job_values(progress: Progress) -> tuple[Any, ...]:
    """Return the row of a job."""
    return progress._replace(state=progress.state.value, parked=int(progress.parked))  # type: ignore[arg-type]


def job_of(row: tuple[Any, ...]) -> Progress:
    """Return what a row of ``jobs`` tells."""
    job_id, state, version, attempt, allowance_from, parked, *others = row
    return _made(Progress, (job_id, STATES[state], version, attempt, allowance_from, parked == 1, *others))


_made: Callable[[type[Progress], tuple[Any, ...]], Progress] = tuple.__new__
"""What `Progress._make` calls: a journal is read a hundred thousand rows at a time."""


def attempt_values(attempt: Attempt) -> tuple[Any, ...]:
    """Return the row of an attempt."""
    return attempt._replace(outcome=attempt.outcome.value)  # type: ignore[arg-type]


def attempt_of(row: tuple[Any, ...]) -> Attempt:
    """Return what a row of ``attempts`` tells."""
    return Attempt._make((*row[:8], OUTCOMES[row[8]], *row[9:]))
