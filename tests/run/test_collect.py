"""What is paid is collected: tasks that never end, URLs that expire, transfers that break, names that are taken."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from batchvid.domain.errors import Exit
from batchvid.domain.image_fit import Fit, fitting
from batchvid.domain.job import State
from batchvid.domain.limits import OnChange
from batchvid.domain.records import standings
from batchvid.engine.stats import WORDS_TOLD
from batchvid.media.images import frame_bytes, read_frame
from batchvid.sandbox.cometapi import new_id
from tests.run import bench as bench_module
from tests.run.bench import QUICK, Bench, Watcher, changed, job, jobs, quick_folder

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.results import Snapshot
    from tests.run.conftest import MakeBench


def test_a_task_that_never_ends_is_left_for_the_next_run_and_not_bought_again(make_bench: MakeBench) -> None:
    """Timed out: exit 5 and parked; each further run polls it again; when it ends after all, its clip is collected."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "never": True})
    limits = replace(QUICK, task_timeout_s=300)
    for _ in range(2):
        polls = len(bench.service.sent("get"))
        summary = bench.run(jobs(3), limits)
        assert (summary.exit_code, summary.parked) == (Exit.STOPPED, 1)
        assert "task_timeout" in (bench.row("job-02").reason or "")
        assert len(bench.service.sent("get")) > polls
    for task in bench.world.tasks.values():
        task.never = False
    assert bench.run(jobs(3), limits).exit_code is Exit.OK
    assert len(bench.creates) == 3


class Looks(Watcher):
    """Remembers how the run stood."""

    seen: list[Snapshot]

    def stats(self, snapshot: Snapshot) -> None:
        """Remember it."""
        super().stats(snapshot)
        self.seen = [*getattr(self, "seen", []), snapshot]


