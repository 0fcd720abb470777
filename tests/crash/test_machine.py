"""Whatever happens to an output, in whatever order, the promises about money and clips hold.

The suite does a small fixed number of walks. To search longer, with other walks every time::

    python -m pytest tests/crash/test_machine.py -k walk --hypothesis-profile=search

A walk that failed is printed as the steps that lead there. They become a plain test below, with the owner's own verbs.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from tests.crash.edits import Entry
from tests.crash.effect import DiskTroubleAt, Effect
from tests.crash.machine import Machine, same_clips
from tests.crash.owner import Owner
from tests.run.bench import quick_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

PROFILE = "search" if settings.get_current_profile_name() == "search" else "machine"


def test_no_walk_breaks_a_promise() -> None:
    """Random walks over everything that may happen, each of which must end well once all is healed."""
    run_state_machine_as_test(Machine, settings=settings.get_profile(PROFILE))


@pytest.fixture
def owner() -> Iterator[Owner]:
    """Return the owner of an output for two entries."""
    random.seed(0)
    with quick_folder() as folder:
        yield Owner(folder, same_clips, entries=[Entry("c", takes=2), Entry("b", takes=2)])


@pytest.mark.parametrize("at_s", [0.3, 0.45, 1.0, 1.35, 1.4, 1.41])
@pytest.mark.parametrize("again_after_s", [0.001, 0.05, 0.2])
def test_a_run_stopped_in_the_midst_of_a_record_counts_what_it_recorded(
    owner: Owner, at_s: float, again_after_s: float
) -> None:
    """The second Ctrl-C comes while a change is on its way to the disk: the summary says what the journal says."""
    owner.run_interrupted(at_s, again_after_s)
    owner.check()
    owner.settle()


def test_a_task_that_could_not_be_journaled_is_not_bought_again_by_a_retry(owner: Owner) -> None:
    """The person retries what is in doubt before the next run could adopt the task: the command adopts it instead."""
    owner.run(fuse=DiskTroubleAt(Effect("record", 2), for_ever=True))
    (orphan,) = owner.witness.orphans().values()
    owner.retry("--in-doubt")
    assert owner.bench.row("c").task_id == orphan
    owner.check()
    owner.settle()
    assert set(owner.bench.bought().values()) == {2}, "of each entry, its two takes"


def test_resubmitting_in_doubt_leaves_a_task_that_could_not_be_journaled(owner: Owner) -> None:
    """The same word given to a run: what is known is adopted, and only the rest is bought again."""
    owner.run(fuse=DiskTroubleAt(Effect("record", 2), for_ever=True))
    summary = owner.run(resubmit_in_doubt=True)
    assert summary is not None
    assert summary.exit_code is Exit.OK
    owner.check()
    assert set(owner.bench.bought().values()) == {2}


def test_adopting_by_hand_what_is_adopted_already_is_no_mistake(owner: Owner) -> None:
    """A run that could not journal an id prints the very command; it says so when there is nothing left to do."""
    owner.run(fuse=DiskTroubleAt(Effect("record", 2), for_ever=True))
    (orphan,) = owner.witness.orphans().values()
    assert owner.adopt_by_name("c", orphan) == Exit.OK
    assert owner.bench.row("c").state is State.RUNNING
