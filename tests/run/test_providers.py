"""A whole run against each service that a provider speaks to: paid once, fetched from where that service keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.task import FACTS, ProviderName
from tests.run.bench import Bench, jobs

if TYPE_CHECKING:
    from pathlib import Path

every_provider = pytest.mark.parametrize("name", list(ProviderName))


@every_provider
def test_each_job_is_paid_once_and_becomes_a_clip(tmp_path: Path, name: ProviderName) -> None:
    """Through a throttled create, a failed look and a broken transfer; a second run has nothing to do."""
    bench = Bench(
        tmp_path / "out",
        [
            {"on": "create", "nth": "2", "status": 429},
            {"on": "poll", "nth": "2", "status": 502},
            {"on": "content", "nth": "1", "cut_at": 0.5},
        ],
        provider=name,
    )
    wanted = jobs(6, model=FACTS[name].model)
    assert bench.run(wanted).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}
    assert len(bench.bought()) == 6
    again = bench.run(wanted)
    assert (again.submits, again.polls) == (0, 0)


@every_provider
def test_a_task_that_failed_is_bought_again_as_often_as_allowed(tmp_path: Path, name: ProviderName) -> None:
    """And no more; what the service says of it is told."""
    bench = Bench(tmp_path / "out", [{"on": "create", "fail": "the prompt was refused"}], provider=name)
    assert bench.run(jobs(1, model=FACTS[name].model)).exit_code is Exit.FAILED
    assert bench.bought() == {"The clip job-01.": bench.row("job-01").attempt}
    assert "the prompt was refused" in (bench.row("job-01").reason or "")


@every_provider
def test_a_create_without_an_answer_is_in_doubt_and_stays_so(tmp_path: Path, name: ProviderName) -> None:
    """It is billed, and no later run sends it again by itself."""
    bench = Bench(tmp_path / "out", [{"on": "create", "nth": "1", "reset": "after-effect"}], provider=name)
    wanted = jobs(1, model=FACTS[name].model)
    for _ in range(2):
        bench.run(wanted)
        assert bench.row("job-01").state is State.IN_DOUBT
    assert sum(bench.bought().values()) == 1


def test_a_clip_that_has_no_url_is_asked_for_at_the_first_look_that_finds_it(tmp_path: Path) -> None:
    """OpenAI names no URL, so none is waited for; the key goes to the service alone."""
    bench = Bench(tmp_path / "out", provider="openai")
    bench.run(jobs(1, model="sora-2"))
    (fetched,) = bench.service.sent("fetch")
    assert fetched.where.startswith("/videos/")
    assert fetched.where.endswith("/content")
    (task,) = bench.world.tasks.values()
    late = [call.at for call in bench.service.sent("get") if call.at > task.created_at + task.took_s]
    assert len(late) == 1
