"""What is right of a section, told without pydantic, which takes longer to load than most manifests to read.

Who finds something here that is not plainly right learns nothing of what is wrong: `batchvid.manifest.schema` says
that. A key of the schema that is not here is checked there, too; a test holds the two against each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from batchvid.domain.image_fit import Fit
from batchvid.domain.limits import InDoubt, OnChange
from batchvid.manifest import hooks, prices, service, units, values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchvid.domain.notice import Hook

    Rule = Callable[[Any], Any]

SectionName = Literal["Service", "LimitsSection", "Defaults", "Row", "Entry", "Head", "FilmEntry"]
"""The name of a section's class in the schema."""


def _form(value: Any) -> dict[str, str]:
    return {values.form_key(name): values.any_text(text) for name, text in _map(value).items()}


def _matrix(value: Any) -> dict[str, list[str]]:
    found = {
        values.variable_name(name): list(map(values.variable_value, _list(each))) for name, each in _map(value).items()
    }
    if not found:
        raise ValueError
    return found


def _prices(value: Any) -> dict[str, dict[str, prices.Price]]:
    return {
        model: {size: prices.price(each) for size, each in _map(values.by_size(of_model)).items()}
        for model, of_model in _map(value).items()
    }


def _hooks(value: Any) -> list[Hook]:
    return list(map(hooks.hook, _list(value))) if value != [] else []


def _map(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004 as every rule's
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return value


def _texts(value: Any) -> list[str]:
    return list(map(values.text, _list(value)))


def _frames(value: Any) -> list[str]:
    found = _texts(value)
    if len(found) < 2:  # noqa: PLR2004 a clip begins with one and ends with another
        raise ValueError
    return found


_DEFAULTS: dict[str, Rule] = {
    **dict.fromkeys(("prompt", "model", "size", "seconds", "first_frame", "last_frame"), values.text),
    "form": _form,
    "fit": values.word_of(*Fit),
    "price": prices.price,
}
_ROW: dict[str, Rule] = _DEFAULTS | {
    "id": values.text,
    "takes": values.between(1, 1000),
    "continues": values.text,
}
RULES: dict[SectionName, dict[str, Rule]] = {
    "Service": {"base_url": service.base_url, "key_env": service.key_env, "allow_http": values.yes_no},
    "LimitsSection": {
        "submits": units.rate,
        "requests": units.rate,
        "in_flight": values.between(1, 10_000),
        "downloads": values.between(1, 64),
        "attempts": values.between(1, 20),
        "typical_time": units.duration_s,
        "poll_every": units.duration_range,
        "backoff": units.duration_range,
        "task_timeout": units.duration_s,
        "budget": units.money_micros,
        "in_doubt": values.word_of(*InDoubt),
        "breaker": values.between(1, 1_000_000),
        "canary": values.between(0, 1_000_000),
        "on_change": values.word_of(*OnChange),
    },
    "Defaults": _DEFAULTS,
    "Row": _ROW,
    "Entry": _ROW
    | {
        "matrix": _matrix,
        "from": values.text,
        "pairs": values.text,
        "at": units.moment_s,
        "storyboard": _frames,
        "prompts": _texts,
        "film": values.yes_no,
    },
    "FilmEntry": {"id": values.text, "clips": _texts},
    "Head": {
        "version": values.version,
        "output": values.folder,
        "filename": values.text,
        "prices": _prices,
        "notify": _hooks,
        "jobs": lambda value: value,
        "films": lambda value: value,
    },
}
ROW_KEYS = frozenset(_ROW)
"""Columns of a table that are job fields, and no variables."""


def right(section: SectionName, tree: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the values of a section in which everything is right; ``None`` when something is not, or is not known."""
    rules = RULES[section]
    try:
        return {key: rules[key](value) for key, value in tree.items()}
    except (ValueError, KeyError, AttributeError):
        return None
