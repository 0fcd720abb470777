"""The user's config file: profiles of an account, its prices and limits, so that manifests need not repeat them.

A profile stands below the manifest and all that this includes: they win key by key. The keys are those of the manifest,
checked in the same way; a key of an account is refused there as well. Which profile it is, is said first by who calls,
then by the manifest, then by the config file itself. One that is named and not there is a mistake, and never passed
over: the requests would go to another account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError, ManifestError
from batchvid.domain.frozen import frozen
from batchvid.manifest.diagnostics import Diagnostics, Location
from batchvid.manifest.layers import Layer, layer_at
from batchvid.manifest.schema import CONFIG, PROFILE, what
from batchvid.manifest.yaml_tree import Document, Map, TextError, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NO_PROFILE = "none"
"""Asks for no profile, whatever the config file says."""


@frozen
class Config:
    """A user's config file that was found to be right."""

    path: Path | None
    """``None``: this user has no folder for one."""
    profiles: Mapping[str, Layer]
    default: str | None = None
    """The profile of manifests that name none."""

    def chosen(self, called: str | None, written: str | None) -> str | None:
        """Return the name of the profile: as it was *called* for, *written* in the manifest, or the default.

        Raises `ConfigError` for one that is not there.
        """
        name = called or written or self.default
        if name is None or name == NO_PROFILE:
            return None
        if name not in self.profiles:
            known = f"; it has {', '.join(self.profiles)}" if self.profiles else ""
            where = f"{self.path} has none of that name{known}"
            if self.path is None:
                where = "there is no config file, as HOME is not set"
            elif not self.path.exists():
                where = f"there is no {self.path}; batchvid config shows what it could hold"
            raise ConfigError(f"there is no profile {name!r}: {where}")
        return name


def read_config(path: Path | None) -> Config:
    """Read a user's config file, if there is one; raises `ManifestError` with every problem in it.

    Raises `ConfigError` where it cannot be told whether there is one: it may name another account.
    """
    try:
        is_there = path is not None and path.exists()
    except OSError as error:
        raise ConfigError(
            f"cannot look for the config file {path}: {error.strerror}; set HOME, or XDG_CONFIG_HOME where that is "
            "set, to a folder of this user"
        ) from None
    if path is None or not is_there:
        return Config(path, {})
    diagnostics = Diagnostics()
    try:
        document = Document(read_text(path), name=str(path))
    except TextError as error:
        diagnostics.add_error(error, file=str(path), where="config")
        raise ManifestError(diagnostics.problems()) from error
    for slip in document.slips:
        diagnostics.add_error(slip, file=str(path), where="config")
    if not isinstance(document.tree, Map):
        diagnostics.add(
            Location(document, (), "config"), f"is {what(document.tree)}, and a map is wanted, such as profiles:"
        )
        raise ManifestError(diagnostics.problems())
    head, _, mistakes = CONFIG.check(document.tree)
    diagnostics.add_all(mistakes, document)
    profiles = {}
    for name, tree in head.get("profiles", {}).items():
        found, _, mistakes = PROFILE.check(tree)
        diagnostics.add_all(mistakes, document, "profiles", name)
        profiles[name] = layer_at(document, found, diagnostics, "profiles", name)
    default = head.get("profile")
    if default is not None and default not in {*profiles, NO_PROFILE} and "profiles" in head:
        diagnostics.add(Location.of(document, "profile"), f"there is no profile {default!r} below profiles:")
    if diagnostics:
        raise ManifestError(diagnostics.problems())
    return Config(path, profiles, default)
