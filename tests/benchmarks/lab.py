"""The place of a measurement: a folder, the fast server, batchvid as a process, and the peers in their environment."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.benchmarks import child
from tests.benchmarks.child import REPOSITORY, Used
from tests.benchmarks.server import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PEERS = REPOSITORY / "tests" / "benchmarks" / "peers"
BENCH_VENV = REPOSITORY / ".venv-bench"
CLIPS = {
    "tiny": ("tiny", 2_000),
    "100 KB": ("small", 80_000),
    "5 MB": ("large", 4_500_000),
    "10 MB": ("large", 9_000_000),
}
"""By name: the shape, and the size that the encoder is asked for, which it somewhat exceeds."""
FULL_SPEED: dict[str, Any] = {
    "submits": "unlimited",
    "requests": "unlimited",
    "in_flight": 200,
    "downloads": 32,
    "typical_time": "0.01s",
    "poll_every": "0.01s..1s",
    "budget": 1_000_000,
}
"""Limits of a manifest that lets batchvid go as fast as it can, with a budget to keep."""


@dataclass(frozen=True, slots=True)
class Server:
    """A fast server that is running in a process of its own."""

    port: int

    @property
    def api(self) -> str:
        """Return the base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def counts(self) -> dict[str, Any]:
        """Ask what it counted since the last reset."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_bench/counts") as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def reset(self) -> None:
        """Let it forget what it counted."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/_bench/reset", data=b"")
        with urllib.request.urlopen(request):  # noqa: S310 our own
            pass


@dataclass(slots=True)
class Lab:
    """What the measures share."""

    folder: Path
    scale: float
    repetitions: int
    say: Callable[[str], None]
    _numbers: Iterator[int] = field(default_factory=count)
    _clips: dict[str, Path] = field(default_factory=dict)

    def many(self, number: int, *, least: int = 10) -> int:
        """Return *number* at the scale that was asked for."""
        return max(least, round(number * self.scale))

    def repeated(self, at_most: int) -> int:
        """Return how often something is measured of which each time takes ten seconds or more."""
        return min(at_most, self.repetitions)

    def log(self) -> Path:
        """Return the file for what a program prints."""
        return self.folder / "out.log"

    def clip(self, name: str) -> Path:
        """Return the clip of that name, and make it when it is wanted for the first time."""
        if name not in self._clips:
            path = self.folder / f"{name.replace(' ', '')}.mp4"
            shape, size_bytes = CLIPS[name]
            child.run(self.python("tests.benchmarks.clips", path, shape, size_bytes), log=self.log())
            self._clips[name] = path
        return self._clips[name]

    @staticmethod
    def python(module: str, *arguments: object) -> list[str]:
        """Return the command that runs a module with batchvid's own Python."""
        return [sys.executable, "-m", module, *map(str, arguments)]

    @contextmanager
    def serving(self, clip: str, **options: object) -> Iterator[Server]:
        """Serve *clip* (a name of `CLIPS`) at the end of every task."""
        flags = [str(part) for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
        command = self.python("tests.benchmarks.server", "--clip", self.clip(clip), *flags)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        ) as process:
            assert process.stdout is not None
            try:
                yield Server(int(process.stdout.readline()))
            finally:
                process.kill()

    @contextmanager
    def room(self) -> Iterator[Path]:
        """Return an empty folder, which stays until the end of the bench.

        For minutes ext4 gives no inode again that was freed, and looks past each of them whenever a file is made: what
        one program left and we removed would slow down the next.
        """
        path = self.folder / f"room-{next(self._numbers)}"
        path.mkdir()
        yield path

    def finished(self, jobs: int) -> Path:
        """Return a manifest of which every job is done, clips and all; the tree is made once, and not to be changed."""
        path = self.folder / f"finished-{jobs}" / "m.yaml"
        if not path.exists():
            path.parent.mkdir()
            write_manifest(path, jobs=jobs, limits=FULL_SPEED)
            command = self.python("tests.benchmarks.parts.finished", path, self.clip("tiny"))
            child.run(command, log=self.log(), settled=True)
        return path

    # ---- the contenders

    def batchvid(self, server: Server, *, jobs: int, limits: Mapping[str, object] | None = None, **more: Any) -> Used:
        """Let batchvid make *jobs* clips, complete: journal, fsync, check of each clip, budget."""
        with self.room() as room:
            path = write_manifest(room / "m.yaml", jobs=jobs, limits={**FULL_SPEED, **(limits or {})})
            return self.batchvid_run(path, server, **more)

    def batchvid_run(self, manifest: Path, server: Server, *, launcher: tuple[str, ...] = ("-m", "batchvid")) -> Used:
        """Let batchvid run *manifest*, without the page for people; *launcher* is what Python is given to start it."""
        command = [sys.executable, *launcher, "run", str(manifest), "-q", "--no-report", "--base-url", server.api]
        log = manifest.with_suffix(".log")
        return child.run(command, env={"COMETAPI_KEY": KEY}, log=log, settled=True)

    def peer(self, name: str, server: Server, *, jobs: int, in_flight: int = 200) -> Used:
        """Let a peer make *jobs* clips."""
        program, *flags = PEERS_BY_NAME[name]
        with self.room() as room:
            python = [str(BENCH_VENV / "bin" / "python")] if program.endswith(".py") else []
            command = [*python, str(PEERS / program), server.api, KEY, str(room), str(jobs), str(in_flight), *flags]
            used = child.run(command, log=room.with_suffix(".log"), settled=True)
            made = sum(path.stat().st_size > 0 for path in room.glob("*.mp4"))
            if made != jobs:
                raise child.ChildError(f"{name} made {made} of {jobs} clips")
            return used


PEERS_BY_NAME = {
    "raw aiohttp": ("raw_aiohttp.py",),
    "openai SDK, aiohttp": ("openai_sdk.py", "--aiohttp"),
    "openai SDK": ("openai_sdk.py",),
    "curl | xargs": ("curl_xargs.sh",),
    "pycurl multi": ("pycurl_multi.py",),
}


def write_manifest(path: Path, *, jobs: int, limits: Mapping[str, object], first: int = 0, changed: int = 0) -> Path:
    """Write a manifest of *jobs* plain jobs; the prompts of the *changed* last ones differ from what they were."""
    with path.open("w", encoding="utf-8") as file:
        file.write("version: 1\noutput: out\nlimits:\n")
        file.writelines(f"  {name}: {value}\n" for name, value in limits.items())
        file.write("prices: {veo3-fast: 0.40}\ndefaults: {model: veo3-fast, size: 16x9}\njobs:\n")
        for number in range(first, first + jobs):
            now = " now" if number >= first + jobs - changed else ""
            file.write(f"  - id: kite-{number:06}\n    prompt: A paper kite floats{now} above field {number}.\n")
    return path


def install_peers(say: Callable[[str], None]) -> None:
    """Make the peers' environment, once; they get the very aiohttp that batchvid has."""
    ready = BENCH_VENV / ".ready"
    wanted = f"aiohttp=={version('aiohttp')}\nopenai[aiohttp]\npycurl\n"
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return
    say(f"installing the peers into {BENCH_VENV.name}")
    subprocess.run([sys.executable, "-m", "venv", BENCH_VENV], check=True)
    pip = [str(BENCH_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *wanted.split()], check=True)
    ready.write_text(wanted, encoding="utf-8")
