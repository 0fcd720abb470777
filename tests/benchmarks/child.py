"""Runs one program and says what it used: wall time, processor time, and the most memory at once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST_S = 900.0
REPOSITORY = Path(__file__).resolve().parents[2]


class ChildError(Exception):
    """A program did not do what it should; the text ends with what it printed."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a program, with all that it waited for, used."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    """Of the largest process. It is never below the bench's own, from which the program was forked: 30 MB."""
    out: str


def run(
    command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None, settled: bool = False
) -> Used:
    """Run *command* to its end; raises `ChildError` when it does not exit with 0.

    What it prints goes to the file *log*, so that nobody's reading slows it down. With *settled* it starts when the
    disk has nothing left to write, so that it does not pay for what the one before it left.
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})}
    if settled:
        os.sync()
    with log.open("w+b") as out:
        started = time.monotonic()
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, cwd=log.parent
        )
        patience = Timer(LONGEST_S, process.send_signal, [signal.SIGKILL])
        patience.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            patience.cancel()
        wall_s = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode(errors="replace")
    if process.returncode:
        raise ChildError(f"{' '.join(map(str, command))}: exit {process.returncode}\n{text[-2000:]}")
    return Used(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text)
