"""A clip that a person rejects is bought again by the next run, once, within the attempts, and never by mistake."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.dependencies import bound
from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.lifecycle import SubmitRefused, SubmitStarted, SubmitUnsure
from batchvid.domain.limits import InDoubt, OnChange
from batchvid.domain.plan import Action
from batchvid.engine.planning import planned
from batchvid.journal.sqlite import SqliteStore
from tests.run.bench import PRICE, QUICK, after, changed, job, jobs, small_clips

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchvid.domain.job import Job
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.limits import Limits
    from batchvid.domain.plan import PlanRow
    from batchvid.sandbox.world import Clips
    from tests.run.bench import Bench
    from tests.run.conftest import MakeBench

THRICE = replace(QUICK, attempts=3)
YES, NO = Verdict.APPROVED, Verdict.REJECTED


def each_another() -> Clips:
    """Return what makes another clip for each order, as a service does, also of the same words."""
    number = count(1)
    return lambda order: small_clips(replace(order, prompt=f"{next(number)} {order.prompt}"))


def store_of(bench: Bench) -> SqliteStore:
    """Return the bench's journal."""
    return SqliteStore(bench.folder / ".batchvid" / "journal.db")


def decide(bench: Bench, *ids: str, verdict: Verdict | None = NO, attempt: int | None = None, note: str = "") -> None:
    """Decide about the newest clip of these jobs."""
    rows = bench.rows()
    at = bench.wall()
    store_of(bench).decide(
        [Decision(name, attempt or rows[name].attempt, at, "ada", verdict, None, note) for name in ids]
    )


def plan_of(bench: Bench, wanted: Sequence[Job], limits: Limits = QUICK) -> dict[str, PlanRow]:
    """Return what a run would do, by job."""
    reader = store_of(bench).read()
    assert reader is not None
    with reader:
        made, _ = planned(bench.context(wanted, limits).manifest, reader)
    return {row.job_id: row for row in made.rows}


def at_first(bench: Bench, kind: type[Event], do: Callable[[], None]) -> Callable[[], None]:
    """Return what makes a run *do* something at the first event of this kind."""

    def begin() -> None:
        left = [do]

        def look(_: str, event: Event) -> None:
            if isinstance(event, kind) and left:
                left.pop()()

        bench.view.at_event = look

    return begin


def test_a_rejected_clip_is_bought_again_once(make_bench: MakeBench) -> None:
    """The new one has the name, the old one is kept with its attempt's number; no later run buys more."""
    bench = make_bench(clips=each_another())
    bench.run(jobs(3))
    old = bench.clip("job-02.mp4")
    decide(bench, "job-02", note="six fingers")
    row = plan_of(bench, jobs(3))["job-02"]
    assert (row.action, row.submits, row.attempts, row.price_micros) == (Action.REJECTED, True, 1, PRICE)
    assert row.reason == "rejected: six fingers; attempt 2"
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert (bench.row("job-02").attempt, len(bench.creates)) == (2, 4)
    assert bench.clip("job-02.attempt-1.mp4") == old
    assert bench.clip("job-02.mp4") != old
    assert json.loads(bench.clip("job-02.attempt-1.json"))["attempt"] == 1
    for _ in range(2):
        summary = bench.run(jobs(3))
        assert (summary.exit_code, summary.submits) == (Exit.OK, 0)
    assert len(bench.creates) == 4
    assert plan_of(bench, jobs(3))["job-02"].action is Action.DONE
    assert bench.row("job-02").allowance_from == 0


def test_rejections_end_where_the_attempts_do(make_bench: MakeBench) -> None:
    """And the run says what a person can do."""
    bench = make_bench(clips=each_another())
    for bought in (1, 2, 3, 3, 3):
        bench.run(jobs(1), THRICE)
        assert len(bench.creates) == bought
        decide(bench, "job-01")
    row = plan_of(bench, jobs(1), THRICE)["job-01"]
    assert (row.action, row.submits, row.attempts) == (Action.REJECTED, False, 0)
    assert row.reason == "rejected; no attempt left: batchvid redo job-01"
    summary = bench.run(jobs(1), THRICE)
    assert summary.exit_code is Exit.OK
    assert [line for line in bench.view.notes if "no attempt left" in line]
    assert [(bench.folder / f"job-01.attempt-{number}.mp4").exists() for number in (1, 2, 3)] == [True, True, False]


