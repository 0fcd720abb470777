"""``batchvid run``: does what is left of one manifest, or of several one after the other."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path  # noqa: TC003 click looks at it
from typing import TYPE_CHECKING, Self

import click

from batchvid.accounts import SANDBOX_SPEED, has_journal
from batchvid.commands.finished import Stamping, notes_of
from batchvid.commands.options import (
    base_url_option,
    ca_file_option,
    json_option,
    key_file_option,
    load,
    manifests_argument,
    output_option,
)
from batchvid.commands.streams import complain
from batchvid.commands.values import Amount, Duration, Moment
from batchvid.environment import PREFIX, terminal_can_draw
from batchvid.errors import BatchvidError, Exit, OutputBusyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from batchvid.core.plan import Plan
    from batchvid.core.snapshot import Money
    from batchvid.core.summary import Summary
    from batchvid.manifest.model import Manifest
    from batchvid.session import Account, Options
    from batchvid.views.jsonl import JsonLines
    from batchvid.views.view import View


@click.command("run")
@manifests_argument
@click.option(
    "--until",
    type=Moment(),
    metavar="06:00",
    envvar=f"{PREFIX}UNTIL",
    show_envvar=True,
    help="Stop submitting at this time of day (local), collect what is paid, and exit.",
)
@click.option(
    "--for",
    "for_s",
    type=Duration(),
    metavar="8h",
    envvar=f"{PREFIX}FOR",
    show_envvar=True,
    help="Stop submitting after so long, collect what is paid, and exit.",
)
@click.option(
    "--max-cost",
    type=Amount(),
    metavar="25.00",
    envvar=f"{PREFIX}MAX_COST",
    show_envvar=True,
    help="Spend no more than this in this run.",
)
@click.option("--max-jobs", type=click.IntRange(min=0), metavar="N", help="Submit no more jobs than this in this run.")
@click.option("--only", metavar="GLOB", help="Submit only jobs whose id matches, such as 'kite*'.")
@click.option("--retry-failed", is_flag=True, help="Submit failed jobs again; each costs its price again.")
@click.option("--rebuy", is_flag=True, help="Buy clips again whose content changed after they were paid.")
@click.option("--resubmit-in-doubt", is_flag=True, help="Submit in-doubt jobs again; some may be paid twice.")
@click.option(
    "--sandbox",
    is_flag=True,
    help="Use the embedded stand-in for the service; nothing is paid. A real run needs another --output afterwards.",
)
@click.option(
    "--sandbox-speed",
    type=click.FloatRange(min=0.1),
    metavar="N",
    default=SANDBOX_SPEED,
    show_default=True,
    help="Let the sandbox generate so many times as fast as the service.",
)
@output_option
@base_url_option
@key_file_option
@ca_file_option
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Tell only problems and the summary, as plain lines.")
@click.option("-v", "--verbose", is_flag=True, help="Tell polls too, as plain lines.")
def run_command(  # noqa: PLR0913 one argument an option
    manifests: tuple[Path, ...],
    *,
    until: float | None,
    for_s: float | None,
    max_cost: int | None,
    max_jobs: int | None,
    only: str | None,
    retry_failed: bool,
    rebuy: bool,
    resubmit_in_doubt: bool,
    sandbox: bool,
    sandbox_speed: float,
    output: Path | None,
    base_url: str | None,
    api_key_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Do what is left to do, then exit. Run it as often as you like: what is paid is never bought again.

    The first Ctrl-C stops submitting, lets requests in flight end and records them; the second stops at once. Paid
    tasks stay in the journal either way, and the next run collects them.
    """
    with _Ending(as_json=as_json) as ending:
        verbosity = -1 if quiet else int(verbose)
        stamps = [Stamping(path, output=output, base_url=base_url, sandbox=sandbox) for path in manifests]
        is_plain = len(stamps) == 1 and only is None and not (retry_failed or rebuy or resubmit_in_doubt)
        if is_plain and stamps[0].say_again(as_json=as_json, verbosity=verbosity):
            return Exit.OK

        from batchvid.core.opening import Wishes  # noqa: PLC0415 the engine is loaded only to run
        from batchvid.session import Options  # noqa: PLC0415 as above

        if output is not None and len(manifests) > 1:
            raise click.UsageError("--output goes with one manifest: two cannot share an output")
        loaded = [one.watch(partial(load, one.path, output=output, base_url=base_url)) for one in stamps]
        until_s = min(
            (moment for moment in (until, None if for_s is None else time.time() + for_s) if moment is not None),
            default=None,
        )
        options = Options(
            wishes=Wishes(retry_failed=retry_failed, rebuy=rebuy, resubmit_in_doubt=resubmit_in_doubt),
            stop_submitting_at=until_s,
            max_cost_micros=max_cost,
            max_jobs=max_jobs,
            only=only,
            ca_file=None if ca_file is None else str(ca_file),
        )
        work = _Work(options, sandbox_speed if sandbox else None, api_key_file, as_json=as_json, verbosity=verbosity)
        for one, manifest in zip(stamps, loaded, strict=True):
            try:
                summary = work.run(str(one.path), manifest, ended=partial(one.leave, manifest))
            except OutputBusyError as error:  # that output is being taken care of; the others wait for us
                complain(f"batchvid: {error}")
                ending.add(error.exit_code, str(error))
                continue
            ending.add(summary.exit_code, summary.stopped)
            if summary.exit_code in {Exit.INTERRUPTED, Exit.TERMINATED}:
                break
    return ending.code


