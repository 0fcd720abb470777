"""YAML as a plain tree: text, maps and lists, nothing guessed, every mistake with its line and column.

The tree is built from the C parser's events in one pass. Positions of single keys are not kept.
A second pass looks for them, and only when there is a problem to show. So a good manifest of a
hundred thousand jobs is read about as quickly as the C parser can go.

Three bounds hold: the file's size, the depth of nesting, and how much aliases may add. An aliased
value is shared and never copied, but whoever walks the tree meets it once per alias.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from yaml._yaml import CParser
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError
from yaml.resolver import Resolver

from batchvid.domain.text import nfc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_BYTES = 64 * 1024 * 1024
"""A hundred thousand jobs with long prompts take about 30 MiB."""
MAX_DEPTH = 50
"""A manifest needs six; far below what would trouble the C stack."""
MAX_ALIASED_NODES = 1_000_000
"""A shared ``form`` of ten fields in each of a hundred thousand jobs; an alias bomb passes it at once."""

_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
"""The byte order marks; spreadsheets and Windows write them, and save "Unicode text" in UTF-16."""
_NO_TEXT = {
    b"PK\x03\x04": "a workbook or an archive, whatever its name says: save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "a workbook, whatever its name says: save the sheet as CSV UTF-8",
    b"\xff\xfe\0\0": "UTF-32: save it as UTF-8",
}
_SHOWN_AROUND = 12
"""Bytes on both sides of one that is not UTF-8."""

TreePath = tuple[str | int, ...]

_KINDS = {
    "tag:yaml.org,2002:bool": "a yes/no",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:timestamp": "a date",
}
_RESOLVERS = {
    first: tuple((_KINDS[tag], pattern.match) for tag, pattern in candidates if tag in _KINDS)
    for first, candidates in Resolver.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Plain:
    """An unquoted word that YAML takes for something else than text."""

    text: str
    """As written."""
    kind: str
    """What YAML takes it for, in words: ``a number``, ``a yes/no``, ``a date``, ``nothing``."""


class Map(dict[str, Any]):
    """A map of the tree, which knows the line that it starts on (from 1)."""

    __slots__ = ("line",)
    line: int


class TextError(ValueError):
    """A file cannot be read, or not as what it should be; *line* 0 means the whole file.

    *strange*: it can be read, but is probably not what was meant.
    """

    def __init__(self, text: str, *, line: int = 0, column: int = 0, strange: bool = False) -> None:
        super().__init__(text)
        self.line = line
        self.column = column
        self.strange = strange


def scalar(text: str) -> str | Plain:
    """Return what an unquoted *text* is in YAML: itself, or something that only looks like text."""
    for kind, matches in _RESOLVERS.get(text[:1], ()):
        if matches(text):
            return Plain(text, kind)
    return text


def read_text(path: Path) -> str:
    """Return the text of a regular file of at most `MAX_BYTES`: UTF-8, or UTF-16 with the mark that says so.

    Raises `TextError`. Another coding is not guessed: a prompt in the wrong letters would be paid for.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise TextError("is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise TextError("is not a regular file")
        if status.st_size > MAX_BYTES:
            megabytes = status.st_size // 1_000_000
            raise TextError(f"has {megabytes} MB, and at most {MAX_BYTES // 1024**2} MiB are read: split it")
        data = path.read_bytes()
    except OSError as error:
        raise TextError((error.strerror or "cannot be read").lower()) from error
    for beginning, what in _NO_TEXT.items():
        if data.startswith(beginning):
            raise TextError(f"is {what}", line=1, column=1)
    for mark, coding in _MARKS.items():
        if data.startswith(mark):
            return _decoded(data[len(mark) :], coding)
    return _decoded(data, "utf-8")


def _decoded(data: bytes, coding: str) -> str:
    try:
        text = data.decode(coding)
    except UnicodeDecodeError as error:
        if coding != "utf-8":
            raise TextError(f"is damaged: its {coding.upper()} breaks off", line=1, column=1) from error
        line, column = _position_of_byte(data, error.start)
        begin = max(data.rfind(b"\n", 0, error.start) + 1, error.start - _SHOWN_AROUND)
        part = data[begin : error.start + _SHOWN_AROUND].splitlines()[0].decode("cp1252", "replace")
        meant = f'"{part.strip()}" in Windows-1252?'
        raise TextError(
            f"is not UTF-8 here ({meant}): save it as UTF-8; in Excel that is CSV UTF-8", line=line, column=column
        ) from error
    if (nul := text.find("\0")) >= 0:
        before = text[:nul]
        line, column = before.count("\n") + 1, nul - before.rfind("\n")
        raise TextError("holds a NUL byte (UTF-16? save it as UTF-8)", line=line, column=column)
    return text


class Document:
    """A YAML file that has been read: its tree, its small mistakes, and the way back to its lines."""

    def __init__(self, text: str, *, name: str) -> None:
        """Build the tree; raises `TextError` where it is not YAML at all, or passes a bound."""
        self.name = name
        self.slips: list[TextError] = []
        """What is wrong without keeping the tree from being built: a duplicate key, a tag."""
        self._text = text
        self._positions: dict[TreePath, tuple[int, int]] = {}
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliased = 0
        try:
            self.tree: Any = self._read(CParser(text).get_event)
        except ReaderError as error:
            line, column = _position_of_byte(text.encode(), error.position)
            raise TextError("holds a control character", line=line, column=column) from error
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error) from error

    def position(self, path: TreePath) -> tuple[int, int]:
        """Return line and column of the key or item at *path*, or of the nearest thing around it."""
        if not self._positions:
            self._positions = _positions(self._text)
        while path not in self._positions:
            path = path[:-1]
        return self._positions[path]

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> TextError:
        mark = error.problem_mark or error.context_mark
        if mark is None:
            return TextError(f"is not YAML: {error.problem}", line=1, column=1)
        lines = self._text.splitlines()
        line = lines[mark.line] if mark.line < len(lines) else ""
        indent = line[: len(line) - len(line.lstrip())]
        hint = ": indent with spaces, not with tabs" if "\t" in indent + line[mark.column : mark.column + 1] else ""
        context = f" ({error.context})" if error.context else ""
        return TextError(f"is not YAML: {error.problem}{context}{hint}", line=mark.line + 1, column=mark.column + 1)

    def _read(self, read: Callable[[], Any]) -> Any:
        read()
        if type(read()) is StreamEndEvent:
            raise TextError("is empty: write at least version: 1 and jobs:", line=1, column=1)
        tree = self._tree(read)
        if type(event := read()) is not StreamEndEvent:
            raise _at(event, "a second document (---) begins here: a file holds one")
        return tree

    def _tree(  # noqa: C901, PLR0912 one flat loop, without recursion: a call per event would double the time
        self, read: Callable[[], Any]
    ) -> Any:
        outer: list[tuple[Any, str | None, str | None, int]] = []
        top: list[Any] = []
        box: Any = top
        key: str | None = None
        value: Any
        nodes = 0
        while True:
            event = read()
            nodes += 1
            kind = type(event)
            if kind is ScalarEvent:
                value = event.value
                if event.implicit[0]:
                    for what, matches in _RESOLVERS.get(value[:1], ()):
                        if matches(value):
                            value = Plain(value, what)
                            break
                if event.tag:
                    self._tell_tag(event)
                if event.anchor:
                    self._anchors[event.anchor] = value, 1
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                if event.tag:
                    self._tell_tag(event)
                outer.append((box, key, event.anchor, nodes + self._aliased))
                if len(outer) > MAX_DEPTH:
                    raise _at(event, f"is nested more than {MAX_DEPTH} deep")
                if kind is MappingStartEvent:
                    box = Map()
                    box.line = event.start_mark.line + 1
                else:
                    box = []
                key = None
                continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                value = box
                box, key, anchor, before = outer.pop()
                if anchor:
                    self._anchors[anchor] = value, nodes + self._aliased - before + 1
            elif kind is AliasEvent:
                value = self._alias(event)
            elif kind is DocumentEndEvent:
                return top[0]
            if type(box) is not Map:
                box.append(value)
            elif key is None:
                key = nfc(value) if type(value) is str else _odd_key(event, value)
                if key in box:
                    self.slips.append(_at(event, f"the key {key!r} stands here twice in one map"))
            else:
                box[key] = value
                key = None

    def _tell_tag(self, event: Any) -> None:
        self.slips.append(_at(event, "tags (!…) are not read: remove it, and quote what should be text"))

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise _at(event, f"*{event.anchor} names no anchor before it, or the value that it stands in")
        value, size = self._anchors[event.anchor]
        self._aliased += size
        if self._aliased > MAX_ALIASED_NODES:
            raise _at(event, f"aliases repeat more than {MAX_ALIASED_NODES:,} values: write fewer, or use defaults")
        return value


