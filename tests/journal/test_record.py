"""What is recorded is what is read back; and a change is kept whole or not at all."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchvid.domain import lifecycle as life_events
from batchvid.domain.errors import StorageError
from batchvid.domain.job import Progress, State
from batchvid.domain.lifecycle import TABLE, Event, SubmitAccepted, SubmitStarted
from batchvid.domain.results import Money
from batchvid.journal.base import DURABLE, Change, StaleProgressError, TaskOwnedError, Timing, event_data
from batchvid.journal.sqlite import TIMINGS_KEPT, Journal
from batchvid.journal.sqlite_reader import ASKED_AT_ONCE, UNFINISHED, Outcome

if TYPE_CHECKING:
    from tests.journal.conftest import Life

STARTED = SubmitStarted(1, 400_000, "f" * 64)
ACCEPTED = SubmitAccepted("task_kite", "veo_3_1-4K")


def test_a_job_that_nothing_happened_to_is_not_in_the_journal(journal: Journal) -> None:
    """A missing row is an answer, not a trouble."""
    assert journal.progress("kite") is None
    assert list(journal.all_progress()) == []
    assert journal.counts() == dict.fromkeys(State, 0)
    assert journal.money() == Money()


def test_progress_is_read_back_as_it_was_written(life: Life, journal: Journal) -> None:
    """Every field survives, with its type."""
    life.goes(
        STARTED,
        ACCEPTED,
        life_events.TaskSucceeded("https://cdn.example.com/kite.mp4", 1_800_003_600.5),
        life_events.ClipSaved("kite.mp4", 1_234_567, "a" * 64),
    )
    found = journal.progress("kite")
    assert found == life.progress
    assert found is not None
    assert list(map(type, found)) == list(map(type, life.progress))


def test_every_field_of_progress_is_a_column(journal: Journal) -> None:
    """A field that is added to the value needs a new version of the schema."""
    columns = [row[1] for row in journal._db.execute("PRAGMA table_info(jobs)")]
    assert columns == list(Progress._fields)


@pytest.mark.parametrize("put_back", [False, True])
def test_a_journal_that_was_moved_or_removed_takes_nothing_more(life: Life, path: Path, *, put_back: bool) -> None:
    """SQLite would go on writing to a file without a name, and a run would go on buying; put back, it is whole."""
    life.goes(STARTED)
    away = path.parent.with_name("away")
    path.parent.rename(away)
    with pytest.raises(StorageError, match="removed or unmounted"):
        life.goes(ACCEPTED)
    if put_back:
        away.rename(path.parent)
        life.goes(ACCEPTED)
        return
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StorageError, match="replaced"):
        life.goes(ACCEPTED)


def test_a_change_from_an_old_version_is_refused_whole(life: Life, journal: Journal) -> None:
    """Compare and set: whoever did not see the last change cannot make the next."""
    stale = life.change(STARTED)
    life.goes(STARTED)
    with pytest.raises(StaleProgressError, match="'kite' is no longer at version 0"):
        journal.record([stale])
    accepted = life.change(ACCEPTED)
    life.goes(life_events.SubmitUnsure("reset"))
    with pytest.raises(StaleProgressError, match="version 1"):
        journal.record([accepted])
    assert journal.progress("kite") == life.progress
    assert [event.kind for event in journal.events("kite")] == ["SubmitStarted", "SubmitUnsure"]


def test_a_change_to_a_row_that_does_not_exist_is_refused(journal: Journal) -> None:
    """A version above 0 promises a row."""
    before = Progress.fresh("ghost")._replace(version=3)
    with pytest.raises(StaleProgressError):
        journal.record([Change.of(before, (STARTED, 1.0))])


def test_one_bad_change_takes_its_whole_group_back(life: Life, other: Life, journal: Journal) -> None:
    """A group is one transaction: rows, events and attempts of the good changes go, too."""
    life.goes(STARTED)
    with pytest.raises(StaleProgressError):
        journal.record([other.change(STARTED), replace(life.change(ACCEPTED), before=Progress.fresh("kite"))])
    assert journal.progress("dawn") is None
    assert list(journal.events("dawn")) == []
    assert journal.attempts("dawn") == []
    assert not journal._db.in_transaction
    other.goes(STARTED)


def test_an_attempt_number_is_never_used_for_two_payments(life: Life, journal: Journal) -> None:
    """What an attempt cost is never overwritten by another attempt of the same number."""
    life.goes(STARTED, ACCEPTED, life_events.TaskFailed("blocked"))
    with pytest.raises(StaleProgressError, match="attempt 1 was started before"):
        journal.record([life.change(STARTED)])
    assert journal.attempts("kite")[0].outcome is Outcome.FAILED


def test_a_refused_attempt_gives_its_number_back(life: Life, journal: Journal) -> None:
    """Nothing was paid, so nothing is left of it but its events."""
    life.goes(STARTED, life_events.SubmitRefused("too fast"))
    assert journal.attempts("kite") == []
    life.goes(STARTED, ACCEPTED)
    assert [attempt.attempt for attempt in journal.attempts("kite")] == [1]


def test_a_refusal_and_giving_up_in_one_change_touch_only_the_refused_attempt(life: Life, journal: Journal) -> None:
    """The number that a refusal gives back is not the attempt that is given up on."""
    life.goes(STARTED, ACCEPTED, life_events.TaskFailed("blocked"), SubmitStarted(2, 500_000, "f" * 64))
    change = life.change(life_events.SubmitRefused("bad prompt"), life_events.GaveUp("bad prompt"))
    journal.record([change])
    assert [(one.attempt, one.outcome) for one in journal.attempts("kite")] == [(1, Outcome.FAILED)]
    assert [event.attempt for event in journal.events("kite")] == [1, 1, 1, 2, 2, 1]


def test_a_task_has_one_owner(life: Life, other: Life, journal: Journal) -> None:
    """An id that the service hands out twice is refused before anything is written, and can go in doubt then."""
    life.goes(STARTED, ACCEPTED)
    other.goes(STARTED)
    with pytest.raises(TaskOwnedError, match="task 'task_kite' already belongs to job 'kite'") as caught:
        other.goes(ACCEPTED)
    assert (caught.value.task_id, caught.value.owner) == ("task_kite", "kite")
    other.goes(life_events.SubmitUnsure("the id is another job's"))
    with pytest.raises(TaskOwnedError):
        other.goes(life_events.TaskAdopted("task_kite"))
    assert journal.owner_of_task("task_kite") == "kite"
    assert journal.owner_of_task("task_nobody") is None
    other.goes(life_events.TaskAdopted("task_dawn"))
    assert journal.owner_of_task("task_dawn") == "dawn"


def test_a_second_attempt_cannot_take_the_task_of_the_first(life: Life) -> None:
    """The same job is another owner when it is another attempt: the clip would be paid for twice."""
    life.goes(STARTED, ACCEPTED, life_events.TaskFailed("blocked"), SubmitStarted(2, 400_000, "f" * 64))
    with pytest.raises(TaskOwnedError):
        life.goes(ACCEPTED)


def test_an_unreadable_answer_is_kept_with_its_attempt(life: Life, journal: Journal) -> None:
    """A person who looks for a lost task may need every byte of it."""
    life.goes(STARTED, life_events.SubmitUnsure("no JSON", b'{"id": "task_\xff'))
    (attempt,) = journal.attempts("kite")
    assert (attempt.outcome, attempt.raw, attempt.reason) == (Outcome.IN_DOUBT, b'{"id": "task_\xff', "no JSON")
    assert list(journal.events("kite"))[-1].data == {"reason": "no JSON", "raw": '{"id": "task_\\xff'}


def test_an_attempt_tells_its_whole_story(life: Life, journal: Journal) -> None:
    """What was sent, when, what it cost, and what became of it."""
    life.goes(STARTED, ACCEPTED, life_events.TaskSucceeded(None, None, "veo_3_1-8K"))
    (attempt,) = journal.attempts("kite")
    assert (attempt.price_micros, attempt.fingerprint, attempt.task_id) == (400_000, "f" * 64, "task_kite")
    assert (attempt.resolved_model, attempt.outcome) == ("veo_3_1-8K", Outcome.SUCCEEDED)
    assert (attempt.started_at, attempt.accepted_at, attempt.finished_at) == (life.now - 3, life.now - 2, life.now - 1)


def test_a_task_is_over_at_its_first_success(life: Life, journal: Journal) -> None:
    """A fresh URL for an old clip does not move the time at which its task ended."""
    life.goes(STARTED, ACCEPTED, life_events.TaskSucceeded("u"))
    over_at = life.now - 1
    life.goes(life_events.UrlExpired("403"), life_events.TaskSucceeded("v"))
    assert journal.attempts("kite")[0].finished_at == over_at


def test_polls_leave_no_event_behind(life: Life, journal: Journal) -> None:
    """What comes with every poll may be passed with a change, and is not kept."""
    life.goes(STARTED, ACCEPTED, life_events.StillRunning("queued"), life_events.PollFailed("502"))
    assert [event.kind for event in journal.events("kite")] == ["SubmitStarted", "SubmitAccepted"]
    assert journal.progress("kite") == life.progress


def test_all_events_but_the_two_of_polls_are_durable() -> None:
    """A new event is kept unless somebody decides otherwise here."""
    assert {event for _, event in TABLE} - DURABLE == {life_events.StillRunning, life_events.PollFailed}


def test_events_of_all_jobs_come_in_the_order_in_which_they_were_recorded(life: Life, other: Life) -> None:
    """The sequence is the journal's, whatever the clocks say."""
    life.goes(STARTED)
    other.goes(STARTED)
    life.goes(ACCEPTED)
    found = list(life.journal.events())
    assert [event.job_id for event in found] == ["kite", "dawn", "kite"]
    assert [event.seq for event in found] == sorted(event.seq for event in found)


