"""Where a manifest's requests go, with which key, and whether it was ever run: for commands and for programs."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError
from batchvid.domain.secrecy import AllowedHosts, is_readable_on_the_way
from batchvid.domain.task import FACTS, ProxyUse
from batchvid.providers.credentials import environment_proxies, find_key, without_secrets
from batchvid.providers.network import Network, check_proxy, unused_proxy
from batchvid.storage.fs import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.domain.limits import RunOptions
    from batchvid.journal.base import JournalStore
    from batchvid.manifest.model import Manifest


SANDBOX_SPEED = 20.0
"""So that a rehearsal with the embedded sandbox takes seconds."""
SLOWEST, FASTEST = 0.01, 1_000_000.0
"""Of a sandbox: beyond them, times are none."""
SANDBOX = "sandbox"
"""What a journal is bound to that the embedded sandbox served, and its folder of state beside the journal."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where the paid requests go, and with which key. Its repr does not show the key."""

    base_url: str
    key: str = field(repr=False)
    network: Network = field(default_factory=Network)
    """How it is reached."""
    unused_proxy: str | None = None
    """What a person is told of a proxy that the environment names, and that is not used."""


def journal_of(manifest: Manifest) -> JournalStore:
    """Return where the manifest's journal is: the one place that chooses what keeps it."""
    from batchvid.journal.sqlite import JOURNAL_FILE, SqliteStore

    return SqliteStore(manifest.output / STATE_FOLDER / JOURNAL_FILE)


def as_run(manifest: Manifest, options: RunOptions) -> Manifest:
    """Return the manifest as a run takes it: in a sandbox, its times are those of the sandbox.

    Raises `ConfigError` when there is no key for one that was never run: before anything is left on the disk.
    """
    if options.sandbox_speed is not None:
        return replace(manifest, limits=manifest.limits.sped_up(options.sandbox_speed))
    if not journal_of(manifest).exists():
        service_account(manifest, key_file=options.key_file)
    return manifest


@contextmanager
def account_of(manifest: Manifest, options: RunOptions) -> Iterator[Account]:
    """Yield the account that a run pays with: at the service, or in a sandbox that lasts as long as the block."""
    with ExitStack() as stack:
        if options.sandbox_speed is None:
            yield service_account(manifest, key_file=options.key_file, ca_file=options.ca_file)
        else:
            yield sandbox_account(manifest, stack, speed=options.sandbox_speed)


def key_of(manifest: Manifest, key_file: Path | str | None) -> str:
    """Return the manifest's key, an empty one where the service gets none; raises `ConfigError` when there is none."""
    if not manifest.key_env and key_file is None:
        return ""
    return find_key(manifest.key_env, key_file=None if key_file is None else Path(key_file))


def service_account(manifest: Manifest, *, key_file: Path | str | None, ca_file: str | None = None) -> Account:
    """Return the account at the manifest's service.

    Raises `ConfigError` when there is no key, or when it would be sent over the network for everybody to read.
    """
    has_key = bool(manifest.key_env) or key_file is not None
    if has_key and is_readable_on_the_way(manifest.base_url) and not manifest.allow_http:
        raise ConfigError(clear_text(manifest.base_url))
    proxies, uses_proxy = environment_proxies(), manifest.proxy is ProxyUse.ENV
    if uses_proxy:
        check_proxy(proxies, manifest.base_url)
    network = Network(ca_file, AllowedHosts.of(manifest.clip_hosts), proxies if uses_proxy else {})
    unused = None if uses_proxy else unused_proxy(proxies, manifest.base_url)
    return Account(manifest.base_url, key_of(manifest, key_file), network, unused)


def clear_text(base_url: str) -> str:
    """Return what is wrong with sending the key to *base_url*, and what to do."""
    return (
        f"the key would go to {base_url} without encryption, so nothing was sent: use an https:// address, or, in a "
        "network that you trust, write service: {allow_http: true} into the manifest (service.allow_http)"
    )


def sandbox_account(manifest: Manifest, stack: ExitStack, *, speed: float = SANDBOX_SPEED) -> Account:
    """Start the embedded sandbox, which remembers the output's tasks, for as long as *stack* lasts."""
    from batchvid.sandbox.process import Options, running

    state = manifest.output / STATE_FOLDER / SANDBOX
    own = manifest.base_url != FACTS[manifest.provider].base_url
    models = sorted({job.model for job in manifest.jobs}) if own else ()
    options = Options(provider=manifest.provider, models=models, port=0, speed=speed, state_dir=state)
    return Account(*stack.enter_context(running(options, environment=without_secrets(manifest.key_env))))
