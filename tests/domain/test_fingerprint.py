"""Two jobs have one fingerprint exactly when the same request would be sent for both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.fingerprint import fields, fingerprint

if TYPE_CHECKING:
    from random import Random

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
FIELDS = st.dictionaries(TEXT, TEXT, max_size=4).map(lambda found: list(found.items()))
HASHES = st.lists(st.sampled_from(["aa", "bb", "ab"]), max_size=2)


@given(FIELDS, HASHES, st.randoms(use_true_random=False))
def test_the_order_of_fields_does_not_matter(texts: list[tuple[str, str]], frames: list[str], random: Random) -> None:
    """Re-ordering a manifest costs nothing."""
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert fingerprint(shuffled, frames) == fingerprint(texts, frames)


@given(FIELDS, HASHES, FIELDS, HASHES)
def test_different_requests_differ(
    texts: list[tuple[str, str]], frames: list[str], others: list[tuple[str, str]], other_frames: list[str]
) -> None:
    """No two requests run together into the same bytes."""
    same = (sorted(texts), frames) == (sorted(others), other_frames)
    assert (fingerprint(texts, frames) == fingerprint(others, other_frames)) is same


def test_a_boundary_between_fields_cannot_be_moved() -> None:
    """``ab`` + ``c`` is not ``a`` + ``bc``, and a field is no frame."""
    assert fingerprint([("ab", "c")], []) != fingerprint([("a", "bc")], [])
    assert fingerprint([("a", "frame:aa")], []) != fingerprint([("a", "")], ["aa"])


def test_first_and_last_frame_are_not_interchangeable() -> None:
    """The clip runs from one to the other."""
    assert fingerprint([], ["aa", "bb"]) != fingerprint([], ["bb", "aa"])


def test_what_is_not_given_is_not_sent() -> None:
    """No size and no seconds means no such field, which an empty field is not."""
    bare = fields(prompt="p", model="m", size=None, seconds=None, form=())
    assert bare == [("prompt", "p"), ("model", "m")]
    assert fields(prompt="p", model="m", size="", seconds="8", form=[("seed", "7")]) == [
        *bare,
        ("size", ""),
        ("seconds", "8"),
        ("seed", "7"),
    ]


def test_the_fingerprint_of_a_request_stays_the_same_from_version_to_version() -> None:
    """A change of this value would make every paid clip of every journal look changed."""
    texts = fields(prompt="A kite.", model="veo3-fast", size="16x9", seconds=None, form=())
    assert fingerprint(texts, ["ab" * 32]) == "659dc5df591306f45c17898d411e7e568e2e0bc5501a15bddea608dafd07c828"
