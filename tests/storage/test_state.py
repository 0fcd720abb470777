"""The state of an output on a real disk: private, held by one run; and the list of its clips."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import OutputBusyError, StorageError
from batchvid.storage.output import Output
from batchvid.storage.state import StateFolder, hold

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    """Return a prepared state folder."""
    found = StateFolder(tmp_path / "out")
    found.prepare()
    return found


def names(folder: Path) -> set[str]:
    """Return what is in a folder."""
    return {path.name for path in folder.iterdir()}


def test_runs_that_start_at_the_same_moment_do_not_make_each_other_fail(tmp_path: Path) -> None:
    """Each proves that it can write; which of them goes on is the lock's business."""
    ready = threading.Barrier(4)

    def prepare_again_and_again(_: int) -> None:
        output = Output.at(tmp_path / "out")
        ready.wait()
        for _ in range(50):
            output.prepare()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(prepare_again_and_again, range(4))) == [None] * 4
    assert names(tmp_path / "out") == {".batchvid"}


def test_a_loose_state_folder_is_made_private(tmp_path: Path) -> None:
    """Whoever made it, others may not look into it; nothing else is left there."""
    state = StateFolder(tmp_path / "deep" / "out")
    state.folder.mkdir(parents=True, mode=0o755)
    state.prepare()
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700
    assert names(state.folder) == set()


def test_links_in_the_place_of_the_folder_or_the_lock_are_refused(tmp_path: Path) -> None:
    """Nothing is written through a link that leads elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("mine")
    state = StateFolder(tmp_path / "out")
    state.output.mkdir()
    state.folder.symlink_to(elsewhere)
    with pytest.raises(StorageError, match="a symbolic link or a file, not a folder"):
        state.prepare()
    state.folder.unlink()
    state.prepare()
    (state.folder / "lock").symlink_to(elsewhere / "file")
    with pytest.raises(StorageError, match="a symbolic link, which is never followed"), hold(state.output):
        pass
    assert (elsewhere / "file").read_text() == "mine"
    assert names(elsewhere) == {"file"}


def test_clips_jsonl_is_replaced_in_one_step(state: StateFolder) -> None:
    """One object a line, in the order given; a link in its place is not followed."""
    (state.output / "clips.jsonl").symlink_to("nowhere")
    state.write_clips(lambda: ({"id": name} for name in ("kite", "dawn")))
    lines = (state.output / "clips.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["kite", "dawn"]
    assert names(state.output) == {"clips.jsonl", ".batchvid"}


@pytest.mark.parametrize("there", ["kite", "kite dawn", "kite dawn gull", "kite down", ""])
def test_clips_jsonl_is_written_where_it_would_change(state: StateFolder, there: str) -> None:
    """A shorter list, a longer one and another of the same length are replaced; the same one stays the file it is."""
    state.write_clips(lambda: [{"id": name} for name in there.split()])
    before = (state.output / "clips.jsonl").stat().st_ino
    state.write_clips(lambda: [{"id": name} for name in ("kite", "dawn")])
    lines = (state.output / "clips.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["kite", "dawn"]
    assert ((state.output / "clips.jsonl").stat().st_ino == before) == (there == "kite dawn")


def test_a_write_that_is_told_lost_at_the_close_replaces_nothing(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network file systems do when the server is full."""
    state.write_clips(lambda: [{"id": "old"}])
    real = os.close

    def close(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        real(descriptor)
        if name == ".clips.jsonl.new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        with pytest.raises(StorageError, match="the disk is full"):
            state.write_clips(lambda: [{"id": "new"}])
    assert json.loads((state.output / "clips.jsonl").read_text()) == {"id": "old"}
    assert names(state.output) == {"clips.jsonl", ".batchvid"}


def test_a_list_of_clips_that_breaks_off_leaves_the_old_one(state: StateFolder) -> None:
    """Whoever reads sees the old list or the new one, never half of it."""

    def broken() -> Iterator[dict[str, object]]:
        yield {"id": "kite"}
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    state.write_clips(lambda: [{"id": "old"}])
    with pytest.raises(StorageError, match="the disk is full"):
        state.write_clips(broken)
    assert json.loads((state.output / "clips.jsonl").read_text()) == {"id": "old"}
    assert names(state.output) == {"clips.jsonl", ".batchvid"}


def test_an_output_is_held_by_one_run(state: StateFolder) -> None:
    """Another process is refused at once and told whom to look for; a lock file without a holder means nothing."""
    code = (
        "import pathlib, sys; from batchvid.storage.state import hold\n"
        "with hold(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(state.output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputBusyError, match=rf"another run \(process {holder.pid}\) holds"), hold(state.output):
            pass
        holder.send_signal(signal.SIGKILL)
    with hold(state.output):
        assert (state.folder / "lock").read_text() == f"{os.getpid()}\n"
        assert stat.S_IMODE((state.folder / "lock").stat().st_mode) == 0o600


def test_the_first_answers_are_private_whole_and_leave_the_journal_its_room(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept comes back; on a disk that is nearly full the old ones stay."""
    assert state.first_answers() is None
    state.keep_first_answers({"create": {"body": "é\udc80"}})
    assert state.first_answers() == {"create": {"body": "é\udc80"}}
    assert stat.S_IMODE(state.first_answers_path.stat().st_mode) == 0o600
    true_look = os.fstatvfs

    def nearly_full(descriptor: int) -> os.statvfs_result:
        found = list(true_look(descriptor))
        found[4] = 1  # f_bavail
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "fstatvfs", nearly_full)
    with pytest.raises(StorageError, match="the disk is full"):
        state.keep_first_answers({})
    assert state.first_answers() == {"create": {"body": "é\udc80"}}


def test_damaged_first_answers_are_told_from_none(state: StateFolder) -> None:
    """Half a file, a list, a link and a folder are no answers; neither is a state folder that is not there."""
    for damage in ("{", "[]", "\xff"):
        state.first_answers_path.write_text(damage, encoding="latin-1")
        with pytest.raises(ValueError, match="no JSON object"):
            state.first_answers()
    state.first_answers_path.unlink()
    state.first_answers_path.symlink_to("nowhere")
    with pytest.raises(ValueError, match="no JSON object"):
        state.first_answers()
    assert StateFolder(state.output / "elsewhere").first_answers() is None
