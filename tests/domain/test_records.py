"""What programs are told of a job, and the order in which states are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchvid.domain.image_fit import Fit, Fitting
from batchvid.domain.job import Frame, Job, Progress, State
from batchvid.domain.records import (
    CLIP,
    DEFERRED,
    EXPORT,
    NEED_ATTENTION,
    ORDER,
    STATUS,
    record,
    records,
    sidecar,
    standing,
)

PLAIN = Frame("/f/dawn.png", "ab" * 32, 10, "image/png", 512, 512)
MADE = replace(PLAIN, fitted=Fitting(Fit.PAD, 910, 512))
JOB = Job(
    "kite", "A kite.", "veo3", "16x9", "8", (("seed", "7"),), (MADE, PLAIN), 500_000, "kite.mp4", "f-1", "m.yaml:1"
)  # fmt: skip
ROW = Progress(
    "kite",
    State.READY,
    attempt=2,
    task_id="task_1",
    resolved_model="veo_3_1-4K",
    fingerprint="f-1",
    price_micros=400_000,
    submitted_at=1_773_297_229.4,
)


def test_a_story_tells_what_was_asked_what_was_paid_and_what_was_sent_of_each_frame() -> None:
    """The price is that of the attempt, and the hash of a prepared frame that of the bytes that went out."""
    assert sidecar(JOB, ROW, made={MADE: "cd" * 32}) == {
        "id": "kite",
        "prompt": "A kite.",
        "model": "veo3",
        "size": "16x9",
        "seconds": "8",
        "form": {"seed": "7"},
        "frames": [
            {"file": "/f/dawn.png", "sha256": "cd" * 32, "prepared": "pad 910x512"},
            {"file": "/f/dawn.png", "sha256": "ab" * 32, "prepared": None},
        ],
        "manifest_changed": False,
        "resolved_model": "veo_3_1-4K",
        "fingerprint": "f-1",
        "attempt": 2,
        "task_id": "task_1",
        "submitted_at": "2026-03-12T06:33:49Z",
        "price": 0.4,
    }


def test_what_is_not_known_is_null_and_not_guessed() -> None:
    """A prepared frame whose file is gone, and every word of a job whose content has changed since it was paid."""
    assert sidecar(JOB, ROW)["frames"][0]["sha256"] is None
    told = sidecar(replace(JOB, prompt="Another.", fingerprint="f-2"), ROW)
    assert told["manifest_changed"] is True
    assert {name for name, value in told.items() if value is None} == {
        "prompt", "model", "size", "seconds", "form", "frames",
    }  # fmt: skip
    assert (told["fingerprint"], told["task_id"], told["price"]) == ("f-1", "task_1", 0.4)


@pytest.mark.parametrize("names", [CLIP, STATUS, EXPORT])
def test_an_output_has_its_fields_in_its_order(names: tuple[str, ...]) -> None:
    """Each is known, and none is told twice."""
    assert list(record(names, ROW, JOB)) == list(names)
    assert len(set(names)) == len(names)


def test_a_job_that_the_journal_does_not_know_is_new_and_has_the_price_of_the_manifest() -> None:
    """Its id is its own, and its order is the manifest's."""
    other = replace(JOB, id="gull", frames=())
    told = list(records(EXPORT, [other, JOB], {"kite": ROW}))
    assert [(one["id"], one["state"], one["price"]) for one in told] == [
        ("gull", "pending", 0.5),
        ("kite", "ready", 0.4),
    ]
    assert (told[0]["first_frame"], told[1]["first_frame"], told[1]["last_frame"]) == (None, MADE.path, PLAIN.path)


def test_every_state_has_its_place_in_the_one_order() -> None:
    """What needs attention stands at the end, the most costly uncertainty last."""
    assert sorted(ORDER) == sorted([*State, DEFERRED])
    assert ORDER[-3:] == NEED_ATTENTION[::-1]


def test_a_request_that_nobody_waits_for_any_more_is_in_doubt() -> None:
    """Beside a run it is under way; what was left for the next run is deferred either way."""
    sending = ROW._replace(state=State.SUBMITTING)
    assert (standing(sending, run_active=True), standing(sending, run_active=False)) == ("submitting", "in_doubt")
    assert standing(ROW._replace(state=State.RUNNING, parked=True), run_active=False) == DEFERRED
