"""What stops a run early: the account, the budget, the breaker, the window, a person. What is paid is collected."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.limits import Rate
from batchvid.storage import download as transfer
from tests.run import memory
from tests.run.bench import PRICE, QUICK, STARTS_AT, Bench, jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchvid.domain.limits import Limits
    from tests.run.conftest import MakeBench

NO_QUOTA = {"code": None, "message": "user quota is not enough"}
INVALID = {"error": {"code": "invalid_request", "message": "no such size"}}


def test_a_refused_key_ends_the_run_before_anything_else_is_submitted(make_bench: MakeBench) -> None:
    """401 on the first create: exit 6, one POST, every job still pending."""
    bench = make_bench()
    bench.service.key = "sk-wrong"
    summary = bench.run(jobs(10))
    assert summary.exit_code is Exit.ACCOUNT
    assert len(bench.service.sent("post")) == 1
    assert summary.counts[State.PENDING] == 10


def test_when_the_quota_ends_the_rest_is_collected(make_bench: MakeBench) -> None:
    """No money left in the midst of a run: no further submit, the paid tasks become clips, exit 6."""
    bench = make_bench({"on": "create", "scope": "call", "nth": "4-", "status": 403, "body": NO_QUOTA})
    summary = bench.run(jobs(10))
    assert summary.exit_code is Exit.ACCOUNT
    assert summary.counts[State.DONE] == 3
    assert summary.counts[State.PENDING] == 7
    assert "quota" in (summary.stopped or "")
    bench.script()
    assert bench.run(jobs(10)).exit_code is Exit.OK


FORBIDDEN = {"message": "Forbidden"}


def test_one_job_that_is_forbidden_fails_alone(make_bench: MakeBench) -> None:
    """A 403 without words of money is about that job; the others are submitted, and the night goes on."""
    rules = [{"on": "create", "prompt": f"*job-0{n}*", "status": 403, "body": FORBIDDEN} for n in (2, 3, 5)]
    bench = make_bench(*rules)
    summary = bench.run(jobs(10), replace(QUICK, submits=Rate(6, 60)))
    assert summary.exit_code is Exit.FAILED
    assert (summary.counts[State.FAILED], summary.counts[State.DONE]) == (3, 7)


def test_three_jobs_in_a_row_that_are_forbidden_stop_submitting(make_bench: MakeBench) -> None:
    """Then it is the account's trouble: exit 6 with the service's words, the paid ones collected, the rest pending."""
    bench = make_bench({"on": "create", "scope": "call", "nth": "3-", "status": 403, "body": FORBIDDEN})
    summary = bench.run(jobs(10), replace(QUICK, submits=Rate(6, 60)))
    assert summary.exit_code is Exit.ACCOUNT
    assert "3 jobs in a row" in (summary.stopped or "")
    assert "Forbidden" in (summary.stopped or "")
    assert len(bench.service.sent("post")) == 5
    assert (summary.counts[State.DONE], summary.counts[State.FAILED], summary.counts[State.PENDING]) == (2, 3, 5)


@pytest.mark.parametrize("status", [401, 403])
def test_one_poll_with_a_refused_key_stops_nothing(make_bench: MakeBench, status: int) -> None:
    """It may be a gateway's bad moment: looked at again."""
    bench = make_bench({"on": "poll", "scope": "call", "nth": 2, "status": status, "body": FORBIDDEN})
    assert bench.run(jobs(6)).exit_code is Exit.OK


@pytest.mark.parametrize("status", [401, 403])
def test_polls_that_are_refused_now_and_then_stop_nothing(make_bench: MakeBench, status: int) -> None:
    """Of different tasks, and one after the other: each is answered when it is looked at again."""
    bench = make_bench({"on": "poll", "nth": 1, "status": status, "body": FORBIDDEN})
    assert bench.run(jobs(25)).exit_code is Exit.OK


