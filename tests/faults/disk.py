"""F51 to F59: what can happen to the disk."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.cases import fault
from tests.faults.filehost import clip, honest, hosting, manifest
from tests.faults.lab import QUICK
from tests.faults.volume import attached, failing, fill, mount, small_disk, unmount

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.faults.lab import Lab

LARGE = 3_000_000
"""Bytes of a clip that does not fit on the disk, or into the limit."""
SLOWLY = QUICK.replace("submits: 50/s", "submits: 40/min")
NO_RIGHTS = (
    "setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner",
    "--inh-caps=-dac_override,-dac_read_search,-fowner", "--",
)  # fmt: skip
"""Runs a command as root without root's right to every file."""
NOBODY = 65534


def until(process: subprocess.Popen[str], reached: Callable[[], Any], *, timeout_s: float = 30.0) -> None:
    """Wait until something is so, or the process has ended."""
    end = time.monotonic() + timeout_s
    while process.poll() is None and not reached() and time.monotonic() < end:
        time.sleep(0.005)


@fault("F51", "the disk fills up in the middle of a clip, while a paid request is under way")
def disk_full(lab: Lab) -> None:
    """Exit 8; ids are kept, also the one that comes afterwards; a re-run with space collects."""
    host = hosting(
        lab,
        {"early": [honest(clip(0))], "hurt": [honest(clip(LARGE))], "late": [honest(clip(0))]},
        rules="- {on: create, prompt: The late one, delay_s: 3}",
    )
    small_disk(lab)
    ran = lab.run()
    lab.ended(ran, 8)
    lab.says(ran, "hurt.mp4", "the disk is full", "free some space and run again")
    lab.expect("I2", lab.states().get("late") == "running", f"the late id is not kept: {lab.states()}")
    lab.expect("I2", len(lab.query("SELECT 1 FROM attempts WHERE task_id IS NOT NULL")) == 4, "an id is not kept")
    lab.survived()
    mount(lab.output, "remount,size=16m")
    lab.converges()
    lab.expect("I8", len(host.asked("hurt")) == 2, "the large clip was fetched more often than needed")
    lab.others_done("early", "hurt", "late", "well")
    lab.survived()


@fault("F52", "the journal cannot be written before a submit: disk full, and each of its writes and syncs failing")
def journal_before_submit(lab: Lab) -> None:
    """Nothing is sent that is not on record first; exit 8, and a re-run goes on."""
    manifest(lab, ["first", "second"], head=SLOWLY)
    lab.sandbox()
    small_disk(lab)
    process = lab.start("run", lab.manifest_path)
    until(process, lambda: lab.states().get("first") == "done")
    filler = fill(lab.output)
    ran = lab.wait(process)
    lab.ended(ran, 8)
    lab.says(ran, "journal", "full", "free some space")
    lab.expect("I1", [line["prompt"] for line in lab.creates()] == ["The first one"], "sent without a record")
    filler.unlink()
    lab.converges()
    lab.others_done("first", "second", "well")
    lab.survived()
    injections = ("pwrite64:error=ENOSPC:when=2+", "pwrite64:error=EIO:when=9+", "fdatasync:error=EIO:when=2+")
    for number, injection in enumerate(injections):
        lab.manifest("  - {id: one, prompt: The one}\n  - {id: two, prompt: The other}", name=f"again{number}.yaml")
        lab.sandbox()
        ran = lab.run(under=failing(injection, path=lab.output / ".batchvid" / "journal.db-wal"))
        lab.ended(ran, 8)
        lab.says(ran, "journal")
        sent, kept = len(lab.creates()), len(lab.query("SELECT 1 FROM attempts"))
        lab.expect("I1", sent <= kept, f"{injection}: {sent} sent, {kept} on record")
        lab.converges(codes=(0, 4))
        lab.survived("m.yaml", *(f"again{earlier}.yaml" for earlier in range(number)))


