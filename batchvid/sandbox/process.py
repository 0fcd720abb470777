"""A sandbox as a child process, for a run, a demo or a test: it ends with its parent, whatever ends the parent.

The child reads its options from the first line of its standard input, and answers with one line of JSON. It
lives until that input closes; the kernel closes it even when the parent is killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import batchvid
from batchvid.domain.errors import ConfigError
from batchvid.sandbox.world import Terms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

END_S = 10.0
"""How long a child may take to end before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Terms):
    """How a sandbox is to be started."""

    port: int = 0
    """Of the API; 0 takes any free one. The file host always takes any."""
    host: str = "127.0.0.1"
    faults_path: Path | None = None
    state_dir: Path | None = None
    """Where tasks and ledger outlive a restart; without it they end with the sandbox."""
    clip: Literal["full", "tiny"] = "full"
    """``tiny``: one very small clip for all jobs of a shape, for load tests."""
    latency_s: float = 0.0
    """Before every answer."""


@contextmanager
def running(options: Options, *, environment: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """Run a sandbox and yield its base URL and its key. Raise `ConfigError` when it cannot start.

    It sees *environment*, or all of ours.
    """
    # The child starts beside the package, so that nothing in the user's folder can shadow a module.
    home = Path(batchvid.__file__).resolve().parents[1]
    command = [sys.executable, "-m", "batchvid.sandbox"]
    # A session of its own: Ctrl-C in a terminal stops the run, which still needs the service to drain.
    with subprocess.Popen(  # noqa: S603 our own interpreter, no shell
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=home,
        env=environment,
        start_new_session=True,
        text=True,
    ) as child:
        try:
            yield _start(child, options), options.key
        finally:
            _end(child)


def _start(child: subprocess.Popen[str], options: Options) -> str:
    """Hand the options over and wait until the child serves; return its base URL."""
    if child.stdin is None or child.stdout is None:
        raise ConfigError("the sandbox has no pipes")
    absolute = replace(
        options,
        faults_path=options.faults_path and options.faults_path.absolute(),
        state_dir=options.state_dir and options.state_dir.absolute(),
    )
    try:
        child.stdin.write(json.dumps(asdict(absolute), default=str) + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        raise ConfigError("the sandbox did not start") from None
    line = child.stdout.readline()
    answer = json.loads(line) if line.endswith("\n") else {"error": "the sandbox ended before it served"}
    if "error" in answer:
        raise ConfigError(str(answer["error"]))
    return str(answer["api"])


def _end(child: subprocess.Popen[str]) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
