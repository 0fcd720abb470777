"""What witnesses tell of paid attempts, and how it comes back into a journal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchvid.domain import lifecycle as life
from batchvid.domain.history import ContradictionError, KnownRequests, Retelling, Witnesses
from batchvid.domain.job import Progress, State
from batchvid.domain.lifecycle import advance
from batchvid.domain.records import rfc3339

START = 1_800_000_000.0
NOTHING = KnownRequests((), (), (), ())
NAMES = ("SubmitStarted", "SubmitAccepted", "SubmitRefused", "SubmitUnsure", "TaskAdopted", "Reopened", "TaskSucceeded",
         "TaskFailed", "TimedOut", "DownloadFailed", "UrlExpired", "ClipSaved", "GaveUp", "Unheard")  # fmt: skip
ANY = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)


def line(event: str, attempt: int = 1, at: float = START, job: str = "kite", **more: Any) -> dict[str, Any]:
    """Return a line of the event log."""
    return {"at": rfc3339(at), "job": job, "attempt": attempt, "event": event, **more}


def retold(
    row: Progress, *lines: dict[str, Any], known: KnownRequests = NOTHING, started_at: float | None = None
) -> Retelling:
    """Return what is retold of the job ``kite``."""
    witnesses = Witnesses()
    for one in lines:
        witnesses.event(one)
    found = witnesses.of_jobs(known, wanted=["kite"]).get("kite", [])
    retelling = Retelling(row, started_at, "fp", "kite.mp4", START)
    retelling.tell(found)
    return retelling


def after(*events: life.Event) -> Progress:
    """Return the row that these events have made."""
    row = Progress.fresh("kite")
    for number, event in enumerate(events):
        row = advance(row, event, at=START + number)
    return row


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([line("SubmitStarted")], State.IN_DOUBT),
        ([line("SubmitStarted"), line("SubmitUnsure", reason="504")], State.IN_DOUBT),
        ([line("SubmitStarted"), line("SubmitAccepted", task_id="t")], State.RUNNING),
        ([line("SubmitAccepted", task_id="t")], State.RUNNING),
        ([line("TimedOut", reason="late")], State.IN_DOUBT),
        ([line("SubmitStarted"), line("SubmitRefused", reason="429")], State.PENDING),
        (
            [line("SubmitStarted"), line("SubmitRefused", 0, reason="429"), line("GaveUp", 0, reason="400")],
            State.PENDING,
        ),
        ([line("SubmitStarted"), line("SubmitAccepted", task_id="t"), line("TaskFailed", reason="no")], State.PENDING),
        ([line("SubmitAccepted", task_id="t"), line("TaskFailed"), line("GaveUp", reason="no")], State.FAILED),
        ([line("SubmitAccepted", task_id="t"), line("TaskFailed"), line("SubmitStarted", 2)], State.IN_DOUBT),
        ([line("SubmitAccepted", task_id="t"), line("TaskSucceeded")], State.RUNNING),
    ],
)
def test_a_job_stands_again_where_the_log_left_it(lines: list[dict[str, Any]], state: State) -> None:
    """A request without an answer is in doubt, a task without an end is under way, a refused request is nothing."""
    assert retold(Progress.fresh("kite"), *lines).row.state is state


def test_a_success_is_on_record_before_its_clip_is_fetched_again() -> None:
    """Whatever the service says of the task from then on, it is a task that has succeeded."""
    found = retold(Progress.fresh("kite"), line("SubmitAccepted", task_id="t"), line("TaskSucceeded"))
    assert [type(event) for event, _ in found.events][-2:] == [life.TaskSucceeded, life.UrlExpired]
    assert found.row.url is None


def test_a_refusal_is_only_believed_of_the_request_that_it_answered() -> None:
    """A number is used again after a refusal: what is open in the journal is a later request of the same number."""
    row = after(life.SubmitStarted(1, 1, "fp"))
    first = [line("SubmitStarted"), line("SubmitRefused", reason="429")]
    known = KnownRequests((), {("kite", 1, int(START)), ("kite", 1, int(START) + 9)}, {("kite", 1)}, ())
    later = retold(row, *first, line("SubmitStarted", at=START + 9), known=known, started_at=START + 9)
    assert later.events == []
    same_second = retold(row, *first, line("SubmitStarted"), known=known, started_at=START)
    assert same_second.events == []
    assert retold(row, *first, known=known, started_at=START).row.state is State.PENDING


def test_the_answer_of_a_request_that_the_journal_has_open_is_its_answer() -> None:
    """Sent, as the journal knows, and accepted, as only the log knows."""
    row = after(life.SubmitStarted(1, 1, "fp"))
    known = KnownRequests((), {("kite", 1, int(START))}, {("kite", 1)}, ())
    found = retold(row, line("SubmitStarted"), line("SubmitAccepted", task_id="t"), known=known, started_at=START)
    assert (found.row.state, found.row.task_id, found.row.attempt) == (State.RUNNING, "t", 1)


@pytest.mark.parametrize("events", [(life.TaskFailed("no"),), (life.GaveUp("lost"),)])
def test_a_paid_task_whose_number_is_taken_becomes_the_next_attempt(events: tuple[life.Event, ...]) -> None:
    """The journal's own attempt of that number is over: the other task can still be collected."""
    row = after(life.SubmitStarted(1, 1, "fp"), life.SubmitAccepted("mine"), *events)
    known = KnownRequests({"mine"}, (), (), ())
    found = retold(row, line("SubmitStarted"), line("SubmitAccepted", task_id="t"), known=known)
    assert (found.row.state, found.row.task_id, found.row.attempt) == (State.RUNNING, "t", 2)


