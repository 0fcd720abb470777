"""What a report says of each job and each model."""

from __future__ import annotations

from batchvid.domain.job import Attempt, Outcome, Progress, State
from batchvid.domain.lifecycle import KeptEvent
from batchvid.domain.report import TROUBLES_SHOWN, Kept, report
from tests.engine.drive import a_job

AT = 1_773_352_800.0


def attempt(
    job_id: str, number: int = 1, *, outcome: str = "succeeded", price: int | None = 400_000, model: str | None = None
) -> Attempt:
    """Return an attempt that took a minute."""
    task_id = f"task_{job_id}_{number}"
    return Attempt(job_id, number, price, "f", AT, AT + 1, task_id, model, Outcome(outcome), AT + 61)


def test_each_job_of_the_manifest_has_a_row_in_its_order_whether_anything_happened_to_it_or_not() -> None:
    """And what the manifest no longer names is counted, and has none."""
    known = {"b": Progress("b", State.DONE, 9, 1), "gone": Progress("gone", State.DONE, 9, 1)}
    made = report([a_job("a"), a_job("b")], Kept(progress=known))
    assert [(row.job.id, row.state) for row in made.rows] == [("a", "pending"), ("b", "done")]
    assert made.orphans == 1


def test_an_unanswered_request_is_in_doubt_unless_a_run_waits_for_its_answer() -> None:
    """After a crash nobody does."""
    kept = Kept(progress={"a": Progress("a", State.SUBMITTING, 1, 1)})
    assert report([a_job("a")], kept).rows[0].state == "in_doubt"
    assert report([a_job("a")], kept, run_active=True).rows[0].state == "submitting"


def test_what_needs_a_person_is_known_by_its_state() -> None:
    """In doubt, failed, parked; and nothing else."""
    progress = {state.value: Progress(state.value, state, 1, 1) for state in State}
    progress["parked"] = progress["running"]._replace(job_id="parked", parked=True)
    made = report([a_job(name) for name in progress], Kept(progress=progress), run_active=True)
    assert {row.job.id for row in made.rows if row.needs_person} == {"in_doubt", "failed", "parked"}


def test_the_money_of_a_model_tells_what_brought_no_clip_and_what_is_held() -> None:
    """The service may refund a failure, but promises nothing."""
    jobs = [a_job("a", model="dear"), a_job("b", model="dear"), a_job("c", model="cheap")]
    paid = [
        attempt("a", outcome="failed", price=2_000_000),
        attempt("a", 2, price=2_000_000),
        attempt("b", outcome="in_doubt", price=2_000_000),
        attempt("c"),
        attempt("gone", price=None, model="old"),
    ]
    dear, cheap, old = report(jobs, Kept(paid=paid)).models
    assert (dear.model, dear.attempts, dear.clips) == ("dear", 3, 1)
    assert (dear.spent_micros, dear.without_clip_micros, dear.reserved_micros) == (4_000_000, 2_000_000, 2_000_000)
    assert (cheap.model, cheap.spent_micros, cheap.without_clip_micros) == ("cheap", 400_000, 0)
    assert (old.model, old.unpriced) == ("old", 1)


def test_a_job_tells_what_all_its_attempts_cost_and_how_long_the_last_good_one_took() -> None:
    """Not only the newest."""
    paid = [attempt("a", outcome="failed"), attempt("a", 2)]
    row = report([a_job("a")], Kept(paid=paid)).rows[0]
    assert row.paid_micros == 800_000
    assert row.took_s == 60.0


def test_a_price_that_nobody_stated_is_unknown_and_not_nothing() -> None:
    """Zero would be a lie."""
    assert report([a_job("a")], Kept(paid=[attempt("a", price=None)])).rows[0].paid_micros is None


def test_a_hundred_troubles_are_told_by_their_end() -> None:
    """A page of 10,000 jobs must stay one that opens."""
    troubles = [KeptEvent(n, "a", 1, AT + n, "DownloadFailed", {"reason": f"number {n}"}) for n in range(100)]
    told = report([a_job("a")], Kept(troubles=troubles)).rows[0].troubles
    assert [one.data["reason"] for one in told] == [f"number {n}" for n in range(100 - TROUBLES_SHOWN, 100)]