def test_tasks_that_bring_no_clip_one_after_the_other_stop_the_buying(make_bench: MakeBench) -> None:
    """A word that nobody knows must not use up the budget: each such task is paid."""
    bench = make_bench({"on": "poll", "set": {"status": "pondering"}})
    summary = bench.run(jobs(60), replace(QUICK, task_timeout_s=60.0, in_flight=4))
    assert summary.exit_code is Exit.STOPPED
    assert "brought no clip" in (summary.stopped or "")
    assert len(bench.creates) <= QUICK.breaker + 4
    bench.script()
    while (left := 60 - bench.run(jobs(60), replace(QUICK, breaker=60)).counts[State.DONE]) > 0:
        assert left < 60
    assert set(bench.bought().values()) == {1}


@pytest.mark.parametrize("status", [401, 403])
def test_two_polls_in_a_row_with_a_refused_key_stop_submitting(make_bench: MakeBench, status: int) -> None:
    """What is bought after that might never be collected."""
    bench = make_bench({"on": "poll", "scope": "call", "nth": "2-", "status": status, "body": FORBIDDEN})
    summary = bench.run(jobs(60), replace(QUICK, submits=Rate(6, 60), in_flight=50))
    assert summary.exit_code is Exit.ACCOUNT
    assert summary.counts[State.PENDING] > 30
    bench.script()
    assert bench.run(jobs(60)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirected_create_is_not_followed(make_bench: MakeBench, status: int) -> None:
    """A redirect means a wrong base URL: exit 78 after one POST, and nobody is sent the prompt."""
    bench = make_bench({"on": "create", "status": status, "redirect": "https://elsewhere.example/v1/videos"})
    summary = bench.run(jobs(5))
    assert summary.exit_code is Exit.CONFIG
    assert "base_url" in (summary.stopped or "")
    assert len(bench.service.sent("post")) == 1


@pytest.mark.parametrize(("in_flight", "submits"), [(1, Rate(60, 60)), (8, Rate(60, 60)), (20, None)])
@pytest.mark.parametrize("rules", [[], [{"on": "create", "prompt": "*", "nth": 1, "fail": "blocked"}]])
def test_the_budget_is_reached_and_never_exceeded(
    make_bench: MakeBench, in_flight: int, submits: Rate | None, rules: list[dict[str, Any]]
) -> None:
    """Under any concurrency, and with tasks that fail after they are charged, spent and held money fit the budget."""
    bench = make_bench(*rules)
    budget = int(5.5 * PRICE)
    limits = replace(QUICK, budget_micros=budget, in_flight=in_flight, submits=submits)
    summary = bench.run(jobs(12), limits)
    assert summary.exit_code is Exit.BUDGET
    assert len(bench.creates) == 5
    assert bench.view.committed_micros <= budget
    again = bench.run(jobs(12), limits)
    assert again.exit_code is Exit.BUDGET
    assert len(bench.creates) == 5


def test_a_runs_own_limit_counts_only_what_this_run_buys(make_bench: MakeBench) -> None:
    """``--max-cost`` bounds what a run adds: two runs add twice as much."""
    bench = make_bench()
    for expected in (2, 4):
        assert bench.run(jobs(12), max_cost_micros=2 * PRICE).exit_code is Exit.BUDGET
        assert len(bench.creates) == expected


def test_refused_requests_use_up_no_budget(make_bench: MakeBench) -> None:
    """A request that surely created nothing gives its money back."""
    bench = make_bench({"on": "create", "nth": "1-3", "status": 429, "body": INVALID})
    limits = replace(QUICK, budget_micros=3 * PRICE)
    assert bench.run(jobs(3), limits).exit_code is Exit.OK


def test_a_refusal_that_only_somebodys_word_proves_goes_on_counting(make_bench: MakeBench) -> None:
    """The budget holds even when every such word is a lie: all of these requests were billed, and none too many."""
    word = {"error": {"code": "model_not_found", "message": "no channel", "type": "comet_api_error"}}
    bench = make_bench({"on": "create", "nth": 1, "status": 503, "body": word, "effect": True})
    summary = bench.run(jobs(4), replace(QUICK, budget_micros=3 * PRICE), checked=False)
    assert summary.exit_code is Exit.BUDGET
    assert len(bench.creates) == 3
    assert (summary.money.unproven_micros, summary.money.spent_micros) == (2 * PRICE, PRICE)
    assert bench.run(jobs(4), replace(QUICK, budget_micros=3 * PRICE), checked=False).exit_code is Exit.BUDGET
    assert len(bench.creates) == 3


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_a_job_sends_few_requests_in_one_run_whatever_becomes_of_them(make_bench: MakeBench, attempts: int) -> None:
    """Some rule about answers will be wrong one day: ``attempts + 2`` bounds what it costs; the next run goes on."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "status": 429, "body": INVALID})
    summary = bench.run(jobs(3), replace(QUICK, attempts=attempts))
    assert summary.exit_code is Exit.STOPPED
    assert "attempts + 2" in (summary.stopped or "")
    assert (summary.counts[State.DONE], summary.counts[State.PENDING]) == (2, 1)
    assert len(bench.service.sent("post")) == 2 + attempts + 2
    bench.script()
    assert bench.run(jobs(3)).exit_code is Exit.OK


def test_the_breaker_stops_after_so_many_failures_in_a_row(make_bench: MakeBench) -> None:
    """Ten thousand broken prompts are not tried to the end."""
    bench = make_bench({"on": "create", "status": 400, "body": INVALID})
    summary = bench.run(jobs(30), replace(QUICK, breaker=4))
    assert summary.exit_code is Exit.STOPPED
    assert summary.counts[State.FAILED] == 4
    assert "breaker" in (summary.stopped or "")


def test_the_rest_waits_for_the_canaries_clips(make_bench: MakeBench) -> None:
    """With ``canary: 2``, the third create leaves only after two clips are on disk."""
    bench = make_bench()
    assert bench.run(jobs(6), replace(QUICK, canary=2)).exit_code is Exit.OK
    events = [event for _, event in bench.view.events if isinstance(event, life.SubmitStarted | life.ClipSaved)]
    kinds = [type(event) for event in events[:5]]
    assert kinds == [*[life.SubmitStarted] * 2, *[life.ClipSaved] * 2, life.SubmitStarted]


@pytest.mark.parametrize("fault", [{"fail": "blocked"}, {"reset": "after-effect"}, {"never": True}])
def test_a_canary_that_brings_no_clip_holds_the_rest_back(make_bench: MakeBench, fault: dict[str, Any]) -> None:
    """Failed, in doubt or never finished: the other jobs are not started."""
    bench = make_bench({"on": "create", "prompt": "*job-01*", **fault})
    summary = bench.run(jobs(6), replace(QUICK, canary=1, attempts=1))
    assert summary.exit_code in {Exit.STOPPED, Exit.IN_DOUBT}
    assert set(bench.bought()) == {"The clip job-01."}
    assert "canary" in (summary.stopped or "")


def test_no_more_jobs_than_asked_for_are_submitted(make_bench: MakeBench) -> None:
    """``--max-jobs 3`` submits three jobs and says that there are more; refused requests do not count."""
    bench = make_bench({"on": "create", "scope": "call", "nth": [1, 3, 4], "status": 429, "body": INVALID})
    summary = bench.run(jobs(8), max_jobs=3)
    assert summary.exit_code is Exit.STOPPED
    assert summary.counts[State.DONE] == len(bench.creates) == 3


def test_a_job_that_is_out_gets_its_second_attempt_when_no_more_jobs_may_begin(make_bench: MakeBench) -> None:
    """``--max-jobs 1`` and a task that fails once: the one job becomes a clip, the rest stays pending."""
    bench = make_bench({"on": "create", "scope": "call", "nth": 1, "fail": "blocked"})
    summary = bench.run(jobs(3), max_jobs=1)
    assert (summary.counts[State.DONE], summary.counts[State.PENDING]) == (1, 2)
    assert summary.exit_code is Exit.STOPPED
    assert len(bench.creates) == 2


def test_a_wish_concerns_only_the_jobs_that_were_chosen(make_bench: MakeBench) -> None:
    """``--only job-01 --retry-failed`` leaves the other failed job failed, also for the run after it."""
    bench = make_bench({"on": "create", "scope": "call", "times": 2, "fail": "blocked"})
    limits = replace(QUICK, attempts=1)
    assert bench.run(jobs(2), limits).counts[State.FAILED] == 2
    bench.run(jobs(2), limits, only=("job-01",), retry_failed=True)
    assert bench.run(jobs(2), limits).counts == {**dict.fromkeys(State, 0), State.DONE: 1, State.FAILED: 1}
    assert len(bench.creates) == 3


@pytest.mark.parametrize(("limits", "options"), [(QUICK, {"max_jobs": 1}), (replace(QUICK, canary=1), {})])
def test_a_second_attempt_is_not_held_up_by_jobs_that_may_not_begin(
    make_bench: MakeBench, limits: Limits, options: dict[str, Any]
) -> None:
    """A job that is out may go again, after a refusal too, while the new ones before it in the queue must wait."""
    bench = make_bench(
        {"on": "create", "prompt": "*job-01*", "nth": 2, "status": 429, "body": INVALID},
        {"on": "create", "prompt": "*job-01*", "nth": 1, "fail": "blocked"},
    )
    summary = bench.run(jobs(5), limits, **options)
    assert bench.row("job-01").state is State.DONE
    assert summary.exit_code is (Exit.STOPPED if options else Exit.OK)
    assert len(bench.creates) == (2 if options else 6)


def test_a_limit_that_is_just_enough_is_no_early_stop(make_bench: MakeBench) -> None:
    """``--max-jobs 3`` with three jobs, and a budget for exactly these, end with 0."""
    bench = make_bench()
    limits = replace(QUICK, budget_micros=3 * PRICE)
    assert bench.run(jobs(3), limits, max_jobs=3).exit_code is Exit.OK


def test_when_the_window_closes_what_is_out_is_collected(make_bench: MakeBench) -> None:
    """``--until``: nothing is submitted after that moment, what was is fetched, exit 5."""
    bench = make_bench()
    closes_at = STARTS_AT + 4.5
    summary = bench.run(jobs(20), until_at=closes_at)
    assert summary.exit_code is Exit.STOPPED
    assert max(call.at for call in bench.service.sent("post")) < closes_at
    assert summary.counts[State.DONE] == len(bench.creates) == 5


def test_a_window_that_closed_before_submits_nothing(make_bench: MakeBench) -> None:
    """A run that starts too late only collects."""
    bench = make_bench()
    summary = bench.run(jobs(3), until_at=STARTS_AT - 1)
    assert summary.exit_code is Exit.STOPPED
    assert bench.service.calls == []


def test_a_window_that_closes_after_the_last_submit_is_no_early_stop(make_bench: MakeBench) -> None:
    """Everything was submitted in time: 0."""
    bench = make_bench()
    assert bench.run(jobs(3), until_at=STARTS_AT + 10).exit_code is Exit.OK


def signals(bench: Bench, *after_s: float, code: Exit = Exit.INTERRUPTED) -> Callable[[], None]:
    """Return what sends the signals so many seconds after the start."""

    def plan() -> None:
        loop = asyncio.get_running_loop()
        for moment_s in after_s:
            loop.call_at(loop.time() + moment_s, bench.interrupts.received, code)

    return plan


@pytest.mark.parametrize("code", [Exit.INTERRUPTED, Exit.TERMINATED])
@pytest.mark.parametrize("after_s", [0.0, 0.3, 5.1, 5.35, 30.0, 50.0, 52.3])
def test_a_signal_drains_the_run(make_bench: MakeBench, after_s: float, code: Exit) -> None:
    """Nothing new is sent after the first signal; what was under way is recorded; the next run completes the rest."""
    bench = make_bench()
    summary = bench.run(jobs(12), meanwhile=signals(bench, after_s, code=code))
    assert summary.exit_code is code
    assert all(call.at <= STARTS_AT + after_s + 0.02 for call in bench.service.calls)
    assert summary.elapsed_s < after_s + 2
    known = {one.task_id for tries in bench.attempts().values() for one in tries}
    assert {line["task_id"] for line in bench.creates} <= known
    assert summary.counts[State.IN_DOUBT] + summary.counts[State.SUBMITTING] == 0
    assert bench.run(jobs(12)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}


@pytest.mark.parametrize("after_s", [1.03, 20.0, 40.0, 60.0])
def test_a_signal_drains_a_run_in_which_much_is_under_way(make_bench: MakeBench, after_s: float) -> None:
    """With requests of every kind overlapping, none begins after the signal."""
    bench = make_bench()
    limits = replace(QUICK, submits=Rate(20, 1), requests=Rate(50, 1), in_flight=60)
    wanted = jobs(90)
    summary = bench.run(wanted, limits, meanwhile=signals(bench, after_s))
    assert summary.exit_code is Exit.INTERRUPTED
    assert all(call.at <= STARTS_AT + after_s + 0.02 for call in bench.service.calls)
    assert bench.run(wanted, limits).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}


@pytest.mark.parametrize("brings", [0, 2**30])
def test_a_drain_ends_although_a_transfer_does_not(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, brings: int
) -> None:
    """Slow or fast: systemd waits 330 s. The clip is paid, and the next run fetches it."""
    monkeypatch.setattr(memory, "BLOCK_BYTES", 10)
    monkeypatch.setattr(memory, "BLOCK_S", 5.0)
    monkeypatch.setattr(transfer, "SLOWEST_BYTES_PER_S", 0 if brings else 1)
    bench = make_bench()
    stopped_after_s = 100.0
    summary = bench.run(jobs(3), meanwhile=signals(bench, stopped_after_s))
    assert summary.exit_code is Exit.INTERRUPTED
    assert summary.counts[State.READY] > 0
    assert summary.elapsed_s < stopped_after_s + 120
    monkeypatch.undo()
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}


@pytest.mark.parametrize("after_s", [5.05, 5.1, 5.35, 30.0, 50.0, 52.3])
def test_a_second_signal_stops_at_once_and_loses_nothing(make_bench: MakeBench, after_s: float) -> None:
    """Requests under way are given up: they are in doubt, or known; no create is ever sent twice."""
    bench = make_bench()
    summary = bench.run(jobs(12), meanwhile=signals(bench, after_s, after_s + 0.01))
    assert summary.exit_code in {Exit.INTERRUPTED, Exit.IN_DOUBT}
    assert summary.elapsed_s < after_s + 0.1
    later = bench.run(jobs(12))
    assert set(bench.bought().values()) == {1}
    doubtful = [row for row in bench.rows().values() if row.state is State.IN_DOUBT]
    assert later.exit_code is (Exit.IN_DOUBT if doubtful else Exit.OK)
    assert len(doubtful) <= 1


def test_a_signal_when_everything_is_done_changes_nothing(make_bench: MakeBench) -> None:
    """A run that has nothing left to do ends with 0, whatever comes."""
    bench = make_bench()
    bench.run(jobs(2))
    assert bench.run(jobs(2), meanwhile=signals(bench, 0.0)).exit_code is Exit.OK


def test_failed_jobs_are_bought_again_only_when_asked(make_bench: MakeBench) -> None:
    """A plain run leaves a failed job alone; ``--retry-failed`` grants it its attempts again."""
    bench = make_bench({"on": "create", "prompt": "*job-01*", "nth": "1-2", "fail": "blocked"})
    assert bench.run(jobs(2)).exit_code is Exit.FAILED
    assert bench.run(jobs(2)).exit_code is Exit.FAILED
    assert bench.bought()["The clip job-01."] == 2
    assert bench.run(jobs(2), retry_failed=True).exit_code is Exit.OK
    assert bench.bought()["The clip job-01."] == 3
