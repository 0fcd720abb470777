"""Plain lines: one per event that matters, one of statistics a minute."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest

from batchvid.cli.output.lines import PlainLines
from batchvid.domain import lifecycle as life
from batchvid.domain.job import Progress, State
from batchvid.engine.observer import Verbosity

if TYPE_CHECKING:
    from batchvid.domain.results import Snapshot, Summary

NINE_AM = 1_773_306_000.0
DONE = Progress("kite", State.DONE, 5, 1, price_micros=400_000, submitted_at=NINE_AM - 95, finished_at=NINE_AM)

EVENTS: tuple[life.Event, ...] = (
    life.SubmitStarted(1, 400_000, "hash"),
    life.SubmitAccepted("task_1"),
    life.SubmitRefused("HTTP 503"),
    life.SubmitUnsure("the connection broke"),
    life.TaskAdopted("task_1"),
    life.Reopened("a person asked"),
    life.StillRunning("processing", 40.0),
    life.PollFailed("HTTP 502"),
    life.TaskSucceeded(None),
    life.TaskFailed("moderation"),
    life.TimedOut("still 'queued'"),
    life.DownloadFailed("cut off"),
    life.DownloadFailed("gone", parked=True),
    life.UrlExpired("HTTP 403"),
    life.ClipSaved("day/kite.mp4", 3_100_000, "ab"),
    life.ClipMissing("kite.mp4 is missing"),
    life.RefusalsProven("the dashboard shows none of them"),
    life.GaveUp("no attempt is left"),
)


class Watched:
    """A view, and what it has written."""

    def __init__(self, verbosity: Verbosity = Verbosity.NORMAL) -> None:
        self.stream = io.StringIO()
        self.view = PlainLines(self.stream, verbosity, manifest="m.yaml", now=lambda: NINE_AM)

    @property
    def lines(self) -> list[str]:
        """Return the lines so far."""
        return self.stream.getvalue().splitlines()


def words(verbosity: Verbosity) -> set[str]:
    """Return the words of the lines that all kinds of events make."""
    watched = Watched(verbosity)
    for event in EVENTS:
        watched.view.event("kite", event, DONE)
    return {line[10:19].strip() for line in watched.lines} - {""}


def test_every_kind_of_event_is_among_the_examples() -> None:
    """An event that is added later must say how it reads."""
    assert {type(event) for event in EVENTS} == set(get_args(life.Event))


def test_a_quiet_run_tells_problems_only() -> None:
    """What a person must know of in the morning: money in doubt, failures, what did not come."""
    assert words(Verbosity.QUIET) == {"in doubt", "timed out", "not saved", "missing", "failed"}


def test_a_warning_is_told_at_any_verbosity_and_a_note_is_not() -> None:
    """A paid id that could be written nowhere stands in such a line, and only there."""
    for verbosity in Verbosity:
        watched = Watched(verbosity)
        watched.view.note("in passing")
        watched.view.warn("PAID, NOT JOURNALED:\x1b[2J task_1")
        told = [line[10:] for line in watched.lines]
        assert told[-1] == "warning   PAID, NOT JOURNALED: task_1"
        assert len(told) == 1 + (verbosity >= Verbosity.NORMAL)


def test_a_run_tells_what_costs_money_and_what_came_of_it() -> None:
    """Submits, clips and failures; not the polls, which are most of what happens."""
    told = words(Verbosity.NORMAL)
    assert told == {
        "in doubt",
        "timed out",
        "not saved",
        "missing",
        "failed",
        "submitted",
        "saved",
        "failing",
        "adopted",
        "reopened",
        "counted",
    }
    assert words(Verbosity.VERBOSE) == told | {"sending", "refused", "polled", "ready"}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (life.SubmitAccepted("task_1"), "09:00:00Z submitted kite: attempt 1 for $0.40, task task_1"),
        (
            life.ClipSaved("day/kite.mp4", 3_100_000, "ab"),
            "09:00:00Z saved     kite: day/kite.mp4, 3.1 MB, 1 min 35 s after it was submitted",
        ),
        (life.TaskFailed("moderation"), "09:00:00Z failing   kite: attempt 1 failed: moderation"),
        (
            life.ClipMissing("kite.mp4 is missing"),
            "09:00:00Z missing   kite: kite.mp4 is missing; it is fetched again, free",
        ),
        (life.GaveUp("no attempt is left"), "09:00:00Z failed    kite: no attempt is left"),
        (
            life.TimedOut("still 'queued'"),
            "09:00:00Z timed out kite: still 'queued'; the next run looks again, free",
        ),
    ],
)
def test_a_line_names_the_time_the_job_and_the_cause(event: life.Event, line: str) -> None:
    """One line an event, in UTC, that can be read and grepped."""
    watched = Watched()
    watched.view.event("kite", event, DONE)
    assert watched.lines == [line]


def test_a_job_in_doubt_comes_with_the_next_step() -> None:
    """Even in a quiet log the commands stand where the trouble is told."""
    watched = Watched(Verbosity.QUIET)
    watched.view.event("kite", life.SubmitUnsure("reset"), DONE)
    assert watched.lines[1].endswith(
        "If the dashboard shows this task, run batchvid adopt m.yaml kite TASK_ID. "
        "If not, run batchvid retry m.yaml kite --in-doubt"
    )


def test_nothing_from_outside_breaks_a_line() -> None:
    """Line breaks and escapes in the service's words, ids and notes cannot forge a line or drive a terminal."""
    watched = Watched()
    watched.view.event("kite", life.GaveUp("bad\n09:00:01Z saved     forged: \x1b[2J\u202e"), DONE)
    watched.view.event("kite", life.SubmitAccepted("id\r\nforged\x9b1m"), DONE)
    watched.view.note("a\nb\x07")
    assert len(watched.lines) == 3
    assert all(line.isprintable() for line in watched.lines)


