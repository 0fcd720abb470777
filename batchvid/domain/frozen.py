"""Values: frozen dataclasses with slots, of which each method is written when it is first needed.

A dataclass writes and compiles six functions for each class as it is made. That took two fifths of the time of a small
command, which makes a hundred such classes and uses a few of them. Here the first call of a method lets the standard
library write it, and puts it in place: from then on it is that of ``dataclass(frozen=True, slots=True)``.

`fields`, `replace`, `asdict` and pattern matching go with it from the start. It is not for a class that has a base or
is one, and not for the public ones, whose signatures people look up.
"""

from __future__ import annotations

from dataclasses import Field, FrozenInstanceError, dataclass, field, fields, make_dataclass
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


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Return the class as a frozen dataclass with slots. A method of `METHODS` that it has itself stays."""
    own = {name for name in METHODS if vars(cls).get(name) is not None}
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    for name in METHODS.keys() - own:
        setattr(made, name, _first_call(made, name))
    made.__setattr__, made.__delattr__, made.__setstate__ = _refuse_to_set, _refuse_to_delete, _set_state
    found: type[T] = made
    return found


def _first_call(cls: Any, name: str) -> Any:
    """Return what stands for a method until it is called. Two threads may write it at once: they do the same."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        told = [(one.name, one.type, _copy(one)) for one in fields(cls)]
        words = {"__doc__": cls.__doc__ or name}  # without any, the library writes the signature down
        twin = make_dataclass(cls.__name__, told, namespace=words, **(NONE_OF_THEM | METHODS[name]))
        written = getattr(twin, name)
        setattr(cls, name, written)
        return written(self, *args, **kwargs)

    return method


def _copy(one: Field[Any]) -> Any:
    names = ("default", "default_factory", "init", "repr", "hash", "compare", "metadata", "kw_only")
    return field(**{name: getattr(one, name) for name in names})


def _refuse_to_set(self: object, name: str, value: object) -> NoReturn:  # noqa: ARG001 as Python calls it
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> NoReturn:  # noqa: ARG001 as Python calls it
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _set_state(self: object, state: tuple[None, dict[str, Any]]) -> None:
    """Fill a copy, as `copy` and `pickle` make one."""
    for name, value in state[1].items():
        object.__setattr__(self, name, value)
