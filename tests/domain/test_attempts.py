"""What every event makes of a paid attempt, whatever had become of it."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from batchvid.domain import lifecycle as life
from batchvid.domain.job import Attempt, Outcome
from batchvid.domain.lifecycle import Event, follow

AT = 1_800_000_000.0
SENT = Attempt("kite", 2, 400_000, "f" * 64, AT - 60)
TAKEN = SENT._replace(task_id="task_1", resolved_model="veo", accepted_at=AT - 59)
BEFORE: dict[str, Attempt | None] = {
    "none": None,
    "sent": SENT,
    "in doubt": SENT._replace(outcome=Outcome.IN_DOUBT, reason="reset", raw=b"x"),
    "taken": TAKEN,
    "succeeded": TAKEN._replace(outcome=Outcome.SUCCEEDED, finished_at=AT - 9),
    "failed": TAKEN._replace(outcome=Outcome.FAILED, finished_at=AT - 9, reason="blocked"),
    "abandoned": TAKEN._replace(outcome=Outcome.ABANDONED, finished_at=AT - 9, reason="lost"),
}
EVENTS: tuple[Event, ...] = (
    life.SubmitStarted(2, 500_000, "e" * 64),
    life.SubmitAccepted("task_2", "veo-2"),
    life.SubmitRefused("too fast"),
    life.SubmitUnsure("no JSON", b"raw"),
    life.TaskAdopted("task_3"),
    life.Reopened("a person"),
    life.StillRunning("queued"),
    life.PollFailed("502"),
    life.TaskSucceeded("u", None, "veo-3"),
    life.TaskFailed("moderated"),
    life.TimedOut("late"),
    life.DownloadFailed("cut"),
    life.UrlExpired("403"),
    life.ClipSaved("kite.mp4", 9, "a" * 64),
    life.ClipMissing("gone"),
    life.RefusalsProven("none was billed"),
    life.GaveUp("enough"),
)
CHANGES: dict[type[Event], dict[str, object]] = {
    life.SubmitAccepted: {
        "outcome": "open", "task_id": "task_2", "resolved_model": "veo-2", "accepted_at": AT, "finished_at": None,
        "reason": None,
    },
    life.TaskAdopted: {
        "outcome": "open", "task_id": "task_3", "resolved_model": None, "accepted_at": AT, "finished_at": None,
        "reason": None,
    },
    life.SubmitUnsure: {"outcome": "in_doubt", "reason": "no JSON", "raw": b"raw"},
    life.TaskSucceeded: {"outcome": "succeeded", "resolved_model": "veo-3"},
    life.TaskFailed: {"outcome": "failed", "finished_at": AT, "reason": "moderated"},
    life.GaveUp: {"outcome": "abandoned", "finished_at": AT, "reason": "enough"},
    life.Reopened: {"outcome": "abandoned", "finished_at": AT, "reason": "a person"},
}  # fmt: skip
"""What is set on an attempt that is there, by each event that sets anything."""


def after(before: Attempt | None, event: Event) -> Attempt | None:
    """Return what the event makes of it, now."""
    return follow(before, event, job_id="kite", number=2, at=AT)


@pytest.mark.parametrize(("name", "event"), [*product(BEFORE, EVENTS)])
def test_every_pair(name: str, event: Event) -> None:
    """A start is an attempt, a refusal is none; money that is over stays over, whoever gives up after it."""
    before = BEFORE[name]
    expected: Attempt | None
    if isinstance(event, life.SubmitStarted):
        expected = Attempt("kite", 2, 500_000, "e" * 64, AT)
    elif isinstance(event, life.SubmitRefused) or before is None:
        expected = None
    else:
        changes = dict(CHANGES.get(type(event), {}))
        if isinstance(event, life.GaveUp | life.Reopened) and before.outcome not in {"open", "in_doubt"}:
            changes = {}
        if isinstance(event, life.TaskSucceeded):
            changes["finished_at"] = before.finished_at or AT  # a task is over at its first success
        expected = Attempt(**before._asdict() | changes)
    assert after(before, event) == expected


def test_no_event_is_left_out() -> None:
    """One that is added to the lifecycle has its word here."""
    assert {type(event) for event in EVENTS} == set(get_args(Event))


def test_a_success_that_names_no_model_leaves_what_is_known() -> None:
    """The answer to the create had named it."""
    found = after(TAKEN, life.TaskSucceeded(None))
    assert found is not None
    assert found.resolved_model == "veo"
