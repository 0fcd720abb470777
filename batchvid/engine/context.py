"""What one run works with, for the command line and for programs alike."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError, Exit
from batchvid.domain.frozen import frozen
from batchvid.domain.limits import RunOptions
from batchvid.engine.target import SANDBOX, account_of, key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
    from contextlib import AbstractAsyncContextManager

    from batchvid.domain.plan import Plan
    from batchvid.domain.results import Money, Summary
    from batchvid.engine.budget import SpendCap
    from batchvid.engine.observer import Observer
    from batchvid.engine.steps import ServicePort
    from batchvid.engine.workers import InFlightPool, Runner
    from batchvid.manifest.model import Manifest


@dataclass(slots=True)
class Interrupts:
    """The signals that end the runs of a call: the first drains them, the second stops them at once."""

    runners: list[Runner] = field(default_factory=list)
    tasks: set[asyncio.Task[object]] = field(default_factory=set)
    code: Exit | None = None
    at_once: bool = False

    def install(self) -> None:
        """Listen to SIGINT, SIGTERM and SIGHUP in the running loop; to SIGHUP not where it is ignored (``nohup``)."""
        loop = asyncio.get_running_loop()
        for number, code in (
            (signal.SIGINT, Exit.INTERRUPTED),
            (signal.SIGTERM, Exit.TERMINATED),
            (signal.SIGHUP, Exit.TERMINATED),
        ):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.received, code)

    def received(self, code: Exit) -> None:
        """Drain the runs, or stop them when they are draining already."""
        if self.code is None:
            self.code = code
            for runner in self.runners[:1]:
                runner.ports.observer.note(
                    "stopping: nothing new is sent, requests in flight end and are recorded; "
                    "once more stops at once (paid tasks stay in the journal)"
                )
            for runner in self.runners:
                runner.drain()
        elif self.tasks and not self.at_once:
            self.at_once = True
            for task in self.tasks:
                task.cancel()


@asynccontextmanager
async def over_network(context: RunContext) -> AsyncIterator[ServicePort]:
    """Open the way to the run's service, or to a sandbox of its own; raises `ConfigError` when there is no key."""
    from batchvid.providers.http import Service  # a run with nothing to do needs no HTTP client

    with account_of(context.manifest, context.options) as account:
        if not account.key:
            context.observer.note(f"no key is sent to {account.base_url}: service.key_env names no variable")
        if account.unused_proxy:
            context.observer.warn(account.unused_proxy)
        downloads = context.manifest.limits.downloads
        async with Service(account.base_url, account.key, network=account.network, downloads=downloads) as service:
            yield service


@frozen
class RunContext:
    """One manifest, what was asked, who watches, and how the world is reached."""

    manifest: Manifest
    """As `target.as_run` returns it."""
    named: str
    """The manifest as the person wrote it."""
    observer: Observer
    options: RunOptions = field(default_factory=RunOptions)
    interrupts: Interrupts = field(default_factory=Interrupts)
    spend_cap: SpendCap | None = None
    """What the whole call may do; by default the *options* bound this run alone."""
    pool: InFlightPool | None = None
    """The account, when other runs of the call use it too."""
    connect: Callable[[RunContext], AbstractAsyncContextManager[ServicePort]] = over_network
    """Entered only when there is something to do."""
    wall: Callable[[], float] = time.time
    planned: Callable[[Plan, Money], None] | None = None
    """Told what the run is going to do, before it does anything."""
    before_summary: Callable[[Summary], Awaitable[None]] | None = None
    """Awaited when all is on disk and the output is free again, before the observer is told the summary."""

    @property
    def identity(self) -> str:
        """Return what the journal is bound to: the base URL, or ``sandbox``."""
        return self.manifest.base_url if self.options.sandbox_speed is None else SANDBOX

    @property
    def is_rehearsal(self) -> bool:
        """Whether the sandbox stands in for the service."""
        return self.identity == SANDBOX

    @property
    def account_id(self) -> Hashable:
        """Return what tells accounts apart: address and key. The sandboxes of a rehearsal stand for one."""
        if self.options.sandbox_speed is not None:
            return SANDBOX
        try:
            return self.manifest.base_url, key_of(self.manifest, self.options.key_file)
        except ConfigError:  # told when it is needed: there may be nothing to do
            return self.manifest.base_url, None
