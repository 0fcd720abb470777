"""Any story of any number of jobs: nothing is lost, nothing is overspent, and every run comes to an end."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from batchvid.domain import lifecycle as life
from batchvid.domain.job import Progress, State
from batchvid.domain.limits import Limits
from batchvid.domain.results import Money
from batchvid.domain.task import Fault, FaultKind, Phase, Proof
from batchvid.engine.policy import sends_at_most
from batchvid.engine.scheduler import Step
from tests.engine.drive import PRICE, Drive, jobs

REFUSALS = [
    FaultKind.REJECTED,
    FaultKind.NO_CHANNEL,
    FaultKind.THROTTLED,
    FaultKind.UNAVAILABLE,
    FaultKind.ACCOUNT,
    FaultKind.MISCONFIGURED,
]
PROOFS = [Proof.CLEAR, Proof.WORD, Proof.NOT_SENT]
SUBMITS = [*["accepted"] * 18, *["unsure", "resubmitted"] * 3, *itertools.product(REFUSALS, PROOFS)]
POLLS = [Phase.RUNNING, Phase.WAITING, Phase.UNHEARD, Phase.FAILED, *[Phase.SUCCEEDED] * 4, "no url", *FaultKind]
DOWNLOADS = ["saved"] * 4 + list(FaultKind)
LIMITS = st.builds(
    Limits,
    in_flight=st.integers(1, 4),
    attempts=st.integers(1, 3),
    budget_micros=st.none() | st.integers(0, 8 * PRICE),
    breaker=st.integers(1, 10),
    canary=st.integers(0, 3),
    task_timeout_s=st.sampled_from([60.0, 1200.0]),
)
BEGINNINGS = st.fixed_dictionaries(
    {},
    optional={
        "max_jobs": st.integers(0, 4),
        "stop_submitting_at": st.floats(1000, 3000),
        "run_limit_micros": st.integers(0, 5 * PRICE),
        "clips_before": st.integers(0, 2),
    },
)
ROWS = st.lists(st.none() | st.sampled_from(State), max_size=6)


def rows_of(states: list[State | None]) -> list[Progress]:
    """Return the journal's rows of an earlier run."""
    rows = []
    for index, state in enumerate(states):
        if state is not None and state is not State.SUBMITTING:
            attempt = 0 if state is State.PENDING else 1
            task_id = f"old_{index}" if state in {State.RUNNING, State.READY} else None
            rows.append(
                Progress(
                    f"j{index}",
                    state,
                    attempt=attempt,
                    task_id=task_id,
                    price_micros=PRICE if attempt else None,
                    submitted_at=1_773_298_000.0 if task_id else None,
                )
            )
    return rows


def submit(drive: Drive, index: int, outcome: Any) -> None:
    """Let a paid request come to its outcome; it has been recorded that it started, unless it cannot be sent."""
    match outcome:
        case "accepted":
            drive.accepted(index)
        case "unsure":
            drive.unsure(index)
        case "resubmitted":
            drive.unsure(index, life.Reopened("rule", by_person=False))
        case _:
            kind, proof = outcome
            drive.refused(index, Fault(kind, "why", proof=proof))


def poll(drive: Drive, index: int, outcome: Any) -> None:
    """Let a look come to its outcome."""
    if isinstance(outcome, FaultKind):
        drive.poll_failed(index, Fault(outcome, "why"))
    elif outcome == "no url":
        drive.polled(index, Phase.SUCCEEDED)
    else:
        drive.polled(index, outcome, url="https://files.example/1")


def download(drive: Drive, index: int, outcome: Any) -> None:
    """Let a transfer come to its outcome."""
    if outcome == "saved":
        drive.saved(index)
    else:
        drive.not_saved(index, Fault(outcome, "why"))


def begin(drive: Drive, step: Step) -> int:
    """Take a turn; a submit is recorded as started."""
    return drive.started() if step is Step.SUBMIT else drive.take(step)


