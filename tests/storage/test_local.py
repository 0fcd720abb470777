"""What is special about clips on a real disk; what every store does is in `tests.storage.test_clip_store`."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import stat
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import ForeignFileError, StorageError, TooManyFilesError
from batchvid.media.mp4 import NotAClip
from batchvid.storage import fs as fs_module
from batchvid.storage import part as part_module
from batchvid.storage.base import KnownClip, Renamed, Saved
from batchvid.storage.fs import open_folder, place
from batchvid.storage.local import LocalStore
from batchvid.storage.threads import settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    MakeClip = Callable[..., bytes]

ETAG = '"abc"'


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Return a prepared output folder."""
    found = LocalStore(tmp_path / "out")
    found.prepare()
    return found


@pytest.fixture
def clip(make_clip: MakeClip) -> bytes:
    """Return a whole clip."""
    return make_clip(audio=True)


async def save(store: LocalStore, data: bytes, *, path: str = "kite.mp4", source: str = "task_1") -> Saved:
    """Put a clip in place as the download stage does."""
    async with store.part(path, source=source) as part:
        if part.complete:
            return await part.commit({"task_id": source})
        await part.restart()
        part.remember(ETAG)
        for begin in range(0, len(data), 1000):
            await part.write(data[begin : begin + 1000])
        return await part.commit({"task_id": source})


def names(store: LocalStore) -> set[str]:
    """Return the names in the output folder, without the state folder."""
    return {path.name for path in store._folder.iterdir()} - {".batchvid"}


def file_of(descriptor: int) -> str:
    """Return the name of an open file or folder."""
    return Path(f"/proc/self/fd/{descriptor}").readlink().name


def lose(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the disk lose what is written to the file of this *name*, and tell so at its sync."""
    real = os.fsync

    def sync(descriptor: int) -> None:
        if file_of(descriptor) == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)


def open_descriptors() -> int:
    """Count this process's open files."""
    return len(list(Path("/dev/fd").iterdir()))


def test_the_modes_are_private_until_finished(store: LocalStore, clip: bytes) -> None:
    """A part is the user's own; the clip follows the umask."""

    async def modes() -> list[int]:
        async with store.part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)
            await part.write(clip)
            before = (store._folder / "kite.mp4.part").stat().st_mode
            await part.commit({})
        return [stat.S_IMODE(mode) for mode in (before, (store._folder / "kite.mp4").stat().st_mode)]

    umask = os.umask(0)
    os.umask(umask)
    assert asyncio.run(modes()) == [0o600, 0o666 & ~umask]


@pytest.mark.parametrize("change", ["boot", "note", "no note"])
def test_bytes_that_nothing_vouches_for_are_dropped(store: LocalStore, clip: bytes, change: str) -> None:
    """Another start of the machine, a note that is damaged or gone: the part begins from zero."""

    async def first() -> None:
        async with store.part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)
            await part.write(clip[:700])

    async def offset(again: LocalStore) -> tuple[int, str | None]:
        async with again.part("kite.mp4", source="task_1") as part:
            return part.offset_bytes, part.validator

    asyncio.run(first())
    note = store._folder / "kite.mp4.part.meta"
    again = LocalStore(store._folder)
    if change == "boot":
        again._boot = "another"
    elif change == "note":
        note.write_text('{"source": ["task_1"], "boot": 3}')
    else:
        note.unlink()
    assert asyncio.run(offset(again)) == (0, None)
    assert names(store) == set()


@pytest.mark.parametrize("length", [0, 1, 500, -1])
def test_what_is_no_clip_is_kept_as_bad(store: LocalStore, clip: bytes, length: int) -> None:
    """Half a clip never gets the final name; the newest bad one is kept to look at."""
    (store._folder / "kite.mp4.bad").write_text("older")
    with pytest.raises(NotAClip):
        asyncio.run(save(store, clip[:length]))
    assert names(store) == {"kite.mp4.bad"}
    assert (store._folder / "kite.mp4.bad").read_bytes() == clip[:length]