def _odd_key(event: Any, value: Any) -> str:
    """Return a key that looks like a number or so as it is written."""
    if isinstance(value, Plain):
        return value.text
    raise _at(event, "a key must be text, and this is a list or a map")


def _at(event: Any, text: str) -> TextError:
    return TextError(text, line=event.start_mark.line + 1, column=event.start_mark.column + 1)


def _position_of_byte(data: bytes, offset: int) -> tuple[int, int]:
    start = data.rfind(b"\n", 0, offset) + 1
    return data.count(b"\n", 0, offset) + 1, len(data[start:offset].decode(errors="replace")) + 1


def _positions(text: str) -> dict[TreePath, tuple[int, int]]:
    """Return the place of every key and every list item of a text that has been read before."""
    read: Callable[[], Any] = CParser(text).get_event
    read()
    read()
    found: dict[TreePath, tuple[int, int]] = {}

    def visit(event: Any, path: TreePath) -> None:
        found.setdefault(path, (event.start_mark.line + 1, event.start_mark.column + 1))
        if type(event) is MappingStartEvent:
            while type(key := read()) is not MappingEndEvent:
                inner = (*path, nfc(key.value) if type(key) is ScalarEvent else "*")
                visit(key, inner)
                visit(read(), inner)
        elif type(event) is SequenceStartEvent:
            index = 0
            while type(item := read()) is not SequenceEndEvent:
                visit(item, (*path, index))
                index += 1

    visit(read(), ())
    return found
