"""Rows that stand outside the manifest: tables (.csv .tsv .jsonl .yaml) and folders of frame pairs."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchvid.domain.text import nfc
from batchvid.manifest.diagnostics import Location
from batchvid.manifest.yaml_tree import Document, Map, Plain, TextError, read_text, scalar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchvid.manifest.diagnostics import Diagnostics, Source
    from batchvid.manifest.yaml_tree import TreePath

TYPED_COLUMNS = frozenset({"takes", "price"})
"""Job fields that are not text, and so are read from a cell as YAML would read them."""
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_PAIR = re.compile(r"(?P<name>.+)_(?P<which>first|last)\.(?:png|jpe?g|webp)", re.IGNORECASE)
APPLE_DOUBLE = "._"
"""Begins the name of what macOS puts beside a file on file systems of others; it is no picture, whatever it ends in."""
_HALVES = re.compile("[\ud800-\udfff]")
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one table, or the pairs of one folder."""

    source: Source
    rows: list[Map]
    columns: frozenset[str]
    """Of all rows together."""
    base: TreePath | None = None
    """Where the rows stand when they have no lines of their own."""
    names: tuple[str, ...] = ()
    """Of the pairs."""

    def location(self, entry: int, row: int, *, field: str | None = None) -> Location:
        """Return the place of a row, or of one field of it, for a message."""
        label = f"pair {self.names[row]}" if self.names else f"row {row + 1} ({self.source.name})"
        path: TreePath = self.base or ((row, field) if field is not None else (row,))
        return Location(self.source, path, f"jobs[{entry}] {label}" + (f" {field}" if field is not None else ""))


class Table:
    """A .csv, .tsv or .jsonl file that has been read, and the way back to its lines."""

    def __init__(self, name: str, lines: list[str], *, delimiter: str | None) -> None:
        self.name = name
        self.columns: list[str] = []
        self.starts: list[int] = []
        """The line that each row starts on."""
        self._lines = lines
        self._delimiter = delimiter

    def position(self, path: TreePath) -> tuple[int, int]:
        """Return line and column of a row, or of a cell of it."""
        line = self.starts[path[0]] if path and isinstance(path[0], int) else 1
        field = path[1] if len(path) > 1 else None
        if field is None:
            return line, 1
        if self._delimiter is None:
            found = re.search(re.escape(json.dumps(field, ensure_ascii=False)) + r"\s*:", self._lines[line - 1])
            return line, found.start() + 1 if found else 1
        if field not in self.columns:
            return line, 1
        return self._cell(line, self.columns.index(str(field)))

    def _cell(self, line: int, index: int) -> tuple[int, int]:
        if index == 0:
            return line, 1
        seen, quoted = 0, False
        for number, text in enumerate(self._lines[line - 1 :], line):
            for column, char in enumerate(text, 1):
                if char == '"':
                    quoted = not quoted
                elif char == self._delimiter and not quoted:
                    seen += 1
                    if seen == index:
                        return number, column + 1
        return line, 1


def read_table(path: Path, name: str, *, diagnostics: Diagnostics, entry: int) -> Rows | None:
    """Read the table that an entry's ``from`` names; ``None`` when it cannot be read as one.

    What is wrong inside it is added to *diagnostics*. Raises `TextError` when the whole file is no table.
    """
    suffix = path.suffix.lower()
    if suffix in {".yaml", ".yml"}:
        return _yaml_rows(path, name, diagnostics=diagnostics, entry=entry)
    if suffix not in {*_DELIMITERS, ".jsonl"}:
        raise TextError("is no table that is read here: .csv, .tsv, .jsonl and .yaml are")
    text = read_text(path, bom_allowed=True)
    lines = list(io.StringIO(text, newline="")) if suffix in _DELIMITERS else text.split("\n")
    table = Table(name, lines, delimiter=_DELIMITERS.get(suffix))
    rows: list[Map] = []
    read = _csv_rows(table, lines, _DELIMITERS[suffix]) if suffix in _DELIMITERS else _json_rows(table, lines)
    for row in read:
        if isinstance(row, TextError):
            diagnostics.add_error(row, file=name, where=f"jobs[{entry}] ({name})")
        else:
            rows.append(row)
    return Rows(table, rows, frozenset().union(*rows))


def _yaml_rows(path: Path, name: str, *, diagnostics: Diagnostics, entry: int) -> Rows | None:
    document = Document(read_text(path), name=name)
    for slip in document.slips:
        diagnostics.add_error(slip, file=name, where=f"jobs[{entry}] ({name})")
    if not isinstance(document.tree, list):
        raise TextError("is not a list of maps: begin each row with a dash", line=1, column=1)
    for row, value in enumerate(document.tree):
        if not isinstance(value, Map):
            where = f"jobs[{entry}] row {row + 1} ({name})"
            diagnostics.add(Location(document, (row,), where), "is not a map (key: value)")
    if not all(isinstance(value, Map) for value in document.tree):
        return None
    rows: list[Map] = document.tree
    return Rows(document, rows, frozenset().union(*rows))


