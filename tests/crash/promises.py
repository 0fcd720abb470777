"""What must hold at every moment between two runs, whatever has happened: the promises about money and clips."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from batchvid.domain.errors import Exit
from batchvid.domain.job import Outcome, State
from batchvid.domain.lifecycle import attempts_used
from batchvid.domain.limits import InDoubt, OnChange
from batchvid.media.mp4 import probe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchvid.domain.job import Attempt, Job, Progress
    from batchvid.domain.limits import Limits, RunOptions
    from batchvid.domain.results import Summary
    from tests.run.bench import Bench

Content = tuple[str, str, tuple[str, ...]]
"""What was asked for: prompt, model, hashes of the frames."""


@dataclass
class Witness:
    """What somebody outside batchvid knows of its output: what was asked for, and what people did to it."""

    bench: Bench
    contents: dict[str, Content] = field(default_factory=dict)
    """By fingerprint: everything that any manifest ever wanted."""
    given_up: set[tuple[str, int]] = field(default_factory=set)
    """Attempts in doubt that a person chose to buy again."""
    foreign: dict[str, bytes] = field(default_factory=dict)
    """Files that a person put under a clip's name."""
    damaged: set[str] = field(default_factory=set)
    """Clips that a person deleted or changed, by path."""
    spoiled: set[str] = field(default_factory=set)
    """The hashes of the clips that were damaged."""
    saved: set[str] = field(default_factory=set)
    """The hashes of all clips that ever were done."""

    def wants(self, job: Job) -> None:
        """Record a job of a manifest."""
        self.contents[job.fingerprint] = (job.prompt, job.model, tuple(frame.sha256 for frame in job.frames))

    def doubts(self) -> list[tuple[Progress, Attempt]]:
        """Return the jobs in doubt, each with the attempt that is, if its task is not on record beside the journal."""
        attempts, orphans = self.bench.attempts(), self.orphans()
        return [
            (row, attempts[row.job_id][-1])
            for row in self.bench.rows().values()
            if row.state in {State.IN_DOUBT, State.SUBMITTING} and (row.job_id, row.attempt) not in orphans
        ]

    def orphans(self) -> dict[tuple[str, int], str]:
        """Return the task ids that could not be journaled, by job and attempt."""
        path = self.bench.folder / ".batchvid" / "orphans.jsonl"
        if not path.exists():
            return {}
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return {(line["job_id"], line["attempt"]): line["task_id"] for line in lines}

    def unowned(self, content: Content) -> list[str]:
        """Return the tasks of this content that the dashboard shows and the journal does not have."""
        known = {one.task_id for tries in self.bench.attempts().values() for one in tries}
        known |= set(self.orphans().values())
        return [
            line["task_id"] for line in self.bench.creates if _content(line) == content and line["task_id"] not in known
        ]

    def mended(self, rows: Iterable[Progress]) -> None:
        """Record that damaged clips are there again, as far as they are."""
        for row in rows:
            path = self.bench.folder / str(row.path)
            found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
            if row.state is State.DONE and found == row.sha256:
                self.damaged.discard(str(row.path))

    def follow(self, moved: Mapping[str, str], before: Mapping[str, Progress]) -> None:
        """Know what was done to jobs and clips by the ids and names that they have got."""
        self.given_up |= {(moved[job_id], attempt) for job_id, attempt in self.given_up if job_id in moved}
        rows = self.bench.rows()
        for job_id, row in before.items():
            now = rows[moved.get(job_id, job_id)]
            if row.path in self.damaged and now.path != row.path:
                self.damaged.add(str(now.path))

    # ---- the promises

    def check(self, limits: Limits) -> None:
        """Check all of them."""
        rows, attempts = self.bench.rows(), self.bench.attempts()
        assert self.bench.world.ledger()["violations"] == []
        self._money(rows, attempts, limits)
        self._doubts(rows, attempts, buys_doubts=limits.in_doubt is InDoubt.RESUBMIT)
        self._clips(rows)

    def _money(self, rows: Mapping[str, Progress], attempts: Mapping[str, list[Attempt]], limits: Limits) -> None:
        """Check that every billed create is one attempt's own, and that no task is lost."""
        every = [one for tries in attempts.values() for one in tries]
        made = Counter(self.contents[one.fingerprint] for one in every)
        nameless = Counter(self.contents[one.fingerprint] for one in every if one.task_id is None)
        known = {one.task_id for one in every}
        billed = Counter(map(_content, self.bench.creates))
        lost = Counter(_content(line) for line in self.bench.creates if line["task_id"] not in known)
        assert billed <= made, f"more was bought than attempts were made: {billed - made}"
        assert lost <= nameless, f"paid tasks that nobody knows of: {lost - nameless}"
        if limits.budget_micros is not None:
            spent = sum(one.price_micros or 0 for one in every)
            assert spent <= limits.budget_micros, f"{spent} of {limits.budget_micros} spent"
        for row in rows.values():
            assert attempts_used(row) <= limits.attempts, row
            assert [one.attempt for one in attempts[row.job_id]] == list(range(1, row.attempt + 1)), row

    def _doubts(
        self, rows: Mapping[str, Progress], attempts: Mapping[str, list[Attempt]], *, buys_doubts: bool
    ) -> None:
        """Check that an attempt without a task is in doubt and shown so, until a person says to buy again."""
        for job_id, tries in attempts.items():
            row = rows[job_id]
            for one in tries:
                newest = one.attempt == row.attempt
                if one.outcome is Outcome.IN_DOUBT:
                    assert newest, one
                    assert row.state is State.IN_DOUBT, row
                if one.task_id is not None:
                    continue
                if one.outcome is Outcome.ABANDONED:
                    assert buys_doubts or (job_id, one.attempt) in self.given_up, f"nobody gave it up: {one}"
                else:
                    assert newest, one
                    assert row.state in {State.SUBMITTING, State.IN_DOUBT}, row

    def _clips(self, rows: Mapping[str, Progress]) -> None:
        """Check that a final name is a whole clip of the journal, and that no clip that was ever done is gone."""
        owners = {f"{row.job_id}.mp4": row for row in rows.values()}
        owners |= {row.path: row for row in rows.values() if row.path is not None and row.state is State.DONE}
        renaming = self.bench.renaming()
        owners |= {renaming[row.path]: row for row in rows.values() if row.path in renaming}
        found = {path.name: path.read_bytes() for path in self.bench.folder.glob("*.mp4")}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
        for name, data in self.foreign.items():
            assert found.pop(name, None) == data, f"{name} was a person's own file"
        for row in rows.values():
            if row.state is State.DONE:
                assert row.path is not None
                assert row.sha256 is not None
                self.saved.add(row.sha256)
                under_way = renaming.get(row.path) in found  # a crash came before the journal heard of it
                assert row.path in found or row.path in self.damaged or under_way, f"{row.path} is gone"
        for name, data in found.items():
            if name in self.damaged or ".attempt-" in name:
                continue
            row = owners[name]
            probe(len(data), lambda offset, length, data=data: data[offset : offset + length])  # type: ignore[misc]
            its_own = (row.size_bytes, row.sha256) == (len(data), hashes[name])
            assert its_own or row.state is State.READY, f"{name} is nobody's: {row}"
        assert self.saved - self.spoiled <= set(hashes.values()), "a clip that was done is gone"


