"""What is told of a clip beside it."""

from __future__ import annotations

from dataclasses import replace

from batchvid.domain.image_fit import Fit, Fitting
from batchvid.domain.job import Frame, Job, Progress, State
from batchvid.domain.records import sidecar

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
