"""The manifest: what a person writes about which clips should exist, read, checked and expanded into jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchvid.manifest.model import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchvid.domain.job import Frame

__all__ = ["Manifest", "json_schema", "load", "write_starter"]


def load(
    path: Path | str,
    *,
    read_frame: Callable[[Path], Frame],
    state_of: Callable[[str], Path],
    base_url: str | None = None,
    config: Path | None = None,
    profile: str | None = None,
) -> Manifest:
    """Read, check and expand a manifest, and every file that it names.

    *read_frame* is called once for each image file, with an absolute path. It returns the frame, or raises
    ``ValueError`` with what is wrong ("is a folder, not an image"). *state_of* returns the folder of this machine for
    the state of an output in a bucket. *base_url*, a valid one, wins over what the manifest says.
    *config* is the user's config file, if there is one; *profile* names one of its profiles, instead of the one that
    the manifest or the file names.
    Raises `batchvid.domain.errors.ManifestError` with every problem, in the order of the files' lines.
    """
    from batchvid.manifest.loader import load as load_now
    from batchvid.manifest.profiles import read_config

    return load_now(
        path,
        read_frame=read_frame,
        state_of=state_of,
        base_url=base_url,
        config=read_config(config),
        profile=profile,
    )


def json_schema() -> dict[str, Any]:
    """Return the manifest's JSON Schema (draft-07 subset), with a description of every key, for editors."""
    from batchvid.manifest.schema import json_schema as schema_now

    return schema_now()


def write_starter(folder: Path) -> list[Path]:
    """Write a commented manifest, its schema and two frames to start from, and return their paths.

    Raises `batchvid.domain.errors.ConfigError`, with nothing written, when one of them exists already.
    """
    from batchvid.manifest.starter import write_starter as write_now

    return write_now(folder)
