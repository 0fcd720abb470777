"""A real PostgreSQL for tests: one server a process, in a folder of its own, reached over a Unix socket."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
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


def free_port() -> int:
    """Return a port that nobody listens on, and that no connection gets by itself: those are higher."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 two at once try two ports
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port


@dataclass
class Server:
    """A server in *folder*."""

    folder: Path
    address: str = ""
    """Where it listens besides its Unix socket, for those who are on other machines."""
    port: int = 5432

    @classmethod
    def made(cls, *, below: Path | None = None, address: str = "", port: int = 5432) -> Server:
        """Make one in a new folder, and start it."""
        programs()
        folder = Path(tempfile.mkdtemp(prefix="batchvid-pg-", dir=below))
        if USER:
            shutil.chown(folder, USER)
        server = cls(folder, address, port)
        server._run("initdb", "-U", "batchvid", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        if address:
            with (server.data / "pg_hba.conf").open("a", encoding="ascii") as rules:
                rules.write("host all all all trust\nhost replication all all trust\n")
        server.start()
        return server

    @property
    def data(self) -> Path:
        """Return where its data is."""
        return self.folder / "data"

    def url(self, database: str = "postgres", *, host: Path | None = None) -> str:
        """Return the address of one of its databases, with a password, which it does not ask for."""
        return f"postgresql://batchvid:hush@/{database}?host={host or self.folder}&port={self.port}"

    def url_from_afar(self, database: str = "postgres") -> str:
        """Return the address of one of its databases for those who are on other machines."""
        return f"postgresql://batchvid:hush@{self.address}:{self.port}/{database}"

    def start(self, *options: str) -> None:
        """Start it, with these options of the server."""
        own = (f"-c listen_addresses='{self.address}'", f"-p {self.port}", f"-k {self.folder}")
        shown = " ".join((*own, *options))
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", shown, "start")

    def standby(self, port: int) -> Server:
        """Make another server that follows this one, and start it."""
        folder = Path(tempfile.mkdtemp(prefix="batchvid-pg-", dir=self.folder.parent))
        if USER:
            shutil.chown(folder, USER)
        other = Server(folder, self.address, port)
        other._run("pg_basebackup", "-d", self.url(), "-R", "-X", "stream", "-c", "fast", "--no-sync")
        other.start("-c hot_standby=on", f"-c cluster_name=standby{port}")
        return other

    def promote(self) -> None:
        """Start a standby that has ended as a server of its own."""
        (self.data / "postgresql.auto.conf").write_text("", encoding="ascii")
        self.start()
        self._run("pg_ctl", "-w", "promote")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it at once; ``fast`` lets it write what it holds."""
        self._run("pg_ctl", "-w", "-m", mode, "stop", check=False)

    def kill(self) -> None:
        """End each of its processes with SIGKILL, as the kernel does when memory is out."""
        main = int((self.data / "postmaster.pid").read_text().split()[0])
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(main)], capture_output=True, text=True, check=True)  # noqa: S607 the system's own
        killed = [main, *map(int, listed.stdout.split())]
        for pid in killed:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(pid, signal.SIGKILL)
        while any(_is_running(pid) for pid in killed):
            pass
        # Where nobody reaps the dead process, its number is taken, and the server would think that it still runs.
        for left in (self.data / "postmaster.pid", self.folder / f".s.PGSQL.{self.port}.lock"):
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
