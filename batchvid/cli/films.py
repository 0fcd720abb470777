"""``films`` and ``frame``: what is made of finished clips, without the service."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchvid.cli.options import (
    CLIP_MOMENT,
    database_option,
    json_option,
    load,
    manifest_argument,
    output_option,
    read_journal,
    read_takes,
)
from batchvid.cli.streams import complain, tell
from batchvid.domain.errors import Exit, StorageError
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from batchvid.domain.film import FilmReport
    from batchvid.domain.job import Progress
    from batchvid.engine.context import Interrupts
    from batchvid.manifest.model import Manifest
    from batchvid.storage.base import ClipStore


@click.command("films")
@manifest_argument
@output_option
@database_option
@json_option
def films_command(manifest: Path, *, output: str | None, database: str | None, as_json: bool) -> int:
    """Join the films whose clips are all there; nothing is sent. A run does the same at its end.

    Clips of one kind are joined without loss, others are re-encoded. A film is made again only when one of its
    clips changed. Of several takes of a clip, the approved one is joined.
    """
    from batchvid.cli.output.summary import film_json, film_lines
    from batchvid.domain.film import FilmReport, FilmState, missing
    from batchvid.engine.context import Interrupts
    from batchvid.storage.output import Output

    loaded = load(manifest, output=output, database=database)
    if not loaded.films:
        complain(f"{manifest} names no films: write film: true beside a storyboard, or films:")
        return Exit.OK
    interrupts = Interrupts()
    store = journal_of(loaded)
    if store.exists():
        clips = Output.of(loaded).clips
        with store.lock():
            rows, _ = read_journal(loaded)
            reports = asyncio.run(_make(loaded, rows, clips, interrupts))
    else:
        reports = [FilmReport(film, FilmState.WAITING, missing(film, {})) for film in loaded.films]
    if as_json:
        for report in reports:
            tell(json.dumps({"type": "film", **film_json(report)}))
    else:
        for line in film_lines(reports):
            tell(line)
    if interrupts.code is not None:
        return interrupts.code
    return Exit.FAILED if any(report.state is FilmState.FAILED for report in reports) else Exit.OK


async def _make(
    manifest: Manifest, rows: dict[str, Progress], clips: ClipStore, interrupts: Interrupts
) -> list[FilmReport]:
    """Make what can be made; Ctrl-C ends it, and what is half made goes."""
    from batchvid.engine.films import make_films

    interrupts.install()
    takes = read_takes(manifest)
    films = make_films(
        manifest.films, rows, clips, say=complain, is_stopped=lambda: interrupts.code is not None, takes=takes
    )
    return [report async for report in films]


@click.command("frame")
@click.argument("clip", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--last", "which", flag_value="last", default=True, help="The last frame. This is the default.")
@click.option("--first", "which", flag_value="first", help="The first frame.")
@click.option(
    "--at",
    type=CLIP_MOMENT,
    metavar="-0.2s",
    help="The frame shown then: -0.2s before the end, 3.5s after the beginning.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE.png", help="Where to."
)
def frame_command(clip: Path, *, which: str, at: float | None, out: Path) -> int:
    """Extract one frame of CLIP, as a PNG, which loses nothing: for a clip that begins where another ends.

    A file that is there already is never overwritten.
    """
    from batchvid.media.frames import picture_of

    if out.suffix.lower() != ".png":
        raise click.UsageError(f"{out} does not end in .png, and a PNG is written")
    if at is not None and which == "first":
        raise click.UsageError("--first and --at name two frames: give one")
    try:
        picture = picture_of(clip, at_s=at if at is not None else 0.0 if which == "first" else None)
    except ValueError as error:
        raise click.UsageError(f"{clip} {error}") from None
    try:
        with out.open("xb") as file:
            file.write(picture.png)
    except FileExistsError:
        raise click.UsageError(f"{out} is there already: name another file") from None
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror}") from error
    tell(f"{out}: {picture.width}x{picture.height}, the frame at {picture.at_s:.3f} s of {clip}")
    return Exit.OK
