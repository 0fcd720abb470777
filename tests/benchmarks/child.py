"""Runs one program and says what it used: wall time, processor time, and the most memory at once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread, Timer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

LONGEST_S = 900.0
LOOKS_S = 0.05
REPOSITORY = Path(__file__).resolve().parents[2]


class ChildError(Exception):
    """A program did not do what it should; the text ends with what it printed."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a program, with all that it waited for, used."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    """Of the program itself, and of the largest one that it has waited for where the system does not tell it."""
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
        with _Peak(process.pid) as peak:
            try:
                _, status, usage = os.wait4(process.pid, 0)
                wall_s = time.monotonic() - started
            finally:
                patience.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode(errors="replace")
    if process.returncode:
        raise ChildError(f"{' '.join(map(str, command))}: exit {process.returncode}\n{text[-2000:]}")
    return Used(wall_s, usage.ru_utime + usage.ru_stime, peak.rss_bytes or usage.ru_maxrss * 1024, text)


class _Peak:
    """Looks at the peak memory of a program as long as it runs.

    The system's account of a process that has ended is never below the size of the one that it was forked from.
    """

    def __init__(self, pid: int) -> None:
        self.rss_bytes = 0
        self._status = Path(f"/proc/{pid}/status")
        self._is_over = Event()
        self._thread = Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._is_over.wait(LOOKS_S):
            try:
                lines = self._status.read_text(encoding="ascii", errors="replace").splitlines()
            except OSError:
                return
            told = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
            self.rss_bytes = max(self.rss_bytes, told)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
