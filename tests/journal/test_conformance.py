"""What every journal promises, whatever keeps it. A new kind is added to `tests.journal.conftest.STORES`."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchvid.domain.doubts import Doubt
from batchvid.domain.errors import ConfigError, OutputBusyError, StorageError
from batchvid.domain.history import MOVED
from batchvid.domain.job import Outcome, Progress, State
from batchvid.domain.lifecycle import (
    TABLE,
    ClipMissing,
    ClipSaved,
    DownloadFailed,
    Event,
    GaveUp,
    PollFailed,
    RefusalsProven,
    Reopened,
    StillRunning,
    SubmitAccepted,
    SubmitRefused,
    SubmitStarted,
    SubmitUnsure,
    TaskAdopted,
    TaskFailed,
    TaskSucceeded,
    TimedOut,
    UrlExpired,
    advance,
)
from batchvid.domain.reopening import CRASHED
from batchvid.domain.results import Money
from batchvid.journal.base import (
    DURABLE,
    TIMINGS_KEPT,
    Change,
    StaleProgressError,
    TaskOwnedError,
    Timing,
    event_data,
    is_copy,
)
from batchvid.journal.event_log import PACE_CHANGED
from tests.journal.conftest import SERVICE, STORES, Life
from tests.journal.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchvid.journal.base import Journal, JournalReader, JournalStore

STARTED = SubmitStarted(1, 400_000, "f" * 64)
ACCEPTED = SubmitAccepted("task_kite", "veo_3_1-4K")


def reading(store: JournalStore) -> JournalReader:
    """Open the journal beside its writer."""
    reader = store.read()
    assert reader is not None
    return reader


# ---- opening, and reading beside a writer


def test_a_journal_is_there_once_it_was_opened_for_writing(store: JournalStore, service: str) -> None:
    """Looking at what never ran leaves no trace; a person's word needs a journal."""
    assert store.read() is None
    with pytest.raises(StorageError, match="there is no journal"):
        store.open(service=None)
    assert not store.exists()
    store.open(service=service).close()
    assert store.exists()
    with reading(store) as reader:
        assert reader.meta_get("service") == service


def test_a_journal_stays_what_it_was_when_opened_again(store: JournalStore) -> None:
    """Opening never begins again, for a run or for a person's word."""
    with store.open(service=SERVICE) as journal:
        life = Life(journal, Progress.fresh("kite")).goes(STARTED)
        journal.meta_set("note", "kept")
    for service in (SERVICE, None):
        with store.open(service=service) as journal:
            assert journal.meta_get("note") == "kept"
            assert journal.meta_get("nothing") is None
            assert list(journal.all_progress()) == [life.progress]


def test_a_journal_of_another_service_is_refused(store: JournalStore, service: str) -> None:
    """Task ids and payments mean nothing elsewhere; both services are named."""
    store.open(service=service).close()
    with pytest.raises(ConfigError, match=r"belongs to the service https://api\.example\.com/v1") as caught:
        store.open(service="http://127.0.0.1:8000/v1")
    assert "http://127.0.0.1:8000/v1" in str(caught.value)
    store.open(service=service).close()


def test_a_reader_sees_what_is_committed_while_the_writer_goes_on(life: Life, store: JournalStore) -> None:
    """Status works beside a run, and its iterations see one moment."""
    life.goes(STARTED)
    with reading(store) as reader:
        rows = reader.all_progress()
        assert next(rows) == life.progress
        life.goes(ACCEPTED)
        assert reader.progress("kite") is not None
        assert list(rows) == []
        assert reader.progress("kite") == life.progress
        assert reader.money().reserved_micros == 400_000


def test_a_journal_that_was_held_against_all_is_sealed_from_then_on(store: JournalStore, service: str) -> None:
    """Then nothing outside it is read any more, while its sessions end properly."""
    with store.open(service=service) as journal:
        journal.seal()
        assert journal.is_sealed
    with reading(store) as reader:
        assert reader.is_sealed
    with store.open(service=None) as journal:
        assert journal.is_sealed


def test_a_journal_that_stays_where_it_is_asks_nothing(store: JournalStore) -> None:
    """Neither its first session nor a later one, whatever is left to do."""
    notes: list[str] = []
    with store.open(service=SERVICE) as journal:
        journal.settle(["kite"], moved=False, note=notes.append)
        Life(journal, Progress.fresh("kite")).goes(STARTED)
    with store.open(service=None) as journal:
        journal.settle(None, moved=False, note=notes.append)
    assert notes == []
    with reading(store) as reader:
        assert reader.moved_question(["kite", "dawn"]) is None


def test_one_holds_a_journal_and_everybody_sees_it(store: JournalStore, path: Path) -> None:
    """A second run is turned away; who only reads knows since when the first one is at work."""
    path.parent.mkdir(parents=True)
    assert not store.is_held()
    began = time.time()
    with store.lock():
        since = store.held_since()
        assert since is not None
        assert began - 5 <= since <= time.time() + 5
        with pytest.raises(OutputBusyError, match="another run"), store.lock():
            pass
        assert store.is_held()
    assert not store.is_held()


