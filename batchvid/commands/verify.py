"""``verify``: holds every clip on disk against the journal, and fetches damaged ones again without paying."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from batchvid.commands.options import (
    base_url_option,
    ca_file_option,
    json_option,
    key_file_option,
    load,
    manifest_argument,
    output_option,
    read_journal,
)
from batchvid.core.job import State
from batchvid.environment import find_key
from batchvid.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchvid.core.job import Job, Progress
    from batchvid.edge.outputs import Outputs
    from batchvid.manifest.model import Manifest


@click.command("verify")
@manifest_argument
@click.option("--deep", is_flag=True, help="Decode every frame of every clip.")
@click.option("--repair", is_flag=True, help="Fetch damaged clips again from their tasks; never buys.")
@output_option
@base_url_option
@key_file_option
@ca_file_option
@json_option
def verify_command(  # noqa: PLR0913 one argument an option
    manifest: Path,
    *,
    deep: bool,
    repair: bool,
    output: Path | None,
    base_url: str | None,
    api_key_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> int:
    """Check every clip: present, size, SHA-256, complete. Exits 3 when one is not as the journal says."""
    from batchvid.edge.outputs import Outputs  # noqa: PLC0415 the engine is loaded only to verify
    from batchvid.mending import Mender  # noqa: PLC0415 as above

    loaded = load(manifest, output=output, base_url=base_url)
    outputs = Outputs(loaded.output)
    done = list(_done(loaded))
    damaged = asyncio.run(_damaged(outputs, done, deep=deep))
    told: dict[str, str] = dict(damaged)
    if repair and damaged:
        mender = Mender(
            outputs,
            base_url=loaded.base_url,
            key=find_key(loaded.key_env, key_file=api_key_file),
            ca_file=None if ca_file is None else str(ca_file),
        )
        with outputs.lock():
            wanted = [(job, row) for job, row in done if job.id in damaged]
            told = asyncio.run(mender.mend(wanted))
    for job_id, wrong in told.items():
        if as_json:
            click.echo(json.dumps({"type": "clip", "id": job_id, "wrong": wrong}))
        else:
            click.echo(f"{job_id}: {wrong}")
    mended = len(damaged) - len(told)
    if as_json:
        click.echo(json.dumps({"type": "verify", "clips": len(done), "wrong": len(told), "repaired": mended}))
    else:
        good = f"{len(done) - len(damaged):,} of {len(done):,} clips are as the journal says"
        click.echo(good + (f", {mended} repaired" if mended else ""))
        if told and not repair:
            click.echo(f"next: batchvid verify {manifest} --repair (fetches them again, for nothing)")
    return Exit.FAILED if told else Exit.OK


def _done(manifest: Manifest) -> Iterator[tuple[Job, Progress]]:
    rows, _ = read_journal(manifest)
    for job in manifest.jobs:
        row = rows.get(job.id)
        if row is not None and row.state is State.DONE:
            yield job, row


async def _damaged(outputs: Outputs, done: list[tuple[Job, Progress]], *, deep: bool) -> dict[str, str]:
    """Give what is wrong with each clip that is not as it should be, by job id."""
    found = {}
    for job, row in done:
        path, size_bytes, sha256 = row.path or "", row.size_bytes or 0, row.sha256 or ""
        wrong = await outputs.check(path, size_bytes=size_bytes, sha256=sha256, full=True)
        if wrong is None and deep:
            wrong = _undecodable(outputs.folder / path)
        if wrong is not None:
            found[job.id] = f"{path} {wrong}"
    return found


def _undecodable(path: Path) -> str | None:
    from batchvid.edge.media import decode_clip  # noqa: PLC0415 only --deep decodes

    try:
        decode_clip(path)
    except ValueError as error:
        return str(error)
    return None
