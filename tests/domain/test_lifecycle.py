"""The table of a job's life is what the documents promise, and nothing moves a job beside it."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain import lifecycle as life
from batchvid.domain.job import Progress, State

AT = 1_773_297_229.0
STARTED = life.SubmitStarted(1, 400_000, "f1")
EXAMPLES: list[life.Event] = [
    STARTED,
    life.SubmitAccepted("task_1", "veo_3_1"),
    life.SubmitRefused("no"),
    life.SubmitUnsure("who knows", b"<html>"),
    life.TaskAdopted("task_2"),
    life.Reopened("a person"),
    life.StillRunning("queued", 3.0),
    life.PollFailed("502"),
    life.TaskSucceeded("https://files.example/1", 2e9),
    life.TaskFailed("moderated"),
    life.TimedOut("20 min"),
    life.DownloadFailed("cut"),
    life.UrlExpired("403"),
    life.ClipSaved("kite.mp4", 10, "ab"),
    life.ClipMissing("kite.mp4 is missing"),
    life.RefusalsProven("the dashboard shows nothing"),
    life.GaveUp("enough"),
]
PROMISED = {
    "pending": {"SubmitStarted": "submitting", "TaskAdopted": "running", "GaveUp": "failed"},
    "submitting": {
        "SubmitAccepted": "running",
        "SubmitRefused": "pending",
        "SubmitUnsure": "in_doubt",
        "GaveUp": "failed",
    },
    "in_doubt": {"TaskAdopted": "running", "Reopened": "pending", "GaveUp": "failed"},
    "running": {
        "StillRunning": "running",
        "PollFailed": "running",
        "TaskSucceeded": "ready",
        "TaskFailed": "pending",
        "TimedOut": "running",
        "TaskAdopted": "running",
        "GaveUp": "failed",
    },
    "ready": {
        "DownloadFailed": "ready",
        "UrlExpired": "running",
        "ClipSaved": "done",
        "TaskAdopted": "running",
        "GaveUp": "failed",
    },
    "failed": {"Reopened": "pending", "TaskAdopted": "running"},
    "done": {"Reopened": "pending", "ClipMissing": "running", "TaskAdopted": "running"},
}
"""The table of the contract, written down again by hand; and in every state a person may prove refusals."""
for _state, _pairs in PROMISED.items():
    _pairs["RefusalsProven"] = _state


def after(progress: Progress, *events: life.Event) -> Progress:
    """Return the progress after all *events*."""
    for event in events:
        progress = life.advance(progress, event, at=AT)
    return progress


def test_there_is_an_example_of_every_event() -> None:
    """No event escapes the tests below."""
    assert [type(event) for event in EXAMPLES] == list(get_args(life.Event))


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", State)
def test_every_pair_leads_where_the_contract_says_or_changes_nothing(state: State, event: life.Event) -> None:
    """Every (state, event) pair is either in the contract's table or impossible."""
    before = Progress("kite", state, version=7, attempt=1)
    copy = before._replace()
    promised = PROMISED[state].get(type(event).__name__)
    if promised is None:
        with pytest.raises(life.IllegalEventError, match=rf"'kite' is {state}: {type(event).__name__} "):
            life.advance(before, event, at=AT)
    else:
        now = life.advance(before, event, at=AT)
        assert (now.state, now.version, now.job_id) == (promised, 8, "kite")
    assert before == copy


def test_the_table_has_no_pair_that_the_contract_lacks() -> None:
    """`TABLE` and the contract are equal, not only compatible."""
    table = {(state.value, event.__name__): to.value for (state, event), to in life.TABLE.items()}
    assert table == {(state, event): to for state, pairs in PROMISED.items() for event, to in pairs.items()}


