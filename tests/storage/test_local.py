"""The output tree on a real disk: what is there after each step, and after each step that went wrong."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import resource
import stat
import threading
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import ForeignFileError, StorageError, TooManyFilesError
from batchvid.media.mp4 import NotAClip
from batchvid.storage import part as part_module
from batchvid.storage.fs import open_folder, place
from batchvid.storage.local import LocalStore
from batchvid.storage.threads import settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchvid.storage.base import Saved

    MakeClip = Callable[..., bytes]

ETAG = '"abc"'


@pytest.fixture
def outputs(tmp_path: Path) -> LocalStore:
    """Return a prepared output folder."""
    found = LocalStore(tmp_path / "out")
    found.prepare()
    return found


@pytest.fixture
def clip(make_clip: MakeClip) -> bytes:
    """Return a whole clip."""
    return make_clip(audio=True)


async def save(outputs: LocalStore, data: bytes, *, path: str = "kite.mp4", source: str = "task_1") -> Saved:
    """Put a clip in place as the download stage does."""
    async with outputs.part(path, source=source) as part:
        if part.complete:
            return await part.commit({"task_id": source})
        await part.restart()
        part.remember(ETAG)
        for begin in range(0, len(data), 1000):
            await part.write(data[begin : begin + 1000])
        return await part.commit({"task_id": source})


def names(outputs: LocalStore) -> set[str]:
    """Return the names in the output folder, without the state folder."""
    return {path.name for path in outputs._folder.iterdir()} - {".batchvid"}


def open_descriptors() -> int:
    """Count this process's open files."""
    return len(list(Path("/dev/fd").iterdir()))


def fail_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Let the disk fail once, at the call of this number; give the counter of the calls, which begins at 1."""
    calls = count(1)

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if next(calls) == step:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*args, **options)

        return call

    for name in ("fchmod", "fsync", "link", "unlink", "rename", "open", "pwrite", "fstat"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    return calls


def test_a_clip_is_saved_with_its_sidecar_and_nothing_else(outputs: LocalStore, clip: bytes) -> None:
    """The final name holds the bytes, the sidecar what is known, and no part or note is left."""
    saved = asyncio.run(save(outputs, clip))
    digest = hashlib.sha256(clip).hexdigest()
    assert (saved.path, saved.size_bytes, saved.sha256, saved.clip.samples) == ("kite.mp4", len(clip), digest, 10)
    assert names(outputs) == {"kite.mp4", "kite.json"}
    assert (outputs._folder / "kite.mp4").read_bytes() == clip
    sidecar = json.loads((outputs._folder / "kite.json").read_text())
    assert sidecar["task_id"] == "task_1"
    assert sidecar["sha256"] == digest
    assert (sidecar["width"], sidecar["height"], sidecar["codec"], sidecar["audio"]) == (64, 36, "h264", True)


def test_the_modes_are_private_until_finished(outputs: LocalStore, clip: bytes) -> None:
    """A part is the user's own; the clip follows the umask."""

    async def modes() -> list[int]:
        async with outputs.part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)
            await part.write(clip)
            before = (outputs._folder / "kite.mp4.part").stat().st_mode
            await part.commit({})
        return [stat.S_IMODE(mode) for mode in (before, (outputs._folder / "kite.mp4").stat().st_mode)]

    umask = os.umask(0)
    os.umask(umask)
    assert asyncio.run(modes()) == [0o600, 0o666 & ~umask]


def test_folders_in_the_name_are_made(outputs: LocalStore, clip: bytes) -> None:
    """A file name may hold folders."""
    asyncio.run(save(outputs, clip, path="hanoi/dawn/kite.mp4"))
    assert (outputs._folder / "hanoi" / "dawn" / "kite.json").exists()


