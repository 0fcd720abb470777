"""``submits: auto`` and ``in_flight: auto`` as whole runs: few refusals, most of the clips, and each paid once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from batchvid.cli.output.jsonl import stats_json
from batchvid.cli.output.lines import stats_line
from batchvid.domain.errors import Exit
from batchvid.domain.learned import Found, Learned
from batchvid.domain.lifecycle import SubmitRefused
from batchvid.domain.limits import IN_FLIGHT_MOST, Limits, Rate
from batchvid.engine.auto_limits import AutoLimits
from batchvid.engine.limits_file import limits_file
from batchvid.engine.rate_limit import AutoPace
from batchvid.engine.run import run_many
from batchvid.sandbox.render import tiny_clips
from tests.run.bench import BASE_URL, STARTS_AT, Bench, jobs
from tests.run.virtual import run as run_virtually

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.results import Snapshot
    from tests.run.conftest import MakeBench

AUTO = Limits(
    submits=None, requests=Rate(50, 1), in_flight=IN_FLIGHT_MOST, typical_time_s=60.0, auto_submits=True,
    auto_in_flight=True,
)  # fmt: skip
KEY = "sk-of-the-night"


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the runs a key and a folder of their own."""
    monkeypatch.setenv("KEY", KEY)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def refusals(bench: Bench) -> int:
    """Count the refused paid requests of the last run."""
    return sum(isinstance(event, SubmitRefused) for _, event in bench.view.events)


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize(("rate", "room"), [(6, 3), (30, 10), (120, 40)])
def test_each_clip_is_paid_once_and_few_requests_are_refused(
    make_bench: MakeBench, rate: int, room: int, *, tells: bool
) -> None:
    """Whatever the hidden limits are, and whether the 429 tells them or not."""
    bench = make_bench(rate_per_minute=rate, in_flight=room, tells_limits=tells)
    wanted = jobs(min(20 * room, 240))
    summary = bench.run(wanted, AUTO)
    assert summary.exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}
    assert refusals(bench) <= 1 + 0.04 * len(wanted)
    assert summary.learned is not None
    assert summary.learned.in_flight is not None
    assert summary.learned.in_flight.value <= room + 3


def test_the_next_night_begins_where_this_one_ended(make_bench: MakeBench) -> None:
    """In the file of the account; the second run is refused nothing and needs no time to grow."""
    bench = make_bench(rate_per_minute=60, in_flight=8)
    first = bench.run(jobs(100), AUTO)
    file = limits_file(BASE_URL, KEY)
    assert file is not None
    learned = file.load()
    assert learned is not None
    assert first.learned is not None
    assert replace(first.learned, at=learned.at) == learned
    assert learned.in_flight == Found(8.0, is_met=True)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert KEY not in file.path.read_text(encoding="utf-8") + file.path.name
    bench.now += 20 * 3600
    second = bench.run(jobs(150), AUTO)
    assert refusals(bench) == 0
    assert second.learned is not None
    assert second.learned.nights == 2
    assert set(bench.bought().values()) == {1}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"form": 1, "at": "x"}', b"\xff" * 5000])
def test_a_damaged_file_means_that_nothing_is_known(make_bench: MakeBench, damage: bytes) -> None:
    """The run starts low, and writes it again."""
    file = limits_file(BASE_URL, KEY)
    assert file is not None
    file.save(Learned(Found(5.0, is_met=True), None, STARTS_AT))
    file.path.write_bytes(damage)
    assert file.load() is None
    bench = make_bench(in_flight=4)
    assert bench.run(jobs(10), AUTO).exit_code is Exit.OK
    assert file.load() is not None


def test_a_folder_that_cannot_be_written_is_a_warning(make_bench: MakeBench, tmp_path: Path) -> None:
    """What was paid does not hang on it."""
    (tmp_path / "state").write_text("in the way", encoding="utf-8")
    bench = make_bench(in_flight=4)
    assert bench.run(jobs(6), AUTO).exit_code is Exit.OK
    assert any("cannot be kept" in note for note in bench.view.notes)


