"""Tables that stand outside the manifest (.csv .tsv .txt .jsonl .yaml), as people's programs write them.

Every cell is used or told: what separates the cells is found out, what a spreadsheet adds at the edges is left out,
and what it could not work out is a mistake.
"""

from __future__ import annotations

import csv
import json
import re
from array import array
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from batchvid.domain.frozen import frozen
from batchvid.domain.text import nfc
from batchvid.manifest.diagnostics import Location
from batchvid.manifest.schema import ROW
from batchvid.manifest.values import shown
from batchvid.manifest.yaml_tree import Document, Map, Plain, TextError, read_text, scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from batchvid.manifest.diagnostics import Diagnostics, Source
    from batchvid.manifest.yaml_tree import TreePath

TYPED_COLUMNS = frozenset({"takes", "price"})
_DECIMAL_COMMA = re.compile(r"^(0(?=,)|\d{1,9}(?=,\d{1,2}\b)),(\d{1,6})(\s*/\s*s)?$", re.ASCII)
"""``0,40`` and ``1,5/s``, but not ``1,250``: after three digits, the comma may stand for thousands."""
"""Job fields that are not text, and so are read from a cell as YAML would read them."""
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
"""What separates the cells, if the file does not show something else; .txt is Excel's "Unicode text"."""
_OTHER_DELIMITERS = ",;\t|"
_SEP = re.compile(r'"?sep=(?P<delimiter>[^"\r\n])"?[\s,;]*', re.IGNORECASE)
"""Excel's own first line."""
_WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xls", ".ods", ".numbers", ".gsheet"})
_SUSPECT = frozenset('#E="')
"""How a cell begins that is looked at closely: an error or a formula, or a quote that CSV did not take for one."""
_CELL_ERROR = re.compile(
    r"#(?:NAME|REF|VALUE|NUM|DIV/0|NULL|SPILL|CALC|FIELD|BLOCKED|CONNECT|UNKNOWN|BUSY|PYTHON|EXTERNAL|ERROR"
    r"|BEZUG|WERT|ZAHL|NOM|VALEUR|NOMBRE|REFERENCIA|VALOR|NOME|RIF|VALORE)[!?]"
    r"|#N/A|#NV|#N/D|#GETTING_DATA|#{3,}|Err:\d{3}"
    r"|=\$?[A-Z]{1,3}\$?\d+\b.*|=[A-Z][A-Z.]+\(.*|=\".*\"",
    re.DOTALL,
)
"""What Excel, LibreOffice and Google Sheets write where a formula failed, in the commonest languages, and formulas."""
_NOT_WORKED_OUT = "is what a spreadsheet writes where it could not work out a cell: mend it there"
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_HALVES = re.compile("[\ud800-\udfff]")
_GONE = Map()
"""Stands for a row that is forgotten."""


@frozen
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

    def line(self, row: int) -> int:
        """Return the line that a row starts on, also of one that is forgotten."""
        return self.source.starts[row] if isinstance(self.source, Table) else self.rows[row].line

    def let_go(self, row: int) -> None:
        """Forget the texts of a row that has become a job: of a million, they fill as much as the jobs do."""
        if isinstance(self.source, Table):
            self.rows[row] = _GONE
        elif isinstance(self.source, Document) and not self.source.shares_values:
            self.rows[row].clear()


class Table:
    """A .csv, .tsv or .jsonl file that has been read, and the way back to its lines."""

    def __init__(self, name: str, text: str, *, delimiter: str | None) -> None:
        self.name = name
        self.columns: list[str] = []
        self.starts = array("q")
        """The line that each row starts on."""
        self._text = text
        self._delimiter = delimiter

    @cached_property
    def _lines(self) -> list[str]:
        """For messages: a good table is read without them."""
        return list(_json_lines(self._text) if self._delimiter is None else _csv_lines(self._text))

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

    def in_quotes(self, _path: TreePath) -> None:
        """Return nothing: quotes mean something else here."""

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
    if suffix in _WORKBOOKS:
        raise TextError("is a workbook: save the sheet as CSV UTF-8, and name that file")
    if suffix not in {*_DELIMITERS, ".jsonl"}:
        raise TextError("is no table that is read here: .csv, .tsv, .txt, .jsonl and .yaml are")
    text = read_text(path)
    rows: list[Map] = []
    read: Iterable[Map | TextError]
    if suffix in _DELIMITERS:
        delimiter, before = _layout(_csv_lines(text), _DELIMITERS[suffix])
        table = Table(name, text, delimiter=delimiter)
        read = _csv_rows(table, _csv_lines(text), delimiter, before=before)
    else:
        table = Table(name, text, delimiter=None)
        read = _json_rows(table, _json_lines(text))
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


def _csv_lines(text: str) -> Iterator[str]:
    """Yield the lines of a text with their ends, of which there are three kinds."""
    return (found[0] for found in _LINE.finditer(text))


def _json_lines(text: str) -> Iterator[str]:
    """Yield the lines of a text without their ends, of which there is one kind."""
    begin = 0
    while (end := text.find("\n", begin)) >= 0:
        yield text[begin:end]
        begin = end + 1
    yield text[begin:]


