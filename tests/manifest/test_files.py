"""Paths as people type them: found on the disk in any case, or told with what was probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk


@pytest.mark.parametrize(
    ("typed", "stored"),
    [("frames/dawn.png", "Frames/Dawn.PNG"), ("FRAMES/DAWN.PNG", "frames/dawn.png"), ("straße.png", "STRASSE.png")],
)
def test_what_is_read_is_found_in_another_case(desk: Desk, typed: str, stored: str) -> None:
    """A Mac and Windows do not tell cases apart, and a manifest moves."""
    desk.draw(stored)
    desk.write("Rows.CSV", "prompt\nx\n")
    loaded = desk.load(f"jobs: [{{id: a, prompt: x, first_frame: {typed}}}, {{from: rows.csv}}]")
    assert loaded.jobs[0].frames[0].path == str(desk.folder / stored)


def test_one_that_is_there_as_typed_comes_first_and_two_others_are_both_named(desk: Desk) -> None:
    """Nobody can know which is meant."""
    desk.draw("Dawn.png", colour="red")
    desk.draw("DAWN.png", colour="blue")
    assert desk.load("jobs: [{id: a, prompt: x, first_frame: DAWN.png}]").jobs[0].frames[0].path.endswith("DAWN.png")
    (found,) = desk.complaints("jobs: [{id: a, prompt: x, first_frame: dawn.png}]")
    assert found.endswith("dawn.png: no such file: did you mean DAWN.png or Dawn.png?")


def test_the_output_is_where_it_is_written(desk: Desk) -> None:
    """Two folders that differ in case are two outputs."""
    (desk.folder / "Out").mkdir()
    assert desk.load("output: out\njobs: [{id: a, prompt: x}]").output == desk.folder / "out"


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("frames/dawn.jpg", "frames/dawn.jpg: no such file: did you mean dawn.png?"),
        ("frame/dawn.png", "frame/dawn.png: no such file"),
        ("~/dawn.png", "no such file: ~ and variables such as $HOME are not expanded; write the path in full"),
        ("$HOME/dawn.png", "no such file: ~ and variables such as $HOME are not expanded; write the path in full"),
        (r"frames\dawn.png", "no such file: write / between folders"),
        ("https://example.com/a.png", "is an address: download the picture, and write the path of its file"),
        ("HTTP://example.com/a.png", "is an address: download the picture"),
        ("s3://bucket/a.png", "is an address: download the picture"),
        ("file:///a.png", "is an address: download the picture"),
        ("data:image/png;base64,iVBORw0KGgo=", "is an address: download the picture"),
    ],
)
def test_a_path_that_leads_to_nothing_is_told_with_what_was_meant(desk: Desk, typed: str, text: str) -> None:
    """Frames, tables and folders of pairs alike."""
    desk.draw("frames/dawn.png")
    (found,) = desk.complaints(f"jobs:\n  - id: a\n    prompt: x\n    first_frame: '{typed}'")
    assert found.startswith("clips.yaml:4:5: jobs[0].first_frame: ")
    assert text in found


@pytest.mark.parametrize("key", ["from", "pairs"])
@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("~/rows.csv", "are not expanded; write the path in full"),
        ("https://example.com/rows.csv", "is an address: download it, and write the path on this disk"),
        ("rosw.csv", ": did you mean rows.csv?"),
    ],
)
def test_the_same_is_told_of_tables_and_folders(desk: Desk, key: str, typed: str, text: str) -> None:
    """They are paths, too."""
    desk.write("rows.csv", "prompt\nx\n")
    (found,) = desk.complaints(f"jobs:\n  - {key}: {typed}\n    prompt: x")
    assert found.startswith(f"clips.yaml:2:5: jobs[0].{key}: ")
    assert text in found


def test_a_name_with_a_tilde_that_is_there_is_a_name(desk: Desk) -> None:
    """Only what is missing is judged."""
    desk.draw("~dawn$1.png")
    assert desk.load("jobs: [{id: a, prompt: x, first_frame: ~dawn$1.png}]").jobs[0].frames


def test_many_missing_frames_are_told_quickly(desk: Desk) -> None:
    """A folder is listed once, and only for the first ones a similar name is looked for."""
    for number in range(300):
        desk.write(f"f/{number:05}.png", b"")
    desk.write("rows.csv", "prompt,first_frame\n" + "".join(f"x,f/{number:05}.jpg\n" for number in range(300)))
    told = desk.complaints("jobs: [{from: rows.csv}]")
    assert len(told) == 300
    assert sum("did you mean" in line for line in told) == 20