# ---- what is recorded is what is read back


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
        TaskSucceeded("https://cdn.example.com/kite.mp4", 1_800_003_600.5),
        ClipSaved("kite.mp4", 1_234_567, "a" * 64),
    )
    found = journal.progress("kite")
    assert found == life.progress
    assert found is not None
    assert list(map(type, found)) == list(map(type, life.progress))


def test_rows_of_some_jobs_come_in_the_order_in_which_they_were_asked_for(
    life: Life, other: Life, journal: Journal
) -> None:
    """However many are asked for at once; a job that nothing happened to gives nothing."""
    life.goes(STARTED)
    other.goes(STARTED)
    unknown = [f"unknown-{number}" for number in range(1000)]
    assert list(journal.progress_of(["kite", "dawn", *unknown])) == [life.progress, other.progress]
    assert list(journal.progress_of(["kite", *unknown, "dawn"])) == [life.progress, other.progress]
    assert list(journal.progress_of([])) == []


def test_text_that_no_encoding_takes_does_not_lose_a_paid_task(life: Life, journal: Journal) -> None:
    """Half a surrogate pair, from a file name that is no UTF-8, is kept as its escape."""
    life.goes(STARTED, SubmitAccepted("task_kite", "model \udcff"), TimedOut("at \udcff in naïve"))
    found = journal.progress("kite")
    assert found is not None
    assert (found.task_id, found.resolved_model, found.reason) == ("task_kite", "model \\udcff", "at \\udcff in naïve")
    life.goes(GaveUp("\udc80"))
    assert next(journal.attempts("kite")).reason == "\\udc80"


def test_every_character_comes_back(journal: Journal) -> None:
    """Also a NUL, and what stands for one; the order of ids is that of their characters."""
    ids = ["a", "a\0", "a\0b", "a\1", "a\1\1", "a\1\2", "a\2", "\U0001f3ac"]
    for job_id in ids[::-1]:
        Life(journal, Progress.fresh(job_id)).goes(STARTED, SubmitAccepted(f"task {job_id}"), TimedOut(f"{job_id}\0\1"))
    assert [row.job_id for row in journal.all_progress()] == ids
    assert [row.reason for row in journal.progress_of(ids)] == [f"{job_id}\0\1" for job_id in ids]
    assert [journal.owner_of_task(f"task {job_id}") for job_id in ids] == ids
    assert list(journal.events("a\0"))[-1].data == {"reason": "a\0\0\1"}


def test_several_changes_of_a_job_are_kept_in_one_record(life: Life, other: Life, journal: Journal) -> None:
    """Each with its events, from where the first starts to where the last ends."""
    started = life.change(STARTED, ACCEPTED)
    failed = Change.of(started.after, (TaskFailed("blocked"), 3.0), (SubmitStarted(2, 500_000, "g" * 64), 4.0))
    last = Change.of(failed.after, (SubmitAccepted("task_second"), 5.0))
    journal.record([started, other.change(STARTED), failed, last])
    assert journal.progress("kite") == last.after
    assert [event.kind for event in journal.events("kite")] == [
        "SubmitStarted", "SubmitAccepted", "TaskFailed", "SubmitStarted", "SubmitAccepted",
    ]  # fmt: skip
    found = [(one.attempt, one.task_id, one.outcome) for one in journal.attempts("kite")]
    assert found == [(1, "task_kite", Outcome.FAILED), (2, "task_second", Outcome.OPEN)]
    again = Change.of(last.after, (TimedOut("late"), 6.0))
    with pytest.raises(StaleProgressError, match="'kite' is no longer at version 5"):
        journal.record([again, again])
    assert journal.progress("kite") == last.after


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


def test_what_is_left_and_what_is_done_are_told_apart(life: Life, other: Life, journal: Journal) -> None:
    """By id, and counted by state."""
    life.goes(STARTED)
    other.goes(STARTED, GaveUp("lost"))
    done = Life(journal, Progress.fresh("gull")).goes(STARTED, SubmitAccepted("t"), TaskSucceeded(None))
    done.goes(ClipSaved("gull.mp4", 9, "a" * 64))
    assert list(journal.open_progress()) == [life.progress]
    assert list(journal.undone_progress()) == [other.progress, life.progress]
    assert list(journal.done_clips()) == [("gull", "gull.mp4", 9)]
    assert journal.states() == {"dawn": State.FAILED, "gull": State.DONE, "kite": State.SUBMITTING}
    assert journal.ids() == {"dawn", "gull", "kite"}
    assert journal.ids(State.DONE) == {"gull"}
    counts = journal.counts()
    assert (counts[State.FAILED], counts[State.DONE], counts[State.SUBMITTING]) == (1, 1, 1)


