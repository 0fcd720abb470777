"""S01 to S07: what a hostile service, host or table sends, and what must not become of it."""

from __future__ import annotations

import gzip
import json
import os
import struct
import sys
import time
from shutil import which
from typing import TYPE_CHECKING

from batchvid.storage.fs import STATE_FOLDER
from tests.faults.cases import NotHereError, fault
from tests.faults.filehost import fixed, honest, hosting, logged, manifest, why
from tests.faults.lab import IN_CLEAR, KEY, QUICK
from tests.faults.network import in_own_network, trap
from tests.faults.raw import http, relayed, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.lab import Lab
    from tests.faults.raw import Request

COOKIE = "cookie-canary-77"
SERVICE, OTHER, INNER = "93.184.216.34", "93.184.216.35", ("127.0.0.1", "10.1.2.3", "169.254.169.254", "::1")
"""Public addresses that the case's own network gives to this machine, and private ones."""
HOSTS = {
    "private": ["10.1.2.3"],
    "loopback": ["127.0.0.1"],
    "metadata": ["169.254.169.254"],
    "six": ["::1"],
    "mapped": ["::ffff:127.0.0.1"],
    "shared": ["100.64.0.1"],
    "any": ["0.0.0.0"],  # noqa: S104 as an address to be refused
    "broadcast": ["255.255.255.255"],
    "both": [OTHER, "127.0.0.1"],
}
"""Names that a hostile nameserver could give to addresses."""
MANY = 200_000
EVIL = "\x1b[31mEVIL\x1b]0;pwned\x07\x9b2J\u202egnp.exe\u2066\r\x08\u200b\x00\x1bP1;2|x\x1b\\"
"""Colour, title, clearing, marks that reverse text, a return, a backspace, a zero width, a NUL, a device string."""
EVIL_CHARACTERS = set("\x1b\x07\x9b\u202e\u2066\r\x08\u200b\x00\x90\x9c")


@fault("S01", "polls and clips redirect to another host, back to the service, and set cookies")
def secrets_and_redirects(lab: Lab) -> None:
    """Never hand the key or a cookie to another origin, and never send a paid body after a redirect."""
    clip = honest()
    fronts: list[str] = []

    def elsewhere(request: Request) -> bytes | None:
        if request.path == "/back":
            return http("302 Found", Location=f"{fronts[0]}/videos/lured/content")
        return clip(request)

    other = lab.stack.enter_context(serving(elsewhere))
    manifest(lab, ["poll", "content", "file"], head=IN_CLEAR + QUICK)
    api = lab.sandbox(
        "- {on: poll, prompt: The content one, no_url: true}\n"
        f"- {{on: poll, prompt: The file one, set: {{video_url: '{other.url}/back'}}}}\n"
        f"- {{on: content, prompt: The content one, nth: 1, redirect: '{other.url}/clip.mp4', status: 302}}"
    )
    seen: list[Request] = []

    def answer(request: Request) -> bytes:
        first = not any(one.method == "GET" for one in seen)
        seen.append(request)
        told = relayed(request, api)
        if request.method == "GET" and first:
            told = http("308 Permanent Redirect", Location=f"{other.url}/v1/videos/stolen")
        return told.replace(b"\r\n", f"\r\nSet-Cookie: sid={COOKIE}; Domain=127.0.0.1; Path=/\r\n".encode(), 1)

    lab.in_front(answer)
    fronts.append(str(lab.front))
    ran = lab.run()
    lab.ended(ran, 0)
    lab.others_done("poll", "content", "file", "well")
    lab.expect("I1", not [one for one in other.requests if one.method == "POST"], "a create was sent elsewhere")
    lab.expect("I5", not any("stolen" in one.path for one in other.requests), "a poll followed a redirect")
    lured = [one for one in seen if "lured" in one.path]
    lab.expect("I5", lured, "nobody was lured back")
    for one in [*other.requests, *lured]:
        secret = {"authorization", "cookie", "proxy-authorization", "referer"} & one.headers.keys()
        lab.expect("I5", not secret and KEY not in repr(one.headers), f"another origin was told {secret}")
    lab.expect("I5", not any("cookie" in one.headers for one in seen), "a cookie was kept")
    lab.expect("I5", not lab.ledger()["violations"], "the key went to the host of the clips")
    lab.converges()
    lab.survived()


