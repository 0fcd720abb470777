"""The lab of one fault: a folder, a sandbox or a raw server, real runs of batchvid, and the ten invariants.

A case makes a fault happen to the real program and then asks `Lab.survived`, which looks at everything that a person
could look at: the sandbox's ledger, the journal, the tree, what was printed, the exit codes.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import batchvid
from batchvid.cli.options import read_journal
from batchvid.cli.status import status_object
from batchvid.domain.errors import BatchvidError
from batchvid.media.frames import decode_clip
from batchvid.sandbox.process import Options, running
from batchvid.storage.fs import STATE_FOLDER
from tests.faults.raw import serving

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from tests.faults.raw import Raw, Request

KEY = "sk-canary-5f1d7c0b9a3e"
"""Looked for in everything that is written."""
RUN_TIMEOUT_S = 90.0
MEMORY_MAX_BYTES = 400 * 1024**2
REQUESTS_MAX = 3000
REPOSITORY = Path(__file__).resolve().parents[2]
FRAMES = REPOSITORY / "jobs" / "frames"
QUICK = (
    "limits: {submits: 50/s, requests: 100/s, in_flight: 8, typical_time: 0.3s, poll_every: 0.05s..0.5s,"
    " backoff: 0.02s..0.2s, budget: 100}\nprices: {veo3-fast: 0.40}\ndefaults: {model: veo3-fast, size: 16x9}\n"
)
"""The head of a manifest whose waits are short."""


IN_CLEAR = "service: {allow_http: true}\n"
"""Of a manifest whose service is another machine, reached without TLS."""


def quick(**limits: Any) -> str:
    """Return `QUICK` with other limits, such as ``attempts=1``."""
    tree = yaml.safe_load(QUICK)
    tree["limits"] |= limits
    return str(yaml.safe_dump(tree))


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


@dataclass(frozen=True, slots=True)
class Ran:
    """One process that has ended."""

    code: int
    """Negative for a signal."""
    out: str
    err: str
    seconds: float
    memory_bytes: int
    """The largest resident size of any process that this lab waited for so far."""

    @property
    def text(self) -> str:
        """Everything that it printed."""
        return self.out + self.err


class BrokenError(Exception):
    """An invariant that did not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


