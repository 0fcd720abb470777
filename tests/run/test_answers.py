"""The service's first answers are kept for a report, and a run never depends on it."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.task import Created, Fault, FaultKind, Phase, ProviderName, TaskReport
from batchvid.engine.answers import FirstAnswer
from batchvid.media.images import read_frame
from batchvid.providers.base import FRAME
from batchvid.storage.state import FIRST_ANSWERS_FILE, StateFolder
from tests.run.bench import BASE_URL, STARTS_AT, jobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.run.bench import Bench
    from tests.run.conftest import MakeBench

BAD = {"error": {"message": "no such size", "code": "invalid_request", "type": "comet_api_error"}}


def path_of(bench: Bench) -> Path:
    """Return where they are kept."""
    return bench.folder / ".batchvid" / FIRST_ANSWERS_FILE


def kept(bench: Bench) -> dict[str, Any]:
    """Return them as they are in the file."""
    found: dict[str, Any] = json.loads(path_of(bench).read_bytes())
    return found


@pytest.mark.parametrize("provider", list(ProviderName))
def test_two_answers_are_kept_with_what_a_report_needs(make_bench: MakeBench, provider: ProviderName) -> None:
    """The first create's and that of the first task that is finished: no prompt, no frame; for the owner's eyes."""
    bench = make_bench(provider=provider, key="sk-sandbox")
    model = {ProviderName.COMETAPI: "veo3-fast", ProviderName.OPENAI: "sora-2"}[provider]
    wanted = jobs(3, model=model)
    assert bench.run(wanted).exit_code is Exit.OK
    found = kept(bench)
    create, poll = found["create"], found["poll"]
    assert (create["method"], create["path"], create["fields"]) == ("POST", "/videos", ["prompt", "model"])
    assert {one["provider"] for one in (create, poll)} == {str(provider)}
    assert {one["base_url"] for one in (create, poll)} == {BASE_URL}
    assert (create["status"], create["took_s"]) == (200, pytest.approx(0.4, abs=0.01))
    first = bench.creates[0]["task_id"]
    assert json.loads(create["body"])["id"] == first
    assert poll["path"] == f"/videos/{poll['task_id']}"
    assert json.loads(poll["body"])["status"] == "completed"
    assert stat.S_IMODE(path_of(bench).stat().st_mode) == 0o600
    read = FirstAnswer.of(create), FirstAnswer.of(poll)
    assert isinstance(read[0].read(), Created)
    looked = read[1].read()
    assert isinstance(looked, TaskReport)
    assert looked.phase is Phase.SUCCEEDED
    assert STARTS_AT <= read[0].at < read[1].at


def test_later_answers_and_later_runs_change_nothing(make_bench: MakeBench) -> None:
    """It is written once for each of the two, and for good."""
    bench = make_bench()
    bench.run(jobs(2))
    before = path_of(bench).read_bytes(), path_of(bench).stat().st_ino
    bench.run(jobs(5))
    assert (path_of(bench).read_bytes(), path_of(bench).stat().st_ino) == before


def test_a_refusal_gives_way_to_the_first_answer_that_is_none(make_bench: MakeBench) -> None:
    """In the same run or in a later one: a wrong key or a full queue teaches nothing of how a task is named."""
    bench = make_bench({"on": "create", "scope": "call", "times": 2, "status": 400, "body": BAD})
    bench.run(jobs(1))
    assert (kept(bench)["create"]["status"], "poll" in kept(bench)) == (400, False)
    refused = path_of(bench).read_bytes()
    bench.run([jobs(2)[1]])
    assert path_of(bench).read_bytes() == refused
    bench.run([jobs(3)[2]])
    assert (kept(bench)["create"]["status"], kept(bench)["poll"]["status"]) == (200, 200)
    bench.script({"on": "create", "status": 400, "body": BAD})
    bench.run([*jobs(4)])
    assert kept(bench)["create"]["status"] == 200


def test_an_answer_that_leaves_a_doubt_is_the_one_to_report(make_bench: MakeBench) -> None:
    """No later one takes its place; a request without an answer leaves nothing."""
    bench = make_bench(
        {"on": "create", "prompt": "*job-01*", "reset": "after-effect"},
        {"on": "create", "prompt": "*job-02*", "status": 502, "body": "<html>Bad gateway</html>", "effect": True},
    )
    wanted = jobs(3)
    assert bench.run(wanted[:1]).exit_code is Exit.IN_DOUBT
    assert not path_of(bench).exists()
    assert bench.run(wanted).exit_code is Exit.IN_DOUBT
    found = FirstAnswer.of(kept(bench)["create"]).read()
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.UNSURE
    assert kept(bench)["create"]["body"] == "<html>Bad gateway</html>"


def test_the_names_of_the_fields_tell_of_frames(make_bench: MakeBench, tmp_path: Path) -> None:
    """As often as there are, by the name of their part."""
    Image.new("RGB", (1280, 720), "teal").save(tmp_path / "a.png")
    frame = read_frame(tmp_path / "a.png")
    bench = make_bench()
    bench.run(jobs(1, frames=(frame, frame), size="16x9"), checked=False)
    assert kept(bench)["create"]["fields"] == ["prompt", "model", "size", FRAME, FRAME]


def no_room(patch: pytest.MonkeyPatch) -> None:
    """Let the disk be full for this one file."""
    true_rename = os.rename

    def rename(source: str, target: str, **where: Any) -> None:
        if target == FIRST_ANSWERS_FILE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true_rename(source, target, **where)

    patch.setattr(os, "rename", rename)


def test_a_disk_that_does_not_take_it_hurts_no_run(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning for each of the two; every clip is paid once and there."""
    bench = make_bench()
    no_room(monkeypatch)
    assert bench.run(jobs(4)).exit_code is Exit.OK
    warnings = [note for note in bench.view.notes if "first answers are not kept" in note]
    assert len(warnings) == 2
    assert all("the disk is full" in warning and "the run goes on" in warning for warning in warnings)
    assert set(bench.bought().values()) == {1}
    assert [*bench.folder.glob(".batchvid/*answers*")] == []


