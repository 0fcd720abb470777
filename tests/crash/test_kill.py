"""The process dies, or the disk fails, at every single effect of a run, one after the other; then it is run again.

The run has jobs of every kind that makes a difference: text, a pair of frames, one whose first task fails, one that is
throttled, one whose URL expires, one without a URL. After each death the next run must find what is paid.
"""

from __future__ import annotations

import itertools
import random
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.errors import BatchvidError, Exit
from batchvid.domain.job import State
from batchvid.domain.limits import Rate
from batchvid.journal.sqlite import SqliteStore
from batchvid.media.images import read_frame
from batchvid.sandbox.render import tiny_clips
from tests.crash.fuse import DiskTrouble, Fuse, Kill, wired
from tests.run.bench import QUICK, Bench, job, quick_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchvid.domain.job import Job
    from batchvid.sandbox.tasks import ClipOrder

LIMITS = replace(QUICK, in_flight=3, submits=Rate(60, 60), requests=Rate(20, 1), typical_time_s=30.0)
RULES: list[dict[str, Any]] = [
    {"on": "create", "prompt": "*fails-once*", "nth": 1, "fail": "blocked"},
    {"on": "create", "prompt": "*throttled*", "nth": 1, "status": 429, "headers": {"retry-after": "2"}},
    {"on": "file", "prompt": "*expires*", "nth": 1, "expire": True},
    {"on": "file", "prompt": "*text*", "nth": 1, "cut_at": 0.5},
]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """Return the jobs of every run."""
    folder = tmp_path_factory.mktemp("frames")
    frames = []
    for colour in ("red", "blue"):
        Image.new("RGB", (64, 36), colour).save(folder / f"{colour}.png")
        frames.append(read_frame(folder / f"{colour}.png"))
    return [
        job("text"),
        job("pair", frames=frames),
        job("fails-once"),
        job("throttled"),
        job("expires"),
        job("no-url", model="veo3.1-pro"),
    ]


@pytest.fixture(autouse=True)
def _same_jitter() -> None:
    random.seed(11)


@pytest.fixture
def quick() -> Iterator[Path]:
    """Return a folder in memory."""
    with quick_folder() as folder:
        yield folder


class CodedAnew:
    """Clips whose bytes are others at every request: what arrives twice must never be mixed or taken for the same."""

    def __init__(self) -> None:
        self._times = itertools.count(1)

    def __call__(self, order: ClipOrder) -> bytes:
        """Return the clip with another box of padding behind it."""
        return tiny_clips(order) + struct.pack(">I4sI", 12, b"free", next(self._times))


def place(folder: Path) -> Bench:
    """Return a bench for the jobs."""
    return Bench(folder, RULES, clips=CodedAnew())


def run_into(fuse: Fuse, bench: Bench, wanted: list[Job]) -> None:
    """Run until the end, or until the fuse ends it."""
    with wired(fuse, bench):
        try:
            bench.run(wanted, LIMITS, checked=False)
        except BatchvidError:
            assert fuse.blown
        except BaseException:  # the death or the disk that the test made; whatever else is raised again
            if not (isinstance(fuse, Kill) and fuse.blown):
                raise


def recover(bench: Bench, wanted: list[Job]) -> None:
    """Run again, undisturbed, and check every promise; and once more, which must change nothing."""
    bench.now += 5
    summary = bench.run(wanted, LIMITS)
    doubtful = [row.job_id for row in bench.rows().values() if row.state is State.IN_DOUBT]
    assert summary.exit_code is (Exit.IN_DOUBT if doubtful else Exit.OK), summary
    assert summary.counts[State.DONE] == len(wanted) - len(doubtful)
    assert len(doubtful) <= 1, "one request at a time was under way"
    for one in wanted:
        assert one.id in doubtful or (bench.folder / one.path).exists()
    leftovers = {path.name for path in bench.folder.iterdir()} - {one.path for one in wanted}
    leftovers -= {path.name for path in bench.folder.glob("*.json")}
    assert leftovers <= {".batchvid", "clips.jsonl", ".batchvid-probe"}, leftovers
    bought, calls = bench.bought(), len(bench.service.calls)
    bench.run(wanted, LIMITS)
    assert bench.bought() == bought
    assert len(bench.service.calls) == calls


