"""A plan tells what a run would do, and what it would cost, before it does anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.job import Job, Progress, State
from batchvid.domain.limits import InDoubt, Limits, OnChange, Rate
from batchvid.domain.plan import Action, Plan, PlanRow, plan

LIMITS = Limits()
REBUY = Limits(on_change=OnChange.REBUY)


def a_job(
    job_id: str = "kite", *, price_micros: int | None = 400_000, fingerprint: str = "now", model: str = "m"
) -> Job:
    """Return a job whose content is *fingerprint*."""
    return Job(job_id, "A kite.", model, "16x9", None, (), (), price_micros, f"{job_id}.mp4", fingerprint, "m.yaml:3")


def row_of(state: State, *, attempt: int = 1, fingerprint: str | None = "now", reason: str | None = None) -> Progress:
    """Return the journal's row of a job that has come to *state*."""
    return Progress("kite", state, 3, attempt, fingerprint=fingerprint, price_micros=300_000, reason=reason)


def planned(progress: Progress | None, limits: Limits = LIMITS, job: Job | None = None) -> PlanRow:
    """Return the plan's row of the one job."""
    known = () if progress is None else (progress,)
    return plan([job or a_job()], known, limits=limits, typical_s=lambda _: 90.0).rows[0]


@pytest.mark.parametrize(
    ("progress", "limits", "action", "submits"),
    [
        (None, LIMITS, Action.NEW, True),
        (row_of(State.PENDING, attempt=0), LIMITS, Action.NEW, True),
        (row_of(State.PENDING, attempt=1), LIMITS, Action.NEW, True),
        (row_of(State.PENDING, attempt=1, fingerprint="old"), LIMITS, Action.NEW, True),
        (row_of(State.SUBMITTING), LIMITS, Action.IN_DOUBT, False),
        (row_of(State.IN_DOUBT), LIMITS, Action.IN_DOUBT, False),
        (row_of(State.IN_DOUBT), replace(LIMITS, in_doubt=InDoubt.RESUBMIT), Action.IN_DOUBT, True),
        (row_of(State.RUNNING), REBUY, Action.RUNNING, False),
        (row_of(State.RUNNING, fingerprint="old"), REBUY, Action.RUNNING, False),
        (row_of(State.READY), REBUY, Action.RUNNING, False),
        (row_of(State.DONE), REBUY, Action.DONE, False),
        (row_of(State.DONE, fingerprint="old"), LIMITS, Action.CHANGED, False),
        (row_of(State.DONE, fingerprint="old"), REBUY, Action.CHANGED, True),
        (row_of(State.FAILED), REBUY, Action.FAILED, False),
        (row_of(State.FAILED, fingerprint="old"), REBUY, Action.FAILED, False),
        (row_of(State.FAILED, attempt=0), REBUY, Action.FAILED, False),
        (row_of(State.FAILED, attempt=0, fingerprint=None), REBUY, Action.FAILED, False),
        (row_of(State.FAILED, attempt=0, fingerprint="old"), LIMITS, Action.CHANGED, True),
    ],
)
def test_a_job_is_submitted_only_by_the_rules(
    progress: Progress | None,
    limits: Limits,
    action: Action,
    submits: bool,  # noqa: FBT001 a column of the table
) -> None:
    """Nothing that is done, under way, in doubt or failed after payment is bought again unless the manifest says so."""
    row = planned(progress, limits)
    assert (row.action, row.submits) == (action, submits)


def test_a_changed_job_says_whether_it_is_kept_or_bought_again() -> None:
    """A person who edited a prompt learns why nothing (or something) will happen."""
    changed = row_of(State.DONE, fingerprint="old")
    assert "on_change: keep" in planned(changed).reason
    assert "on_change: rebuy" in planned(changed, REBUY).reason
    assert "changed" in planned(row_of(State.FAILED, fingerprint="old", reason="no")).reason


def test_a_submit_is_priced_by_the_manifest_and_what_is_paid_by_the_journal() -> None:
    """A raised price counts for what is still to buy; what was bought keeps its price, and what was not has none."""
    assert planned(row_of(State.PENDING)).price_micros == 400_000
    assert planned(row_of(State.DONE)).price_micros == 300_000
    assert planned(row_of(State.FAILED, attempt=0)).price_micros is None


