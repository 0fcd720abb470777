"""A job gets another id with all that is known of it, in one step; nothing of the money changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchvid.domain.history import MOVED
from batchvid.domain.lifecycle import ClipSaved, SubmitAccepted, SubmitRefused, SubmitStarted, TaskSucceeded
from batchvid.journal.base import StaleProgressError
from tests.journal.conftest import Life

if TYPE_CHECKING:
    from batchvid.journal.sqlite import Journal

from batchvid.domain.job import Progress, State

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
    assert sorted(row.path or "" for row in journal.clips_beyond_ascii()) == ["caf\u00e9.mp4", "\u98a8/a.mp4"]