def _layout(lines: Iterable[str], usual: str) -> tuple[str, int]:
    """Return what separates the cells, and how many lines stand before the header.

    The header tells: it has more columns that are job fields, or more at all, with the right one.
    """
    before, header = 0, ""
    for line in lines:
        if before == 0 and (said := _SEP.fullmatch(line)):
            return said["delimiter"], 1
        if line.strip():
            header = line
            break
        before += 1

    def columns(delimiter: str) -> tuple[int, bool, int]:
        try:
            cells = next(csv.reader([header], delimiter=delimiter), [])
        except csv.Error:
            return 0, False, 0
        known = sum(cell.strip().lower() in ROW.keys for cell in cells)
        return known, delimiter == usual and len(cells) > 1, len(cells)

    return max(dict.fromkeys(usual + _OTHER_DELIMITERS), key=columns), before


class _Column(NamedTuple):
    """What is done with the cells of one column."""

    name: str
    form: str | None
    """The field of the form that it is."""
    is_typed: bool
    is_price: bool
    """Whether it holds prices that may have a decimal comma: where commas separate no cells."""


def _csv_rows(table: Table, lines: Iterable[str], delimiter: str, *, before: int) -> Iterator[Map | TextError]:
    columns: list[_Column] = []
    nameless: set[int] = set()
    mistakes: list[TextError] = []
    header = 1
    for line, cells in _records(lines, delimiter, before=before, mistakes=mistakes):
        if not columns:
            header = line
            table.columns = [nfc(cell.strip()) for cell in cells]
            while not table.columns[-1]:  # a spreadsheet writes empty columns to the right of its table
                table.columns.pop()
            columns = [
                _Column(name, _form_field(name), name in TYPED_COLUMNS, name == "price" and delimiter != ",")
                for name in table.columns
            ]
            nameless = {place for place, name in enumerate(table.columns) if not name}
            yield from _twice(table.columns, header)
            continue
        table.starts.append(line)
        if len(cells) > len(columns) and any(map(str.strip, cells[len(columns) :])):
            text = f"has {len(cells)} cells, the header {len(columns)}: quote a cell that holds {delimiter!r}"
            mistakes.append(TextError(text, line=line, column=1))
        for place in sorted(nameless):
            if place < len(cells) and cells[place].strip():
                nameless.remove(place)
                mistakes.append(TextError(f"column {place + 1} has no name", line=header, column=1))
        yield _row(table, columns, cells, mistakes)
        if mistakes:
            yield from mistakes
            mistakes.clear()
    yield from mistakes
    if not table.columns:
        yield TextError("is empty: its first line names the columns", line=1, column=1)


def _records(
    lines: Iterable[str], delimiter: str, *, before: int, mistakes: list[TextError]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that are not empty, with the line that each begins on, to the first *mistake* in CSV."""
    reader = csv.reader(islice(lines, before, None), delimiter=delimiter, strict=True)
    start = before + 1
    try:
        for cells in reader:
            line, start = start, before + reader.line_num + 1
            if any(map(str.strip, cells)):
                yield line, cells
    except csv.Error as error:
        said = str(error).replace("\t", "\\t")
        hint = ': a quote inside a quoted cell is written twice ("")' if "expected" in said else ""
        mistakes.append(TextError(f"is not a table from here on: {said}{hint}", line=start, column=1))


def _row(table: Table, columns: list[_Column], cells: list[str], mistakes: list[TextError]) -> Map:
    """Return the newest row of the table; what is wrong with its cells is added to *mistakes*."""
    row = Map()
    for (name, form, is_typed, is_price), cell in zip(columns, cells, strict=False):
        text = cell.strip()
        if not text:
            continue
        if text[0] in _SUSPECT and (wrong := _cell_trouble(cell)):
            wrong.line, wrong.column = table.position((len(table.starts) - 1, name))
            mistakes.append(wrong)
        if form is not None:
            row.setdefault("form", Map())[form] = text
        elif name:
            row[name] = scalar(_with_point(text) if is_price else text) if is_typed else text
    return row


def _with_point(price: str) -> str:
    """Return a price with a decimal point for its comma; one that could mean thousands as well stays, as a mistake."""
    return _DECIMAL_COMMA.sub(r"\1.\2\3", price)


def _form_field(column: str) -> str | None:
    return column.removeprefix("form.") if column.startswith("form.") else None


def _twice(columns: list[str], line: int) -> Iterator[TextError]:
    for place, column in enumerate(columns):
        if column and column in columns[:place]:
            yield TextError(f"the column {column!r} stands here twice", line=line, column=1)


def _cell_trouble(cell: str) -> TextError | None:
    """Return what is wrong, or strange, with a cell that begins like an error or with a quote."""
    text = cell.strip()
    if _CELL_ERROR.fullmatch(text):
        return TextError(f"{shown(text)} {_NOT_WORKED_OUT}")
    if text[0] == '"' != cell[0]:
        is_cut = text.count('"') % 2 == 1
        return TextError("a blank before a quote makes it a part of the text: remove the blank", strange=not is_cut)
    return None


def _json_rows(table: Table, lines: Iterable[str]) -> Iterator[Map | TextError]:
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
            if value[:1] == "#" and _CELL_ERROR.fullmatch(value):
                raise ValueError(f"{shown(value)} {_NOT_WORKED_OUT}")
        elif value is None:
            del found[key]
        elif isinstance(value, bool):
            found[key] = Plain(str(value).lower(), "a yes/no")
    return found


def _refuse_halves(text: str) -> None:
    if not text.isascii() and _HALVES.search(text):
        raise ValueError("holds half a character (a lone surrogate)")
