"""F79 to F84: manifests, images and people."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

from PIL import Image

from tests.faults.cases import fault
from tests.faults.lab import FRAMES, quick
from tests.faults.process import FEW, is_state

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.lab import Lab, Ran

HEAD = "version: 1\njobs:\n"
JOB = "  - {id: a, prompt: x}\n"
LARGE_BYTES = 100 * 1000 * 1000
CHECK_AT_MOST_S = 15.0
WITH_PLACE = re.compile(r"^\S+?:\d+:\d+: ", re.MULTILINE)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(9)
)

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "tabs": (f"{HEAD}  - id: a\n\tprompt: x\n".encode(), "spaces"),
    "utf16-bare": ((HEAD + JOB).encode("utf-16-le"), "NUL"),
    "utf32": ((HEAD + JOB).encode("utf-32"), "UTF-"),
    "latin": (f"{HEAD}  - {{id: a, prompt: Kästner}}\n".encode("latin-1"), "UTF-8"),
    "nul": (HEAD.encode() + b"  - {id: a, prompt: x\0y}\n", "NUL"),
    "control": (HEAD.encode() + b"  - {id: a, prompt: x\x07y}\n", "control character"),
    "empty": (b"", "empty"),
    "comments": (b"# nothing\n---\n", "map"),
    "text": (b"just a text\n", "map is wanted"),
    "aliases": (f"{BOMB}{HEAD}{JOB}".encode(), "aliases repeat more than"),
    "alias-of-itself": (f"{HEAD}  - &a {{id: a, prompt: x, form: *a}}\n".encode(), "names no anchor before it"),
    "depth": (HEAD.encode() + b" [\n" * 100_000, "nested more than"),
    "two-keys": (f"{HEAD}  - {{id: a, prompt: x, prompt: y}}\n".encode(), "twice"),
    "two-documents": (f"{HEAD}{JOB}---\n{HEAD}{JOB}".encode(), "second document"),
    "python": (f"{HEAD}  - {{id: a, prompt: !!python/object/apply:os.system ['touch owned']}}\n".encode(), "tags"),
    "merge": (f"{HEAD}  - &x {{id: a, prompt: x}}\n  - {{<<: *x, id: b}}\n".encode(), "<<"),
    "unknown": (f"{HEAD}  - {{id: a, promt: x}}\n".encode(), "prompt"),
    "unknown-limit": (f"limits: {{in_fligth: 3}}\n{HEAD}{JOB}".encode(), "in_flight"),
    "no": (f"{HEAD}  - {{id: no, prompt: x}}\n".encode(), '"no"'),
    "sexagesimal": (f"{HEAD}  - {{id: a, prompt: 1:30}}\n".encode(), '"1:30"'),
    "date": (f"{HEAD}  - {{id: a, prompt: 2026-01-31}}\n".encode(), '"2026-01-31"'),
    "octal": (f"{HEAD}  - {{id: a, prompt: 012}}\n".encode(), '"012"'),
    "null": (f"{HEAD}  - {{id: a, prompt: }}\n".encode(), "empty"),
    "list": (f"{HEAD}  - {{id: a, prompt: [x]}}\n".encode(), "text is wanted"),
    "no-jobs": (b"version: 1\n", "jobs"),
    "version": (f"version: 2\njobs:\n{JOB}".encode(), "version: 1"),
    "key": (f"service: {{key_env: sk-Abcdefghijklmnop1234}}\n{HEAD}{JOB}".encode(), "looks like a key"),
    "table": (f"{HEAD}  - {{from: rows.csv, prompt: '{{subject}}'}}\n".encode(), "rows.csv"),
    "lines": (f"{HEAD}  - {{from: rows.jsonl}}\n".encode(), "rows.jsonl"),
    "large": (f"{HEAD}{JOB}#".encode() + b"x" * LARGE_BYTES, "MiB"),
}
"""Manifests that are none, and a word that must be in what is said of them."""


def named_by(first: str, second: str) -> str:
    """Return a manifest of two jobs whose files are named by these values."""
    jobs = "".join(
        f'  - {{id: {n}, prompt: "{{v}}", matrix: {{v: [{v}]}}}}\n' for n, v in (("a", first), ("b", second))
    )
    return f'filename: "{{v}}.mp4"\njobs:\n{jobs}'


CLASHING: dict[str, tuple[str, str]] = {
    "twice": ("jobs:\n  - {id: a, prompt: x}\n  - {id: a, prompt: y}", "the id of"),
    "case": ("jobs:\n  - {id: Kite, prompt: x}\n  - {id: kite, prompt: y}", "without regard to case"),
    "takes": ("jobs:\n  - {id: kite, prompt: x, takes: 2}\n  - {id: kite-2, prompt: y}", "kite-2"),
    "long-id": (f"jobs:\n  - {{id: {'a' * 101}, prompt: x}}", "1 to 100"),
    "dots-id": ("jobs:\n  - {id: .., prompt: x}", "no id"),
    "slash-id": ("jobs:\n  - {id: a/b, prompt: x}", "no id"),
    "same-path": ("filename: clip.mp4\njobs:\n  - {id: a, prompt: x}\n  - {id: b, prompt: y}", "{id}"),
    "up": ("filename: ../{id}.mp4\njobs:\n  - {id: a, prompt: x}", "leads elsewhere"),
    "absolute": ("filename: /tmp/{id}.mp4\njobs:\n  - {id: a, prompt: x}", "absolute"),
    "state": ("filename: .batchvid/{id}.mp4\njobs:\n  - {id: a, prompt: x}", ".batchvid"),
    "long-path": (f"filename: '{'d' * 201}/{{id}}.mp4'\njobs:\n  - {{id: a, prompt: x}}", "more than 200 bytes"),
    "deep-path": (f"filename: '{'d/' * 600}{{id}}.mp4'\njobs:\n  - {{id: a, prompt: x}}", "more than 1000 bytes"),
    "unicode": (named_by('"\\u00e9"', '"e\\u0301"'), "so would job"),
    "sharp-s": (named_by('"stra\\u00dfe"', "STRASSE"), "so would job"),
    "same-content": ("jobs:\n  - {prompt: A kite}\n  - {prompt: A kite}", "takes"),
    "no-price": ("limits: {budget: 5}\njobs:\n  - {id: a, prompt: x, model: nobody-knows}", "has no price"),
}


def refused(lab: Lab, name: str, word: str) -> Ran:
    """Run a manifest that must be refused: 65 with its place and what to do, in bounded time, and nothing sent."""
    ran = lab.call("run", lab.folder / name)
    lab.ended(ran, 65)
    lab.says(ran, str(lab.folder), word, "nothing was sent")
    is_whole_file = f"{name}: has " in ran.text  # is too large: no line of it is meant
    placed = is_whole_file or WITH_PLACE.search(ran.text)
    lab.expect("I10", placed, f"{name}: no line and column: {ran.text[:300]}")
    lab.expect("I8", ran.seconds < CHECK_AT_MOST_S, f"{name} took {ran.seconds:.0f} s")
    return ran


@fault(
    "F79", f"{len(UNREADABLE)} manifests that cannot be read: bombs, encodings, YAML's surprises, typing errors, 100 MB"
)
def unreadable(lab: Lab) -> None:
    """Exit 65 with line, column and what to write; nothing sent, nothing written."""
    lab.sandbox()
    (lab.folder / "rows.csv").write_bytes(b'subject,id\n"unclosed,1\nx,2\n' + b"\0\n")
    (lab.folder / "rows.jsonl").write_bytes(b'{"id": "a", "prompt": "x"}\n' + b"[" * 100_000 + b"\n")
    for name, (data, word) in UNREADABLE.items():
        path = lab.folder / f"{name}.yaml"
        path.write_bytes(data)
        refused(lab, path.name, word)
        path.unlink()
    left = {path.name for path in lab.folder.iterdir()}
    lab.expect("I7", left == {"rows.csv", "rows.jsonl"}, f"written: {left}")
    lab.expect("I1", not any(lab.ledger()["requests"].values()), "something was asked of the service")
    lab.expect("I5", "sk-Abcdefghijklmnop1234" not in "".join(ran.text for ran in lab.ran), "a key was repeated")
    lab.key_nowhere()
    lab.bounded(requests=0)


@fault("F80", f"{len(CLASHING)} manifests whose ids or files clash: by case, Unicode, takes, length, or lead elsewhere")
def clashing(lab: Lab) -> None:
    """Exit 65 before any spend, and both places are named."""
    lab.sandbox()
    for name, (body, word) in CLASHING.items():
        path = lab.folder / f"{name}.yaml"
        path.write_text(f"version: 1\n{body}\n", encoding="utf-8")
        refused(lab, path.name, word)
        path.unlink()
    lab.expect("I7", not list(lab.folder.iterdir()), "something was written")
    lab.expect("I1", not any(lab.ledger()["requests"].values()), "something was asked of the service")
    lab.bounded(requests=0)


@fault("F81", "the manifest is edited between runs: removed, changed, renamed, re-ordered, more takes; then --rebuy")
def edited(lab: Lab) -> None:
    """Leave alone and list what was removed, keep what was changed unless told to rebuy, and buy nothing twice."""
    lab.manifest(
        "  - {id: gone, prompt: Gone}\n  - {id: changed, prompt: Changed}\n"
        "  - {id: takes, prompt: Takes}\n  - {prompt: Without an id}\n  - {prompt: Another without}"
    )
    lab.sandbox()
    lab.ended(lab.run(), 0)
    before = {path.name: path.read_bytes() for path in lab.output.glob("*.mp4")}
    lab.manifest("  - {prompt: Another without}\n  - {id: takes, prompt: Takes}\n  - {prompt: Without an id}")
    ran = lab.run()
    lab.ended(ran, 0)
    lab.says(ran, "2 jobs in the journal that the manifest no longer names", "left alone")
    lab.expect("I1", len(lab.creates()) == 5, "re-ordering or removing bought something")
    rest = "  - {prompt: Another without}\n  - {id: takes, prompt: Takes, takes: 2}\n  - {prompt: Without an id}"
    lab.manifest(f"  - {{id: changed, prompt: Changed, size: 9x16}}\n{rest}")
    planned = lab.call("plan", lab.manifest_path)
    lab.ended(planned, 0)
    lab.says(planned, "changed", "gone", "orphaned", "takes-2")
    ran = lab.run()
    lab.ended(ran, 0)
    lab.says(ran, "changed", "kept as paid", "--rebuy")
    lab.expect("I1", len(lab.creates()) == 6, "a changed job was bought, or the further take was not")
    now = {path.name: path.read_bytes() for path in lab.output.glob("*.mp4")}
    lab.expect("I3", before.items() <= now.items(), "a clip was touched")
    lab.ended(lab.run("--rebuy"), 0)
    lab.expect("I1", len(lab.creates()) == 7, f"--rebuy: {len(lab.creates())} creates")
    kept = [path.name for path in lab.output.glob("*.mp4") if path.read_bytes() == before["changed.mp4"]]
    lab.expect("I3", any(name.startswith("changed.attempt-1") for name in kept), f"the old clip is gone: {kept}")
    lab.converges()
    lab.manifest(f"  - {{id: changed, prompt: Changed, size: 9x16}}\n  - {{id: gone, prompt: Gone}}\n{rest}")
    lab.converges()
    lab.expect("I1", len(lab.creates()) == 7, "what came back was bought again")
    lab.survived()


def png_of(width: int, height: int) -> bytes:
    """Return the beginning of a PNG that says it is so large, with a body that is not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")


