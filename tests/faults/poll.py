"""F25 to F34: what can happen to a poll."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batchvid.sandbox.cometapi import new_id
from tests.faults.cases import fault
from tests.faults.lab import quick
from tests.faults.raw import http, relayed, reset, serving
from tests.faults.submit import jobs, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.lab import Lab, Ran
    from tests.faults.raw import Request

    Wrong = Callable[[Request, int], bytes | None]
    """Gives the answer to a job's n-th poll, from 1; ``None`` when the connection has been dealt with."""

TRUE = b"the true answer"
"""What a `Wrong` gives to let the sandbox answer."""
QUEUED = b'{"id": "%b", "object": "video", "status": "queued", "progress": 0}'


def wrong_polls(lab: Lab, wrong: dict[str, Wrong]) -> Counter[str]:
    """Answer the polls of these jobs as they say; give the counts of polls by job."""
    api = lab.api or lab.sandbox()
    owners: dict[str, str] = {}
    polls: Counter[str] = Counter()

    def answer(request: Request) -> bytes | None:
        if request.method == "POST":
            told = relayed(request, api)
            with suppress(ValueError, KeyError):
                owners[json.loads(told.partition(b"\r\n\r\n")[2])["id"]] = name_of(request)
            return told
        name = owners.get(request.path.removeprefix("/v1/videos/"), "")
        if name:
            polls[name] += 1
        wanted = wrong[name](request, polls[name]) if name in wrong else TRUE
        return relayed(request, api) if wanted == TRUE else wanted

    lab.in_front(answer)
    return polls


def bought_once(lab: Lab, *job_ids: str) -> None:
    """Expect one billed create for each of these jobs."""
    billed = Counter(line["prompt"] for line in lab.creates())
    more = {job: billed[f"The {job} clip"] for job in job_ids if billed[f"The {job} clip"] != 1}
    lab.expect("I1", not more, f"not bought once: {more}")


def parked(lab: Lab, ran: Ran, *job_ids: str) -> None:
    """Expect that the run left these jobs for the next one, and says so: exit 5, and running it again costs nothing."""
    lab.ended(ran, 5)
    found = {job for (job,) in lab.query("SELECT job_id FROM jobs WHERE parked AND state = 'running'")}
    lab.expect("I2", found == set(job_ids), f"parked: {found}, not {set(job_ids)}: {ran.text[-900:]}")
    lab.says(ran, *(f"timed out {job}: " for job in job_ids), "the next run looks again, free", "batchvid run")


@fault("F25", "a status word that nobody knows: in two polls, and for ever")
def unknown_word(lab: Lab) -> None:
    """Followed to the deadline, never bought again; the word is said once for all polls, and harmless to show."""
    lab.manifest(jobs("soon", "late", "well"), head=quick(task_timeout="2s"))
    lab.sandbox(
        "- {on: poll, prompt: The soon*, nth: 1-2, status_word: UPSCALING}\n"
        '- {on: poll, prompt: The late*, status_word: "Ren\\e[31mdering"}'
    )
    ran = lab.run()
    parked(lab, ran, "late")
    lab.says(ran, "late: still 'Rendering' after 2 s (task_timeout)")
    lab.expect("I10", ran.text.count("UPSCALING") == 1, f"said {ran.text.count('UPSCALING')} times: {ran.text[-900:]}")
    lab.expect("I10", "\x1b" not in ran.text, "the word is not clean")
    lab.others_done("soon", "well")
    parked(lab, lab.run(), "late")
    lab.converges(codes=(5,))
    bought_once(lab, "soon", "late", "well")
    lab.survived()


