"""Whole lives of jobs, driven by hand: limits hold, money is right, and a run ends when nothing is left to do."""

from __future__ import annotations

from itertools import pairwise

import pytest

from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit
from batchvid.domain.job import Progress, State
from batchvid.domain.limits import Limits
from batchvid.domain.results import Money
from batchvid.domain.task import Fault, FaultKind, Phase, Proof
from batchvid.engine.scheduler import Step
from tests.engine.drive import PRICE, Drive, a_job, jobs

REJECTED = Fault(FaultKind.REJECTED, "bad prompt")
AWAY = Fault(FaultKind.UNAVAILABLE, "HTTP 503", proof=Proof.NOT_SENT)
EXPIRED = Fault(FaultKind.EXPIRED, "HTTP 403")


def halts(drive: Drive) -> list[Exit]:
    """Return the reasons to stop as exit codes."""
    return [halt.exit_code for halt in drive.scheduler.breaker.halts]


# ---- a life


def test_a_job_goes_from_nothing_to_a_clip() -> None:
    """Submit, poll while it runs, poll when it is done, fetch; every sum is right at the end."""
    drive = Drive(jobs(1))
    index = drive.submit()
    assert drive.counts() == {"running": 1}
    assert drive.scheduler.budget.money == Money(0, PRICE, None)
    drive.polled(drive.wait_for(Step.POLL), Phase.RUNNING)
    drive.ready()
    assert drive.counts() == {"ready": 1}
    assert drive.scheduler.budget.money == Money(PRICE, 0, None)
    assert not drive.scheduler.is_over()
    assert drive.done() == index
    assert drive.counts() == {"done": 1}
    assert drive.scheduler.is_over()
    assert (drive.scheduler.in_flight, drive.scheduler.active, drive.in_lanes()) == (0, {}, 0)


def test_nothing_is_over_while_a_worker_has_a_job() -> None:
    """Its outcome may bring more to do."""
    drive = Drive(jobs(1))
    index = drive.started()
    assert not drive.scheduler.is_over()
    drive.refused(index, REJECTED)
    assert drive.scheduler.is_over()
    assert drive.counts() == {"failed": 1}


def test_an_empty_run_is_over() -> None:
    """Exit 0 when there was nothing to do."""
    assert Drive([]).scheduler.is_over()


def test_deciding_changes_nothing_before_it_is_committed() -> None:
    """The journal stands between the two."""
    drive = Drive(jobs(1))
    index = drive.take(Step.SUBMIT)
    before = (drive.state(index), drive.counts(), drive.scheduler.budget.money)
    drive.scheduler.change(index, [life.SubmitStarted(1, PRICE, "f")], at=1.0)
    assert (drive.state(index), drive.counts(), drive.scheduler.budget.money) == before


def test_a_failed_task_is_tried_again_as_often_as_allowed() -> None:
    """``attempts: 2`` are two paid requests; both are spent money."""
    drive = Drive(jobs(1), Limits(attempts=2))
    for _ in range(2):
        drive.submit()
        drive.polled(drive.wait_for(Step.POLL), Phase.FAILED, error="moderated")
    assert drive.counts() == {"failed": 1}
    assert drive.posts == {0: 2}
    assert drive.scheduler.budget.money.spent_micros == 2 * PRICE
    assert drive.scheduler.is_over()


def test_a_refused_job_alone_is_blamed_only_while_others_are_accepted() -> None:
    """When nobody is accepted, the service is away, and no job fails for it."""
    drive = Drive(jobs(1))
    for _ in range(30):
        drive.refused(drive.started(), AWAY)
    assert drive.counts() == {"pending": 1}
    assert drive.posts == {0: 30}


