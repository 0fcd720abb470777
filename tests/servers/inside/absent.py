"""What makes a server's own modules load where its engine is not installed: names that are there, and do nothing.

Runs in a server's environment. A module that is *absent* has every name that is asked of it: a decorator that returns
its function, a base class without content, a type that nothing is an instance of.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Base:
    """What an absent base class comes down to."""

    def __init_subclass__(cls, **_: Any) -> None:
        """Accept any keyword, as the absent one may."""


class Absent(ModuleType):
    """A module, a class, a function or a value of the engine."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        found = Absent(f"{self.__name__}.{name}")
        setattr(self, name, found)
        return found

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Return what is decorated, or nothing of use."""
        is_decorator = len(args) == 1 and not named and callable(args[0]) and not isinstance(args[0], Absent)
        return args[0] if is_decorator else self

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (Base,)

    def __getitem__(self, _: Any) -> Absent:
        return self

    def __or__(self, _: Any) -> Absent:
        return self

    __ror__ = __truediv__ = __rtruediv__ = __or__

    def __instancecheck__(self, _: Any) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __bool__(self) -> bool:
        return False

    def __hash__(self) -> int:
        return id(self)


class _Finder(MetaPathFinder, Loader):
    def __init__(self, absent: Sequence[str], present: Sequence[str], made: Callable[[str], ModuleType | None]) -> None:
        self._absent, self._present, self._made = absent, present, made

    def find_spec(self, name: str, path: Sequence[str] | None = None, _: Any = None) -> ModuleSpec | None:  # noqa: ARG002 asked so
        if not _below(name, self._absent):
            return None
        return _installed(name) if _below(name, self._present) else ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        found = self._made(spec.name)
        return Absent(spec.name) if found is None else found

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: it is empty."""


def _below(name: str, packages: Sequence[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in packages)


def _installed(name: str) -> ModuleSpec | None:
    """Return an installed module whose packages above it are absent."""
    for path in map(Path, sys.path):
        folder = path.joinpath(*name.split("."))
        for file in (folder / "__init__.py", folder.with_suffix(".py")):
            if file.is_file():
                inside = [str(folder)] if file.parent == folder else None
                return spec_from_file_location(name, file, submodule_search_locations=inside)
    return None


def without(
    absent: Sequence[str],
    *,
    present: Sequence[str] = (),
    made: Callable[[str], ModuleType | None] = lambda _: None,
) -> None:
    """Let these packages be absent, but for the *present* ones below them; *made* may make some of them up."""
    sys.meta_path.insert(0, _Finder(absent, present, made))


def bare(*packages: str) -> None:
    """Let these installed packages be there without what their ``__init__`` loads."""
    for name in packages:
        parent, _, last = name.rpartition(".")
        path = sys.modules[parent].__path__ if parent else sys.path
        spec = PathFinder.find_spec(last if not parent else name, list(path))
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError(f"{name} is not installed")
        module = ModuleType(name)
        module.__path__ = list(spec.submodule_search_locations)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        sys.modules[name] = module
