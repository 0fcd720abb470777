"""``logs``, ``list`` and ``status`` of several: a person, a pipe and a program each read what they can use."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.project import command, ended, read_until

if TYPE_CHECKING:
    from tests.cli.project import Project

MOMENT = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")


@pytest.fixture
def mixed(project: Project) -> Project:
    """Return two manifests that were run: clips, a failure, a doubt."""
    project.manifest("kite", "doomed", "unsure", attempts="1", budget="5.00")
    assert project.batchvid("run", "m.yaml").code == 4
    project.manifest("gull", "gull", name="n.yaml", budget="5.00")
    assert project.batchvid("run", "n.yaml").code == 0
    return project


def test_what_happened_is_told_line_by_line_in_plain_words(mixed: Project) -> None:
    """In local time, whose zone is named once; the price and the time that it took included."""
    ran = mixed.batchvid("logs", "m.yaml", "job-1", TZ="Asia/Tokyo")
    assert (ran.code, ran.err) == (0, "times in JST\n")
    lines = ran.out.splitlines()
    assert all(MOMENT.match(line) for line in lines)
    told = [MOMENT.sub("", line) for line in lines]
    assert told[0] == "sending    job-1: attempt 1"
    assert re.fullmatch(r"submitted  job-1: attempt 1 for \$0\.40, task task_\w+", told[1])
    assert told[2] == "ready      job-1"
    assert re.fullmatch(r"saved      job-1: job-1\.mp4, [\d.]+ kB, \d+ s after it was submitted", told[3])
    utc = mixed.batchvid("logs", "m.yaml", "job-1", TZ="UTC").out.splitlines()
    assert utc[0][11:13] != lines[0][11:13], "nine hours apart"


def test_several_jobs_and_all_jobs_are_told_in_the_order_of_time(mixed: Project) -> None:
    """And an id that nobody knows is refused."""
    everything = mixed.batchvid("logs", "m.yaml").out.splitlines()
    some = mixed.batchvid("logs", "m.yaml", "job-1", "job-2").out.splitlines()
    assert some == [line for line in everything if "job-3" not in line]
    assert any("failed     job-2: the prompt was refused" in line for line in some)
    assert sum("in doubt   job-3: attempt 1 may have been paid" in line for line in everything) == 1
    assert [line[:19] for line in everything] == sorted(line[:19] for line in everything)
    ran = mixed.batchvid("logs", "m.yaml", "job-9")
    assert ran.code == 2
    assert "neither the manifest nor its journal has a job 'job-9'" in ran.err


def test_programs_get_one_object_an_event(mixed: Project) -> None:
    """In UTC, and without what would open a clip to anybody."""
    told = mixed.batchvid("logs", "m.yaml", "job-1", "--json", TZ="Asia/Tokyo").told
    assert [one["event"] for one in told] == ["submit_started", "submit_accepted", "task_succeeded", "clip_saved"]
    assert {one["type"] for one in told} == {"event"}
    assert all(one["at"].endswith("Z") for one in told)
    assert told[0]["price"] == 0.4
    assert told[3]["path"] == "job-1.mp4"
    assert not any("url" in one for one in told)


def test_since_leaves_out_what_was_before(mixed: Project) -> None:
    """A length of time, a time of day, a moment; anything else is answered with what to write."""
    assert mixed.batchvid("logs", "m.yaml", "--since", "1h").out == mixed.batchvid("logs", "m.yaml").out
    later = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 60))
    assert mixed.batchvid("logs", "m.yaml", "--since", later).out == ""
    soon = time.strftime("%H:%M", time.localtime(time.time() + 120))
    assert mixed.batchvid("logs", "m.yaml", "--since", soon).out != "", "that time of yesterday"
    ran = mixed.batchvid("logs", "m.yaml", "--since", "soon")
    assert (ran.code, "write 2h, 22:00 or 2026-01-31T22:00:00" in ran.err) == (2, True)


def test_logs_follow_a_run_and_end_with_ctrl_c(project: Project) -> None:
    """They begin before anything was ever run, and go on with each event."""
    project.manifest("kite")
    process = project.start("logs", "m.yaml", "-f")
    assert project.batchvid("run", "m.yaml").code == 0
    assert "job-1.mp4" in read_until(process, "saved")
    process.send_signal(signal.SIGINT)
    ran = ended(process)
    assert (ran.code, "Traceback" in ran.err) == (0, False)


def test_logs_that_follow_end_when_nobody_reads_any_more(mixed: Project) -> None:
    """``| head``: also when nothing more ever happens."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        command("logs", "m.yaml", "-f"), cwd=mixed.folder, env=mixed.environment(), stdout=writer, stderr=-3
    )
    os.close(writer)
    assert os.read(reader, 10)
    os.close(reader)
    assert process.wait(20) == 0


