"""What is made of finished clips: films that are whole or not there, and frames of the right clip only."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.film import Film, FilmReport, FilmState
from batchvid.domain.job import Progress, State
from batchvid.engine.films import ClipNotUsableError, film_reports, make_films, take_still
from batchvid.media.frames import decode_clip, picture_of
from batchvid.media.images import frame_bytes
from batchvid.storage.local import LocalStore
from batchvid.storage.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import MakeClip


def row(clip: Path, job_id: str = "kite") -> Progress:
    """Return what the journal holds of a finished clip."""
    data = clip.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return Progress(job_id, State.DONE, 5, 1, path=clip.name, size_bytes=len(data), sha256=sha256)


class Studio:
    """An output with clips, of which one film is made."""

    def __init__(self, folder: Path, *contents: bytes) -> None:
        self.folder = folder
        self.film, self.sidecar = folder / "film.mp4", folder / "film.json"
        self.rows: dict[str, Progress] = {}
        self.said: list[str] = []
        for number, data in enumerate(contents):
            path = folder / f"clip-{number}.mp4"
            path.write_bytes(data)
            self.rows[path.stem] = row(path, path.stem)

    def make(self, *clips: int, is_stopped: Callable[[], bool] = lambda: False) -> FilmReport:
        """Make the film of these clips."""

        async def made() -> FilmReport:
            films = make_films(
                [film(*clips)], self.rows, LocalStore(self.folder), say=self.said.append, is_stopped=is_stopped
            )
            return await anext(films)

        return asyncio.run(made())

    def seen(self, *clips: int) -> FilmState:
        """Return how it stands, by a look."""
        return film_reports([film(*clips)], self.rows, LocalStore(self.folder))[0].state

    def names(self) -> list[str]:
        """Return what is there besides the clips."""
        return sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("clip-"))


def film(*clips: int) -> Film:
    """Return the film of these clips."""
    return Film("film", tuple(f"clip-{number}" for number in clips), "film.mp4")


@pytest.fixture
def studio(tmp_path: Path, make_clip: MakeClip) -> Studio:
    """Return an output with three clips of different lengths."""
    return Studio(tmp_path, *(make_clip(frames=frames, audio=True) for frames in (24, 31, 12)))


def test_a_film_tells_what_it_is_made_of_and_is_made_again_only_when_that_changed(studio: Studio) -> None:
    """By content and order, not by name."""
    assert studio.seen(0, 1) is FilmState.DUE
    assert studio.make(0, 1).state is FilmState.MADE
    told = json.loads(studio.sidecar.read_bytes())
    assert [clip["id"] for clip in told["clips"]] == ["clip-0", "clip-1"]
    assert (told["lossless"], told["path"], told["replaces"]) == (True, "film.mp4", None)
    assert told["sha256"] == hashlib.sha256(studio.film.read_bytes()).hexdigest()
    assert studio.film.stat().st_mode == studio.sidecar.stat().st_mode
    before = studio.film.stat().st_ino
    studio.rows["clip-1"] = studio.rows["clip-1"]._replace(job_id="renamed")
    assert studio.seen(0, 1) is FilmState.DONE
    assert studio.make(0, 1).state is FilmState.DONE
    assert studio.film.stat().st_ino == before
    assert studio.seen(1, 0) is FilmState.DUE
    assert studio.seen(0) is FilmState.DUE
    assert studio.names() == ["film.json", "film.mp4"]


def test_an_older_film_of_ours_is_replaced(studio: Studio) -> None:
    """Nothing else is left behind, and the sidecar tells which one it was."""
    studio.make(0, 1)
    old = hashlib.sha256(studio.film.read_bytes()).hexdigest()
    assert studio.make(0).state is FilmState.MADE
    assert decode_clip(studio.film).frames == 24
    assert json.loads(studio.sidecar.read_bytes())["replaces"] == old
    assert studio.names() == ["film.json", "film.mp4"]


def test_a_file_that_is_not_ours_is_never_overwritten_and_nothing_is_joined_for_it(studio: Studio) -> None:
    """A film of somebody else, a sidecar of somebody else, a clip's, and a film of ours that somebody has edited."""

    def refused(name: str) -> None:
        studio.said.clear()
        report = studio.make(0, 1)
        assert report.state is FilmState.FAILED
        assert report.reason.startswith(f"{name} is there already")
        assert report.reason.endswith("or not as it is now: move it away")
        assert studio.said == []

    studio.film.write_bytes(b"mine")
    refused("film.mp4")
    assert studio.seen(0, 1) is FilmState.FAILED
    studio.film.unlink()
    for told in ('{"mine": true}', '{"batchvid": 1, "id": "film"}'):
        studio.sidecar.write_text(told)
        refused("film.json")
        assert studio.sidecar.read_text() == told
    studio.sidecar.unlink()
    studio.make(0, 1)
    studio.film.write_bytes(b"edited")
    refused("film.mp4")
    assert studio.film.read_bytes() == b"edited"