def test_a_plan_reads_of_what_is_done_what_it_needs(life: Life, other: Life, journal: Journal) -> None:
    """All of what is open or failed; of the rest fingerprint, price, attempts and hash, and no texts besides."""
    life.goes(STARTED, SubmitAccepted("t"), TaskSucceeded("https://files.example.com/kite.mp4"))
    other.goes(STARTED, GaveUp("lost"))
    done = Life(journal, Progress.fresh("gull")).goes(STARTED, SubmitAccepted("u", "veo"), TaskSucceeded("https://x"))
    whole = done.goes(ClipSaved("gull.mp4", 9, "a" * 64)).progress
    brief = Progress(
        "gull", State.DONE, whole.version, attempt=1, fingerprint="f" * 64, price_micros=400_000, sha256="a" * 64
    )
    assert sorted(journal.progress_in_brief()) == sorted([brief, life.progress, other.progress])


def test_the_pace_is_read_back_from_the_event_log(journal: Journal, store: JournalStore) -> None:
    """What a run notes beside its records."""
    journal.log.append({"at": "2026-03-12T22:00:00Z", "event": PACE_CHANGED, "share": 0.5})
    journal.log.append({"at": "2026-03-12T22:00:01Z", "event": "StillRunning", "share": 0.1})
    journal.log.flush()
    assert journal.log.failed is None
    with reading(store) as reader:
        (change,) = reader.pace_changes()
    assert (change.at, change.share) == (1_773_352_800.0, 0.5)


# ---- compare and set, all or none


def test_a_change_from_an_old_version_is_refused_whole(life: Life, journal: Journal) -> None:
    """Compare and set: whoever did not see the last change cannot make the next."""
    stale = life.change(STARTED)
    life.goes(STARTED)
    with pytest.raises(StaleProgressError, match="'kite' is no longer at version 0"):
        journal.record([stale])
    accepted = life.change(ACCEPTED)
    life.goes(SubmitUnsure("reset"))
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
    assert list(journal.attempts("dawn")) == []
    other.goes(STARTED)


def test_what_a_group_lost_is_kept_when_it_is_recorded_again(life: Life, other: Life, journal: Journal) -> None:
    """The id of a paid task goes to its attempt at the second time, too: nothing of the first counts as kept."""
    life.goes(STARTED)
    accepted = life.change(ACCEPTED)
    with pytest.raises(StaleProgressError):
        journal.record([accepted, Change.of(Progress.fresh("ghost")._replace(version=3), (STARTED, 1.0))])
    assert [(one.task_id, one.outcome) for one in journal.attempts("kite")] == [(None, Outcome.OPEN)]
    journal.record([accepted])
    assert [one.task_id for one in journal.attempts("kite")] == [ACCEPTED.task_id]
    assert journal.owner_of_task(ACCEPTED.task_id) == "kite"
    other.goes(STARTED)


def test_a_large_group_is_kept_whole(journal: Journal) -> None:
    """However many statements it takes, each job has its own row, attempt and events, new ones beside old ones."""
    lives = [Life(journal, Progress.fresh(f"kite-{number:02}")) for number in range(77)]

    def goes(some: list[Life], *events: Callable[[str], Event]) -> None:
        changes = [one.change(*(event(one.progress.job_id) for event in events)) for one in some]
        journal.record(changes)
        for one, change in zip(some, changes, strict=True):
            one.progress = change.after

    def started(job_id: str) -> Event:
        return SubmitStarted(1, 400_000, job_id * 4)

    def accepted(job_id: str) -> Event:
        return SubmitAccepted(f"task_{job_id}")

    def saved(job_id: str) -> Event:
        return ClipSaved(f"{job_id}.mp4", len(job_id), job_id * 2)

    goes(lives[:40], started)
    goes(lives[:40], accepted)
    for one in lives[:40]:
        goes([one], lambda _: TaskSucceeded(None))
    journal.record([])
    changes = [one.change(saved(one.progress.job_id)) for one in lives[:40]]
    changes += [one.change(started(one.progress.job_id), accepted(one.progress.job_id)) for one in lives[40:]]
    journal.record(changes)
    assert list(journal.all_progress()) == [change.after for change in changes]
    assert [(one.job_id, one.task_id, one.fingerprint, one.outcome) for one in journal.attempts()] == [
        (job_id, f"task_{job_id}", job_id * 4, Outcome.SUCCEEDED if number < 40 else Outcome.OPEN)
        for number, job_id in enumerate(one.progress.job_id for one in lives)
    ]
    assert Counter(event.job_id for event in journal.events()) == Counter(
        {one.progress.job_id: 4 if number < 40 else 2 for number, one in enumerate(lives)}
    )


# ---- attempts, and the tasks that they own


def test_an_attempt_number_is_never_used_for_two_payments(life: Life, journal: Journal) -> None:
    """What an attempt cost is never overwritten by another attempt of the same number."""
    life.goes(STARTED, ACCEPTED, TaskFailed("blocked"))
    with pytest.raises(StaleProgressError, match="attempt 1 was started before"):
        journal.record([life.change(STARTED)])
    assert next(journal.attempts("kite")).outcome is Outcome.FAILED


