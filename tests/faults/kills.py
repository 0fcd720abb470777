"""Kills: a hundred at random moments, and one at each of many system calls; what is paid must always be known."""

from __future__ import annotations

import random
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from shutil import which
from threading import Lock
from typing import TYPE_CHECKING, Any

from batchvid.media.frames import decode_clip
from tests.faults.cases import NotHereError, fault
from tests.faults.lab import Lab, quick
from tests.faults.process import as_a_person, goes_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KILLS = 110
AT_ONCE = 3
"""Nights beside each other: enough to keep two cores busy while some of them wait."""
JOBS = 10
HITS = 5
"""Of them, at least so many must come while a paid request is under way; it is usually forty."""
LIVES_S = 0.3, 2.0
"""How long a run lives. It needs about half a second to its first request."""
SLOW = quick(submits="8/s", in_flight=4)
"""So that a night lasts for several of its runs."""


@dataclass
class Night(Lab):
    """One of many outputs that a single sandbox serves: what concerns it is told by its prompts."""

    def creates(self) -> list[dict[str, Any]]:
        """Return the creates of this night."""
        return [line for line in Lab.creates(self) if line["prompt"].startswith(f"{self.folder.name} ")]

    def night_survived(self) -> None:
        """Look at ledger, journal and tree, between two runs."""
        self.one_create_per_attempt()
        self.every_task_on_record()
        self.every_clip_whole()
        known = {path for path, _, _ in self.clips().values()}
        for path in self.output.glob("*.mp4"):
            if path.name not in known:
                decode_clip(path)  # it has its name, so it must be whole, though the journal could not be told
        found = self.query("PRAGMA quick_check")
        self.expect("I2", found in ([], [("ok",)]), f"the journal is damaged: {found}")
        self.nothing_outside()

    def is_over(self) -> bool:
        """Whether nothing is left that a run could do without a person."""
        return self.output.exists() and list(self.states().values()) == ["done"] * JOBS


@dataclass
class Kills:
    """How many kills there were so far, over all nights."""

    lock: Lock = field(default_factory=Lock)
    kills: int = 0
    in_doubt: int = 0
    nights: Iterator[int] = field(default_factory=count)

    def wants_more(self) -> bool:
        """Whether another kill is wanted."""
        with self.lock:
            return self.kills < KILLS

    def killed(self, *, in_doubt: int) -> None:
        """Count one."""
        with self.lock:
            self.kills += 1
            self.in_doubt += in_doubt


def spend_nights(lab: Lab, tally: Kills, seed: int) -> None:
    """Begin nights, kill their runs at random moments, look, and resume each to its end."""
    dice = random.Random(seed)  # noqa: S311 moments to be killed at
    while tally.wants_more():
        with tally.lock:
            folder = lab.folder / f"night-{next(tally.nights)}"
        folder.mkdir()
        night = Night(folder, lab.stack, lab.api, held=lab.held)
        prompts = (f"  - {{id: job-{n}, prompt: {folder.name} number {n}}}" for n in range(JOBS))
        night.manifest("\n".join(prompts), head=SLOW)
        while tally.wants_more() and not night.is_over():
            process = night.start("run", night.manifest_path)
            try:
                process.wait(dice.uniform(*LIVES_S))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            ran = night.wait(process)
            night.expect("I6", ran.code in {-signal.SIGKILL, 0, 4}, f"ended with {ran.code}: {ran.text[-500:]}")
            night.night_survived()
            if ran.code < 0:
                tally.killed(in_doubt=sum(state == "submitting" for state in night.states().values()))
            if not night.is_over() and not any(s not in {"done", "submitting", "in_doubt"} for s in states_of(night)):
                as_a_person(night)
        as_a_person(night)
        night.converges()
        night.night_survived()
        night.key_nowhere()
        wanted = len(night.creates())
        night.expect("I1", wanted == JOBS, f"{wanted} creates for {JOBS} clips")