def test_a_death_before_any_effect_loses_no_clip_and_buys_none_twice(quick: Path, wanted: list[Job]) -> None:
    """For n = 1, 2, 3 … the process dies just before its n-th effect, until a run gets through."""
    n, blown = 0, True
    while blown:
        n += 1
        bench, fuse = place(quick / f"kill-{n}"), Kill(n)
        run_into(fuse, bench, wanted)
        blown = fuse.blown
        recover(bench, wanted)
    assert n > 200


def test_a_death_in_the_run_that_recovers_is_no_worse(quick: Path, wanted: list[Job]) -> None:
    """Dying again at any point of the recovery, drawn at random, changes none of the promises."""
    chance = random.Random(5)  # noqa: S311 a fixed sample
    for n in range(30):
        bench = place(quick / f"twice-{n}")
        for _ in range(2):
            bench.now += 5
            run_into(Kill(chance.randrange(1, 120)), bench, wanted)
        recover_after_deaths(bench, wanted)


def recover_after_deaths(bench: Bench, wanted: list[Job]) -> None:
    """Run again after several deaths, each of which may have left one job in doubt."""
    bench.now += 5
    summary = bench.run(wanted, LIMITS)
    assert summary.exit_code in {Exit.OK, Exit.IN_DOUBT}
    assert summary.counts[State.DONE] + summary.counts[State.IN_DOUBT] == len(wanted)
    assert summary.counts[State.IN_DOUBT] <= 2


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_a_disk_that_fails_at_any_effect_loses_no_clip_and_buys_none_twice(
    quick: Path,
    wanted: list[Job],
    for_ever: bool,  # noqa: FBT001 a table
) -> None:
    """The n-th change of the disk fails, for every n, once or from then on; the next run has room."""
    n, blown = 1, True
    while blown:
        bench, fuse = place(quick / f"disk-{n}"), DiskTrouble(n, for_ever=for_ever)
        run_into(fuse, bench, wanted)
        blown = fuse.blown
        recover(bench, wanted)
        n += 1
    assert n > 120


def rejected(folder: Path, wanted: list[Job]) -> tuple[Bench, set[bytes]]:
    """Return a bench whose clips are all there and rejected, and the clips."""
    bench = place(folder)
    bench.run(wanted, LIMITS)
    old = {bench.clip(one.path) for one in wanted}
    said = [Decision(one.id, bench.row(one.id).attempt, bench.wall(), "ada", Verdict.REJECTED) for one in wanted]
    SqliteStore(bench.folder / ".batchvid" / "journal.db").decide(said)
    return bench, old


@pytest.mark.parametrize("trouble", [Kill, DiskTrouble])
def test_a_trouble_at_any_effect_of_buying_rejected_clips_buys_none_twice(
    quick: Path, trouble: type[Kill | DiskTrouble]
) -> None:
    """Each is bought once more, and the clip of before is kept, whatever ended the run."""
    wanted = [job("text"), job("expires")]
    n, blown = 0, True
    while blown:
        n += 1
        bench, old = rejected(quick / f"again-{n}", wanted)
        fuse = trouble(n)
        run_into(fuse, bench, wanted)
        blown = fuse.blown
        for _ in range(2):
            bench.now += 5
            bench.run(wanted, LIMITS)
        rows = bench.rows().values()
        doubtful = {row.job_id for row in rows if row.state is State.IN_DOUBT}
        assert all(row.state is State.DONE for row in rows if row.job_id not in doubtful), n
        assert {row.attempt for row in rows} == {2}, n
        assert set(bench.bought().values()) <= {1, 2}, n
        assert all(number == 2 for prompt, number in bench.bought().items() if not doubtful), n
        kept = {path.read_bytes() for path in bench.folder.glob("*.mp4")}
        assert old <= kept, n
    assert n > 40