def test_a_refused_attempt_gives_its_number_back(life: Life, journal: Journal) -> None:
    """Nothing was paid, so nothing is left of it but its events."""
    life.goes(STARTED, SubmitRefused("too fast"))
    assert list(journal.attempts("kite")) == []
    life.goes(STARTED, ACCEPTED)
    assert [attempt.attempt for attempt in journal.attempts("kite")] == [1]


def test_a_refusal_and_giving_up_in_one_change_touch_only_the_refused_attempt(life: Life, journal: Journal) -> None:
    """The number that a refusal gives back is not the attempt that is given up on."""
    life.goes(STARTED, ACCEPTED, TaskFailed("blocked"), SubmitStarted(2, 500_000, "f" * 64))
    change = life.change(SubmitRefused("bad prompt"), GaveUp("bad prompt"))
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
    other.goes(SubmitUnsure("the id is another job's"))
    with pytest.raises(TaskOwnedError):
        other.goes(TaskAdopted("task_kite"))
    assert journal.owner_of_task("task_kite") == "kite"
    assert journal.owner_of_task("task_nobody") is None
    other.goes(TaskAdopted("task_dawn"))
    assert journal.owner_of_task("task_dawn") == "dawn"


def test_a_second_attempt_cannot_take_the_task_of_the_first(life: Life) -> None:
    """The same job is another owner when it is another attempt: the clip would be paid for twice."""
    life.goes(STARTED, ACCEPTED, TaskFailed("blocked"), SubmitStarted(2, 400_000, "f" * 64))
    with pytest.raises(TaskOwnedError):
        life.goes(ACCEPTED)


def test_two_jobs_exchange_their_tasks_in_one_record_and_only_in_one(life: Life, other: Life, journal: Journal) -> None:
    """A person puts right what was adopted the wrong way round; one half of it would give a task two owners."""
    life.goes(STARTED, ACCEPTED)
    other.goes(STARTED, SubmitAccepted("task_dawn"))
    to_kite, to_dawn = TaskAdopted("task_dawn"), TaskAdopted("task_kite")
    with pytest.raises(TaskOwnedError):
        journal.record([life.change(to_kite)])
    journal.record([life.change(to_kite), other.change(to_dawn)])
    assert (journal.owner_of_task("task_dawn"), journal.owner_of_task("task_kite")) == ("kite", "dawn")


def test_the_attempts_of_all_jobs_come_by_job_and_then_oldest_first(life: Life, other: Life, journal: Journal) -> None:
    """As a report lists them."""
    life.goes(STARTED, ACCEPTED, TaskFailed("blocked"), SubmitStarted(2, None, "g" * 64))
    other.goes(STARTED, SubmitUnsure("reset"))
    found = [(one.job_id, one.attempt, one.outcome) for one in journal.attempts()]
    assert found == [("dawn", 1, Outcome.IN_DOUBT), ("kite", 1, Outcome.FAILED), ("kite", 2, Outcome.OPEN)]
    assert [one.attempt for one in journal.attempts("kite")] == [1, 2]


# ---- doubts


def test_a_doubt_tells_what_its_answer_shows(life: Life, other: Life, journal: Journal) -> None:
    """When it was sent, what it costs, ids that the answer names; not those that an attempt has."""
    sent_at = life.now
    other.goes(STARTED, SubmitAccepted("task_of_dawn"))
    raw = b'{"id": "task_of_dawn", "task_id": "task_lost_1", "message": "x (request id: 2026abc)"'
    life.goes(STARTED, SubmitUnsure("no JSON", raw))
    (doubt,) = journal.doubts().values()
    assert doubt == Doubt("kite", 1, sent_at, 400_000, "no JSON", "2026abc", ("task_lost_1",))


def test_a_request_that_was_begun_and_never_answered_is_a_doubt_too(life: Life, journal: Journal) -> None:
    """Its run has ended without a word; whoever reads beside a run knows that it is under way."""
    life.goes(STARTED)
    assert journal.doubts()["kite"].reason == CRASHED
    life.goes(ACCEPTED)
    assert journal.doubts() == {}


# ---- events


def test_an_unreadable_answer_is_kept_with_its_attempt(life: Life, journal: Journal) -> None:
    """A person who looks for a lost task may need every byte of it."""
    life.goes(STARTED, SubmitUnsure("no JSON", b'{"id": "task_\xff'))
    (attempt,) = journal.attempts("kite")
    assert (attempt.outcome, attempt.raw, attempt.reason) == (Outcome.IN_DOUBT, b'{"id": "task_\xff', "no JSON")
    assert list(journal.events("kite"))[-1].data == {"reason": "no JSON", "raw": '{"id": "task_\\xff'}


def test_an_attempt_tells_its_whole_story(life: Life, journal: Journal) -> None:
    """What was sent, when, what it cost, and what became of it."""
    life.goes(STARTED, ACCEPTED, TaskSucceeded(None, None, "veo_3_1-8K"))
    (attempt,) = journal.attempts("kite")
    assert (attempt.price_micros, attempt.fingerprint, attempt.task_id) == (400_000, "f" * 64, "task_kite")
    assert (attempt.resolved_model, attempt.outcome) == ("veo_3_1-8K", Outcome.SUCCEEDED)
    assert (attempt.started_at, attempt.accepted_at, attempt.finished_at) == (life.now - 3, life.now - 2, life.now - 1)


