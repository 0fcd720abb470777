"""Any mixture of troubles: the promises hold after every run, and fair weather brings everything home."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.limits import InDoubt, Rate
from tests.run.bench import PRICE, QUICK, jobs

if TYPE_CHECKING:
    from batchvid.domain.limits import Limits
    from tests.run.conftest import MakeBench

BUSY = {"error": {"code": "", "message": "busy", "type": "comet_api_error"}}
INVALID = {"error": {"code": "invalid_request", "message": "no"}}
TROUBLES: list[dict[str, Any]] = [
    {"on": "create", "status": 429, "headers": {"retry-after": "20"}},
    {"on": "create", "status": 503, "body": BUSY},
    {"on": "create", "status": 500, "body": INVALID},
    {"on": "create", "status": 502, "body": "<html>", "effect": True},
    {"on": "create", "reset": "before"},
    {"on": "create", "reset": "after-effect"},
    {"on": "create", "delay_s": 100},
    {"on": "create", "hang": True, "effect": True},
    {"on": "create", "fail": "blocked"},
    {"on": "create", "wrapped": True},
    {"on": "create", "cut_at": 0.7},
    {"on": "poll", "status": 429},
    {"on": "poll", "status": 502, "body": "<html>"},
    {"on": "poll", "hang": True},
    {"on": "poll", "reset": "before"},
    {"on": "poll", "garbage": "half"},
    {"on": "poll", "status_word": "queued"},
    {"on": "poll", "forget": True},
    {"on": "poll", "wrapped": True},
    {"on": "poll", "no_url": True},
    {"on": "poll", "expire": True},
    {"on": "file", "cut_at": 0.4},
    {"on": "file", "cut_at": 0.6, "content_length": "none"},
    {"on": "file", "garbage": "html", "content_type": "video/mp4"},
    {"on": "file", "status": 503},
    {"on": "file", "expire": True},
    {"on": "file", "etag": "change", "cut_at": 0.5},
    {"on": "file", "ignore_range": True, "cut_at": 0.3},
    {"on": "file", "stall_s": 90},
    {"on": "content", "status": 500, "body": BUSY},
    {"on": "content", "cut_at": 0.5},
]


def weather(chance: random.Random) -> list[dict[str, Any]]:
    """Draw some troubles, each for some of the jobs and some of their calls."""
    return [
        {
            **chance.choice(TROUBLES),
            "prompt": chance.choice(["*", "*[13579].", "*-0?.", "*-1?."]),
            "nth": chance.choice([1, 2, "1-2", "2-4", "every"]),
            "times": chance.choice([1, 3, 8]),
        }
        for _ in range(chance.randrange(2, 9))
    ]


def draw_limits(chance: random.Random) -> Limits:
    """Draw the limits of a manifest."""
    return replace(
        QUICK,
        submits=chance.choice([Rate(60, 60), Rate(10, 1), None]),
        requests=chance.choice([Rate(2, 1), Rate(50, 1)]),
        in_flight=chance.choice([1, 4, 12]),
        downloads=chance.choice([1, 4]),
        attempts=chance.choice([1, 2, 3]),
        in_doubt=chance.choice(list(InDoubt)),
        budget_micros=chance.choice([None, 30 * PRICE, 9 * PRICE]),
        canary=chance.choice([0, 0, 2]),
        task_timeout_s=chance.choice([600.0, 1200.0]),
    )


@pytest.mark.parametrize("seed", range(30))
def test_whatever_goes_wrong_the_promises_hold_and_fair_weather_brings_everything_home(
    make_bench: MakeBench, seed: int
) -> None:
    """Two runs in bad weather, then good ones: no second create for an attempt, no lost task, no job left behind.

    What is not a clip then is in doubt, or failed, or unpaid for want of budget, and says so in the exit code.
    """
    chance = random.Random(seed)  # noqa: S311 a repeatable draw
    limits, wanted, bench = draw_limits(chance), jobs(12), make_bench()
    for _ in range(2):
        bench.script(*weather(chance))
        bench.run(wanted, limits, max_jobs=chance.choice([None, None, 5]))
        if limits.budget_micros is not None:
            assert bench.view.committed_micros <= limits.budget_micros
            assert len(bench.creates) * PRICE <= limits.budget_micros
    bench.script()
    bench.run(wanted, limits)
    summary = bench.run(wanted, limits)
    counts = summary.counts
    assert counts[State.SUBMITTING] + counts[State.RUNNING] + counts[State.READY] == summary.parked == 0
    if counts[State.PENDING]:
        assert summary.exit_code in {Exit.BUDGET, Exit.IN_DOUBT}
        assert limits.budget_micros is not None or limits.canary
    elif counts[State.IN_DOUBT]:
        assert summary.exit_code is Exit.IN_DOUBT
    else:
        assert summary.exit_code is (Exit.FAILED if counts[State.FAILED] else Exit.OK)
    bought = bench.bought()
    bench.run(wanted, limits)
    assert bench.bought() == bought
    assert max(bought.values(), default=0) <= limits.attempts