@fault(
    "F26",
    "statuses that go back, progress 100 while queued, '50%', null, lists, NaN; every other field of a wrong type",
)
def strange_fields(lab: Lab) -> None:
    """Nothing of it matters: every clip arrives, and is bought once."""
    odd = ', "seconds": {}, "size": [7], "model": 5, "expires_at": "soon", "completed_at": -1, "error": ""'
    steps = {
        "back": ('"processing", "progress": 80', '"queued", "progress": 5', '"not_start"', '"in_progress"'),
        "full": ('"queued", "progress": 100, "completed_at": 1773297229', '"IN_PROGRESS", "progress": "100%"'),
        "text": ('"queued", "progress": "50%"', '"queued", "progress": "half"', '"queued", "progress": "-5"'),
        "void": ('"queued", "progress": null', 'null, "progress": null', '"", "progress": NaN'),
        "list": (
            f'"running", "progress": [50]{odd}',
            f'["running"], "progress": {{}}{odd}',
            f'7, "progress": 1e999{odd}',
        ),
        "unknown": ('"unknown"', '"UNKNOWN"', '"Unknown", "error": null'),
    }

    def stepping(name: str) -> Wrong:
        def answer(request: Request, number: int) -> bytes:
            if number > len(steps[name]):
                return TRUE
            task_id = request.path.rpartition("/")[2]
            return http("200 OK", f'{{"id": "{task_id}", "status": {steps[name][number - 1]}}}'.encode())

        return answer

    lab.manifest(jobs(*steps))
    polls = wrong_polls(lab, {name: stepping(name) for name in steps})
    ran = lab.run()
    lab.ended(ran, 0)
    lab.expect("I4", all(polls[name] > len(steps[name]) for name in steps), f"polls: {polls}")
    lab.others_done(*steps)
    lab.converges()
    bought_once(lab, *steps)
    lab.survived()


@fault("F27", "queued for ever, over two runs; then the task finishes after all")
def queued_for_ever(lab: Lab) -> None:
    """Left to the next run, and not bought again; in the end one fetches the clip."""
    stuck = True

    def answer(request: Request, _: int) -> bytes:
        return http("200 OK", QUEUED % request.path.rpartition("/")[2].encode()) if stuck else TRUE

    lab.manifest(jobs("stuck", "well"), head=quick(task_timeout="1s"))
    polls = wrong_polls(lab, {"stuck": answer})
    before = 0
    for _ in range(2):
        ran = lab.run()
        parked(lab, ran, "stuck")
        lab.says(ran, "stuck: still 'queued' after 1 s (task_timeout)")
        lab.expect("I8", before < polls["stuck"] <= before + 25, f"{polls['stuck'] - before} polls in a second")
        before = polls["stuck"]
        lab.others_done("well")
    stuck = False
    lab.converges(runs=1)
    lab.others_done("stuck")
    bought_once(lab, "stuck", "well")
    lab.survived()


@fault(
    "F28",
    "an unknown id: at the first polls; for good, in four forms (grace cut from 60 s to 1 s); bought again by a person",
)
def unknown_id(lab: Lab) -> None:
    """Asked for again; for good it is lost: never bought again by itself, and the person is told what to do."""
    lab.constants = {"batchvid.engine.policy.UNKNOWN_TASK_GRACE_S": 1.0}
    forms = {
        "flat": http("400 Bad Request", b'{"code": "task_not_exist", "message": "task_not_exist", "data": null}'),
        "page": http("404 Not Found", b"<html>nothing here</html>"),
        "nested": http("404 Not Found", b'{"error": {"message": "Task not found", "type": "invalid_request_error"}}'),
        "empty": http("200 OK", b'{"code": "success", "message": "", "data": null}'),
    }
    known: set[str] = set()

    def unknown(name: str) -> Wrong:
        return lambda _request, _number: TRUE if name in known else forms[name]

    lab.manifest(jobs("young", *forms))
    wrong_polls(lab, {name: unknown(name) for name in forms} | {"young": lambda _, n: TRUE if n > 3 else forms["flat"]})
    for _ in range(2):
        ran = lab.run()
        parked(lab, ran, *forms)
        lab.says(ran, *(f"{name}: lost: " for name in forms), "dashboard", "batchvid retry")
        lab.others_done("young")
        bought_once(lab, "young", *forms)
    known |= {"page", "nested", "empty"}
    lab.converges(codes=(5,), runs=1)
    lab.others_done("page", "nested", "empty")
    lab.expect("I4", lab.call("retry", lab.manifest_path, "flat", "--yes").code == 0, "it could not be reopened")
    known.add("flat")
    lab.converges(runs=1)
    lab.others_done("flat")
    lab.expect("I1", len(lab.creates()) == 6, f"{len(lab.creates())} creates for 5 jobs of which one was bought again")
    lab.survived()


