"""A run as plain lines, for logs and pipes: one line per event that matters, one line of statistics a minute."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, TextIO

from batchvid.cli.output import text
from batchvid.cli.output.advice import command
from batchvid.cli.output.machines import FULL_PACE, workers_words
from batchvid.cli.output.summary import money_line, summary_lines
from batchvid.cli.streams import Interval, SafeStream, safe_stream
from batchvid.domain import lifecycle as life
from batchvid.domain.records import standings
from batchvid.domain.text import clean
from batchvid.engine.observer import Verbosity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchvid.domain.job import Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.results import Snapshot, Summary


STATS_EVERY_S = 60.0
SLOWED_EVERY_S = 30.0
"""A service that keeps saying "too fast" is mentioned this often at most."""


class PlainLines:
    """Writes ``HH:MM:SSZ word job: text``, in UTC. *manifest* is its name as typed, for the commands that are shown.

    With a *label*, each line says which of several manifests it is about: ``HH:MM:SSZ word label: job: text``.
    """

    def __init__(
        self,
        stream: TextIO | SafeStream | None,
        verbosity: Verbosity = Verbosity.NORMAL,
        *,
        manifest: str = "MANIFEST",
        label: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._out = safe_stream(stream)
        self._verbosity = verbosity
        self._manifest = manifest
        self._label = f"{clean(label, 200)}: " if label else ""
        self._now = now
        self._stats_interval = Interval(STATS_EVERY_S, first_at_s=STATS_EVERY_S)
        self._slowed_interval = Interval(SLOWED_EVERY_S)
        self._slowed = False
        self._stopping: str | None = None

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Write what happened to the job, when its kind matters at this verbosity."""
        told = told_of(event, progress, self._verbosity)
        if told is not None:
            word, what = told
            name = text.job_name(job_id)
            self._line(word, f"{name}: {what}" if what else name)
        if isinstance(event, life.SubmitUnsure):
            adopt = command("adopt", self._manifest, job_id, "TASK_ID")
            retry = command("retry", self._manifest, job_id, "--in-doubt")
            self._line("", f"If the dashboard shows this task, run {adopt}. If not, run {retry}")

    def stats(self, snapshot: Snapshot) -> None:
        """Write a line of statistics once a minute, and at once when the run is slowed down or stops submitting."""
        if snapshot.stopping != self._stopping:
            self._stopping = snapshot.stopping
            if snapshot.stopping:
                self._line("stopping", text.why(snapshot.stopping))
        if self._verbosity < Verbosity.NORMAL:
            return
        self._pace(snapshot)
        if self._stats_interval.due(snapshot.elapsed_s):
            self._line("stats", stats_line(snapshot))

    def note(self, text: str) -> None:
        """Write a line about the run."""
        if self._verbosity >= Verbosity.NORMAL:
            self._line("note", clean(text, 1000))

    def warn(self, text: str) -> None:
        """Write a line that must not be missed, at any verbosity."""
        self._line("warning", clean(text, 1000))

    def summary(self, summary: Summary) -> None:
        """Write how the run ended, at any verbosity."""
        if self._label:
            self._out.line(f"\n{self._label.rstrip()}")
        for line in summary_lines(summary):
            self._out.line(line)

    def close(self) -> None:
        """Send what the reader had no room for yet. The stream itself is not ours to close."""
        self._out.finish()

    def _pace(self, snapshot: Snapshot) -> None:
        slowed = is_slowed(snapshot)
        if slowed and self._slowed_interval.due(snapshot.elapsed_s):
            self._slowed = True
            self._line("slowed", slowed_text(snapshot))
        elif self._slowed and not slowed:
            self._slowed = False
            self._line("pace", "back to the allowed pace")

    def _line(self, word: str, what: str) -> None:
        self._out.line(f"{text.clock(self._now())} {word:<9} {self._label}{what}")


def is_slowed(snapshot: Snapshot) -> bool:
    """Whether the run goes slower than its limits allow, because the service asked for it or is away."""
    return snapshot.slowed_to < FULL_PACE or snapshot.paused_s > 0 or snapshot.away_s is not None


HTTP = re.compile(r"HTTP \d{3}")
CAUSE_SHOWN = 80


def away_text(snapshot: Snapshot) -> str:
    """Return since when the service has not answered, why, and when it is asked again."""
    code = HTTP.search(snapshot.away_because)
    cause = code[0] if code else clean(snapshot.away_because, CAUSE_SHOWN)
    told = f"the service has not answered for {text.duration(snapshot.away_s or 0.0)} ({cause})"
    if snapshot.next_look_s is None:
        return told
    return f"{told}; next look in {text.duration(max(1.0, snapshot.next_look_s))}"


def slowed_text(snapshot: Snapshot) -> str:
    """Return ``to 50 %, pause 12 s: the service said "too fast"``, or what else is the reason."""
    if snapshot.away_s is not None:
        return away_text(snapshot)
    parts = []
    if snapshot.slowed_to < FULL_PACE:
        parts.append(f"to {max(1, round(snapshot.slowed_to * 100))} %")
    if snapshot.paused_s >= 1:
        parts.append(f"pause {text.duration(snapshot.paused_s)}")
    return f"{', '.join(parts) or 'for a moment'}: {text.why(snapshot.slowed_by)}"


