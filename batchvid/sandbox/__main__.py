"""A sandbox alone: for a person with options on the command line, or as the child of `batchvid.sandbox.process`.

The child's options come in on standard input, and its end is the sandbox's end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from batchvid.domain.errors import ConfigError
from batchvid.sandbox.process import Options
from batchvid.sandbox.server import serve
from batchvid.sandbox.world import DIALECTS


def main() -> int:
    """Serve until standard input closes, or a signal asks to end."""
    options = _own(sys.argv[1:]) if len(sys.argv) > 1 else _given(json.loads(sys.stdin.readline()))
    troubles: list[BaseException] = []
    try:
        asyncio.run(_serve_while_wanted(options))
    except* ConfigError as group:
        troubles.extend(group.exceptions)
    if troubles:
        _say({"error": "; ".join(map(str, troubles))})
    return 1 if troubles else 0


def _own(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser("python -m batchvid.sandbox", description="Serve a sandbox until its input ends.")
    parser.add_argument("--provider", choices=DIALECTS, default="cometapi", help="the service that it plays")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    return Options(**vars(parser.parse_args(arguments)))


def _given(given: dict[str, Any]) -> Options:
    for name in ("faults_path", "state_dir"):
        given[name] = Path(given[name]) if given[name] else None
    return Options(**given)


async def _serve_while_wanted(options: Options) -> None:
    loop = asyncio.get_running_loop()
    unwanted = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, unwanted.set)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(options, ready=_tell), name="serve")
        watching = group.create_task(_stdin_end(unwanted), name="watch")
        await unwanted.wait()
        serving.cancel()
        watching.cancel()


async def _stdin_end(unwanted: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass
    unwanted.set()


def _tell(api: str, files: str) -> None:
    _say({"api": api, "files": files, "pid": os.getpid()})


def _say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
