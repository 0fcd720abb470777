"""A run without a loop: turns are taken by hand, and each outcome is what a test says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.domain import lifecycle as life
from batchvid.domain.job import Job, Progress, State
from batchvid.domain.limits import Limits
from batchvid.domain.results import Money
from batchvid.domain.task import Fault, Phase, Proof, TaskReport
from batchvid.engine import policy
from batchvid.engine.budget import SpendCap
from batchvid.engine.circuit_breaker import CircuitBreaker
from batchvid.engine.scheduler import Scheduler, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchvid.domain.lifecycle import Event
    from batchvid.engine.account import SharedAccount
    from batchvid.engine.policy import Verdict

AT = 1_773_297_229.0
PRICE = 400_000


def a_job(name: str, *, price_micros: int | None = PRICE, model: str = "m") -> Job:
    """Return a job of one clip."""
    return Job(name, "A kite.", model, None, None, (), (), price_micros, f"{name}.mp4", f"f-{name}", "m.yaml:1")


def jobs(number: int, price_micros: int | None = PRICE) -> list[Job]:
    """Return jobs named j0, j1 and so on."""
    return [a_job(f"j{index}", price_micros=price_micros) for index in range(number)]


class Drive:
    """A scheduler, its clock, and the steps of a run in the order in which a run does them."""

    def __init__(
        self,
        wanted: list[Job],
        limits: Limits | None = None,
        *,
        rows: Iterable[Progress] = (),
        held: Iterable[str] = (),
        again: Mapping[str, life.Reopened] | None = None,
        only: Iterable[str] | None = None,
        money: Money | None = None,
        run_limit_micros: int | None = None,
        stop_submitting_at: float | None = None,
        max_jobs: int | None = None,
        clips_before: int = 0,
        spend_cap: SpendCap | None = None,
        account: SharedAccount | None = None,
    ) -> None:
        self.now = 1000.0
        self.tasks = 0
        self.posts: Counter[int] = Counter()
        self.sent: Counter[int] = Counter()
        self.unproven: Counter[int] = Counter()
        self.limits = limits or Limits()
        self.scheduler = Scheduler(
            wanted,
            self.limits,
            breaker=CircuitBreaker(
                self.limits,
                stop_submitting_at=stop_submitting_at,
                spend_cap=spend_cap or SpendCap(run_limit_micros, max_jobs),
                account=account,
                clips_before=clips_before,
            ),
            money=money or Money(budget_micros=self.limits.budget_micros),
        )
        self.scheduler.restore(
            {row.job_id: row for row in rows},
            again=again or {},
            reserved=frozenset(held),
            only=None if only is None else frozenset(only),
            now=self.now,
            at=AT + self.now,
        )

    def state(self, index: int) -> Progress:
        """Return the progress of a job that something has happened to, and that is not closed."""
        return self.scheduler.active[index].progress

    def take(self, step: Step) -> int:
        """Take a turn that must be there; for a submit, record that it has started."""
        assert self.scheduler.turn(step, self.now)
        index = self.scheduler.take(step, self.now)
        assert index is not None
        return index

    def wait_for(self, step: Step) -> int:
        """Let time pass until there is such a turn, and take it."""
        while not self.scheduler.turn(step, self.now):
            moment = self.scheduler.wake_at(step, self.now)
            assert moment is not None, f"no turn to {step} will ever come by itself"
            assert moment > self.now
            self.now = moment
        return self.take(step)

    def record(self, index: int, *events: Event) -> Progress:
        """Decide and commit."""
        before, after = self.scheduler.change(index, events, at=AT + self.now)
        assert before == self.state(index)
        self.scheduler.commit(index, events, after)
        return after

    def started(self) -> int:
        """Take a turn to submit, and record that the paid request is about to leave."""
        index = self.wait_for(Step.SUBMIT)
        job = self.scheduler.jobs[index]
        self.record(index, life.SubmitStarted(self.state(index).attempt + 1, job.price_micros, job.fingerprint))
        self.posts[index] += 1
        return index

    # ---- what comes of a paid request

    def accepted(self, index: int) -> None:
        """Let the service take it."""
        self.tasks += 1
        self.record(index, life.SubmitAccepted(f"task_{self.tasks}"))
        self._left(index)
        self.scheduler.task_began(index, now=self.now)
        self.scheduler.breaker.submit_accepted(now=self.now)
        self.finish(Step.SUBMIT, index)

    def refused(self, index: int, fault: Fault, *, jitter: float = 0.5) -> None:
        """Let the service refuse it: beyond doubt, where *fault* does not say how certain that is."""
        scheduler = self.scheduler
        new = not scheduler.active[index].started
        fault = replace(fault, proof=Proof.CLEAR) if fault.proof is Proof.NONE else fault
        sends = scheduler.active[index].sends
        if fault.proof is not Proof.NOT_SENT:
            sends = scheduler.was_sent(index)
            self.sent[index] += 1
            self.unproven[index] += fault.proof is not Proof.CLEAR
        scheduler.breaker.submit_refused(fault, sent_at=self.now, now=self.now, jitter=jitter, new=new)
        retries = scheduler.refused(index, fault)
        follow = policy.after_refusal(fault, retries, sends=sends, jitter=jitter, limits=self.limits)
        self.follow(Step.SUBMIT, index, follow)

    def _left(self, index: int) -> None:
        """Count a request that was sent, and that may be paid."""
        self.scheduler.was_sent(index)
        self.sent[index] += 1
        self.unproven[index] += 1

    def unsure(self, index: int, *then: Event) -> None:
        """Let nobody know what became of it."""
        self.record(index, life.SubmitUnsure("reset"), *then)
        self._left(index)
        self.scheduler.breaker.submit_unsure(now=self.now)
        self.finish(Step.SUBMIT, index)

    def unsendable(self, index: int) -> None:
        """Let a frame be gone before anything was recorded."""
        self.scheduler.withdraw(index)
        self.record(index, life.GaveUp("not sent: the frame is gone"))
        self.finish(Step.SUBMIT, index)

    def submit(self) -> int:
        """Submit the next job, with success."""
        index = self.started()
        self.accepted(index)
        return index

    # ---- what comes of a poll

    def polled(self, index: int, phase: Phase, *, url: str | None = None, error: str | None = None) -> None:
        """Let a poll bring an answer; a failure, the last one of a row that is believed."""
        scheduler, one = self.scheduler, self.scheduler.active[index]
        scheduler.breaker.poll_answered(now=self.now)
        report = TaskReport(phase, "word", None, url, None, None, error)
        for _ in range(policy.FAILED_LOOKS if phase is Phase.FAILED else 1):
            one.retries = one.retries.with_report(report)
        late = scheduler.is_late(index, now=self.now)
        follow = policy.after_report(
            report, one.progress, one.retries, succeeded=one.has_succeeded, late=late, limits=self.limits
        )
        scheduler.looked(index, now=self.now, finished=isinstance(follow.events[0], life.TaskSucceeded))
        self.follow(Step.POLL, index, follow)

    def poll_failed(self, index: int, fault: Fault, *, jitter: float = 0.5) -> None:
        """Let a poll bring none."""
        scheduler, one = self.scheduler, self.scheduler.active[index]
        scheduler.breaker.poll_refused(fault, sent_at=self.now, now=self.now, jitter=jitter)
        one.retries = one.retries.with_poll_fault(fault)
        follow = policy.after_poll_fault(
            fault,
            one.retries,
            age_s=self.now - one.task_from,
            late=scheduler.is_late(index, now=self.now),
            jitter=jitter,
            limits=self.limits,
        )
        self.follow(Step.POLL, index, follow)

    def ready(self) -> int:
        """Poll the next task, which has finished."""
        index = self.wait_for(Step.POLL)
        self.polled(index, Phase.SUCCEEDED, url="https://files.example/1")
        return index

    # ---- what comes of a download

    def saved(self, index: int) -> None:
        """Let the clip arrive."""
        self.record(index, life.ClipSaved(f"{self.scheduler.jobs[index].id}.mp4", 10, "ab"))
        self.finish(Step.DOWNLOAD, index)

    def save_and_set_free(self, index: int) -> None:
        """Let the clip arrive, and let those come that have waited for it."""
        self.record(index, life.ClipSaved(f"{self.scheduler.jobs[index].id}.mp4", 10, "ab"))
        self.scheduler.set_free(index, now=self.now)
        self.finish(Step.DOWNLOAD, index)

    def not_saved(self, index: int, fault: Fault, *, jitter: float = 0.5) -> None:
        """Let it not arrive."""
        one = self.scheduler.active[index]
        one.retries = one.retries.with_download_fault(fault)
        follow = policy.after_download_fault(fault, one.retries, jitter=jitter, limits=self.limits)
        self.follow(Step.DOWNLOAD, index, follow)

    def done(self) -> int:
        """Fetch the next clip."""
        index = self.wait_for(Step.DOWNLOAD)
        self.saved(index)
        return index

    # ---- the rest

    def follow(self, step: Step, index: int, follow: Verdict) -> None:
        """Record what follows and give the worker back."""
        self.record(index, *follow.events)
        self.finish(step, index, wait_s=follow.wait_s)

    def finish(self, step: Step, index: int, *, wait_s: float | None = None) -> None:
        """Return the worker back."""
        self.scheduler.finish(step, index, wait_s=wait_s, now=self.now)

    def counts(self) -> dict[str, int]:
        """Return the jobs by state, without the states that no job is in."""
        return {state.value: number for state, number in self.scheduler.counts.items() if number}

    def in_lanes(self) -> int:
        """Count the jobs that wait for a step."""
        scheduler = self.scheduler
        return scheduler.to_submit + len(scheduler.polls) + len(scheduler.downloads)

    def flying(self) -> int:
        """Count the jobs that the service may be working on, and those about to be sent, one by one."""
        active = self.scheduler.active.values()
        sent = sum(one.progress.state.in_flight and not one.progress.parked for one in active)
        about_to_be = self.scheduler.busy[Step.SUBMIT] - sum(one.progress.state is State.SUBMITTING for one in active)
        return sent + about_to_be
