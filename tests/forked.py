"""The real program as a process, forked from one that has imported it: no interpreter starts for each call.

A server process imports all of ``batchvid`` and waits. For each call it forks a child, which becomes the program: with
its own arguments, folder, environment and streams, with ``__main__`` run as ``python -m batchvid`` runs it, and with
Python's own way to end. What depends on how an interpreter starts (``PYTHON*``, locales) needs a real one.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from PIL import Image

import batchvid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[1]
BYTES = 1 << 16


class Forked:
    """A running program, with the methods of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[Any] = subprocess.PIPE,
        stderr: int | IO[Any] = subprocess.PIPE,
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        self._read: dict[str, str] = {}
        self._readers: list[threading.Thread] | None = None
        with ExitStack() as ours:
            given = [_descriptor(one) for one in (stdin, stdout, stderr)]
            for number, name in enumerate(("stdin", "stdout", "stderr")):
                if given[number] == subprocess.DEVNULL:
                    given[number] = os.open(os.devnull, os.O_RDWR)
                    ours.callback(os.close, given[number])
                elif given[number] == subprocess.PIPE:
                    reader, given[number] = os.pipe()
                    ours.callback(os.close, given[number])
                    setattr(self, name, open(reader, encoding="utf-8"))  # noqa: SIM115 the reader closes it
            self._told = _server().begin({"arguments": self.args, "cwd": str(cwd), "env": dict(env)}, given)
            self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        """Return how it ended, if it has."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.001)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended."""
        if self.returncode is None:
            if not self._told.ready(timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(int(self._told.readline()))
            self._told.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read both streams to their ends, and wait."""
        ends_at = time.monotonic() + (timeout or 3600)
        if self._readers is None:
            streams = {"out": self.stdout, "err": self.stderr}
            works = ((name, stream) for name, stream in streams.items() if stream is not None)
            self._readers = [threading.Thread(target=self._reading, args=work, daemon=True) for work in works]
            for reader in self._readers:
                reader.start()
        for reader in self._readers:
            reader.join(max(0.0, ends_at - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(max(0.001, ends_at - time.monotonic()))
        return self._read.get("out", ""), self._read.get("err", "")

    def _reading(self, name: str, stream: IO[str]) -> None:
        with stream:
            self._read[name] = stream.read()

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def _descriptor(stream: int | IO[Any]) -> int:
    return stream if isinstance(stream, int) else stream.fileno()


class Told:
    """What the keeper of a program tells of it, a line each: its process id, and how it ended."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._text = b""

    def ready(self, timeout: float | None) -> bool:
        """Wait until there is something to read."""
        self._end.settimeout(timeout)
        with suppress(TimeoutError):
            self._text += self._end.recv(BYTES) if b"\n" not in self._text else b""
        self._end.settimeout(None)
        return b"\n" in self._text

    def readline(self) -> str:
        """Return the next line."""
        while b"\n" not in self._text:
            block = self._end.recv(BYTES)
            if not block:
                raise AssertionError("the server of programs has ended")
            self._text += block
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        """Close it."""
        self._end.close()


class Server:
    """The process that has everything imported; it ends when its standard input does."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8"}
        command = [sys.executable, "-m", "tests.forked"]
        self._process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for pytest
        )
        theirs.close()
        self._turn = threading.Lock()

    def begin(self, request: Mapping[str, object], streams: Sequence[int]) -> Told:
        """Let it fork a program with *streams* as its standard ones."""
        ours, theirs = socket.socketpair()
        with theirs, self._turn:
            data = f"{json.dumps(request)}\n".encode()
            sent = socket.send_fds(self._control, [data], [theirs.fileno(), *streams])
            self._control.sendall(data[sent:])
        return Told(ours)

    def end(self) -> None:
        """Let it end, and wait for that: its CPU time is counted with ours."""
        self._control.close()
        self._process.wait()


@cache
def _server() -> Server:
    return Server()


def end() -> None:
    """End the server, if there is one."""
    if _server.cache_info().currsize:
        _server().end()
        _server.cache_clear()


def _serve() -> dict[str, Any]:
    """Fork a program for each request. Return in the program, with its request; the server itself never returns."""
    control = socket.socket(fileno=0)
    while True:
        data, passed, _, _ = socket.recv_fds(control, BYTES, 4)
        while data and not data.endswith(b"\n"):
            data += control.recv(BYTES)
        if data and os.fork() == 0:
            control.detach()
            return _keep(json.loads(data), *passed)
        for one in passed:
            os.close(one)
        with suppress(ChildProcessError):  # there is none
            while os.waitpid(-1, os.WNOHANG if data else 0)[0]:
                pass
        if not data:
            os._exit(0)


def _keep(request: dict[str, Any], told: int, *streams: int) -> dict[str, Any]:
    """Fork the program and return in it; the keeper itself tells how it ends, and never returns."""
    pid = os.fork()
    if pid:
        for one in streams:
            os.close(one)
        with suppress(BrokenPipeError, ConnectionResetError):  # nobody wants to know
            os.write(told, f"{pid}\n".encode())
            os.write(told, f"{os.waitpid(pid, 0)[1]}\n".encode())
        os._exit(0)
    for number, one in enumerate(streams):
        os.dup2(one, number)
    os.closerange(3, max(told, *streams) + 8)
    return request


def _become(request: dict[str, Any]) -> None:
    """Have the surroundings that a new interpreter would have."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores them
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.argv = ["batchvid", *request["arguments"]]
    sys.path[0] = request["cwd"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        was = getattr(sys, name)  # made when something else stood there, which may have been seekable
        stream = io.TextIOWrapper(
            open(number, "wb" if number else "rb", closefd=False),  # noqa: SIM115 closed by Python's end
            encoding=was.encoding,
            errors=was.errors,
            newline="\n" if number else None,
            line_buffering=was.line_buffering or os.isatty(number),
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _import_all() -> None:
    """Import what a call may need."""
    for module in pkgutil.walk_packages(batchvid.__path__, "batchvid."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("av", "jinja2", "rich.live", "rich.progress", "sqlite3"):
        importlib.import_module(name)
    Image.init()
    gc.collect()
    gc.freeze()  # a child's collector does not copy these pages


if __name__ == "__main__":
    _import_all()
    assert threading.active_count() == 1, "a fork would lose a thread"
    _become(_serve())
    runpy.run_module("batchvid", run_name="__main__", alter_sys=True)
