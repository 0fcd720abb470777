"""What is made of finished clips: films, and the frames that other jobs begin with.

A film never endangers a clip: it is made when the paid work is over, and takes the steps of a clip's commit
(`batchvid.storage.part`). One that cannot be made is a line of the summary and exit code 3, nothing more. The next
run, or ``batchvid films``, tries again. A film is made again only when what it is made of has changed.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from batchvid.domain.errors import ForeignFileError, StorageError
from batchvid.domain.film import FilmReport, FilmState, chosen, is_film, is_made_of, missing, recipe
from batchvid.domain.job import Frame
from batchvid.media.frames import picture_of
from batchvid.media.image_metadata import PNG
from batchvid.media.mp4 import NotAClip
from batchvid.providers.credentials import quiet_coders
from batchvid.storage.fs import reason
from batchvid.storage.threads import settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from batchvid.domain.film import Film
    from batchvid.domain.job import Progress
    from batchvid.domain.takes import Take
    from batchvid.media.concat import Joined
    from batchvid.storage.base import ClipStore
    from batchvid.storage.output import Output


NO_TAKES: Mapping[str, Sequence[Take]] = {}


async def make_films(
    films: Iterable[Film],
    progress: Mapping[str, Progress],
    clips: ClipStore,
    *,
    say: Callable[[str], None],
    is_stopped: Callable[[], bool],
    takes: Mapping[str, Sequence[Take]] = NO_TAKES,
) -> AsyncIterator[FilmReport]:
    """Yield how each film stands, after making it where that is possible; *progress* is the journal's, by job id.

    *takes* are those among which films choose (`batchvid.engine.takes.takes_of_films`). Once *is_stopped* says so,
    nothing more is made, and what is half made goes.
    """
    for film in films:
        try:
            rows = chosen(film, progress, takes)
            yield await _made(film, rows, clips, say=say, is_stopped=is_stopped)
        except (ForeignFileError, StorageError) as error:
            yield FilmReport(film, FilmState.FAILED, str(error))


def film_reports(
    films: Iterable[Film],
    progress: Mapping[str, Progress],
    clips: ClipStore,
    *,
    takes: Mapping[str, Sequence[Take]] = NO_TAKES,
) -> list[FilmReport]:
    """Return how each film stands, by a look at its sidecar and size: nothing is read of it, made or changed."""
    return [_seen(film, chosen(film, progress, takes), clips) for film in films]


def _seen(film: Film, progress: Mapping[str, Progress], clips: ClipStore) -> FilmReport:
    if reason := missing(film, progress):
        return FilmReport(film, FilmState.WAITING, reason)
    told = clips.sidecar(film.path)
    if _is_current(film, clips, told, recipe(film, progress), full=False):
        return FilmReport(film, FilmState.DONE)
    if not is_film(told) and clips.is_taken(film.path):
        text = f"{film.path} is there already, and batchvid did not make it, or not as it is now: move it away"
        return FilmReport(film, FilmState.FAILED, text)
    return FilmReport(film, FilmState.DUE, "its clips are there")


def _is_current(
    film: Film, clips: ClipStore, told: Mapping[str, Any], wanted: Mapping[str, Any], *, full: bool
) -> bool:
    """Whether the film is there, made of what is *wanted*; *told* is its sidecar, and *full* reads the film."""
    if not is_film(told) or not is_made_of(told, wanted):
        return False
    return (
        clips.check(film.path, size_bytes=told.get("size_bytes", 0), sha256=told.get("sha256", ""), full=full) is None
    )


async def _made(
    film: Film,
    progress: Mapping[str, Progress],
    clips: ClipStore,
    *,
    say: Callable[[str], None],
    is_stopped: Callable[[], bool],
) -> FilmReport:
    from batchvid.media.concat import NotJoinedError, StoppedError, join

    if reason := missing(film, progress):
        return FilmReport(film, FilmState.WAITING, reason)
    wanted = recipe(film, progress)
    told = await settled(partial(clips.sidecar, film.path))
    if await settled(partial(_is_current, film, clips, told, wanted, full=True)):
        async with clips.part(film.path, source=""):  # what a crash may have left goes
            return FilmReport(film, FilmState.DONE)
    if is_stopped():
        return FilmReport(film, FilmState.DUE, "the run was stopped before")
    if trouble := await settled(partial(clips.name_trouble, film.path)):
        return FilmReport(film, FilmState.FAILED, trouble)
    rows = [progress[job_id] for job_id in film.clips]
    if damage := await _damage(rows, clips):
        return FilmReport(film, FilmState.FAILED, damage)

    def joined(target: Path) -> Joined:
        with ExitStack() as stack:
            parts = [stack.enter_context(clips.file(row.path or "")) for row in rows]
            return join(parts, target, is_stopped=is_stopped)

    quiet_coders()
    async with clips.part(film.path, source="", replaces=is_film) as part:
        say(f"film {film.id}: joining {len(rows)} clips")
        try:
            made = await part.fill(joined, size_bytes=sum(row.size_bytes or 0 for row in rows))
            await part.commit({"id": film.id, **wanted, "lossless": not made.difference})
        except StoppedError:
            return FilmReport(film, FilmState.DUE, "the run was stopped while it was being joined")
        except NotJoinedError as error:
            return FilmReport(film, FilmState.FAILED, str(error))
        except NotAClip as error:
            return FilmReport(film, FilmState.FAILED, f"what came of joining its clips {error}")
    how = f"re-encoded: {made.why}" if made.difference else "without loss"
    say(f"film {film.id}: {film.path}, joined {len(rows)} clips ({how})")
    return FilmReport(film, FilmState.MADE, how)


async def _damage(rows: Iterable[Progress], clips: ClipStore) -> str:
    """Return which clip is not the one that the journal knows; nothing when all are."""
    for row in {row.job_id: row for row in rows}.values():
        check = partial(clips.check, row.path or "", size_bytes=row.size_bytes or 0, sha256=row.sha256 or "", full=True)
        if trouble := await settled(check):
            return f"its clip {row.path} {trouble}: batchvid verify MANIFEST --repair fetches it again, free"
    return ""


class ClipNotUsableError(Exception):
    """The clip is not the file that the journal says it is, so nothing of it may be sent; the text says what it is."""


def take_still(output: Output, clip: Progress, at_s: float | None, name: str) -> Frame:
    """Extract a frame of a finished *clip*, and keep it as *name* in the state folder. Blocks.

    The clip is opened once: compared with the journal's size and SHA-256, and then decoded. Raises
    `ClipNotUsableError` when it is another file, `ValueError` when it shows no such frame, and `StorageError` when
    the frame cannot be written.
    """
    try:
        with output.clips.open(clip.path or "") as file:
            if file.seek(0, os.SEEK_END) != clip.size_bytes:
                raise ClipNotUsableError("has another size than the journal says")
            file.seek(0)
            if hashlib.file_digest(file, "sha256").hexdigest() != clip.sha256:  # type: ignore[arg-type]
                raise ClipNotUsableError("was changed since it was saved")
            file.seek(0)
            picture = picture_of(file, at_s=at_s)
    except FileNotFoundError:
        raise ClipNotUsableError("is missing") from None
    except OSError as error:
        raise ClipNotUsableError(f"cannot be read: {reason(error)}") from None
    path = output.state.keep_frame(name, picture.png)
    sha256, size_bytes = hashlib.sha256(picture.png).hexdigest(), len(picture.png)
    return Frame(str(path), sha256, size_bytes, PNG, picture.width, picture.height)
