"""A real PostgreSQL for tests: one server a process, in a folder of its own, reached over a Unix socket."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PLACES = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/bin"), Path("/usr/local/bin"))
"""Debian does not put the server's programs on the path."""
USER = "postgres" if os.getuid() == 0 else None
"""A server does not run as root."""


def programs() -> Path:
    """Return where the server's programs are; skip the test where they are not."""
    for place in PLACES:
        if (place / "pg_ctl").exists() and (place / "initdb").exists():
            return place
    pytest.skip("there is no PostgreSQL here: apt-get install postgresql")


@dataclass
class Server:
    """A server in *folder*."""

    folder: Path

    @classmethod
    def made(cls) -> Server:
        """Make one, and start it."""
        programs()
        folder = Path(tempfile.mkdtemp(prefix="batchvid-pg-"))
        if USER:
            shutil.chown(folder, USER)
        server = cls(folder)
        server._run("initdb", "-U", "batchvid", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        server.start()
        return server

    @property
    def data(self) -> Path:
        """Return where its data is."""
        return self.folder / "data"

    def url(self, database: str = "postgres", *, host: Path | None = None) -> str:
        """Return the address of one of its databases, with a password, which it does not ask for."""
        return f"postgresql://batchvid:hush@/{database}?host={host or self.folder}"

    def start(self, *options: str) -> None:
        """Start it, with these options of the server."""
        shown = " ".join(("-c listen_addresses=''", f"-k {self.folder}", *options))
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", shown, "start")

    def stop(self) -> None:
        """Stop it at once."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop", check=False)

    def kill(self) -> None:
        """End each of its processes with SIGKILL, as the kernel does when memory is out."""
        main = int((self.data / "postmaster.pid").read_text().split()[0])
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(main)], capture_output=True, text=True, check=True)  # noqa: S607 the system's own
        killed = [main, *map(int, listed.stdout.split())]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        while any(_is_running(pid) for pid in killed):
            pass
        # Where nobody reaps the dead process, its number is taken, and the server would think that it still runs.
        for left in (self.data / "postmaster.pid", self.folder / ".s.PGSQL.5432.lock"):
            left.unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop it, and leave nothing of it."""
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [str(programs() / program), "-D", str(self.data), *arguments]
        with (self.folder / "output").open("ab") as output:  # a pipe would stay open for as long as the server runs
            done = subprocess.run(command, user=USER, cwd=self.folder, stdout=output, stderr=output, check=False)
        assert not check or done.returncode == 0, (self.folder / "log").read_text()


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@cache
def server() -> Server:
    """Return the server of this process, which lasts until `end`."""
    return Server.made()


def end() -> None:
    """Remove it, if there is one."""
    if server.cache_info().currsize:
        server().remove()
        server.cache_clear()
