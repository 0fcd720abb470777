"""Scripted faults: a list of rules, each naming the calls it meets and what goes wrong with them.

`FAULTS_HELP` documents every key. The first rule that meets a call decides; rules that come later still count it.
Nothing here sends: `damaged` changes an answer, and the server carries out what its `Transport` says.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from batchvid.domain.errors import ConfigError
from batchvid.sandbox.messages import Dribble, Reply, Reset, Transport
from batchvid.sandbox.tasks import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

WEB_PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Please wait.</body></html>"
TEMPORARY_REDIRECT = 307
FAULTS_HELP = """\
A faults file is a YAML or JSON list of rules. The first rule that meets a call decides.

Which calls:
  on: create | poll | content | file     required; "file" is the video_url on its own host
      list | delete                      only with --provider openai, which has no "file"
  prompt: "GLOB"   model: "GLOB"         only jobs like these
  nth: 1 | [1, 3] | "2-4" | "3-" | every  which of the matching calls, counted from 1 (default every)
  scope: job | call                      nth counts per prompt (default), or over all of them
  when: queued | in_progress | completed | failed    only where the task stands so (not for a create)
  times: N                               at most N times in all

The answer (of a create that gets one of these, nothing is billed, unless it says "effect: true"):
  status: 500   body: TEXT or JSON   headers: {Name: value}
  redirect: URL                          307, or the status named
    In these and in "set", {id} is the task's id, {url} its clip's URL, {key} the key that was sent, {escaped_key} the
    same in JSON's escapes. In a body, {clip} is the clip in base64.
  early: true                            sent before the body has come, and the connection closes (create only)
  raw: "BYTES"                           in place of an HTTP answer
  hang: true                             no answer, ever
  reset: before                          the connection dies, nothing has happened
  forget: true                           the id is unknown (on a create: it stays unknown)

The true answer, damaged (a create is billed):
  reset: during | after-effect           the connection dies inside the answer, or just before it
  cut_at: 0.5                            it closes after this share of the body
  delay_s: 3   stall_s: 30               waits before the answer, or in the middle of its body
  dribble: head | body | 1xx             goes out slowly; "1xx": interim answers, and never the true one
  bytes_per_s: 1                         how slowly (default 1)
  garbage: html | json | empty | half    another body; "half" is the true one cut, with a length that fits
  content_type: TEXT   content_length: N | none
  set: {field: value}   status_word: X   fields of the task changed (null removes one)
  wrapped: true   no_url: true           another form of the task
  ignore_range: true   etag: change      for content and file
  expire: true                           the URL has expired (file, content), or will have when used (poll)

The task itself:
  number_id: true                        its id is a number (create)
  fail: REASON                           it ends as failed (create), or is failed now (poll)
  never: true                            it stays queued, for ever (create) or in this answer (poll)

Example:
  - {on: create, prompt: "A paper kite*", nth: 1, reset: after-effect}
  - {on: poll, scope: call, nth: every, times: 3, status: 502, body: "<html>Bad gateway</html>"}
  - {on: file, nth: 1, cut_at: 0.6}
  - {on: create, status: 502, body: {message: upstream error}, effect: true}          an error page; billed all the same
  - {on: create, status: 303, redirect: "/v1/videos/{id}", effect: true}              created, and told elsewhere
  - {on: poll, nth: 1, set: {status: null, error: {message: try later}}}              an error that is no status
  - {on: poll, when: completed, nth: "2-", status_word: expired}                      first a clip, then none
  - {on: poll, when: completed, set: {video_url: null, output: ["{url}"]}}            the URL in another place
  - {on: poll, when: failed, status: 500, body: {id: "{id}", status: failed}}         the task in an HTTP error