def check(drive: Drive, *, start_micros: int, wanted: int, chosen: int) -> None:
    """Check what must hold between any two outcomes."""
    scheduler, money = drive.scheduler, drive.scheduler.budget.money
    assert scheduler.counts.total() == wanted
    assert min(scheduler.counts.values()) >= 0
    assert scheduler.in_flight == drive.flying() >= 0
    if money.budget_micros is not None:
        assert money.spent_micros + money.reserved_micros <= max(money.budget_micros, start_micros)
    assert money.reserved_micros >= 0
    idle_open = sum(scheduler.counts[state] for state in (State.PENDING, State.RUNNING, State.READY, State.SUBMITTING))
    left_out = len(scheduler.deferred) + len(scheduler.exhausted) + wanted - chosen
    assert drive.in_lanes() + scheduler.busy.total() == idle_open - left_out
    assert all(sent <= sends_at_most(scheduler.limits) for sent in drive.sent.values())
    if money.budget_micros is not None:
        assert start_micros + PRICE * drive.unproven.total() <= max(money.budget_micros, start_micros)


@settings(max_examples=120)
@given(LIMITS, BEGINNINGS, ROWS, st.data())
def test_every_story_ends_and_loses_nothing(
    limits: Limits, beginning: dict[str, Any], states: list[State | None], data: st.DataObject
) -> None:
    """Workers take turns and come back in any order, with any outcome; then the service behaves, and the run ends."""
    rows, number = rows_of(states), len(states) + 2
    held = [one.job_id for one in rows if one.state in {State.RUNNING, State.IN_DOUBT}]
    money = Money(0, PRICE * len(held), limits.budget_micros)
    drive = Drive(jobs(number), limits, rows=rows, held=held, money=money, **beginning)
    facts = {"start_micros": PRICE * len(held), "wanted": number, "chosen": number}
    check(drive, **facts)
    out: list[tuple[Step, int]] = []
    for _ in range(data.draw(st.integers(0, 60))):
        turns = [step for step in Step if drive.scheduler.turn(step, drive.now)]
        choice: Step | str = data.draw(st.sampled_from([*turns, *turns, *(["back"] if out else []), "wait"]))
        if not isinstance(choice, Step):
            drive.now += data.draw(st.floats(0, 120))
            if choice == "back":
                step, index = out.pop(data.draw(st.integers(0, len(out) - 1)))
                come_back(drive, step, index, data)
        else:
            was_flying = drive.scheduler.in_flight
            out.append((choice, begin(drive, choice)))
            assert choice is not Step.SUBMIT or was_flying < limits.in_flight
        check(drive, **facts)
        assert not (out and drive.scheduler.is_over())
    for step, index in out:
        come_back(drive, step, index, data)
    finish_well(drive)
    check(drive, **facts)
    left = (
        drive.scheduler.counts[State.PENDING]
        + drive.scheduler.counts[State.RUNNING]
        + drive.scheduler.counts[State.READY]
    )
    assert left == len(drive.scheduler.deferred) + len(drive.scheduler.exhausted) or drive.scheduler.breaker.halts


def come_back(drive: Drive, step: Step, index: int, data: st.DataObject) -> None:
    """Let a worker come back with any outcome that its step can have."""
    match step:
        case Step.SUBMIT:
            submit(drive, index, data.draw(st.sampled_from(SUBMITS)))
        case Step.POLL:
            poll(drive, index, data.draw(st.sampled_from(POLLS)))
        case _:
            download(drive, index, data.draw(st.sampled_from(DOWNLOADS)))


def finish_well(drive: Drive) -> None:
    """Let everything go well from here on, until the run is over; it must not take for ever."""
    for _ in range(400):
        if drive.scheduler.is_over():
            return
        turns = [step for step in Step if drive.scheduler.turn(step, drive.now)]
        if drive.scheduler.is_over():
            return
        if not turns:
            moments = [drive.scheduler.wake_at(step, drive.now) for step in Step]
            later = [moment for moment in moments if moment is not None]
            assert later, "the run would wait for ever"
            drive.now = min(later)
            continue
        index = begin(drive, turns[0])
        outcome = {Step.SUBMIT: "accepted", Step.POLL: Phase.SUCCEEDED, Step.DOWNLOAD: "saved"}[turns[0]]
        {Step.SUBMIT: submit, Step.POLL: poll, Step.DOWNLOAD: download}[turns[0]](drive, index, outcome)
    raise AssertionError("the run does not end")
