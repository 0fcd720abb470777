"""A run that nothing disturbs, or not for long: every job ends as one clip, paid for once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.limits import Rate
from batchvid.sandbox.cometapi import MODELS
from tests.run.bench import QUICK, job, jobs

if TYPE_CHECKING:
    from tests.run.conftest import MakeBench


def test_every_job_ends_as_a_clip_that_was_paid_for_once(make_bench: MakeBench) -> None:
    """Twenty jobs are twenty clips and twenty creates, and the exit code says so."""
    bench = make_bench()
    summary = bench.run(jobs(20))
    assert summary.exit_code is Exit.OK
    assert summary.counts[State.DONE] == 20
    assert bench.bought() == {f"The clip job-{n:02}.": 1 for n in range(1, 21)}
    assert len(bench.service.sent("fetch")) == 20


def test_a_further_run_sends_nothing(make_bench: MakeBench) -> None:
    """What is done is done: the second run does not speak to the service at all."""
    bench = make_bench()
    bench.run(jobs(3))
    sent = len(bench.service.calls)
    summary = bench.run(jobs(3))
    assert summary.exit_code is Exit.OK
    assert len(bench.service.calls) == sent


@pytest.mark.parametrize("model", sorted(MODELS))
def test_the_clip_is_found_wherever_a_model_names_it(make_bench: MakeBench, model: str) -> None:
    """Six models answer in five forms, one of them without any URL, and all of them end as clips."""
    bench = make_bench()
    assert bench.run([job("kite", model=model)]).exit_code is Exit.OK
    assert len(bench.creates) == 1


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_no_more_tasks_are_in_flight_than_allowed_and_the_room_is_used(make_bench: MakeBench, limit: int) -> None:
    """The service never sees more than ``in_flight`` unfinished tasks of ours, and at some time as many as that."""
    bench = make_bench()
    summary = bench.run(jobs(18), replace(QUICK, in_flight=limit, submits=None))
    assert summary.exit_code is Exit.OK
    assert bench.service.peak == limit


@pytest.mark.parametrize("rate", [Rate(10, 60), Rate(2, 1), Rate(30, 3600)])
def test_submissions_are_evenly_spaced_and_within_the_limit_in_every_window(make_bench: MakeBench, rate: Rate) -> None:
    """No window of the limit's length holds more creates than it allows, and no two of them come in a burst."""
    bench = make_bench()
    bench.run(jobs(24), replace(QUICK, submits=rate, in_flight=24))
    sent = [call.at for call in bench.service.sent("post")]
    assert len(sent) == 24
    for first in sent:
        assert sum(first <= at < first + rate.period_s for at in sent) <= rate.count
    assert min(later - earlier for earlier, later in pairwise(sent)) > 0.9 * rate.period_s / rate.count


def test_polls_stay_within_their_limit(make_bench: MakeBench) -> None:
    """The rate of all other API calls holds in every second, however many tasks wait."""
    bench = make_bench()
    bench.run(jobs(40), replace(QUICK, submits=None, in_flight=40, requests=Rate(3, 1)))
    sent = [call.at for call in bench.service.sent("get")]
    assert all(sum(first <= at < first + 1.0 for at in sent) <= 3 for first in sent)


def test_a_failed_task_is_bought_once_more(make_bench: MakeBench) -> None:
    """With two attempts, a task that the service fails is followed by a second paid one, and no third."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "nth": 1, "fail": "blocked by a filter"})
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert bench.bought()["The clip job-02."] == 2
    assert bench.row("job-02").attempt == 2
    assert bench.row("job-01").attempt == 1


def test_a_job_whose_attempts_all_fail_is_failed_with_the_services_reason(make_bench: MakeBench) -> None:
    """When the attempts are used up the job is failed, the others are clips, and the exit code is 3."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "fail": "blocked by a filter"})
    summary = bench.run(jobs(3))
    assert summary.exit_code is Exit.FAILED
    assert bench.bought()["The clip job-02."] == 2
    assert "blocked by a filter" in (bench.row("job-02").reason or "")
    assert [need.job_id for need in summary.needs_person] == ["job-02"]


def test_a_rejected_request_fails_its_job_after_one_post(make_bench: MakeBench) -> None:
    """HTTP 500 with the code ``invalid_request`` is the job's own fault: one POST, nothing billed, others unharmed."""
    wrong = {"error": {"code": "invalid_request", "message": "no such size", "type": "comet_api_error"}}
    bench = make_bench({"on": "create", "prompt": "*job-02*", "status": 500, "body": wrong})
    summary = bench.run(jobs(3))
    assert summary.exit_code is Exit.FAILED
    assert len(bench.service.sent("post")) == 3
    assert "The clip job-02." not in bench.bought()
    assert bench.row("job-02").reason == "no such size"


def test_a_fresh_id_may_be_unknown_for_some_seconds(make_bench: MakeBench) -> None:
    """A task that its own service does not find yet is looked at again, and neither lost nor bought again."""
    bench = make_bench(grace_s=45.0)
    assert bench.run(jobs(4), replace(QUICK, typical_time_s=5.0)).exit_code is Exit.OK
    assert len(bench.creates) == 4


def test_only_the_chosen_jobs_are_submitted(make_bench: MakeBench) -> None:
    """``--only`` buys what its patterns name, and how the run ended is told of these jobs alone."""
    bench = make_bench({"on": "create", "prompt": "*job-05*", "reset": "after-effect"})
    bench.run(jobs(12), only=("job-05",))
    for _ in range(2):  # the second finds that the chosen ones are done
        summary = bench.run(jobs(12), only=("job-1*", "job-02"))
        assert sorted(bench.bought()) == [f"The clip job-{number}." for number in ("02", "05", "10", "11", "12")]
        assert {state: number for state, number in summary.counts.items() if number} == {State.DONE: 4}
        assert (summary.exit_code, summary.not_chosen, summary.needs_person) == (Exit.OK, 8, ())
    none = bench.run(jobs(12), only=())
    assert (none.exit_code, none.not_chosen) == (Exit.STOPPED, 12)
    assert len(bench.creates) == 5


def test_a_task_of_a_job_that_was_not_chosen_is_collected_and_not_bought_again(make_bench: MakeBench) -> None:
    """``--only``: what is paid is looked after, and a second attempt is the business of a run that chose the job."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "nth": 1, "fail": "blocked"})

    def drain() -> None:
        asyncio.get_running_loop().call_later(15, bench.interrupts.received, Exit.INTERRUPTED)

    bench.run(jobs(3), meanwhile=drain)
    assert {bench.row(f"job-0{number}").state for number in (1, 2, 3)} == {State.RUNNING}
    summary = bench.run(jobs(3), only=("job-01",))
    assert (summary.exit_code, summary.not_chosen) == (Exit.OK, 2)
    assert [bench.row(f"job-0{number}").state.value for number in (1, 2, 3)] == ["done", "pending", "done"]
    assert len(bench.creates) == 3
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert len(bench.creates) == 4