@pytest.mark.parametrize(
    "more", [(), (life.TaskSucceeded(None),), (life.TaskSucceeded(None), life.ClipSaved("p", 1, "s"))]
)
def test_a_paid_task_that_has_no_place_is_a_contradiction(more: tuple[life.Event, ...]) -> None:
    """The job goes on with another task of that number, or has its clip."""
    row = after(life.SubmitStarted(1, 1, "fp"), life.SubmitAccepted("mine"), *more)
    with pytest.raises(ContradictionError, match="task t was paid as its attempt 1"):
        retold(
            row, line("SubmitStarted"), line("SubmitAccepted", task_id="t"), known=KnownRequests({"mine"}, (), (), ())
        )


def test_a_renamed_job_is_known_by_what_was_sent() -> None:
    """The journal has its request under another name; a name that the manifest still has is taken at its word."""
    known = KnownRequests((), {("kite-v2", 1, int(START))}, {("kite-v2", 1)}, {(1, int(START), "fp")})
    witnesses = Witnesses()
    witnesses.event(line("SubmitStarted", fingerprint="fp"))
    assert witnesses.of_jobs(known, wanted=["kite-v2"])["kite"][0].is_known
    assert not witnesses.of_jobs(known, wanted=["kite"])["kite"][0].is_known


LINE = st.tuples(st.sampled_from(NAMES), st.integers(0, 3), st.integers(0, 2), st.sampled_from(["t1", "t2", "t3"]))


@given(st.lists(LINE, max_size=12))
@example([("SubmitStarted", 0, 0, "t1"), ("GaveUp", 0, 0, "t1")])
def test_whatever_a_log_tells_a_paid_request_is_never_free_to_be_bought(
    told: list[tuple[str, int, int, str]],
) -> None:
    """In any order, with any gaps: a job whose newest task did not fail is not pending, or a person decides."""
    lines = [line(name, attempt, START + second, task_id=task_id) for name, attempt, second, task_id in told]
    witnesses = Witnesses()
    for one in lines:
        witnesses.event(one)
    found = witnesses.of_jobs(NOTHING, wanted=["kite"]).get("kite", [])
    retelling = Retelling(Progress.fresh("kite"), None, "fp", "kite.mp4", START)
    try:
        retelling.tell(found)
    except ContradictionError:
        return
    last = found[-1] if found else None
    if last is not None and last.refused is None and last.failed is None and last.attempt == retelling.row.attempt:
        assert retelling.row.state is not State.PENDING


@given(st.lists(st.dictionaries(st.sampled_from(["at", "job", "job_id", "id", "attempt", "event", "task_id", "price",
       "size_bytes", "sha256", "path", "saved_at"]), ANY | st.sampled_from(NAMES))))  # fmt: skip
def test_nothing_that_lies_there_is_too_strange(lines: list[dict[str, Any]]) -> None:
    """Wrong types, huge numbers, NaN: what makes no sense is passed over."""
    witnesses = Witnesses()
    for one in lines:
        witnesses.event(one)
        witnesses.clip(one, one.get("path"))
        witnesses.orphan(one)
    witnesses.of_jobs(NOTHING, wanted=[])


def test_a_line_that_is_told_twice_is_one_thing() -> None:
    """What is open is written again at the head of a rotated log: what follows is about the same attempt."""
    sent, accepted = line("SubmitStarted"), line("SubmitAccepted", task_id="t")
    found = retold(Progress.fresh("kite"), sent, accepted, sent, accepted, line("TaskFailed"), line("GaveUp"))
    assert (found.row.state, found.row.attempt, found.row.task_id) == (State.FAILED, 1, "t")
    doubt = retold(Progress.fresh("kite"), sent, sent, line("TaskAdopted", task_id="t"))
    assert (doubt.row.state, doubt.row.attempt) == (State.RUNNING, 1)
