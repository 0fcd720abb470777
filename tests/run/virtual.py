"""An event loop without waiting: when nothing is left to run, its clock jumps to the next timer.

What is handed to a thread is done at once instead, and delivered a moment later: threads know nothing of the
loop's clock, so none may be at work while it jumps.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

T = TypeVar("T")

STARTS_AT = 1000.0
DISK_S = 0.003
"""How long everything takes that a real run would do in a thread."""
TURN_S = 1e-6
"""How long a turn of the loop takes: no clock stands still, and what waits for the last bit of a sum counts on that."""
LONGEST_S = 1.5 * 86_400.0
"""A run that lasts longer never ends."""
TURNS_AT_ONCE = 200_000
"""Turns of the loop with something to do in each; more of them is a loop that spins."""


class StuckError(AssertionError):
    """The run waits for something that cannot come, spins, or never ends."""


class _JumpingSelector(selectors.DefaultSelector):
    """Reports what is ready, and lets the time pass that the loop would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = STARTS_AT
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Look without waiting."""
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise StuckError("nothing is left to wait for, and the run is not over")
        self.now += timeout + TURN_S
        self._turns = 0 if timeout > 0 else self._turns + 1
        if self._turns > TURNS_AT_ONCE:
            raise StuckError(f"the loop spins at {self.now - STARTS_AT:.3f} s")
        if self.now > STARTS_AT + LONGEST_S:
            raise StuckError("the run does not end")
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock of its own."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time."""
        return self._jumping.now

    def run_in_executor(  # type: ignore[override] # the base class promises the same future, typed more loosely
        self,
        executor: Executor | None,  # noqa: ARG002 none is used
        func: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        """Do it now; tell of it after `DISK_S`."""
        future: asyncio.Future[T] = self.create_future()
        deliver: Callable[[], None]
        try:
            result = func(*args)
        except BaseException as error:  # noqa: BLE001 a future carries whatever was raised, as a thread's does
            raised = error
            deliver = lambda: None if future.done() else future.set_exception(raised)  # noqa: E731 one of two
        else:
            deliver = lambda: None if future.done() else future.set_result(result)  # noqa: E731 the other
        self.call_later(DISK_S, deliver)
        return future


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* to its end, under virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
