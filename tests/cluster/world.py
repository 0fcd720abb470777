"""A cluster on one machine: PostgreSQL, an object store, the sandbox, and workers, each a process that can be hurt.

Workers may be on machines of their own (`tests.cluster.hosts`), so that one can be cut off from the database, from the
service or from the store. Nothing of a world outlives the program that made it, however that ends: its
`tests.cluster.keeper` sweeps.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
import psycopg
import pytest
from obstore.store import from_url

from batchvid.sandbox.process import Options, running
from batchvid.storage.fs import STATE_FOLDER
from tests import postgres
from tests.cluster import keeper
from tests.cluster.hosts import Network, Place
from tests.cluster.invariants import AttemptRow, Create, Evidence, JobRow, StoredObject, Sums
from tests.faults.cases import NotHereError
from tests.faults.lab import BrokenError
from tests.storage.buckets import BUCKET, KEYS, free_ports, moto, seaweedfs, way_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from obstore.store import ObjectStore as Client

    from tests.cluster.hosts import Host
    from tests.storage.buckets import Way

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = "sk-canary-cluster-9c27d1"
ENDS_S = 120.0
LOOKS_S = 0.02
STORES = {"seaweedfs": seaweedfs, "moto": moto}
FAKETIME = "libfaketimeMT.so.1"
LIMITS = {
    "submits": "100/s",
    "requests": "400/s",
    "in_flight": 64,
    "typical_time": "0.3s",
    "poll_every": "0.05s..0.5s",
    "backoff": "0.02s..0.2s",
    "budget": 100_000,
}
"""Of a manifest whose waits are short."""
ENGINE_TOO = "-c search_path=public,batchvid_engine"
PRICE = 0.40
WITH_CONSTANTS = """
import importlib, json, sys
for name, value in json.loads(sys.argv.pop(1)).items():
    module, _, constant = name.rpartition(".")
    assert hasattr(importlib.import_module(module), constant), name
    setattr(importlib.import_module(module), constant, value)
from batchvid.cli.main import main
main()
"""
"""The command line as it is, but for constants that are set first."""
FREEZES = """
import os, signal, sys
from batchvid.providers import paid_post
send = paid_post.send_once
async def frozen(*arguments, **options):
    if FROZEN:
        FROZEN.pop()
        os.kill(os.getpid(), signal.SIGSTOP)
    return await send(*arguments, **options)
FROZEN = [True]
paid_post.send_once = frozen
import batchvid.providers.http as http
if hasattr(http, "send_once"):
    http.send_once = frozen
from batchvid.cli.main import main
main()
"""
"""The command line as it is, but for one moment: it stops between the intent of a paid request and its first byte."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A process that has ended."""

    code: int
    """Negative for a signal."""
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        """Everything that it printed."""
        return self.out + self.err


@dataclass(slots=True)
class Worker:
    """A process of batchvid on a machine."""

    name: str
    host: Host
    process: subprocess.Popen[bytes]
    log: Path
    started: float = field(default_factory=time.monotonic)
    was_killed: bool = False

    @property
    def pid(self) -> int:
        """Return its number."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def text(self) -> str:
        """Return what it printed so far, beside what it would answer."""
        return self.log.with_suffix(".err").read_text("utf-8", errors="replace")

    def kill(self) -> None:
        """End it as the kernel does when memory is out."""
        self.was_killed = True
        self._send(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it stand still, as a machine does that is suspended."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def end(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, *, timeout_s: float = ENDS_S) -> Ran:
        """Wait for its end. Raise `BrokenError` when it does not come."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
            raise BrokenError("ends", f"{self.name} did not end within {timeout_s:.0f} s: {self.text[-600:]}") from None
        out = self.log.with_suffix(".out").read_text("utf-8", errors="replace")
        return Ran(self.process.returncode, out, self.text, time.monotonic() - self.started)


