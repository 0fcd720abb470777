"""Entries become job specs: takes, matrices, rows and pairs are multiplied out, templates are filled in.

A spec is one clip's fields before anything is looked up or computed. Three layers make a field: the row (literal: it
is data), the entry and the defaults (templates). An entry's template that names the column of its own field wraps the
row's text instead of giving way to it. Entries and rows of plain text only, as most of a hundred thousand are, take a
short cut that gives the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from batchvid.domain.text import nfc
from batchvid.manifest.files import Disk, is_address
from batchvid.manifest.references import board_mistakes, board_parts, board_path
from batchvid.manifest.schema import ENTRY, ROW, TEXT, column_of, what
from batchvid.manifest.templates import UnknownVariableError, has_braces, parse
from batchvid.manifest.values import TAKE_IS_TAKEN, is_clean, shown, variable_value
from batchvid.manifest.yaml_tree import Map, TextError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batchvid.manifest.diagnostics import Diagnostics, Location
    from batchvid.manifest.layers import Layer
    from batchvid.manifest.pairs import Unused
    from batchvid.manifest.tables import Rows
    from batchvid.manifest.templates import Template
    from batchvid.manifest.yaml_tree import Document

MAX_JOBS = 1_000_000
"""Ten times what is normal; a matrix passes it by a slip of the finger, long before memory ends."""

PLAIN_KEYS = dict.fromkeys(["id", *(name for name, key in ROW.keys.items() if key.kind is TEXT)]).keys()
"""The fields that are text, in order. Templates may fill in these, and those of ``form``."""
_BOARD_KEYS = frozenset({"storyboard", "prompts", "film"})
_EXPANDED = _BOARD_KEYS | {"from", "pairs", "matrix", "takes", "form"}
"""What is no field of a spec, or is put together for it."""
SAID = frozenset({"id", "prompt", "model", "size"})
"""The fields of a job that the names of what is collected may use."""
_NOTHING: frozenset[str] = frozenset()
_FIELD_BY_LETTERS = {key.replace("_", ""): key for key in ROW.keys}
"""How a spreadsheet may spell a field: without regard to case, blanks and dashes."""

FieldKey = str | tuple[str, str]
"""A field that a template may fill in: its name, or ``form`` and the name of the form field."""


Origin = int
"""Where a spec is from, as one number: its entry and, in the lower half, its row from 1. A million of them are kept."""
_ROW_BITS = 32


def origin_of(entry: int, row: int) -> Origin:
    """Return the origin of the specs of an entry or, from 0, of one of its rows."""
    return (entry << _ROW_BITS) + row + 1


class JobSpec(NamedTuple):
    """One wanted clip, as written."""

    entry: int
    rows: Rows | None
    row: int
    fields: Mapping[str, Any]
    """Only the fields that are there, as the schema reads them."""
    broken: frozenset[str]
    """Fields that were given, and are wrong: already reported."""
    variables: Mapping[str, str]
    take: int = 1
    id_tells_takes: bool = False
    """Whether the id's template holds ``{take}``, so that no ``-2`` is needed."""
    part: int = 0
    """Its number in a storyboard, from 1; 0 when it is of none."""
    film: bool = False
    """Whether the storyboard is to be a film, too."""

    @property
    def origin(self) -> Origin:
        """Where it is from: all that need be kept of it to name it in a message."""
        return origin_of(self.entry, self.row)


_made: Callable[[type[JobSpec], tuple[Any, ...]], JobSpec] = tuple.__new__
"""What `JobSpec._make` calls: most of a hundred thousand are plain."""


