"""What pauses or stops a whole run: an absent service, doubts, the retry budget, breaker, canary and window.

Every reason to stop is a `StopReason`; the first one of the highest rank is what the run's exit code says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain.errors import Exit
from batchvid.domain.task import Fault, FaultKind, Proof
from batchvid.engine.account import SharedAccount, StopReason
from batchvid.engine.budget import SpendCap
from batchvid.engine.throttle import Throttle, backoff_s, slowed_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchvid.domain.limits import Limits


RETRIES_AT_MOST = 240.0
"""Refusals in a row that a run stands: at waits of half a minute on average, two hours without the service."""
REFUSAL_COUNTS_AT_MOST = 15.0
"""For a wait of 15 minutes; what is longer was no wait for the service but for room."""
RETRIES_PER_SUCCESS = 0.5
"""What an accepted request gives back: one that keeps refusing a third of all requests ends the run."""
AWAY_AT_MOST = 4.0
"""For so many times ``limits.task_timeout`` without one answer to anybody, the tasks' time-outs wait: nobody could have
said that they are done. By default that is long enough for an hour without the service."""
FORBIDDEN_IN_A_ROW = 3
"""So many different jobs that the service forbids one after the other are the account's trouble, not theirs."""
DOUBTS_IN_A_ROW = 3
"""So many paid requests in doubt since one was taken are no accident: submitting pauses, and then one goes alone."""
DOUBTS_AT_MOST = 10
"""So many since one was taken end the night's submitting: each further one might cost money."""
DOUBT_PAUSE_MAX_S = 900.0
BAD_POLLS = {
    FaultKind.ACCOUNT: Exit.ACCOUNT,
    FaultKind.NOT_ALLOWED: Exit.ACCOUNT,
    FaultKind.MISCONFIGURED: Exit.CONFIG,
}
"""The faults of a poll that stop a run, and what it then exits with."""
BAD_POLLS_STOP_SUBMITS, BAD_POLLS_STOP_POLLS = 2, 3
"""So many of one task, and none of any other was answered between them. One may be a gateway's bad moment; what is
bought after two might never be collected."""
PAGES_STOP_SUBMITS = 10
"""So many web pages or redirects in a row, where the service has taken requests before: it may be under maintenance."""
STORE_AWAY_AT_MOST_S = 3600.0
"""Without the store of the clips; what is paid waits on this machine meanwhile, and no further clip is bought."""
WINDOW_CLOSED = "the time window has closed"


def worst_halt(halts: Iterable[StopReason]) -> StopReason | None:
    """Return the reason to stop that decides the exit code."""
    order = list(Exit)
    return min(halts, key=lambda halt: order.index(halt.exit_code), default=None)


