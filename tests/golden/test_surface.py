"""What programs and scripts call by name: the package's public names, the commands with their flags, the exit codes."""

from __future__ import annotations

import builtins
import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import json
import pathlib
import re
import sys
import types
import typing
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import click
import pytest

import batchvid
from tests.golden.compare import DATA, same_as_golden

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD = (builtins, typing, collections.abc, dt, decimal, enum, pathlib, types)
SURFACE = {"names.txt", "commands.txt", "exit-codes.txt", "database-schema.sql"}
INNER = "<inner>"
"""Stands in a signature for a type that is no public name, and may be called otherwise tomorrow."""


def test_public_names_are_what_they_were() -> None:
    """Each with its kind, its fields or members in order, its methods, and their signatures."""
    assert list(dir(batchvid)) == sorted(batchvid.__all__)
    same_as_golden("names.txt", "\n".join(line for name in batchvid.__all__ for line in _name(name)) + "\n")


def test_exit_codes_keep_their_names_and_their_order() -> None:
    """The order decides which one wins; each error that is raised has one of them."""
    raised = [getattr(batchvid, name) for name in batchvid.__all__ if name.endswith("Error")]
    lines = [f"{code.name} {int(code)}" for code in batchvid.Exit]
    lines += [f"{one.__name__} -> {one.exit_code.name}" for one in raised]
    same_as_golden("exit-codes.txt", "\n".join(lines) + "\n")


def test_commands_and_flags_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, order, metavars, defaults, variables, choices and bounds, as click knows them."""
    same_as_golden("commands.txt", "\n".join(_commands(_program(monkeypatch))) + "\n")


def test_no_golden_file_is_left_over() -> None:
    """A file that no test reads promises nothing."""
    from tests.golden.test_night import NIGHT  # noqa: PLC0415 the list alone

    assert {path.name for path in DATA.iterdir()} == SURFACE | set(NIGHT)


def _name(name: str) -> Iterator[str]:
    found = getattr(batchvid, name)
    if inspect.isclass(found):
        yield f"class {name}({', '.join(_bases(found))})"
        yield from (f"    {line}" for line in _inside(found))
    elif callable(found):
        yield _function(name, found)
    else:
        yield f"{name}: {type(found).__name__}"


def _bases(found: type) -> Iterator[str]:
    """Yield what it is, as far as a program can rely on it."""
    if dataclasses.is_dataclass(found):
        yield "dataclass, frozen" if getattr(found, "__dataclass_params__").frozen else "dataclass"  # noqa: B009 untyped
    if typing.is_typeddict(found):
        yield f"TypedDict, total={found.__total__}"  # type: ignore[attr-defined]
    for base in found.__bases__:
        if base in {object, dict, typing.Generic}:
            continue
        if base.__name__ in batchvid.__all__ or any(getattr(one, base.__name__, None) is base for one in STANDARD):
            yield base.__name__


def _inside(found: type) -> Iterator[str]:
    yield from _values(found)
    for name, member in sorted(vars(found).items()):
        if name.startswith("_") and name not in {"__aiter__", "__aenter__", "__aexit__"}:
            continue
        if isinstance(member, property):
            assert member.fget is not None
            yield f"property {name} -> {_type(inspect.signature(member.fget).return_annotation)}"
        elif inspect.isfunction(member):
            yield _function(name, member)


def _values(found: type) -> Iterator[str]:
    """Yield its members, fields or keys, in their order."""
    if issubclass(found, enum.Enum):
        yield from (f"{name} = {member.value!r}" for name, member in found.__members__.items())
    elif dataclasses.is_dataclass(found):
        for one in dataclasses.fields(found):
            yield f"{one.name}: {_type(one.type)}{_default(one)}{' (keyword only)' if one.kw_only else ''}"
    elif hasattr(found, "_fields"):
        yield from (f"{name}: {_type(found.__annotations__[name])}" for name in found._fields)
    elif typing.is_typeddict(found):
        yield from (f"{name}: {_type(kind)}" for name, kind in found.__annotations__.items())
    elif issubclass(found, Exception):
        yield f"exit_code = {found.exit_code.name}"  # type: ignore[attr-defined]


def _default(one: dataclasses.Field[Any]) -> str:
    if one.default is not dataclasses.MISSING:
        return f" = {one.default.value if isinstance(one.default, enum.Enum) else one.default!r}"
    return " = <made>" if one.default_factory is not dataclasses.MISSING else ""


def _function(name: str, found: Any) -> str:
    signature = inspect.signature(found)
    shown = signature.replace(
        parameters=[one.replace(annotation=_Shown(_type(one.annotation))) for one in signature.parameters.values()],
        return_annotation=_Shown(_type(signature.return_annotation)),
    )
    kind = "async def" if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found) else "def"
    return f"{kind} {name}{shown}".replace(": <nothing>", "").replace(" -> <nothing>", "")


class _Shown:
    """An annotation that shows as it is written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _type(annotation: Any) -> str:
    """Return an annotation with the public names and those of the standard library; other names are inner ones."""
    if annotation is inspect.Signature.empty:
        return "<nothing>"
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = getattr(annotation, "__forward_arg__", text)

    def shown(word: re.Match[str]) -> str:
        last = word[0].rpartition(".")[2]
        is_known = last in batchvid.__all__ or any(hasattr(one, last) for one in STANDARD)
        return last if is_known else INNER

    return re.sub(r"[A-Za-z_][\w.]*", shown, text)


def _program(monkeypatch: pytest.MonkeyPatch) -> click.Group:
    """Return the program's group of commands, which its entry point hands to click."""
    seen: list[click.Command] = []
    monkeypatch.setattr(click.Command, "main", lambda self, *_, **__: seen.append(self))
    monkeypatch.setattr(sys, "argv", ["batchvid", "--help"])
    (entry,) = entry_points(group="console_scripts", name="batchvid")
    with pytest.raises(SystemExit):
        entry.load()()
    (program,) = seen
    assert isinstance(program, click.Group)
    return program


def _commands(program: click.Group) -> Iterator[str]:
    top = click.Context(program, info_name="batchvid", **program.context_settings)
    yield from ("batchvid", *(_param(one, top) for one in program.get_params(top)))
    for name in program.list_commands(top):
        command = program.get_command(top, name)
        assert command is not None
        assert command.name == name
        context = click.Context(command, info_name=name, parent=top)
        yield f"batchvid {name}{' (hidden)' if command.hidden else ''}"
        yield from (_param(one, context) for one in command.get_params(context))


def _param(one: click.Parameter, context: click.Context) -> str:
    """Return one line; what has click's own default is not in it."""
    kind, default = one.type, one.get_default(context, call=False)
    told: dict[str, object] = {
        "also": one.secondary_opts,
        "metavar": None if getattr(one, "is_flag", False) else one.make_metavar(context),
        "flag": getattr(one, "is_flag", False),
        "count": getattr(one, "count", False),
        "hidden": getattr(one, "hidden", False),
        "required": one.required,
        "multiple": one.multiple,
        "nargs": one.nargs if one.nargs != 1 else None,
        "choices": list(kind.choices) if isinstance(kind, click.Choice) else None,
        "least": getattr(kind, "min", None),
        "most": getattr(kind, "max", None),
        "variable": one.envvar,
        "default": default if isinstance(default, str | int | float | bool) else None,
    }
    names = "/".join(one.opts) if isinstance(one, click.Option) else one.make_metavar(context)
    return f"    {names} {json.dumps({key: value for key, value in told.items() if _is_told(value)})}"


def _is_told(value: object) -> bool:
    return value is not None and value is not False and value != []
