"""Keeps what was found out of an account's limits for the next night: one small file an account, in the user's folder.

The account is named by its address and a digest of its key that nobody can undo. All outputs of the account share the
file. It is written in one step: a crash leaves the old one or the new one. Where it cannot be read, nothing is known,
and the next run starts low.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError
from batchvid.domain.frozen import frozen
from batchvid.domain.learned import read
from batchvid.engine.target import SLUG_CHARS, account_digest, key_of
from batchvid.providers.credentials import state_home
from batchvid.storage.fs import doing, folder_below, json_line, make_folder, read_json, write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.learned import Learned
    from batchvid.domain.limits import RunOptions
    from batchvid.manifest.model import Manifest


FOLDER = "limits"
MAX_BYTES = 4096


@frozen
class LimitsFile:
    """The file of one account. Its methods block."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """Return where it is."""
        return self.folder / self.name

    def load(self) -> Learned | None:
        """Return what it tells; ``None`` when it is not there, or cannot be read."""
        try:
            with folder_below(self.folder) as folder:
                found = read_json(folder, self.name, max_bytes=MAX_BYTES)
        except OSError:
            return None
        return None if found is None else read(found)

    def save(self, learned: Learned) -> None:
        """Put *learned* in place of what is there; raises `StorageError`."""
        with doing(f"what was learned of the account's limits cannot be kept in {self.path}"):
            make_folder(self.folder)
            with folder_below(self.folder) as folder:
                write_whole(folder, self.name, [json_line(learned.plain())], mode=0o600, durable=True)


def limits_file(base_url: str, key: str) -> LimitsFile | None:
    """Return the file of an account; ``None`` where this user has no folder for it."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", base_url.partition("://")[2])[:SLUG_CHARS].strip("-.")
    try:
        return LimitsFile(state_home() / FOLDER, f"{slug}-{account_digest(base_url, key)}.json")
    except ConfigError:
        return None


def limits_file_of(manifest: Manifest, options: RunOptions | None = None) -> LimitsFile | None:
    """Return the file of the manifest's account, where it finds limits out; the embedded sandbox has no account."""
    limits = manifest.limits
    if not limits.is_auto or (options is not None and options.sandbox_speed is not None):
        return None
    try:
        key = key_of(manifest, None if options is None else options.key_file)
    except ConfigError:  # told when it is needed
        return None
    return limits_file(manifest.base_url, key)


def learned_of(manifest: Manifest, options: RunOptions | None = None) -> Learned | None:
    """Return what is known of the limits of the manifest's account, where it finds them out."""
    file = limits_file_of(manifest, options)
    return None if file is None else file.load()
