"""The rate limits, alone under virtual time: evenly spaced, never above the number in any window, slowed by a share."""

from __future__ import annotations

import asyncio
import contextlib
import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchvid.domain.errors import Exit, StorageError
from batchvid.domain.job import State
from batchvid.domain.limits import Rate
from batchvid.engine.rate_limit import Pace
from tests.run.bench import jobs
from tests.run.virtual import run

if TYPE_CHECKING:
    from tests.run.conftest import MakeBench

RATES = [Rate(10, 60), Rate(10, 1), Rate(1000, 1), Rate(1, 60), Rate(50, 3600)]


EXTREMES = [Rate(0.001, 3600), Rate(0.001, 1), Rate(10_000, 3600), Rate(10_000, 1)]
"""The slowest and the quickest that a manifest may ask for."""


def let_through(rate: Rate | None, *, number: int, share: float = 1.0, gaps: list[float] | None = None) -> list[float]:
    """Return the moments at which *number* requests get through; each waits for its turn, or comes after its gap."""

    async def main() -> list[float]:
        pace = Pace(rate)
        clock = asyncio.get_running_loop().time
        moments: list[float] = []

        async def one(gap_s: float) -> None:
            await asyncio.sleep(gap_s)
            await pace.acquire(share=share)
            moments.append(clock())

        async with asyncio.TaskGroup() as group:
            for gap_s in gaps or [0.0] * number:
                group.create_task(one(gap_s))
        return moments

    return run(main())


def most_in_a_window(moments: list[float], period_s: float) -> int:
    """Return the most moments that any half-open window of this length holds."""
    return max(sum(first <= at < first + period_s for at in moments) for first in moments)


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_no_window_holds_more_than_the_limit(rate: Rate) -> None:
    """However many wait at once, no window of the limit's length lets more through, and nearly as many it does."""
    number = int(rate.count * 2.5) + 3
    moments = let_through(rate, number=number)
    assert most_in_a_window(moments, rate.period_s) <= rate.count
    fastest_s = (number - 1) / rate.count * rate.period_s
    assert moments[-1] - moments[0] == pytest.approx(fastest_s, rel=0.02, abs=rate.period_s / rate.count)


@pytest.mark.parametrize("rate", [Rate(10, 60), Rate(10, 1), Rate(1, 60)], ids=str)
def test_requests_are_evenly_spaced(rate: Rate) -> None:
    """No burst at the start, none after an idle time: the gaps are those of the rate."""
    gap_s = rate.period_s / rate.count
    moments = let_through(rate, number=0, gaps=[0.0] * 5 + [100 * gap_s] * 5)
    assert min(later - earlier for earlier, later in pairwise(moments)) > 0.95 * gap_s


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 200), min_size=1, max_size=60), st.sampled_from([Rate(10, 60), Rate(7, 20), Rate(3, 1)]))
def test_the_limit_holds_for_requests_that_come_at_any_time(gaps: list[float], rate: Rate) -> None:
    """Whenever requests come, no window holds more than the limit."""
    assert most_in_a_window(let_through(rate, number=0, gaps=gaps), rate.period_s) <= rate.count


@pytest.mark.parametrize("share", [0.5, 0.3, 1 / 64])
def test_a_share_slows_the_pace_by_itself(share: float) -> None:
    """At half the share requests need twice the time, also when the share is no simple fraction."""
    moments = let_through(Rate(10, 1), number=41, share=share)
    assert (len(moments) - 1) / (moments[-1] - moments[0]) == pytest.approx(10 * share, rel=0.05)


def test_no_limit_is_no_wait() -> None:
    """``unlimited`` lets everything through at once."""
    moments = let_through(None, number=100)
    assert moments[-1] - moments[0] < 0.01


def test_the_pace_counts_what_it_let_through_in_the_last_minute() -> None:
    """The number that people are shown is that of the last minute, and older requests are forgotten."""

    async def main() -> tuple[float, float]:
        pace = Pace(None)
        for _ in range(5):
            await pace.acquire()
            await asyncio.sleep(10)
        early = pace.per_minute()
        await asyncio.sleep(35)
        return early, pace.per_minute()

    assert run(main()) == (5.0, 2.0)


def test_a_waiter_that_gives_up_takes_nobody_elses_turn() -> None:
    """A request that is cancelled while it waits leaves the others' pace as it was."""

    async def main() -> float:
        pace = Pace(Rate(1, 1))
        await pace.acquire()
        began = asyncio.get_running_loop().time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await pace.acquire()
        await pace.acquire()
        return asyncio.get_running_loop().time() - began

    assert run(main()) == pytest.approx(1.0, abs=0.05)


