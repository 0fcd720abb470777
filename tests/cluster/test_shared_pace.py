"""One pace over many processes: real ones, a real PostgreSQL, and a service that notes when requests arrive."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import StorageError
from batchvid.domain.limits import Rate
from batchvid.domain.slots import Asked, Spacing
from batchvid.engine import shared_pace
from batchvid.engine.shared_pace import SharedPace, SubmitPace
from batchvid.journal.pace import PostgresPace
from batchvid.journal.postgres_db import Database, scalar
from tests import postgres
from tests.cluster.pace_bench import make_tables, most_in_a_window, service, start

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

NEXT_IN = "SELECT next_at - extract(epoch FROM clock_timestamp())::float8 FROM batchvid.paces"
BUSY_S = 0.25
"""How late a test's machine may be."""
WINDOW_S = 0.95
"""A second, without what a busy machine shifts between two requests: a burst is much more than that."""


@pytest.fixture
def database() -> Database:
    """Return a database with no pace in it."""
    found = Database(postgres.server().url())
    with contextlib.closing(found.connect()) as db:
        make_tables(db)
        db.execute("TRUNCATE batchvid.paces")
    return found


def asked(database: Database, query: str) -> Any:
    """Return what the database says."""
    with contextlib.closing(database.connect()) as db:
        return scalar(db, query)


def run_with(
    database: Database, rate: Rate, use: Callable[..., Coroutine[Any, Any, Any]], *kinds: type[SharedPace]
) -> Any:
    """Use paces of these kinds, each with its own connection, as so many processes would."""

    async def main() -> Any:
        async with contextlib.AsyncExitStack() as stack:
            paces = [
                await stack.enter_async_context(kind(rate, PostgresPace(database, 1, "submits"))) for kind in kinds
            ]
            return await use(*paces)

    return asyncio.run(main())


async def moments_of(number: int, *paces: SharedPace) -> list[float]:
    """Return when each pace let so many requests through."""
    moments: list[float] = []

    async def one(pace: SharedPace) -> None:
        for _ in range(number):
            await pace.acquire()
            await pace.on_time()
            moments.append(time.monotonic())

    async with asyncio.TaskGroup() as group:
        for pace in paces:
            group.create_task(one(pace))
    return sorted(moments)


@pytest.mark.parametrize("kind", [SharedPace, SubmitPace])
def test_two_paces_are_one(database: Database, kind: type[SharedPace]) -> None:
    """Together they keep to the limit, and use it."""
    moments = run_with(database, Rate(50, 1), lambda *paces: moments_of(50, *paces), kind, kind)
    assert most_in_a_window(moments, WINDOW_S) <= 50
    assert moments[-1] - moments[0] < 100 * 0.0206 + 4 * BUSY_S


def test_a_request_gets_ready_before_its_moment_and_leaves_at_it(database: Database) -> None:
    """`acquire` returns some time before the slot, `on_time` at it and not earlier."""

    async def use(pace: SubmitPace) -> None:
        for _ in range(3):
            await pace.acquire()
            begun = time.monotonic()
            await pace.on_time()
            assert time.monotonic() > begun
        assert pace.per_minute() == 3

    run_with(database, Rate(2, 1), use, SubmitPace)


def test_more_get_ready_than_have_slots_near_only_when_they_are_slow(database: Database) -> None:
    """A second request is not begun for the same slot."""

    async def use(pace: SubmitPace) -> None:
        await pace.acquire()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pace.acquire(), 0.3)
        await pace.on_time()

    run_with(database, Rate(1, 1), use, SubmitPace)


def test_who_found_nothing_to_send_keeps_no_slot_from_the_others(database: Database) -> None:
    """A turn that came to nothing ends when its task waits for the next one."""

    async def use(pace: SubmitPace) -> float:
        await pace.acquire()
        began = time.monotonic()
        async with asyncio.timeout(5):
            await pace.acquire()
            await pace.on_time()
        return time.monotonic() - began

    assert run_with(database, Rate(1, 1), use, SubmitPace) < 0.9


def test_a_process_takes_no_more_slots_than_it_has_requests(database: Database) -> None:
    """What it cannot use is there for the others: the next slot is near, however long it has been at work."""
    left = 40

    async def main() -> None:
        nonlocal left
        port = PostgresPace(database, 1, "submits")
        async with SubmitPace(Rate(20, 1), port, at_hand=lambda: left) as pace:
            while left:
                await pace.acquire()
                left -= 1
                await pace.on_time()

    asyncio.run(main())
    assert asked(database, NEXT_IN) < 0.0515 + 0.01


def test_a_waiter_that_gives_up_leaves_its_slot_to_the_next(database: Database) -> None:
    """The slot was not used, so it is not lost."""

    async def use(pace: SharedPace) -> float:
        await pace.acquire()
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await pace.acquire()
        await pace.acquire()
        return time.monotonic() - began

    assert run_with(database, Rate(1, 1), use, SharedPace) == pytest.approx(1.03, abs=BUSY_S)


def test_what_is_not_used_is_given_back(database: Database) -> None:
    """A process that ends takes no moment with it that nobody else has behind it."""

    async def use(pace: SharedPace) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.2):
                while True:
                    await pace.acquire()

    run_with(database, Rate(1, 1), use, SharedPace)
    assert asked(database, NEXT_IN) < 1.03


