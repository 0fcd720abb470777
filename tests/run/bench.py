"""A place to run batchvid in: one output folder, one world, one clock; and the promises that hold after every run."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from dataclasses import fields as fields_of
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from batchvid.domain.fingerprint import fields, fingerprint
from batchvid.domain.history import MOVED
from batchvid.domain.job import Continuation, Job, Outcome, State
from batchvid.domain.limits import Limits, Rate, RunOptions
from batchvid.domain.task import ProviderName
from batchvid.engine import workers as runner
from batchvid.engine.context import Interrupts, RunContext
from batchvid.engine.observer import Silent
from batchvid.engine.planning import TO_RENAME
from batchvid.engine.run import run as run_session
from batchvid.journal.sqlite import SqliteStore
from batchvid.manifest.model import Manifest
from batchvid.media.mp4 import probe
from batchvid.sandbox.faults import Script, parse_rules
from batchvid.sandbox.render import instant_clips, tiny_clips
from batchvid.sandbox.world import Terms, World
from tests.run.memory import MemoryService
from tests.run.virtual import run as run_virtually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from batchvid.domain.film import Film
    from batchvid.domain.job import Attempt, Frame, Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.results import Snapshot, Summary
    from batchvid.sandbox.tasks import ClipOrder
    from batchvid.sandbox.world import Clips

STARTS_AT = 1_800_000_000.0
BASE_URL = "https://api.example.com/v1"
PRICE = 400_000
LOOK_EVERY_S = 2.0
"""How often the view is told how the run stands: less often than in earnest, because here hours are run through."""
QUICK = Limits(submits=Rate(60, 60), requests=Rate(50, 1), in_flight=8, typical_time_s=60.0)
"""Limits that are no test's subject."""


def job(
    job_id: str,
    *,
    prompt: str | None = None,
    model: str = "veo3-fast",
    size: str | None = None,
    frames: Sequence[Frame] = (),
    price: int | None = PRICE,
) -> Job:
    """Return a job; its prompt names it, unless said otherwise."""
    text = prompt or f"The clip {job_id}."
    sent = fields(prompt=text, model=model, size=size, seconds=None, form=())
    return Job(
        id=job_id,
        prompt=text,
        model=model,
        size=size,
        seconds=None,
        form=(),
        frames=tuple(frames),
        price_micros=price,
        path=f"{job_id}.mp4",
        fingerprint=fingerprint(sent, (frame.sha256 for frame in frames)),
        where="test.yaml:1",
    )


def jobs(number: int, **like: Any) -> list[Job]:
    """Return so many jobs, ``job-01`` and so on."""
    return [job(f"job-{n:02}", **like) for n in range(1, number + 1)]


@dataclass
class Watcher(Silent):
    """A view that remembers."""

    notes: list[str] = field(default_factory=list)
    events: list[tuple[str, Event]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    committed_micros: int = 0
    """The most money that was spent and held at once."""
    at_event: Callable[[str, Event], None] | None = None

    def event(self, job_id: str, event: Event, progress: Progress) -> None:  # noqa: ARG002 a view is told more than this one keeps
        """Remember it."""
        self.events.append((job_id, event))
        if self.at_event is not None:
            self.at_event(job_id, event)

    def stats(self, snapshot: Snapshot) -> None:
        """Remember the pace and the money."""
        self.shares.append(snapshot.slowed_to)
        money = snapshot.money
        self.committed_micros = max(self.committed_micros, money.spent_micros + money.reserved_micros)

    def note(self, text: str) -> None:
        """Remember it."""
        self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)