class CircuitBreaker:
    """What the run as a whole has learned from its requests. Times are monotonic seconds.

    *clips_before* are the jobs that are clips already, *out_before* those that an earlier run has submitted
    and that are no clips yet; both count for the canary. *known*: the service took a request of an earlier run.
    *window_ends_at* is the end of the window again, in UTC epoch seconds: the monotonic clock of a machine that slept
    stands still. *account* is what the run shares with others, *spend_cap* what the whole call may do.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        stop_submitting_at: float | None = None,
        window_ends_at: float | None = None,
        known: bool = False,
        spend_cap: SpendCap | None = None,
        account: SharedAccount | None = None,
        out_before: int = 0,
        clips_before: int = 0,
    ) -> None:
        self._limits = limits
        self._stop_submitting_at = stop_submitting_at
        self._window_ends_at = window_ends_at
        self._known = known
        self.spend_cap = spend_cap or SpendCap()
        self.account = account or SharedAccount(Throttle())
        self._retries = RETRIES_AT_MOST
        self._away = 0
        self._refused_at = float("-inf")
        self._waiting_since: float | None = None
        self.silent_since: float | None = None
        """Since when nobody has had an answer; ``None`` when the service answers."""
        self.silent_because = ""
        """What came in place of an answer the last time."""
        self._failed_in_a_row = 0
        self._bad_polls_in_a_row = 0
        self._bad_poll_at = float("-inf")
        self._refused_tasks: set[int] = set()
        """Those whose polls were refused since one of any task was answered."""
        self._forbidden_in_a_row = 0
        self._canaries_out = out_before + clips_before
        self._canaries_home = clips_before
        self._resume_at = 0.0
        self.throttle = self.account.throttle
        self.halts: list[StopReason] = []
        """What this run itself has met; see `all_halts`."""
        self._paused_by = ""
        self._store_away_since: float | None = None
        self._store_takes_none = False

    @property
    def submits_stopped(self) -> bool:
        """Whether nothing will be submitted any more in this run."""
        return bool(self.halts or self.account.halts)

    @property
    def polls_stopped(self) -> bool:
        """Whether even what is paid cannot be collected in this run."""
        return self.submits_stopped and any(halt.polls_too for halt in self.all_halts)

    @property
    def downloads_stopped(self) -> bool:
        """Whether no clip can be put on disk in this run."""
        return any(halt.downloads_too for halt in self.halts)

    @property
    def all_halts(self) -> list[StopReason]:
        """Return why nothing is submitted any more: what this run has met, and what others have met of the account."""
        return [*self.halts, *(halt for halt in self.account.halts if halt not in self.halts)]

    @property
    def accepted(self) -> int:
        """Count the paid requests that the service took."""
        return self.account.accepted

    @property
    def slowed_by(self) -> str:
        """Return why the run was last slowed or paused."""
        return self._paused_by or self.throttle.slowed_by

    @property
    def worst(self) -> StopReason | None:
        """Return the reason to stop that decides the exit code."""
        return worst_halt(self.all_halts)

    @property
    def submits_resume_at(self) -> float:
        """Return the moment before which no job may be submitted."""
        return max(self._resume_at, self.throttle.resume_at, self.account.doubt_resume_at)

    @property
    def store_is_out(self) -> bool:
        """Whether the store of the clips has not answered since it last failed."""
        return self._store_away_since is not None

    @property
    def service_is_known(self) -> bool:
        """Whether the service has ever taken a request, so that its address is right."""
        return self._known or self.account.accepted > 0

    def store_is_away(self, reason: str, *, now: float, writing: bool) -> bool:
        """Buy nothing for a while, because no clip can be saved just now; whether that has gone on for too long.

        Then nothing more is bought in this run. *writing*: it was to take a clip.
        """
        since = self._store_away_since = now if self._store_away_since is None else self._store_away_since
        self._store_takes_none = self._store_takes_none or writing
        self._paused_by = reason
        self._resume_at = max(self._resume_at, now + self._limits.backoff_longest_s)
        is_over = now - since >= STORE_AWAY_AT_MOST_S
        if is_over:
            self.halt(Exit.DISK, reason, is_local=True)
        return is_over

    def store_answered(self, *, wrote: bool) -> None:
        """Record that the store of the clips works; one that takes no clips does not, whatever else it answers."""
        if wrote or not self._store_takes_none:
            self._store_away_since, self._store_takes_none = None, False

    def halt(
        self,
        exit_code: Exit,
        reason: str,
        *,
        polls_too: bool = False,
        downloads_too: bool = False,
        is_local: bool = False,
    ) -> None:
        """Stop submitting, for a reason; told twice, it counts once."""
        halt = StopReason(exit_code, reason, polls_too, downloads_too, is_local)
        if halt not in self.halts:
            self.halts.append(halt)

    def halt_account(self, exit_code: Exit, reason: str, *, polls_too: bool = False) -> None:
        """Stop submitting, and everybody who uses the account."""
        halt = StopReason(exit_code, reason, polls_too)
        for halts in (self.halts, self.account.halts):
            if halt not in halts:
                halts.append(halt)

    def may_submit(self, *, now: float, new: bool) -> bool:
        """Whether a job may be submitted now. *new*: it has not been out in this run.

        Closes the window, for good, when its time has come.
        """
        if self._stop_submitting_at is not None and now >= self._stop_submitting_at:
            self.halt(Exit.STOPPED, WINDOW_CLOSED, is_local=True)
        return not self.submits_stopped and now >= self.submits_resume_at and not (new and self.new_jobs_wait)

    def window_has_ended(self, *, at: float) -> bool:
        """Whether the window is over by the wall clock (UTC epoch seconds); asked again before each paid request."""
        if self._window_ends_at is not None and at >= self._window_ends_at:
            self.halt(Exit.STOPPED, WINDOW_CLOSED, is_local=True)
            return True
        return False

    def may_be_beside(self, under_way: int) -> bool:
        """Whether a paid request may leave while so many are under way.

        The first one goes alone: a bad key or address is found out by one request, not by many. After a doubt no more
        may be under way than are left before the pause, and after a pause one goes alone.
        """
        if not self.account.accepted or not under_way:
            return not under_way
        doubts = self.account.unsure_in_a_row
        return not doubts or under_way < DOUBTS_IN_A_ROW - doubts

    @property
    def window_closes_at(self) -> float | None:
        """Return the moment at which submitting stops, if there is one."""
        return self._stop_submitting_at

    @property
    def canary_is_out(self) -> bool:
        """Whether the jobs wait for clips of the first ones."""
        return self._canaries_home < self._limits.canary

    @property
    def new_jobs_wait(self) -> str | None:
        """Return why no further job may begin, when that is so; jobs that are out already may have further attempts."""
        if self.spend_cap.is_used_up:
            return "as many jobs as --max-jobs allows have been submitted"
        if self._canaries_home < self._limits.canary <= self._canaries_out:
            return "the canary jobs brought no clip, so the rest was not started"
        return None

    def submit_begins(self, *, new: bool) -> None:
        """Count a job that goes out."""
        if new:
            self._canaries_out += 1
            self.spend_cap.jobs += 1

    def submit_untried(self, *, new: bool) -> None:
        """Undo `submit_begins`."""
        if new:
            self._canaries_out -= 1
            self.spend_cap.jobs -= 1

    def submit_accepted(self, *, now: float) -> None:
        """Record that the service took a paid request."""
        self.account.accepted += 1
        self._forbidden_in_a_row = 0
        self._paused_by = ""
        self._away = 0
        self._waiting_since = None
        self.silent_since = None
        self.account.unsure_in_a_row = 0
        self.account.doubt_resume_at = 0.0
        self._retries = min(RETRIES_AT_MOST, self._retries + RETRIES_PER_SUCCESS)
        self.throttle.went_well(now=now)

    def submit_unsure(self, *, now: float) -> None:
        """Count a paid request in doubt; after `DOUBTS_IN_A_ROW` without one that was taken, pause longer each time."""
        self.account.unsure_in_a_row += 1
        doubts = self.account.unsure_in_a_row
        if doubts >= DOUBTS_AT_MOST:
            self.halt_account(
                Exit.STOPPED,
                f"{doubts} paid requests are in doubt and none was taken since the first of them: "
                "look at the service's dashboard, then batchvid doubts",
            )
        elif doubts >= DOUBTS_IN_A_ROW:
            pause_s = min(DOUBT_PAUSE_MAX_S, self._limits.backoff_longest_s * 2.0 ** (doubts - DOUBTS_IN_A_ROW))
            self.account.doubt_resume_at = max(self.account.doubt_resume_at, now + pause_s)
            self._paused_by = f"{doubts} paid requests in a row are in doubt; the next one goes alone"

    def submit_refused(self, fault: Fault, *, sent_at: float, now: float, jitter: float, new: bool) -> None:
        """Slow down or stop as the fault demands; nothing was created.

        Many requests may be under way when the service goes; only those sent after the last refusal tell something new.
        """
        if fault.proof is not Proof.NONE:  # else it may be paid: the job was out
            self.submit_untried(new=new)
        self._heard(fault, sent_at=sent_at)
        match fault.kind:
            case FaultKind.ACCOUNT:
                self.halt_account(Exit.ACCOUNT, str(fault))
            case FaultKind.MISCONFIGURED:
                self.halt_account(Exit.CONFIG, str(fault))
            case FaultKind.NOT_ALLOWED:
                self._forbidden_in_a_row += 1
                if self._forbidden_in_a_row >= FORBIDDEN_IN_A_ROW:
                    jobs = f"{self._forbidden_in_a_row} jobs in a row"
                    self.halt_account(Exit.ACCOUNT, f"the service forbids {jobs}, the last: {fault}")
            case FaultKind.THROTTLED | FaultKind.UNAVAILABLE:
                self._wait(fault, sent_at=sent_at, now=now, jitter=jitter)

    def _wait(self, fault: Fault, *, sent_at: float, now: float, jitter: float) -> None:
        is_news = sent_at >= self._refused_at
        if fault.kind is FaultKind.THROTTLED:
            self._paused_by = ""
            halves = not self.account.finds_rate
            self.throttle.too_fast(fault, sent_at=sent_at, now=now, jitter=jitter, limits=self._limits, halves=halves)
        else:
            self._paused_by = slowed_by(fault)
            self._away += is_news
            wait_s = fault.retry_after_s or backoff_s(self._away, self._limits, jitter=jitter)
            self._resume_at = max(self._resume_at, now + wait_s)
        if is_news:
            self._refused_at = now
            self._spend_retry(fault, now=now)

    def poll_answered(self, *, now: float) -> None:
        """Record that a poll brought an answer."""
        self._bad_polls_in_a_row = 0
        self._refused_tasks.clear()
        self.silent_since = None
        self.throttle.went_well(now=now)

    def poll_refused(self, fault: Fault, *, sent_at: float, now: float, jitter: float, task: int = 0) -> None:
        """Slow down or stop as the fault demands. *task* tells the tasks apart."""
        self._heard(fault, sent_at=sent_at)
        if fault.kind is FaultKind.THROTTLED:
            self._paused_by = ""
            self.throttle.too_fast(fault, sent_at=sent_at, now=now, jitter=jitter, limits=self._limits)
        elif fault.kind in BAD_POLLS and sent_at >= self._bad_poll_at:  # sent after the last one had come
            is_again = task in self._refused_tasks
            self._refused_tasks.add(task)
            if fault.kind is FaultKind.NOT_ALLOWED and len(self._refused_tasks) == 1:
                return  # that one task may be forbidden, as a moderated clip is
            self._bad_polls_in_a_row = self._bad_polls_in_a_row + 1 if is_again else max(1, self._bad_polls_in_a_row)
            self._bad_poll_at = now
            may_pass = fault.kind is FaultKind.MISCONFIGURED and self.service_is_known
            if self._bad_polls_in_a_row >= (PAGES_STOP_SUBMITS if may_pass else BAD_POLLS_STOP_SUBMITS):
                is_hopeless = not may_pass and self._bad_polls_in_a_row >= BAD_POLLS_STOP_POLLS
                self.halt_account(BAD_POLLS[fault.kind], str(fault), polls_too=is_hopeless)

    def is_away(self, now: float) -> bool:
        """Whether nobody has had an answer lately, and that is still to be waited out."""
        return self.silent_since is not None and now - self.silent_since < AWAY_AT_MOST * self._limits.task_timeout_s

    def _heard(self, fault: Fault, *, sent_at: float) -> None:
        if fault.kind is not FaultKind.UNAVAILABLE:
            self.silent_since = None
            return
        self.silent_because = str(fault)
        if self.silent_since is None:
            self.silent_since = sent_at

    def job_ended(self, *, well: bool, reason: str = "") -> None:
        """Record that a job became a clip on disk, or failed."""
        self._failed_in_a_row = 0 if well else self._failed_in_a_row + 1
        if well:
            self._canaries_home += 1
        elif self._canaries_home < self._limits.canary:
            self.halt(Exit.STOPPED, f"a canary job failed, so the rest was not started: {reason}")
        elif self._failed_in_a_row >= self._limits.breaker:
            self.halt(
                Exit.STOPPED, f"{self._failed_in_a_row} jobs in a row failed (limits.breaker), the last: {reason}"
            )

    def task_deferred(self, *, reason: str) -> None:
        """Record that a paid task is left to the next run: where one after the other is, no further ones are bought."""
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= self._limits.breaker:
            self.halt(
                Exit.STOPPED,
                f"{self._failed_in_a_row} jobs in a row brought no clip (limits.breaker); what is paid is kept. "
                f"batchvid doctor shows how the service's answers are read. The last: {reason}",
            )

    def _spend_retry(self, fault: Fault, *, now: float) -> None:
        """Count a refusal; one that comes after a longer wait than our own longest counts as several."""
        waited_s = 0.0 if self._waiting_since is None else now - self._waiting_since
        self._waiting_since = now
        self._retries -= min(max(1.0, waited_s / self._limits.backoff_longest_s), REFUSAL_COUNTS_AT_MOST)
        if self._retries <= 0 and not self.submits_stopped:
            self.halt(
                Exit.STOPPED,
                "the service has been away or too busy for too long; "
                f"run again later (the last time: {slowed_by(fault)})",
                is_local=True,
            )
