"""A paid request whose outcome is unknown: held for a person, never sent again by itself, and the others go on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.limits import InDoubt, Rate
from batchvid.sandbox.cometapi import new_id
from tests.run.bench import QUICK, jobs

if TYPE_CHECKING:
    from tests.run.conftest import MakeBench

GATEWAY_PAGE = "<html><h1>504 Gateway Time-out</h1></html>"
TIMED_OUT = {"error": {"message": "upstream timed out", "type": "server_error"}}
UNKNOWN_OUTCOMES: dict[str, dict[str, Any]] = {
    "an HTML 502": {"status": 502, "body": GATEWAY_PAGE, "effect": True},
    "an empty 500": {"status": 500, "body": "", "effect": True},
    "a 504 with an envelope": {"status": 504, "body": TIMED_OUT, "effect": True},
    "a 524": {"status": 524, "body": GATEWAY_PAGE, "effect": True},
    "a reset before the answer": {"reset": "after-effect"},
    "a reset that nothing came of": {"reset": "before"},
    "a reset inside the answer": {"reset": "during"},
    "silence": {"hang": True, "effect": True},
    "an answer that is cut off": {"cut_at": 0.5},
    "a web page with 200": {"garbage": "html"},
    "JSON without an id": {"garbage": "json"},
    "an empty 200": {"garbage": "empty"},
    "a gateway's JSON 502": {"status": 502, "body": {"message": "upstream closed"}, "effect": True},
    "a JSON 500 of the service": {"status": 500, "body": TIMED_OUT, "effect": True},
    "a flat 500 of the service": {
        "status": 500,
        "body": {"code": "do_request_failed", "message": "EOF", "data": None},
        "effect": True,
    },
    "a channel's code in a foreign envelope": {
        "status": 503,
        "body": {"error": {"code": "model_not_found", "message": "no type"}},
        "effect": True,
    },
    "a problem+json 520": {"status": 520, "body": {"title": "Error 520", "detail": "empty", "status": 520}},
    "a 302 to a login page": {"status": 302, "redirect": "https://gate.example/login", "effect": True},
    "a 408": {"status": 408, "body": TIMED_OUT, "effect": True},
    "a 421": {"status": 421, "body": "", "effect": True},
    "a 999": {"status": 999, "body": "", "effect": True},
    "an id of a megabyte": {"set": {"id": "x" * 1_000_000}},
    "an id with a line break": {"set": {"id": "task\nx"}},
    "no HTTP at all": {"raw": "SSH-2.0-OpenSSH_9.6\r\n", "effect": True},
}


@pytest.mark.parametrize("fault", UNKNOWN_OUTCOMES.values(), ids=UNKNOWN_OUTCOMES)
def test_a_create_of_unknown_outcome_is_held_and_never_sent_again(make_bench: MakeBench, fault: dict[str, Any]) -> None:
    """One POST for the job in this run and none in the next; the other jobs are clips; exit 4 says what is left."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", **fault})
    summary = bench.run(jobs(4))
    assert summary.exit_code is Exit.IN_DOUBT
    assert summary.counts[State.DONE] == 3
    assert [(need.job_id, need.state) for need in summary.needs_person] == [("job-02", State.IN_DOUBT)]
    assert bench.row("job-02").reason
    again = bench.run(jobs(4))
    assert again.exit_code is Exit.IN_DOUBT
    assert len(bench.service.sent("post")) == 4


def test_money_in_doubt_stays_reserved(make_bench: MakeBench) -> None:
    """An attempt in doubt may have been charged: its price is held, in this run and in the next."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "reset": "after-effect"})
    for _ in range(2):
        money = bench.run(jobs(3)).money
        assert (money.spent_micros, money.reserved_micros) == (800_000, 400_000)


def test_what_could_not_be_read_is_kept(make_bench: MakeBench) -> None:
    """Where money is in doubt the raw bytes of the answer are in the journal."""
    bench = make_bench({"on": "create", "garbage": "half"})
    bench.run(jobs(1))
    (attempt,) = bench.attempts()["job-01"]
    assert attempt.raw
    assert attempt.raw.startswith(b'{"created_at"')


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_resubmitting_in_doubt_is_bounded_by_attempts(make_bench: MakeBench, attempts: int) -> None:
    """``in_doubt: resubmit`` buys again, but never more often than ``attempts``, over any number of runs."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "reset": "after-effect"})
    limits = replace(QUICK, attempts=attempts, in_doubt=InDoubt.RESUBMIT)
    for _ in range(3):
        assert bench.run(jobs(4), limits).exit_code is Exit.IN_DOUBT
    assert bench.bought()["The clip job-02."] == attempts