@fault("F53", "the journal cannot be written after the answer to a paid request: disk full, and its writes failing")
def journal_after_answer(lab: Lab) -> None:
    """Print the id, with -q too, and keep it in orphans.jsonl where the disk allows it; the clip is not lost."""
    manifest(lab, ["first", "hurt"])
    lab.sandbox("- {on: create, prompt: The hurt one, delay_s: 3}")
    small_disk(lab)
    process = lab.start("run", lab.manifest_path, "-q")
    until(process, lambda: _submitting(lab))
    filler = fill(lab.output)
    ran = lab.wait(process)
    lab.ended(ran, 8)
    (task_id,) = [line["task_id"] for line in lab.creates() if line["prompt"] == "The hurt one"]
    lab.says(ran, "PAID, NOT JOURNALED", "hurt", task_id, "note it down", "batchvid adopt")
    filler.unlink()
    lab.every_task_on_record()
    ran = lab.run()
    lab.ended(ran, 4)
    lab.says(ran, "hurt", "in doubt", "adopt")
    lab.ended(lab.call("adopt", lab.manifest_path, "hurt", task_id, "--offline"), 0)
    lab.converges()
    lab.survived()

    unmount(lab.output)
    process = lab.start("run", lab.manifest_path)
    until(process, lambda: _submitting(lab))
    tracer = attached(process, "pwrite64:error=EIO", path=lab.output / ".batchvid" / "journal.db-wal")
    ran = lab.wait(process)
    tracer.wait(10)
    lab.ended(ran, 8)
    task_id = [line["task_id"] for line in lab.creates() if line["prompt"] == "The hurt one"][-1]
    kept = (lab.output / ".batchvid" / "orphans.jsonl").read_text("utf-8")
    lab.expect("I2", task_id in kept and '"hurt"' in kept, f"not in orphans.jsonl: {kept}")
    lab.says(ran, "PAID, NOT JOURNALED", "hurt", task_id, "orphans.jsonl")
    before = len(lab.creates())
    ran = lab.run()
    lab.ended(ran, 0)
    lab.says(ran, "adopted hurt", task_id)
    lab.expect("I4", len(lab.creates()) == before, "bought again")
    lab.others_done("first", "hurt", "well")
    lab.expect("I2", lab.query("SELECT job_id FROM attempts WHERE task_id = ?", task_id) == [("hurt",)], "id lost")


def _submitting(lab: Lab) -> bool:
    """Whether the hurt job is the only one that is not done."""
    return lab.states() == {"first": "done", "hurt": "submitting", "well": "done"}


@fault("F54", "fsync of a clip fails")
def fsync_fails(lab: Lab) -> None:
    """Not trusted: exit 8, no clip under its name, fetched again from zero by the next run."""
    host = hosting(lab, {"hurt": [honest()]})
    ran = lab.run(under=failing("fsync:error=EIO", path=lab.output / "hurt.mp4.part"))
    lab.ended(ran, 8)
    lab.says(ran, "hurt.mp4", "input/output error", "check the disk")
    lab.expect("I3", not (lab.output / "hurt.mp4").exists(), "a clip that was not synced has its name")
    lab.expect("I2", lab.states()["hurt"] == "ready", "the paid clip is lost")
    lab.converges()
    lab.expect("I3", host.asked("hurt") == ["", ""], f"fetched as {host.asked('hurt')}")
    lab.others_done("hurt", "well")
    lab.survived()


@fault("F55", "a limit on file sizes (ulimit -f), a disk quota")
def limits(lab: Lab) -> None:
    """As a full disk: exit 8, told as what it is, and the next run collects."""
    hosting(lab, {"hurt": [honest(clip(LARGE))]})
    ran = lab.run(under=["prlimit", "--fsize=1000000", "--"])
    lab.ended(ran, 8)
    lab.says(ran, "hurt.mp4", "ulimit -f")
    lab.expect("I2", lab.states()["hurt"] == "ready", "the paid clip is lost")
    ran = lab.run(under=failing("pwrite64:error=EDQUOT", path=lab.output / "hurt.mp4.part"))
    lab.ended(ran, 8)
    lab.says(ran, "hurt.mp4", "quota", "free some space")
    lab.converges()
    lab.others_done("hurt", "well")
    lab.survived()


@fault("F56", "the output is read-only, forbidden, full, a file, or below a file; its state folder is forbidden")
def forbidden_output(lab: Lab) -> None:
    """Found before any spend; told with what to do."""
    manifest(lab, ["hurt"])
    lab.sandbox()

    def refused(*words: str, under: tuple[str, ...] = ()) -> None:
        ran = lab.run(under=under)
        lab.ended(ran, 8)
        lab.says(ran, str(lab.output), *words)
        lab.expect("I1", not lab.creates(), f"bought without a place for the clip ({words})")

    lab.output.mkdir(parents=True)
    mount(lab.output, "size=1m,ro")
    refused("read-only")
    mount(lab.output, "remount,rw,size=1m")
    filler = fill(lab.output)
    refused("the disk is full")
    filler.unlink()
    unmount(lab.output)
    os.chown(lab.output, NOBODY, NOBODY)
    refused("permission denied", "writable", under=NO_RIGHTS)
    os.chown(lab.output, 0, 0)
    state = lab.output / ".batchvid"
    state.mkdir(mode=0o755)
    os.chown(state, NOBODY, NOBODY)
    refused("permi", under=NO_RIGHTS)
    shutil.rmtree(lab.output)
    lab.output.touch()
    refused("move it out of the way")
    lab.output.unlink()
    lab.output.parent.rmdir()
    lab.output.parent.touch()
    refused()
    lab.output.parent.unlink()
    lab.converges()
    lab.others_done("hurt", "well")
    lab.survived()


