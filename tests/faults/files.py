"""F60 to F65: what can happen to files that are there already, and to the streams that a run writes to."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from typing import TYPE_CHECKING

from tests.faults.cases import NotHereError, fault
from tests.faults.disk import NO_RIGHTS, NOBODY
from tests.faults.filehost import clip, honest, hosting, manifest
from tests.faults.lab import QUICK
from tests.faults.volume import small_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.lab import Lab

MINE = b"somebody's own work, and not batchvid's"


@fault("F60", "something else has the name of a clip, of its sidecar, of a folder of its path")
def foreign_files(lab: Lab) -> None:
    """Untouched, its job flagged before anything is paid, the others done; moved away, retry brings the clip."""
    head = QUICK + 'filename: "{id}/clip.mp4"\n'
    names = ["final", "sidecar", "folder", "isfolder"]
    host = hosting(lab, {name: [honest()] for name in names}, head=head)
    for name in ("final", "sidecar", "isfolder"):
        (lab.output / name).mkdir(parents=True)
    foreign = {"final": "final/clip.mp4", "sidecar": "sidecar/clip.json", "folder": "folder"}
    for name in foreign.values():
        (lab.output / name).write_bytes(MINE)
    (lab.output / "isfolder" / "clip.mp4").mkdir()
    ran = lab.run()
    lab.ended(ran, 3)
    lab.others_done("well")
    lab.expect("I1", len(lab.creates()) == 1, "a clip was paid that could not be saved")
    for job_id, name in foreign.items():
        lab.expect("I3", (lab.output / name).read_bytes() == MINE, f"{name} was changed")
        lab.says(ran, job_id, "move it")
    lab.expect("I3", not [*(lab.output / "isfolder" / "clip.mp4").iterdir()], "the folder was used")
    lab.expect("I4", lab.run().code == 3, "a further run takes them")
    lab.expect("I4", len(lab.creates()) == 1, "bought by a further run")
    for name in foreign.values():
        (lab.output / name).unlink()
    (lab.output / "isfolder" / "clip.mp4").rmdir()
    lab.converges("--retry-failed")
    lab.others_done("well", *names)
    lab.expect("I8", all(len(host.asked(name)) == 1 for name in names), "a whole clip was fetched again")
    lab.survived()


@fault("F61", "done clips are deleted, cut, overwritten in the middle, made longer, made a link")
def edited_clips(lab: Lab) -> None:
    """Found by verify, named and said how; a run fetches what is gone or cut, --repair what is changed: all free."""
    names = ["deleted", "cut", "edited", "longer", "link", "fine"]
    hosting(lab, {name: [honest()] for name in names})
    lab.ended(lab.run(), 0)
    paths = {name: lab.output / f"{name}.mp4" for name in names}
    paths["deleted"].unlink()
    paths["cut"].write_bytes(clip()[:-1])
    paths["edited"].write_bytes(clip()[:9000] + b"!" + clip()[9001:])
    paths["longer"].write_bytes(clip() + bytes(8))
    elsewhere = lab.folder / "elsewhere.mp4"
    shutil.move(paths["link"], elsewhere)
    paths["link"].symlink_to(elsewhere)
    ran = lab.call("verify", lab.manifest_path)
    lab.ended(ran, 3)
    lab.says(ran, "deleted.mp4 is missing", "cut.mp4 has", "edited.mp4 was changed", "longer.mp4 has", "--repair")
    lab.says(ran, "link: link.mp4", "2 of 7 clips OK")
    ran = lab.run()
    lab.expect("I4", ran.code == 0 and len(lab.creates()) == len(names) + 1, "a run bought again")
    lab.says(ran, "3 clips are missing or not as saved", "cut, deleted, longer", "link.mp4 is no regular file")
    ran = lab.call("verify", lab.manifest_path, "--repair")
    lab.ended(ran, 0)
    lab.says(ran, "7 clips OK (2 downloaded again)")
    lab.ended(lab.call("verify", lab.manifest_path, "--deep"), 0)
    lab.expect("I3", elsewhere.read_bytes() == clip(), "what the link led to was changed")
    lab.expect("I3", (lab.output / "cut.attempt-1.mp4").read_bytes() == clip()[:-1], "the damaged clip was not kept")
    lab.expect("I4", len(lab.creates()) == len(names) + 1, "bought again")
    lab.converges()
    lab.others_done("well", *names)
    lab.survived("elsewhere.mp4")


@fault("F62", "symbolic links at part, note, clip, sidecar and folder; at output, state folder, journal, lock and logs")
def symbolic_links(lab: Lab) -> None:
    """Refused and never followed: nothing is read or written where they lead; the other jobs finish."""
    head = QUICK + 'filename: "{id}/clip.mp4"\n'
    names = ["part", "clip", "note", "sidecar", "bad", "new", "folder"]
    hosting(lab, {name: [honest()] for name in names}, head=head)
    victim, cellar = lab.folder / "victim", lab.folder / "cellar"
    victim.write_bytes(MINE)
    cellar.mkdir()
    ends = {"part": "clip.mp4.part", "clip": "clip.mp4", "note": "clip.mp4.part.meta", "sidecar": "clip.json"}
    ends |= {"bad": "clip.mp4.bad", "new": ".clip.mp4.part.meta.new"}
    for name, end in ends.items():
        (lab.output / name).mkdir(parents=True)
        (lab.output / name / end).symlink_to(victim)
    (lab.output / "folder").symlink_to(cellar)

    def untouched(what: str) -> None:
        lab.expect("I7", victim.read_bytes() == MINE and not [*cellar.iterdir()], f"the link at {what} was followed")

    ran = lab.run()
    lab.ended(ran, 5)
    untouched("a job's files")
    lab.others_done("well")
    for name in ("part", "clip", "sidecar", "folder"):
        lab.says(ran, name)
    lab.says(ran, "link")
    for name in ("part", "clip", "sidecar"):
        lab.expect("I7", (lab.output / name / ends[name]).is_symlink(), f"the link at {name} was replaced")
        (lab.output / name / ends[name]).unlink()
    (lab.output / "folder").unlink()
    lab.converges("--retry-failed")  # what was in the way before anything was paid counts as failed
    lab.others_done("well", *names)
    lab.survived("victim", "cellar")

    state = lab.output / ".batchvid"
    bought = len(lab.creates())
    for place in (lab.output, state, state / "journal.db", state / "lock"):
        away = lab.folder / "away"
        place.rename(away)
        place.symlink_to(away)
        before = {path: path.stat().st_mtime_ns for path in away.rglob("*")} if away.is_dir() else {}
        ran = lab.run()
        lab.ended(ran, 8)
        lab.says(ran, str(place), "link")
        after = {path: path.stat().st_mtime_ns for path in away.rglob("*")} if away.is_dir() else {}
        lab.expect("I7", before == after, f"the link at {place.name} was followed")
        place.unlink()
        away.rename(place)
    for name in ("log.jsonl", "orphans.jsonl", "journal.db-wal"):
        path = state / name
        path.unlink(missing_ok=True)
        path.symlink_to(victim)
        ran = lab.run("--retry-failed")
        lab.ended(ran, 0, 8)
        untouched(name)
        path.unlink()
    lab.expect("I1", len(lab.creates()) == bought, "bought again")
    lab.converges()


@fault("F63", "the journal: damaged in three places, cut, empty, another program's, newer, a folder, read-only")
def bad_journals(lab: Lab) -> None:
    """Refused, left as it is, and nothing is sent: a fresh journal would pay for everything again; doctor says it."""
    names = ["one", "two"]
    manifest(lab, names)
    lab.sandbox()
    lab.ended(lab.run("--only", "one"), 0)
    journal, kept = lab.journal, lab.folder / "kept.db"
    shutil.copy(journal, kept)
    good = journal.read_bytes()
    bought = len(lab.creates())

    def newer(path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()

    def foreign(path: Path) -> None:
        path.unlink()
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE bookmarks (url TEXT)")
        db.close()

    def folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    damages: dict[str, tuple[Callable[[Path], object], tuple[int, ...]]] = {
        "empty": (lambda path: path.write_bytes(b""), (8,)),
        "its first bytes": (lambda path: path.write_bytes(b"\0" * 16 + good[16:]), (8,)),
        "its first page": (lambda path: path.write_bytes(good[:100] + b"\xff" * 1000 + good[1100:]), (8,)),
        "cut": (lambda path: path.write_bytes(good[: len(good) // 2]), (8,)),
        "its pages": (lambda path: path.write_bytes(good[:4096] + b"\xff" * (len(good) - 4096)), (8,)),
        "newer": (newer, (78,)),
        "another's": (foreign, (8,)),
        "a folder": (folder, (8,)),
    }
    for what, (damage, codes) in damages.items():
        damage(journal)
        before = journal.read_bytes() if journal.is_file() else b""
        ran = lab.run()
        lab.ended(ran, *codes)
        lab.says(ran, "journal.db")
        lab.expect("I1", len(lab.creates()) == bought, f"{what}: bought without the journal")
        now = journal.read_bytes() if journal.is_file() else b""
        lab.expect("I2", now == before, f"{what}: the journal was changed")
        told = lab.call("doctor", lab.manifest_path)
        lab.ended(told, *codes)
        lab.says(told, "BAD", "journal.db")
        for path in journal.parent.glob("journal.db*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copy(kept, journal)
    for path in (journal, journal.parent):
        path.chmod(0o500 if path.is_dir() else 0o400)
        shutil.chown(path, NOBODY, NOBODY)
    lab.ended(lab.run(under=NO_RIGHTS), 8)
    lab.expect("I1", len(lab.creates()) == bought, "bought with a journal that cannot be written")
    for path in (journal.parent, journal):
        shutil.chown(path, 0, 0)
        path.chmod(0o700 if path.is_dir() else 0o600)
    lab.converges()
    lab.others_done("well", *names)
    kept.unlink()
    lab.survived()


@fault("F64", "the output is on a network file system, by the kernel's own table of mounts")
def network_disk(lab: Lab) -> None:
    """Warned, at every run, by doctor too; the run goes on."""
    manifest(lab, ["hurt"])
    lab.sandbox()
    small_disk(lab, "4m")
    table = lab.folder / "mountinfo"
    lines = open("/proc/self/mountinfo", encoding="utf-8").read()  # noqa: SIM115 a file of the kernel
    point = f" {lab.output} "
    changed = "\n".join(
        line.partition(" - ")[0] + " - nfs4 server:/share rw" if point in line else line for line in lines.splitlines()
    )
    table.write_text(f"{changed}\n", encoding="utf-8")
    under = [
        "unshare", "-m", "sh", "-c", 'mount --bind "$0" /proc/$$/mountinfo && exec "$@"', str(table),
    ]  # fmt: skip
    probe = subprocess.run([*under, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        raise NotHereError(f"the table of mounts cannot be replaced: {probe.stderr.strip()}")
    for more in ((), ("-q",)):
        ran = lab.run(*more, under=under)
        lab.ended(ran, 0)
        lab.says(ran, "network file system", "nfs4", "one machine")
    told = lab.call("doctor", lab.manifest_path, under=under)
    lab.says(told, "nfs4")
    lab.others_done("hurt", "well")
    lab.converges()
    lab.survived("mountinfo")


@fault("F65", "stdout and stderr closed, full, cut off by head; stdin closed; for a run and for what only tells")
def broken_streams(lab: Lab) -> None:
    """Paid work goes on to its end, and ends with its own exit code; a command that only tells ends without a bug."""
    ways = {
        "closed": 'exec "$@" >&-',
        "errclosed": 'exec "$@" 2>&-',
        "bothclosed": 'exec "$@" >&- 2>&- <&-',
        "full": 'exec "$@" >/dev/full',
        "bothfull": 'exec "$@" >/dev/full 2>/dev/full',
        "head": '"$@" 2>&1 | head -1; exit "${PIPESTATUS[0]}"',
        "nobody": '"$@" | true; exit "${PIPESTATUS[0]}"',
    }
    manifest(lab, list(ways))
    lab.sandbox()
    for number, (name, way) in enumerate(ways.items()):
        under = ["bash", "-c", way, "bash"]
        more = ("--json",) if number % 2 else ()
        lab.ended(lab.run("--only", name, *more, under=under), 0)
        lab.others_done(name)
        for command in (("status", "--json"), ("plan",), ("export",)):
            ran = lab.call(command[0], lab.manifest_path, *command[1:], under=under)
            lab.expect("I6", "bug in batchvid" not in ran.text and "Traceback" not in ran.text, f"{name}: {ran.text}")
            lab.expect("I6", ran.code != 1, f"{name} {command}: exit {ran.code}, as of a bug")
    lab.converges()
    lab.others_done("well", *ways)
    lab.survived()
