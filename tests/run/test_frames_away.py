"""A frame that comes from a database, as on a machine without the manifest's files, when that is away for a while."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from batchvid.domain.errors import Exit, StoreAwayError
from batchvid.domain.job import Frame, State
from batchvid.engine import run as run_module
from batchvid.engine.cluster import Cluster, WorkerOptions
from batchvid.engine.context import Interrupts
from batchvid.engine.observer import Several
from tests.run.bench import jobs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.conftest import MakeBench

FRAME = Frame("/films/kite.png", "ab" * 32, 4, "image/png", 1280, 720)


def test_a_job_waits_for_its_frame_and_is_bought_once(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not failed, and nothing is on record before its request is complete."""
    bench, asked, picture = make_bench(), [], io.BytesIO()
    Image.new("RGB", (1280, 720)).save(picture, "PNG")

    def away_at_first(frame: Frame) -> bytes:
        asked.append(frame.sha256)
        if len(asked) < 3:
            raise StoreAwayError("the database is away")
        return picture.getvalue()

    monkeypatch.setattr(run_module, "frame_bytes", away_at_first)
    (job,) = jobs(1)
    assert bench.run([replace(job, frames=(FRAME,))]).exit_code is Exit.OK
    assert (bench.row("job-01").state, len(bench.creates), len(asked)) == (State.DONE, 1, 3)


def test_a_database_that_is_away_is_no_fault_of_the_frame(tmp_path: Path) -> None:
    """A worker tells the two apart: one passes, and the other does not."""

    async def never(*_: object) -> None:
        raise AssertionError

    cluster = Cluster(
        WorkerOptions(f"postgresql://nobody@/none?host={tmp_path}"),
        observer_of=lambda *_: Several([]),
        note=print,
        warn=print,
        interrupts=Interrupts(),
        closed=never,
    )
    with pytest.raises(StoreAwayError):
        cluster._read_frame(FRAME)
