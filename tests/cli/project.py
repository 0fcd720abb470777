"""A folder with a manifest, the real program in it, and the service that counts what it would bill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from batchvid.storage.fs import STATE_FOLDER
from tests.forked import Forked

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "sk-canary-7Q/2+d41c8f0b9e5a"
"""The sandbox's key in all of these tests; looked for wherever something is written."""
ENDS_S = 30.0
REPOSITORY = Path(__file__).resolve().parents[2]
RULES = """
- {on: create, prompt: "unsure*", reset: after-effect}
- {on: create, prompt: "doomed*", fail: "the prompt was refused"}
- {on: create, prompt: "wordy*", status: 503,
   body: {error: {code: model_not_found, message: no channel, type: comet_api_error}}}
- {on: create, prompt: "slow*", delay_s: 30}
- {on: create, prompt: "hasty*", nth: 1, status: 429}
- {on: create, prompt: "broke*", status: 403, body: {code: insufficient_user_quota, message: user quota is not enough}}
- {on: create, prompt: "moved*", redirect: "https://elsewhere.example/v1/videos"}
- {on: create, prompt: "endless*", never: true}
- {on: file, prompt: "unfetched*", status: 503}
- {on: content, prompt: "unfetched*", status: 503}
"""
"""What goes wrong with a job is said by the first word of its prompt."""
INTERPRETERS = ("PYTHON", "LANG", "LC_")
"""What begins so is read when an interpreter starts."""
QUICK = {
    "submits": "50/s",
    "requests": "100/s",
    "in_flight": "8",
    "typical_time": "0.3s",
    "poll_every": "0.05s..0.5s",
    "backoff": "0.02s..0.1s",
}
"""Limits whose waits are short."""


Process: TypeAlias = "Forked | subprocess.Popen[str]"


@dataclass(frozen=True, slots=True)
class Ran:
    """A process that has ended."""

    code: int
    """Negative for a signal."""
    out: str
    err: str

    @property
    def told(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines; raises when anything else is there."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, slots=True)
class Service:
    """A running sandbox."""

    api: str

    def ledger(self) -> dict[str, Any]:
        """Return what it would bill, and how many requests it has had."""
        with urllib.request.urlopen(f"{self.api.removesuffix('/v1')}/_sandbox/ledger") as answer:  # noqa: S310 our own
            found: dict[str, Any] = json.load(answer)
        return found


@dataclass(slots=True)
class Project:
    """A folder in which a person works. Its name is part of every prompt, so that the ledger tells projects apart."""

    folder: Path
    service: Service

    @property
    def out(self) -> Path:
        """The default output of ``m.yaml``."""
        return self.folder / "out" / "m"

    @property
    def state(self) -> Path:
        """The private folder of that output."""
        return self.out / STATE_FOLDER

    def manifest(self, *jobs: str, name: str = "m.yaml", text: str = "", **limits: str) -> Path:
        """Write a manifest whose jobs' prompts begin with *jobs*, and whose ids are job-1, job-2 and so on."""
        lines = ["version: 1", text, "prices: {veo3-fast: 0.40}", "limits:"]
        lines += [f"  {key}: {value}" for key, value in (QUICK | limits).items()]
        lines += ["jobs:"]
        lines += [f'  - {{id: job-{n}, prompt: "{job} {n} of {self.folder.name}"}}' for n, job in enumerate(jobs, 1)]
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def environment(self, **more: str | None) -> dict[str, str]:
        """Return the environment of a person who has a key; ``None`` takes a variable away."""
        wanted: Mapping[str, str | None] = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
            "COMETAPI_KEY": KEY,
            "BATCHVID_BASE_URL": self.service.api,
            **more,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def start(
        self,
        *arguments: str | Path,
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[Any] = subprocess.PIPE,
        stderr: int | IO[Any] = subprocess.PIPE,
        more: Mapping[str, str | None] = MappingProxyType({}),
    ) -> Process:
        """Start ``batchvid ARGUMENTS`` in the folder."""
        environment = self.environment(**dict(more))
        words = [str(one) for one in arguments]
        if not any(name.startswith(INTERPRETERS) for name in more):
            return Forked(words, cwd=self.folder, env=environment, stdin=stdin, stdout=stdout, stderr=stderr)
        return subprocess.Popen(
            command(*words),
            cwd=self.folder,
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )

    def batchvid(self, *arguments: str | Path, **more: str | None) -> Ran:
        """Run ``batchvid ARGUMENTS`` in the folder to its end; *more* changes the environment."""
        return ended(self.start(*arguments, more=more))

    def raw(self, *arguments: str | Path, **more: str | None) -> bytes:
        """Return what ``batchvid ARGUMENTS`` writes to standard output, byte for byte."""
        environment = self.environment(**more)
        return subprocess.run(
            command(*arguments), cwd=self.folder, env=environment, capture_output=True, check=True
        ).stdout

    def creates(self) -> dict[str, int]:
        """Count the creates that would be billed, by the job's prompt."""
        by_prompt = self.service.ledger()["by_prompt"]
        return {prompt: number for prompt, number in by_prompt.items() if prompt.endswith(f"of {self.folder.name}")}

    def status(self) -> dict[str, Any]:
        """Return what ``status --json`` says."""
        found: dict[str, Any] = json.loads(self.batchvid("status", "m.yaml", "--json").out)
        return found

    def states(self) -> dict[str, str]:
        """Return the state of each job."""
        return {job["id"]: job["state"] for job in self.status()["jobs"]}


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of ``batchvid ARGUMENTS``."""
    return [sys.executable, "-m", "batchvid", *map(str, arguments)]


def ended(process: Process) -> Ran:
    """Wait for the end of a process."""
    try:
        out, err = process.communicate(timeout=ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it did not end:\n{out}\n{err}") from None
    assert process.returncode is not None
    return Ran(process.returncode, out or "", err or "")


def read_until(process: Process, words: str) -> str:
    """Read the standard output of a process up to the first line that holds *words*, and give that line."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"it ended without {words!r}: {process.stderr and process.stderr.read()}")
