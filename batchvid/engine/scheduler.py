"""What a run knows of its jobs, whose turn it is, and what each outcome leads to.

Everything here is synchronous and does no I/O: the runner asks for a turn, does the request, records the events that
come back as the outcome, and then commits them here. Nothing interleaves with a decision. A job is with one worker at
most, so its progress cannot change between the turn and the commit.

Times named ``now`` are monotonic seconds, times named ``at`` are UTC epoch seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from batchvid.domain import lifecycle as life
from batchvid.domain.dependencies import DependencyGraph, DependencyTracker
from batchvid.domain.errors import Exit
from batchvid.domain.job import Progress, State
from batchvid.domain.task import Fault, FaultKind
from batchvid.engine.budget import Budget
from batchvid.engine.lanes import Lane, PollLane
from batchvid.engine.policy import RetryCounts, sends_at_most
from batchvid.engine.polling import LEAST_PRICE, LEAST_PRICE_UNLIMITED, LookPrice, PollPlanner

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from batchvid.domain.job import Job
    from batchvid.domain.lifecycle import Event, Reopened
    from batchvid.domain.limits import Limits
    from batchvid.domain.results import Money
    from batchvid.engine.budget import DayBudget
    from batchvid.engine.circuit_breaker import CircuitBreaker


class Step(StrEnum):
    """The three kinds of work, most urgent first."""

    DOWNLOAD = "download"
    POLL = "poll"
    SUBMIT = "submit"


@dataclass(slots=True)
class ActiveJob:
    """A job that something has happened to: its progress, and what this run keeps in mind about it."""

    progress: Progress
    retries: RetryCounts = field(default_factory=RetryCounts)
    started: bool = False
    """Whether this run has submitted it."""
    task_from: float = 0.0
    """When its task began, on the monotonic clock."""
    deadline: float = 0.0
    """When its task counts as timed out."""
    looked: float | None = None
    """When it was last polled by this run."""
    reserved: bool = False
    """Whether its price is reserved: the newest attempt is neither refused nor over."""
    begun: float | None = None
    """The day that its newest attempt counts for, as `Budget.begin` tells it."""
    sends: int = 0
    """How many paid requests this run has sent for it, whatever became of them."""
    accepted_before: int = 0
    """How many requests the service had accepted when it last refused this job."""
    url_trouble: str = ""
    """Why the URL of its clip brought none: the true reason when the service itself has none either."""
    other_source: bool = False
    """Whether the next transfer goes to ``/content`` although a URL is known, because that brought no clip."""
    reopening: tuple[Reopened, ...] = ()
    """The event that opens a closed job or a doubt again. It is recorded together with the job's next paid request:
    what a run does not come to stays as it was, however the run ends."""

    @property
    def wants_submit(self) -> bool:
        """Whether a paid request is its next step."""
        return bool(self.reopening) or self.progress.state is State.PENDING

    @property
    def has_succeeded(self) -> bool:
        """Whether its task was over well once: its clip can only be fetched, and is never bought again."""
        return self.progress.state in {State.RUNNING, State.READY} and not self.reserved


LOOK_AGAIN_S = 1.0
"""Beside others: room that another run no longer wants is found after this, should nobody tell of it."""
BEFORE_ALL = -1.0
"""The place in the order of submits of a job that may go again at once; a chain's may be further ahead."""
BEHIND_THE_NEXT = 1.5
"""How far behind the front a refused job goes again that had to wait: the next job of the manifest is 1 behind it."""


