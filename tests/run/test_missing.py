"""A clip that is done and not on disk is fetched again from its task, and never bought."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.limits import OnChange
from tests.run.bench import QUICK, changed, job, jobs

if TYPE_CHECKING:
    from tests.run.conftest import MakeBench

MISSING = "1 clip is missing or not as saved; a run fetches it again, free: job-02"


def test_a_missing_clip_is_polled_for_a_fresh_url_and_fetched(make_bench: MakeBench) -> None:
    """Its old URL is long gone: one poll, one transfer, no request that costs anything."""
    bench = make_bench()
    bench.run(jobs(3))
    whole = bench.clip("job-02.mp4")
    (bench.folder / "job-02.mp4").unlink()
    calls = len(bench.service.calls)
    summary = bench.run(jobs(3))
    assert summary.exit_code is Exit.OK
    assert [call.what for call in bench.service.calls[calls:]] == ["get", "fetch"]
    assert bench.clip("job-02.mp4") == whole
    assert MISSING in bench.view.notes
    assert bench.row("job-02").state is State.DONE
    assert summary.money.spent_micros == 1_200_000


@pytest.mark.parametrize("rule", [{"status": 503}, {"status": 404}])
def test_a_clip_that_the_service_does_not_give_waits_for_the_next_run(
    make_bench: MakeBench, rule: dict[str, object]
) -> None:
    """It is parked, not given up, and not bought: exit 5; when the service is well again, it comes."""
    bench = make_bench()
    bench.run(jobs(3))
    (bench.folder / "job-02.mp4").unlink()
    bench.script(*({"on": kind, "prompt": "*job-02*", **rule} for kind in ("poll", "file", "content")))
    for _ in range(2):
        assert bench.run(jobs(3)).exit_code is Exit.STOPPED
    bench.script()
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert len(bench.creates) == 3


def test_a_clip_that_was_put_back_meanwhile_is_not_fetched(make_bench: MakeBench) -> None:
    """A run had found it missing; before it was fetched a person has put it back: it is there, and stays as it is."""
    bench = make_bench()
    bench.run(jobs(3))
    (bench.folder / "job-02.mp4").rename(bench.folder / "aside")
    bench.script({"on": "poll", "prompt": "*job-02*", "status": 503})
    assert bench.run(jobs(3)).exit_code is Exit.STOPPED
    (bench.folder / "aside").rename(bench.folder / "job-02.mp4")
    bench.script()
    fetches = len(bench.service.sent("fetch"))
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert len(bench.service.sent("fetch")) == fetches
    assert not list(bench.folder.glob("*.attempt-*"))


def test_a_job_that_is_bought_again_is_not_fetched_first(make_bench: MakeBench) -> None:
    """Its content changed and rebuying is wanted: the clip of before is nobody's loss any more."""
    bench = make_bench()
    bench.run(jobs(2))
    (bench.folder / "job-02.mp4").unlink()
    limits = replace(QUICK, on_change=OnChange.REBUY)
    summary = bench.run([job("job-01"), changed(job("job-02"), "A new one.")], limits, checked=False)
    assert summary.exit_code is Exit.OK
    assert len(bench.creates) == 3
    assert bench.row("job-02").attempt == 2


def test_a_missing_clip_comes_to_where_the_manifest_wants_it_now(make_bench: MakeBench) -> None:
    """``filename:`` was changed since."""
    bench = make_bench()
    bench.run(jobs(2))
    (bench.folder / "job-02.mp4").unlink()
    wanted = [replace(one, path=f"new/{one.id}.mp4") for one in jobs(2)]
    assert bench.run(wanted).exit_code is Exit.OK
    assert (bench.folder / "new/job-02.mp4").exists()
    assert (bench.folder / "job-01.mp4").exists()
    assert len(bench.creates) == 2
