"""A run that takes up what another one left: rows in every state, tasks that are old, prices that came later."""

from __future__ import annotations

import pytest

from batchvid.domain import lifecycle as life
from batchvid.domain.job import Progress, State
from batchvid.domain.limits import Limits
from batchvid.domain.results import Money
from batchvid.domain.task import Fault, FaultKind, Phase
from batchvid.engine.scheduler import Step
from tests.engine.drive import AT, PRICE, Drive, a_job, jobs

NOW = AT + 1000.0
"""The wall clock when a driven run begins."""


def row(name: str, state: State, *, price_micros: int | None = PRICE, age_s: float = 10.0) -> Progress:
    """Return a row that an earlier run left."""
    attempt = 0 if state is State.PENDING else 1
    has_task = state in {State.RUNNING, State.READY, State.DONE}
    return Progress(
        name,
        state,
        version=5,
        attempt=attempt,
        task_id=f"task-of-{name}" if has_task else None,
        url="https://files.example/1" if state is State.READY else None,
        price_micros=price_micros if attempt else None,
        submitted_at=NOW - age_s if has_task else None,
    )


def test_rows_of_every_state_are_taken_up_where_they_stand() -> None:
    """Pending is submitted, running is polled, ready is fetched; doubt, failure and clips are left alone."""
    states = [State.PENDING, State.IN_DOUBT, State.RUNNING, State.READY, State.DONE, State.FAILED]
    rows = [row(f"j{index}", state) for index, state in enumerate(states)]
    drive = Drive(jobs(7), rows=rows, held=["j1", "j2"], money=Money(2 * PRICE, 2 * PRICE))
    assert drive.counts() == {"pending": 2, "in_doubt": 1, "running": 1, "ready": 1, "done": 1, "failed": 1}
    assert drive.take(Step.DOWNLOAD) == 3
    drive.saved(3)
    assert drive.take(Step.POLL) == 2
    drive.polled(2, Phase.SUCCEEDED, url="https://files.example/1")
    drive.done()
    assert [drive.submit(), drive.submit()] == [0, 6]
    for _ in range(2):
        drive.ready()
        drive.done()
    assert drive.scheduler.is_over()
    assert drive.counts() == {"in_doubt": 1, "done": 5, "failed": 1}
    assert drive.posts == {0: 1, 6: 1}
    assert drive.scheduler.budget.money == Money(5 * PRICE, PRICE)


def test_a_row_caught_submitting_is_touched_by_nothing() -> None:
    """Should one ever come this far, it is neither sent nor polled."""
    drive = Drive(jobs(1), rows=[row("j0", State.SUBMITTING)])
    assert not any(drive.scheduler.turn(step, drive.now + 1e6) for step in Step)
    assert drive.scheduler.is_over()


def test_running_tasks_of_an_earlier_run_take_their_room() -> None:
    """``in_flight`` is a limit of what the service works on, whoever submitted it."""
    rows = [row(f"j{index}", State.RUNNING) for index in range(3)]
    drive = Drive(jobs(5), Limits(in_flight=2), rows=rows)
    assert drive.scheduler.in_flight == 3
    for left in (True, True):
        assert drive.scheduler.turn(Step.SUBMIT, drive.now) is not left
        drive.ready()
    assert drive.scheduler.turn(Step.SUBMIT, drive.now)


def test_a_parked_task_is_polled_at_once_by_the_next_run_and_may_be_parked_again() -> None:
    """One look at least, however old it is; and no wait of twenty minutes for nothing."""
    parked = row("j0", State.RUNNING, age_s=86_400.0)._replace(parked=True, reason="still queued")
    drive = Drive(jobs(1), rows=[parked], held=["j0"], money=Money(0, PRICE))
    assert drive.scheduler.deferred == set()
    assert drive.take(Step.POLL) == 0
    drive.polled(0, Phase.RUNNING)
    assert drive.scheduler.deferred == {0}
    assert drive.scheduler.is_over()
    assert drive.scheduler.budget.money == Money(0, PRICE)


def test_a_parked_task_is_not_left_for_one_bad_answer() -> None:
    """The mark of the earlier run is gone with the first look: a hiccup of the service does not park it again."""
    parked = row("j0", State.RUNNING)._replace(parked=True)
    drive = Drive(jobs(1), rows=[parked], held=["j0"], money=Money(0, PRICE))
    drive.poll_failed(drive.take(Step.POLL), Fault(FaultKind.UNAVAILABLE, "HTTP 502"))
    assert drive.scheduler.deferred == set()
    assert drive.wait_for(Step.POLL) == 0