@pytest.mark.parametrize(
    "path", ["", ".", "/etc/kite.mp4", "../kite.mp4", "a/../../kite.mp4", ".batchvid/k.mp4", "a\0b"]
)
def test_no_path_leads_out_of_the_folder(outputs: LocalStore, path: str) -> None:
    """A path that would leave the output, or enter the state folder, is a bug and raises."""
    with pytest.raises(ValueError, match="is no path inside the output folder"):
        asyncio.run(save(outputs, b"", path=path))


def test_a_part_goes_on_where_it_stopped(outputs: LocalStore, clip: bytes) -> None:
    """Bytes of an earlier try count, with their hash and the validator they belong to."""

    async def twice() -> Saved:
        async with outputs.part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)
            await part.write(clip[:700])
        async with outputs.part("kite.mp4", source="task_1") as part:
            assert (part.offset_bytes, part.validator, part.complete) == (700, ETAG, False)
            await part.write(clip[700:])
            return await part.commit({})

    assert asyncio.run(twice()).sha256 == hashlib.sha256(clip).hexdigest()


@pytest.mark.parametrize("change", ["source", "boot", "note", "no note", "unremembered", "restarted"])
def test_bytes_that_nothing_vouches_for_are_dropped(
    outputs: LocalStore, clip: bytes, change: str, tmp_path: Path
) -> None:
    """Another task, another start of the machine, a damaged note: the part begins from zero."""

    async def first() -> None:
        async with outputs.part("kite.mp4", source="task_1") as part:
            if change != "unremembered":
                part.remember(ETAG)
            await part.write(clip[:700])
            if change == "restarted":
                await part.restart()
                await part.write(clip[:700])

    async def offset(again: LocalStore, source: str) -> tuple[int, str | None]:
        async with again.part("kite.mp4", source=source) as part:
            return part.offset_bytes, part.validator

    asyncio.run(first())
    note = outputs._folder / "kite.mp4.part.meta"
    again = LocalStore(outputs._folder)
    if change == "boot":
        again._boot = "another"
    elif change == "note":
        note.write_text('{"source": ["task_1"], "boot": 3}')
    elif change == "no note":
        note.unlink()
    assert asyncio.run(offset(again, "task_2" if change == "source" else "task_1")) == (0, None)
    assert names(outputs) == set()


def test_an_empty_part_leaves_nothing_behind(outputs: LocalStore) -> None:
    """A transfer that never began is not to be seen."""

    async def nothing() -> None:
        async with outputs.part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)

    asyncio.run(nothing())
    assert names(outputs) == set()


@pytest.mark.parametrize("length", [0, 1, 500, -1])
def test_what_is_no_clip_is_kept_as_bad(outputs: LocalStore, clip: bytes, length: int) -> None:
    """Half a clip never gets the final name; the newest bad one is kept to look at."""
    (outputs._folder / "kite.mp4.bad").write_text("older")
    with pytest.raises(NotAClip):
        asyncio.run(save(outputs, clip[:length]))
    assert names(outputs) == {"kite.mp4.bad"}
    assert (outputs._folder / "kite.mp4.bad").read_bytes() == clip[:length]


@pytest.mark.parametrize("name", ["kite.mp4", "kite.json"])
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_a_file_that_is_not_ours_is_never_touched(
    outputs: LocalStore, clip: bytes, tmp_path: Path, name: str, kind: str
) -> None:
    """The clip is kept as a part, the other file stays as it is, and the message says which one to move."""
    foreign, elsewhere = outputs._folder / name, tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    if kind == "file":
        foreign.write_text("mine")
    elif kind == "link":
        foreign.symlink_to(elsewhere)
    else:
        foreign.mkdir()
    with pytest.raises(ForeignFileError, match=f"kite.mp4: {name} is there already.*move it away"):
        asyncio.run(save(outputs, clip))
    assert kind != "file" or foreign.read_text() == "mine"
    assert elsewhere.read_text() == "mine"
    assert (outputs._folder / "kite.mp4.part").read_bytes() == clip


