"""What slows or stops a whole run: it backs off within bounds, recovers, and never spends the night in vain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.errors import Exit
from batchvid.domain.limits import Limits
from batchvid.domain.task import Fault, FaultKind, Proof
from batchvid.engine.account import StopReason
from batchvid.engine.budget import SpendCap
from batchvid.engine.circuit_breaker import DOUBTS_AT_MOST, DOUBTS_IN_A_ROW, RETRIES_AT_MOST, CircuitBreaker
from batchvid.engine.throttle import RECOVERY_EVERY_S, SLOWEST, Throttle, backoff_s

LIMITS = Limits()
TOO_FAST = Fault(FaultKind.THROTTLED, "slow down")
AWAY = Fault(FaultKind.UNAVAILABLE, "HTTP 503", proof=Proof.NOT_SENT)


def refuse(
    breaker: CircuitBreaker, fault: Fault, *, now: float = 0.0, sent_at: float | None = None, jitter: float = 1.0
) -> None:
    """Let a new job's request be refused."""
    breaker.submit_begins(new=True)
    fault = replace(fault, proof=Proof.CLEAR)
    breaker.submit_refused(fault, sent_at=now if sent_at is None else sent_at, now=now, jitter=jitter, new=True)


def codes(breaker: CircuitBreaker) -> list[Exit]:
    """Return the exit codes of the reasons to stop."""
    return [halt.exit_code for halt in breaker.halts]


# ---- backoff


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0.001, 100), st.floats(0.001, 10_000))
def test_a_backoff_lies_between_a_tenth_and_the_whole_of_the_doubled_wait(
    failures: int, jitter: float, first_s: float, longest_s: float
) -> None:
    """Doubling from the first to the longest, full jitter, and never at once."""
    limits = Limits(backoff_first_s=first_s, backoff_longest_s=longest_s)
    doubled_s = min(longest_s, first_s * 2 ** min(max(failures - 1, 0), 60))
    wait_s = backoff_s(failures, limits, jitter=jitter)
    if failures <= 33 or doubled_s == longest_s:
        assert 0.1 * doubled_s * 0.999 <= wait_s <= doubled_s * 1.001
    assert 0 < wait_s <= longest_s * 1.001


def test_the_default_backoff_doubles_from_one_second_to_a_minute() -> None:
    """As the manifest's default says: 1s..60s."""
    assert [backoff_s(n, LIMITS, jitter=1.0) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


# ---- throttle


def test_too_fast_halves_the_pace_of_the_run_and_pauses_it() -> None:
    """Retry-After is honoured to the second."""
    throttle = Throttle()
    fault = Fault(FaultKind.THROTTLED, "429", retry_after_s=30.0)
    throttle.too_fast(fault, sent_at=9.0, now=10.0, jitter=0.0, limits=LIMITS)
    assert (throttle.share, throttle.resume_at) == (0.5, 40.0)


def test_a_salvo_of_refusals_halves_once() -> None:
    """Twenty requests that were under way together are one message, not twenty."""
    throttle = Throttle()
    for answer in range(20):
        throttle.too_fast(TOO_FAST, sent_at=9.0 + answer / 100, now=10.0 + answer / 10, jitter=1.0, limits=LIMITS)
    assert throttle.share == 0.5


def test_the_pace_never_falls_to_nothing_and_the_pause_never_shrinks() -> None:
    """After any number of refusals the run still lives."""
    throttle, resume_at = Throttle(), 0.0
    for moment in range(1000):
        throttle.too_fast(TOO_FAST, sent_at=float(moment), now=float(moment), jitter=0.0, limits=LIMITS)
        assert throttle.resume_at >= resume_at
        resume_at = throttle.resume_at
    assert throttle.share == SLOWEST
    assert resume_at <= 999 + LIMITS.backoff_longest_s


def test_the_pace_recovers_step_by_step_to_the_limit() -> None:
    """Not at once: a step after each spell of peace, and only when requests go well."""
    throttle = Throttle()
    throttle.too_fast(TOO_FAST, sent_at=0.0, now=0.0, jitter=1.0, limits=LIMITS)
    now, shares = throttle.resume_at, [throttle.share]
    throttle.went_well(now=now)
    assert throttle.share == 0.5
    while throttle.share < 1.0:
        now += RECOVERY_EVERY_S
        throttle.went_well(now=now)
        throttle.went_well(now=now)
        shares.append(throttle.share)
    assert shares == [0.5, 0.625, 0.75, 0.875, 1.0]
    throttle.went_well(now=now + 1000)
    assert throttle.share == 1.0


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 60), st.none() | st.floats(0, 900)), max_size=60))
def test_the_share_stays_within_its_bounds(story: list[tuple[bool, float, float | None]]) -> None:
    """Whatever the service says in whatever order."""
    throttle, now = Throttle(), 0.0
    for well, passed_s, wait_s in story:
        now += passed_s
        if well:
            throttle.went_well(now=now)
        else:
            fault = Fault(FaultKind.THROTTLED, "429", retry_after_s=wait_s)
            throttle.too_fast(fault, sent_at=now, now=now, jitter=0.5, limits=LIMITS)
            assert throttle.resume_at >= now
        assert SLOWEST <= throttle.share <= 1.0
        assert throttle.resume_at <= now + 900


