"""The live view shows at one glance how a run stands, at any width, and draws no more than it must."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from batchvid.cli.output.live import FINE, PLAIN, LiveView, Screen, panel, shares
from batchvid.cli.output.picture import console_on
from batchvid.cli.output.summary import summary_lines
from batchvid.domain.job import Progress, State
from batchvid.domain.limits import Limits
from batchvid.domain.results import Money, NeedsAttention
from batchvid.engine.stats import LINES_SHOWN, Statistics, WatchStatistics

if TYPE_CHECKING:
    from batchvid.domain.results import Snapshot, Summary


def drawn(snapshot: Snapshot, width: int, height: int = 24, *, plain: bool = False) -> list[str]:
    """Return the picture's lines, without colours."""
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    glyphs = PLAIN if plain else FINE
    console.print(panel(snapshot, "jobs/night.yaml", width=width, height=height, glyphs=glyphs))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_picture_at_a_hundred_columns(snapshot: Snapshot) -> None:
    """Golden: progress, money, limits, what needs a person, what is under way, newest clips; 30 lines are filled."""
    lines = drawn(replace(snapshot, slowed_to=0.5, paused_s=12.0), 100, 30)
    assert lines[0] == (
        "jobs/night.yaml                                         12 min elapsed · about 1 h 13 min remaining"
    )
    assert lines[1].endswith(" 33 %")
    assert lines[2] == "█ 337 done  ▓ 3 ready  ▒ 19 running  ░ 634 pending  - 1 deferred  x 4 failed  ? 2 in doubt"
    assert lines[4:8] == [
        "money      ━━━─────────  $134.80 + $8.00 reserved of $500.00",
        "submits    ━━━━━━──────  4.8/min of 10/min",
        "in flight  ━━━━━━━━━━━━  20 of 20",
        "downloads  ━━━━━━──────  2 of 4 · 1.4 GB",
    ]
    assert lines[9] == '▲ slowed to 50 %, pause 12 s: the service said "too fast"'
    assert lines[11].startswith("needs attention")
    assert lines[11].endswith("batchvid status jobs/night.yaml")
    assert lines[12:15] == [
        "  in doubt  kite-7  the connection broke before an answer came",
        "  failed    dawn  the prompt was refused",
        "  and 5 more",
    ]
    assert lines[16] == "under way, the oldest first"
    assert lines[17] == "  kite-1   4 min 55 s    2 %  in_progress"
    assert lines[24] == "newest clips (times in UTC)"
    assert lines[25].split() == ["day/kite-337.mp4", "3.1", "MB", "09:00:00"]
    assert len(lines) == 29, "the cursor needs the 30th"


def test_a_tall_and_wide_terminal_is_filled(snapshot: Snapshot) -> None:
    """At 140x40 all 20 jobs under way stand beside the newest clips, and the limits in two columns."""
    lines = drawn(snapshot, 140, 40)
    assert len(lines) == 39
    assert sum("in_progress" in line for line in lines) == 20
    assert sum(".mp4" in line for line in lines) >= 20
    assert any("$134.80" in line and "20 of 20" in line for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40), (20, 6), (40, 10), (8, 3), (1, 1), (300, 80)])
def test_the_picture_has_the_size_of_the_terminal(snapshot: Snapshot, width: int, height: int) -> None:
    """Whatever is to be told, and money and limits are seen on any that is usable."""
    worst = replace(
        snapshot,
        slowed_to=0.5,
        away_s=245.0,
        away_because="HTTP 503 " + "away " * 40,
        stopping="the time window has closed",
        sandbox=True,
        needs_person=snapshot.needs_person * 4,
        under_way=tuple(replace(one, job_id="凧" * 90, status="很" * 90) for one in snapshot.under_way),
    )
    lines = drawn(worst, width, height)
    assert len(lines) < max(height, 2)
    assert all(Text(line).cell_len <= width for line in lines)
    if width >= 40 and height >= 6:
        shown = "\n".join(lines)
        assert "$134.80 + $8.00 reserved" in shown
        assert "of 10/min" in shown
        assert "20 of 20" in shown


