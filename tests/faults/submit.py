"""F01 to F11: paid requests that cannot be sent, that get no answer, or one that cannot be read."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from batchvid.sandbox.cometapi import new_id
from tests.faults.cases import NotHereError, fault
from tests.faults.lab import IN_CLEAR, quick
from tests.faults.raw import http, read_rest, relayed, reset, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.lab import Lab, Ran
    from tests.faults.raw import Request

TWO = "  - {id: hurt, prompt: The hurt one}\n  - {id: well, prompt: Another one}"
IMPATIENT = quick(submits="unlimited", backoff="0.005s..0.01s")
"""A retry budget that is used up within seconds."""
ONE_BY_ONE = quick(in_flight=1, submits="unlimited", backoff="0.005s..0.01s")
"""One paid request after the other, so that it is known which is the third in a row."""


def jobs(*ids: str) -> str:
    """Return a manifest's jobs; the prompt of ``kite`` is ``The kite clip``."""
    return "\n".join(f"  - {{id: {name}, prompt: The {name} clip}}" for name in ids)


def name_of(request: Request) -> str:
    """Return the id of the job that a create is for, by its prompt."""
    return request.body.partition(b"\r\n\r\nThe ")[2].partition(b" clip\r\n")[0].decode()


def nothing_sent(lab: Lab, ran: Ran, *job_ids: str) -> None:
    """Expect these jobs pending, no attempt on record, and nothing billed."""
    states = lab.states()
    lab.expect("I2", all(states.get(job, "pending") == "pending" for job in job_ids), f"not pending: {states}")
    lab.expect("I1", not lab.query("SELECT * FROM attempts"), "an attempt is on record")
    lab.expect("I1", not lab.api or not lab.creates(), f"something was billed: {ran.text[-300:]}")


def in_doubt(lab: Lab, ran: Ran, *job_ids: str) -> None:
    """Expect these jobs in doubt, and no others; the messages name each, and the ways on."""
    found = {job for job, state in lab.states().items() if state == "in_doubt"}
    lab.expect("I2", found == set(job_ids), f"in doubt: {found}, not {set(job_ids)}: {ran.text[-900:]}")
    lab.says(ran, *(f"{job}: attempt 1 may have been paid" for job in job_ids), "adopt", "retry", "dashboard")


def stays_in_doubt(lab: Lab) -> None:
    """Expect that a further run sends nothing for what is in doubt."""
    before = lab.ledger()["requests"]["create"]
    lab.converges(codes=(4,), runs=1)
    lab.expect("I1", lab.ledger()["requests"]["create"] == before, "a further run sent a create")


def private_mounts(**files: Path) -> list[str]:
    """Return the command that runs another one with files of its own in ``/etc``."""
    script = "".join(f"mount --bind '{path}' /etc/{name.replace('_', '.')} && " for name, path in files.items())
    command = ["unshare", "-m", "sh", "-c", f'{script} exec "$@"', "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], check=False, capture_output=True).returncode
    ):
        raise NotHereError("no private mounts: unshare -m is refused")
    return command


@fault("F01", "the service's name does not resolve: DNS is silent, no such name; healed within the run, and after it")
def no_such_name(lab: Lab) -> None:
    """Nothing is sent and nothing is in doubt; the retry budget ends the run; what heals in time goes on by itself."""
    lab.manifest(TWO, head=IN_CLEAR + IMPATIENT)
    named = lab.sandbox().replace("127.0.0.1", "service.lab.test")
    hosts, names, servers = (lab.folder / name for name in ("hosts", "nsswitch", "resolv"))
    hosts.write_text("127.0.0.1 localhost\n")
    names.touch()
    servers.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    there = private_mounts(hosts=hosts, nsswitch_conf=names, resolv_conf=servers)
    for order in ("files dns", "files"):
        names.write_text(f"hosts: {order}\n")
        ran = lab.run(api=named, under=there)
        lab.ended(ran, 5)
        lab.says(ran, "could not be resolved", "batchvid run", "remaining 2 jobs")
        nothing_sent(lab, ran, "hurt", "well")
    lab.manifest(TWO, head=IN_CLEAR + quick(submits="unlimited", backoff="0.1s..0.2s"))
    going = lab.start("run", lab.manifest_path, api=named, under=there)
    time.sleep(1.5)
    with hosts.open("a") as file:  # the same file, because it is bound into the other namespace
        file.write("127.0.0.1 service.lab.test\n")
    lab.ended(lab.wait(going), 0)
    lab.others_done("hurt", "well")
    lab.expect("I4", len(lab.creates()) == 2, "not one create a job")
    lab.survived("hosts", "nsswitch", "resolv")


