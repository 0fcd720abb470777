"""The pictures of a report, made by a process of its own from real clips; and the page's own file."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from batchvid.cli.report.page import MARK, PAGE, write_page
from batchvid.domain.errors import ForeignFileError, StorageError
from batchvid.engine.posters import FOLDER, Posters, Wanted
from batchvid.media.thumbnails import SIDE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeClip

PATIENCE_S = 60.0
OURS = b"<!doctype html>" + MARK + b'">'


@pytest.fixture
def posters(tmp_path: Path) -> Iterator[Posters]:
    """Return the pictures of an output."""
    found = Posters(tmp_path, bucket=None, mode=0o640, environment=dict(os.environ))
    yield found
    found.close()


def a_clip(folder: Path, name: str, data: bytes) -> Wanted:
    """Put a clip there, and give the wish for its picture."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Wanted(name, hashlib.sha256(data).hexdigest())


def test_a_clips_picture_is_its_first_frame_small_and_for_everybody_who_may_see_the_clip(
    posters: Posters, tmp_path: Path, make_clip: MakeClip
) -> None:
    """Named by the clip's content."""
    wanted = a_clip(tmp_path, "day/kite.mp4", make_clip())
    assert posters.complete([wanted], patience_s=PATIENCE_S) == {wanted.name}
    path = tmp_path / FOLDER / wanted.name
    with Image.open(path) as picture:
        assert picture.format == "WEBP"
        assert picture.size == (64, 36)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_frames_picture_is_upright_and_no_larger_than_a_tile(posters: Posters, tmp_path: Path) -> None:
    """Whatever the camera took, and however it was held."""
    held_sideways = Image.Exif()
    held_sideways[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (2000, 1200), "red").save(out, "JPEG", exif=held_sideways)
    frame = tmp_path / "frame.jpg"
    frame.write_bytes(out.getvalue())
    wanted = Wanted(str(frame), hashlib.sha256(out.getvalue()).hexdigest())
    posters.complete([wanted], patience_s=PATIENCE_S)
    with Image.open(tmp_path / FOLDER / wanted.name) as picture:
        assert picture.size == (SIDE * 1200 // 2000, SIDE)


def test_a_picture_that_is_there_is_not_made_again_and_another_content_has_another(
    posters: Posters, tmp_path: Path, make_clip: MakeClip
) -> None:
    """The name is the content's hash."""
    first = a_clip(tmp_path, "kite.mp4", make_clip())
    posters.complete([first], patience_s=PATIENCE_S)
    made = (tmp_path / FOLDER / first.name).stat()
    second = a_clip(tmp_path, "kite.mp4", make_clip(frames=5))
    assert posters.complete([first, second], patience_s=PATIENCE_S) == {first.name, second.name}
    again = (tmp_path / FOLDER / first.name).stat()
    assert (made.st_ino, made.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)


def test_what_is_no_clip_is_left_out_and_the_others_have_theirs(
    posters: Posters, tmp_path: Path, make_clip: MakeClip
) -> None:
    """Cut off, empty, a text, missing, a link, a path that leads out."""
    whole = make_clip()
    bad = [
        a_clip(tmp_path, "cut.mp4", whole[: len(whole) // 3]),
        a_clip(tmp_path, "empty.mp4", b""),
        a_clip(tmp_path, "text.mp4", b"#EXTM3U\nfile:///etc/passwd\n"),
        Wanted("missing.mp4", "0" * 64),
        Wanted("../outside.mp4", "1" * 64),
        Wanted("link.mp4", "2" * 64),
    ]
    good = a_clip(tmp_path, "good.mp4", whole)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "good.mp4")
    assert posters.complete([*bad, good], patience_s=PATIENCE_S) == {good.name}


def test_a_clip_that_kills_the_process_costs_its_own_picture_only(
    posters: Posters, tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder may crash or hang; here the alarm that ends a hanging one is set to go off for one name."""
    before = a_clip(tmp_path, "before.mp4", make_clip())
    poison = a_clip(tmp_path, "poison.mp4", make_clip(frames=3))
    after = a_clip(tmp_path, "after.mp4", make_clip(frames=4))
    fatal = tmp_path / "sitecustomize.py"
    fatal.write_text(
        "import os\n"
        "real = os.open\n"
        "def opened(path, *rest, **more):\n"
        "    if path == 'poison.mp4': os.kill(os.getpid(), 9)\n"
        "    return real(path, *rest, **more)\n"
        "os.open = opened\n",
        encoding="utf-8",
    )
    posters._environment["PYTHONPATH"] = str(tmp_path)
    assert posters.complete([before, poison, after], patience_s=PATIENCE_S) == {before.name, after.name}


def test_pictures_wanted_while_a_run_is_at_work_are_there_at_its_end(
    posters: Posters, tmp_path: Path, make_clip: MakeClip
) -> None:
    """Asking costs no time, and the end only what is left."""
    wanted = [a_clip(tmp_path, f"{n}.mp4", make_clip(frames=n)) for n in range(1, 6)]
    for one in wanted:
        posters.want(one)
    assert posters.complete([], patience_s=PATIENCE_S) == {one.name for one in wanted}


def test_without_patience_nothing_is_waited_for(posters: Posters, tmp_path: Path, make_clip: MakeClip) -> None:
    """A run that was interrupted ends."""
    wanted = a_clip(tmp_path, "kite.mp4", make_clip())
    assert posters.complete([wanted], patience_s=0) == frozenset()


def test_a_machine_without_processes_to_give_has_a_page_without_pictures(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no run hears of it."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    posters = Posters(tmp_path, bucket=None, mode=0o640, environment={})
    wanted = a_clip(tmp_path, "kite.mp4", make_clip())
    posters.want(wanted)
    posters.want(wanted)
    assert posters.complete([wanted], patience_s=PATIENCE_S) == frozenset()


def test_a_page_of_ours_is_replaced_in_one_step(tmp_path: Path) -> None:
    """With the mode of the clips."""
    write_page(tmp_path, OURS, mode=0o644)
    path = write_page(tmp_path, OURS + b"newer", mode=0o644)
    assert path.read_bytes() == OURS + b"newer"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [one.name for one in tmp_path.iterdir()] == [PAGE]


@pytest.mark.parametrize("kind", ["page", "folder", "link", "empty"])
def test_a_page_that_is_not_ours_is_never_overwritten(tmp_path: Path, kind: str) -> None:
    """Nor what a link of that name leads to, or anything else."""
    path = tmp_path / PAGE
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "elsewhere").write_bytes(OURS)
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(b"<html>mine</html>" if kind == "page" else b"")
    with pytest.raises(ForeignFileError, match="move it away"):
        write_page(tmp_path, OURS, mode=0o644)
    assert path.is_dir() or b"newer" not in path.read_bytes()


def test_an_output_that_is_gone_is_said(tmp_path: Path) -> None:
    """With what to look for."""
    with pytest.raises(StorageError, match=r"report\.html"):
        write_page(tmp_path / "gone", OURS, mode=0o644)