def test_a_deferred_job_that_is_looked_for_again_is_running_and_needs_nobody(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is deferred once more: then it stands so in the last look and in the summary."""
    monkeypatch.setattr(bench_module, "Watcher", Looks)
    bench = make_bench({"on": "create", "never": True})
    limits = replace(QUICK, task_timeout_s=300)
    bench.run([job("kite")], limits)
    summary = bench.run([job("kite")], limits)
    assert isinstance(bench.view, Looks)
    first, *_, last = bench.view.seen
    assert (standings(first)["running"], standings(first)["parked"], first.needs_person) == (1, 0, ())
    assert [one.job_id for one in first.under_way] == ["kite"]
    assert (standings(last)["running"], standings(last)["parked"], last.under_way) == (0, 1, ())
    assert [one.job_id for one in last.needs_person] == ["kite"]
    assert standings(summary)["parked"] == 1
    assert [one.job_id for one in summary.needs_person] == ["kite"]


def test_a_deferred_job_that_a_run_did_not_come_to_still_needs_attention(make_bench: MakeBench) -> None:
    """It was interrupted at once."""
    bench = make_bench({"on": "create", "never": True})
    limits = replace(QUICK, task_timeout_s=300)
    bench.run([job("kite")], limits)
    summary = bench.run([job("kite")], limits, meanwhile=lambda: bench.interrupts.received(Exit.INTERRUPTED))
    assert [one.job_id for one in summary.needs_person] == ["kite"]


def test_a_task_that_its_service_forgot_is_parked_as_lost(make_bench: MakeBench) -> None:
    """An id that stays unknown is a person's business: shown, polled by the next run, never bought again by itself."""
    bench = make_bench({"on": "create", "prompt": "*job-02*", "forget": True})
    summary = bench.run(jobs(3))
    assert (summary.exit_code, summary.parked) == (Exit.STOPPED, 1)
    assert "lost" in (bench.row("job-02").reason or "")
    assert [need.job_id for need in summary.needs_person] == ["job-02"]
    bench.run(jobs(3))
    assert len(bench.creates) == 3


def test_an_expired_url_is_replaced_by_a_poll(make_bench: MakeBench) -> None:
    """403 from the file host: the task is polled for a fresh URL, and no create is sent."""
    bench = make_bench({"on": "file", "nth": 1, "expire": True})
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert len(bench.service.sent("post")) == 3
    assert len({call.where for call in bench.service.sent("fetch")}) == 6


@pytest.mark.parametrize("trouble", [{"expire": True}, {"reset": "before"}, {"hang": True}])
def test_a_clip_whose_host_never_gives_it_is_fetched_from_the_service(
    make_bench: MakeBench, trouble: dict[str, object]
) -> None:
    """URLs that are refused whenever they are used, or a host that cannot be reached: ``/content`` is left."""
    bench = make_bench({"on": "file", "prompt": "*job-02*", **trouble})
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert len(bench.creates) == 3


def test_urls_that_always_expire_are_left_for_the_next_run(make_bench: MakeBench) -> None:
    """A clip that no fresh URL and no other way brings does not keep the run awake, and costs no second create."""
    always = {"prompt": "*job-02*", "expire": True}
    bench = make_bench({"on": "file", **always}, {"on": "content", **always})
    summary = bench.run(jobs(3))
    assert (summary.exit_code, summary.parked) == (Exit.STOPPED, 1)
    assert len(bench.service.sent("fetch")) < 12
    bench.script()
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert len(bench.creates) == 3


def test_a_run_that_sleeps_past_its_urls_polls_for_fresh_ones(make_bench: MakeBench) -> None:
    """A clip that an earlier run left at a URL which is long gone is collected all the same."""
    bench = make_bench({"on": "file", "reset": "before"}, {"on": "content", "reset": "before"})
    assert bench.run(jobs(2)).exit_code is Exit.STOPPED
    bench.script()
    bench.now += 7200
    assert bench.run(jobs(2)).exit_code is Exit.OK
    assert len(bench.creates) == 2


def test_one_url_for_two_clips_is_told_to_a_person(make_bench: MakeBench) -> None:
    """Both are saved, and named once; a job whose URL is its own, or is named again, is not."""
    same = {"set": {"video_url": "http://files.sandbox.invalid/one.mp4"}}
    bench = make_bench({"on": "poll", "prompt": "*job-0[12]*", **same})
    bench.run(jobs(3))
    (note,) = [note for note in bench.view.notes if "same URL" in note]
    assert "'job-01'" in note
    assert "'job-02'" in note


def test_a_cut_transfer_is_resumed_where_it_broke_off(make_bench: MakeBench) -> None:
    """The second request names the byte to go on from and the version that is held."""
    bench = make_bench({"on": "file", "nth": 1, "cut_at": 0.6})
    assert bench.run(jobs(1)).exit_code is Exit.OK
    first, second = bench.service.sent("fetch")
    held_bytes = int(len(bench.clip("job-01.mp4")) * 0.6)
    assert "Range" not in first.headers
    assert second.headers["Range"] == f"bytes={held_bytes}-"
    assert second.headers["If-Range"].startswith('"')


@pytest.mark.parametrize(
    "fault",
    [
        {"cut_at": 0.4, "etag": "change"},
        {"cut_at": 0.4, "ignore_range": True},
        {"cut_at": 0.5, "content_length": "none"},
        {"garbage": "html", "content_type": "video/mp4"},
        {"garbage": "json"},
        {"garbage": "half"},
        {"garbage": "empty"},
        {"cut_at": 0.0},
        {"stall_s": 120},
        {"status": 503, "body": "<html>busy</html>"},
        {"reset": "before"},
        {"content_length": "1"},
        {"content_length": "99999999"},
    ],
    ids=str,
)
def test_a_transfer_that_goes_wrong_twice_ends_as_the_right_clip(make_bench: MakeBench, fault: dict[str, Any]) -> None:
    """Whatever the file host does for a while, the clip that comes to stand there is whole, and nothing is rebought."""
    bench = make_bench({"on": "file", "nth": "1-2", **fault})
    assert bench.run(jobs(2)).exit_code is Exit.OK
    assert len(bench.creates) == 2


def test_a_file_host_that_brings_no_clip_is_passed_by(make_bench: MakeBench) -> None:
    """A URL that only brings web pages: the clip is asked for behind ``/content``, with the key."""
    bench = make_bench({"on": "file", "garbage": "html"})
    assert bench.run(jobs(2)).exit_code is Exit.OK
    assert any(call.where.endswith("/content") for call in bench.service.sent("fetch"))


def test_a_completed_task_without_a_url_is_fetched_from_the_service(make_bench: MakeBench) -> None:
    """After a few looks for a URL, ``/content`` is asked."""
    bench = make_bench({"on": "poll", "no_url": True})
    assert bench.run(jobs(2)).exit_code is Exit.OK
    assert all(call.where.endswith("/content") for call in bench.service.sent("fetch"))


HOSTILE = {
    "deep JSON": {"body": "[" * 100_000},
    "NaN": {"body": '{"id": NaN, "status": Infinity}'},
    "another job's answer": {"set": {"id": new_id(1, 1)}},
    "a number": {"body": "12"},
    "cut off": {"cut_at": 0.5},
    "not UTF-8": {"body": "\ufeff\u0000\udcff".encode("utf-8", "surrogatepass").decode("latin-1")},
    "an unheard word": {"set": {"status": "pondering"}},
    "a status that is a list": {"set": {"status": ["completed"]}},
}


def test_a_proxy_that_renames_the_task_in_its_answers_loses_no_clip(make_bench: MakeBench) -> None:
    """The answer to a question about our task is about our task; the other name is told once."""
    bench = make_bench({"on": "poll", "set": {"id": "video_of_a_proxy"}})
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert sum("video_of_a_proxy" in note for note in bench.view.notes) == 1


@pytest.mark.parametrize("looks", [1, 2])
def test_one_look_that_calls_a_task_failed_buys_nothing(make_bench: MakeBench, looks: int) -> None:
    """The next look contradicts it: the task goes on and is collected. Two in a row are believed."""
    rule = {"on": "poll", "prompt": "*job-02*", "nth": f"1-{looks}", "set": {"status": "failed"}}
    bench = make_bench(rule)
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert bench.bought()["The clip job-02."] == looks


@pytest.mark.parametrize("word", ["expired", "failed", "cancelled", "error", "rejected"])
@pytest.mark.parametrize("night", ["the same night", "the next night"])
def test_a_clip_that_was_finished_once_is_never_bought_again(make_bench: MakeBench, word: str, night: str) -> None:
    """Its URL is gone and the service calls its task over: it is paid, so it is left to a person."""
    gone = {"on": "file", "prompt": "*job-02*", "status": 403, "body": "<Error>expired</Error>"}
    content = {"on": "content", "prompt": "*job-02*", "status": 404, "body": ""}
    over = {"on": "poll", "prompt": "*job-02*", "set": {"status": word, "error": {"message": "output expired"}}}
    limits = replace(QUICK, task_timeout_s=300)
    with quick_folder() as folder:
        good = Bench(folder / "out")
        good.run(jobs(3), limits)
    looks = sum(call.where.endswith(new_id(1, 2)) for call in good.service.sent("get"))
    bench = make_bench(gone, content, *([over | {"nth": f"{looks + 1}-"}] if night == "the same night" else []))
    bench.run(jobs(3), limits)
    bench.script(gone, content, over)
    for _ in range(2):
        assert bench.run(jobs(3), limits).exit_code is Exit.STOPPED
        assert "is paid" in (bench.row("job-02").reason or "")
    assert bench.bought()["The clip job-02."] == 1


@pytest.mark.parametrize("looks", [1, 2])
@pytest.mark.parametrize("word", ["expired", "failed"])
def test_a_task_that_was_completed_without_a_url_is_never_bought_again(
    make_bench: MakeBench, word: str, looks: int
) -> None:
    """The service said that it had succeeded: what it says afterwards is a person's business, also the next night."""
    bare = {"on": "poll", "scope": "call", "nth": f"1-{looks}", "body": {"id": "{id}", "status": "completed"}}
    over = {"on": "poll", "set": {"status": word, "error": {"message": "the upload failed"}}}
    bench = make_bench(bare, over)
    for _ in range(2):
        assert bench.run(jobs(1)).exit_code is Exit.STOPPED
        assert "is paid" in (bench.row("job-01").reason or "")
        assert sum(bench.bought().values()) == 1
        bench.script(over)


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
def test_a_job_with_hostile_answers_leaves_the_others_finished(make_bench: MakeBench, answer: dict[str, Any]) -> None:
    """No worker dies of an answer: the one job is parked at its time-out, and comes through when the answers heal."""
    bench = make_bench({"on": "poll", "prompt": "*job-02*", **answer})
    limits = replace(QUICK, task_timeout_s=300)
    summary = bench.run(jobs(4), limits)
    assert summary.counts[State.DONE] == 3
    assert (summary.exit_code, summary.parked) == (Exit.STOPPED, 1)
    bench.script()
    assert bench.run(jobs(4), limits).exit_code is Exit.OK
    assert len(bench.creates) == 4


def test_polls_that_bring_only_web_pages_end_the_run(make_bench: MakeBench) -> None:
    """Not the service any more: exit 78, the tasks are kept for a run with the right base URL."""
    bench = make_bench({"on": "poll", "garbage": "html"})
    summary = bench.run(jobs(5))
    assert summary.exit_code is Exit.CONFIG
    bench.script()
    assert bench.run(jobs(5)).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}