def test_the_sums_are_of_what_would_be_submitted() -> None:
    """Prices add up exactly, and unknown ones are counted instead of guessed."""
    jobs = [a_job(f"j{n}", price_micros=100_001) for n in range(3)]
    jobs += [a_job("free", price_micros=None), a_job("kite")]
    found = plan(jobs, [row_of(State.DONE)], limits=LIMITS, typical_s=lambda _: 1.0)
    assert (found.submits, found.price_micros, found.unpriced) == (4, 300_003, 1)
    assert found.counts[Action.NEW] == 4
    assert found.counts[Action.DONE] == 1


def test_a_job_that_the_manifest_no_longer_names_is_listed_last_and_left_alone() -> None:
    """Removing an entry spends nothing and hides nothing."""
    gone = row_of(State.RUNNING)._replace(job_id="a-gone")
    found = plan([a_job()], [gone], limits=REBUY, typical_s=lambda _: 1.0)
    assert [(row.job_id, row.action, row.submits) for row in found.rows] == [
        ("kite", Action.NEW, True),
        ("a-gone", Action.ORPHANED, False),
    ]


@pytest.mark.parametrize(
    ("submits", "in_flight", "wall_s"),
    [
        (Rate(10, 60), 20, 100 * 6 + 90),  # 100 jobs at 10/min: the rate is the narrow way
        (Rate(100, 60), 10, 100 * 90 / 10 + 90),  # the concurrency is
        (None, 100, 90 + 90),
    ],
)
def test_the_time_is_that_of_the_narrower_way(submits: Rate | None, in_flight: int, wall_s: float) -> None:
    """max(submits / rate, tasks * typical / in_flight) + typical."""
    limits = Limits(submits=submits, in_flight=in_flight)
    found = plan([a_job(f"j{n}") for n in range(100)], (), limits=limits, typical_s=lambda _: 90.0)
    assert found.wall_s == pytest.approx(wall_s)


def test_each_class_of_jobs_takes_its_own_time() -> None:
    """A slow model among fast ones counts with its own typical time, also when its task is running already."""
    jobs = [a_job("fast", model="fast"), a_job("kite", model="slow")]
    typical = {"fast|16x9|": 10.0, "slow|16x9|": 100.0}
    limits = Limits(submits=None, in_flight=1)
    found = plan(jobs, [row_of(State.RUNNING)], limits=limits, typical_s=typical.__getitem__)
    assert found.wall_s == pytest.approx(110 + 100)


def test_when_all_is_done_there_is_nothing_to_wait_for() -> None:
    """A plan after a finished run is empty and takes no time."""
    found = plan([a_job()], [row_of(State.DONE)], limits=LIMITS, typical_s=lambda _: 90.0)
    assert found.is_empty
    assert found.wall_s == 0
    assert not plan([a_job()], (), limits=LIMITS, typical_s=lambda _: 90.0).is_empty


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(State), st.integers(0, 3), st.sampled_from(["now", "old", None])), max_size=12
    ),
    named=st.integers(0, 12),
    rebuy=st.booleans(),
    resubmit=st.booleans(),
)
def test_every_job_has_exactly_one_row_and_the_sums_agree_with_the_rows(
    rows: list[tuple[State, int, str | None]], named: int, *, rebuy: bool, resubmit: bool
) -> None:
    """Whatever a journal holds: one row a job, manifest first and in order; counts and sums follow from the rows."""
    limits = Limits(
        on_change=OnChange.REBUY if rebuy else OnChange.KEEP,
        in_doubt=InDoubt.RESUBMIT if resubmit else InDoubt.HOLD,
    )
    known = {
        f"j{n:02}": Progress(f"j{n:02}", state, 1, attempt, fingerprint=content, price_micros=5)
        for n, (state, attempt, content) in enumerate(rows)
    }
    jobs = [a_job(f"j{n:02}", price_micros=None if n % 3 == 0 else n) for n in range(named)]
    found: Plan = plan(jobs, reversed(known.values()), limits=limits, typical_s=lambda _: 9.0)
    ids = [row.job_id for row in found.rows]
    assert ids == [job.id for job in jobs] + sorted(known.keys() - {job.id for job in jobs})
    assert {action: number for action, number in found.counts.items() if number} == Counter(
        row.action for row in found.rows
    )
    sent = [row for row in found.rows if row.submits]
    assert found.submits == len(sent)
    assert found.price_micros == sum(row.price_micros or 0 for row in sent)
    assert found.unpriced == sum(row.price_micros is None for row in sent)
    assert not any(row.submits for row in found.rows if row.action in {Action.DONE, Action.RUNNING, Action.ORPHANED})
