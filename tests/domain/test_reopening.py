"""What a run does first: what a crash left in doubt stays in doubt, and nothing is bought that a plan did not show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain import lifecycle as life
from batchvid.domain.job import Job, Progress, State
from batchvid.domain.limits import InDoubt, Limits, OnChange
from batchvid.domain.plan import plan
from batchvid.domain.reopening import CRASHED, Wishes, interrupted, reopenings

if TYPE_CHECKING:
    from batchvid.domain.lifecycle import Event

JOB = Job("kite", "A kite.", "m", "16x9", None, (), (), 400_000, "kite.mp4", "now", "m.yaml:3")
LIMITS = Limits()
RESUBMIT = Limits(in_doubt=InDoubt.RESUBMIT)
REBUY = Limits(on_change=OnChange.REBUY)
NO_WISH = Wishes()
ALL_WISHES = Wishes(retry_failed=True, rebuy=True, resubmit_in_doubt=True)


def row(state: State, *, attempt: int = 1, fingerprint: str | None = "now", allowance_from: int = 0) -> Progress:
    """Return the row that an earlier run left."""
    task_id = "t" if state in {State.RUNNING, State.READY, State.DONE} else None
    return Progress("kite", state, 5, attempt, allowance_from, task_id=task_id, fingerprint=fingerprint)


def take_up(
    progress: Progress, wishes: Wishes = NO_WISH, limits: Limits = LIMITS, job: Job | None = JOB, **orphans: str
) -> tuple[Event, ...]:
    """Return the events with which a run takes up the job; *orphans* are of attempts of it: ``attempt_1="task_9"``."""
    known = {("kite", int(name.removeprefix("attempt_"))): task_id for name, task_id in orphans.items()}
    events = interrupted(progress, orphans=known)
    left = after(progress, events)
    again = reopenings({} if job is None else {"kite": job}, [left], wishes=wishes, limits=limits)
    return (*events, *again.values())


def opened(progress: Progress, wishes: Wishes = NO_WISH, limits: Limits = LIMITS, job: Job | None = JOB) -> list[str]:
    """Name the events with which a run takes up the job."""
    return [type(event).__name__ for event in take_up(progress, wishes, limits, job)]


def after(progress: Progress, events: tuple[Event, ...]) -> Progress:
    """Return the progress after the events; raises when one of them is impossible."""
    for event in events:
        progress = life.advance(progress, event, at=0.0)
    return progress


def test_a_job_caught_submitting_is_in_doubt_and_not_sent_again_by_itself() -> None:
    """The crash may have come before or after the request left: nobody knows."""
    events = take_up(row(State.SUBMITTING), NO_WISH, LIMITS)
    assert events == (life.SubmitUnsure(CRASHED),)
    assert after(row(State.SUBMITTING), events).state is State.IN_DOUBT


@pytest.mark.parametrize("wishes", [Wishes(retry_failed=True), Wishes(rebuy=True), Wishes(True, True)])  # noqa: FBT003 both
@pytest.mark.parametrize("limits", [LIMITS, REBUY])
@pytest.mark.parametrize("state", [State.SUBMITTING, State.IN_DOUBT])
def test_no_other_wish_resubmits_what_is_in_doubt(state: State, wishes: Wishes, limits: Limits) -> None:
    """Only the two settings that name the doubt do."""
    progress = row(state, fingerprint="old")
    assert after(progress, take_up(progress, wishes, limits)).state is State.IN_DOUBT


@pytest.mark.parametrize("state", [State.SUBMITTING, State.IN_DOUBT])
def test_a_doubt_is_resubmitted_when_the_person_says_so(state: State) -> None:
    """``--resubmit-in-doubt`` is a person's word, so the attempts count anew."""
    progress = row(state, attempt=2)
    pending = after(progress, take_up(progress, Wishes(resubmit_in_doubt=True), LIMITS))
    assert (pending.state, life.attempts_used(pending)) == (State.PENDING, 0)


