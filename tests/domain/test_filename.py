"""Names that every file system takes, and what is made of the others."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.filename import MAX_PART_BYTES, PLAIN_PART_BYTES, in_a_name, is_plain, kept_as, safe


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("What now?.mp4", "What now-.mp4"),
        ("Part 1: the boat.mp4", "Part 1- the boat.mp4"),
        ('a*b<c>d|e"f.mp4', "a-b-c-d-e-f.mp4"),
        ("Wait....mp4", "Wait....mp4"),
        ("ends with a blank .mp4", "ends with a blank .mp4"),
        ("act one. ./scene 1 /kite.mp4", "act one/scene 1/kite.mp4"),
        ("... /kite.mp4", "-/kite.mp4"),
        ("con.mp4", "con-.mp4"),
        ("NUL.v2.mp4", "NUL-.v2.mp4"),
        ("Com1 .mp4", "Com1 -.mp4"),
        ("LPT\u00b2/aux/prn.mp4", "LPT\u00b2-/aux-/prn-.mp4"),
        ("CONIN$.mp4", "CONIN$-.mp4"),
        ("console/com10.com1.mp4", "console/com10.com1.mp4"),
        ("CON:.mp4", "CON-.mp4"),
        ("gr\u00f6\u00dfe \u65e5\u672c \U0001f600.mp4", "gr\u00f6\u00dfe \u65e5\u672c \U0001f600.mp4"),
    ],
)
def test_only_what_some_file_system_refuses_is_written_otherwise(path: str, made: str) -> None:
    """The rules of Windows, which exFAT, NTFS and shares have in part or all; letters of any script stay."""
    assert safe(path) == made


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u65e5", "\U0001f600", "e\u0301"])
def test_what_is_too_long_is_cut_between_letters_and_stays_one_of_its_kind(letter: str) -> None:
    """By bytes, so by UTF-16 units too; two that begin alike differ in their ends."""
    one, two = (safe(f"{letter * 250}{end}/{letter * 250}{end}.mp4") for end in "ab")
    for part in (*one.split("/"), *two.split("/")):
        assert MAX_PART_BYTES - 10 < len(part.encode()) <= MAX_PART_BYTES
        assert len(part.encode("utf-16-le")) // 2 <= MAX_PART_BYTES
    assert one.endswith(".mp4")
    assert not set(one.split("/")) & set(two.split("/"))


_NAMES = st.text(min_size=1, max_size=20).map(in_a_name) | st.sampled_from(["x" * 210, "\u00e9" * 101, "\u65e5" * 67])
_ODD = st.text('?:*<>|". CONnulcom1\u00b9', min_size=1, max_size=12)


@given(st.lists(_NAMES | _ODD, min_size=1, max_size=3))
def test_a_safe_name_obeys_the_rules_and_is_not_changed_again(parts: list[str]) -> None:
    """Whatever was written: so what is on disk is found under the name that the manifest makes of it."""
    made = safe("/".join(parts) + ".mp4")
    assert safe(made) == made
    assert len(made.split("/")) == len(parts)
    for part in made.split("/"):
        assert part
        assert not set(part) & set('?:*<>|"\\')
        assert part[-1] not in ". "
        assert len(part.encode()) <= MAX_PART_BYTES
        assert part.split(".")[0].rstrip(" ").upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "COM\u00b9"}


@pytest.mark.parametrize(
    ("value", "stands"),
    [
        ("Pourquoi\u202f?", "Pourquoi ?"),
        ("a\u00a0b\u3000c", "a b c"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\U0001f469\U0001f467"),
        ("\ufeffkite\u200b\u00ad", "kite"),
        ("a\u202eb", "ab"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"),
        ("a/b\\c\nd\x7f", "a-b-c-d-"),
        ("\ud83d kite \ue000", "- kite -"),
        ("\u2764\ufe0f e\u0301", "\u2764\ufe0f e\u0301"),
    ],
)
def test_what_cannot_be_seen_of_a_text_is_not_in_a_name(value: str, stands: str) -> None:
    """Blanks of a typesetter, joiners, marks of direction, halves of letters: people copy them, and see none."""
    assert in_a_name(value) == stands
    assert in_a_name(stands) == stands


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("kite.mp4", True),
        ("hanoi/dawn kite (2) #1 & 100%.mp4", True),
        (f"{'x' * (PLAIN_PART_BYTES - 4)}.mp4", True),
        (f"{'x' * (PLAIN_PART_BYTES - 3)}.mp4", False),
        ("gr\u00f6\u00dfe.mp4", False),
        ("what?.mp4", False),
        ("nul.mp4", False),
        ("a./kite.mp4", False),
    ],
)
def test_a_plain_name_need_not_be_tried(path: str, *, plain: bool) -> None:
    """Most jobs' names are plain, and cost no look at the disk before they are paid."""
    assert is_plain(path) is plain


@given(st.lists(st.text("aZ0 .-?:con1\u00e9", min_size=1, max_size=8) | _ODD, min_size=1, max_size=3))
def test_what_is_plain_is_what_is_written_as_it_is(parts: list[str]) -> None:
    """Two ways to say the same: the quick look at many names, and the making of one."""
    path = "/".join(parts) + ".mp4"
    assert is_plain(path) == (path.isascii() and safe(path) == path)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True), _NAMES, _NAMES)
def test_a_clip_is_kept_under_a_plain_name_that_no_other_job_has(job_id: str, one: str, two: str) -> None:
    """Made of the id, which is unique and plain, and of the path that was refused."""
    assert is_plain(kept_as(job_id, one))
    assert kept_as(job_id, one).startswith(f"{job_id}-")
    assert (kept_as(job_id, one) == kept_as(job_id, two)) == (one == two)
    assert unicodedata.is_normalized("NFC", kept_as(job_id, one))