@pytest.mark.parametrize("name", ["kite.mp4", "kite.json"])
def test_a_clip_that_waited_for_a_foreign_file_needs_no_transfer(outputs: LocalStore, clip: bytes, name: str) -> None:
    """Once the other file is moved away the part is complete, even after the machine was started anew."""
    (outputs._folder / name).write_text("mine")
    with pytest.raises(ForeignFileError):
        asyncio.run(save(outputs, clip))
    (outputs._folder / name).unlink()
    again = LocalStore(outputs._folder)
    again._boot = "another"
    assert asyncio.run(save(again, b"never asked for")).size_bytes == len(clip)
    assert names(outputs) == {"kite.mp4", "kite.json"}


@pytest.mark.parametrize("step", range(1, 28))
def test_a_finish_that_fails_at_any_step_converges(
    outputs: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Whichever system call fails, no half clip has the final name, and the next try ends with the clip."""
    calls = fail_at(step, monkeypatch)
    final = outputs._folder / "kite.mp4"
    try:
        asyncio.run(save(outputs, clip))
    except StorageError as error:
        assert "check the disk" in str(error)  # noqa: PT017 late steps may fail without harm
    monkeypatch.undo()
    assert next(calls) > step
    assert not final.exists() or final.read_bytes() == clip
    assert asyncio.run(save(LocalStore(outputs._folder), clip)).size_bytes == len(clip)
    assert names(outputs) == {"kite.mp4", "kite.json"}
    assert final.read_bytes() == clip


def test_a_failed_sync_is_not_trusted(outputs: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one failed fsync a second may succeed and prove nothing: the bytes are fetched again."""
    part_file = outputs._folder / "kite.mp4.part"

    def sync(descriptor: int) -> None:
        if part_file.exists() and os.path.samestat(os.fstat(descriptor), part_file.stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(StorageError, match="input/output error"):
        asyncio.run(save(outputs, clip))
    assert names(outputs) == set()


async def save_at_once(outputs: LocalStore, data: bytes, *, path: str = "kite.mp4", source: str = "task_1") -> Saved:
    """Put a clip in place as the download stage does with one that it never fetched from and that is one block."""
    async with outputs.part(path, source=source, fresh=True) as part:
        part.remember(ETAG)
        return await part.commit({"task_id": source}, data)


def test_a_clip_of_one_block_is_saved_with_its_sidecar_and_nothing_else(outputs: LocalStore, clip: bytes) -> None:
    """It ends as one that came in many blocks does, whatever lay in its way from an earlier task."""
    (outputs._folder / "kite.mp4.part").write_bytes(b"of another task")
    (outputs._folder / "kite.mp4.part.meta").write_text('{"source": "task_0", "boot": "x"}')
    saved = asyncio.run(save_at_once(outputs, clip))
    assert (saved.size_bytes, saved.sha256) == (len(clip), hashlib.sha256(clip).hexdigest())
    assert names(outputs) == {"kite.mp4", "kite.json"}
    assert (outputs._folder / "kite.mp4").read_bytes() == clip
    assert json.loads((outputs._folder / "kite.json").read_text())["sha256"] == saved.sha256


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_file_is_never_taken_for_an_old_part(
    outputs: LocalStore, clip: bytes, tmp_path: Path, kind: str
) -> None:
    """Something else under the part's name is left alone, and the clip is not saved through it."""
    part, elsewhere = outputs._folder / "kite.mp4.part", tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    if kind == "link":
        part.symlink_to(elsewhere)
    elif kind == "folder":
        part.mkdir()
    else:
        os.mkfifo(part)
    before = part.lstat().st_ino
    with pytest.raises(StorageError):
        asyncio.run(save_at_once(outputs, clip))
    assert part.lstat().st_ino == before
    assert elsewhere.read_text() == "mine"
    assert names(outputs) == {"kite.mp4.part"}


@pytest.mark.parametrize("step", range(1, 14))
def test_a_clip_of_one_block_that_fails_at_any_step_converges(
    outputs: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Whichever system call fails, no half clip has the final name, and the next try ends with the clip."""
    calls = fail_at(step, monkeypatch)
    try:
        asyncio.run(save_at_once(outputs, clip))
    except StorageError as error:
        assert "check the disk" in str(error)  # noqa: PT017 late steps may fail without harm
    monkeypatch.undo()
    assert next(calls) > step
    final = outputs._folder / "kite.mp4"
    assert not final.exists() or final.read_bytes() == clip
    assert asyncio.run(save(LocalStore(outputs._folder), clip)).size_bytes == len(clip)
    assert names(outputs) == {"kite.mp4", "kite.json"}


def test_a_clip_that_was_safe_but_had_no_name_yet_needs_no_transfer(
    outputs: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the sync and the final name: the sidecar vouches for the part, also after a new start."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(part_module, "place", crash)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(save_at_once(outputs, clip))
    monkeypatch.undo()
    assert names(outputs) == {"kite.mp4.part", "kite.json"}
    again = LocalStore(outputs._folder)
    again._boot = "another"
    assert asyncio.run(save(again, b"never asked for")).size_bytes == len(clip)
    assert names(outputs) == {"kite.mp4", "kite.json"}


@pytest.mark.parametrize("leftover", [True, False])
def test_a_crash_right_after_the_final_name_is_recognised(
    outputs: LocalStore,
    clip: bytes,
    monkeypatch: pytest.MonkeyPatch,
    leftover: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """The clip is there, the journal does not know: the next run takes it without a transfer."""

    def crash(folder: int, source: str, target: str) -> None:
        os.link(source, target, src_dir_fd=folder, dst_dir_fd=folder)
        if not leftover:
            os.unlink(source, dir_fd=folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(part_module, "place", crash)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(save(outputs, clip))
    monkeypatch.undo()
    assert asyncio.run(save(LocalStore(outputs._folder), b"never asked for")).size_bytes == len(clip)
    assert names(outputs) == {"kite.mp4", "kite.json"}


def test_a_new_attempt_never_empties_an_old_clip_through_a_second_name(outputs: LocalStore, clip: bytes) -> None:
    """After a crash between two names the part IS the clip: beginning anew must leave the clip alone."""
    asyncio.run(save(outputs, clip))
    os.link(outputs._folder / "kite.mp4", outputs._folder / "kite.mp4.part")
    assert outputs.retire("kite.mp4", 1) == "kite.attempt-1.mp4"

    async def begin(source: str) -> None:
        async with outputs.part("kite.mp4", source=source) as part:
            part.remember(ETAG)
            await part.write(b"new")

    asyncio.run(begin("task_2"))
    assert (outputs._folder / "kite.attempt-1.mp4").read_bytes() == clip


def test_beginning_anew_leaves_a_clip_alone_that_shares_the_part_s_bytes(
    outputs: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, when the crash left the note and a person has moved the clip since."""

    def crash(folder: int, source: str, target: str) -> None:
        os.link(source, target, src_dir_fd=folder, dst_dir_fd=folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(part_module, "place", crash)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(save(outputs, clip))
    monkeypatch.undo()
    (outputs._folder / "kite.mp4").rename(outputs._folder / "moved.mp4")

    async def begin() -> None:
        async with outputs.part("kite.mp4", source="task_1") as part:
            await part.restart()

    asyncio.run(begin())
    assert (outputs._folder / "moved.mp4").read_bytes() == clip


def test_nothing_done_to_a_finished_part_changes_the_clip(
    outputs: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that ignores "complete" and starts over gets an error, and the clip stays."""

    def crash(folder: int, source: str, target: str) -> None:
        place(folder, source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(part_module, "place", crash)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(save(outputs, clip))
    monkeypatch.undo()

    async def meddle() -> None:
        async with outputs.part("kite.mp4", source="task_1") as part:
            assert part.complete
            with pytest.raises(StorageError):
                await part.write(b"x")
            with pytest.raises(StorageError):
                await part.restart()

    asyncio.run(meddle())
    assert (outputs._folder / "kite.mp4").read_bytes() == clip


def test_where_links_are_not_supported_a_clip_is_renamed_and_still_never_replaces(
    outputs: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems have no hard links."""

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    asyncio.run(save(outputs, clip))
    assert (outputs._folder / "kite.mp4").read_bytes() == clip
    (outputs._folder / "other.mp4").write_text("mine")
    with pytest.raises(ForeignFileError):
        asyncio.run(save(outputs, clip, path="other.mp4"))
    assert (outputs._folder / "other.mp4").read_text() == "mine"


def test_an_old_clip_is_kept_with_its_attempt_number(outputs: LocalStore, clip: bytes) -> None:
    """Retiring renames clip and sidecar and never replaces what was kept before."""
    asyncio.run(save(outputs, clip, path="a/kite.mp4"))
    assert outputs.retire("a/kite.mp4", 1) == "a/kite.attempt-1.mp4"
    assert outputs.retire("a/kite.mp4", 1) is None
    asyncio.run(save(outputs, clip, path="a/kite.mp4", source="task_2"))
    assert outputs.retire("a/kite.mp4", 1) == "a/kite.attempt-1.2.mp4"
    assert {path.name for path in (outputs._folder / "a").iterdir()} == {
        "kite.attempt-1.mp4",
        "kite.attempt-1.json",
        "kite.attempt-1.2.mp4",
        "kite.attempt-1.2.json",
    }
    assert outputs.retire("none/none.mp4", 1) is None


def test_a_damaged_clip_is_found(outputs: LocalStore, clip: bytes) -> None:
    """Missing, another length, other bytes, a folder or a link in its place: each has its words."""
    saved = asyncio.run(save(outputs, clip))
    path = outputs._folder / "kite.mp4"

    def wrong(*, full: bool = True, sha256: str = saved.sha256) -> str | None:
        return outputs.check("kite.mp4", size_bytes=len(path.read_bytes()), sha256=sha256, full=full)

    def check(*, full: bool) -> str | None:
        return outputs.check("kite.mp4", size_bytes=len(clip), sha256=saved.sha256, full=full)

    assert check(full=True) is None
    path.write_bytes(clip[:-1] + b"x")
    assert check(full=False) is None
    assert str(check(full=True)).startswith("was changed: its SHA-256 is ")
    path.write_bytes(clip[:-1])
    assert check(full=False) == f"has {len(clip) - 1:,} bytes instead of {len(clip):,}"
    assert "is cut off" in str(wrong(sha256=hashlib.sha256(clip[:-1]).hexdigest()))
    path.unlink()
    assert check(full=False) == "is missing"
    path.symlink_to("kite.json")
    assert "symbolic link" in str(check(full=False))
    path.unlink()
    path.mkdir()
    assert "something else has that name" in str(check(full=False))
    assert outputs.check("none/kite.mp4", size_bytes=1, sha256="", full=True) == "is missing"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """The message says what to move."""
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StorageError, match="something else has that name"):
        LocalStore(tmp_path / "out").prepare()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EDQUOT, "your disk quota is used up"),
        (errno.EFBIG, r"ulimit -f"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission denied: make the folder writable"),
        (errno.EIO, "check the disk"),
        (errno.ENAMETOOLONG, "use a shorter id"),
    ],
)
def test_an_output_that_cannot_be_written_is_found_by_preparing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    """The proof is a real write and a real sync; each reason has its advice."""

    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=text):
        LocalStore(tmp_path).prepare()


def test_too_many_open_files_is_told_apart(outputs: LocalStore, clip: bytes) -> None:
    """It passes, so that the caller may wait instead of stopping."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def crowded() -> None:
        async with outputs.part("other.mp4", source="task_1"):
            resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
            try:
                await save(outputs, clip)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    with pytest.raises(TooManyFilesError, match="ulimit -n"):
        asyncio.run(crowded())


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """Let the kernel refuse larger files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_keeps_what_came(outputs: LocalStore, clip: bytes) -> None:
    """The kernel takes part of a block and refuses the rest: the part goes on from there later."""

    async def offset() -> int:
        async with outputs.part("kite.mp4", source="task_1") as part:
            return part.offset_bytes

    async def fill() -> None:
        async with outputs.part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)
            with file_size_limit(1500):
                await part.write(clip)

    with pytest.raises(StorageError, match=r"cannot write kite.mp4.part: the file is larger.*ulimit -f"):
        asyncio.run(fill())
    assert asyncio.run(offset()) == 1500


