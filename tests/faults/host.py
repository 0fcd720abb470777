"""F71 and F73 to F78: what can happen around the process: its clocks, its neighbours, its surroundings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

from tests.faults.cases import NotHereError, fault
from tests.faults.lab import FRAMES, KEY, QUICK, quick
from tests.faults.process import FEW, asked, goes_on, is_state

if TYPE_CHECKING:
    from tests.faults.lab import Lab

FAKETIME = "libfaketimeMT.so.1"
ALL_FOUR = ("job-0", "job-1", "job-2", "job-3")
ZONES = ("Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati", "No/Such_Zone", "", "XYZ+27")
FRESH_S = 600.0
"""A moment that was written down in this case is no older."""


def false_clock(lab: Lab, text: str) -> tuple[Path, dict[str, str]]:
    """Return the file that sets the wall clock of a run (``+10d``, ``@2026-…``), and the environment that obeys it."""
    library = next((str(path) for path in Path("/usr/lib").rglob(FAKETIME)), None)
    if library is None:
        raise NotHereError("libfaketime is not installed")
    when = lab.folder / "faketime"
    when.write_text(f"{text}\n", encoding="ascii")
    return when, lab.environment(
        LD_PRELOAD=library,
        FAKETIME_TIMESTAMP_FILE=str(when),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )


@fault("F71", "the wall clock jumps by 8 years, forwards and backwards, during a run and between two runs")
def clock_jumps(lab: Lab) -> None:
    """Wait by the monotonic clock: nothing times out, nothing hangs, and a run at another date goes on."""
    for name, jump in (("future", "+3000d"), ("past", "-3000d")):
        one = lab.beside(name)
        one.manifest(FEW)
        one.sandbox("- {on: poll, nth: 1, delay_s: 1}")
        when, clock = false_clock(one, "+0d")
        process = one.start("run", one.manifest_path, env=clock)
        one.until(lambda one=one: is_state("running", 4)(one), process)
        when.write_text(f"{jump}\n", encoding="ascii")
        one.ended(one.wait(process, timeout_s=30), 0)
        one.others_done(*ALL_FOUR)
        one.survived("faketime")
        two = lab.beside(f"{name}-between")
        two.manifest(FEW)
        two.sandbox("- {on: poll, nth: 1, delay_s: 1}")
        _, clock = false_clock(two, jump)
        process = two.start("run", two.manifest_path, env=clock)
        two.kill_when(process, lambda two=two: is_state("running", 4)(two))
        two.converges()
        two.survived("faketime")


@fault("F73", "odd and nonsensical time zones, and --until across both changes of daylight saving time")
def time_zones(lab: Lab) -> None:
    """Write UTC everywhere; --until means the next such time on the wall."""
    for number, zone in enumerate(ZONES):
        one = lab.beside(f"zone-{number}")
        one.manifest("  - {id: one, prompt: The only one}")
        one.sandbox()
        ran = one.run(env=one.environment(TZ=zone))
        one.ended(ran, 0)
        sidecar = json.loads((one.output / "one.json").read_text(encoding="utf-8"))
        log = (one.output / ".batchvid" / "log.jsonl").read_text(encoding="utf-8").splitlines()
        status = one.call("status", one.manifest_path, "--json", env=one.environment(TZ=zone))
        row = json.loads(status.out)["jobs"][0]
        written = [sidecar["submitted_at"], row["submitted_at"], row["finished_at"], json.loads(log[0])["at"]]
        for text in written:
            off_s = abs(datetime.now(UTC).timestamp() - datetime.fromisoformat(text).timestamp())
            one.expect("I6", text.endswith("Z") and off_s < FRESH_S, f"in {zone!r}, {text} is not UTC")
        one.survived()
    # In Berlin, 03:00 is three seconds after 01:59:57 in spring, and an hour more after 02:59:57 in autumn.
    for name, now, code in (("spring", "2026-03-29T00:59:57Z", 5), ("autumn", "2026-10-25T00:59:57Z", 0)):
        one = lab.beside(name)
        one.manifest(FEW, head=quick(submits="1/s"))
        one.sandbox()
        _, clock = false_clock(one, f"{datetime.fromisoformat(now).timestamp() - datetime.now(UTC).timestamp():+.0f}")
        ran = one.run("--until", "03:00", env=clock | {"TZ": "Europe/Berlin"})
        one.ended(ran, code)
        if code:
            one.says(ran, "the time window has closed")
        one.converges()
        one.survived("faketime")


@fault(
    "F74",
    "a second run, of another manifest too, and a retry while a run is at work; status, plan and doctor beside it",
)
def second_run(lab: Lab) -> None:
    """Exit 75 at once, with nothing sent; what only looks, works."""
    refused = '{on: create, prompt: Bad, status: 400, body: \'{"error": {"message": "no", "code": ""}}\'}'
    lab.manifest(f"{FEW}\n  - {{id: bad, prompt: Bad}}")
    lab.sandbox(f"- {refused}\n- {{on: poll, nth: 1, delay_s: 4}}")
    lab.ended(lab.run("--only", "bad"), 3, 5)
    first = lab.start("run", lab.manifest_path)
    lab.until(lambda: list(lab.states().values()).count("running") == 4, first)
    first.send_signal(signal.SIGSTOP)  # it keeps the lock for as long as the others take
    before = lab.ledger()["requests"]["create"]
    other = lab.folder / "other.yaml"
    other.write_text(lab.manifest_path.read_text("utf-8").replace("version: 1", "version: 1\noutput: out/m"), "utf-8")
    for command in (
        ("run", lab.manifest_path),
        ("run", other),
        ("retry", lab.manifest_path, "--failed", "--yes"),
        ("run", lab.manifest_path, "--retry-failed"),
    ):
        ran = lab.call(*command)
        lab.ended(ran, 75)
        lab.says(ran, "another run", str(first.pid), str(lab.output))
        lab.expect("I8", ran.seconds < 10, f"{command[0]} waited {ran.seconds:.0f} s")
    for command in (("status", lab.manifest_path), ("plan", lab.manifest_path), ("doctor", lab.manifest_path)):
        lab.ended(lab.call(*command), 0)
    lab.expect("I1", lab.ledger()["requests"]["create"] == before, "a second run sent a create")
    first.send_signal(signal.SIGCONT)
    lab.ended(lab.wait(first), 3)
    lab.others_done(*ALL_FOUR)
    lab.converges(codes=(3,))
    lab.survived("other.yaml")


@fault("F75", "a lock file of a run that was killed, of a process that lives, with nonsense in it, and read-only")
def stale_lock(lab: Lab) -> None:
    """Begin at once: the kernel's lock counts, not the file."""
    lab.manifest(FEW)
    lab.sandbox("- {on: poll, nth: 1, delay_s: 1}")
    lock = lab.output / ".batchvid" / "lock"
    lab.kill_when(lab.start("run", lab.manifest_path), lambda: is_state("running", 4)(lab))
    lab.expect("I6", lock.exists(), "there is no lock file to be stale")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        for content in (None, f"{alive.pid}\n".encode(), b"\xff\x00nonsense" * 100, b""):
            if content is not None:
                lock.write_bytes(content)
            lock.chmod(0o400)
            lab.ended(lab.run(), 0)
        alive.communicate(b"\n")
    lab.others_done(*ALL_FOUR)
    lab.survived()


