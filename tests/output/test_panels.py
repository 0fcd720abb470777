"""Several runs on one terminal: a few lines for each, whatever its size."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from batchvid.cli.output.live import PLAIN, LiveView, Screen, console_on, panels
from batchvid.domain.errors import Exit

if TYPE_CHECKING:
    from batchvid.domain.results import Snapshot, Summary


def drawn(parts: list[tuple[str, Snapshot | None]], width: int, height: int = 40, *, plain: bool = False) -> list[str]:
    """Return the picture's lines, without colours."""
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    more = {"glyphs": PLAIN} if plain else {}
    console.print(panels(parts, width=width, height=height, **more))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_each_run_has_its_name_its_bar_its_numbers_and_its_trouble(snapshot: Snapshot) -> None:
    """Golden at 140 columns: the first run is slowed, and both have jobs that need a person."""
    lines = drawn([("a.yaml", replace(snapshot, slowed_to=0.5)), ("b.yaml", snapshot)], 140)
    assert lines[0].startswith("a.yaml ")
    assert lines[0].endswith("12 min elapsed · about 1 h 13 min remaining")
    assert lines[1].endswith(" 33 %")
    assert lines[2] == "█ 337 done  ▓ 3 ready  ▒ 20 running  ░ 634 pending  x 4 failed  ? 2 in doubt  (1 deferred)"
    assert lines[3] == '▲ slowed to 50 %: the service said "too fast"'
    assert lines[4] == "  in doubt  kite-7  the connection broke before an answer came"
    assert lines[6].startswith("b.yaml ")
    assert lines[9] == "  in doubt  kite-7  the connection broke before an answer came"


def test_where_there_is_room_pace_and_money_stand_beside_the_jobs(snapshot: Snapshot) -> None:
    """On a wide terminal."""
    lines = drawn([("a.yaml", snapshot), ("b.yaml", snapshot)], 180)
    assert lines[2].endswith("4.8/min of 10/min · 20 of 20 in flight · $134.80 + $8.00 reserved of $500.00")


@pytest.mark.parametrize("width", [20, 40, 80, 140])
@pytest.mark.parametrize("height", [8, 24, 40])
def test_no_picture_is_larger_than_the_terminal(snapshot: Snapshot, width: int, height: int) -> None:
    """What does not fit is counted, and those that are at work are shown before those that are over."""
    many = replace(snapshot, slowed_to=0.5, slowed_by="away " * 90)
    parts: list[tuple[str, Snapshot | None]] = [(f"over-{n}.yaml", replace(many, eta_s=None)) for n in range(6)]
    parts += [("at-work.yaml", many), ("later.yaml", None)]
    lines = drawn(parts, width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    assert lines[-1].startswith("and ")
    if width >= 80:
        assert any("at-work" in line for line in lines)


def test_a_terminal_without_unicode_gets_ascii(snapshot: Snapshot) -> None:
    """``LANG=C``."""
    assert "".join(drawn([("a", snapshot), ("b", snapshot)], 100, plain=True)).isascii()


def test_the_cursor_comes_back_with_the_end_of_the_last_run(snapshot: Snapshot, summary: Summary) -> None:
    """A summary in between says which run it is about, and leaves the picture of the others to be drawn on."""
    stream = io.StringIO()
    screen = Screen(console_on(stream, width=100, force_terminal=True))
    one, other = (LiveView(screen, manifest=name) for name in ("a.yaml", "b.yaml"))
    one.stats(snapshot)
    other.stats(snapshot)
    one.summary(replace(summary, exit_code=Exit.BUDGET))
    one.close()
    assert "\x1b[?25h" not in stream.getvalue()
    other.stats(replace(snapshot, elapsed_s=9000.0, submits_per_min=7.7))
    other.summary(summary)
    other.close()
    shown = stream.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert shown.index("Exit 7: ") < shown.index("Exit 4: ")
    assert "\x1b[1mb.yaml" in shown[shown.index("Exit 7: ") :]