def test_statistics_come_once_a_minute(snapshot: Snapshot) -> None:
    """However often the runner tells, a log of a night has some hundred lines of them."""
    watched = Watched()
    for second in range(601):
        watched.view.stats(replace(snapshot, elapsed_s=float(second)))
    assert len(watched.lines) == 10
    assert watched.lines[0] == (
        "09:00:00Z stats     337 done, 3 ready, 18 running, 1 submitting, 634 pending, 1 deferred, 4 failed, "
        "2 in doubt; 20 of 20 in flight; 4.8 submits/min (limit 10/min); "
        "$134.80 spent, $8.00 reserved, of a budget of $500.00; "
        "1 min elapsed; about 1 h 13 min remaining"
    )


def test_a_slowed_run_says_so_and_when_it_is_over(snapshot: Snapshot) -> None:
    """The first "too fast" is told at once, the following ones now and then, the recovery once."""
    watched = Watched()
    for second in range(40):
        watched.view.stats(replace(snapshot, elapsed_s=float(second), slowed_to=0.5, paused_s=12.0))
    for second in range(40, 50):
        watched.view.stats(replace(snapshot, elapsed_s=float(second)))
    assert [line[10:] for line in watched.lines] == [
        'slowed    to 50 %, pause 12 s: the service said "too fast"',
        'slowed    to 50 %, pause 12 s: the service said "too fast"',
        "pace      back to the allowed pace",
    ]


def test_a_service_that_is_away_is_not_said_to_be_too_busy(snapshot: Snapshot) -> None:
    """A pause names its own reason, and a full pace is not called a slow one."""
    watched = Watched()
    away = replace(snapshot, paused_s=12.0, slowed_by="the host name could not be resolved\x1b[2J")
    watched.view.stats(replace(away, elapsed_s=1.0))
    watched.view.stats(replace(away, elapsed_s=40.0, paused_s=0.5))
    assert [line[10:] for line in watched.lines] == [
        "slowed    pause 12 s: the host name could not be resolved",
        "slowed    for a moment: the host name could not be resolved",
    ]


def test_the_reason_to_stop_is_told_once_at_any_verbosity(snapshot: Snapshot) -> None:
    """A quiet log still says why a night's run stopped buying."""
    watched = Watched(Verbosity.QUIET)
    for second in range(300):
        watched.view.stats(replace(snapshot, elapsed_s=float(second), stopping="the budget is reached", slowed_to=0.5))
    assert [line[10:] for line in watched.lines] == ["stopping  the budget is reached"]


def test_the_summary_is_told_at_any_verbosity(summary: Summary) -> None:
    """The last line is the exit code in words."""
    watched = Watched(Verbosity.QUIET)
    watched.view.note("not a problem")
    watched.view.summary(summary)
    assert watched.lines[0].startswith("1,000 jobs: 337 done")
    assert watched.lines[-1].startswith("Exit 4: ")
