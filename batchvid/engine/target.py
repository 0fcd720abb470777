"""Where a manifest's requests go, with which key, and whether it was ever run: for commands and for programs."""

from __future__ import annotations

import hashlib
import hmac
import re
from contextlib import ExitStack, contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from batchvid.domain.errors import ConfigError
from batchvid.domain.frozen import frozen
from batchvid.domain.secrecy import AllowedHosts, is_readable_on_the_way
from batchvid.domain.task import FACTS, ProxyUse
from batchvid.domain.text import clean
from batchvid.providers.credentials import PREFIX, environment_proxies, find_key, find_url, state_home, without_secrets
from batchvid.providers.network import Network, check_proxy, unused_proxy
from batchvid.storage.fs import STATE_FOLDER, doing
from batchvid.storage.state import owner_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.domain.limits import RunOptions
    from batchvid.journal.base import JournalStore
    from batchvid.journal.postgres import PostgresStore
    from batchvid.journal.postgres_db import Database
    from batchvid.journal.sqlite import SqliteStore
    from batchvid.manifest.model import Manifest


SANDBOX_SPEED = 20.0
"""So that a rehearsal with the embedded sandbox takes seconds."""
SLOWEST, FASTEST = 0.01, 1_000_000.0
"""Of a sandbox: beyond them, times are none."""
DATABASES = "databases"
"""The folder in which a machine keeps what belongs to journals in databases."""
DATABASE_VARIABLE = f"{PREFIX}DATABASE"
SLUG_CHARS, DIGEST_CHARS = 40, 16
"""Of the name of a state folder: for people, and for telling any two apart."""
SANDBOX = "sandbox"
"""What a journal is bound to that the embedded sandbox served, and its folder of state beside the journal."""


@frozen
class Account:
    """Where the paid requests go, and with which key. Its repr does not show the key."""

    base_url: str
    key: str = field(repr=False)
    network: Network = field(default_factory=Network)
    """How it is reached."""
    unused_proxy: str | None = None
    """What a person is told of a proxy that the environment names, and that is not used."""


def in_database(manifest: Manifest, address: str | None) -> Manifest:
    """Return the manifest with its journal in the database at *address*, or at that of the variable ``$NAME``.

    ``None`` is what the manifest says: one whose variable is not set stays without, and has no journal to be asked.
    Raises `ConfigError`, which never shows a password, when the address cannot be read.
    """
    if manifest.limits.is_auto and (address is not None or manifest.database_env):
        raise ConfigError(
            f"limits.{manifest.limits.found_out[0]}: auto finds out what one machine may send, and machines "
            "that share a database share a limit: give numbers, such as submits: 10/min and in_flight: 20 (doctor "
            "tells what was learned)"
        )
    if address is None and manifest.database_env:
        address = find_url(manifest.database_env)
    elif address is not None:
        address = address_of(address)
    if address is None:
        return manifest
    from batchvid.journal.postgres_db import Database

    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", manifest.output.name)[:SLUG_CHARS].strip("-.")
    digest = _digest(Database(address), journal_name(manifest))
    return replace(manifest, database=address, home=state_home() / DATABASES / f"{slug}-{digest}")


def homes(database: Database, journal: str) -> list[Path]:
    """Return where this machine has kept something beside a journal in a database."""
    return sorted((state_home() / DATABASES).glob(f"*-{_digest(database, journal)}"))


def _digest(database: Database, journal: str) -> str:
    what = f"{database.place}\n{journal}".encode("utf-8", "backslashreplace")
    return hashlib.sha256(what).hexdigest()[:DIGEST_CHARS]


def address_of(written: str) -> str:
    """Return the address of a database, where it is written or named as the variable ``$NAME``."""
    if written.startswith("$"):
        return find_url(written[1:]) or _not_set(written[1:])
    if not written.strip():
        raise ConfigError("the address of the database is empty: write it as postgresql://USER@HOST:PORT/NAME")
    return written


