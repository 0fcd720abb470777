"""What a person's wish opens again: only what this run submits, however the run ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.dependencies import bound
from batchvid.domain.errors import Exit
from batchvid.domain.job import Outcome, State
from batchvid.domain.limits import InDoubt, Limits, RunOptions
from tests.run.bench import PRICE, QUICK, after, chain, changed, job, jobs, small_clips

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchvid.domain.job import Job
    from tests.run.bench import Bench
    from tests.run.conftest import MakeBench

ONCE = replace(QUICK, attempts=1, in_flight=1)
ASKED = {
    State.FAILED: RunOptions(retry_failed=True),
    State.DONE: RunOptions(rebuy=True),
    State.IN_DOUBT: RunOptions(resubmit_in_doubt=True),
}
RULES: dict[State, dict[str, Any]] = {
    State.FAILED: {"on": "create", "nth": 1, "fail": "blocked"},
    State.DONE: {"on": "create", "nth": 99, "fail": "blocked"},
    State.IN_DOUBT: {"on": "create", "nth": 1, "reset": "after-effect"},
}
NUMBER = 4


def left_in(state: State, make_bench: MakeBench) -> tuple[Bench, list[Job]]:
    """Return a bench whose jobs have all come to this state, and the jobs as they stand in the manifest now."""
    bench = make_bench(RULES[state])
    for one in jobs(NUMBER):  # one by one, so that the brakes have no reason to stop
        bench.run([one], ONCE)
    rows = bench.rows()
    assert {row.state for row in rows.values()} == {state}
    wanted = [changed(one, f"Another {one.id}.") if state is State.DONE else one for one in jobs(NUMBER)]
    return bench, wanted


def stop_after(bench: Bench, seconds: float, *, times: int) -> Callable[[], None]:
    """Return what interrupts a run after so long: once to drain it, twice to stop it at once."""

    def begin() -> None:
        for _ in range(times):
            asyncio.get_running_loop().call_later(seconds, bench.interrupts.received, Exit.INTERRUPTED)

    return begin


@pytest.mark.parametrize("state", ASKED)
@pytest.mark.parametrize("bound", ["max_jobs", "max_cost", "budget", "window", "only", "drained", "stopped"])
def test_a_wish_opens_only_what_its_run_submits(make_bench: MakeBench, state: State, bound: str) -> None:
    """The others stay failed, done or in doubt, with their clips and their money, and no later run buys them."""
    bench, wanted = left_in(state, make_bench)
    before, bought = bench.rows(), len(bench.creates)
    limits, meanwhile = ONCE, None
    bounds: dict[str, Any] = {}
    match bound:
        case "max_jobs":
            bounds = {"max_jobs": 1}
        case "max_cost":
            bounds = {"max_cost_micros": PRICE}
        case "budget":
            limits = replace(ONCE, budget_micros=(NUMBER + 1) * PRICE)
        case "window":
            bounds = {"until_at": bench.wall() + 10}
        case "only":
            bounds = {"only": ("job-01",)}
        case _:
            meanwhile = stop_after(bench, 10, times=2 if bound == "stopped" else 1)
    bench.run(wanted, limits, options=ASKED[state], meanwhile=meanwhile, checked=False, **bounds)
    assert len(bench.creates) == bought + 1
    rows = bench.rows()
    assert [rows[name] == before[name] for name in sorted(rows)] == [False, True, True, True]
    for _ in range(2):  # the first may have something to collect
        bench.run(wanted, limits, checked=False)
    assert len(bench.creates) == bought + 1
    assert {row.state for name, row in bench.rows().items() if name != "job-01"} == {state}


@pytest.mark.parametrize("state", ASKED)
def test_without_a_bound_all_are_submitted_once(make_bench: MakeBench, state: State) -> None:
    """What was open before costs what it did, and the journal's money is the run's."""
    bench, wanted = left_in(state, make_bench)
    summary = bench.run(wanted, replace(ONCE, in_flight=2), options=ASKED[state], checked=False)
    assert summary.exit_code is Exit.OK
    assert len(bench.creates) == 2 * NUMBER
    assert (summary.money.spent_micros, summary.money.reserved_micros) == (2 * NUMBER * PRICE, 0)
    attempts = [one for tries in bench.attempts().values() for one in tries]
    first = {State.FAILED: Outcome.FAILED, State.DONE: Outcome.SUCCEEDED, State.IN_DOUBT: Outcome.ABANDONED}[state]
    assert sorted(one.outcome for one in attempts) == sorted([first, Outcome.SUCCEEDED] * NUMBER)


def test_the_rule_resubmit_opens_only_what_its_run_submits(make_bench: MakeBench) -> None:
    """``in_doubt: resubmit`` under ``--max-jobs``: one doubt is bought again, the others stay in doubt."""
    bench, wanted = left_in(State.IN_DOUBT, make_bench)
    limits: Limits = replace(ONCE, attempts=2, in_doubt=InDoubt.RESUBMIT)
    summary = bench.run(wanted, limits, max_jobs=1, checked=False)
    assert summary.exit_code is Exit.IN_DOUBT
    assert summary.money.reserved_micros == (NUMBER - 1) * PRICE
    assert [row.state for _, row in sorted(bench.rows().items())] == [State.DONE, *[State.IN_DOUBT] * 3]


def test_a_link_that_is_made_again_after_its_parent_stays_done_when_the_run_does_not_come_to_it(
    make_bench: MakeBench,
) -> None:
    """``--rebuy`` under ``--max-jobs 1``: the parent is another clip now, and the link is kept as it was paid."""
    bench = make_bench(clips=small_clips)
    bench.run(chain("kite", "dive"))
    link = bench.row("dive")
    edited = [changed(job("kite"), "Another kite."), *chain("kite", "dive")[1:]]
    summary = bench.run(edited, rebuy=True, max_jobs=1, checked=False)
    assert (bench.row("kite").attempt, bench.row("dive")) == (2, link)
    assert summary.counts[State.DONE] == 2
    bench.run(edited, rebuy=True, checked=False)
    assert bench.row("dive").attempt == 2
    assert len(bench.creates) == 4


def test_a_new_link_waits_for_the_clip_that_is_made_again(make_bench: MakeBench) -> None:
    """It goes on from the clip that this run makes, not from the one that lies there when it begins."""
    bench = make_bench(clips=small_clips)
    bench.run([job("kite")])
    old = bench.row("kite").sha256
    edited = [changed(job("kite"), "Another kite."), after("kite", "dive")]
    assert bench.run(edited, rebuy=True, checked=False).exit_code is Exit.OK
    new = bench.row("kite").sha256
    assert new is not None
    assert new != old
    assert bench.row("dive").fingerprint == bound(after("kite", "dive"), new).fingerprint


def test_a_job_that_cannot_be_sent_again_stays_as_it_was(make_bench: MakeBench) -> None:
    """Something of another's lies under the name of its clip: it is told, and a doubt stays a doubt."""
    bench = make_bench({"on": "create", "reset": "after-effect"})
    bench.run(jobs(1))
    (bench.folder / "job-01.mp4").write_bytes(b"another's")
    before = bench.row("job-01")
    summary = bench.run(jobs(1), resubmit_in_doubt=True)
    assert (summary.exit_code, bench.row("job-01")) == (Exit.IN_DOUBT, before)
    assert any("job-01 is not sent again, and stays as it is" in note for note in bench.view.notes)
    assert summary.money.reserved_micros == PRICE