def test_nothing_is_told_of_what_was_never_run(project: Project) -> None:
    """And that is no error."""
    project.manifest("kite")
    ran = project.batchvid("logs", "m.yaml")
    assert (ran.code, ran.out) == (0, "")
    assert "nothing was ever run" in ran.err


def test_jobs_are_listed_with_tabs_in_a_pipe(mixed: Project) -> None:
    """Always five columns: id, state, when in UTC, price, and the path or the reason."""
    rows = [line.split("\t") for line in mixed.batchvid("list", "m.yaml", TZ="Asia/Tokyo").out.splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("job-1", "done", "$0.40"),
        ("job-2", "failed", "$0.40"),
        ("job-3", "in doubt", "$0.40"),
    ]
    assert all(len(row) == 5 for row in rows)
    assert rows[0][2].endswith("Z")
    assert rows[0][4] == "job-1.mp4"
    assert "the prompt was refused" in rows[1][4]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--state", "done"], ["job-1"]),
        (["--state", "failed", "--state", "in-doubt"], ["job-2", "job-3"]),
        (["--state", "in_doubt"], ["job-3"]),
        (["--state", "deferred"], []),
        (["--only", "*-2"], ["job-2"]),
        (["--only", "job-[12]", "--state", "done"], ["job-1"]),
    ],
)
def test_a_list_is_of_what_was_asked_for(mixed: Project, arguments: list[str], wanted: list[str]) -> None:
    """By state, by name, or both; as lines and as objects."""
    ran = mixed.batchvid("list", "m.yaml", *arguments)
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == wanted
    told = mixed.batchvid("list", "m.yaml", "--json", *arguments).told
    assert [one["id"] for one in told] == wanted
    assert all(one["type"] == "job" for one in told)


def test_a_pattern_that_fits_nothing_is_told(mixed: Project) -> None:
    """A slip must not look like an empty manifest; an unknown state is answered with those that there are."""
    assert "no job's id matches --only 'kyte*'" in mixed.batchvid("list", "m.yaml", "--only", "kyte*").err
    ran = mixed.batchvid("list", "m.yaml", "--state", "gone")
    assert ran.code == 2
    assert (
        "'gone' is no state: write done, ready, running, submitting, pending, deferred, failed or in_doubt" in ran.err
    )


def test_several_manifests_are_listed_with_their_names(mixed: Project) -> None:
    """In a column before the others, and as a field."""
    lines = mixed.batchvid("list", "m.yaml", "n.yaml", "--state", "done").out.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [["m.yaml", "job-1"], ["n.yaml", "job-1"], ["n.yaml", "job-2"]]
    told = mixed.batchvid("list", "m.yaml", "n.yaml", "--json").told
    assert [one["manifest"] for one in told] == ["m.yaml"] * 3 + ["n.yaml"] * 2


def test_the_status_of_several_manifests_ends_with_their_sums(mixed: Project) -> None:
    """For people; a program gets each object as that of one manifest, and a total behind them."""
    ran = mixed.batchvid("status", "m.yaml", "n.yaml")
    assert ran.code == 0
    assert ran.out.splitlines()[-3:] == [
        "In all: 2 manifests, 5 jobs",
        "  3 done, 1 failed, 1 in doubt",
        "  $1.60 spent, $0.40 reserved, of a budget of $10.00",
    ]
    one, other, total = mixed.batchvid("status", "m.yaml", "n.yaml", "--json").told
    assert [one, other] == [mixed.batchvid("status", name, "--json").told[0] for name in ("m.yaml", "n.yaml")]
    assert total == {
        "type": "total",
        "manifests": ["m.yaml", "n.yaml"],
        "standings": dict.fromkeys(one["standings"], 0) | {"done": 3, "failed": 1, "in_doubt": 1},
        "money": {"spent": 1.6, "reserved": 0.4, "unproven": 0.0, "budget": 10.0},
    }


def test_several_manifests_can_be_watched(mixed: Project) -> None:
    """Each look tells each of them, and their sums."""
    process = mixed.start("status", "m.yaml", "n.yaml", "--watch", "--json")
    last: dict[str, Any] = json.loads(read_until(process, '"total"'))
    process.send_signal(signal.SIGINT)
    assert ended(process).code == 0
    assert last["standings"]["done"] == 3
    lines = mixed.start("status", "m.yaml", "n.yaml", "--watch")
    assert "3 done, 1 failed, 1 in doubt" in read_until(lines, "in all: ")
    lines.send_signal(signal.SIGINT)
    assert ended(lines).code == 0
