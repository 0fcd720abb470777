"""Who watches from beside sees what the journal tells, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchvid.domain.job import Progress, State
from batchvid.domain.limits import Limits
from batchvid.domain.records import standings
from batchvid.domain.results import Money
from batchvid.engine.stats import LINES_SHOWN, WatchStatistics
from tests.engine.drive import AT, jobs

if TYPE_CHECKING:
    from batchvid.domain.results import Snapshot


def seen(statistics: WatchStatistics, *, at: float = AT, run_since: float | None = AT - 100) -> Snapshot:
    """Look."""
    return statistics.snapshot(at=at, run_since=run_since, money=Money(), timings={})


def row(name: str, state: State, **more: Any) -> Progress:
    """Return what the journal holds of a job."""
    return Progress(name, state, 1, 1, submitted_at=AT - 50)._replace(**more)


def test_jobs_are_counted_by_how_they_stand_now() -> None:
    """Each once, also when it is told again; one that the manifest does not name is not counted."""
    statistics = WatchStatistics(jobs(4), Limits())
    assert seen(statistics).counts[State.PENDING] == 4
    for state in (State.SUBMITTING, State.RUNNING, State.RUNNING, State.READY):
        statistics.stands(row("j0", state))
    statistics.stands(row("j1", State.RUNNING))
    statistics.stands(row("stranger", State.DONE))
    found = seen(statistics)
    assert {state: number for state, number in found.counts.items() if number} == {
        State.PENDING: 2,
        State.READY: 1,
        State.RUNNING: 1,
    }
    assert (found.in_flight, found.elapsed_s, found.active) == (1, 100.0, True)


def test_the_pace_is_that_of_the_last_minute() -> None:
    """By when the paid requests were begun."""
    statistics = WatchStatistics(jobs(4), Limits())
    for age_s in (90, 59, 30, 1):
        statistics.took_place("SubmitStarted", AT - age_s)
        statistics.took_place("SubmitAccepted", AT - age_s)
    assert seen(statistics).submits_per_min == 3
    assert seen(statistics, at=AT + 45).submits_per_min == 1


def test_the_newest_clips_are_shown_newest_first() -> None:
    """A few of many, in whatever order the journal names them."""
    statistics = WatchStatistics(jobs(90), Limits())
    for number in [*range(0, 90, 2), *range(1, 90, 2)]:
        statistics.stands(row(f"j{number}", State.DONE, path=f"j{number}.mp4", size_bytes=10, finished_at=AT + number))
    found = seen(statistics)
    assert [clip.job_id for clip in found.newest] == [f"j{number}" for number in range(89, 89 - LINES_SHOWN, -1)]
    assert found.downloaded_bytes == 900


def test_jobs_need_a_person_until_they_no_longer_do() -> None:
    """Failed, in doubt and parked ones."""
    statistics = WatchStatistics(jobs(4), Limits())
    statistics.stands(row("j0", State.FAILED, reason="moderated"))
    statistics.stands(row("j1", State.IN_DOUBT))
    statistics.stands(row("j2", State.RUNNING, parked=True))
    assert [one.job_id for one in seen(statistics).needs_person] == ["j0", "j1", "j2"]
    assert (seen(statistics).parked, seen(statistics).in_flight) == (1, 0)
    statistics.stands(row("j1", State.RUNNING))
    statistics.stands(row("j2", State.DONE, path="j2.mp4"))
    assert [one.job_id for one in seen(statistics).needs_person] == ["j0"]


def test_without_a_run_a_request_under_way_is_in_doubt_and_there_is_no_estimate() -> None:
    """Nobody waits for its answer any more."""
    statistics = WatchStatistics(jobs(2), Limits())
    statistics.stands(row("j0", State.SUBMITTING))
    assert seen(statistics).counts[State.SUBMITTING] == 1
    assert seen(statistics).eta_s is not None
    found = seen(statistics, run_since=None)
    assert (found.counts[State.SUBMITTING], found.counts[State.IN_DOUBT], found.in_flight) == (0, 1, 0)
    assert (found.eta_s, found.active) == (None, False)
    assert [one.job_id for one in found.needs_person] == ["j0"]


def test_who_watches_sees_what_is_under_way_and_what_is_deferred() -> None:
    """With its age; the service's words are the run's alone."""
    statistics = WatchStatistics(jobs(5), Limits())
    statistics.stands(row("j0", State.SUBMITTING), at=AT - 7)
    statistics.stands(row("j1", State.RUNNING))
    statistics.stands(row("j2", State.RUNNING, parked=True))
    statistics.stands(row("j3", State.READY, parked=True))
    found = seen(statistics)
    assert [(one.job_id, one.age_s, one.status) for one in found.under_way] == [("j0", 7.0, ""), ("j1", 50.0, "")]
    assert {state: number for state, number in standings(found).items() if number} == {
        State.PENDING: 1,
        State.SUBMITTING: 1,
        State.RUNNING: 1,
        "parked": 2,
    }
    assert found.eta_is_stated
    statistics.stands(row("j0", State.DONE, path="j0.mp4"))
    assert [one.job_id for one in seen(statistics).under_way] == ["j1"]
    assert seen(statistics, run_since=None).under_way == ()
