"""The service that the sandbox plays: tasks, their clips' URLs, and a ledger of every create that it bills.

No I/O and no clock: every method takes ``now`` (UTC epoch seconds), so that tests can drive it under
virtual time. What it is asked and how it answers is the `Dialect`'s. Rules:

* Every accepted create is one billed line in the ledger; nothing else is billed, and nothing is billed back.
* A task is finished only when its time has come and its clip is rendered.
* The same seed and the same creates give the same ids, times and URLs.
* A URL is issued by a poll, holds for `Terms.url_life_s`, and after that is refused until a poll issues a fresh one.
  Where the service has no other host, the clip itself is kept so long.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections import Counter, deque
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from batchvid.domain.errors import ConfigError
from batchvid.domain.task import ProviderName
from batchvid.sandbox import cometapi, openai
from batchvid.sandbox.faults import Call, Script, damaged
from batchvid.sandbox.messages import Refusal, Reply, as_json, part_of
from batchvid.sandbox.openapi import INTEGER, TEXT, Route, RouteTable, allowed, array_of, document, json_of, record
from batchvid.sandbox.tasks import ClipOrder, Order, Stage, Task, generation_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchvid.sandbox.faults import Rule
    from batchvid.sandbox.messages import Request, Upload
    from batchvid.sandbox.openapi import Schema
    from batchvid.sandbox.tasks import Model

DEFAULT_KEY = "sk-sandbox"
MINUTE_S = 60.0
XML = {"content-type": "application/xml"}
FORBIDDEN = Reply(403, XML, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
ONLY_TO_FETCH = Reply(405, {**XML, "allow": "GET, HEAD"}, b"<Error><Code>MethodNotAllowed</Code></Error>")


class Dialect(Protocol):
    """What a service speaks. No I/O and no state: one module is one dialect."""

    @property
    def MODELS(self) -> Mapping[str, Model]:  # noqa: N802 a module's constant
        """The models that it offers, by the names that requests give them."""

    @property
    def CALLS(self) -> Sequence[Call]:  # noqa: N802 as above
        """The calls that it has."""

    @property
    def ROUTES(self) -> Sequence[Route]:  # noqa: N802 as above
        """What is asked where."""

    @property
    def SCHEMAS(self) -> Mapping[str, Schema]:  # noqa: N802 as above
        """The forms of its answers; ``Error`` is that of its refusals."""

    @property
    def ASKS_KEY_FIRST(self) -> bool:  # noqa: N802 as above
        """Whether a wrong path or method is told only to those who have the key."""

    def bodies(self, own: Sequence[str]) -> Mapping[str, Any]:
        """Return what a create's body may be, by content type; *own* are the models of `Terms.models`."""

    def unknown(self, request: Request) -> Reply:
        """Return the answer where there is no such path."""

    def read_upload(self, request: Request) -> Upload:
        """Return the fields of a create, and what is wrong with its form."""

    def read_order(self, request: Request, upload: Upload, *, own: Sequence[str], request_id: str) -> Order | Reply:
        """Return the order of a create, or the refusal; *own* are the models of `Terms.models`."""

    def new_id(self, seed: int, n: int, *, number: bool) -> str:
        """Return the id of the *n*-th task, in the service's style or as a number."""

    def created(self, task: Task, rule: Rule | None, *, now: float) -> Reply:
        """Return the answer to the create."""

    def polled(self, task: Task, stage: Stage, rule: Rule | None, *, now: float) -> Reply:
        """Return the answer to a poll."""

    def refusal(self, why: Refusal, detail: str, *, request_id: str) -> Reply:
        """Return the refusal; *detail* is the key sent, the seconds to wait, the task or its stage."""


class Library(Dialect, Protocol):
    """A dialect that also lists and deletes, shows a clip in more than one way, and has servers of one's own."""

    def own_model(self, name: str, size: str) -> Model | None:
        """Return the model of a server of one's own, for clips of this size; ``None`` when it is no size."""

    def listed(
        self, tasks: Sequence[Task], stage_of: Callable[[Task], Stage], request: Request, *, now: float
    ) -> Reply:
        """Return a page of *tasks*, which come in the order of their creation."""

    def deleted(self, task: Task) -> Reply:
        """Return the answer to a delete."""

    def asset(self, clip: bytes, request: Request) -> tuple[bytes, str] | Reply:
        """Return what a download asks for, with its type."""


LIBRARIES: Mapping[str, Library] = {ProviderName.OPENAI: openai}
DIALECTS: Mapping[str, Dialect] = {ProviderName.COMETAPI: cometapi, **LIBRARIES}