def test_a_job_that_is_always_refused_holds_up_no_other_and_fails_in_the_end() -> None:
    """I9: it is itself the trouble. Others go first each time, and are accepted, which proves it."""
    drive = Drive(jobs(40), Limits(in_flight=100))
    for _ in range(40):
        drive.now += 6.0
        index = drive.started()
        if index == 0:
            drive.refused(index, AWAY)
        else:
            drive.accepted(index)
        if "failed" in drive.counts():
            break
    assert drive.counts()["failed"] == 1
    assert drive.posts[0] <= 12
    assert set(drive.posts.values()) == {1, drive.posts[0]}


# ---- in flight


def test_no_more_than_the_limit_is_in_flight() -> None:
    """A request that is under way counts; a finished task makes room at once."""
    drive = Drive(jobs(5), Limits(in_flight=2))
    drive.scheduler.breaker.submit_accepted(now=drive.now)
    first = drive.started()
    drive.submit()
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    assert drive.scheduler.take(Step.SUBMIT, drive.now) is None
    drive.accepted(first)
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    drive.ready()
    assert drive.scheduler.turn(Step.SUBMIT, drive.now)


def test_the_first_request_goes_alone() -> None:
    """A bad key or a wrong address is found out by one paid request; once one is accepted, they go side by side."""
    drive = Drive(jobs(3))
    first = drive.started()
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    drive.accepted(first)
    drive.started()
    assert drive.scheduler.turn(Step.SUBMIT, drive.now)


@pytest.mark.parametrize("how", ["refused", "unsure", "unsendable", "failed", "timed out"])
def test_room_is_made_by_every_end_of_a_task(how: str) -> None:
    """Otherwise a run would come to a stand with work left."""
    drive = Drive(jobs(2), Limits(in_flight=1, attempts=1))
    match how:
        case "refused":
            drive.refused(drive.started(), REJECTED)
        case "unsure":
            drive.unsure(drive.started())
        case "unsendable":
            drive.unsendable(drive.take(Step.SUBMIT))
        case "failed":
            drive.submit()
            drive.polled(drive.wait_for(Step.POLL), Phase.FAILED)
        case _:
            drive.submit()
            drive.now += drive.limits.task_timeout_s
            drive.polled(drive.wait_for(Step.POLL), Phase.RUNNING)
    assert (drive.scheduler.in_flight, drive.flying()) == (0, 0)
    assert drive.submit() == 1


# ---- polls


def test_a_task_that_takes_too_long_is_parked_and_never_bought_again() -> None:
    """Exit 5 later; its id and its money are kept for the next run."""
    drive = Drive(jobs(1))
    index = drive.submit()
    while not drive.scheduler.deferred:
        polled = drive.wait_for(Step.POLL)
        drive.polled(polled, Phase.RUNNING)
    assert drive.now - 1000.0 == pytest.approx(drive.limits.task_timeout_s, abs=drive.limits.poll_shortest_s)
    assert drive.counts() == {"running": 1}
    assert drive.scheduler.deferred == {index}
    assert drive.scheduler.is_over()
    assert drive.scheduler.budget.money.reserved_micros == PRICE
    assert not any(drive.scheduler.turn(step, drive.now + 1e6) for step in Step)


def test_polls_keep_their_bounds() -> None:
    """Within ``poll_every``, but for the first one."""
    drive = Drive(jobs(1))
    drive.submit()
    moments = []
    for _ in range(20):
        index = drive.wait_for(Step.POLL)
        moments.append(drive.now)
        drive.polled(index, Phase.RUNNING)
    gaps = [later - sooner for sooner, later in pairwise(moments)]
    assert all(3.0 <= gap <= 30.0 for gap in gaps)


def test_a_throttled_run_polls_nothing_until_its_pause_is_over() -> None:
    """On 429 the whole run slows, polls and submits."""
    drive = Drive(jobs(3))
    drive.submit()
    drive.submit()
    index = drive.wait_for(Step.POLL)
    drive.poll_failed(index, Fault(FaultKind.THROTTLED, "429", retry_after_s=100.0))
    paused_at = drive.now
    assert not drive.scheduler.turn(Step.POLL, drive.now + 99)
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now + 99)
    drive.wait_for(Step.POLL)
    assert drive.now == paused_at + 100


