"""What follows from what happened to one job: again, later, by the next run, or never; and never a second payment."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain import lifecycle as life
from batchvid.domain.job import Progress, State
from batchvid.domain.limits import Limits
from batchvid.domain.task import Fault, FaultKind, Phase, Proof, TaskReport
from batchvid.engine.policy import (
    DOWNLOAD_TRIES,
    EXPIRIES,
    FAILED_LOOKS,
    REFUSALS_ALONE,
    UNKNOWN_TASK_GRACE_S,
    UNKNOWN_TASK_LOOKS,
    WITHOUT_URL_LOOKS,
    RetryCounts,
    Verdict,
    after_download_fault,
    after_poll_fault,
    after_refusal,
    after_report,
    sends_at_most,
    wants_other_source,
)

LIMITS = Limits()
RUNNING = Progress("kite", State.RUNNING, attempt=1, task_id="t")
READY = Progress("kite", State.READY, attempt=1, task_id="t")
JITTER = st.floats(0, 1)
TALLIES = st.builds(RetryCounts, *[st.integers(0, 200)] * len(RetryCounts._fields))
FAULTS = st.builds(Fault, st.sampled_from(FaultKind), st.just("why"), st.none() | st.floats(0, 900))
TWICE = RetryCounts(failed_looks=FAILED_LOOKS)


def kinds(follow: Verdict) -> list[str]:
    """Name the events that follow."""
    return [type(event).__name__ for event in follow.events]


def report(phase: Phase, *, url: str | None = None, error: str | None = None) -> TaskReport:
    """Return what a poll might say."""
    return TaskReport(phase, "word", 50.0, url, None, None, error)


def refused(kind: FaultKind, refusals: int, *, sends: int = 1, proof: Proof = Proof.CLEAR) -> Verdict:
    """Return what follows the refusal of that number."""
    fault = Fault(kind, "why", proof=proof)
    return after_refusal(fault, RetryCounts(refusals=refusals), sends=sends, jitter=0.5, limits=LIMITS)


# ---- refusals of the paid request


@pytest.mark.parametrize("kind", [FaultKind.REJECTED, FaultKind.UNKNOWN_TASK, FaultKind.BROKEN])
def test_a_request_that_will_never_be_taken_fails_its_job_at_once(kind: FaultKind) -> None:
    """400, 413 and ``invalid_request``: one POST, and the reason is kept."""
    follow = refused(kind, 1)
    assert kinds(follow) == ["SubmitRefused", "GaveUp"]
    assert follow.events[1] == life.GaveUp("why")


@pytest.mark.parametrize("kind", [FaultKind.THROTTLED, FaultKind.ACCOUNT, FaultKind.MISCONFIGURED])
def test_what_is_no_jobs_fault_never_fails_a_job(kind: FaultKind) -> None:
    """Too fast, no money, wrong URL: the job stays pending however often it happens."""
    assert kinds(refused(kind, 1000)) == ["SubmitRefused"]


@pytest.mark.parametrize(
    ("kind", "tries"), [(FaultKind.NO_CHANNEL, sends_at_most(LIMITS)), (FaultKind.UNAVAILABLE, REFUSALS_ALONE)]
)
def test_a_job_that_alone_is_refused_fails_in_the_end(kind: FaultKind, tries: int) -> None:
    """A model that nobody serves is tried a few times, then the job fails and the others go on."""
    assert kinds(refused(kind, tries - 1)) == ["SubmitRefused"]
    assert refused(kind, tries - 1).wait_s is not None
    assert kinds(refused(kind, tries)) == ["SubmitRefused", "GaveUp"]


@given(FAULTS, TALLIES, JITTER)
def test_every_refusal_is_recorded_first(fault: Fault, retries: RetryCounts, jitter: float) -> None:
    """A refused request is taken back in the journal before anything else is said of the job."""
    follow = after_refusal(replace(fault, proof=Proof.CLEAR), retries, sends=1, jitter=jitter, limits=LIMITS)
    after = Progress("kite", State.SUBMITTING, attempt=1)
    for event in follow.events:
        after = life.advance(after, event, at=0.0)
    assert after.attempt == 0
    assert after.state in {State.PENDING, State.FAILED}


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_refusal_that_only_somebodys_word_proves_goes_on_counting(kind: FaultKind) -> None:
    """It was sent, and the budget must hold even when that word is a lie; a clear refusal is given back."""
    for proof, counted in ((Proof.WORD, True), (Proof.CLEAR, False), (Proof.NOT_SENT, False)):
        event = refused(kind, 1, proof=proof).events[0]
        assert isinstance(event, life.SubmitRefused)
        assert event.counted is counted


def test_a_request_of_no_use_again_that_may_be_paid_ends_its_job_as_paid() -> None:
    """410 and 451: nothing proves that they were not billed, so the attempt is not taken back."""
    assert refused(FaultKind.REJECTED, 1, proof=Proof.NONE).events == (life.GaveUp("why"),)


def test_a_job_that_is_told_too_fast_again_and_again_waits_longer_and_longer() -> None:
    """It has few requests left in this run, and the next ones of the manifest go first."""
    waits = [refused(FaultKind.THROTTLED, 0, sends=sends).wait_s for sends in range(1, 4)]
    assert sends_at_most(LIMITS) == 4
    assert waits[:3] == [None, 60.0, 3600.0]


# ---- polls


def test_a_task_is_failed_when_two_looks_in_a_row_say_so() -> None:
    """One look can be wrong, and then the clip would be bought a second time while the first goes on."""
    once = after_report(
        report(Phase.FAILED, error="boom"),
        RUNNING,
        RetryCounts(failed_looks=1),
        succeeded=False,
        late=True,
        limits=LIMITS,
    )
    assert kinds(once) == ["PollFailed"]
    assert once.wait_s == LIMITS.poll_longest_s


@pytest.mark.parametrize("late", [False, True])
def test_a_task_that_was_finished_once_is_never_bought_again(late: bool) -> None:  # noqa: FBT001 a table
    """Whatever the service calls it later, it is paid: its clip is fetched, or left to a person."""
    gone = report(Phase.FAILED, error="output expired")
    follow = after_report(gone, RUNNING, TWICE, succeeded=True, late=late, limits=LIMITS)
    assert kinds(follow) == ["TimedOut"]
    assert "is paid" in str(follow.events[0])


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.RUNNING, Phase.UNHEARD])
def test_an_unfinished_task_is_polled_until_its_deadline_and_then_left_to_the_next_run(phase: Phase) -> None:
    """Queued for ever, or a word that nobody knows: timed out, never bought again."""
    assert kinds(after_report(report(phase), RUNNING, RetryCounts(), succeeded=False, late=False, limits=LIMITS)) == [
        "StillRunning"
    ]
    late = after_report(report(phase), RUNNING, RetryCounts(), succeeded=False, late=True, limits=LIMITS)
    assert kinds(late) == ["TimedOut"]
    assert "word" in str(late.events[0])


@pytest.mark.parametrize("late", [False, True])
def test_a_finished_clip_is_taken_even_when_it_is_late(late: bool) -> None:  # noqa: FBT001 a table
    """What is paid for and there is fetched."""
    follow = after_report(
        report(Phase.SUCCEEDED, url="https://h/1"), RUNNING, RetryCounts(), succeeded=False, late=late, limits=LIMITS
    )
    assert follow.events == (life.TaskSucceeded("https://h/1"),)


def test_completed_without_a_url_is_looked_at_a_few_times_and_then_asked_for_as_content() -> None:
    """F30: the URL may come a little later. That the task succeeded is on record from the first look on."""
    for looks in range(1, WITHOUT_URL_LOOKS):
        for succeeded, told in ((False, ["TaskSucceeded", "UrlExpired"]), (True, ["StillRunning"])):
            follow = after_report(
                report(Phase.SUCCEEDED),
                RUNNING,
                RetryCounts(without_url_looks=looks),
                succeeded=succeeded,
                late=False,
                limits=LIMITS,
            )
            assert kinds(follow) == told
    last = RetryCounts(without_url_looks=WITHOUT_URL_LOOKS)
    follow = after_report(report(Phase.SUCCEEDED), RUNNING, last, succeeded=False, late=False, limits=LIMITS)
    assert follow.events == (life.TaskSucceeded(None),)


@pytest.mark.parametrize(
    ("attempt", "allowance_from", "attempts", "gives_up"),
    [(1, 0, 1, True), (1, 0, 2, False), (2, 0, 2, True), (2, 1, 2, False), (3, 2, 1, True), (3, 1, 3, False)],
)
def test_a_failed_task_gets_a_further_attempt_while_attempts_last(
    attempt: int,
    allowance_from: int,
    attempts: int,
    gives_up: bool,  # noqa: FBT001 a table
) -> None:
    """``limits.attempts`` counts paid attempts since a person last reopened the job."""
    progress = RUNNING._replace(attempt=attempt, allowance_from=allowance_from)
    limits = replace(LIMITS, attempts=attempts)
    follow = after_report(
        report(Phase.FAILED, error="moderated"), progress, TWICE, succeeded=False, late=False, limits=limits
    )
    assert kinds(follow) == (["TaskFailed", "GaveUp"] if gives_up else ["TaskFailed"])
    assert follow.events[-1] in {life.GaveUp("moderated"), life.TaskFailed("moderated")}


def test_a_failure_without_a_reason_says_so() -> None:
    """F29: the reason is kept, or its absence is told."""
    follow = after_report(report(Phase.FAILED), RUNNING, TWICE, succeeded=False, late=False, limits=LIMITS)
    assert "without a reason" in str(follow.events[0])


def test_an_unknown_task_is_looked_for_again_until_it_is_surely_lost() -> None:
    """A new id takes seconds to be known everywhere; one that stays unknown is left to a person, not re-bought."""
    fault = Fault(FaultKind.UNKNOWN_TASK, "no such task")

    def look(looks: int, age_s: float) -> list[str]:
        retries = RetryCounts(poll_faults=looks, unknown_looks=looks)
        return kinds(after_poll_fault(fault, retries, age_s=age_s, late=False, jitter=0.5, limits=LIMITS))

    assert look(1, 1.0) == ["PollFailed"]
    assert look(UNKNOWN_TASK_LOOKS, UNKNOWN_TASK_GRACE_S - 1) == ["PollFailed"]
    assert look(UNKNOWN_TASK_LOOKS - 1, 10 * UNKNOWN_TASK_GRACE_S) == ["PollFailed"]
    assert look(UNKNOWN_TASK_LOOKS, UNKNOWN_TASK_GRACE_S) == ["TimedOut"]


@given(FAULTS, TALLIES, JITTER, st.floats(0, 1e6))
def test_no_failed_poll_ends_a_job_or_an_attempt(
    fault: Fault, retries: RetryCounts, jitter: float, age_s: float
) -> None:
    """A poll costs nothing: at worst the next run asks again."""
    for late in (False, True):
        follow = after_poll_fault(fault, retries, age_s=age_s, late=late, jitter=jitter, limits=LIMITS)
        assert kinds(follow) in (["PollFailed"], ["TimedOut"])
        if follow.wait_s is not None:
            assert 0 < follow.wait_s <= LIMITS.backoff_longest_s


@pytest.mark.parametrize("kind", FaultKind)
def test_a_task_that_brings_nothing_but_faults_is_left_in_the_end(kind: FaultKind) -> None:
    """A run ends, whatever the polls bring: "too fast" for ever, too, must not keep it awake for ever."""
    for looks in range(1, 50):
        retries = RetryCounts(poll_faults=looks, unknown_looks=looks if kind is FaultKind.UNKNOWN_TASK else 0)
        follow = after_poll_fault(Fault(kind, "why"), retries, age_s=1e5, late=True, jitter=0.5, limits=LIMITS)
        if kinds(follow) == ["TimedOut"]:
            return
    pytest.fail("it is polled for ever")


def test_one_throttled_look_does_not_park_a_task_that_is_late() -> None:
    """The service did not speak about the task, and may be done with it."""
    fault = Fault(FaultKind.THROTTLED, "slow down")
    follow = after_poll_fault(fault, RetryCounts(poll_faults=1), age_s=2e3, late=True, jitter=0.5, limits=LIMITS)
    assert kinds(follow) == ["PollFailed"]


# ---- downloads


@pytest.mark.parametrize("kind", [FaultKind.EXPIRED, FaultKind.NOT_READY, FaultKind.UNKNOWN_TASK])
def test_an_expired_url_is_replaced_by_a_poll_at_once(kind: FaultKind) -> None:
    """F35: a fresh URL from the same task, never a new create; and no endless to and fro."""
    first = after_download_fault(
        Fault(kind, "403"), RetryCounts(download_faults=1, expiries=1), jitter=1.0, limits=LIMITS
    )
    assert (kinds(first), first.wait_s) == (["UrlExpired"], 0.0)
    second = after_download_fault(
        Fault(kind, "403"), RetryCounts(download_faults=2, expiries=2), jitter=1.0, limits=LIMITS
    )
    assert kinds(second) == ["UrlExpired"]
    assert second.wait_s is not None
    assert second.wait_s > 0
    last = RetryCounts(download_faults=EXPIRIES, expiries=EXPIRIES)
    assert after_download_fault(Fault(kind, "403"), last, jitter=1.0, limits=LIMITS).events == (
        life.DownloadFailed("403", parked=True),
    )


@given(FAULTS, TALLIES, JITTER)
def test_a_paid_clip_is_never_given_up(fault: Fault, retries: RetryCounts, jitter: float) -> None:
    """Whatever goes wrong with a transfer: the task stays known, and nothing is bought."""
    follow = after_download_fault(fault, retries, jitter=jitter, limits=LIMITS)
    assert kinds(follow) in (["DownloadFailed"], ["UrlExpired"])
    after = life.advance(READY, follow.events[0], at=0.0)
    assert after.task_id == "t"
    assert (follow.wait_s or 0.0) <= 900


@pytest.mark.parametrize("kind", FaultKind)
def test_a_clip_that_never_arrives_is_left_to_the_next_run(kind: FaultKind) -> None:
    """I8: a bounded number of requests for each clip and run."""
    gone = kind in {FaultKind.EXPIRED, FaultKind.NOT_READY, FaultKind.UNKNOWN_TASK}
    for tries in range(1, DOWNLOAD_TRIES + 1):
        retries = RetryCounts(download_faults=tries, expiries=tries if gone else 0)
        follow = after_download_fault(Fault(kind, "why"), retries, jitter=0.5, limits=LIMITS)
        if follow.events == (life.DownloadFailed("why", parked=True),):
            return
    pytest.fail("it is fetched for ever")


@pytest.mark.parametrize(
    ("kind", "first_at"),
    [
        (FaultKind.BROKEN, 1),
        (FaultKind.FORBIDDEN, 1),
        (FaultKind.ACCOUNT, 1),
        (FaultKind.EXPIRED, 2),
        (FaultKind.UNAVAILABLE, 6),
    ],
)
def test_a_url_that_brings_no_clip_is_left_for_the_service_itself(kind: FaultKind, first_at: int) -> None:
    """Before the run gives the clip up; but a transfer that only broke off is first resumed where it was."""
    counts = [
        RetryCounts(download_faults=n, expiries=n if kind is FaultKind.EXPIRED else 0) for n in range(1, DOWNLOAD_TRIES)
    ]
    wanted = [wants_other_source(Fault(kind, "why"), retries) for retries in counts]
    assert wanted.index(True) + 1 == first_at


def test_a_transfer_waits_for_as_long_as_the_host_asks() -> None:
    """Retry-After of a file host is honoured too."""
    fault = Fault(FaultKind.THROTTLED, "429", retry_after_s=120.0)
    assert after_download_fault(fault, RetryCounts(download_faults=1), jitter=0.0, limits=LIMITS).wait_s == 120.0