@dataclass(frozen=True, slots=True)
class Terms:
    """How the service behaves."""

    provider: str = ProviderName.COMETAPI
    """Which service it is: a key of `DIALECTS`."""
    key: str = DEFAULT_KEY
    seed: int = 1
    speed: float = 1.0
    """How many times faster than the service clips are made."""
    rate_per_minute: int | None = None
    """How many creates it takes within any minute; above that it answers 429."""
    in_flight: int | None = None
    """How many tasks it has in the making at once; above that it answers 429."""
    tells_limits: bool = True
    """Whether such an answer says which limit was met, and how long to wait; else both sound alike."""
    grace_s: float = 0.0
    """How long a fresh id is not found yet."""
    url_life_s: float = 3600.0
    models: Sequence[str] = ()
    """What a server of one's own offers besides, in any size and length; only where the service has such servers."""


LEDGER = record(
    creates=array_of(
        record(
            n=INTEGER,
            at={"type": "number"},
            task_id=TEXT,
            prompt=TEXT,
            fields={"type": "object", "additionalProperties": TEXT},
            frames=array_of(TEXT),
            model=TEXT,
            billed={"const": True},
            price={"type": "number"},
        )
    ),
    by_prompt={"type": "object", "additionalProperties": INTEGER},
    requests={"type": "object", "additionalProperties": INTEGER},
    violations=array_of(record(at={"type": "number"}, what=TEXT, where=TEXT)),
)
HEALTH = record(ok={"const": True}, tasks=INTEGER)


class Clips(Protocol):
    """Makes clips."""

    def __call__(self, order: ClipOrder) -> bytes | None:
        """Return the clip, or ``None`` while it is being made; asking for the first time begins it."""


class Memory(Protocol):
    """Keeps what a restarted sandbox must still know."""

    def keep_frame(self, sha256: str, data: bytes) -> None:
        """Keep an uploaded frame."""

    def keep(self, line: Mapping[str, Any]) -> None:
        """Keep one line, durably."""


