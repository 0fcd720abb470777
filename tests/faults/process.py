"""F66 to F70 and F72: what can happen to the process while it works."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.faults.cases import fault
from tests.faults.power import disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.lab import Lab

ONE = "  - {id: one, prompt: The only one}"
FEW = "\n".join(f"  - {{id: job-{n}, prompt: Number {n}}}" for n in range(4))


def asked(kind: str) -> Callable[[Lab], bool]:
    """Ask whether the sandbox was asked for this: ``create``, ``poll``, ``content`` or ``file``."""
    return lambda lab: lab.ledger()["requests"][kind] > 0


def is_state(state: str, jobs: int = 1) -> Callable[[Lab], bool]:
    """Ask whether the journal knows so many jobs, and all in this state."""
    return lambda lab: list(lab.states().values()) == [state] * jobs


MOMENTS: dict[str, tuple[str, Callable[[Lab], bool]]] = {
    "begun": ("- {on: create, hang: true, times: 1}", asked("create")),
    "billed": ("- {on: create, delay_s: 5, times: 1}", asked("create")),
    "accepted": ("", is_state("running")),
    "polled": ("- {on: poll, delay_s: 5, times: 1}", asked("poll")),
    "arriving": ("- {on: file, stall_s: 5, times: 1}", lambda lab: (lab.output / "one.mp4.part").exists()),
    "waiting": ("- {on: file, nth: 1, status: 503, headers: {Retry-After: '1'}}", asked("file")),
    "named": ("", lambda lab: (lab.output / "one.mp4").exists()),
    "done": ("", is_state("done")),
}
"""What the service does, and how to see that the moment has come: one for each effect in the life of a job."""
SMALL_BLOCKS = {"batchvid.providers.http.BLOCK_BYTES": 1024}
"""So that half of a tiny clip is written before the rest of it comes."""


def world(lab: Lab, name: str, moment: str, **options: Any) -> tuple[Lab, Callable[[], bool]]:
    """Return a lab with one job and a service that makes the moment last, and the question whether it has come."""
    faults, reached = MOMENTS[moment]
    one = lab.beside(name)
    one.constants |= SMALL_BLOCKS
    one.manifest(ONE)
    one.sandbox(faults, **options)
    return one, lambda: reached(one)


def as_a_person(lab: Lab) -> None:
    """Decide about the jobs in doubt by what the ledger says, as a person does by the dashboard."""
    owned = {task for (task,) in lab.query("SELECT task_id FROM attempts WHERE task_id IS NOT NULL")}
    for row in lab.exported():
        if row["state"] not in {"in_doubt", "submitting"}:
            continue
        lost = [line["task_id"] for line in lab.creates() if line["prompt"] == row["prompt"]]
        lost = [task for task in lost if task not in owned]
        adopt = ("adopt", lab.manifest_path, row["id"], *lost[:1], "--offline")
        step = adopt if lost else ("retry", lab.manifest_path, row["id"])
        lab.ended(lab.call(*step, *(() if lost else ("--in-doubt", "--yes"))), 0)


def goes_on(lab: Lab) -> None:
    """Resume after a kill: what is in doubt is said and held, a person decides, and all ends well."""
    lab.survived()
    doubtful = {row["prompt"] for row in lab.exported() if row["state"] == "submitting"}
    if doubtful:
        before = Counter(line["prompt"] for line in lab.creates())
        again = lab.run()
        lab.ended(again, 4)
        lab.says(again, "in doubt", "adopt", "retry")
        more = Counter(line["prompt"] for line in lab.creates()) - before
        lab.expect("I1", doubtful.isdisjoint(more), f"in doubt, and bought again: {more}")
        as_a_person(lab)
    lab.converges()
    lab.survived()
    wanted = len(lab.exported())
    lab.expect("I1", len(lab.creates()) == wanted, f"{len(lab.creates())} creates for {wanted} clips")


@fault("F66", "SIGKILL at eight moments of a job's life, from before the answer to after the clip")
def killed(lab: Lab) -> None:
    """Collect what was paid; what may be paid is in doubt; nothing is bought twice."""
    for moment in MOMENTS:
        one, reached = world(lab, moment, moment)
        ran = one.kill_when(one.start("run", one.manifest_path), reached)
        one.expect("I6", ran.code in {-signal.SIGKILL, 0}, f"ended with {ran.code} before it was killed")
        goes_on(one)


@fault("F67", "the power is cut at five moments, on file systems with and without a journal: unsynced data is gone")
def power_lost(lab: Lab) -> None:
    """Keep every promise that was made: no task id is lost, no clip is half."""
    for kind in ("ext4", "ext2"):
        for moment in ("begun", "billed", "accepted", "named", "done"):
            one, reached = world(lab, f"{kind}-{moment}", moment)
            with disk(one, kind=kind) as power:
                one.kill_when(one.start("run", one.manifest_path), reached)
                known = one.states()
                power.cut()
                one.expect("I2", one.states() == known, f"{kind}, {moment}: {known} became {one.states()}")
                goes_on(one)


@fault("F68", "SIGINT and SIGTERM, once and twice, while a create, a poll or a transfer is under way")
def interrupted(lab: Lab) -> None:
    """Once: what is under way ends and is recorded, 130 or 143. Twice: it stops at once, and the journal is intact."""
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        one = lab.beside(f"once-{code}")
        one.manifest(FEW)
        one.sandbox("- {on: create, delay_s: 1.5}")
        ran = one.kill_when(one.start("run", one.manifest_path), lambda one=one: asked("create")(one), number=number)
        one.ended(ran, code)
        one.says(ran, "stopping", "once more stops at once", "batchvid run")
        one.expect("I2", "submitting" not in one.states().values(), f"not recorded: {one.states()}")
        goes_on(one)
        again = one.kill_when(one.start("run", one.manifest_path), lambda: True, number=number)
        one.expect("I6", again.code in {0, code, -number}, f"a signal at the very start ends with {again.code}")
    for moment, code in (("begun", 4), ("polled", 143), ("arriving", 143)):
        one, reached = world(lab, f"twice-{moment}", moment)
        process = one.start("run", one.manifest_path)
        one.until(reached, process)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)  # the two are told apart only when the first was received
        process.send_signal(signal.SIGTERM)
        ran = one.wait(process, timeout_s=5)
        one.ended(ran, code)
        goes_on(one)


@fault("F69", "SIGHUP: sent, sent under nohup, and by a terminal that goes away")
def hung_up(lab: Lab) -> None:
    """Drain like SIGTERM (143); under nohup go on to the end."""
    one = lab.beside("sent")
    one.manifest(FEW)
    one.sandbox("- {on: create, delay_s: 1}")
    ran = one.kill_when(one.start("run", one.manifest_path), lambda: asked("create")(one), number=signal.SIGHUP)
    one.ended(ran, 143)
    goes_on(one)
    two = lab.beside("nohup")
    two.manifest(FEW)
    two.sandbox("- {on: create, delay_s: 1}")
    process = two.start("run", two.manifest_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    two.ended(two.kill_when(process, lambda: asked("create")(two), number=signal.SIGHUP), 0)
    two.others_done("job-0", "job-1", "job-2", "job-3")
    two.survived()
    three = lab.beside("terminal")
    three.manifest(FEW)
    three.sandbox("- {on: create, delay_s: 1}")
    ours, theirs = os.openpty()
    process = three.start(
        "run",
        "--yes",
        three.manifest_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        under=["setsid", "--ctty", "--wait"],
    )
    os.close(theirs)
    three.until(lambda: asked("create")(three), process)
    os.close(ours)
    three.ended(three.wait(process), 143)
    goes_on(three)


@fault("F70", "memory runs out: the address space is bounded, at four sizes")
def out_of_memory(lab: Lab) -> None:
    """End with a message, not a traceback; the next run goes on."""
    import resource  # noqa: PLC0415 POSIX only

    for megabytes in (50, 70, 80, 95):
        one = lab.beside(f"as-{megabytes}")
        one.manifest(FEW)
        one.sandbox()
        bound = megabytes * 1024**2
        ran = one.run(preexec_fn=lambda bound=bound: resource.setrlimit(resource.RLIMIT_AS, (bound, bound)))
        one.ended(ran, 0, 5)
        if ran.code:
            one.says(ran, "out of memory", "run again")
        goes_on(one)


@fault(
    "F72", "suspended (SIGSTOP) for longer than a URL lives: with a create, a poll or a transfer under way, or a URL"
)
def suspended(lab: Lab) -> None:
    """Ask again for a URL that ran out meanwhile; nothing is bought twice and nothing hangs."""
    for moment in ("billed", "polled", "arriving", "waiting"):
        one, reached = world(lab, moment, moment, url_life_s=2.0)
        process = one.start("run", one.manifest_path)
        one.until(reached, process)
        process.send_signal(signal.SIGSTOP)
        time.sleep(3.0)  # longer than a URL lives
        process.send_signal(signal.SIGCONT)
        ran = one.wait(process, timeout_s=45)
        one.ended(ran, 0)
        one.converges()
        one.survived()
        one.expect("I1", len(one.creates()) == 1, f"{len(one.creates())} creates")
        expired = one.query("SELECT count(*) FROM events WHERE kind = 'UrlExpired'")[0][0]
        one.expect("I9", expired or moment != "waiting", "the URL did not run out: this proves nothing")
