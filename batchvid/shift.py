"""Several runs in one call: at the same time where their outputs differ, together within what an account allows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.errors import BatchvidError
from batchvid.session import run
from batchvid.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from batchvid.core.settings import Limits
    from batchvid.core.summary import Summary
    from batchvid.session import Order

    Ended = Callable[[int, Summary | BatchvidError], Awaitable[None]]


async def run_all(orders: Sequence[Order], accounts: Sequence[Hashable], ended: Ended) -> None:
    """Do what is left of each manifest, and tell how each ended, by its place in *orders*.

    Orders with equal *accounts* share the pace, the room and the refusals of that account. Those that share an output
    are done one after the other. What keeps one of them from beginning does not stop the others.
    """
    limits: dict[Hashable, list[Limits]] = {}
    for order, account in zip(orders, accounts, strict=True):
        limits.setdefault(account, []).append(order.manifest.limits)
    shared = {account: Sharing.among(of_account) for account, of_account in limits.items()}
    by_output: dict[object, list[int]] = {}
    for place, order in enumerate(orders):
        by_output.setdefault(order.manifest.output.resolve(), []).append(place)

    async def one_after_the_other(places: Sequence[int]) -> None:
        for place in places:
            order = orders[place]
            if order.interrupts is not None and order.interrupts.code is not None and place != places[0]:
                return
            await ended(place, await _outcome(replace(order, sharing=shared[accounts[place]])))

    async with asyncio.TaskGroup() as group:
        for places in by_output.values():
            group.create_task(one_after_the_other(places), name=orders[places[0]].named)


async def _outcome(order: Order) -> Summary | BatchvidError:
    try:
        return await run(order)
    except BatchvidError as error:
        return error