def test_text_that_no_encoding_takes_does_not_lose_a_paid_task(life: Life, journal: Journal) -> None:
    """Half a surrogate pair, from a file name that is no UTF-8, is kept as its escape."""
    life.goes(STARTED, SubmitAccepted("task_kite", "model \udcff"), life_events.TimedOut("at \udcff in naïve"))
    found = journal.progress("kite")
    assert found is not None
    assert (found.task_id, found.resolved_model, found.reason) == ("task_kite", "model \\udcff", "at \\udcff in naïve")
    life.goes(life_events.GaveUp("\udc80"))
    assert journal.attempts("kite")[0].reason == "\\udc80"


def test_unfinished_jobs_are_found_without_reading_the_finished(life: Life, other: Life, journal: Journal) -> None:
    """The partial index answers, so that a journal of 100,000 clips costs nothing to go on with."""
    life.goes(STARTED)
    other.goes(STARTED, life_events.GaveUp("lost"))
    assert [progress.job_id for progress in journal.open_progress()] == ["kite"]
    plan = journal._db.execute(f"EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE {UNFINISHED} ORDER BY job_id").fetchall()  # noqa: S608 a constant
    assert "jobs_unfinished" in plan[0][-1]
    assert list(journal.fingerprints()) == [("dawn", State.FAILED, "f" * 64), ("kite", State.SUBMITTING, "f" * 64)]
    assert journal.counts()[State.FAILED] == 1


