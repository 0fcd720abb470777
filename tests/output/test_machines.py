"""The machines of a run as every output shows them."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchvid.cli.output.jsonl import stats_json
from batchvid.cli.output.lines import PlainLines, stats_line
from batchvid.cli.output.live import panel
from batchvid.cli.output.machines import machines_json, machines_lines, parts_words
from batchvid.cli.output.metrics import MetricsFile
from batchvid.cli.output.picture import console_on
from batchvid.cli.output.summary import summary_lines
from batchvid.domain.errors import Exit
from batchvid.domain.machines import Machine, Machines, Standing
from tests.output.conftest import NINE_AM

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.results import Snapshot, Summary


@pytest.fixture
def machines() -> Machines:
    """Return three workers, one of them dead, at an account that is slowed down."""
    return Machines(
        revision=3,
        published_at=NINE_AM,
        published_by="host-1",
        is_over=False,
        waiting=4,
        taken=5,
        over=3,
        workers=(
            Machine("host-1:4711", Standing.ALIVE, 0.4, 3, 24, 80, 0, took_part=True),
            Machine("host-2:99", Standing.SILENT, 42.0, 0, 0, 0, 3, took_part=True),
            Machine("host-3:5", Standing.ALIVE, 0.6, 0, 0, 0, 0, took_part=False),
        ),
        took_part=2,
        slowed_to=0.5,
        paused_s=12.0,
        slowed_by='the service said "too fast"',
        unsure_in_a_row=0,
        doubt_s=0.0,
        halts=(),
    )


def drawn(snapshot: Snapshot, width: int) -> str:
    """Return the picture of a run."""
    stream = io.StringIO()
    console = console_on(stream, width=width, force_terminal=False)
    console.print(panel(snapshot, "m.yaml", width=width))
    return stream.getvalue()


def test_people_read_who_lives_and_who_does_not(machines: Machines) -> None:
    """With the revision, its slices, and what holds all of them back."""
    assert list(machines_lines(machines)) == [
        "Machines: revision 3, published by host-1 at 2026-03-12 09:00:00 UTC, is being worked on",
        "  2 workers, 1 not heard of; slices: 3 over, 5 taken, 4 waiting",
        "  host-1:4711  heard of 0 s ago, 3 slices, 24 in flight, 80 clips in its slices",
        "  host-2:99    not heard of for 42 s, 3 slices taken over by others",
        "  host-3:5     heard of 1 s ago, no slice, 0 clips in its slices",
        '  all are slowed to 50 %, pause 12 s: the service said "too fast"',
    ]


def test_a_halt_and_doubts_in_a_row_are_told(machines: Machines) -> None:
    """They hold for all machines."""
    stopped = replace(
        machines, slowed_to=1.0, paused_s=0.0, doubt_s=60.0, unsure_in_a_row=3, halts=("the \x1b[31mkey",)
    )
    assert list(machines_lines(stopped))[-2:] == [
        "  all wait 1 min: 3 paid requests in a row are in doubt",
        "  nothing more is submitted: the key",
    ]


def test_the_live_view_shows_the_dead_first_and_no_line_is_too_long(snapshot: Snapshot, machines: Machines) -> None:
    """Where jobs need attention, it shows one worker and counts the others."""
    calm = replace(snapshot, needs_person=(), machines=machines)
    lines = drawn(calm, 80).splitlines()
    at = next(place for place, line in enumerate(lines) if "machines   2 workers, 1 not heard of" in line)
    assert [line.split()[0] for line in lines[at + 1 : at + 4]] == ["host-2:99", "host-1:4711", "host-3:5"]
    busy = drawn(replace(snapshot, machines=machines), 80).splitlines()
    assert any("and 2 more workers" in line for line in busy)
    assert len(busy) <= 24
    for width in (20, 40, 80, 140):
        assert max(map(len, drawn(calm, width).splitlines())) <= width


def test_lines_and_summary_name_the_machines(snapshot: Snapshot, summary: Summary, machines: Machines) -> None:
    """One line of statistics, and how many took part at the end."""
    assert "; 2 workers, 1 not heard of; slices: 3 over, 5 taken, 4 waiting" in stats_line(
        replace(snapshot, machines=machines)
    )
    assert (
        "Machines: 2 workers took part in revision 3; host-2:99 was not heard of, and others took over 3 slices."
        in list(summary_lines(replace(summary, machines=machines)))
    )
    assert not any("Machines" in line for line in summary_lines(summary))
    assert list(parts_words(machines)) == [
        "host-1:4711: 80 clips",
        "host-2:99: 0 clips, 3 slices taken over by others",
    ]


def test_programs_are_told_all_of_it(snapshot: Snapshot, machines: Machines) -> None:
    """And of one machine alone nothing is added."""
    told = stats_json(replace(snapshot, machines=machines))["machines"]
    assert told["slices"] == {"waiting": 4, "taken": 5, "over": 3}
    assert told["workers"][1] == {
        "name": "host-2:99", "standing": "silent", "seen_s": 42.0, "slices": 0, "in_flight": 0, "clips": 0,
        "slices_taken_over": 3,
    }  # fmt: skip
    assert told["account"]["slowed_to"] == 0.5
    assert machines_json(None) == {}
    assert "machines" not in stats_json(snapshot)


def test_the_metrics_have_a_series_for_each_worker(
    snapshot: Snapshot, summary: Summary, machines: Machines, tmp_path: Path
) -> None:
    """Those that have left leave none behind."""
    file = MetricsFile(tmp_path / "m.prom")
    view = file.view("m.yaml")
    view.stats(replace(snapshot, machines=machines))
    found = file.text()
    for line in (
        'batchvid_revision{manifest="m.yaml"} 3',
        'batchvid_slices{manifest="m.yaml",state="taken"} 5',
        'batchvid_workers{manifest="m.yaml",standing="silent"} 1',
        'batchvid_worker_seen_seconds{manifest="m.yaml",worker="host-2:99"} 42.0',
        'batchvid_worker_in_flight_tasks{manifest="m.yaml",worker="host-1:4711"} 24',
        'batchvid_account_halted{manifest="m.yaml"} 0',
    ):
        assert line in found.splitlines()
    left = tuple(replace(one, standing=Standing.LEFT) for one in machines.workers)
    view.summary(replace(summary, machines=replace(machines, workers=left, halts=("the key",)), exit_code=Exit.ACCOUNT))
    assert "batchvid_worker_seen_seconds" not in file.text()
    assert 'batchvid_account_halted{manifest="m.yaml"} 1' in file.text().splitlines()


def test_a_slowed_account_is_told_by_lines_as_on_one_machine(snapshot: Snapshot, machines: Machines) -> None:
    """Its statistics have the pause of all."""
    stream = io.StringIO()
    PlainLines(stream).stats(replace(snapshot, slowed_to=0.5, paused_s=12.0, machines=machines))
    assert 'slowed    to 50 %, pause 12 s: the service said "too fast"' in stream.getvalue()