def test_attempts_that_failed_count(make_bench: MakeBench) -> None:
    """Two of two are used when the second one brought the clip."""
    bench = make_bench({"on": "create", "nth": 1, "fail": "bad"})
    bench.run(jobs(1))
    assert (bench.row("job-01").attempt, len(bench.creates)) == (2, 2)
    decide(bench, "job-01")
    bench.run(jobs(1))
    assert len(bench.creates) == 2
    bench.run(jobs(1), THRICE)
    assert len(bench.creates) == 3


def test_a_decision_about_an_earlier_attempt_opens_nothing(make_bench: MakeBench) -> None:
    """Nor one that came late, when the next clip was there already."""
    bench = make_bench()
    bench.run(jobs(1), THRICE)
    decide(bench, "job-01")
    bench.run(jobs(1), THRICE)
    decide(bench, "job-01", attempt=1, note="once more")
    bench.run(jobs(1), THRICE)
    assert len(bench.creates) == 2


def test_a_verdict_that_is_taken_back_buys_nothing(make_bench: MakeBench) -> None:
    """Approved, or nothing at all."""
    bench = make_bench()
    bench.run(jobs(2))
    decide(bench, "job-01", "job-02")
    decide(bench, "job-01", verdict=YES)
    decide(bench, "job-02", verdict=None)
    bench.run(jobs(2))
    assert len(bench.creates) == 2


@pytest.mark.parametrize("verdict", [YES, None])
def test_a_rejection_that_is_taken_back_before_its_turn_buys_nothing(
    make_bench: MakeBench, verdict: Verdict | None
) -> None:
    """The run began while it held; the job stays done."""
    bench = make_bench()
    wanted, limits = jobs(3), replace(QUICK, in_flight=1)
    bench.run(wanted)
    before = bench.row("job-03")
    decide(bench, "job-01", "job-03")
    back = at_first(bench, SubmitStarted, lambda: decide(bench, "job-03", verdict=verdict))
    summary = bench.run(wanted, limits, meanwhile=back)
    assert (summary.exit_code, summary.counts[State.DONE], summary.submits) == (Exit.OK, 3, 1)
    assert bench.row("job-03") == before
    assert "job-03 is not bought again: its clip is not rejected any more" in bench.view.notes


def test_a_refused_request_is_not_sent_again_when_the_rejection_is_taken_back(make_bench: MakeBench) -> None:
    """The job is pending then, and waits for a person; its clip is where it was."""
    bench = make_bench()
    bench.run(jobs(1))
    old = bench.clip("job-01.mp4")
    bench.script({"on": "create", "status": 429})
    decide(bench, "job-01")
    back = at_first(bench, SubmitRefused, lambda: decide(bench, "job-01", verdict=YES))
    bench.run(jobs(1), meanwhile=back, checked=False)
    bench.script()
    for _ in range(2):
        summary = bench.run(jobs(1), checked=False)
        assert summary.exit_code is not Exit.OK
    assert len(bench.creates) == 1
    assert bench.clip("job-01.mp4") == old
    decide(bench, "job-01", attempt=1)
    assert bench.run(jobs(1)).exit_code is Exit.OK
    assert len(bench.creates) == 2


@pytest.mark.parametrize("next_run", [False, True])
def test_a_doubt_is_not_bought_again_when_the_rejection_is_taken_back(
    make_bench: MakeBench,
    next_run: bool,  # noqa: FBT001 a table
) -> None:
    """Whether the manifest buys doubts again at once, or the run ended before it could."""
    resubmit = replace(THRICE, in_doubt=InDoubt.RESUBMIT)
    bench = make_bench(clips=each_another())
    bench.run(jobs(1), resubmit)
    bench.script({"on": "create", "times": 1, "reset": "after-effect"})
    decide(bench, "job-01")
    if next_run:
        bench.run(jobs(1), THRICE)
        decide(bench, "job-01", verdict=YES, attempt=1)
        bench.run(jobs(1), resubmit)
    else:
        back = at_first(bench, SubmitUnsure, lambda: decide(bench, "job-01", verdict=YES, attempt=1))
        bench.run(jobs(1), resubmit, meanwhile=back, checked=False)
    assert len(bench.creates) == 2
    decide(bench, "job-01", attempt=1)
    bench.run(jobs(1), resubmit, checked=False)
    assert len(bench.creates) == 3