def test_rows_of_some_jobs_come_in_the_order_in_which_they_were_asked_for(
    life: Life, other: Life, journal: Journal
) -> None:
    """However many are asked for at once; a job that nothing happened to gives nothing."""
    life.goes(STARTED)
    other.goes(STARTED)
    unknown = [f"unknown-{number}" for number in range(2 * ASKED_AT_ONCE)]
    assert list(journal.progress_of(["kite", "dawn", *unknown])) == [life.progress, other.progress]
    assert list(journal.progress_of(["kite", *unknown, "dawn"])) == [life.progress, other.progress]
    assert list(journal.progress_of([])) == []


def test_timings_keep_the_newest_of_each_class(journal: Journal) -> None:
    """How long tasks took is learnt from the last few hundred, oldest first."""
    for number in range(TIMINGS_KEPT + 30):
        change = Change.of(
            Progress.fresh(f"job-{number}"), (STARTED, 1.0), timing=Timing("veo|16x9|", float(number), 1.0)
        )
        journal.record([change])
    journal.record([Change.of(Progress.fresh("last"), (STARTED, 1.0), timing=Timing("other", 7.5, 1.0))])
    found = journal.timings()
    assert found["veo|16x9|"] == [float(number) for number in range(30, TIMINGS_KEPT + 30)]
    assert found["other"] == [7.5]


def test_the_data_of_an_event_is_plain_json() -> None:
    """Bytes become text, everything else is what it was."""
    assert event_data(STARTED) == {"attempt": 1, "price_micros": 400_000, "fingerprint": "f" * 64}
    assert event_data(life_events.SubmitUnsure("x", b"ok\x00\xfe")) == {"reason": "x", "raw": "ok\x00\\xfe"}