# ---- files


def test_a_clip_whose_name_is_taken_is_not_bought(make_bench: MakeBench) -> None:
    """So a lost journal does not mean to pay for every clip again; once the file is moved away, retry buys it."""
    bench = make_bench()
    bench.folder.mkdir()
    (bench.folder / "job-01.mp4").write_bytes(b"my own film")
    assert bench.run(jobs(2)).exit_code is Exit.FAILED
    assert set(bench.bought()) == {"The clip job-02."}
    assert bench.clip("job-01.mp4") == b"my own film"
    assert "move it away" in (bench.row("job-01").reason or "")
    (bench.folder / "job-01.mp4").unlink()
    assert bench.run(jobs(2), retry_failed=True).exit_code is Exit.OK
    assert len(bench.creates) == 2


def test_a_file_of_somebody_else_is_left_alone(make_bench: MakeBench) -> None:
    """The clip's name is taken after it was paid: the file is untouched, the job parked until it is moved away."""
    bench = make_bench()
    theirs = bench.folder / "job-01.mp4"

    def write_later() -> None:
        asyncio.get_running_loop().call_later(5, theirs.write_bytes, b"my own film")

    summary = bench.run(jobs(2), meanwhile=write_later)
    assert (summary.exit_code, summary.parked) == (Exit.STOPPED, 1)
    assert bench.clip("job-01.mp4") == b"my own film"
    assert "move it away" in (bench.row("job-01").reason or "")
    fetched = len(bench.service.sent("fetch"))
    theirs.unlink()
    assert bench.run(jobs(2)).exit_code is Exit.OK
    assert len(bench.service.sent("fetch")) == fetched
    assert len(bench.creates) == 2


