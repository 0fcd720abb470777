"""Decisions on their way into the journal, beside other reviewers, and how the command begins and ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import batchvid
from batchvid.cli.decide import account_name
from batchvid.domain.decision import Decision, Verdict
from batchvid.engine.target import journal_of
from tests.report.browser import REPOSITORY
from tests.report.nights import write_night
from tests.review.server import reviewing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeClip
    from tests.review.server import Served


def decided(manifest: Path) -> dict[tuple[str, int], Decision]:
    """Return what the journal holds."""
    journal = journal_of(batchvid.load(manifest)).read()
    assert journal is not None
    with journal:
        return journal.decisions()


def row_of(served: Served, job: str) -> list[Any]:
    """Return what the page is told of a job."""
    found: list[Any] = next(row for row in served.rows()["rows"] if row[1] == job)
    return found


def test_a_decision_is_in_the_journal_when_it_is_confirmed(served: Served, project: Path) -> None:
    """Who, when, what, and the words as they are."""
    began = time.time()
    note = "  the string is missing: <b>& “café” 紙\U0001f642  "
    answer = served.decide("kite-00000", {"verdict": "rejected", "note": note})
    assert answer.status == 200
    kept = decided(project)["kite-00000", 1]
    assert kept[3:] == ("Ana", Verdict.REJECTED, None, note.strip())
    assert began - 1 <= kept.at <= time.time()
    assert answer.json() == [2, -1, note.strip(), "Ana", round(kept.at, 3)]
    assert row_of(served, "kite-00000")[19][0][3:] == answer.json()


def test_the_sidecar_tells_it_too(served: Served, project: Path) -> None:
    """Soon after the journal has it; all of it when the page ends."""
    sidecar = project.parent / "out" / "night" / "kite-00000.json"
    told = batchvid.load(project)
    sidecar.write_text(json.dumps({"batchvid": 1, "id": "kite-00000", "sha256": sha256_of(told)}), encoding="utf-8")
    served.decide("kite-00000", {"verdict": "approved", "stars": 4})
    assert served.end() == 0
    review = json.loads(sidecar.read_text(encoding="utf-8"))["review"]
    assert (review["verdict"], review["stars"], review["by"]) == ("approved", 4, "Ana")


def sha256_of(manifest: batchvid.Manifest) -> str | None:
    """Return what the journal says of the first clip."""
    journal = journal_of(manifest).read()
    assert journal is not None
    with journal:
        row = journal.progress("kite-00000")
    return None if row is None else row.sha256


def test_what_is_not_said_stays_as_it_was_decided(served: Served, project: Path) -> None:
    """Stars do not take a verdict back, even one that another reviewer gave a moment ago."""
    journal_of(batchvid.load(project)).decide(
        [Decision("kite-00000", 1, time.time(), "Ben", Verdict.APPROVED, None, "lovely")]
    )
    assert served.decide("kite-00000", {"stars": 4}).status == 200
    assert decided(project)["kite-00000", 1][3:] == ("Ana", Verdict.APPROVED, 4, "lovely")


def test_undo_restores_what_was_before_unless_somebody_has_decided_since(served: Served, project: Path) -> None:
    """It is a further decision; the one that it undoes is named by its moment."""
    served.decide("kite-00000", {"verdict": "approved", "stars": 3})
    last = served.decide("kite-00000", {"verdict": "rejected", "note": "no"}).json()
    before = {"verdict": "approved", "stars": 3, "note": ""}
    assert served.decide("kite-00000", before, unless=last[4]).status == 200
    assert decided(project)["kite-00000", 1][4:] == (Verdict.APPROVED, 3, "")
    last = served.decide("kite-00000", {"verdict": "rejected"}).json()
    journal_of(batchvid.load(project)).decide([Decision("kite-00000", 1, time.time() + 1, "Ben", Verdict.APPROVED)])
    answer = served.decide("kite-00000", {"verdict": None}, unless=last[4])
    assert answer.status == 409
    assert "Ben" in answer.json()["trouble"]
    assert decided(project)["kite-00000", 1].by == "Ben"


def test_a_page_asks_for_what_has_changed_only(served: Served, project: Path) -> None:
    """By number: decisions of others, and events of a run, come as rows."""
    everything = served.rows()
    assert len(everything["rows"]) == 30
    assert served.rows(everything["revision"])["rows"] == []
    journal_of(batchvid.load(project)).decide([Decision("vase-00002", 1, time.time(), "Ben", None, 5)])
    until = time.monotonic() + 10
    while not (changed := served.rows(everything["revision"]))["rows"]:
        assert time.monotonic() < until
    assert [row[1] for row in changed["rows"]] == ["vase-00002"]
    assert changed["rows"][0][19][0][3:7] == [0, 5, "", "Ben"]
    until = time.monotonic() + 1.2  # two looks
    while time.monotonic() < until:
        assert served.rows(changed["revision"])["rows"] == []  # nothing is told twice
    assert len(served.rows(10**9)["rows"]) == 30  # a number of another server's
    assert served.get("/rows?after=-1").status == 400
    assert served.get("/rows?after=x").status == 400


def test_a_journal_that_comes_later_is_followed(tmp_path: Path, make_clip: MakeClip) -> None:
    """Who opens the page before the first run sees it begin."""
    clip = tmp_path / "source.mp4"
    clip.write_bytes(make_clip(frames=4))
    manifest = write_night(tmp_path, 30, clips=[clip])
    state = manifest.parent / "out" / "night" / ".batchvid"
    state.rename(tmp_path / "kept")
    with reviewing(manifest.name, cwd=tmp_path) as served:
        found = served.rows()
        assert not found["boards"][0]["begun"]
        assert len(found["rows"]) == 30
        assert not [row for row in found["rows"] if row[19]]
        (tmp_path / "kept").rename(state)
        until = time.monotonic() + 10
        while not served.rows(found["revision"])["rows"]:
            assert time.monotonic() < until
        assert row_of(served, "kite-00000")[19]


def test_several_manifests_are_one_page(tmp_path: Path, make_clip: MakeClip) -> None:
    """Each with its own journal, and one of them without."""
    clip = tmp_path / "source.mp4"
    clip.write_bytes(make_clip(frames=4))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_night(tmp_path / name, 10, clips=[clip])
    with reviewing("one/night.yaml", "two/night.yaml", cwd=tmp_path) as served:
        assert [row[0] for row in served.rows()["rows"]] == list(range(20))
        answer = served.post({"board": 1, "job": "kite-00000", "attempt": 1, "set": {"verdict": "approved"}})
        assert answer.status == 200
    assert decided(tmp_path / "two" / "night.yaml").keys() == {("kite-00000", 1)}
    assert decided(tmp_path / "one" / "night.yaml") == {}


def test_by_default_the_user_account_decides(project: Path) -> None:
    """Whatever the environment calls the user."""
    with reviewing(project.name, cwd=project.parent, environment={"USER": "mallory", "LOGNAME": "mallory"}) as served:
        assert served.decide("kite-00000", {"stars": 1}).json()[3] == account_name()


def run_review(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call the command where it is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "batchvid", "review", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_in_peace(served: Served, number: int) -> None:
    """Nothing is lost: decisions are kept as they are made. A page that is open does not hold it up."""
    with socket.create_connection(("127.0.0.1", served.port)) as idle:
        served.rows()  # who came later is answered: the open one was let in before the signal
        began = time.monotonic()
        assert served.end(number) == 0
        assert time.monotonic() - began < 5
        del idle


def test_a_port_that_is_taken_is_told(project: Path) -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = run_review(project.name, "--port", str(taken.getsockname()[1]), cwd=project.parent)
    assert found.returncode == 78
    assert "name another --port" in found.stderr


def test_a_manifest_that_is_wrong_and_outputs_that_clash_are_told_before_anything_listens(project: Path) -> None:
    """As for every command."""
    assert run_review("nowhere.yaml", cwd=project.parent).returncode == 65
    assert run_review(project.name, project.name, "--output", "x", cwd=project.parent).returncode == 2


def test_who_has_only_rehearsed_is_told_where_that_is(project: Path) -> None:
    """The page of an empty output explains nothing."""
    output = project.parent / "out" / "night"
    (output / ".batchvid" / "sandbox").mkdir()
    output.rename(project.parent / "out" / "night-sandbox")
    process = subprocess.Popen(
        [sys.executable, "-m", "batchvid", "review", project.name],
        cwd=project.parent,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    assert "night-sandbox" in complaints
    assert f"batchvid review {project.name} --output" in complaints


def test_people_are_told_how_to_get_there(project: Path) -> None:
    """The address on standard output, and beside it how a tunnel is made, with the same port on both sides."""
    process = subprocess.Popen(
        [sys.executable, "-m", "batchvid", "review", project.name],
        cwd=project.parent,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    port = address.split(":")[2].partition("/")[0]
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    assert address.startswith("http://127.0.0.1:")
    assert f"ssh -L {port}:127.0.0.1:{port} " in complaints
    assert process.returncode == 0


def test_a_browser_is_given_an_address_that_works_once(project: Path) -> None:
    """A command line is seen by everybody on the machine; what it holds is used up when the browser has come."""
    seen = project.parent / "seen"
    browser = project.parent / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}.part && mv {seen}.part {seen}\n', encoding="ascii")
    browser.chmod(0o755)
    environment = {"BROWSER": f"{browser} %s"}
    with reviewing(project.name, "--open", cwd=project.parent, environment=environment) as served:
        until = time.monotonic() + 20
        while not seen.exists():
            assert time.monotonic() < until
        token = seen.read_text(encoding="ascii").strip().partition("?token=")[2]
        assert token
        assert token != served.token
        assert served.send("GET", f"/?token={token}", {}).status == 200
        assert served.send("GET", f"/?token={token}", {}).status == 403


def test_a_journal_that_cannot_be_read_is_told_on_the_page_and_the_page_goes_on(served: Served, project: Path) -> None:
    """Until it can be read again."""
    state = project.parent / "out" / "night" / ".batchvid"
    before = served.rows()
    assert before["boards"][0]["trouble"] == ""
    journal = state / "journal.db"
    kept = journal.read_bytes()
    journal.write_bytes(b"this is no database" * 1000)
    answer = served.decide("kite-00000", {"stars": 1})
    assert answer.status == 503
    assert answer.json()["trouble"]
    journal.write_bytes(kept)
    assert json.loads(served.get("/rows?after=0").body)["rows"]


def test_a_journal_that_is_away_is_told_and_found_again(served: Served, project: Path) -> None:
    """What was open could be read for ever: a disk that is gone must not look like a quiet night."""
    state = project.parent / "out" / "night" / ".batchvid"
    (state / "sandbox").mkdir()
    assert (served.rows()["boards"][0]["trouble"], served.rows()["boards"][0]["begun"]) == ("", True)
    told(served, lambda board: board["sandbox"])
    state.rename(state.with_name("away"))
    board = told(served, lambda board: board["trouble"])
    assert "is not there any more" in board["trouble"]
    assert (board["begun"], board["sandbox"]) == (True, True)
    state.with_name("away").rename(state)
    told(served, lambda board: not board["trouble"])
    assert served.decide("kite-00000", {"stars": 1}).status == 200


def told(served: Served, is_so: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Return what the page is told of the first manifest as soon as it is so."""
    until = time.monotonic() + 20
    while True:
        board: dict[str, Any] = served.rows(after=0)["boards"][0]
        if is_so(board):
            return board
        assert time.monotonic() < until, board
        time.sleep(0.1)