class Bench:
    """Runs manifests against one world, one after the other, on one clock that goes on between them."""

    def __init__(
        self, folder: Path, rules: Iterable[dict[str, Any]] = (), *, clips: Clips = tiny_clips, **terms: Any
    ) -> None:
        self.folder = folder
        self.now = STARTS_AT
        self.skew_s = 0.0
        """How wrong the clock of the machine is that batchvid runs on; the service's own is always right."""
        self._loop_began: float | None = None
        script = Script(parse_rules(list(rules)))
        world = World(Terms(**terms), clips=clips, script=script, files_url="https://files.sandbox.example")
        self.service = MemoryService(world, wall=self.wall)
        self.world = world
        self.view = Watcher()
        self.interrupts = Interrupts()
        self.films: tuple[Film, ...] = ()
        self.bucket: str | None = None

    def wall(self) -> float:
        """Return the time of day, which goes as the loop's clock does."""
        if self._loop_began is None:
            return self.now
        return self.now + asyncio.get_running_loop().time() - self._loop_began

    def clock(self) -> float:
        """Return the time of day as the machine has it."""
        return self.wall() + self.skew_s

    def script(self, *rules: dict[str, Any]) -> None:
        """Let other things go wrong from now on."""
        self.world.script = Script(parse_rules(list(rules)))

    def run(
        self,
        wanted: Sequence[Job],
        limits: Limits = QUICK,
        *,
        meanwhile: Callable[[], None] | None = None,
        checked: bool = True,
        options: RunOptions | None = None,
        **asked: Any,
    ) -> Summary:
        """Run, and check what must hold after every run. *meanwhile* is called when the loop has started."""
        self.view, self.interrupts = Watcher(), Interrupts()
        context = self.context(wanted, limits, options, **asked)

        async def main() -> Summary:
            loop = asyncio.get_running_loop()
            self._loop_began = loop.time()
            try:
                if meanwhile is not None:
                    meanwhile()
                return await run_session(context)
            finally:
                self.now, self._loop_began = self.wall(), None

        try:
            with patch.object(runner, "STATS_EVERY_S", LOOK_EVERY_S):
                return run_virtually(main())
        finally:
            if checked:
                self.check()

    def context(
        self, wanted: Sequence[Job], limits: Limits = QUICK, options: RunOptions | None = None, **asked: Any
    ) -> RunContext:
        """Return what a run works with; *asked* is added to *options*."""
        manifest = Manifest(
            path=self.folder.parent / "test.yaml",
            base_url=BASE_URL,
            key_env="KEY",
            output=self.folder,
            limits=limits,
            jobs=tuple(wanted),
            films=self.films,
            bucket=self.bucket,
            provider=ProviderName(self.world.terms.provider),
        )
        return RunContext(
            manifest,
            named="test.yaml",
            options=replace(options or RunOptions(), **asked),
            observer=self.view,
            interrupts=self.interrupts,
            connect=lambda _: self.service,
            wall=self.clock,
        )

    # ---- what came of it

    @property
    def creates(self) -> list[dict[str, Any]]:
        """Every create that the service bills, oldest first."""
        found: list[dict[str, Any]] = self.world.ledger()["creates"]
        return found

    def bought(self) -> Counter[str]:
        """Count the billed creates by prompt."""
        return Counter(line["prompt"] for line in self.creates)

    def rows(self) -> dict[str, Progress]:
        """Return what the journal holds of every job."""
        journal = SqliteStore(self.folder / ".batchvid" / "journal.db").read()
        if journal is None:
            return {}
        with journal:
            return {row.job_id: row for row in journal.all_progress()}

    def row(self, job_id: str) -> Progress:
        """Return what the journal holds of one job."""
        return self.rows()[job_id]

    def attempts(self) -> dict[str, list[Attempt]]:
        """Return the paid attempts of every job."""
        journal = SqliteStore(self.folder / ".batchvid" / "journal.db").read()
        if journal is None:
            return {}
        with journal:
            return {row.job_id: list(journal.attempts(row.job_id)) for row in list(journal.all_progress())}

    def moved_since(self, seq: int) -> tuple[dict[str, str], int]:
        """Return the moves after the event with this number, old ids with new ones, and the number of the last."""
        journal = SqliteStore(self.folder / ".batchvid" / "journal.db").read()
        if journal is None:
            return {}, seq
        with journal:
            moves = list(journal.events(after=seq, kinds=[MOVED]))
            return {one.data["moved_from"]: one.job_id for one in moves}, moves[-1].seq if moves else seq

    def renaming(self) -> dict[str, str]:
        """Return the clips that are to be renamed, by their paths, with the new ones."""
        journal = SqliteStore(self.folder / ".batchvid" / "journal.db").read()
        if journal is None:
            return {}
        with journal:
            return {old: new for _, old, new in json.loads(journal.meta_get(TO_RENAME) or "[]")}

    def began_as(self) -> dict[str, str]:
        """Return the first id of each job that was moved: the bench's prompts name it."""
        journal = SqliteStore(self.folder / ".batchvid" / "journal.db").read()
        found: dict[str, str] = {}
        if journal is not None:
            with journal:
                for event in journal.events():
                    if event.kind == MOVED:
                        found.setdefault(event.job_id, event.data["moved_from"])
        return found

    def clip(self, path: str) -> bytes:
        """Return a file of the output."""
        return (self.folder / path).read_bytes()

    def check(self) -> None:
        """Check what must hold whatever has happened, once a run has opened the journal.

        At most one create a job and attempt; every task is known or its job in doubt; a final name holds the clip
        that the journal knows, whole; the key went nowhere but to the service.
        """
        rows, attempts = self.rows(), self.attempts()
        assert self.world.ledger()["violations"] == []
        known = {one.task_id for tries in attempts.values() for one in tries}
        known |= {line.task_id for line in self._orphans()}
        of_prompt: Counter[str] = Counter()
        doubtful: Counter[str] = Counter()
        began_as = self.began_as()
        for job_id, tries in attempts.items():
            prompt = f"The clip {began_as.get(job_id, job_id)}."
            of_prompt[prompt] += len(tries)
            doubtful[prompt] += sum(one.task_id is None for one in tries)
        for prompt, creates in self.bought().items():
            assert creates <= of_prompt[prompt], f"{prompt} was bought {creates} times in {of_prompt[prompt]} attempts"
        unknown = Counter(line["prompt"] for line in self.creates if line["task_id"] not in known)
        for prompt, number in unknown.items():
            assert number <= doubtful[prompt], f"{number} paid tasks of {prompt} are lost"
        for row in rows.values():
            if row.state is State.DONE:
                self._check_clip(row)
        opened = {row.job_id for row in rows.values() if row.state in {State.SUBMITTING, State.IN_DOUBT}}
        for job_id, tries in attempts.items():
            assert all(one.outcome is not Outcome.IN_DOUBT or job_id in opened for one in tries)

    def _check_clip(self, row: Progress) -> None:
        assert row.path is not None
        data = self.clip(row.path)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row.size_bytes, row.sha256)
        probe(len(data), lambda offset, length: data[offset : offset + length])

    def _orphans(self) -> list[_Orphan]:
        path = self.folder / ".batchvid" / "orphans.jsonl"
        if not path.exists():
            return []
        return [_Orphan(**json.loads(line)) for line in path.read_text().splitlines()]


