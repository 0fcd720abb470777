"""Names that the file system of the output does not take: one job waits, nothing is paid for it, no clip is lost."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit, StorageError
from batchvid.domain.filename import kept_as
from batchvid.domain.job import State
from batchvid.domain.limits import Rate
from tests.run.bench import QUICK, STARTS_AT, Bench, after, changed, job, jobs
from tests.run.test_moves import files, press_in, renamed
from tests.run.test_storage import break_journal

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.job import Job

REFUSED = f"{'x' * 245}.mp4"
"""Every disk takes 255 bytes, and something is to stand behind it."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a place to run in, on a real disk."""
    return Bench(tmp_path / "out")


def at(path: str, one: Job) -> Job:
    """Return the job with its clip at *path*."""
    return replace(one, path=path)


def test_a_job_whose_name_is_refused_waits_and_the_others_go_on(bench: Bench) -> None:
    """Nothing is paid for it; it is told why, also by a further run; with another name it is done like any other."""
    bad, good = at(REFUSED, job("bad")), [*jobs(3), at("größe/日本 what?.mp4", job("odd"))]
    for creates in (4, 4):
        summary = bench.run([bad, *good])
        assert summary.exit_code is Exit.FAILED
        assert (summary.counts[State.DONE], summary.counts[State.PENDING]) == (4, 1)
        assert len(bench.creates) == creates
        (told,) = summary.needs_person
        assert (told.job_id, told.state) == ("bad", State.PENDING)
        assert f"does not take the name '{REFUSED}': write safe_names: true, or another filename or id" in told.reason
        assert f"bad is not sent: {told.reason}" in bench.view.notes
    assert bench.run([at("fine.mp4", bad), *good]).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}
    assert not [name for name in files(bench) if "probe" in name]


def test_refused_names_take_nobodys_turn(bench: Bench) -> None:
    """At ten a minute a hundred of them would keep the others waiting for ten minutes; and each is not told."""
    odd = [at(f"{n}-{REFUSED}", one) for n, one in enumerate(jobs(100))]
    summary = bench.run([*odd, job("kite")], replace(QUICK, submits=Rate(10, 60)))
    (post,) = bench.service.sent("post")
    assert post.at < STARTS_AT + 1
    assert (summary.counts[State.DONE], summary.exit_code) == (1, Exit.FAILED)
    assert len([note for note in bench.view.notes if "is not sent" in note]) == 20
    assert "and 80 more jobs are not sent for their names" in bench.view.notes


@pytest.mark.parametrize("path", [REFUSED, f"{'y' * 300}/kite.mp4"])
def test_a_paid_clip_whose_name_is_refused_is_kept_under_another_one(bench: Bench, path: str) -> None:
    """The output is on another disk now, say. Journal, sidecar and list have the name that it really has."""
    bench.run([job("kite"), job("gull")], meanwhile=lambda: press_in(3.0, bench))
    assert bench.row("kite").state is State.RUNNING
    moved = at(path, job("kite"))
    assert bench.run([moved, job("gull")]).exit_code is Exit.OK
    kept = kept_as("kite", path)
    assert bench.row("kite").path == kept
    assert json.loads(bench.clip(kept.replace(".mp4", ".json")))["path"] == kept
    assert kept in [json.loads(line)["path"] for line in bench.clip("clips.jsonl").splitlines()]
    assert any(note.startswith(f"kite: its clip is kept as {kept}, because ") for note in bench.view.notes)
    assert files(bench) == {kept, kept.replace(".mp4", ".json"), "gull.mp4", "gull.json"}
    calls = len(bench.service.calls)
    assert bench.run([moved, job("gull")]).exit_code is Exit.OK
    assert len(bench.service.calls) == calls
    assert set(bench.bought().values()) == {1}


def test_a_clip_that_was_kept_and_could_not_be_journaled_is_found(bench: Bench) -> None:
    """The disk failed between its name and its record: no second transfer, and the same name."""
    moved = at(REFUSED, job("kite"))
    bench.run([job("kite")], meanwhile=lambda: press_in(3.0, bench))
    with pytest.MonkeyPatch.context() as patch:
        break_journal(patch, life.ClipSaved, job_id="kite")
        with pytest.raises(StorageError):
            bench.run([moved])
    fetched = len(bench.service.sent("fetch"))
    assert bench.run([moved]).exit_code is Exit.OK
    assert len(bench.service.sent("fetch")) == fetched
    assert bench.row("kite").path == kept_as("kite", REFUSED)
    assert len(bench.creates) == 1


