"""What a single value of the manifest may be: the types that the schema's keys are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from batchvid.core.settings import Rate
from batchvid.manifest import prices, service, units, values

if TYPE_CHECKING:
    from enum import StrEnum


def count(lowest: int, highest: int) -> PlainValidator:
    """Give the rule of a whole number between two bounds."""
    schema = {"type": "integer", "minimum": lowest, "maximum": highest}
    return PlainValidator(
        values.between(lowest, highest), json_schema_input_type=Annotated[int, WithJsonSchema(schema)]
    )


def one_of(words: type[StrEnum]) -> PlainValidator:
    """Give the rule of a word out of a few."""
    names = [str(word) for word in words]
    return PlainValidator(
        values.word_of(*names), json_schema_input_type=Annotated[str, WithJsonSchema({"enum": names})]
    )


_TEXT_SCHEMA = {"type": "string", "minLength": 1}
_PRICE_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(/\s*s)?$"},
    ]
}

Text = Annotated[str, PlainValidator(values.text), WithJsonSchema(_TEXT_SCHEMA)]
Folder = Annotated[str, PlainValidator(values.folder), WithJsonSchema(_TEXT_SCHEMA)]
FormValue = Annotated[str, PlainValidator(values.any_text), WithJsonSchema({"type": "string"})]
FormKey = Annotated[str, AfterValidator(values.form_key)]
VariableName = Annotated[str, AfterValidator(values.variable_name)]
VariableValue = Annotated[str, PlainValidator(values.variable_value), WithJsonSchema({"type": ["string", "number"]})]
Price = Annotated[prices.Price, PlainValidator(prices.price), WithJsonSchema(_PRICE_SCHEMA)]
PriceBySize = Annotated[
    dict[str, Price],
    BeforeValidator(values.by_size),
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
Version = Annotated[int, PlainValidator(values.version), WithJsonSchema({"const": 1})]
