"""make for paid video clips: a manifest says which clips should exist, and they come to be, each paid for once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.manifest.model import Manifest

__version__ = "0.1.0"


def load(path: Path | str) -> Manifest:
    """Read, check and expand a manifest, with every file and frame that it names.

    Raises `batchvid.errors.ManifestError`, which holds every problem at once.
    """
    from batchvid.edge.media import read_frame  # noqa: PLC0415 the command line's help does without Pillow
    from batchvid.manifest import load as load_manifest  # noqa: PLC0415 and without pydantic and YAML

    return load_manifest(path, read_frame=read_frame)
