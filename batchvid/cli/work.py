"""``work``, and ``run --database``: one of many machines at work on what is published in a database."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from batchvid.cli.options import (
    ca_file_option,
    database_option,
    dead_time_option,
    for_option,
    json_option,
    key_file_option,
    until_option,
    window_end,
)
from batchvid.cli.streams import complain
from batchvid.domain.errors import Exit
from batchvid.providers.credentials import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.cli.runs import Telling
    from batchvid.engine.cluster import WorkerOptions
    from batchvid.engine.context import Interrupts
    from batchvid.engine.observer import Observer
    from batchvid.manifest.model import Manifest


@click.command("work")
@database_option
@until_option
@for_option
@click.option("--once", is_flag=True, help="Exit when nothing is left to do, instead of waiting for more.")
@dead_time_option
@key_file_option
@ca_file_option
@click.option(
    "--no-report",
    is_flag=True,
    envvar=f"{PREFIX}NO_REPORT",
    show_envvar=True,
    help="Write no report.html when this worker is the one that ends a manifest.",
)
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Tell only problems and how it ended.")
@click.option("-v", "--verbose", is_flag=True, help="Tell polls too.")
def work_command(
    *,
    database: str | None,
    until: float | None,
    for_s: float | None,
    once: bool,
    dead_s: float,
    api_key_file: Path | None,
    ca_file: str | None,
    no_report: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Work on what is published in a database, beside other machines. It needs no manifest.

    `batchvid run MANIFEST --database URL` publishes, works, and waits until all is done; this helps it. A worker waits
    for work until it is stopped: the first Ctrl-C or SIGTERM hands back what it has not begun, and collects what is
    under way for a moment. Exit 75: others have taken over what it had; start it again.
    """
    from batchvid.cli.runs import Telling
    from batchvid.engine.cluster import WorkerOptions
    from batchvid.engine.context import Interrupts
    from batchvid.engine.observer import Verbosity
    from batchvid.engine.target import address_of

    if database is None:
        raise click.UsageError("name the database: --database URL, or the variable BATCHVID_DATABASE")
    options = WorkerOptions(
        database=address_of(database),
        once=once,
        until_at=window_end(until, for_s),
        key_file=api_key_file,
        ca_file=ca_file,
        dead_s=dead_s,
    )
    telling = Telling(as_json, Verbosity(-1 if quiet else int(verbose)), None, not no_report)
    code, reason = asyncio.run(_work(options, telling, Interrupts()))
    if as_json:
        from batchvid.cli.output.jsonl import JsonLines

        JsonLines(sys.stdout).exit(code, reason or None)
    elif reason:
        complain(f"batchvid: this worker ends: {reason}")
    return code


async def _work(options: WorkerOptions, telling: Telling, interrupts: Interrupts) -> tuple[Exit, str]:
    from batchvid.cli.runs import closed, lines_of
    from batchvid.engine.cluster import Cluster

    interrupts.install()
    observers: dict[str, Observer] = {}

    def observer_of(_: int, manifest: Manifest) -> Observer:
        name = manifest.path.name
        return observers.setdefault(name, lines_of(telling, name))

    own = lines_of(telling, "")
    cluster = Cluster(
        options,
        observer_of=observer_of,
        note=own.note,
        warn=own.warn,
        interrupts=interrupts,
        closed=partial(closed, telling=telling, observer_of=observer_of),
    )
    code, reason = await cluster.work()
    return (code if code is not Exit.OK else interrupts.code or Exit.OK), reason