class _Ending:
    """How the call ends: the exit code that wins and, for ``--json``, the ``exit`` object, whatever ends it."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._codes: list[Exit] = []
        self._reason: str | None = None

    @property
    def code(self) -> Exit:
        """Give the exit code so far."""
        if not any(self._codes):
            return Exit.OK
        from batchvid.core.outcome import worst  # noqa: PLC0415 as above

        return worst(self._codes)

    def add(self, code: Exit, reason: str | None) -> None:
        """Take note of how one manifest ended."""
        self._codes.append(code)
        self._reason = self._reason or reason

    def __enter__(self) -> Self:
        """Begin."""
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
            from batchvid.views.jsonl import JsonLines  # noqa: PLC0415 only for --json

            JsonLines(sys.stdout).exit(code, self._reason)


class _Work:
    """What one call does for each of its manifests."""

    def __init__(
        self,
        options: Options,
        sandbox_speed: float | None,
        key_file: Path | None,
        *,
        as_json: bool,
        verbosity: int,
    ) -> None:
        self._options = options
        self._speed = sandbox_speed
        self._key_file = key_file
        self._as_json = as_json
        self._verbosity = verbosity

    def run(self, named: str, manifest: Manifest, *, ended: Callable[[Summary, Plan, Money], None]) -> Summary:
        """Run one manifest; *ended* is told when everything is done, and what a further run would find."""
        import asyncio  # noqa: PLC0415 a run with nothing to do does without

        from batchvid.accounts import SANDBOX, service_account  # noqa: PLC0415 as above
        from batchvid.session import Interrupts, Order, run  # noqa: PLC0415 as above

        if self._speed is not None:
            manifest = replace(manifest, limits=manifest.limits.sped_up(self._speed))
        elif not has_journal(manifest):
            # Without a key the first run ends here, before it leaves a folder or a journal behind.
            service_account(manifest, key_file=self._key_file)
        with ExitStack() as stack:
            view, told = _view(named, as_json=self._as_json, verbosity=self._verbosity)
            stack.callback(view.close)
            interrupts = Interrupts()
            order = Order(
                manifest=manifest,
                named=named,
                identity=manifest.base_url if self._speed is None else SANDBOX,
                account=lambda: self._account(manifest, stack),
                options=self._options,
                view=view,
                interrupts=interrupts,
                planned=lambda plan, money: _tell_plan(plan, money, view=view, told=told),
                ended=ended,
            )

            async def interruptible() -> Summary:
                interrupts.install()
                return await run(order)

            return asyncio.run(interruptible())

    def _account(self, manifest: Manifest, stack: ExitStack) -> Account:
        from batchvid.accounts import sandbox_account, service_account  # noqa: PLC0415 as above

        if self._speed is None:
            return service_account(manifest, key_file=self._key_file)
        return sandbox_account(manifest, stack, speed=self._speed)


def _view(named: str, *, as_json: bool, verbosity: int) -> tuple[View, JsonLines | None]:
    """Give the view, and the part of it that writes JSON."""
    from batchvid.views.lines import PlainLines  # noqa: PLC0415 as above
    from batchvid.views.view import Several, Verbosity  # noqa: PLC0415 as above

    level = Verbosity(verbosity)
    if as_json:
        from batchvid.views.jsonl import JsonLines  # noqa: PLC0415 only for --json

        told = JsonLines(sys.stdout, level)
        return Several([told, PlainLines(sys.stderr, level, manifest=named)]), told
    is_terminal = sys.stdout is not None and sys.stdout.isatty() and terminal_can_draw()
    if is_terminal and level is Verbosity.NORMAL:
        from batchvid.views.live import LiveView, console_on  # noqa: PLC0415 rich only on a terminal

        return LiveView(console_on(sys.stdout), manifest=named), None
    return PlainLines(sys.stdout, level, manifest=named), None


def _tell_plan(plan: Plan, money: Money, *, view: View, told: JsonLines | None) -> None:
    """Begin the run's story: its plan for programs, and for people what they might not expect of it."""
    from batchvid.views.plan import plan_sums_json  # noqa: PLC0415 as above

    if told is not None:
        told.write(plan_sums_json(plan, money))
    for note in notes_of(plan):
        view.note(note)
