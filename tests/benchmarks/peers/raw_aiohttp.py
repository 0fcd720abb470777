"""The minimal loop on aiohttp: create, poll, download, with nothing kept and nothing checked."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import aiohttp


async def one(session: aiohttp.ClientSession, gate: asyncio.Semaphore, options: argparse.Namespace, job: int) -> None:
    """Make one clip."""
    async with gate:
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("prompt", f"A paper kite floats above field {job}.")
        form.add_field("model", "veo3-fast")
        form.add_field("size", "16x9")
        async with session.post(f"{options.api}/videos", data=form) as answer:
            task = await answer.json()
        while True:
            async with session.get(f"{options.api}/videos/{task['id']}") as answer:
                task = await answer.json()
            if task["status"] == "completed":
                break
            await asyncio.sleep(options.poll_every)
        async with session.get(task["video_url"]) as answer:
            clip = await answer.read()
        options.output.joinpath(f"{job}.mp4").write_bytes(clip)


async def everything(options: argparse.Namespace) -> None:
    """Make all clips."""
    gate = asyncio.Semaphore(options.in_flight)
    connector = aiohttp.TCPConnector(limit=options.in_flight)
    headers = {"Authorization": f"Bearer {options.key}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*(one(session, gate, options, job) for job in range(options.jobs)))


def main() -> None:
    """Read the options and work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("api")
    parser.add_argument("key")
    parser.add_argument("output", type=Path)
    parser.add_argument("jobs", type=int)
    parser.add_argument("in_flight", type=int)
    parser.add_argument("--poll-every", type=float, default=1.0)
    asyncio.run(everything(parser.parse_args()))


if __name__ == "__main__":
    main()
