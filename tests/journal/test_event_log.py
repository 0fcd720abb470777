"""The event log: buffered, rotated, and never a reason to stop."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from batchvid.domain import lifecycle as life
from batchvid.journal import event_log as eventlog
from batchvid.journal.base import DURABLE, event_data, event_of
from batchvid.journal.event_log import EventLog

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.lifecycle import Event


def test_events_are_lines_of_json_after_a_flush(tmp_path: Path) -> None:
    """What has no form in JSON is written as text; the file is private."""
    path = tmp_path / "log.jsonl"
    log = EventLog(path)
    log.append({"type": "SubmitAccepted", "job": "kite"})
    log.append({"path": path})
    assert not path.exists()
    log.flush()
    log.flush()
    assert [json.loads(line) for line in path.read_text().splitlines()][1] == {"path": str(path)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_buffer_is_written_by_itself(tmp_path: Path) -> None:
    """Memory stays bounded however many events there are."""
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"text": "x" * eventlog.BUFFER_BYTES})
    assert (tmp_path / "log.jsonl").stat().st_size > eventlog.BUFFER_BYTES


def test_what_is_kept_is_in_the_file_at_once(tmp_path: Path) -> None:
    """A killed process loses no paid request; what had come together before stands before it."""
    path = tmp_path / "log.jsonl"
    log = EventLog(path)
    log.append({"event": "PaceChanged"})
    log.keep([{"job": "kite", "event": "SubmitStarted"}, {"job": "kite", "event": "SubmitAccepted"}])
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
        "PaceChanged", "SubmitStarted", "SubmitAccepted",
    ]  # fmt: skip


def test_a_line_that_was_cut_off_is_ended_first(tmp_path: Path) -> None:
    """Two lines never become one that nobody can read."""
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "cut o')
    log = EventLog(path)
    log.keep([{"job": "kite", "event": "SubmitStarted"}])
    assert [line[:9] for line in path.read_text().splitlines()] == ['{"event":', '{"job": "']


def test_what_is_open_is_told_again_when_the_log_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest file knows every open task; what is over is not carried along."""
    monkeypatch.setattr(eventlog, "ROTATE_BYTES", 300)
    path = tmp_path / "log.jsonl"
    log = EventLog(path)
    log.remember([{"job": "old", "event": "SubmitAccepted", "task_id": "t0"}])
    log.keep([{"job": "kite", "event": "SubmitStarted"}, {"job": "kite", "event": "SubmitAccepted", "task_id": "t1"}])
    log.keep([{"job": "gull", "event": "SubmitAccepted", "task_id": "t2"}, {"job": "gull", "event": "ClipSaved"}])
    for number in range(100):
        log.append({"event": "PaceChanged", "share": number})
        log.flush()
    newest = path.read_text()
    assert "t0" in newest
    assert newest.count("t1") == 1
    assert "t2" not in newest


