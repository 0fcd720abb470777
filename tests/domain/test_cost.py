"""The most that a run may cost is true whatever the service says, and no larger than it has to be."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.job import Progress, State
from batchvid.domain.limits import Limits
from batchvid.domain.plan import Purchase, cost_of, cost_of_plan, cost_together, left_micros, plan
from batchvid.domain.results import Money
from batchvid.domain.task import Phase
from batchvid.engine.scheduler import Step
from tests.engine.drive import Drive, a_job

if TYPE_CHECKING:
    from batchvid.domain.plan import Cost

PURCHASES = st.lists(
    st.builds(Purchase, st.none() | st.integers(0, 5), st.integers(1, 3), is_due=st.booleans()), max_size=5
)


@given(PURCHASES, st.none() | st.integers(0, 30), st.none() | st.integers(0, 4))
def test_the_most_is_what_the_worst_choice_of_jobs_comes_to(
    purchases: list[Purchase], left: int | None, max_jobs: int | None
) -> None:
    """Against every choice: so many jobs, each bought as often as it may be, as far as the money goes."""
    sent = len(purchases) if max_jobs is None else min(max_jobs, len(purchases))
    worst = 0
    for chosen in combinations(purchases, sent):
        if any(one.price_micros is None for one in chosen) and left is None:
            assert cost_of(purchases, left=left, max_jobs=max_jobs).at_most_micros is None
            return
        worst = max(worst, sum((one.price_micros or 0) * one.attempts for one in chosen))
    assert cost_of(purchases, left=left, max_jobs=max_jobs).at_most_micros == (
        worst if left is None else min(worst, left)
    )


def lived(
    states: list[tuple[State, int]], limits: Limits, answers: list[Phase], *, spent: int, max_jobs: int | None
) -> tuple[Cost, int]:
    """Return the cost of a plan, and what a run by it pays for when the service answers so."""
    jobs = [a_job(f"j{n}", price_micros=100 + n) for n in range(len(states))]
    rows = [
        Progress(
            job.id, state, 1, attempt, task_id="t" if state is State.RUNNING else None, fingerprint=job.fingerprint
        )
        for job, (state, attempt) in zip(jobs, states, strict=True)
        if attempt
    ]
    money = Money(spent_micros=spent, budget_micros=limits.budget_micros)
    made = plan(jobs, rows, limits=limits, typical_s=lambda _: 9.0)
    held = [row.job_id for row in rows if row.state is State.RUNNING]
    drive = Drive(jobs, limits, rows=rows, held=held, money=money, max_jobs=max_jobs)
    said = iter(answers)
    paid = 0
    while True:
        if drive.scheduler.turn(Step.SUBMIT, drive.now):
            paid += jobs[drive.submit()].price_micros or 0
        elif drive.scheduler.turn(Step.DOWNLOAD, drive.now):
            drive.done()
        elif drive.scheduler.is_over():
            return cost_of_plan(made, money, max_jobs=max_jobs), paid
        else:
            index = drive.wait_for(Step.POLL)
            drive.polled(index, next(said, Phase.FAILED))


STATES = st.lists(
    st.sampled_from(
        [(State.PENDING, 0), (State.PENDING, 1), (State.RUNNING, 1), (State.RUNNING, 2), (State.FAILED, 2)]
    ),
    max_size=5,
)


@given(
    STATES,
    st.integers(1, 3),
    st.none() | st.integers(0, 900),
    st.none() | st.integers(0, 3),
    st.lists(st.sampled_from([Phase.FAILED, Phase.SUCCEEDED]), max_size=15),
)
def test_no_run_costs_more_than_was_announced(
    states: list[tuple[State, int]], attempts: int, budget: int | None, max_jobs: int | None, answers: list[Phase]
) -> None:
    """Run by the real course, with tasks that fail or succeed at will; a budget and ``--max-jobs`` bound it too."""
    limits = replace(Limits(), attempts=attempts, budget_micros=budget, breaker=99)
    cost, paid = lived(states, limits, answers, spent=0, max_jobs=max_jobs)
    assert cost.at_most_micros is not None
    assert paid <= cost.at_most_micros


@given(STATES, st.integers(1, 3), st.none() | st.integers(0, 3))
def test_when_every_task_fails_a_run_costs_as_much_as_was_announced(
    states: list[tuple[State, int]], attempts: int, max_jobs: int | None
) -> None:
    """The bound is not padded: without ``--max-jobs``, which leaves the choice to the order, it is reached."""
    limits = replace(Limits(), attempts=attempts, breaker=99)
    cost, paid = lived(states, limits, [], spent=0, max_jobs=max_jobs)
    assert cost.at_most_micros is not None
    assert paid == cost.at_most_micros if max_jobs is None else paid <= cost.at_most_micros


def test_what_is_left_is_the_narrower_of_budget_and_max_cost() -> None:
    """And never less than nothing, when a budget was lowered."""
    assert left_micros(Money()) is None
    assert left_micros(Money(), 7) == 7
    assert left_micros(Money(1, 2, 10)) == 7
    assert left_micros(Money(1, 2, 10), 5) == 5
    assert left_micros(Money(9, 2, 10), 5) == 0


def test_what_max_jobs_leaves_out_is_counted() -> None:
    """Of the dearest, because nobody knows which ones go first."""
    cost = cost_of([Purchase(1, 2), Purchase(5, 2), Purchase(3, 2)], max_jobs=2)
    assert (cost.jobs, cost.left_out, cost.price_micros, cost.at_most_micros) == (2, 1, 8, 16)


MANIFESTS = st.lists(
    st.tuples(st.lists(st.none() | st.integers(1, 50), max_size=4), st.none() | st.integers(0, 120)),
    min_size=1,
    max_size=3,
)


@given(MANIFESTS, st.none() | st.integers(0, 200), st.none() | st.integers(0, 5))
def test_of_several_manifests_each_keeps_its_budget_and_all_keep_the_bound(
    manifests: list[tuple[list[int | None], int | None]], max_cost: int | None, max_jobs: int | None
) -> None:
    """Never more than the sum of what each may spend alone, nor than ``--max-cost``; of one it is its own cost."""
    limits = Limits(attempts=2)
    plans = []
    for number, (prices, budget) in enumerate(manifests):
        jobs = [a_job(f"m{number}-j{n}", price_micros=price) for n, price in enumerate(prices)]
        made = plan(jobs, (), limits=limits, typical_s=lambda _: 9.0)
        plans.append((made, Money(budget_micros=budget)))
    alone = [cost_of_plan(*one, max_cost_micros=max_cost, max_jobs=max_jobs) for one in plans]
    found = cost_together(plans, max_cost_micros=max_cost, max_jobs=max_jobs)
    wanted = sum(one.submits for one, _ in plans)
    assert found.jobs == (wanted if max_jobs is None else min(max_jobs, wanted))
    assert found.jobs + found.left_out == wanted
    mosts = [one.at_most_micros for one in alone]
    if None in mosts and max_jobs != 0:
        assert found.at_most_micros is None
    else:
        assert found.at_most_micros is not None
        assert found.at_most_micros <= sum(most or 0 for most in mosts)
        assert max_cost is None or found.at_most_micros <= max_cost
        assert found.at_most_micros >= max((most or 0 for most in mosts), default=0)
    if len(plans) == 1:
        assert found == alone[0]