def test_a_clip_that_is_bought_again_stands_beside_the_old_one(make_bench: MakeBench) -> None:
    """``--rebuy`` after a change: the new clip has the name, the old one is kept under its attempt's number."""
    bench = make_bench()
    kite = job("kite", size="16x9")
    bench.run([kite])
    old = bench.clip("kite.mp4")
    new_kite = job("kite", size="9x16")
    assert bench.run([new_kite]).exit_code is Exit.OK
    assert len(bench.creates) == 1
    assert bench.run([new_kite], rebuy=True).exit_code is Exit.OK
    assert len(bench.creates) == 2
    assert bench.clip("kite.attempt-1.mp4") == old
    assert bench.clip("kite.mp4") != old
    assert json.loads(bench.clip("kite.attempt-1.json"))["attempt"] == 1
    assert json.loads(bench.clip("kite.json"))["attempt"] == 2


def test_on_change_rebuy_buys_once_for_each_change(make_bench: MakeBench) -> None:
    """``on_change: rebuy`` follows the manifest, and an unchanged manifest costs nothing."""
    bench = make_bench()
    limits = replace(QUICK, on_change=OnChange.REBUY)
    kite = job("kite")
    for wanted, creates in ((kite, 1), (kite, 1), (changed(kite, "A red kite."), 2), (changed(kite, "A red kite."), 2)):
        assert bench.run([wanted], limits, checked=False).exit_code is Exit.OK
        assert len(bench.creates) == creates
    assert bench.row("kite").attempt == 2


def test_a_rebuy_that_fails_keeps_the_old_clip_in_its_place(make_bench: MakeBench) -> None:
    """As long as no new clip is there, the old one is not moved."""
    bench = make_bench()
    bench.run([job("kite", size="16x9")])
    old = bench.clip("kite.mp4")
    bench.script({"on": "create", "fail": "blocked"})
    summary = bench.run([job("kite", size="9x16")], rebuy=True)
    assert summary.exit_code is Exit.FAILED
    assert bench.clip("kite.mp4") == old


# ---- frames


def picture(path: Path, colour: str) -> Path:
    """Return a picture of one colour, in a file."""
    Image.new("RGB", (64, 36), colour).save(path)
    return path


