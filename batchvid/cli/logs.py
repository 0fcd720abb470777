"""``logs``: what happened, from the journal's events, one line an event; also as it happens, beside a run."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import PAST, database_option, json_option, load, manifest_argument, output_option
from batchvid.cli.output import text
from batchvid.cli.output.jsonl import event_name
from batchvid.cli.output.lines import told_of
from batchvid.cli.streams import complain, reader_has_left, tell
from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit
from batchvid.domain.job import Progress
from batchvid.domain.records import dollars, rfc3339
from batchvid.domain.text import clean
from batchvid.engine.observer import Verbosity
from batchvid.engine.target import journal_of
from batchvid.journal.base import event_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from batchvid.domain.lifecycle import KeptEvent
    from batchvid.journal.base import JournalReader
    from batchvid.manifest.model import Manifest


EVENTS_AT_ONCE = 2000
LOOKS_EVERY_S = 1.0
NOT_TOLD = frozenset({"raw", "url", "url_expires_at", "price_micros", "attempt", "by_person", "counted"})
"""Of an event in JSON: what has another name there, or may hold what opens a clip to anybody."""


@click.command("logs")
@manifest_argument
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C. Reads only.")
@click.option(
    "--since",
    type=PAST,
    metavar="2h|22:00",
    help="Begin so long ago, at the last such time of day (local), or at a moment such as 2026-01-31T22:00:00.",
)
@output_option
@database_option
@json_option
def logs_command(
    manifest: Path,
    *,
    ids: tuple[str, ...],
    follow: bool,
    since: float | None,
    output: str | None,
    database: str | None,
    as_json: bool,
) -> int:
    """Show what happened to the jobs, of all or of these IDs: sent, paid, saved, failed, one line an event.

    Times are local; with --json they are UTC. Works beside a running run.
    """
    loaded = load(manifest, output=output, database=database)
    told = _json_line if as_json else _Lines().line
    if not as_json:
        complain(f"times in {text.zone(time.time())}")
    with suppress(KeyboardInterrupt):
        _tell(loaded, ids, told, since=since, follow=follow)
    return Exit.OK


def _tell(
    manifest: Manifest, ids: tuple[str, ...], told: Callable[[KeptEvent], str], *, since: float | None, follow: bool
) -> None:
    store = journal_of(manifest)
    while (journal := store.read()) is None:
        if not follow:
            complain("nothing was ever run into this output")
            return
        if reader_has_left():
            return
        time.sleep(LOOKS_EVERY_S)
    with journal:
        _check(ids, manifest, journal)
        wanted, after = frozenset(ids), _before(journal, since)
        while True:
            # A reader may stop reading for hours (| less): what is read is whole, and holds nothing of the journal.
            found = list(islice(journal.events(ids[0] if len(ids) == 1 else None, after=after), EVENTS_AT_ONCE))
            after = found[-1].seq if found else after
            lines = [told(event) for event in found if not wanted or event.job_id in wanted]
            if lines:
                tell("\n".join(lines))
            if len(found) < EVENTS_AT_ONCE:
                if not follow or reader_has_left():
                    return
                time.sleep(LOOKS_EVERY_S)


def _check(ids: Collection[str], manifest: Manifest, journal: JournalReader) -> None:
    """Refuse an id that neither the manifest nor the journal knows."""
    named = {job.id for job in manifest.jobs}
    for job_id in ids:
        if job_id not in named and journal.progress(job_id) is None:
            raise click.UsageError(f"neither the manifest nor its journal has a job {clean(job_id, text.ID_SHOWN)!r}")


def _before(journal: JournalReader, since: float | None) -> int:
    """Return the number of the last event before that moment; 0 for all."""
    if since is None:
        return 0
    return next((event.seq for event in journal.events(newest_first=True) if event.at < since), 0)


class _Lines:
    """Words for people. What was said of an attempt at its beginning is told again with its end."""

    def __init__(self) -> None:
        self._attempts: dict[str, Progress] = {}

    def line(self, kept: KeptEvent) -> str:
        """Return an event's line."""
        row = self._attempts.get(kept.job_id, Progress.fresh(kept.job_id))._replace(attempt=kept.attempt)
        event = event_of(kept)
        match event:
            case life.SubmitStarted():
                row = row._replace(price_micros=event.price_micros, submitted_at=None)
            case life.SubmitAccepted():
                row = row._replace(submitted_at=kept.at)
            case life.ClipSaved():
                row = row._replace(finished_at=kept.at)
        if isinstance(event, life.ClipSaved | life.GaveUp):
            self._attempts.pop(kept.job_id, None)
        else:
            self._attempts[kept.job_id] = row
        word, what = (_plain(kept.kind), "") if event is None else _words(event, row)
        name = text.job_name(kept.job_id)
        return f"{text.local_moment(kept.at)}  {word:<9}  {f'{name}: {what}' if what else name}"


def _words(event: life.Event, row: Progress) -> tuple[str, str]:
    return told_of(event, row, Verbosity.VERBOSE) or (_plain(type(event).__name__), "")


def _plain(kind: str) -> str:
    return event_name(kind).replace("_", " ")


def _json_line(kept: KeptEvent) -> str:
    told: dict[str, Any] = {
        "type": "event",
        "at": rfc3339(kept.at),
        "id": kept.job_id,
        "attempt": kept.attempt,
        "event": event_name(kept.kind),
    }
    if "price_micros" in kept.data:
        told["price"] = dollars(kept.data["price_micros"])
    return json.dumps(told | {name: value for name, value in kept.data.items() if name not in NOT_TOLD})
