"""Where a command's requests go, and with which key: the service, or the embedded sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.commands.options import SANDBOX_SPEED, STATE_FOLDER
from batchvid.environment import find_key, without_secrets
from batchvid.session import Account

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from batchvid.manifest.model import Manifest

SANDBOX = "sandbox"
"""What a journal is bound to that the embedded sandbox served, and its folder of state beside the journal."""


def service_account(manifest: Manifest, *, key_file: Path | None) -> Account:
    """Give the account at the manifest's service; raises `ConfigError` when there is no key."""
    return Account(manifest.base_url, find_key(manifest.key_env, key_file=key_file))


def sandbox_account(manifest: Manifest, stack: ExitStack, *, speed: float = SANDBOX_SPEED) -> Account:
    """Start the embedded sandbox, which remembers the output's tasks, for as long as *stack* lasts."""
    from batchvid.sandbox.embedded import running  # noqa: PLC0415 only where it is asked for
    from batchvid.sandbox.options import Options  # noqa: PLC0415 as above

    state = manifest.output / STATE_FOLDER / SANDBOX
    options = Options(port=0, speed=speed, state_dir=state)
    return Account(*stack.enter_context(running(options, environment=without_secrets(manifest.key_env))))
