"""What a journal is: what it is asked to keep, what can be asked of it, and where one is opened.

A journal knows what has happened to every job, durably; it is the only truth about money. Every journal keeps these
rules, and `tests/journal/test_conformance.py` holds each against them:

* A call of `Journal.record` is one transaction, durable when it returns; if it raises, nothing of it is kept.
* A job moves only from what the journal holds: every change is compared with the version that is kept, and sets it.
* What it has kept is in its event log before anybody hears that it is kept.
* It computes no states: `batchvid.domain.lifecycle` says what has become of a job and of its attempts.
* Money is reserved for an attempt that is open or in doubt, and spent once the attempt is over.
* One writes, any number read beside it, and each iterator of a reader sees one moment.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol, Self, get_args

from batchvid.domain import decision
from batchvid.domain.costs import TELL_OF_UNPROVEN, unproven_of
from batchvid.domain.errors import BatchvidError, ConfigError, Exit, StorageError
from batchvid.domain.frozen import frozen
from batchvid.domain.job import State
from batchvid.domain.lifecycle import (
    Event,
    PollFailed,
    StillRunning,
    SubmitAccepted,
    SubmitRefused,
    SubmitStarted,
    advance,
    follow,
)
from batchvid.domain.records import rfc3339
from batchvid.domain.reopening import CRASHED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from batchvid.domain.costs import Unproven
    from batchvid.domain.decision import Decision
    from batchvid.domain.doubts import Doubt
    from batchvid.domain.job import Attempt, Progress
    from batchvid.domain.lifecycle import KeptEvent
    from batchvid.domain.machines import Machines
    from batchvid.domain.report import PaceChange
    from batchvid.domain.results import Money


DURABLE: frozenset[type[Event]] = frozenset(get_args(Event)) - {StillRunning, PollFailed}
"""The events that are kept. The other two change nothing that a later run needs and come with every poll,
so a run keeps them in memory and does not pass them on; when they are passed, they leave no event behind."""
NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in get_args(Event)}
"""What each event says, by field."""
IN_NO_PLAN = frozenset(
    {"task_id", "resolved_model", "url", "url_expires_at", "reason"}
    | {"submitted_at", "finished_at", "path", "size_bytes"}
)
"""What `JournalReader.progress_in_brief` leaves out of the jobs that are done."""
MOVED_TO = "moved_to"
"""The remark in a journal that was moved elsewhere and stays as it was: nothing goes on with it."""
TIMINGS_KEPT = 200
"""Of each timing class: enough for its tail, few enough that a change at the service is learnt in a night."""


class StaleProgressError(Exception):
    """A change does not start from what the journal holds: a bug in batchvid, and nothing was written."""


class TaskOwnedError(Exception):
    """A task id already belongs to another attempt; nothing was written.

    The service handed out one id twice, so nobody knows what became of the second paid request.
    """

    def __init__(self, task_id: str, owner: str) -> None:
        super().__init__(f"task {task_id!r} already belongs to job {owner!r}")
        self.task_id = task_id
        self.owner = owner
        """The id of the job that has it."""


class LeaseLostError(StorageError):
    """The jobs that a worker writes about belong to another one by now; nothing was written."""

    exit_code = Exit.BUSY


class StandbyError(StorageError):
    """The database takes no changes, as it follows another one; it may take that one's place soon."""

    exit_code = Exit.CONFIG


class RewoundError(StorageError):
    """The database is another one than before, and may not know all that is paid; nothing was written."""

    exit_code = Exit.CONFIG


class OverCeilingError(BatchvidError):
    """An attempt would cost more than may be spent; nothing was written."""

    exit_code = Exit.BUDGET


@frozen
class Timing:
    """How long the service took for one task of a timing class."""

    timing_class: str
    took_s: float
    at: float


