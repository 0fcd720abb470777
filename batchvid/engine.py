"""A run beside a program: in a thread and an event loop of its own, so that neither can hold the other up.

* A program that computes, sleeps or blocks does not delay a poll, a download or the pace of paid requests.
* A program whose loop is cancelled or closed does not cut off a paid request: the run is told to drain, as Ctrl-C
  tells the command line. Only a second cancellation stops it at once, and its paid tasks are on record even then.
* A program that ends waits for the run to drain.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING
from weakref import WeakMethod

from batchvid.errors import Exit
from batchvid.session import Interrupts, run
from batchvid.views.logged import LOG

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from batchvid.core.summary import Summary
    from batchvid.session import Order

    MakeOrder = Callable[[ExitStack, Interrupts], Order]


class Engine:
    """One run, from its start to its summary. *make_order* is called in the run's own thread, and may raise."""

    def __init__(self, make_order: MakeOrder) -> None:
        self._make_order = make_order
        self._interrupts = Interrupts()
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        pool = ThreadPoolExecutor(1, thread_name_prefix="batchvid")
        self._future: Future[Summary] = pool.submit(self._run)
        pool.shutdown(wait=False)
        _at_exit(WeakMethod(self.drain_now))

    def _run(self) -> Summary:
        with self._runner, ExitStack() as stack:
            return self._runner.run(run(self._make_order(stack, self._interrupts)))

    def drain(self) -> None:
        """Send nothing new; let requests in flight end and be recorded. Does nothing when that is under way."""
        self._tell(self._drain)

    def stop(self) -> None:
        """Stop at once; the journal is intact, and what is paid is collected by the next run."""
        self._tell(self._stop)

    def _drain(self) -> None:
        if self._interrupts.code is None:
            self._interrupts.received(Exit.INTERRUPTED)

    def _stop(self) -> None:
        self._drain()
        self._interrupts.received(Exit.INTERRUPTED)

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # its loop is closed: the run is over
            self._loop.call_soon_threadsafe(what)

    @property
    def summary(self) -> Summary | None:
        """How the run ended; ``None`` while it goes on, or when it failed."""
        over = self._future.done() and self._future.exception() is None
        return self._future.result() if over else None

    def when_over(self, tell: Callable[[], None]) -> None:
        """Have *tell* called when the run is over, from any thread."""
        self._future.add_done_callback(lambda _: tell())

    async def result(self) -> Summary:
        """Wait for the end of the run, and tell how it ended; raises what the run raised.

        Cancelled, it drains the run before it goes on its way; cancelled once more, it stops it.
        """
        try:
            await self._over()
        except asyncio.CancelledError:
            await self.drained()
            raise
        return self._future.result()

    async def drained(self) -> None:
        """Drain the run and wait until it is over, whoever cancels this; then it is stopped at once."""
        if self._future.done():
            return
        self.drain()
        while not self._future.done():
            try:
                await self._over()
            except asyncio.CancelledError:
                self.stop()
        if (error := self._future.exception()) is not None:
            LOG.error("the run failed while it was draining: %s", error)  # nobody waits for its result any more

    def drain_now(self) -> None:
        """Drain the run and block until it is over: for when no loop is left to wait in."""
        if not self._future.done():
            self.drain()
            wait([self._future])

    async def _over(self) -> None:
        over, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell() -> None:
            with suppress(RuntimeError):  # who waited is gone, and its loop with it
                loop.call_soon_threadsafe(over.set)

        self.when_over(tell)
        await over.wait()


def _at_exit(drain: WeakMethod[Callable[[], None]]) -> None:
    """Have the run drained when the interpreter ends, if it is there then, while threads can still be given work.

    What `atexit` offers comes too late: the executors are shut down then, and no record could be written.
    `concurrent.futures` registers its own end in the same place, which is called after those registered later.
    """

    def end() -> None:
        if (now := drain()) is not None:
            now()

    getattr(threading, "_register_atexit", atexit.register)(end)
