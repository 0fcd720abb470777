"""What a single value of the manifest may be: the types that the schema's keys are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from batchvid.domain.limits import Rate
from batchvid.domain.notice import Hook
from batchvid.manifest import hooks, prices, service, units, values

if TYPE_CHECKING:
    from enum import StrEnum


def count(lowest: int, highest: int) -> PlainValidator:
    """Return the rule of a whole number between two bounds."""
    schema = {"type": "integer", "minimum": lowest, "maximum": highest}
    return PlainValidator(
        values.between(lowest, highest), json_schema_input_type=Annotated[int, WithJsonSchema(schema)]
    )


def one_of(words: type[StrEnum]) -> PlainValidator:
    """Return the rule of a word out of a few."""
    names = [str(word) for word in words]
    return PlainValidator(
        values.word_of(*names), json_schema_input_type=Annotated[str, WithJsonSchema({"enum": names})]
    )


def _shaped(pattern: str, advice: str) -> dict[str, Any]:
    """Return the schema of a text of one shape; *advice* is what editors show instead of the pattern."""
    return {"type": "string", "pattern": pattern, "patternErrorMessage": advice}


FORM_KEYS_SCHEMA = {"pattern": r"^[A-Za-z0-9_.\[\]-]{1,100}$", "not": {"enum": sorted(values.SENT_BY_BATCHVID)}}
VARIABLES_SCHEMA = {"pattern": "^[^{}]+$", "not": {"const": "take"}}
_TEXT_SCHEMA = {"type": "string", "minLength": 1}
_PRICE_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(/\s*s)?$"},
    ]
}

Text = Annotated[str, PlainValidator(values.text), WithJsonSchema(_TEXT_SCHEMA)]
Id = Annotated[
    str,
    PlainValidator(values.text),
    WithJsonSchema(
        _shaped(
            r"^([A-Za-z0-9][A-Za-z0-9._-]{0,99}|.*\{.*)$",
            "begin with a letter or digit, then letters, digits and . _ -",
        )
    ),
]
"""Checked when its template is filled in."""
FileName = Annotated[
    str,
    PlainValidator(values.text),
    WithJsonSchema(_shaped(r"^[^/].*\.mp4$", "write a path inside the output folder that ends in .mp4")),
]
Table = Annotated[
    str,
    PlainValidator(values.text),
    WithJsonSchema(
        _shaped(
            r"\.([Cc][Ss][Vv]|[Tt][Ss][Vv]|[Jj][Ss][Oo][Nn][Ll]|[Yy][Aa]?[Mm][Ll])$",
            "write the path of a .csv, .tsv, .jsonl or .yaml file",
        )
    ),
]
Folder = Annotated[
    str, PlainValidator(values.folder), WithJsonSchema(_shaped("^[^~]", "write the path in full: ~ is not expanded"))
]
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
    WithJsonSchema(_shaped(r"^(?=.)([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?$", "write such as 90s, 20m or 1h30m")),
]
DurationRange = Annotated[
    units.DurationRange,
    PlainValidator(units.duration_range),
    WithJsonSchema(
        _shaped(r"^([0-9.]+[dhms])+\.\.([0-9.]+[dhms])+$", "write the shortest and the longest time, such as 3s..30s")
    ),
]
Moment = Annotated[
    float,
    PlainValidator(units.moment_s),
    WithJsonSchema({"type": "string", "pattern": r"^-?([0-9.]+m)?([0-9.]+s)?$", "minLength": 2}),
]
YesNo = Annotated[bool, PlainValidator(values.yes_no), WithJsonSchema({"type": "boolean"})]
RateLimit = Annotated[
    Rate | None,
    PlainValidator(units.rate),
    WithJsonSchema(
        _shaped(r"^([0-9]+(\.[0-9]+)?\s*/\s*(s|min|h)|unlimited)$", "write such as 10/min, 5/s, 100/h or unlimited")
    ),
]
Money = Annotated[
    int,
    PlainValidator(units.money_micros),
    WithJsonSchema(
        {"oneOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}]}
    ),
]
BaseUrl = Annotated[
    str,
    PlainValidator(service.base_url),
    WithJsonSchema(_shaped("^https?://", "write an address that begins with https://")),
]
KeyEnv = Annotated[
    str,
    PlainValidator(service.key_env),
    WithJsonSchema(_shaped("^[A-Za-z_][A-Za-z0-9_]*$", "write the NAME of a variable, never the key")),
]
NotifyTarget = Annotated[
    Hook,
    PlainValidator(hooks.hook),
    WithJsonSchema({"type": "string", "pattern": r"^(\$[A-Za-z_][A-Za-z0-9_]*|[A-Za-z][A-Za-z0-9+.-]*://\S+)$"}),
]
Version = Annotated[int, PlainValidator(values.version), WithJsonSchema({"const": 1})]
