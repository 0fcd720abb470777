"""Threads that go on while the interpreter ends, and work that is handed to a thread in groups.

A group is the work of hundreds of jobs that would each wait for the disk.

While one group is under way, what comes in is gathered, and the next group takes all of it: nobody waits for a clock,
and the slower the disk, the larger the groups. A turn of a thread costs about as much as the work on one small thing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


P = ParamSpec("P")
T = TypeVar("T")


class Workers(Executor):
    """So many threads from the start. The interpreter waits for them at its end unless they are *daemon*.

    Those of `concurrent.futures` take nothing more once the interpreter ends, and Python from 3.12 on starts no thread
    then. A run that drains at the end of its program still has to record what its paid requests brought.
    """

    def __init__(self, count: int, name: str, *, daemon: bool = True) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_shut = False
        self._threads = [
            Thread(target=_work, args=(self._queue,), name=f"{name}_{number}", daemon=daemon) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have *fn* called by the next thread that is free."""
        if self._is_shut:
            raise RuntimeError("the workers are shut down")
        future: Future[T] = Future()
        self._queue.put(partial(_settle, future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 the base class's interface
        """Let the threads end after what they were given; *wait* until they have."""
        if not self._is_shut:
            self._is_shut = True
            for _ in self._threads:
                self._queue.put(None)
        if wait:
            for thread in self._threads:
                thread.join()


def _work(queue: SimpleQueue[Callable[[], None] | None]) -> None:
    while (work := queue.get()) is not None:
        work()
        del work  # what it holds is not kept until there is more to do


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 whatever it was, who waits for the result gets it
        future.set_exception(error)
    else:
        future.set_result(result)


async def settled(
    work: Callable[[], T], *, undo: Callable[[T], None] | None = None, executor: Executor | None = None
) -> T:
    """Do *work* in a thread and return its result; when cancelled, only after the work has come to its end.

    Nothing may close a file or start again while a thread is still at work on the old one. *undo* takes back
    a result that nobody will receive. The thread is one of *executor*, or of the loop's own.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        if not future.cancelled() and future.exception() is None and undo:
            undo(future.result())
        raise


R = TypeVar("R")


class _Settled(asyncio.Future[T]):
    """A future that a cancelled task goes on waiting for: the cancellation reaches it when this is done."""

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 the base class's interface
        """Refuse to be cancelled."""
        return False


class Batcher(Generic[T, R]):
    """Hands things to *work* in groups of at most *most*, *at_once* groups at a time, each in a thread of *executor*.

    *work* gives one result for each thing, in order: a value, or the exception that its caller is to get. What it
    raises, all callers of the group get, unless *again_alone*: then each of their things goes once more by itself. That
    is for work of which nothing stays when it raises. To be used in one event loop.

    A group is begun at least *apart_s* after the one before, unless it is full: what is alone then has company.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Sequence[R | Exception]],
        *,
        most: int,
        at_once: int = 1,
        again_alone: bool = False,
        executor: Executor | None = None,
        apart_s: float = 0.0,
    ) -> None:
        self._work = work
        self._most = most
        self._at_once = at_once
        self._again_alone = again_alone
        self._alone = 0
        """How many of the first that wait go one by one."""
        self._executor = executor
        self._apart_s = apart_s
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[T, _Settled[R | BaseException]]] = deque()
        self._under_way: set[asyncio.Future[Sequence[R | Exception]]] = set()
        self._is_called = False

    async def outcome(self, thing: T) -> tuple[R | BaseException, asyncio.CancelledError | None]:
        """Return what became of *thing* once that is settled, and the cancellation that came meanwhile."""
        loop = asyncio.get_running_loop()
        settled: _Settled[R | BaseException] = _Settled(loop=loop)
        self._waiting.append((thing, settled))
        if not self._is_called and len(self._under_way) < self._at_once:
            self._is_called = True
            loop.call_soon(self._next)  # with all that comes in this turn of the loop
        try:
            return await settled, None
        except asyncio.CancelledError as error:
            return settled.result(), error

    async def finish(self) -> None:
        """Wait until nothing is under way; a cancellation is raised after that."""
        cancelled = None
        self._apart_s = self._not_before = 0.0
        while self._waiting or self._under_way:
            self._next()
            try:
                await asyncio.wait(self._under_way)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled:
            raise cancelled

    def _next(self) -> None:
        self._is_called = False
        if not self._waiting or len(self._under_way) >= self._at_once or self._is_too_soon():
            return
        size = 1 if self._alone else min(len(self._waiting), self._most)
        self._alone = max(0, self._alone - 1)
        group = [self._waiting.popleft() for _ in range(size)]
        things = [thing for thing, _ in group]

        def deliver(done: asyncio.Future[Sequence[R | Exception]]) -> None:
            self._under_way.discard(done)
            error = done.exception()
            if error is not None and self._again_alone and len(group) > 1:
                self._waiting.extendleft(reversed(group))
                self._alone += len(group)
            else:
                results = done.result() if error is None else [error] * len(group)
                for (_, settled), result in zip(group, results, strict=True):
                    settled.set_result(result)
            self._next()

        try:
            under_way = asyncio.get_running_loop().run_in_executor(self._executor, self._work, things)
        except (RuntimeError, MemoryError) as error:  # no thread can be started: who waits must hear of it
            for _, settled in group:
                settled.set_result(error)
            return
        self._under_way.add(under_way)
        under_way.add_done_callback(deliver)

    def _is_too_soon(self) -> bool:
        """Whether the next group waits for more; it is called for again in time then."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < self._not_before and len(self._waiting) < self._most and not self._alone:
            if self._timer is None or self._timer.when() <= now:
                self._timer = loop.call_at(self._not_before, self._next)
            return True
        self._not_before = now + self._apart_s
        return False
