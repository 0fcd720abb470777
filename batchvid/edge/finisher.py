"""The threads in which clips get their names, in groups: clips that end together share the sync of their folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from batchvid.core.mp4 import NotAClip
from batchvid.edge.gather import Gatherer
from batchvid.errors import BatchvidError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

T = TypeVar("T")

GROUP_MAX = 16
"""Clips in one turn of a thread: some milliseconds of work, after which the first of them waits no longer."""
AT_ONCE = 2
"""While one thread waits for the disk, another prepares what it waits for next."""


@dataclass(frozen=True, slots=True)
class Named(Generic[T]):
    """What was made of a file that has its name, in a folder that is still to be synced."""

    result: T
    folder: int
    """A descriptor of the folder."""
    place: Hashable
    """The same for all files in that folder."""
    then: Callable[[], None]
    """What is left to be done once the name is durable."""


class Finisher:
    """Does the work of one output's parts on the disk. To be used in one event loop."""

    def __init__(self) -> None:
        self._gatherer: Gatherer[Callable[[], Any], Any] = Gatherer(_all_done, most=GROUP_MAX, at_once=AT_ONCE)

    async def do(self, work: Callable[[], T]) -> T:
        """Do *work* in a thread and give its result; a cancelled caller waits for its end, and then it is cancelled."""
        result, cancelled = await self._gatherer.outcome(work)
        if cancelled is not None:
            raise cancelled
        if isinstance(result, BaseException):
            raise result
        done: T = result
        return done

    async def name(self, work: Callable[[], Named[T]]) -> T:
        """Do *work*, sync the folder of what it named, and give the result; a cancellation waits as in `do`."""
        result: Any = await self.do(work)
        named: T = result
        return named


def _all_done(works: Sequence[Callable[[], Any]]) -> list[Any]:
    results = [_done(work) for work in works]
    folders = {one.place: one.folder for one in results if isinstance(one, Named)}
    troubles = {place: _done(partial(os.fsync, folder)) for place, folder in folders.items()}
    for number, one in enumerate(results):
        if isinstance(one, Named):
            results[number] = troubles[one.place] or _done(one.then) or one.result
    return results


def _done(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (OSError, BatchvidError, NotAClip) as error:  # it goes to whoever wanted it done; the others' work goes on
        return error