def test_a_parked_task_that_has_finished_meanwhile_becomes_a_clip() -> None:
    """Nothing is bought again for it."""
    parked = row("j0", State.RUNNING, age_s=86_400.0)._replace(parked=True)
    drive = Drive(jobs(1), rows=[parked], held=["j0"], money=Money(0, PRICE))
    drive.ready()
    drive.done()
    assert (drive.counts(), dict(drive.posts)) == ({"done": 1}, {})
    assert drive.scheduler.budget.money == Money(PRICE, 0)


def test_a_parked_clip_is_fetched_again_by_the_next_run() -> None:
    """It could not be fetched then; perhaps it can now."""
    parked = row("j0", State.READY)._replace(parked=True)
    drive = Drive(jobs(1), rows=[parked], money=Money(PRICE, 0))
    drive.done()
    assert drive.counts() == {"done": 1}


def test_an_old_task_that_was_not_parked_gets_its_time() -> None:
    """The run before it was killed, perhaps for hours: the task is looked at more than once."""
    drive = Drive(jobs(1), rows=[row("j0", State.RUNNING, age_s=86_400.0)])
    drive.polled(drive.take(Step.POLL), Phase.RUNNING)
    assert drive.scheduler.deferred == set()
    assert drive.wait_for(Step.POLL) == 0


def test_a_clock_that_jumped_back_makes_no_task_younger_than_new() -> None:
    """F71: a task submitted "in the future" has its whole time, and not years of it."""
    drive = Drive(jobs(1), rows=[row("j0", State.RUNNING, age_s=-(10.0**9))])
    while not drive.scheduler.deferred:
        drive.polled(drive.wait_for(Step.POLL), Phase.RUNNING)
    assert drive.now <= 1000.0 + drive.limits.task_timeout_s + drive.limits.poll_longest_s


def test_an_unpriced_attempt_stays_unpriced_when_a_price_is_stated_later() -> None:
    """What was never held cannot be settled: the sums stay true, and nothing held becomes negative."""
    drive = Drive(
        [a_job("j0", price_micros=PRICE)],
        rows=[row("j0", State.RUNNING, price_micros=None)],
        held=["j0"],
        money=Money(unpriced_attempts=1),
    )
    drive.ready()
    assert drive.scheduler.budget.money == Money(unpriced_attempts=1)


def test_an_attempt_is_settled_at_the_price_at_which_it_was_held() -> None:
    """The manifest's price may have changed since."""
    drive = Drive([a_job("j0", price_micros=999)], rows=[row("j0", State.RUNNING)], held=["j0"], money=Money(0, PRICE))
    drive.ready()
    assert drive.scheduler.budget.money == Money(PRICE, 0)


def test_money_that_was_spent_before_is_not_spent_again() -> None:
    """A clip that is ready was paid in the run that found it so; its URL may expire without a further payment."""
    drive = Drive(jobs(1), rows=[row("j0", State.READY)], money=Money(PRICE, 0))
    drive.not_saved(drive.take(Step.DOWNLOAD), Fault(FaultKind.EXPIRED, "403"))
    drive.ready()
    drive.done()
    assert drive.scheduler.budget.money == Money(PRICE, 0)


def test_the_runs_own_limit_is_not_eased_by_what_earlier_runs_held() -> None:
    """``--max-cost`` bounds what this run adds, whatever becomes of older attempts."""
    drive = Drive(
        jobs(3),
        Limits(attempts=1),
        rows=[row("j0", State.RUNNING)],
        held=["j0"],
        money=Money(0, PRICE),
        run_limit_micros=PRICE,
    )
    drive.polled(drive.wait_for(Step.POLL), Phase.FAILED)
    drive.submit()
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now)


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_pending_job_goes_on_with_its_attempts(attempt: int) -> None:
    """A task failed, the run was killed, and the next attempt bears the next number."""
    pending = Progress("j0", State.PENDING, version=9, attempt=attempt, price_micros=PRICE)
    drive = Drive(jobs(2), Limits(attempts=attempt + 1), rows=[pending], money=Money(attempt * PRICE, 0))
    assert drive.started() == 0
    assert drive.state(0).attempt == attempt + 1
    drive.accepted(0)
    drive.polled(drive.wait_for(Step.POLL), Phase.FAILED)
    assert drive.counts() == {"failed": 1, "pending": 1}


def test_a_reopened_job_is_taken_up_like_a_new_one() -> None:
    """A person's word counts."""
    failed = Progress("j0", State.FAILED, version=9, attempt=2, price_micros=PRICE, reason="moderated")
    reopened = life.advance(failed, life.Reopened("--retry-failed"), at=NOW)
    drive = Drive(jobs(1), rows=[reopened], money=Money(2 * PRICE, 0))
    drive.submit()
    drive.polled(drive.wait_for(Step.POLL), Phase.FAILED)
    drive.submit()
    drive.ready()
    drive.done()
    assert drive.counts() == {"done": 1}
    assert drive.scheduler.budget.money == Money(4 * PRICE, 0)
