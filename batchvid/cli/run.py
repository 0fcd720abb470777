"""``run``: does what is left of one manifest, or of several at the same time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from batchvid.cli.options import (
    AMOUNT,
    SPEED,
    database_option,
    dead_time_option,
    for_option,
    json_option,
    load,
    manifests_argument,
    output_option,
    service_options,
    until_option,
    window_end,
)
from batchvid.cli.purchase import NOT_BEGUN, accepted
from batchvid.cli.streams import complain
from batchvid.domain.errors import BatchvidError, Exit
from batchvid.engine.target import SANDBOX_SPEED
from batchvid.providers.credentials import PREFIX

if TYPE_CHECKING:
    from types import TracebackType


@click.command("run")
@manifests_argument
@until_option
@for_option
@click.option(
    "--max-cost",
    type=AMOUNT,
    metavar="25.00",
    envvar=f"{PREFIX}MAX_COST",
    show_envvar=True,
    help="Spend no more than this in this run, over all manifests.",
)
@click.option(
    "--max-jobs", type=click.IntRange(min=0), metavar="N", help="Submit no more jobs than this, over all manifests."
)
@click.option(
    "--only",
    metavar="GLOB",
    multiple=True,
    help="Submit only jobs whose id matches, such as 'kite*'; may be repeated. The summary and the exit code are about "
    "these jobs; paid clips of all jobs are still collected.",
)
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Submit failed jobs again; each costs its price again. Jobs that this run does not reach stay failed.",
)
@click.option(
    "--rebuy",
    is_flag=True,
    help="Buy clips again whose content changed after they were paid. Jobs that this run does not reach stay done.",
)
@click.option(
    "--resubmit-in-doubt",
    is_flag=True,
    help="Submit in-doubt jobs again; some may be paid twice. Jobs that this run does not reach stay in doubt.",
)
@click.option(
    "--moved",
    is_flag=True,
    help="Go on in an output that was copied or moved in the middle of a run: no other copy of it goes on. "
    "Paid tasks that have no place in its journal are left aside.",
)
@click.option(
    "--sandbox",
    is_flag=True,
    help="Use the sandbox instead of the service; nothing is paid. Without --output, the clips go to the manifest's "
    "output with -sandbox behind its name.",
)
@click.option(
    "--sandbox-speed",
    type=SPEED,
    metavar="N",
    default=SANDBOX_SPEED,
    show_default=True,
    help="Let the sandbox generate so many times as fast as the service.",
)
@click.option(
    "--publish",
    is_flag=True,
    help="With --database: where machines work on another content of the manifest, have nobody begin more of that, "
    "wait for what is begun, and work on this one.",
)
@dead_time_option
@click.option(
    "-y",
    "--yes",
    is_flag=True,
    envvar=f"{PREFIX}YES",
    show_envvar=True,
    help="Do not ask before buying, for scripts. Nobody is asked where the input or the errors are no terminal, with "
    "--json, with --sandbox, or when nothing would be submitted.",
)
@output_option
@database_option
@service_options
@click.option(
    "--no-report",
    is_flag=True,
    envvar=f"{PREFIX}NO_REPORT",
    show_envvar=True,
    help="Write no report.html at the end, and make no pictures for it.",
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=f"{PREFIX}METRICS",
    metavar="FILE",
    show_envvar=True,
    help="Keep a file for Prometheus' node exporter (textfile collector) up to date; it should end in .prom.",
)
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Tell only problems and the summary, as plain lines.")
@click.option("-v", "--verbose", is_flag=True, help="Tell polls too, as plain lines.")
def run_command(
    manifests: tuple[Path, ...],
    *,
    until: float | None,
    for_s: float | None,
    max_cost: int | None,
    max_jobs: int | None,
    only: tuple[str, ...],
    retry_failed: bool,
    rebuy: bool,
    moved: bool,
    resubmit_in_doubt: bool,
    sandbox: bool,
    sandbox_speed: float,
    publish: bool,
    dead_s: float,
    yes: bool,
    output: str | None,
    database: str | None,
    base_url: str | None,
    api_key_file: Path | None,
    ca_file: str | None,
    metrics: Path | None,
    no_report: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Do what is left to do, then exit. Run it as often as you like: what is paid is never bought again.

    The first Ctrl-C stops submitting, lets requests in flight end and records them; the second stops at once. Paid
    tasks stay in the journal either way, and the next run collects them.

    On a terminal it shows what it is going to buy, and the most that this may cost, and asks once. Elsewhere it says
    that at its start. Without a budget (limits.budget or --max-cost), and without known prices, nothing bounds the
    cost: the question says so, and elsewhere it is a warning.

    Several manifests are at work at the same time. Those of one account share its limits: the strictest of each holds
    for all of them together.

    A job that has another id now keeps its clip, which gets the new name. A job without an id that was edited is told
    beside the paid one that it resembles, before it is bought; on a terminal it can be held back, and the others go on.
    """
    with _Ending(as_json=as_json) as ending:
        from batchvid.cli.runs import Published, Telling, do
        from batchvid.domain.limits import RunOptions, matching
        from batchvid.engine.observer import Verbosity

        if output is not None and len(manifests) > 1:
            raise click.UsageError("--output goes with one manifest: two cannot share an output")
        loaded = [
            load(path, output=output, database=database, base_url=base_url, sandbox=sandbox, decode=True)
            for path in manifests
        ]
        if api_key_file is not None and len({(one.base_url, one.key_env) for one in loaded}) > 1:
            raise click.UsageError("--api-key-file goes with one account: these manifests name several")
        ids = [job.id for one in loaded for job in one.jobs]
        chosen = matching(ids, only)
        for pattern in (one for one in only if not matching(ids, [one])):
            complain(f"warning: no job's id matches --only {pattern!r}")
        options = RunOptions(
            retry_failed=retry_failed,
            rebuy=rebuy,
            resubmit_in_doubt=resubmit_in_doubt,
            only=only or None,
            until_at=window_end(until, for_s),
            max_cost_micros=max_cost,
            max_jobs=max_jobs,
            moved=moved,
            sandbox_speed=sandbox_speed if sandbox else None,
            key_file=None if api_key_file is None else str(api_key_file),
            ca_file=ca_file,
        )
        names = [str(path) for path in manifests]
        wanted = accepted(loaded, names, options, yes=yes, as_json=as_json)
        if wanted is None:
            ending.add(Exit.STOPPED, "not begun: it was not accepted")
            complain(NOT_BEGUN)
            return ending.code
        if held_back := sum(len(one.jobs) for one in loaded) - sum(len(one.jobs) for one in wanted):
            ending.add(Exit.STOPPED, f"held back, as was wished: {held_back}")
        telling = Telling(as_json, Verbosity(-1 if quiet else int(verbose)), metrics, not no_report)
        published = Published(replaces=publish, dead_s=dead_s)
        for outcome in do(options, telling, names, wanted, published):
            if not isinstance(outcome, BatchvidError):
                if not chosen or any(outcome.counts.values()):  # else --only is about another manifest
                    ending.add(outcome.exit_code, outcome.stopped)
            elif len(manifests) > 1:  # told already
                ending.add(outcome.exit_code, str(outcome))
            else:
                raise outcome
    return ending.code


class _Ending:
    """How the call ends: the exit code that wins and, for ``--json``, the ``exit`` object, whatever ends it."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._codes: list[Exit] = []
        self._reason: str | None = None

    @property
    def code(self) -> Exit:
        """Return the exit code so far."""
        if not any(self._codes):
            return Exit.OK
        from batchvid.domain.results import worst

        return worst(self._codes)

    def add(self, code: Exit, reason: str | None) -> None:
        """Record how one manifest ended."""
        self._codes.append(code)
        self._reason = self._reason or reason

    def __enter__(self) -> Self:
        """Return it; the block is the whole call."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the last line; what ended the call goes on to be told on standard error."""
        match error:
            case None:
                code = self.code
            case BatchvidError():
                code, self._reason = error.exit_code, str(error)
            case click.ClickException():
                code, self._reason = Exit.USAGE, error.format_message()
            case KeyboardInterrupt():
                code = Exit.INTERRUPTED
            case _:
                code, self._reason = Exit.BUG, type(error).__name__
        if self._as_json:
            from batchvid.cli.output.jsonl import JsonLines

            JsonLines(sys.stdout).exit(code, self._reason)
