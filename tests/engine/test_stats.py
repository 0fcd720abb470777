"""How a run stands: sums that are right, lists that stay short, and an estimate that makes sense."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit
from batchvid.domain.job import Progress, State
from batchvid.domain.limits import Limits, Rate
from batchvid.domain.records import standings
from batchvid.domain.task import Fault, FaultKind, Phase
from batchvid.engine.scheduler import Step
from batchvid.engine.stats import LINES_SHOWN, SHOWN, RunStatistics
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
    for number in range(100):
        progress = Progress(f"j{number}", State.DONE)
        statistics.happened(life.SubmitStarted(1, PRICE, "f"), progress, at=1.0)
        statistics.happened(life.ClipSaved(f"j{number}.mp4", 10, "ab"), progress, at=float(number))
    snapshot = statistics.snapshot(now=drive.now, submits_per_min=0.0)
    assert (snapshot.submits, snapshot.downloaded_bytes) == (100, 1000)
    assert [clip.job_id for clip in snapshot.newest] == [f"j{number}" for number in range(99, 99 - LINES_SHOWN, -1)]


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


def test_jobs_under_way_are_told_with_age_progress_and_last_word() -> None:
    """The oldest first; what the service said of a task is forgotten with it."""
    statistics = standing_of(Drive(jobs(3)))

    def under_way() -> list[tuple[str, State, float | None, float | None, str]]:
        snapshot = statistics.snapshot(now=0.0, submits_per_min=0.0, at=100.0)
        return [(one.job_id, one.state, one.age_s, one.progress_percent, one.status) for one in snapshot.under_way]

    for number, name in enumerate("ab"):
        row = Progress(name, State.SUBMITTING, attempt=1)
        statistics.happened(life.SubmitStarted(1, PRICE, "f"), row, at=60.0 + number)
    assert under_way()[0] == ("a", State.SUBMITTING, 40.0, None, "")
    row = Progress("a", State.RUNNING, attempt=1, submitted_at=62.0)
    statistics.happened(life.SubmitAccepted("t"), row, at=62.0)
    statistics.happened(life.StillRunning("in_progress", 45.0), row, at=70.0)
    assert under_way() == [
        ("a", State.RUNNING, 38.0, 45.0, "in_progress"),
        ("b", State.SUBMITTING, 39.0, None, ""),
    ]
    statistics.happened(life.PollFailed("HTTP 503"), row, at=71.0)
    assert under_way()[0] == ("a", State.RUNNING, 38.0, 45.0, "HTTP 503")
    statistics.happened(life.TaskSucceeded(None), row._replace(state=State.READY), at=72.0)
    assert under_way()[0] == ("a", State.READY, 38.0, None, "")
    statistics.happened(life.ClipSaved("a.mp4", 1, "h"), row._replace(state=State.DONE), at=73.0)
    statistics.happened(life.TimedOut("late"), Progress("b", State.RUNNING, parked=True), at=74.0)
    assert under_way() == []


def test_a_deferred_job_is_not_running() -> None:
    """Wherever jobs are counted: it stands for itself, whether its task or its clip is left for the next run."""
    drive = Drive(jobs(3))
    statistics = standing_of(drive)
    for _ in range(3):
        drive.submit()
    drive.record(0, life.TimedOut("late"))
    drive.record(1, life.TaskSucceeded(None))
    drive.record(1, life.DownloadFailed("gone", parked=True))
    snapshot = statistics.snapshot(now=drive.now, submits_per_min=0.0)
    found = {state: number for state, number in standings(snapshot).items() if number}
    assert found == {State.RUNNING: 1, "parked": 2}
    assert (snapshot.parked, snapshot.parked_ready, snapshot.counts[State.RUNNING]) == (2, 1, 2)


def test_an_outage_has_a_beginning_a_cause_a_next_look_and_no_estimate() -> None:
    """A single bad answer is none, and one good answer ends it."""
    drive = Drive(jobs(3), Limits(in_flight=2))
    statistics = standing_of(drive)
    index = drive.submit()
    fault = Fault(FaultKind.UNAVAILABLE, "unavailable (HTTP 503)")
    began = drive.now
    drive.poll_failed(drive.wait_for(Step.POLL), fault)
    sent = drive.now
    early = statistics.snapshot(now=sent + 1.0, submits_per_min=0.0)
    assert (early.away_s, early.next_look_s) == (None, None)
    assert early.eta_s is not None
    drive.poll_failed(drive.wait_for(Step.POLL), fault)
    drive.now = sent + 60.0
    out = statistics.snapshot(now=drive.now, submits_per_min=0.0)
    assert (out.away_s, out.away_because, out.eta_s) == (60.0, "unavailable (HTTP 503)", None)
    assert out.next_look_s == 0.0, "the pace of submitting is not what keeps it from looking"
    drive.polled(drive.wait_for(Step.POLL), Phase.RUNNING)
    back = statistics.snapshot(now=drive.now, submits_per_min=0.0)
    assert (back.away_s, back.away_because) == (None, "")
    assert back.eta_s is not None
    assert began <= sent
    assert drive.state(index).state is State.RUNNING


def test_what_a_stop_still_waits_for_is_bounded() -> None:
    """By the last task's time where no more is submitted, and by the requests under way where the run is to end."""
    drive = Drive(jobs(3), Limits(task_timeout_s=1200.0))
    statistics = standing_of(drive)
    drive.submit()
    assert statistics.snapshot(now=drive.now, submits_per_min=0.0).at_most_s is None
    drive.scheduler.breaker.halt(Exit.STOPPED, "the time window has closed")
    assert statistics.snapshot(now=drive.now + 200.0, submits_per_min=0.0).at_most_s == pytest.approx(1000.0)
    other = Drive(jobs(3))
    statistics = standing_of(other)
    other.started()
    other.scheduler.draining = True
    assert statistics.snapshot(now=other.now, submits_per_min=0.0).at_most_s == 300.0
    assert statistics.snapshot(now=other.now + 250.0, submits_per_min=0.0).at_most_s == 50.0


def test_an_estimate_of_what_nobody_has_seen_says_so() -> None:
    """Until a task has finished, in this run or in an earlier one."""
    drive = Drive(jobs(3))
    statistics = standing_of(drive)
    assert statistics.snapshot(now=0.0, submits_per_min=0.0).eta_is_stated
    statistics.task_took(45.0)
    assert not statistics.snapshot(now=0.0, submits_per_min=0.0).eta_is_stated
    before = Drive(jobs(3))
    before.scheduler.planner.of(before.scheduler.jobs[0].timing_class).learn(45.0)
    assert not standing_of(before).snapshot(now=0.0, submits_per_min=0.0).eta_is_stated
