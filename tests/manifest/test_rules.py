"""The rules that tell what is right without pydantic say what the schema says, where they say anything."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from batchvid.manifest import schema
from batchvid.manifest.check import _given
from batchvid.manifest.read import Map, Plain
from batchvid.manifest.rules import ROW_KEYS, RULES, SectionName, right

NUMBERS = (-1, 0, 1, 2, 19, 20, 21, 63, 64, 65, 999, 1000, 1001, 9_999, 10_000, 10_001, 1_000_000, 1_000_001)
WORDS = (
    "",
    " ",
    "kite",
    "{take}",
    "take",
    "sk-1",
    "KEY",
    "~/x",
    "out/a",
    "10/min",
    "5/d",
    "unlimited",
    "90s",
    "3s..30s",
    "-0.2s",
    "0s",
)
MORE_WORDS = (
    "30s..3s",
    "0.40/s",
    "hold",
    "resubmit",
    "pad",
    "keep",
    "rebuy",
    "https://host/v1",
    "ftp://host",
    "\x07",
    "1.5",
)
PLAIN = [Plain(str(number), "a number") for number in (*NUMBERS, 0.4, "0x10")]
SCALARS: list[Any] = [
    *WORDS,
    *MORE_WORDS,
    *PLAIN,
    Plain("no", "a yes/no"),
    Plain("True", "a yes/no"),
    Plain("", "nothing"),
]
LISTS: list[Any] = [[], *([one] for one in SCALARS), *([one, "kite"] for one in SCALARS)]
MAPS: list[Any] = [Map(), *(Map(a=one) for one in (*SCALARS, *LISTS)), *(Map({str(one): "x"}) for one in WORDS)]
NESTED: list[Any] = [Map(a=one) for one in MAPS]
VALUES = [*SCALARS, *LISTS, *MAPS, *NESTED]


def by_schema(section: SectionName, tree: dict[str, Any]) -> dict[str, Any] | None:
    """Return what pydantic makes of it; ``None`` when something is wrong."""
    try:
        return _given(getattr(schema, section).model_validate(tree))
    except ValidationError:
        return None


@pytest.mark.parametrize(("section", "key"), [(section, key) for section, rules in RULES.items() for key in rules])
def test_a_rule_takes_what_the_schema_takes_and_makes_the_same_of_it(section: SectionName, key: str) -> None:
    """Every kind of value, and numbers on both sides of every bound; and each rule takes something."""
    taken = [value for value in VALUES if right(section, {key: value}) is not None]
    for value in VALUES:
        assert right(section, {key: value}) == by_schema(section, {key: value}), value
    assert taken


@pytest.mark.parametrize("section", RULES)
def test_what_has_no_rule_is_left_to_the_schema(section: SectionName) -> None:
    """A key that nobody knows, and one beside it that is right."""
    assert right(section, {"nobody": "knows"}) is None
    assert right(section, {}) == {}


def test_the_columns_that_are_job_fields_are_those_of_the_schema() -> None:
    """A field that is added there is to be added here."""
    assert {field.alias or name for name, field in schema.Row.model_fields.items()} == ROW_KEYS
