"""F12 to F24: what the service can answer to a paid request, and what can become of its frames."""

from __future__ import annotations

import json
import shutil
import signal
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from tests.faults.cases import fault
from tests.faults.lab import FRAMES, quick
from tests.faults.raw import http, read_rest, relayed, serving
from tests.faults.submit import IMPATIENT, ONE_BY_ONE, TWO, in_doubt, jobs, name_of, nothing_sent, stays_in_doubt

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.lab import Lab
    from tests.faults.raw import Request


@fault("F12", "HTTP 400, 403 and 422 with escapes, marks that reverse the text, and lists in the message")
def bad_request(lab: Lab) -> None:
    """Failed, that job, and not sent again; the text is clean and keeps the request id; the other finishes."""
    lab.manifest(jobs("nested", "flat", "list", "well"))
    lab.sandbox(
        '- {on: create, prompt: The nested*, status: 400, body: {error: {code: "", type: comet_api_error, message:\n'
        '   "no \\e[31mgood\\e]0;pwned\\a\\u202e prompt\\u0000 (request id: req-77)"}}}\n'
        "- {on: create, prompt: The flat*, status: 403, body: {code: policy, message: not allowed here}}\n"
        '- {on: create, prompt: The list*, status: 422, body: {detail: [{loc: [prompt], msg: "too \\e[2Jrude"}]}}'
    )
    ran = lab.run()
    lab.ended(ran, 3)
    lab.says(ran, "nested: no good prompt (request id: req-77)", "flat: not allowed here", "rude", "batchvid retry")
    lab.expect("I10", not {"\x1b", "\u202e", "\0", "\x07"} & set(ran.text), "the text is not clean")
    lab.others_done("well")
    sent = lab.ledger()["requests"]["create"]
    lab.converges(codes=(3,))
    lab.expect("I1", sent == 4 == lab.ledger()["requests"]["create"], "a refused request was sent again")
    lab.survived()


@fault("F13", "401: at the first request of eight that could go at once, at the third create, at the polls")
def key_refused(lab: Lab) -> None:
    """Exit 6. A wrong key is found by one request; later, no more is submitted and the rest is collected."""
    names = [f"j{number}" for number in range(8)]
    lab.manifest(jobs(*names), head=quick(submits="unlimited"))
    refused = (
        'status: 401, body: {error: {code: "", message: "invalid token (request id: req-9)", type: comet_api_error}}'
    )
    lab.sandbox(
        f"- {{on: create, scope: call, nth: 4, {refused}}}\n- {{on: poll, prompt: The j7*, nth: 1-3, {refused}}}",
        latency_s=0.05,
    )
    ran = lab.run(env=lab.environment(COMETAPI_KEY="sk-of-yesterday"))
    lab.ended(ran, 6)
    lab.says(ran, "the key was refused", "req", "check the key", "remaining 8 jobs")
    lab.expect("I8", lab.ledger()["requests"]["create"] == 1, f"{lab.ledger()['requests']} for one wrong key")
    nothing_sent(lab, ran, *names)
    lab.manifest(jobs(*names), head=ONE_BY_ONE)
    ran = lab.run()
    lab.ended(ran, 6)
    lab.others_done("j0", "j1")
    lab.expect("I8", lab.ledger()["requests"]["create"] == 4, "submitted after the key was refused")
    lab.expect("I2", list(lab.states().values()).count("done") == 2, f"{lab.states()}")
    ran = lab.run()
    lab.ended(ran, 6)
    lab.says(ran, "the key was refused")
    lab.expect("I2", lab.states()["j7"] == "running", f"a paid task is not on record: {lab.states()}")
    lab.converges()
    lab.others_done(*names)
    lab.survived()


@fault("F14", "the quota is gone in mid-run: 403 flat without a code, 403 with a code, 402")
def quota_gone(lab: Lab) -> None:
    """Exit 6: nothing more is submitted, what is paid is collected; topped up, the rest becomes clips."""
    names = [f"j{number}" for number in range(5)]
    lab.manifest(jobs(*names), head=ONE_BY_ONE)
    lab.sandbox(
        "- {on: create, scope: call, nth: 2, status: 403, body: {code: null, message: user quota is not enough}}\n"
        "- {on: create, scope: call, nth: 3, status: 403, body: {error: {code: insufficient_user_quota, message: x}}}\n"
        "- {on: create, scope: call, nth: 4, status: 402, body: {error: {message: pay first}}}"
    )
    for sent in (2, 3, 4):
        ran = lab.run()
        lab.ended(ran, 6)
        lab.says(ran, "no quota left", "remaining 4 jobs", "batchvid run")
        lab.others_done("j0")
        lab.expect("I8", lab.ledger()["requests"]["create"] == sent, "submitted after the quota was gone")
        lab.expect("I2", list(lab.states().values()).count("pending") >= 1, f"{lab.states()}")
    lab.converges()
    lab.others_done(*names)
    lab.survived()