def named_database(address: str) -> str | None:
    """Return the database as an advised command names it: never with its password; ``None`` where none needs to."""
    from batchvid.journal.postgres_db import Database

    if address == find_url(DATABASE_VARIABLE):
        return None
    return address if address.startswith("$") or not Database(address).is_secret else f"${DATABASE_VARIABLE}"


def _not_set(name: str) -> NoReturn:
    raise ConfigError(
        f"the journal is in a database whose address the variable {name} holds, and it is not set: set it, or name the "
        "database with --database"
    )


def journal_name(manifest: Manifest) -> str:
    """Return what the manifest's journal is called in a database: its output, which all machines name alike."""
    return manifest.bucket or str(manifest.output.resolve())


def journal_of(manifest: Manifest) -> JournalStore:
    """Return where the manifest's journal is: the one place that chooses what keeps it.

    Raises `ConfigError` where another one knows what is paid: two journals of one output would each buy what the other
    has.
    """
    file = journal_file(manifest)
    if manifest.database:
        store = journal_in_database(manifest)
        if file.exists():
            raise ConfigError(
                f"the output {manifest.place} has a journal of its own, {file.path}, and the journal {store} would not "
                "know what is paid: `batchvid move-journal MANIFEST --database URL` moves the one into the other, and "
                "with --back the other into the one"
            )
        return store
    if manifest.database_env:
        _not_set(manifest.database_env)
    if (owner := owner_of(manifest.output)) is not None:
        raise ConfigError(
            f"what is paid for the output {manifest.place} is known to the journal {clean(owner['journal'], 4096)} in "
            f"the database {clean(owner['database'], 300)}: add --database, or set BATCHVID_DATABASE. `batchvid "
            "move-journal MANIFEST --database URL --back` brings it back beside the clips"
        )
    return file


def journal_file(manifest: Manifest) -> SqliteStore:
    """Return the journal of who uses no database, which is in the output's folder on this machine."""
    from batchvid.journal.sqlite import JOURNAL_FILE, SqliteStore

    return SqliteStore(manifest.output / STATE_FOLDER / JOURNAL_FILE)


def journal_in_database(manifest: Manifest) -> PostgresStore:
    """Return the journal in the manifest's database."""
    from batchvid.journal.postgres import PostgresStore
    from batchvid.journal.postgres_db import Database

    state = (manifest.home or manifest.output) / STATE_FOLDER
    return PostgresStore(Database(manifest.database), journal_name(manifest), state)


def is_rehearsal(manifest: Manifest) -> bool:
    """Whether the embedded sandbox has served what is in the output; raises `StorageError` where nobody can tell."""
    folder = manifest.output / STATE_FOLDER
    with doing(f"look into {folder}"):
        return (folder / SANDBOX).is_dir()


def as_run(manifest: Manifest, options: RunOptions) -> Manifest:
    """Return the manifest as a run takes it: in a sandbox, its times are those of the sandbox.

    Raises `ConfigError` when there is no key for one that was never run: before anything is left on the disk.
    """
    if options.sandbox_speed is not None:
        if manifest.database:
            raise ConfigError(
                "the embedded sandbox serves one machine only: start `batchvid sandbox`, and name it with --base-url"
            )
        return replace(manifest, limits=manifest.limits.sped_up(options.sandbox_speed))
    if manifest.database and manifest.limits.budget_per_day_micros is not None:
        raise ConfigError(
            "limits.budget_per_day is for one machine, as its day is that of the machine's clock. With a database "
            "write limits.budget, which many machines keep together, or give --max-cost"
        )
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


def account_digest(base_url: str, key: str) -> str:
    """Return a digest of an account's key, at its address, that nobody can undo."""
    return hmac.new(key.encode(), base_url.encode(), hashlib.sha256).hexdigest()[:DIGEST_CHARS]


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
