"""Downloads clips as a run does it, stage and all, and prints the seconds that the transfers took."""

from __future__ import annotations

import argparse
import asyncio
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from batchvid.domain.task import Fault
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.http import Service
from batchvid.storage import part as hashing
from batchvid.storage.download import download
from batchvid.storage.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.providers.response import Response


class NoHash:
    """Stands where the SHA-256 does, to see what that costs."""

    def update(self, block: object) -> None:
        """Do nothing."""

    def hexdigest(self) -> str:
        """Return a number that is none."""
        return "0" * 64


async def fetch(urls: list[str], folder: Path, *, at_once: int) -> float:
    """Download every clip, and give the seconds."""
    store = LocalStore(folder)
    store.prepare()
    waiting: Iterator[tuple[int, str]] = iter(enumerate(urls))

    def refused(response: Response) -> Fault:
        return CometAPI().read_refused_download(response, now=time.time())

    async def work() -> None:
        for number, url in waiting:
            async with store.part(f"{number}.mp4", source=f"task_{number}") as part:
                fetch = partial(service.fetch, url)
                saved = await download(part, fetch, refused=refused, sidecar={}, wall=time.time)
            if isinstance(saved, Fault):
                raise SystemExit(str(saved))

    async with Service("http://127.0.0.1:9/v1", "sk-bench", downloads=at_once) as service:
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
        return time.monotonic() - started


def main() -> None:
    """Read the options, download and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("url", help="with {} for the number")
    parser.add_argument("files", type=int)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--no-hash", action="store_true")
    options = parser.parse_args()
    if options.no_hash:
        vars(hashing)["hashlib"] = SimpleNamespace(sha256=NoHash)
    urls = [options.url.format(number) for number in range(options.files)]
    print(asyncio.run(fetch(urls, options.folder, at_once=options.at_once)))  # noqa: T201 what it is for


if __name__ == "__main__":
    main()
