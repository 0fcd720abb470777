"""Programs: the same engine as the command line, in their own event loop, over real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import batchvid
from batchvid import Action, Exit, State
from batchvid.engine.observer import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.api.conftest import Desk


def test_a_manifest_becomes_clips_and_a_second_run_does_nothing(desk: Desk) -> None:
    """What ``batchvid run`` would do, with its exit code as a value."""
    manifest = desk.load("kite", "gull")
    assert batchvid.plan(manifest).counts[Action.NEW] == 2
    summary = asyncio.run(batchvid.run(manifest))
    assert (summary.exit_code, summary.counts[State.DONE], summary.submits) == (Exit.OK, 2, 2)
    assert (desk.out / "job-1.mp4").stat().st_size
    assert batchvid.plan(manifest).is_empty
    again = asyncio.run(batchvid.run(manifest))
    assert (again.exit_code, again.submits) == (Exit.OK, 0)
    assert sum(desk.creates().values()) == 2
    assert desk.states() == {"job-1": "done", "job-2": "done"}


def test_what_goes_wrong_with_jobs_is_no_exception(desk: Desk) -> None:
    """It is told by the summary, as the command line tells it by its exit code."""
    summary = asyncio.run(batchvid.run(desk.load("kite", "doomed", "unsure", attempts="1")))
    assert summary.exit_code is Exit.IN_DOUBT
    assert {one.job_id for one in summary.needs_person} == {"job-2", "job-3"}
    assert summary.counts[State.DONE] == 1


async def _collect(clips: batchvid.Clips) -> list[batchvid.Clip]:
    return [clip async for clip in clips]


def test_a_stream_gives_every_clip_once_new_or_not(desk: Desk) -> None:
    """A program that died half way sees the clips again that it may not have dealt with."""
    manifest = desk.load("kite", "doomed", "gull", attempts="1")
    (first,) = asyncio.run(_collect(batchvid.stream(manifest, only="job-1")))
    clips = batchvid.stream(manifest)
    before = clips.summary
    old, new = asyncio.run(_collect(clips))
    assert [(clip.id, clip.is_new) for clip in (first, old, new)] == [
        ("job-1", True), ("job-1", False), ("job-3", True),
    ]  # fmt: skip
    assert before is None
    assert clips.summary is not None
    assert clips.summary.exit_code is Exit.FAILED
    for clip in (old, new):
        story = json.loads(clip.sidecar.read_text(encoding="utf-8"))
        assert clip.path == desk.out / f"{clip.id}.mp4"
        assert (clip.task_id, clip.sha256, clip.price) == (story["task_id"], story["sha256"], 0.4)
        assert (clip.size_bytes, clip.attempt) == (clip.path.stat().st_size, 1)
        assert clip.job.prompt == story["prompt"]
        assert clip.submitted_at is not None
        assert clip.finished_at is not None
        assert timedelta() <= clip.finished_at - clip.submitted_at < timedelta(seconds=60)


def test_a_clip_is_complete_when_it_is_given(desk: Desk) -> None:
    """While others are still to come: its file has its final name."""

    async def program() -> int:
        async for clip in batchvid.stream(desk.load("kite", "gull", "crane")):
            assert clip.path.stat().st_size == clip.size_bytes
            assert clip.sidecar.is_file()
        return sum(desk.creates().values())

    assert asyncio.run(program()) == 3


# ---- leaving early


def test_leaving_a_stream_half_way_buys_nothing_more_and_loses_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """What was sent is on record and none of it in doubt; the next run collects it and buys the rest."""
    caplog.set_level(logging.INFO, logger="batchvid")
    manifest = desk.load(*["kite"] * 30, submits="20/s", in_flight="5")

    async def program() -> None:
        async with batchvid.stream(manifest) as clips:
            async for _ in clips:
                break
        assert clips.summary is not None
        assert clips.summary.exit_code is Exit.INTERRUPTED
        bought = sum(desk.creates().values())
        assert 1 <= bought < 30
        await asyncio.sleep(0.2)
        assert sum(desk.creates().values()) == bought

    asyncio.run(program())
    assert "stopping: nothing new is sent" in caplog.text
    assert desk.doubts == 0
    assert asyncio.run(batchvid.run(manifest)).counts[State.DONE] == 30
    assert set(desk.creates().values()) == {1}


def test_a_program_that_goes_on_after_leaving_its_loop_buys_nothing_behind_its_own_back(desk: Desk) -> None:
    """Nobody waits for the run here, and it drains all the same, while the program does other things."""
    manifest = desk.load(*["kite"] * 30, submits="10/s", in_flight="5")

    async def program() -> None:
        async for _ in batchvid.stream(manifest):
            break
        while "batchvid_0" in {thread.name for thread in threading.enumerate()}:  # noqa: ASYNC110 no event tells it
            await asyncio.sleep(0.02)

    asyncio.run(program())
    assert 1 <= sum(desk.creates().values()) < 30
    assert desk.doubts == 0


@pytest.mark.parametrize("ending", ["break", "return", "raise", "aclose", "drop", "exit"])
def test_however_a_program_leaves_its_stream_the_run_drains_before_the_process_ends(desk: Desk, ending: str) -> None:
    """Also when the program ends at once, with its loop: nothing is cut off, nothing is bought behind its back."""
    desk.manifest(*["kite"] * 30, submits="20/s", in_flight="5")
    program = desk.folder / "program.py"
    leave = {
        "break": "break",
        "return": "return",
        "raise": "raise SystemExit(7)",
        "aclose": "await batchvid.stream(manifest).__aiter__().aclose(); break",
        "drop": "asyncio.get_running_loop().stop(); await asyncio.Event().wait()",
        "exit": "import sys; sys.exit(7)",
    }[ending]
    program.write_text(
        "import asyncio, batchvid\n"
        f"manifest = batchvid.load('m.yaml', base_url={desk.service.api!r})\n"
        "async def main():\n"
        "    async for clip in batchvid.stream(manifest):\n"
        f"        {leave}\n"
        "loop = asyncio.new_event_loop()\n"
        "try:\n"
        f"    {'asyncio.run(main())' if ending != 'drop' else 'loop.create_task(main()), loop.run_forever()'}\n"
        "finally:\n"
        "    loop.close()\n",
        encoding="utf-8",
    )
    ran = desk.python(program)
    assert ran.code == (7 if ending in {"raise", "exit"} else 0), ran
    bought = sum(desk.creates().values())
    assert 1 <= bought < 30, ran
    counts = [*desk.states().values()]
    assert counts.count("in_doubt") == counts.count("submitting") == 0, counts
    assert counts.count("pending") == 30 - bought
    assert desk.batchvid("run", "m.yaml").code == 0
    assert set(desk.creates().values()) == {1}


def test_a_cancelled_run_drains_before_it_is_cancelled(desk: Desk) -> None:
    """A time-out of the program's cuts no paid request off."""
    manifest = desk.load(*["kite"] * 30, submits="10/s", in_flight="5")

    async def program() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await batchvid.run(manifest)

    asyncio.run(program())
    assert 1 <= sum(desk.creates().values()) < 30
    assert desk.doubts == 0
    assert asyncio.run(batchvid.run(manifest)).exit_code is Exit.OK
    assert set(desk.creates().values()) == {1}