@fault("F02", "the connection is refused, the network is unreachable; healed within the run, and after it")
def unreachable(lab: Lab) -> None:
    """Nothing is sent and nothing is in doubt; the retry budget ends the run; what heals in time goes on by itself."""
    lab.manifest(TWO, head=IMPATIENT)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    address = f"http://127.0.0.1:{port}/v1"
    for under in ([], ["unshare", "-n"]):
        ran = lab.run(api=address, under=under)
        lab.ended(ran, 5)
        lab.says(ran, "could not be reached", "batchvid run", "remaining 2 jobs")
        nothing_sent(lab, ran, "hurt", "well")
    lab.manifest(TWO, head=quick(submits="unlimited", backoff="0.1s..0.2s"))
    going = lab.start("run", lab.manifest_path, api=address)
    time.sleep(1.5)
    lab.sandbox(port=port)
    lab.ended(lab.wait(going), 0)
    lab.others_done("hurt", "well")
    lab.converges()
    lab.expect("I4", len(lab.creates()) == 2, "not one create a job")
    lab.survived()


def certificate(lab: Lab, name: str, *, host: str) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate of its own authority for *host*; give its file and a server's context."""
    made, key = lab.folder / f"{name}.pem", lab.folder / f"{name}.key"
    openssl = shutil.which("openssl")
    if openssl is None:
        raise NotHereError("openssl is not installed")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         "2", "-keyout", key, "-out", made, "-subj", "/CN=lab", "-addext", f"subjectAltName={host}"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return made, context


@fault("F03", "TLS: an unknown authority, a certificate for another host, plain HTTP behind https")
def bad_tls(lab: Lab) -> None:
    """Exit 78 at once, with not one byte of a request sent; with the right authority it goes on."""
    lab.manifest(TWO)
    api = lab.sandbox()
    good, speaks_well = certificate(lab, "good", host="IP:127.0.0.1")
    other, speaks_for_another = certificate(lab, "other", host="DNS:elsewhere.example")
    raw = lab.in_front(lambda request: relayed(request, api), tls=speaks_well)
    with serving(lambda request: relayed(request, api), tls=speaks_for_another) as foreign:
        for name, address in (("unknown", raw.url), ("foreign", foreign.url), ("plain", api)):
            lab.manifest(TWO, name=f"{name}.yaml")
            trusting: list[str | Path] = ["--ca-file", other] if name == "foreign" else []
            ran = lab.run(*trusting, api=f"https://{urlsplit(address).netloc}/v1")
            lab.ended(ran, 78)
            lab.says(ran, "the service's certificate was not accepted", "doctor", "batchvid run")
            lab.expect("I8", ran.seconds < 10, "it did not stop at once")
            lab.expect("I1", not raw.requests and not foreign.requests, "a request was sent")
            nothing_sent(lab, ran, "hurt", "well")
    lab.manifest(TWO, name="unknown.yaml")
    lab.converges("--ca-file", good)
    lab.others_done("hurt", "well")
    lab.survived(
        "good.pem", "good.key", "other.pem", "other.key", "m.yaml", "unknown.yaml", "foreign.yaml", "plain.yaml"
    )


