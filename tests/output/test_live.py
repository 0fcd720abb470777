"""The live view shows at one glance how a run stands, at any width, and draws no more than it must."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from batchvid.cli.output.live import PLAIN, LiveView, Screen, console_on, panel, shares
from batchvid.domain.job import State
from batchvid.domain.results import Money, NeedsAttention

if TYPE_CHECKING:
    from batchvid.domain.results import Snapshot, Summary


def drawn(snapshot: Snapshot, width: int, *, plain: bool = False) -> list[str]:
    """Return the picture's lines, without colours."""
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    more = {"glyphs": PLAIN} if plain else {}
    console.print(panel(snapshot, "jobs/night.yaml", width=width, **more))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_picture_at_a_hundred_columns(snapshot: Snapshot) -> None:
    """Golden: progress, lanes against their limits, money, newest clips, what needs a person."""
    lines = drawn(replace(snapshot, slowed_to=0.5, paused_s=12.0), 100)
    assert lines[0] == (
        "jobs/night.yaml                                        12 min elapsed · about 1 h 13 min remaining"
    )
    assert lines[1].endswith(" 33 %")
    assert lines[2] == "█ 337 done  ▓ 3 ready  ▒ 20 running  ░ 634 pending  x 4 failed  ? 2 in doubt  (1 deferred)"
    assert lines[4:8] == [
        "submits    ━━━━━━──────  4.8/min of 10/min                    newest  day/kite-337.mp4      3.1 MB",
        "in flight  ━━━━━━━━━━━━  20 of 20                                     day/kite-336.mp4      3.1 MB",
        "downloads  ━━━━━━──────  2 of 4 · 1.4 GB                              day/kite-335.mp4      3.1 MB",
        "money      ━━━─────────  $134.80 + $8.00 reserved of $500.00          day/kite-334.mp4      3.1 MB",
    ]
    assert lines[9] == '▲ slowed to 50 %, pause 12 s: the service said "too fast"'
    assert lines[11].startswith("needs attention")
    assert lines[11].endswith("batchvid status jobs/night.yaml")
    assert lines[12:] == [
        "  in doubt  kite-7  the connection broke before an answer came",
        "  failed    dawn  the prompt was refused",
        "  and 5 more",
    ]


def test_at_eighty_columns_the_newest_clips_stand_below_the_lanes(snapshot: Snapshot) -> None:
    """Nothing that matters is lost on a small terminal, and the picture fits its 24 lines."""
    worst = replace(
        snapshot, slowed_to=0.5, paused_s=12.0, stopping="the time window has closed", slowed_by="away " * 40
    )
    lines = drawn(replace(worst, needs_person=snapshot.needs_person * 4), 80)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 23, "the cursor needs the 24th"
    assert " ".join(lines[2:4]).split("  ")[-1] == "? 2 in doubt (1 deferred)"
    assert "submits    ━━━━━━──────  4.8/min of 10/min" in lines
    assert "newest  day/kite-337.mp4                                     3.1 MB  09:00:00Z" in lines
    assert "▲ no more submits: the time window has closed" in lines


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
