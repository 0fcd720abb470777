"""``batchvid run``: does what is left of one manifest, or of several one after the other."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path  # noqa: TC003 click looks at it
from typing import TYPE_CHECKING

import click

from batchvid.commands.options import (
    base_url_option,
    ca_file_option,
    json_option,
    key_file_option,
    load,
    manifests_argument,
    output_option,
)
from batchvid.environment import PREFIX, find_key
from batchvid.errors import BatchvidError, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.core.summary import Summary
    from batchvid.manifest.model import Manifest
    from batchvid.session import Account, Options
    from batchvid.views.view import View

SANDBOX = "sandbox"
"""What a journal is bound to that the embedded sandbox served."""
SANDBOX_SPEED = 20.0


class Moment(click.ParamType[float]):
    """A time of day (the next one, in local time) or a full RFC 3339 moment; gives UTC epoch seconds."""

    name = "HH:MM"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        if isinstance(value, float):
            return value
        now = datetime.now().astimezone()
        try:
            if "T" in str(value):
                return datetime.fromisoformat(str(value)).astimezone().timestamp()
            time_of_day = datetime.strptime(str(value), "%H:%M").time()  # noqa: DTZ007 local by meaning
        except ValueError:
            self.fail(f"{value!r} is no time: write 06:00, or 2026-01-31T06:00:00", param, ctx)
        moment = datetime.combine(now.date(), time_of_day).astimezone()
        if moment <= now:
            moment = datetime.combine(now.date() + timedelta(days=1), time_of_day).astimezone()
        return moment.timestamp()


class Duration(click.ParamType[float]):
    """A length of time such as ``8h`` or ``1h30m``; gives seconds."""

    name = "8h"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from batchvid.manifest.units import duration_s  # noqa: PLC0415 only where one is given

        if isinstance(value, float):
            return value
        try:
            return duration_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Amount(click.ParamType[int]):
    """An amount of money such as ``25.00``; gives millionths."""

    name = "25.00"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        from batchvid.manifest.units import money_micros  # noqa: PLC0415 only where one is given

        if isinstance(value, int):
            return value
        try:
            return money_micros(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("run")
@manifests_argument
@click.option("--until", type=Moment(), envvar=f"{PREFIX}UNTIL", help="Stop submitting at this time of day; collect.")
@click.option("--for", "for_s", type=Duration(), envvar=f"{PREFIX}FOR", help="Stop submitting after so long; collect.")
@click.option("--max-cost", type=Amount(), envvar=f"{PREFIX}MAX_COST", help="Spend no more than this in this run.")
@click.option("--max-jobs", type=click.IntRange(min=0), help="Submit no more jobs than this in this run.")
@click.option("--only", metavar="GLOB", help="Submit only jobs whose id matches, such as 'kite*'.")
@click.option("--retry-failed", is_flag=True, help="Submit failed jobs again (each costs its price again).")
@click.option("--rebuy", is_flag=True, help="Buy clips again whose content changed after they were paid.")
@click.option("--resubmit-in-doubt", is_flag=True, help="Submit in-doubt jobs again; some may be paid twice.")
@click.option("--sandbox", is_flag=True, help="Use the embedded stand-in for the service; nothing is paid.")
@click.option(
    "--sandbox-speed",
    type=click.FloatRange(min=0.1),
    default=SANDBOX_SPEED,
    show_default=True,
    help="How many times as fast as the service the embedded sandbox generates.",
)
@output_option
@base_url_option
@key_file_option
@ca_file_option
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Tell only problems and the summary.")
@click.option("-v", "--verbose", is_flag=True, help="Tell polls too.")
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
    from batchvid.core.opening import Wishes  # noqa: PLC0415 the engine is loaded only to run
    from batchvid.session import Options  # noqa: PLC0415 as above

    if output is not None and len(manifests) > 1:
        raise click.UsageError("--output goes with one manifest: two cannot share an output")
    loaded = [load(path, output=output, base_url=base_url) for path in manifests]
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
    verbosity = -1 if quiet else int(verbose)
    work = _Work(options, sandbox_speed if sandbox else None, api_key_file, as_json=as_json, verbosity=verbosity)
    return work.do([(str(path), manifest) for path, manifest in zip(manifests, loaded, strict=True)])


class _Work:
    """The manifests of one call, one after the other."""

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

    def do(self, manifests: Sequence[tuple[str, Manifest]]) -> int:
        """Run them; give the exit code that wins."""
        from batchvid.core.outcome import worst  # noqa: PLC0415 as above

        codes, reason = [], None
        try:
            for named, manifest in manifests:
                summary = self._run(named, manifest)
                codes.append(summary.exit_code)
                reason = reason or summary.stopped
                if summary.exit_code in {Exit.INTERRUPTED, Exit.TERMINATED}:
                    break
        except BatchvidError as error:
            codes.append(error.exit_code)
            reason = str(error)
            raise
        finally:
            code = worst(codes)
            if self._as_json:
                from batchvid.views.jsonl import JsonLines  # noqa: PLC0415 only for --json

                JsonLines(sys.stdout).exit(code, reason)
        return code

    def _run(self, named: str, manifest: Manifest) -> Summary:
        from batchvid.session import Interrupts, Order, run  # noqa: PLC0415 as above

        if self._speed is not None:
            manifest = replace(manifest, limits=manifest.limits.sped_up(self._speed))
        with ExitStack() as stack:
            view = self._view(named)
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
            )

            async def interruptible() -> Summary:
                interrupts.install()
                return await run(order)

            return asyncio.run(interruptible())

    def _account(self, manifest: Manifest, stack: ExitStack) -> Account:
        from batchvid.session import Account  # noqa: PLC0415 as above

        if self._speed is None:
            return Account(manifest.base_url, find_key(manifest.key_env, key_file=self._key_file))
        from batchvid.sandbox.embedded import running  # noqa: PLC0415 only for --sandbox
        from batchvid.sandbox.options import Options as SandboxOptions  # noqa: PLC0415 as above

        state = manifest.output / ".batchvid" / SANDBOX
        base_url, key = stack.enter_context(running(SandboxOptions(port=0, speed=self._speed, state_dir=state)))
        return Account(base_url, key)

    def _view(self, named: str) -> View:
        from batchvid.views.jsonl import JsonLines  # noqa: PLC0415 as above
        from batchvid.views.lines import PlainLines  # noqa: PLC0415 as above
        from batchvid.views.view import Several, Verbosity  # noqa: PLC0415 as above

        verbosity = Verbosity(self._verbosity)
        if self._as_json:
            return Several([JsonLines(sys.stdout, verbosity), PlainLines(sys.stderr, verbosity, manifest=named)])
        if sys.stdout is not None and sys.stdout.isatty() and verbosity is Verbosity.NORMAL:
            from batchvid.views.live import LiveView, console_on  # noqa: PLC0415 rich only on a terminal

            return LiveView(console_on(sys.stdout), manifest=named)
        return PlainLines(sys.stdout, verbosity, manifest=named)
