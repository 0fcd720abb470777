"""A run as a file for Prometheus' node exporter (its textfile collector): whole at every moment, replaced in one step.

Text format 0.0.4. Counters count what this run did and begin again with the next; gauges say how things stand.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from batchvid.cli.streams import Interval
from batchvid.domain.frozen import frozen
from batchvid.domain.machines import Standing
from batchvid.domain.records import dollars, standings
from batchvid.engine.observer import Observer
from batchvid.storage.fs import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchvid.domain.errors import Exit
    from batchvid.domain.machines import Machines
    from batchvid.domain.results import Money, Snapshot, Summary


WRITE_EVERY_S = 15.0
"""Prometheus asks once in 15 to 60 seconds."""
READABLE = 0o644
"""The node exporter runs as somebody else."""
GAUGES = {
    "batchvid_jobs": "Jobs of the manifest by state, each once; parked: left for the next run.",
    "batchvid_parked_jobs": "Jobs left for the next run: tasks timed out, clips that could not be fetched.",
    "batchvid_money_spent_dollars": "What accepted attempts cost whose task is over, over all runs.",
    "batchvid_money_reserved_dollars": "What is reserved for attempts under way or in doubt.",
    "batchvid_money_budget_dollars": "The manifest's budget.",
    "batchvid_money_budget_per_day_dollars": "The manifest's budget of one day.",
    "batchvid_money_today_dollars": "What counts against the budget of this day.",
    "batchvid_in_flight_tasks": "Tasks submitted and not yet finished.",
    "batchvid_in_flight_limit_tasks": "The most tasks that may be in flight.",
    "batchvid_pace_ratio": 'Share of the allowed pace in use: below 1 after the service said "too fast".',
    "batchvid_eta_seconds": "Estimated time until the last job is done.",
    "batchvid_revision": "Number of the published manifest, in a journal that many machines share.",
    "batchvid_slices": "Slices of it by state: waiting for a worker, taken, over.",
    "batchvid_workers": "Workers by standing: alive, silent (not heard of any more), left.",
    "batchvid_worker_seen_seconds": "How long ago a worker was last heard of.",
    "batchvid_worker_slices": "Slices that a worker has.",
    "batchvid_worker_in_flight_tasks": "Tasks in flight in them.",
    "batchvid_worker_clips": "Clips that are done in the slices that a worker had last.",
    "batchvid_account_halted": "Whether no machine submits any more, for a reason that a person removes.",
    "batchvid_run_active": "Whether a run is at work: 1, or 0 when it is over.",
    "batchvid_last_run_exit_code": "Exit code of the run that is over.",
    "batchvid_last_run_timestamp_seconds": "When that run ended, in seconds since 1970.",
    "batchvid_last_run_duration_seconds": "How long that run took.",
}
COUNTERS = {
    "batchvid_submits_total": "Paid requests sent by this run.",
    "batchvid_polls_total": "Polls sent by this run.",
    "batchvid_downloaded_bytes_total": "Bytes of clips fetched by this run.",
}


@frozen
class Sample:
    """One number; *labels* come after the manifest's."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


