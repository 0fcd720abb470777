"""Storyboards, chains and films from the command line: real processes, real sockets, real MP4s."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from batchvid.domain import lifecycle as life
from batchvid.domain.job import Progress
from batchvid.journal.base import Change
from batchvid.journal.sqlite import SqliteStore
from batchvid.media.frames import decode_clip
from batchvid.sandbox.render import render
from batchvid.sandbox.tasks import ClipOrder
from tests.cli.project import QUICK, ended, read_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.project import Project

WALK = """
  - id: walk
    prompt: "walk of {folder}"
    storyboard: [a.png, b.png, c.png]
    film: true
  - {{id: next, prompt: "{first} of {folder}", continues: walk-02}}
  - {{id: home, prompt: "home of {folder}", continues: next}}
"""


def manifest(project: Project, *, first: str = "next", jobs: str = WALK, films: str = "") -> Path:
    """Write a manifest with a storyboard of three frames, and a chain of two links behind it."""
    for name, colour in zip("abc", ("red", "green", "blue"), strict=True):
        Image.new("RGB", (64, 36), colour).save(project.folder / f"{name}.png")
    limits = "\n".join(f"  {key}: {value}" for key, value in QUICK.items())
    text = jobs.format(folder=project.folder.name, first=first)
    path = project.folder / "m.yaml"
    path.write_text(
        f"version: 1\nprices: {{veo3-fast: 0.40}}\nlimits:\n{limits}\njobs:{text}{films}\n", encoding="utf-8"
    )
    return path


def test_a_storyboard_a_chain_and_their_films_are_made_in_one_run_and_once(project: Project) -> None:
    """Four clips, two films, four creates; a further run and ``films`` do nothing more."""
    manifest(project, films="films: [{id: trailer, clips: [home, walk-01]}]")
    assert project.batchvid("check", "m.yaml").code == 0
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 0, ran
    assert "Films: walk.mp4, trailer.mp4 (2 made just now)" in ran.out
    assert sum(project.creates().values()) == 4
    for name in ("walk", "trailer"):
        assert decode_clip(project.out / f"{name}.mp4").duration_s == pytest.approx(16.0, abs=0.2)
    made = (project.out / "walk.mp4").stat().st_mtime_ns
    again = project.batchvid("run", "m.yaml")
    assert (again.code, sum(project.creates().values())) == (0, 4)
    assert "just now" not in again.out
    films = project.batchvid("films", "m.yaml", "--json")
    assert [(film["id"], film["state"]) for film in films.told] == [("walk", "done"), ("trailer", "done")]
    assert (project.out / "walk.mp4").stat().st_mtime_ns == made
    assert [film["state"] for film in project.status()["films"]] == ["done", "done"]
    (project.out / "walk.mp4").unlink()
    assert "(1 made just now)" in project.batchvid("run", "m.yaml").out
    assert [job["continues"] for job in project.status()["jobs"]] == [None, None, "walk-02", "next"]


def test_a_failed_link_leaves_the_rest_pending_and_says_why(project: Project) -> None:
    """Exit 3; the film of what is there is made, the other one waits."""
    manifest(project, first="doomed", films="films: [{id: trailer, clips: [walk-01, home]}]")
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 3, ran
    assert "waiting   home: waits for next, which failed: the prompt was refused" in ran.out
    assert "Film trailer: waits for home (pending)" in ran.out
    assert project.states() == {"walk-01": "done", "walk-02": "done", "next": "failed", "home": "pending"}
    status = project.batchvid("status", "m.yaml").out
    assert "waiting   home: waits for next, which failed" in status
    assert "waits for next" in project.status()["jobs"][3]["reason"]
    assert "waits for next, which failed" in project.batchvid("plan", "m.yaml").out
    assert (project.out / "walk.mp4").exists()
    assert not (project.out / "trailer.mp4").exists()


def test_a_film_that_cannot_be_made_is_told_and_costs_no_clip(project: Project) -> None:
    """A file of somebody else has its name: exit 3, everything else is done; moved away, ``films`` makes it."""
    manifest(project)
    project.out.mkdir(parents=True)
    (project.out / "walk.mp4").write_bytes(b"mine")
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 3, ran
    assert "Film walk: not made: walk.mp4 is there already, and batchvid did not make it" in ran.out
    assert set(project.states().values()) == {"done"}
    assert (project.out / "walk.mp4").read_bytes() == b"mine"
    assert project.batchvid("films", "m.yaml").code == 3
    (project.out / "walk.mp4").unlink()
    assert project.batchvid("films", "m.yaml").code == 0
    assert decode_clip(project.out / "walk.mp4").frames == 128


def test_a_damaged_clip_is_not_joined_and_after_its_repair_it_is(project: Project) -> None:
    """The message names it and the way out."""
    manifest(project)
    assert project.batchvid("run", "m.yaml").code == 0
    (project.out / "walk.mp4").unlink()
    (project.out / "walk-01.mp4").write_bytes(b"damaged")
    (project.out / "next.mp4").unlink()
    told = json.loads((project.out / "next.json").read_bytes())["continues"]
    ran = project.batchvid("films", "m.yaml")
    assert ran.code == 3, ran
    assert "its clip walk-01.mp4 has 7 bytes" in ran.out
    assert "verify MANIFEST --repair" in ran.out
    assert project.batchvid("verify", "m.yaml", "--repair").code == 0
    assert project.batchvid("films", "m.yaml").code == 0
    assert json.loads((project.out / "next.json").read_bytes())["continues"] == told
    assert told["id"] == "walk-02"


def test_what_is_possible_now_is_made_before_anything_was_run(project: Project) -> None:
    """Which is nothing, and says what is missing."""
    manifest(project)
    assert "Film walk: waits for walk-01 (pending), walk-02 (pending)" in project.batchvid("plan", "m.yaml").out
    ran = project.batchvid("films", "m.yaml")
    assert (ran.code, ran.out) == (0, "Film walk: waits for walk-01 (pending), walk-02 (pending)\n")
    assert not project.out.exists()
    manifest(project, jobs="\n  - {{id: kite, prompt: x}}\n")
    assert "names no films" in project.batchvid("films", "m.yaml").err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_ends_while_it_joins_leaves_no_half_film(project: Project, number: signal.Signals) -> None:
    """And the next one makes it whole, from the clips that are there."""
    manifest(project, films="films: [{id: long, clips: [big, walk-01]}]", jobs=WALK + "  - {{id: big, prompt: big}}\n")
    assert project.batchvid("run", "m.yaml", "--only", "walk*").code == 0
    # A large clip that must be coded again, so that there is time: it takes the place of one that was paid for.
    _put(project, "big", ClipOrder("big", 1280, 720, 8, 7, (), ()))
    process = project.start("films", "m.yaml")
    new = project.out / "long.mp4.part"
    ends_at = time.monotonic() + 20
    while not new.exists() and time.monotonic() < ends_at:
        time.sleep(0.01)
    process.send_signal(number)
    ran = ended(process)
    assert ran.code == (-signal.SIGKILL if number is signal.SIGKILL else 130), ran
    assert not (project.out / "long.mp4").exists()
    again = project.batchvid("films", "m.yaml")
    assert again.code == 0, again
    assert "(re-encoded: sizes differ)" in again.err
    assert decode_clip(project.out / "long.mp4").duration_s == pytest.approx(16.0, abs=0.2)
    assert not new.exists()


def _put(project: Project, job_id: str, order: ClipOrder) -> None:
    """Put a finished clip of our own making into the output and its journal."""
    path = project.out / f"{job_id}.mp4"
    render(order, path)
    data = path.read_bytes()
    saved = life.ClipSaved(path.name, len(data), hashlib.sha256(data).hexdigest())
    events = (life.SubmitStarted(1, None, "f"), life.SubmitAccepted("task_big"), life.TaskSucceeded(None), saved)
    with SqliteStore(project.state / "journal.db").open(service=None) as journal:
        journal.record([Change.of(Progress.fresh(job_id), *((event, 1.0) for event in events))])


def test_a_second_films_beside_a_run_is_turned_away(project: Project) -> None:
    """The run makes them itself at its end."""
    manifest(project, first="slow")
    run = project.start("run", "m.yaml", "-v")
    read_until(run, "sending   next")
    assert project.batchvid("films", "m.yaml").code == 75
    run.kill()
    ended(run)


def test_plan_tells_what_hangs_on_a_changed_clip_before_it_costs_anything(project: Project) -> None:
    """As ``run --rebuy`` would do it, with its price; without that, it is kept."""
    path = manifest(project)
    assert project.batchvid("run", "m.yaml").code == 0
    path.write_text(path.read_text().replace('prompt: "next of', 'prompt: "next and on of'))
    kept = project.batchvid("plan", "m.yaml").out
    assert "kept as it was paid (on_change: keep)\n" in kept
    assert "\n1 changed, 3 done." in kept
    ran = project.batchvid("plan", "m.yaml", "--rebuy", "--json")
    assert {row["id"]: row["submits"] for row in ran.told if row["type"] == "plan" and "id" in row} == {
        "walk-01": False,
        "walk-02": False,
        "next": True,
        "home": True,
    }
    assert ran.told[-1]["price"] == 0.8
    assert [row["state"] for row in ran.told if row["type"] == "film"] == ["done"]


def test_a_frame_is_taken_out_of_a_clip_by_hand(project: Project) -> None:
    """The last one, the first one, one in between; never over a file that is there."""
    render(ClipOrder("kite", 64, 36, 2, 7, (), ()), project.folder / "kite.mp4")
    for name, options, at in (
        ("last", (), "1.958"),
        ("first", ("--first",), "0.000"),
        ("at", ("--at", "-1s"), "1.000"),
    ):
        ran = project.batchvid("frame", "kite.mp4", *options, "-o", f"{name}.png")
        assert ran.code == 0, ran
        assert ran.out == f"{name}.png: 64x36, the frame at {at} s of kite.mp4\n"
        with Image.open(project.folder / f"{name}.png") as image:
            assert (image.format, image.size) == ("PNG", (64, 36))
    for arguments, words in (
        (("kite.mp4", "-o", "last.png"), "last.png is there already"),
        (("kite.mp4", "-o", "x.jpg"), "x.jpg does not end in .png"),
        (("kite.mp4", "--at", "9s", "-o", "x.png"), "kite.mp4 lasts 2.00 s, and shows nothing at 9s"),
        (("kite.mp4", "--at", "9", "-o", "x.png"), "is no moment of a clip"),
        (("kite.mp4", "--at", "1s", "--first", "-o", "x.png"), "give one"),
        (("last.png", "-o", "x.png"), "last.png does not decode"),
    ):
        ran = project.batchvid("frame", *arguments)
        assert ran.code == 2, ran
        assert words in ran.err
    assert not (project.folder / "x.png").exists()


def test_an_export_tells_which_clip_a_job_continues(project: Project) -> None:
    """In its last column."""
    manifest(project)
    lines = project.batchvid("export", "m.yaml", "--format", "jsonl").told
    assert [line["continues"] for line in lines] == [None, None, "walk-02", "next"]
    assert json.loads(project.batchvid("schema").out)["properties"]["films"]["type"] == "array"