def test_resubmitting_in_doubt_leads_to_a_clip_when_the_second_goes_well(make_bench: MakeBench) -> None:
    """The rule is worth its price: the job ends as a clip, of its second attempt."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "nth": 1, "reset": "after-effect"})
    assert bench.run(jobs(3), replace(QUICK, in_doubt=InDoubt.RESUBMIT)).exit_code is Exit.OK
    assert bench.row("job-02").attempt == 2


def test_a_person_may_resubmit_what_is_in_doubt(make_bench: MakeBench) -> None:
    """``--resubmit-in-doubt`` is a person's word, for one run, and grants one more purchase."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "nth": 1, "reset": "after-effect"})
    bench.run(jobs(3))
    assert bench.run(jobs(3), resubmit_in_doubt=True).exit_code is Exit.OK
    assert bench.bought()["The clip job-02."] == 2


def test_nothing_but_doubt_ends_the_nights_submitting_after_ten(make_bench: MakeBench) -> None:
    """When nothing but web pages comes back, requests go one by one after growing pauses; the rest stays pending."""
    bench = make_bench({"on": "create", "garbage": "html"})
    summary = bench.run(jobs(14))
    assert summary.exit_code is Exit.IN_DOUBT
    assert summary.counts[State.IN_DOUBT] == 10
    assert summary.counts[State.PENDING] == 4
    moments = [call.at for call in bench.service.sent("post")]
    gaps = [round(later - earlier) for earlier, later in pairwise(moments)][2:]
    assert gaps == sorted(gaps)
    assert (gaps[0], gaps[-1]) == (60, 900)
    assert "batchvid doubts" in (summary.stopped or "")


@pytest.mark.parametrize("submits", [Rate(60, 60), None])
def test_a_service_that_comes_back_after_some_doubt_gets_the_rest_of_the_night(
    make_bench: MakeBench, submits: Rate | None
) -> None:
    """Five answers that got lost cost five questions in the morning, and not the other clips."""
    bench = make_bench({"on": "create", "scope": "call", "nth": "5-9", "status": 502, "body": TIMED_OUT})
    summary = bench.run(jobs(30), replace(QUICK, submits=submits))
    assert summary.counts[State.IN_DOUBT] == 5
    assert summary.counts[State.DONE] == 25
    assert len(bench.service.sent("post")) == 30


def test_after_a_doubt_few_requests_leave_together(make_bench: MakeBench) -> None:
    """Whatever is under way when the answers begin to fail, no more than three go out before the pause."""
    bench = make_bench({"on": "create", "scope": "call", "nth": "2-", "hang": True, "effect": True})
    summary = bench.run(jobs(40), replace(QUICK, submits=Rate(1, 200), in_flight=20))
    assert summary.counts[State.IN_DOUBT] == 10


@pytest.mark.parametrize("status", [201, 202, 302, 303])
def test_a_task_whose_id_stands_in_location_only_is_collected(make_bench: MakeBench, status: int) -> None:
    """RFC 9110 §15.3.2, §15.4.4: the request was processed, and this is where the task is."""
    place = f"/v1/videos/{new_id(1, 2)}"
    bench = make_bench({"on": "create", "prompt": "*job-02*", "status": status, "redirect": place, "effect": True})
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert bench.row("job-02").task_id == new_id(1, 2)
    assert set(bench.bought().values()) == {1}


def test_a_task_id_beside_an_error_is_used(make_bench: MakeBench) -> None:
    """The clip is paid: what matters is to collect it."""
    body = {"error": {"message": "the database is slow"}, "task_id": new_id(1, 2)}
    bench = make_bench({"on": "create", "prompt": "*job-02*", "status": 500, "body": body, "effect": True})
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}


def test_a_task_id_handed_out_twice_leaves_the_second_job_in_doubt(make_bench: MakeBench) -> None:
    """One task never has two owners: nobody knows what became of the second request."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "set": {"id": new_id(1, 1)}})
    summary = bench.run(jobs(3))
    assert summary.exit_code is Exit.IN_DOUBT
    assert bench.row("job-02").state is State.IN_DOUBT
    assert "job-01" in (bench.row("job-02").reason or "")
    assert summary.counts[State.DONE] == 2


def test_an_id_like_a_path_is_only_a_name(make_bench: MakeBench) -> None:
    """An id with slashes and dots is escaped in every request and touches no other route."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "set": {"id": "../../models"}})
    summary = bench.run(jobs(3), checked=False)  # the task itself has another id, which nobody ever learns
    assert summary.exit_code is Exit.STOPPED
    assert {call.where for call in bench.service.sent("get") if "models" in call.where} == {"/videos/..%2F..%2Fmodels"}
    assert bench.row("job-02").task_id == "../../models"
