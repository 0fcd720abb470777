"""``fit``: which frames are prepared, what that changes of a job, and what is said where it cannot be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchvid.domain.image_fit import Fit, Fitting

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk

SQUARE = "jobs: [{id: a, prompt: x, first_frame: square.png, %s}]"


@pytest.fixture(autouse=True)
def pictures(desk: Desk) -> None:
    """Draw one picture that fits 16x9, and one that does not."""
    desk.draw("square.png", (90, 90))
    desk.draw("wide.png", (160, 90))


@pytest.mark.parametrize(
    ("fit", "wanted"),
    [("fit: pad", Fitting(Fit.PAD, 160, 90)), ("fit: crop", Fitting(Fit.CROP, 90, 51)), ("fit: none", None)],
)
def test_a_frame_is_fitted_to_the_size_and_then_nothing_is_wrong_with_it(
    desk: Desk, fit: str, wanted: Fitting | None
) -> None:
    """Without it the frame goes out as it is, and a warning says so."""
    loaded = desk.load(SQUARE % f"size: 1280x720, {fit}")
    assert loaded.jobs[0].frames[0].fitted == wanted
    assert len(loaded.warnings) == (wanted is None)


def test_an_entry_and_a_row_say_otherwise_than_the_defaults(desk: Desk) -> None:
    """As with every field; an empty cell says nothing."""
    desk.write("rows.csv", "id,first_frame,fit\nb,square.png,crop\nc,square.png,\nd,square.png,none\n")
    loaded = desk.load(
        """
        defaults: {prompt: x, size: 16x9, fit: pad}
        jobs:
          - {id: text}
          - {id: a, first_frame: square.png}
          - {id: wide, first_frame: wide.png}
          - {from: rows.csv}
        """
    )
    found = {job.id: job.frames[0].recipe for job in loaded.jobs if job.frames}
    assert found == {"a": "pad 160x90", "wide": "", "b": "crop 90x51", "c": "pad 160x90", "d": ""}
    assert desk.frames_read == ["square.png", "wide.png"]


def test_first_and_last_frame_are_compared_as_they_go_out(desk: Desk) -> None:
    """A square and a wide picture are alike once the square is padded."""
    job = "size: 16x9, last_frame: wide.png"
    assert len(desk.load(SQUARE % job).warnings) == 2
    assert desk.load(SQUARE % f"{job}, fit: pad").warnings == ()


def test_the_fingerprint_covers_what_is_done_to_a_frame_and_not_the_word_for_it(desk: Desk) -> None:
    """Where nothing is to be done, saying fit changes nothing that was paid; where something is, it is another clip."""
    prints = {fit: desk.load(SQUARE % f"size: 16x9, fit: {fit}").jobs[0].fingerprint for fit in Fit}
    assert len(set(prints.values())) == 3
    assert desk.load(SQUARE % "size: 16x9").jobs[0].fingerprint == prints[Fit.NONE]
    wide = SQUARE.replace("square", "wide")
    assert len({desk.load(wide % f"size: 16x9, fit: {fit}").jobs[0].fingerprint for fit in Fit}) == 1


@pytest.mark.parametrize("size", ["", "size: landscape, "])
def test_fit_without_a_ratio_is_a_mistake_with_its_line(desk: Desk, size: str) -> None:
    """Nobody can fit a frame to a clip of unknown shape; a job without frames has nothing to fit."""
    text = f"""
        defaults: {{{size}fit: pad}}
        jobs:
          - {{id: text, prompt: x}}
          - {{id: a, prompt: x, first_frame: square.png}}
          - {{id: b, prompt: x, first_frame: square.png, fit: crop}}
        """
    advice = "needs a size: that names a ratio, such as 16x9 or 1280x720: write one beside it"
    found = [complaint.split(": ", 1)[1] for complaint in desk.complaints(text)]
    assert found == [f"defaults.fit: pad {advice}", f"jobs[2].fit: crop {advice}"]
    assert [problem.line for problem in desk.problems(text)] == [2, 6]


def test_a_word_that_is_no_fit_is_refused_with_the_words_that_are(desk: Desk) -> None:
    """YAML's own no among them."""
    for word in ("stretch", "no", "[pad]"):
        (complaint,) = desk.complaints(SQUARE % f"size: 16x9, fit: {word}")
        assert ("write none or pad or crop" in complaint) is (word != "[pad]")
        assert "jobs[0].fit: is " in complaint


def test_a_frame_that_padding_makes_enormous_is_refused_before_anything_is_sent(desk: Desk) -> None:
    """A strip of one pixel's width would become a wall."""
    desk.draw("strip.png", (2, 9000))
    (complaint,) = desk.complaints(SQUARE.replace("square", "strip") % "size: 16x9, fit: pad")
    assert "strip.png: padded to 16000x9000 it would have 144 million pixels: crop it" in complaint