class MetricsFile:
    """The file at *path*, which the runs of one call write together. A run never fails because of it."""

    def __init__(self, path: Path, *, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._wall = wall
        self._samples: dict[str, list[Sample]] = {}
        self.failed: str | None = None
        """Why it could not be written the last time."""

    def view(self, manifest: str) -> MetricsView:
        """Return the view that keeps one manifest's part."""
        return MetricsView(self, manifest)

    def put(self, manifest: str, samples: list[Sample]) -> None:
        """Replace one manifest's part, and write the file."""
        self._samples[manifest] = samples
        try:
            folder = os.open(self._path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                write_whole(folder, self._path.name, [self.text().encode()], mode=READABLE, durable=False)
            finally:
                os.close(folder)
            self.failed = None
        except OSError as error:
            self.failed = f"the metrics {self._path} could not be written: {error.strerror or error}"

    def ended(self, manifest: str, code: Exit) -> None:
        """Write that a run is over that has no summary: it could not begin, or its journal failed."""
        over = [Sample("batchvid_run_active", 0), *self.last(code)]
        names = {one.name for one in over}
        self.put(manifest, [*(one for one in self._samples.get(manifest, []) if one.name not in names), *over])

    def last(self, code: Exit) -> list[Sample]:
        """Return how a run ended, just now."""
        return [
            Sample("batchvid_last_run_exit_code", int(code)),
            Sample("batchvid_last_run_timestamp_seconds", self._wall()),
        ]

    def text(self) -> str:
        """Return the file's text."""
        return "".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for kind, metrics in (("gauge", GAUGES), ("counter", COUNTERS)):
            for name, meaning in metrics.items():
                of_all = ((manifest, one) for manifest, samples in self._samples.items() for one in samples)
                found = [(manifest, one) for manifest, one in of_all if one.name == name]
                if not found:
                    continue
                yield f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"
                for manifest, one in found:
                    labels = ",".join(f'{key}="{escaped(text)}"' for key, text in (("manifest", manifest), *one.labels))
                    yield f"{name}{{{labels}}} {one.value!r}\n"


class MetricsView(Observer):
    """Watches one run for the file."""

    def __init__(self, file: MetricsFile, manifest: str) -> None:
        self._file = file
        self._manifest = manifest
        self._interval = Interval(WRITE_EVERY_S)

    def stats(self, snapshot: Snapshot) -> None:
        """Write the file, every 15 seconds."""
        if not self._interval.due(snapshot.elapsed_s):
            return
        samples = [
            *_stands(snapshot),
            *_did(snapshot),
            Sample("batchvid_in_flight_tasks", snapshot.in_flight),
            Sample("batchvid_in_flight_limit_tasks", snapshot.in_flight_limit),
            Sample("batchvid_pace_ratio", snapshot.slowed_to),
            Sample("batchvid_run_active", 1),
        ]
        if snapshot.eta_s is not None:
            samples.append(Sample("batchvid_eta_seconds", snapshot.eta_s))
        self._file.put(self._manifest, samples)

    def summary(self, summary: Summary) -> None:
        """Write how the run ended."""
        samples = [
            *_stands(summary),
            *_did(summary),
            Sample("batchvid_in_flight_tasks", 0),
            Sample("batchvid_run_active", 0),
            *self._file.last(summary.exit_code),
            Sample("batchvid_last_run_duration_seconds", summary.elapsed_s),
        ]
        self._file.put(self._manifest, samples)


def _stands(run: Snapshot | Summary) -> Iterator[Sample]:
    for state, number in standings(run).items():
        yield Sample("batchvid_jobs", number, (("state", state),))
    yield Sample("batchvid_parked_jobs", run.parked)
    yield from _money(run.money)
    if run.machines is not None:
        yield from _machines(run.machines)


def _machines(found: Machines) -> Iterator[Sample]:
    yield Sample("batchvid_revision", found.revision)
    for state, number in (("waiting", found.waiting), ("taken", found.taken), ("over", found.over)):
        yield Sample("batchvid_slices", number, (("state", state),))
    for standing in Standing:
        yield Sample("batchvid_workers", found.count(standing), (("standing", standing.value),))
    for one in found.workers:
        if one.standing is not Standing.LEFT:
            name = (("worker", one.name),)
            yield Sample("batchvid_worker_seen_seconds", round(one.seen_s, 3), name)
            yield Sample("batchvid_worker_slices", one.slices, name)
            yield Sample("batchvid_worker_in_flight_tasks", one.in_flight, name)
            yield Sample("batchvid_worker_clips", one.clips, name)
    yield Sample("batchvid_account_halted", int(bool(found.halts)))


def _money(money: Money) -> Iterator[Sample]:
    yield Sample("batchvid_money_spent_dollars", dollars(money.spent_micros) or 0.0)
    yield Sample("batchvid_money_reserved_dollars", dollars(money.reserved_micros) or 0.0)
    if money.budget_micros is not None:
        yield Sample("batchvid_money_budget_dollars", dollars(money.budget_micros) or 0.0)
    if money.budget_per_day_micros is not None:
        yield Sample("batchvid_money_budget_per_day_dollars", dollars(money.budget_per_day_micros) or 0.0)
        yield Sample("batchvid_money_today_dollars", dollars(money.today_micros) or 0.0)


def _did(run: Snapshot | Summary) -> Iterator[Sample]:
    yield Sample("batchvid_submits_total", run.submits)
    yield Sample("batchvid_polls_total", run.polls)
    yield Sample("batchvid_downloaded_bytes_total", run.downloaded_bytes)


def escaped(text: str) -> str:
    """Return a label's value as the text format wants it."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n").encode("utf-8", "replace").decode()