def test_an_output_removed_while_writing_stops_the_job(outputs: LocalStore, clip: bytes) -> None:
    """No clip is reported that nobody can find."""

    async def vanish() -> None:
        async with outputs.part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)
            await part.write(clip)
            outputs._folder.rename(outputs._folder.with_name("gone"))
            for path in outputs._folder.with_name("gone").glob("kite*"):
                path.unlink()
            await part.commit({})

    with pytest.raises(StorageError, match="no longer there"):
        asyncio.run(vanish())
    with pytest.raises(StorageError, match="no longer there"):
        asyncio.run(save(outputs, clip))


def test_a_cancelled_finish_comes_to_its_end_first(
    outputs: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that renames is waited for, so that nobody closes its files; the clip is whole."""
    reached, go_on = threading.Event(), threading.Event()

    def slow(folder: int, source: str, target: str) -> None:
        reached.set()
        assert go_on.wait(10)
        place(folder, source, target)

    monkeypatch.setattr(part_module, "place", slow)

    async def interrupted() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(save(outputs, clip))
            await asyncio.to_thread(reached.wait, 10)
            task.cancel()
            asyncio.get_running_loop().call_soon(go_on.set)

    asyncio.run(interrupted())
    assert names(outputs) == {"kite.mp4", "kite.json"}


def test_a_part_opened_for_a_cancelled_caller_is_closed(outputs: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while parts are being opened leaks no descriptors."""
    reached, go_on = threading.Event(), threading.Event()

    def slow(root: str, *names: str, create: bool) -> int:
        reached.set()
        assert go_on.wait(10)
        return open_folder(root, *names, create=create)

    monkeypatch.setattr(part_module, "open_folder", slow)

    async def interrupted() -> tuple[int, int]:
        before = open_descriptors()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(save(outputs, b""))
            await asyncio.to_thread(reached.wait, 10)
            task.cancel()
            asyncio.get_running_loop().call_soon(go_on.set)
        return before, open_descriptors()

    before, after = asyncio.run(interrupted())
    assert before == after
    assert names(outputs) == set()


def test_closing_waits_for_the_write_under_way(
    outputs: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled write goes on in its thread; its descriptor must not become another file's meanwhile."""
    reached, go_on, order = threading.Event(), threading.Event(), list[str]()
    real_write, real_close = os.pwrite, os.close

    def slow(descriptor: int, data: bytes, offset: int) -> int:
        reached.set()
        assert go_on.wait(10)
        order.append("written")
        return real_write(descriptor, data, offset)

    def close(descriptor: int) -> None:
        order.append("closed")
        real_close(descriptor)

    async def interrupted() -> None:
        async with outputs.part("kite.mp4", source="task_1") as part, asyncio.TaskGroup() as group:
            part.remember(ETAG)
            await part.write(clip[:100])
            monkeypatch.setattr(os, "pwrite", slow)
            monkeypatch.setattr(os, "close", close)
            task = group.create_task(part.write(clip[100:]))
            await asyncio.to_thread(reached.wait, 10)
            task.cancel()
            asyncio.get_running_loop().call_later(0.05, go_on.set)

    asyncio.run(interrupted())
    monkeypatch.undo()
    assert order[:2] == ["written", "closed"]
    assert (outputs._folder / "kite.mp4.part").read_bytes() == clip


def test_a_result_that_nobody_receives_is_taken_back() -> None:
    """A file that was opened for a cancelled caller is closed."""
    begun, go_on, undone = threading.Event(), threading.Event(), list[int]()

    def work() -> int:
        begun.set()
        assert go_on.wait(10)
        return 7

    async def interrupted() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(settled(work, undo=undone.append))
            await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            asyncio.get_running_loop().call_soon(go_on.set)

    asyncio.run(interrupted())
    assert undone == [7]


def test_no_descriptor_is_left_open(outputs: LocalStore, clip: bytes) -> None:
    """A night of clips, good, bad and foreign, uses up no descriptors."""

    async def rounds() -> None:
        for number in range(5):
            await save(outputs, clip, path=f"{number}.mp4")
            with pytest.raises(NotAClip):
                await save(outputs, b"no clip", path=f"bad-{number}.mp4")
            outputs.check(f"{number}.mp4", size_bytes=1, sha256="", full=True)
            outputs.retire(f"{number}.mp4", 1)

    asyncio.run(rounds())
    before = open_descriptors()
    asyncio.run(_again(outputs, clip))
    assert open_descriptors() == before


async def _again(outputs: LocalStore, clip: bytes) -> None:
    for number in range(10):
        with pytest.raises(NotAClip):
            await save(outputs, clip[:-1], path=f"x-{number}.mp4")
        with pytest.raises(StorageError):
            await save(outputs, clip, path=f"0.attempt-1.mp4/{number}.mp4")


def test_a_taken_name_is_known_before_anything_is_paid(outputs: LocalStore) -> None:
    """A file, a folder or a broken link under the clip's name, a sidecar or a folder that is not ours; nothing else."""
    taken = {"file/a.mp4": "file/a.mp4", "side/a.mp4": "side/a.json", "folder/a.mp4": "folder"}
    for name in taken.values():
        (outputs._folder / name).parent.mkdir(exist_ok=True)
        (outputs._folder / name).write_text("mine", "utf-8")
    (outputs._folder / "isfolder.mp4").mkdir()
    (outputs._folder / "link.mp4").symlink_to("nowhere")
    for path in (*taken, "isfolder.mp4", "link.mp4"):
        assert outputs.is_taken(path), path
    for path in ("free.mp4", "new/free.mp4", "file/b.mp4"):
        assert not outputs.is_taken(path), path


def test_a_placed_file_never_replaces_another(tmp_path: Path) -> None:
    """The primitive beneath all of it."""
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    folder = open_folder(str(tmp_path), create=False)
    with pytest.raises(FileExistsError):
        place(folder, "new", "old")
    place(folder, "new", "third")
    os.close(folder)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old": "old", "third": "new"}


@pytest.mark.parametrize("what", ["output", "folder", "part"])
def test_symbolic_links_are_refused(tmp_path: Path, clip: bytes, what: str) -> None:
    """Nothing is written through a link that leads elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("mine")
    folder = tmp_path / "out"
    store = LocalStore(folder)
    if what == "output":
        folder.symlink_to(elsewhere)
        with pytest.raises(StorageError, match="it is a symbolic link; name the real folder"):
            store.prepare()
    else:
        store.prepare()
        name, path = ("a", "a/kite.mp4") if what == "folder" else ("kite.mp4.part", "kite.mp4")
        (folder / name).symlink_to(elsewhere if what == "folder" else elsewhere / "file")
        with pytest.raises(StorageError, match="a symbolic link"):
            asyncio.run(save(store, clip, path=path))
    assert (elsewhere / "file").read_text() == "mine"
    assert [path.name for path in elsewhere.iterdir()] == ["file"]


def test_a_fifo_in_the_way_is_refused_without_waiting(outputs: LocalStore, clip: bytes) -> None:
    """Opening a FIFO would wait for its other end for ever."""
    os.mkfifo(outputs._folder / "kite.mp4.part")
    with pytest.raises(StorageError, match="something else has that name"):
        asyncio.run(save(outputs, clip))
