"""Where a manifest's requests go, with which key, and whether it was ever run: for commands and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain.addresses import is_readable_on_the_way
from batchvid.domain.errors import ConfigError
from batchvid.providers.credentials import find_key, without_secrets
from batchvid.storage.fs import STATE_FOLDER

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from batchvid.engine.run import Account
    from batchvid.journal.base import JournalStore
    from batchvid.manifest.model import Manifest


SANDBOX_SPEED = 20.0
"""So that a rehearsal with the embedded sandbox takes seconds."""
SLOWEST, FASTEST = 0.01, 1_000_000.0
"""Of a sandbox: beyond them, times are none."""
SANDBOX = "sandbox"
"""What a journal is bound to that the embedded sandbox served, and its folder of state beside the journal."""


def journal_of(manifest: Manifest) -> JournalStore:
    """Return where the manifest's journal is: the one place that chooses what keeps it."""
    from batchvid.journal.sqlite import JOURNAL_FILE, SqliteStore

    return SqliteStore(manifest.output / STATE_FOLDER / JOURNAL_FILE)


def service_account(manifest: Manifest, *, key_file: Path | None) -> Account:
    """Return the account at the manifest's service.

    Raises `ConfigError` when there is no key, or when it would be sent over the network for everybody to read.
    """
    from batchvid.engine.run import Account

    if is_readable_on_the_way(manifest.base_url) and not manifest.allow_http:
        raise ConfigError(clear_text(manifest.base_url))
    return Account(manifest.base_url, find_key(manifest.key_env, key_file=key_file))


def clear_text(base_url: str) -> str:
    """Return what is wrong with sending the key to *base_url*, and what to do."""
    return (
        f"the key would go to {base_url} without encryption, so nothing was sent: use an https:// address, or, in a "
        "network that you trust, write service: {allow_http: true} into the manifest (service.allow_http)"
    )


def sandbox_account(manifest: Manifest, stack: ExitStack, *, speed: float = SANDBOX_SPEED) -> Account:
    """Start the embedded sandbox, which remembers the output's tasks, for as long as *stack* lasts."""
    from batchvid.engine.run import Account
    from batchvid.sandbox.process import Options, running

    state = manifest.output / STATE_FOLDER / SANDBOX
    options = Options(port=0, speed=speed, state_dir=state)
    return Account(*stack.enter_context(running(options, environment=without_secrets(manifest.key_env))))
