"""Every problem and warning of a manifest; the lines that they stand on are looked for when all are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from batchvid.domain.errors import Problem
from batchvid.domain.frozen import frozen
from batchvid.manifest.values import TEXT_WANTED, without_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchvid.manifest.schema import Mistake
    from batchvid.manifest.yaml_tree import TextError, TreePath

_LONGEST_TEXT = 4000
"""A message that repeats what somebody wrote stays readable, and a long prompt can be pasted."""


class Source(Protocol):
    """A file that can say on which line something stands."""

    @property
    def name(self) -> str:
        """The file, as the user named it."""

    def position(self, path: TreePath) -> tuple[int, int]:
        """Return line and column, from 1, of what stands at *path*."""

    def in_quotes(self, path: TreePath) -> str | None:
        """Return what to write for a value at *path* that is no text, and was meant as one."""


@frozen
class Location:
    """What is meant, and where it stands; the line is looked up only when somebody asks."""

    source: Source
    path: TreePath
    where: str

    @classmethod
    def of(cls, source: Source, *path: str | int) -> Location:
        """Return the location that is called by its path: ``jobs[3].first_frame``."""
        where = ""
        for part in path:
            where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else part
        return cls(source, path, where)


class Diagnostics:
    """What was found wrong, or strange, so far."""

    def __init__(self) -> None:
        self._problems: list[tuple[Location, str]] = []
        self._located: list[Problem] = []
        self._warnings: list[tuple[Location, str]] = []
        self._strange: list[Problem] = []

    def __bool__(self) -> bool:
        """Whether anything is wrong; warnings do not count."""
        return bool(self._problems or self._located)

    def add(self, location: Location, text: str) -> None:
        """Add what is wrong at *location*."""
        self._problems.append((location, text))

    def add_all(self, mistakes: Iterable[Mistake], source: Source, *base: str | int) -> None:
        """Add what is wrong inside of what stands at *base*."""
        for mistake in mistakes:
            self.add(Location.of(source, *base, *mistake.path), mistake.text)

    def warn(self, location: Location, text: str) -> None:
        """Add what is allowed at *location*, but probably not meant."""
        self._warnings.append((location, text))

    def add_error(self, error: TextError, *, file: str, where: str) -> None:
        """Add what kept *file* from being read, or is strange in it."""
        for one in (error, *error.also):
            found = self._strange if one.strange else self._located
            found.append(_problem(file, one.line, one.column, where, str(one)))

    def problems(self) -> list[Problem]:
        """Return everything that is wrong, by file, line and column, each once."""
        return _in_order(self._located + [_found(*one) for one in self._problems])

    def warnings(self) -> list[Problem]:
        """Return everything that is strange, in the same order."""
        return _in_order(self._strange + [_found(*one) for one in self._warnings])


def _found(location: Location, text: str) -> Problem:
    if text.endswith(TEXT_WANTED) and (written := location.source.in_quotes(location.path)):
        text += f": put it in quotes: {written}"
    return _problem(location.source.name, *location.source.position(location.path), location.where, text)


def _in_order(found: list[Problem]) -> list[Problem]:
    return sorted(dict.fromkeys(found), key=lambda problem: (problem.file, problem.line, problem.column, problem.where))


def _problem(file: str, line: int, column: int, where: str, text: str) -> Problem:
    return Problem(_shown(file), line, column, _shown(where), _shown(text))


def _shown(text: str) -> str:
    """Return *text* safe to show: no key, nothing that moves a terminal's cursor, no endless line."""
    text = without_keys(text)
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + "…"
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
