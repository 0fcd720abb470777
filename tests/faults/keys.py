"""S08 to S13: the key, the way to the service, the files and the surroundings."""

from __future__ import annotations

import base64
import csv
import io
import json
import ssl
import stat
import subprocess
import sys
import urllib.parse
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from tests.faults.cases import NotHereError, fault
from tests.faults.filehost import manifest
from tests.faults.lab import KEY
from tests.faults.process import FEW, asked, is_state
from tests.faults.raw import http, relayed, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.lab import Lab
    from tests.faults.raw import Request

JOB = "  - {id: one, prompt: The one}"


def children(process_id: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    found = Path(f"/proc/{process_id}/task").glob("*/children")
    return [int(word) for path in found for word in path.read_text("ascii").split()]


@fault("S08", "the key: where other processes can see it, in a traceback, badly written, in files that others can read")
def key_handling(lab: Lab) -> None:
    """Show it nowhere: not in argv, not to the sandbox's process, not in a bug's traceback, not in a refusal."""
    one = lab.beside("argv")
    one.manifest(FEW)
    one.sandbox("- {on: poll, nth: 1, delay_s: 2}")
    process = one.start("run", one.manifest_path)
    one.until(lambda: is_state("running", 4)(one), process)
    argv = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    one.expect("I5", KEY.encode() not in argv, "the key is in argv")
    one.ended(one.wait(process), 0)
    one.survived()
    two = lab.beside("sandbox")
    two.manifest(FEW, head="service: {key_env: MY_VEO}\n" + "limits: {submits: 1/s}\n")
    words = ("run", two.manifest_path, "--sandbox", "--output", two.output)
    process = two.start(*words, env=two.environment(MY_VEO=KEY, OTHER_TOKEN=KEY))
    two.until(lambda: len(children(process.pid)) > 0 and "running" in two.states().values(), process)
    inner = children(process.pid)
    two.expect("I5", inner, "the sandbox has no process")
    for child in inner:
        seen = Path(f"/proc/{child}/environ").read_bytes() + Path(f"/proc/{child}/cmdline").read_bytes()
        two.expect("I5", KEY.encode() not in seen, "the sandbox's process was given the key")
    process.terminate()
    two.wait(process)
    two.key_nowhere()
    for constant in ("batchvid.providers.paid_post.CREATE_TIMEOUT_S", "batchvid.providers.http.ANSWER_MAX_BYTES"):
        three = lab.beside(constant)
        three.manifest(JOB)
        three.sandbox()
        three.constants = {constant: "not a number"}  # type: ignore[dict-item]  # that is the bug
        ran = three.run()
        three.expect("I6", ran.code == 1 and "bug in batchvid" in ran.text, f"{constant}: {ran.code} {ran.text[-300:]}")
        three.key_nowhere()
    four = lab.beside("files")
    four.manifest(JOB)
    four.sandbox()
    bare = {name: value for name, value in four.environment().items() if name != "COMETAPI_KEY"}
    file = four.folder / "key.txt"
    file.write_text(f"{KEY}\n", encoding="ascii")
    for mode in (0o644, 0o640, 0o604):
        file.chmod(mode)
        ran = four.run("--api-key-file", file, env=bare)
        four.ended(ran, 78)
        four.says(ran, "can be read by others", "chmod 600")
    file.chmod(0o600)
    four.ended(four.run("--api-key-file", file, env=bare), 0)
    for name in (four.folder, Path("/dev/null"), four.folder / "nowhere"):
        four.ended(four.run("--api-key-file", name, "--output", four.folder / "out" / "x", env=bare), 78)
    for bad in (f"{KEY}\nX-Evil: 1", f"{KEY} blank", f"{KEY}é", f"{KEY}\x7f", ""):
        ran = four.run("--output", four.folder / "out" / "x", env=bare | {"COMETAPI_KEY": bad})
        four.ended(ran, 78)
    ran = four.run(api=f"https://user:{KEY}@api.example/v1")
    four.ended(ran, 2, 78)
    file.unlink()
    four.survived("key.txt")


def fixed_to(told: bytes) -> Callable[[Request], bytes]:
    """Return an answer that is always the same."""
    return lambda _: told


@fault("S09", "a service that repeats the key in errors, statuses, URLs and headers, plain and encoded")
def echoed(lab: Lab) -> None:
    """Take it out of all that is kept or shown, and still collect the clip."""
    lab.sandbox()
    forms = [KEY, f"Bearer {KEY}", base64.b64encode(KEY.encode()).decode(), urllib.parse.quote(f"Bearer {KEY}")]
    text = " ".join(forms)
    one = lab.beside("tasks")
    manifest(one, ["refused", "fails", "status", "model", "unsure", "content", "behind"])
    envelope = json.dumps({"error": {"message": f"no: {text}", "code": text, "type": "x"}})
    one.sandbox(
        json.dumps(
            [
                {"on": "create", "prompt": "The refused*", "status": 400, "body": envelope},
                {"on": "create", "prompt": "The fails*", "fail": text},
                {"on": "poll", "prompt": "The status*", "nth": 1, "status_word": text},
                {"on": "create", "prompt": "The model*", "set": {"model": text}},
                {"on": "create", "prompt": "The unsure*", "status": 504, "body": f"<html>{text}</html>"},
                {"on": "poll", "prompt": "The content*", "set": {"video_url": f"http://127.0.0.1:1/x?key={KEY}"}},
                {"on": "poll", "prompt": "The behind*", "no_url": True},
                {"on": "content", "prompt": "The behind*", "nth": 1, "status": 500, "body": envelope},
            ]
        )
    )
    (one.folder / "faults.yaml").unlink()  # the sandbox has read it, and it holds the key
    ran = one.run("-v")
    one.ended(ran, 4)
    one.says(ran, "refused: no: [key]", "batchvid retry")
    one.others_done("status", "model", "content", "behind", "well")
    for command in ("status", "plan", "export"):
        one.call(command, one.manifest_path)
    one.run("--json", "-v")
    one.survived()
    for name, status, headers in (
        ("moved", "307 Moved", {"Location": f"https://elsewhere.example/{KEY}?{text.replace(' ', '+')}"}),
        ("refused", "401 Unauthorized", {"WWW_Authenticate": f"Bearer {KEY}"}),
    ):
        two = lab.beside(name)
        two.manifest(JOB)
        two.sandbox()
        told = http(status, envelope.encode(), **headers)
        two.in_front(fixed_to(told))
        ran = two.run("-v")
        two.ended(ran, 78, 6)
        two.call("doctor", two.manifest_path)
        two.survived()


def authority(folder: Path) -> tuple[Path, dict[str, ssl.SSLContext]]:
    """Make a private authority and certificates of it; give its file, and a server's context for each certificate."""
    if which("openssl") is None:
        raise NotHereError("there is no openssl command")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def openssl(*arguments: str | Path) -> None:
        command = ["openssl", *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotHereError(f"openssl {arguments[0]}: {done.stderr.strip()[-200:]}")

    contexts = {}
    for ca in ("ours", "theirs"):
        openssl("req", "-x509", *curve, "-days", "2", "-subj", f"/CN={ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.pem")
    made = {
        "good": ("ours", "IP:127.0.0.1", "2"), "expired": ("ours", "IP:127.0.0.1", "-1"),
        "elsewhere": ("ours", "DNS:elsewhere.example", "2"), "foreign": ("theirs", "IP:127.0.0.1", "2"),
    }  # fmt: skip
    for name, (ca, whom, days) in made.items():
        (folder / f"{name}.ext").write_text(f"subjectAltName={whom}\n", encoding="ascii")
        openssl("req", *curve, "-subj", "/CN=service", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = ["-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-extfile", f"{name}.ext"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-days", days, "-out", f"{name}.pem")
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return folder / "ours.pem", contexts


@fault("S10", "TLS by a private authority: with --ca-file, without it, expired, for another host, of another authority")
def private_authority(lab: Lab) -> None:
    """Go on with the right file only; else exit 78 and send not one byte of a request. Nothing switches it off."""
    tls = lab.folder / "tls"
    tls.mkdir()
    trusted, contexts = authority(tls)
    lab.manifest(FEW)
    api = lab.sandbox()
    for name in ("expired", "elsewhere", "foreign", "good"):
        with serving(lambda request: relayed(request, api), tls=contexts[name]) as server:
            url = f"{server.url}/v1"
            lab.manifest(FEW, name=f"{name}.yaml")
            trusts: list[list[str | Path]] = [[], ["--ca-file", trusted]]
            for trust in trusts:
                if name == "good" and trust:
                    continue
                careless = lab.environment(PYTHONHTTPSVERIFY="0", CURL_CA_BUNDLE="", SSL_CERT_DIR="/nowhere")
                ran = lab.run(*trust, api=url, env=careless)
                lab.ended(ran, 78)
                lab.says(ran, "certificate", "batchvid run")
                lab.expect("I1", not server.requests, f"{name}: a request was sent")
            if name == "good":
                for bad in ("nowhere.pem", "good.ext"):
                    lab.ended(lab.run("--ca-file", tls / bad, api=url), 2, 78)
                lab.ended(lab.run(api=url, env=lab.environment(BATCHVID_CA_FILE=str(trusted))), 0)
                lab.ended(lab.call("doctor", lab.manifest_path, "--ca-file", trusted, api=url), 0)
                lab.expect("I9", server.requests, "the right authority was of no use")
    lab.others_done("job-0", "job-1", "job-2", "job-3")
    lab.survived("tls", "m.yaml", "expired.yaml", "elsewhere.yaml", "foreign.yaml", "good.yaml")


@fault("S11", "umask 000, 022 and 077: who can read the state, during a run and after it")
def modes(lab: Lab) -> None:
    """Keep the state to its owner under any umask."""
    for name, umask in (("open", 0o000), ("usual", 0o022), ("private", 0o077)):
        one = lab.beside(name)
        one.manifest(FEW)
        one.sandbox("- {on: poll, nth: 1, delay_s: 1}")
        process = one.start("run", one.manifest_path, umask=umask)
        one.until(lambda one=one: asked("poll")(one), process)
        for moment in ("during", "after"):
            state = one.output / ".batchvid"
            for path in (state, *state.rglob("*")):
                mode = stat.S_IMODE(path.stat().st_mode)
                one.expect("I5", not mode & 0o077, f"{moment}: {path.name} has mode {mode:o} under umask {umask:o}")
            if moment == "during":
                one.ended(one.wait(process), 0)
        clip = stat.S_IMODE((one.output / "job-0.mp4").stat().st_mode)
        one.expect("I6", clip == 0o666 & ~umask, f"a clip has mode {clip:o} under umask {umask:o}")
        one.survived()


@fault("S12", "proxies in the environment, .netrc, modules in the user's folder with the names of ours")
def surroundings(lab: Lab) -> None:
    """Send nothing past the service, and run nobody's code."""
    program = Path(sys.executable).with_name("batchvid")
    if not program.exists():
        raise NotHereError("batchvid is not installed as a program")
    lab.manifest(FEW)
    lab.sandbox()
    for name in ("json", "yaml", "aiohttp", "batchvid", "click", "sqlite3", "sitecustomize", "asyncio"):
        (lab.folder / f"{name}.py").write_text("open('owned', 'w').write('x')\n", encoding="ascii")
    home = lab.folder / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine 127.0.0.1 login me password netrc-canary\n", encoding="ascii")
    (home / ".netrc").chmod(0o600)
    with serving(lambda _: http("502 Bad gateway")) as proxy:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        environment = {name: value for name, value in lab.environment().items() if name not in {"no_proxy", "NO_PROXY"}}
        environment |= dict.fromkeys(names, proxy.url) | {"HOME": str(home), "NETRC": str(home / ".netrc")}
        environment.pop("PYTHONPATH")
        for sandbox in ([], ["--sandbox", "--sandbox-speed", "400", "--output", lab.folder / "out" / "own"]):
            where = [] if sandbox else ["--base-url", str(lab.api)]
            command = [program, "run", lab.manifest_path, *where, *sandbox]
            process = subprocess.Popen(
                [str(part) for part in command], env=environment, cwd=lab.folder, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            lab.ended(lab.wait(process), 0)
        lab.expect("I5", not proxy.requests, f"the proxy was asked for {[one.path for one in proxy.requests]}")
    lab.expect("I7", not (lab.folder / "owned").exists(), "a module in the user's folder was run")
    lab.others_done("job-0", "job-1", "job-2", "job-3")
    for path in lab.folder.glob("*.py"):
        path.unlink()
    lab.survived("home")


@fault("S13", "prompts that a spreadsheet takes for formulas, with quotes, separators and line breaks")
def formulas(lab: Lab) -> None:
    """Write CSV that reads back word for word; with --safe-cells no cell begins a formula."""
    prompts = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", 'quote " and , ; comma', "two\nlines", "plain"]
    rows = "\n".join(json.dumps({"id": f"j{n}", "prompt": prompt}) for n, prompt in enumerate(prompts))
    (lab.folder / "rows.jsonl").write_text(rows + "\n", encoding="utf-8")
    lab.manifest("  - {from: rows.jsonl}")
    raw = list(csv.DictReader(io.StringIO(lab.call("export", lab.manifest_path).out)))
    lab.expect("I3", [row["prompt"] for row in raw] == prompts, "the CSV does not read back")
    safe = csv.DictReader(io.StringIO(lab.call("export", lab.manifest_path, "--safe-cells").out))
    for row in safe:
        for cell in row.values():
            lab.expect("I7", not str(cell).startswith(("=", "+", "-", "@", "\t", "\r")), f"a formula: {cell!r}")
    helped = lab.call("export", "--help")
    lab.says(helped, "--safe-cells", "formulas")
    lab.nothing_outside("rows.jsonl")