def test_a_first_look_that_came_too_late_teaches_to_look_earlier() -> None:
    """The middle between the last two looks is taken for the end of the task."""
    drive = Drive(jobs(12), Limits(in_flight=1, typical_time_s=300.0))
    waits = []
    for _ in range(12):
        drive.submit()
        began = drive.now
        drive.ready()
        waits.append(drive.now - began)
        drive.done()
    assert waits[-1] < waits[0] / 2


# ---- downloads


def test_an_expired_url_goes_back_to_a_poll_at_once_and_never_to_a_create() -> None:
    """F35: the same task names a fresh URL."""
    drive = Drive(jobs(1))
    index = drive.submit()
    drive.ready()
    assert drive.take(Step.DOWNLOAD) == index
    drive.not_saved(index, EXPIRED)
    assert drive.state(index).url is None
    assert drive.take(Step.POLL) == index
    drive.polled(index, Phase.SUCCEEDED, url="https://files.example/2")
    assert drive.state(index).url == "https://files.example/2"
    drive.done()
    assert drive.posts == {0: 1}
    assert drive.scheduler.budget.money == Money(PRICE, 0, None)
    assert (drive.scheduler.in_flight, drive.scheduler.is_over()) == (0, True)


def test_a_url_that_expires_each_time_is_left_to_the_next_run() -> None:
    """No endless to and fro; the paid clip stays known."""
    drive = Drive(jobs(1))
    index = drive.submit()
    for _ in range(100):
        drive.ready()
        drive.not_saved(drive.wait_for(Step.DOWNLOAD), EXPIRED)
        if drive.scheduler.deferred:
            break
    assert drive.scheduler.deferred == {index}
    assert drive.counts() == {"ready": 1}
    assert (drive.scheduler.in_flight, drive.scheduler.is_over()) == (0, True)


def test_a_failed_transfer_waits_and_is_tried_again() -> None:
    """With backoff, and without another poll."""
    drive = Drive(jobs(1))
    index = drive.submit()
    drive.ready()
    drive.not_saved(drive.take(Step.DOWNLOAD), AWAY)
    assert not drive.scheduler.turn(Step.DOWNLOAD, drive.now)
    assert drive.wait_for(Step.DOWNLOAD) == index
    drive.saved(index)
    assert drive.scheduler.is_over()


def test_the_clip_that_expires_first_is_fetched_first() -> None:
    """Finished downloads go first, earliest expiry first."""
    drive = Drive(jobs(3))
    for _ in range(3):
        drive.submit()
    for expires_at in (None, 900.0, 800.0):
        index = drive.wait_for(Step.POLL)
        drive.record(index, life.TaskSucceeded("https://files.example/1", expires_at))
        drive.finish(Step.POLL, index)
    assert [drive.done() for _ in range(3)] == [2, 1, 0]


def test_a_full_disk_stops_downloads_and_submits_and_lets_polls_go_on() -> None:
    """F51: ids are kept, nothing more is bought."""
    drive = Drive(jobs(3), Limits(in_flight=2))
    drive.submit()
    drive.submit()
    drive.ready()
    drive.scheduler.breaker.halt(Exit.DISK, "disk full", downloads_too=True)
    assert not drive.scheduler.turn(Step.DOWNLOAD, drive.now)
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    assert not drive.scheduler.is_over()
    drive.ready()
    assert drive.scheduler.is_over()
    assert drive.counts() == {"ready": 2, "pending": 1}


# ---- money


