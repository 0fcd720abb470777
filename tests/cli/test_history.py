"""A journal that went back in time, as a person meets it: killed runs, lost files, and what each command says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.project import ended, read_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.project import Project


def lose_wal(project: Project) -> None:
    """Lose what SQLite keeps beside a journal: a cleaner took it, or a copy left it out."""
    for name in ("journal.db-wal", "journal.db-shm"):
        (project.state / name).unlink()


def lose_journal(project: Project) -> None:
    """Lose the journal itself."""
    for path in project.state.glob("journal.db*"):
        path.unlink()


def killed_while_tasks_run(project: Project) -> None:
    """Kill a run whose tasks are under way at the service."""
    project.manifest("=kite", "gull", "wave", "reef")
    run = project.start("run", "m.yaml", "--no-report")
    for _ in range(4):
        read_until(run, "submitted")
    run.kill()
    ended(run)


@pytest.mark.parametrize("lose", [lose_wal, lose_journal])
def test_a_killed_run_whose_journal_was_lost_is_gone_on_with(project: Project, lose: Callable[[Project], None]) -> None:
    """Nothing is bought twice; plan, status, doctor and run say what was found, and afterwards all is as ever."""
    killed_while_tasks_run(project)
    lose(project)
    for name in ("plan", "status"):
        looked = project.batchvid(name, "m.yaml")
        assert looked.code == 0
        assert "4 paid attempts of 4 jobs that it did not know are taken back in by the next run" in looked.err
    doctor = project.batchvid("doctor", "m.yaml")
    assert "BAD  journal   the journal had gone back in time" in doctor.out
    ran = project.batchvid("run", "m.yaml", "--no-report")
    assert ran.code == 0, ran
    assert "were taken back in" in ran.out
    assert "job-1: task " in ran.out
    assert list(project.creates().values()) == [1, 1, 1, 1]
    assert "went back" not in project.batchvid("run", "m.yaml").out
    assert not project.batchvid("plan", "m.yaml").err


def test_a_person_who_decides_hears_of_it_too(project: Project) -> None:
    """``retry`` takes the paid tasks back in before it reopens anything."""
    killed_while_tasks_run(project)
    lose_wal(project)
    retried = project.batchvid("retry", "m.yaml", "--failed")
    assert "were taken back in" in retried.err
    assert project.batchvid("run", "m.yaml").code == 0
    assert list(project.creates().values()) == [1, 1, 1, 1]
