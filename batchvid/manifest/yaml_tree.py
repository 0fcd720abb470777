"""YAML as a plain tree: text, maps and lists, nothing guessed, every mistake with its line and column.

The tree is built from the C parser's events in one pass. Positions of single keys are not kept.
A second pass looks for them, and only when there is a problem to show. So a good manifest of a
hundred thousand jobs is read about as quickly as the C parser can go.

Three bounds hold: the file's size, the depth of nesting, and how much aliases may add. An aliased
value is shared and never copied, but whoever walks the tree meets it once per alias.
"""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

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

from batchvid.domain.frozen import frozen
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
_HASH = re.compile(r"#(?:\w|[ \t]+\d)")
_IN_COMMENT = re.compile(r"(?:^|[ \t])#")
_OF_ONE_WORD = re.compile(r"\b(?:id|model|size|seconds|fit|price|takes|first_frame|last_frame):[ \t]+\S+[ \t]+$")
"""The commonest values that a comment follows: a look at them saves the look for all places of a long file."""
_TEXT_KEYS = frozenset({"prompt", "prompts", "form", "matrix"})
"""Keys of what is sent as text, or becomes a part of it."""
_LINES_QUOTED = 4
"""Of a value that may have been meant as text; more were meant as they are."""
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


@frozen
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
        self.also: tuple[TextError, ...] = ()
        """More of them, found with it."""


def scalar(text: str) -> str | Plain:
    """Return what an unquoted *text* is in YAML: itself, or something that only looks like text."""
    for kind, matches in _RESOLVERS.get(text[:1], ()):
        if matches(text):
            return Plain(text, kind)
    return text


def unreadable(error: OSError, *, what: str) -> TextError:
    """Return why a file or folder cannot be read, in words."""
    return TextError(
        f"no such {what}" if isinstance(error, FileNotFoundError) else (error.strerror or "cannot be read").lower()
    )


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
        raise unreadable(error, what="file") from error
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


class _Place(NamedTuple):
    """Where something stands: line and column of its key or item, from 1, and the value, in characters."""

    line: int
    column: int
    begin: int
    end: int
    is_plain: bool
    """Whether it is a text without quotes."""


class Document:
    """A YAML file that has been read: its tree, its small mistakes, and the way back to its lines."""

    def __init__(self, text: str, *, name: str) -> None:
        """Build the tree; raises `TextError` where it is not YAML at all, or passes a bound."""
        self.name = name
        self.slips: list[TextError] = []
        """What is wrong without keeping the tree from being built: a duplicate key, a tag."""
        self._text = text
        self._places: dict[TreePath, _Place] = {}
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._named: dict[str, Any] = {}
        """Where texts have an anchor that nothing has used."""
        self._aliased = 0
        try:
            self.tree: Any = self._read(CParser(text).get_event)
        except ReaderError as error:
            line, column = _position_of_byte(text.encode(), error.position)
            raise TextError("holds a control character", line=line, column=column) from error
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error) from error
        self._tell_unused_anchors()
        self._tell_cut_off()

    @property
    def shares_values(self) -> bool:
        """Whether something in the tree stands at several places, as aliases have it."""
        return self._aliased > 0

    def position(self, path: TreePath) -> tuple[int, int]:
        """Return line and column of the key or item at *path*, or of the nearest thing around it."""
        places = self._all_places()
        while path not in places:
            path = path[:-1]
        return places[path].line, places[path].column

    def in_quotes(self, path: TreePath) -> str | None:
        """Return what to write for the value at *path* where a text is wanted; ``None`` where it is a long one."""
        place = self._all_places().get(path)
        if place is None:
            return None
        written = self._text[place.begin : place.end].rstrip()
        is_long = written.count("\n") >= _LINES_QUOTED
        return None if is_long or not written else _quoted(self._text, place.begin, place.begin + len(written))

    def _all_places(self) -> dict[TreePath, _Place]:
        if not self._places:
            self._places = _places(self._text)
        return self._places

    def _tell_cut_off(self) -> None:
        """Note the texts that probably go on behind a #, and are cut off there."""
        text = self._text
        if not any(_may_be_cut_off(text, found.start()) for found in _HASH.finditer(text)):
            return
        from batchvid.manifest.quoting import cut_off

        for path, place in self._all_places().items():
            if not place.is_plain or not _is_text(path, text[place.begin : place.end]):
                continue
            begin = cut_off(text, place.end, column=place.column - 1)
            if begin >= 0:
                stop = text.find("\n", begin)
                stop = stop if stop >= 0 else len(text)
                first = text[begin:stop].split()[0]
                line, column = text.count("\n", 0, begin) + 1, begin - text.rfind("\n", 0, begin)
                is_empty = place.begin == place.end
                told = (
                    f"{first} begins a comment in YAML, and is not sent: put the text in quotes: "
                    f"{_quoted(text, begin if is_empty else place.begin, stop)}"
                )
                told += "" if is_empty else " (or write a blank behind the #, if it is a comment)"
                self.slips.append(TextError(told, line=line, column=column, strange=not is_empty))

    def _tell_unused_anchors(self) -> None:
        """Note the words that are read as names of anchors, which nothing uses."""
        for name, event in self._named.items():
            begin, end = event.start_mark.index, event.end_mark.index
            told = f"&{name} is read as an anchor of YAML, and is not sent: put the text in quotes: "
            told += _quoted(self._text, begin, end)
            self.slips.append(
                TextError(told, line=event.start_mark.line + 1, column=event.start_mark.column + 1, strange=True)
            )

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> TextError:
        from batchvid.manifest.quoting import advice

        mark = error.problem_mark or error.context_mark
        if mark is None:
            return TextError(f"is not YAML: {error.problem}", line=1, column=1)
        lines = self._text.splitlines()
        line = lines[mark.line] if mark.line < len(lines) else ""
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent + line[mark.column : mark.column + 1]:
            hint = ": indent with spaces, not with tabs"
        elif found := advice(self._text):
            first, *more = [TextError(one.text, line=one.line, column=one.column) for one in found]
            first.also = tuple(more)
            return first
        else:
            hint = ": is each line indented like its neighbours, and each text with signs of YAML's in quotes?"
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

    def _tree(  # noqa: C901, PLR0912, PLR0915 one flat loop, without recursion: a call per event would double the time
        self, read: Callable[[], Any]
    ) -> Any:
        outer: list[tuple[Any, str | None, str | None, int]] = []
        top: list[Any] = []
        box: Any = top
        key: str | None = None
        keys: dict[str, str] = {}  # what is read as a key, as it is once: a hundred thousand jobs share a few
        value: Any
        nodes = 0
        while True:
            event = read()
            nodes += 1
            kind = type(event)
            if kind is ScalarEvent:
                value = event.value
                if key is None and value in keys and type(box) is Map and not (event.tag or event.anchor):
                    key = keys[value]
                    if key in box:
                        self._tell_twice(event, key)
                    continue
                if event.implicit[0]:
                    for what, matches in _RESOLVERS.get(value[:1], ()):
                        if matches(value):
                            value = Plain(value, what)
                            break
                if event.tag:
                    self._tell_tag(event)
                if event.anchor:
                    self._anchors[event.anchor], self._named[event.anchor] = (value, 1), event
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
                if kind is ScalarEvent:
                    keys[event.value] = key
                if key in box:
                    self._tell_twice(event, key)
            else:
                box[key] = value
                key = None

    def _tell_twice(self, event: Any, key: str) -> None:
        self.slips.append(_at(event, f"the key {key!r} stands here twice in one map"))

    def _tell_tag(self, event: Any) -> None:
        told = "tags (!…) are not read: remove it, and quote what should be text"
        kind = type(event)
        if kind is ScalarEvent:
            told += f": {_quoted(self._text, event.start_mark.index, event.end_mark.index)}"
        self.slips.append(_at(event, told))

    def _alias(self, event: Any) -> Any:
        self._named.pop(event.anchor, None)
        if event.anchor not in self._anchors:
            told = _quoted(self._text, event.start_mark.index, event.end_mark.index)
            raise _at(
                event,
                f"*{event.anchor} names no anchor before it, or the value that it stands in; if it is text: {told}",
            )
        value, size = self._anchors[event.anchor]
        self._aliased += size
        if self._aliased > MAX_ALIASED_NODES:
            raise _at(event, f"aliases repeat more than {MAX_ALIASED_NODES:,} values: write fewer, or use defaults")
        return value


