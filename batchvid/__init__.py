"""make for paid video clips: a manifest says which clips should exist, and they come to be, each paid for once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.core.job import Frame
    from batchvid.manifest.model import Manifest

__version__ = "0.1.0"


def load(path: Path | str) -> Manifest:
    """Read, check and expand a manifest, with every file and frame that it names.

    Raises `batchvid.errors.ManifestError`, which holds every problem at once.
    """
    from batchvid.manifest import load as load_manifest  # noqa: PLC0415 the command line's help does without YAML

    return load_manifest(path, read_frame=_read_frame)


def _read_frame(path: Path) -> Frame:
    from batchvid.edge.media import read_frame  # noqa: PLC0415 a manifest without frames does without

    return read_frame(path)
