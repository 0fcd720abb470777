"""What a rule does to an answer. Pure: the server carries out what `Transport` says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.sandbox.faults import Garbage
from batchvid.sandbox.reply import Reply, Transport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.sandbox.faults import Rule

WEB_PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Please wait.</body></html>"
TEMPORARY_REDIRECT = 307


def damaged(reply: Reply, rule: Rule, words: Mapping[str, str]) -> Reply:
    """Return *reply* as *rule* lets it go out; *words* stand where the rule's own answer holds ``{name}``."""
    if rule.replaces_answer:
        reply = _own(rule, words)
    elif rule.set:
        reply = _changed(reply, rule)
    reply = _garbled(reply, rule)
    headers = {**reply.headers, **{name: _filled(text, words) for name, text in rule.headers.items()}}
    if rule.content_type is not None:
        headers["content-type"] = rule.content_type
    transport = Transport(
        delay_s=rule.delay_s,
        hang=rule.hang,
        reset=rule.reset,
        raw=rule.raw,
        cut_at=rule.cut_at,
        stall_s=rule.stall_s,
        dribble=rule.dribble,
        bytes_per_s=rule.bytes_per_s,
        content_length=rule.content_length,
    )
    return replace(reply, headers=headers, transport=transport)


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    return text


def _own(rule: Rule, words: Mapping[str, str]) -> Reply:
    body = _filled(rule.body or "", words)
    kind = "application/json" if body.lstrip()[:1] in {"{", "["} else "text/html; charset=utf-8"
    headers = {"content-type": kind} if body else {}
    if rule.redirect is not None:
        return Reply(
            rule.status or TEMPORARY_REDIRECT, {**headers, "location": _filled(rule.redirect, words)}, body.encode()
        )
    return Reply(rule.status or 200, headers, body.encode())


def _changed(reply: Reply, rule: Rule) -> Reply:
    """Change fields of the task, wherever its form keeps them."""
    payload = json.loads(reply.body)
    task = payload["data"] if isinstance(payload.get("data"), dict) else payload
    task.update(rule.set)
    for name, value in rule.set.items():
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