def test_polls_leave_no_event_behind(life: Life, journal: Journal) -> None:
    """What comes with every poll may be passed with a change, and is not kept."""
    life.goes(STARTED, ACCEPTED, StillRunning("queued"), PollFailed("502"))
    assert [event.kind for event in journal.events("kite")] == ["SubmitStarted", "SubmitAccepted"]
    assert journal.progress("kite") == life.progress


def test_all_events_but_the_two_of_polls_are_durable() -> None:
    """A new event is kept unless somebody decides otherwise here."""
    assert {event for _, event in TABLE} - DURABLE == {StillRunning, PollFailed}


def test_the_data_of_an_event_is_plain_json() -> None:
    """Bytes become text, everything else is what it was."""
    assert event_data(STARTED) == {"attempt": 1, "price_micros": 400_000, "fingerprint": "f" * 64}
    assert event_data(SubmitUnsure("x", b"ok\x00\xfe")) == {"reason": "x", "raw": "ok\x00\\xfe"}


def test_events_come_in_the_order_in_which_they_were_recorded(life: Life, other: Life, journal: Journal) -> None:
    """The sequence is the journal's, whatever the clocks say; who looks again asks for what came since."""
    before = journal.settled()
    life.goes(STARTED)
    other.goes(STARTED)
    life.goes(ACCEPTED)
    found = list(journal.events())
    assert before < found[0].seq
    assert journal.settled() == found[-1].seq
    assert [(one.job_id, one.kind) for one in found] == [
        ("kite", "SubmitStarted"), ("dawn", "SubmitStarted"), ("kite", "SubmitAccepted"),
    ]  # fmt: skip
    assert [one.seq for one in found] == sorted({one.seq for one in found})
    assert list(journal.events(newest_first=True)) == found[::-1]
    assert list(journal.events(after=found[0].seq)) == found[1:]
    assert list(journal.events(after=found[-1].seq)) == []
    assert list(journal.events("kite")) == [found[0], found[2]]
    assert list(journal.events("kite", kinds=["SubmitAccepted", "TaskFailed"], after=1)) == [found[2]]
    assert list(journal.events(kinds=["SubmitStarted"], newest_first=True)) == [found[1], found[0]]


# ---- money


PRICE = 400_000
START = SubmitStarted(1, PRICE, "f" * 64)
AGAIN = SubmitStarted(2, PRICE, "f" * 64)
ACCEPT = SubmitAccepted("task_1")
UNSURE = SubmitUnsure("reset")
RESERVED, SPENT, NOTHING = (0, PRICE), (PRICE, 0), (0, 0)

LIVES: dict[str, tuple[tuple[Event, ...], tuple[int, int]]] = {
    "a request under way holds its price": ((START,), RESERVED),
    "a refused request costs nothing": ((START, SubmitRefused("too fast")), NOTHING),
    "a running task holds its price": ((START, ACCEPT), RESERVED),
    "a task that timed out still holds its price": ((START, ACCEPT, TimedOut("late")), RESERVED),
    "a finished task is paid before its clip is here": ((START, ACCEPT, TaskSucceeded("u")), SPENT),
    "an expired url changes nothing": ((START, ACCEPT, TaskSucceeded("u"), UrlExpired("403")), SPENT),
    "a task that fails after its url expired is paid once": (
        (START, ACCEPT, TaskSucceeded("u"), UrlExpired("403"), TaskFailed("gone")),
        SPENT,
    ),
    "a clip on disk is paid": ((START, ACCEPT, TaskSucceeded("u"), ClipSaved("p", 1, "s")), SPENT),
    "a clip that is given up on is paid": ((START, ACCEPT, TaskSucceeded("u"), GaveUp("no clip")), SPENT),
    "a failed task counts as paid": ((START, ACCEPT, TaskFailed("blocked")), SPENT),
    "a task that is given up on counts as paid": ((START, ACCEPT, GaveUp("lost")), SPENT),
    "a request in doubt holds its price": ((START, UNSURE), RESERVED),
    "a request in doubt that is given up on counts as paid": ((START, UNSURE, GaveUp("no")), SPENT),
    "a request in doubt that is sent again counts as paid": ((START, UNSURE, Reopened("resubmit")), SPENT),
    "a request in doubt whose task is found is an attempt like others": ((START, UNSURE, TaskAdopted("t")), RESERVED),
    "an adopted task is paid once": ((START, UNSURE, TaskAdopted("t"), TaskSucceeded(None)), SPENT),
    "giving up before anything is sent costs nothing": ((GaveUp("frame gone"),), NOTHING),
    "a second attempt is held on top of the first": ((START, ACCEPT, TaskFailed("b"), AGAIN), (PRICE, PRICE)),
    "a refused second attempt leaves the first paid": (
        (START, ACCEPT, TaskFailed("b"), AGAIN, SubmitRefused("429"), GaveUp("enough")),
        SPENT,
    ),
    "a doubt that is resubmitted and succeeds is paid twice": (
        (START, UNSURE, Reopened("resubmit", by_person=False), AGAIN, ACCEPT, TaskSucceeded("u")),
        (2 * PRICE, 0),
    ),
    "a clip that is bought again is paid twice": (
        (START, ACCEPT, TaskSucceeded("u"), ClipSaved("p", 1, "s"), Reopened("--rebuy"), AGAIN),
        (PRICE, PRICE),
    ),
}


