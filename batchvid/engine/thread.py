"""A run beside a program: in a thread and an event loop of its own, so that neither can hold the other up.

* A program that computes, sleeps or blocks does not delay a poll, a download or the pace of paid requests.
* A program whose loop is cancelled or closed does not cut off a paid request: the run is told to drain, as Ctrl-C
  tells the command line. Only a second cancellation stops it at once, and its paid tasks are on record even then.
* A program that ends waits for the run to drain: the interpreter waits for the run's thread, and the run sees that the
  interpreter ends. Its threads are there from the start, because Python starts none at that time.
* A child that the program forks has nothing of the run: no thread, no lock, no journal, no connection. Whatever it
  asks of the run, it need not wait.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from selectors import DefaultSelector
from typing import TYPE_CHECKING, TypeVar

from batchvid.domain.errors import Exit
from batchvid.engine.context import Interrupts
from batchvid.engine.observer import log
from batchvid.engine.run import run
from batchvid.storage.state import kept_from_children
from batchvid.storage.threads import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor, Future

    from batchvid.domain.results import Summary
    from batchvid.engine.context import RunContext

    MakeContext = Callable[[Interrupts], RunContext]
    T = TypeVar("T")


WORKERS = min(32, (os.cpu_count() or 1) + 4)
"""Threads for files and names of hosts: as many as asyncio takes."""
LOOK_S = 0.25
"""How often the run looks whether the interpreter ends, and the program's loop whether the run is over."""


class Engine:
    """One run, from its start to its summary. *make_context* is called in the run's own thread, and may raise."""

    def __init__(self, make_context: MakeContext) -> None:
        self._make_context = make_context
        self._interrupts = Interrupts()
        self._process = os.getpid()
        # The workers of a `ThreadPoolExecutor` end when the interpreter begins to end, before anything else does.
        self._bell = ThreadPoolExecutor(1, thread_name_prefix="batchvid-bell")
        self._ringer = self._bell.submit(threading.current_thread).result()
        self._runner = asyncio.Runner(loop_factory=_Loop)
        self._loop = self._runner.get_loop()
        self._loop.call_soon(self._listen)
        thread = Workers(1, "batchvid", daemon=False)
        self._future: Future[Summary] = thread.submit(self._run)
        thread.shutdown(wait=False)

    def _run(self) -> Summary:
        with self._bell, self._runner:
            return self._runner.run(run(self._make_context(self._interrupts)))

    def _listen(self) -> None:
        if self._ringer.is_alive():
            self._loop.call_later(LOOK_S, self._listen)
        else:
            self._drain()

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
        if not self._is_over():
            with suppress(RuntimeError):  # its loop is closed: the run is over
                self._loop.call_soon_threadsafe(what)

    def _is_here(self) -> bool:
        """Whether this is the process of the run, and not a child that was forked from it."""
        return os.getpid() == self._process

    def _is_over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return not self._is_here() or self._future.done()

    @property
    def summary(self) -> Summary | None:
        """How the run ended; ``None`` while it goes on, or when it failed."""
        over = self._future.done() and self._future.exception() is None
        return self._future.result() if over else None

    @contextmanager
    def telling(self, tell: Callable[[], object]) -> Iterator[None]:
        """Have *tell* called in the running loop when the run is over, after all that the run has told it before.

        The loop looks for itself, too: a forked child that unwinds the loop which it inherited also takes from its
        parent's loop what wakes it.
        """
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal timer
            rest()
            if self._is_over():
                loop.call_soon(tell)
            else:
                timer = loop.call_later(LOOK_S, look)

        def rest() -> None:
            if timer is not None:
                timer.cancel()

        def wake(_: object) -> None:
            with suppress(RuntimeError):  # who waited is gone, and its loop with it
                loop.call_soon_threadsafe(look)

        look()
        self._future.add_done_callback(wake)
        try:
            yield
        finally:
            rest()

    async def result(self) -> Summary:
        """Wait for the end of the run, and return how it ended; raises what the run raised.

        Cancelled, it drains the run before it re-raises; cancelled once more, it stops it.
        """
        try:
            await self._over()
        except asyncio.CancelledError:
            await self.drained()
            raise
        self.ensure_here()
        return self._future.result()

    def ensure_here(self) -> None:
        """Raise `RuntimeError` in a forked child, which has no run."""
        if not self._is_here():
            raise RuntimeError(f"the run belongs to process {self._process}; a forked child has no part in it")

    async def drained(self) -> None:
        """Drain the run and wait until it is over, whoever cancels this; then it is stopped at once."""
        if self._is_over():
            return
        self.drain()
        while not self._is_over():
            try:
                await self._over()
            except asyncio.CancelledError:
                self.stop()
        if self._is_here() and (error := self._future.exception()) is not None:
            log().error("the run failed while it was draining: %s", error)  # nobody waits for its result any more

    async def _over(self) -> None:
        over = asyncio.Event()
        if not self._is_over():
            with self.telling(over.set):
                await over.wait()


class _Loop(asyncio.SelectorEventLoop):
    """The run's event loop: its threads work to its end, and no forked child keeps its connections."""

    def __init__(self) -> None:
        self._waits_for = DefaultSelector()
        super().__init__(self._waits_for)
        self._stack = ExitStack()
        self._stack.enter_context(kept_from_children(self._descriptors))
        self._workers = self._stack.enter_context(Workers(WORKERS, "batchvid-work"))

    def _descriptors(self) -> list[int]:
        return [self._waits_for.fileno(), *(key.fd for key in self._waits_for.get_map().values())]

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Have *func* called in a thread of *executor*, or of the loop's own."""
        return super().run_in_executor(executor or self._workers, func, *args)

    def close(self) -> None:
        """Close it, after its threads have ended."""
        if not self.is_closed():
            self._stack.close()
        super().close()