class Scheduler:
    """The jobs of one run, by their index in the manifest.

    The lanes share the API fairly by having workers of their own. Finished downloads go by the earliest expiry.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        limits: Limits,
        *,
        breaker: CircuitBreaker,
        money: Money,
        timings: Mapping[str, Iterable[float]] | None = None,
        tracker: DependencyTracker | None = None,
        day: DayBudget | None = None,
    ) -> None:
        self.jobs = jobs
        self.limits = limits
        self.breaker = breaker
        self.account = breaker.account
        self.budget = Budget(money, spend_cap=breaker.spend_cap, day=day)
        self.planner = PollPlanner(limits.typical_time_s, timings)
        self.submits = Lane()
        self.retries = Lane()
        """Submits of jobs that have been out in this run: they may go while new ones must wait."""
        self.polls = PollLane()
        self.look_price = LookPrice(LEAST_PRICE_UNLIMITED if limits.requests is None else LEAST_PRICE)
        self._was_in_need = False
        self.downloads = Lane()
        self.in_flight = 0
        self.counts: Counter[State] = Counter()
        self.active: dict[int, ActiveJob] = {}
        self.busy: Counter[Step] = Counter()
        self.deferred: set[int] = set()
        """Jobs whose paid task or clip is left for the next run."""
        self.deferred_ready: set[int] = set()
        """Those of them whose clip is there to be fetched."""
        self.exhausted: dict[int, str] = {}
        """The pending jobs that have sent as many paid requests as one run may, with the reason of the last one."""
        self.draining = False
        self.only: frozenset[str] | None = None
        """The ids of the jobs that may be submitted; ``None`` is all. What is paid is collected of all."""
        self.tracker = tracker or DependencyTracker(DependencyGraph(jobs), limits=limits)
        self.rank = self.tracker.dependencies.rank
        self._front = 0.0

    def may_submit(self, job_id: str) -> bool:
        """Whether the job is among the chosen ones."""
        return self.only is None or job_id in self.only

    @property
    def submitting(self) -> int:
        """Return how many paid requests are under way."""
        return self.busy[Step.SUBMIT]

    @property
    def to_submit(self) -> int:
        """Return how many jobs wait to be submitted."""
        return len(self.submits) + len(self.retries)

    @property
    def has_room(self) -> bool:
        """Whether the run's own limits let one more task be in flight."""
        return self.in_flight < self.limits.in_flight

    def is_eager(self, now: float) -> bool:
        """Whether nothing but room keeps this run from submitting now, as far as that can be seen."""
        breaker = self.breaker
        if self.draining or breaker.submits_stopped or now < breaker.submits_resume_at or not self.has_room:
            return False
        return self._next_submits(now).head(now) is not None

    def waits_for_room(self, now: float) -> bool:
        """Whether a job of this run would be submitted now if there was room."""
        breaker = self.breaker
        if self.draining or breaker.submits_stopped or now < breaker.submits_resume_at:
            return False
        index = self._next_submits(now).peek(now)
        return index is not None and self.budget.fits(self.jobs[index].price_micros)

    def is_in_need(self, now: float) -> bool:
        """Whether somebody waits for nothing but a task that may be over: then it is worth more to know of it soon.

        Jobs of the account wait for its place, or a run that was short of room to its end for its last clip.
        """
        account = self.account
        if self.breaker.throttle.share < 1.0:
            return False
        if self._was_in_need and self.in_flight == 1 and not self.to_submit:
            return True
        if self.has_room and (account.limits is None or account.most_in_flight(account.limits) > account.tasks):
            return False
        return self.waits_for_room(now) or any(one.waits_for_room(now) for one in account.beside(self))

    @property
    def downloading(self) -> int:
        """Count the transfers under way."""
        return self.busy[Step.DOWNLOAD]

    # ---- whose turn it is

    def turn(self, step: Step, now: float) -> bool:
        """Whether a job could take this step now."""
        if self.draining:
            return False
        match step:
            case Step.DOWNLOAD:
                return not self.breaker.downloads_stopped and self.downloads.peek(now) is not None
            case Step.POLL:
                paused = self.breaker.polls_stopped or now < self.breaker.throttle.resume_at
                return not paused and self.polls.peek(now, in_need=self.is_in_need(now)) is not None
            case Step.SUBMIT:
                return self._may_submit(now)

    def _may_submit(self, now: float) -> bool:
        index = self._next_submits(now).peek(now)
        if index is None or not self.has_room:
            return False
        if not self.breaker.may_be_beside(self.account.submitting(self)):
            return False
        if not self.breaker.may_submit(now=now, new=self._is_new(index)):
            return False
        job = self.jobs[index]
        if self.budget.fits(job.price_micros):
            return self.account.has_room_for(self, now)
        if not self.busy[Step.SUBMIT]:
            bound = self.budget.bound(job.price_micros)
            self.breaker.halt(Exit.BUDGET, f"{bound} is reached: the price of {job.id!r} no longer fits")
        return False

    def _is_new(self, index: int) -> bool:
        one = self.active.get(index)
        return one is None or not one.started

    def take(self, step: Step, now: float) -> int | None:
        """Return the job whose turn it is, and count it as busy; ``None`` when the turn has passed meanwhile."""
        if not self.turn(step, now):
            return None
        if step is Step.POLL:
            index = self._take_poll(now)
        else:
            index = (self._next_submits(now) if step is Step.SUBMIT else self.downloads).take(now)
        if index is None:
            return None
        self.busy[step] += 1
        if step is Step.SUBMIT:
            one = self.active.setdefault(index, ActiveJob(Progress.fresh(self.jobs[index].id)))
            self._front = max(self._front, self.rank(index))
            self.breaker.submit_begins(new=not one.started)
            self.budget.reserve(self.jobs[index].price_micros)
            self.in_flight += 1
            self.account.took_turn(self)
            one.reserved = True
        return index

    def _take_poll(self, now: float) -> int | None:
        in_need = self.is_in_need(now)
        index = self.polls.take(now, in_need=in_need)
        if in_need and index is not None:
            self._was_in_need = True
            one = self.active[index]
            looked_s = 0.0 if one.looked is None else one.looked - one.task_from
            timing = self.planner.of(self.jobs[index].timing_class)
            self.look_price.paid(timing.worth(looked_s, now - one.task_from))
        return index

    def wake_at(self, step: Step, now: float) -> float | None:
        """Return the moment at which a turn may come by itself; ``None`` when only an outcome can bring one."""
        if step is Step.POLL:
            in_need = self.is_in_need(now)
            moments = [self.polls.next_early_at() if in_need else self.polls.next_due_at()]
        else:
            moments = [lane.next_due_at() for lane in self._lanes(step)]
        if step is not Step.DOWNLOAD:
            moments.append(self.breaker.throttle.resume_at)
        if step is Step.SUBMIT:
            moments += [self.breaker.submits_resume_at, self.breaker.window_closes_at]
            if len(self.account.members) > 1 and self.to_submit:
                moments.append(now + LOOK_AGAIN_S)
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    def _lanes(self, step: Step) -> tuple[Lane, ...]:
        return (self.downloads,) if step is Step.DOWNLOAD else (self.retries, self.submits)

    def _next_submits(self, now: float) -> Lane:
        """Return the lane whose first job is the next to be submitted; new jobs stand aside while they must wait."""
        head = self.submits.head(now)
        if head is None or self.breaker.new_jobs_wait:
            return self.retries
        return min((self.submits, self.retries), key=lambda lane: lane.head(now) or head)

    def is_over(self) -> bool:
        """Whether nothing is left that this run could do."""
        if self.busy.total():
            return False
        if self.draining:
            return True
        collecting = (self.polls and not self.breaker.polls_stopped) or (
            self.downloads and not self.breaker.downloads_stopped
        )
        if collecting:
            return False
        if not self.to_submit or self.breaker.submits_stopped:
            return True
        reason = self.breaker.new_jobs_wait
        if reason is None or not self._only_new_left():
            return False
        self.breaker.halt(Exit.STOPPED, reason)
        return True

    def _only_new_left(self) -> bool:
        return all(not one.started or one.progress.state is not State.PENDING for one in self.active.values())

    # ---- what came of it

    def change(self, index: int, events: Sequence[Event], *, at: float) -> tuple[Progress, Progress]:
        """Return the job's progress before and after *events*; nothing is changed yet."""
        before = after = self.active[index].progress
        for event in events:
            after = life.advance(after, event, at=at)
        return before, after

    def commit(self, index: int, events: Sequence[Event], after: Progress) -> None:
        """Make *after* the job's progress, once it is recorded: sums, counts and the circuit breaker follow."""
        one = self.active[index]
        before, one.progress = one.progress, after
        self.counts[before.state] -= 1
        self.counts[after.state] += 1
        if one.reopening:  # the first of the events
            if before.state is State.IN_DOUBT:
                self.budget.settle(before.price_micros)
            one.reopening, events = (), events[1:]
        for event in events:
            self._follow_money(one, event)
            one.started = one.started or isinstance(event, life.SubmitUnsure)
        if before.state.in_flight and (not after.state.in_flight or after.parked):
            self.in_flight -= 1
        elif before.state is State.READY and after.state is State.RUNNING:
            self.in_flight += 1
        (self.deferred.add if after.parked else self.deferred.discard)(index)
        is_ready = after.parked and after.state is State.READY
        (self.deferred_ready.add if is_ready else self.deferred_ready.discard)(index)
        if after.parked and not before.parked:
            self.breaker.task_deferred(reason=f"{after.job_id}: {after.reason}")
        if after.state is State.DONE:
            self.breaker.job_ended(well=True)
        elif after.state is State.FAILED:
            self.tracker.cut_off(index)
            self.breaker.job_ended(well=False, reason=f"{after.job_id}: {after.reason}")

    def _follow_money(self, one: ActiveJob, event: Event) -> None:
        if not one.reserved:
            return
        match event:
            case life.SubmitStarted():
                one.begun = self.budget.begin(event.price_micros)
            case life.SubmitRefused():
                if event.counted:
                    self.budget.keep(one.progress.price_micros)
                else:
                    self.budget.release(one.progress.price_micros, begun=one.begun)
                one.reserved = False
            case life.TaskSucceeded() | life.TaskFailed() | life.GaveUp() | life.Reopened():
                self.budget.settle(one.progress.price_micros)
                one.reserved = False

    def withdraw(self, index: int) -> None:
        """Undo a turn to submit that was not used: nothing was recorded and nothing was sent."""
        one = self.active[index]
        self.budget.release(self.jobs[index].price_micros)
        one.reserved = False
        self.in_flight -= 1
        self.breaker.submit_untried(new=not one.started)

    def hold_back(self, index: int, reason: str) -> None:
        """Leave a job pending, and in no lane, because the clip that it goes on from cannot be used."""
        self.withdraw(index)
        self.tracker.hold_back(index, reason)

    def leave_done(self, index: int, *, now: float) -> None:
        """Undo a turn to submit of a finished job, which was to be opened again and is not: its clip is the one."""
        self.withdraw(index)
        self.active[index].reopening = ()
        self.set_free(index, now=now)

    def set_free(self, index: int, *, now: float) -> None:
        """Let the jobs that have waited for this clip be submitted when their turn comes."""
        for child, row, event in self.tracker.set_free(index, self.active[index].progress, self.jobs):
            if row is not None:
                self.active[child] = ActiveJob(row, reopening=() if event is None else (event,))
            self.submits.put(child, rank=self.rank(child), due_at=now)

    def finish(self, step: Step, index: int, *, wait_s: float | None, now: float) -> None:
        """Free the worker, and queue the job for its next step, in *wait_s* or when it is best."""
        self.busy[step] -= 1
        one = self.active[index]
        ended = one.progress.parked or one.progress.state in {State.DONE, State.FAILED, State.IN_DOUBT}
        if self.is_exhausted(index):
            self.exhausted[index] = one.progress.reason or ""
            self.tracker.cut_off(index)
        if ended or index in self.tracker.held_back or index in self.exhausted:
            del self.active[index]
        else:
            self.queue(index, one, wait_s=wait_s, now=now)

    def queue(self, index: int, one: ActiveJob, *, wait_s: float | None, now: float) -> None:
        """Put a job where its state wants it next, in *wait_s* or when best."""
        due_at = now + (wait_s or 0.0)
        if one.wants_submit:
            if self.may_submit(self.jobs[index].id) and index not in self.tracker.waiting:
                # One that has to wait was refused, maybe for its own fault: the next job of the manifest goes first.
                rank = min(BEFORE_ALL, self.rank(index)) if wait_s is None else self._front + BEHIND_THE_NEXT
                lane = self.retries if one.started else self.submits
                lane.put(index, rank=rank, due_at=due_at)
            return
        match one.progress.state:
            case State.RUNNING:
                if wait_s is None:
                    self._plan_poll(index, one, now=now)
                else:
                    self.polls.put(index, due_at=due_at)
            case State.READY:
                expires_at = one.progress.url_expires_at
                rank = expires_at if expires_at is not None else float("inf")
                self.downloads.put(index, rank=rank, due_at=due_at)

    def _plan_poll(self, index: int, one: ActiveJob, *, now: float) -> None:
        """Plan the next look at the job's task: when it is due, and from when on it may be taken in need."""
        soonest_at = now + self.limits.poll_shortest_s
        latest_at = max(one.deadline, soonest_at)

        def at(price: float) -> float:
            gap_s = self.planner.next_poll_in_s(
                self.jobs[index].timing_class,
                age_s=now - one.task_from,
                shortest_s=self.limits.poll_shortest_s,
                longest_s=self.limits.poll_longest_s,
                first=one.looked is None,
                price=price,
            )
            return min(now + gap_s, latest_at)

        due_at = at(1.0)
        if due_at <= soonest_at:
            self.polls.put(index, due_at=due_at)
            return
        early_at = at(self.look_price.least)
        rank = early_at if self.look_price.current == self.look_price.least else at(self.look_price.current)
        self.polls.put(index, due_at=due_at, early_at=early_at, rank=rank)

    def was_sent(self, index: int) -> int:
        """Count a paid request that left, and return how many this run has sent for the job."""
        one = self.active[index]
        one.sends += 1
        return one.sends

    def is_exhausted(self, index: int) -> bool:
        """Whether the job would have to send more paid requests than one run may: it is left for the next run."""
        one = self.active[index]
        return one.progress.state is State.PENDING and one.sends >= sends_at_most(self.limits)

    def task_began(self, index: int, *, now: float) -> None:
        """Record that the service accepted the job's task just now."""
        one = self.active[index]
        one.started, one.looked, one.retries = True, None, RetryCounts()
        one.task_from, one.deadline = now, now + self.limits.task_timeout_s

    def refused(self, index: int, fault: Fault) -> RetryCounts:
        """Record a refused submit, and count it if it may be the job's own fault.

        While everybody is refused, nobody is to blame: a refusal counts when others were accepted since the last one.
        """
        one = self.active[index]
        if self.breaker.accepted > one.accepted_before or fault.kind is FaultKind.NO_CHANNEL:
            one.retries = one.retries.with_refusal()
        one.accepted_before = self.breaker.accepted
        return one.retries

    @property
    def last_deadline(self) -> float | None:
        """Return when the last of the tasks under way counts as timed out; ``None`` when none is."""
        deadlines = (one.deadline for one in self.active.values() if one.progress.state is State.RUNNING)
        return max(deadlines, default=None)

    def is_late(self, index: int, *, now: float) -> bool:
        """Whether the task's time is over. It does not run out while the service answers nobody."""
        return now >= self.active[index].deadline and not self.breaker.is_away(now)

    def looked(self, index: int, *, now: float, finished: bool) -> float | None:
        """Record a poll, and return how long the task took when it has *finished* and this run saw it begin.

        It ended somewhere between this look and the one before; the middle is taken. A first look that comes too late
        so teaches the class to look earlier.
        """
        one = self.active[index]
        before, one.looked = one.looked, now
        if not finished or not one.started:
            return None
        took_s = (now + (one.task_from if before is None else before)) / 2 - one.task_from
        self.planner.of(self.jobs[index].timing_class).learn(took_s)
        return took_s

    # ---- where an earlier run left the jobs

    def restore(
        self,
        rows: Mapping[str, Progress],
        *,
        again: Mapping[str, Reopened],
        reserved: frozenset[str],
        only: frozenset[str] | None,
        done: Collection[str] = frozenset(),
        refused: Mapping[str, str] | None = None,
        now: float,
        at: float,
    ) -> None:
        """Put every job where it stands: *rows* are the journal's, by job id.

        *done* are the ids of jobs of which no more need be known than that they are; what is in neither is new.
        *reserved* are the jobs for whose newest attempt the budget reserves money. *only* are the ids that may be
        submitted, *again* those of closed jobs and doubts that may be opened again, each with the event that does it.
        *refused* are the jobs whose file cannot be made, each with the reason: nothing is paid for them.
        """
        fresh, refused = [], refused or {}
        tracker = self.tracker
        self.only = only
        # A clip that is made again is not there for who goes on from it.
        seen = {**rows, **{job_id: rows[job_id]._replace(state=State.PENDING) for job_id in again}} if again else rows
        tracker.place(self.jobs, seen, only=only)
        for index, job in enumerate(self.jobs):
            row = rows.get(job.id)
            if row is None and job.id in done:
                self.counts[State.DONE] += 1
                continue
            chosen = self.may_submit(job.id) and job.id not in refused
            self.counts[State.PENDING if row is None else row.state] += 1
            if row is None:
                if chosen:
                    fresh.append((float(index), index))
            elif (
                row.state in {State.RUNNING, State.READY} or (row.state is State.PENDING and chosen) or job.id in again
            ):
                reopening = (again[job.id],) if job.id in again else ()
                one = self.active[index] = ActiveJob(row, reserved=job.id in reserved, reopening=reopening)
                self._resume(index, one, now=now, at=at)
        if tracker.dependencies:
            fresh = [(self.rank(index), index) for _, index in fresh if index not in tracker.waiting]
        self.submits.fill(fresh)
        for index, job in enumerate(self.jobs) if refused else ():
            row = rows.get(job.id)
            if job.id in refused and job.id not in done and (row is None or row.state is State.PENDING):
                tracker.hold_back(index, refused[job.id])  # not before: what hangs on it would count as ready to go

    def _resume(self, index: int, one: ActiveJob, *, now: float, at: float) -> None:
        row, limits = one.progress, self.limits
        age_s = max(0.0, at - row.submitted_at) if row.submitted_at is not None else 0.0
        one.task_from = now - age_s
        grace_s = 0.0 if row.parked else limits.typical_time_s
        one.deadline = max(one.task_from + limits.task_timeout_s, now + grace_s)
        one.progress = row._replace(parked=False)
        if row.state is State.RUNNING:
            self.in_flight += 1
            self.polls.put(index, due_at=now)
        else:
            self.queue(index, one, wait_s=None, now=now)