@fault("F04", "nobody accepts the connection (time-out cut from 20 s to 1 s); interrupted, then healed within the run")
def connect_timeout(lab: Lab) -> None:
    """Nothing is sent and nothing is in doubt, also when a person stops it; once somebody answers, it goes on."""
    lab.manifest(TWO, head=quick(submits="unlimited", backoff="0.1s..0.2s"))
    lab.constants = {"batchvid.providers.paid_post.CONNECT_TIMEOUT_S": 1.0}
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(("127.0.0.1", port))
        address = f"http://127.0.0.1:{port}/v1"
        going = lab.start("run", lab.manifest_path, api=address)
        time.sleep(1.5)
        going.send_signal(signal.SIGINT)
        ran = lab.wait(going)
        lab.ended(ran, 130)
        nothing_sent(lab, ran, "hurt", "well")
        going = lab.start("run", lab.manifest_path, "-v", api=address)
        time.sleep(2.5)
        for one in waiting:
            one.close()
    lab.sandbox(port=port)
    ran = lab.wait(going)
    lab.ended(ran, 0)
    lab.says(ran, "hurt: nothing was created: the service did not accept a connection in time")
    lab.others_done("hurt", "well")
    lab.expect("I4", len(lab.creates()) == 2, "not one create a job")
    lab.converges()
    lab.survived()


@fault("F05", "the connection is reset, or closed, in the middle of the upload of an 8 MB frame")
def reset_in_upload(lab: Lab) -> None:
    """In doubt, never sent again; the other job finishes."""
    from PIL import Image  # noqa: PLC0415 heavy

    Image.effect_noise((3000, 3000), 90).save(lab.folder / "big.png")
    framed = jobs("reset", "closed").replace(" clip}", " clip, first_frame: big.png}")
    lab.manifest(f"{framed}\n{jobs('well')}")
    api = lab.sandbox()

    def answer(request: Request) -> bytes | None:
        if int(request.headers.get("content-length", "0")) < 1_000_000:
            read_rest(request)
            return relayed(request, api)
        for _ in range(8):
            request.body += request.connection.recv(65536)
        if name_of(request) == "reset":
            reset(request)
        return None

    raw = lab.in_front(answer, read_body=False)
    ran = lab.run()
    lab.ended(ran, 4)
    in_doubt(lab, ran, "reset", "closed")
    lab.others_done("well")
    stays_in_doubt(lab)
    lab.expect("I1", sum(request.method == "POST" for request in raw.requests) == 3, "a create was sent again")
    lab.survived("big.png")


@fault("F06", "the connection dies after the request: before the answer, inside it, with and without a billed create")
def reset_before_answer(lab: Lab) -> None:
    """In doubt, never sent again; the other job finishes."""
    lab.manifest(jobs("well", "after", "during", "before"))
    lab.sandbox(
        "- {on: create, prompt: The after*, reset: after-effect}\n- {on: create, prompt: The during*, reset: during}\n"
        "- {on: create, prompt: The before*, reset: before}"
    )
    ran = lab.run()
    lab.ended(ran, 4)
    in_doubt(lab, ran, "after", "during", "before")
    lab.others_done("well")
    stays_in_doubt(lab)
    lab.survived()


@fault("F07", "no answer in time (120 s and 300 s cut to 1 s and 2 s): silence, and one byte at a time without end")
def no_answer(lab: Lab) -> None:
    """In doubt, whether billed or not; never sent again; the other job finishes."""
    lab.manifest(jobs("well", "billed", "silent", "trickle"))
    lab.constants = {
        "batchvid.providers.paid_post.CREATE_SILENCE_S": 1.0,
        "batchvid.providers.paid_post.CREATE_TIMEOUT_S": 2.0,
    }
    api = lab.sandbox("- {on: create, prompt: The billed*, hang: true, effect: true}\n"
                      "- {on: create, prompt: The silent*, hang: true}")  # fmt: skip

    def answer(request: Request) -> bytes | None:
        if request.method == "POST" and name_of(request) == "trickle":
            for byte in b"HTTP/1.1 200 OK\r\nX-Patience: " + b"a" * 40:
                request.connection.sendall(bytes([byte]))
                time.sleep(0.2)
            return None
        return relayed(request, api)

    lab.in_front(answer)
    ran = lab.run()
    lab.ended(ran, 4)
    lab.says(ran, "no answer came in time")
    in_doubt(lab, ran, "billed", "silent", "trickle")
    lab.others_done("well")
    stays_in_doubt(lab)
    lab.survived()