class Expander:
    """Goes through the entries of one manifest."""

    def __init__(
        self,
        document: Document,
        folder: Path,
        *,
        shared: Layer,
        broken_defaults: frozenset[str],
        diagnostics: Diagnostics,
    ) -> None:
        """Prepare to expand; *folder* is the manifest's, and what it has *shared* is checked already."""
        self._document = document
        self._shared = shared
        defaults = shared.sections["defaults"]
        self._folder = folder
        self._entries: list[Any] = document.tree["jobs"]
        self._variables: dict[str, str] = defaults.get("vars", {})
        self._of_plain = {**self._variables, "take": "1"}
        """The variables of plain entries, which make one job each."""
        self._defaults = {key: value for key, value in defaults.items() if key != "vars"}
        self._are_variables_known = "vars" not in broken_defaults
        self._broken_defaults = broken_defaults
        self._diagnostics = diagnostics
        self.reads: list[Path] = [*shared.files]
        """What it includes, and the tables and folders that the entries so far have named."""
        self._disk = Disk()
        self._unused: list[Unused] = []
        self._jobs = 0
        self._is_let_go = not document.shares_values
        self._rows_of: dict[int, Rows] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        texts = [*self._defaults.values(), *defaults.get("form", {}).values()]
        self._simple = not broken_defaults and not any(isinstance(text, str) and has_braces(text) for text in texts)

    def specs(self) -> Iterator[JobSpec]:
        """Yield every spec of every entry, in order; what is wrong is added to the diagnostics."""
        simple, defaults, variables = self._simple, self._defaults, self._of_plain
        for index, entry in enumerate(self._entries):
            if simple and type(entry) is Map and _is_plain(entry):
                self._jobs += 1
                yield _made(JobSpec, (index, None, -1, defaults | entry, _NOTHING, variables, 1, False, 0, False))
            else:
                yield from self._entry(index, entry)

    def location(self, spec: JobSpec, field: str) -> Location:
        """Return the place where a spec's *field* was written, or where it is missing."""
        entry = self._entries[spec.entry]
        if spec.part and (path := board_path(spec.part, field, entry)):
            return self.at("jobs", spec.entry, *path)
        if spec.rows is not None and (field in spec.rows.rows[spec.row] or field in entry):
            return spec.rows.location(spec.entry, spec.row, field=field)
        if spec.rows is None and field in entry:
            return self.at("jobs", spec.entry, field)
        if field in self._defaults or field in self._broken_defaults:
            return self.at("defaults", field)
        return self.place(spec)

    def at(self, *path: str | int) -> Location:
        """Return a place in the manifest itself."""
        return self._shared.at(self._document, *path)

    def place(self, spec: JobSpec) -> Location:
        """Return the place of the whole spec."""
        if spec.rows is not None:
            return spec.rows.location(spec.entry, spec.row)
        return self.at("jobs", spec.entry)

    def tell_unused(self, manifest: Path, frames: Iterable[str]) -> None:
        """Report files in folders of pairs that are neither of a pair nor anything else of the *manifest*."""
        used = {str(manifest), *map(str, self.reads), *frames}
        for unused in self._unused:
            unused.tell(used, self._diagnostics)

    def line(self, spec: JobSpec) -> str:
        """Return ``file:line`` of the entry or the row."""
        if spec.rows is not None and spec.rows.base is None:
            return f"{spec.rows.source.name}:{spec.rows.line(spec.row)}"
        return f"{self._document.name}:{self._entries[spec.entry].line}"

    def named(self, origin: Origin) -> str:
        """Return in words where a spec is from."""
        entry, row = origin >> _ROW_BITS, (origin & ((1 << _ROW_BITS) - 1)) - 1
        spec = JobSpec(entry, self._rows_of.get(entry) if row >= 0 else None, row, {}, _NOTHING, {})
        return f"{self.place(spec).where} ({self.line(spec)})"

    def let_go(self, spec: JobSpec) -> str:
        """Return `line` of a plain spec that has become a job, and forget its entry's texts.

        Of a million, they fill as much as the jobs do.
        """
        if spec.variables is not self._of_plain:
            return self.line(spec)
        entry = self._entries[spec.entry]
        if self._is_let_go:
            entry.clear()
        return f"{self._document.name}:{entry.line}"

    def kept_variables(self, spec: JobSpec) -> Mapping[str, str]:
        """Return what a spec was filled in with and its job does not say itself, in little room."""
        if spec.rows is None:
            return spec.variables
        fields = spec.fields
        rest = {name: text for name, text in spec.variables.items() if name not in SAID or fields.get(name) is not text}
        if rest == self._of_plain:
            return self._of_plain
        names = tuple(rest)
        return RowVariables(self._names.setdefault(names, names), tuple(rest.values()))

    def _entry(self, index: int, entry: Any) -> Iterator[JobSpec]:
        if not isinstance(entry, Map):
            text = f"is {what(entry)}, and a map is wanted, such as {{id: kite, prompt: A kite.}}"
            self._diagnostics.add(self.at("jobs", index), text)
            return
        given, broken, mistakes = ENTRY.check(entry)
        self._diagnostics.add_all(mistakes, self._document, "jobs", index)
        if broken & {"from", "pairs", "matrix", "storyboard"}:
            return
        broken |= self._broken_defaults - given.keys()
        if "from" not in given and "pairs" not in given:
            yield from self._combinations(JobSpec(index, None, -1, {}, broken, {}), given, literal={})
        elif rows := self._rows(index, given):
            self._rows_of[index] = rows
            broken |= self._judge_columns(index, given, rows)
            plain = PlainRows(self._defaults, given, self._variables) if "from" in given and not broken else None
            for number, row in enumerate(rows.rows):
                if plain is not None and self._jobs < MAX_JOBS and (found := plain.filled(row)) is not None:
                    self._jobs += 1
                    fields, variables, id_tells_takes = found
                    yield JobSpec(index, rows, number, fields, _NOTHING, variables, 1, id_tells_takes)
                    if "continues" not in fields:  # the place of which is asked for when all jobs are known
                        rows.let_go(number)
                else:
                    yield from self._row(JobSpec(index, rows, number, {}, broken, {}), row, given)

    def _rows(self, index: int, given: Mapping[str, Any]) -> Rows | None:
        if "from" in given and "pairs" in given:
            self._diagnostics.add(self.at("jobs", index, "pairs"), "stands beside from: write two entries")
            return None
        from batchvid.manifest.pairs import read_pairs
        from batchvid.manifest.tables import read_table

        key = "from" if "from" in given else "pairs"
        relative: str = given[key].rstrip("/")
        path = self._disk.spelled(self._folder / relative, any_case=True)
        if is_address(relative):
            text = f"{shown(relative)} is an address: download it, and write the path on this disk"
            self._diagnostics.add(self.at("jobs", index, key), text)
            return None
        self.reads.append(path)
        name = str(Path(self._document.name).parent / relative)
        try:
            if key == "from":
                return read_table(path, name, diagnostics=self._diagnostics, entry=index)
            rows, unused = read_pairs(
                path, relative, name=name, source=self._document, entry=index, diagnostics=self._diagnostics
            )
            self._unused.append(unused)
        except TextError as error:
            if error.line:
                self._diagnostics.add_error(error, file=name, where=f"jobs[{index}] ({name})")
            else:
                hint = self._disk.hint(path, relative)
                self._diagnostics.add(self.at("jobs", index, key), f"{name}: {error}{hint}")
            return None
        return rows

    def _row(self, spec: JobSpec, row: Map, given: dict[str, Any]) -> Iterator[JobSpec]:
        """Expand one row: its job fields are literal, and all of its texts are variables."""
        fields: dict[str, Any] = {
            key: value for key, value in row.items() if key in ROW.keys and not _wraps(given.get(key), key)
        }
        if spec.rows is not None and spec.rows.names and "id" in given:
            fields.pop("id", None)  # a pair's own id is only its name
        fields, broken, mistakes = ROW.check(fields)
        spec = spec._replace(broken=spec.broken | broken)
        for mistake in mistakes:
            self._diagnostics.add(_row_location(spec, str(mistake.path[0])), mistake.text)
        variables = {}
        for name, value in row.items():
            if name == "take":
                self._diagnostics.add(_row_location(spec, name), TAKE_IS_TAKEN)
            elif name not in ROW.keys or isinstance(value, str):
                try:
                    variables[name] = variable_value(value)
                except ValueError as error:
                    self._diagnostics.add(_row_location(spec, name), str(error))
        yield from self._combinations(spec._replace(variables=variables), given, literal=fields)

    def _combinations(self, spec: JobSpec, given: dict[str, Any], *, literal: dict[str, Any]) -> Iterator[JobSpec]:
        """Multiply one entry or row out; the parts of a storyboard stay together."""
        if _BOARD_KEYS.isdisjoint(given) and _BOARD_KEYS.isdisjoint(spec.broken):
            yield from self._clips(spec, given, literal=literal)
            return
        wrong = list(board_mistakes(given, literal))
        for key, text in wrong:
            self._diagnostics.add(self.location(spec, key), text)
        if wrong or spec.broken & _BOARD_KEYS:
            return
        film = given.get("film", False)
        parts = board_parts(given, literal)
        of_parts = [list(self._clips(spec._replace(part=n, film=film), own, literal=row)) for n, own, row in parts]
        for together in zip(*of_parts, strict=False):
            yield from together

    def _clips(self, spec: JobSpec, given: dict[str, Any], *, literal: dict[str, Any]) -> Iterator[JobSpec]:
        """Yield every combination of a matrix, and every take of each."""
        matrix: dict[str, list[str]] = given.get("matrix", {})
        takes: int = literal.get("takes", given.get("takes", 1))
        count = takes * math.prod(map(len, matrix.values()))
        if not self._fits(spec, count) or not self._apart(spec, matrix):
            return
        form = self._defaults.get("form", {}) | given.get("form", {})
        written = self._defaults | given
        texts: dict[FieldKey, str] = {key: written[key] for key in PLAIN_KEYS if key in written and key not in literal}
        texts |= {("form", key): text for key, text in form.items() if key not in literal.get("form", {})}
        templates, broken = self._templates(spec, texts)
        spec = spec._replace(
            broken=spec.broken | broken, id_tells_takes="id" in templates and "take" in templates["id"].names
        )
        fixed = {key: value for key, value in written.items() if key not in PLAIN_KEYS | _EXPANDED} | literal
        for combination in itertools.product(*matrix.values()):
            variables = self._variables | dict(spec.variables) | dict(zip(matrix, combination, strict=True))
            for take in range(1, takes + 1):
                yield self._filled(spec._replace(take=take), templates, variables | {"take": str(take)}, fixed)

    def _fits(self, spec: JobSpec, count: int) -> bool:
        before = self._jobs
        self._jobs += count
        if before <= MAX_JOBS < self._jobs:
            text = f"would make {self._jobs:,} jobs in all: {MAX_JOBS:,} are the most, split the manifest"
            self._diagnostics.add(self.place(spec), text)
        return self._jobs <= MAX_JOBS

    def _apart(self, spec: JobSpec, matrix: Mapping[str, Any]) -> bool:
        """Whether no variable comes from two places."""
        both = sorted(spec.variables.keys() & matrix.keys())
        if both:
            text = f"{', '.join(both)} is a column of the rows too: rename one"
            self._diagnostics.add(self.at("jobs", spec.entry, "matrix"), text)
        return not both

    def _templates(
        self, spec: JobSpec, texts: Mapping[FieldKey, str]
    ) -> tuple[dict[FieldKey, Template], frozenset[str]]:
        templates = {}
        broken = set()
        for key, text in texts.items():
            try:
                templates[key] = parse(text)
            except ValueError as error:
                self._diagnostics.add(self._template_location(spec, key), str(error))
                broken.add(_field(key))
        return templates, frozenset(broken)

    def _filled(
        self,
        spec: JobSpec,
        templates: Mapping[FieldKey, Template],
        variables: Mapping[str, str],
        fixed: Mapping[str, Any],
    ) -> JobSpec:
        """Return the spec with its templates filled in."""
        fields: dict[str, Any] = {key: value for key, value in fixed.items() if key != "form"}
        form: dict[str, str] = {}
        broken = set(spec.broken)
        for key, template in templates.items():
            try:
                text = template.render(variables)
            except UnknownVariableError as error:
                broken.add(_field(key))
                if not self._are_variables_known:
                    continue
                if spec.rows is not None and error.name in spec.rows.columns:
                    self._diagnostics.add(_row_location(spec, error.name), f"is empty here, and {_field(key)} needs it")
                else:
                    known = variables.keys() | (spec.rows.columns if spec.rows else ())
                    told = str(UnknownVariableError(error.name, known))
                    self._diagnostics.add(self._template_location(spec, key), told)
                continue
            if isinstance(key, tuple):
                form[key[1]] = text
            else:
                fields[key] = text
        form |= fixed.get("form", {})
        if form:
            fields["form"] = form
        return spec._replace(fields=fields, broken=frozenset(broken), variables=variables)

    def _template_location(self, spec: JobSpec, key: FieldKey) -> Location:
        """Return the place where a template is written, which is never a row."""
        return self.location(spec._replace(rows=None), _field(key))

    def _judge_columns(self, index: int, given: dict[str, Any], rows: Rows) -> frozenset[str]:
        """Report columns that nothing uses, and rows that are not there; return the fields that are meant by some.

        Nothing else would: each column is a fine variable.
        """
        from difflib import get_close_matches

        if rows.names:
            return _NOTHING
        if not rows.rows:
            self._diagnostics.warn(self.at("jobs", index, "from"), f"{rows.source.name} has no rows: it makes no jobs")
        used = _names_in([self._defaults, given, self._document.tree.get("filename")])
        unused, meant = [], set()
        for column in sorted(rows.columns - ROW.keys.keys() - used - {"take"}):
            row = next(number for number, row in enumerate(rows.rows) if column in row)
            location = rows.location(index, row, field=column)
            if (field := _meant(column)) is not None:
                instead = f"call it {field}" if field not in rows.columns else f"{field} is there too, remove this one"
                self._diagnostics.add(location, f"is not the field {field}, and no text uses it: {instead}")
                meant.add(field.partition(".")[0])
            elif column in ENTRY.keys:
                self._diagnostics.warn(location, "is no field of a row, and no text uses it: write it in the manifest")
            elif other := column_of(column) or next(iter(get_close_matches(column, ROW.keys, n=1, cutoff=0.8)), None):
                self._diagnostics.warn(location, f"this column is a variable that nothing uses: was {other} meant?")
            else:
                unused.append((location, column))
        if unused:
            names, one = ", ".join(column for _, column in unused), unused[0][1]
            many = "these columns are variables" if len(unused) > 1 else "this column is a variable"
            text = f"{many} that nothing uses: {names}. {{{one}}} in a text would use it, the name form.{one} send it"
            self._diagnostics.warn(unused[0][0], text)
        return frozenset(meant)


