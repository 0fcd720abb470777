"""``verify``: holds every clip on disk against the journal, and fetches damaged ones again without paying."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from batchvid.cli.options import (
    bound_account,
    database_option,
    json_option,
    load,
    manifest_argument,
    output_option,
    read_journal,
    service_options,
)
from batchvid.cli.output.text import count
from batchvid.cli.streams import complain, tell
from batchvid.domain.delivery import differences
from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchvid.domain.job import Job, Progress
    from batchvid.domain.lifecycle import ClipSaved
    from batchvid.manifest.model import Manifest
    from batchvid.storage.base import ClipStore


@click.command("verify")
@manifest_argument
@click.option("--quick", is_flag=True, help="Look for presence and size only; no clip is read.")
@click.option("--deep", is_flag=True, help="Decode every frame of every clip.")
@click.option("--repair", is_flag=True, help="Download damaged clips again from their tasks; never buys.")
@output_option
@database_option
@service_options
@json_option
def verify_command(
    manifest: Path,
    *,
    quick: bool,
    deep: bool,
    repair: bool,
    output: str | None,
    database: str | None,
    base_url: str | None,
    api_key_file: Path | None,
    ca_file: str | None,
    as_json: bool,
) -> int:
    """Check every clip: present, size, SHA-256, complete. Exits 3 when one is not as the journal says.

    A clip that is whole, but has other pixels or seconds than were asked for, is told and no reason to exit 3.

    --quick takes seconds for a hundred thousand clips, and finds what is missing or cut off.

    What --repair finds under a clip's name is kept beside it, with the attempt's number. Sidecars that do not tell
    what was decided about their clips are brought up to date.
    """
    if quick and deep:
        raise click.UsageError("--quick reads nothing, --deep decodes everything: choose one")

    from batchvid.cli.output.advice import command
    from batchvid.engine.repair import Repairer
    from batchvid.providers.registry import PROVIDERS
    from batchvid.storage.output import Output

    loaded = load(manifest, output=output, database=database, base_url=base_url)
    held = Output.of(loaded)
    done = list(_done(loaded))
    if quick:
        clips = ((job.id, row.path or "", row.size_bytes or 0) for job, row in done)
        damaged = {one.job_id: one.words for one in held.clips.wrong_clips(clips)}
    else:
        damaged = _damaged(held.clips, done, deep=deep)
    told: dict[str, str] = dict(damaged)
    if repair and damaged:
        with ExitStack() as stack:
            stack.enter_context(journal_of(loaded).lock())
            account = bound_account(loaded, stack, key_file=api_key_file, ca_file=ca_file)
            repairer = Repairer(held.clips, PROVIDERS[loaded.provider], account=account)
            wanted = [(job, row) for job, row in done if job.id in damaged]
            told = asyncio.run(repairer.fetch_again(wanted))
            _keep_replaced(loaded, repairer.replaced)
    for job_id, wrong in told.items():
        if as_json:
            tell(json.dumps({"type": "clip", "id": job_id, "wrong": wrong}))
        else:
            tell(f"{job_id}: {wrong}")
    for line in () if quick else _bring_up_to_date(loaded, held.clips):
        complain(f"warning: {line}")
    repaired = len(damaged) - len(told)
    differs = {} if quick else _differing(held.clips, [(job, row) for job, row in done if job.id not in told])
    for job_id, others in differs.items():
        if as_json:
            tell(json.dumps({"type": "differs", "id": job_id, "differs": others}))
        else:
            tell(f"{job_id}: not what was asked for, but whole: {'; '.join(others)}")
    _tell_sums(len(done), len(told), repaired, as_json=as_json, quick=quick, differs=len(differs))
    if told and not repair and not as_json:
        tell(f"Next: {command('verify', str(manifest), '--repair')} downloads them again, free.")
    return Exit.FAILED if told else Exit.OK


def _bring_up_to_date(manifest: Manifest, clips: ClipStore) -> list[str]:
    """Let the sidecars tell what persons decided, where one could not be written then, or was fetched again since."""
    from batchvid.engine.deciding import bring_up_to_date

    journal = journal_of(manifest).read()
    if journal is None:
        return []
    with journal:
        return bring_up_to_date(journal, clips)


def _keep_replaced(manifest: Manifest, replaced: Sequence[tuple[str, ClipSaved]]) -> None:
    """Let the journal know of files that are others now, or every further run would fetch them once more."""
    if not replaced:
        return
    from batchvid.domain.lifecycle import ClipMissing, TaskSucceeded
    from batchvid.journal.base import Change

    at = time.time()
    with journal_of(manifest).open(service=None) as journal:
        for job_id, saved in replaced:
            row = journal.progress(job_id)
            if row is not None and row.state is State.DONE:
                missing = ClipMissing("it was damaged, and the service sent another file for it")
                journal.record([Change.of(row, (missing, at), (TaskSucceeded(None), at), (saved, at))])


def _tell_sums(clips: int, wrong: int, repaired: int, *, as_json: bool, quick: bool, differs: int) -> None:
    """Tell how many clips there are and how many are wrong still, after *repaired* ones were fetched again."""
    if as_json:
        sums = {"type": "verify", "clips": clips, "wrong": wrong, "repaired": repaired}
        tell(json.dumps(sums | ({"differs": differs} if differs else {}) | ({"quick": True} if quick else {})))
        return
    good = f"{clips - wrong:,} of {count(clips, 'clip')} OK" if wrong else f"{count(clips, 'clip')} OK"
    beside = [f"{repaired:,} downloaded again"] if repaired else []
    beside += [f"{differs:,} not as asked"] if differs else []
    beside += ["presence and size only"] if quick else []
    tell(f"{good} ({', '.join(beside)})" if beside else good)


def _done(manifest: Manifest) -> Iterator[tuple[Job, Progress]]:
    rows, _ = read_journal(manifest)
    for job in manifest.jobs:
        row = rows.get(job.id)
        if row is not None and row.state is State.DONE:
            yield job, row


def _differing(clips: ClipStore, done: list[tuple[Job, Progress]]) -> dict[str, list[str]]:
    """Return in what clips are not what was asked for when they were paid, by job id, as their sidecars tell it."""
    found = ((job.id, differences(clips.sidecar(row.path or ""))) for job, row in done)
    return {job_id: list(others) for job_id, others in found if others}


def _damaged(clips: ClipStore, done: list[tuple[Job, Progress]], *, deep: bool) -> dict[str, str]:
    """Return what is wrong with each clip that is not as it should be, by job id."""
    found = {}
    for job, row in done:
        path, size_bytes, sha256 = row.path or "", row.size_bytes or 0, row.sha256 or ""
        wrong = clips.check(path, size_bytes=size_bytes, sha256=sha256, full=True)
        if wrong is None and deep:
            wrong = _undecodable(clips, path)
        if wrong is not None:
            found[job.id] = f"{path} {wrong}"
    return found


def _undecodable(clips: ClipStore, path: str) -> str | None:
    from batchvid.media.frames import decode_clip

    try:
        with clips.file(path) as file:
            decode_clip(file)
    except ValueError as error:
        return str(error)
    return None
