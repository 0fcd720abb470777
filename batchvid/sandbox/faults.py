"""Scripted faults: a list of rules, each naming the calls it meets and what goes wrong with them.

`FAULTS_HELP` documents every key. The first rule that meets a call decides; rules that come later still count it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from batchvid.errors import ConfigError
from batchvid.sandbox.reply import Dribble, Reset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FAULTS_HELP = """\
A faults file is a YAML or JSON list of rules. The first rule that meets a call decides.

Which calls:
  on: create | poll | content | file     required; "file" is the video_url on its own host
  prompt: "GLOB"   model: "GLOB"         only jobs like these
  nth: 1 | [1, 3] | "2-4" | "3-" | every the how-manieth call that the other conditions meet (default every)
  scope: job | call                      nth counts per prompt (default), or over all of them
  when: queued | in_progress | completed | failed    only where the task stands so (not for a create)
  times: N                               at most N times in all

The answer (of a create that gets one of these, nothing is billed, unless it says "effect: true"):
  status: 500   body: TEXT or JSON   headers: {Name: value}
  redirect: URL                          307, or the status named
    In these, {id} is the task's id, {key} the key that was sent, {escaped_key} the same in JSON's escapes.
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
  - {on: create, prompt: "A kite*", nth: 1, reset: after-effect}
  - {on: poll, scope: call, nth: every, times: 3, status: 502, body: "<html>Bad gateway</html>"}
  - {on: file, nth: 1, cut_at: 0.6}
  - {on: create, status: 502, body: {message: upstream error}, effect: true}          an error page; billed all the same
  - {on: create, status: 303, redirect: "/v1/videos/{id}", effect: true}              created, and told elsewhere
  - {on: poll, nth: 1, set: {status: null, error: {message: try later}}}              an error that is no status
  - {on: poll, when: completed, nth: "2-", status_word: expired}                      first a clip, then none