@dataclass(slots=True)
class World:
    """All of it."""

    mark: str
    folder: Path
    stack: ExitStack
    network: Network
    key: str = KEY
    api: str = ""
    """The service's base URL."""
    server: postgres.Server | None = None
    endpoint: str | None = None
    """Where the store is; ``None``: clips go into a folder that all machines share."""
    workers: list[Worker] = field(default_factory=list)
    hosts: dict[str, Host] = field(default_factory=dict)
    manifests: dict[str, Path] = field(default_factory=dict)
    wanted: dict[str, dict[str, str]] = field(default_factory=dict)
    """Job ids by prompt, of each manifest."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    # ---- servers

    def start_database(self) -> postgres.Server:
        """Start PostgreSQL."""
        address = self.network.address(Place.DATABASE)
        port = postgres.Server.port if self.network.is_real else free_ports(1, address)[0]
        self.server = _brought(lambda: postgres.Server.made(below=self.folder, address=address, port=port))
        self.stack.callback(self.server.stop)
        return self.server

    def start_store(self, kind: str) -> None:
        """Start an object store."""
        folder = self.folder / kind
        folder.mkdir()
        address = self.network.address(Place.STORE)
        self.endpoint = _brought(lambda: self.stack.enter_context(STORES[kind](folder, address)))

    def way_to_store(self) -> Way:
        """Put something between the workers that start from now on and the store, on which things go wrong."""
        assert self.endpoint is not None
        self.endpoint, way = self.stack.enter_context(way_to(self.endpoint, self.network.address(Place.STORE)))
        return way

    def sandbox(self, faults: str = "", **options: Any) -> None:
        """Start the service, which misbehaves as *faults* (YAML) says."""
        path = None
        if faults:
            path = self.folder / "faults.yaml"
            path.write_text(faults, encoding="utf-8")
        address = self.network.address(Place.SERVICE)
        wanted: dict[str, Any] = {"speed": 400.0, "clip": "tiny", "key": KEY, "faults_path": path, "host": address}
        self.api, self.key = self.stack.enter_context(running(Options(**wanted | options)))

    @property
    def database(self) -> str:
        """Return the database's address, as workers are told it."""
        assert self.server is not None
        return self.server.url_from_afar()

    # ---- what is wanted

    def manifest(
        self, number: int, *, name: str = "m", words: str = "clip", head: str = "", first: int = 1, **limits: object
    ) -> Path:
        """Write a manifest of so many jobs, whose prompts begin with *words* and say which job and manifest it is."""
        folder = self.folder / "project"
        folder.mkdir(exist_ok=True)
        ids = [f"c{n:05}" for n in range(first, first + number)]
        lines = ["version: 1", f"output: {self.output(name)}"]
        lines += ["service: {allow_http: true}"] if self.network.is_real else []
        lines += [f"prices: {{veo3-fast: {PRICE}}}", "defaults: {model: veo3-fast, size: 16x9}", head, "limits:"]
        lines += [f"  {key}: {value}" for key, value in (LIMITS | limits).items()]
        lines += ["jobs:", *(f"  - {{id: {one}, prompt: {words} {one} of {name}}}" for one in ids)]
        path = folder / f"{name}.yaml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.manifests[name] = path
        self.wanted.setdefault(name, {}).update({f"{words} {one} of {name}": one for one in ids})
        return path

    def output(self, name: str = "m") -> str:
        """Return where the clips of a manifest go."""
        return f"s3://{BUCKET}/{name}" if self.endpoint else str(self.folder / "clips" / name)

    # ---- processes

    def host(self, name: str) -> Host:
        """Return the machine of that name, and make it when it is wanted for the first time."""
        if name not in self.hosts:
            self.hosts[name] = self.network.host(self.folder / name)
        return self.hosts[name]

    def start(
        self,
        *arguments: str | Path,
        on: str = "host-1",
        clock: str = "",
        constants: Mapping[str, float] | None = None,
        freezes: bool = False,
        **variables: str,
    ) -> Worker:
        """Start ``batchvid ARGUMENTS`` on a machine, with a wall clock that is wrong by *clock* (``+1h``)."""
        host = self.host(on)
        program = ["-m", "batchvid"]
        if constants:
            program = ["-c", WITH_CONSTANTS, json.dumps(constants)]
        elif freezes:
            program = ["-c", FREEZES]
        name = f"{on}-{arguments[0]}-{next(self._numbers)}"
        log = host.folder / name
        with log.with_suffix(".out").open("wb") as out, log.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                [*host.under(), sys.executable, *program, *map(str, arguments)],
                cwd=host.folder,
                env=self.environment(host, clock=clock) | variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.workers.append(Worker(name, host, process, log))
        return self.workers[-1]

    def run(self, *more: str | Path, name: str = "m", **options: Any) -> Worker:
        """Start ``batchvid run`` of a manifest."""
        return self.start("run", self.manifests[name], "--database", self.database, "--no-report", *more, **options)

    def work(self, *more: str | Path, **options: Any) -> Worker:
        """Start ``batchvid work``."""
        return self.start("work", "--database", self.database, *more, **options)

    def call(self, command: str, *more: str | Path, name: str = "m", timeout_s: float = ENDS_S, **options: Any) -> Ran:
        """Run a command about a manifest to its end."""
        arguments = (command, self.manifests[name], *more, "--database", self.database)
        return self.start(*arguments, **options).wait(timeout_s=timeout_s)

    def environment(self, host: Host, *, clock: str = "") -> dict[str, str]:
        """Return the environment of whoever works on a machine."""
        found = {
            "PATH": os.environ["PATH"],
            "HOME": str(host.folder),
            "XDG_STATE_HOME": str(host.state),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
            "COMETAPI_KEY": self.key,
            "BATCHVID_BASE_URL": self.api,
            keeper.MARK: self.mark,
        }
        if self.endpoint:
            found |= {f"AWS_{name.upper()}": value for name, value in KEYS.items()}
            found["AWS_ENDPOINT_URL"] = self.endpoint
        if clock:
            library = next((str(path) for path in Path("/usr/lib").rglob(FAKETIME)), None)
            if library is None:
                raise NotHereError("the clock of a process cannot be set: apt-get install libfaketime")
            found |= {"LD_PRELOAD": library, "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        return found

    # ---- looking

    def ledger(self) -> dict[str, Any]:
        """Ask the service what it billed and what it was asked."""
        with urllib.request.urlopen(self.api.removesuffix("/v1") + "/_sandbox/ledger") as answer:  # noqa: S310 our own
            found: dict[str, Any] = json.load(answer)
        return found

    def creates(self, name: str = "m") -> list[dict[str, Any]]:
        """Return what it billed of a manifest, oldest first."""
        return [line for line in self.ledger()["creates"] if line["prompt"] in self.wanted[name]]

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database, or change it; nothing before it has the tables."""
        assert self.server is not None
        with psycopg.connect(self.server.url(), autocommit=True, connect_timeout=5, options=ENGINE_TOO) as db:
            try:
                answer = db.execute(sql, values or None)
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return []
            return answer.fetchall() if answer.description else []

    def number(self, sql: str, *values: object) -> int:
        """Return the number that a query asks for; 0 before the tables are there."""
        rows = self.query(sql, *values)
        return int(rows[0][0] or 0) if rows else 0

    def done(self, name: str = "m") -> int:
        """Count the clips of a manifest that are done."""
        return self.number(
            "SELECT count(*) FROM batchvid.jobs JOIN batchvid.journals USING (journal)"
            " WHERE state = 'done' AND name = %s",
            self.output(name),
        )

    def states(self, name: str = "m") -> dict[str, str]:
        """Return the state of each job that anything has happened to."""
        return dict(
            self.query(
                "SELECT job_id, state FROM batchvid.jobs JOIN batchvid.journals USING (journal) WHERE name = %s",
                self.output(name),
            )
        )

    def held_by(self, worker: Worker) -> list[int]:
        """Return the slices that a worker has."""
        rows = self.query(
            "SELECT slice FROM batchvid.slices JOIN batchvid.workers USING (worker)"
            " WHERE name LIKE %s AND slices.over_at IS NULL",
            f"%:{worker.pid}",
        )
        return [one for (one,) in rows]

    def has_lost(self, worker: Worker) -> bool:
        """Whether a worker has no slice any more."""
        return not self.held_by(worker)

    def clips_by_worker(self) -> list[tuple[str, int]]:
        """Return how many done clips lie in the slices that each worker had last, by machine and process."""
        machines = {str(one.pid): one.host.name for one in self.workers}
        rows = self.query(
            "SELECT workers.name, count(*) FROM batchvid.work JOIN batchvid.revisions USING (revision)"
            " JOIN batchvid.jobs USING (journal, job_id) JOIN batchvid.slices USING (slice)"
            " JOIN batchvid.workers USING (worker) WHERE state = 'done' GROUP BY workers.name ORDER BY workers.name"
        )
        pids = [(name.rpartition(":")[2], number) for name, number in rows]
        return [(f"{machines.get(pid, '?')} (process {pid})", number) for pid, number in pids]

    def sending_of(self, worker: Worker) -> int:
        """Count the paid requests that a worker has under way."""
        return self.number(
            "SELECT count(*) FROM batchvid.jobs JOIN batchvid.work USING (job_id)"
            " WHERE state = 'submitting' AND slice = ANY(%s)",
            self.held_by(worker),
        )

    def epochs(self) -> set[int]:
        """Return how often each slice was taken."""
        return {one for (one,) in self.query("SELECT epoch FROM batchvid.slices")}

    def in_doubt(self, name: str = "m") -> list[str]:
        """Return the jobs that are in doubt."""
        return sorted(job for job, state in self.states(name).items() if state == "in_doubt")

    @staticmethod
    def is_frozen(worker: Worker) -> bool:
        """Whether a worker stands still."""
        stat = Path(f"/proc/{worker.pid}/stat").read_text(encoding="ascii")
        return stat.rpartition(")")[2].split()[0] == "T"

    @staticmethod
    def spilled(host: Host) -> set[str]:
        """Return the task ids that workers of a machine have spilled to its disk."""
        found = set()
        for path in host.folder.rglob("orphans*.jsonl"):
            found |= {json.loads(line)["task_id"] for line in path.read_text("utf-8").splitlines() if line.strip()}
        return found

    def lose_disk(self, name: str) -> None:
        """Remove everything that batchvid keeps on a machine."""
        shutil.rmtree(self.hosts[name].state)

    # ---- standbys

    def start_standby(self, *, is_synchronous: bool) -> postgres.Server:
        """Start a server that follows the database's; a *synchronous* one is waited for by every commit."""
        assert self.server is not None
        standby = self.server.standby(*free_ports(1, self.server.address))
        self.stack.callback(standby.stop)
        if is_synchronous:
            self.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
            self.query("SELECT pg_reload_conf()")
        return standby

    def promote(self, standby: postgres.Server) -> None:
        """Let a standby take the place of the database's server, which is dead."""
        assert self.server is not None
        standby.stop("fast")
        standby.address, standby.port, self.server = self.server.address, self.server.port, standby
        standby.promote()

    def until(self, reached: Callable[[], object], *, within_s: float = 60.0, what: str = "") -> float:
        """Wait until *reached()* is true, and return the seconds that it took.

        Raise `BrokenError` when it does not become so in time, or when no process is left that could bring it about.
        """
        started = time.monotonic()
        while not reached():
            is_hopeless = not any(one.is_running for one in self.workers) and not reached()
            if is_hopeless or time.monotonic() - started > within_s:
                told = "; ".join(f"{one.name}: {one.text[-300:]}" for one in self.workers[-3:])
                raise BrokenError("time", f"not within {within_s:.0f} s: {what}; {told}")
            time.sleep(LOOKS_S)
        return time.monotonic() - started

    def evidence(self, name: str = "m", *, is_over: bool = True) -> Evidence:
        """Gather all that can be known of a manifest's output."""
        output, wanted = self.output(name), self.wanted[name]
        # The service is asked first: what it bills meanwhile is not held against the database.
        creates = [Create(wanted[line["prompt"]], line["task_id"]) for line in self.creates(name)]
        sums = self._rows("sums", Sums._fields, output)
        spilled = {task for (task,) in self._rows("orphans", ["task_id"], output)}
        spilled |= {task for host in self.hosts.values() for task in self.spilled(host)}
        objects, sidecars = self._stored(name)
        return Evidence(
            creates=creates,
            attempts=[AttemptRow(*row) for row in self._rows("attempts", AttemptRow._fields, output)],
            jobs=[JobRow(*row) for row in self._rows("jobs", JobRow._fields, output)],
            sums=Sums(*sums[0]) if sums else Sums(0, 0, 0, 0, None),
            orphans=frozenset(spilled),
            objects=objects,
            sidecars=sidecars,
            scratch=self._scratch(),
            unfinished=self._unfinished(output),
            wanted=len(wanted),
            is_over=is_over,
        )

    def _rows(self, table: str, fields: Sequence[str], output: str) -> list[tuple[Any, ...]]:
        return self.query(
            f"SELECT {', '.join(fields)} FROM batchvid.{table} JOIN batchvid.journals USING (journal)"  # noqa: S608 the bench's own
            " WHERE name = %s",
            output,
        )

    def _stored(self, name: str) -> tuple[dict[str, StoredObject], dict[str, str]]:
        objects, sidecars = {}, {}
        for key, data in self._files(name):
            if key.endswith(".mp4"):
                objects[key] = StoredObject(len(data), hashlib.sha256(data).hexdigest())
            elif key.endswith(".json") and "sha256" in (told := json.loads(data)):
                sidecars[f"{key.removesuffix('.json')}.mp4"] = str(told["sha256"])
        return objects, sidecars

    def _files(self, name: str) -> Iterator[tuple[str, bytes]]:
        if self.endpoint is None:
            folder = Path(self.output(name))
            for path in folder.rglob("*"):
                if path.is_file() and STATE_FOLDER not in path.parts:
                    yield str(path.relative_to(folder)), path.read_bytes()
            return
        client = self.client(name)
        for page in obstore.list(client):
            for one in page:
                yield one["path"], bytes(obstore.get(client, one["path"]).bytes())

    def client(self, name: str = "m") -> Client:
        """Return a client of the store, below a manifest's output."""
        assert self.endpoint is not None
        config: Any = {**KEYS, "endpoint": self.endpoint}
        return from_url(self.output(name), config=config, client_options={"allow_http": True})

    def _scratch(self) -> list[str]:
        """Return the parts on machines whose workers have all ended, and none of them by a kill."""
        hurt = {one.host.name for one in self.workers if one.is_running or one.was_killed}
        return [
            f"{host.name}: {path.name}"
            for host in self.hosts.values()
            if host.name not in hurt
            for path in host.folder.rglob("*.part*")
        ]

    def _unfinished(self, output: str) -> list[str]:
        slices = self.query(
            "SELECT slice FROM batchvid.slices JOIN batchvid.revisions USING (revision)"
            " JOIN batchvid.journals USING (journal) WHERE name = %s AND over_at IS NULL",
            output,
        )
        revisions = self.query(
            "SELECT revision FROM batchvid.revisions JOIN batchvid.journals USING (journal)"
            " WHERE name = %s AND ended_at IS NULL",
            output,
        )
        return [f"slice {one} is not over" for (one,) in slices] + [f"revision {one} goes on" for (one,) in revisions]


def _brought(start: Callable[[], Any]) -> Any:
    """Return what *start* returns. Raise `NotHereError` with the command that brings it, where a test would skip."""
    try:
        return start()
    except pytest.skip.Exception as reason:
        raise NotHereError(str(reason)) from None


@contextmanager
def world(*, network: bool = False, store: str = "seaweedfs", below: Path | None = None) -> Iterator[World]:
    """Make a world with a database and a *store* (``folder``: none, but a folder), and leave nothing of it.

    *network*: its workers are on machines of their own, and can be cut off.
    """
    mark = f"bv{secrets.token_hex(3)}"
    folder = Path(tempfile.mkdtemp(prefix=f"batchvid-{mark}-", dir=below))
    folder.chmod(0o755)  # the database's user is another one
    command = [sys.executable, "-m", "tests.cluster.keeper", mark, str(folder)]
    before = os.environ.get(keeper.MARK)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, cwd=REPOSITORY, start_new_session=True, stdout=subprocess.DEVNULL
    ) as keeping:
        os.environ[keeper.MARK] = mark  # for every server
        try:
            with ExitStack() as stack:
                made = World(mark, folder, stack, Network(mark, network))
                made.network.make()
                made.start_database()
                if store != "folder":
                    made.start_store(store)
                stack.callback(_end_workers, made.workers)
                yield made
        finally:
            if before is None:
                del os.environ[keeper.MARK]
            else:
                os.environ[keeper.MARK] = before
            assert keeping.stdin is not None
            keeping.stdin.close()
            keeping.wait()
            assert not folder.exists(), "the keeper left the world's folder"


def _end_workers(workers: Sequence[Worker]) -> None:
    for one in workers:
        if one.is_running:
            one.kill()
            one.process.wait()