def seen_by_the_service(rate: Rate, *, number: int, seed: int) -> tuple[list[float], list[float]]:
    """Return when a service saw requests that are made ready first, and when they left.

    One in five is held up: before it leaves, on its way (by a twentieth of the period at most), or with its answer.
    """
    dice = random.Random(seed)  # noqa: S311 delays, no secrets

    def held_up_s(most_s: float = 0.3) -> float:
        return dice.uniform(0.0, most_s) if dice.random() < 0.2 else dice.uniform(0.0, min(most_s, 0.003))

    async def main() -> tuple[list[float], list[float]]:
        pace = Pace(rate, are_made_ready=True)
        clock = asyncio.get_running_loop().time
        seen: list[float] = []
        left: list[float] = []

        async def one() -> None:
            await pace.acquire()
            await asyncio.sleep(0.004 + held_up_s())
            left.append(await pace.on_time())
            mine = left[-1]
            await asyncio.sleep(0.02 + held_up_s(min(0.05 * rate.period_s, 1.0)))
            seen.append(clock())
            await asyncio.sleep(0.02 + held_up_s())
            pace.answered(mine)

        async with asyncio.TaskGroup() as group:
            for _ in range(number):
                group.create_task(one())
        return sorted(seen), left

    return run(main())


@pytest.mark.parametrize("rate", [Rate(10, 1), Rate(50, 1), Rate(10, 60), Rate(1, 1)], ids=str)
def test_the_service_never_sees_more_than_the_limit_in_a_window(rate: Rate) -> None:
    """However late requests get ready, arrive or are answered: who was late is counted from when it may have come."""
    for seed in range(20):
        seen, _ = seen_by_the_service(rate, number=6 * int(rate.count) + 3, seed=seed)
        assert most_in_a_window(seen, rate.period_s) <= rate.count


def test_requests_that_arrive_in_time_are_not_slowed() -> None:
    """All of the safety costs less than one part in a hundred."""

    async def main() -> float:
        pace = Pace(Rate(10, 1), are_made_ready=True)
        clock = asyncio.get_running_loop().time
        first = None
        for _ in range(101):
            await pace.acquire()
            left_at = await pace.on_time()
            first = left_at if first is None else first
            await asyncio.sleep(0.002)
            pace.answered(left_at)
        assert first is not None
        return clock() - first

    assert run(main()) / 10 < 1.01


def test_a_service_that_takes_longer_than_the_period_does_not_slow_the_pace() -> None:
    """An answer that is always slow says nothing of when the request arrived; that is known after a few of them."""

    async def main() -> list[float]:
        pace = Pace(Rate(10, 1), are_made_ready=True)
        left: list[float] = []

        async def one() -> None:
            await pace.acquire()
            mine = await pace.on_time()
            left.append(mine)
            await asyncio.sleep(3.0)
            pace.answered(mine)

        async with asyncio.TaskGroup() as group:
            for _ in range(151):
                group.create_task(one())
        return left

    left = run(main())
    assert (left[-1] - left[50]) / 10 < 1.01
    assert left[-1] - left[0] < 18.0


@pytest.mark.parametrize("rate", [Rate(10, 1), Rate(2, 1), Rate(10, 60)], ids=str)
def test_a_service_whose_answers_differ_costs_a_twentieth_of_the_rate_at_most(rate: Rate) -> None:
    """Most of what an answer takes is the service's own time, and no time on the way there."""
    dice, number = random.Random(1), 10 * int(rate.count) + 1  # noqa: S311 as above

    async def main() -> list[float]:
        pace = Pace(rate, are_made_ready=True)
        left: list[float] = []

        async def one() -> None:
            await pace.acquire()
            mine = await pace.on_time()
            left.append(mine)
            await asyncio.sleep(dice.uniform(0.2, 2.5))
            pace.answered(mine)

        async with asyncio.TaskGroup() as group:
            for _ in range(number):
                group.create_task(one())
        return left

    left = run(main())
    assert (left[-1] - left[0]) * rate.per_s / (number - 1) < 1.06


@pytest.mark.parametrize("rate", EXTREMES)
def test_the_slowest_and_the_quickest_rates_are_rates(rate: Rate) -> None:
    """One request goes at once; as many as the quickest allow in a second take about one."""
    number = 10_000 if rate.per_s >= 10_000 else 1
    moments = let_through(rate, number=number)
    assert 0.95 * (number > 1) <= moments[-1] - moments[0] <= 1.1


def test_a_request_waits_for_its_moment_with_its_intent_on_record(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing lies between the moment and the request."""
    bench = make_bench()
    seen: list[tuple[State, int]] = []

    async def on_time(_pace: Pace) -> float:
        await asyncio.sleep(0.5)
        seen.append((bench.row("job-01").state, len(bench.creates)))
        return asyncio.get_running_loop().time()

    monkeypatch.setattr(Pace, "on_time", on_time)
    assert bench.run(jobs(1)).exit_code is Exit.OK
    assert seen == [(State.SUBMITTING, 0)]


@pytest.mark.parametrize("asked", ["acquire", "on_time"])
def test_a_pace_that_cannot_be_asked_stops_the_run(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Nothing was sent, so nothing is in doubt, and the next run buys each clip once."""
    bench = make_bench()

    async def away(*_pace: object, **_share: object) -> None:
        raise StorageError("the database has not answered")

    with monkeypatch.context() as patch:
        patch.setattr(Pace, asked, away)
        with pytest.raises(StorageError, match="has not answered"):
            bench.run(jobs(3))
    assert not bench.creates
    assert not {row.state for row in bench.rows().values()} - {State.PENDING}
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}