"""


class Call(StrEnum):
    """The calls that rules can meet."""

    CREATE = "create"
    POLL = "poll"
    CONTENT = "content"
    FILE = "file"
    LIST = "list"
    DELETE = "delete"


class Garbage(StrEnum):
    """Bodies that are not what was asked for."""

    HTML = "html"
    JSON = "json"
    EMPTY = "empty"
    HALF = "half"


# ---- how the value of a key is read


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"a {kind.__name__} is wanted")
    return value


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"use {' or '.join(allowed)}")
        return str(value)

    return read


def _text(value: Any) -> str:
    return str(_checked(value, str))


def _number(value: Any) -> int:
    return int(_checked(value, int))


def _rate(value: Any) -> float:
    if not 0 < float(value) < float("inf"):
        raise ValueError("a number above 0 is wanted")
    return float(value)


def _names(value: Any) -> dict[str, Any]:
    return {str(name): one for name, one in _checked(value, dict).items()}


def _headers(value: Any) -> dict[str, str]:
    return {name.lower(): str(text) for name, text in _names(value).items()}


def _body(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _bytes(value: Any) -> bytes:
    return _text(value).encode("latin-1")


def _share(value: Any) -> float:
    if not 0 <= float(value) <= 1:
        raise ValueError("a share from 0 to 1 is wanted")
    return float(value)


def _runs(value: Any) -> tuple[tuple[int, int | None], ...]:
    """Read ``1``, ``[1, 3]``, ``"2-4"``, ``"3-"`` and ``every``."""
    if value == "every":
        return ((1, None),)
    if isinstance(value, list):
        return tuple(run for one in value for run in _runs(one))
    first, dash, last = str(value).partition("-")
    return ((int(first), (int(last) if last else None) if dash else int(first)),)


def _key(read: Callable[[Any], Any], default: Any = None, *, only: Sequence[Call] = tuple(Call)) -> Any:
    """Declare a key of a rule: how it is read, and the calls that it has a meaning for."""
    return field(default=default, metadata={"read": read, "only": only})


def _switch(*only: Call) -> Any:
    return _key(lambda value: _checked(value, bool), default=False, only=only or tuple(Call))


# ---- rules

_TASK_CALLS = (Call.CREATE, Call.POLL)
_BYTES_CALLS = (Call.CONTENT, Call.FILE)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; the keys of a faults file, as `FAULTS_HELP` explains them."""

    on: Call = field(metadata={"read": Call, "only": tuple(Call)})
    prompt: str = _key(_text, "*")
    model: str = _key(_text, "*")
    nth: tuple[tuple[int, int | None], ...] = _key(_runs, ((1, None),))
    """First and last of each run of calls."""
    scope: str = _key(_one_of("job", "call"), "job")
    when: Stage | None = _key(Stage, only=(Call.POLL, *_BYTES_CALLS, Call.DELETE))  # noqa: RUF009 it declares a field
    times: int | None = _key(_number)
    status: int | None = _key(_number)
    body: str | None = _key(_body)
    headers: Mapping[str, str] | None = _key(_headers)
    redirect: str | None = _key(_text)
    raw: bytes | None = _key(_bytes)
    early: bool = _switch(Call.CREATE)
    hang: bool = _switch()
    reset: Reset | None = _key(Reset)  # noqa: RUF009 it declares a field
    forget: bool = _switch(Call.CREATE, Call.POLL, Call.CONTENT)
    effect: bool = _switch(Call.CREATE)
    cut_at: float | None = _key(_share)
    delay_s: float = _key(float, 0.0)
    stall_s: float = _key(float, 0.0)
    dribble: Dribble | None = _key(Dribble)  # noqa: RUF009 it declares a field
    bytes_per_s: float = _key(_rate, 1.0)
    garbage: Garbage | None = _key(Garbage)  # noqa: RUF009 it declares a field
    content_type: str | None = _key(_text)
    content_length: str | None = _key(str)
    set: Mapping[str, Any] | None = _key(_names, only=_TASK_CALLS)
    wrapped: bool = _switch(*_TASK_CALLS)
    no_url: bool = _switch(Call.POLL)
    ignore_range: bool = _switch(*_BYTES_CALLS)
    etag: str | None = _key(_one_of("change"), only=_BYTES_CALLS)
    expire: bool = _switch(Call.POLL, *_BYTES_CALLS)
    number_id: bool = _switch(Call.CREATE)
    fail: str | None = _key(_text, only=_TASK_CALLS)
    never: bool = _switch(*_TASK_CALLS)

    @property
    def replaces_answer(self) -> bool:
        """Whether the answer is the rule's own."""
        return self.status is not None or self.body is not None or self.raw is not None or self.redirect is not None

    @property
    def prevents_effect(self) -> bool:
        """Whether what the call asks for does not happen."""
        return not self.effect and (self.replaces_answer or self.hang or self.reset is Reset.BEFORE)

    def meets_nth(self, n: int) -> bool:
        """Whether the *n*-th matching call, from 1, is meant."""
        return any(first <= n and (last is None or n <= last) for first, last in self.nth)


KEYS = {one.name: one.metadata for one in fields(Rule)}


