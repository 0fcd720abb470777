"""The course of a run: what it knows of its jobs, whose turn it is, and what each outcome leads to.

Everything here is synchronous and does no I/O: the runner asks for a turn, does the request, records the events that
come back as the outcome, and then commits them here. Nothing interleaves with a decision. A job is
with one worker at most, so its progress cannot change between the turn and the commit.

Times named ``now`` are monotonic seconds, times named ``at`` are UTC epoch seconds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from batchvid.core import lifecycle as life
from batchvid.core.active import Active, Step
from batchvid.core.budget import Budget
from batchvid.core.chains import Chains
from batchvid.core.fault import Fault, FaultKind
from batchvid.core.forecast import Forecast
from batchvid.core.handover import Handover
from batchvid.core.job import Progress, State
from batchvid.core.policy import Tally, sends_at_most
from batchvid.core.schedule import Lane, Schedule
from batchvid.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchvid.core.brakes import Brakes
    from batchvid.core.job import Job
    from batchvid.core.lifecycle import Event
    from batchvid.core.settings import Limits
    from batchvid.core.snapshot import Money

LOOK_AGAIN_S = 1.0
"""Beside others: room that another course no longer wants is found after this, should nobody tell of it."""


class Course:
    """The jobs of one run, by their index in the manifest."""

    def __init__(  # noqa: PLR0913 the parts of a run, each decided elsewhere
        self,
        jobs: Sequence[Job],
        limits: Limits,
        *,
        brakes: Brakes,
        money: Money,
        timings: Mapping[str, Iterable[float]] | None = None,
        handover: Handover | None = None,
    ) -> None:
        self.jobs = jobs
        self.limits = limits
        self.brakes = brakes
        self.account = brakes.account
        self.budget = Budget(money, ration=brakes.ration)
        self.forecast = Forecast(limits.typical_time_s, timings)
        self.schedule = Schedule(in_flight_limit=limits.in_flight)
        self.counts: Counter[State] = Counter()
        self.active: dict[int, Active] = {}
        self.parked: set[int] = set()
        self.busy: Counter[Step] = Counter()
        self.deferred: dict[int, str] = {}
        """The pending jobs that have sent as many paid requests as one run may, with the reason of the last one."""
        self.draining = False
        self.only: frozenset[str] | None = None
        """The ids of the jobs that may be submitted; ``None`` is all. What is paid is collected of all."""
        self.handover = handover or Handover(Chains(jobs), limits=limits)
        self.rank = self.handover.chains.rank
        self._front = 0.0

    def may_submit(self, job_id: str) -> bool:
        """Return whether the job is among the chosen ones."""
        return self.only is None or job_id in self.only

    @property
    def submitting(self) -> int:
        """Return how many paid requests are under way."""
        return self.busy[Step.SUBMIT]

    def is_eager(self, now: float) -> bool:
        """Say whether nothing but room keeps this course from submitting now, as far as that can be seen."""
        brakes = self.brakes
        if self.draining or brakes.submits_stopped or now < brakes.submits_resume_at or not self.schedule.has_room:
            return False
        return self._next_submits(now).head(now) is not None

    @property
    def downloading(self) -> int:
        """Count the transfers under way."""
        return self.busy[Step.DOWNLOAD]

    # ---- whose turn it is

    def turn(self, step: Step, now: float) -> bool:
        """Say whether a job could take this step now."""
        if self.draining:
            return False
        match step:
            case Step.DOWNLOAD:
                return not self.brakes.downloads_stopped and self.schedule.downloads.peek(now) is not None
            case Step.POLL:
                paused = self.brakes.polls_stopped or now < self.brakes.throttle.resume_at
                return not paused and self.schedule.polls.peek(now) is not None
            case Step.SUBMIT:
                return self._may_submit(now)

    def _may_submit(self, now: float) -> bool:
        index = self._next_submits(now).peek(now)
        if index is None or not self.schedule.has_room:
            return False
        if not self.brakes.may_be_beside(self.account.submitting(self)):
            return False
        if not self.brakes.may_submit(now=now, new=self._is_new(index)):
            return False
        job = self.jobs[index]
        if self.budget.fits(job.price_micros):
            return self.account.has_room_for(self, now)
        if not self.busy[Step.SUBMIT]:
            bound = self.budget.bound(job.price_micros)
            self.brakes.halt(Exit.BUDGET, f"{bound} is reached: the price of {job.id!r} no longer fits")
        return False

    def _is_new(self, index: int) -> bool:
        one = self.active.get(index)
        return one is None or not one.started

    def take(self, step: Step, now: float) -> int | None:
        """Give the job whose turn it is, and count it as busy; ``None`` when the turn has passed meanwhile."""
        if not self.turn(step, now):
            return None
        lane = self._next_submits(now) if step is Step.SUBMIT else self._lanes(step)[0]
        index = lane.take(now)
        if index is None:
            return None
        self.busy[step] += 1
        if step is Step.SUBMIT:
            one = self.active.setdefault(index, Active(Progress.fresh(self.jobs[index].id)))
            self._front = max(self._front, self.rank(index))
            self.brakes.submit_begins(new=not one.started)
            self.budget.reserve(self.jobs[index].price_micros)
            self.schedule.in_flight += 1
            self.account.took_turn(self)
            one.held = True
        return index

    def wake_at(self, step: Step, now: float) -> float | None:
        """Give the moment at which a turn may come by itself; ``None`` when only an outcome can bring one."""
        moments = [lane.next_due_at() for lane in self._lanes(step)]
        if step is not Step.DOWNLOAD:
            moments.append(self.brakes.throttle.resume_at)
        if step is Step.SUBMIT:
            moments += [self.brakes.submits_resume_at, self.brakes.window_closes_at]
            if len(self.account.courses) > 1 and self.schedule.to_submit:
                moments.append(now + LOOK_AGAIN_S)
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    def _lanes(self, step: Step) -> tuple[Lane, ...]:
        schedule = self.schedule
        lanes = {Step.DOWNLOAD: (schedule.downloads,), Step.POLL: (schedule.polls,)}
        return lanes.get(step, (schedule.again, schedule.submits))

    def _next_submits(self, now: float) -> Lane:
        """Give the lane whose first job is the next to be submitted; new jobs stand aside while they must wait."""
        again, new = self.schedule.again, self.schedule.submits
        head = new.head(now)
        if head is None or self.brakes.new_jobs_wait:
            return again
        return min((new, again), key=lambda lane: lane.head(now) or head)

    def is_over(self) -> bool:
        """Say whether nothing is left that this run could do."""
        if self.busy.total():
            return False
        if self.draining:
            return True
        collecting = (self.schedule.polls and not self.brakes.polls_stopped) or (
            self.schedule.downloads and not self.brakes.downloads_stopped
        )
        if collecting:
            return False
        if not self.schedule.to_submit or self.brakes.submits_stopped:
            return True
        reason = self.brakes.new_jobs_wait
        if reason is None or not self._only_new_left():
            return False
        self.brakes.halt(Exit.STOPPED, reason)
        return True

    def _only_new_left(self) -> bool:
        return all(not one.started or one.progress.state is not State.PENDING for one in self.active.values())

    # ---- what came of it

    def change(self, index: int, events: Sequence[Event], *, at: float) -> tuple[Progress, Progress]:
        """Give the job's progress before and after *events*; nothing is changed yet."""
        before = after = self.active[index].progress
        for event in events:
            after = life.advance(after, event, at=at)
        return before, after

    def commit(self, index: int, events: Sequence[Event], after: Progress) -> None:
        """Make *after* the job's progress, once it is recorded: sums, counts and brakes follow."""
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
            self.schedule.in_flight -= 1
        elif before.state is State.READY and after.state is State.RUNNING:
            self.schedule.in_flight += 1
        if after.parked:
            self.parked.add(index)
        else:
            self.parked.discard(index)
        if after.state is State.DONE:
            self.brakes.job_ended(well=True)
        elif after.state is State.FAILED:
            self.handover.cut_off(index)
            self.brakes.job_ended(well=False, reason=f"{after.job_id}: {after.reason}")

    def _follow_money(self, one: Active, event: Event) -> None:
        if not one.held:
            return
        match event:
            case life.SubmitRefused():
                give_back = self.budget.keep if event.counted else self.budget.release
                give_back(one.progress.price_micros)
                one.held = False
            case life.TaskSucceeded() | life.TaskFailed() | life.GaveUp() | life.Reopened():
                self.budget.settle(one.progress.price_micros)
                one.held = False

    def withdraw(self, index: int) -> None:
        """Take back a turn to submit that was not used: nothing was recorded and nothing was sent."""
        one = self.active[index]
        self.budget.release(self.jobs[index].price_micros)
        one.held = False
        self.schedule.in_flight -= 1
        self.brakes.submit_untried(new=not one.started)

    def hold_back(self, index: int, reason: str) -> None:
        """Leave a job pending, and in no lane, because the clip that it goes on from cannot be used."""
        self.withdraw(index)
        self.handover.held_back[index] = reason
        self.handover.cut_off(index)

    def set_free(self, index: int, *, now: float) -> None:
        """Let the jobs that have waited for this clip be submitted when their turn comes."""
        for child, row, event in self.handover.set_free(index, self.active[index].progress, self.jobs):
            if row is not None:
                self.active[child] = Active(row, reopening=() if event is None else (event,))
            self.schedule.submits.put(child, rank=self.rank(child), due_at=now)

    def finish(self, step: Step, index: int, *, wait_s: float | None, now: float) -> None:
        """Give the worker back, and queue the job for the step that its state wants next, in *wait_s* or when best."""
        self.busy[step] -= 1
        one = self.active[index]
        ended = one.progress.parked or one.progress.state in {State.DONE, State.FAILED, State.IN_DOUBT}
        if self.is_spent(index):
            self.deferred[index] = one.progress.reason or ""
            self.handover.cut_off(index)
        if ended or index in self.handover.held_back or index in self.deferred:
            del self.active[index]
        else:
            self.queue(index, one, wait_s=wait_s, now=now)

    def queue(self, index: int, one: Active, *, wait_s: float | None, now: float) -> None:
        """Put a job where its state wants it next, in *wait_s* or when best."""
        due_at = now + (wait_s or 0.0)
        if one.wants_submit:
            if self.may_submit(self.jobs[index].id) and index not in self.handover.waiting:
                # One that has to wait was refused, maybe for its own fault: the next job of the manifest goes first.
                rank = min(-1.0, self.rank(index)) if wait_s is None else self._front + 1.5
                lane = self.schedule.again if one.started else self.schedule.submits
                lane.put(index, rank=rank, due_at=due_at)
            return
        match one.progress.state:
            case State.RUNNING:
                if wait_s is None:
                    due_at = self._next_poll_at(index, one, now=now)
                self.schedule.polls.put(index, rank=0.0, due_at=due_at)
            case State.READY:
                expires_at = one.progress.url_expires_at
                rank = expires_at if expires_at is not None else float("inf")
                self.schedule.downloads.put(index, rank=rank, due_at=due_at)

    def _next_poll_at(self, index: int, one: Active, *, now: float) -> float:
        gap_s = self.forecast.next_poll_in_s(
            self.jobs[index].timing_class,
            age_s=now - one.task_from,
            shortest_s=self.limits.poll_shortest_s,
            longest_s=self.limits.poll_longest_s,
            first=one.looked is None,
        )
        return min(now + gap_s, max(one.deadline, now + self.limits.poll_shortest_s))

    def was_sent(self, index: int) -> int:
        """Count a paid request that left, and return how many this run has sent for the job."""
        one = self.active[index]
        one.sends += 1
        return one.sends

    def is_spent(self, index: int) -> bool:
        """Whether the job would have to send more paid requests than one run may: it is left for the next run."""
        one = self.active[index]
        return one.progress.state is State.PENDING and one.sends >= sends_at_most(self.limits)

    def task_began(self, index: int, *, now: float) -> None:
        """Take note that the service accepted the job's task just now."""
        one = self.active[index]
        one.started, one.looked, one.tally = True, None, Tally()
        one.task_from, one.deadline = now, now + self.limits.task_timeout_s

    def refused(self, index: int, fault: Fault) -> Tally:
        """Take note of a refused submit, and give the tally that counts it if it may be the job's own fault.

        While everybody is refused, nobody is to blame: a refusal counts when others were accepted since the last one.
        """
        one = self.active[index]
        alone = self.brakes.accepted > one.accepted_before or fault.kind is FaultKind.NO_CHANNEL
        one.accepted_before = self.brakes.accepted
        return self.bump(index, refusals=1) if alone else one.tally

    def is_late(self, index: int, *, now: float) -> bool:
        """Say whether the task's time is over. It does not run out while the service answers nobody."""
        return now >= self.active[index].deadline and not self.brakes.is_away(now)

    def looked(self, index: int, *, now: float, finished: bool) -> float | None:
        """Take note of a poll; give how long the task took when it has *finished* and this run saw it begin.

        It ended somewhere between this look and the one before; the middle is taken. A first look that comes too late
        so teaches the class to look earlier.
        """
        one = self.active[index]
        before, one.looked = one.looked, now
        if not finished or not one.started:
            return None
        took_s = (now + (one.task_from if before is None else before)) / 2 - one.task_from
        self.forecast.of(self.jobs[index].timing_class).learn(took_s)
        return took_s

    def bump(self, index: int, **counts: int) -> Tally:
        """Add to the job's tally and give it; a count of 0 resets."""
        one = self.active[index]
        for name, by in counts.items():
            before = getattr(one.tally, name)
            if by or before:
                one.tally = one.tally._replace(**{name: before + by if by else 0})
        return one.tally
