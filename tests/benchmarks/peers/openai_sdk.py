"""The openai SDK as its documentation shows it, under a semaphore; ``--aiohttp`` gives it the aiohttp transport."""

from __future__ import annotations

import argparse
import asyncio
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

openai: Any = import_module("openai")  # installed in the bench's own environment only


async def one(client: Any, gate: asyncio.Semaphore, options: argparse.Namespace, job: int) -> None:
    """Make one clip."""
    async with gate:
        prompt = f"A paper kite floats above field {job}."
        video = await client.videos.create_and_poll(prompt=prompt, model="veo3-fast", size="16x9")
        content = await client.videos.download_content(video.id)
        content.write_to_file(options.output / f"{job}.mp4")


async def everything(options: argparse.Namespace) -> None:
    """Make all clips."""
    gate = asyncio.Semaphore(options.in_flight)
    transport = {"http_client": openai.DefaultAioHttpClient()} if options.aiohttp else {}
    async with openai.AsyncOpenAI(base_url=options.api, api_key=options.key, **transport) as client:
        await asyncio.gather(*(one(client, gate, options, job) for job in range(options.jobs)))


def main() -> None:
    """Read the options and work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("api")
    parser.add_argument("key")
    parser.add_argument("output", type=Path)
    parser.add_argument("jobs", type=int)
    parser.add_argument("in_flight", type=int)
    parser.add_argument("--aiohttp", action="store_true")
    warnings.simplefilter("ignore", DeprecationWarning)
    asyncio.run(everything(parser.parse_args()))


if __name__ == "__main__":
    main()
