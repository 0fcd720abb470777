"""Asks, on a terminal, before a job without an id is bought that resembles a clip which is paid."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from batchvid.accounts import journal_path
from batchvid.commands.streams import tell

if TYPE_CHECKING:
    from batchvid.manifest.model import Manifest


def without_refused(manifest: Manifest) -> Manifest:
    """Return the manifest without the jobs that the person does not want to be bought as new ones.

    Where nobody can be asked, it is returned as it is: the run tells of them before it buys them.
    """
    if sys.stdin is None or sys.stdout is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return manifest
    from batchvid.core.chains import Chains  # noqa: PLC0415 only where somebody can be asked
    from batchvid.core.identity import advice  # noqa: PLC0415 as above
    from batchvid.edge.readings import Readings  # noqa: PLC0415 as above
    from batchvid.moving import TOLD_AT_MOST, identity_of  # noqa: PLC0415 as above
    from batchvid.views.text import count  # noqa: PLC0415 as above

    journal = Readings.open_readonly(journal_path(manifest))
    with journal or nullcontext():
        found = identity_of(manifest.jobs, Chains(manifest.jobs), journal, manifest.output) if journal else None
    if found is None or not found.resembling:
        return manifest
    for new, old in found.resembling[:TOLD_AT_MOST]:
        tell(f"{new} is new, and {advice(old)}")
    if (more := len(found.resembling) - TOLD_AT_MOST) > 0:
        tell(f"and {more:,} more, which batchvid plan lists")
    what = count(len(found.resembling), "job")
    if click.confirm(f"Buy {what} as new? Otherwise {what} will be held back, and the others go on", default=False):
        return manifest
    held = {new for new, _ in found.resembling}
    return replace(manifest, jobs=tuple(job for job in manifest.jobs if job.id not in held))
