"""Where a manifest's requests go, with which key, and whether it was ever run: for commands and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.edge.disk import STATE_FOLDER
from batchvid.environment import find_key, without_secrets

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from batchvid.manifest.model import Manifest
    from batchvid.session import Account

JOURNAL_FILE = "journal.db"
SANDBOX_SPEED = 20.0
"""So that a rehearsal with the embedded sandbox takes seconds."""
SANDBOX = "sandbox"
"""What a journal is bound to that the embedded sandbox served, and its folder of state beside the journal."""


def journal_path(manifest: Manifest) -> Path:
    """Give the path of the manifest's journal."""
    return manifest.output / STATE_FOLDER / JOURNAL_FILE


def has_journal(manifest: Manifest) -> bool:
    """Say whether the manifest's journal is there; one in a forbidden folder is: who opens it says what to do."""
    try:
        return journal_path(manifest).exists()
    except PermissionError:
        return True


def service_account(manifest: Manifest, *, key_file: Path | None) -> Account:
    """Give the account at the manifest's service; raises `ConfigError` when there is no key."""
    from batchvid.session import Account  # noqa: PLC0415 the engine is loaded only to run

    return Account(manifest.base_url, find_key(manifest.key_env, key_file=key_file))


def sandbox_account(manifest: Manifest, stack: ExitStack, *, speed: float = SANDBOX_SPEED) -> Account:
    """Start the embedded sandbox, which remembers the output's tasks, for as long as *stack* lasts."""
    from batchvid.sandbox.embedded import running  # noqa: PLC0415 only where it is asked for
    from batchvid.sandbox.options import Options  # noqa: PLC0415 as above
    from batchvid.session import Account  # noqa: PLC0415 as above

    state = manifest.output / STATE_FOLDER / SANDBOX
    options = Options(port=0, speed=speed, state_dir=state)
    return Account(*stack.enter_context(running(options, environment=without_secrets(manifest.key_env))))
