"""A service that is too busy, or away: the whole run slows or waits, and nothing is bought twice for that."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.limits import Rate
from batchvid.providers.response import LostAt
from tests.run.bench import QUICK, STARTS_AT, jobs
from tests.run.memory import Outage
from tests.run.virtual import VirtualLoop

if TYPE_CHECKING:
    from tests.run.conftest import MakeBench

HOUR_S = 3600.0
FOR_EVER_S = 1e9
TOO_FAST = {"error": {"code": "rate_limit_exceeded", "message": "too many requests"}}


def test_too_fast_slows_the_whole_run_and_the_pace_comes_back(make_bench: MakeBench) -> None:
    """After one 429 all submissions are spaced twice as wide; with peace the pace grows back to the limit."""
    rule = {"on": "create", "scope": "call", "nth": 5, "status": 429, "body": TOO_FAST}
    bench = make_bench(rule)
    summary = bench.run(jobs(120), replace(QUICK, in_flight=100, submits=Rate(30, 60)))
    sent = [call.at for call in bench.service.sent("post")]
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert summary.exit_code is Exit.OK
    assert len(bench.creates) == 120
    assert min(gaps[:4]) == pytest.approx(2.0, rel=0.1)
    assert sum(gaps[5:9]) / 4 == pytest.approx(4.0, rel=0.2)
    assert gaps[-1] == pytest.approx(2.0, rel=0.1)
    assert min(bench.view.shares) == 0.5
    assert bench.view.shares[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ({"retry-after": "40"}, 40.0),
        ({"retry-after-ms": "7500"}, 7.5),
        ({"retry-after": "1000000000"}, 900.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:01:05 GMT"}, 60.0),
    ],
    ids=str,
)
def test_what_the_service_asks_to_wait_is_waited_by_all(
    make_bench: MakeBench, header: dict[str, str], wait_s: float
) -> None:
    """``Retry-After`` in every form, clamped to 15 minutes, holds back submissions and polls alike."""
    rule = {"on": "create", "scope": "call", "nth": 4, "status": 429, "headers": header}
    bench = make_bench(rule)
    assert bench.run(jobs(8), replace(QUICK, task_timeout_s=3000)).exit_code is Exit.OK
    refused_at = bench.service.sent("post")[3].at + 0.3
    quiet_until = min(call.at for call in bench.service.calls if call.what != "fetch" and call.at > refused_at)
    assert quiet_until - refused_at == pytest.approx(wait_s, abs=3.0)
    assert quiet_until - refused_at >= wait_s - 0.2


@pytest.mark.parametrize("nonsense", ["nan", "inf", "-5", "soon", ""])
def test_a_wait_that_is_nonsense_counts_as_none(make_bench: MakeBench, nonsense: str) -> None:
    """A 429 with a broken ``Retry-After`` backs off as one without."""
    rule = {"on": "create", "scope": "call", "nth": [2, 4], "status": 429, "headers": {"retry-after": nonsense}}
    bench = make_bench(rule)
    summary = bench.run(jobs(6))
    assert summary.exit_code is Exit.OK
    assert summary.elapsed_s < HOUR_S / 4


def test_a_service_that_allows_less_than_the_manifest_is_followed(make_bench: MakeBench) -> None:
    """Told 60 a minute where the service bears 6, the run finds its way down and ends well."""
    bench = make_bench(rate_per_minute=6)
    summary = bench.run(jobs(30))
    assert summary.exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}
    refused = len(bench.service.sent("post")) - 30
    assert refused < 40


@pytest.mark.parametrize("headers", [{}, {"retry-after": "900"}], ids=["without a wait", "with a long wait"])
@pytest.mark.parametrize("submits", [Rate(10, 60), None], ids=str)
def test_too_fast_for_ever_ends_the_run_with_everything_pending(
    make_bench: MakeBench, submits: Rate | None, headers: dict[str, str]
) -> None:
    """The retry budget empties: exit 5, nothing bought, no job blamed, a bounded number of requests."""
    bench = make_bench({"on": "create", "status": 429, "body": TOO_FAST, "headers": headers})
    summary = bench.run(jobs(10), replace(QUICK, submits=submits))
    assert summary.exit_code is Exit.STOPPED
    assert summary.counts[State.PENDING] == 10
    assert len(bench.service.sent("post")) < 300
    assert HOUR_S < summary.elapsed_s < 6 * HOUR_S
    bench.script()
    assert bench.run(jobs(10)).exit_code is Exit.OK
    assert len(bench.creates) == 10


@pytest.mark.parametrize("lost", [LostAt.UNREACHABLE, LostAt.DNS, LostAt.CONNECT_TIMEOUT])
@pytest.mark.parametrize("submits", [Rate(60, 60), Rate(10, 1), None])
def test_a_service_that_is_away_for_an_hour_and_comes_back_costs_only_time(
    make_bench: MakeBench, lost: LostAt, submits: Rate | None
) -> None:
    """Unreachable for an hour in the midst of a run: the run waits, goes on, ends with every clip, each paid once."""
    bench = make_bench()
    outage = Outage(STARTS_AT + 20, STARTS_AT + 20 + HOUR_S, lost, 20.0 if lost is LostAt.CONNECT_TIMEOUT else 0.01)
    bench.service.outages.append(outage)
    summary = bench.run(jobs(30), replace(QUICK, submits=submits))
    assert summary.exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}
    assert summary.elapsed_s < 1.2 * HOUR_S


def test_polls_that_are_too_fast_for_ever_end_the_run_resumable(make_bench: MakeBench) -> None:
    """429 on every poll: the run ends within hours, and the next one collects what is paid."""
    bench = make_bench({"on": "poll", "status": 429, "body": TOO_FAST})
    summary = bench.run(jobs(4))
    assert summary.exit_code is Exit.STOPPED
    assert summary.elapsed_s < 6 * HOUR_S
    bench.script()
    assert bench.run(jobs(4)).exit_code is Exit.OK
    assert len(bench.creates) == 4


ENDLESS: dict[str, dict[str, object]] = {
    "an HTTP error": {"status": 500, "body": {"message": "boom"}},
    "an HTTP error around a task that goes on": {"status": 502, "body": {"id": "{id}", "status": "processing"}},
    "silence": {"hang": True},
    "a reset": {"reset": "before"},
    "too fast, with a long wait": {"status": 429, "headers": {"retry-after": "900"}, "body": TOO_FAST},
    "no such task": {"status": 404, "body": {"detail": "Not Found"}},
    "forbidden": {"status": 403, "body": {"message": "Forbidden"}},
    "a web page": {"body": "<html>"},
    "an error in place of the task": {"body": {"error": {"message": "upstream request timeout"}}},
    "a stranger's failure": {"body": {"id": "task_of_another", "status": "failed"}},
    "a word that nobody knows": {"body": {"id": "{id}", "status": "pondering"}},
    "an error beside such a word": {"body": {"id": "{id}", "status": "pondering", "error": "boom"}},
    "success and failure": {"body": {"id": "{id}", "status": "success", "data": {"status": "failed"}}},
    "waiting": {"body": {"id": "{id}", "status": "queued"}},
    "nothing": {"status": 204, "body": ""},
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=list(ENDLESS))
def test_every_wait_for_a_task_has_an_end(make_bench: MakeBench, answer: dict[str, object]) -> None:
    """Whatever every poll brings for ever, also when nobody gets an answer: the run ends, and the next one collects."""
    bench = make_bench({"on": "poll", **answer})
    limits = replace(QUICK, task_timeout_s=60.0)
    summary = bench.run(jobs(3), limits)
    assert summary.exit_code in {Exit.STOPPED, Exit.ACCOUNT, Exit.CONFIG}
    longest_pause_s = 900.0 if answer.get("status") == 429 else 0.0
    assert summary.elapsed_s < 6 * limits.task_timeout_s + 2 * longest_pause_s
    bench.script()
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}


def test_a_service_that_stays_away_ends_the_run_resumable(make_bench: MakeBench) -> None:
    """Away for ever: exit 5 within hours, the jobs pending, and a later run completes them."""
    bench = make_bench()
    bench.service.outages.append(Outage(STARTS_AT, STARTS_AT + FOR_EVER_S))
    summary = bench.run(jobs(5))
    assert summary.exit_code is Exit.STOPPED
    assert summary.counts[State.PENDING] == 5
    assert HOUR_S < summary.elapsed_s < 6 * HOUR_S
    assert len(bench.service.sent("post")) < 300
    bench.service.outages.clear()
    assert bench.run(jobs(5)).exit_code is Exit.OK
    assert len(bench.creates) == 5


def test_tasks_of_a_service_that_stays_away_are_left_for_the_next_run(make_bench: MakeBench) -> None:
    """Away for ever with tasks in flight: exit 5, the tasks still known, and a later run collects them unbought."""
    bench = make_bench()
    bench.service.outages.append(Outage(STARTS_AT + 10, STARTS_AT + FOR_EVER_S))
    summary = bench.run(jobs(5))
    assert summary.exit_code is Exit.STOPPED
    assert summary.counts[State.RUNNING] == 5
    assert summary.elapsed_s < 6 * HOUR_S
    bench.service.outages.clear()
    assert bench.run(jobs(5)).exit_code is Exit.OK
    assert len(bench.creates) == 5


def test_polls_that_fail_cost_nothing_but_time(make_bench: MakeBench) -> None:
    """Bad gateways, resets and silence on polls are looked past, whatever comes back instead of the task."""
    bench = make_bench(
        {"on": "poll", "nth": 1, "status": 502, "body": "<html>Bad gateway</html>"},
        {"on": "poll", "nth": 2, "reset": "before"},
        {"on": "poll", "nth": 3, "hang": True},
        {"on": "poll", "nth": 4, "garbage": "half"},
    )
    assert bench.run(jobs(4), replace(QUICK, poll_longest_s=6, typical_time_s=10)).exit_code is Exit.OK
    assert len(bench.creates) == 4


def test_a_moment_that_comes_while_it_is_looked_for_is_not_missed(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time passes between "not yet" and the question when: no worker sleeps through the moment in between."""

    def time_passes(loop: VirtualLoop) -> float:
        loop._jumping.now += 0.05
        return loop._jumping.now

    monkeypatch.setattr(VirtualLoop, "time", time_passes)
    monkeypatch.setattr("tests.run.virtual.LONGEST_S", HOUR_S)
    bench = make_bench({"on": "create", "scope": "call", "nth": "1-6", "status": 429, "body": TOO_FAST})
    limits = replace(QUICK, submits=None, backoff_first_s=0.2, backoff_longest_s=2.0)
    assert bench.run(jobs(2), limits).exit_code is Exit.OK
    assert len(bench.creates) == 2