@dataclass(frozen=True)
class _Orphan:
    job_id: str
    attempt: int
    task_id: str
    at: str


def small_clips(order: ClipOrder) -> bytes:
    """Return a clip of its own for each order, as `instant_clips` does, with a sixteenth of the pixels."""
    return instant_clips(replace(order, width=order.width // 4, height=order.height // 4))


@contextmanager
def quick_folder() -> Iterator[Path]:
    """Return a folder in memory where the system has such a disk: these runs sync thousands of times."""
    memory = Path("/dev/shm")  # noqa: S108 TemporaryDirectory makes a private folder in it
    with TemporaryDirectory(prefix="batchvid-test-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def changed(one: Job, prompt: str) -> Job:
    """Return the job with another content under the same id."""
    return replace(job(one.id, prompt=prompt), path=one.path)


def after(above: str, job_id: str, *, at_s: float | None = None, like: Job | None = None) -> Continuation:
    """Return a job that goes on from another's clip."""
    plain = like or job(job_id)
    values = {field.name: getattr(plain, field.name) for field in fields_of(Job)} | {"fingerprint": ""}
    return Continuation(**values, continues=above, at_s=at_s)


def chain(*ids: str) -> list[Job]:
    """Return jobs that each go on from the one before."""
    return [job(ids[0]), *(after(above, one) for above, one in pairwise(ids))]
