"""``report``, and the same page at the end of a run: everything that an output holds, to look at."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import click

from batchvid.cli.options import database_option, json_option, load, manifest_argument, output_option
from batchvid.cli.report.page import PAGE, write_page
from batchvid.cli.streams import tell
from batchvid.domain.errors import BatchvidError, ConfigError, Exit
from batchvid.domain.film import FilmState
from batchvid.domain.job import State
from batchvid.domain.lifecycle import ClipSaved
from batchvid.domain.records import DEFERRED
from batchvid.domain.report import TROUBLES, FilmRow, Kept, report
from batchvid.engine.films import film_reports
from batchvid.engine.limits_file import learned_of
from batchvid.engine.observer import Observer
from batchvid.engine.planning import as_a_run_finds, lost_of
from batchvid.engine.posters import FOLDER, Posters, Wanted
from batchvid.engine.spending import money_of
from batchvid.engine.takes import takes_of_films
from batchvid.engine.target import SANDBOX, journal_of
from batchvid.providers.credentials import store_settings, without_secrets
from batchvid.storage.fs import public_mode
from batchvid.storage.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batchvid.domain.decision import Decision
    from batchvid.domain.film import FilmReport
    from batchvid.domain.job import Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.report import Report
    from batchvid.domain.results import Summary
    from batchvid.manifest.model import Manifest
    from batchvid.storage.base import ClipStore


AFTER_A_RUN_S = 2.0
"""For pictures that are not there yet when a run ends. At the pace of an account that is the last clip's; where clips
came faster than pictures, the page shows the clips themselves for the rest, until somebody asks for a report."""
ASKED_FOR_S = 900.0
"""For the pictures of a page that somebody asked for: 10,000 clips of 1080p, and then some."""


@click.command("report")
@manifest_argument
@output_option
@database_option
@json_option
def report_command(manifest: Path, *, output: str | None, database: str | None, as_json: bool) -> int:
    """Write <output>/report.html: every clip to look at, what failed and why, the night, the money.

    The page opens from disk, in any browser, without a network. A run writes it at its end; this writes it again, also
    beside a run. Pictures that are missing are made, in <output>/report_files; clips are only read.

    Of an output in a bucket, page and pictures are put there, too, and its clips play from there. The copy on this
    machine shows all but the clips themselves.
    """
    loaded = load(manifest, output=output, database=database)
    posters = posters_of(loaded)
    try:
        made, path = write_report(loaded, named=str(manifest), posters=posters, patience_s=ASKED_FOR_S)
    finally:
        posters.close()
    if as_json:
        counts = {state: made.counts.get(state, 0) for state in (*State, DEFERRED)}
        url = {} if loaded.bucket is None else {"url": f"{loaded.bucket}/{PAGE}"}
        found = {"path": str(path), **url, "jobs": len(made.rows), "counts": counts, "films": len(made.kept.films)}
        tell(json.dumps(found | {"missing": sorted(made.kept.missing)}))
    else:
        tell(f"report: {_where(loaded, path)}")
    return Exit.OK


def _where(manifest: Manifest, path: Path) -> str:
    """Return where the page is, for people."""
    return str(path) if manifest.bucket is None else f"{manifest.bucket}/{PAGE} (here, without its clips: {path})"


def posters_of(manifest: Manifest) -> Posters:
    """Return the maker of an output's pictures; it starts nothing before it is asked for one."""
    environment = without_secrets(manifest.key_env)
    if manifest.bucket is not None:  # its clips are read there
        environment |= store_settings()
    return Posters(manifest.output, bucket=manifest.bucket, mode=public_mode(), environment=environment)


