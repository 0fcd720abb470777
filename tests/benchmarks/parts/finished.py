"""Puts the output tree of a finished run in place: a journal that knows every job as done, and its clips on disk."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import batchvid
from batchvid.journal.sqlite import SqliteStore
from tests.benchmarks.parts.life import changes

JOBS_AT_ONCE = 5_000


def main() -> None:
    """Do it for the manifest and with the clip that are named."""
    manifest, clip = batchvid.load(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    sha256 = hashlib.sha256(clip).hexdigest()
    manifest.output.mkdir(parents=True)
    with SqliteStore(manifest.output / ".batchvid" / "journal.db").open(service=manifest.base_url) as journal:
        for first in range(0, len(manifest.jobs), JOBS_AT_ONCE):
            some = manifest.jobs[first : first + JOBS_AT_ONCE]
            journal.record(
                [
                    change
                    for job in some
                    for change in changes(
                        job.id,
                        path=job.path,
                        fingerprint=job.fingerprint,
                        price_micros=job.price_micros,
                        size_bytes=len(clip),
                        sha256=sha256,
                    )
                ]
            )
            for job in some:
                manifest.output.joinpath(job.path).write_bytes(clip)


if __name__ == "__main__":
    main()
