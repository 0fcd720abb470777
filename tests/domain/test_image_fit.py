"""The geometry of a frame that is fitted to its clip, and what its fingerprint covers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.fingerprint import of_frame
from batchvid.domain.image_fit import Fit, Fitting, fitting, ratio_of
from batchvid.domain.job import Frame

FRAME = Frame("/f/dawn.png", "ab" * 32, 10, "image/png", 512, 512)
SIDES = st.integers(1, 12_000)


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ("16x9", (16, 9)),
        ("1280x720", (1280, 720)),
        ("landscape", None),
        ("16:9", None),
        ("0x9", None),
        ("16x0", None),
        ("", None),
        (None, None),
        ("1x999999", None),
    ],
)
def test_a_size_names_a_ratio_or_none(size: str | None, ratio: tuple[int, int] | None) -> None:
    """An orientation and pixels do; a word, or nothing, does not."""
    assert ratio_of(size) == ratio


@pytest.mark.parametrize(
    ("width", "height", "pad", "crop"),
    [
        (512, 512, (910, 512), (512, 288)),
        (1080, 1920, (3413, 1920), (1080, 608)),
        (3000, 1000, (3000, 1688), (1778, 1000)),
        (1920, 1080, None, None),
        (1366, 768, None, None),  # the screen that is called 16:9 and is not: one pixel is not worth a new picture
        (1920, 1088, (1934, 1088), (1920, 1080)),
        (1, 1, None, None),
        (1, 100, (178, 100), (1, 1)),
    ],
)
def test_a_picture_is_made_into_the_clips_ratio(
    width: int, height: int, pad: tuple[int, int] | None, crop: tuple[int, int] | None
) -> None:
    """As little as possible is added or cut, and one pixel off is nothing."""
    for fit, wanted in ((Fit.PAD, pad), (Fit.CROP, crop)):
        found = fitting(width, height, ratio=(16, 9), fit=fit)
        assert found == (None if wanted is None else Fitting(fit, *wanted))
    assert fitting(width, height, ratio=(16, 9), fit=Fit.NONE) is None


@given(width=SIDES, height=SIDES, across=st.integers(1, 100), down=st.integers(1, 100))
def test_pad_only_adds_crop_only_cuts_and_both_reach_the_ratio(width: int, height: int, across: int, down: int) -> None:
    """One side stays; the other is the nearest whole number to what the ratio asks for."""
    for fit, sign in ((Fit.PAD, 1), (Fit.CROP, -1)):
        found = fitting(width, height, ratio=(across, down), fit=fit)
        if found is None:
            continue
        changes = (found.width - width, found.height - height)
        assert min(map(abs, changes)) == 0
        assert sum(changes) * sign > 1
        exact = found.height * across / down if found.height == height else found.width * down / across
        other = found.width if found.height == height else found.height
        assert abs(other - max(exact, 1)) <= 0.5 + 1e-6


def test_the_fingerprint_of_a_frame_that_goes_out_as_it_is_is_the_hash_of_its_bytes() -> None:
    """Also where the job says fit, and there is nothing to do."""
    assert of_frame(FRAME) == FRAME.sha256


def test_every_recipe_gives_a_picture_another_fingerprint_and_the_file_name_gives_none() -> None:
    """What decides about a single pixel is covered; what the coder's version decides is not."""
    made = [
        FRAME,
        replace(FRAME, turned=6),
        replace(FRAME, turned=8),
        replace(FRAME, fitted=Fitting(Fit.PAD, 910, 512)),
        replace(FRAME, fitted=Fitting(Fit.PAD, 912, 512)),
        replace(FRAME, fitted=Fitting(Fit.CROP, 910, 512)),
        replace(FRAME, turned=6, fitted=Fitting(Fit.PAD, 910, 512)),
        replace(FRAME, sha256="cd" * 32, turned=6),
    ]
    assert len({of_frame(frame) for frame in made}) == len(made)
    assert of_frame(replace(made[1], path="/g/x.png")) == of_frame(made[1])


def test_the_fingerprint_of_a_prepared_frame_is_a_promise() -> None:
    """Should it ever change, clips that are paid for would count as changed."""
    frame = replace(FRAME, turned=6, fitted=Fitting(Fit.PAD, 910, 512))
    assert frame.recipe == "turn 6, pad 910x512"
    assert of_frame(frame) == "af8b48e48204f64e18e2db269e921cfb407bcc4488b0be0910a5d9c2366b34b9"