def test_the_budget_stops_the_run_when_the_next_price_no_longer_fits() -> None:
    """Spent, in flight and this one must fit; what is paid is still collected; exit 7."""
    drive = Drive(jobs(4), Limits(budget_micros=2 * PRICE + 1))
    drive.scheduler.breaker.submit_accepted(now=drive.now)
    first = drive.started()
    drive.submit()
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    assert halts(drive) == []
    drive.accepted(first)
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    assert halts(drive) == [Exit.BUDGET]
    assert not drive.scheduler.is_over()
    for _ in range(2):
        drive.ready()
        drive.done()
    assert drive.scheduler.is_over()
    assert drive.counts() == {"done": 2, "pending": 2}


def test_a_refused_request_gives_its_money_back_to_the_next() -> None:
    """The budget is not reached while a request under way may still be refused."""
    drive = Drive(jobs(2), Limits(budget_micros=PRICE))
    index = drive.started()
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    drive.refused(index, REJECTED)
    assert drive.submit() == 1
    assert halts(drive) == []


def test_an_attempt_in_doubt_keeps_its_money_held() -> None:
    """It may be gone."""
    drive = Drive(jobs(2), Limits(budget_micros=PRICE))
    drive.unsure(drive.started())
    assert drive.scheduler.budget.money.reserved_micros == PRICE
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    assert drive.scheduler.is_over()
    assert drive.counts() == {"in_doubt": 1, "pending": 1}


def test_an_attempt_in_doubt_that_is_resubmitted_is_counted_twice() -> None:
    """``in_doubt: resubmit`` may pay twice, and the budget knows."""
    drive = Drive(jobs(1))
    drive.unsure(drive.started(), life.Reopened("rule", by_person=False))
    drive.submit()
    money = drive.scheduler.budget.money
    assert (money.spent_micros, money.reserved_micros) == (PRICE, PRICE)
    assert drive.flying() == drive.scheduler.in_flight == 1


def test_a_turn_that_was_not_used_leaves_no_trace() -> None:
    """A frame that is gone costs neither money nor room, and is no new job of ``--max-jobs``."""
    drive = Drive(jobs(2), Limits(budget_micros=PRICE, in_flight=1), max_jobs=1)
    drive.unsendable(drive.take(Step.SUBMIT))
    assert drive.counts() == {"failed": 1, "pending": 1}
    assert drive.scheduler.budget.money == Money(0, 0, PRICE)
    assert drive.submit() == 1


def test_the_runs_own_limit_stops_it_like_the_budget() -> None:
    """``--max-cost``."""
    drive = Drive(jobs(3), run_limit_micros=PRICE)
    drive.submit()
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    assert halts(drive) == [Exit.BUDGET]


def test_a_price_that_changed_between_attempts_is_held_and_spent_as_it_was() -> None:
    """Each attempt at its own price."""
    row = life.advance(
        life.advance(
            life.advance(Progress.fresh("kite"), life.SubmitStarted(1, 100, "f"), at=1.0),
            life.SubmitAccepted("t"),
            at=2.0,
        ),
        life.TaskFailed("x"),
        at=3.0,
    )
    drive = Drive([a_job("kite", price_micros=700)], rows=[row], money=Money(spent_micros=100))
    drive.submit()
    assert drive.scheduler.budget.money == Money(100, 700)
    drive.ready()
    assert drive.scheduler.budget.money == Money(800, 0)


# ---- canary, window, filter, drain


def test_the_rest_waits_until_the_canaries_are_clips() -> None:
    """``canary: 2``: two jobs out, none more, until both are on disk."""
    drive = Drive(jobs(5), Limits(canary=2))
    drive.submit()
    drive.submit()
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    assert not drive.scheduler.is_over()
    for _ in range(2):
        assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
        drive.ready()
        drive.done()
    assert drive.scheduler.turn(Step.SUBMIT, drive.now)


def test_a_canary_may_use_its_attempts() -> None:
    """A job that waits for its second attempt is no end of the run."""
    drive = Drive(jobs(3), Limits(canary=1))
    drive.submit()
    drive.polled(drive.wait_for(Step.POLL), Phase.FAILED)
    assert not drive.scheduler.is_over()
    assert drive.submit() == 0
    drive.ready()
    drive.done()
    assert drive.submit() == 1


