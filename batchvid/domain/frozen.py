"""Values: frozen dataclasses with slots, of which each part is written when it is first needed.

A dataclass looks at each field of a class as it is made, writes and compiles six functions, and makes the class once
more for its slots. That took two fifths of the time of a small command, which makes a hundred such classes and uses a
few of them. Here the first call of a method lets the standard library write it, and puts it in place: from then on it
is that of ``dataclass(frozen=True, slots=True)``. The fields are looked at when somebody asks for them.

`fields`, `replace`, `asdict` and pattern matching go with it. It is not for a class that has a base or is one, and not
for the public ones, whose signatures people look up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")

METHODS: dict[str, dict[str, Any]] = {
    "__init__": {"init": True, "frozen": True},
    "__repr__": {"repr": True},
    "__eq__": {"eq": True},
    "__hash__": {"unsafe_hash": True},
}
"""What to ask the standard library for, to get this method and little else."""
NONE_OF_THEM: dict[str, Any] = {"init": False, "repr": False, "eq": False}
DESCRIPTION = ("__dataclass_fields__", "__dataclass_params__", "__match_args__")
"""What the standard library knows a dataclass by."""

Twin = Callable[[dict[str, Any]], Any]
"""Makes the class again, as a dataclass with these of its parts. Two threads may do so at once: both make the same."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Return the class as a frozen dataclass with slots. A method of `METHODS` that it has itself stays."""
    named = tuple(cls.__annotations__)
    own = {name: value for name, value in vars(cls).items() if name not in {"__dict__", "__weakref__"}}
    kept = {name: value for name, value in own.items() if name not in named}

    def twin(parts: dict[str, Any]) -> Any:
        return dataclass(**(NONE_OF_THEM | parts))(type(cls.__name__, cls.__bases__, dict(own)))

    made: Any = type(cls.__name__, cls.__bases__, kept | {"__slots__": named})
    made.__qualname__ = cls.__qualname__
    for name in METHODS:
        if own.get(name) is None:
            setattr(made, name, _first_call(made, name, twin))
    for name in DESCRIPTION:
        setattr(made, name, _Described(name, twin))
    made.__setattr__, made.__delattr__, made.__setstate__ = _refuse_to_set, _refuse_to_delete, _set_state
    found: type[T] = made
    return found


class _Described:
    """Stands for a part of a class's description until it is asked for."""

    def __init__(self, name: str, twin: Twin) -> None:
        self._name = name
        self._twin = twin

    def __get__(self, value: object, cls: type) -> Any:
        described = self._twin({})
        for name in DESCRIPTION:
            setattr(cls, name, getattr(described, name))
        return getattr(described, self._name)


def _first_call(cls: Any, name: str, twin: Twin) -> Any:
    """Return what stands for a method until it is called."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        written = getattr(twin(METHODS[name]), name)
        setattr(cls, name, written)
        return written(self, *args, **kwargs)

    return method


def _refuse_to_set(self: object, name: str, value: object) -> NoReturn:  # noqa: ARG001 as Python calls it
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> NoReturn:  # noqa: ARG001 as Python calls it
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _set_state(self: object, state: tuple[None, dict[str, Any]]) -> None:
    """Fill a copy, as `copy` and `pickle` make one."""
    for name, value in state[1].items():
        object.__setattr__(self, name, value)
