"""What a run does first: what a crash left in doubt stays in doubt, and nothing is bought that a plan did not show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain import lifecycle as life
from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.job import Job, Progress, State
from batchvid.domain.limits import InDoubt, Limits, OnChange, RunOptions
from batchvid.domain.plan import Action, plan
from batchvid.domain.reopening import CRASHED, interrupted, reopenings

if TYPE_CHECKING:
    from batchvid.domain.lifecycle import Event

JOB = Job("kite", "A kite.", "m", "16x9", None, (), (), 400_000, "kite.mp4", "now", "m.yaml:3")
LIMITS = Limits()
RESUBMIT = Limits(in_doubt=InDoubt.RESUBMIT)
REBUY = Limits(on_change=OnChange.REBUY)
NOTHING_ASKED = RunOptions()
ALL_ASKED = RunOptions(retry_failed=True, rebuy=True, resubmit_in_doubt=True)


def row(state: State, *, attempt: int = 1, fingerprint: str | None = "now", allowance_from: int = 0) -> Progress:
    """Return the row that an earlier run left."""
    task_id = "t" if state in {State.RUNNING, State.READY, State.DONE} else None
    return Progress("kite", state, 5, attempt, allowance_from, task_id=task_id, fingerprint=fingerprint)


def take_up(
    progress: Progress,
    options: RunOptions = NOTHING_ASKED,
    limits: Limits = LIMITS,
    job: Job | None = JOB,
    **orphans: str,
) -> tuple[Event, ...]:
    """Return the events with which a run takes up the job; *orphans* are of attempts of it: ``attempt_1="task_9"``."""
    known = {("kite", int(name.removeprefix("attempt_"))): task_id for name, task_id in orphans.items()}
    events = interrupted(progress, orphans=known)
    left = after(progress, events)
    again = reopenings({} if job is None else {"kite": job}, [left], options=options, limits=limits)
    return (*events, *again.values())


def opened(
    progress: Progress, options: RunOptions = NOTHING_ASKED, limits: Limits = LIMITS, job: Job | None = JOB
) -> list[str]:
    """Name the events with which a run takes up the job."""
    return [type(event).__name__ for event in take_up(progress, options, limits, job)]


def after(progress: Progress, events: tuple[Event, ...]) -> Progress:
    """Return the progress after the events; raises when one of them is impossible."""
    for event in events:
        progress = life.advance(progress, event, at=0.0)
    return progress


def test_a_job_caught_submitting_is_in_doubt_and_not_sent_again_by_itself() -> None:
    """The crash may have come before or after the request left: nobody knows."""
    events = take_up(row(State.SUBMITTING), NOTHING_ASKED, LIMITS)
    assert events == (life.SubmitUnsure(CRASHED),)
    assert after(row(State.SUBMITTING), events).state is State.IN_DOUBT


@pytest.mark.parametrize("options", [RunOptions(retry_failed=True), RunOptions(rebuy=True), RunOptions(True, True)])  # noqa: FBT003 both
@pytest.mark.parametrize("limits", [LIMITS, REBUY])
@pytest.mark.parametrize("state", [State.SUBMITTING, State.IN_DOUBT])
def test_no_other_wish_resubmits_what_is_in_doubt(state: State, options: RunOptions, limits: Limits) -> None:
    """Only the two settings that name the doubt do."""
    progress = row(state, fingerprint="old")
    assert after(progress, take_up(progress, options, limits)).state is State.IN_DOUBT


@pytest.mark.parametrize("state", [State.SUBMITTING, State.IN_DOUBT])
def test_a_doubt_is_resubmitted_when_the_person_says_so(state: State) -> None:
    """``--resubmit-in-doubt`` is a person's word, so the attempts count again."""
    progress = row(state, attempt=2)
    pending = after(progress, take_up(progress, RunOptions(resubmit_in_doubt=True), LIMITS))
    assert (pending.state, life.attempts_used(pending)) == (State.PENDING, 0)


@pytest.mark.parametrize("state", [State.SUBMITTING, State.IN_DOUBT])
def test_the_rule_resubmits_a_doubt_while_attempts_last(state: State) -> None:
    """``in_doubt: resubmit`` is bounded by ``attempts``: each doubt may have cost money."""
    first, second = row(state, attempt=1), row(state, attempt=2)
    assert after(first, take_up(first, NOTHING_ASKED, RESUBMIT)).state is State.PENDING
    assert after(second, take_up(second, NOTHING_ASKED, RESUBMIT)).state is State.IN_DOUBT


@pytest.mark.parametrize("state", State)
def test_a_job_that_the_manifest_dropped_is_left_alone(state: State) -> None:
    """F81: not bought again whatever is asked for; but a crash is told of it as of any other."""
    expected = ["SubmitUnsure"] if state is State.SUBMITTING else []
    assert (
        opened(row(state, fingerprint="old"), ALL_ASKED, replace(RESUBMIT, on_change=OnChange.REBUY), None) == expected
    )


@pytest.mark.parametrize("state", [State.SUBMITTING, State.IN_DOUBT])
@pytest.mark.parametrize("job", [JOB, None])
def test_a_task_that_could_not_be_journaled_finds_its_attempt_again(state: State, job: Job | None) -> None:
    """F53: the id that was saved beside the journal ends the doubt, and nothing is resubmitted."""
    progress = row(state, attempt=2)
    events = take_up(progress, ALL_ASKED, RESUBMIT, job, attempt_2="task_9")
    adopted = after(progress, events)
    assert (adopted.state, adopted.task_id, adopted.attempt) == (State.RUNNING, "task_9", 2)
    assert after(progress, take_up(progress, attempt_1="task_8")).state is State.IN_DOUBT


