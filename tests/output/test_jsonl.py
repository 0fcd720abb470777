"""A program can follow a run, line by line."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchvid.cli.output.jsonl import JsonLines
from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit
from batchvid.domain.job import Progress, State
from batchvid.engine.observer import Verbosity

if TYPE_CHECKING:
    from batchvid.domain.results import Snapshot, Summary

NINE_AM = 1_773_306_000.0


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the objects, one a line."""

    def refuse(name: str) -> None:
        message = f"{name} is not JSON"
        raise AssertionError(message)

    return [json.loads(line, parse_constant=refuse) for line in stream.getvalue().split("\n")[:-1]]


def test_a_whole_run_is_one_object_a_line_each_with_its_type(snapshot: Snapshot, summary: Summary) -> None:
    """In the order in which things happened, the exit last."""
    stream = io.StringIO()
    view = JsonLines(stream, now=lambda: NINE_AM)
    done = Progress("kite", State.DONE, 5, 1, price_micros=400_000, path="kite.mp4", submitted_at=NINE_AM - 95)
    view.write({"type": "plan"})
    view.event("kite", life.ClipSaved("kite.mp4", 3_100_000, "ab"), done)
    view.stats(snapshot)
    view.note("for people")
    view.summary(summary)
    view.exit(Exit.IN_DOUBT)
    view.close()
    found = read(stream)
    assert [one["type"] for one in found] == ["plan", "job", "stats", "summary", "exit"]
    _, job, stats, end, last = found
    assert job == {
        "type": "job",
        "at": "2026-03-12T09:00:00Z",
        "id": "kite",
        "event": "clip_saved",
        "state": "done",
        "parked": False,
        "attempt": 1,
        "task_id": None,
        "resolved_model": None,
        "reason": None,
        "path": "kite.mp4",
        "size_bytes": None,
        "sha256": None,
        "price": 0.4,
        "submitted_at": "2026-03-12T08:58:25Z",
        "finished_at": None,
    }
    assert stats["counts"]["in_doubt"] == 2
    assert stats["money"] == end["money"] == {"spent": 134.8, "reserved": 8.0, "unproven": 0.0, "budget": 500.0}
    assert stats["submits_per_min_limit"] == 10.0
    assert end["needs_person"][0] == {
        "id": "kite-7",
        "state": "in_doubt",
        "reason": "the connection broke before an answer came",
    }
    assert (last["code"], end["exit_code"]) == (4, 4)
    assert "in doubt" in last["meaning"]


def test_what_comes_from_outside_stays_on_its_line_and_is_ascii() -> None:
    """A terminal that shows the stream, or a reader that splits at U+2028, is not misled."""
    stream = io.StringIO()
    view = JsonLines(stream)
    view.event("kite", life.GaveUp("a\nb\u2028\x1b[2J\ud800 凧"), Progress.fresh("kite"))
    assert stream.getvalue().isascii()
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert read(stream)[0]["reason"] == "a\nb\u2028\x1b[2J\ud800 凧"


def test_polls_are_told_only_when_asked_for() -> None:
    """They are most of what happens, and say nothing that is kept."""
    for verbosity, told in ((Verbosity.NORMAL, 0), (Verbosity.VERBOSE, 2)):
        stream = io.StringIO()
        view = JsonLines(stream, verbosity)
        view.event("kite", life.StillRunning("processing", 40.0), Progress.fresh("kite"))
        view.event("kite", life.PollFailed("HTTP 502"), Progress.fresh("kite"))
        assert len(read(stream)) == told


def test_statistics_come_every_ten_seconds_and_hold_no_infinities(snapshot: Snapshot) -> None:
    """JSON has no word for infinity; an estimate that is none is unknown."""
    stream = io.StringIO()
    view = JsonLines(stream)
    for second in range(100):
        view.stats(replace(snapshot, elapsed_s=float(second), eta_s=float("inf"), submit_limit=None))
    found = read(stream)
    assert [one["elapsed_s"] for one in found] == [float(second) for second in range(0, 100, 10)]
    assert found[0]["eta_s"] is None
    assert found[0]["submits_per_min_limit"] is None