def throttling(lab: Lab, forms: dict[str, Callable[[], dict[str, str]]], times: dict[str, list[float]]) -> None:
    """Begin a new world that answers the first create of each job with 429 and the headers that *forms* name."""
    api = lab.sandbox()

    def answer(request: Request) -> bytes:
        if request.method == "POST":
            name = name_of(request)
            times.setdefault(name, []).append(time.monotonic())
            if name in forms and len(times[name]) == 1:
                return http("429 Too Many Requests", b'{"error": {"code": "rate", "message": "slow"}}', **forms[name]())
        return relayed(request, api)

    lab.in_front(answer)


THROTTLED = [f"{part}.yaml" for part in ("nonsense", "honoured", "billion", "far", "paced")]


@fault(
    "F15", "429 with Retry-After as seconds, date, ms, nan, inf, -5, 1e9, far dates, nonsense, empty, none", alone=True
)
def too_fast(lab: Lab) -> None:
    """Honoured up to 15 minutes, with nonsense counting as nothing said; and the whole run slows to half."""
    after: Callable[[str], Callable[[], dict[str, str]]] = lambda text: lambda: {"Retry_After": text}  # noqa: E731
    nonsense = {name: after(text) for name, text in {
        "nan": "nan", "inf": "inf", "less": "-5", "ages": "-1e9", "soon": "soon", "void": "", "hex": "0x10",
        "past": formatdate(0, usegmt=True), "list": "1, 2", "zero": "0", "long": "9" * 400}.items()}  # fmt: skip
    nonsense |= {"none": dict, "ms": lambda: {"retry_after_ms": "nan"}}
    times: dict[str, list[float]] = {}
    throttling(lab, nonsense, times)
    lab.manifest(jobs(*nonsense), head=ONE_BY_ONE, name="nonsense.yaml")
    ran = lab.run()
    lab.ended(ran, 0)
    lab.says(ran, "too fast")
    lab.expect("I8", ran.seconds < 20, f"nonsense took {ran.seconds:.0f} s")
    lab.others_done(*nonsense)
    lab.survived(*THROTTLED)

    honoured = {"two": after("1.5"), "date": lambda: {"Retry_After": formatdate(time.time() + 2, usegmt=True)},
                "milli": lambda: {"retry_after_ms": "700"}}  # fmt: skip
    times = {}
    throttling(lab, honoured, times)
    lab.manifest(jobs(*honoured), head=ONE_BY_ONE, name="honoured.yaml")
    lab.ended(lab.run(), 0)
    for name, least_s in (("two", 1.5), ("date", 0.9), ("milli", 0.7)):
        waited_s = times[name][1] - times[name][0]
        lab.expect("I8", least_s <= waited_s < least_s + 3, f"{name}: waited {waited_s:.2f} s")
    lab.survived(*THROTTLED)

    for name, form in (("billion", after("1e9")), ("far", lambda: {"Retry_After": "Fri, 31 Dec 2100 23:59:59 GMT"})):
        times = {}
        throttling(lab, {name: form}, times)
        lab.manifest(jobs(name, f"{name}-2"), head=ONE_BY_ONE, name=f"{name}.yaml")
        going = lab.start("run", lab.manifest_path)
        time.sleep(1.5)
        going.send_signal(signal.SIGINT)
        ran = lab.wait(going)
        lab.ended(ran, 130)
        lab.says(ran, "pause 15 min", "too fast")
        lab.expect("I8", list(times) == [name] and len(times[name]) == 1, f"the run did not pause: {times}")
        lab.converges()
        lab.survived(*THROTTLED)

    paced = [f"p{number:02}" for number in range(16)]
    times = {}
    throttling(lab, {"p03": after("0")}, times)
    lab.manifest(jobs(*paced), head=quick(submits="10/s", in_flight=16), name="paced.yaml")
    lab.ended(lab.run(), 0)
    sent = sorted(moment for moments in times.values() for moment in moments)
    mean_s = (sent[-1] - sent[6]) / (len(sent) - 7)
    lab.expect("I8", 0.17 < mean_s < 0.3, f"after 429, a create every {mean_s:.3f} s where 0.2 is half the pace")
    lab.survived(*THROTTLED)