TEXTS = st.text(max_size=20)
TIMES = st.floats(min_value=0, max_value=4e9)
PRICES = st.none() | st.integers(0, 10**12)
EVENTS: dict[type[Event], st.SearchStrategy[Any]] = {
    life_events.SubmitRefused: st.builds(life_events.SubmitRefused, TEXTS, st.booleans()),
    life_events.RefusalsProven: st.builds(life_events.RefusalsProven, TEXTS),
    life_events.SubmitUnsure: st.builds(life_events.SubmitUnsure, TEXTS, st.binary(max_size=20)),
    life_events.Reopened: st.builds(life_events.Reopened, TEXTS, st.booleans()),
    life_events.StillRunning: st.builds(life_events.StillRunning, TEXTS),
    life_events.PollFailed: st.builds(life_events.PollFailed, TEXTS),
    life_events.TaskSucceeded: st.builds(
        life_events.TaskSucceeded, st.none() | TEXTS, st.none() | TIMES, st.none() | TEXTS
    ),
    life_events.TaskFailed: st.builds(life_events.TaskFailed, TEXTS),
    life_events.TimedOut: st.builds(life_events.TimedOut, TEXTS),
    life_events.DownloadFailed: st.builds(life_events.DownloadFailed, TEXTS, st.booleans()),
    life_events.UrlExpired: st.builds(life_events.UrlExpired, TEXTS),
    life_events.ClipMissing: st.builds(life_events.ClipMissing, TEXTS),
    life_events.ClipSaved: st.builds(life_events.ClipSaved, TEXTS, st.integers(0, 2**62), TEXTS),
    life_events.GaveUp: st.builds(life_events.GaveUp, TEXTS),
}


@st.composite
def steps(draw: st.DrawFn) -> list[list[Change]]:
    """Return groups of changes: three jobs that live through anything the lifecycle allows."""
    rows = {name: Progress.fresh(name) for name in ("a", "b", "c")}
    groups = []
    for number in range(draw(st.integers(1, 12))):
        group: list[Change] = []
        for name in draw(st.lists(st.sampled_from(sorted(rows)), max_size=4)):
            before = after = rows[name]
            events: list[tuple[Event, float]] = []
            for _ in range(draw(st.integers(1, 3))):
                kinds = [kind for state, kind in TABLE if state is after.state]
                if not after.attempt:  # nothing was paid that a task could belong to
                    kinds.remove(life_events.TaskAdopted)
                kind = draw(st.sampled_from(kinds))
                event: Event
                if kind is SubmitStarted:
                    event = SubmitStarted(after.attempt + 1, draw(PRICES), draw(TEXTS))
                elif kind in {SubmitAccepted, life_events.TaskAdopted}:
                    event = kind(f"task-{number}-{len(group)}-{len(events)}")
                else:
                    event = draw(EVENTS[kind])
                events.append((event, draw(TIMES)))
                after = life_events.advance(after, event, at=events[-1][1])
            rows[name] = after
            group.append(Change(before, tuple(events), after))
        groups.append(group)
    return groups


@settings(max_examples=40, deadline=None)
@given(steps())
def test_any_legal_lives_read_back_as_they_were_lived(groups: list[list[Change]]) -> None:
    """Whatever the lifecycle allows, in whatever groups: rows, sums, counts and held jobs are those of the events."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".batchvid" / "journal.db"
        with SqliteStore(path).open(service="s") as journal:
            for group in groups:
                journal.record(group)
        rows: dict[str, Progress] = {}
        paid: dict[tuple[str, int], tuple[int | None, bool]] = {}
        for change in (change for group in groups for change in group):
            at_hand = change.before
            for event, at in change.events:
                key = (at_hand.job_id, at_hand.attempt)
                if isinstance(event, SubmitStarted):
                    paid[at_hand.job_id, event.attempt] = (event.price_micros, False)
                elif isinstance(event, life_events.SubmitRefused):
                    del paid[key]
                elif key in paid and isinstance(
                    event,
                    life_events.TaskSucceeded | life_events.TaskFailed | life_events.GaveUp | life_events.Reopened,
                ):
                    paid[key] = (paid[key][0], True)
                elif isinstance(event, life_events.TaskAdopted):
                    paid[key] = (paid[key][0], False)
                at_hand = life_events.advance(at_hand, event, at=at)
            rows[at_hand.job_id] = at_hand
        reader = SqliteStore(path).read()
        assert reader is not None
        with reader:
            assert {row.job_id: row for row in reader.all_progress()} == rows
            assert {row.job_id for row in reader.open_progress()} == {
                name for name, row in rows.items() if row.state.is_open
            }
            money = reader.money()
            assert money.spent_micros == sum(price or 0 for price, over in paid.values() if over)
            held = sum(price or 0 for price, over in paid.values() if not over)
            assert money.unproven_micros == sum(row.unproven_micros for row in rows.values())
            assert money.reserved_micros == held + money.unproven_micros
            assert money.unpriced_attempts == sum(price is None for price, _ in paid.values())
            assert reader.held_jobs() == {name for (name, _), (_, over) in paid.items() if not over}