class Script:
    """The rules and how often each has been met; nothing else in the sandbox's faults changes."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self._met: Counter[tuple[int, str]] = Counter()
        self._fired: Counter[int] = Counter()

    @property
    def answers_early(self) -> bool:
        """Whether any rule is about creates whose body has not come."""
        return any(rule.early for rule in self.rules)

    def meet(
        self, call: Call, *, prompt: str, model: str, stage: str | None = None, early: bool = False
    ) -> Rule | None:
        """Count a call and return the rule that decides it.

        *stage* is where its task stands. A create is met twice: *early*, when only its head has come, and then whole.
        """
        decided = None
        for index, rule in enumerate(self.rules):
            if rule.on is not call or not fnmatchcase(prompt, rule.prompt) or not fnmatchcase(model, rule.model):
                continue
            if rule.early is not early or rule.when not in {None, stage}:
                continue
            counted = (index, prompt if rule.scope == "job" else "")
            self._met[counted] += 1
            spent = rule.times is not None and self._fired[index] >= rule.times
            if decided is None and not spent and rule.meets_nth(self._met[counted]):
                decided = rule
                self._fired[index] += 1
        return decided


def parse_rules(raw: Any, *, source: str = "faults", calls: Sequence[Call] = tuple(Call)) -> tuple[Rule, ...]:
    """Return the rules of a decoded faults file, for a service that has *calls*.

    Raise `ConfigError`, which names the rule and the key.
    """
    if not isinstance(raw, list):
        raise ConfigError(f"{source}: a faults file is a list of rules, see 'batchvid sandbox --faults-help'")
    return tuple(_rule(item, f"{source}: rule {number}", calls) for number, item in enumerate(raw, 1))


def _rule(item: Any, where: str, calls: Sequence[Call]) -> Rule:
    if not isinstance(item, dict):
        raise ConfigError(f"{where}: a rule is a mapping such as {{on: poll, status: 502}}")
    found = {("on" if key is True else key): value for key, value in item.items()}  # YAML 1.1 reads a bare "on" as true
    if "status_word" in found:
        found["set"] = {**found.get("set", {}), "status": found.pop("status_word")}
    if unknown := sorted(str(key) for key in found if key not in KEYS):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}, see 'batchvid sandbox --faults-help'")
    if "on" not in found:
        raise ConfigError(f"{where}: 'on' is missing: {', '.join(Call)}")
    rule = Rule(**{key: _value(key, value, where) for key, value in found.items()})
    if trouble := _meaningless(rule, found, calls):
        raise ConfigError(f"{where}: {trouble}")
    return rule


def _meaningless(rule: Rule, keys: Iterable[str], calls: Sequence[Call]) -> str | None:
    """Return which of the *keys* that were written would silently do nothing."""
    for key in keys:
        if rule.on not in KEYS[key]["only"]:
            return f"{key} has no meaning for a {rule.on}, only for {', '.join(KEYS[key]['only'])}"
    if rule.on not in calls:
        return f"on: this service has no {rule.on}, only {', '.join(calls)}"
    if Call.FILE not in calls and (rule.wrapped or rule.no_url):
        return "wrapped and no_url have no meaning for this service: its tasks hold no URL"
    if rule.early and (rule.prompt, rule.model, rule.effect) != ("*", "*", False):
        return "early: the body has not come, so prompt, model and effect have no meaning with it"
    if rule.early and not rule.replaces_answer:
        return "early: say what is answered, such as status: 429"
    return None


def _value(key: str, value: Any, where: str) -> Any:
    try:
        return KEYS[key]["read"](value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {key}: {value!r} is not allowed here: {error}") from None


# ---- what a rule does to an answer


def damaged(reply: Reply, rule: Rule, words: Mapping[str, str]) -> Reply:
    """Return *reply* as *rule* lets it go out; *words* stand where the rule's own answer holds ``{name}``."""
    if rule.replaces_answer:
        reply = _own(rule, words)
    elif rule.set:
        reply = _changed(reply, _filled_in(rule.set, words))
    reply = _garbled(reply, rule)
    headers = {**reply.headers, **{name: _filled(text, words) for name, text in (rule.headers or {}).items()}}
    if rule.content_type is not None:
        headers["content-type"] = rule.content_type
    transport = Transport(**{one.name: getattr(rule, one.name) for one in fields(Transport)})
    return replace(reply, headers=headers, transport=transport)


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    return text


def _filled_in(value: Any, words: Mapping[str, str]) -> Any:
    match value:
        case str():
            return _filled(value, words)
        case dict():
            return {name: _filled_in(one, words) for name, one in value.items()}
        case list():
            return [_filled_in(one, words) for one in value]
        case _:
            return value


def _own(rule: Rule, words: Mapping[str, str]) -> Reply:
    body = _filled(rule.body or "", words)
    kind = "application/json" if body.lstrip()[:1] in {"{", "["} else "text/html; charset=utf-8"
    headers = {"content-type": kind} if body else {}
    status = rule.status or 200
    if rule.redirect is not None:
        status = rule.status or TEMPORARY_REDIRECT
        headers["location"] = _filled(rule.redirect, words)
    return Reply(status, headers, body.encode())


def _changed(reply: Reply, changes: Mapping[str, Any]) -> Reply:
    """Change fields of the task, wherever its form keeps them."""
    payload = json.loads(reply.body)
    task = payload["data"] if isinstance(payload.get("data"), dict) else payload
    task.update(changes)
    for name, value in changes.items():
        if value is None:
            del task[name]
    return replace(reply, body=json.dumps(payload).encode())


def _garbled(reply: Reply, rule: Rule) -> Reply:
    match rule.garbage:
        case Garbage.HTML:
            return replace(reply, headers={**reply.headers, "content-type": "text/html"}, body=WEB_PAGE)
        case Garbage.JSON:
            return replace(reply, headers={**reply.headers, "content-type": "application/json"}, body=b'{"ok": true}')
        case Garbage.EMPTY:
            return replace(reply, body=b"")
        case Garbage.HALF:
            return replace(reply, body=reply.body[: len(reply.body) // 2])
        case _:
            return reply