def test_what_a_person_opens_is_bought_whatever_was_decided(make_bench: MakeBench) -> None:
    """The doubt behind a rejection that was taken back, by ``--resubmit-in-doubt``."""
    bench = make_bench(clips=each_another())
    bench.run(jobs(1), THRICE)
    bench.script({"on": "create", "times": 1, "reset": "after-effect"})
    decide(bench, "job-01")
    bench.run(jobs(1), THRICE)
    decide(bench, "job-01", verdict=YES, attempt=1)
    bench.run(jobs(1), THRICE, resubmit_in_doubt=True, checked=False)
    assert len(bench.creates) == 3


def test_a_clip_that_is_rejected_during_a_run_is_bought_by_the_next_one(make_bench: MakeBench) -> None:
    """What a run does is what its plan said."""
    bench = make_bench()
    bench.run(jobs(1))
    during = at_first(bench, SubmitStarted, lambda: decide(bench, "job-01"))
    bench.run(jobs(2), meanwhile=during)
    assert len(bench.creates) == 2
    bench.run(jobs(2))
    assert len(bench.creates) == 3


@pytest.mark.parametrize("what", ["max_jobs", "max_cost", "budget", "window", "only", "drained", "stopped"])
def test_every_bound_of_a_run_holds_for_rejected_clips(make_bench: MakeBench, what: str) -> None:
    """The others stay done with their clips, until a run that may buys them."""
    bench, wanted, once = make_bench(), jobs(4), replace(QUICK, in_flight=1)
    bench.run(wanted)
    before = bench.rows()
    decide(bench, *before)
    limits, bounds, meanwhile = once, dict[str, Any](), None
    match what:
        case "max_jobs":
            bounds = {"max_jobs": 1}
        case "max_cost":
            bounds = {"max_cost_micros": PRICE}
        case "budget":
            limits = replace(once, budget_micros=5 * PRICE)
        case "window":
            bounds = {"until_at": bench.wall() + 10}
        case "only":
            bounds = {"only": ("job-01",)}
        case _:

            def meanwhile() -> None:
                for _ in range(2 if what == "stopped" else 1):
                    asyncio.get_running_loop().call_later(10, bench.interrupts.received, Exit.INTERRUPTED)

    bench.run(wanted, limits, meanwhile=meanwhile, **bounds)
    assert len(bench.creates) == 5
    rows = bench.rows()
    assert [rows[name] == before[name] for name in sorted(rows)] == [False, True, True, True]
    bench.run(wanted)
    bench.run(wanted)
    assert len(bench.creates) == 8
    assert {row.state for row in bench.rows().values()} == {State.DONE}


def test_an_edited_job_whose_clip_is_rejected_is_bought_as_it_is_now(make_bench: MakeBench) -> None:
    """Rejected, the words changed, ordered again: without ``--rebuy``."""
    bench = make_bench()
    bench.run([job("kite")])
    edited = [changed(job("kite"), "A red kite.")]
    bench.run(edited, checked=False)
    assert len(bench.creates) == 1
    decide(bench, "kite")
    bench.run(edited, checked=False)
    assert bench.bought() == {"The clip kite.": 1, "A red kite.": 1}


def test_a_missing_clip_that_is_rejected_is_not_fetched_before(make_bench: MakeBench) -> None:
    """Nobody wants it any more; with no attempt left it is fetched, as every clip is."""
    bench = make_bench(clips=each_another())
    bench.run(jobs(1))
    (bench.folder / "job-01.mp4").unlink()
    decide(bench, "job-01")
    bench.run(jobs(1))
    assert (len(bench.creates), len(bench.service.sent("fetch"))) == (2, 2)
    decide(bench, "job-01")
    (bench.folder / "job-01.mp4").unlink()
    bench.run(jobs(1))
    assert (len(bench.creates), len(bench.service.sent("fetch"))) == (2, 3)


@pytest.mark.parametrize("on_change", OnChange)
def test_what_goes_on_from_a_rejected_clip_follows_on_change(make_bench: MakeBench, on_change: OnChange) -> None:
    """As of a clip that changed: the follower is kept as it was paid, or bought again behind the new clip."""
    bench = make_bench(clips=each_another())
    wanted, limits = [job("kite"), after("kite", "dive")], replace(QUICK, on_change=on_change)
    bench.run(wanted, limits)
    link = bench.row("dive")
    decide(bench, "kite")
    row = plan_of(bench, wanted, limits)["dive"]
    rebuy = on_change is OnChange.REBUY
    assert (row.action, row.submits) == (Action.CHANGED, rebuy)
    assert row.reason.startswith("kite is made again; ")
    bench.run(wanted, limits, checked=False)
    bench.run(wanted, limits, checked=False)
    assert (bench.row("kite").attempt, bench.row("dive").attempt) == (2, 1 + rebuy)
    assert len(bench.creates) == 3 + rebuy
    if not rebuy:
        assert bench.row("dive") == link


