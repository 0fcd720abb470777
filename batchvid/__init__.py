"""make for paid video clips: a manifest says which clips should exist, and they come to be, each paid for once.

For programs: `load` a manifest, `plan` it, `run` it, or `stream` its clips; each is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchvid.domain.errors import (
        BatchvidError,
        ConfigError,
        Exit,
        ManifestError,
        OutputBusyError,
        Problem,
        StorageError,
    )
    from batchvid.domain.job import Job, State
    from batchvid.domain.plan import Action, Plan
    from batchvid.domain.results import Summary
    from batchvid.engine.api import Clip, Clips, Settings, load, plan, run, stream
    from batchvid.engine.observer import View
    from batchvid.manifest.model import Manifest

__version__ = "0.1.0"
__all__ = [
    "Action",
    "BatchvidError",
    "Clip",
    "Clips",
    "ConfigError",
    "Exit",
    "Job",
    "Manifest",
    "ManifestError",
    "OutputBusyError",
    "Plan",
    "Problem",
    "Settings",
    "State",
    "StorageError",
    "Summary",
    "View",
    "__version__",
    "load",
    "plan",
    "run",
    "stream",
]

_PLACES = {
    "engine.api": ("Clip", "Clips", "Settings", "load", "plan", "run", "stream"),
    "domain.job": ("Job", "State"),
    "domain.plan": ("Action", "Plan"),
    "domain.results": ("Summary",),
    "domain.errors": (
        "BatchvidError",
        "ConfigError",
        "Exit",
        "ManifestError",
        "OutputBusyError",
        "Problem",
        "StorageError",
    ),
    "manifest.model": ("Manifest",),
    "engine.observer": ("View",),
}
_HOMES = {name: module for module, names in _PLACES.items() for name in names}


if not TYPE_CHECKING:  # a checker would take it for a licence to name anything

    def __getattr__(name: str) -> object:
        """Load what is named, on its first use: ``batchvid --help`` does without all of it."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"batchvid.{_HOMES[name]}"), name)
        return found

    def __dir__() -> list[str]:
        """Name what there is."""
        return sorted(__all__)