def test_the_docstring_shows_the_table() -> None:
    """What a reader sees at the head of the module is what the code does."""
    assert life.__doc__ is not None
    rows = life.__doc__.split("=\n")[2].rsplit("\n=", 1)[0].strip().splitlines()
    shown = {}
    for row in rows:
        froms, events, to = row[:22].strip(), row[22:51].strip(), row[51:].replace(",", ";").split(";")[0]
        groups: dict[str, list[State]] = {
            "any state": list(State),
            "any open state": [state for state in State if state.is_open],
            "any but submitting": [state for state in State if state is not State.SUBMITTING],
        }
        for state in groups.get(froms) or [State(name) for name in froms.split(", ")]:
            told = to.strip().replace("the same", state.value)
            shown.update({(state.value, event): told for event in events.split(", ")})
    assert shown == {(state.value, event.__name__): to.value for (state, event), to in life.TABLE.items()}


def test_a_progress_cannot_be_changed_in_place() -> None:
    """Nobody moves a job except by `advance`."""
    with pytest.raises(AttributeError):
        Progress.fresh("kite").state = State.DONE  # type: ignore[misc]


def test_a_refused_request_uses_up_no_attempt() -> None:
    """The number of a refused attempt is given to the next one, and nothing counts against the limit."""
    refused = after(Progress.fresh("kite"), STARTED, life.SubmitRefused("429"))
    assert (refused.attempt, life.attempts_used(refused), refused.reason) == (0, 0, "429")
    again = after(refused, life.SubmitStarted(refused.attempt + 1, 1, "f1"))
    assert (again.attempt, again.reason) == (1, None)


def test_a_refusal_after_a_paid_attempt_leaves_that_attempt_counted() -> None:
    """Only the refused request is taken back, not the paid one before it."""
    failed = after(Progress.fresh("kite"), STARTED, life.SubmitAccepted("t"), life.TaskFailed("no"))
    refused = after(failed, life.SubmitStarted(2, 1, "f1"), life.SubmitRefused("503"))
    assert (failed.attempt, refused.attempt, life.attempts_used(refused)) == (1, 1, 1)


@pytest.mark.parametrize("state", [State.FAILED, State.DONE, State.IN_DOUBT])
def test_a_persons_reopening_grants_the_attempts_anew(state: State) -> None:
    """Attempts before the reopening no longer count, and their numbers are not used again."""
    reopened = after(Progress("kite", state, attempt=2), life.Reopened("retry"))
    assert (reopened.attempt, life.attempts_used(reopened)) == (2, 0)
    assert life.attempts_used(after(reopened, life.SubmitStarted(3, 1, "f"))) == 1


def test_the_rule_resubmit_grants_no_further_attempts() -> None:
    """An attempt in doubt counts, unless a person says otherwise: a loop of doubts must end."""
    reopened = after(Progress("kite", State.IN_DOUBT, attempt=2), life.Reopened("rule", by_person=False))
    assert life.attempts_used(reopened) == 2


def test_a_new_attempt_forgets_the_task_of_the_one_before() -> None:
    """A crash during the second attempt must not poll the first one's task, nor fetch its clip."""
    ready = after(
        Progress.fresh("kite"), STARTED, life.SubmitAccepted("t1", "m"), life.TaskSucceeded("https://h/1", 2e9)
    )
    second = after(ready, life.GaveUp("x"), life.Reopened("y"), life.SubmitStarted(2, 500_000, "f2"))
    forgotten = (second.task_id, second.url, second.url_expires_at, second.submitted_at, second.resolved_model)
    assert forgotten == (None,) * 5
    assert (second.attempt, second.price_micros, second.fingerprint, second.finished_at) == (2, 500_000, "f2", None)


def test_an_accepted_attempt_keeps_its_task_id_until_the_job_is_done() -> None:
    """No event between accept and done loses the id that was paid for."""
    job = after(
        Progress.fresh("kite"),
        STARTED,
        life.SubmitAccepted("t1", "veo_3_1"),
        life.StillRunning("queued"),
        life.PollFailed("502"),
        life.TimedOut("late"),
        life.TaskSucceeded("https://h/1"),
        life.DownloadFailed("cut", parked=True),
        life.UrlExpired("403"),
        life.TaskSucceeded(None),
        life.ClipSaved("kite.mp4", 10, "ab"),
    )
    assert (job.task_id, job.resolved_model, job.submitted_at, job.finished_at) == ("t1", "veo_3_1", AT, AT)
    assert (job.path, job.size_bytes, job.sha256, job.reason, job.parked) == ("kite.mp4", 10, "ab", None, False)