@pytest.mark.parametrize("how", ["unsure", "parked"])
def test_a_canary_that_brings_no_clip_ends_the_run(how: str) -> None:
    """Exit 5: nobody would ever let the others start."""
    drive = Drive(jobs(3), Limits(canary=1))
    if how == "unsure":
        drive.unsure(drive.started())
    else:
        drive.submit()
        drive.now += drive.limits.task_timeout_s
        drive.polled(drive.wait_for(Step.POLL), Phase.RUNNING)
    assert drive.scheduler.is_over()
    assert halts(drive) == [Exit.STOPPED]


def test_a_failed_canary_ends_the_run() -> None:
    """One clip is lost instead of thousands."""
    drive = Drive(jobs(3), Limits(canary=1, attempts=1))
    drive.submit()
    drive.polled(drive.wait_for(Step.POLL), Phase.FAILED)
    assert drive.scheduler.is_over()
    assert halts(drive) == [Exit.STOPPED]


def test_a_closed_window_stops_submits_and_lets_the_rest_be_collected() -> None:
    """``--until``: the run wakes for it by itself, and drains."""
    drive = Drive(jobs(2), Limits(in_flight=1), stop_submitting_at=1060.0)
    drive.submit()
    assert drive.scheduler.wake_at(Step.SUBMIT, drive.now) == 1060.0
    drive.now = 1060.0
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    drive.ready()
    drive.done()
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    assert drive.scheduler.is_over()
    assert (halts(drive), drive.counts()) == ([Exit.STOPPED], {"done": 1, "pending": 1})


def test_only_chosen_jobs_are_submitted() -> None:
    """``--only``: what others have paid for is collected all the same."""
    running = Progress.fresh("j2")._replace(state=State.RUNNING, attempt=1, task_id="t", submitted_at=1.0)
    pending = Progress.fresh("j3")._replace(attempt=1)
    drive = Drive(jobs(4), only=["j1"], rows=[running, pending])
    assert drive.submit() == 1
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)
    for _ in range(2):
        drive.ready()
        drive.done()
    assert drive.scheduler.is_over()
    assert drive.counts() == {"done": 2, "pending": 2}


def test_a_drained_run_starts_nothing_and_ends_with_its_workers() -> None:
    """SIGINT once."""
    drive = Drive(jobs(3))
    drive.submit()
    index = drive.started()
    drive.scheduler.draining = True
    assert not any(drive.scheduler.turn(step, drive.now + 1e6) for step in Step)
    assert all(drive.scheduler.take(step, drive.now + 1e6) is None for step in Step)
    assert not drive.scheduler.is_over()
    drive.accepted(index)
    assert drive.scheduler.is_over()
    assert drive.counts() == {"running": 2, "pending": 1}


def test_a_refused_account_stops_submits_and_keeps_collecting() -> None:
    """F14: exit 6, and every paid clip on disk."""
    drive = Drive(jobs(3))
    drive.submit()
    drive.refused(drive.started(), Fault(FaultKind.ACCOUNT, "no quota"))
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now + 1e6)
    drive.ready()
    drive.done()
    assert drive.scheduler.is_over()
    assert (halts(drive), drive.counts()) == ([Exit.ACCOUNT], {"done": 1, "pending": 2})


def test_hopeless_polls_end_the_run_with_the_tasks_kept() -> None:
    """The key was revoked: three refused looks in a row, and the next run goes on."""
    drive = Drive(jobs(3))
    for _ in range(3):
        drive.submit()
    for _ in range(3):
        drive.poll_failed(drive.wait_for(Step.POLL), Fault(FaultKind.ACCOUNT, "invalid token"))
    assert drive.scheduler.is_over()
    assert drive.counts() == {"running": 3}
    assert drive.scheduler.budget.money.reserved_micros == 3 * PRICE
