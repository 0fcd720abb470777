"""Makes films of finished clips: those whose clips are all there, and that are not made of them already.

A film never endangers a clip: it is made when the paid work is over, beside its place, and one that cannot be made
is a line of the summary and exit code 3, nothing more. The next run, or ``batchvid films``, tries again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from batchvid.core.film import FilmReport, FilmState, missing, recipe
from batchvid.edge.clip_files import ForeignFileError
from batchvid.edge.disk import settled
from batchvid.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from pathlib import Path

    from batchvid.core.film import Film
    from batchvid.core.job import Progress
    from batchvid.edge.outputs import Outputs


async def make_films(
    films: Iterable[Film],
    progress: Mapping[str, Progress],
    outputs: Outputs,
    *,
    say: Callable[[str], None],
    is_stopped: Callable[[], bool],
) -> AsyncIterator[FilmReport]:
    """Yield how each film stands, after making it where that is possible; *progress* is the journal's, by job id.

    Once *is_stopped* says so, nothing more is made, and what is half made goes.
    """
    for film in films:
        try:
            yield await _made(film, progress, outputs, say=say, is_stopped=is_stopped)
        except (ForeignFileError, StorageError) as error:
            yield FilmReport(film, FilmState.FAILED, str(error))


def film_reports(films: Iterable[Film], progress: Mapping[str, Progress], folder: Path) -> list[FilmReport]:
    """Give how each film stands, by a look at its sidecar and size: nothing is read of it, made or changed."""
    return [_seen(film, progress, folder) for film in films]


def _seen(film: Film, progress: Mapping[str, Progress], folder: Path) -> FilmReport:
    from batchvid.edge.film_files import FilmFile  # noqa: PLC0415 as below

    if reason := missing(film, progress):
        return FilmReport(film, FilmState.WAITING, reason)
    try:
        current = FilmFile(folder, film.path).is_current(recipe(film, progress), full=False)
    except (ForeignFileError, StorageError) as error:
        return FilmReport(film, FilmState.FAILED, str(error))
    return FilmReport(film, FilmState.DONE) if current else FilmReport(film, FilmState.DUE, "its clips are there")


async def _made(  # noqa: PLR0911 one return a way in which it can stand
    film: Film,
    progress: Mapping[str, Progress],
    outputs: Outputs,
    *,
    say: Callable[[str], None],
    is_stopped: Callable[[], bool],
) -> FilmReport:
    from batchvid.edge.film_files import FilmFile  # noqa: PLC0415 PyAV is heavy, and only films need it
    from batchvid.edge.join import NotJoinedError, StoppedError  # noqa: PLC0415 as above

    if reason := missing(film, progress):
        return FilmReport(film, FilmState.WAITING, reason)
    wanted = recipe(film, progress)
    file = FilmFile(outputs.folder, film.path)
    if await settled(partial(file.is_current, wanted, full=True)):
        await settled(file.tidy)
        return FilmReport(film, FilmState.DONE)
    if is_stopped():
        return FilmReport(film, FilmState.DUE, "the run was stopped before")
    rows = [progress[job_id] for job_id in film.clips]
    if reason := await _damage(rows, outputs):
        return FilmReport(film, FilmState.FAILED, reason)
    say(f"film {film.id}: joining {len(rows)} clips")
    parts = [outputs.folder / (row.path or "") for row in rows]
    try:
        joined = await settled(
            partial(file.make, parts, {"id": film.id, **wanted}, mode=outputs.clip_mode, is_stopped=is_stopped)
        )
    except StoppedError:
        return FilmReport(film, FilmState.DUE, "the run was stopped while it was being joined")
    except NotJoinedError as error:
        return FilmReport(film, FilmState.FAILED, str(error))
    how = f"coded again, because its clips differ in {joined.difference}" if joined.difference else "without loss"
    say(f"film {film.id}: {film.path}, {len(rows)} clips joined {how}")
    return FilmReport(film, FilmState.MADE, how)


async def _damage(rows: Iterable[Progress], outputs: Outputs) -> str:
    """Say which clip is not the one that the journal knows; nothing when all are."""
    for row in {row.job_id: row for row in rows}.values():
        size_bytes, sha256 = row.size_bytes or 0, row.sha256 or ""
        trouble = await outputs.check(row.path or "", size_bytes=size_bytes, sha256=sha256, full=True)
        if trouble is not None:
            return f"its clip {row.path} {trouble}: batchvid verify MANIFEST --repair fetches it again, at no price"
    return ""
