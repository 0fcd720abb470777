"""What the commands share with which a person decides about jobs: the journal, held for it, and the question."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from batchvid.cli.streams import complain
from batchvid.domain.errors import ConfigError
from batchvid.engine.target import has_journal, journal_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.domain.job import Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.journal.sqlite import Journal
    from batchvid.manifest.model import Manifest


@contextmanager
def writing(manifest: Manifest) -> Iterator[Journal]:
    """Open the journal for a person's word, if there is one; raises `ConfigError` when nothing was ever run.

    What the last run left is taken up before: a paid task whose id is known must not be bought again as one in doubt.
    """
    from batchvid.domain.dependencies import DependencyGraph
    from batchvid.engine.moving import move_jobs
    from batchvid.engine.recovery import take_back, take_up
    from batchvid.journal import home
    from batchvid.journal.sqlite import Journal
    from batchvid.storage.output import Output

    path = journal_path(manifest)
    if not has_journal(manifest):
        raise ConfigError(f"nothing was ever run into {manifest.output}: no job can be reopened or adopted")
    output, at = Output.of(manifest.output), time.time()
    refused = None
    with output.state.lock(), Journal.reopen(path) as journal:
        named = {job.id: job for job in manifest.jobs}
        home.settle(journal, None, moved=False, note=complain)
        take_back(journal, output, jobs=named, leave_aside=False, at=at, warn=complain)
        take_up(journal, output.state, at=at, warn=complain)
        move_jobs(
            journal,
            output,
            jobs=manifest.jobs,
            dependencies=DependencyGraph(manifest.jobs),
            limits=manifest.limits,
            at=at,
            note=complain,
            warn=complain,
        )
        try:
            yield journal
        except click.ClickException as error:
            refused = error  # what was asked for cannot be done, and the journal is closed properly all the same
    if refused is not None:
        raise refused


def record(journal: Journal, row: Progress, *events: Event) -> None:
    """Record what a person decided about one job."""
    from batchvid.journal.base import Change

    at = time.time()
    journal.record([Change.of(row, *((event, at) for event in events))])


def confirmed(question: str) -> bool:
    """Ask the person; raises ``click.UsageError`` when there is nobody to ask."""
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        if sys.stdin is not None and sys.stdin.isatty():
            raise
        complain("")  # ends the line of the question
        raise click.UsageError("nobody is there to be asked: add --yes") from None