def test_a_slow_slot_that_nobody_wants_goes_to_somebody_else(database: Database) -> None:
    """A process without anything to send does not keep others waiting for another six seconds."""
    rate = Rate(1, 6)

    async def use(idle: SharedPace, busy: SharedPace) -> float:
        await busy.acquire()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(4.5):
                await idle.acquire()
        began = time.monotonic()
        await busy.acquire()
        return time.monotonic() - began

    late_s = Spacing.of(rate).late_s
    assert run_with(database, rate, use, SharedPace, SharedPace) < 6.18 - 4.5 + late_s + 2 + BUSY_S


def test_a_lower_share_slows_at_once(database: Database) -> None:
    """What is held is thinned, and what is asked for is further apart."""

    async def use(pace: SharedPace) -> float:
        for _ in range(25):
            await pace.acquire()
        began = time.monotonic()
        for _ in range(10):
            await pace.acquire(share=0.25)
        return time.monotonic() - began

    assert run_with(database, Rate(50, 1), use, SharedPace) > 9 * 0.08 - 0.02


@pytest.mark.parametrize("kind", [SharedPace, SubmitPace])
def test_another_limit_holds_at_once(database: Database, kind: type[SharedPace]) -> None:
    """For what is held, for what is asked for, and for who waits already."""

    async def use(pace: SharedPace) -> tuple[float, bool]:
        await moments_of(25, pace)
        pace.limit(Rate(10, 1))
        slowly = await moments_of(10, pace)
        pace.limit(Rate(1, 3600))
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            waits = group.create_task(moments_of(2, pace))
            await asyncio.sleep(BUSY_S)
            was_waiting = not waits.done()
            pace.limit(None)
            await moments_of(1000, pace)
        return slowly[-1] - slowly[0], was_waiting

    slow_s, was_waiting = run_with(database, Rate(50, 1), use, kind)
    assert (slow_s > 0.8, was_waiting) == (True, True)


@pytest.mark.parametrize("wrong_s", [3600, -3600])
def test_a_clock_that_was_set_stops_nobody(database: Database, wrong_s: float) -> None:
    """The next slot an hour ahead, or an hour ago: neither a wait of an hour nor a burst."""
    run_with(database, Rate(50, 1), lambda pace: moments_of(1, pace), SharedPace)
    with contextlib.closing(database.connect()) as db:
        db.execute("UPDATE batchvid.paces SET next_at = next_at + %s", [wrong_s])
    began = time.monotonic()
    moments = run_with(database, Rate(50, 1), lambda pace: moments_of(60, pace), SharedPace)
    assert moments[0] - began < shared_pace.AHEAD_S + 4 * BUSY_S
    assert most_in_a_window(moments, WINDOW_S) <= 50


def test_no_slot_is_dealt_out_far_ahead(database: Database) -> None:
    """Who asks too early hears when the next one is."""
    port = PostgresPace(database, 1, "submits")
    question = Asked(1, 6.0, 0.05, 3.0)
    first, second = port.deal(question), port.deal(question)
    port.close()
    assert (first.number, second.number) == (1, 0)
    assert second.first - first.first == pytest.approx(6.0, abs=0.001)


def test_who_waits_for_a_database_that_is_away_hears_of_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some patience: nobody waits for ever."""
    monkeypatch.setattr(shared_pace, "PATIENCE_S", 1.5)
    away = Database(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(StorageError, match="has not answered"):
        run_with(away, Rate(50, 1), lambda pace: pace.acquire(), SubmitPace)


def options(rate: float = 50, period: float = 1) -> argparse.Namespace:
    """Return what the workers of a test are told."""
    return argparse.Namespace(rate=rate, period=period, preparation_ms=5, bare=False)


def test_processes_share_a_pace(database: Database) -> None:
    """Three of them, one of which is paused for longer than its slots last and then goes on."""
    arrived: list[float] = []
    with service(arrived) as address:
        until = time.monotonic() + 9
        workers = [start(options(), database.url, address, until=until) for _ in range(3)]
        time.sleep(4)
        os.kill(workers[0].pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(workers[0].pid, signal.SIGCONT)
        told = [json.loads(worker.communicate()[0]) for worker in workers]
    arrived.sort()
    assert most_in_a_window(arrived, WINDOW_S) <= 50
    assert len([moment for moment in arrived if moment > until - 3]) > 100
    assert sum(one["blocks"] for one in told) < 0.35 * len(arrived)


def test_a_database_that_goes_and_comes_back_brings_no_burst() -> None:
    """It is killed under them. They send nothing without it, and at the pace when it is back."""
    server = postgres.Server.made()
    try:
        database = Database(server.url())
        with contextlib.closing(database.connect()) as db:
            make_tables(db)
        arrived: list[float] = []
        told = options()
        told.bare = True  # a worker of the bench does not survive that its rows cannot be written
        with service(arrived) as address:
            until = time.monotonic() + 14
            workers = [start(told, database.url, address, until=until) for _ in range(2)]
            time.sleep(4)
            server.kill()
            gone = time.monotonic()
            time.sleep(4)
            server.start()
            back = time.monotonic()
            for worker in workers:
                worker.communicate()
    finally:
        server.remove()
    arrived.sort()
    assert most_in_a_window(arrived, WINDOW_S) <= 50
    assert not [moment for moment in arrived if gone + shared_pace.AHEAD_S < moment < back - 1]
    assert len([moment for moment in arrived if moment > back]) > 100
