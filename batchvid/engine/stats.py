"""How a run stands, in sums: for its own live view, and for ``status --watch`` in another terminal.

A watcher in another terminal reads the run's journal, and never writes.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Self

from batchvid.domain import lifecycle as life
from batchvid.domain.errors import StorageError
from batchvid.domain.job import State
from batchvid.domain.learned import expected
from batchvid.domain.limits import Rate
from batchvid.domain.reopening import CRASHED
from batchvid.domain.results import Money, NeedsAttention, NewClip, Snapshot
from batchvid.engine.eta import Load, Occupancy, remaining_s

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from types import TracebackType

    from batchvid.domain.job import Job, Progress
    from batchvid.domain.learned import Learned
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.limits import Limits
    from batchvid.domain.machines import Machines
    from batchvid.engine.scheduler import Scheduler
    from batchvid.journal.base import JournalReader, JournalStore
    from batchvid.manifest.model import Manifest


SHOWN = 8
"""Clips, and jobs that need a person."""
WORDS_TOLD = 8
"""A service that makes up a new status for every poll must not fill a night's log."""
TELLING = 4
"""Accepted requests tell at which pace a service takes them."""
AGES_ASKED = 64
"""Of the tasks in flight: enough to tell the mean, few enough to be asked four times a second."""
CLASSES_ASKED = 100
"""Jobs, spread over the manifest, whose classes say what a task is expected to take before any was seen."""


class Statistics:
    """What both kinds know of the jobs: who needs attention, and which clips are new."""

    def __init__(self) -> None:
        self.submits = 0
        self.polls = 0
        self.downloaded_bytes = 0
        self.newest: tuple[NewClip, ...] = ()
        """Newest first."""
        self.needs_person: dict[str, NeedsAttention] = {}

    def stands(self, row: Progress) -> None:
        """Record how a job stands."""
        if row.parked or row.state in {State.FAILED, State.IN_DOUBT}:
            self.needs_person[row.job_id] = NeedsAttention(row.job_id, row.state, row.reason or "")
        elif self.needs_person:
            self.needs_person.pop(row.job_id, None)

    def saved(self, clip: NewClip) -> None:
        """Record a clip that is on disk."""
        self.downloaded_bytes += clip.size_bytes
        if len(self.newest) < SHOWN or clip.saved_at >= self.newest[-1].saved_at:
            self.newest = tuple(sorted((clip, *self.newest), key=lambda one: -one.saved_at)[:SHOWN])


