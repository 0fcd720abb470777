"""How a run stands, in sums: for its own live view, and for ``status --watch`` in another terminal.

A watcher in another terminal reads the run's journal, and never writes.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Self

from batchvid.domain import lifecycle as life
from batchvid.domain.errors import StorageError
from batchvid.domain.job import State
from batchvid.domain.learned import expected
from batchvid.domain.limits import Rate, strictest
from batchvid.domain.reopening import CRASHED
from batchvid.domain.results import Money, NeedsAttention, NewClip, Snapshot, UnderWay
from batchvid.engine.eta import Load, Occupancy, remaining_s
from batchvid.engine.scheduler import Step
from batchvid.engine.spending import money_of
from batchvid.engine.target import SANDBOX

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
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
"""Jobs that need a person."""
LINES_SHOWN = 60
"""Clips, and jobs under way: what a tall screen has lines for."""
UNDER_WAY = frozenset({State.SUBMITTING, State.RUNNING, State.READY})
OUTAGE_FROM_S = 3.0
"""Without an answer to anybody for so long, it is no single bad answer."""
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
        self.sandbox = False
        """Whether the sandbox stands in for the service."""
        self._under_way: dict[str, _OnItsWay] = {}
        """In the order in which they were sent."""

    def stands(self, row: Progress, *, at: float | None = None) -> None:
        """Record how a job stands, and when that became so (UTC epoch seconds), where it is known."""
        if row.parked or row.state not in UNDER_WAY:
            self._under_way.pop(row.job_id, None)
        else:
            one = self._under_way.setdefault(row.job_id, _OnItsWay())
            if one.state is not row.state:
                one.state, one.since = row.state, at if row.state is State.SUBMITTING else row.submitted_at
        if row.parked or row.state in {State.FAILED, State.IN_DOUBT}:
            self.needs_person[row.job_id] = NeedsAttention(row.job_id, row.state, row.reason or "")
        elif self.needs_person:
            self.needs_person.pop(row.job_id, None)

    def saved(self, clip: NewClip) -> None:
        """Record a clip that is on disk."""
        self.downloaded_bytes += clip.size_bytes
        if len(self.newest) < LINES_SHOWN or clip.saved_at >= self.newest[-1].saved_at:
            self.newest = tuple(sorted((clip, *self.newest), key=lambda one: -one.saved_at)[:LINES_SHOWN])

    def under_way(self, at: float) -> tuple[UnderWay, ...]:
        """Return the jobs that were sent first of those under way, a screenful: however many there are."""
        return tuple(
            UnderWay(
                job_id,
                one.state,
                None if one.since is None else max(0.0, at - one.since),
                one.progress_percent,
                one.status,
            )
            for job_id, one in islice(self._under_way.items(), LINES_SHOWN)
        )


@dataclass(slots=True)
class _OnItsWay:
    """What is told of a job under way."""

    state: State = State.PENDING
    since: float | None = None
    """UTC epoch seconds."""
    progress_percent: float | None = None
    status: str = ""


class RunStatistics(Statistics):
    """The sums of one run, as it knows them itself. Times named ``now`` are monotonic seconds."""

    def __init__(self, scheduler: Scheduler, *, started: float) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._started = started
        self._kept = Occupancy(_expected_s(scheduler))
        self._submitted_at = started
        self._submits_seen = 0
        self._drains_from: float | None = None
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
        self.stands(progress, at=at)
        if (one := self._under_way.get(progress.job_id)) is None:
            return
        if isinstance(event, life.SubmitStarted | life.TaskSucceeded):
            one.progress_percent, one.status = None, ""
        elif isinstance(event, life.StillRunning):
            one.progress_percent, one.status = event.progress_percent, event.status
        elif isinstance(event, life.PollFailed | life.DownloadFailed):
            one.status = event.reason

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

    def _is_stated(self) -> bool:
        """Whether nothing but the stated typical time says how long the tasks of this run take."""
        scheduler = self._scheduler
        if self._kept.number:
            return False
        asked = scheduler.jobs[:: max(1, len(scheduler.jobs) // CLASSES_ASKED)]
        return not any(scheduler.planner.knows(job.timing_class) for job in asked)

    def _is_unknown(self, now: float) -> bool:
        """Whether nobody can know how long the run will take: it waits for what it has no hold on."""
        breaker = self._scheduler.breaker
        return self._away_s(now) is not None or breaker.store_is_out or now < breaker.account.doubt_resume_at

    def _away_s(self, now: float) -> float | None:
        since = self._scheduler.breaker.silent_since
        return None if since is None or now - since < OUTAGE_FROM_S else now - since

    def _next_look_s(self, now: float) -> float | None:
        """Return the time until something is asked or sent again; ``None`` when nothing is going to be."""
        scheduler, breaker = self._scheduler, self._scheduler.breaker
        moments = [] if breaker.polls_stopped or scheduler.draining else [scheduler.polls.next_due_at()]
        if scheduler.to_submit and not breaker.submits_stopped and not scheduler.draining and scheduler.has_room:
            moments.append(breaker.submits_resume_at)
        return min((max(0.0, moment - now) for moment in moments if moment is not None), default=None)

    def _at_most_s(self, now: float) -> float | None:
        """Return how long a run that submits nothing more may still wait; ``None`` while nobody knows."""
        scheduler, breaker = self._scheduler, self._scheduler.breaker
        if scheduler.draining:
            since = self._drains_from = now if self._drains_from is None else self._drains_from
            from batchvid.providers.http import READ_TIMEOUT_S
            from batchvid.providers.paid_post import CREATE_TIMEOUT_S
            from batchvid.storage.download import DRAINING_S

            bounds = {Step.SUBMIT: CREATE_TIMEOUT_S, Step.POLL: READ_TIMEOUT_S, Step.DOWNLOAD: DRAINING_S}
            return max((max(0.0, bounds[step] - (now - since)) for step in Step if scheduler.busy[step]), default=0.0)
        last = scheduler.last_deadline if breaker.submits_stopped and not breaker.polls_stopped else None
        return None if last is None or self._away_s(now) is not None else max(0.0, last - now)

    def snapshot(self, *, now: float, submits_per_min: float, at: float | None = None) -> Snapshot:
        """Return the run as it stands now, which is *at* by the wall clock."""
        scheduler, breaker = self._scheduler, self._scheduler.breaker
        away_s = self._away_s(now)
        halt, limits = breaker.worst, self._limits
        interrupted = scheduler.draining and not breaker.downloads_stopped
        stopping = "interrupted: requests in flight end, nothing new is sent" if interrupted else None
        return Snapshot(
            counts={state: scheduler.counts[state] for state in State},
            parked=len(scheduler.deferred),
            money=scheduler.budget.money,
            elapsed_s=now - self._started,
            eta_s=None if self._is_unknown(now) else self.eta_s(now),
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
            needs_person=tuple(islice(self.needs_person.values(), SHOWN)),
            parked_ready=len(scheduler.deferred_ready),
            under_way=() if at is None else self.under_way(at),
            eta_is_stated=self._is_stated(),
            away_s=away_s,
            away_because="" if away_s is None else breaker.silent_because,
            next_look_s=None if away_s is None else self._next_look_s(now),
            at_most_s=self._at_most_s(now),
            sandbox=self.sandbox,
            account=id(scheduler.account),
            is_shared_pace=True,
        )


def _expected_s(scheduler: Scheduler) -> float:
    """Return what a task is expected to take: by class what the journal tells, or the stated typical time."""
    asked = scheduler.jobs[:: max(1, len(scheduler.jobs) // CLASSES_ASKED)]
    if not asked:
        return scheduler.limits.typical_time_s
    return sum(scheduler.planner.of(job.timing_class).typical_s for job in asked) / len(asked)


def money_in_all(monies: Sequence[Money]) -> Money:
    """Return what several manifests spent together. Their budget is the sum of theirs, where each has one."""
    budgets = [one.budget_micros for one in monies if one.budget_micros is not None]
    return Money(
        spent_micros=sum(one.spent_micros for one in monies),
        reserved_micros=sum(one.reserved_micros for one in monies),
        budget_micros=sum(budgets) if len(budgets) == len(monies) else None,
        unpriced_attempts=sum(one.unpriced_attempts for one in monies),
        unproven_micros=sum(one.unproven_micros for one in monies),
    )


def in_all(runs: Sequence[Snapshot]) -> Snapshot:
    """Return how several runs stand together; what runs of one account share counts once.

    The time that remains is that of the last one, where each has one. What stops only some is told of none.
    """
    at_work = [one for one in runs if one.active]
    by_account: dict[Hashable, list[Snapshot]] = {}
    for place, one in enumerate(at_work or runs):
        by_account.setdefault(place if one.account is None else one.account, []).append(one)
    shared = [ones[0] for ones in by_account.values()]
    paces = [
        one for of_account in by_account.values() for one in of_account[: 1 if of_account[0].is_shared_pace else None]
    ]
    rates = [strictest(one.submit_limit for one in ones) for ones in by_account.values()]
    etas, bounds = [one.eta_s for one in at_work], [one.at_most_s for one in at_work]
    stops = {one.stopping for one in at_work}
    away = max(runs, key=lambda one: one.away_s or 0.0)
    slowed = min(runs, key=lambda one: (one.slowed_to, -one.paused_s))
    return Snapshot(
        counts={state: sum(one.counts.get(state, 0) for one in runs) for state in State},
        parked=sum(one.parked for one in runs),
        money=money_in_all([one.money for one in runs]),
        elapsed_s=max(one.elapsed_s for one in runs),
        eta_s=None if None in etas else max((eta for eta in etas if eta is not None), default=None),
        in_flight=sum(one.in_flight for one in runs),
        in_flight_limit=sum(min(one.in_flight_limit for one in ones) for ones in by_account.values()),
        downloading=sum(one.downloading for one in runs),
        downloads_limit=sum(one.downloads_limit for one in runs),
        submits_per_min=sum(one.submits_per_min for one in paces),
        submit_limit=None
        if None in rates
        else Rate(sum(rate.per_s for rate in rates if rate is not None) * 60.0, 60.0),
        found_out=tuple(dict.fromkeys(name for one in shared for name in one.found_out)),
        downloaded_bytes=sum(one.downloaded_bytes for one in runs),
        slowed_to=slowed.slowed_to,
        paused_s=slowed.paused_s,
        polls=sum(one.polls for one in runs),
        submits=sum(one.submits for one in runs),
        stopping=stops.pop() if len(stops) == 1 else None,
        active=bool(at_work),
        slowed_by=slowed.slowed_by,
        newest=tuple(sorted((clip for one in runs for clip in one.newest), key=lambda clip: -clip.saved_at)),
        needs_person=tuple(job for one in runs for job in one.needs_person),
        parked_ready=sum(one.parked_ready for one in runs),
        under_way=tuple(sorted((job for one in runs for job in one.under_way), key=lambda job: -(job.age_s or 0.0))),
        eta_is_stated=any(one.eta_is_stated for one in at_work),
        away_s=away.away_s,
        away_because=away.away_because,
        next_look_s=min((one.next_look_s for one in runs if one.next_look_s is not None), default=None),
        at_most_s=None if None in bounds else max((bound for bound in bounds if bound is not None), default=None),
        sandbox=any(one.sandbox for one in runs),
    )


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
        self.account: Hashable = None
        self._ids: Collection[str] = {job.id for job in jobs}
        self._states: dict[str, State] = {}
        self.counts: Counter[State] = Counter({State.PENDING: len(self._ids)})
        self._flying: dict[str, float] = {}
        self._deferred: set[str] = set()
        self._deferred_ready: set[str] = set()
        self._submits: deque[float] = deque()

    def took_place(self, kind: str, at: float) -> None:
        """Record an event, in the order in which they came."""
        if kind == "SubmitStarted":
            self.submits += 1
            self._submits.append(at)

    def stands(self, row: Progress, *, at: float | None = None) -> None:
        """Record how a job stands now."""
        name = row.job_id
        if name not in self._ids:
            return
        super().stands(row, at=at)
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
        is_ready = row.parked and row.state is State.READY
        (self._deferred_ready.add if is_ready else self._deferred_ready.discard)(name)
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
            parked_ready=len(self._deferred_ready),
            under_way=self.under_way(at) if active else (),
            eta_is_stated=not any(timings.values()),
            sandbox=self.sandbox,
            account=self.account,
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
        self._statistics = self._fresh()
        self._journal: JournalReader | None = None
        self._seen = 0
        self._money = money_of(None, manifest.limits)
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

    def _fresh(self) -> WatchStatistics:
        """Return what counts from the beginning; also of what was never run, the account is known."""
        made = WatchStatistics(self._manifest.jobs, self._limits)
        made.account = self._manifest.base_url, self._manifest.key_env
        return made

    def _begin(self, at: float) -> None:
        journal = self._journal = self._store.read()
        if journal is None:
            return
        submits = self._statistics.submits
        self._statistics = self._fresh()
        self._statistics.sandbox = journal.meta_get("service") == SANDBOX
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
        journal, changed = self._journal, dict[str, float]()
        if journal is None:
            return False
        for event in journal.events(after=self._seen):
            self._seen = event.seq
            changed[event.job_id] = event.at
            self._statistics.took_place(event.kind, event.at)
        for row in journal.progress_of(sorted(changed)):
            self._statistics.stands(row, at=changed[row.job_id])
        return bool(changed)

    def _look_at_machines(self, at: float) -> None:
        every_s = MONEY_EVERY_S if len(self._manifest.jobs) > FEW_JOBS else MACHINES_EVERY_S
        if self._journal is not None and at - self._machines_at >= every_s:
            self._machines_at, self._machines = at, self._journal.machines()

    def _sum_up(self, at: float) -> None:
        if self._journal is None or (len(self._manifest.jobs) > FEW_JOBS and at - self._money_at < MONEY_EVERY_S):
            return
        self._money_at = at
        self._money = money_of(self._journal, self._manifest.limits, wall=self._wall)
        self._timings = {name: list(took_s) for name, took_s in self._journal.timings().items()}
