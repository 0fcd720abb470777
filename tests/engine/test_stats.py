"""How a run stands: sums that are right, lists that stay short, and an estimate that makes sense."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit
from batchvid.domain.job import Progress, State
from batchvid.domain.limits import Limits, Rate
from batchvid.engine.stats import SHOWN, RunStatistics
from tests.engine.drive import PRICE, Drive, jobs


def standing_of(drive: Drive) -> RunStatistics:
    """Return the standing of a driven run."""
    return RunStatistics(drive.scheduler, started=drive.now)


def test_a_snapshot_tells_how_the_run_stands() -> None:
    """Counts of every state, money, room and time."""
    drive = Drive(jobs(3), Limits(budget_micros=10 * PRICE))
    statistics = standing_of(drive)
    drive.submit()
    snapshot = statistics.snapshot(now=drive.now + 5.0, submits_per_min=1.5)
    assert set(snapshot.counts) == set(State)
    assert (snapshot.counts[State.RUNNING], snapshot.counts[State.PENDING]) == (1, 2)
    assert (snapshot.money.reserved_micros, snapshot.money.budget_micros) == (PRICE, 10 * PRICE)
    assert (snapshot.in_flight, snapshot.in_flight_limit, snapshot.downloads_limit) == (1, 20, 4)
    assert (snapshot.elapsed_s, snapshot.submits_per_min, snapshot.stopping) == (5.0, 1.5, None)
    assert (snapshot.slowed_to, snapshot.paused_s, snapshot.parked) == (1.0, 0.0, 0)


def test_what_this_run_did_is_counted() -> None:
    """Paid requests and downloaded bytes; newest clips first, a few of them."""
    drive = Drive(jobs(1))
    statistics = standing_of(drive)
    for number in range(20):
        progress = Progress(f"j{number}", State.DONE)
        statistics.happened(life.SubmitStarted(1, PRICE, "f"), progress, at=1.0)
        statistics.happened(life.ClipSaved(f"j{number}.mp4", 10, "ab"), progress, at=float(number))
    snapshot = statistics.snapshot(now=drive.now, submits_per_min=0.0)
    assert (snapshot.submits, snapshot.downloaded_bytes) == (20, 200)
    assert [clip.job_id for clip in snapshot.newest] == [f"j{number}" for number in range(19, 19 - SHOWN, -1)]


def test_jobs_that_need_a_person_are_listed_until_they_no_longer_do() -> None:
    """Failed, in doubt and parked ones, with their reasons."""
    statistics = standing_of(Drive(jobs(1)))
    doubt = Progress("j1", State.IN_DOUBT, reason="reset")
    statistics.happened(life.SubmitUnsure("reset"), doubt, at=1.0)
    statistics.stands(Progress("j2", State.FAILED, reason="moderated"))
    statistics.stands(Progress("j3", State.RUNNING, parked=True, reason="20 min"))
    statistics.stands(Progress("j4", State.RUNNING))
    listed = {one.job_id: one.reason for one in statistics.needs_person.values()}
    assert listed == {"j1": "reset", "j2": "moderated", "j3": "20 min"}
    statistics.happened(life.Reopened("a person"), Progress("j1", State.PENDING), at=2.0)
    assert "j1" not in statistics.needs_person


def test_a_snapshot_lists_a_few_of_many_that_need_a_person() -> None:
    """The counts tell how many there are."""
    statistics = standing_of(Drive(jobs(1)))
    for number in range(100):
        statistics.stands(Progress(f"j{number}", State.FAILED))
    assert len(statistics.snapshot(now=0.0, submits_per_min=0.0).needs_person) == SHOWN


def test_a_run_that_stops_says_why() -> None:
    """The worst reason, and an interruption before all."""
    drive = Drive(jobs(1))
    statistics = standing_of(drive)
    drive.scheduler.breaker.halt(Exit.STOPPED, "the time window has closed")
    drive.scheduler.breaker.halt(Exit.ACCOUNT, "no quota")
    assert statistics.snapshot(now=0.0, submits_per_min=0.0).stopping == "no quota"
    drive.scheduler.draining = True
    assert "interrupted" in str(statistics.snapshot(now=0.0, submits_per_min=0.0).stopping)


def test_nothing_left_takes_no_time() -> None:
    """An estimate of 0, not of one task more."""
    assert standing_of(Drive([])).eta_s(0.0) == 0.0


@pytest.mark.parametrize(
    ("limits", "least_s", "most_s"),
    [
        (Limits(in_flight=10, submits=None), 900.0, 1100.0),
        (Limits(in_flight=1000, submits=Rate(10, 60)), 600.0, 800.0),
        (Limits(in_flight=10, submits=None, typical_time_s=30.0), 300.0, 400.0),
    ],
)
def test_the_estimate_follows_the_narrower_of_room_and_rate(limits: Limits, least_s: float, most_s: float) -> None:
    """A hundred jobs: by tasks in flight, or by submits a minute."""
    drive = Drive(jobs(100), limits)
    eta_s = standing_of(drive).eta_s(drive.now)
    assert least_s <= eta_s <= most_s


def test_the_estimate_learns_from_the_tasks_of_this_run() -> None:
    """Twice as fast as stated is half the time, once enough of them were seen."""
    drive = Drive(jobs(100), Limits(in_flight=10, submits=None))
    statistics = standing_of(drive)
    stated_s = statistics.eta_s(drive.now)
    for _ in range(200):
        statistics.task_took(45.0)
    assert statistics.eta_s(drive.now) == pytest.approx(stated_s / 2, rel=0.15)


def test_what_a_limit_keeps_from_being_submitted_takes_no_time() -> None:
    """The budget, ``--max-jobs`` and the window end a run before its jobs do."""
    limits = Limits(in_flight=10, submits=Rate(10, 60), budget_micros=10 * PRICE)
    whole = standing_of(Drive(jobs(100), replace(limits, budget_micros=None))).eta_s(1000.0)
    assert standing_of(Drive(jobs(100), limits)).eta_s(1000.0) < whole / 3
    assert standing_of(Drive(jobs(100), replace(limits, budget_micros=None), max_jobs=10)).eta_s(1000.0) < whole / 3
    closing = Drive(jobs(100), replace(limits, budget_micros=None), stop_submitting_at=1060.0)
    assert standing_of(closing).eta_s(1000.0) < whole / 3
    drained = Drive(jobs(100), limits)
    drained.scheduler.draining = True
    assert standing_of(drained).eta_s(1000.0) == 0.0


def test_canaries_come_before_the_rest() -> None:
    """Nothing else starts before they are clips, so their time is added."""
    limits = Limits(in_flight=10, submits=None)
    plain, careful = (standing_of(Drive(jobs(50), one)) for one in (limits, replace(limits, canary=2)))
    assert plain.eta_s(1000.0) + 80 < careful.eta_s(1000.0) < plain.eta_s(1000.0) + 140


def test_one_url_for_two_jobs_is_told_once_for_each() -> None:
    """F50: the second one is warned of, and the first is not a stranger to itself."""
    statistics = standing_of(Drive([]))
    told = [statistics.other_with("https://h/1", job_id=job_id) for job_id in ("a", "a", "b", "b", "c")]
    assert told == [None, None, "a", None, "a"]
    assert statistics.other_with("https://h/2", job_id="b") is None
