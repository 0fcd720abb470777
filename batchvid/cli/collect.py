"""``collect``: the approved clips are handed on, in a folder of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchvid.cli.options import database_option, json_option, load, manifest_argument, never_run, output_option
from batchvid.cli.output.text import count
from batchvid.cli.streams import complain, tell
from batchvid.domain.errors import Exit
from batchvid.domain.text import clean
from batchvid.engine.target import journal_of
from batchvid.manifest.templates import file_name
from batchvid.storage.output import Output

if TYPE_CHECKING:
    from batchvid.manifest.model import Manifest
    from batchvid.manifest.templates import Template

NAME = "{id}.mp4"
SHOWN = 300


@click.command("collect")
@manifest_argument
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--link/--copy",
    "link",
    default=False,
    help="Give each clip a second name (a hard link), which needs no room: do not edit it. The default is a copy.",
)
@click.option(
    "--name",
    "template",
    default=NAME,
    show_default=True,
    metavar="TEMPLATE",
    help="How the files are named; with {id}, {prompt}, {take}, {attempt}, {stars}, {model}, {size}, {index} "
    "and the job's variables. A / makes folders.",
)
@output_option
@database_option
@json_option
def collect_command(
    manifest: Path,
    folder: Path,
    *,
    link: bool,
    template: str,
    output: str | None,
    database: str | None,
    as_json: bool,
) -> int:
    """Put every approved clip into FOLDER, under a name of your choice. Run it again after the next review.

    What is there already stays; a clip that is not approved any more is taken away again. A file that this command did
    not put there, or that was changed since, is never touched: it is told, and the exit code is 8.
    """
    from batchvid.engine.collecting import Became, Folder, approved, names_of, not_there

    loaded = load(manifest, output=output, database=database)
    clips, into = Output.of(loaded).clips, folder.absolute()
    if link and loaded.bucket is not None:
        raise click.UsageError("clips in a bucket cannot be linked: leave --link out")
    if loaded.bucket is None and into.resolve() == loaded.output.resolve():
        raise click.UsageError(f"{folder} is where the clips are: name another folder")
    named = _template(template)
    journal = journal_of(loaded).read()
    if journal is None:
        raise never_run(loaded, "there is nothing to collect")
    with journal:
        takes = approved(loaded, journal, clips)
        only_here = not_there(loaded, journal, takes)
    target = Folder(into, loaded.place, clips, loaded.output if link else None, only_here)
    counts = dict.fromkeys(Became, 0)
    for one in target.collect(takes, names_of(takes, loaded.jobs, named)):
        counts[one.became] += 1
        if as_json:
            about = {} if one.take is None else {"id": one.take.job_id, "attempt": one.take.attempt}
            tell(
                json.dumps(
                    {
                        "type": "file",
                        "file": one.name,
                        "became": one.became.value,
                        **about,
                        "reason": one.reason or None,
                    }
                )
            )
        elif one.became is Became.REFUSED:
            complain(f"{clean(one.name, SHOWN)}: {clean(one.reason, SHOWN)}")
    if as_json:
        tell(json.dumps({"type": "summary", "folder": str(into), **{one.value: counts[one] for one in Became}}))
    else:
        _tell(loaded, folder, {one.value: number for one, number in counts.items()}, takes=len(takes))
    return Exit.DISK if counts[Became.REFUSED] else Exit.OK


def _template(text: str) -> Template:
    try:
        return file_name(text)
    except ValueError as error:
        raise click.UsageError(f"--name: {error}") from None


def _tell(manifest: Manifest, folder: Path, counts: dict[str, int], *, takes: int) -> None:
    if not takes:
        tell(f"No clip of {manifest.path.name} is approved: batchvid approve does that.")
    there = counts["new"] + counts["replaced"] + counts["kept"]
    told = [f"{number:,} {name}" for name, number in counts.items() if number]
    tell(f"{count(there, 'clip')} in {folder}" + (f" ({', '.join(told)})" if told else ""))
