"""What the answers to free requests mean, in any service's words: that of a poll, and one in place of a clip.

`RULES` says what a poll's answer means, read from the top down. Each asks at most four things: whose task is it? what
word does it use? is there an error that is one? where is the clip? Where these stand in an answer is found by
`batchvid.providers.task_object`. What the answer to a paid request means is said in `batchvid.providers.payment`.

- The answer to a question about a task is about that task, whatever other id stands in it.
- A task has failed only when the answer names it by its own id and says so with a word of failure. Whatever else
  a poll brings is a look that brought nothing, and is repeated: taken for a failure, it would buy the clip again.
- A word of success never becomes a failure, whatever error stands beside it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batchvid.domain.frozen import frozen
from batchvid.domain.task import INLINE_CLIP, Fault, FaultKind, Phase, TaskReport
from batchvid.domain.text import clean
from batchvid.providers import task_object as places
from batchvid.providers.inline import DataURLs, names_before_first
from batchvid.providers.response import (
    RATE_CODES,
    Envelope,
    NoResponse,
    Response,
    envelope,
    is_none,
    request_id,
    retry_after_s,
)
from batchvid.providers.task_object import Found, Subject, is_http_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchvid.providers.base import Vocabulary


MILLISECONDS_FROM = 10**11
"""An epoch number above this is in milliseconds: in seconds it would lie beyond the year 5000."""
EPOCH_MAX = 10**15
"""No moment lies beyond this, in milliseconds either; JSON numbers may have hundreds of digits."""

BOM = b"\xef\xbb\xbf"
ON_THE_WAY = {401, 402, 403, 404, 407, 408, 409, 425, 429, 499, 502, 503, 504, *range(520, 531)}
"""What somebody between us and the service answers."""
GONE_STATUS = {403, 404, 410}
"""What storage hosts answer when a signed URL has expired."""
_TOO_EARLY = re.compile(
    r"not (yet )?(ready|complete|finish)|still (being |in[- ])?(generat|process|progress|running)", re.IGNORECASE
)
_PREFIX = re.compile(r"^(?:.*\.|(?:[a-z]+_){0,3}(?:status|state)_|(?:task|job|video|render)_(?:generation_)?)")
_OF_THE_TASK = re.compile(r"(?:(?:task|job|video|render|generation|media)_?)*(?:status|state)?[._]")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Look:
    """What an answer to a poll says, each thing with its place. Nothing in it is judged yet."""

    def __init__(self, answer: Response, words: Vocabulary, task_id: str) -> None:
        self.answer = answer
        self.words = words
        self.payload = answer.json()
        self.subject: Subject = places.subject(self.payload, task_id)
        self.is_own = bool(self.subject.own)
        """Whether it names the task by its own id."""
        self.word, self.phase = self._word()

    @cached_property
    def clip(self) -> Found | None:
        """Where the clip is; looked for only where that matters, because most looks find a task that goes on."""
        return places.clip_in(self.payload, self.subject if self.is_own else None)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.answer.status

    @property
    def is_yes(self) -> bool:
        """Whether it is a 2xx."""
        return 200 <= self.status < 300

    @property
    def has_word(self) -> bool:
        """Whether it says how the task stands in a word that somebody has listed."""
        return self.word is not None and self.phase is not Phase.UNHEARD

    @property
    def is_contradiction(self) -> bool:
        """Whether one word says that the task has ended, and another one inside it that it has not, or not so.

        A word of success with a clip is not contradicted.
        """
        words = [one for one in self._words_in(*self.subject.inside) if one[0] != self.word]
        inner = {phase for word, phase in words}
        if self.phase is Phase.FAILED:  # its parts may have succeeded
            wholes = {phase for word, phase in words if "[" not in word.place}
            return bool(inner & {Phase.WAITING, Phase.RUNNING}) or Phase.SUCCEEDED in wholes
        return self.phase is Phase.SUCCEEDED and self.clip is None and Phase.FAILED in inner

    @property
    def has_failed(self) -> bool:
        """Whether the task itself is said to have failed: by the object that has its id, and not by what it wraps.

        Somebody on the way who gave up waiting may repeat the id beside a word of failure, but knows nothing of a task.
        """
        if self.phase is not Phase.FAILED or not self.is_own or self.is_contradiction:
            return False
        if self.word not in [word for word, _ in self._words_in(*self._own_objects)]:
            return False
        if self.names(self.words.no_task | self.words.quota | RATE_CODES) or self._goes_on:
            return False
        if self._knows_the_task:
            return True
        is_vague = self.word.text.lower() in OF_REQUESTS
        return self.status not in ON_THE_WAY and (
            not is_vague or (self.is_yes and not (self.flat_error and self.flat_error.code))
        )

    @property
    def _own_objects(self) -> list[places.Node]:
        """The objects that are the task: the outermost, and what repeats its id inside, but none of several parts."""
        first, *others = self.subject.own
        names = {"id", *places.TASK_ID_NAMES}
        return [first, *(one for one in others if "[" not in one.place and any(True for _ in one.ids(names)))]

    @property
    def _goes_on(self) -> bool:
        """Whether something around a word of failure says that the task goes on, or that it is not at its end."""
        around = {phase for _, phase in self._words_in(*self.subject.own, *self.subject.node.parents)}
        progress = percent(self.subject.nearest(places.PROGRESS_NAMES)[1])
        is_part = self.word is not None and self.word.text.lower() == "incomplete" and progress not in {None, 100.0}
        return bool(around & {Phase.WAITING, Phase.RUNNING}) or is_part

    @property
    def _knows_the_task(self) -> bool:
        """Whether it says more of the task than its id and a word: that it is a video, or two things of it."""
        named = [
            name
            for node in self._own_objects
            for name, value in node.named(places.TASK_NAMES)
            if places.plain(name) != "object" and value is not None
        ]
        kinds = [str(node.fields.get("object", "")) for node in self._own_objects]
        return any(kind.startswith(("video", "task", "generation")) for kind in kinds) or (
            len(named) > 1 and "error" not in kinds
        )

    @property
    def is_at_its_end(self) -> bool:
        """Whether it says so with a yes in place of a word, or with a number and a clip to show for it."""
        if self.word is None:
            _, told = self.subject.nearest(places.END_NAMES)
            return isinstance(told, int) and told == 1
        _, told = self.subject.nearest(places.PROGRESS_NAMES)
        return self.word.text.isdigit() and percent(told) == 100 and self.clip is not None

    @cached_property
    def error(self) -> Envelope | None:
        """The error that is one, in an ``error`` field of the task or around it."""
        found = (envelope({"error": node.fields.get("error")}) for node in self.subject.around)
        return next((error for error in found if error is not None), None)

    @cached_property
    def flat_error(self) -> Envelope | None:
        """The same, or an error that takes the place of the task."""
        found = envelope(self.payload)
        says_none = found is not None and not found.nested and is_none({"code": found.code, "message": found.message})
        return self.error or (None if says_none else found)

    @property
    def has_succeeded(self) -> bool:
        """Whether a word of success counts: in an error of HTTP only where the task is named by its own id."""
        return self.phase is Phase.SUCCEEDED and (self.is_own or self.is_yes)

    @property
    def is_page(self) -> bool:
        """Whether it is HTML or XML."""
        return self.payload is None and self.answer.body.removeprefix(BOM).lstrip()[:1] == b"<"

    @property
    def is_unknown(self) -> bool:
        """Whether the service does not know the task; one of which it says that it goes on is known."""
        return not (self.is_own and self.has_word) and (self.status == 404 or self.names(self.words.no_task))

    def refuses_with(self, codes: frozenset[str]) -> bool:
        """Whether it is an error of HTTP with one of these codes."""
        return not self.is_yes and self.names(codes)

    def names(self, codes: frozenset[str]) -> bool:
        """Whether an error has one of these as its code or type."""
        return any(error is not None and error.names(codes) for error in (envelope(self.payload), self.error))

    @property
    def is_empty(self) -> bool:
        """Whether it is the wrapping of a task without one."""
        return isinstance(self.payload, dict) and not self.payload.get("data", 1) and self.word is None

    @property
    def complaint(self) -> str | None:
        """What the task says went wrong; ``fail_reason`` may hold the clip's URL, ``metadata.url`` failure text."""
        if self.error is not None:
            return self.error.message or self.error.code or None
        metadata = self.subject.node.fields.get("metadata")
        texts = [self.subject.nearest({name})[1] for name in places.REASON_NAMES]
        texts.append(metadata.get("url") if isinstance(metadata, dict) else None)
        said = (text for text in texts if isinstance(text, str) and not is_none(text) and not is_http_url(text))
        return next(said, None)

    def _word(self) -> tuple[Found | None, Phase]:
        """Return the word that says how the task stands, and what it comes to; an empty one waits."""
        subject = self.subject
        for found in self._words_in(*subject.own):
            # A proxy may still call "queued" what the answer that it passes on calls finished.
            if found[1] is Phase.SUCCEEDED and self.clip is not None:
                return found
        for word, phase in self._words_in(*subject.inside):
            if phase is Phase.SUCCEEDED and self.clip is None:  # said around another word, it is the request's
                inner = (one for one in self._words_in(*subject.inside) if one[1] in {Phase.WAITING, Phase.RUNNING})
                return next(inner, (word, phase))
            return word, phase
        for word, phase in self._words_in(*subject.around):  # what is said around the task may be the request's
            if phase is Phase.FAILED:
                return word, (Phase.UNHEARD if self.is_own else phase)
            if phase is not Phase.SUCCEEDED or self.clip is not None or word.text.lower() not in OF_REQUESTS:
                return word, phase
        return None, Phase.WAITING

    def _words_in(self, *nodes: places.Node) -> Iterator[tuple[Found, Phase]]:
        """Yield the words for how something stands; a number is one that nobody knows."""
        for node in nodes:
            fields = list(node.named(places.STATUS_NAMES))
            for name, value in tuple(fields):
                if isinstance(value, dict):  # such as {"status": {"state": "done"}}
                    inner = places.Node(node.at(name), value)
                    fields += [(f"{name}.{key}", one) for key, one in inner.named(places.STATUS_NAMES)]
            texts = [(name, clean(str(one), 60)) for name, one in fields if _is_word(one)]
            found = [(Found(node.at(name), text), self._phase(text)) for name, text in texts]
            yield from sorted(found, key=lambda one: one[1] is Phase.UNHEARD)  # a word that is known goes first

    def _phase(self, word: str) -> Phase:
        """Return what a word comes to, in any case and with blanks, hyphens or the name of its field in it."""
        if word in self.words.phases:
            return self.words.phases[word]
        text = _HUMP.sub("_", word).lower().replace(" ", "_").replace("-", "_")
        known = self.words.phases
        rest = _PREFIX.sub("", text)
        found = known.get(text) or known.get(rest) or Phase.UNHEARD
        if found is Phase.FAILED and text not in known and not _OF_THE_TASK.fullmatch(text.removesuffix(rest)):
            return Phase.UNHEARD  # such as "thumbnail.failed"
        return found


