"""One run at one moment, its end, and a manifest: what the views' tests look at, changed by ``replace``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.job import Job, State
from batchvid.domain.limits import Limits, Rate
from batchvid.domain.results import Money, NeedsAttention, NewClip, Snapshot, Summary, UnderWay
from batchvid.manifest.model import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

NINE_AM = 1_773_306_000.0
"""2026-03-12T09:00:00Z."""


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let people's times be those of UTC, wherever the tests run."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def snapshot() -> Snapshot:
    """Return a run of a thousand jobs, a third of the way, with two jobs in doubt."""
    counts = dict.fromkeys(State, 0) | {
        State.DONE: 337,
        State.READY: 3,
        State.RUNNING: 19,
        State.SUBMITTING: 1,
        State.PENDING: 634,
        State.FAILED: 4,
        State.IN_DOUBT: 2,
    }
    return Snapshot(
        counts=counts,
        parked=1,
        money=Money(134_800_000, 8_000_000, 500_000_000),
        elapsed_s=730.0,
        eta_s=4380.0,
        in_flight=20,
        in_flight_limit=20,
        downloading=2,
        downloads_limit=4,
        submits_per_min=4.8,
        submit_limit=Rate(10, 60),
        slowed_to=1.0,
        paused_s=0.0,
        polls=1200,
        submits=363,
        downloaded_bytes=1_430_000_000,
        stopping=None,
        slowed_by='the service said "too fast"',
        newest=tuple(
            NewClip(f"kite-{n}", f"day/kite-{n}.mp4", 3_100_000, NINE_AM - 5 * (337 - n)) for n in range(337, 297, -1)
        ),
        under_way=tuple(
            UnderWay(f"kite-{n}", State.RUNNING, 300.0 - 5 * n, 2.0 * n if n % 3 else None, "in_progress")
            for n in range(1, 21)
        ),
        needs_person=(
            NeedsAttention("kite-7", State.IN_DOUBT, "the connection broke before an answer came"),
            NeedsAttention("dawn", State.FAILED, "the prompt was \x1b[31mrefused\x1b[0m"),
        ),
    )


@pytest.fixture
def summary(snapshot: Snapshot) -> Summary:
    """Return the end of that run."""
    return Summary(
        manifest="jobs/night.yaml",
        output="out/night",
        counts=snapshot.counts,
        parked=1,
        money=snapshot.money,
        elapsed_s=7260.0,
        submits=363,
        polls=1200,
        downloaded_bytes=1_430_000_000,
        exit_code=Exit.IN_DOUBT,
        stopped="the time window has closed",
        needs_person=snapshot.needs_person,
    )


@pytest.fixture
def manifest() -> Manifest:
    """Return a manifest of three jobs and a budget of $25."""
    jobs = tuple(
        Job(name, f"A {name}.", "veo3-fast", "16x9", None, (), (), 400_000, f"{name}.mp4", f"hash-{name}", "m.yaml:3")
        for name in ("kite", "dawn", "walk-01")
    )
    return Manifest(
        path=Path("/films/kites.yaml"),
        base_url="https://api.cometapi.com/v1",
        key_env="COMETAPI_KEY",
        output=Path("/films/out/kites"),
        limits=Limits(budget_micros=25_000_000),
        jobs=jobs,
    )