def test_old_logs_are_kept_up_to_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest log has the plain name; the disk it takes is bounded; no line is cut in two."""
    monkeypatch.setattr(eventlog, "ROTATE_BYTES", 100)
    log = EventLog(tmp_path / "log.jsonl")
    for number in range(40):
        log.append({"number": number, "text": "x" * 20})
        log.flush()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log.jsonl", "log.jsonl.1", "log.jsonl.2", "log.jsonl.3"]
    numbers = [
        json.loads(line)["number"] for name in reversed(files) for line in (tmp_path / name).read_text().splitlines()
    ]
    assert numbers == list(range(numbers[0], 40))
    assert all((tmp_path / name).stat().st_size <= 100 for name in files)


@pytest.mark.parametrize("obstacle", ["folder", "link", "missing"])
def test_a_log_that_cannot_be_written_is_given_up_quietly(tmp_path: Path, obstacle: str) -> None:
    """A run never fails because of its log; the reason is kept to be shown once."""
    path = tmp_path / "state" / "log.jsonl"
    if obstacle != "missing":
        path.parent.mkdir()
    if obstacle == "folder":
        path.mkdir()
    elif obstacle == "link":
        path.symlink_to(tmp_path / "elsewhere")
    log = EventLog(path)
    log.append({"number": 1})
    log.flush()
    assert log.failed is not None
    assert "is no longer written" in log.failed
    log.append({"number": 2})
    log.flush()
    assert not (tmp_path / "elsewhere").exists()


def test_a_line_holds_nothing_that_acts_on_a_terminal(tmp_path: Path) -> None:
    """Letters of every script stand as they are; C1 controls and marks that reverse text are escaped, and not lost."""
    path = tmp_path / "log.jsonl"
    log = EventLog(path)
    record = {"reason": "Größe 日本 🎈 \x1b[2J \x9b2J \u202egnp.exe \u2066 \u200b \U000e0041", "cut": "\ud800"}
    log.append(record)
    log.flush()
    text = path.read_text(encoding="utf-8")
    assert "Größe 日本 🎈" in text
    assert text.rstrip("\n").isprintable()
    assert json.loads(text) == record


def test_the_pace_of_a_night_is_read_back_from_the_log_and_the_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of time; no other line is taken for one, whatever words it holds."""
    monkeypatch.setattr(eventlog, "ROTATE_BYTES", 200)
    path = tmp_path / "log.jsonl"
    log = EventLog(path)
    for second, share in enumerate((1.0, 0.5, 0.25, 1.0)):
        log.append({"at": f"2026-03-12T22:00:0{second}Z", "event": eventlog.PACE_CHANGED, "share": share})
        log.append({"at": "2026-03-12T22:00:00Z", "event": "TaskFailed", "reason": '"event": "PaceChanged"'})
        log.flush()
    assert (tmp_path / "log.jsonl.1").exists()
    found = eventlog.pace_changes(path)
    assert [change.share for change in found] == [1.0, 0.5, 0.25, 1.0]
    assert found[1].at - found[0].at == 1.0


@pytest.mark.parametrize(
    "line",
    [
        b'{"event": "PaceChanged"',
        b'{"event": "PaceChanged", "at": 7, "share": 0.5}',
        b'{"event": "PaceChanged", "at": "long ago", "share": 0.5}',
        b'{"event": "PaceChanged", "at": "2026-03-12T22:00:00Z", "share": "half"}',
        b"PaceChanged \xff\xfe",
        b'["PaceChanged"]',
    ],
)
def test_a_line_that_cannot_be_read_tells_nothing(tmp_path: Path, line: bytes) -> None:
    """The end of a log may be cut off."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(line + b"\n")
    assert eventlog.pace_changes(path) == []


def test_a_kept_event_can_be_made_of_what_is_kept() -> None:
    """Of each kind, through JSON; a kind that nobody knows is none."""
    events: list[Event] = [
        life.SubmitStarted(2, 400_000, "f"),
        life.SubmitAccepted("task_1", "veo"),
        life.SubmitRefused("no", counted=True),
        life.SubmitUnsure("reset", "héllo".encode()),
        life.TaskAdopted("task_1"),
        life.Reopened("a person"),
        life.TaskSucceeded("https://h/1", 5.0, "veo"),
        life.TaskFailed("no"),
        life.TimedOut("late"),
        life.DownloadFailed("gone", parked=True),
        life.UrlExpired("old"),
        life.ClipSaved("a.mp4", 10, "ab", ("8 s, not 4 s",)),
        life.ClipMissing("gone"),
        life.RefusalsProven("seen"),
        life.GaveUp("no"),
    ]
    assert {type(event) for event in events} == DURABLE
    for event in events:
        data = json.loads(json.dumps(event_data(event)))
        assert event_of(life.KeptEvent(1, "a", 1, 5.0, type(event).__name__, data)) == event
    assert event_of(life.KeptEvent(1, "a", 1, 5.0, "Perished", {})) is None