@fault("F16", "429 for ever, with an envelope and with an empty body, after the first create")
def throttled_for_ever(lab: Lab) -> None:
    """Exit 5 when each job has sent what one run may send; what was accepted is a clip, the rest pending."""
    names = [f"j{number}" for number in range(4)]
    lab.manifest(jobs(*names), head=IMPATIENT)
    refusing = True

    def answer(request: Request) -> bytes:
        if request.method == "POST" and name_of(request) != "j0" and refusing:
            return http("429 Too Many Requests", b'{"error": {"message": "slow"}}' if name_of(request) == "j1" else b"")
        return relayed(request, api)

    api = lab.sandbox()
    raw = lab.in_front(answer)
    ran = lab.run()
    lab.ended(ran, 5)
    lab.says(ran, "j1 has sent 4 paid requests in this run", "limits.attempts + 2", "run again later")
    lab.others_done("j0")
    sent = sum(request.method == "POST" for request in raw.requests)
    lab.expect("I8", sent == 1 + 3 * 4, f"{sent} creates were sent")
    lab.expect("I2", len(lab.query("SELECT * FROM attempts")) == 1, "a refused attempt is on record")
    refusing = False
    lab.converges()
    lab.others_done(*names)
    lab.survived()


@fault("F17", "HTTP 500 whose code says invalid_request: a size that the model does not know")
def invalid_behind_500(lab: Lab) -> None:
    """Failed after one request, with the service's reason; the other finishes; a further run does not send it again."""
    lab.manifest("  - {id: hurt, prompt: The hurt one, size: 3x3}\n" + jobs("well"))
    lab.sandbox()
    ran = lab.run()
    lab.ended(ran, 3)
    lab.says(ran, "hurt: size 3x3 is not supported", "request id", "batchvid retry")
    lab.others_done("well")
    lab.converges(codes=(3,))
    lab.expect("I1", lab.ledger()["requests"]["create"] == 2, f"{lab.ledger()['requests']} for two jobs")
    lab.survived()


@fault("F18", "5xx as web pages, empty, and as JSON of the service and of others; 408, 504, 524; billed or not")
def gateway_pages(lab: Lab) -> None:
    """In doubt, each; never sent again; the jobs between them finish."""
    page, told = "body: <html>Bad gateway</html>", "body: {error: {message: upstream timeout, code: timeout}}"
    forms = {"p502": page, "p503": f"{page}, effect: true", "e500": "body: ''", "j504": f"{told}, effect: true",
             "j408": told, "p524": f"{page}, effect: true", "f500": "body: {code: do_request_failed, message: EOF}",
             "j502": "body: {message: upstream closed}, effect: true",
             "j503": "body: {error: {code: model_not_found, message: no type}}, effect: true"}  # fmt: skip
    lab.manifest(jobs(*(name for bad in forms for name in (bad, f"well-{bad}"))), head=ONE_BY_ONE)
    lab.sandbox(
        "\n".join(f"- {{on: create, prompt: The {name} *, status: {name[1:]}, {way}}}" for name, way in forms.items())
    )
    ran = lab.run()
    lab.ended(ran, 4)
    in_doubt(lab, ran, *forms)
    lab.says(ran, *(f"HTTP {name[1:]}" for name in forms))
    lab.others_done(*(f"well-{bad}" for bad in forms))
    stays_in_doubt(lab)
    lab.survived()


@fault("F19", "model_not_found and get_channel_failed in the service's envelope, twice each, and for ever")
def refused_for_now(lab: Lab) -> None:
    """Refused, for the service says so before it creates: sent again, billed once; the budget counts what was sent."""
    forms = {"e503": "{error: {code: model_not_found, message: oops, type: comet_api_error}}",
             "f500": "{code: get_channel_failed, message: oops}"}  # fmt: skip
    lab.manifest(jobs(*forms, "lost", "well"), head=IMPATIENT)
    lab.sandbox(
        "\n".join(f"- {{on: create, prompt: The {name} *, nth: 1-2, status: {name[1:]}, body: {body}}}"
                  for name, body in forms.items())
        + "\n- {on: create, prompt: The lost*, status: 503, body:"
        " {error: {code: model_not_found, message: no route, type: comet_api_error}}}"
    )  # fmt: skip
    ran = lab.run()
    lab.ended(ran, 3)
    lab.says(ran, "lost: no route", "batchvid retry")
    lab.others_done(*forms, "well")
    lab.expect("I1", len(lab.creates()) == 3, f"billed: {lab.creates()}")
    lab.expect("I8", lab.ledger()["requests"]["create"] == 2 * 3 + 4 + 1, f"{lab.ledger()['requests']}")
    lab.says(ran, "$3.20 of it for refused requests that may be billed")
    lab.converges(codes=(3,))
    lab.survived()