@pytest.mark.parametrize("state", sorted(set(State) - {State.SUBMITTING, State.IN_DOUBT}))
def test_an_orphaned_task_disturbs_no_job_that_is_not_in_doubt(state: State) -> None:
    """Its line stays in the file after it was taken up."""
    assert take_up(row(state), attempt_1="task_9") == ()


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.READY])
def test_what_goes_on_by_itself_needs_no_event(state: State) -> None:
    """A paid task is collected as it was paid, also when the content has changed since."""
    assert opened(row(state, fingerprint="old"), ALL_ASKED, REBUY) == []


@pytest.mark.parametrize(
    ("fingerprint", "options", "limits", "events"),
    [
        ("now", NOTHING_ASKED, LIMITS, []),
        ("now", ALL_ASKED, REBUY, []),
        ("old", NOTHING_ASKED, LIMITS, []),
        ("old", RunOptions(retry_failed=True, resubmit_in_doubt=True), LIMITS, []),
        ("old", RunOptions(rebuy=True), LIMITS, ["Reopened"]),
        ("old", NOTHING_ASKED, REBUY, ["Reopened"]),
    ],
)
def test_a_clip_is_bought_again_only_when_it_changed_and_that_was_asked_for(
    fingerprint: str, options: RunOptions, limits: Limits, events: list[str]
) -> None:
    """``on_change: keep`` is the default; ``rebuy`` touches nothing that is as it was."""
    assert opened(row(State.DONE, fingerprint=fingerprint), options, limits) == events


@pytest.mark.parametrize(
    ("attempt", "fingerprint", "options", "events"),
    [
        (1, "now", NOTHING_ASKED, []),
        (1, "old", NOTHING_ASKED, []),
        (0, "now", NOTHING_ASKED, []),
        (0, None, NOTHING_ASKED, []),
        (0, "old", NOTHING_ASKED, ["Reopened"]),
        (1, "now", RunOptions(rebuy=True, resubmit_in_doubt=True), []),
        (1, "now", RunOptions(retry_failed=True), ["Reopened"]),
        (0, None, RunOptions(retry_failed=True), ["Reopened"]),
    ],
)
def test_a_failed_job_stays_failed_until_a_person_acts(
    attempt: int, fingerprint: str | None, options: RunOptions, events: list[str]
) -> None:
    """By asking for it, or by changing content that was refused and never paid for."""
    assert opened(row(State.FAILED, attempt=attempt, fingerprint=fingerprint), options) == events


@given(
    st.builds(
        row,
        st.sampled_from(State),
        attempt=st.integers(0, 4),
        fingerprint=st.sampled_from([None, "now", "old"]),
        allowance_from=st.integers(0, 2),
    ),
    st.builds(
        Limits, attempts=st.integers(1, 3), in_doubt=st.sampled_from(InDoubt), on_change=st.sampled_from(OnChange)
    ),
)
def test_a_run_submits_exactly_what_the_plan_shows(progress: Progress, limits: Limits) -> None:
    """A plan without options and a run without options agree on every paid request."""
    progress = progress._replace(allowance_from=min(progress.allowance_from, progress.attempt))
    shown = plan([JOB], [progress], limits=limits, typical_s=lambda _: 90.0).rows[0]
    taken_up = after(progress, take_up(progress, NOTHING_ASKED, limits))
    assert shown.submits is (taken_up.state is State.PENDING)


@given(st.sampled_from(State), st.builds(RunOptions, *[st.booleans()] * 3), st.sampled_from([LIMITS, RESUBMIT, REBUY]))
def test_every_opening_is_possible(state: State, options: RunOptions, limits: Limits) -> None:
    """No row of a journal and no option lead to an event that the lifecycle does not know, or to a second opening."""
    progress = row(state, fingerprint="old")
    taken_up = after(progress, take_up(progress, options, limits))
    assert taken_up.state is not State.SUBMITTING
    again = take_up(taken_up, NOTHING_ASKED, limits)
    assert after(taken_up, again).state is taken_up.state


@given(
    attempt=st.integers(1, 6),
    allowance_from=st.integers(0, 6),
    attempts=st.integers(1, 6),
    about=st.integers(1, 6),
    verdict=st.sampled_from([None, *Verdict]),
    state=st.sampled_from(State),
)
def test_a_rejection_opens_the_newest_clip_within_the_attempts(
    *, attempt: int, allowance_from: int, attempts: int, about: int, verdict: Verdict | None, state: State
) -> None:
    """Nobody's word grants more attempts, and what was said of another clip opens nothing; a plan shows the same."""
    known, limits = row(state, attempt=attempt, allowance_from=min(allowance_from, attempt)), Limits(attempts=attempts)
    decisions = {("kite", about): Decision("kite", about, 0.0, "ada", verdict, note="no")}
    found = reopenings({"kite": JOB}, [known], options=NOTHING_ASKED, limits=limits, decisions=decisions)
    is_meant = state is State.DONE and about == attempt and verdict is Verdict.REJECTED
    is_left = attempt - known.allowance_from < attempts
    assert found == ({"kite": life.Reopened("rejected: no", by_person=False)} if is_meant and is_left else {})
    planned = plan([JOB], [known], limits=limits, typical_s=lambda _: 1.0, decisions=decisions).rows[0]
    assert (planned.action is Action.REJECTED) is is_meant
    if is_meant:
        assert planned.submits is is_left
        assert planned.attempts == max(0, attempts - attempt + known.allowance_from)