@dataclass(slots=True)
class Lab:
    """One case's own world."""

    folder: Path
    stack: ExitStack
    api: str | None = None
    """The sandbox's base URL, once `sandbox` has been called."""
    front: str | None = None
    """The base URL that runs use in place of the sandbox's, once `in_front` has been called."""
    constants: dict[str, float] = field(default_factory=dict)
    """Set in batchvid before it starts, such as a time-out of minutes: ``{"batchvid.providers.http.SILENCE_S": 1}``."""
    ran: list[Ran] = field(default_factory=list)
    manifest_path: Path = Path()
    held: set[str] = field(default_factory=set)
    """The invariants that were looked at and held."""

    # ---- making the world

    def manifest(self, jobs: str, *, head: str = QUICK, name: str = "m.yaml", output: str | None = None) -> Path:
        """Write a manifest: *jobs* is the YAML below ``jobs:``."""
        self.manifest_path = self.folder / name
        where = f"output: {output}\n" if output else ""
        self.manifest_path.write_text(f"version: 1\n{where}{head}jobs:\n{jobs}\n", encoding="utf-8")
        return self.manifest_path

    @property
    def output(self) -> Path:
        """The manifest's default output folder."""
        return self.folder / "out" / self.manifest_path.stem

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.output / STATE_FOLDER / "journal.db"

    def sandbox(self, faults: str = "", **options: Any) -> str:
        """Start a sandbox that misbehaves as *faults* (YAML) says; give its base URL."""
        path = None
        if faults:
            path = self.folder / "faults.yaml"
            path.write_text(faults, encoding="utf-8")
        wanted: dict[str, Any] = {"speed": 400.0, "clip": "tiny", "key": KEY, "faults_path": path} | options
        self.api, _ = self.stack.enter_context(running(Options(**wanted)))
        return self.api

    def in_front(
        self, answer: Callable[[Request], bytes | None], *, tls: ssl.SSLContext | None = None, read_body: bool = True
    ) -> Raw:
        """Put a server of the case's own before the sandbox: runs speak to it, and `relayed` passes a request on."""
        raw = self.stack.enter_context(serving(answer, tls=tls, read_body=read_body))
        self.front = f"{raw.url}/v1"
        return raw

    def beside(self, name: str) -> Lab:
        """Return a lab in a folder of its own, for a variant of the case that needs a world of its own."""
        folder = self.folder / name
        folder.mkdir()
        return Lab(folder, self.stack, held=self.held)

    # ---- running

    def command(self, *arguments: str | Path, api: str | None = None) -> list[str]:
        """Return the command line of ``batchvid ARGUMENTS``; a run gets the sandbox's address."""
        url = api or self.front or self.api
        known = arguments[0] in {"run", "verify", "doctor"} and url is not None
        program = ["-c", WITH_CONSTANTS, json.dumps(self.constants)] if self.constants else ["-m", "batchvid"]
        return [sys.executable, *program, *map(str, arguments), *(["--base-url", url or ""] if known else [])]

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a run."""
        return {**os.environ, "COMETAPI_KEY": KEY, "PYTHONPATH": str(REPOSITORY), **more}

    def start(
        self, *arguments: str | Path, api: str | None = None, under: Sequence[str | Path] = (), **popen: Any
    ) -> subprocess.Popen[str]:
        """Start batchvid and go on. *under* is a command that starts it, such as strace or setpriv with its options."""
        settings: dict[str, Any] = {
            "env": self.environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
            "cwd": self.folder,
        } | popen  # fmt: skip
        return subprocess.Popen([*map(str, under), *self.command(*arguments, api=api)], **settings)

    def wait(self, process: subprocess.Popen[str], *, timeout_s: float = RUN_TIMEOUT_S) -> Ran:
        """Wait for a process; one that does not end in time breaks I8."""
        started = time.monotonic()
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise BrokenError("I8", f"did not end within {timeout_s:.0f} s") from None
        import resource  # noqa: PLC0415 POSIX only, like the bench

        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        self.ran.append(Ran(process.returncode, out or "", err or "", time.monotonic() - started, peak))
        return self.ran[-1]

    def run(self, *more: str | Path, api: str | None = None, timeout_s: float = RUN_TIMEOUT_S, **popen: Any) -> Ran:
        """Run the manifest to its end."""
        return self.wait(self.start("run", self.manifest_path, *more, api=api, **popen), timeout_s=timeout_s)

    def call(self, *arguments: str | Path, **popen: Any) -> Ran:
        """Run another command to its end."""
        return self.wait(self.start(*arguments, **popen))

    def kill_when(self, process: subprocess.Popen[str], reached: Any, *, number: int = signal.SIGKILL) -> Ran:
        """Send a signal as soon as *reached()* is true (looked at every 5 ms), then wait."""
        self.until(reached, process)
        process.send_signal(number)
        return self.wait(process)

    def until(self, reached: Any, process: subprocess.Popen[str]) -> None:
        """Wait until *reached()* is true (looked at every 5 ms), or the process has ended."""
        until = time.monotonic() + RUN_TIMEOUT_S
        while process.poll() is None and not reached() and time.monotonic() < until:
            time.sleep(0.005)

    # ---- looking

    def ledger(self) -> dict[str, Any]:
        """Ask the sandbox what it billed and what it was asked."""
        assert self.api is not None
        with urllib.request.urlopen(self.api.removesuffix("/v1") + "/_sandbox/ledger") as answer:  # noqa: S310 our own
            found: dict[str, Any] = json.load(answer)
        return found

    def creates(self) -> list[dict[str, Any]]:
        """Return the accepted, billed creates."""
        return [line for line in self.ledger()["creates"] if line.get("billed", True)]

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the journal; nothing when there is none."""
        if not self.journal.exists():
            return []
        db = sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def states(self) -> dict[str, str]:
        """Return the journal's state of each job that it knows."""
        return dict(self.query("SELECT job_id, state FROM jobs"))

    def clips(self) -> dict[str, tuple[str, int, str]]:
        """Return the done jobs: path, size, SHA-256."""
        rows = self.query("SELECT job_id, path, size_bytes, sha256 FROM jobs WHERE state = 'done'")
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    # ---- the invariants

    def one_create_per_attempt(self) -> None:
        """I1: the service accepted at most one create per job and attempt."""
        attempts = Counter(self._prompts_of_attempts())
        billed = Counter(line["prompt"] for line in self.creates())
        over = {prompt: number for prompt, number in billed.items() if number > max(attempts[prompt], 0)}
        self.expect("I1", not over, f"billed more often than the journal has attempts: {over}")

    def _prompts_of_attempts(self) -> list[str]:
        prompts = {row["id"]: row["prompt"] for row in self.exported()}
        return [prompts.get(job_id, job_id) for (job_id,) in self.query("SELECT job_id FROM attempts")]

    def exported(self) -> list[dict[str, Any]]:
        """Return the rows of ``batchvid export``, with the prompts; nothing where it would refuse to tell."""
        try:
            manifest = batchvid.load(self.manifest_path)
            rows = status_object(manifest, *read_journal(manifest))["jobs"]
        except BatchvidError:
            return []
        return [row | {"prompt": job.prompt} for row, job in zip(rows, manifest.jobs, strict=True)]

    def every_task_on_record(self) -> None:
        """I2: every accepted task id is in the journal, or in orphans.jsonl, or its job is shown in doubt."""
        kept = {task for (task,) in self.query("SELECT task_id FROM attempts WHERE task_id IS NOT NULL")}
        orphans = self.output / STATE_FOLDER / "orphans.jsonl"
        if orphans.exists():
            kept |= {json.loads(line)["task_id"] for line in orphans.read_text("utf-8").splitlines() if line}
        doubtful = {row["prompt"] for row in self.exported() if row["state"] in {"in_doubt", "submitting"}}
        lost = [line for line in self.creates() if line["task_id"] not in kept and line["prompt"] not in doubtful]
        self.expect("I2", not lost, f"paid and nowhere on record: {[line['task_id'] for line in lost]}")

    def every_clip_whole(self) -> None:
        """I3: a final path is absent, or a clip that decodes to its end and is what the journal says."""
        import hashlib  # noqa: PLC0415 as it is needed

        ours = {path: (size, digest) for path, size, digest in self.clips().values()}
        for path, (size, digest) in ours.items():
            data = (self.output / path).read_bytes()
            self.expect("I3", (len(data), hashlib.sha256(data).hexdigest()) == (size, digest), f"{path} differs")
            decode_clip(self.output / path)
        self.held.add("I3")

    def converges(self, *more: str | Path, codes: Sequence[int] = (0,), runs: int = 3) -> None:
        """I4: plain runs lead to an end state, and no create is made for what is done or was paid."""
        before = {job for job, state in self.states().items() if state == "done"}
        prompts = {row["id"]: row["prompt"] for row in self.exported()}
        billed = Counter(line["prompt"] for line in self.creates()) if self.api else Counter()
        last = None
        for _ in range(runs):
            last = self.run(*more)
            if last.code in codes:
                break
        assert last is not None
        self.expect("I4", last.code in codes, f"further runs end with {last.code}, not {codes}: {last.text[-600:]}")
        if self.api:
            after = Counter(line["prompt"] for line in self.creates())
            again = [job for job in before & prompts.keys() if after[prompts[job]] > billed[prompts[job]]]
            self.expect("I4", not again, f"bought again though done: {again}")

    def key_nowhere(self) -> None:
        """I5: the key is in nothing that was printed or written, in no encoding."""
        forms = {KEY.encode(), base64.b64encode(KEY.encode()).rstrip(b"="), urllib.parse.quote(KEY, safe="").encode()}
        forms.add(base64.b64encode(f"Bearer {KEY}".encode())[:-4])
        for ran in self.ran:
            self.expect("I5", not any(form in ran.text.encode() for form in forms), "the key was printed")
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and "sandbox-state" not in path.parts:
                found = any(form in path.read_bytes() for form in forms)
                self.expect("I5", not found, f"the key is in {path.relative_to(self.folder)}")

    def ended(self, ran: Ran, *codes: int) -> None:
        """I6: the exit code is the promised one, and no traceback was shown."""
        self.expect("I6", ran.code in codes, f"exit {ran.code}, promised {codes}: {ran.text[-600:]}")
        self.expect("I6", "Traceback" not in ran.text, f"a traceback: {ran.text[-1200:]}")

    def nothing_outside(self, *allowed: str) -> None:
        """I7: nothing was written outside output and state folders; *allowed* are names that the case itself made."""
        ours = {self.manifest_path.name, "faults.yaml", "out", *allowed}
        strange = {path.name for path in self.folder.iterdir()} - ours
        self.expect("I7", not strange, f"files outside the output: {sorted(strange)}")

    def bounded(self, *, requests: int = REQUESTS_MAX) -> None:
        """I8: memory and the number of requests stay bounded (time is, by the time-out of every run)."""
        peak = max((ran.memory_bytes for ran in self.ran), default=0)
        self.expect("I8", peak <= MEMORY_MAX_BYTES, f"{peak / 1e6:.0f} MB of memory")
        if self.api:
            sent = sum(self.ledger()["requests"].values())
            self.expect("I8", sent <= requests, f"{sent} requests")

    def others_done(self, *job_ids: str) -> None:
        """I9: these other jobs became clips."""
        states = self.states()
        left = {job: states.get(job, "pending") for job in job_ids if states.get(job) != "done"}
        self.expect("I9", not left, f"other jobs did not finish: {left}")

    def says(self, ran: Ran, *words: str) -> None:
        """I10: the message names the job, the cause and the next step: all of *words* are in what was printed."""
        missing = [word for word in words if word.lower() not in ran.text.lower()]
        self.expect("I10", not missing, f"not said: {missing} in {ran.text[-800:]!r}")

    def survived(self, *allowed: str, requests: int = REQUESTS_MAX) -> None:
        """Look at every invariant that needs no word from the case: I1, I2, I3, I5, I7, I8."""
        if self.api:
            self.one_create_per_attempt()
            self.every_task_on_record()
        self.every_clip_whole()
        self.key_nowhere()
        self.nothing_outside(*allowed)
        self.bounded(requests=requests)

    def expect(self, invariant: str, holds: object, what: str) -> None:
        """Note that an invariant held, or raise `BrokenError`."""
        if not holds:
            raise BrokenError(invariant, what)
        self.held.add(invariant)