def states_of(night: Night) -> list[str]:
    """Return the state of each job of the manifest; one that the journal does not know is pending."""
    known = list(night.states().values())
    return known + ["pending"] * (JOBS - len(known))


@fault("K01", f"SIGKILL at {KILLS} random moments, in nights of {JOBS} jobs that are killed again and again")
def random_kills(lab: Lab) -> None:
    """Find ledger, journal and tree in order after each kill, and end each night with one create a clip."""
    lab.sandbox(latency_s=0.12)
    tally = Kills()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for spent in [pool.submit(spend_nights, lab, tally, seed) for seed in range(AT_ONCE)]:
            spent.result()
    lab.expect("I8", tally.kills >= KILLS, f"only {tally.kills} kills")
    lab.expect("I1", tally.in_doubt >= HITS, f"only {tally.in_doubt} kills hit a paid request: this proves little")


def strace(calls: str, nth: int) -> list[str]:
    """Return the command that kills what it traces before a thread's nth such call, counted from when it begins."""
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:when={nth}"]
    return ["strace", "-f", "-qq", "-o", "/dev/null", *inject]


def killed_at(lab: Lab, calls: str, *, from_start: Sequence[int], under_way: Sequence[int]) -> None:
    """Kill runs before the nth such system call of a thread, and go on from there.

    Counted *from_start* they die while they open their journal; counted from the first paid request on, *under_way*.
    """
    if which("strace") is None:
        raise NotHereError("there is no strace")
    killed = 0
    for name, nth in [*(("start", n) for n in from_start), *(("way", n) for n in under_way)]:
        one = lab.beside(f"{name}-{nth}")
        one.manifest("  - {id: one, prompt: First}\n  - {id: two, prompt: Second}")
        one.sandbox(latency_s=0.2)
        if name == "start":
            ran = one.wait(one.start("run", one.manifest_path, under=strace(calls, nth)))
            if "ptrace" in ran.err.lower():
                raise NotHereError(f"strace may not trace here: {ran.err[:200]}")
        else:
            process = one.start("run", one.manifest_path)
            one.until(lambda one=one: "submitting" in one.states().values(), process)
            with subprocess.Popen([*strace(calls, nth), "-p", str(process.pid)], stderr=subprocess.PIPE):
                ran = one.wait(process)
        ends = {-signal.SIGKILL, 128 + signal.SIGKILL, 0}
        one.expect("I6", ran.code in ends, f"{name}, {nth}: {ran.code} {ran.text[-500:]}")
        killed += ran.code != 0
        goes_on(one)
    tried = len(from_start) + len(under_way)
    lab.expect("I8", killed > tried / 2, f"only {killed} of {tried} runs came to the moment")


@fault("K02", "SIGKILL before the nth fsync of a thread, by system-call injection")
def at_fsync(lab: Lab) -> None:
    """Lose nothing that was promised before it."""
    killed_at(lab, "fsync,fdatasync", from_start=(1, 4, 9, 13, 17), under_way=(1, 2, 3, 4, 5, 6))


@fault("K03", "SIGKILL before the nth write to a file or a pipe of a thread, by system-call injection")
def at_write(lab: Lab) -> None:
    """Lose nothing that was promised before it."""
    killed_at(lab, "write,pwrite64,ftruncate", from_start=(2, 9, 20, 40), under_way=(1, 3, 7, 12, 20, 40))


@fault("K04", "SIGKILL before the nth rename, link or unlink of a thread, by system-call injection")
def at_rename(lab: Lab) -> None:
    """Find a clip under its name or not at all."""
    calls = "rename,renameat,renameat2,link,linkat,unlink,unlinkat"
    killed_at(lab, calls, from_start=(1, 3, 5, 7), under_way=(1, 2, 3, 4, 5, 6))


@fault("K05", "SIGKILL before the nth send to the network of a thread, by system-call injection")
def at_send(lab: Lab) -> None:
    """Know of every request that could have been paid."""
    killed_at(lab, "sendto,sendmsg", from_start=(1, 2, 3, 5), under_way=(1, 2, 4, 8))
