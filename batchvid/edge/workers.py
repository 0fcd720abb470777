"""Threads that go on working while the interpreter ends, until who started them has finished."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

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