@fault("S02", f"{len(HOSTS)} host names that resolve to private addresses, one of them to a public one as well")
def names_of_private_addresses(lab: Lab) -> None:
    """Look at the address that is connected to, not at the name; nobody inside is knocked on."""
    in_own_network([*INNER[1:3], SERVICE, OTHER], lambda: _names_of_private_addresses(lab))


def _names_of_private_addresses(lab: Lab) -> None:
    if which("unshare") is None:
        raise NotHereError("there is no unshare")
    closed = lab.stack.enter_context(trap(INNER))
    table = lab.folder / "hosts"
    lines = [f"{address} {name}.clips.test" for name, addresses in HOSTS.items() for address in addresses]
    table.write_text("\n".join(lines) + "\n", encoding="ascii")
    manifest(lab, list(HOSTS), head=IN_CLEAR + QUICK)
    lab.sandbox(
        "\n".join(
            f"- {{on: poll, prompt: The {name} one, set: {{video_url: 'http://{name}.clips.test:{closed.port}/x'}}}}"
            for name in HOSTS
        ),
        host=SERVICE,
    )
    with_hosts: list[str | Path] = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind "$0" /etc/hosts && exec "$@"',
        table,
    ]
    ran = lab.wait(lab.start("run", lab.manifest_path, under=with_hosts))
    if "mount:" in ran.err:
        raise NotHereError(ran.err.strip())
    lab.ended(ran, 0)
    lab.others_done("well", *HOSTS)
    lab.expect("I7", not closed.knocks, f"connected to {closed.knocks}")
    for name in HOSTS.keys() - {"both"}:
        lab.expect("I10", "not a public address" in why(lab, name), f"{name}: {why(lab, name)!r}")
    lab.survived("hosts")


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield answers to a create that are small on the wire, or never end within reason."""
    yield "gzip", http("200 OK", gzip.compress(bytes(300 * 1000**2), 9), Content_Encoding="gzip")
    yield "headers", b"HTTP/1.1 200 OK\r\n" + b"X-Many: again and again\r\n" * MANY + b"\r\n{}"
    yield "header", b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 20 * 1000**2 + b"\r\n\r\n{}"
    yield "interim", b"HTTP/1.1 100 Continue\r\n\r\n" * MANY + http("200 OK", b"{}")
    yield "chunks", http("200 OK", b"1;x=y\r\nx\r\n" * MANY + b"0\r\n\r\n", Transfer_Encoding="chunked")
    yield "deep", http("200 OK", b'{"id":' + b"[" * MANY + b"]" * MANY + b"}")
    yield "digits", http("200 OK", b'{"id": ' + b"9" * MANY + b"}")
    yield "body", http("200 OK", b" " * (50 * 1000**2) + b'{"id": "x"}')


@fault("S03", "bombs in answer to creates and in clips: packed, endless headers and chunks, depth, boxes of an MP4")
def bombed(lab: Lab) -> None:
    """Hold on to a bounded amount, leave the create in doubt, and let the other jobs finish."""
    answers = dict(bombs())
    manifest(lab, list(answers), head=IN_CLEAR + QUICK)
    api = lab.sandbox()

    def answer(request: Request) -> bytes:
        named = [name for name in answers if f"The {name} one".encode() in request.body]
        return answers[named[0]] if named and request.method == "POST" else relayed(request, api)

    lab.in_front(answer)
    lab.constants = {
        "batchvid.engine.circuit_breaker.DOUBTS_IN_A_ROW": 1000,
        "batchvid.engine.circuit_breaker.DOUBTS_AT_MOST": 1000,
    }
    ran = lab.run()
    lab.ended(ran, 4)
    lab.says(ran, "in doubt", *answers)
    lab.expect("I2", set(lab.states().values()) == {"in_doubt", "done"}, f"{lab.states()}")
    lab.others_done("well")
    lab.expect("I8", ran.seconds < 60, f"it took {ran.seconds:.0f} s")
    lab.survived()
    huge = struct.pack(">I4sIII", 20, b"stsz", 0, 0, 2**32 - 1)
    for kind in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        huge = struct.pack(">I4s", len(huge) + 8, kind) + huge
    start = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)
    empty = struct.pack(">I4s", 8, b"free")
    clips = {
        "samples": start + huge,
        "boxes": start + empty * 500_000,
        "nested": start + b"".join(struct.pack(">I4s", 8 * n, b"moov") for n in range(20_000, 0, -1)),
        "huge": start + struct.pack(">I4sQ", 1, b"mdat", 2**63 - 1),
    }
    two = lab.beside("clips")
    hosting(two, {name: [fixed("200 OK", data, Content_Type="video/mp4")] for name, data in clips.items()})
    ran = two.run()
    two.ended(ran, 0)
    two.others_done("well", *clips)
    for name in clips:
        two.expect("I3", "no complete clip" in why(two, name), f"{name}: {why(two, name)!r}")
    two.survived()


@fault("S04", "task ids, variables and Content-Disposition that lead elsewhere")
def traversal(lab: Lab) -> None:
    """Quote the ids, flatten the variables, ignore the header: nothing lies outside of the output."""
    ids = ["../../../../etc/passwd", "..", "a/b?c=d#e", "%2e%2e%2f", "a\\b", "x" * 512, "id with blank", "é日本"]
    for number, task_id in enumerate(ids):
        one = lab.beside(f"id-{number}")
        one.manifest("  - {id: one, prompt: The one}")
        api = one.sandbox(json.dumps([{"on": "create", "set": {"id": task_id, "task_id": None}}]))
        asked: list[str] = []

        def answer(request: Request, api: str = api, asked: list[str] = asked) -> bytes:
            if request.method == "GET":
                asked.append(request.path)
            return relayed(request, api)

        one.in_front(answer)
        one.constants = {"batchvid.engine.policy.UNKNOWN_TASK_GRACE_S": 0.0}
        ran = one.run()
        one.ended(ran, 4, 5)
        for path in asked:
            inner = path.removeprefix("/v1/videos/").removesuffix("/content")
            one.expect("I7", path.startswith("/v1/videos/") and not set("/?#\\ ") & set(inner), f"asked for {path}")
        one.key_nowhere()
        one.nothing_outside()
    two = lab.beside("variables")
    values = ["../../up", "/etc/absolute", "..", ".", "a/b", "a\\b", "C:evil", "-rf", "~", "$(touch x)", "`id`", "nul"]
    rows = "\n".join(json.dumps({"v": value, "id": f"row-{n}"}) for n, value in enumerate(values))
    (two.folder / "rows.jsonl").write_text(rows + "\n", encoding="utf-8")
    head = 'filename: "sub/{v}-{id}.mp4"\n'
    two.manifest("  - {from: rows.jsonl, prompt: 'Of {v}'}", head=head + QUICK)
    two.sandbox("- {on: file, headers: {Content-Disposition: 'attachment; filename=../../evil.mp4'}}")
    ran = two.run()
    two.ended(ran, 0)
    found = sorted(path.relative_to(two.output).parts[0] for path in two.output.rglob("*.mp4"))
    two.expect("I7", found == ["sub"] * len(values), f"clips are in {set(found)}")
    two.expect("I9", len(two.clips()) == len(values), f"{len(two.clips())} clips")
    two.survived("rows.jsonl")


@fault("S05", "folders of the output become symbolic links while a run is at work")
def swapped_folders(lab: Lab) -> None:
    """Write through none of them: the run stops, and the next one goes on when they are gone."""
    outside = lab.folder.parent / f"{lab.folder.name}-outside"
    outside.mkdir()
    try:
        lab.manifest(
            "\n".join(f"  - {{id: j{n}, prompt: Number {n}}}" for n in range(4)),
            head='filename: "sub/{id}.mp4"\n' + QUICK,
        )
        lab.sandbox("- {on: poll, nth: 1, delay_s: 1.5}")
        process = lab.start("run", lab.manifest_path)
        lab.until(lambda: list(lab.states().values()) == ["running"] * 4, process)
        (lab.output / "sub").symlink_to(outside)
        ran = lab.wait(process)
        lab.ended(ran, 5, 8)
        lab.says(ran, "j0", "symbolic link", "move it out of the way")
        lab.expect("I7", not list(outside.iterdir()), f"written outside: {list(outside.iterdir())}")
        (lab.output / "sub").unlink()
        lab.converges()
        lab.survived()
    finally:
        for path in outside.iterdir():
            path.unlink()
        outside.rmdir()


@fault("S06", "terminal escapes and reversing marks in all that the service says, on a pipe and on a terminal")
def terminal_escapes(lab: Lab) -> None:
    """Show none of them: not in lines, JSON, the live view, the log, the status, the plan or the export."""
    manifest(lab, ["refused", "fails", "word", "model", "unsure"])
    lab.sandbox(
        json.dumps(
            [
                {"on": "create", "prompt": "The refused*", "status": 400, "body": error_body(EVIL)},
                {"on": "create", "prompt": "The fails*", "fail": EVIL},
                {"on": "poll", "prompt": "The word*", "nth": 1, "status_word": EVIL},
                {"on": "create", "prompt": "The model*", "set": {"model": EVIL}},
                {"on": "create", "prompt": "The unsure*", "status": 500, "body": f"<html>{EVIL}</html>"},
            ]
        )
    )
    ours, theirs = os.openpty()
    process = lab.start("run", "--yes", lab.manifest_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = read_all(ours).decode(errors="replace")
    lab.wait(process)
    for payload in ("[31mEVIL", "]0;pwned", "\x9b", "\u202e", "\u2066", "P1;2|x"):
        lab.expect("I10", f"\x1b{payload}" not in shown and payload not in set(shown), f"{payload!r} on a terminal")
    told = [
        lab.run("-v"),
        lab.call("status", lab.manifest_path),
        lab.call("plan", lab.manifest_path),
        lab.call("export", lab.manifest_path),
        lab.call("status", lab.manifest_path, "--json"),
        lab.run("--json", "-v"),
    ]
    lab.ended(told[0], 4)
    for ran in told:
        lab.expect(
            "I10", not EVIL_CHARACTERS & set(ran.text), f"{EVIL_CHARACTERS & set(ran.text)} in {ran.text[:300]!r}"
        )
    lab.says(told[1], "refused: EVIL", "fails: EVIL", "in doubt")
    log = (lab.output / STATE_FOLDER / "log.jsonl").read_text("utf-8")
    lab.expect("I10", not EVIL_CHARACTERS & set(log), "in the log")
    lab.expect("I10", logged(lab, "fails"), "the log tells nothing")
    lab.others_done("word", "model", "well")
    lab.survived()


def error_body(message: str) -> str:
    """Return the service's envelope of an error."""
    return json.dumps({"error": {"message": message, "code": "", "type": "comet_api_error"}})