@pytest.mark.parametrize("state", [State.SUBMITTING, State.IN_DOUBT])
def test_the_rule_resubmits_a_doubt_while_attempts_last(state: State) -> None:
    """``in_doubt: resubmit`` is bounded by ``attempts``: each doubt may have cost money."""
    first, second = row(state, attempt=1), row(state, attempt=2)
    assert after(first, take_up(first, NO_WISH, RESUBMIT)).state is State.PENDING
    assert after(second, take_up(second, NO_WISH, RESUBMIT)).state is State.IN_DOUBT


@pytest.mark.parametrize("state", State)
def test_a_job_that_the_manifest_dropped_is_left_alone(state: State) -> None:
    """F81: not bought again whatever is asked for; but a crash is told of it as of any other."""
    expected = ["SubmitUnsure"] if state is State.SUBMITTING else []
    assert (
        opened(row(state, fingerprint="old"), ALL_WISHES, replace(RESUBMIT, on_change=OnChange.REBUY), None) == expected
    )


@pytest.mark.parametrize("state", [State.SUBMITTING, State.IN_DOUBT])
@pytest.mark.parametrize("job", [JOB, None])
def test_a_task_that_could_not_be_journaled_finds_its_attempt_again(state: State, job: Job | None) -> None:
    """F53: the id that was saved beside the journal ends the doubt, and nothing is resubmitted."""
    progress = row(state, attempt=2)
    events = take_up(progress, ALL_WISHES, RESUBMIT, job, attempt_2="task_9")
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
    assert opened(row(state, fingerprint="old"), ALL_WISHES, REBUY) == []


@pytest.mark.parametrize(
    ("fingerprint", "wishes", "limits", "events"),
    [
        ("now", NO_WISH, LIMITS, []),
        ("now", ALL_WISHES, REBUY, []),
        ("old", NO_WISH, LIMITS, []),
        ("old", Wishes(retry_failed=True, resubmit_in_doubt=True), LIMITS, []),
        ("old", Wishes(rebuy=True), LIMITS, ["Reopened"]),
        ("old", NO_WISH, REBUY, ["Reopened"]),
    ],
)
def test_a_clip_is_bought_again_only_when_it_changed_and_that_was_asked_for(
    fingerprint: str, wishes: Wishes, limits: Limits, events: list[str]
) -> None:
    """``on_change: keep`` is the default; ``rebuy`` touches nothing that is as it was."""
    assert opened(row(State.DONE, fingerprint=fingerprint), wishes, limits) == events


@pytest.mark.parametrize(
    ("attempt", "fingerprint", "wishes", "events"),
    [
        (1, "now", NO_WISH, []),
        (1, "old", NO_WISH, []),
        (0, "now", NO_WISH, []),
        (0, None, NO_WISH, []),
        (0, "old", NO_WISH, ["Reopened"]),
        (1, "now", Wishes(rebuy=True, resubmit_in_doubt=True), []),
        (1, "now", Wishes(retry_failed=True), ["Reopened"]),
        (0, None, Wishes(retry_failed=True), ["Reopened"]),
    ],
)
def test_a_failed_job_stays_failed_until_a_person_acts(
    attempt: int, fingerprint: str | None, wishes: Wishes, events: list[str]
) -> None:
    """By asking for it, or by changing content that was refused and never paid for."""
    assert opened(row(State.FAILED, attempt=attempt, fingerprint=fingerprint), wishes) == events


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
    taken_up = after(progress, take_up(progress, NO_WISH, limits))
    assert shown.submits is (taken_up.state is State.PENDING)


@given(st.sampled_from(State), st.builds(Wishes, *[st.booleans()] * 3), st.sampled_from([LIMITS, RESUBMIT, REBUY]))
def test_every_opening_is_possible(state: State, wishes: Wishes, limits: Limits) -> None:
    """No row of a journal and no option lead to an event that the lifecycle does not know, or to a second opening."""
    progress = row(state, fingerprint="old")
    taken_up = after(progress, take_up(progress, wishes, limits))
    assert taken_up.state is not State.SUBMITTING
    again = take_up(taken_up, NO_WISH, limits)
    assert after(taken_up, again).state is taken_up.state