@fault("F20", "301, 307, 308, 302 and 303 to another server")
def redirected(lab: Lab) -> None:
    """Not followed, so that neither key nor frames reach the other server: exit 78; at the right address it goes on.

    302 and 303 may come after the work: in doubt, and never sent again.
    """
    lab.manifest(TWO)
    moved = 0

    def answer(request: Request) -> bytes:
        if moved:
            return http(f"{moved} Moved", Location=f"{elsewhere.url}/v1/videos")
        return relayed(request, api)

    api = lab.sandbox()
    lab.in_front(answer)
    with serving(lambda _: http("200 OK", b'{"id": "task_stolen"}')) as elsewhere:
        for moved in (301, 307, 308):  # noqa: B007 the server in front reads it
            ran = lab.run()
            lab.ended(ran, 78)
            lab.says(ran, "redirects to", "check base_url", "batchvid run")
            lab.expect("I5", not elsewhere.requests, "a redirect was followed")
            nothing_sent(lab, ran, "hurt", "well")
        moved = 0
        lab.converges()
        lab.others_done("hurt", "well")
        lab.survived()
        api = lab.sandbox()
        lab.in_front(answer)
        lab.manifest(jobs("found", "other"), name="seen.yaml")
        for moved, name in ((302, "found"), (303, "other")):
            ran = lab.run("--only", name)
            lab.says(ran, f"{name}: attempt 1 may have been paid: HTTP {moved}", f"{elsewhere.url}/v1/videos")
            lab.expect("I5", not elsewhere.requests, "a redirect was followed")
    moved = 0
    lab.expect("I2", set(lab.states().values()) == {"in_doubt"}, f"{lab.states()}")
    lab.converges(codes=(4,), runs=1)
    lab.expect("I1", not lab.creates(), "a request in doubt was sent again")
    lab.survived("m.yaml", "seen.yaml")


@fault("F21", "413: after the upload as JSON and as a page, and in the middle of it with the connection closed")
def too_large(lab: Lab) -> None:
    """Failed, with the frames named (or in doubt, where the answer was lost); the other finishes."""
    from PIL import Image  # noqa: PLC0415 heavy

    Image.effect_noise((2000, 2000), 90).save(lab.folder / "big.png")
    framed = jobs("told", "page", "early").replace(" clip}", " clip, first_frame: big.png}")
    lab.manifest(f"{framed}\n{jobs('well')}")
    api = lab.sandbox()
    flat = b'{"code": "read_request_body_failed", "message": "http: request body too large"}'

    def answer(request: Request) -> bytes:
        while request.method == "POST" and not name_of(request):
            request.body += request.connection.recv(65536)
        if b"The early clip" in request.body:
            return http("413 Payload Too Large", flat)
        read_rest(request)
        if name_of(request) == "told":
            return http("413 Payload Too Large", flat)
        return (
            http("413 Payload Too Large", b"<html>nginx</html>")
            if name_of(request) == "page"
            else relayed(request, api)
        )

    raw = lab.in_front(answer, read_body=False)
    ran = lab.run()
    early = lab.states()["early"]
    lab.ended(ran, 4 if early == "in_doubt" else 3)
    lab.says(ran, "told: ", "page: ", "too large", "big.png", "batchvid retry")
    states = lab.states()
    lab.expect("I2", states["told"] == states["page"] == "failed", f"{states}")
    lab.expect("I2", early in {"failed", "in_doubt"}, f"{states}")
    lab.others_done("well")
    lab.converges(codes=(3, 4), runs=1)
    lab.expect("I1", sum(request.method == "POST" for request in raw.requests) == 4, "a create was sent again")
    lab.survived("big.png")


