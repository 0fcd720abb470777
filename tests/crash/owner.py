"""The owner of an output: edits the manifest, runs it, pulls the plug, decides, and breaks things; over one bench.

What a person types is done by the real commands; what a run does is done by the real session under virtual time.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from batchvid.cli.adopt import adopt_command
from batchvid.cli.retry import retry_command
from batchvid.cli.verify import verify_command
from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.errors import BatchvidError, Exit, OutputBusyError
from batchvid.domain.job import State
from batchvid.domain.lifecycle import attempts_used
from batchvid.domain.limits import RunOptions
from batchvid.engine.api import state_of
from batchvid.engine.planning import lost_clips
from batchvid.engine.run import run as run_session
from batchvid.journal.sqlite import SqliteStore
from batchvid.manifest import load
from batchvid.media.images import read_frame
from batchvid.storage.local import LocalStore
from tests.crash.edits import LIMITS
from tests.crash.fuse import DiskTrouble, Fuse, Kill, wired
from tests.crash.promises import Wanted, Witness
from tests.run.bench import BASE_URL, Bench
from tests.run.memory import KEY, Outage
from tests.run.virtual import run as run_virtually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from batchvid.domain.job import Job, Progress
    from batchvid.domain.results import Summary
    from batchvid.manifest.model import Manifest
    from batchvid.providers.response import LostAt
    from batchvid.sandbox.world import Clips
    from tests.crash.edits import Amid, Entry

STATS_EVERY_S = 20.0
"""Nobody looks at the sums, and the clock may jump further."""
ROUNDS_AT_MOST = 6
"""Of deciding and running, until all is well: doubts and failures, tasks that never end, what they lead to."""

HELP = ["-h", "--help"]


@dataclass
class Owner:
    """Over one output. Every method that runs or decides leaves the promises to be checked by `check`."""

    folder: Path
    clips: Clips
    limits: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin, with nothing run yet."""
        for colour in ("red", "blue"):
            Image.new("RGB", (64, 36), colour).save(self.folder / f"{colour}.png")
        self.bench = Bench(self.folder / "out", clips=self.clips, speed=3.0)
        self.witness = Witness(self.bench)
        self.path = self.folder / "test.yaml"
        self._events_seen = 0

    # ---- the manifest

    def manifest(self) -> Manifest:
        """Write the manifest as it is now, and load it as every command does."""
        text = {
            "service": {"base_url": BASE_URL},
            "output": "out",
            "limits": LIMITS | self.limits,
            "jobs": [entry.written() for entry in self.entries],
        }
        self.path.write_text(json.dumps(text), encoding="utf-8")
        manifest = load(self.path, read_frame=read_frame, state_of=state_of)
        for job in manifest.jobs:
            self.witness.wants(job)
        return manifest

    # ---- runs

    def run(
        self,
        options: RunOptions | None = None,
        *,
        fuse: Fuse | None = None,
        meanwhile: Callable[[], None] | None = None,
        **asked: Any,
    ) -> Summary | None:
        """Run, and check what a run may change; ``None`` when *fuse* ended it."""
        options = replace(options or RunOptions(), **asked)
        manifest = self.manifest()
        rows, jobs = self.bench.rows(), {job.id: job for job in manifest.jobs}
        lost = frozenset(lost_clips(LocalStore(self.bench.folder), rows.values(), rows.keys()))
        wanted = Wanted(jobs, rows, options, manifest.limits, lost, self._rejected(rows, manifest.limits.attempts))
        if options.resubmit_in_doubt:
            self._give_up_doubts(wanted.jobs)
        renaming = self.bench.renaming()
        summary = None
        with self._quickly(), wired(fuse or Fuse(), self.bench):
            try:
                summary = self.bench.run(
                    manifest.jobs, manifest.limits, meanwhile=meanwhile, checked=False, options=options
                )
            except BatchvidError:
                if not (isinstance(fuse, DiskTrouble) and fuse.blown):
                    raise
            except BaseException:  # the death or the disk that the test made; whatever else is raised again
                if not (isinstance(fuse, Kill) and fuse.blown):
                    raise
        after = self.bench.rows()
        moved = self._follow_moves(wanted.rows)
        self.witness.mended(after[moved.get(job_id, job_id)] for job_id in lost)
        wanted.check_purchases(after, moved, renaming=renaming)
        if summary is not None:
            wanted.check_summary(after, summary)
        return summary

    def _follow_moves(self, before: Mapping[str, Progress]) -> dict[str, str]:
        """Return the new ids, by those before, of the jobs that were moved since this was asked last."""
        moved, self._events_seen = self.bench.moved_since(self._events_seen)
        moved |= {new: old for old, new in moved.items() if new in before}  # what nobody paid for gave its id away
        self.witness.follow(moved, before)
        return moved

    @contextmanager
    def _quickly(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("batchvid.engine.workers.STATS_EVERY_S", STATS_EVERY_S)
            patch.setattr("batchvid.storage.state.LOCK_PATIENCE_S", 0.0)
            yield

    def press(self) -> None:
        """Press Ctrl-C."""
        self.bench.interrupts.received(Exit.INTERRUPTED)

    def run_interrupted(self, at_s: float, again_after_s: float | None) -> Summary | None:
        """Run; the person presses Ctrl-C, and perhaps once more."""

        def meanwhile() -> None:
            loop = asyncio.get_running_loop()
            loop.call_later(at_s, self.press)
            if again_after_s is not None:
                loop.call_later(at_s + again_after_s, self.press)

        return self.run(meanwhile=meanwhile)

    def run_with_clock_set(self, at_s: float, by_s: float) -> Summary | None:
        """Run; somebody sets the machine's clock meanwhile."""

        def jump() -> None:
            self.bench.skew_s += by_s

        def meanwhile() -> None:
            asyncio.get_running_loop().call_later(at_s, jump)

        return self.run(meanwhile=meanwhile)

    def run_twice_at_once(self, at_s: float) -> Summary | None:
        """Run; somebody else tries to run, to retry and to adopt into the same output meanwhile, and is refused."""
        manifest = self.manifest()
        attempts: list[asyncio.Task[None]] = []
        context = self.bench.context(manifest.jobs, manifest.limits)

        async def intrude() -> None:
            with pytest.raises(OutputBusyError):
                await run_session(context)
            with pytest.raises(OutputBusyError):
                self._command(retry_command, "--failed", "--timed-out", "--in-doubt", "--yes")

        def meanwhile() -> None:
            loop = asyncio.get_running_loop()
            loop.call_later(at_s, lambda: attempts.append(loop.create_task(intrude())))

        summary = self.run(meanwhile=meanwhile)
        for attempt in attempts:
            attempt.result()
        return summary

    # ---- decisions

    def review(self, which: int, verdict: Verdict | None, *, before: int = 0) -> None:
        """Decide about a clip: of a job's newest attempt, or of one *before*."""
        rows = [row for row in self.bench.rows().values() if row.attempt > before]
        if rows:
            row = rows[which % len(rows)]
            self._decide(row.job_id, row.attempt - before, verdict)

    def _decide(self, job_id: str, attempt: int, verdict: Verdict | None) -> None:
        said = Decision(job_id, attempt, self.bench.clock(), "owner", verdict, note="look again")
        with suppress(ValueError):  # an attempt that brought no clip
            self._store.decide([said])

    def run_and_review(self, at_s: float, which: int, verdict: Verdict | None) -> Summary | None:
        """Run; somebody decides meanwhile."""

        def meanwhile() -> None:
            asyncio.get_running_loop().call_later(at_s, self.review, which, verdict)

        return self.run(meanwhile=meanwhile)

    @property
    def _store(self) -> SqliteStore:
        return SqliteStore(self.bench.folder / ".batchvid" / "journal.db")

    def _rejected(self, rows: Mapping[str, Progress], attempts: int) -> frozenset[str]:
        """Return the jobs whose newest clip is rejected, and that have an attempt left."""
        journal = self._store.read() if self._has_journal() else None
        if journal is None:
            return frozenset()
        with journal:
            said = journal.decisions()
        found = {
            job_id for (job_id, number), one in said.items() if one.is_rejection and rows[job_id].attempt == number
        }
        return frozenset(job_id for job_id in found if attempts_used(rows[job_id]) < attempts)

    def _order_again(self) -> None:
        """Reject once more what waits for that: it was opened by a rejection that was taken back since."""
        for row in self.bench.rows().values():
            if row.state is State.PENDING:
                for attempt in range(1, row.attempt + 1):
                    self._decide(row.job_id, attempt, Verdict.REJECTED)

    def retry(self, *kinds: str) -> None:
        """Reopen failed, timed-out or in-doubt jobs, by the command."""
        if not self._has_journal():
            return
        manifest = self.manifest()
        if "--in-doubt" in kinds:
            self._give_up_doubts({job.id: job for job in manifest.jobs})
        self._command(retry_command, *kinds, "--yes")

    def adopt(self) -> None:
        """Look at the dashboard, and give each job in doubt a task that is there and that nobody has."""
        if not self._has_journal():
            return
        self.manifest()
        for row, attempt in self.witness.doubts():
            tasks = self.witness.unowned(self.witness.contents[attempt.fingerprint])
            if tasks:
                self.adopt_by_name(row.job_id, tasks[0])

    def adopt_by_name(self, job_id: str, task_id: str) -> int:
        """Return a job a task, as it was told; give the exit code."""
        self.manifest()
        return self._command(adopt_command, job_id, task_id, "--offline")

    def repair(self) -> int:
        """Have damaged clips fetched again, by the command."""
        if not self._has_journal():
            return Exit.OK
        wanted = {job.id for job in self.manifest().jobs}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COMETAPI_KEY", KEY)
            patch.setattr("batchvid.engine.repair.Service", lambda *_, **__: self.bench.service)
            patch.setattr("batchvid.cli.verify.asyncio", SimpleNamespace(run=run_virtually))
            code = self._command(verify_command, "--repair")
        if code == Exit.OK:
            for row in self.bench.rows().values():
                if row.state is State.DONE and row.job_id in wanted:
                    self.witness.damaged.discard(str(row.path))
        return code

    def _has_journal(self) -> bool:
        return bool(self.entries) and (self.bench.folder / ".batchvid" / "journal.db").exists()

    def _command(self, command: Any, *arguments: str) -> int:
        before = self.bench.rows()
        with pytest.MonkeyPatch.context() as patch, self._quickly():
            patch.setattr("batchvid.cli.retry.time", SimpleNamespace(time=self.bench.clock))
            # A command keeps the names that its help had when it was first run.
            code = int(command.main([str(self.path), *arguments], standalone_mode=False, help_option_names=HELP) or 0)
        self._follow_moves(before)
        return code

    def _give_up_doubts(self, jobs: Mapping[str, Job]) -> None:
        # One of them may be under another id still.
        names, contents = {job_id.lower() for job_id in jobs}, {job.fingerprint for job in jobs.values()}
        self.witness.given_up |= {
            (row.job_id, row.attempt)
            for row, _ in self.witness.doubts()
            if row.job_id.lower() in names or row.fingerprint in contents
        }

    # ---- what happens to files

    def damage(self, which: int, how: str) -> None:
        """Delete, cut or change a clip that is done."""
        done = [row for row in self.bench.rows().values() if row.state is State.DONE and row.path is not None]
        if not done:
            return
        row = done[which % len(done)]
        assert row.path is not None
        path = self.bench.folder / row.path
        if row.path in self.witness.foreign:
            return
        data = path.read_bytes() if path.exists() else b""
        path.unlink(missing_ok=True)
        if how != "delete" and data:
            path.write_bytes(data[:-100] if how == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
        self.witness.damaged.add(row.path)
        self.witness.spoiled.add(str(row.sha256))

    def put_own_file(self, name: str) -> None:
        """Put a file of a person's own where a clip will want to be."""
        path = self.bench.folder / f"{name}.mp4"
        self.bench.folder.mkdir(exist_ok=True)
        if not path.exists() and path.name not in self.witness.damaged:
            path.write_bytes(b"a holiday film")
            self.witness.foreign[path.name] = b"a holiday film"

    def clear_away(self) -> None:
        """Take a person's own files away, and what is left of damaged clips that are not done."""
        for name in self.witness.foreign:
            (self.bench.folder / name).unlink()
        self.witness.foreign.clear()
        done = {row.path for row in self.bench.rows().values() if row.state is State.DONE}
        for name in self.witness.damaged - done:
            (self.bench.folder / str(name)).unlink(missing_ok=True)
        self.witness.damaged &= {str(path) for path in done}

    # ---- the service

    def misbehave(self, rule: dict[str, Any]) -> None:
        """Let one more thing go wrong."""
        self.rules.append(rule)
        self.bench.script(*self.rules)

    @contextmanager
    def amid(self, amid: Amid) -> Iterator[None]:
        """Let what surrounds a run come before it, and go on for as long as the block lasts."""
        for edit in amid.edits:
            edit.apply(self.entries)
        if amid.own_file is not None:
            self.put_own_file(amid.own_file)
        self.bench.script(*amid.rules, *self.rules)
        yield
        self.bench.script(*self.rules)

    def go_away(self, in_s: float, for_s: float, lost: LostAt) -> None:
        """Let the network go for a while."""
        began = self.bench.now + in_s
        self.bench.service.outages.append(Outage(began, began + for_s, lost))

    def heal(self) -> None:
        """Let everything go well again; what has become of tasks stays."""
        self.rules.clear()
        self.bench.script()
        self.bench.service.outages.clear()

    def expire_urls(self) -> None:
        """Let every URL that the service has named expire."""
        for task in self.bench.world.tasks.values():
            task.url_expires_at = 0.0

    # ---- the promises

    def check(self) -> None:
        """Check what must hold between runs."""
        if self._has_journal():
            manifest = self.manifest()
            self.witness.check(manifest.limits)

    def settle(self) -> None:
        """Heal everything, decide what is to be decided, and run until every job is a clip and a run does nothing.

        Under ``on_change: rebuy`` a job that changed while it was paid is bought again only once its clip is there.
        """
        self.heal()
        self.limits.pop("budget", None)
        self.limits.pop("breaker", None)
        summary = None
        for turn in range(ROUNDS_AT_MOST):
            self.bench.now += 60
            self.clear_away()
            self.adopt()
            self._order_again()
            self.retry("--in-doubt", "--failed", *(("--timed-out",) if turn else ()))
            calls = len(self.bench.service.calls)
            summary = self.run()
            self.check()
            assert summary is not None
            if summary.exit_code is Exit.OK and len(self.bench.service.calls) == calls:
                break
        else:
            raise AssertionError(f"it does not converge: {summary}")
        self.repair()
        self.check()
