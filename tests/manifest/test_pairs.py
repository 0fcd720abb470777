"""A folder of pairs as phones, Macs and people leave it: every picture is used, or told before anything is paid."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from batchvid.manifest import Manifest
    from tests.manifest.conftest import Desk

PAIRS = "jobs: [{pairs: p, prompt: x}]"
NFD = unicodedata.normalize("NFD", "Café")


def frames(loaded: Manifest) -> dict[str, list[str]]:
    """Return the names of the frames of each job."""
    return {job.id: [frame.path.rpartition("/")[2] for frame in job.frames] for job in loaded.jobs}


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("kite_first.png", "kite_last.png"),
        ("kite_first.png", "kite_last.jfif"),
        ("kite_First.JPG", "kite_LAST.jpe"),
        ("kite-first.png", "kite_last.WEBP"),
        ("kite first.png", "kite - last.png"),
        ("Kite_first.png", "KITE_last.png"),
        ("kite.first.png", "kite.last.png"),
        ("kite_first.avif", "kite_last.png"),
    ],
)
def test_both_sides_of_a_pair_are_found(desk: Desk, first: str, last: str) -> None:
    """Whatever the case, what stands before the side, and the ending."""
    for file in (first, last):
        if file.endswith(("png", "JPG", "WEBP")):
            desk.draw(f"p/{file}")
        else:
            desk.draw("p/x.png")
            (desk.folder / "p/x.png").rename(desk.folder / "p" / file)
    loaded = desk.load(PAIRS)
    assert {job_id.lower(): files for job_id, files in frames(loaded).items()} == {"kite": [first, last]}
    assert loaded.warnings == ()


@pytest.mark.parametrize("text", ["Café.txt", "CAFÉ.TXT", f"{NFD}.txt", f"{NFD.upper()}.Txt"])
@pytest.mark.parametrize("frame", ["Café_first.png", f"{NFD}_first.png", "café-first.png"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_prompt_is_found_in_any_case_form_and_coding(desk: Desk, text: str, frame: str, coding: str) -> None:
    """Notepad writes any of them."""
    desk.draw(f"p/{frame}")
    desk.write(f"p/{text}", "Der Bär tanzt.\r\n".encode(coding))
    assert [job.prompt for job in desk.load("jobs: [{pairs: p}]").jobs] == ["Der Bär tanzt."]


def test_what_systems_put_into_a_folder_is_left_out_without_a_word(desk: Desk) -> None:
    """Each of them beside real files, and of the same names."""
    desk.draw("p/kite_first.png")
    for name in ("._kite_first.png", "._kite_last.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r", ".gitkeep"):
        desk.write(f"p/{name}", b"\0\5\x16\7")
    desk.draw("p/__MACOSX/kite_last.png")
    desk.draw("p/@eaDir/kite_last.png")
    loaded = desk.load(PAIRS)
    assert frames(loaded) == {"kite": ["kite_first.png"]}
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("kite_end.png", "is not taken as a frame: call it kite_last.png"),
        ("kite.png", "is not taken as a frame: call it kite_last.png"),
        ("kite2.jpg", "is not taken as a frame: call it kite_last.jpg"),
        ("kite_lats.png", "is not taken as a frame: call it kite_last.png"),
        ("kite_last (1).png", "is not taken as a frame: call it kite_last.png"),
        ("KITE_last copy.heic", "is not taken as a frame: call it kite_last.heic"),
        ("last_gull.png", "is not taken as a frame: call it NAME_first.png or NAME_last.png"),
        ("gull-end.webp", "is not taken as a frame: call it NAME_first.webp or NAME_last.webp"),
        ("kite_last.mov", "is no picture by its name, and not taken as last frame: call it kite_last.png or so"),
        ("kite_last", "is no picture by its name, and not taken as last frame: call it kite_last.png or so"),
        (".kite_last.png.icloud", "is not on this disk yet: download it"),
        ("kite_last.jpg.crdownload", "is not on this disk yet: download it"),
        ("kite_first.txt", "is not taken as a prompt: call it kite.txt"),
        ("kite.txt.txt", "is not taken as a prompt: call it kite.txt"),
        ("kite.docx", "is not taken as a prompt: call it kite.txt"),
    ],
)  # fmt: skip
def test_what_looks_like_a_part_of_a_pair_is_a_mistake(desk: Desk, file: str, text: str) -> None:
    """The clip would be paid for without it; the message says what it should be called."""
    desk.draw("p/kite_first.png")
    desk.write(f"p/{file}", b"x")
    assert desk.complaints(PAIRS) == [f"clips.yaml:1:9: jobs[0].pairs: {file} {text}, or move it away"]


@pytest.mark.parametrize(
    "file",
    ["cover.png", "cover.heic", "notes.txt", "gull.mov", "kite_first.dng", "kite_first.heic", "kite_first.mov",
     "kite_first.aae", "kite.json", "readme.md"],
)  # fmt: skip
def test_anything_else_is_named_in_a_warning(desk: Desk, file: str) -> None:
    """A camera writes more than one file of a picture, and a person more than pictures."""
    desk.draw("p/kite_first.png")
    desk.write(f"p/{file}", b"x")
    loaded = desk.load(PAIRS)
    assert frames(loaded) == {"kite": ["kite_first.png"]}
    (warning,) = loaded.warnings
    assert warning.endswith(f"jobs[0].pairs: no pair uses {file}, in p")


@pytest.mark.parametrize("file", ["shot-101.png", "shot-10.png", "shot-1000.jpg"])
def test_another_number_is_another_picture(desk: Desk, file: str) -> None:
    """Else the advice would make a wrong pair."""
    for number in ("1", "100", "102"):
        desk.draw(f"p/shot-{number}_first.png")
    desk.write(f"p/{file}", b"x")
    (warning,) = desk.load(PAIRS).warnings
    assert f"no pair uses {file}, in p" in warning


def test_many_files_are_told_in_few_lines(desk: Desk) -> None:
    """A folder of a thousand photos is not a thousand lines."""
    desk.draw("p/kite_first.png")
    for number in range(30):
        desk.write(f"p/kite_end{number:02}.png", b"x")
        desk.write(f"p/{number:02}.jpg", b"x")
    told = desk.complaints(PAIRS)
    assert len(told) == 13
    assert any("18 more files are like these" in line for line in told)
    for path in (desk.folder / "p").glob("kite_end*"):
        path.unlink()
    (warning,) = desk.load(PAIRS).warnings
    assert "00.jpg, 01.jpg" in warning
    assert " and 18 more, in p" in warning


def test_a_folder_is_named_where_it_holds_pictures(desk: Desk) -> None:
    """Folders in it are not looked into."""
    desk.draw("p/kite_first.png")
    desk.draw("p/more/gull_first.png")
    desk.write("p/tools/x.sh", "")
    (warning,) = desk.load(PAIRS).warnings
    assert "no pair uses more, in p" in warning


def test_what_another_entry_uses_is_used(desk: Desk) -> None:
    """Frames, tables and the manifest itself may lie in the same folder."""
    for name in ("kite_first.png", "kite_end.png", "cover.png"):
        desk.draw(name)
    desk.write("rows.csv", "prompt\nx\n")
    loaded = desk.load("""
        jobs:
          - {pairs: ., prompt: x}
          - {from: rows.csv}
          - {id: a, prompt: x, first_frame: cover.png, last_frame: ./kite_end.png}
    """)
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (["kite_first.png", "kite-first.jpg"], "kite-first.jpg and kite_first.png are both a first frame"),
        (["kite_first.png", "KITE_first.webp"], "KITE_first.webp and kite_first.png are both a first frame"),
        (["kite_first.png", "kite.txt", "kite.TXT"], "kite.TXT and kite.txt are both the prompt of kite"),
        (["Café_first.png", f"{NFD}_first.png"], "two files are called Café_first.png, in two Unicode forms"),
    ],
)
def test_two_files_for_one_thing_are_a_mistake(desk: Desk, files: list[str], text: str) -> None:
    """Nobody can know which is meant."""
    for file in files:
        if file.lower().endswith("txt"):
            desk.write(f"p/{file}", b"x")
        else:
            desk.draw(f"p/{file}")
    assert any(f"jobs[0].pairs: {text}" in line for line in desk.complaints(PAIRS))


def test_a_picture_in_a_format_that_is_not_read_is_a_frame_all_the_same(desk: Desk) -> None:
    """And so the look into it says what it is."""
    desk.draw("p/dog_first.jpg")
    desk.write("p/dog_last.BMP", b"x")
    assert desk.complaints(PAIRS) == ["clips.yaml:1:9: jobs[0] pair dog last_frame: p/dog_last.BMP: is no image"]


def test_a_folder_without_a_pair_names_its_pictures(desk: Desk) -> None:
    """What is there instead helps to see what is wrong."""
    desk.draw("p/a.png")
    desk.draw("p/b.png")
    assert desk.complaints(PAIRS) == [
        "clips.yaml:1:9: jobs[0].pairs: p: holds no NAME_first.png (or .jpg, .webp), but a.png, b.png"
    ]