def _is_word(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(str(value)[:60].strip())


OF_REQUESTS = {"success", "successful", "error", "fail", "timeout", "timed_out", "aborted", "rejected"}
"""Words that are said of requests, too."""


def _report(it: Look) -> TaskReport:
    """Return how the task stands by the word for it."""
    return _as(it, it.phase)


def _finished(it: Look) -> TaskReport:
    """Return that the task has succeeded."""
    return _as(it, Phase.SUCCEEDED)


def _as(it: Look, phase: Phase) -> TaskReport:
    """Return the report, with the clip's place only where the task has succeeded."""
    _, model = it.subject.nearest({"model"})
    name = it.subject.name
    complaint = it.complaint if phase is Phase.FAILED or it.error else None
    return TaskReport(
        phase=phase,
        status=it.word.text if it.word else "no status",
        progress_percent=percent(it.subject.nearest(places.PROGRESS_NAMES)[1]),
        url=it.clip.text if phase is Phase.SUCCEEDED and it.clip else None,
        url_expires_at=_epoch_s(it.subject.nearest(places.EXPIRY_NAMES)[1]),
        resolved_model=clean(model, 200) if isinstance(model, str) and model else None,
        error=clean(complaint, 300) if complaint else None,
        other_id=name.text if name and not it.is_own else None,
    )


@frozen
class Rule:
    """One rule: what an answer looks like, and what it means. It stands for all answers that no rule above it fits."""

    looks: str
    fits: Callable[[Look], bool]
    means: FaultKind | Callable[[Look], TaskReport]
    """A fault is a look that brought nothing."""
    says: str
    """What a person is told of a fault before the service's own words."""
    seen: str
    """Such an answer as it was seen: its HTTP status, and its body with ``$ID`` for the task and ``$U`` for a URL."""


KIND = FaultKind
UNKNOWN = "the service does not know the task"
RULES: tuple[Rule, ...] = (
    # vLLM-Omni answers a poll of a failed task with the task's own error as the HTTP status.
    Rule("the task's own id and a word of failure, whatever the HTTP status",
         lambda it: it.has_failed, _report, "",
         '500 {"id": "$ID", "object": "video", "status": "failed", "error": {"code": 500, "message": "no memory"}}'),
    # Some send an error always, full of nulls or of success. In an HTTP error the word needs the task's own id.
    Rule("a word of success", lambda it: it.has_succeeded and not it.is_contradiction, _report, "",
         '200 {"task_id": "$ID", "status": "succeeded", "error": {"code": 0, "message": ""}, "result_url": "$U"}'),
    # A number means nothing by itself; at the end, and with a clip to show for it, it need not.
    Rule("a number or a yes in place of a word, at its end, with a clip and without an error",
         lambda it: it.is_yes and it.is_at_its_end and not it.has_word and it.flat_error is None, _finished, "",
         '200 {"id": "$ID", "status": 2, "progress": 100, "video_url": "$U"}'),
    # The key must not be sent to another address than the one in the manifest.
    Rule("300 to 399", lambda it: 300 <= it.status < 400, KIND.MISCONFIGURED,
         "the service redirects: check base_url", "302 "),
    # One such answer may be a gateway's bad moment: who asks looks again, and stops at the second one in a row.
    Rule("401", lambda it: it.status == 401, KIND.ACCOUNT, "the key was refused",
         '401 {"error": {"message": "invalid token"}}'),
    # It may be about this one task; of several tasks it is about the account.
    Rule("402, 403, or a quota code", lambda it: it.status in {402, 403} or it.refuses_with(it.words.quota),
         KIND.NOT_ALLOWED, "the key may not look at the task", '403 {"detail": "Not allowed for this key"}'),
    # A new id takes seconds to be known everywhere.
    Rule("404, or a code of an unknown task", lambda it: it.is_unknown, KIND.UNKNOWN_TASK, UNKNOWN, "404 <html>"),
    Rule("429, or a rate code", lambda it: it.status == 429 or it.refuses_with(RATE_CODES), KIND.THROTTLED,
         "too fast", '400 {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}'),
    Rule("400 to 499", lambda it: 400 <= it.status < 500, KIND.REJECTED, "refused",
         '400 {"error": {"message": "no such parameter"}}'),
    Rule("every other HTTP error", lambda it: not it.is_yes, KIND.UNAVAILABLE, "unavailable",
         '503 {"message": "no healthy upstream"}'),
    Rule("a web page", lambda it: it.is_page, KIND.MISCONFIGURED,
         "the service answers with a web page: check base_url", "200 <!DOCTYPE html>"),
    Rule("no JSON object", lambda it: not it.subject.node.fields, KIND.BROKEN, "the answer could not be read", "200 "),
    # Somebody on the way says it of the request.
    Rule("words that contradict each other", lambda it: it.is_contradiction, KIND.BROKEN,
         "it says both that the task has ended and that it has not, or not so",
         '200 {"id": "$ID", "status": "success", "data": {"status": "failed"}}'),
    Rule("a word of failure that is not said of this task", lambda it: it.phase is Phase.FAILED, KIND.BROKEN,
         "a failure that is not said of this task", '200 {"status": "fail", "code": 429}'),
    Rule("an error without a word", lambda it: it.word is None and it.flat_error is not None, KIND.BROKEN,
         "an error in place of the task", '200 {"error": {"message": "upstream request timeout, please retry"}}'),
    Rule("an error beside a word that nobody knows", lambda it: not it.has_word and it.error is not None, KIND.BROKEN,
         "an error beside a status that batchvid does not know",
         '200 {"id": "$ID", "status": "perished", "error": {"message": "boom"}, "finished_at": 1}'),
    Rule("no task in its wrapping", lambda it: it.is_empty, KIND.UNKNOWN_TASK, UNKNOWN,
         '200 {"code": "success", "message": "", "data": null}'),
    Rule("any other word, or none", lambda _: True, _report, "", '200 {"id": "$ID", "status": "queued"}'),
)  # fmt: skip
"""What the answer to a poll means."""


def read_poll(result: Response | NoResponse, words: Vocabulary, *, task_id: str, now: float) -> TaskReport | Fault:
    """Return how a task stands. No fault of a poll costs money: all of them mean "ask again later"."""
    if isinstance(result, NoResponse):
        return Fault(FaultKind.UNAVAILABLE, str(result))
    it = Look(result, words, task_id)
    rule = next(rule for rule in RULES if rule.fits(it))
    if not isinstance(rule.means, FaultKind):
        return rule.means(it)
    wait_s = retry_after_s(result.headers, now=now)
    return Fault(rule.means, _reason(it, rule), retry_after_s=wait_s, request_id=request_id(_told(it)))


def _reason(it: Look, rule: Rule) -> str:
    """Return what a person is told of a look that brought nothing: the rule, and the service's own words."""
    what = rule.says if it.is_yes or not rule.says else f"{rule.says} (HTTP {it.status})"
    if it.word is not None and not it.has_succeeded:
        name = it.subject.name
        whose = "" if it.is_own else f" of task {clean(name.text, 80)}" if name else " of no task"
        what = f"{what}: {it.word.text!r} is said{whose}"
    told = clean(_told(it), 300)
    return ": ".join(part for part in (what, told) if part) or f"HTTP {it.status} without a reason"


def _told(it: Look) -> str:
    """Return the service's own words for what went wrong."""
    if it.phase is Phase.FAILED:
        return it.complaint or "no reason given"
    error = it.flat_error or envelope(it.payload)
    return (error.message or error.code) if error else it.answer.excerpt()


def explained(answer: Response, words: Vocabulary, *, task_id: str) -> list[str]:
    """Return what was read out of a poll's answer, and where it stood, one line each."""
    it = Look(answer, words, task_id)
    name, rule = it.subject.name, next(rule for rule in RULES if rule.fits(it))
    whose = f"id at {name.place}" if name else "no id, so it is about the task that was asked for"
    lines = [
        f"task: {whose}" + (", which is another one than was asked for" if name and not it.is_own else ""),
        f"status: {it.word.text!r} at {it.word.place}" if it.word else "status: none",
        f"rule: {rule.looks}",
    ]
    if it.clip is not None:
        what = "in the answer itself" if it.clip.text.startswith(INLINE_CLIP) else "its place"
        lines.append(f"clip: {what} at {it.clip.place}")
    elif it.phase is Phase.SUCCEEDED:
        lines.append("clip: no place is named, so it is fetched from /content")
    return lines


def read_refused_download(answer: Response, words: Vocabulary, *, now: float) -> Fault:
    """Return what an answer in place of a clip means: an error, or a text with the status of a clip."""
    payload = answer.json()
    error = envelope(payload)
    told = clean(error.message if error else answer.excerpt(), 300) or "no reason given"
    is_early = error is not None and (answer.status == 400 or _TOO_EARLY.search(error.message) is not None)
    if answer.status in {200, 206}:
        parts = DataURLs()
        look = Look(replace(answer, body=parts.feed(answer.body)[0] + parts.feed(b"")[0]), words, "")
        if is_early or (look.word is not None and look.phase in {Phase.WAITING, Phase.RUNNING}):
            return Fault(FaultKind.NOT_READY, told)
        place = look.clip.text if look.clip else _first_inline(answer)
        if place is not None and look.phase is not Phase.FAILED:
            return Fault(FaultKind.BROKEN, f"not a clip but the place of one: {answer.excerpt()}", url=place)
        return Fault(FaultKind.BROKEN, f"not a clip but {'a web page' if look.is_page else 'JSON'}: {answer.excerpt()}")
    reason = f"HTTP {answer.status}: {told}"
    if is_early:
        return Fault(FaultKind.NOT_READY, reason)
    if answer.status == 401:
        return Fault(FaultKind.ACCOUNT, reason)
    upstream_gone = answer.status == 502 and error is not None and "upstream" in error.message.lower()
    if answer.status in GONE_STATUS or upstream_gone:
        return Fault(FaultKind.EXPIRED, reason)
    kind = FaultKind.THROTTLED if answer.status == 429 else FaultKind.UNAVAILABLE
    return Fault(kind, reason, retry_after_s=retry_after_s(answer.headers, now=now))


def _first_inline(answer: Response) -> str | None:
    """Return the place of a clip in an answer that is cut off, as the beginning of a large one is."""
    names = names_before_first(answer.body) if answer.json() is None else None
    return None if names is None or any(map(places.is_aside, names)) else f"{INLINE_CLIP}1"


def percent(value: Any) -> float | None:
    """Read ``50``, ``"50"`` and ``"50%"``; anything else, or out of range, is no progress."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value.strip().removesuffix("%") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found <= 100 else None


def _epoch_s(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < EPOCH_MAX:
        return None
    return value / 1000 if value > MILLISECONDS_FROM else float(value)