@dataclass(frozen=True)
class Wanted:
    """What a run was asked, and what was there before it."""

    jobs: Mapping[str, Job]
    rows: Mapping[str, Progress]
    options: RunOptions
    limits: Limits
    lost: frozenset[str]
    """Jobs that were done, and whose clips were gone or of another size."""
    rejected: frozenset[str] = frozenset()
    """Jobs whose newest clip a person had rejected, with an attempt left."""

    def check_purchases(
        self, after: Mapping[str, Progress], moved: Mapping[str, str], *, renaming: Mapping[str, str]
    ) -> None:
        """Check that the run bought only what it may, and left alone what is done, but for what it *moved*.

        *renaming* are the clips that were to get another name already.
        """
        for job_id, row in self.rows.items():
            now = after[moved.get(job_id, job_id)]
            if not self._may_buy(row, now) or not self._is_chosen(now.job_id):
                assert now.attempt == row.attempt, f"bought again: {row}, {now}"
                same = now._replace(job_id=job_id, version=row.version) if job_id in moved else now
                same = same._replace(path=row.path) if job_id in moved or row.path in renaming else same
                assert row.state is not State.DONE or same == row or job_id in self.lost, f"touched: {row}, {now}"
            if row.state in {State.DONE, State.FAILED} and now.attempt == row.attempt:
                assert now.state is not State.PENDING or now.reason != "--retry-failed", f"opened for nothing: {now}"

    def _is_chosen(self, job_id: str) -> bool:
        patterns = self.options.only
        return patterns is None or any(fnmatch(job_id, pattern) for pattern in patterns)

    def _may_buy(self, row: Progress, now: Progress) -> bool:
        job = self.jobs.get(now.job_id)
        if job is None:
            return False
        changed = row.fingerprint is not None and row.fingerprint != job.fingerprint
        match row.state:
            case State.DONE:
                rebuy = self.options.rebuy or self.limits.on_change is OnChange.REBUY
                return (changed and rebuy) or row.job_id in self.rejected
            case State.FAILED:
                return self.options.retry_failed or (changed and not row.attempt)
            case State.IN_DOUBT | State.SUBMITTING:
                adopted = now.task_id is not None  # an orphan, whose task may have failed since
                return adopted or self.options.resubmit_in_doubt or self.limits.in_doubt is InDoubt.RESUBMIT
            case _:
                return True

    def check_summary(self, after: Mapping[str, Progress], summary: Summary) -> None:
        """Check that the exit code and the sums say what the journal says."""
        chosen = [job_id for job_id in self.jobs if self._is_chosen(job_id)]
        states = [after[job_id].state if job_id in after else State.PENDING for job_id in chosen]
        assert {state: states.count(state) for state in State} == dict(summary.counts)
        if summary.exit_code is Exit.OK:
            assert set(states) <= {State.DONE}, summary
        if State.IN_DOUBT in states:
            assert summary.exit_code in {Exit.CONFIG, Exit.ACCOUNT, Exit.IN_DOUBT}, summary


def _content(line: dict[str, object]) -> Content:
    prompt, model, frames = line["prompt"], line["model"], line["frames"]
    assert isinstance(prompt, str)
    assert isinstance(model, str)
    assert isinstance(frames, list)
    return prompt, model, tuple(frames)