def test_a_throttled_submit_and_a_throttled_poll_slow_the_same_run() -> None:
    """On 429 the whole run slows."""
    for throttled_by_poll in (False, True):
        breaker = CircuitBreaker(LIMITS)
        if throttled_by_poll:
            breaker.poll_refused(TOO_FAST, sent_at=1.0, now=1.0, jitter=1.0)
        else:
            refuse(breaker, TOO_FAST, now=1.0)
        assert breaker.throttle.share == 0.5
        assert not breaker.may_submit(now=1.5, new=True)
        assert breaker.submits_resume_at == 2.0
        assert breaker.may_submit(now=2.0, new=True)


# ---- an absent service


@pytest.mark.parametrize("fault", [TOO_FAST, AWAY])
def test_a_service_that_refuses_for_ever_ends_the_run(fault: Fault) -> None:
    """F16: the retry budget empties, and the run stops, resumable."""
    breaker, now = CircuitBreaker(LIMITS), 0.0
    refusals = 0
    while not breaker.submits_stopped:
        assert refusals < 1000, "it goes on for ever"
        refusals += 1
        now = max(now, breaker.submits_resume_at)
        assert breaker.may_submit(now=now, new=True)
        refuse(breaker, fault, now=now)
    assert refusals == RETRIES_AT_MOST
    assert codes(breaker) == [Exit.STOPPED]
    assert 60 * 60 < now < 4 * 60 * 60
    assert not breaker.polls_stopped


def test_an_occasional_refusal_does_not_end_a_long_run() -> None:
    """What is accepted fills the retry budget again."""
    breaker, now = CircuitBreaker(LIMITS), 0.0
    for _ in range(2000):
        now += 60.0
        refuse(breaker, AWAY, now=now)
        for _ in range(3):
            breaker.submit_begins(new=True)
            breaker.submit_accepted(now=now)
    assert not breaker.halts


def test_the_waits_for_an_absent_service_grow_and_start_anew_after_a_success() -> None:
    """Capped exponential backoff for faults; an accepted request proves that the service is back."""
    breaker = CircuitBreaker(LIMITS)
    waits = []
    for _ in range(8):
        refuse(breaker, AWAY, now=0.0)
        waits.append(breaker.submits_resume_at)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    breaker.submit_accepted(now=100.0)
    refuse(breaker, AWAY, now=100.0)
    assert breaker.submits_resume_at == 101.0


# ---- account, configuration, doubt


def test_a_refused_account_stops_submitting_and_keeps_collecting() -> None:
    """F13, F14: exit 6; what is paid is fetched."""
    breaker = CircuitBreaker(LIMITS)
    refuse(breaker, Fault(FaultKind.ACCOUNT, "no quota"))
    assert not breaker.may_submit(now=1e9, new=True)
    assert not breaker.may_submit(now=1e9, new=False)
    assert (breaker.polls_stopped, breaker.downloads_stopped, codes(breaker)) == (False, False, [Exit.ACCOUNT])


