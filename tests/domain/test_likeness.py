"""An edit is told from another wish: spelling, size and seconds are; another word is not."""

from __future__ import annotations

import pytest

from batchvid.domain.identity import Content, Edit, edits, is_misspelling, resembling, words_of

VEO = ("veo3-fast", ())
PLAIN = (None, None, (), None)


def content(prompt: str, *, kind: object = VEO, rest: object = PLAIN, slug: str = "") -> Content:
    """Return a content with this prompt."""
    return Content(words_of(prompt), tuple(slug.split("-")), kind, rest)  # type: ignore[arg-type]


def edit_of(old: Content, new: Content, *others: str) -> Edit | None:
    """Return what was edited between the two, if one is the other; *others* are prompts of other jobs."""
    every = [("", "other"), *((prompt, f"other {prompt}") for prompt in others), (" ".join(new.words), "new")]
    found = edits({"new": new}, {"old": old}, every=every)
    return found[0][2] if found else None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A kiet", "A kite"),
        ("A kite over teh sea", "A kite over the sea"),
        ("A kite ovver the sea", "A kite over the sea"),
        ("A kite over the sea", "a kite, over the sea."),
        ("A kite at sun set", "A kite at sunset"),
        ("A kite  over\nthe sea", "A kite over the sea"),
        ("Ein Drachen ueber Zürich", "Ein Drachen uber Zürich"),
    ],
)
def test_another_spelling_is_an_edit(old: str, new: str) -> None:
    """Nobody wants to pay for a letter, whichever of the two was right."""
    assert edit_of(content(old), content(new)) is Edit.PROMPT
    assert edit_of(content(new), content(old)) is Edit.PROMPT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A kite", "A dog"),
        ("A red kite", "A blue kite"),
        ("A cat", "A car"),
        ("Shot 1 of a kite", "Shot 2 of a kite"),
        ("Shot 1000 of a kite", "Shot 1001 of a kite"),
        ("A kite", "A red kite"),
        ("A kite", "Two kites"),
        ("Kiet ovver the sea", "Kite over the sea"),
        ("風箏在海上飛翔", "風箏在山上飛翔"),
        ("A kite 🪁", "A kite 🐕"),
        ("!", "?"),
        ("Shot 1 2", "Shot 12"),
    ],
)
def test_another_word_number_or_sign_is_another_wish(old: str, new: str) -> None:
    """Who writes dog for kite wants to see a dog, and gets it."""
    assert edit_of(content(old), content(new)) is None


@pytest.mark.parametrize("rest", [("9x16", None, (), None), (None, "8", (), None), (None, None, (("f", ""),), None)])
def test_size_seconds_and_frames_are_edits_of_a_prompt_that_nobody_else_has(rest: object) -> None:
    """The prompt tells the job; where others have it too, it does not."""
    old, new = content("A kite"), content("A kite", rest=rest)
    assert edit_of(old, new) is Edit.REST
    assert edit_of(old, new, "A kite.") is None


def test_another_model_is_another_wish() -> None:
    """And so is another prompt with another size: that is more than an edit."""
    assert edit_of(content("A kite"), content("A kite", kind=("veo3-pro", ()))) is None
    assert edit_of(content("A kite"), content("A kite", kind=("veo3-fast", (("seed", "1"),)))) is None
    assert edit_of(content("A kiet"), content("A kite", rest=("9x16", None, (), None))) is None


def test_what_is_like_two_is_like_none() -> None:
    """Two new ones, or two paid ones: which is meant is not known."""
    one, two, old = content("A kites"), content("A kitee"), content("A kite")
    every = [("A kites", "one"), ("A kitee", "two")]
    assert edits({"one": one, "two": two}, {"old": old}, every=every) == []
    assert edits({"old": old}, {"one": one, "two": two}, every=[("A kite", "old")]) == []


def test_each_of_many_finds_its_own() -> None:
    """A word is corrected that a thousand prompts share, and that stands beside what tells them apart."""
    names = [f"{a}{b}{c}" for a in "bdfgkl" for b in "aeiou" for c in ("ron", "lim", "vat", "sor")]
    paid = {f"old {name}": content(f"The town of {name} at the golden huor") for name in names}
    wanted = {f"new {name}": content(f"The town of {name} at the golden hour") for name in names}
    found = edits(wanted, paid, every=[])
    assert sorted(found) == sorted((f"new {name}", f"old {name}", Edit.PROMPT) for name in names)


def test_without_a_sidecar_the_words_in_the_id_count_if_they_are_all() -> None:
    """A task that is under way has no sidecar yet."""
    new = content("A kite over the sea", slug="a-kite-over-the-sea")
    assert edit_of(Content.of_slug("a-kiet-over-the-sea"), new) is Edit.PROMPT
    assert edit_of(Content.of_slug("a-kite-over-the-sea"), new) is Edit.PROMPT
    assert edit_of(Content.of_slug("a-dog-over-the-sea"), new) is None
    cut = "a-kite-over-the-sea-at-dawn-with-birds"
    assert edit_of(Content.of_slug(cut), content(cut.replace("-", " ") + " of prey", slug=cut)) is None


def test_what_resembles_is_told_with_the_nearest() -> None:
    """By the words in common."""
    paid = {"red": content("A red kite over the sea"), "dog": content("A dog sleeps")}
    assert resembling({"new": content("A blue kite over the sea")}, paid) == {"new": "red"}
    assert resembling({"new": content("Snow falls on cedars")}, paid) == {}


@pytest.mark.parametrize(
    ("word", "other", "same"),
    [
        ("kite", "kiet", True),
        ("kite", "kit", False),
        ("kite", "kites", True),
        ("teh", "the", True),
        ("cat", "act", True),
        ("ab", "ba", False),
        ("cat", "cut", False),
        ("kite", "etik", False),
        ("over", "oevr", True),
        ("abcd", "badc", False),
        ("1234", "1243", False),
        ("kite1", "kite2", False),
    ],
)
def test_a_misspelling_is_one_slip_in_one_word(word: str, other: str, same: bool) -> None:  # noqa: FBT001 a table
    """Both ways."""
    assert is_misspelling(word, other) is same
    assert is_misspelling(other, word) is same


def test_a_sidecar_that_tells_no_prompt_tells_nothing() -> None:
    """What was sent is not known where the manifest said something else already when the clip came."""
    told = {"prompt": None, "model": None, "size": None, "seconds": None, "form": None, "frames": None}
    assert Content.of_sidecar(told, slug="a-kite") is None
    assert Content.of_sidecar({}, slug="a-kite") is None