@pytest.mark.parametrize("name", LIVES)
def test_money_follows_the_lives_of_attempts(life: Life, journal: Journal, name: str) -> None:
    """After the events, spent and held are as the name of the case says; what is held names its job."""
    events, (spent, reserved) = LIVES[name]
    life.goes(*events)
    money = journal.money()
    assert (money.spent_micros, money.reserved_micros, money.unpriced_attempts) == (spent, reserved, 0)
    assert journal.reserved_jobs() == ({"kite"} if reserved else set())


def test_attempts_without_a_price_are_counted_and_not_summed(life: Life, other: Life, journal: Journal) -> None:
    """A sum that leaves something out says so."""
    life.goes(SubmitStarted(1, None, "f"), ACCEPT)
    other.goes(SubmitStarted(1, None, "f"), SubmitRefused("too fast"), START)
    money = journal.money()
    assert (money.spent_micros, money.reserved_micros, money.unpriced_attempts) == (0, PRICE, 1)
    assert journal.reserved_jobs() == {"kite", "dawn"}
    assert journal.reserved_jobs(["dawn", "nobody"]) == {"dawn"}


def test_sums_are_exact(journal: Journal, life: Life) -> None:
    """Money is whole millionths, so that no cent is lost among a hundred thousand clips."""
    life.goes(SubmitStarted(1, 2**53 + 1, "f"), ACCEPT, TaskFailed("b"), SubmitStarted(2, 1, "f"), GaveUp("b"))
    assert journal.money().spent_micros == 2**53 + 2


# ---- other ids, other paths


NOTE = ("to_rename", "[]")


def done(journal: Journal, job_id: str, task_id: str) -> Progress:
    """Record the life of a clip."""
    life = Life(journal, Progress.fresh(job_id))
    life.goes(SubmitStarted(1, 400_000, "f" * 64), SubmitAccepted(task_id), TaskSucceeded(None))
    return life.goes(ClipSaved(f"{job_id}.mp4", 9, "a" * 64)).progress


def test_row_attempts_and_events_go_over_and_the_move_is_an_event(journal: Journal) -> None:
    """The row is the same but for its id and one event more; nothing is left under the old id."""
    before = done(journal, "kite", "task_1")
    events, money = [event.kind for event in journal.events("kite")], journal.money()
    journal.move([("kite", "gull")], at=1_800_000_100.0, remark=NOTE)
    assert journal.progress("kite") is None
    assert journal.progress("gull") == before._replace(job_id="gull", version=before.version + 1)
    assert [one.task_id for one in journal.attempts("gull")] == ["task_1"]
    assert [event.kind for event in journal.events("gull")] == [*events, MOVED]
    assert list(journal.events("kite")) == []
    last = list(journal.events())[-1]
    assert (last.job_id, last.attempt, last.at, last.data) == ("gull", 1, 1_800_000_100.0, {"moved_from": "kite"})
    assert journal.money() == money
    assert journal.owner_of_task("task_1") == "gull"
    assert journal.meta_get("to_rename") == "[]"


def test_a_moved_job_lives_on(journal: Journal) -> None:
    """Its next event starts from what the journal holds."""
    life = Life(journal, Progress.fresh("kite")).goes(SubmitStarted(1, 400_000, "f" * 64), SubmitAccepted("task_1"))
    journal.move([("kite", "gull")], at=0.0, remark=NOTE)
    found = journal.progress("gull")
    assert found is not None
    life.progress = found
    assert life.goes(TaskSucceeded(None)).progress.state is State.READY


def test_a_job_without_a_paid_attempt_that_has_the_new_id_gets_the_old_one(journal: Journal) -> None:
    """Its events stay its own."""
    done(journal, "kite", "task_1")
    Life(journal, Progress.fresh("gull")).goes(SubmitStarted(1, 400_000, "g" * 64), SubmitRefused("busy"))
    journal.move([("kite", "gull")], at=0.0, remark=NOTE)
    found = {row.job_id: row.state for row in journal.all_progress()}
    assert found == {"gull": State.DONE, "kite": State.PENDING}
    assert [event.kind for event in journal.events("kite")] == ["SubmitStarted", "SubmitRefused"]


def test_all_moves_are_made_or_none(journal: Journal) -> None:
    """One that names no job takes the others back."""
    done(journal, "kite", "task_1")
    with pytest.raises(StaleProgressError):
        journal.move([("kite", "gull"), ("nobody", "lark")], at=0.0, remark=("to_rename", "[1]"))
    assert [row.job_id for row in journal.all_progress()] == ["kite"]
    assert journal.meta_get("to_rename") is None


