"""Work on the disk that is done in groups, step by step, so that many clips wait for the disk together.

A row of steps says at each what must be durable before the next one. A group takes a step at once: the disk is told of
all that it has to write before the first of it is waited for, and a folder that several wait for is synced once.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Hashable, Sequence
from contextlib import ExitStack
from functools import partial
from types import GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from batchvid.domain.errors import BatchvidError
from batchvid.media.mp4 import NotAClip
from batchvid.storage.fs import begin_to_write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchvid.storage.threads import Batcher


T = TypeVar("T")

GROUP_MAX = 16
"""Clips in one turn of a thread: some milliseconds of work, after which the first of them waits no longer."""
AT_ONCE = 4
"""A disk takes many syncs in the time of one, when they come together."""


class Durable(NamedTuple):
    """What has to be durable before the next step."""

    descriptor: int
    folder: Hashable = None
    """The same for all who want the same folder; ``None``: a file."""


Steps = Generator[Sequence[Durable], Sequence[OSError | None], T]
"""Work on the disk. It yields what must be durable before its next step, and is sent what went wrong with each."""


class Finisher:
    """Does the work of one output's parts on the disk. To be used in one event loop."""

    def __init__(self) -> None:
        from batchvid.storage.threads import Batcher

        self._gatherer: Batcher[Callable[[], Any], Any] = Batcher(_all_done, most=GROUP_MAX, at_once=AT_ONCE)

    async def do(self, work: Callable[[], T]) -> T:
        """Do *work* in a thread and return its result; a cancelled caller waits for its end first."""
        result, cancelled = await self._gatherer.outcome(work)
        if cancelled is not None:
            raise cancelled
        if isinstance(result, BaseException):
            raise result
        done: T = result
        return done

    async def follow(self, steps: Steps[T]) -> T:
        """Do *steps* as `do` does, each together with those of others, and return their result."""
        result: Any = await self.do(lambda: steps)
        done: T = result
        return done


def _all_done(works: Sequence[Callable[[], Any]]) -> list[Any]:
    results = [_done(work) for work in works]
    going = {number: steps for number, steps in enumerate(results) if isinstance(steps, GeneratorType)}
    with ExitStack() as stack:
        for steps in going.values():
            stack.callback(steps.close)  # what is cut off tidies up before this ends
        _follow(going, results)
    return results


def _follow(going: Mapping[int, Steps[Any]], results: list[Any]) -> None:
    """Take all steps together, and put down what came of each row of them."""
    told: dict[int, Sequence[OSError | None]] = {}
    while going:
        wanted: dict[int, Sequence[Durable]] = {}
        for number, steps in going.items():
            try:
                wanted[number] = steps.send(told[number]) if told else next(steps)
            except StopIteration as end:
                results[number] = end.value
            except OWN_TROUBLE as error:
                results[number] = error
        troubles = _synced([one for some in wanted.values() for one in some])
        told = {number: [troubles[one] for one in some] for number, some in wanted.items()}
        going = {number: going[number] for number in wanted}


OWN_TROUBLE = (OSError, BatchvidError, NotAClip)
"""It goes to whoever wanted the work done; the others' goes on."""


def _done(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except OWN_TROUBLE as error:
        return error


def _synced(durables: Sequence[Durable]) -> dict[Durable, OSError | None]:
    """Make all of them durable; return what went wrong with each."""
    files = [one for one in durables if one.folder is None]
    if len(files) > 1:
        for one in files:  # the disk begins with all of them, and is not asked for one after the other
            begin_to_write(one.descriptor)
    folders = {one.folder: one for one in durables if one.folder is not None}
    troubles = {one: _done(partial(os.fsync, one.descriptor)) for one in (*files, *folders.values())}
    return {one: troubles[folders.get(one.folder, one)] for one in durables}