@fault("F76", "two manifests share one output: at once, one after the other, in one command, with the same ids")
def one_output(lab: Lab) -> None:
    """At once: 75. One after the other: each finds its own jobs, and a clip of other content is never passed off."""
    lab.sandbox("- {on: poll, nth: 1, prompt: 'Slow*', delay_s: 2}")
    first = lab.manifest(
        "  - {id: a, prompt: Slow A}\n  - {id: both, prompt: Slow B}", name="first.yaml", output="out/m"
    )
    second = lab.manifest("  - {id: c, prompt: The C}\n  - {id: d, prompt: The D}", name="second.yaml", output="out/m")
    third = lab.manifest("  - {id: both, prompt: Another B}", name="third.yaml", output="out/m")
    lab.manifest(
        "  - {id: a, prompt: Slow A}\n  - {id: both, prompt: Slow B}\n"
        "  - {id: c, prompt: The C}\n  - {id: d, prompt: The D}"
    )  # for the lab: what the first two name together
    process = lab.start("run", first)
    lab.until(lambda: asked("poll")(lab), process)
    lab.ended(lab.call("run", second), 75)
    lab.ended(lab.wait(process), 0)
    lab.ended(lab.call("run", second), 0)
    lab.others_done("a", "both", "c", "d")
    ran = lab.call("run", third)
    lab.expect("I1", len(lab.creates()) == 4, "the changed job was bought though on_change is keep")
    lab.ended(ran, 0)
    lab.says(ran, "both", "changed", "--rebuy")
    lab.ended(lab.call("run", first, second), 0)
    lab.expect("I1", len(lab.creates()) == 4, "something was bought twice")
    lab.converges()
    lab.survived("first.yaml", "second.yaml", "third.yaml")