def test_stated_limits_leave_no_file(make_bench: MakeBench, tmp_path: Path) -> None:
    """Explicit numbers behave as they always did."""
    bench = make_bench(rate_per_minute=6)
    summary = bench.run(jobs(8))
    assert summary.learned is None
    assert not (tmp_path / "state").exists()


def test_only_the_tasks_in_flight_are_found_out(make_bench: MakeBench) -> None:
    """A stated rate is kept in every window."""
    bench = make_bench(in_flight=5)
    assert bench.run(jobs(40), replace(AUTO, auto_submits=False, submits=Rate(30, 60))).exit_code is Exit.OK
    sent = [call.at for call in bench.service.sent("post")]
    assert max(sum(first <= at < first + 60 for at in sent) for first in sent) <= 30
    assert refusals(bench) <= 4


def test_only_the_rate_is_found_out(make_bench: MakeBench) -> None:
    """A stated number in flight is kept."""
    bench = make_bench(rate_per_minute=12)
    assert bench.run(jobs(40), replace(AUTO, auto_in_flight=False, in_flight=30)).exit_code is Exit.OK
    assert bench.service.peak <= 30
    assert refusals(bench) <= 4


def test_runs_of_one_account_share_what_they_find(make_bench: MakeBench, tmp_path: Path) -> None:
    """Together they stay within the limits, as one run would."""
    bench = make_bench(rate_per_minute=60, in_flight=6)
    other = Bench(tmp_path / "other", clips=tiny_clips)
    other.world = bench.world
    other.service = bench.service
    wanted = jobs(80)
    contexts = [bench.context(wanted[:40], AUTO), replace(other.context(wanted[40:], AUTO), wall=bench.clock)]
    ended = []

    async def main() -> None:
        bench._loop_began = asyncio.get_running_loop().time()

        async def tell(_place: int, outcome: object) -> None:
            ended.append(outcome)

        await run_many(contexts, tell)

    run_virtually(main())
    assert [one.exit_code for one in ended] == [Exit.OK, Exit.OK]  # type: ignore[attr-defined]
    assert set(bench.bought().values()) == {1}
    refused = sum(isinstance(event, SubmitRefused) for view in (bench.view, other.view) for _, event in view.events)
    assert refused <= 4
    file = limits_file(BASE_URL, KEY)
    assert file is not None
    assert file.load() is not None
    assert len(list((tmp_path / "state" / "batchvid" / "limits").iterdir())) == 1


def test_a_wait_that_the_service_asks_for_is_obeyed(make_bench: MakeBench) -> None:
    """Retry-After holds as it does with stated limits: nothing at all is sent before."""
    too_fast = {"status": 429, "headers": {"retry-after": "240"}, "body": {"error": {"message": "slow down"}}}
    bench = make_bench({"on": "create", "scope": "call", "nth": 3, **too_fast})
    assert bench.run(jobs(8), AUTO).exit_code is Exit.OK
    posts = [call.at for call in bench.service.sent("post")]
    assert posts[3] - posts[2] >= 240


def test_the_pace_that_is_found_out_is_evenly_spaced() -> None:
    """Also when many come at once, and at the share that polls were slowed to."""

    async def main() -> list[float]:
        auto = AutoLimits()
        pace = AutoPace(auto)
        moments = []
        for _ in range(13):
            await pace.acquire(share=0.5)
            moments.append(asyncio.get_running_loop().time())
            auto.sends(in_flight=0, now=moments[-1])
        return moments

    moments = run_virtually(main())
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert min(gaps) >= 20


def test_the_view_tells_what_is_found_out(make_bench: MakeBench) -> None:
    """The numbers that hold now, and that nobody stated them."""
    bench = make_bench(in_flight=3)
    seen: list[Snapshot] = []
    bench.run(jobs(12), AUTO, meanwhile=lambda: setattr(bench.view, "stats", seen.append))
    assert seen[0].in_flight_limit == 2
    assert "2 (auto) in flight" in stats_line(seen[0])
    assert "(limit 6/min (auto))" in stats_line(seen[0])
    assert stats_json(seen[0])["auto"] == ["submits", "in_flight"]
    assert json.dumps(stats_json(seen[-1]))