class Reporter(Observer):
    """Watches a run: has a picture made of each new clip, and can write the report at its end.

    A report that cannot be written is a warning, and never the run's failure.
    """

    def __init__(self, manifest: Manifest, posters: Posters, *, observer: Observer, named: str) -> None:
        self._manifest = manifest
        self._posters = posters
        self._observer = observer
        self._named = named

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Ask for the picture of a clip that was saved, so that the end of the run need not wait for all of them."""
        super().event(job_id, event, progress)
        if isinstance(event, ClipSaved):
            self._posters.want(Wanted(event.path, event.sha256))

    async def write(self, summary: Summary) -> None:
        """Write the report of a run that did something, or that has none yet; other runs go on meanwhile."""
        did_something = summary.submits or summary.polls or summary.downloaded_bytes
        if not did_something and (self._manifest.output / PAGE).exists():
            return
        patience_s = 0.0 if summary.exit_code in {Exit.INTERRUPTED, Exit.TERMINATED} else AFTER_A_RUN_S
        try:
            _, path = await asyncio.to_thread(
                write_report, self._manifest, named=self._named, posters=self._posters, patience_s=patience_s
            )
        except (BatchvidError, OSError, ImportError, MemoryError) as error:
            self._observer.warn(f"there is no new report (the clips are safe): {str(error) or type(error).__name__}")
        else:
            self._observer.note(f"report: {_where(self._manifest, path)}")


def write_report(manifest: Manifest, *, named: str, posters: Posters, patience_s: float) -> tuple[Report, Path]:
    """Write the page; return what it says and where it is. Raises `BatchvidError` when that cannot be done."""
    from batchvid.cli.report.page import page

    made = report(manifest.jobs, _kept(manifest), run_active=journal_of(manifest).is_held())
    pictures = posters.complete(_pictures(made), patience_s=patience_s)
    written = page(
        made, name=manifest.path.stem, manifest=named, made_at=time.time(), pictures=pictures, bucket=manifest.bucket
    )
    path = write_page(manifest.output, written, mode=public_mode())
    names = [FOLDER, PAGE] if (manifest.output / FOLDER).is_dir() else [PAGE]  # a page never names what is not there
    Output.of(manifest).clips.publish(manifest.output, *names)
    return made, path


def _kept(manifest: Manifest) -> Kept:
    """Read what is on record of the manifest's output."""
    journal = journal_of(manifest).read()
    if journal is None:
        raise ConfigError(f"there is nothing to report: nothing was ever run into {manifest.place}")
    clips = Output.of(manifest).clips
    with journal:
        lost = lost_of(manifest, journal)
        progress = {row.job_id: row for row in as_a_run_finds(journal.all_progress(), lost)}
        takes = takes_of_films(manifest.films, journal, clips)
        return Kept(
            progress=progress,
            films=[_film(one, clips) for one in film_reports(manifest.films, progress, clips, takes=takes)],
            paid=list(journal.attempts()),
            troubles=list(journal.events(kinds=TROUBLES)),
            differs={one.job_id: one.data.get("differs", ()) for one in journal.events(kinds=[ClipSaved.__name__])},
            reviews=dict(_of_current(journal.decisions(), progress)),
            pace=journal.pace_changes(),
            learned=learned_of(manifest),
            missing=frozenset(lost),
            money=money_of(journal, manifest.limits),
            machines=journal.machines(),
            sandbox=journal.meta_get("service") == SANDBOX,
        )


def _of_current(
    decisions: Mapping[tuple[str, int], Decision], progress: Mapping[str, Progress]
) -> Iterator[tuple[str, Decision]]:
    for (job_id, attempt), one in decisions.items():
        row = progress.get(job_id)
        if row is not None and row.state is State.DONE and row.attempt == attempt:
            yield job_id, one


def _film(stands: FilmReport, clips: ClipStore) -> FilmRow:
    """Tell of a film what the page shows; its length and hash are known once it is there."""
    film, is_there = stands.film, stands.state is FilmState.DONE
    told = clips.sidecar(film.path) if is_there else {}
    state = stands.state.value if is_there else stands.reason
    return FilmRow(film.id, film.path, told.get("duration_s"), film.clips, state, told.get("sha256"))


def _pictures(made: Report) -> Iterator[Wanted]:
    """Yield the pictures that the page can show, the most looked at first: films, clips, frames."""
    for film in made.kept.films:
        if film.sha256 is not None:
            yield Wanted(film.path, film.sha256)
    for row in made.rows:
        known = row.progress
        if row.state == State.DONE and known.path is not None and known.sha256 is not None:
            yield Wanted(known.path, known.sha256)
    for row in made.rows:
        for frame in row.job.frames:
            yield Wanted(frame.path, frame.sha256)
