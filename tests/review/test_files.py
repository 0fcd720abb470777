"""What is served of the disk: clips, pictures and frames that the journal or the manifest names, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchvid.cli.review.media import span
from tests.report.nights import write_night
from tests.review.server import reviewing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeClip
    from tests.review.server import Served

CLIP = "/clip/0/1/kite-00000"


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("", (0, 10)),
        ("bytes=0-", (0, 10)),
        ("bytes=0-0", (0, 1)),
        ("bytes=4-6", (4, 7)),
        ("bytes=4-600", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-300", (0, 10)),
        ("bytes=10-", None),
        ("bytes=-0", None),
        ("bytes=-", (0, 10)),
        ("bytes=6-4", (0, 10)),
        ("bytes=0-1,3-4", (0, 10)),
        ("lines=1-2", (0, 10)),
        ("bytes=a-b", (0, 10)),
        ("bytes=" + "9" * 30 + "-", (0, 10)),
    ],
)
def test_a_range_is_read_as_http_has_it(asked: str, part: tuple[int, int] | None) -> None:
    """What cannot be read is no range, and means all of it (RFC 9110 §14.2)."""
    assert span(asked, 10) == part


@given(asked=st.text() | st.from_regex(r"bytes=\d*-\d*", fullmatch=True), size_bytes=st.integers(0, 10**6))
def test_a_range_never_leaves_the_file(asked: str, size_bytes: int) -> None:
    """Whatever is asked for."""
    part = span(asked, size_bytes)
    assert part is None or 0 <= part[0] <= part[1] <= size_bytes


def test_a_player_can_seek(served: Served, project: Path) -> None:
    """The part that it asks for comes, with where it belongs, and a part of another version does not."""
    whole = (project.parent / "out" / "night" / "kite-00000.mp4").read_bytes()
    answer = served.get(CLIP)
    assert (answer.status, answer.body) == (200, whole)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] == "video/mp4"
    answer = served.get(CLIP, {"Range": "bytes=100-199"})
    assert (answer.status, answer.body) == (206, whole[100:200])
    assert answer.headers["Content-Range"] == f"bytes 100-199/{len(whole)}"
    assert served.get(CLIP, {"Range": "bytes=-50"}).body == whole[-50:]
    assert served.get(CLIP, {"Range": f"bytes={len(whole)}-"}).status == 416
    tag = answer.headers["ETag"]
    assert served.get(CLIP, {"Range": "bytes=0-1", "If-Range": tag}).status == 206
    assert served.get(CLIP, {"Range": "bytes=0-1", "If-Range": '"another"'}).body == whole
    assert served.get(CLIP, {"If-None-Match": tag}).status == 304
    head = served.send("HEAD", CLIP, {"Cookie": served.cookie})
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(whole)))


@pytest.mark.parametrize(
    "path",
    [
        "/clip/0/1/..%2F..%2Fnight.yaml",
        "/clip/0/1/%2e%2e%2f%2e%2e%2fnight.yaml",
        "/clip/0/1/..",
        "/clip/0/1/../../../night.yaml",
        "/clip/0/1//etc/passwd",
        "/clip/0/1/%2Fetc%2Fpasswd",
        "/clip/0/1/kite-00000.mp4",
        "/clip/0/1/kite-00000%00",
        "/clip/0/1/.batchvid%2Fjournal.db",
        "/clip/0/99999999999999999999/kite-00000",
        "/clip/9/1/kite-00000",
        "/clip/0/2/kite-00000",
        "/clip/-1/1/kite-00000",
        "/frame/0/0/kite-00000",
        "/frame/0/99/..%2F..%2Fnight.yaml",
        "/frame/7/0/kite-00000",
        "/picture/0/1/..%2Freport.html",
        "/template/review.css",
        "/..%2f..%2fetc/passwd",
        "/report.html",
        "/.batchvid/journal.db",
    ],
)
def test_no_address_leads_to_another_file(untouched: Served, path: str) -> None:
    """An address names a job and an attempt, and no path."""
    answer = untouched.get(path)
    assert answer.status == 404
    assert b"version: 1" not in answer.body
    assert b"root:" not in answer.body


def test_a_link_in_the_place_of_a_clip_is_not_followed(served: Served, project: Path) -> None:
    """Neither where the clip is one, nor where the folder of pictures is; nor is a pipe waited for."""
    output = project.parent / "out" / "night"
    secret = project.parent / "secret.mp4"
    secret.write_bytes(b"secret")
    (output / "kite-00000.mp4").unlink()
    (output / "kite-00000.mp4").symlink_to(secret)
    assert served.get(CLIP).status == 404
    (output / "kite-00000.mp4").unlink()
    os.mkfifo(output / "kite-00000.mp4")
    assert served.get(CLIP).status == 404
    (output / "kite-00000.mp4").unlink()
    (output / "kite-00000.mp4").mkdir()
    assert served.get(CLIP).status == 404
    (output / "kite-00000.mp4").rmdir()
    assert served.get(CLIP).status == 404
    shutil.rmtree(output / "report_files", ignore_errors=True)
    (project.parent / "elsewhere").mkdir()
    (output / "report_files").symlink_to(project.parent / "elsewhere")
    assert served.get("/picture/0/1/train-00001").status == 204


def test_another_clip_in_its_place_is_not_shown_as_it(served: Served, project: Path) -> None:
    """A run may have put the next attempt's there a moment ago."""
    path = project.parent / "out" / "night" / "kite-00000.mp4"
    path.write_bytes(path.read_bytes() + b"more")
    assert served.get(CLIP).status == 404


def test_a_picture_that_is_missing_is_made(served: Served) -> None:
    """By another process; the page asks again."""
    until = time.monotonic() + 30
    while (answer := served.get("/picture/0/1/train-00001")).status == 204:
        assert time.monotonic() < until
    assert answer.headers["Content-Type"] == "image/webp"
    assert answer.body[8:12] == b"WEBP"


def test_frames_are_pictures_and_only_pictures(tmp_path: Path, make_clip: MakeClip) -> None:
    """A file that is none any more is not sent, whatever the manifest called it when it was read."""
    clip = tmp_path / "source.mp4"
    clip.write_bytes(make_clip(frames=4))
    manifest = write_night(tmp_path, 30, clips=[clip])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    for name in ("one", "two"):
        Image.new("RGB", (320, 180), "red").save(tmp_path / f"{name}.png")
    rows[0] |= {"first_frame": "one.png", "last_frame": "two.png", "size": "16x9"}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with reviewing(manifest.name, cwd=tmp_path) as served:
        answer = served.get("/frame/0/1/kite-00000")
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.body == (tmp_path / "two.png").read_bytes()
        assert served.get("/frame/0/2/kite-00000").status == 404
        (tmp_path / "one.png").unlink()
        (tmp_path / "one.png").symlink_to("/etc/passwd")
        assert served.get("/frame/0/0/kite-00000").status == 404
