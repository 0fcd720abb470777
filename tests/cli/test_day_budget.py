"""``limits.budget_per_day``: what the journal says of today bounds each run, also after a crash."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.cli.project import ended, read_until

if TYPE_CHECKING:
    from tests.cli.project import Project

STOPPED = "Stopped early: the budget of this day (limits.budget_per_day, again from "
DAY_S = 86400.0


def a_day_passes(project: Project) -> None:
    """Let all that was paid have been paid a day before."""
    with closing(sqlite3.connect(project.state / "journal.db")) as db, db:
        db.execute("UPDATE attempts SET started_at = started_at - ?", (DAY_S,))


def test_a_run_stops_at_the_budget_of_the_day_and_one_of_the_next_day_goes_on(project: Project) -> None:
    """Exit 7 with the moment at which more may be spent; plan and status tell what is left."""
    project.manifest(*["kite"] * 5, budget_per_day="0.80", in_flight="1")
    planned = project.batchvid("plan", "m.yaml")
    assert "Of this day's budget $0.00 of $0.80 is used; it is $1.20 short" in planned.out
    assert "submit 5 jobs for $2.00, at most $0.80 by what may be spent" in planned.out
    assert project.batchvid("plan", "m.yaml", "--json").told[-1]["fits_budget"] is False
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 7, ran
    assert STOPPED in ran.out
    assert "Next: wait for the next day or raise limits.budget_per_day, then batchvid run m.yaml" in ran.out
    assert sum(project.creates().values()) == 2
    assert project.status()["money"] == {
        "spent": 0.8, "reserved": 0.0, "unproven": 0.0, "budget": None, "budget_per_day": 0.8, "today": 0.8,
    }  # fmt: skip
    assert "$0.80 spent, $0.80 of $0.80 for this day" in project.batchvid("status", "m.yaml").out
    again = project.batchvid("run", "m.yaml")
    assert again.code == 7, again
    assert sum(project.creates().values()) == 2
    a_day_passes(project)
    assert project.batchvid("run", "m.yaml").code == 7
    assert sum(project.creates().values()) == 4
    a_day_passes(project)
    assert project.batchvid("run", "m.yaml").code == 0
    assert sum(project.creates().values()) == 5
    assert set(project.creates().values()) == {1}


def test_a_crash_forgets_nothing_of_the_day(project: Project) -> None:
    """What was under way when the process died counts, and so does what is in doubt."""
    project.manifest("kite", "slow", "gull", "wave", budget_per_day="0.80", in_flight="2")
    run = project.start("run", "m.yaml", "--json")
    read_until(run, '"event": "clip_saved"')
    run.send_signal(signal.SIGKILL)
    ended(run)
    before = project.creates()
    ran = project.batchvid("run", "m.yaml")
    assert ran.code in {4, 7}, ran
    assert sum(project.creates().values()) <= 2, (before, project.creates())
    assert project.status()["money"]["today"] == 0.8


def test_failed_attempts_count_and_refused_ones_do_not(project: Project) -> None:
    """The service may refund what failed, and promises nothing; what it refused at once was never paid."""
    project.manifest("doomed", "hasty", "kite", budget_per_day="0.80", attempts="1", in_flight="1")
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 7, ran
    assert project.states() == {"job-1": "failed", "job-2": "done", "job-3": "pending"}


def test_a_price_that_nobody_knows_is_a_mistake_beside_it(project: Project) -> None:
    """It could be any."""
    path = project.manifest("kite", budget_per_day="0.80")
    path.write_text(path.read_text().replace("prices: {veo3-fast: 0.40}", ""))
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 65, ran
    assert "has no price, and there is a budget" in ran.err


def test_a_database_has_no_day(project: Project, url: str) -> None:
    """Each machine may have another one: it is refused before anything is sent, and says what to write."""
    project.manifest("kite", budget_per_day="0.80")
    ran = project.batchvid("run", "m.yaml", "--database", url)
    assert ran.code == 78, ran
    assert "limits.budget_per_day is for one machine" in ran.err
    assert project.creates() == {}