def read_all(terminal: int) -> bytes:
    """Read what is written to a terminal until its last writer is gone."""
    found = b""
    while True:
        try:
            block = os.read(terminal, 65536)
        except OSError:
            break
        if not block:
            break
        found += block
    os.close(terminal)
    return found


@fault("S07", "templates in prompts, file names and tables that reach for attributes, indices, widths and shells")
def templates(lab: Lab) -> None:
    """Take them for text or refuse them; evaluate nothing, and in no time."""
    attacks = [
        "{id.__class__.__mro__}", "{id[0]}", "{id!r}", "{0}", "{}", "{id:>1000000000}", "{__import__('os')}",
        "{{id.__class__}}", "%(id)s", "${HOME}", "$(id)", "`id`", "{{7*7}}", "{% raw %}", "<%= 7*7 %>", "{" * 5000,
    ]  # fmt: skip
    lab.sandbox()
    started = time.monotonic()
    for attack in attacks:
        entry = {"id": "a", "prompt": f"x {attack} y", "matrix": {"v": ["1"]}}
        path = lab.folder / "attack.yaml"
        path.write_text(json.dumps({"version": 1, "jobs": [entry]}), encoding="utf-8")
        ran = lab.call("export", path, "--format", "jsonl")
        lab.ended(ran, 0, 65)
        if ran.code == 0:
            prompt = json.loads(ran.out)["prompt"]
            plain = attack.replace("{{", "{").replace("}}", "}")
            lab.expect("I7", prompt == f"x {plain} y", f"{attack} became {prompt}")
        else:
            lab.says(ran, "attack.yaml")
        lab.expect("I8", ran.seconds < 10, f"{attack[:40]} took {ran.seconds:.0f} s")
        lab.expect("I7", sys.version not in ran.text and "mro" not in ran.out, "something was evaluated")
        path.unlink()
    lab.expect("I8", time.monotonic() - started < 60, "too slow")
    lab.expect("I1", not any(lab.ledger()["requests"].values()), "something was asked of the service")
    rows = lab.folder / "rows.csv"
    rows.write_text("v\n" + "\n".join(f'"{attack}"' for attack in attacks[:15]) + "\n", encoding="utf-8")
    lab.manifest("  - {from: rows.csv, prompt: 'Of {v}'}")
    ran = lab.call("export", lab.manifest_path, "--format", "jsonl")
    lab.ended(ran, 0)
    prompts = [json.loads(line)["prompt"] for line in ran.out.splitlines()]
    lab.expect("I7", prompts == [f"Of {attack}" for attack in attacks[:15]], f"a table's text was evaluated: {prompts}")
    lab.nothing_outside("rows.csv")