@fault("F29", "tasks that fail once, for ever, without a reason, cancelled, wrapped; with two attempts and with one")
def tasks_fail(lab: Lab) -> None:
    """Bought again while attempts last, and not once more; the reason is kept and clean; no reason is said, too."""
    rules = (
        "- {on: create, prompt: The once*, nth: 1, fail: Overloaded}\n"
        '- {on: create, prompt: The never*, fail: "unsafe \\e[31mcontent\\u202e"}\n'
        "- {on: create, prompt: The mute*, fail: x}\n- {on: poll, prompt: The mute*, set: {error: null}}\n"
        "- {on: create, prompt: The wrapped*, fail: Too dark}\n- {on: poll, prompt: The wrapped*, wrapped: true}\n"
        "- {on: poll, prompt: The stopped*, status_word: CANCELLED}"
    )
    failing = ("never", "mute", "wrapped", "stopped")
    for attempts, name in ((2, "two.yaml"), (1, "one.yaml")):
        lab.sandbox(rules)
        lab.manifest(jobs("once", *failing, "well"), head=quick(attempts=attempts), name=name)
        ran = lab.run()
        lab.ended(ran, 3)
        lab.says(ran, "never: unsafe content", "mute: the service says 'failed', without a reason", "wrapped: Too dark",
                 "stopped: the service says 'CANCELLED'", "Overloaded", "batchvid retry")  # fmt: skip
        lab.expect("I10", not {"\x1b", "\u202e"} & set(ran.text), "the reason is not clean")
        lab.others_done("well", *(["once"] if attempts == 2 else []))
        billed = Counter(line["prompt"].split()[1] for line in lab.creates())
        wanted = Counter({**dict.fromkeys(("once", *failing), attempts), "well": 1})
        lab.expect("I1", billed == wanted, f"billed: {billed}")
        status = json.loads(lab.call("status", lab.manifest_path, "--json").out)
        lab.expect("I6", abs(status["money"]["spent"] - 0.4 * len(lab.creates())) < 1e-9, f"{status['money']}")
        lab.converges(codes=(3,))
        lab.expect("I1", len(lab.creates()) == sum(wanted.values()), "a further run bought a failed clip again")
        lab.survived("one.yaml", "two.yaml")


@fault("F30", "completed without a URL: for two polls, for ever, with failure text or a script where the URL should be")
def without_url(lab: Lab) -> None:
    """After a few more polls, the clip is fetched from behind /content; bought once."""
    names = ("soon", "nowhere", "script", "words")
    lab.manifest(jobs(*names))
    lab.sandbox(
        "- {on: poll, prompt: The soon*, nth: 1-2, set: {status: completed, video_url: null}}\n"
        "- {on: poll, prompt: The nowhere*, no_url: true}\n"
        "- {on: poll, prompt: The script*, set: {video_url: 'javascript:alert(1)', url: 'file:///etc/passwd'}}\n"
        "- {on: poll, prompt: The words*, set: {video_url: null, metadata: {url: generation is late}}}"
    )
    ran = lab.run()
    lab.ended(ran, 0)
    lab.others_done(*names)
    asked = lab.ledger()["requests"]
    lab.expect("I8", asked["content"] == 3 and asked["poll"] < 80, f"requests: {asked}")
    lab.converges()
    bought_once(lab, *names)
    lab.survived()