@frozen
class Change:
    """What happened to one job since the journal last heard of it.

    *before* is what the journal holds, *after* what `batchvid.domain.lifecycle.advance` made of it, and
    *events* the facts between the two, each with its time. All of it is kept, or nothing is.
    """

    before: Progress
    events: tuple[tuple[Event, float], ...]
    after: Progress
    timing: Timing | None = None
    """What the change teaches about how long tasks take; set when a task succeeded."""

    @classmethod
    def of(cls, before: Progress, *events: tuple[Event, float], timing: Timing | None = None) -> Change:
        """Return the change that *events* make, each an event and its time.

        Raises `batchvid.domain.lifecycle.IllegalEventError` when the lifecycle does not allow one of them.
        """
        after = before
        for event, at in events:
            after = advance(after, event, at=at)
        return cls(before, events, after, timing)


class Log(Protocol):
    """The event log of a journal: for people, and a second memory of what was paid. No run fails because of it."""

    failed: str | None
    """Why nothing more is written."""

    def append(self, record: Mapping[str, object]) -> None:
        """Add one event; it is in the log after the next `flush`, at the latest."""

    def flush(self) -> None:
        """Write what has come together."""


class JournalReader(Protocol):
    """A journal that is open for reading; used by one thread at a time."""

    name: str
    """What a person finds it by."""

    @property
    def is_sealed(self) -> bool:
        """Whether nothing outside it can know of a paid request that it does not know."""

    def close(self) -> None:
        """Close it."""

    def __enter__(self) -> Self:
        """Return it, to be closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def progress_of(self, job_ids: Iterable[str]) -> Iterator[Progress]:
        """Yield what has happened to these jobs, in their order; nothing of those that nothing has happened to."""

    def all_progress(self) -> Iterator[Progress]:
        """Yield every job that anything has happened to, by id."""

    def open_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are neither done nor failed, by id, without reading the others."""

    def undone_progress(self) -> Iterator[Progress]:
        """Yield the jobs that are not done, by id, without reading the others."""

    def progress_in_brief(self) -> Iterator[Progress]:
        """Yield every job as `all_progress` does, in any order; of those that are done, without what is in no plan.

        That is the task, the clip's URL, place and size, the model, the reason and the times.
        """

    def states(self) -> dict[str, State]:
        """Return the state of every job that anything has happened to, by id."""

    def ids(self, state: State | None = None) -> set[str]:
        """Return the ids of these jobs, or of those in a *state*."""
        return {job_id for job_id, found in self.states().items() if state is None or found is state}

    def done_clips(self) -> Iterator[tuple[str, str, int]]:
        """Yield id, path and size of each clip that is done, by id."""

    def clips_beyond_ascii(self) -> Iterator[Progress]:
        """Yield the jobs that are done and whose path a file system may spell in another way, by id."""

    def counts(self) -> dict[State, int]:
        """Count the jobs by state; every state is there."""

    def attempts(self, job_id: str | None = None) -> Iterator[Attempt]:
        """Yield the paid attempts of a job, or of all by id, each job's oldest first."""

    def money(self) -> Money:
        """Return what all attempts come to. The budget is not known here."""

    def paid_since(self, at: float) -> int:
        """Return what the attempts come to that were started since, in millionths; unknown prices are left out."""
        return sum(one.price_micros or 0 for one in self.attempts() if one.started_at >= at)

    def counted_since(self, at: float) -> int:
        """Return the same with the requests since that were refused without proof, which a budget counts as well."""
        found = self.paid_since(at)
        if self.money().unproven_micros:
            found += sum(one.price_micros for one in self.unproven() if one.at >= at)
        return found

    def unproven(self) -> list[Unproven]:
        """Return the requests that were refused without proof, and that nobody has found not to be billed."""
        return unproven_of(self.events(kinds=TELL_OF_UNPROVEN))

    def reserved_jobs(self, among: Collection[str] | None = None) -> frozenset[str]:
        """Return the ids of the jobs that have an attempt open or in doubt, for which money is reserved.

        Only those *among* these ids are told, without reading the others, or all.
        """

    def owner_of_task(self, task_id: str) -> str | None:
        """Return the id of the job that has this task; ``None`` when none has."""

    def may_wake(self) -> Mapping[str, float]:
        """Return, by job id, for how many seconds more a doubt is not opened again, because its sender may wake."""

    def kept_beside(self) -> Mapping[tuple[str, int], str]:
        """Return the task ids by job id and attempt that were paid, and kept where nothing fences who keeps them."""

    def events(
        self,
        job_id: str | None = None,
        *,
        kinds: Collection[str] = (),
        after: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[KeptEvent]:
        """Yield the events of a job, or of all, in the order in which they were recorded.

        *kinds* are the names of those that are wanted, by default all. *after* is the number of one before them, for
        who looks again and again: what is yielded then is settled, as `settled` says.
        """

    def settled(self) -> int:
        """Return the number up to which all events are there that will ever be.

        Of several who write at the same time, one may take a number first and record its event last.
        """

    def decisions_after(self, seq: int) -> list[tuple[int, Decision]]:
        """Return every decision that was recorded after the one of this number, in their order, with their numbers.

        0 is before the first. What is returned is settled: no decision with a smaller number comes later.
        """

    def decisions(self, among: Collection[str] | None = None) -> dict[tuple[str, int], Decision]:
        """Return what persons decided, by job id and attempt: the newest of each, unless it was taken back.

        Only those about jobs *among* these ids are told, or all.
        """
        found = decision.newest(one for _, one in self.decisions_after(0))
        return {about: one for about, one in found.items() if among is None or about[0] in among}

    def pace_changes(self) -> list[PaceChange]:
        """Return what the event log tells of the pace, oldest first."""

    def timings(self) -> Mapping[str, list[float]]:
        """Return how long tasks took in seconds, by timing class, oldest first, at most `TIMINGS_KEPT` of each."""

    def meta_get(self, key: str) -> str | None:
        """Return a remark about the journal as a whole; ``service`` is the one that it belongs to."""

    def machines(self) -> Machines | None:
        """Return which machines work on it, and what holds them back; ``None`` where one machine has the journal."""
        return None

    def moved_question(self, wanted: Collection[str]) -> str | None:
        """Return what a person is asked before a run of the *wanted* jobs in what may be a copy; ``None``: nothing."""

    def progress(self, job_id: str) -> Progress | None:
        """Return what has happened to a job; ``None`` when nothing has."""
        return next(self.progress_of([job_id]), None)

    def doubts(self) -> dict[str, Doubt]:
        """Return what is known of each paid request in doubt, by job id; also of one whose run has not recorded an end.

        An id in the answer that an attempt has is left out.
        """
        from batchvid.domain.doubts import Doubt, seen_ids
        from batchvid.providers.response import request_id

        found = {}
        for row in list(self.open_progress()):
            if row.state in {State.IN_DOUBT, State.SUBMITTING}:
                newest = {one.attempt: one for one in self.attempts(row.job_id)}[row.attempt]
                raw, reason = newest.raw or b"", newest.reason or CRASHED
                named = request_id(reason) or request_id(raw.decode("utf-8", "replace"))
                seen = tuple(one for one in seen_ids(raw, reason) if self.owner_of_task(one) is None)
                found[row.job_id] = Doubt(
                    row.job_id, row.attempt, newest.started_at, newest.price_micros, reason, named, seen
                )
        return found


class Journal(JournalReader, Protocol):
    """A journal that is open for writing; used by one thread at a time."""

    log: Log

    def record(self, changes: Sequence[Change]) -> None:
        """Keep *changes*, all of them or none; when this returns, they survive a power loss.

        Raises `StaleProgressError` when a change does not start from what the journal holds: a bug. Raises
        `TaskOwnedError` when one names a task that another attempt has, and `batchvid.domain.errors.StorageError`
        when it cannot be kept. Two jobs may exchange their tasks in one call.
        """

    def move(self, moves: Sequence[tuple[str, str]], *, at: float, remark: tuple[str, str]) -> None:
        """Set other ids for jobs with their attempts, events and decisions, all or none.

        Each move is an old and a new id. A job that has the new id, and for which nothing was paid, gets the old one.
        *remark* is kept beside it, as by `meta_set`. Raises `StaleProgressError` when the journal does not hold a job
        of an old id.
        """

    def set_paths(self, paths: Mapping[str, str], *, remark: tuple[str, str]) -> None:
        """Keep where the clips of these jobs lie now, all of them or none, and a *remark* as `move` does."""

    def meta_set(self, key: str, value: str) -> None:
        """Keep a remark about the journal as a whole."""

    def fill(self, source: JournalReader, *, remarks: Mapping[str, str], at: float) -> None:
        """Take over all that *source* holds, and these *remarks*, into this journal, which holds none: all or nothing.

        Raises `StorageError` when it does not hold just the same then. Timings count as measured *at*.
        """

    def take_over_decisions(self, decisions: Sequence[Decision]) -> None:
        """Keep decisions that something beside the journal tells, as `JournalStore.decide` does."""

    def seal(self) -> None:
        """Note that the journal was compared with all that lies beside it, so that nothing outside knows more."""

    def settle(self, wanted: Collection[str] | None, *, moved: bool, note: Callable[[str], None]) -> None:
        """Let the journal be at home where it is now.

        Raises `batchvid.domain.errors.StorageError` where another copy may go on, unless a person says that it was
        *moved*. *wanted* are the jobs of the manifest; ``None`` when the session is not a run.
        """


class JournalStore(Protocol):
    """Where a journal is."""

    def exists(self) -> bool:
        """Whether there is a journal; also one that cannot be read: who opens it says what to do."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold the journal, and the output that it is of, for whoever will write.

        Raises `batchvid.domain.errors.OutputBusyError` at once when a run holds it.
        """

    def held_since(self) -> float | None:
        """Return since when a run holds the journal (UTC epoch seconds); ``None`` when none does. Changes nothing."""

    def is_held(self) -> bool:
        """Whether a run holds the journal."""
        return self.held_since() is not None

    def open(self, *, service: str | None) -> Journal:
        """Open the journal for writing, or make it, for *service* (a normalised base URL); the caller has the lock.

        ``None`` is whatever service it has, for a person's decisions: there must be a journal then. Raises
        `batchvid.domain.errors.StorageError` for a journal that cannot be read or written, or might be something else.
        Raises `batchvid.domain.errors.ConfigError` for one of another service or a newer batchvid.
        """

    def decide(self, decisions: Sequence[Decision]) -> None:
        """Keep what persons decided about clips, all of it or nothing; it is durable when this returns. Blocks.

        Nobody needs the lock for it: a run that writes the journal meanwhile is not disturbed. A journal of an older
        batchvid is brought up to date first, also for no decision at all, unless a run has it. Raises ValueError for
        what no journal takes, and for a decision about an attempt that has brought no clip. Raises `StorageError`
        where there is no journal, and `batchvid.domain.errors.ConfigError` for one of another batchvid.
        """

    def read(self) -> JournalReader | None:
        """Open the journal for reading, beside a writer if there is one; ``None`` if there is no journal.

        Raises as `open` does. A journal of an older batchvid is refused, because reading must not change it.
        """


def numbered(change: Change) -> Iterator[tuple[int, Event, float]]:
    """Yield each event of *change* that is kept, with the number of the attempt that it is about, and its time.

    A refused attempt gives its number back, so what follows is about the one before it.
    """
    attempt = change.before.attempt
    for event, at in change.events:
        if isinstance(event, SubmitStarted):
            attempt = event.attempt
        if type(event) in DURABLE:
            yield attempt, event, at
        if isinstance(event, SubmitRefused):
            attempt -= 1


def followed(before: Attempt | None, event: Event, *, job_id: str, number: int, at: float) -> Attempt | None:
    """Return what *event* makes of the attempt that the journal holds; no payment is written over another."""
    if isinstance(event, SubmitStarted) and before is not None:
        raise StaleProgressError(f"job {job_id!r}: attempt {number} was started before")
    return follow(before, event, job_id=job_id, number=number, at=at)


def holds(reader: JournalReader, changes: Sequence[Change]) -> bool:
    """Whether the journal holds these very changes: every event with its time, and no row from before."""
    ids = {change.before.job_id for change in changes}
    versions = {row.job_id: row.version for row in reader.progress_of(ids)}
    events = {
        (one.job_id, one.attempt, one.at, one.kind, json.dumps(one.data))
        for job_id in ids
        for one in reader.events(job_id)
    }
    return all(
        versions.get(change.before.job_id, 0) >= change.after.version
        and all(
            (change.before.job_id, attempt, at, type(event).__name__, json.dumps(event_data(event))) in events
            for attempt, event, at in numbered(change)
        )
        for change in changes
    )


def is_copy(one: JournalReader, other: JournalReader) -> bool:
    """Whether two journals hold the same.

    That is jobs, attempts, events and decisions in their order, sums, and how long tasks took.
    """
    return (
        one.counts() == other.counts()
        and one.money() == other.money()
        and one.timings() == other.timings()
        and _is_same(one.all_progress(), other.all_progress())
        and _is_same(one.attempts(), other.attempts())
        and _is_same(map(_told, one.events()), map(_told, other.events()))
        and [said for _, said in one.decisions_after(0)] == [said for _, said in other.decisions_after(0)]
    )


def check_copy(copy: JournalReader, source: JournalReader) -> None:
    """Refuse a copy that does not hold what its source holds."""
    if not is_copy(copy, source):
        raise StorageError(f"the journal {copy.name} does not hold what {source.name} holds, so nothing was moved")


def _is_same(ones: Iterable[object], others: Iterable[object]) -> bool:
    return all(one == other for one, other in zip_longest(ones, others))


def _told(event: KeptEvent) -> KeptEvent:
    """Return an event without its number, which is the journal's own."""
    return replace(event, seq=0)


def event_data(event: Event) -> dict[str, Any]:
    r"""Return what *event* says as plain JSON values, by field; bytes become text with ``\xNN`` for what is none.

    A list of nothing is not said.
    """
    values = ((name, getattr(event, name)) for name in NAMES[type(event)])
    return {
        name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
        for name, value in values
        if value != ()
    }


KINDS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


def event_of(kept: KeptEvent) -> Event | None:
    """Return the event that was kept, the reverse of `event_data`; ``None`` for a kind that nobody knows here."""
    kind = KINDS.get(kept.kind)
    if kind is None:
        return None
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in kept.data.items()
    }
    if isinstance(values.get("raw"), str):
        values["raw"] = values["raw"].encode("utf-8", "surrogateescape")
    event: Event = kind(**values)
    return event


def log_line(job_id: str, attempt: int, event: Event, *, at: float) -> dict[str, Any]:
    """Return an event as the event log has it."""
    line = {"at": rfc3339(at), "job": job_id, "attempt": attempt, "event": type(event).__name__}
    return line | event_data(event)


def open_lines(attempts: Iterable[Attempt]) -> Iterator[dict[str, Any]]:
    """Yield, as the event log has them, the events that made each of these open attempts what it is."""
    for one in attempts:
        started = SubmitStarted(one.attempt, one.price_micros, one.fingerprint)
        yield log_line(one.job_id, one.attempt, started, at=one.started_at)
        if one.task_id is not None:
            accepted = SubmitAccepted(one.task_id, one.resolved_model)
            yield log_line(one.job_id, one.attempt, accepted, at=one.accepted_at or one.started_at)


def refuse_other(name: object, bound_to: str | None, service: str) -> None:
    """Refuse the journal of this name where it belongs to another service."""
    if bound_to not in {None, service}:
        raise ConfigError(
            f"the journal {name} belongs to the service {bound_to}, and this run is for {service}; "
            f"what was paid there is unknown here: choose another output (--output FOLDER)"
        )