def test_two_thousand_jobs_under_way_cost_no_more_than_a_screenful(snapshot: Snapshot) -> None:
    """The statistics hand out a screenful, and the picture counts the others."""
    statistics = WatchStatistics([], Limits())
    for number in range(2000):
        Statistics.stands(statistics, Progress(f"j{number}", State.RUNNING, submitted_at=float(number)))
    under_way = statistics.under_way(5000.0)
    assert [one.job_id for one in under_way[:2]] == ["j0", "j1"]
    assert len(under_way) == LINES_SHOWN
    counts = {**snapshot.counts, State.RUNNING: 2000, State.SUBMITTING: 0}
    lines = drawn(replace(snapshot, counts=counts, parked=0, under_way=under_way, needs_person=()), 80, 24)
    assert "  and 1,997 more" in lines


def test_an_outage_says_its_cause_and_when_it_is_looked_again_and_has_no_estimate(snapshot: Snapshot) -> None:
    """Nobody knows when a service comes back."""
    out = replace(
        snapshot, away_s=245.0, away_because="unavailable (HTTP 503): no healthy", next_look_s=30.4, eta_s=None
    )
    lines = drawn(out, 80)
    assert lines[0].endswith("12 min elapsed")
    assert "▲ the service has not answered for 4 min 5 s (HTTP 503); next look in 30 s" in lines
    silent = replace(out, away_because="the service did not accept a connection in time", next_look_s=None)
    told = "▲ the service has not answered for 4 min 5 s (the service did not accept a connection in time)"
    assert told in drawn(silent, 120)


def test_a_drain_tells_how_long_it_may_take_at_most(snapshot: Snapshot) -> None:
    """Rounded up; and nothing where nobody knows."""
    draining = replace(snapshot, stopping="the time window has closed", at_most_s=239.0)
    assert drawn(draining, 80)[0].endswith("12 min elapsed · up to 4 min remaining")
    assert "▲ no more submits: the time window has closed" in drawn(draining, 80)
    assert drawn(replace(draining, at_most_s=None), 80)[0].endswith("12 min elapsed")
    both = replace(draining, eta_s=61.0)
    assert drawn(both, 80)[0].endswith("12 min elapsed · about 1 min 1 s, up to 4 min remaining")
    assert drawn(replace(draining, at_most_s=31.0), 80)[0].endswith("up to 40 s remaining")


def test_what_rests_on_nothing_but_the_stated_time_is_no_estimate(snapshot: Snapshot) -> None:
    """As long as no task has finished."""
    assert drawn(replace(snapshot, eta_is_stated=True), 80)[0].endswith("12 min elapsed")


def test_the_sandbox_is_named(snapshot: Snapshot, summary: Summary) -> None:
    """In the picture and in the summary, and nowhere else."""
    assert drawn(replace(snapshot, sandbox=True), 80)[0].startswith("SANDBOX jobs/night.yaml")
    assert "SANDBOX" not in "".join(drawn(snapshot, 80))
    first, *_ = summary_lines(replace(summary, sandbox=True))
    assert first == "SANDBOX: nothing was paid, and the clips are made up."
    assert "SANDBOX" not in "".join(summary_lines(summary))