class _Shape(NamedTuple):
    """What rows with the same columns have in common."""

    literal: tuple[str, ...]
    """The columns that are job fields."""
    fixed: dict[str, Any]
    """The fields that are the same in every row."""
    templates: dict[str, Template]
    """The fields that are made of the row's texts."""
    id_tells_takes: bool


class RowVariables(Mapping[str, str]):
    """What the texts of one row were filled in with, for a million rows: they share their names."""

    __slots__ = ("_names", "_texts")

    def __init__(self, names: tuple[str, ...], texts: tuple[str, ...]) -> None:
        self._names = names
        self._texts = texts

    def __getitem__(self, name: str) -> str:
        try:
            return self._texts[self._names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class PlainRows:
    """The short cut for the rows of one entry: what their columns ask for is found once."""

    def __init__(self, defaults: Mapping[str, Any], given: Mapping[str, Any], variables: Mapping[str, str]) -> None:
        """Prepare for an entry that has *given* these fields; *variables* are those of all jobs."""
        self._variables = variables
        self._written = {**defaults, **{key: value for key, value in given.items() if key != "from"}}
        self._wrapped = frozenset(key for key in ROW.keys if _wraps(given.get(key), key))
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}

    def filled(self, row: Map) -> tuple[dict[str, Any], dict[str, str], bool] | None:
        """Return a row's fields, its variables, and whether its id tells takes; ``None`` when it is not plain."""
        columns = tuple(row)
        try:
            shape = self._shapes[columns]
        except KeyError:
            shape = self._shapes[columns] = self._shape(columns)
        if shape is None or not all(map(_is_plain_text, row.values())):
            return None
        variables = {**self._variables, **row, "take": "1"}
        fields = shape.fixed.copy()
        for key in shape.literal:
            fields[key] = row[key]
        try:
            for key, template in shape.templates.items():
                fields[key] = template.render(variables)
        except UnknownVariableError:
            return None
        return fields, variables, shape.id_tells_takes

    def _shape(self, columns: tuple[str, ...]) -> _Shape | None:
        written = self._written
        literal = tuple(key for key in columns if key in ROW.keys and key not in self._wrapped)
        if "take" in columns or not written.keys() <= PLAIN_KEYS | {"price"} or not set(literal) <= PLAIN_KEYS:
            return None
        try:
            templates = {key: parse(text) for key, text in written.items() if key in PLAIN_KEYS and key not in literal}
        except ValueError:
            return None
        fixed = {key: template.render({}) for key, template in templates.items() if not template.names}
        if "price" in written:
            fixed["price"] = written["price"]
        id_tells_takes = "id" in templates and "take" in templates["id"].names
        return _Shape(literal, fixed, {key: templates[key] for key in templates if key not in fixed}, id_tells_takes)