def test_an_answer_is_in_the_journal_before_it_is_kept(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed while it writes the file has lost nothing."""
    bench = make_bench()
    known: list[tuple[State, str | None]] = []
    true_write = StateFolder.keep_first_answers

    def write(state: StateFolder, record: Mapping[str, object]) -> None:
        row = bench.row("job-01")
        known.append((row.state, row.task_id))
        true_write(state, record)

    monkeypatch.setattr(StateFolder, "keep_first_answers", write)
    bench.run(jobs(1))
    task_id = bench.creates[0]["task_id"]
    assert known == [(State.RUNNING, task_id), (State.READY, task_id)]


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"create": {}}', '{"create": 7}', "\0", "link", "folder"])
def test_a_damaged_file_is_left_alone_and_hurts_no_run(make_bench: MakeBench, damage: str) -> None:
    """A person may want what is in it; an empty object is filled."""
    bench = make_bench()
    bench.run(jobs(1), checked=False)
    path = path_of(bench)
    path.unlink()
    match damage:
        case "link":
            path.symlink_to(bench.folder / "elsewhere")
        case "folder":
            path.mkdir()
        case _:
            path.write_text(damage)
    assert bench.run(jobs(3)).exit_code is Exit.OK
    assert not (bench.folder / "elsewhere").exists()
    if damage == "{}":
        assert kept(bench).keys() == {"create", "poll"}
    elif path.is_file():
        assert path.read_text() == damage


def test_it_comes_back_when_it_was_taken_away(make_bench: MakeBench) -> None:
    """With the next answers: no run needs the old ones."""
    bench = make_bench()
    bench.run(jobs(1))
    path_of(bench).unlink()
    bench.run(jobs(1))
    assert not path_of(bench).exists()
    bench.run(jobs(2))
    assert kept(bench)["poll"]["task_id"] == bench.row("job-02").task_id
