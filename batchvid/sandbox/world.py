"""The service that the sandbox stands in for: tasks, their clips' URLs, and a ledger of every create that it bills.

No I/O and no clock: every method takes ``now`` (UTC epoch seconds), so that tests can drive it under
virtual time. Rules:

* Every accepted create is one billed line in the ledger; nothing else is billed, and nothing is billed back.
* A task is finished only when its time has come and its clip is rendered.
* The same seed and the same creates give the same ids, times and URLs.
* A URL is issued by a poll, holds for `Terms.url_life_s`, and after that is refused until a poll issues a fresh one.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from batchvid.sandbox import task as tasks
from batchvid.sandbox.damage import damaged
from batchvid.sandbox.faults import Call, Script
from batchvid.sandbox.models import MODELS, Shape
from batchvid.sandbox.order import Order, read_order, read_upload
from batchvid.sandbox.ranges import part_of
from batchvid.sandbox.reply import Reply, Request, as_json, flat, nested
from batchvid.sandbox.task import Stage, Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.sandbox.faults import Rule

DEFAULT_KEY = "sk-sandbox"
MINUTE_S = 60.0
FORBIDDEN = Reply(
    403,
    {"content-type": "application/xml"},
    b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
)


@dataclass(frozen=True, slots=True)
class Terms:
    """How the service behaves."""

    key: str = DEFAULT_KEY
    seed: int = 1
    speed: float = 1.0
    """How many times faster than the service clips are made."""
    rate_per_minute: int | None = None
    """How many creates it takes within any minute; above that it answers 429."""
    grace_s: float = 0.0
    """How long a fresh id is not found yet."""
    url_life_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class ClipOrder:
    """Everything that a clip depends on."""

    prompt: str
    width: int
    height: int
    seconds: int
    seed: int
    frames: tuple[bytes, ...] = ()
    """First, last."""
    frame_hashes: tuple[str, ...] = ()


class Clips(Protocol):
    """Makes clips."""

    def __call__(self, order: ClipOrder) -> bytes | None:
        """Give the clip, or ``None`` while it is being made; asking for the first time begins it."""


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
        self.script = script or Script()
        self.files_url = files_url
        self.tasks: dict[str, Task] = {}
        self.requests: Counter[Call] = Counter()
        self.violations: list[dict[str, Any]] = []
        self._clips = clips
        self._memory = memory
        self._frames: dict[str, bytes] = {}
        self._recent: deque[float] = deque()
        self._answered = 0

    # ---- the four calls

    def create(self, request: Request, *, now: float) -> Reply:
        """Take a paid request: refuse it, or bill it and begin its task."""
        self.requests[Call.CREATE] += 1
        upload = read_upload(request)
        rule = self._met(Call.CREATE, upload.fields.get("prompt", ""), upload.fields.get("model", ""))
        if rule and rule.prevents_effect:
            return _sent(Reply(200), rule, request)
        refusal = self._refused(request) or self._throttled(now)
        order = refusal or read_order(request, upload, request_id=self._request_id())
        if isinstance(order, Reply):
            return _sent(order, rule, request)
        made = self._accept(order, rule, now=now)
        form = tasks.wrapped_form(made, Stage.QUEUED, now=now) if rule and rule.wrapped else tasks.created_form(made)
        return _sent(as_json(form), rule, request, made)

    def early(self, request: Request) -> Reply | None:
        """Return the answer to a create whose body has not come, where a rule has one."""
        if not self.script.answers_early or (rule := self._met(Call.CREATE, "", "", early=True)) is None:
            return None
        self.requests[Call.CREATE] += 1
        return _sent(Reply(200), rule, request)

    def poll(self, task_id: str, request: Request, *, now: float) -> Reply:
        """Say how a task stands."""
        self.requests[Call.POLL] += 1
        task = self.tasks.get(task_id)
        rule = self._met_task(Call.POLL, task, now)
        if rule and rule.prevents_effect:
            return _sent(Reply(200), rule, request, task)
        reply = self._refused(request) or self._poll(task, rule, now=now)
        return _sent(reply, rule, request, task)

    def content(self, task_id: str, request: Request, *, now: float) -> Reply:
        """Give a clip's bytes through the service itself."""
        self.requests[Call.CONTENT] += 1
        task = self.tasks.get(task_id)
        rule = self._met_task(Call.CONTENT, task, now)
        if rule and rule.prevents_effect:
            return _sent(Reply(200), rule, request, task)
        reply = self._refused(request) or self._content(task, request, rule, now=now)
        return _sent(reply, rule, request, task)

    def file(self, path: str, request: Request, *, now: float) -> Reply:
        """Give a clip's bytes at a URL that a poll has issued; the key must not come with it."""
        self.requests[Call.FILE] += 1
        if "authorization" in request.headers:
            self._violated("key leaked to the file host", path, now=now)
            return Reply(403, {"content-type": "text/plain"}, b"a credential was sent to a host that it is not for")
        task = self.tasks.get(path.strip("/").partition("/")[0])
        rule = self._met_task(Call.FILE, task, now)
        if rule and rule.prevents_effect:
            return _sent(Reply(200), rule, request, task)
        if task and rule and rule.expire:
            task.url = None
        reply = FORBIDDEN
        if task and task.url == f"{self.files_url}{path}" and now < task.url_expires_at:
            reply = self._clip(task, request, rule) or FORBIDDEN
        return _sent(reply, rule, request, task)

    # ---- what it tells about itself

    def ledger(self) -> dict[str, Any]:
        """Give every billed create, how many each prompt has, and what clients did wrong."""
        return {
            "creates": [task.ledger_line() for task in self.tasks.values()],
            "by_prompt": dict(Counter(task.prompt for task in self.tasks.values())),
            "requests": {call.value: self.requests[call] for call in Call},
            "violations": list(self.violations),
        }

    def restore(self, line: Mapping[str, Any], frames: Mapping[str, bytes]) -> None:
        """Take back a line that `Memory` kept, with the frames that belong to it."""
        match line["type"]:
            case "task":
                known = {name: value for name, value in line.items() if name != "type"}
                known |= {"model": MODELS[known["model"]], "frame_hashes": tuple(known["frame_hashes"])}
                task = Task(**known)
                self.tasks[task.task_id] = task
                self._frames.update(frames)
            case "failed":
                self.tasks[line["task_id"]].fail = line["reason"]
                self.tasks[line["task_id"]].took_s = line["took_s"]
            case "met":
                known = {"stage": line.get("stage"), "early": line.get("early", False)}
                self.script.meet(Call(line["call"]), prompt=line["prompt"], model=line["model"], **known)
            case "violation":
                self.violations.append({name: value for name, value in line.items() if name != "type"})

    # ---- rules

    def _met_task(self, call: Call, task: Task | None, now: float) -> Rule | None:
        if task is None or not self.script.rules:
            return self._met(call, "", "")
        return self._met(call, task.prompt, task.model.alias, stage=self._stage(task, now))

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
        return nested(401, f"invalid token (request id: {self._request_id()})")

    def _throttled(self, now: float) -> Reply | None:
        rate = self.terms.rate_per_minute
        if rate is None:
            return None
        while self._recent and self._recent[0] <= now - MINUTE_S:
            self._recent.popleft()
        if len(self._recent) < rate:
            self._recent.append(now)
            return None
        wait_s = math.ceil(self._recent[0] + MINUTE_S - now)
        text = f"too many requests, try again in {wait_s}s (request id: {self._request_id()})"
        return nested(429, text, code="rate_limit_exceeded", headers={"retry-after": str(wait_s)})

    def _request_id(self) -> str:
        self._answered += 1
        return f"{hashlib.sha256(f'{self.terms.seed}:{self._answered}'.encode()).hexdigest()[:24]}"

    # ---- tasks

    def _accept(self, order: Order, rule: Rule | None, *, now: float) -> Task:
        n = len(self.tasks) + 1
        seed = self.terms.seed
        took_s = tasks.generation_s(seed, n, model=order.model, seconds=order.seconds, pixels=order.pixels)
        task = Task(
            n=n,
            task_id=tasks.number_id(n) if rule and rule.number_id else tasks.task_id(seed, n),
            created_at=now,
            took_s=took_s / self.terms.speed,
            model=order.model,
            prompt=order.prompt,
            fields=order.fields,
            frame_hashes=tuple(order.frame_hashes),
            size=order.size,
            seconds=order.seconds,
        )
        if rule:
            task.fail, task.never, task.forgotten, task.numbered = rule.fail, rule.never, rule.forget, rule.number_id
        for sha256, data in zip(task.frame_hashes, order.frames, strict=True):
            self._frames[sha256] = data
            if self._memory:
                self._memory.keep_frame(sha256, data)
        self._keep({**asdict(task), "model": task.model.alias, "type": "task"})
        self.tasks[task.task_id] = task
        self._made(task)
        return task

    def _poll(self, task: Task | None, rule: Rule | None, *, now: float) -> Reply:
        young = task is not None and now < task.created_at + self.terms.grace_s
        if task is None or task.forgotten or young or (rule and rule.forget):
            return flat(400, "task_not_exist", "task_not_exist")
        if rule and rule.fail is not None:
            task.fail, task.took_s = rule.fail, max(0.0, now - task.created_at)
            self._keep({"type": "failed", "task_id": task.task_id, "reason": task.fail, "took_s": task.took_s})
        stage = Stage.QUEUED if rule and rule.never else self._stage(task, now)
        if stage is Stage.DONE:
            self._issue_url(task, expired=bool(rule and rule.expire), now=now)
        if task.model.shape is Shape.WRAPPED or (rule and rule.wrapped):
            return as_json(tasks.wrapped_form(task, stage, now=now))
        shape = Shape.CONTENT_ONLY if rule and rule.no_url else task.model.shape
        return as_json(tasks.plain_form(task, stage, now=now, shape=shape))

    def _content(self, task: Task | None, request: Request, rule: Rule | None, *, now: float) -> Reply:
        if task is None or task.forgotten or (rule and rule.forget):
            return nested(404, "Task not found", kind="invalid_request_error")
        stage = self._stage(task, now)
        if stage is not Stage.DONE:
            word = tasks.WRAPPED_WORDS[stage]
            return nested(400, f"Task is not completed yet, current status: {word}", kind="invalid_request_error")
        if rule and rule.expire:
            return nested(502, "Upstream service returned status 403", kind="server_error")
        return self._clip(task, request, rule) or nested(500, "the clip is gone", kind="server_error")

    def _clip(self, task: Task, request: Request, rule: Rule | None) -> Reply | None:
        clip = self._made(task)
        if clip is None:
            return None
        etag = f'"{hashlib.sha256(clip).hexdigest()[:32]}"'
        if rule and rule.etag:
            self._answered += 1
            etag = f'"changed-{self._answered}"'
        return part_of(clip, {} if rule and rule.ignore_range else request.headers, etag=etag)

    def _stage(self, task: Task, now: float) -> Stage:
        due = now >= task.created_at + task.took_s
        return task.stage(now, rendered=due and self._made(task) is not None)

    def _made(self, task: Task) -> bytes | None:
        width, height = task.model.sizes[task.size]
        frames = tuple(self._frames[sha256] for sha256 in task.frame_hashes)
        order = ClipOrder(task.prompt, width, height, task.seconds, self.terms.seed, frames, task.frame_hashes)
        return self._clips(order)

    def _issue_url(self, task: Task, *, expired: bool, now: float) -> None:
        """Give the task a URL that holds; one that still does is kept, as at the service."""
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


def _sent(reply: Reply, rule: Rule | None, request: Request, task: Task | None = None) -> Reply:
    """Return *reply* as *rule* lets it go out."""
    if rule is None:
        return reply
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    words = {"key": key, "escaped_key": "".join(f"\\u{ord(letter):04x}" for letter in key)}
    return damaged(reply, rule, words | ({"id": task.task_id} if task else {}))
