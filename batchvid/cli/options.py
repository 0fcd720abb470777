"""What several commands share: their options, and the manifest as flags and environment change it.

A flag wins over its variable ``BATCHVID_*``, that over the manifest, and that over the default.

The values that options take, as people write them: moments, lengths of time, amounts of money.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

import batchvid
from batchvid.cli.streams import complain
from batchvid.domain.errors import ConfigError, StorageError
from batchvid.engine.target import journal_of
from batchvid.providers.credentials import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from batchvid.domain.doubts import Doubt
    from batchvid.domain.job import Progress
    from batchvid.domain.results import Money
    from batchvid.engine.target import Account
    from batchvid.journal.base import JournalReader
    from batchvid.manifest.model import Manifest


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
    manifest = (batchvid.load if decode else load_to_look)(path, output=output, base_url=base_url)
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
        clips = Output.of(manifest.output).clips
        identity = identity_of(manifest.jobs, DependencyGraph(manifest.jobs), journal, clips)
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


def bound_service(manifest: Manifest) -> str | None:
    """Return the service that the journal belongs to; ``None`` when there is no journal."""
    journal = journal_of(manifest).read()
    if journal is None:
        return None
    with journal:
        return journal.meta_get("service")


def bound_account(manifest: Manifest, stack: ExitStack, *, key_file: Path | None) -> Account:
    """Return the account that paid for the journal's tasks; raises `ConfigError` when it is not the manifest's."""
    from batchvid.engine.target import SANDBOX, sandbox_account, service_account

    service = bound_service(manifest)
    if service == SANDBOX:
        return sandbox_account(manifest, stack)
    if service != manifest.base_url:
        raise ConfigError(f"the clips come from {service}, and not from {manifest.base_url}: add --base-url {service}")
    return service_account(manifest, key_file=key_file)


class Moment(click.ParamType[float]):
    """A time of day (the next one, in local time) or a full RFC 3339 moment; gives UTC epoch seconds."""

    name = "HH:MM"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from datetime import datetime, timedelta

        if isinstance(value, float):
            return value
        now = datetime.now().astimezone()
        try:
            if "T" in str(value):
                return datetime.fromisoformat(str(value)).astimezone().timestamp()
            hour, minute = time_of_day(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time: write 06:00, or 2026-01-31T06:00:00", param, ctx)
        today = now.replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0)
        moment = today.astimezone()
        return (moment if moment > now else (today + timedelta(days=1)).astimezone()).timestamp()


def time_of_day(text: str) -> tuple[int, int]:
    """Return hour and minute of ``06:00``; raises ``ValueError``."""
    found = time.strptime(text, "%H:%M")
    return found.tm_hour, found.tm_min


class Duration(click.ParamType[float]):
    """A length of time such as ``8h`` or ``1h30m``; gives seconds."""

    name = "8h"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from batchvid.manifest.values import duration_s

        if isinstance(value, float):
            return value
        try:
            return duration_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Speed(click.ParamType[float]):
    """How many times as fast as the service the sandbox is: a number within bounds."""

    name = "N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from batchvid.engine.target import FASTEST, SLOWEST

        try:
            found = float(str(value))
        except ValueError:
            found = 0.0
        if not SLOWEST <= found <= FASTEST:
            self.fail(f"{value!r} is no speed: write a number from {SLOWEST} to {FASTEST:.0f}", param, ctx)
        return found


class ClipMoment(click.ParamType[float]):
    """A moment of a clip: ``3.5s`` after its beginning, ``-0.2s`` before its end; gives seconds."""

    name = "-0.2s"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from batchvid.manifest.values import moment_s

        if isinstance(value, float):
            return value
        try:
            return moment_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Amount(click.ParamType[int]):
    """An amount of money such as ``25.00``; gives millionths."""

    name = "25.00"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        from batchvid.manifest.values import money_micros

        if isinstance(value, int):
            return value
        try:
            return money_micros(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
