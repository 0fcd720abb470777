"""Which task may be given to which job: nothing that is another's, nothing for a job that was never paid for."""

from __future__ import annotations

import pytest

from batchvid.domain.doubts import Adoption, KnownJobs, has_it, mistakes, refusal, scruples
from batchvid.domain.job import Progress, State
from batchvid.domain.task import Fault, FaultKind, Phase, TaskReport

ROWS = {
    "doubt": Progress("doubt", State.IN_DOUBT, attempt=1),
    "other": Progress("other", State.IN_DOUBT, attempt=1),
    "left": Progress("left", State.RUNNING, attempt=1, task_id="t-left"),
    "right": Progress("right", State.RUNNING, attempt=2, task_id="t-right"),
    "lost": Progress("lost", State.FAILED, attempt=1, task_id="t-lost"),
    "done": Progress("done", State.DONE, attempt=1, task_id="t-done"),
    "new": Progress("new", State.PENDING),
}
OWNERS = {f"t-{name}": name for name in ("left", "right", "lost", "done")} | {"t-first": "right"}
NEWEST = {name: row.task_id for name, row in ROWS.items() if row.attempt}
KNOWN = KnownJobs(ROWS, {*ROWS, "fresh"}, "m.yaml", OWNERS.get, NEWEST)


def wrong(*pairs: tuple[str, str]) -> list[str]:
    """Return what is wrong with these adoptions, each a job and a task."""
    return [text for _, text in mistakes([Adoption(job, task) for job, task in pairs], KNOWN)]


@pytest.mark.parametrize("job", ["doubt", "left", "lost", "done"])
def test_a_task_that_nobody_has_may_be_given_to_every_job_that_was_paid_for(job: str) -> None:
    """In doubt, wrongly adopted, lost, done."""
    assert wrong((job, "t-new")) == []


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("doubt", "t-left")], "belongs to job 'left' already"),
        ([("right", "t-first")], "is that of an earlier attempt"),
        ([("new", "t-new")], "was never paid for in this output"),
        ([("fresh", "t-new")], "was never paid for in this output"),
        ([("nobody", "t-new")], "m.yaml and its journal have no job 'nobody'"),
        ([("doubt", "..")], "that is no task id"),
        ([("doubt", "two words")], "that is no task id"),
        ([("doubt", "t-1"), ("doubt", "t-2")], "job 'doubt' is named more than once"),
        ([("doubt", "t-1"), ("other", "t-1")], "task t-1 is named more than once"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(pairs: list[tuple[str, str]], words: str) -> None:
    """Each line that takes part in it is named."""
    found = wrong(*pairs)
    assert len(found) == len(pairs)
    assert all(words in text for text in found)


def test_two_jobs_may_exchange_their_tasks_only_together() -> None:
    """What a person mixed up can be put right; taking a task from a job that keeps it cannot be."""
    assert wrong(("left", "t-right"), ("right", "t-left")) == []
    assert len(wrong(("left", "t-right"))) == 1
    assert len(wrong(("left", "t-right"), ("right", "t-right"))) == 2


def test_a_job_that_goes_on_with_its_task_has_it_and_one_that_gave_up_does_not() -> None:
    """The same id given again to a failed job opens it again."""
    assert has_it(Adoption("left", "t-left"), KNOWN)
    assert has_it(Adoption("done", "t-done"), KNOWN)
    assert not has_it(Adoption("lost", "t-lost"), KNOWN)
    assert wrong(("lost", "t-lost")) == []


def test_the_service_forbids_only_what_it_does_not_know() -> None:
    """Of a failed task, and of a job that is done, a person is asked twice."""
    one = Adoption("doubt", "t-new")
    unknown = Fault(FaultKind.UNKNOWN_TASK, "task_not_exist")
    failed = TaskReport(Phase.FAILED, "failed", None, None, None, None, "moderated")
    running = TaskReport(Phase.RUNNING, "running", 5.0, None, None, None, None)
    assert "does not know task t-new" in (refusal(one, unknown) or "")
    assert [refusal(one, said) for said in (failed, running, None)] == [None] * 3
    assert [len(list(scruples(one, ROWS["doubt"], said))) for said in (failed, running, None)] == [1, 0, 0]
    assert [len(list(scruples(one, ROWS["done"], said))) for said in (failed, running, None)] == [2, 1, 1]
