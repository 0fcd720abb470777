"""What several commands share: their options, and the manifest as flags and environment change it.

A flag wins over its variable ``BATCHVID_*``, that over the manifest, and that over the default.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

import batchvid
from batchvid.accounts import journal_path
from batchvid.commands.streams import complain
from batchvid.environment import PREFIX
from batchvid.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from batchvid.core.doubt import Doubt
    from batchvid.core.job import Progress
    from batchvid.core.snapshot import Money
    from batchvid.manifest.model import Manifest
    from batchvid.session import Account

Command = TypeVar("Command", bound="Callable[..., object]")

manifest_argument = click.argument("manifest", type=click.Path(path_type=Path))
manifests_argument = click.argument("manifests", type=click.Path(path_type=Path), nargs=-1, required=True)
output_option = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    envvar=f"{PREFIX}OUTPUT",
    metavar="FOLDER",
    show_envvar=True,
    help="Use this output folder instead of the manifest's; relative to the current folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
key_file_option = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    envvar=f"{PREFIX}API_KEY_FILE",
    metavar="FILE",
    show_envvar=True,
    help="Read the key from this file (mode 600), instead of the variable that service.key_env names.",
)
ca_file_option = click.option(
    "--ca-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar=f"{PREFIX}CA_FILE",
    metavar="FILE",
    show_envvar=True,
    help="Trust the certificate authorities in this file only.",
)
base_url_option = click.option(
    "--base-url",
    envvar=f"{PREFIX}BASE_URL",
    metavar="URL",
    show_envvar=True,
    help="Use the service at this address instead of the manifest's service.base_url.",
)


def load(path: Path, *, output: Path | None = None, base_url: str | None = None, sandbox: bool = False) -> Manifest:
    """Read a manifest, let the flags win over it, and tell what it warns of; what is advised later keeps the flags."""
    from batchvid.views.advice import keep_flags  # noqa: PLC0415 only commands with a manifest

    keep_flags(output=None if output is None else str(output), base_url=base_url, sandbox=sandbox)
    manifest = batchvid.load(path, output=output, base_url=base_url)
    for warning in manifest.warnings:
        complain(f"warning: {warning}")
    return manifest


def read_journal(manifest: Manifest) -> tuple[dict[str, Progress], Money]:
    """Read what the journal holds, beside a run if there is one: the rows by job id, and the money.

    What the next run moves to another id is under that id already.
    """
    from batchvid.core.chains import Chains  # noqa: PLC0415 only commands with a journal
    from batchvid.core.snapshot import Money  # noqa: PLC0415 as above
    from batchvid.edge.readings import Readings  # noqa: PLC0415 as above
    from batchvid.moving import as_moved, identity_of  # noqa: PLC0415 as above

    journal = Readings.open_readonly(journal_path(manifest))
    budget = manifest.limits.budget_micros
    if journal is None:
        return {}, Money(budget_micros=budget)
    with journal:
        identity = identity_of(manifest.jobs, Chains(manifest.jobs), journal, manifest.output)
        rows = {row.job_id: row for row in as_moved(journal.all_progress(), identity)}
        return rows, replace(journal.money(), budget_micros=budget)


def read_doubts(manifest: Manifest, rows: Mapping[str, Progress], *, run_active: bool) -> list[Doubt]:
    """Return what is in doubt of a manifest's jobs, in their order; what an active run has under way is not."""
    from batchvid.core.doubt import doubts_of  # noqa: PLC0415 only commands with a journal
    from batchvid.core.job import State  # noqa: PLC0415 as above
    from batchvid.edge.readings import Readings  # noqa: PLC0415 as above

    doubtful = {State.IN_DOUBT} | (set() if run_active else {State.SUBMITTING})
    ids = {job_id for job_id, row in rows.items() if row.state in doubtful}
    journal = Readings.open_readonly(journal_path(manifest)) if ids else None
    if journal is None:
        return []
    with journal:
        found = {job_id: doubt for job_id, doubt in journal.doubts().items() if job_id in ids}
    return doubts_of(manifest.jobs, found)


def bound_service(manifest: Manifest) -> str | None:
    """Give the service that the journal belongs to; ``None`` when there is no journal."""
    from batchvid.edge.readings import Readings  # noqa: PLC0415 as above

    journal = Readings.open_readonly(journal_path(manifest))
    if journal is None:
        return None
    with journal:
        return journal.meta_get("service")


def bound_account(manifest: Manifest, stack: ExitStack, *, key_file: Path | None) -> Account:
    """Return the account that paid for the journal's tasks; raises `ConfigError` when it is not the manifest's."""
    from batchvid.accounts import SANDBOX, sandbox_account, service_account  # noqa: PLC0415 only to ask the service

    service = bound_service(manifest)
    if service == SANDBOX:
        return sandbox_account(manifest, stack)
    if service != manifest.base_url:
        raise ConfigError(f"the clips come from {service}, and not from {manifest.base_url}: add --base-url {service}")
    return service_account(manifest, key_file=key_file)
