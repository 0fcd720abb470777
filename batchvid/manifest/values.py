"""The rules of single values: each gives the value that is meant, or raises `ValueError` with advice.

They stand apart from `batchvid.manifest.fields`, because pydantic is slow to load and a manifest that is right
can be checked without it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchvid.manifest import paths, prices, units
from batchvid.manifest.read import Plain

if TYPE_CHECKING:
    from collections.abc import Callable

SENT_BY_BATCHVID = frozenset({"prompt", "model", "size", "seconds", "input_reference"})
"""What a ``form`` must not name, because batchvid sends it itself."""
TAKE_IS_TAKEN = '"take" is the number of the take: give the variable another name'

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CANONICAL_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_FORM_KEY = re.compile(r"[A-Za-z0-9_.\[\]-]{1,100}", re.ASCII)


class QuoteError(ValueError):
    """Text is wanted, and the word without quotes reads as something else."""

    def __init__(self, plain: Plain) -> None:
        super().__init__(f'{plain.text} without quotes reads as {plain.kind}, and text is wanted: write "{plain.text}"')
        self.plain = plain


def is_clean(text: str) -> bool:
    """Whether *text* holds no control character besides line breaks and tabs."""
    return text.isprintable() or not _CONTROL.search(text)


def any_text(value: object) -> str:
    """Return a text, which may be empty."""
    if isinstance(value, Plain):
        if value.kind == "nothing":
            raise ValueError("is empty: write text, or remove the key")
        raise QuoteError(value)
    if not isinstance(value, str):
        what = "map" if isinstance(value, dict) else "list"
        raise ValueError(f"is a {what}, and text is wanted")  # noqa: TRY004 pydantic collects ValueErrors
    if not is_clean(value):
        raise ValueError("holds a control character: remove it")
    return value


def text(value: object) -> str:
    """Return a text that says something."""
    found = any_text(value)
    if not found.strip():
        raise ValueError("is empty: write text, or remove the key")
    return found


def folder(value: object) -> str:
    """Return the path of a folder, as it is written."""
    found = text(value)
    if found.startswith("~"):
        raise ValueError("begins with ~, which is not expanded: write the path in full")
    if trouble := paths.locale_trouble(found):
        raise ValueError(f"{units.shown(found)} {trouble}")
    return found


def variable_value(value: object) -> str:
    """Return the text of a variable; a number may stand without quotes when it can mean nothing else."""
    if isinstance(value, Plain) and _CANONICAL_NUMBER.fullmatch(value.text):
        return value.text
    return text(value)


def variable_name(value: str) -> str:
    """Return the name of a variable."""
    if value == "take":
        raise ValueError(TAKE_IS_TAKEN)
    if not value.strip() or not is_clean(value) or set(value) & set("{}"):
        raise ValueError("is no name for a variable: write letters and digits")
    return value


def form_key(value: str) -> str:
    """Return the name of a further form field."""
    if value in SENT_BY_BATCHVID:
        where = "first_frame and last_frame" if value == "input_reference" else f"{value}: beside form:"
        raise ValueError(f"is not a further field: write {where}")
    if not _FORM_KEY.fullmatch(value):
        raise ValueError("is no name of a form field: letters, digits and _ . - [ ] make one")
    return value


def version(value: object) -> int:
    """Return the version of the manifest's format."""
    if units.whole(value) != 1:
        raise ValueError("is not a version that this batchvid reads: write version: 1")
    return 1


def between(lowest: int, highest: int) -> Callable[[object], int]:
    """Return the rule of a whole number between two bounds."""

    def count(value: object) -> int:
        found = units.whole(value)
        if not lowest <= found <= highest:
            raise ValueError(f"is {found}: write a number from {lowest} to {highest}")
        return found

    return count


def word_of(*words: str) -> Callable[[object], str]:
    """Return the rule of a word out of a few."""

    def word(value: object) -> str:
        found = units.written(value)
        if found not in words:
            raise ValueError(f"is {units.shown(found)}: write {' or '.join(words)}")
        return found

    return word


def yes_no(value: object) -> bool:
    """Return what is meant by ``true`` and ``false``, or ``yes`` and ``no``."""
    found = units.written(value)
    if not isinstance(value, Plain) or found.lower() not in {"true", "false", "yes", "no"}:
        raise ValueError(f"is {units.shown(found)}: write true or false")
    return found.lower() in {"true", "yes"}


def by_size(value: object) -> object:
    """Return prices by size; a single one is of any size."""
    return value if isinstance(value, dict) else {prices.ANY_SIZE: value}