@fault("F57", "link, rename, unlink, fchmod and the sidecar fail when a clip is to get its name")
def rename_fails(lab: Lab) -> None:
    """Not done, and not lost: the next run gives it its name, and each is told with its own cause."""
    names = ("link", "rename", "sidecar", "mode", "unlink")
    host = hosting(lab, {name: [honest()] for name in names})
    faults: dict[str, tuple[list[str], Path, str]] = {
        "link": (["linkat:error=EIO"], Path("link.mp4.part"), "check the disk"),
        "rename": (["linkat:error=EPERM", "renameat:error=EIO"], Path("rename.mp4.part"), "check the disk"),
        "sidecar": (["renameat:error=EACCES"], Path(".sidecar.json.new"), "permission denied"),
        "mode": (["fchmod:error=EROFS"], lab.output / "mode.mp4.part", "read-only"),
        "unlink": (["unlinkat:error=EIO"], Path("unlink.mp4.part"), "check the disk"),
    }
    for name, (injections, path, cause) in faults.items():
        ran = lab.run("--only", name, under=failing(*injections, path=path))
        lab.ended(ran, 8)
        lab.says(ran, f"{name}.mp4", cause)
        lab.expect("I3", lab.states().get(name) == "ready", f"{name} is {lab.states().get(name)}")
        lab.every_clip_whole()
        lab.one_create_per_attempt()
        lab.every_task_on_record()
        lab.ended(lab.run("--only", name), 0)
        lab.expect("I3", lab.states()[name] == "done", f"{name} did not get its name")
    for name in ("link", "rename", "unlink"):
        lab.expect("I8", len(host.asked(name)) == 1, f"{name}: a whole clip was fetched again")
    lab.converges()
    lab.others_done("well", *names)
    lab.survived()


@fault("F58", "the output is moved away, and removed, in the middle of a run")
def output_gone(lab: Lab) -> None:
    """Stop before the next spend: a journal that is no longer in its place remembers nothing."""
    names = ["one", "two", "three"]
    manifest(lab, names, head=SLOWLY)
    lab.sandbox(speed=20.0)
    away = lab.output.with_name("away")

    def gone_while_it_waits(take_away: Callable[[], object]) -> None:
        before = len(lab.creates())
        process = lab.start("run", lab.manifest_path)
        until(process, lambda: lab.states().get("one") == "running")
        take_away()
        ran = lab.wait(process)
        lab.ended(ran, 8)
        lab.says(ran, str(lab.output), "removed")
        lab.expect("I1", len(lab.creates()) == before + 1, "it went on buying without a journal")
        lab.expect("I7", not lab.output.exists(), "the output was made again")

    gone_while_it_waits(lambda: lab.output.rename(away))
    away.rename(lab.output)
    lab.every_task_on_record()
    lab.converges()
    lab.others_done("well", *names)
    lab.survived()
    shutil.rmtree(lab.output)
    gone_while_it_waits(lambda: shutil.rmtree(lab.output))


@fault("F59", "too many open files: ulimit -n from far too low to nearly enough")
def few_files(lab: Lab) -> None:
    """Backs off and goes on with what there is, or says so before any spend; nothing is lost."""
    names = [f"clip{number}" for number in range(6)]
    manifest(lab, names)
    lab.sandbox()
    for number in (9, 14, 18, 22, 26):
        ran = lab.run(under=["prlimit", f"--nofile={number}", "--"])
        lab.ended(ran, 0, 5, 8)
        lab.one_create_per_attempt()
        lab.every_task_on_record()
        lab.every_clip_whole()
        lab.expect("I10", ran.code == 0 or "ulimit -n" in ran.text, f"--nofile={number}: {ran.text[-500:]}")
    lab.converges()
    lab.others_done("well", *names)
    lab.survived()
