"""``check``: reads, expands and validates manifests, and shows whether their frames fit their clips."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import (
    database_option,
    json_option,
    load,
    manifests_argument,
    profile_option,
    safe_names_line,
    warn_of_names,
)
from batchvid.cli.output import text
from batchvid.cli.streams import tell
from batchvid.domain.errors import Exit, ManifestError
from batchvid.domain.frozen import frozen
from batchvid.domain.image_fit import ratio_of
from batchvid.domain.text import clean
from batchvid.manifest.references import suits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchvid.domain.errors import Problem
    from batchvid.domain.job import Frame
    from batchvid.manifest.model import Manifest


FRAMES_SHOWN = 20
FILE_SHOWN = 60
PLAIN_RATIO_MAX = 32
"""16:9 and 21:9 say something to people; 683:384 does not."""


@click.command("check")
@manifests_argument
@database_option
@profile_option
@json_option
def check_command(manifests: tuple[Path, ...], *, database: str | None, as_json: bool) -> int:
    """Read, expand and validate manifests, with every file and frame they name. Nothing is sent or written.

    Shows a table of the frames: what is in each file, and whether its ratio fits the clips that it is for.
    """
    problems: list[Problem] = []
    frames: list[dict[str, Any]] = []
    safe: list[dict[str, str]] = []
    for path in manifests:
        try:
            manifest = load(path, database=database, decode=True)
        except ManifestError as error:
            problems.extend(error.problems)
            continue
        uses, names = frame_uses(manifest), safe_names_line(manifest)
        warn_of_names(manifest, (job.id for job in manifest.jobs))
        if as_json:
            frames += [{"manifest": str(path)} | frame_json(use) for use in uses]
            paths = {job.id: job.path for job in manifest.jobs}
            safe += [
                {"manifest": str(path), "id": job_id, "written": written, "path": paths[job_id]}
                for job_id, written in manifest.made_safe
            ]
            continue
        tell(f"{path}: {len(manifest.jobs):,} job{'s' if len(manifest.jobs) != 1 else ''}, no problems")
        if names is not None:
            tell(f"  {names}")
        if uses:
            tell("\n".join(frame_lines(uses)))
    if as_json:
        rows = [
            {"file": one.file, "line": one.line, "column": one.column, "where": one.where, "text": one.text}
            for one in problems
        ]
        tell(json.dumps({"problems": rows, "frames": frames, "safe_names": safe}))
        return Exit.MANIFEST if problems else Exit.OK
    if problems:
        raise ManifestError(problems)
    return Exit.OK


@frozen
class FrameUse:
    """One file, as the jobs of one size use it."""

    file: str
    """Relative to the manifest's folder where it lies below."""
    frame: Frame
    size: str | None
    jobs: int

    @property
    def fits(self) -> bool | None:
        """Whether what goes out has the clip's ratio; ``None`` when the size names none."""
        ratio = ratio_of(self.size)
        return None if ratio is None else suits(self.frame, ratio)


def frame_uses(manifest: Manifest) -> list[FrameUse]:
    """Return every frame of the manifest with every size that it is used for, in the order of the jobs."""
    found = Counter((frame, job.size) for job in manifest.jobs for frame in job.frames)
    folder = f"{manifest.path.parent}{os.sep}"
    return [FrameUse(frame.path.removeprefix(folder), frame, size, jobs) for (frame, size), jobs in found.items()]


def frame_lines(uses: list[FrameUse]) -> Iterator[str]:
    """Yield the table of frames for people, of which the first twenty are shown."""
    heads = ("frame", "pixels", "ratio", "type", "bytes", "jobs", "for", "")
    rows = [heads, *map(_row, uses[:FRAMES_SHOWN])]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if len(uses) > FRAMES_SHOWN:
        yield f"  … and {len(uses) - FRAMES_SHOWN:,} more (all of them: batchvid check --json)"


def frame_json(use: FrameUse) -> dict[str, Any]:
    """Return one row of the table for programs."""
    frame = use.frame
    width, height = frame.sent_size
    return {
        "file": use.file,
        "width": frame.width,
        "height": frame.height,
        "type": frame.mime,
        "size_bytes": frame.size_bytes,
        "sha256": frame.sha256,
        "jobs": use.jobs,
        "size": use.size,
        "fits": use.fits,
        "prepared": frame.recipe or None,
        "sent_width": width,
        "sent_height": height,
    }


def _row(use: FrameUse) -> tuple[str, ...]:
    frame = use.frame
    return (
        clean(use.file, FILE_SHOWN),
        f"{frame.width}x{frame.height}",
        _ratio(frame.width, frame.height),
        frame.recoded or frame.mime.removeprefix("image/").upper(),
        text.size(frame.size_bytes),
        f"{use.jobs:,}",
        clean(use.size or "any size", FILE_SHOWN),
        _verdict(use),
    )


def _ratio(width: int, height: int) -> str:
    shared = math.gcd(width, height)
    across, down = width // shared, height // shared
    return f"{across}:{down}" if max(across, down) <= PLAIN_RATIO_MAX else f"{width / height:.2f}:1"


def _verdict(use: FrameUse) -> str:
    """Return what goes out and whether it fits."""
    fitted = use.frame.fitted
    sent = f"sent as {use.frame.mime.removeprefix('image/').upper()}" if use.frame.recoded else ""
    if fitted is not None:
        verdict = f"{fitted.fit} to {fitted.width}x{fitted.height}"
    elif use.fits is None:
        return sent or "sent as it is"
    else:
        verdict = "fits" if use.fits else "DOES NOT FIT: fit: pad or fit: crop helps"
    return f"{verdict}, {sent}" if sent else verdict
