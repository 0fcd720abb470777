"""``{name}`` in the manifest's texts: plain substitution, and nothing else.

This is not ``str.format``: a name is looked up among the variables and nowhere else, so that no
attribute, index or conversion of anything can be reached from a manifest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from batchvid.domain.text import nfc
from batchvid.manifest.units import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class UnknownVariableError(ValueError):
    """A text names a variable that it does not have."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = ", ".join(f"{{{one}}}" for one in sorted(known))
        super().__init__(
            f"{shown(f'{{{name}}}')} is no variable here: known are {names}; a brace as text is {{{{ or }}}}"
        )
        self.name = name


@dataclass(frozen=True, slots=True)
class Template:
    """A text that has been taken apart: literal pieces and, at the odd places, names of variables."""

    pieces: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """The variables that it wants."""
        return frozenset(self.pieces[1::2])

    def render(self, variables: Mapping[str, str]) -> str:
        """Return the text with every variable filled in; raises `UnknownVariableError`."""
        found = list(self.pieces)
        for place in range(1, len(found), 2):
            name = found[place]
            if name not in variables:
                raise UnknownVariableError(name, variables)
            found[place] = variables[name]
        return "".join(found)


@lru_cache(maxsize=1024)
def parse(text: str) -> Template:
    """Take *text* apart; raises `ValueError` for a single brace that belongs to nothing."""
    pieces = [""]
    end = 0
    for part in _PART.finditer(text):
        pieces[-1] += text[end : part.start()]
        end = part.end()
        match part[0]:
            case "{{" | "}}":
                pieces[-1] += part[0][0]
            case "{" | "}":
                raise ValueError(f'a single "{part[0]}" stands in the text: write {part[0] * 2} for a brace')
            case _:
                pieces += [nfc(part[1].strip()), ""]
    pieces[-1] += text[end:]
    return Template(tuple(pieces))


def has_braces(text: str) -> bool:
    """Whether *text* is more than a plain text."""
    return "{" in text or "}" in text
