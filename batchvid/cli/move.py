"""``move-journal``: from beside the clips into a database, before many machines work on a manifest, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchvid.cli.options import database_option, load, manifest_argument, output_option
from batchvid.cli.output.advice import command, keep_flags
from batchvid.cli.output.text import count
from batchvid.cli.streams import complain, tell
from batchvid.domain.errors import Exit

if TYPE_CHECKING:
    from pathlib import Path


@click.command("move-journal")
@manifest_argument
@output_option
@database_option
@click.option("--back", is_flag=True, help="Move it from the database beside the clips again, for one machine.")
def move_journal_command(manifest: Path, *, output: str | None, database: str | None, back: bool) -> int:
    """Move the journal from beside the clips into a database, with all that is paid; the clips stay where they are.

    All of it goes over, or nothing does. Killed or cut off, it is done again. The old journal stays, as
    journal.moved.db or in the database, and nothing goes on with it.
    """
    from batchvid.engine.moving import move_back, move_into_database

    loaded = load(manifest, output=output, database=database)
    if not loaded.database:
        raise click.UsageError("name the database with --database, BATCHVID_DATABASE or database: in the manifest")
    jobs = (move_back if back else move_into_database)(loaded, note=complain)
    if back:
        keep_flags(output=output, base_url=None, database=None, sandbox=False)
    tell(f"moved the journal with {count(jobs, 'job')}. Next: {command('run', str(manifest))}")
    return Exit.OK
