"""Entries become wishes: takes, matrices, rows and pairs are multiplied out, templates are filled in.

A wish is one clip's fields before anything is looked up or computed. Three layers make a field: the row (literal: it
is data), the entry and the defaults (templates). An entry's template that names the column of its own field wraps the
row's text instead of giving way to it. An entry of plain text only, as most are, takes a short cut that gives the same.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from batchvid.domain.text import nfc
from batchvid.manifest import paths, storyboards
from batchvid.manifest.check import check, what
from batchvid.manifest.plain_rows import PlainRows
from batchvid.manifest.problems import Diagnostics, Location, dotted
from batchvid.manifest.read import Document, Map, TextError
from batchvid.manifest.rules import ROW_KEYS
from batchvid.manifest.template import UnknownVariableError, has_braces, parse
from batchvid.manifest.values import TAKE_IS_TAKEN, is_clean, variable_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchvid.manifest.read import TreePath
    from batchvid.manifest.sources import Rows
    from batchvid.manifest.template import Template

MAX_JOBS = 1_000_000
"""Ten times what is normal; a matrix passes it by a slip of the finger, long before memory ends."""

TEXT_FIELDS = ("prompt", "model", "size", "seconds", "first_frame", "last_frame", "continues")
"""The fields that templates may fill in, besides ``id`` and ``form``."""
_PLAIN_KEYS = frozenset({"id", *TEXT_FIELDS})
_BOARD_KEYS = frozenset({"storyboard", "prompts", "film"})
_NOTHING: frozenset[str] = frozenset()


FieldKey = str | tuple[str, str]
"""A field that a template may fill in: its name, or ``form`` and the name of the form field."""


class JobSpec(NamedTuple):
    """One wanted clip, as written."""

    entry: int
    rows: Rows | None
    row: int
    fields: Mapping[str, Any]
    """Given fields only; ``form`` a dict, ``price`` a `batchvid.manifest.prices.Price`, the others text."""
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


class Expander:
    """Goes through the entries of one manifest."""

    def __init__(
        self,
        document: Document,
        folder: Path,
        *,
        defaults: dict[str, Any],
        broken_defaults: frozenset[str],
        findings: Diagnostics,
    ) -> None:
        """Prepare to expand; *folder* is the manifest's, and *defaults* are checked already."""
        self._document = document
        self._folder = folder
        self._entries: list[Any] = document.tree["jobs"]
        self._defaults = defaults
        self._broken_defaults = broken_defaults
        self._findings = findings
        self.reads: list[Path] = []
        """The tables and folders that the entries so far have named."""
        self._jobs = 0
        texts = [*defaults.values(), *defaults.get("form", {}).values()]
        self._simple = not broken_defaults and not any(isinstance(text, str) and has_braces(text) for text in texts)

    def wishes(self) -> Iterator[JobSpec]:
        """Return every wish of every entry, in order; what is wrong is added to the findings."""
        simple, defaults, no_variables = self._simple, self._defaults, {"take": "1"}
        for index, entry in enumerate(self._entries):
            if simple and type(entry) is Map and _is_plain(entry):
                self._jobs += 1
                yield JobSpec(index, None, -1, defaults | entry, _NOTHING, no_variables)
            else:
                yield from self._entry(index, entry)

    def spot(self, wish: JobSpec, field: str) -> Location:
        """Return the place where a wish's *field* was written, or where it is missing."""
        index, rows, row, *_ = wish
        if wish.part and (path := storyboards.path_of(wish.part, field, self._entries[index])):
            return Location(self._document, ("jobs", index, *path), dotted(("jobs", index, *path)))
        if rows is not None and (field in rows.rows[row] or field in self._entries[index]):
            return rows.spot(index, row, field=field)
        if rows is None and field in self._entries[index]:
            return Location(self._document, ("jobs", index, field), f"jobs[{index}].{field}")
        if field in self._defaults or field in self._broken_defaults:
            return Location(self._document, ("defaults", field), f"defaults.{field}")
        return self.place(wish)

    def top(self, key: str) -> Location:
        """Return the place of a key of the manifest's top level."""
        return Location(self._document, (key,), key)

    def place(self, wish: JobSpec) -> Location:
        """Return the place of the whole wish."""
        if wish.rows is not None:
            return wish.rows.spot(wish.entry, wish.row)
        return Location(self._document, ("jobs", wish.entry), f"jobs[{wish.entry}]")

    def line(self, wish: JobSpec) -> str:
        """Return ``file:line`` of the entry or the row."""
        if wish.rows is not None and wish.rows.base is None:
            return f"{wish.rows.source.name}:{wish.rows.rows[wish.row].line}"
        return f"{self._document.name}:{self._entries[wish.entry].line}"

    def _entry(self, index: int, entry: Any) -> Iterator[JobSpec]:
        if not isinstance(entry, Map):
            spot = Location(self._document, ("jobs", index), f"jobs[{index}]")
            self._findings.add(spot, f"is {what(entry)}, and a map is wanted, such as {{id: kite, prompt: A kite.}}")
            return
        given, broken, mistakes = check("Entry", entry)
        for mistake in mistakes:
            path: TreePath = ("jobs", index, *mistake.path)
            self._findings.add(Location(self._document, path, dotted(path)), mistake.text)
        if broken & {"from", "pairs", "matrix", "storyboard"}:
            return
        broken |= self._broken_defaults - given.keys()
        if "from" not in given and "pairs" not in given:
            yield from self._combinations(JobSpec(index, None, -1, {}, broken, {}), given, literal={})
        elif rows := self._rows(index, given):
            self._warn_of_unused(index, given, rows)
            plain = self._plain_rows(given) if "from" in given and not broken else None
            for number, row in enumerate(rows.rows):
                if plain is not None and self._jobs < MAX_JOBS and (found := plain.filled(row)) is not None:
                    self._jobs += 1
                    fields, variables, id_tells_takes = found
                    yield JobSpec(index, rows, number, fields, _NOTHING, variables, 1, id_tells_takes)
                else:
                    yield from self._row(JobSpec(index, rows, number, {}, broken, {}), row, given)

    def _plain_rows(self, given: Mapping[str, Any]) -> PlainRows:
        written = self._defaults | {key: value for key, value in given.items() if key != "from"}
        wrapped = frozenset(key for key in ROW_KEYS if _wraps(given.get(key), key))
        return PlainRows(written, wrapped=wrapped, text_keys=_PLAIN_KEYS)

    def _rows(self, index: int, given: Mapping[str, Any]) -> Rows | None:
        if "from" in given and "pairs" in given:
            spot = Location(self._document, ("jobs", index, "pairs"), f"jobs[{index}].pairs")
            self._findings.add(spot, "stands beside from: write two entries")
            return None
        key = "from" if "from" in given else "pairs"
        if key not in given:
            return None
        from batchvid.manifest.sources import read_pairs, read_table

        relative: str = given[key].rstrip("/")
        path = paths.on_disk(self._folder / relative)
        self.reads.append(path)
        name = str(Path(self._document.name).parent / relative)
        try:
            if key == "from":
                return read_table(path, name, findings=self._findings, entry=index)
            return read_pairs(path, relative, name=name, source=self._document, entry=index, findings=self._findings)
        except TextError as error:
            if error.line:
                self._findings.add_error(error, file=name, where=f"jobs[{index}] ({name})")
            else:
                spot = Location(self._document, ("jobs", index, key), f"jobs[{index}].{key}")
                self._findings.add(spot, f"{name}: {error}")
            return None

    def _row(self, wish: JobSpec, row: Map, given: dict[str, Any]) -> Iterator[JobSpec]:
        """Expand one row: its job fields are literal, and all of its texts are variables."""
        fields: dict[str, Any] = {
            key: value for key, value in row.items() if key in ROW_KEYS and not _wraps(given.get(key), key)
        }
        if wish.rows is not None and wish.rows.names and "id" in given:
            fields.pop("id", None)  # a pair's own id is only its name
        if not _is_plain(fields, braces=True):
            fields, broken, mistakes = check("Row", fields)
            wish = wish._replace(broken=wish.broken | broken)
            for mistake in mistakes:
                self._findings.add(_row_spot(wish, str(mistake.path[0])), mistake.text)
        variables = {}
        for name, value in row.items():
            if name == "take":
                self._findings.add(_row_spot(wish, name), TAKE_IS_TAKEN)
            elif name not in ROW_KEYS or isinstance(value, str):
                try:
                    variables[name] = variable_value(value)
                except ValueError as error:
                    self._findings.add(_row_spot(wish, name), str(error))
        yield from self._combinations(wish._replace(variables=variables), given, literal=fields)

    def _combinations(self, wish: JobSpec, given: dict[str, Any], *, literal: dict[str, Any]) -> Iterator[JobSpec]:
        """Multiply one entry or row out; the parts of a storyboard stay together."""
        if _BOARD_KEYS.isdisjoint(given) and _BOARD_KEYS.isdisjoint(wish.broken):
            yield from self._clips(wish, given, literal=literal)
            return
        wrong = list(storyboards.mistakes(given, literal))
        for key, text in wrong:
            self._findings.add(self.spot(wish, key), text)
        if wrong or wish.broken & _BOARD_KEYS:
            return
        film = given.get("film", False)
        parts = storyboards.parts(given, literal)
        of_parts = [list(self._clips(wish._replace(part=n, film=film), own, literal=row)) for n, own, row in parts]
        for whole in zip(*of_parts, strict=False):
            yield from whole

    def _clips(self, wish: JobSpec, given: dict[str, Any], *, literal: dict[str, Any]) -> Iterator[JobSpec]:
        """Return every combination of a matrix, and every take of each."""
        matrix: dict[str, list[str]] = given.get("matrix", {})
        takes: int = literal.get("takes", given.get("takes", 1))
        count = takes * math.prod(map(len, matrix.values()))
        if not self._fits(wish, count) or not self._apart(wish, matrix):
            return
        form = self._defaults.get("form", {}) | given.get("form", {})
        written = self._defaults | given | ({"form": form} if form else {})
        texts: dict[FieldKey, str] = {
            key: written[key] for key in ("id", *TEXT_FIELDS) if key in written and key not in literal
        }
        texts |= {("form", key): text for key, text in form.items() if key not in literal.get("form", {})}
        templates, broken = self._templates(wish, texts)
        wish = wish._replace(
            broken=wish.broken | broken, id_tells_takes="id" in templates and "take" in templates["id"].names
        )
        fixed = {key: written[key] for key in ("price", "fit", "at") if key in written} | literal
        for values in itertools.product(*matrix.values()):
            variables = dict(wish.variables) | dict(zip(matrix, values, strict=True))
            for take in range(1, takes + 1):
                yield self._filled(wish._replace(take=take), templates, variables | {"take": str(take)}, fixed)

    def _fits(self, wish: JobSpec, count: int) -> bool:
        before = self._jobs
        self._jobs += count
        if before <= MAX_JOBS < self._jobs:
            self._findings.add(
                self.place(wish),
                f"would make {self._jobs:,} jobs in all: {MAX_JOBS:,} are the most, split the manifest",
            )
        return self._jobs <= MAX_JOBS

    def _apart(self, wish: JobSpec, matrix: Mapping[str, Any]) -> bool:
        """Whether no variable comes from two places."""
        both = sorted(wish.variables.keys() & matrix.keys())
        if both:
            spot = Location(self._document, ("jobs", wish.entry, "matrix"), f"jobs[{wish.entry}].matrix")
            self._findings.add(spot, f"{', '.join(both)} is a column of the rows too: rename one")
        return not both

    def _templates(
        self, wish: JobSpec, texts: Mapping[FieldKey, str]
    ) -> tuple[dict[FieldKey, Template], frozenset[str]]:
        templates = {}
        broken = set()
        for key, text in texts.items():
            try:
                templates[key] = parse(text)
            except ValueError as error:
                self._findings.add(self._template_spot(wish, key), str(error))
                broken.add(_field(key))
        return templates, frozenset(broken)

    def _filled(
        self,
        wish: JobSpec,
        templates: Mapping[FieldKey, Template],
        variables: Mapping[str, str],
        fixed: Mapping[str, Any],
    ) -> JobSpec:
        """Return the wish with its templates filled in."""
        fields: dict[str, Any] = {key: value for key, value in fixed.items() if key != "form"}
        form: dict[str, str] = {}
        broken = set(wish.broken)
        for key, template in templates.items():
            try:
                text = template.render(variables)
            except UnknownVariableError as error:
                broken.add(_field(key))
                if wish.rows is not None and error.name in wish.rows.columns:
                    self._findings.add(_row_spot(wish, error.name), f"is empty here, and {_field(key)} needs it")
                else:
                    known = variables.keys() | (wish.rows.columns if wish.rows else ())
                    text = str(UnknownVariableError(error.name, known))
                    self._findings.add(self._template_spot(wish, key), text)
                continue
            if isinstance(key, tuple):
                form[key[1]] = text
            else:
                fields[key] = text
        form |= fixed.get("form", {})
        if form:
            fields["form"] = form
        return wish._replace(fields=fields, broken=frozenset(broken), variables=variables)

    def _template_spot(self, wish: JobSpec, key: FieldKey) -> Location:
        """Return the place where a template is written, which is never a row."""
        return self.spot(wish._replace(rows=None), _field(key))

    def _warn_of_unused(self, index: int, given: dict[str, Any], rows: Rows) -> None:
        """Return when a column looks like a misspelt job field: nothing else would, since it is a fine variable."""
        from difflib import get_close_matches

        texts = [nfc(text) for text in (self._defaults | given).values() if isinstance(text, str)]
        for column in sorted(rows.columns - ROW_KEYS):
            close = get_close_matches(column, ROW_KEYS, n=1, cutoff=0.8)
            if close and not any(f"{{{column}}}" in text for text in texts):
                row = next(number for number, row in enumerate(rows.rows) if column in row)
                text = f"this column is a variable that nothing uses: was {close[0]} meant?"
                self._findings.warn(rows.spot(index, row, field=column), text)


def _is_plain(fields: Mapping[str, Any], *, braces: bool = False) -> bool:
    """Whether nothing but text that can be taken as it stands is in *fields*."""
    if not fields.keys() <= _PLAIN_KEYS:
        return False
    for value in fields.values():
        if type(value) is not str or not value or value.isspace() or not is_clean(value):
            return False
        if not braces and has_braces(value):
            return False
    return True


def _wraps(text: object, column: str) -> bool:
    """Whether an entry's field is made from the column of its own name, as in ``prompt: "{prompt}, at night"``."""
    return isinstance(text, str) and f"{{{column}}}" in nfc(text)


def _field(key: FieldKey) -> str:
    return key[0] if isinstance(key, tuple) else key


def _row_spot(wish: JobSpec, field: str) -> Location:
    if wish.rows is None:
        raise ValueError(wish)
    return wish.rows.spot(wish.entry, wish.row, field=field)