def stats_line(snapshot: Snapshot) -> str:
    """Return how the run stands, as one line."""
    parts = [
        text.state_counts(standings(snapshot)) or "no jobs",
        f"{snapshot.in_flight} of {text.room(snapshot)} in flight",
        f"{text.per_minute(snapshot.submits_per_min)} submits/min (limit {text.pace_limit(snapshot)})",
        money_line(snapshot.money),
        f"{text.duration(snapshot.elapsed_s)} elapsed" if snapshot.active else "no run is active",
    ]
    if snapshot.machines is not None:
        parts.append(workers_words(snapshot.machines))
    if (left := remaining_words(snapshot)) is not None:
        parts.append(left)
    return "; ".join(parts)


def remaining_words(snapshot: Snapshot) -> str | None:
    """Return how much longer it takes, or at most; ``None`` while that is only guessed."""
    if not snapshot.active:
        return None
    about = None if snapshot.eta_s is None or snapshot.eta_is_stated else f"about {text.duration(snapshot.eta_s)}"
    if not snapshot.stopping:
        return about and f"{about} remaining"
    if snapshot.at_most_s is None:
        return None
    is_near = about is not None and 0.0 < (snapshot.eta_s or 0.0) < snapshot.at_most_s
    return f"{f'{about}, ' if is_near else ''}{text.at_most(snapshot.at_most_s)} remaining"


QUIET, NORMAL, VERBOSE = Verbosity
TOLD: Mapping[type[Event], tuple[Verbosity, str, Callable[[Any, Progress], str]]] = {
    life.SubmitStarted: (VERBOSE, "sending", lambda event, _: f"attempt {event.attempt}"),
    life.SubmitAccepted: (
        NORMAL,
        "submitted",
        lambda event, row: f"attempt {row.attempt}{_price(row)}, {_task(event.task_id)}",
    ),
    life.SubmitRefused: (VERBOSE, "refused", lambda event, _: f"nothing was created: {text.why(event.reason)}"),
    life.SubmitUnsure: (
        QUIET,
        "in doubt",
        lambda event, row: f"attempt {row.attempt} may have been paid: {text.why(event.reason)}",
    ),
    life.TaskAdopted: (NORMAL, "adopted", lambda event, _: _task(event.task_id)),
    life.Reopened: (NORMAL, "reopened", lambda event, _: text.why(event.reason)),
    life.StillRunning: (VERBOSE, "polled", lambda event, _: f"{clean(event.status, 60)}{_percent(event)}"),
    life.PollFailed: (VERBOSE, "polled", lambda event, _: f"no usable answer: {text.why(event.reason)}"),
    life.TaskSucceeded: (VERBOSE, "ready", lambda *_: ""),
    life.TaskFailed: (NORMAL, "failing", lambda event, row: f"attempt {row.attempt} failed: {text.why(event.reason)}"),
    life.TimedOut: (QUIET, "timed out", lambda event, _: f"{text.why(event.reason)}; the next run looks again, free"),
    life.DownloadFailed: (VERBOSE, "not saved", lambda event, _: f"again soon: {text.why(event.reason)}"),
    life.UrlExpired: (VERBOSE, "not saved", lambda event, _: f"again soon: {text.why(event.reason)}"),
    life.ClipSaved: (
        NORMAL,
        "saved",
        lambda event, row: f"{clean(event.path, 300)}, {text.size(event.size_bytes)}{_took(row)}",
    ),
    life.ClipMissing: (QUIET, "missing", lambda event, _: f"{text.why(event.reason)}; it is fetched again, free"),
    life.RefusalsProven: (NORMAL, "counted", lambda event, _: text.why(event.reason)),
    life.GaveUp: (QUIET, "failed", lambda event, _: text.why(event.reason)),
}
"""From which verbosity on an event matters, its word, and what there is to say."""


def told_of(event: Event, progress: Progress, verbosity: Verbosity) -> tuple[str, str] | None:
    """Return an event's word and what there is to say; ``None`` when it does not matter at this verbosity."""
    if isinstance(event, life.DownloadFailed) and event.parked:
        return "not saved", f"{text.why(event.reason)}; the next run fetches it, free"
    matters_from, word, words = TOLD[type(event)]
    return (word, words(event, progress)) if verbosity >= matters_from else None


def _percent(event: life.StillRunning) -> str:
    return "" if event.progress_percent is None else f", {event.progress_percent:.0f} %"


def _price(progress: Progress) -> str:
    return f" for {text.money(progress.price_micros)}" if progress.price_micros is not None else ""


def _task(task_id: str) -> str:
    return f"task {clean(task_id, 100)}"


def _took(progress: Progress) -> str:
    if progress.finished_at is None or progress.submitted_at is None:
        return ""
    return f", {text.duration(progress.finished_at - progress.submitted_at)} after it was submitted"