def test_a_kept_clip_that_is_deleted_is_fetched_again_and_one_that_is_bought_again_stays(bench: Bench) -> None:
    """Free in the first case; in the second nothing is paid while the name is refused."""
    moved = at(REFUSED, job("kite"))
    bench.run([job("kite")], meanwhile=lambda: press_in(3.0, bench))
    bench.run([moved])
    kept = kept_as("kite", REFUSED)
    (bench.folder / kept).unlink()
    assert bench.run([moved]).exit_code is Exit.OK
    assert bench.row("kite").path == kept
    (bench.folder / kept).unlink()
    summary = bench.run([changed(moved, "Another kite.")], rebuy=True)
    assert (summary.exit_code, len(bench.creates)) == (Exit.OK, 1)
    assert any(note.startswith("kite is not sent: ") for note in bench.view.notes)
    assert (bench.row("kite").state, bench.row("kite").path) == (State.DONE, kept)


def test_an_attempt_that_was_paid_after_all_takes_the_place_of_the_kept_one(bench: Bench) -> None:
    """Bought on a disk that takes the name, and fetched on one that does not: both clips are there."""
    moved, again = at(REFUSED, job("kite")), changed(job("kite"), "Another kite.")
    bench.run([job("kite")], meanwhile=lambda: press_in(3.0, bench))
    bench.run([moved])
    kept, clip = kept_as("kite", REFUSED), bench.clip(kept_as("kite", REFUSED))
    bench.run([again], rebuy=True, meanwhile=lambda: press_in(3.0, bench), checked=False)
    assert bench.row("kite").state is State.RUNNING
    assert bench.run([at(REFUSED, again)], checked=False).exit_code is Exit.OK
    assert bench.row("kite").path == kept
    assert bench.clip(kept.replace(".mp4", ".attempt-1.mp4")) == clip
    assert len(bench.creates) == 2


def test_a_failed_job_whose_name_is_refused_stays_failed(bench: Bench) -> None:
    """``--retry-failed`` opens what can be bought, and nothing else."""
    bench.script({"on": "create", "prompt": "*kite*", "fail": "no"})
    limits = replace(QUICK, attempts=1)
    bench.run([job("kite")], limits)
    bench.script()
    assert bench.run([at(REFUSED, job("kite")), job("gull")], limits, retry_failed=True).exit_code is Exit.FAILED
    assert bench.row("kite").state is State.FAILED
    assert bench.bought() == {"The clip kite.": 1, "The clip gull.": 1}


@pytest.mark.parametrize("place", [0, 1])
def test_what_hangs_on_a_refused_name_waits_with_the_reason(bench: Bench, place: int) -> None:
    """The links before it are made; those behind it say what they wait for."""
    links = [job("one"), after("one", "two"), after("two", "three")]
    links[place] = at(REFUSED, links[place])
    summary = bench.run([*links, job("kite")])
    assert (summary.exit_code, summary.counts[State.DONE]) == (Exit.FAILED, place + 1)
    waiting = {one.job_id: one.reason for one in summary.needs_person}
    name = links[place].id
    assert list(waiting) == [link.id for link in links[place:]]
    for behind in links[place + 1 :]:
        assert waiting[behind.id].startswith("waits for ")
        assert f"{name}: its file system" in waiting[behind.id]


def test_a_clip_whose_new_name_is_refused_keeps_the_old_one(bench: Bench) -> None:
    """A job under another id is still nobody's to buy; the clip is renamed as soon as its name can be made."""
    kite = job("kite")
    bench.run([kite])
    new = renamed(kite, "gull", path=REFUSED)
    for _ in range(2):
        assert bench.run([new, job("dune")]).exit_code is Exit.OK
        assert any(
            note.startswith("the clip of gull stays kite.mp4 because its file system") for note in bench.view.notes
        )
        assert bench.row("gull").path == "kite.mp4"
    assert len(bench.creates) == 2
    assert bench.run([new, job("dune")]).exit_code is Exit.OK


def test_a_window_that_the_machine_sleeps_through_buys_nothing_more(bench: Bench) -> None:
    """The lid is closed after three clips: hours pass on the wall, and none on the clock that waits are made by."""

    def sleep() -> None:
        bench.skew_s += 8 * 3600.0

    def meanwhile() -> None:
        asyncio.get_running_loop().call_later(3.5, sleep)

    summary = bench.run(jobs(20), until_at=STARTS_AT + 4 * 3600.0, meanwhile=meanwhile)
    assert (summary.exit_code, summary.stopped) == (Exit.STOPPED, "the time window has closed")
    assert summary.counts[State.DONE] == len(bench.creates) == 4
    assert max(call.at for call in bench.service.sent("post")) < STARTS_AT + 3.5