def test_a_wrong_base_url_stops_submitting_at_once() -> None:
    """F20: exit 78 after one request."""
    breaker = CircuitBreaker(LIMITS)
    refuse(breaker, Fault(FaultKind.MISCONFIGURED, "the service redirects: check base_url"))
    assert codes(breaker) == [Exit.CONFIG]


def test_three_doubts_in_a_row_pause_submitting_and_two_do_not() -> None:
    """F09: a few answers that got lost must not end a night; one that is taken in between breaks the row."""
    breaker = CircuitBreaker(LIMITS)
    for _ in range(DOUBTS_IN_A_ROW - 1):
        breaker.submit_unsure(now=0.0)
    breaker.submit_accepted(now=0.0)
    for _ in range(DOUBTS_IN_A_ROW - 1):
        breaker.submit_unsure(now=0.0)
    assert breaker.may_submit(now=0.0, new=True)
    breaker.submit_unsure(now=0.0)
    assert DOUBTS_IN_A_ROW == 3
    assert not breaker.may_submit(now=59.9, new=True)
    assert breaker.may_submit(now=60.0, new=True)
    assert not breaker.halts


def test_the_pauses_between_doubts_grow_until_ten_of_them_stop_submitting() -> None:
    """Each further one might cost money: about an hour of patience, and then the rest waits for a person."""
    breaker, now, pauses = CircuitBreaker(LIMITS), 0.0, []
    for _ in range(DOUBTS_AT_MOST - 1):
        breaker.submit_unsure(now=now)
        pauses.append(breaker.submits_resume_at - now if breaker.submits_resume_at else 0.0)
        now = max(now, breaker.submits_resume_at)
    assert pauses == [0.0, 0.0, 60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]
    assert not breaker.halts
    breaker.submit_unsure(now=now)
    assert DOUBTS_AT_MOST == 10
    assert codes(breaker) == [Exit.STOPPED]
    assert not breaker.polls_stopped


def test_one_that_is_taken_ends_a_pause_of_doubt() -> None:
    """The probe brought a task: the service answers again."""
    breaker = CircuitBreaker(LIMITS)
    for _ in range(DOUBTS_IN_A_ROW):
        breaker.submit_unsure(now=0.0)
    breaker.submit_accepted(now=1.0)
    assert breaker.may_submit(now=1.0, new=True)


def test_how_many_may_leave_together_depends_on_what_is_in_doubt() -> None:
    """The first one alone; after a doubt no more than are left before the pause; after a pause one alone."""
    breaker = CircuitBreaker(LIMITS)
    assert [breaker.may_be_beside(number) for number in (0, 1)] == [True, False]
    breaker.submit_accepted(now=0.0)
    assert breaker.may_be_beside(15)
    most = []
    for _ in range(DOUBTS_IN_A_ROW + 1):
        breaker.submit_unsure(now=0.0)
        most.append(sum(breaker.may_be_beside(number) for number in range(16)))
    assert most == [2, 1, 1, 1]


def test_a_window_is_over_by_the_wall_clock_too() -> None:
    """A laptop that slept through the night has a monotonic clock that stood still."""
    breaker = CircuitBreaker(LIMITS, stop_submitting_at=100.0, window_ends_at=1_000.0)
    assert not breaker.window_has_ended(at=999.0)
    assert breaker.may_submit(now=1.0, new=True)
    assert breaker.window_has_ended(at=1_000.0)
    assert not breaker.may_submit(now=1.0, new=True)
    assert codes(breaker) == [Exit.STOPPED]


def test_a_job_that_ended_on_a_request_of_unknown_price_counts_as_begun() -> None:
    """``--max-jobs`` bounds what may be paid, and nothing proves that this one was not."""
    breaker = CircuitBreaker(LIMITS, spend_cap=SpendCap(max_jobs=1))
    breaker.submit_begins(new=True)
    gone = Fault(FaultKind.REJECTED, "HTTP 410", proof=Proof.NONE)
    breaker.submit_refused(gone, sent_at=0.0, now=0.0, jitter=0.5, new=True)
    assert breaker.new_jobs_wait