def bad_frames(folder: Path) -> dict[str, str]:
    """Make images that are none; give what must be said of each."""
    good = (FRAMES / "dawn.png").read_bytes()
    made: dict[str, tuple[bytes, str]] = {
        "zero.png": (b"", "empty"),
        "cut.png": (good[: len(good) // 2], "cut off"),
        "bomb.png": (png_of(60_000, 60_000), "million pixels"),
        "text.png": (b"not an image at all\n" * 10, "not an image"),
        "page.jpg": (b"<html><body>login</body></html>", "a web page"),
        "old.gif": (b"GIF89a" + bytes(100), "GIF"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC"),
        "clip.png": (b"\0\0\0\x18ftypisom" + bytes(100), "video"),
    }
    for name, (data, _) in made.items():
        (folder / name).write_bytes(data)
    Image.new("CMYK", (64, 36)).save(folder / "print.jpg")
    frames = [Image.new("RGB", (64, 36), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moves.webp", save_all=True, append_images=frames[1:])
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "fifo.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "circle.png").symlink_to("circle.png")
    with (folder / "huge.png").open("wb") as file:
        file.truncate(70 * 1024**2)
    others = {
        "print.jpg": "CMYK", "moves.webp": "animated", "folder.png": "folder", "fifo.png": "regular file",
        "device.png": "regular file", "circle.png": "symbolic link", "huge.png": "MiB", "nowhere.png": "does not exist",
    }  # fmt: skip
    return {name: word for name, (_, word) in made.items()} | others


@fault("F82", "frames that are missing, folders, FIFOs, devices, empty, cut, bombs, of other types; and odd good ones")
def images(lab: Lab) -> None:
    """List all of them at once by check, before any spend; send upright and unchanged what is good."""
    lab.sandbox()
    words = bad_frames(lab.folder)
    lab.manifest("\n".join(f"  - {{id: j{n}, prompt: P{n}, first_frame: {name}}}" for n, name in enumerate(words)))
    for command in ("check", "run"):
        ran = lab.call(command, lab.manifest_path)
        lab.ended(ran, 65)
        lab.expect("I8", ran.seconds < CHECK_AT_MOST_S, f"{command} took {ran.seconds:.0f} s")
        for number, (name, word) in enumerate(words.items()):
            line = next((line for line in ran.text.splitlines() if f"jobs[{number}].first_frame" in line), "")
            lab.expect("I10", name in line and word in line, f"of {name} is said: {line!r}")
        lab.says(ran, f"{len(words)} problems")
    lab.expect("I1", not any(lab.ledger()["requests"].values()), "something was asked of the service")
    picture = Image.open(FRAMES / "dawn.png").convert("RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "the maker of the camera"
    picture.rotate(90, expand=True).save(lab.folder / "turned.jpg", exif=exif)
    picture.convert("RGBA").save(lab.folder / "alpha.png")
    picture.save(lab.folder / "plain.webp")
    picture.resize((40, 40)).save(lab.folder / "square.png")
    lab.manifest(
        "  - {id: turned, prompt: Turned, first_frame: turned.jpg}\n"
        "  - {id: alpha, prompt: Alpha, first_frame: alpha.png}\n"
        "  - {id: webp, prompt: Webp, first_frame: plain.webp, last_frame: square.png}"
    )
    ran = lab.run()
    lab.ended(ran, 0)
    lab.says(ran, "warning", "square.png" if "square.png" in ran.text else "40x40")
    sent = {line["prompt"]: line["frames"] for line in lab.creates()}
    for job_id, prompt in (("turned", "Turned"), ("alpha", "Alpha"), ("webp", "Webp")):
        frames = json.loads((lab.output / f"{job_id}.json").read_text("utf-8"))["frames"]
        hashes = [frame["sha256"] for frame in frames]
        lab.expect("I3", hashes == sent[prompt], f"{job_id}: {hashes} in the sidecar, {sent[prompt]} was sent")
    lab.survived(*words, "turned.jpg", "alpha.png", "plain.webp", "square.png")


@fault("F83", "40 jobs, a budget for 10, 16 creates at once; failures, refusals, throttling, doubt; and --max-cost")
def budget(lab: Lab) -> None:
    """Spend no more than the budget, under any concurrency, to the cent and over all runs."""
    jobs = "\n".join(f"  - {{id: job-{n}, prompt: Number {n}}}" for n in range(40))
    head = quick(budget="4.00", submits="unlimited", in_flight=40, attempts=3, breaker=1000)
    one = lab.beside("faults")
    one.manifest(jobs, head=head)
    one.sandbox(
        '- {on: create, prompt: "*1", nth: 1, status: 429}\n'
        '- {on: create, prompt: "*2", nth: 1, status: 503, body: {error: {message: busy, code: ""}}}\n'
        '- {on: create, prompt: "*3", nth: 1, fail: bad luck}\n'
        '- {on: create, prompt: "*4", nth: 1, reset: after-effect}\n'
    )
    for _ in range(3):
        one.ended(one.run(), 7, 4)
        one.expect("I1", len(one.creates()) <= 10, f"{len(one.creates())} creates of $0.40 for a budget of $4.00")
    held = one.query("SELECT coalesce(sum(price_micros), 0) FROM attempts")[0][0]
    one.expect("I1", held <= 4_000_000, f"{held} millionths on record")
    one.survived()
    two = lab.beside("exact")
    two.manifest(jobs, head=quick(budget="0.30", submits="unlimited", in_flight=40).replace("0.4", "0.1"))
    two.sandbox()
    ran = two.run()
    two.ended(ran, 7)
    two.says(ran, "budget", "raise limits.budget")
    two.expect("I1", len(two.creates()) == 3, f"{len(two.creates())} creates of $0.10 for $0.30")
    two.survived()
    three = lab.beside("max-cost")
    three.manifest(jobs)
    three.sandbox()
    for already in (0, 3):
        three.ended(three.run("--max-cost", "1.20"), 7)
        three.expect("I1", len(three.creates()) == already + 3, f"{len(three.creates())} creates")
    three.survived()


NEWER = """
import sys
from batchvid.journal import sqlite_file as journal_schema
journal_schema.MIGRATIONS += ((journal_schema.newest_version() + 1, tuple({statements})),)
from batchvid.cli.main import main
main()
"""
"""A batchvid whose journal has one version more."""
SLOW = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000)"
    " INSERT INTO more SELECT i FROM n"
)
"""A step of a migration that takes a minute."""


def newer(lab: Lab, *statements: str, **more: Any) -> subprocess.Popen[str]:
    """Start a run of a batchvid that is newer by these statements."""
    given: dict[str, Any] = {"env": lab.environment(), "cwd": lab.folder, "text": True} | more
    command = [sys.executable, "-c", NEWER.format(statements=repr(list(statements)))]
    return subprocess.Popen(
        [*command, "run", str(lab.manifest_path), "--base-url", str(lab.api)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given,
    )  # fmt: skip


@fault(
    "F84",
    "a newer batchvid takes the journal over: as it should, killed in the midst, with a broken step; then the older",
)
def versions(lab: Lab) -> None:
    """Migrate in one transaction with a backup beside it, or not at all; the older one refuses what is newer."""
    make = "CREATE TABLE more (i INTEGER) STRICT"
    lab.manifest(FEW)
    lab.sandbox("- {on: poll, nth: 1, delay_s: 2}")
    lab.kill_when(lab.start("run", lab.manifest_path), lambda: is_state("running", 4)(lab))
    version = lab.query("PRAGMA user_version")[0][0]
    backup = lab.journal.with_name(f"journal.db.v{version}.bak")
    killed = lab.kill_when(newer(lab, make, SLOW), backup.exists)
    lab.expect("I6", killed.code < 0, f"the slow step was over: {killed.text}")
    lab.expect("I2", lab.query("PRAGMA user_version") == [(version,)], "half a migration")
    broken = lab.wait(newer(lab, make, "INSERT INTO nowhere VALUES (1)"))
    lab.expect("I6", broken.code != 0, "a broken step went unnoticed")
    lab.expect("I2", not lab.query("SELECT 1 FROM sqlite_master WHERE name = 'more'"), "half a migration is left")
    lab.expect("I1", len(lab.creates()) == 4, "bought again")
    lab.ended(lab.wait(newer(lab, make)), 0)
    lab.expect("I2", lab.query("PRAGMA user_version") == [(version + 1,)], "it was not migrated")
    lab.expect("I5", backup.stat().st_mode & 0o077 == 0, "others can read the backup")
    for command in ("run", "status", "plan"):
        ran = lab.call(command, lab.manifest_path)
        lab.ended(ran, 78)
        lab.says(ran, "newer batchvid", str(lab.journal))
    lab.expect("I1", len(lab.creates()) == 4, "the older one bought again")
    backup.replace(lab.journal)
    for companion in ("-wal", "-shm"):
        lab.journal.with_name(f"journal.db{companion}").unlink(missing_ok=True)
    lab.converges()
    lab.expect("I1", len(lab.creates()) == 4, "bought again from the backup")
    lab.survived()