@fault("F08", "a 2xx is cut off at 0, 50 and 97 % of its body; the last one is adopted by its raw bytes")
def answer_cut(lab: Lab) -> None:
    """In doubt, with the raw bytes kept; a person can adopt the task from them, and then the clip is fetched."""
    lab.manifest(jobs("none", "well", "half", "more", "most"), head=ONE_BY_ONE)
    lab.sandbox(
        "- {on: create, prompt: The none*, cut_at: 0}\n- {on: create, prompt: The half*, cut_at: 0.5}\n"
        "- {on: create, prompt: The most*, cut_at: 0.97}"
    )
    ran = lab.run()
    lab.ended(ran, 4)
    in_doubt(lab, ran, "none", "half", "most")
    lab.says(ran, "cut off")
    lab.others_done("well", "more")
    raw = {job: bytes(kept or b"") for job, kept in lab.query("SELECT job_id, raw FROM attempts WHERE task_id IS NULL")}
    lab.expect("I2", raw["none"] == b"" and len(raw["half"]) > 50 and b'"id"' in raw["most"], f"raw bytes: {raw}")
    found = raw["most"].partition(b'"id": "')[2].partition(b'"')[0].decode()
    lab.expect("I10", found in ran.text, "the task id that came is not shown")
    stays_in_doubt(lab)
    lab.expect("I4", lab.call("adopt", lab.manifest_path, "most", found, "--offline").code == 0, "it was not adopted")
    stays_in_doubt(lab)
    lab.others_done("most")
    lab.survived()


@fault("F09", "every 2xx is a web page, one request after the other and eight at once; the creates are billed")
def answers_are_pages(lab: Lab) -> None:
    """In doubt; after three in a row submitting pauses, and when the answers are good again the rest becomes clips."""
    names = [f"j{number}" for number in range(8)]
    for name, head in (("serial", ONE_BY_ONE), ("parallel", quick(submits="unlimited"))):
        lab.manifest(jobs(*(f"{job}-{name}" for job in names)), head=head, name=f"{name}.yaml")
        lab.sandbox("- {on: create, scope: call, times: 4, garbage: html, delay_s: 0.05}")
        ran = lab.run()
        lab.ended(ran, 4)
        lab.says(ran, "may have been paid", "dashboard", "adopt")
        lab.expect("I1", len(lab.creates()) == 8, f"{len(lab.creates())} creates, not 8: {name}")
        lab.expect("I2", list(lab.states().values()).count("in_doubt") == 4, f"{lab.states()}")
        lab.expect("I9", list(lab.states().values()).count("done") == 4, f"the rest did not finish: {lab.states()}")
        lab.converges(codes=(4,), runs=1)
    lab.manifest(jobs(*(f"{job}-all" for job in (*names, *"abcdef"))), head=ONE_BY_ONE, name="all.yaml")
    lab.sandbox("- {on: create, garbage: html}")
    ran = lab.run()
    lab.ended(ran, 4)
    lab.says(ran, "10 paid requests are in doubt", "batchvid doubts")
    lab.expect("I1", len(lab.creates()) == 10, f"{len(lab.creates())} creates, not 10")
    lab.survived("serial.yaml", "parallel.yaml", "all.yaml")


ODD_IDS = {
    "none": {"status": "queued"},
    "fraction": {"id": 1.5},
    "nothing": {"id": None, "task_id": None},
    "list": {"id": ["task_1"]},
    "void": {"id": ""},
    "dots": {"id": ".."},
    "lines": {"id": "task_1\nX-Injected: yes"},
    "escape": {"id": "task_\x1b[31m1"},
    "huge": {"id": "task_" + "x" * 10_000_000},
    "large": {"id": "task_" + "x" * 100_000},
}
QUOTED_IDS = {
    "climb": "task/../../../v1/models",
    "query": "a b?c=d#e&f%2F..",
    "colon": "task:12/3==",
    "word": "задача-1",
    "number": "12345678",
}


