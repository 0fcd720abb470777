"""Each key's reader and its schema, declared side by side, agree: for every kind of value and around every bound."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from batchvid.domain.limits import Limits
from batchvid.manifest import values
from batchvid.manifest.schema import DEFAULTS, ENTRY, FILM, HEAD, LIMITS, SERVICE, Kind, Section
from batchvid.manifest.yaml_tree import Map, Plain

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
    "openai",
    "two",
    "env",
    "rebuy",
    "https://host/v1",
    "ftp://host",
    "$FILMS",
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


SECTIONS = (SERVICE, LIMITS, DEFAULTS, ENTRY, FILM, HEAD)
LOOKED_AT_LATER = {"id", "from", "filename"}
"""Texts whose shape is told with the place where it goes wrong."""
KINDS = [
    pytest.param(key.kind, id=f"{section.name}.{name}")
    for section in SECTIONS
    for name, key in section.keys.items()
    if "$ref" not in str(key.kind.schema) and name not in LOOKED_AT_LATER
]


def as_editors_read(value: Any) -> Any:
    """Return the value of a tree as YAML has it for everybody else."""
    match value:
        case Plain():
            return yaml.safe_load(value.text)
        case dict():
            return {key: as_editors_read(one) for key, one in value.items()}
        case list():
            return [as_editors_read(one) for one in value]
        case _:
            return value


def takes(kind: Kind, value: Any) -> bool:
    """Whether the reader takes it."""
    try:
        kind.read(value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_key_takes_is_right_for_editors_too(kind: Kind) -> None:
    """And it takes something, and refuses something. A variable may be called ``no``, which needs no quotes here."""
    validator = Draft7Validator(dict(kind.schema))
    taken = [value for value in VALUES if takes(kind, value)]
    assert 0 < len(taken) < len(VALUES)
    if kind.read is values.key_env:
        taken = [value for value in taken if isinstance(value, str)]
    assert [value for value in taken if not validator.is_valid(as_editors_read(value))] == []


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_a_section_tells_what_is_wrong_beside_what_is_right(section: Section) -> None:
    """A key that nobody knows hides nothing, and the key that was meant counts as wrong with it."""
    name, value = next(
        (name, value) for name, key in section.keys.items() for value in VALUES if takes(key.kind, value)
    )
    found, broken, mistakes = section.check(Map({name: value, "nobody": "knows"}))
    assert name in found
    assert broken == {"nobody"}
    assert [mistake.path for mistake in mistakes] == [("nobody",)]
    found, broken, _ = section.check(Map({f"{name}x": value, name: value}))
    assert found == {}
    assert broken == {name, f"{name}x"}
    assert section.check(Map()) == ({}, frozenset(), [])


def test_every_limit_has_a_key_and_every_key_a_limit() -> None:
    """A field of the one without a line in the other would never be set, or crash the reader."""
    named = [field for key in LIMITS.keys.values() for field in key.fields or (key.name,)]
    assert sorted(named) == sorted(field.name for field in fields(Limits))