def _is_plain(entry: Map) -> bool:
    """Whether nothing but text that can be taken as it stands is in an entry."""
    for key, text in entry.items():
        if key not in PLAIN_KEYS or type(text) is not str or not text or "{" in text or "}" in text:
            return False
        if text.isspace() or not (text.isprintable() or is_clean(text)):
            return False
    return True


def _is_plain_text(value: Any) -> bool:
    return type(value) is str and value != "" and not value.isspace() and (value.isprintable() or is_clean(value))


def _wraps(text: object, column: str) -> bool:
    """Whether an entry's field is made from the column of its own name, as in ``prompt: "{prompt}, at night"``."""
    return isinstance(text, str) and f"{{{column}}}" in nfc(text)


def _names_in(tree: Any) -> frozenset[str]:
    """Return every variable that a text in *tree* names."""
    match tree:
        case str():
            with suppress(ValueError):
                return parse(tree).names if "{" in tree else _NOTHING
            return _NOTHING
        case dict():
            return _NOTHING.union(*map(_names_in, tree.values()))
        case list():
            return _NOTHING.union(*map(_names_in, tree))
        case _:
            return _NOTHING


def _meant(column: str) -> str | None:
    """Return the field that a column's name is another spelling of."""
    section, dot, name = column.partition(".")
    if dot and section.strip().casefold() == "form":
        return f"form.{name.strip()}"
    return _FIELD_BY_LETTERS.get("".join(filter(str.isalnum, column.casefold())))


def _field(key: FieldKey) -> str:
    return key[0] if isinstance(key, tuple) else key


def _row_location(spec: JobSpec, field: str) -> Location:
    if spec.rows is None:
        raise ValueError(spec)
    return spec.rows.location(spec.entry, spec.row, field=field)