@fault("F10", "a 2xx without an id, with an id of another type, of 10 MB, with lines, dots, slashes, queries, Cyrillic")
def odd_ids(lab: Lab) -> None:
    """In doubt, where it cannot be an id; any other is escaped in every URL, and its clip arrives."""
    mixed = [name for bad in ODD_IDS for name in (bad, f"well-{bad}")]
    lab.manifest(jobs(*mixed, *QUOTED_IDS), head=ONE_BY_ONE)
    api = lab.sandbox()
    true_ids: dict[str, str] = {}

    def answer(request: Request) -> bytes:
        if request.method == "POST":
            name = name_of(request)
            if name in ODD_IDS:
                return http("200 OK", json.dumps(ODD_IDS[name]).encode())
            told = relayed(request, api)
            if name in QUOTED_IDS:
                found = json.loads(told.partition(b"\r\n\r\n")[2])["id"]
                true_ids[QUOTED_IDS[name]] = found
                odd_id = QUOTED_IDS[name]
                told_id = int(odd_id) if odd_id.isdigit() else odd_id
                return http("200 OK", json.dumps({"id": told_id, "status": "queued"}).encode())
            return told
        for odd, true in true_ids.items():
            if request.path.startswith(f"/v1/videos/{quote(odd, safe='')}"):
                request.path = f"/v1/videos/{true}"
                told = b"" if odd == QUOTED_IDS["word"] else json.dumps(odd)[1:-1].encode()
                return http("200 OK", relayed(request, api).partition(b"\r\n\r\n")[2].replace(true.encode(), told, 1))
        return relayed(request, api)

    raw = lab.in_front(answer)
    ran = lab.run()
    lab.ended(ran, 4)
    in_doubt(lab, ran, *ODD_IDS)
    lab.others_done(*(f"well-{bad}" for bad in ODD_IDS), *QUOTED_IDS)
    kept = {task for (task,) in lab.query("SELECT task_id FROM attempts")}
    lab.expect("I2", set(QUOTED_IDS.values()) <= kept, f"ids that are not kept as they came: {kept}")
    strange = [request.path for request in raw.requests if not request.path.startswith("/v1/videos")]
    lab.expect("I7", not strange and "\x1b" not in ran.text, f"an id led elsewhere: {strange}")
    sent = sum(request.method == "POST" for request in raw.requests)
    lab.converges(codes=(4,), runs=1)
    lab.expect("I1", sum(request.method == "POST" for request in raw.requests) == sent, "a create was sent again")
    lab.every_clip_whole()
    lab.key_nowhere()
    lab.nothing_outside()
    lab.bounded()


@fault("F11", "the service names a task that another job, or the job's own first attempt, has already")
def id_of_another(lab: Lab) -> None:
    """In doubt, for the second owner, who says whose task it is; the first one's clip arrives."""
    lab.manifest(jobs("first", "twin", "again", "well"), head=ONE_BY_ONE)
    lab.sandbox(
        f"- {{on: create, prompt: The twin*, set: {{id: {new_id(1, 1)}}}}}\n"
        "- {on: create, prompt: The again*, nth: 1, fail: It did not work}\n"
        f"- {{on: create, prompt: The again*, nth: 2, set: {{id: {new_id(1, 3)}}}}}"
    )
    ran = lab.run()
    lab.ended(ran, 4)
    lab.says(
        ran, "twin: attempt 1 may", "belongs to job 'first'", "again: attempt 2 may", "belongs to job 'again'", "adopt"
    )
    lab.others_done("first", "well")
    owners = lab.query("SELECT task_id FROM attempts WHERE task_id IS NOT NULL")
    lab.expect("I2", len(owners) == len(set(owners)) == 3, f"owners: {owners}")
    stays_in_doubt(lab)
    lab.survived()
