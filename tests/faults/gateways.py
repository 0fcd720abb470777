"""G01 to G36: what stands before the service lies about a paid request, a poll or a clip, and money.md still holds.

The sandbox plays each of them by its faults file, so anybody can rehearse them with ``batchvid sandbox --faults FILE``.
Its ledger is the truth about what was billed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.faults.cases import fault
from tests.faults.lab import KEY, quick
from tests.faults.poll import bought_once
from tests.faults.submit import jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.lab import Lab, Ran

HURT = {"prompt": "The hurt*"}
LOOKS = quick(task_timeout="4s")
"""A deadline that comes within the row."""
HANGS_S = 240.0
"""Longer than any deadline for an answer; a run that is still there then hangs."""
SHOWN_KEY = "".join(f"\\u{ord(letter):04x}" for letter in KEY)


@dataclass(frozen=True, slots=True)
class Page:
    """What somebody on the way answers in place of the service that took the request."""

    who: str
    status: int
    body: Any = ""
    """Text or JSON."""
    headers: dict[str, str] = field(default_factory=dict)


PAGES = (
    Page(
        "Envoy in a mesh, whose connection to the service ended (UC)", 503,
        "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
        {"content-type": "text/plain", "server": "istio-envoy", "x-envoy-response-flags": "UC"},
    ),
    Page(
        "HAProxy", 504,
        "<html><body><h1>504 Gateway Time-out</h1>\nThe server didn't respond in time.\n</body></html>\n",
    ),
    Page("Traefik", 502, "Bad Gateway", {"content-type": "text/plain; charset=utf-8"}),
    Page(
        "IIS with ARR", 502,
        "<!DOCTYPE html><html><head><title>502 - Web server received an invalid response while acting as a gateway or"
        " proxy server.</title></head></html>",
        {"server": "Microsoft-IIS/10.0"},
    ),
    Page(
        "Apigee", 504,
        {"fault": {"faultstring": "Gateway Timeout", "detail": {
            "errorcode": "messaging.adaptors.http.flow.GatewayTimeout", "reason": "TARGET_READ_TIMEOUT"}}},
    ),
    Page(
        "a front end of Google's, in an envelope that looks like the service's", 503,
        {"error": {"code": 503, "message": "The service is currently unavailable.", "status": "UNAVAILABLE"}},
    ),
    Page(
        "Akamai", 503,
        "<HTML><HEAD><TITLE>Service Unavailable - Zero size object</TITLE></HEAD><BODY>Reference&#32;&#35;15&#46;3d"
        "</BODY></HTML>",
        {"server": "AkamaiGHost"},
    ),
    Page("nginx with JSON pages", 504, {"status": 504, "message": "Gateway Time-out"}, {"server": "nginx"}),
    Page("Tyk", 500, {"error": "There was a problem proxying the request"}),
    Page(
        "KrakenD", 500, {"error_videos": {"http_status_code": 500, "http_body": ""}},
        {"x-krakend-completed": "false"},
    ),
    Page(
        "Vercel", 504, {"error": {"code": "FUNCTION_INVOCATION_TIMEOUT", "message": "An error occurred"}},
        {"x-vercel-error": "FUNCTION_INVOCATION_TIMEOUT"},
    ),
    Page("Fastly", 503, "<html><title>503 first byte timeout</title><p>Guru Mediation:</p></html>"),
    Page(
        "LiteLLM", 500,
        {"error": {"message": "litellm.InternalServerError: closed", "type": None, "param": None, "code": "500"}},
    ),
    Page("a proxy that names the service's own code outside its envelope", 503, {"detail": "model_not_found"}),
    Page("a proxy that quotes the service's own code in a text", 502, {"message": "upstream said: model_not_found"}),
    Page("HAProxy, to an upload that it took for too slow", 408, "<html><h1>408 Request Time-out</h1></html>"),
    Page("a cache", 599, "", {"retry-after": "1"}),
)  # fmt: skip


def faulty(lab: Lab, *rules: dict[str, Any]) -> None:
    """Start a sandbox that follows these rules."""
    lab.sandbox(json.dumps(rules))


def sent(lab: Lab) -> int:
    """Return how many paid requests the service has had."""
    return int(lab.ledger()["requests"]["create"])


def doubted(lab: Lab, ran: Ran, *job_ids: str, shows: Sequence[str] = ()) -> None:
    """Expect just these jobs in doubt, told so, and that a further run sends nothing for them."""
    lab.ended(ran, 4)
    found = {job for job, state in lab.states().items() if state == "in_doubt"}
    lab.expect("I2", found == set(job_ids), f"in doubt: {found}, not {set(job_ids)}: {ran.text[-900:]}")
    lab.says(ran, *job_ids, "may have been paid", "adopt", *shows)
    before = sent(lab)
    lab.converges(codes=(4,), runs=1)
    lab.expect("I1", sent(lab) == before, "a further run sent a create")


def page_over_a_billed_create(lab: Lab, page: Page) -> None:
    """In doubt after one request, never sent again; the other job finishes."""
    lab.manifest(jobs("hurt", "well"), head=quick(in_flight=1))
    faulty(
        lab,
        {"on": "create", **HURT, "status": page.status, "body": page.body, "headers": page.headers, "effect": True},
    )
    ran = lab.run()
    bought_once(lab, "hurt", "well")
    doubted(lab, ran, "hurt")
    lab.others_done("well")
    lab.survived()


for _number, _page in enumerate(PAGES, 1):
    fault(f"G{_number:02}", f"a create is billed, and the answer is a {_page.status} of {_page.who}")(
        partial(page_over_a_billed_create, page=_page)
    )


def told_by_its_place(lab: Lab, status: int) -> None:
    """Expect it fetched, or in doubt with the id of the task shown; bought once either way."""
    lab.manifest(jobs("hurt", "well"), head=quick(in_flight=1))
    faulty(lab, {"on": "create", **HURT, "status": status, "redirect": "/v1/videos/{id}", "effect": True})
    ran = lab.run()
    bought_once(lab, "hurt", "well")
    if lab.states()["hurt"] == "in_doubt":
        (task,) = (line["task_id"] for line in lab.creates() if line["prompt"] == "The hurt clip")
        doubted(lab, ran, "hurt", shows=[task])
    else:
        lab.ended(ran, 0)
        lab.others_done("hurt")
        lab.converges()
    lab.others_done("well")
    lab.survived()


for _number, _status in enumerate((201, 202, 302, 303), len(PAGES) + 1):
    fault(f"G{_number:02}", f"a create is billed, and the answer is a {_status} with the task's place and no body")(
        partial(told_by_its_place, status=_status)
    )


def collected(lab: Lab, *job_ids: str) -> None:
    """Expect that one run fetches all of these jobs, each bought once, and that a further one does nothing."""
    ran = lab.run()
    bought_once(lab, *job_ids)
    lab.ended(ran, 0)
    lab.others_done(*job_ids)
    lab.converges()
    lab.survived()


@fault("G22", "the answer to a create names its task beside an error: 409, 429 and 500; and one id is a number")
def task_beside_an_error(lab: Lab) -> None:
    """Use a task id that was read, whatever the status beside it."""
    lab.manifest(jobs("conflict", "busy", "broken", "number", "well"), head=quick(in_flight=1))
    told = {"id": "{id}", "object": "video", "status": "queued"}
    error = {"error": {"code": "server_error", "message": "see the task", "type": "server_error"}}
    faulty(
        lab,
        {"on": "create", "prompt": "The conflict*", "status": 409, "body": told, "effect": True},
        {"on": "create", "prompt": "The busy*", "status": 429, "body": told, "effect": True},
        {"on": "create", "prompt": "The broken*", "status": 500, "body": told | error, "effect": True},
        {"on": "create", "prompt": "The number*", "number_id": True},
    )
    collected(lab, "conflict", "busy", "broken", "number", "well")


LOOKS_THAT_BROUGHT_NOTHING: dict[str, dict[str, Any]] = {
    "error": {"set": {"status": None, "error": {"code": "rate_limited", "message": "try later"}}},
    "text": {"set": {"status": None, "error": "upstream request timed out"}},
    "unsuccessful": {"status": 200, "body": {"success": False, "message": "busy"}},
    "code": {"status": 200, "body": {"code": 429, "message": "too many requests", "data": None}},
    "empty": {"set": {"status": "", "error": {"message": "loading"}}},
    "anthropic": {"status": 200, "body": {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}},
}


@fault(
    "G23",
    f"polls are answered 200 with an error and no status, three times each: {len(LOOKS_THAT_BROUGHT_NOTHING)} shapes",
)
def error_without_status(lab: Lab) -> None:
    """Take it for a look that brought nothing: the clip is fetched, nothing is bought again."""
    lab.manifest(jobs(*LOOKS_THAT_BROUGHT_NOTHING, "well"))
    faulty(
        lab,
        *({"on": "poll", "prompt": f"The {name}*", "nth": "1-3", **answer}
          for name, answer in LOOKS_THAT_BROUGHT_NOTHING.items()),
    )  # fmt: skip
    collected(lab, *LOOKS_THAT_BROUGHT_NOTHING, "well")


@fault("G24", "a poll is answered 200 with an error and no status, for ever")
def error_without_status_for_ever(lab: Lab) -> None:
    """Deferred at the deadline: exit 5, and the next run looks again; nothing is bought again."""
    lab.manifest(jobs("hurt", "well"), head=LOOKS)
    faulty(lab, {"on": "poll", **HURT, "set": {"status": None, "error": {"message": "try later"}}})
    for _ in range(2):
        ran = lab.run()
        lab.ended(ran, 5)
        bought_once(lab, "hurt", "well")
    lab.expect("I2", lab.states()["hurt"] == "running", f"{lab.states()}")
    lab.others_done("well")
    lab.survived()


@fault("G25", "a clip is finished and the error beside it says nothing: nulls, empty texts, success")
def error_that_is_none(lab: Lab) -> None:
    """Finished is finished."""
    errors = {
        "nothing": {"code": None, "message": None},
        "blank": {"code": 0, "message": ""},
        "fine": {"code": "success", "message": "ok"},
    }
    lab.manifest(jobs(*errors))
    faulty(
        lab,
        *({"on": "poll", "prompt": f"The {name}*", "set": {"error": error}} for name, error in errors.items()),
    )
    collected(lab, *errors)


LOST = ("expired", "failed", "deleted", "cancelled", "error")


@fault("G26", f"a finished clip's URL answers 403, and then its task is called {', '.join(LOST)}")
def lost_after_it_was_a_clip(lab: Lab) -> None:
    """Left for a person or the next run, never bought again."""
    lab.manifest(jobs(*LOST, "well"), head=LOOKS)
    faulty(
        lab,
        *({"on": "poll", "prompt": f"The {word}*", "when": "completed", "nth": "2-", "status_word": word}
          for word in LOST),
        *({"on": call, "prompt": f"The {word}*", "status": 403} for word in LOST for call in ("file", "content")),
    )  # fmt: skip
    for _ in range(2):
        ran = lab.run()
        bought_once(lab, *LOST, "well")
        lab.expect("I6", ran.code not in {0, 1}, f"exit {ran.code}")
        lab.says(ran, *LOST)
    lab.others_done("well")
    lab.survived()


@fault("G27", "one look says that the task failed, and the next that it goes on")
def failure_that_is_taken_back(lab: Lab) -> None:
    """One confirming look before a second purchase."""
    lab.manifest(jobs("hurt", "well"))
    faulty(lab, {"on": "poll", **HURT, "nth": 1, "status_word": "failed"})
    collected(lab, "hurt", "well")


@fault("G28", "interim answers (102) without end to the first poll, and an error page of the file host that dribbles")
def dribbles(lab: Lab) -> None:
    """Given up in time and tried again; nothing hangs."""
    lab.manifest(jobs("interim", "page", "well"))
    faulty(
        lab,
        {"on": "poll", "prompt": "The interim*", "nth": 1, "dribble": "1xx"},
        {"on": "file", "prompt": "The page*", "nth": 1, "status": 503, "body": "x" * 5000, "dribble": "body"},
    )
    ran = lab.run(timeout_s=HANGS_S)
    lab.ended(ran, 0)
    bought_once(lab, "interim", "page", "well")
    lab.converges()
    lab.survived()


@fault("G29", "the head of a poll's answer, and of a clip's, come byte by byte")
def slow_heads(lab: Lab) -> None:
    """Given up in time and tried again; nothing hangs."""
    lab.manifest(jobs("poll", "file", "well"))
    slow = {"nth": 1, "dribble": "head", "bytes_per_s": 0.5}
    faulty(lab, {"on": "poll", "prompt": "The poll*", **slow}, {"on": "file", "prompt": "The file*", **slow})
    ran = lab.run(timeout_s=HANGS_S)
    lab.ended(ran, 0)
    bought_once(lab, "poll", "file", "well")
    lab.converges()
    lab.survived()


def with_a_large_frame(lab: Lab, status: int, code: str, *, times: int = 1) -> None:
    """Make a job with a frame of megabytes, whose upload is answered early."""
    from PIL import Image  # noqa: PLC0415 heavy

    Image.effect_noise((2600, 2600), 90).save(lab.folder / "big.png")
    lab.manifest(jobs("hurt").replace(" clip}", " clip, first_frame: big.png}"))
    error = {"error": {"code": code, "message": "not now", "type": "comet_api_error"}}
    rule = {"on": "create", "early": True, "scope": "call", "nth": f"1-{times}", "status": status, "body": error}
    faulty(lab, rule | {"headers": {"retry-after": "1"}})


@fault("G30", "a 429 comes while most of 6 MB are still to be sent, and the connection closes behind it")
def early_throttle(lab: Lab) -> None:
    """Read, and sent again later: bought once."""
    with_a_large_frame(lab, 429, "rate_limit_exceeded")
    ran = lab.run()
    lab.ended(ran, 0)
    bought_once(lab, "hurt")
    lab.expect("I1", sent(lab) == 2, f"{sent(lab)} creates")
    lab.converges()
    lab.survived("big.png")


@fault("G31", "a 413 comes while most of 6 MB are still to be sent, and the connection closes behind it")
def early_too_large(lab: Lab) -> None:
    """Fail that job alone, nothing is in doubt, nothing was bought."""
    with_a_large_frame(lab, 413, "read_request_body_failed", times=9)
    ran = lab.run()
    lab.ended(ran, 3)
    lab.expect("I2", lab.states() == {"hurt": "failed"}, f"{lab.states()}")
    lab.expect("I1", (sent(lab), lab.creates()) == (1, []), f"{sent(lab)} creates")
    lab.survived("big.png")


@fault("G32", "a 401 comes while most of 6 MB are still to be sent, and the connection closes behind it")
def early_refusal(lab: Lab) -> None:
    """Stop at a refused account: exit 6, nothing is in doubt, nothing was bought."""
    with_a_large_frame(lab, 401, "", times=9)
    ran = lab.run()
    lab.ended(ran, 6)
    lab.expect("I2", lab.states().get("hurt", "pending") == "pending", f"{lab.states()}")
    lab.expect("I1", not lab.creates(), "something was bought")
    lab.survived("big.png")


@fault("G33", "every poll of a job, and every answer about its end, names another id")
def another_id(lab: Lab) -> None:
    """Take the answer to the question about our task for one about our task."""
    lab.manifest(jobs("hurt", "well"))
    faulty(lab, {"on": "poll", **HURT, "set": {"id": "video_another_one"}})
    collected(lab, "hurt", "well")


@fault("G34", "an error shows the key in JSON's escapes, on a create and on a poll; one model is answered 404")
def shown_key(lab: Lab) -> None:
    """Write it nowhere, in no form; the jobs that the errors are about fail alone."""
    models = jobs("model").replace(" clip}", " clip, model: veo3}")
    prices = quick(attempts=1).replace("veo3-fast: 0.4", "veo3: 0.4\n  veo3-fast: 0.4")
    lab.manifest(f"{jobs('hurt', 'polled')}\n{models}\n{jobs('well')}", head=prices)
    error = {"error": {"code": "invalid_request", "message": "Bearer {escaped_key} is no good", "type": "x"}}
    missing = {
        "error": {"code": "model_not_found", "message": "The model veo3 does not exist.", "type": "NotFoundError"}
    }
    faulty(
        lab,
        {"on": "create", **HURT, "status": 400, "body": error},
        {"on": "poll", "prompt": "The polled*", "nth": 1, "status": 400, "body": error},
        {"on": "create", "model": "veo3", "status": 404, "body": missing},
    )
    ran = lab.run()
    lab.ended(ran, 3)
    failed = {job for job, state in lab.states().items() if state == "failed"}
    lab.expect("I9", failed == {"hurt", "model"}, f"failed: {failed}")
    lab.others_done("polled", "well")
    lab.expect("I5", SHOWN_KEY not in ran.text, "the key was printed in escapes")
    for path in lab.output.rglob("*"):
        found = path.is_file() and SHOWN_KEY.encode() in path.read_bytes().replace(b"\\\\", b"\\")
        lab.expect("I5", not found, f"the key is in {path.name}, in escapes")
    lab.survived()


@fault("G35", "every create is billed and answered by a gateway's page; the budget is of two clips, four are wanted")
def budget_of_lies(lab: Lab) -> None:
    """Count what is sent and not proven unpaid: never more than the budget, over two runs."""
    lab.manifest(jobs("one", "two", "three", "four"), head=quick(budget=1.0, in_flight=1))
    page = {"on": "create", "status": 502, "body": {"message": "invalid response from upstream"}, "effect": True}
    faulty(lab, page)
    for _ in range(2):
        ran = lab.run("--for", "20s")
        lab.ended(ran, 4)
        lab.expect("I1", len(lab.creates()) * 0.4 <= 1.0, f"{len(lab.creates())} creates were billed")
    lab.survived()


@fault("G36", "every create of one job is billed and answered 429, which is a lie")
def lying_refusals(lab: Lab) -> None:
    """At most attempts + 2 requests for one job and run, and never more than the budget; the other job finishes."""
    lab.manifest(jobs("hurt", "well"), head=quick(budget=2.0, in_flight=1, attempts=2))
    faulty(lab, {"on": "create", **HURT, "status": 429, "body": {"message": "slow down"}, "effect": True})
    lab.run("--for", "40s")
    billed = len([line for line in lab.creates() if line["prompt"] == "The hurt clip"])
    lab.expect("I1", billed <= 4, f"{billed} creates of one job were billed")
    lab.expect("I1", len(lab.creates()) * 0.4 <= 2.0, f"{len(lab.creates())} creates were billed")
    lab.others_done("well")
    lab.key_nowhere()
    lab.nothing_outside()