def test_a_crash_between_the_sidecar_and_the_film_leaves_both_known(studio: Studio) -> None:
    """The old film stands, and the sidecar tells of the new one already: the next try replaces it."""
    studio.make(0, 1)
    old = studio.film.read_bytes()
    studio.make(0)
    studio.film.write_bytes(old)  # as if the film had not taken its name
    (studio.folder / "film.mp4.part").write_bytes(b"half")
    assert studio.seen(0) is FilmState.DUE
    assert studio.make(0).state is FilmState.MADE
    assert studio.seen(0) is FilmState.DONE
    assert studio.names() == ["film.json", "film.mp4"]


def test_what_a_crash_left_beside_a_finished_film_goes(studio: Studio) -> None:
    """Its second name, before that was taken away; the film itself stays as it is."""
    studio.make(0)
    before = studio.film.read_bytes()
    (studio.folder / "film.mp4.part").hardlink_to(studio.film)
    assert studio.make(0).state is FilmState.DONE
    assert studio.names() == ["film.json", "film.mp4"]
    assert studio.film.read_bytes() == before


def test_a_join_that_is_stopped_leaves_nothing(studio: Studio) -> None:
    """The older film stays."""
    studio.make(0)
    before = studio.film.read_bytes()
    left: Iterator[bool] = iter([False] * 40)
    report = studio.make(0, 1, 2, is_stopped=lambda: next(left, True))
    assert (report.state, report.reason) == (FilmState.DUE, "the run was stopped while it was being joined")
    assert studio.film.read_bytes() == before
    assert studio.names() == ["film.json", "film.mp4"]


def test_a_damaged_clip_is_not_joined(studio: Studio) -> None:
    """It is told, with the way out."""
    (studio.folder / "clip-1.mp4").write_bytes(b"hello")
    report = studio.make(0, 1)
    assert report.state is FilmState.FAILED
    assert "its clip clip-1.mp4 has 5 bytes" in report.reason
    assert studio.names() == []


# ---- frames that other jobs begin with


@pytest.fixture
def clip(tmp_path: Path, make_clip: MakeClip) -> Path:
    """Return a clip."""
    path = tmp_path / "kite.mp4"
    path.write_bytes(make_clip(frames=30, audio=True))
    return path


def test_a_still_is_kept_and_goes_out_byte_for_byte(clip: Path) -> None:
    """Its hash is of what is sent; a second taking gives the same bytes."""
    output = Output.at(clip.parent)
    output.state.prepare()
    frame = take_still(output, row(clip), None, "print")
    assert hashlib.sha256(frame_bytes(frame)).hexdigest() == frame.sha256 == output.state.frame_sha256("print")
    assert frame_bytes(frame) == picture_of(clip, at_s=None).png
    assert take_still(output, row(clip), None, "print") == frame
    assert output.state.frame_sha256("other") is None


def test_a_clip_that_is_not_the_journals_gives_no_still(clip: Path, make_clip: MakeClip) -> None:
    """Gone, cut, changed without changing its size, or a link to another file."""
    output = Output.at(clip.parent)
    output.state.prepare()
    known, whole = row(clip), clip.read_bytes()
    elsewhere = clip.with_name("elsewhere.mp4")
    elsewhere.write_bytes(whole)

    def refused(words: str) -> None:
        with pytest.raises(ClipNotUsableError, match=words):
            take_still(output, known, None, "print")

    clip.write_bytes(make_clip(frames=10))
    refused("has another size than the journal says")
    clip.write_bytes(whole[:-1] + b"?")
    refused("was changed since it was saved")
    clip.unlink()
    refused("is missing")
    clip.symlink_to(elsewhere)
    refused("cannot be read")
    assert not (clip.parent / ".batchvid" / "frames").exists()