def _quoted(text: str, begin: int, end: int) -> str:
    """Return what to write for a part of a text, in quotes; only a mistake needs what finds it."""
    from batchvid.manifest.quoting import in_quotes

    return in_quotes(text, begin, end)


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


def _places(text: str) -> dict[TreePath, _Place]:
    """Return the place of every key and every list item of a text that has been read before."""
    read: Callable[[], Any] = CParser(text).get_event
    read()
    read()
    found: dict[TreePath, _Place] = {}

    def visit(event: Any, path: TreePath, key: Any) -> None:
        kind, last = type(event), event
        if kind is MappingStartEvent:
            while type(last := read()) is not MappingEndEvent:
                name = (*path, nfc(last.value) if type(last) is ScalarEvent else "*")
                if type(last) is ScalarEvent:
                    visit(read(), name, last)
                else:
                    visit(last, name, last)
                    visit(read(), name, last)
        elif kind is SequenceStartEvent:
            index = 0
            while type(last := read()) is not SequenceEndEvent:
                visit(last, (*path, index), last)
                index += 1
        if path not in found:
            begin, end = event.start_mark.index, last.end_mark.index
            is_plain = kind is ScalarEvent and event.style == "" and not event.tag
            mark = key.start_mark
            found[path] = _Place(mark.line + 1, mark.column + 1, begin, end, is_plain=is_plain)

    top: Any = read()
    visit(top, (), top)
    return found


def _may_be_cut_off(text: str, place: int) -> bool:
    """Whether a # begins a comment inside of what somebody may have meant as text: a quick look at its line."""
    before = text[text.rfind("\n", 0, place) + 1 : place]
    if before[-1:] not in {" ", "\t"}:
        return False
    is_quoted = before.count('"') % 2 == 1 or (" '" in before and before.count("'") % 2 == 1)
    return not (is_quoted or _IN_COMMENT.search(before) or _OF_ONE_WORD.search(before))


def _is_text(path: TreePath, written: str) -> bool:
    """Whether what stands at *path* is a text that is sent, and not a value of one word with a comment behind it."""
    if not _TEXT_KEYS.isdisjoint(path):
        return True
    return bool(path) and isinstance(path[0], int) and " " in written