@pytest.mark.parametrize("name", ["kite.mp4", "kite.json"])
@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_no_file_is_never_touched(store: LocalStore, clip: bytes, tmp_path: Path, name: str, kind: str) -> None:
    """The clip is kept as a part, and the message says what to move."""
    foreign, elsewhere = store._folder / name, tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    if kind == "link":
        foreign.symlink_to(elsewhere)
    else:
        foreign.mkdir()
    with pytest.raises(ForeignFileError, match=f"kite.mp4: {name} is there already.*move it away"):
        asyncio.run(save(store, clip))
    assert foreign.is_symlink() or foreign.is_dir()
    assert elsewhere.read_text() == "mine"
    assert (store._folder / "kite.mp4.part").read_bytes() == clip


def test_a_complete_part_outlives_the_boot(store: LocalStore, clip: bytes) -> None:
    """It was synced, while it waited for a foreign file to be moved away."""
    (store._folder / "kite.mp4").write_text("mine")
    with pytest.raises(ForeignFileError):
        asyncio.run(save(store, clip))
    (store._folder / "kite.mp4").unlink()
    again = LocalStore(store._folder)
    again._boot = "another"
    assert asyncio.run(save(again, b"never asked for")).size_bytes == len(clip)
    assert names(store) == {"kite.mp4", "kite.json"}


