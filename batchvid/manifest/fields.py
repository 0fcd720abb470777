"""What a single value of the manifest may be: the types that the schema's keys are made of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from batchvid.core.settings import Rate
from batchvid.manifest import paths, prices, service, units
from batchvid.manifest.read import Plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import StrEnum

SENT_BY_BATCHVID = frozenset({"prompt", "model", "size", "seconds", "input_reference"})
"""What a ``form`` must not name, because batchvid sends it itself."""
TAKE_IS_TAKEN = '"take" is the number of the take: give the variable another name'
MAX_TAKES = 1000

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CANONICAL_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_FORM_KEY = re.compile(r"[A-Za-z0-9_.\[\]-]{1,100}", re.ASCII)


class QuoteError(ValueError):
    """Text is wanted, and the word without quotes reads as something else."""

    def __init__(self, plain: Plain) -> None:
        super().__init__(f'{plain.text} without quotes reads as {plain.kind}, and text is wanted: write "{plain.text}"')
        self.plain = plain


def is_clean(text: str) -> bool:
    """Whether *text* holds no control character besides line breaks and tabs."""
    return text.isprintable() or not _CONTROL.search(text)


def _any_text(value: object) -> str:
    if isinstance(value, Plain):
        if value.kind == "nothing":
            raise ValueError("is empty: write text, or remove the key")
        raise QuoteError(value)
    if not isinstance(value, str):
        what = "map" if isinstance(value, dict) else "list"
        raise ValueError(f"is a {what}, and text is wanted")  # noqa: TRY004 pydantic collects ValueErrors
    if not is_clean(value):
        raise ValueError("holds a control character: remove it")
    return value


def _text(value: object) -> str:
    found = _any_text(value)
    if not found.strip():
        raise ValueError("is empty: write text, or remove the key")
    return found


def _folder(value: object) -> str:
    found = _text(value)
    if found.startswith("~"):
        raise ValueError("begins with ~, which is not expanded: write the path in full")
    if trouble := paths.locale_trouble(found):
        raise ValueError(f"{units.shown(found)} {trouble}")
    return found


def variable_value(value: object) -> str:
    """Give the text of a variable; a number may stand without quotes when it can mean nothing else."""
    if isinstance(value, Plain) and _CANONICAL_NUMBER.fullmatch(value.text):
        return value.text
    return _text(value)


def _variable_name(value: str) -> str:
    if value == "take":
        raise ValueError(TAKE_IS_TAKEN)
    if not value.strip() or not is_clean(value) or set(value) & set("{}"):
        raise ValueError("is no name for a variable: write letters and digits")
    return value


def _form_key(value: str) -> str:
    if value in SENT_BY_BATCHVID:
        where = "first_frame and last_frame" if value == "input_reference" else f"{value}: beside form:"
        raise ValueError(f"is not a further field: write {where}")
    if not _FORM_KEY.fullmatch(value):
        raise ValueError("is no name of a form field: letters, digits and _ . - [ ] make one")
    return value


def _version(value: object) -> int:
    if units.whole(value) != 1:
        raise ValueError("is not a version that this batchvid reads: write version: 1")
    return 1


def _between(lowest: int, highest: int) -> Callable[[object], int]:
    def count(value: object) -> int:
        found = units.whole(value)
        if not lowest <= found <= highest:
            raise ValueError(f"is {found}: write a number from {lowest} to {highest}")
        return found

    return count


def _one_of(*words: str) -> Callable[[object], str]:
    def word(value: object) -> str:
        found = units.written(value)
        if found not in words:
            raise ValueError(f"is {units.shown(found)}: write {' or '.join(words)}")
        return found

    return word


def _by_size(value: object) -> object:
    return value if isinstance(value, dict) else {prices.ANY_SIZE: value}


def count(lowest: int, highest: int) -> PlainValidator:
    """Give the rule of a whole number between two bounds."""
    schema = {"type": "integer", "minimum": lowest, "maximum": highest}
    return PlainValidator(_between(lowest, highest), json_schema_input_type=Annotated[int, WithJsonSchema(schema)])


def one_of(words: type[StrEnum]) -> PlainValidator:
    """Give the rule of a word out of a few."""
    names = [str(word) for word in words]
    return PlainValidator(_one_of(*names), json_schema_input_type=Annotated[str, WithJsonSchema({"enum": names})])


_TEXT_SCHEMA = {"type": "string", "minLength": 1}
_PRICE_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(/\s*s)?$"},
    ]
}

Text = Annotated[str, PlainValidator(_text), WithJsonSchema(_TEXT_SCHEMA)]
Folder = Annotated[str, PlainValidator(_folder), WithJsonSchema(_TEXT_SCHEMA)]
FormValue = Annotated[str, PlainValidator(_any_text), WithJsonSchema({"type": "string"})]
FormKey = Annotated[str, AfterValidator(_form_key)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
VariableValue = Annotated[str, PlainValidator(variable_value), WithJsonSchema({"type": ["string", "number"]})]
Price = Annotated[prices.Price, PlainValidator(prices.price), WithJsonSchema(_PRICE_SCHEMA)]
PriceBySize = Annotated[
    dict[str, Price],
    BeforeValidator(_by_size),
    WithJsonSchema({"anyOf": [*_PRICE_SCHEMA["oneOf"], {"type": "object", "additionalProperties": _PRICE_SCHEMA}]}),
]
Duration = Annotated[
    float,
    PlainValidator(units.duration_s),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?$", "minLength": 2}),
]
DurationRange = Annotated[
    units.DurationRange,
    PlainValidator(units.duration_range),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.dhms]+\.\.[0-9.dhms]+$"}),
]
RateLimit = Annotated[
    Rate | None,
    PlainValidator(units.rate),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?\s*/\s*(s|min|h)|unlimited)$"}),
]
Money = Annotated[
    int,
    PlainValidator(units.money_micros),
    WithJsonSchema(
        {"oneOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}]}
    ),
]
BaseUrl = Annotated[str, PlainValidator(service.base_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]
KeyEnv = Annotated[
    str, PlainValidator(service.key_env), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
]
Version = Annotated[int, PlainValidator(_version), WithJsonSchema({"const": 1})]
