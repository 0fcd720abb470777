"""The short cut for rows of plain text, as most of a hundred thousand are: what their columns ask for is found once.

It gives what `batchvid.manifest.expand` makes of such a row, and nothing for any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from batchvid.manifest.rules import ROW_KEYS
from batchvid.manifest.template import UnknownVariableError, parse
from batchvid.manifest.values import is_clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.manifest.read import Map
    from batchvid.manifest.template import Template


class Shape(NamedTuple):
    """What rows with the same columns have in common."""

    literal: tuple[str, ...]
    """The columns that are job fields."""
    fixed: dict[str, Any]
    """The fields that are the same in every row."""
    templates: dict[str, Template]
    """The fields that are made of the row's texts."""
    id_tells_takes: bool


class PlainRows:
    """The rows of one entry."""

    def __init__(self, written: Mapping[str, Any], *, wrapped: frozenset[str], text_keys: frozenset[str]) -> None:
        """Prepare for an entry that has *written* these fields, its own and the defaults', beside ``from``.

        The columns in *wrapped* are variables of a template of the same name; *text_keys* are the fields that are text.
        """
        self._written = written
        self._wrapped = wrapped
        self._text_keys = text_keys
        self._shapes: dict[tuple[str, ...], Shape | None] = {}

    def filled(self, row: Map) -> tuple[dict[str, Any], dict[str, str], bool] | None:
        """Return a row's fields, its variables, and whether its id tells takes; ``None`` when it is not plain."""
        columns = tuple(row)
        try:
            shape = self._shapes[columns]
        except KeyError:
            shape = self._shapes[columns] = self._shape(columns)
        if shape is None:
            return None
        for text in row.values():
            if type(text) is not str or not text or text.isspace() or not is_clean(text):
                return None
        variables: dict[str, str] = {**row, "take": "1"}
        fields = shape.fixed.copy()
        for key in shape.literal:
            fields[key] = row[key]
        try:
            for key, template in shape.templates.items():
                fields[key] = template.render(variables)
        except UnknownVariableError:
            return None
        return fields, variables, shape.id_tells_takes

    def _shape(self, columns: tuple[str, ...]) -> Shape | None:
        written, text_keys = self._written, self._text_keys
        literal = tuple(key for key in columns if key in ROW_KEYS and key not in self._wrapped)
        if not written.keys() <= text_keys | {"price"} or not text_keys.issuperset(literal):
            return None
        if "take" in columns:
            return None
        try:
            templates = {key: parse(text) for key, text in written.items() if key in text_keys and key not in literal}
        except ValueError:
            return None
        fixed = {key: template.render({}) for key, template in templates.items() if not template.names}
        if "price" in written:
            fixed["price"] = written["price"]
        id_tells_takes = "id" in templates and "take" in templates["id"].names
        return Shape(literal, fixed, {key: templates[key] for key in templates if key not in fixed}, id_tells_takes)