def test_a_failed_sync_is_not_trusted(store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one failed fsync a second may succeed and prove nothing: the bytes are fetched again."""
    lose(monkeypatch, "kite.mp4.part")
    with pytest.raises(StorageError, match="input/output error"):
        asyncio.run(save(store, clip))
    assert names(store) == set()


async def save_at_once(store: LocalStore, data: bytes, *, path: str = "kite.mp4", source: str = "task_1") -> Saved:
    """Put a clip in place as the download stage does with one that it never fetched from and that is one block."""
    async with store.part(path, source=source, fresh=True) as part:
        part.remember(ETAG)
        return await part.commit({"task_id": source}, data)


def test_a_clip_of_one_block_takes_the_place_of_an_old_part(store: LocalStore, clip: bytes) -> None:
    """Whatever lay in its way from an earlier task."""
    (store._folder / "kite.mp4.part").write_bytes(b"of another task")
    (store._folder / "kite.mp4.part.meta").write_text('{"source": "task_0", "boot": "x"}')
    asyncio.run(save_at_once(store, clip))
    assert names(store) == {"kite.mp4", "kite.json"}
    assert (store._folder / "kite.mp4").read_bytes() == clip


def test_clips_that_end_together_share_nothing_but_the_disk(
    store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is no clip, a person's file is in the way of one, and the disk loses one: the others are saved."""
    (store._folder / "taken.mp4").write_bytes(b"a person's")
    lose(monkeypatch, "lost.mp4.part")
    data = {"kite.mp4": clip, "short.mp4": clip[:-5], "taken.mp4": clip, "lost.mp4": clip, "sub/kite.mp4": clip}

    async def together() -> list[Saved | BaseException]:
        saving = (save_at_once(store, data[path], path=path, source=path) for path in data)
        return await asyncio.gather(*saving, return_exceptions=True)

    first, short, taken, lost, last = asyncio.run(together())
    assert isinstance(first, Saved)
    assert isinstance(last, Saved)
    assert [type(one) for one in (short, taken, lost)] == [NotAClip, ForeignFileError, StorageError]
    left = {"kite.mp4", "kite.json", "short.mp4.bad", "taken.mp4", "taken.mp4.part", "taken.mp4.part.meta", "sub"}
    assert names(store) == left
    assert {one.name for one in (store._folder / "sub").iterdir()} == {"kite.mp4", "kite.json"}


def test_no_name_is_given_before_what_it_stands_for_is_durable(
    store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the power fails: a sidecar or a clip under its name is whole, and the folder is synced last."""
    synced: list[str] = []
    moments: list[tuple[str, set[str]]] = []
    real_sync, real_rename, real_link = os.fsync, os.rename, os.link

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        synced.append(file_of(descriptor))

    def rename(source: str, target: str, **folders: int) -> None:
        moments.append((target, set(synced)))
        real_rename(source, target, **folders)

    def link(source: str, target: str, **options: Any) -> None:
        moments.append((target, set(synced)))
        real_link(source, target, **options)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "link", link)
    asyncio.run(save_at_once(store, clip))
    files = {"kite.mp4.part", ".kite.json.new"}
    assert moments == [("kite.json", files), ("kite.mp4", files)]
    assert synced[-1] == store._folder.name
    assert synced.count(store._folder.name) == 1


def test_where_the_disk_loses_the_sidecar_nothing_has_a_final_name(
    store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next try makes it good."""
    with monkeypatch.context() as patch:
        lose(patch, ".kite.json.new")
        with pytest.raises(StorageError, match="input/output error"):
            asyncio.run(save_at_once(store, clip))
    assert names(store) == {"kite.mp4.part"}
    asyncio.run(save_at_once(store, clip))
    assert names(store) == {"kite.mp4", "kite.json"}


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_file_is_never_taken_for_an_old_part(
    store: LocalStore, clip: bytes, tmp_path: Path, kind: str
) -> None:
    """Something else under the part's name is left alone, and the clip is not saved through it."""
    part, elsewhere = store._folder / "kite.mp4.part", tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    if kind == "link":
        part.symlink_to(elsewhere)
    elif kind == "folder":
        part.mkdir()
    else:
        os.mkfifo(part)
    before = part.lstat().st_ino
    with pytest.raises(StorageError):
        asyncio.run(save_at_once(store, clip))
    assert part.lstat().st_ino == before
    assert elsewhere.read_text() == "mine"
    assert names(store) == {"kite.mp4.part"}


def test_a_clip_that_was_safe_but_had_no_name_yet_needs_no_transfer(
    store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the sync and the final name: the sidecar vouches for the part, also after a new start."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(part_module, "place", crash)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(save_at_once(store, clip))
    monkeypatch.undo()
    assert names(store) == {"kite.mp4.part", "kite.json"}
    again = LocalStore(store._folder)
    again._boot = "another"
    assert asyncio.run(save(again, b"never asked for")).size_bytes == len(clip)
    assert names(store) == {"kite.mp4", "kite.json"}


@pytest.mark.parametrize("leftover", [True, False])
def test_a_crash_right_after_the_final_name_is_recognised(
    store: LocalStore,
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
        asyncio.run(save(store, clip))
    monkeypatch.undo()
    assert asyncio.run(save(LocalStore(store._folder), b"never asked for")).size_bytes == len(clip)
    assert names(store) == {"kite.mp4", "kite.json"}


def test_a_new_attempt_never_empties_an_old_clip_through_a_second_name(store: LocalStore, clip: bytes) -> None:
    """After a crash between two names the part IS the clip: beginning again must leave the clip alone."""
    asyncio.run(save(store, clip))
    os.link(store._folder / "kite.mp4", store._folder / "kite.mp4.part")
    assert store.retire("kite.mp4", 1) == "kite.attempt-1.mp4"

    async def begin(source: str) -> None:
        async with store.part("kite.mp4", source=source) as part:
            part.remember(ETAG)
            await part.write(b"new")

    asyncio.run(begin("task_2"))
    assert (store._folder / "kite.attempt-1.mp4").read_bytes() == clip


def test_beginning_anew_leaves_a_clip_alone_that_shares_the_part_s_bytes(
    store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, when the crash left the note and a person has moved the clip since."""

    def crash(folder: int, source: str, target: str) -> None:
        os.link(source, target, src_dir_fd=folder, dst_dir_fd=folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(part_module, "place", crash)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(save(store, clip))
    monkeypatch.undo()
    (store._folder / "kite.mp4").rename(store._folder / "moved.mp4")

    async def begin() -> None:
        async with store.part("kite.mp4", source="task_1") as part:
            await part.restart()

    asyncio.run(begin())
    assert (store._folder / "moved.mp4").read_bytes() == clip


def test_nothing_done_to_a_finished_part_changes_the_clip(
    store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that ignores "complete" and starts over gets an error, and the clip stays."""

    def crash(folder: int, source: str, target: str) -> None:
        place(folder, source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(part_module, "place", crash)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(save(store, clip))
    monkeypatch.undo()

    async def meddle() -> None:
        async with store.part("kite.mp4", source="task_1") as part:
            assert part.complete
            with pytest.raises(StorageError):
                await part.write(b"x")
            with pytest.raises(StorageError):
                await part.restart()

    asyncio.run(meddle())
    assert (store._folder / "kite.mp4").read_bytes() == clip


def test_where_links_are_not_supported_a_clip_is_renamed_and_still_never_replaces(
    store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems have no hard links."""

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    asyncio.run(save(store, clip))
    assert (store._folder / "kite.mp4").read_bytes() == clip
    (store._folder / "other.mp4").write_text("mine")
    with pytest.raises(ForeignFileError):
        asyncio.run(save(store, clip, path="other.mp4"))
    assert (store._folder / "other.mp4").read_text() == "mine"


def test_what_lies_in_the_place_of_a_clip_and_is_no_file_is_told_and_left_alone(store: LocalStore) -> None:
    """A link or a folder: a link may lead to where the clip is kept."""

    def wrong() -> tuple[str, str, bool]:
        (found,) = store.wrong_clips([("kite", "kite.mp4", 3)])
        return str(store.check("kite.mp4", size_bytes=3, sha256="", full=False)), found.words, found.is_lost

    path = store._folder / "kite.mp4"
    path.symlink_to("kite.json")
    assert "symbolic link" in wrong()[0]
    assert wrong()[1:] == ("kite.mp4 is no regular file", False)
    path.unlink()
    path.mkdir()
    assert "something else has that name" in wrong()[0]
    assert wrong()[1:] == ("kite.mp4 is no regular file", False)


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


def test_too_many_open_files_is_told_apart(store: LocalStore, clip: bytes) -> None:
    """It passes, so that the caller may wait instead of stopping."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def crowded() -> None:
        async with store.part("other.mp4", source="task_1"):
            resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
            try:
                await save(store, clip)
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


def test_a_disk_that_fills_up_keeps_what_came(store: LocalStore, clip: bytes) -> None:
    """The kernel takes part of a block and refuses the rest: the part goes on from there later."""

    async def offset() -> int:
        async with store.part("kite.mp4", source="task_1") as part:
            return part.offset_bytes

    async def fill() -> None:
        async with store.part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)
            with file_size_limit(1500):
                await part.write(clip)

    with pytest.raises(StorageError, match=r"cannot write kite.mp4.part: the file is larger.*ulimit -f"):
        asyncio.run(fill())
    assert asyncio.run(offset()) == 1500


def test_an_output_removed_while_writing_stops_the_job(store: LocalStore, clip: bytes) -> None:
    """No clip is reported that nobody can find."""

    async def vanish() -> None:
        async with store.part("kite.mp4", source="task_1") as part:
            part.remember(ETAG)
            await part.write(clip)
            store._folder.rename(store._folder.with_name("gone"))
            for path in store._folder.with_name("gone").glob("kite*"):
                path.unlink()
            await part.commit({})

    with pytest.raises(StorageError, match="no longer there"):
        asyncio.run(vanish())
    with pytest.raises(StorageError, match="no longer there"):
        asyncio.run(save(store, clip))


def test_a_cancelled_finish_comes_to_its_end_first(
    store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
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
            task = group.create_task(save(store, clip))
            await asyncio.to_thread(reached.wait, 10)
            task.cancel()
            asyncio.get_running_loop().call_soon(go_on.set)

    asyncio.run(interrupted())
    assert names(store) == {"kite.mp4", "kite.json"}


def test_a_part_opened_for_a_cancelled_caller_is_closed(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
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
            task = group.create_task(save(store, b""))
            await asyncio.to_thread(reached.wait, 10)
            task.cancel()
            asyncio.get_running_loop().call_soon(go_on.set)
        return before, open_descriptors()

    before, after = asyncio.run(interrupted())
    assert before == after
    assert names(store) == set()


def test_closing_waits_for_the_write_under_way(store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
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
        async with store.part("kite.mp4", source="task_1") as part, asyncio.TaskGroup() as group:
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
    assert (store._folder / "kite.mp4.part").read_bytes() == clip


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


def test_no_descriptor_is_left_open(store: LocalStore, clip: bytes) -> None:
    """A night of clips, good, bad and foreign, uses up no descriptors."""

    async def rounds() -> None:
        for number in range(5):
            await save(store, clip, path=f"{number}.mp4")
            with pytest.raises(NotAClip):
                await save(store, b"no clip", path=f"bad-{number}.mp4")
            store.check(f"{number}.mp4", size_bytes=1, sha256="", full=True)
            store.retire(f"{number}.mp4", 1)

    asyncio.run(rounds())
    before = open_descriptors()
    asyncio.run(_again(store, clip))
    assert open_descriptors() == before


async def _again(store: LocalStore, clip: bytes) -> None:
    for number in range(10):
        with pytest.raises(NotAClip):
            await save(store, clip[:-1], path=f"x-{number}.mp4")
        with pytest.raises(StorageError):
            await save(store, clip, path=f"0.attempt-1.mp4/{number}.mp4")


def test_a_name_is_taken_by_what_is_no_file_too(store: LocalStore) -> None:
    """A folder or a broken link under the clip's name; a file where a folder is needed."""
    (store._folder / "folder").write_text("mine", "utf-8")
    (store._folder / "isfolder.mp4").mkdir()
    (store._folder / "link.mp4").symlink_to("nowhere")
    for path in ("folder/a.mp4", "isfolder.mp4", "link.mp4"):
        assert store.is_taken(path), path


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


def test_a_fifo_in_the_way_is_refused_without_waiting(store: LocalStore, clip: bytes) -> None:
    """Opening a FIFO would wait for its other end for ever."""
    os.mkfifo(store._folder / "kite.mp4.part")
    with pytest.raises(StorageError, match="something else has that name"):
        asyncio.run(save(store, clip))


# ---- other names


def test_a_folder_that_is_none_is_in_the_way_of_a_renaming(store: LocalStore, clip: bytes) -> None:
    """The name's folder is a link, or a file."""
    saved = asyncio.run(save(store, clip))
    known = KnownClip("gull", saved.size_bytes, saved.sha256)
    (store._folder / "shots").write_bytes(b"")
    (store._folder / "away").symlink_to(store._folder)
    for folder in ("shots", "away"):
        assert store.rename("kite.mp4", f"{folder}/gull.mp4", known) is Renamed.TAKEN
    assert (store._folder / "kite.mp4").read_bytes() == clip


@pytest.mark.parametrize("new", ["gull", "shots/kite"])
@pytest.mark.parametrize("linked", [".mp4", ".json"])
def test_a_crash_between_the_two_names_of_a_file_is_made_good(
    store: LocalStore, clip: bytes, new: str, linked: str
) -> None:
    """The link was made, and the old name not yet removed: of the clip, or after it of the sidecar."""
    saved, folder = asyncio.run(save(store, clip)), store._folder
    (folder / new).parent.mkdir(exist_ok=True)
    (folder / f"{new}.mp4").hardlink_to(folder / "kite.mp4")
    if linked == ".json":
        (folder / "kite.mp4").unlink()
        (folder / f"{new}.json").hardlink_to(folder / "kite.json")
    assert store.rename("kite.mp4", f"{new}.mp4", KnownClip("gull", saved.size_bytes, saved.sha256)) is Renamed.DONE
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == {f"{new}.mp4", f"{new}.json"}
    assert store.sidecar(f"{new}.mp4")["id"] == "gull"


def test_where_no_links_can_be_made_a_rename_does_it(
    store: LocalStore, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on vfat, which refuses them."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    saved = asyncio.run(save(store, clip))
    monkeypatch.setattr(os, "link", refused)
    assert store.rename("kite.mp4", "gull.mp4", KnownClip("gull", saved.size_bytes, saved.sha256)) is Renamed.DONE
    assert names(store) == {"gull.json", "gull.mp4"}


@pytest.mark.parametrize(("kind", "tried"), [("exfat", True), ("ext4", False), ("newfs", True)])
def test_a_name_is_tried_where_nobody_knows_the_answer(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, *, tried: bool
) -> None:
    """And told with the kind of file system and its own words; nothing of it stays, but a folder that was wanted."""
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 8:1 / / rw - {kind} /dev/sda1 rw\n")
    monkeypatch.setattr(fs_module, "MOUNTS", table)
    made: list[str] = []
    real = os.open

    def spy(name: str, *args: object, **options: object) -> int:
        made.append(name)
        return real(name, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", spy)
    assert store.name_trouble("what now?.mp4") is None
    assert ("what now?.mp4.batchvid-probe" in made) is tried
    told = store.name_trouble(f"acts/{'x' * 245}.mp4")
    assert told is not None
    assert told.startswith(f"its file system ({kind}, File name too long) does not take the name 'acts/xxx")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["acts"]


def test_a_store_that_takes_nothing_has_no_trouble_with_names(store: LocalStore, tmp_path: Path) -> None:
    """Whoever saves a clip tells what the matter is: the folder is gone, or it may not be written to."""
    odd = f"{'x' * 245}.mp4"
    assert store.name_trouble(odd) is not None
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert store.name_trouble(odd) is None
