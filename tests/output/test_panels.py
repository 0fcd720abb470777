"""Several runs on one terminal: a few lines for each, whatever its size."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console, Group

import batchvid
from batchvid.cli.output.live import FINE, PLAIN, LiveView, Screen, panels
from batchvid.cli.output.picture import console_on
from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.limits import Rate
from batchvid.domain.results import Money
from batchvid.engine.stats import Watching, in_all
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.results import Snapshot, Summary


def drawn(parts: list[tuple[str, Snapshot | None]], width: int, height: int = 40, *, plain: bool = False) -> list[str]:
    """Return the picture's lines, without colours."""
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    console.print(Group(*panels(parts, width=width, height=height, glyphs=PLAIN if plain else FINE)))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_what_they_come_to_together_stands_first_and_each_has_a_line(snapshot: Snapshot) -> None:
    """Golden at 80 columns: the money and the limits of all, and per manifest its share, money and trouble."""
    done = replace(snapshot, active=False, parked=0, counts={State.DONE: 12}, needs_person=(), in_flight=0)
    lines = drawn([("a.yaml", replace(snapshot, needs_person=())), ("long-name.yaml", done), ("c.yaml", None)], 80)
    assert lines[0] == "3 manifests, 1 not begun            12 min elapsed · about 1 h 13 min remaining"
    assert lines[1].endswith(" 34 %")
    assert lines[2].startswith("█ 349 done")
    assert lines[5:8] == [
        "money      ━━━─────────  $269.60 + $16.00 reserved of $1,000.00",
        "submits    ━━━━━━──────  4.8/min of 10/min",
        "in flight  ━━━━━━━━━━━━  20 of 20",
    ]
    assert lines[10:12] == [
        "a.yaml          337 of 1,000  $134.80 + $8.00 reserved of $500.00  7 need atte…",
        "long-name.yaml  12 of 12  $134.80 + $8.00 reserved of $500.00",
    ]


def test_runs_of_one_account_share_its_limits(snapshot: Snapshot) -> None:
    """Twenty in flight together are not forty, and the pace is measured once."""
    shared = replace(snapshot, account=7, is_shared_pace=True)
    one, other = (replace(shared, in_flight=number) for number in (5, 15))
    total = in_all([one, other])
    assert (total.in_flight, total.in_flight_limit) == (20, 20)
    assert (total.submits_per_min, total.submit_limit) == (4.8, Rate(10, 60))
    beside = in_all([replace(run, is_shared_pace=False) for run in (one, other)])
    assert (beside.submits_per_min, beside.submit_limit) == (9.6, Rate(10, 60)), "who watches counts for each"
    stricter = in_all([one, replace(other, in_flight_limit=6, submit_limit=Rate(2, 60))])
    assert (stricter.in_flight_limit, stricter.submit_limit) == (6, Rate(2, 60)), "whichever is named first"
    apart = in_all([one, replace(other, account=8)])
    assert (apart.in_flight_limit, apart.submit_limit) == (40, Rate(20, 60))


def test_what_was_never_run_shares_the_limits_of_its_account_too(tmp_path: Path) -> None:
    """Who watches two manifests before their first run is not promised twice of what the account may do."""
    looks = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.yaml"
        path.write_text("jobs: [{id: kite, prompt: A kite.}]\n", encoding="utf-8")
        manifest = batchvid.load(path)
        with Watching(manifest, journal_of(manifest)) as watching:
            looks.append(watching.look())
    total = in_all(looks)
    assert (total.in_flight_limit, total.submit_limit) == (20, Rate(10, 60))


def test_a_total_knows_no_more_than_its_parts(snapshot: Snapshot) -> None:
    """No budget where one has none, no estimate where one has none, and what stops only one is not said of all."""
    total = in_all([snapshot, replace(snapshot, money=Money(1), eta_s=None, stopping="the budget is reached")])
    assert (total.money.budget_micros, total.eta_s, total.stopping) == (None, None, None)
    assert total.money.spent_micros == snapshot.money.spent_micros + 1
    both = in_all([replace(snapshot, stopping="interrupted", at_most_s=at_most_s) for at_most_s in (20.0, 200.0)])
    assert (both.stopping, both.at_most_s) == ("interrupted", 200.0)


def test_a_job_that_needs_attention_is_named_with_its_manifest(snapshot: Snapshot) -> None:
    """And the command shows them all."""
    calm = replace(snapshot, needs_person=())
    lines = drawn([("a.yaml", snapshot), ("b.yaml", calm), ("c.yaml", snapshot)], 100)
    assert "  in doubt  a.yaml: kite-7  the connection broke before an answer came" in lines
    assert any(line.endswith("batchvid status a.yaml c.yaml") for line in lines)


@pytest.mark.parametrize("width", [20, 40, 80, 140])
@pytest.mark.parametrize("height", [8, 24, 40])
def test_no_picture_is_larger_than_the_terminal(snapshot: Snapshot, width: int, height: int) -> None:
    """What does not fit is counted, and those that are at work are shown before those that are over."""
    many = replace(snapshot, slowed_to=0.5, slowed_by="away " * 90)
    parts: list[tuple[str, Snapshot | None]] = [(f"over-{n}.yaml", replace(many, active=False)) for n in range(26)]
    parts += [("at-work.yaml", many), ("later.yaml", None)]
    lines = drawn(parts, width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) < height
    if width >= 40 and height >= 24:
        assert any(line.startswith("at-work.yaml") for line in lines)
        assert any(line.endswith("more manifests") for line in lines)
        assert any("$3,639.60" in line for line in lines), "the money of all"


def test_a_terminal_without_unicode_gets_ascii(snapshot: Snapshot) -> None:
    """``LANG=C``."""
    assert "".join(drawn([("a", snapshot), ("b", snapshot)], 100, plain=True)).isascii()


def test_the_cursor_comes_back_with_the_end_of_the_last_run(snapshot: Snapshot, summary: Summary) -> None:
    """A summary in between says which run it is about, and leaves the picture of the others to be drawn on."""
    stream = io.StringIO()
    screen = Screen(console_on(stream, width=100, force_terminal=True))
    one, other = (LiveView(screen, manifest=name) for name in ("a.yaml", "b.yaml"))
    one.note("submits 2 jobs")
    assert "a.yaml: submits 2 jobs" in stream.getvalue()
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
