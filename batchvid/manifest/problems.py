"""Collects every problem and warning, and finds the lines that they stand on when all are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from batchvid.domain.errors import Problem
from batchvid.manifest.service import without_keys

if TYPE_CHECKING:
    from batchvid.manifest.read import TextError, TreePath

_LONGEST_TEXT = 500
"""A message that repeats what somebody wrote stays readable."""


class Source(Protocol):
    """A file that can say on which line something stands."""

    @property
    def name(self) -> str:
        """The file, as the user named it."""

    def position(self, path: TreePath) -> tuple[int, int]:
        """Return line and column, from 1, of what stands at *path*."""


@dataclass(frozen=True, slots=True)
class Location:
    """What is meant, and where it stands; the line is looked up only when somebody asks."""

    source: Source
    path: TreePath
    where: str


def dotted(path: TreePath) -> str:
    """Return ``jobs[3].first_frame`` for a path in a tree."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Diagnostics:
    """What was found wrong, or strange, so far."""

    def __init__(self) -> None:
        self._spotted: list[tuple[Location, str]] = []
        self._located: list[Problem] = []
        self._warnings: list[tuple[Location, str]] = []

    def __bool__(self) -> bool:
        """Whether anything is wrong; warnings do not count."""
        return bool(self._spotted or self._located)

    def add(self, spot: Location, text: str) -> None:
        """Note that something is wrong at *spot*."""
        self._spotted.append((spot, text))

    def warn(self, spot: Location, text: str) -> None:
        """Note that something at *spot* is allowed, but probably not meant."""
        self._warnings.append((spot, text))

    def add_error(self, error: TextError, *, file: str, where: str) -> None:
        """Note what kept *file* from being read."""
        self._located.append(_problem(file, error.line, error.column, where, str(error)))

    def problems(self) -> list[Problem]:
        """Return everything that is wrong, by file, line and column, each once."""
        return _in_order(self._located + [_located(spot, text) for spot, text in self._spotted])

    def warnings(self) -> list[Problem]:
        """Return everything that is strange, in the same order."""
        return _in_order([_located(spot, text) for spot, text in self._warnings])


def _located(spot: Location, text: str) -> Problem:
    return _problem(spot.source.name, *spot.source.position(spot.path), spot.where, text)


def _in_order(found: list[Problem]) -> list[Problem]:
    return sorted(dict.fromkeys(found), key=lambda problem: (problem.file, problem.line, problem.column, problem.where))


def _problem(file: str, line: int, column: int, where: str, text: str) -> Problem:
    return Problem(_shown(file), line, column, _shown(where), _shown(text))


def _shown(text: str) -> str:
    """Make *text* safe to show: no key, nothing that moves a terminal's cursor, no endless line."""
    text = without_keys(text)
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + "…"
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
