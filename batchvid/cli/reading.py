"""What several commands read: a manifest as the flags change it, and its journal, beside a run if there is one."""

from __future__ import annotations

import gc
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import batchvid
from batchvid.cli.streams import complain
from batchvid.domain.errors import ConfigError, StorageError
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from batchvid.domain.doubts import Doubt
    from batchvid.domain.job import Progress
    from batchvid.domain.results import Money
    from batchvid.engine.target import Account
    from batchvid.journal.base import JournalReader
    from batchvid.manifest.model import Manifest


def load(
    path: Path,
    *,
    output: Path | None = None,
    base_url: str | None = None,
    sandbox: bool = False,
    decode: bool = False,
) -> Manifest:
    """Read a manifest, let the flags win over it, and tell what it warns of; what is advised later keeps the flags.

    *decode*: its frames are decoded, for commands that tell whether it can be run.
    """
    from batchvid.cli.output.advice import keep_flags
    from batchvid.engine.api import load_to_look

    keep_flags(output=None if output is None else str(output), base_url=base_url, sandbox=sandbox)
    gc.disable()
    try:
        manifest = (batchvid.load if decode else load_to_look)(path, output=output, base_url=base_url)
        gc.freeze()  # what is read lives as long as the command: the collector need not walk it
    finally:
        gc.enable()
    for warning in manifest.warnings:
        complain(f"warning: {warning}")
    return manifest


def read_journal(manifest: Manifest) -> tuple[dict[str, Progress], Money]:
    """Read what the journal holds, beside a run if there is one: the rows by job id, and the money.

    What the next run moves to another id is under that id already.
    """
    from batchvid.domain.dependencies import DependencyGraph
    from batchvid.domain.results import Money
    from batchvid.engine.moving import as_moved, identity_of
    from batchvid.storage.output import Output

    journal = journal_of(manifest).read()
    budget = manifest.limits.budget_micros
    if journal is None:
        return {}, Money(budget_micros=budget)
    with journal:
        identity = identity_of(manifest.jobs, DependencyGraph(manifest.jobs), journal, Output.of(manifest.output).clips)
        rows = {row.job_id: row for row in as_moved(journal.all_progress(), identity)}
        return rows, replace(journal.money(), budget_micros=budget)


def read_doubts(manifest: Manifest, rows: Mapping[str, Progress], *, run_active: bool) -> list[Doubt]:
    """Return what is in doubt of a manifest's jobs, in their order; what an active run has under way is not."""
    from batchvid.domain.doubts import doubts_of
    from batchvid.domain.job import State

    doubtful = {State.IN_DOUBT} | (set() if run_active else {State.SUBMITTING})
    ids = {job_id for job_id, row in rows.items() if row.state in doubtful}
    journal = journal_of(manifest).read() if ids else None
    if journal is None:
        return []
    with journal:
        found = {job_id: doubt for job_id, doubt in journal.doubts().items() if job_id in ids}
    return doubts_of(manifest.jobs, found)


def warn_of_forgotten(manifest: Manifest, journal: JournalReader | None) -> None:
    """Tell of paid tasks that lie beside the journal and are not in it: what is shown of them is not true then."""
    from batchvid.engine.recovery import forgotten
    from batchvid.storage.output import Output

    jobs = {job.id: job for job in manifest.jobs}
    try:
        found = forgotten(journal, Output.of(manifest.output), jobs=jobs, at=time.time())
    except StorageError as error:
        complain(f"warning: {error}")
        return
    for line in found.lines:
        complain(f"warning: {line}")


def bound_account(manifest: Manifest, stack: ExitStack, *, key_file: Path | None) -> Account:
    """Return the account that paid for the journal's tasks; raises `ConfigError` when it is not the manifest's."""
    from batchvid.engine.target import SANDBOX, sandbox_account, service_account

    journal = journal_of(manifest).read()
    with journal or nullcontext():
        service = journal.meta_get("service") if journal is not None else None
    if service == SANDBOX:
        return sandbox_account(manifest, stack)
    if service != manifest.base_url:
        raise ConfigError(f"the clips come from {service}, and not from {manifest.base_url}: add --base-url {service}")
    return service_account(manifest, key_file=key_file)