@fault("F22", "every way to lose an answer at once, failing tasks, and SIGKILL twice in between")
def billed_again(lab: Lab) -> None:
    """Bought at most once for each attempt that the journal knows: the sandbox bills every create that reaches it."""
    ways = {"after": "reset: after-effect", "during": "reset: during", "cut": "cut_at: 0.4", "page": "garbage: html",
            "empty": "garbage: empty", "billed": "status: 502, body: <p>, effect: true", "void": "set: {id: null}",
            "slow": "nth: 1-2, status: 429, body: ''", "busy": "nth: 1, status: 503, body: {error: {message: busy}}",
            "fails": "nth: 1, fail: Not today", "doomed": "fail: Never"}  # fmt: skip
    lab.manifest(
        jobs(*(name for way in ways for name in (way, f"well-{way}"))), head=quick(submits="20/s", in_flight=4)
    )
    lab.sandbox(
        "\n".join(f"- {{on: create, prompt: The {name} *, {way}}}" for name, way in ways.items()), latency_s=0.02
    )
    for reached in (4, 9):
        lab.kill_when(lab.start("run", lab.manifest_path), lambda: len(lab.creates()) >= reached)  # noqa: B023 used at once
        lab.one_create_per_attempt()
        lab.every_task_on_record()
    lab.converges(codes=(4,))
    doubtful = {job for job, state in lab.states().items() if state == "in_doubt"}
    well = [name for name in lab.states() if name.startswith("well") and name not in doubtful]
    lab.others_done(*well)
    lab.ended(lab.ran[-1], 4)
    lab.says(lab.ran[-1], "doomed: Never", *doubtful, "adopt", "retry")
    lab.expect("I9", len(well) >= len(ways) - 8, f"in doubt after two kills: {doubtful}")
    lab.expect("I5", not lab.ledger()["violations"], f"{lab.ledger()['violations']}")
    stays_in_doubt(lab)
    lab.survived()


@fault("F23", "the answer names another model than the one that was asked for, in the create and in the poll")
def another_model(lab: Lab) -> None:
    """Nothing to worry about: the clip arrives, and both models are on record."""
    lab.manifest(TWO)
    lab.sandbox("- {on: create, set: {model: veo_9-secret}}\n- {on: poll, set: {model: veo_9-final}}")
    lab.ended(lab.run(), 0)
    status = json.loads(lab.call("status", lab.manifest_path, "--json").out)
    models = {(row["model"], row["resolved_model"]) for row in status["jobs"]}
    lab.expect("I2", models == {("veo3-fast", "veo_9-final")}, f"models on record: {models}")
    beside = (lab.output / "hurt.json").read_text("utf-8")
    lab.expect("I2", "veo3-fast" in beside and "veo_9-final" in beside, f"the sidecar: {beside}")
    lab.others_done("hurt", "well")
    lab.converges()
    lab.survived()


@fault("F24", "a frame is changed, deleted, replaced by a FIFO and by /dev/zero after the check and before its upload")
def frame_changed(lab: Lab) -> None:
    """Not sent, and failed with the frame's name; what is sent is what the clip's record says; the other finishes."""
    import hashlib  # noqa: PLC0415 as it is needed
    import os  # noqa: PLC0415 as it is needed

    frames = {name: lab.folder / f"{name}.png" for name in ("same", "changed", "deleted", "fifo", "zero")}
    for path in frames.values():
        shutil.copy(FRAMES / "dawn.png", path)
    framed = "\n".join(f"  - {{id: {name}, prompt: The {name} clip, first_frame: {name}.png}}" for name in frames)
    lab.manifest(f"{jobs('well')}\n{framed}", head=ONE_BY_ONE)
    lab.sandbox("- {on: create, prompt: The well*, delay_s: 2}")
    going = lab.start("run", lab.manifest_path)
    until = time.monotonic() + 20
    while not lab.creates() and time.monotonic() < until:
        time.sleep(0.02)
    shutil.copy(FRAMES / "dusk.png", frames["changed"])
    for name in ("deleted", "fifo", "zero"):
        frames[name].unlink()
    os.mkfifo(frames["fifo"])
    frames["zero"].symlink_to("/dev/zero")
    ran = lab.wait(going, timeout_s=30)
    lab.ended(ran, 3)
    lab.says(ran, *(f"{name}: not sent: the frame {name}.png" for name in list(frames)[1:]), "batchvid retry")
    lab.others_done("well", "same")
    lab.expect("I1", lab.ledger()["requests"]["create"] == 2, "a changed frame was sent")
    for name in ("deleted", "fifo", "zero"):
        frames[name].unlink(missing_ok=True)
        shutil.copy(FRAMES / "dawn.png", frames[name])
    lab.converges(codes=(3,), runs=1)
    lab.expect("I4", lab.call("retry", lab.manifest_path, "--failed", "--yes").code == 0, "they could not be reopened")
    lab.converges()
    lab.others_done(*frames)
    sent = {line["prompt"]: line["frames"] for line in lab.creates()}
    for name, path in frames.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lab.expect("I2", sent[f"The {name} clip"] == [digest], f"{name}: sent {sent}, not {digest}")
        lab.expect("I2", digest in (lab.output / f"{name}.json").read_text("utf-8"), "the sidecar has another hash")
    lab.survived(*(path.name for path in frames.values()))