def test_a_timed_out_task_is_parked_and_a_good_answer_unparks_it() -> None:
    """Parked means: left for the next run, with its task id; the next good look takes it up again."""
    running = after(Progress.fresh("kite"), STARTED, life.SubmitAccepted("t1"))
    parked = after(running, life.TimedOut("20 min"))
    assert (parked.state, parked.parked, parked.reason) == (State.RUNNING, True, "20 min")
    assert not after(parked, life.StillRunning("queued")).parked
    assert not after(parked, life.TaskSucceeded("https://h/1")).parked


def test_an_expired_url_is_forgotten() -> None:
    """A URL that is gone is not tried a second time."""
    ready = after(Progress("kite", State.RUNNING, task_id="t"), life.TaskSucceeded("https://h/1", 2e9))
    expired = after(ready, life.UrlExpired("403"))
    assert (expired.state, expired.url, expired.url_expires_at, expired.task_id) == (State.RUNNING, None, None, "t")


@pytest.mark.parametrize("state", sorted(set(State) - {State.SUBMITTING}))
def test_a_task_can_be_put_right_in_every_state_of_a_paid_job(state: State) -> None:
    """Nothing of the task before is kept, but for the clip on disk, which is kept beside the new one later."""
    before = Progress(
        "kite", state, attempt=1, parked=True, task_id="wrong", resolved_model="m", url="https://h/1",
        url_expires_at=2e9, finished_at=2.0, path="k.mp4", size_bytes=9, sha256="ab",
    )  # fmt: skip
    after_it = after(before, life.TaskAdopted("right"))
    assert (after_it.state, after_it.attempt, after_it.task_id, after_it.parked) == (State.RUNNING, 1, "right", False)
    assert (after_it.url, after_it.url_expires_at, after_it.resolved_model, after_it.finished_at) == (None,) * 4
    assert (after_it.path, after_it.size_bytes, after_it.sha256) == ("k.mp4", 9, "ab")


@pytest.mark.parametrize("state", State)
def test_a_job_that_was_never_paid_for_adopts_nothing(state: State) -> None:
    """There would be no attempt to which the task belongs, and no money for it."""
    with pytest.raises(life.IllegalEventError):
        life.advance(Progress("kite", state), life.TaskAdopted("t"), at=AT)


def test_an_adopted_task_is_polled_as_if_it_had_just_begun() -> None:
    """The id that a person found takes the place of the unknown one."""
    adopted = after(Progress("kite", State.IN_DOUBT, attempt=1, reason="reset"), life.TaskAdopted("t9"))
    assert (adopted.state, adopted.task_id, adopted.submitted_at, adopted.reason) == (State.RUNNING, "t9", AT, None)


@given(st.lists(st.sampled_from(EXAMPLES), max_size=40))
def test_no_story_leads_outside_the_table(events: list[life.Event]) -> None:
    """Whatever happens in whatever order: each event is recorded once or refused, and every value stays sane."""
    progress = Progress.fresh("kite")
    for event in events:
        number = life.SubmitStarted(progress.attempt + 1, 1, "f") if isinstance(event, life.SubmitStarted) else event
        nothing_paid = isinstance(event, life.TaskAdopted) and not progress.attempt
        if (progress.state, type(event)) not in life.TABLE or nothing_paid:
            with pytest.raises(life.IllegalEventError):
                life.advance(progress, number, at=AT)
            continue
        now = life.advance(progress, number, at=AT)
        assert now.version == progress.version + 1
        assert 0 <= life.attempts_used(now) <= now.attempt
        assert (now.state is State.RUNNING) <= (now.task_id is not None)
        assert (now.finished_at is None) <= now.state.is_open
        progress = now


def test_events_are_values() -> None:
    """Every event is frozen and holds nothing but plain values, so that it can be journaled."""
    for event in EXAMPLES:
        name = fields(event)[0].name
        with pytest.raises(AttributeError):
            setattr(event, name, None)