@pytest.mark.parametrize(("kind", "code"), [(FaultKind.ACCOUNT, Exit.ACCOUNT), (FaultKind.MISCONFIGURED, Exit.CONFIG)])
def test_polls_stop_only_when_they_are_hopeless(kind: FaultKind, code: Exit) -> None:
    """One bad answer to a poll may be a hiccup; what is paid is collected as long as that can work."""
    breaker = CircuitBreaker(LIMITS)
    for _ in range(5):
        breaker.poll_refused(Fault(kind, "why"), sent_at=0.0, now=0.0, jitter=0.5)
        breaker.poll_refused(Fault(kind, "why"), sent_at=0.0, now=0.0, jitter=0.5)
        breaker.poll_answered(now=0.0)
    stopped = [breaker.polls_stopped]
    for _ in range(3):
        breaker.poll_refused(Fault(kind, "why"), sent_at=0.0, now=0.0, jitter=0.5)
    stopped.append(breaker.polls_stopped)
    assert stopped == [False, True]
    assert code in codes(breaker)


def test_polls_that_were_under_way_together_count_as_one() -> None:
    """A bad moment of a gateway meets all of them."""
    breaker = CircuitBreaker(LIMITS)
    for now in (5.0, 5.1, 5.2):
        breaker.poll_refused(Fault(FaultKind.ACCOUNT, "why"), sent_at=4.9, now=now, jitter=0.5)
    assert not breaker.submits_stopped
    breaker.poll_refused(Fault(FaultKind.ACCOUNT, "why"), sent_at=6.0, now=6.1, jitter=0.5)
    assert (breaker.submits_stopped, breaker.polls_stopped) == (True, False)


@pytest.mark.parametrize("kind", sorted(set(FaultKind) - {FaultKind.ACCOUNT, FaultKind.MISCONFIGURED}))
def test_no_other_poll_fault_ever_stops_a_run(kind: FaultKind) -> None:
    """F31: 5xx, resets and time-outs are retried freely."""
    breaker = CircuitBreaker(LIMITS)
    for _ in range(1000):
        breaker.poll_refused(Fault(kind, "why"), sent_at=0.0, now=0.0, jitter=0.5)
    assert not breaker.halts


# ---- breaker, canary, window, number of jobs


def test_the_breaker_opens_after_so_many_failures_in_a_row_only() -> None:
    """One clip in between closes it again."""
    breaker = CircuitBreaker(Limits(breaker=3))
    for well in (False, False, True, False, False):
        breaker.job_ended(well=well, reason="moderated")
    assert not breaker.halts
    breaker.job_ended(well=False, reason="kite-9: moderated")
    assert codes(breaker) == [Exit.STOPPED]
    assert "kite-9: moderated" in breaker.halts[0].reason


def test_the_rest_waits_for_the_canaries() -> None:
    """The first N jobs go out together, the next one when N clips are on disk."""
    breaker = CircuitBreaker(Limits(canary=2))
    for _ in range(2):
        assert breaker.may_submit(now=0.0, new=True)
        breaker.submit_begins(new=True)
    assert not breaker.may_submit(now=0.0, new=True)
    assert breaker.may_submit(now=0.0, new=False)
    breaker.job_ended(well=True)
    assert not breaker.may_submit(now=0.0, new=True)
    breaker.job_ended(well=True)
    assert breaker.may_submit(now=0.0, new=True)


def test_a_canary_that_fails_stops_the_run() -> None:
    """That is what it is for."""
    breaker = CircuitBreaker(Limits(canary=2))
    breaker.submit_begins(new=True)
    breaker.job_ended(well=False, reason="kite: rejected")
    assert codes(breaker) == [Exit.STOPPED]
    assert "kite: rejected" in breaker.halts[0].reason


def test_a_canary_that_was_refused_is_not_out() -> None:
    """Otherwise a single 429 would leave the run waiting for a clip that nobody makes."""
    breaker = CircuitBreaker(Limits(canary=1))
    refuse(breaker, AWAY, now=0.0)
    assert breaker.new_jobs_wait is None
    assert breaker.may_submit(now=10.0, new=True)