@fault(
    "F31",
    "5xx, resets, silence (30 s cut to 1 s), cuts, pages, 429, nothing; 502 for one job for ever",
)
def polls_go_wrong(lab: Lab) -> None:
    """Asked again, free: the clip arrives; one that never gets an answer is left to the next run."""
    lab.constants = {
        "batchvid.providers.http.SILENCE_S": 1.0,
        "batchvid.providers.http.READ_TIMEOUT_S": 2.0,
        "batchvid.engine.circuit_breaker.AWAY_AT_MOST": 0.2,
    }
    bad = http("502 Bad Gateway", b"<html>Bad gateway</html>")
    healed = False

    def falls_silent(request: Request) -> None:
        request.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
        time.sleep(3)

    ways: list[bytes | Callable[[Request], None]] = [
        bad, http("500 Internal Server Error", b'{"error": {"message": "oops"}}'), reset, falls_silent, b"",
        http("200 OK", b'{"id": "', Content_Length="500"), http("200 OK", b""), http("200 OK", b"<html>hello</html>"),
        http("503 Service Unavailable", b'{"code": 7, "message": "busy"}'), http("504 Gateway Timeout"), b"SSH-2.0\r\n",
        http("429 Too Many Requests", b"", Retry_After="0"), http("524 Unnamed", b"<p>"), http("204 No Content"),
    ]  # fmt: skip

    def each(request: Request, number: int) -> bytes | None:
        if number > len(ways):
            return TRUE
        way = ways[number - 1]
        return way if isinstance(way, bytes) else way(request)

    lab.manifest(jobs("hurt", "lost", "well"), head=quick(task_timeout="12s"))
    polls = wrong_polls(lab, {"hurt": each, "lost": lambda _, __: TRUE if healed else bad})
    ran = lab.run()
    parked(lab, ran, "lost")
    lab.says(ran, "lost: no usable answer within task_timeout, the last: ", "502")
    lab.others_done("hurt", "well")
    lab.expect("I4", polls["hurt"] == len(ways) + 1, f"{polls['hurt']} polls for {len(ways)} faults")
    healed = True
    lab.converges(runs=1)
    lab.others_done("lost")
    bought_once(lab, "hurt", "lost", "well")
    lab.survived()