def test_a_run_that_is_cancelled_twice_stops_at_once(desk: Desk) -> None:
    """A paid request that hangs is cut off, and in doubt: never sent again by itself."""
    manifest = desk.load("slow")

    async def program() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(batchvid.run(manifest))
            while not desk.creates():  # noqa: ASYNC110 the ledger is in another process
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.sleep(0.1)
            assert not task.done()
            task.cancel()
        assert task.cancelled()

    began = time.monotonic()
    asyncio.run(program())
    assert time.monotonic() - began < 20  # the request would hang for 30 s
    assert asyncio.run(batchvid.run(manifest)).counts[State.IN_DOUBT] == 1
    assert sum(desk.creates().values()) == 1


# ---- beside a program


def test_a_program_that_blocks_its_loop_holds_nothing_up(desk: Desk) -> None:
    """Polls, downloads and the pace of paid requests go on while it computes."""

    async def program() -> None:
        async for clip in batchvid.stream(desk.load(*["kite"] * 8)):
            if clip.id:
                while len([*desk.out.glob("*.mp4")]) < 8:
                    time.sleep(0.02)  # noqa: ASYNC251 on purpose
                return

    asyncio.run(program())
    assert len([*desk.out.glob("*.mp4")]) == 8


def test_no_signal_handler_is_installed_and_nothing_is_printed(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    """Both belong to the program; the loop goes on with the program's other tasks."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    seen: list[Any] = []

    async def look() -> None:
        await asyncio.sleep(0.1)
        seen.extend(signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP))

    async def program() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(batchvid.run(desk.load("kite")))
            group.create_task(look())

    asyncio.run(program())
    assert seen == before[1:]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert capfd.readouterr() == ("", "")
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("batchvid")]:
        thread.join(10)
        assert not thread.is_alive()


def test_two_manifests_run_beside_each_other_and_two_runs_of_one_do_not(desk: Desk, tmp_path: Path) -> None:
    """The second on one output is turned away before it sends anything."""
    path = desk.manifest("kite", "gull", in_flight="1")
    one, two = (batchvid.load(path, output=tmp_path / name, base_url=desk.service.api) for name in "ab")

    async def program() -> tuple[object, ...]:
        return await asyncio.gather(
            batchvid.run(one), batchvid.run(two), batchvid.run(one), _collect(batchvid.stream(one)),
            return_exceptions=True,
        )  # fmt: skip

    ended = asyncio.run(program())
    kinds = [type(one).__name__ for one in ended]
    assert kinds[1] == "Summary"
    assert kinds.count("OutputBusyError") == 2
    assert set(desk.creates().values()) == {2}


def test_a_watcher_is_told_what_happens(desk: Desk) -> None:
    """As the command line's own views are."""

    class Watcher(Silent):
        """Counts events."""

        events = 0

        def event(self, *_: object) -> None:
            """Count one."""
            self.events += 1

    watcher = Watcher()
    asyncio.run(batchvid.run(desk.load("kite"), view=watcher))
    assert watcher.events >= 3


# ---- settings and errors


def test_settings_mean_what_the_flags_mean(desk: Desk) -> None:
    """The moment, the number, the money and the pattern each bound what is bought."""
    manifest = desk.load("kite", "gull", "crane")
    for settings, bought, code in [
        ({"until": datetime.now(UTC) - timedelta(hours=1)}, 0, Exit.STOPPED),
        ({"max_jobs": 0}, 0, Exit.STOPPED),
        ({"max_cost": "0.50"}, 1, Exit.BUDGET),
        ({"only": "job-3"}, 2, Exit.OK),
        ({"only": ()}, 2, Exit.STOPPED),
        ({"only": ["job-1", "job-3"]}, 2, Exit.OK),
        ({}, 3, Exit.OK),
    ]:
        summary = asyncio.run(batchvid.run(manifest, **settings))  # type: ignore[arg-type]
        assert sum(desk.creates().values()) == bought, settings
        assert summary.exit_code is code, settings


def test_the_sandbox_needs_no_key_and_no_service(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the embedded one, and its clips are real."""
    monkeypatch.delenv("COMETAPI_KEY")
    manifest = batchvid.load(desk.manifest("kite"), output=desk.folder / "rehearsal")
    (clip,) = asyncio.run(_collect(batchvid.stream(manifest, sandbox=True, sandbox_speed=200)))
    assert clip.path.read_bytes()[4:8] == b"ftyp"
    assert desk.creates() == {}


def test_a_rehearsal_has_an_output_of_its_own(desk: Desk) -> None:
    """Beside the manifest's, as with the command line, so that the one for what is paid stays free."""
    manifest = desk.load("kite")
    found = [asyncio.run(_collect(batchvid.stream(manifest, sandbox=True, sandbox_speed=200))) for _ in range(2)]
    assert {clip.path.parent.name for clips in found for clip in clips} == {f"{desk.out.name}-sandbox"}
    assert [clip.is_new for clips in found for clip in clips] == [True, False]
    assert not desk.out.exists()
    (paid,) = asyncio.run(_collect(batchvid.stream(manifest)))
    assert paid.path.parent == desk.out
    assert sum(desk.creates().values()) == 1


def test_an_older_rehearsal_in_the_manifests_own_output_goes_on_there(desk: Desk) -> None:
    """So it was before batchvid put them beside it."""
    own = batchvid.load(desk.manifest("kite"), output=desk.out)
    asyncio.run(batchvid.run(own, sandbox=True, sandbox_speed=200))
    (clip,) = asyncio.run(_collect(batchvid.stream(desk.load("kite"), sandbox=True, sandbox_speed=200)))
    assert clip.path.parent == desk.out
    assert not clip.is_new


def test_errors_are_of_one_tree_and_leave_nothing_behind(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says what to do, and has the exit code that the command line would end with."""
    wrong = desk.folder / "wrong.yaml"
    wrong.write_text("jobs: [{id: a}]\nlimit: {}\n", encoding="utf-8")
    with pytest.raises(batchvid.ManifestError) as refused:
        batchvid.load(wrong)
    assert [problem.line for problem in refused.value.problems] == [1, 2]
    with pytest.raises(batchvid.ConfigError, match="the base URL"):
        batchvid.load(desk.manifest("kite"), base_url="ftp://x")
    manifest = desk.load("kite")
    with pytest.raises(TypeError, match=r"unknown settings: max_price; there are .*max_cost"):
        asyncio.run(batchvid.run(manifest, max_price=3))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="is not an amount of money"):
        asyncio.run(batchvid.run(manifest, max_cost="cheap"))
    with pytest.raises(ValueError, match="max_jobs is -1"):
        asyncio.run(batchvid.run(manifest, max_jobs=-1))
    for speed in (0, math.nan, math.inf, 1e308):
        with pytest.raises(ValueError, match="sandbox_speed is"):
            asyncio.run(batchvid.run(manifest, sandbox=True, sandbox_speed=speed))
    monkeypatch.delenv("COMETAPI_KEY")
    for program in (batchvid.run(manifest), _collect(batchvid.stream(manifest))):
        with pytest.raises(batchvid.ConfigError, match="set the variable COMETAPI_KEY"):
            asyncio.run(program)
    assert not desk.out.exists()
    desk.out.parent.mkdir()
    desk.out.write_text("a file", encoding="utf-8")
    key_file = desk.folder / "key"
    key_file.write_text("sk-x-012345", encoding="utf-8")
    with pytest.raises(batchvid.ConfigError, match="can be read by others"):
        asyncio.run(batchvid.run(manifest, key_file=key_file))
    key_file.chmod(0o600)
    with pytest.raises(batchvid.StorageError, match="cannot use the output folder"):
        asyncio.run(batchvid.run(manifest, key_file=key_file))
    for error in (batchvid.ManifestError, batchvid.ConfigError, batchvid.StorageError, batchvid.OutputBusyError):
        assert issubclass(error, batchvid.BatchvidError)