"""


class Call(StrEnum):
    """The calls that rules can meet."""

    CREATE = "create"
    POLL = "poll"
    CONTENT = "content"
    FILE = "file"


class When(StrEnum):
    """Where a task stands; the values are those of `batchvid.sandbox.task.Stage`."""

    QUEUED = "queued"
    RUNNING = "in_progress"
    DONE = "completed"
    FAILED = "failed"


class Garbage(StrEnum):
    """Bodies that are not what was asked for."""

    HTML = "html"
    JSON = "json"
    EMPTY = "empty"
    HALF = "half"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; the keys of a faults file, as `FAULTS_HELP` explains them."""

    on: Call
    prompt: str = "*"
    model: str = "*"
    nth: tuple[tuple[int, int | None], ...] = ((1, None),)
    """First and last of each run of calls."""
    scope: str = "job"
    when: When | None = None
    times: int | None = None
    status: int | None = None
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    redirect: str | None = None
    raw: bytes | None = None
    early: bool = False
    hang: bool = False
    reset: Reset | None = None
    forget: bool = False
    effect: bool = False
    cut_at: float | None = None
    delay_s: float = 0.0
    stall_s: float = 0.0
    dribble: Dribble | None = None
    bytes_per_s: float = 1.0
    garbage: Garbage | None = None
    content_type: str | None = None
    content_length: str | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    wrapped: bool = False
    no_url: bool = False
    ignore_range: bool = False
    etag: str | None = None
    expire: bool = False
    number_id: bool = False
    fail: str | None = None
    never: bool = False

    @property
    def replaces_answer(self) -> bool:
        """Whether the answer is the rule's own."""
        return self.status is not None or self.body is not None or self.raw is not None or self.redirect is not None

    @property
    def prevents_effect(self) -> bool:
        """Whether what the call asks for does not happen."""
        return not self.effect and (self.replaces_answer or self.hang or self.reset is Reset.BEFORE)

    def meets_nth(self, n: int) -> bool:
        """Say whether the *n*-th matching call, from 1, is meant."""
        return any(first <= n and (last is None or n <= last) for first, last in self.nth)


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
        """Count a call and give the rule that decides it.

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


def parse_rules(raw: Any, *, source: str = "faults") -> tuple[Rule, ...]:
    """Give the rules of a decoded faults file. Raises `ConfigError`, which names the rule and the key."""
    if not isinstance(raw, list):
        raise ConfigError(f"{source}: a faults file is a list of rules, see 'batchvid sandbox --help'")
    return tuple(_rule(item, f"{source}: rule {number}") for number, item in enumerate(raw, 1))


def _rule(item: Any, where: str) -> Rule:
    if not isinstance(item, dict):
        raise ConfigError(f"{where}: a rule is a mapping such as {{on: poll, status: 502}}")
    found = {("on" if key is True else key): value for key, value in item.items()}  # YAML 1.1 reads a bare "on" as true
    if "status_word" in found:
        found["set"] = {**found.get("set", {}), "status": found.pop("status_word")}
    known = {one.name for one in fields(Rule)}
    if unknown := sorted(str(key) for key in found if key not in known):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}, see 'batchvid sandbox --help'")
    if "on" not in found:
        raise ConfigError(f"{where}: 'on' is missing: create, poll, content or file")
    rule = Rule(**{key: _value(key, value, where) for key, value in found.items()})
    for key in found.keys() & _MEANT_FOR.keys():
        if rule.on not in _MEANT_FOR[key]:
            raise ConfigError(f"{where}: {key} has no meaning for a {rule.on}, only for {', '.join(_MEANT_FOR[key])}")
    if rule.early and (rule.prompt, rule.model, rule.effect) != ("*", "*", False):
        raise ConfigError(f"{where}: early: the body has not come, so prompt, model and effect have no meaning with it")
    if rule.early and not rule.replaces_answer:
        raise ConfigError(f"{where}: early: say what is answered, such as status: 429")
    return rule


def _value(key: str, value: Any, where: str) -> Any:
    read: Callable[[Any], Any] = _READERS.get(key, _switch)
    try:
        return read(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {key}: {value!r} is not allowed here: {error}") from None


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


def _switch(value: Any) -> bool:
    return bool(_checked(value, bool))


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


_MEANT_FOR: Mapping[str, tuple[Call, ...]] = {
    "effect": (Call.CREATE,),
    "early": (Call.CREATE,),
    "number_id": (Call.CREATE,),
    "when": (Call.POLL, Call.CONTENT, Call.FILE),
    "forget": (Call.CREATE, Call.POLL, Call.CONTENT),
    "set": (Call.CREATE, Call.POLL),
    "wrapped": (Call.CREATE, Call.POLL),
    "no_url": (Call.POLL,),
    "ignore_range": (Call.CONTENT, Call.FILE),
    "etag": (Call.CONTENT, Call.FILE),
    "expire": (Call.POLL, Call.CONTENT, Call.FILE),
    "fail": (Call.CREATE, Call.POLL),
    "never": (Call.CREATE, Call.POLL),
}
"""The calls of the keys that are not for all of them."""

_READERS: Mapping[str, Callable[[Any], Any]] = {
    "on": Call,
    "prompt": _text,
    "model": _text,
    "nth": _runs,
    "scope": _one_of("job", "call"),
    "when": When,
    "times": _number,
    "status": _number,
    "body": lambda value: value if isinstance(value, str) else json.dumps(value),
    "headers": _headers,
    "redirect": _text,
    "raw": lambda value: _text(value).encode("latin-1"),
    "reset": Reset,
    "cut_at": _share,
    "delay_s": float,
    "stall_s": float,
    "dribble": Dribble,
    "bytes_per_s": _rate,
    "garbage": Garbage,
    "content_type": _text,
    "content_length": str,
    "set": _names,
    "etag": _one_of("change"),
    "fail": _text,
}
"""How the value of each key is read; a key that is not here is a switch."""