class RunStatistics(Statistics):
    """The sums of one run, as it knows them itself. Times named ``now`` are monotonic seconds."""

    def __init__(self, scheduler: Scheduler, *, started: float) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._started = started
        self._kept = Occupancy(_expected_s(scheduler))
        self._submitted_at = started
        self._submits_seen = 0
        # By the URL's hash: a night has 100,000 URLs, of up to 8 KB each.
        self._first_with_url: dict[int, str] = {}
        self._with_url_of_another: set[str] = set()
        self._strange_words: set[str] = set()
        self._told_of_renaming = False

    @property
    def _limits(self) -> Limits:
        """Return what the account is allowed: where it is found out, what is known now."""
        account = self._scheduler.account
        limits, auto = account.limits or self._scheduler.limits, account.auto
        if auto is None:
            return limits
        submits = limits.submits if auto.per_minute is None else Rate(auto.per_minute, MINUTE_S)
        return replace(limits, submits=submits, in_flight=account.most_in_flight(limits))

    def happened(self, event: Event, progress: Progress, *, at: float) -> None:
        """Record an event that was recorded."""
        if isinstance(event, life.SubmitStarted):
            self.submits += 1
        elif isinstance(event, life.ClipSaved):
            self.saved(NewClip(progress.job_id, event.path, event.size_bytes, at))
        self.stands(progress)

    def other_with(self, url: str, *, job_id: str) -> str | None:
        """Return the job that this run was told the same URL for before; ``None`` also when that was told."""
        first = self._first_with_url.setdefault(hash(url), job_id)
        if first == job_id or job_id in self._with_url_of_another:
            return None
        self._with_url_of_another.add(job_id)
        return first

    def is_new_word(self, status: str) -> bool:
        """Whether this run meets a status for the first time; after `WORDS_TOLD` of them, none is new any more."""
        if status in self._strange_words or len(self._strange_words) >= WORDS_TOLD:
            return False
        self._strange_words.add(status)
        return True

    def is_first_renaming(self) -> bool:
        """Whether an answer that gives a task another id is the first one of this run; it is told once."""
        first, self._told_of_renaming = not self._told_of_renaming, True
        return first

    def task_took(self, took_s: float) -> None:
        """Record how long after its submission a task of this run was known to be over."""
        self._kept.add(took_s)

    def eta_s(self, now: float) -> float:
        """Return the seconds until the last job is done, or nothing more is going to happen."""
        scheduler, breaker = self._scheduler, self._scheduler.breaker
        if scheduler.draining:
            return 0.0
        self._look(now)
        waiting = self._to_submit(now)
        task_s = self._kept.mean_s(self._ages_s(now), flying=scheduler.in_flight)
        limits = self._limits
        load = Load(
            waiting=waiting,
            flying=scheduler.in_flight,
            room=limits.in_flight,
            rate=self._rate(limits, now),
            task_s=task_s,
            spread=self._kept.spread,
            delayed_s=max(0.0, breaker.submits_resume_at - now),
            since_submit_s=now - self._submitted_at,
            window_s=None if breaker.window_closes_at is None else max(0.0, breaker.window_closes_at - now),
        )
        others = list(scheduler.account.beside(scheduler))
        if others:
            beside = sum(min(waiting, one.to_submit) for one in others)
            flying = sum(one.in_flight for one in scheduler.account.members)
            load = replace(load, waiting=waiting + beside, flying=flying)
        if breaker.canary_is_out and waiting:
            canaries = replace(load, waiting=0, flying=max(1, load.flying))
            load = replace(load, flying=0, delayed_s=load.delayed_s + remaining_s(canaries))
        return remaining_s(load)

    def _to_submit(self, now: float) -> int:
        """Count the jobs that this run is still going to submit, as far as limits let it."""
        scheduler = self._scheduler
        if scheduler.breaker.submits_stopped:
            return 0
        bounds = [scheduler.to_submit + len(scheduler.tracker.waiting)]
        cap = scheduler.breaker.spend_cap
        if cap.max_jobs is not None:
            bounds.append(max(0, cap.max_jobs - cap.jobs) + len(scheduler.retries))
        price = self._next_price_micros(now)
        left = scheduler.budget.left_micros
        if price and left is not None:
            bounds.append(left // price)
        return min(bounds)

    def _next_price_micros(self, now: float) -> int | None:
        """Return the price of the job that is submitted next; ``None`` when there is none, or it is unknown."""
        scheduler = self._scheduler
        indices = (lane.peek(now) for lane in (scheduler.submits, scheduler.retries))
        return next((self._scheduler.jobs[index].price_micros for index in indices if index is not None), None)

    def _ages_s(self, now: float) -> list[float]:
        """Return how long tasks have been in flight: all of them, or some of many."""
        active = self._scheduler.active
        some = islice(active.values(), 0, None, 1 + len(active) // AGES_ASKED)
        return [now - one.task_from for one in some if one.progress.state is State.RUNNING]

    def _rate(self, limits: Limits, now: float) -> Rate | None:
        """Return the pace that may be counted on: the allowed one, or the real one while the service slows it."""
        account, allowed = self._scheduler.account, limits.submits
        if account.throttle.share == 1.0 or account.accepted < TELLING or now <= self._started:
            return allowed
        taken = Rate(account.accepted, now - self._started)
        return taken if allowed is None or taken.per_s < allowed.per_s else allowed

    def _look(self, now: float) -> None:
        """Record when something was submitted last."""
        if self.submits != self._submits_seen:
            self._submits_seen, self._submitted_at = self.submits, now

    def snapshot(self, *, now: float, submits_per_min: float) -> Snapshot:
        """Return the run as it stands now."""
        scheduler, breaker = self._scheduler, self._scheduler.breaker
        halt, limits = breaker.worst, self._limits
        interrupted = scheduler.draining and not breaker.downloads_stopped
        stopping = "interrupted: requests in flight end, nothing new is sent" if interrupted else None
        return Snapshot(
            counts={state: scheduler.counts[state] for state in State},
            parked=len(scheduler.deferred),
            money=scheduler.budget.money,
            elapsed_s=now - self._started,
            eta_s=self.eta_s(now),
            in_flight=scheduler.in_flight,
            in_flight_limit=limits.in_flight,
            downloading=scheduler.downloading,
            downloads_limit=scheduler.limits.downloads,
            submits_per_min=submits_per_min,
            submit_limit=limits.submits,
            found_out=limits.found_out,
            slowed_to=breaker.throttle.share,
            paused_s=max(0.0, breaker.submits_resume_at - now),
            slowed_by=breaker.slowed_by,
            polls=self.polls,
            submits=self.submits,
            downloaded_bytes=self.downloaded_bytes,
            stopping=stopping or (halt.reason if halt else None),
            newest=self.newest,
            needs_person=tuple(self.needs_person.values())[:SHOWN],
        )


def _expected_s(scheduler: Scheduler) -> float:
    """Return what a task is expected to take: by class what the journal tells, or the stated typical time."""
    asked = scheduler.jobs[:: max(1, len(scheduler.jobs) // CLASSES_ASKED)]
    if not asked:
        return scheduler.limits.typical_time_s
    return sum(scheduler.planner.of(job.timing_class).typical_s for job in asked) / len(asked)


MINUTE_S = 60.0
TIMINGS = 64
"""Of each class, and tasks in flight: enough to tell how long one takes."""


class WatchStatistics(Statistics):
    """The sums of a run, as far as its journal tells them. Times named ``at`` are UTC epoch seconds, as there.

    The jobs are told once, and then only those to which something happened: a look beside a run of 100,000 jobs is
    cheap. What the run keeps to itself (polls, bytes under way, the throttle) is not known here.
    """

    def __init__(self, jobs: Iterable[Job], limits: Limits) -> None:
        super().__init__()
        self._limits = limits
        self._ids: Collection[str] = {job.id for job in jobs}
        self._states: dict[str, State] = {}
        self.counts: Counter[State] = Counter({State.PENDING: len(self._ids)})
        self._flying: dict[str, float] = {}
        self._deferred: set[str] = set()
        self._submits: deque[float] = deque()

    def took_place(self, kind: str, at: float) -> None:
        """Record an event, in the order in which they came."""
        if kind == "SubmitStarted":
            self.submits += 1
            self._submits.append(at)

    def stands(self, row: Progress) -> None:
        """Record how a job stands now."""
        name = row.job_id
        if name not in self._ids:
            return
        super().stands(row)
        before = self._states.get(name, State.PENDING)
        self.counts[before] -= 1
        self.counts[row.state] += 1
        if row.state is State.PENDING:
            self._states.pop(name, None)
        else:
            self._states[name] = row.state
        if row.state in {State.RUNNING, State.SUBMITTING} and not row.parked:
            self._flying[name] = row.submitted_at or 0.0
        else:
            self._flying.pop(name, None)
        (self._deferred.add if row.parked else self._deferred.discard)(name)
        if row.state is State.DONE and row.path is not None and before is not State.DONE:
            self.saved(NewClip(name, row.path, row.size_bytes or 0, row.finished_at or 0.0))

    def snapshot(
        self,
        *,
        at: float,
        run_since: float | None,
        money: Money,
        timings: Mapping[str, list[float]],
        machines: Machines | None = None,
    ) -> Snapshot:
        """Return the run as it stands; *run_since* is when the run that holds the output began, ``None`` without one.

        While no run is active, a job whose paid request was under way is in doubt, and nothing is in flight. What many
        *machines* share is told by the database: the brakes, too.
        """
        active = run_since is not None
        counts = {state: self.counts[state] for state in State}
        stuck = dict(self.needs_person)
        if not active:
            counts[State.IN_DOUBT] += counts[State.SUBMITTING]
            counts[State.SUBMITTING] = 0
            stuck |= {
                name: NeedsAttention(name, State.IN_DOUBT, CRASHED)
                for name, state in self._states.items()
                if state is State.SUBMITTING
            }
        while self._submits and self._submits[0] < at - MINUTE_S:
            self._submits.popleft()
        limits, brakes = self._limits, machines if active else None
        return Snapshot(
            counts=counts,
            parked=len(self._deferred),
            money=money,
            elapsed_s=max(0.0, at - run_since) if run_since is not None else 0.0,
            eta_s=self._eta_s(at, timings) if active else None,
            in_flight=len(self._flying) if active else 0,
            in_flight_limit=limits.in_flight,
            downloading=min(counts[State.READY], limits.downloads) if active else 0,
            downloads_limit=limits.downloads,
            submits_per_min=float(len(self._submits)),
            submit_limit=limits.submits,
            found_out=limits.found_out,
            downloaded_bytes=self.downloaded_bytes,
            active=active,
            newest=self.newest,
            needs_person=tuple(stuck.values())[:SHOWN],
            slowed_to=1.0 if brakes is None else brakes.slowed_to,
            paused_s=0.0 if brakes is None else max(brakes.paused_s, brakes.doubt_s),
            slowed_by="" if brakes is None else slowed_by(brakes),
            stopping=next(iter(brakes.halts), None) if brakes is not None else None,
            submits=self.submits,
            machines=machines,
        )

    def _eta_s(self, at: float, timings: Mapping[str, list[float]]) -> float:
        seen_s = [took_s for of_class in timings.values() for took_s in of_class[-TIMINGS:]]
        known = Occupancy(sum(seen_s) / len(seen_s) if seen_s else self._limits.typical_time_s)
        for took_s in seen_s:
            known.add(took_s)
        ages_s = [max(0.0, at - since) for since in list(self._flying.values())[:TIMINGS]]
        waiting = self.counts[State.PENDING]
        return remaining_s(
            Load(
                waiting=waiting,
                flying=len(self._flying),
                room=self._limits.in_flight,
                rate=self._limits.submits,
                task_s=known.mean_s(ages_s, flying=len(self._flying)),
                spread=known.spread,
                since_submit_s=min(ages_s, default=0.0),
            )
        )


def slowed_by(machines: Machines) -> str:
    """Return why an account that many machines use goes slower than it may."""
    if machines.doubt_s > machines.paused_s:
        return f"{machines.unsure_in_a_row} paid requests in a row are in doubt"
    return machines.slowed_by


MACHINES_EVERY_S = 1.0
"""The clips of each machine are counted; those of a large journal are not, as often as its money is not."""
MONEY_EVERY_S = 10.0
"""The sums are over all attempts ever paid, so they are not asked for at every look at a large journal."""
FEW_JOBS = 5000
"""Below this they are."""


class Watching:
    """Looks at one manifest's output, again and again. To be entered and left as a context manager.

    The first look reads all jobs, and each later one only those to which something has happened since.
    """

    def __init__(
        self,
        manifest: Manifest,
        store: JournalStore,
        *,
        wall: Callable[[], float] = time.time,
        learned: Callable[[], Learned | None] = lambda: None,
    ) -> None:
        self._manifest = manifest
        self._store = store
        self._wall = wall
        self._limits = expected(manifest.limits, learned())
        self._statistics = WatchStatistics(manifest.jobs, self._limits)
        self._journal: JournalReader | None = None
        self._seen = 0
        self._money = Money(budget_micros=manifest.limits.budget_micros)
        self._money_at = float("-inf")
        self._timings: dict[str, list[float]] = {}
        self._machines: Machines | None = None
        self._machines_at = float("-inf")

    def __enter__(self) -> Self:
        """Begin; the journal is opened when there is one."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def look(self) -> Snapshot:
        """Return how the run stands now. Raises as `JournalStore.read` does; the next look begins again then."""
        try:
            return self._look(self._wall())
        except StorageError:
            self.__exit__(None, None, None)
            self._journal = None
            raise

    def _look(self, at: float) -> Snapshot:
        # Who holds the lock is asked first: a run that ends in between has recorded all that is read after it.
        since = self._store.held_since()
        if self._journal is None:
            self._begin(at)
        elif self._follow():
            self._sum_up(at)
        self._look_at_machines(at)
        return self._statistics.snapshot(
            at=at, run_since=since, money=self._money, timings=self._timings, machines=self._machines
        )

    def _begin(self, at: float) -> None:
        journal = self._journal = self._store.read()
        if journal is None:
            return
        submits = self._statistics.submits
        self._statistics = WatchStatistics(self._manifest.jobs, self._limits)
        recent, self._seen = [], journal.settled()
        for event in journal.events(newest_first=True):
            if event.at < at - MINUTE_S:
                break
            if event.seq <= self._seen:
                recent.append(event)
        for event in reversed(recent):
            self._statistics.took_place(event.kind, event.at)
        self._statistics.submits = submits  # the recent ones were before this watcher, or are counted
        for row in journal.all_progress():
            self._statistics.stands(row)
        self._sum_up(at)

    def _follow(self) -> bool:
        """Read what has happened since the last look; say whether anything has."""
        journal, changed = self._journal, set()
        if journal is None:
            return False
        for event in journal.events(after=self._seen):
            self._seen = event.seq
            changed.add(event.job_id)
            self._statistics.took_place(event.kind, event.at)
        for row in journal.progress_of(sorted(changed)):
            self._statistics.stands(row)
        return bool(changed)

    def _look_at_machines(self, at: float) -> None:
        every_s = MONEY_EVERY_S if len(self._manifest.jobs) > FEW_JOBS else MACHINES_EVERY_S
        if self._journal is not None and at - self._machines_at >= every_s:
            self._machines_at, self._machines = at, self._journal.machines()

    def _sum_up(self, at: float) -> None:
        if self._journal is None or (len(self._manifest.jobs) > FEW_JOBS and at - self._money_at < MONEY_EVERY_S):
            return
        self._money_at = at
        self._money = replace(self._journal.money(), budget_micros=self._manifest.limits.budget_micros)
        self._timings = {name: list(took_s) for name, took_s in self._journal.timings().items()}
