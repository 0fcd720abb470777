"""What an edit has changed is told whole: nothing is lost of either text, and no field is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.changes import TOKENS_AT_MOST, FieldChange, Shot, changes, words
from batchvid.domain.image_fit import Fit, Fitting
from batchvid.domain.job import Continuation, Frame, Job, Progress, State
from batchvid.domain.records import origin, sidecar

DAWN = Frame("/films/frames/dawn.png", "d" * 64, 4000, "image/png", 1280, 720)
DUSK = Frame("/films/frames/dusk.png", "e" * 64, 5000, "image/png", 640, 360)
KITE = Job("kite", "A kite.", "veo3-fast", "16x9", None, (("seed", "7"),), (DAWN,), 4, "kite.mp4", "f-old", "m.yaml:3")
PAID = Progress("kite", State.DONE, 5, 1, fingerprint="f-old")


def told(job: Job) -> dict[str, Any]:
    """Return the sidecar of a job's clip."""
    return sidecar(job, PAID)


def edited(**fields: Any) -> list[FieldChange] | None:
    """Return what has changed of a job after an edit of these fields."""
    return changes(replace(KITE, fingerprint="f-new", **fields), told(KITE))


TEXTS = st.text("ab \n.", max_size=30) | st.lists(st.sampled_from(["a kite", "floats", ",", "the sea "])).map(" ".join)


@given(TEXTS, TEXTS)
def test_both_texts_are_there_whole(old: str, new: str) -> None:
    """What is the same and removed is the old one, what is the same and added the new one."""
    parts = list(words(old, new))
    assert "".join(text for kind, text in parts if kind != "added") == old
    assert "".join(text for kind, text in parts if kind != "removed") == new
    assert all(text for _, text in parts)
    if old == new:
        assert {kind for kind, _ in parts} <= {"same"}


def test_words_are_told_and_not_letters() -> None:
    """In scripts without spaces each letter is one."""
    assert list(words("A red kite flies.", "A blue kite flies.")) == [
        ("same", "A "), ("removed", "red"), ("added", "blue"), ("same", " kite flies."),
    ]  # fmt: skip
    assert list(words("赤い凧", "青い凧")) == [("removed", "赤"), ("added", "青"), ("same", "い凧")]


def test_a_long_text_that_is_another_one_is_told_in_two_parts() -> None:
    """Comparing it word by word would take its length squared."""
    old, new = (" ".join(f"{name}{n}" for n in range(TOKENS_AT_MOST)) for name in "ab")
    assert list(words(f"so {old}", f"so {new}")) == [("same", "so "), ("removed", old), ("added", new)]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, []),
        ({"prompt": "A gull."}, [FieldChange("prompt", "A kite.", "A gull.")]),
        ({"model": "veo3"}, [FieldChange("model", "veo3-fast", "veo3")]),
        ({"size": None}, [FieldChange("size", "16x9", None)]),
        ({"seconds": "8"}, [FieldChange("seconds", None, "8")]),
        ({"form": (("seed", "8"),)}, [FieldChange("form.seed", "7", "8")]),
        ({"form": (("fps", "24"),)}, [FieldChange("form.fps", None, "24"), FieldChange("form.seed", "7", None)]),
        (
            {"frames": (DUSK,)},
            [
                FieldChange(
                    "first_frame",
                    Shot("/films/frames/dawn.png", "d" * 64, None),
                    Shot("/films/frames/dusk.png", "e" * 64, None, 640, 360, 5000),
                )
            ],
        ),
        ({"frames": ()}, [FieldChange("first_frame", Shot("/films/frames/dawn.png", "d" * 64, None), None)]),
        ({"frames": (replace(DAWN, path="/films/other.png"),)}, []),
    ],
)
def test_each_field_is_told_with_both_values(fields: dict[str, Any], found: list[FieldChange]) -> None:
    """A frame is its picture, and not its name."""
    assert edited(**fields) == found


def test_a_picture_that_is_fitted_otherwise_has_changed() -> None:
    """Of what was fitted before, only the name and the fitting are known."""
    fitted = replace(DAWN, fitted=Fitting(Fit.PAD, 720, 1280))
    job = replace(KITE, frames=(fitted,))
    assert changes(job, told(job)) == []
    found, *others = edited(frames=(fitted,)) or []
    assert not others
    assert found.field == "first_frame"
    assert isinstance(found.new, Shot)
    assert found.new.prepared == "pad 720x1280"


def test_letters_in_another_unicode_form_have_not_changed() -> None:
    """They are sent in one form."""
    job = replace(KITE, prompt="caf\u00e9")
    assert changes(replace(job, prompt="cafe\u0301"), told(job)) == []


def test_a_continued_job_tells_the_clip_and_the_moment() -> None:
    """Its first frame is no file."""
    own = {name: getattr(KITE, name) for name in KITE.__slots__} | {"fingerprint": "", "frames": (DUSK,)}
    job = Continuation(**own, continues="gull", at_s=None)
    clip = Progress("gull", State.DONE, 5, 1, sha256="c" * 64)
    kept = sidecar(job, PAID) | origin(job, Progress("kite"), clip, frame_sha256=None)
    kept["frames"] = [{"file": DUSK.path, "sha256": DUSK.sha256, "prepared": None}]
    assert changes(job, kept, clip_sha256="c" * 64) == []
    assert changes(job, kept, clip_sha256="b" * 64) == [FieldChange("continued_clip", "c" * 64, "b" * 64)]
    assert changes(replace(job, at_s=-0.5), kept, clip_sha256="c" * 64) == [FieldChange("at", None, "-0.5s")]
    assert changes(replace(job, continues="wave"), kept, clip_sha256="b" * 64) == [
        FieldChange("continues", "gull", "wave")
    ]
    assert changes(replace(KITE, frames=(DAWN, DUSK)), kept) == [
        FieldChange("first_frame", None, Shot(DAWN.path, "d" * 64, None, 1280, 720, 4000)),
        FieldChange("continues", "gull", None),
    ]


@pytest.mark.parametrize("kept", [{}, {"prompt": None, "form": None, "frames": None}, {"prompt": "A kite."}])
def test_without_a_sidecar_nothing_is_known(kept: dict[str, Any]) -> None:
    """And that is no change."""
    assert changes(KITE, kept) is None