def test_what_an_earlier_run_has_out_are_canaries_already() -> None:
    """A run that is started again and again does not send N more canaries each time."""
    breaker = CircuitBreaker(Limits(canary=2), out_before=1, clips_before=1)
    assert not breaker.may_submit(now=0.0, new=True)
    assert breaker.may_submit(now=0.0, new=False)
    breaker.job_ended(well=True)
    assert breaker.may_submit(now=0.0, new=True)


def test_clips_of_earlier_runs_are_canaries_enough() -> None:
    """A second run does not start with a canary again."""
    breaker = CircuitBreaker(Limits(canary=2), clips_before=2)
    for _ in range(5):
        assert breaker.may_submit(now=0.0, new=True)
        breaker.submit_begins(new=True)
    breaker.job_ended(well=False)
    assert not breaker.halts


def test_no_canary_is_asked_for_by_default() -> None:
    """``canary: 0``."""
    breaker = CircuitBreaker(LIMITS)
    breaker.submit_begins(new=True)
    assert breaker.new_jobs_wait is None


def test_a_closed_window_stays_closed() -> None:
    """Submitting stops at its moment, not before, and collecting goes on."""
    breaker = CircuitBreaker(LIMITS, stop_submitting_at=100.0)
    assert breaker.may_submit(now=99.9, new=True)
    assert not breaker.may_submit(now=100.0, new=True)
    assert not breaker.may_submit(now=50.0, new=True)
    assert (codes(breaker), breaker.polls_stopped) == ([Exit.STOPPED], False)
    assert breaker.window_closes_at == 100.0


def test_no_more_than_so_many_jobs_are_submitted() -> None:
    """``--max-jobs``; one that was refused or withdrawn does not count."""
    breaker = CircuitBreaker(LIMITS, spend_cap=SpendCap(max_jobs=2))
    refuse(breaker, AWAY, now=0.0)
    breaker.submit_begins(new=True)
    breaker.submit_untried(new=True)
    sent = 0
    while breaker.may_submit(now=100.0, new=True):
        breaker.submit_begins(new=True)
        sent += 1
    assert sent == 2
    assert "--max-jobs" in (breaker.new_jobs_wait or "")


def test_a_further_attempt_of_a_job_that_is_out_is_no_new_job() -> None:
    """``--max-jobs 1`` counts jobs, and their attempts are bounded by ``limits.attempts``."""
    breaker = CircuitBreaker(LIMITS, spend_cap=SpendCap(max_jobs=1))
    breaker.submit_begins(new=True)
    assert not breaker.may_submit(now=0.0, new=True)
    assert breaker.may_submit(now=0.0, new=False)


# ---- halts


def test_the_worst_halt_decides_and_none_is_told_twice() -> None:
    """In the promised order: the account (6) before the budget (7) before a closed window (5)."""
    breaker = CircuitBreaker(LIMITS)
    for code in (Exit.STOPPED, Exit.BUDGET, Exit.ACCOUNT, Exit.BUDGET):
        breaker.halt(code, "why")
    assert codes(breaker) == [Exit.STOPPED, Exit.BUDGET, Exit.ACCOUNT]
    assert breaker.worst == StopReason(Exit.ACCOUNT, "why")
    assert CircuitBreaker(LIMITS).worst is None


def test_a_full_disk_stops_everything_that_needs_it() -> None:
    """F51: downloads pause, and nothing more is bought."""
    breaker = CircuitBreaker(LIMITS)
    breaker.halt(Exit.DISK, "disk full", downloads_too=True)
    assert (breaker.submits_stopped, breaker.polls_stopped, breaker.downloads_stopped) == (True, False, True)


@pytest.mark.parametrize(
    ("fault", "why"),
    [(TOO_FAST, 'the service said "too fast": slow down'), (AWAY, "HTTP 503")],
    ids=["too fast", "away"],
)
def test_a_run_that_waits_or_ends_for_the_service_says_why(fault: Fault, why: str) -> None:
    """A service that is away is not called too busy, and the reason to stop holds the last refusal, once."""
    breaker = CircuitBreaker(LIMITS)
    for now in range(int(RETRIES_AT_MOST) + 50):
        refuse(breaker, fault, now=float(now))
    assert breaker.slowed_by == why
    assert [halt.reason for halt in breaker.halts] == [
        f"the service has been away or too busy for too long; run again later (the last time: {why})"
    ]