@fault("F77", "env -i: no HOME, no PATH, no terminal, no standard input; LANG=C, ASCII only; letters of all the world")
def bare_environment(lab: Lab) -> None:
    """Need nothing of it but the key; where the locale cannot name a file, say so before anything is paid."""
    bare = {"COMETAPI_KEY": KEY}
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    odd = '  - {id: one, prompt: "Zwölf Boxkämpfer 日本 🎈"}'
    with_frame = f"{odd}\n  - {{id: two, prompt: Ünïcödé, first_frame: Bild ä.png}}"
    for number, more in enumerate(({}, {"LANG": "C"}, {"PYTHONIOENCODING": "ascii", "TERM": "dumb"}, ascii_only)):
        one = lab.beside(f"größe-{number}")
        one.manifest(odd if more is ascii_only else with_frame)
        (one.folder / "Bild ä.png").write_bytes((FRAMES / "dawn.png").read_bytes())
        one.sandbox()
        quiet: dict[str, Any] = {"env": bare | more, "stdin": subprocess.DEVNULL}
        one.ended(one.run(**quiet), 0)
        for command in ("status", "plan", "export", "doctor", "verify"):
            one.ended(one.call(command, one.manifest_path, **quiet), 0)
        one.expect("I9", set(one.states().values()) == {"done"}, f"not done: {one.states()}")
        one.survived("Bild ä.png")
        if more is ascii_only:
            for head in (f"filename: 'ä {{id}}.mp4'\n{QUICK}", f"output: größe\n{QUICK}", QUICK):
                one.manifest(with_frame if head is QUICK else odd, head=head, name="odd.yaml")
                ran = one.run(**quiet)
                one.ended(ran, 65)
                one.says(ran, "odd.yaml", "locale", "set LC_ALL=C.UTF-8")
            one.expect("I1", len(one.creates()) == 1, "something was sent for a file that cannot be named")
    one = lab.beside("sandbox")
    one.manifest(FEW)
    one.ended(one.run("--sandbox", "--sandbox-speed", "400", "--output", one.output, env={}), 0)
    one.survived()


@fault("F78", "batchvid as process 1 of a container: to its end, with its own sandbox, and stopped by SIGTERM")
def process_one(lab: Lab) -> None:
    """Work, reap its child, and obey SIGTERM, which the kernel drops for a process 1 that does not listen."""
    if which("unshare") is None:
        raise NotHereError("there is no unshare")
    contained = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*contained, "true"], check=False, capture_output=True).returncode:
        raise NotHereError("a namespace of processes cannot be made")
    one = lab.beside("to-the-end")
    one.manifest(FEW)
    words = ("run", one.manifest_path, "--sandbox", "--sandbox-speed", "400", "--output", one.output)
    one.ended(one.wait(one.start(*words, under=contained)), 0)
    one.others_done(*ALL_FOUR)
    one.survived()
    two = lab.beside("stopped")
    two.manifest(FEW)
    two.sandbox("- {on: create, delay_s: 1}")
    process = two.start("run", two.manifest_path, under=contained)
    two.until(lambda: asked("create")(two), process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()
    os.kill(int(children[0]), signal.SIGTERM)
    ran = two.wait(process)
    two.ended(ran, 143)
    goes_on(two)
