"""A worker's heartbeat ends with it."""

from __future__ import annotations

import asyncio

from batchvid.engine.worker import rung

LONG_S = 60.0


def test_a_bell_that_rings_at_the_end_keeps_nobody() -> None:
    """Who waits for it is cancelled in the very moment in which it rings: that must not be lost."""

    async def end() -> bool:
        bell = asyncio.Event()

        async def beats() -> None:
            while True:
                await rung(bell, LONG_S)
                bell.clear()

        task = asyncio.create_task(beats())  # noqa: TID251 as a worker's task group starts it
        for _ in range(3):
            await asyncio.sleep(0)
        bell.set()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=1.0)
        has_ended = task.done()
        task.cancel()
        return has_ended

    assert asyncio.run(end())


def test_a_bell_that_does_not_ring_is_waited_for_no_longer_than_that() -> None:
    """And whether it rang is for the caller to see."""
    asyncio.run(asyncio.wait_for(rung(asyncio.Event(), 0.01), LONG_S))
