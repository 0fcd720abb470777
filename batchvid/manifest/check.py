"""Checks one section or one entry at a time, and says in people's words everything that is wrong with it.

What is right of a section is given beside its mistakes, so that one wrong key does not hide the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from batchvid.manifest.read import Plain
from batchvid.manifest.rules import right
from batchvid.manifest.values import QuoteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from batchvid.manifest.read import TreePath
    from batchvid.manifest.rules import SectionName
    from batchvid.manifest.schema import Section


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, at a path inside what was checked."""

    path: TreePath
    text: str


def check(section: SectionName, tree: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str], list[Mistake]]:
    """Check one section or entry: what is right of it (given keys only), the wrong keys, and every mistake.

    A key that is probably meant by a misspelt one counts as wrong too.
    """
    if (found := right(section, tree)) is not None:
        return found, frozenset(), []
    from batchvid.manifest import schema

    return _checked(getattr(schema, section), tree)


def _checked(model: type[Section], tree: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str], list[Mistake]]:
    from difflib import get_close_matches

    from pydantic import ValidationError

    wrong: set[str] = set()
    mistakes: list[Mistake] = []
    try:
        found = model.model_validate(tree)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=True)
        mistakes = [_mistake(model, cast("dict[str, Any]", detail)) for detail in details]
        wrong = {str(detail["loc"][0]) for detail in details}
        keys = _keys(model)
        for unknown in wrong - set(keys):
            wrong.update(get_close_matches(unknown, keys, n=1))  # "promt" is not a missing prompt too
        found = model.model_validate({key: value for key, value in tree.items() if key not in wrong})
    return _given(found), frozenset(wrong), mistakes


def _given(found: BaseModel) -> dict[str, Any]:
    fields = type(found).model_fields
    return {fields[name].alias or name: getattr(found, name) for name in found.model_fields_set}


def _mistake(model: type[BaseModel], detail: Mapping[str, Any]) -> Mistake:
    path: TreePath = tuple(part for part in detail["loc"] if part != "[key]")
    error = detail.get("ctx", {}).get("error")
    match detail["type"]:
        case "extra_forbidden":
            return Mistake(path, _unknown_key(model, path))
        case "too_short" if path[-1:] == ("storyboard",):
            return Mistake(path, "has fewer than 2 frames: a clip needs two, write them in order")
        case "too_short":
            return Mistake(path, "is empty: write at least one value, or remove the key")
        case "model_type" | "dict_type":
            return Mistake(path, f"is {what(detail['input'])}, and a map (key: value) is wanted")
        case "list_type":
            return Mistake(path, f"is {what(detail['input'])}, and a list is wanted")
        case _ if isinstance(error, QuoteError):
            return Mistake(path, _quote(error.plain, path))
        case _ if isinstance(error, ValueError):
            return Mistake(path, str(error))
        case _:
            return Mistake(path, str(detail["msg"]))


def _quote(plain: Plain, path: TreePath) -> str:
    key = f"{path[-1]}: " if isinstance(path[-1], str) else ""
    return f'{plain.text} without quotes reads as {plain.kind}, and text is wanted: write {key}"{plain.text}"'


def what(value: object) -> str:
    """Return in words what kind of value stands in the tree."""
    match value:
        case Plain(kind="nothing"):
            return "empty"
        case Plain():
            return value.kind
        case str():
            return "text"
        case dict():
            return "a map"
        case _:
            return "a list"


def _keys(model: type[BaseModel]) -> list[str]:
    """Return the keys of a section as people write them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _unknown_key(model: type[BaseModel], path: TreePath) -> str:
    from difflib import get_close_matches

    from pydantic import BaseModel

    from batchvid.manifest.schema import Entry, LimitsSection, Service

    for part in path[:-1]:
        inner = model.model_fields[str(part)].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    key = str(path[-1])
    if key == "<<":
        return "merge keys are not read: put what the jobs share under defaults"
    known = _keys(model)
    if close := get_close_matches(key, known, n=1):
        return f"unknown key: did you mean {close[0]}?"
    sections: dict[str, type[BaseModel]] = {"limits": LimitsSection, "service": Service, "jobs or defaults": Entry}
    for name, section in sections.items():
        if section is not model and key in _keys(section):
            return f"unknown key here: it belongs under {name}"
    return f"unknown key: the keys here are {', '.join(known)}"