def test_times_are_those_of_the_person_and_the_zone_is_named_once(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zone without letters is named by its distance."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    shown = "\n".join(drawn(snapshot, 80))
    assert shown.count("CET") == 1
    assert "10:00:00" in shown
    monkeypatch.setenv("TZ", "Asia/Ho_Chi_Minh")
    time.tzset()
    assert "newest clips (times in UTC+07:00)" in drawn(snapshot, 80)


def test_a_terminal_without_unicode_gets_ascii(snapshot: Snapshot) -> None:
    """``LANG=C``: the picture is drawn from letters that the terminal has."""
    assert "".join(drawn(snapshot, 100, plain=True)).isascii()


@pytest.mark.parametrize("width", [20, 40, 79, 80, 99, 100, 200])
def test_no_line_is_longer_than_the_terminal(snapshot: Snapshot, width: int) -> None:
    """Long names, wide characters and numbers of a hundred thousand jobs are cut or wrapped, never spilled."""
    reason = NeedsAttention("凧" * 90, State.FAILED, "很" * 200)
    many = replace(
        snapshot,
        counts=dict.fromkeys(State, 123456),
        needs_person=(reason,) * 8,
        newest=tuple(replace(clip, path="凧/" * 60) for clip in snapshot.newest),
        money=Money(123_456_789_012, 1_000_050, 999_999_999_999, 12),
    )
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    rendered = console.render_lines(panel(many, "m" * 150, width=width), pad=False)
    assert max(sum(segment.cell_length for segment in line) for line in rendered) <= width


def test_no_colours_when_the_person_wants_none(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is heeded; the states differ by character too."""
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    view = LiveView(Screen(console_on(stream, width=100, force_terminal=True)), manifest="m.yaml")
    view.stats(snapshot)
    view.close()
    assert "\x1b[3" not in stream.getvalue().replace("\x1b[?25", "")
    assert "█" in stream.getvalue()


def test_at_most_four_pictures_a_second_are_drawn(snapshot: Snapshot) -> None:
    """However often the runner tells."""

    class Counting(io.StringIO):
        pictures = 0

        def write(self, text: str, /) -> int:
            self.pictures += text.count("in flight")
            return super().write(text)

    stream = Counting()
    calm = replace(snapshot, needs_person=())
    view = LiveView(Screen(console_on(stream, width=100, force_terminal=True)), manifest="jobs/night.yaml")
    for tick in range(1000):
        view.stats(replace(calm, elapsed_s=tick / 100))
    assert 36 <= stream.pictures <= 40
    view.close()


def test_the_end_leaves_the_last_picture_the_summary_and_a_cursor(snapshot: Snapshot, summary: Summary) -> None:
    """Also a snapshot that came too soon to be drawn; commands stay whole, to be copied; stderr is given back."""
    stream = io.StringIO()
    before = sys.stderr
    view = LiveView(Screen(console_on(stream, width=80, force_terminal=True)), manifest="jobs/night.yaml")
    view.stats(snapshot)
    view.stats(replace(snapshot, elapsed_s=730.1, submits_per_min=7.7))
    view.note("a word\x1b[2J nobody listed")
    view.summary(summary)
    view.close()
    shown = stream.getvalue()
    assert "7.7/min" in shown
    last = shown[shown.rindex("7.7/min") :]
    assert last.count("day/kite-") == 4, "the picture that stays is a small one"
    assert "in_progress" not in last
    assert "a word nobody listed" in shown
    assert "      If the dashboard shows this task, run  batchvid adopt jobs/night.yaml kite-7 TASK_ID\n" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "Exit 4: " in shown.splitlines()[-1]
    assert sys.stderr is before


def test_a_run_without_a_single_snapshot_still_has_a_summary(summary: Summary) -> None:
    """Nothing to do is over before the first picture."""
    stream = io.StringIO()
    LiveView(Screen(console_on(stream, width=100, force_terminal=True)), manifest="m.yaml").summary(summary)
    assert "Exit 4: " in stream.getvalue()


@given(numbers=st.lists(st.integers(0, 10**6), max_size=8), cells=st.integers(0, 200))
def test_a_bar_is_divided_exactly_and_hides_nothing(numbers: list[int], cells: int) -> None:
    """The parts fill the bar; what is there is seen while there is room; what is not there is not; more is not less."""
    found = shares(numbers, cells)
    assert sum(found) == (cells if any(numbers) else 0)
    assert all(part >= 0 for part in found)
    assert not any(part for part, number in zip(found, numbers, strict=True) if number == 0)
    if cells >= sum(number > 0 for number in numbers):
        assert all(part for part, number in zip(found, numbers, strict=True) if number)