def test_paths_and_the_remark_change_together(journal: Journal) -> None:
    """And nothing else of the row does."""
    before = done(journal, "kite", "task_1")
    journal.set_paths({"kite": "shots/kite.mp4"}, remark=("to_rename", ""))
    assert journal.progress("kite") == before._replace(path="shots/kite.mp4")
    assert journal.meta_get("to_rename") == ""


def test_clips_whose_names_are_spelt_in_several_ways_are_found(journal: Journal) -> None:
    """Those with letters beyond ASCII in their path."""
    for number, path in enumerate(["kite.mp4", "caf\u00e9.mp4", "\u98a8/a.mp4", "tilde~ {x}.mp4"]):
        done(journal, f"job-{number}", f"task_{number}")
        journal.set_paths({f"job-{number}": path}, remark=NOTE)
    assert [row.path for row in journal.clips_beyond_ascii()] == ["caf\u00e9.mp4", "\u98a8/a.mp4"]


# ---- any life


TEXTS = st.text(max_size=20)
TIMES = st.floats(min_value=0, max_value=4e9)
PRICES = st.none() | st.integers(0, 10**12)
NOON = 2e9
Paid: TypeAlias = dict[tuple[str, int], "tuple[int | None, bool]"]
"""By job and attempt: the price, and whether it is over."""
EVENTS: dict[type[Event], st.SearchStrategy[Any]] = {
    SubmitRefused: st.builds(SubmitRefused, TEXTS, st.booleans()),
    RefusalsProven: st.builds(RefusalsProven, TEXTS),
    SubmitUnsure: st.builds(SubmitUnsure, TEXTS, st.binary(max_size=20)),
    Reopened: st.builds(Reopened, TEXTS, st.booleans()),
    StillRunning: st.builds(StillRunning, TEXTS),
    PollFailed: st.builds(PollFailed, TEXTS),
    TaskSucceeded: st.builds(TaskSucceeded, st.none() | TEXTS, st.none() | TIMES, st.none() | TEXTS),
    TaskFailed: st.builds(TaskFailed, TEXTS),
    TimedOut: st.builds(TimedOut, TEXTS),
    DownloadFailed: st.builds(DownloadFailed, TEXTS, st.booleans()),
    UrlExpired: st.builds(UrlExpired, TEXTS),
    ClipMissing: st.builds(ClipMissing, TEXTS),
    ClipSaved: st.builds(ClipSaved, TEXTS, st.integers(0, 2**62), TEXTS),
    GaveUp: st.builds(GaveUp, TEXTS),
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
                    kinds.remove(TaskAdopted)
                kind = draw(st.sampled_from(kinds))
                event: Event
                if kind is SubmitStarted:
                    event = SubmitStarted(after.attempt + 1, draw(PRICES), draw(TEXTS))
                elif kind in {SubmitAccepted, TaskAdopted}:
                    event = kind(f"task-{number}-{len(group)}-{len(events)}")
                else:
                    event = draw(EVENTS[kind])
                events.append((event, draw(TIMES)))
                after = advance(after, event, at=events[-1][1])
            rows[name] = after
            group.append(Change(before, tuple(events), after))
        groups.append(group)
    return groups


def as_lived(
    groups: list[list[Change]],
) -> tuple[dict[str, Progress], Paid, dict[tuple[str, int], float], dict[str, list[tuple[float, int]]]]:
    """Return what a journal should hold after these changes: rows, attempts, their starts, and what is unproven."""
    rows: dict[str, Progress] = {}
    paid: Paid = {}
    started: dict[tuple[str, int], float] = {}
    unproven: dict[str, list[tuple[float, int]]] = {name: [] for name in ("a", "b", "c")}
    for change in (change for group in groups for change in group):
        at_hand = change.before
        for event, at in change.events:
            key = (at_hand.job_id, at_hand.attempt)
            if isinstance(event, SubmitStarted):
                paid[at_hand.job_id, event.attempt] = (event.price_micros, False)
                started[at_hand.job_id, event.attempt] = at
            elif isinstance(event, SubmitRefused):
                price, _ = paid.pop(key)
                if event.counted:
                    unproven[at_hand.job_id].append((started[key], price or 0))
            elif isinstance(event, RefusalsProven):
                unproven[at_hand.job_id] = []
            elif key in paid and isinstance(event, TaskSucceeded | TaskFailed | GaveUp | Reopened):
                paid[key] = (paid[key][0], True)
            elif isinstance(event, TaskAdopted):
                paid[key] = (paid[key][0], False)
            at_hand = advance(at_hand, event, at=at)
        rows[at_hand.job_id] = at_hand
    return rows, paid, started, unproven


@pytest.mark.parametrize("kind", STORES)
@settings(max_examples=40, deadline=None)
@given(groups=steps())
def test_any_legal_lives_read_back_as_they_were_lived(kind: str, groups: list[list[Change]]) -> None:
    """Whatever the lifecycle allows, in whatever groups: rows, sums and reserved jobs are those of the events."""
    with tempfile.TemporaryDirectory() as folder:
        store = STORES[kind](Path(folder) / ".batchvid" / "journal.db")
        with store.open(service="s") as journal:
            for group in groups:
                journal.record(group)
        rows, paid, started, unproven = as_lived(groups)
        with reading(store) as reader:
            assert {row.job_id: row for row in reader.all_progress()} == rows
            assert {row.job_id for row in reader.open_progress()} == {
                name for name, row in rows.items() if row.state.is_open
            }
            assert {(one.job_id, one.attempt): one.price_micros for one in reader.attempts()} == {
                key: price for key, (price, _) in paid.items()
            }
            money = reader.money()
            assert money.spent_micros == sum(price or 0 for price, over in paid.values() if over)
            reserved = sum(price or 0 for price, over in paid.values() if not over)
            assert money.unproven_micros == sum(row.unproven_micros for row in rows.values())
            assert money.reserved_micros == reserved + money.unproven_micros
            assert money.unpriced_attempts == sum(price is None for price, _ in paid.values())
            for since in (0.0, NOON, *started.values()):
                day = sum(price or 0 for key, (price, _) in paid.items() if started[key] >= since)
                assert reader.paid_since(since) == day
                day += sum(price for ones in unproven.values() for at, price in ones if at >= since)
                assert reader.counted_since(since) == day
            assert reader.reserved_jobs() == {name for (name, _), (_, over) in paid.items() if not over}


# ---- from one to another


REAL = [kind for kind in STORES if kind != "memory"]


def shown(reader: JournalReader) -> dict[str, object]:
    """Return all that can be asked of a journal; the numbers of events are its own."""
    ids = sorted(reader.states())
    return {
        "rows": list(reader.all_progress()),
        "brief": sorted(reader.progress_in_brief()),
        "open": list(reader.open_progress()),
        "undone": list(reader.undone_progress()),
        "clips": list(reader.done_clips()),
        "beyond": list(reader.clips_beyond_ascii()),
        "states": reader.states(),
        "counts": reader.counts(),
        "attempts": [list(reader.attempts(one)) for one in (None, *ids)],
        "events": [[replace(event, seq=0) for event in reader.events(one)] for one in (None, *ids)],
        "money": reader.money(),
        "reserved": reader.reserved_jobs(),
        "timings": reader.timings(),
        "doubts": reader.doubts(),
        "owners": [one.task_id and reader.owner_of_task(one.task_id) for one in reader.attempts()],
        "service": reader.meta_get("service"),
    }


@pytest.mark.parametrize("kinds", [(one, other) for one in REAL for other in REAL], ids="-".join)
@settings(max_examples=25, deadline=None)
@given(groups=steps(), took_s=st.lists(st.tuples(TEXTS, TIMES), max_size=5))
def test_a_journal_shows_the_same_after_it_went_over_to_another(
    kinds: tuple[str, str], groups: list[list[Change]], took_s: list[tuple[str, float]]
) -> None:
    """Whatever was lived: jobs, attempts, events, timings, doubts and money; and life goes on from there."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = (
            STORES[kind](Path(folder) / name / ".batchvid" / "journal.db")
            for kind, name in zip(kinds, ("a", "b"), strict=True)
        )
        with source.open(service=SERVICE) as journal:
            for group in groups:
                journal.record(group)
            for number, (name, seconds) in enumerate(took_s):
                life = Life(journal, Progress.fresh(f"timed {number}")).goes(STARTED)
                change = replace(life.change(SubmitAccepted(f"timed {number}")), timing=Timing(name, seconds, 0.0))
                journal.record([change])
            wanted = shown(journal)
            with target.open(service=SERVICE) as copy:
                copy.fill(journal, remarks={"note": "kept"}, at=1.0)
                assert is_copy(copy, journal)
                assert shown(copy) == wanted
                Life(copy, Progress.fresh("new")).goes(STARTED, UNSURE)
                assert not is_copy(copy, journal)
        with reading(target) as reader:
            assert reader.meta_get("note") == "kept"
            assert shown(reader)["rows"] == sorted([*wanted["rows"], reader.progress("new")])  # type: ignore[misc]


@pytest.mark.parametrize("kind", REAL)
def test_nothing_goes_over_where_not_all_of_it_does(kind: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that lacks an attempt would pay for it again."""
    source = MemoryStore()
    with source.open(service=SERVICE) as journal, STORES[kind](path).open(service=SERVICE) as copy:
        Life(journal, Progress.fresh("kite")).goes(STARTED, ACCEPTED)
        events, asked = journal.events, count(1)
        monkeypatch.setattr(journal, "events", lambda: islice(events(), next(asked)))
        with pytest.raises(StorageError, match="does not hold what memory holds, so nothing was moved"):
            copy.fill(journal, remarks={"note": "kept"}, at=1.0)
        assert [*copy.all_progress(), *copy.attempts(), *copy.events()] == []
        assert copy.meta_get("note") is None