@fault(
    "F32",
    "100,000-deep JSON, 100 MB, a gzip bomb of 1 GB, bad charsets, BOM, NaN, 10,000 digits, huge headers",
)
def hostile_bodies(lab: Lab) -> None:
    """Bounded in memory and time; no worker dies; the job goes on with its next good answer, and so do the others."""
    bomb = gzip.compress(bytes(64 * 1024 * 1024)) * 16

    def flood(request: Request) -> None:
        request.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n[")
        for _ in range(100):
            request.connection.sendall(b'"' + b"x" * 999_997 + b'",')

    good = '{"status": "queued", "progress": %s}'
    bodies: dict[str, bytes | Callable[[Request], None]] = {
        "deep": http("200 OK", b"[" * 100_000 + b"]" * 100_000),
        "deeper": http("200 OK", b'{"data":' * 100_000 + b"1" + b"}" * 100_000),
        "flood": flood,
        "bomb": http("200 OK", bomb, Content_Encoding="gzip"),
        "torn": http("200 OK", b"\x1f\x8b\x08broken", Content_Encoding="gzip"),
        "brotli": http("200 OK", b"\x8b\x00", Content_Encoding="br"),
        "charset": http("200 OK", b"\xff\xfe{\x00}\x00", Content_Type="application/json; charset=utf-99"),
        "latin": http("200 OK", b'{"status": "queu\xe9"}', Content_Type="application/json; charset=latin-1"),
        "bom": http("200 OK", b"\xef\xbb\xbf" + (good % "5").encode()),
        "nan": http("200 OK", (good % "NaN").encode()),
        "digits": http("200 OK", (good % ("9" * 10_000)).encode()),
        "half": http("200 OK", b'{"status": "\\ud800queued", "id": "\\udfff", "video_url": "http://\\ud800"}'),
        "header": http("200 OK", (good % "1").encode(), X_Long="h" * 200_000),
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n{}\r\n0\r\n\r\n",
        "length": http("200 OK", b"{}", Content_Length="-5"),
        "line": b"HTTP/1.1 99999999 " + b"x" * 100_000 + b"\r\n\r\n",
        "interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    }

    def twice(name: str) -> Wrong:
        def answer(request: Request, number: int) -> bytes | None:
            told = bodies[name] if number <= 2 else TRUE
            return told if isinstance(told, bytes) else told(request)

        return answer

    lab.manifest(jobs(*bodies, "well"), head=quick(in_flight=20, task_timeout="30s"))
    polls = wrong_polls(lab, {name: twice(name) for name in bodies})
    ran = lab.run()
    lab.ended(ran, 0)
    lab.others_done(*bodies, "well")
    lab.expect("I4", all(polls[name] >= 3 for name in bodies), f"polls: {polls}")
    log = max((path.stat().st_size for path in lab.output.rglob("log.jsonl*")), default=0)
    lab.expect("I8", log < 1_000_000, f"the log has {log} bytes")
    lab.converges()
    bought_once(lab, *bodies, "well")
    lab.survived()


@fault("F33", "polls answer for another job's task: completed with its clip, failed, wrapped; twice, and for ever")
def answer_for_another(lab: Lab) -> None:
    """Rejected: no other clip is fetched, no failure is believed; the true answer is waited for."""
    of_well = new_id(1, 1)
    with serving(lambda _: http("200 OK", b"another clip")) as elsewhere:
        url = f"{elsewhere.url}/stolen.mp4"
        others = {
            "done": {"id": of_well, "status": "completed", "video_url": url},
            "failed": {"task_id": of_well, "status": "failed", "error": {"message": "no"}},
            "stranger": {"task_id": "task_of_nobody", "status": "failed", "error": {"message": "no"}},
            "wrapped": {"code": "success", "data": {"task_id": of_well, "status": "SUCCESS", "fail_reason": url}},
        }
        healed = False

        def about_another(name: str, *, until: int) -> Wrong:
            told = http("200 OK", json.dumps(others[name]).encode())
            return lambda _request, number: TRUE if healed or number > until else told

        lab.manifest(jobs("well", *others, "ever"), head=quick(task_timeout="2s", in_flight=1))
        wrong = {name: about_another(name, until=2) for name in others}
        wrong_polls(lab, wrong | {"ever": about_another("done", until=10**9)})
        ran = lab.run()
        parked(lab, ran, "ever")
        lab.says(ran, "ever: no usable answer within task_timeout", of_well, "belongs to job 'well'")
        lab.others_done(*others, "well")
        healed = True
        lab.converges(runs=1)
        lab.others_done("ever")
        lab.expect("I3", not elsewhere.requests, "another task's clip was fetched")
    bought_once(lab, *others, "ever", "well")
    lab.survived()


def open_parts(pid: int) -> set[str]:
    """Return the part files that a process has open: its transfers."""
    found = set()
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(path.readlink().name)
    return {name for name in found if name.endswith(".part")}


@fault("F34", "1200 tasks, all finished while nobody looked (SIGKILL), are polled and fetched by one run", alone=True)
def herd(lab: Lab) -> None:
    """At most ``downloads`` transfers at once, polls within the pace, bounded memory; every clip once."""
    number, pace = 1200, 250
    api = lab.sandbox()
    sent: list[float] = []

    def answer(request: Request) -> bytes:
        if request.method == "GET":
            sent.append(time.monotonic())
        return relayed(request, api)

    lab.manifest(
        "\n".join(f"  - {{id: {half}, prompt: The {half} clip, takes: {number // 2}}}" for half in ("left", "right")),
        head=quick(submits="unlimited", in_flight=number, requests=f"{pace}/s", budget=1000, typical_time="60s"),
    )
    lab.in_front(answer)
    running = "SELECT count(*) FROM jobs WHERE state = 'running'"
    lab.kill_when(lab.start("run", lab.manifest_path, "-q"), lambda: lab.query(running) == [(number,)])
    lab.expect("I2", lab.query(running) == [(number,)], f"{lab.query(running)} of {number} are running")
    sent.clear()
    going = lab.start("run", lab.manifest_path, "-q")
    most, now = 0, set[str]()
    while going.poll() is None:
        before, now = now, open_parts(going.pid)
        most = max(most, len(before & now))
    lab.ended(lab.wait(going), 0)
    lab.expect("I8", 0 < most <= 4, f"{most} transfers at once, where 4 are allowed")
    busiest = max(
        sum(begin <= moment < begin + 1 for moment in sent[at : at + 4 * pace]) for at, begin in enumerate(sent)
    )
    lab.expect("I8", busiest <= pace * 1.15, f"{busiest} polls within a second, where {pace} are allowed")
    lab.expect("I8", len(sent) < 1.5 * number, f"{len(sent)} polls for {number} tasks")
    lab.expect("I9", len(lab.clips()) == number, f"{len(lab.clips())} clips of {number}")
    lab.expect("I1", len(lab.creates()) == number, f"{len(lab.creates())} creates for {number} jobs")
    lab.converges()
    lab.survived(requests=4 * number)