def _csv_rows(table: Table, lines: list[str], delimiter: str) -> Iterator[Map | TextError]:
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not table.columns:
                table.columns = [nfc(cell.strip()) for cell in cells]
                yield from _header_mistakes(table.columns, line)
                continue
            if any(cell.strip() for cell in cells[len(table.columns) :]):
                text = f"has {len(cells)} cells, the header {len(table.columns)}: quote a cell that holds {delimiter!r}"
                yield TextError(text, line=line, column=1)
            table.starts.append(line)
            yield _csv_row(table.columns, cells, line)
    except csv.Error as error:
        yield TextError(f"is not a table from here on: {error}", line=start, column=1)
    if not table.columns:
        yield TextError("is empty: its first line names the columns", line=1, column=1)


def _header_mistakes(columns: list[str], line: int) -> Iterator[TextError]:
    for place, column in enumerate(columns):
        if not column:
            yield TextError(f"column {place + 1} has no name", line=line, column=1)
        elif column in columns[:place]:
            yield TextError(f"the column {column!r} stands here twice", line=line, column=1)


def _csv_row(columns: list[str], cells: list[str], line: int) -> Map:
    row = Map()
    row.line = line
    for column, cell in zip(columns, cells, strict=False):
        text = cell.strip()
        if not text:
            continue
        if column.startswith("form."):
            row.setdefault("form", Map())[column[5:]] = text
        else:
            row[column] = scalar(text) if column in TYPED_COLUMNS else text
    return row


def _json_rows(table: Table, lines: list[str]) -> Iterator[Map | TextError]:
    decode = json.JSONDecoder(
        object_pairs_hook=_json_map, parse_int=_json_number, parse_float=_json_number, parse_constant=_json_number
    ).decode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = decode(line)
        except json.JSONDecodeError as error:
            yield TextError(f"is not JSON: {error.msg}", line=number, column=error.colno)
            continue
        except ValueError as error:
            yield TextError(str(error), line=number, column=1)
            continue
        except RecursionError:
            yield TextError("is nested too deep", line=number, column=1)
            continue
        if not isinstance(row, Map):
            yield TextError("is not an object: a line is such as {...}", line=number, column=1)
            continue
        row.line = number
        table.starts.append(number)
        yield row


def _json_number(text: str) -> Plain:
    return Plain(text, "a number")


def _json_map(pairs: list[tuple[str, Any]]) -> Map:
    """Return an object as a map of the tree; null is "not given", as an empty cell is."""
    found = Map((nfc(key), value) for key, value in pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if nfc(key) in seen or seen.add(nfc(key)))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands here twice")
    for key, value in list(found.items()):
        _refuse_halves(key)
        if type(value) is str:
            _refuse_halves(value)
        elif value is None:
            del found[key]
        elif isinstance(value, bool):
            found[key] = Plain(str(value).lower(), "a yes/no")
    return found


def _refuse_halves(text: str) -> None:
    if not text.isascii() and _HALVES.search(text):
        raise ValueError("holds half a character (a lone surrogate)")


def read_pairs(folder: Path, relative: str, *, name: str, source: Source, entry: int, diagnostics: Diagnostics) -> Rows:
    """Find the frame pairs of a folder: one row a NAME, in the order of their names.

    The rows' frames are paths relative to the manifest, as *relative* is; *name* is the folder for
    messages. Raises `TextError` when
    the folder cannot be read.
    """
    try:
        files = {nfc(name): name for name in sorted((path.name for path in folder.iterdir()), key=nfc)}
    except OSError as error:
        raise TextError((error.strerror or "cannot be read").lower()) from error
    base: TreePath = ("jobs", entry, "pairs")
    found: dict[str, dict[str, str]] = {}
    for file in files:
        if file.startswith(APPLE_DOUBLE) or not (match := _PAIR.fullmatch(file)):
            continue
        sides = found.setdefault(match["name"], {})
        which = match["which"].lower()
        if which in sides:
            diagnostics.add(
                Location(source, base, f"jobs[{entry}].pairs"), f"{sides[which]} and {file} are both a {which} frame"
            )
        sides[which] = file
    rows = []
    for pair, sides in found.items():
        row = Map(name=pair)
        row |= {f"{which}_frame": f"{relative}/{files[file]}" for which, file in sides.items()}
        if its_id := _NOT_IN_AN_ID.sub("-", pair).strip("._-"):
            row["id"] = its_id[:100]
        if f"{pair}.txt" in files:
            try:
                row["prompt"] = read_text(folder / files[f"{pair}.txt"], bom_allowed=True).strip()
            except TextError as error:
                diagnostics.add_error(error, file=f"{name}/{pair}.txt", where=f"jobs[{entry}] pair {pair}")
        rows.append(row)
    if not rows:
        raise TextError("holds no NAME_first.png (or .jpg, .webp)")
    return Rows(source, rows, frozenset().union(*rows), base, tuple(found))