def test_frames_are_sent_in_order_and_as_they_are(make_bench: MakeBench, tmp_path: Path) -> None:
    """First and last frame: two parts, first then last, byte for byte."""
    bench = make_bench()
    frames = [read_frame(picture(tmp_path / f"{colour}.png", colour)) for colour in ("red", "blue")]
    assert bench.run([job("pair", frames=frames), job("one", frames=frames[:1])]).exit_code is Exit.OK
    sent = {line["prompt"]: line["frames"] for line in bench.creates}
    assert sent["The clip pair."] == [frame.sha256 for frame in frames]
    assert sent["The clip one."] == [frames[0].sha256]


def test_a_frame_that_is_fitted_is_sent_as_it_was_made_in_every_attempt(make_bench: MakeBench, tmp_path: Path) -> None:
    """The service sees the ratio it was promised; a second attempt sends the same bytes; the file stays as it was."""
    bench = make_bench({"on": "create", "times": 1, "fail": "try again"})
    path = picture(tmp_path / "dawn.png", "red")
    before, frame = path.read_bytes(), read_frame(path)
    fitted = replace(frame, fitted=fitting(frame.width, frame.height, ratio=(1, 1), fit=Fit.PAD))
    assert bench.run([job("dawn", frames=[fitted, frame])]).exit_code is Exit.OK
    sent = [line["frames"] for line in bench.creates]
    made = hashlib.sha256(frame_bytes(fitted)).hexdigest()
    assert sent == [[made, frame.sha256]] * 2
    assert made != frame.sha256
    assert path.read_bytes() == before
    told = json.loads((bench.folder / "dawn.json").read_text())["frames"]
    assert told == [
        {"file": str(path), "sha256": made, "prepared": "pad 64x64"},
        {"file": str(path), "sha256": frame.sha256, "prepared": None},
    ]


def test_a_clip_that_was_ordered_in_other_words_than_the_manifests_is_not_given_the_new_ones(
    make_bench: MakeBench,
) -> None:
    """Its task outlived an edit of the manifest: what was sent is not known any more, and nothing false is told."""
    bench = make_bench({"on": "create", "never": True})
    wanted = job("kite")
    assert bench.run([wanted], replace(QUICK, task_timeout_s=300)).parked == 1
    for task in bench.world.tasks.values():
        task.never = False
    assert bench.run([changed(wanted, "A new kite.")]).exit_code is Exit.OK
    told = json.loads((bench.folder / "kite.json").read_text())
    assert (told["manifest_changed"], told["fingerprint"]) == (True, wanted.fingerprint)
    content = [told[name] for name in ("prompt", "model", "size", "seconds", "form", "frames")]
    assert content == [None] * 6
    assert told["task_id"] == bench.row("kite").task_id


@pytest.mark.parametrize("change", ["repainted", "deleted", "no picture"])
def test_a_frame_that_changed_since_the_check_is_not_sent(make_bench: MakeBench, tmp_path: Path, change: str) -> None:
    """The bytes are hashed as they go out: the job fails with the reason, nothing is sent for it, the others go on."""
    bench = make_bench()
    path = picture(tmp_path / "dawn.png", "red")
    wanted = [job("dawn", frames=[read_frame(path)]), *jobs(2)]
    match change:
        case "repainted":
            picture(path, "green")
        case "deleted":
            path.unlink()
        case _:
            path.write_bytes(b"no picture")
    summary = bench.run(wanted)
    assert summary.exit_code is Exit.FAILED
    assert "The clip dawn." not in bench.bought()
    assert "dawn.png" in (bench.row("dawn").reason or "")
    assert summary.counts[State.DONE] == 2
    assert len(bench.service.sent("post")) == 2


def test_a_status_that_nobody_knows_is_told_once_and_a_stream_of_them_a_few_times(make_bench: MakeBench) -> None:
    """A person learns of it at once, and not again with every poll of every job."""
    strange = {"on": "poll", "nth": "1-3", "set": {"status": "pondering\x1b[2J"}}
    bench = make_bench(strange, *({"on": "poll", "nth": n, "set": {"status": f"stage-{n}"}} for n in range(4, 30)))
    assert bench.run(jobs(3), replace(QUICK, task_timeout_s=7200.0)).exit_code is Exit.OK
    told = [note for note in bench.view.notes if "which batchvid does not know" in note]
    assert sum("'pondering'" in note for note in told) == 1
    assert len(told) == WORDS_TOLD