class World:
    """The service, in memory."""

    def __init__(
        self,
        terms: Terms,
        *,
        clips: Clips,
        script: Script | None = None,
        files_url: str = "http://files.sandbox.invalid",
        memory: Memory | None = None,
    ) -> None:
        self.terms = terms
        self.dialect = DIALECTS[terms.provider]
        self._library = LIBRARIES.get(terms.provider)
        self.script = script or Script()
        self.files_url = files_url
        self.tasks: dict[str, Task] = {}
        self.requests: Counter[Call] = Counter()
        self.violations: list[dict[str, Any]] = []
        self._clips = clips
        self._memory = memory
        self._frames: dict[str, bytes] = {}
        self._recent: deque[float] = deque()
        self._open: list[Task] = []
        self._answered = 0
        own = (("/_sandbox/ledger", self.ledger, LEDGER), ("/_sandbox/health", self.health, HEALTH))
        pages = (*own, ("/openapi.json", self.document, {"type": "object"}))
        self._routes = RouteTable(
            [
                *self.dialect.ROUTES,
                *(Route("GET", path, page, json_of(schema), is_open=True) for path, page, schema in pages),
            ]
        )

    # ---- the calls

    def answer(self, request: Request, *, now: float) -> Reply:
        """Answer a request to the service, or one of the sandbox's own questions.

        ``HEAD`` is answered as ``GET``: whoever sends the answer leaves the body out.
        """
        methods, task_id = self._routes.at(request.path)
        if methods and request.method == "OPTIONS":
            return Reply(204, {"allow": allowed(methods)})
        route = methods.get(request.method)
        if request.method == "HEAD":
            # A range is a matter of GET alone (RFC 9110 §14.2).
            headers = {name: value for name, value in request.headers.items() if name != "range"}
            request, route = replace(request, method="GET", headers=headers), methods.get("GET")
        if route is None or not isinstance(route.does, Call):
            return self._page(request, route, methods)
        if route.does is Call.CREATE:
            self.requests[Call.CREATE] += 1
            return self._create(request, now=now)
        return self._asked(route.does, request, task_id, now=now)

    def _page(self, request: Request, route: Route | None, methods: Mapping[str, Route]) -> Reply:
        """Return the answer to what is no call: a page, or that there is none."""
        is_open = any(one.is_open for one in methods.values())
        if not is_open and (route or self.dialect.ASKS_KEY_FIRST) and (refusal := self._refused(request)):
            return refusal
        if route is not None and not isinstance(route.does, Call):
            return as_json(route.does())
        if not methods:
            return self.dialect.unknown(request)
        reply = self.refusal(Refusal.WRONG_METHOD, f"{request.method} on {request.path}")
        return replace(reply, headers={**reply.headers, "allow": allowed(methods)})

    def _asked(self, call: Call, request: Request, task_id: str, *, now: float) -> Reply:
        """Return the answer to a call about a task, or about all of them."""
        self.requests[call] += 1
        task = self.tasks.get(task_id)

        def reply(rule: Rule | None) -> Reply:
            if refusal := self._refused(request):
                return refusal
            if call is Call.LIST and self._library:
                told = [one for one in self.tasks.values() if self._is_told(one, now)]
                return self._library.listed(told, lambda one: self._stage(one, now), request, now=now)
            if task is None or task.forgotten or task.deleted or (rule and rule.forget):
                return self.refusal(Refusal.NO_CONTENT if call is Call.CONTENT else Refusal.UNKNOWN, task_id)
            if call is Call.POLL:
                return self._poll(task, rule, now=now)
            if call is Call.DELETE and self._library:
                return self._delete(task, self._library, now=now)
            return self._content(task, request, rule, now=now)

        return self._ruled(call, request, task, reply, now=now)

    def early(self, request: Request) -> Reply | None:
        """Return the answer to a create whose body has not come, where a rule has one."""
        if not self.script.answers_early:
            return None
        route = self._routes.at(request.path)[0].get(request.method)
        if route is None or route.does is not Call.CREATE:
            return None
        if (rule := self._met(Call.CREATE, "", "", early=True)) is None:
            return None
        self.requests[Call.CREATE] += 1
        return self._sent(Reply(200), rule, request)

    def answer_file(self, request: Request, *, now: float) -> Reply:
        """Return a clip's bytes at a URL that a poll has issued; the key must not come with it."""
        if request.method not in {"GET", "HEAD"}:
            return ONLY_TO_FETCH
        path = request.path
        self.requests[Call.FILE] += 1
        if "authorization" in request.headers:
            self._violated("key leaked to the file host", path, now=now)
            return Reply(403, {"content-type": "text/plain"}, b"a credential was sent to a host that it is not for")
        task = self.tasks.get(path.strip("/").partition("/")[0])

        def reply(rule: Rule | None) -> Reply:
            if task and rule and rule.expire:
                task.url = None
            if task and task.url == f"{self.files_url}{path}" and now < task.url_expires_at:
                return self._clip(task, request, rule) or FORBIDDEN
            return FORBIDDEN

        return self._ruled(Call.FILE, request, task, reply, now=now)

    def refusal(self, why: Refusal, detail: str = "") -> Reply:
        """Return the service's own refusal."""
        return self.dialect.refusal(why, detail, request_id=self._request_id())

    # ---- what it tells about itself

    def ledger(self) -> dict[str, Any]:
        """Return every billed create, how many each prompt has, and what clients did wrong."""
        return {
            "creates": [task.ledger_line() for task in self.tasks.values()],
            "by_prompt": dict(Counter(task.prompt for task in self.tasks.values())),
            "requests": {call.value: self.requests[call] for call in self.dialect.CALLS},
            "violations": list(self.violations),
        }

    def health(self) -> dict[str, Any]:
        """Return that it is there."""
        return {"ok": True, "tasks": len(self.tasks)}

    def document(self) -> dict[str, Any]:
        """Return what it answers to and how, as OpenAPI tells it."""
        return document(
            self._routes.routes,
            lambda why, detail: self.dialect.refusal(why, detail, request_id=""),
            title=f"batchvid's sandbox as {self.terms.provider}",
            schemas=self.dialect.SCHEMAS,
            bodies=self.dialect.bodies(self.terms.models),
        )

    def restore(self, line: Mapping[str, Any], frames: Mapping[str, bytes]) -> None:
        """Restore a line that `Memory` kept, with the frames that belong to it.

        Raise `ConfigError` when it is another service's.
        """
        known = {name: value for name, value in line.items() if name != "type"}
        match line["type"]:
            case "task":
                model = self.dialect.MODELS.get(line["model"])
                if self._library and not any(line["model"] in one.MODELS for one in DIALECTS.values()):
                    model = self._library.own_model(line["model"], line["size"])
                if model is None:
                    text = f"the sandbox's state is of another service: {self.terms.provider} has no {line['model']}"
                    raise ConfigError(f"{text}; use another folder, or remove it")
                known |= {"model": model, "frame_hashes": tuple(line["frame_hashes"])}
                self.tasks[line["task_id"]] = Task(**known)
                self._open.append(self.tasks[line["task_id"]])
                self._frames.update(frames)
            case "failed":
                self.tasks[line["task_id"]].fail = line["reason"]
                self.tasks[line["task_id"]].took_s = line["took_s"]
            case "deleted":
                self.tasks[line["task_id"]].deleted = True
            case "met":
                self.script.meet(**known | {"call": Call(line["call"])})
            case "violation":
                self.violations.append(known)

    # ---- rules

    def _ruled(
        self, call: Call, request: Request, task: Task | None, reply: Callable[[Rule | None], Reply], *, now: float
    ) -> Reply:
        """Return the answer to a call about *task*: *reply*'s, or what a rule makes of it."""
        if task is None or not self.script.rules:
            rule = self._met(call, "", "")
        else:
            stage = self._stage(task, now)
            rule = self._met(call, task.prompt, task.model.alias, stage=stage)
            if rule and rule.body and "{url}" in rule.body and call is Call.POLL and stage is Stage.DONE:
                self._issue_url(task, expired=rule.expire, now=now)
        found = Reply(200) if rule and rule.prevents_effect else reply(rule)
        return self._sent(found, rule, request, task)

    def _sent(self, reply: Reply, rule: Rule | None, request: Request, task: Task | None = None) -> Reply:
        """Return *reply* as *rule* lets it go out."""
        if rule is None:
            return reply
        key = _key_of(request)
        words = {"key": key, "escaped_key": "".join(f"\\u{ord(letter):04x}" for letter in key)}
        if task:
            words |= {"id": task.task_id, "url": task.url or ""}
        if task and rule.body and "{clip}" in rule.body:
            words["clip"] = base64.b64encode(self._made(task) or b"").decode()
        return damaged(reply, rule, words)

    def _met(
        self, call: Call, prompt: str, model: str, *, stage: Stage | None = None, early: bool = False
    ) -> Rule | None:
        if not self.script.rules:
            return None
        self._keep({"type": "met", "call": call, "prompt": prompt, "model": model, "stage": stage, "early": early})
        return self.script.meet(call, prompt=prompt, model=model, stage=stage, early=early)

    def _refused(self, request: Request) -> Reply | None:
        if hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {self.terms.key}".encode()):
            return None
        return self.refusal(Refusal.UNAUTHORIZED, _key_of(request))

    def _throttled(self, now: float) -> Reply | None:
        """Refuse what is above a limit; what is refused counts for none."""
        rate, most = self.terms.rate_per_minute, self.terms.in_flight
        while self._recent and self._recent[0] <= now - MINUTE_S:
            self._recent.popleft()
        if most is not None and self._making(now) >= most:
            return self.refusal(Refusal.CROWDED, str(most)) if self.terms.tells_limits else self.refusal(Refusal.BUSY)
        if rate is not None and len(self._recent) >= rate:
            if not self.terms.tells_limits:
                return self.refusal(Refusal.BUSY)
            return self.refusal(Refusal.THROTTLED, str(math.ceil(self._recent[-rate] + MINUTE_S - now)))
        self._recent.append(now)
        return None

    def _making(self, now: float) -> int:
        """Count the tasks that have not ended."""
        ended = {Stage.DONE, Stage.FAILED}
        self._open = [task for task in self._open if not task.deleted and self._stage(task, now) not in ended]
        return len(self._open)

    def _request_id(self) -> str:
        self._answered += 1
        return hashlib.sha256(f"{self.terms.seed}:{self._answered}".encode()).hexdigest()[:24]

    # ---- tasks

    def _create(self, request: Request, *, now: float) -> Reply:
        """Refuse a paid request, or bill it and begin its task."""
        upload = self.dialect.read_upload(request)
        rule = self._met(Call.CREATE, upload.fields.get("prompt", ""), upload.fields.get("model", ""))
        if rule and rule.prevents_effect:
            return self._sent(Reply(200), rule, request)
        refusal = self._refused(request) or self._throttled(now)
        order = refusal or self.dialect.read_order(
            request, upload, own=self.terms.models, request_id=self._request_id()
        )
        if isinstance(order, Reply):
            return self._sent(order, rule, request)
        task = self._accept(order, rule, now=now)
        return self._sent(self.dialect.created(task, rule, now=now), rule, request, task)

    def _accept(self, order: Order, rule: Rule | None, *, now: float) -> Task:
        n = len(self.tasks) + 1
        seed = self.terms.seed
        number = bool(rule and rule.number_id)
        took_s = generation_s(seed, n, model=order.model, seconds=order.seconds, pixels=order.pixels)
        task = Task(
            n=n,
            task_id=self.dialect.new_id(seed, n, number=number),
            created_at=now,
            took_s=took_s / self.terms.speed,
            model=order.model,
            prompt=order.prompt,
            fields=order.fields,
            frame_hashes=order.frame_hashes,
            size=order.size,
            seconds=order.seconds,
            numbered=number,
        )
        if Call.FILE not in self.dialect.CALLS:
            task.url_expires_at = now + task.took_s + self.terms.url_life_s
        if rule:
            task.fail, task.never, task.forgotten = rule.fail, rule.never, rule.forget
        for sha256, data in zip(task.frame_hashes, order.frames, strict=True):
            self._frames[sha256] = data
            if self._memory:
                self._memory.keep_frame(sha256, data)
        self._keep({**asdict(task), "model": task.model.alias, "type": "task"})
        self.tasks[task.task_id] = task
        self._open.append(task)
        self._made(task)
        return task

    def _is_told(self, task: Task, now: float) -> bool:
        return not (task.forgotten or task.deleted) and now >= task.created_at + self.terms.grace_s

    def _poll(self, task: Task, rule: Rule | None, *, now: float) -> Reply:
        if now < task.created_at + self.terms.grace_s:
            return self.refusal(Refusal.UNKNOWN, task.task_id)
        if rule and rule.fail is not None:
            task.fail, task.took_s = rule.fail, max(0.0, now - task.created_at)
            self._keep({"type": "failed", "task_id": task.task_id, "reason": task.fail, "took_s": task.took_s})
        stage = Stage.QUEUED if rule and rule.never else self._stage(task, now)
        if stage is Stage.DONE:
            self._issue_url(task, expired=bool(rule and rule.expire), now=now)
        return self.dialect.polled(task, stage, rule, now=now)

    def _delete(self, task: Task, library: Library, *, now: float) -> Reply:
        """Forget a task; its line in the ledger stays."""
        stage = self._stage(task, now)
        if stage not in {Stage.DONE, Stage.FAILED}:
            return self.refusal(Refusal.UNDELETABLE, stage)
        task.deleted = True
        self._keep({"type": "deleted", "task_id": task.task_id})
        return library.deleted(task)

    def _content(self, task: Task, request: Request, rule: Rule | None, *, now: float) -> Reply:
        stage = self._stage(task, now)
        if stage is not Stage.DONE:
            return self.refusal(Refusal.UNFINISHED, stage)
        if (rule and rule.expire) or (Call.FILE not in self.dialect.CALLS and now >= task.url_expires_at):
            return self.refusal(Refusal.EXPIRED)
        return self._clip(task, request, rule) or self.refusal(Refusal.GONE)

    def _clip(self, task: Task, request: Request, rule: Rule | None) -> Reply | None:
        clip = self._made(task)
        if clip is None:
            return None
        found = self._library.asset(clip, request) if self._library else (clip, "video/mp4")
        if isinstance(found, Reply):
            return found
        data, kind = found
        etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        if rule and rule.etag:
            self._answered += 1
            etag = f'"changed-{self._answered}"'
        return part_of(data, {} if rule and rule.ignore_range else request.headers, etag=etag, kind=kind)

    def _stage(self, task: Task, now: float) -> Stage:
        due = now >= task.created_at + task.took_s
        return task.stage(now, rendered=due and self._made(task) is not None)

    def _made(self, task: Task) -> bytes | None:
        width, height = task.model.sizes[task.size]
        frames = tuple(self._frames[sha256] for sha256 in task.frame_hashes)
        order = ClipOrder(task.prompt, width, height, task.seconds, self.terms.seed, frames, task.frame_hashes)
        return self._clips(order)

    def _issue_url(self, task: Task, *, expired: bool, now: float) -> None:
        """Issue a URL that holds, where the service has URLs; one that still does is kept, as at the service."""
        if Call.FILE not in self.dialect.CALLS:
            return
        if expired:
            task.url_expires_at = now
        elif task.url and now < task.url_expires_at:
            return
        else:
            task.url_expires_at = now + self.terms.url_life_s
        signed = f"{self.terms.seed}:{task.task_id}:{task.url_expires_at}"
        signature = hashlib.sha256(signed.encode()).hexdigest()[:24]
        task.url = f"{self.files_url}/{task.task_id}/{signature}.mp4"

    def _violated(self, what: str, where: str, *, now: float) -> None:
        violation = {"at": now, "what": what, "where": where}
        self.violations.append(violation)
        self._keep({**violation, "type": "violation"})

    def _keep(self, line: Mapping[str, Any]) -> None:
        if self._memory:
            self._memory.keep(line)


def _key_of(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")