def test_a_link_that_failed_unpaid_is_counted_behind_the_new_clip(make_bench: MakeBench) -> None:
    """It is sent again behind a new clip, for which it has another content; the plan and the question know that."""
    bad = {"error": {"message": "bad", "code": "x", "type": "invalid_request_error"}}
    bench = make_bench({"on": "create", "prompt": "*dive*", "status": 400, "body": bad}, clips=each_another())
    wanted = [job("kite"), after("kite", "dive"), after("dive", "land")]
    bench.run(wanted, checked=False)
    assert (bench.row("dive").state, len(bench.creates)) == (State.FAILED, 1)
    decide(bench, "kite")
    row = plan_of(bench, wanted)["dive"]
    assert (row.action, row.submits, row.attempts, row.price_micros) == (Action.CHANGED, True, 2, PRICE)
    assert row.reason == "after kite; failed before, nothing was paid, and its content is new"
    bench.script()
    planned_for = [row.job_id for row in plan_of(bench, wanted).values() if row.submits]
    bench.run(wanted, checked=False)
    assert len(bench.creates) == 1 + len(planned_for) == 4
    assert not [row for row in plan_of(bench, wanted).values() if row.submits]


def test_a_rejected_link_goes_on_from_the_clip_that_is_made_with_it(make_bench: MakeBench) -> None:
    """Both are rejected: the second waits for the new first."""
    bench = make_bench(clips=each_another())
    wanted = [job("kite"), after("kite", "dive")]
    bench.run(wanted)
    decide(bench, "kite", "dive", note="again")
    assert plan_of(bench, wanted)["dive"].reason == "after kite; rejected: again; attempt 2"
    bench.run(wanted, checked=False)
    new = bench.row("kite").sha256
    assert new is not None
    assert bench.row("dive").fingerprint == bound(after("kite", "dive"), new).fingerprint
    bench.run(wanted, checked=False)
    assert len(bench.creates) == 4


def test_a_link_comes_when_the_rejection_before_it_is_taken_back(make_bench: MakeBench) -> None:
    """It has waited for the clip of this run, and goes on from the one that stays."""
    bench = make_bench(clips=each_another())
    bench.run([job("gull"), job("kite")])
    old = bench.row("kite").sha256
    assert old is not None
    decide(bench, "gull", "kite")
    wanted = [job("gull"), after("gull", "soar"), after("soar", "land"), job("kite"), after("kite", "dive")]
    back = at_first(bench, SubmitStarted, lambda: decide(bench, "kite", verdict=YES))  # the longest chain goes first
    summary = bench.run(wanted, replace(QUICK, in_flight=1), meanwhile=back, checked=False)
    assert summary.counts[State.DONE] == 5
    assert (bench.row("gull").attempt, bench.row("kite").attempt) == (2, 1)
    assert bench.row("dive").fingerprint == bound(after("kite", "dive"), old).fingerprint


def test_a_rejected_clip_whose_new_attempt_fails_keeps_its_place(make_bench: MakeBench) -> None:
    """The old clip stays under its name; the job failed, and is not opened by the old rejection."""
    bench = make_bench()
    bench.run(jobs(1))
    old = bench.clip("job-01.mp4")
    bench.script({"on": "create", "fail": "blocked"})
    decide(bench, "job-01")
    assert bench.run(jobs(1)).exit_code is Exit.FAILED
    assert bench.clip("job-01.mp4") == old
    bench.script()
    bench.run(jobs(1))
    assert len(bench.creates) == 2


def test_a_clip_is_kept_with_the_number_of_its_own_attempt(make_bench: MakeBench) -> None:
    """Also when attempts failed between the two, and its sidecar is gone."""
    bench = make_bench(clips=each_another())
    limits = replace(QUICK, attempts=4)
    bench.run(jobs(1), limits)
    old = bench.clip("job-01.mp4")
    (bench.folder / "job-01.json").unlink()
    decide(bench, "job-01")
    bench.script({"on": "create", "times": 2, "fail": "bad"})
    bench.run(jobs(1), limits)
    assert bench.row("job-01").attempt == 4
    assert bench.clip("job-01.attempt-1.mp4") == old
