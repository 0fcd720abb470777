"""Whether a paid request was paid: one table, read from top to bottom; the first row that fits decides.

*Refused* needs positive proof, from this closed list. Whatever the list does not name is *in doubt*: it may be paid,
and is never sent again by itself. An error page is no proof, whoever wrote it and however well-formed it is: the
gateways on the way write JSON too, and often after the service has taken the request.

- A task id that was read is used, whatever the status beside it.
- The statuses from 400 to 429 on the list are given before any work is done, so their body does not matter.
- A 5xx is a refusal only with a code that the service gives before it creates anything, in its own envelope. It is
  taken at its word (`Proof.WORD`): the job may be sent again, but the budget goes on counting what was sent.
- 301, 307 and 308 say that the request was not processed (RFC 9110 §15.4); 302 and 303 may come after the work.
- A request that never left is no purchase. One that may have left without an answer is in doubt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from batchvid.domain.frozen import frozen
from batchvid.domain.task import Created, Fault, FaultKind, Phase, Proof, usable_id
from batchvid.domain.text import clean
from batchvid.providers.response import (
    NO_ERROR_CODES,
    RATE_CODES,
    RAW_KEPT_BYTES,
    Envelope,
    LostAt,
    NoResponse,
    Response,
    envelope,
    is_none,
    request_id,
    retry_after_s,
)
from batchvid.providers.task_object import ID_NAMES, Found, Node, nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batchvid.domain.job import Frame
    from batchvid.providers.base import Vocabulary


REFUSED_BEFORE_WORK = {400, 401, 402, 403, 404, 405, 409, 413, 415, 422, 429}
NOT_PROCESSED = {301, 307, 308}
SEE_OTHER = {302, 303}
NEVER_AGAIN = {410, 451}
"""Gone, and forbidden by law: no proof, but the same request is of no use again."""
GATEWAY_GAVE_UP = {504, *range(520, 531)}
"""Somebody on the way gave up waiting: no code in such a body tells what became of the request."""
NO_ROUTE = ({"detail": "Not Found"}, {"detail": "Method Not Allowed"})
"""What FastAPI says of an address that its program does not have."""
_MONEY, _GONE = r"\b(?:quota|balance|credits?|funds)\b", r"not enough|insufficient|exceeded|exhausted|used up|too low"
_QUOTA = re.compile(
    rf"(?i){_MONEY}.{{0,30}}(?:{_GONE})|(?:{_GONE}|out of|no|low).{{0,20}}{_MONEY}"
    r"|(?:余额|额度|配额).{0,10}(?:不足|用尽|用完|耗尽)|(?:不足|用尽).{0,6}(?:余额|额度|配额)"
)
"""How a service says without a code that nobody can pay any more; a prompt that it repeats may hold one such word."""
_NAMED = re.compile(r'"(?:task_id|taskId|video_id)\\*"\s*:\s*\\*"([^"\\\s]{4,200})\\*"')
"""A task's id anywhere in a body: deep inside, in a text that holds JSON, or in one that is cut off."""
_LIKE_A_TASK = re.compile(r"(?i)(?:task|video|vid|job|gen)[-_:].+|[\w=-]{16,}")


@frozen
class Evidence:
    """What came back of a paid request: all that a row of the table may ask of it."""

    answer: Response
    words: Vocabulary
    """Of the service that was asked."""
    payload: Any
    error: Envelope | None
    task: Created | None
    """The task that the answer names for certain."""
    seen: str | None
    """An id that may be a task's, or a request's: shown to a person, never used."""
    known: bool
    """Whether the service has taken a request before, so that its address is right."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.answer.status

    @property
    def is_yes(self) -> bool:
        """Whether it is a 2xx."""
        return 200 <= self.status < 300

    def names(self, codes: frozenset[str]) -> bool:
        """Whether an error beside a status of the list has one of these as its code or type."""
        return self.error is not None and self.status in REFUSED_BEFORE_WORK and self.error.names(codes)

    @property
    def own_code(self) -> str:
        """The code of a 5xx in the service's own envelope, flat or nested beside a ``type``, if it proves something."""
        if self.status < 500 or self.status in GATEWAY_GAVE_UP or not isinstance(self.payload, dict):
            return ""
        error = self.payload.get("error") or self.payload
        is_own = error is self.payload or (isinstance(error, dict) and bool(error.get("type")))
        code = error.get("code") if is_own else None
        found = code.lower() if isinstance(code, str) else ""
        return found if found in self.words.before_work else ""

    @property
    def is_bad_key(self) -> bool:
        """Whether it is the key that was refused, and no request with it can be taken."""
        return self.status == 401 or self.names(self.words.bad_key)

    @property
    def says_quota(self) -> bool:
        """Whether a 403 is about money in words: it names no code, or one that is nobody's."""
        return self.status == 403 and self.error is not None and _QUOTA.search(self.error.message[:4096]) is not None

    @property
    def is_nobody(self) -> bool:
        """Whether a 404 or 405 comes from no service: it holds no error of one, and none was ever reached here."""
        is_bare = self.error is None or self.payload in NO_ROUTE
        return self.status in {404, 405} and is_bare and not self.known


@frozen
class Row:
    """One row of the table: what an answer looks like, what it means for the job, and what it proves."""

    looks: str
    fits: Callable[[Evidence], bool]
    kind: FaultKind | None
    """``None``: the request was taken, and its task is known."""
    proof: Proof = Proof.NONE


CREATED = None
UNSURE, REJECTED, ACCOUNT = FaultKind.UNSURE, FaultKind.REJECTED, FaultKind.ACCOUNT
NOT_ALLOWED = FaultKind.NOT_ALLOWED
NO_CHANNEL, THROTTLED, MISCONFIGURED = FaultKind.NO_CHANNEL, FaultKind.THROTTLED, FaultKind.MISCONFIGURED
NONE, CLEAR, WORD = Proof.NONE, Proof.CLEAR, Proof.WORD

TABLE: tuple[Row, ...] = (
    Row("a yes that began before the whole request had left",
        lambda it: not it.answer.asked and (it.is_yes or it.task is not None), UNSURE),
    Row("a task id, whatever the status", lambda it: it.task is not None, CREATED),
    Row("an id that may be a task's", lambda it: it.seen is not None, UNSURE),
    Row("301 307 308", lambda it: it.status in NOT_PROCESSED, MISCONFIGURED, WORD),
    Row("401, a code of a wrong key", lambda it: it.is_bad_key, ACCOUNT, CLEAR),
    Row("402, a quota code, a 403 with words of quota",
        lambda it: it.status == 402 or it.names(it.words.quota) or it.says_quota, ACCOUNT, CLEAR),
    Row("429, a rate code", lambda it: it.status == 429 or it.names(RATE_CODES), THROTTLED, CLEAR),
    Row("4xx of the list with a channel's code", lambda it: it.names(it.words.no_channel), NO_CHANNEL, CLEAR),
    Row("404 405 of no service", lambda it: it.is_nobody, MISCONFIGURED, CLEAR),
    Row("403", lambda it: it.status == 403, NOT_ALLOWED, CLEAR),
    Row("400 404 405 409 413 415 422", lambda it: it.status in REFUSED_BEFORE_WORK, REJECTED, CLEAR),
    Row("5xx, own envelope, a channel's code", lambda it: it.own_code in it.words.no_channel, NO_CHANNEL, WORD),
    Row("5xx, own envelope, invalid_request", lambda it: it.own_code == "invalid_request", REJECTED, WORD),
    Row("5xx, own envelope, a quota code", lambda it: it.own_code in it.words.quota, ACCOUNT, WORD),
    Row("410 451", lambda it: it.status in NEVER_AGAIN, REJECTED),
    Row("everything else", lambda _: True, UNSURE),
)  # fmt: skip
"""What an answer to a paid request means. Each row stands for all answers that no row above it fits."""

NO_ANSWER: tuple[tuple[Callable[[LostAt], bool], FaultKind, Proof], ...] = (
    (lambda lost: lost is LostAt.TLS, MISCONFIGURED, Proof.NOT_SENT),
    (lambda lost: lost.before_sending, FaultKind.UNAVAILABLE, Proof.NOT_SENT),
    (lambda _: True, UNSURE, NONE),
)
"""The same for a request that brought no answer: only what certainly never left is sent again."""


def read_create(
    result: Response | NoResponse,
    words: Vocabulary,
    *,
    now: float,
    frames: Sequence[Frame] = (),
    known: bool = False,
) -> Created | Fault:
    """Return what became of a paid request, which sent *frames*: its task, or the fault that the table names.

    *known*: the service has taken a request before. *now* is UTC epoch seconds, for a ``Retry-After`` that is a date.
    """
    if isinstance(result, NoResponse):
        kind, proof = next((kind, proof) for fits, kind, proof in NO_ANSWER if fits(result.lost))
        return Fault(kind, str(result), proof=proof)
    payload = result.json()
    found, seen = _tasks(result, payload, words)
    task = _created(found, payload)
    it = Evidence(result, words, payload, envelope(payload), task, seen, known)
    row = next(row for row in TABLE if row.fits(it))
    if row.kind is None and task is not None:
        return task
    kind = row.kind or UNSURE
    if kind is UNSURE:
        return Fault(UNSURE, _doubt(it), raw=result.body[:RAW_KEPT_BYTES])
    told = it.error.message if it.error else result.excerpt()
    wait_s = retry_after_s(result.headers, now=now) if kind in {THROTTLED, NO_CHANNEL} else None
    return Fault(kind, _reason(it, row, frames), retry_after_s=wait_s, request_id=request_id(told), proof=row.proof)


def _doubt(it: Evidence) -> str:
    """Return why nobody knows what became of the request, with the id that a person may look for."""
    if not it.answer.asked:
        what = f"HTTP {it.status} came before the whole request had left, so it answers another one"
    elif it.is_yes:
        what = f"HTTP {it.status} {'without a usable task id' if it.answer.complete else 'cut off'}"
    else:
        what = f"HTTP {it.status}, which does not prove that nothing was created"
    seen = it.seen or (it.task.task_id if it.task else None)
    id_seen = f"; {SEEN} {clean(seen, 200)}" if seen else ""
    place = clean(it.answer.headers.get("location", ""), 200)
    where = f" (Location: {place})" if place and not seen else ""
    return f"{what}: {it.answer.excerpt() or 'an empty answer'}{where}{id_seen}"


SEEN = "task id seen:"
"""Stands before an id that may be the task's, in the reason of a doubt."""


def _reason(it: Evidence, row: Row, frames: Sequence[Frame]) -> str:
    """Return what a person is told of a refusal."""
    error = it.error
    said = (clean(error.message, 300) or error.code) if error else it.answer.excerpt()
    reason = said or f"HTTP {it.status} without a reason"
    match row.kind:
        case FaultKind.MISCONFIGURED if it.status in NOT_PROCESSED:
            target = clean(it.answer.headers.get("location", "nowhere"), 200)
            return f"the service redirects to {target}: check base_url"
        case FaultKind.MISCONFIGURED:
            return f"HTTP {it.status}, no such route: check base_url"
        case FaultKind.ACCOUNT if it.is_bad_key:
            return f"the key was refused: {reason}"
        case FaultKind.ACCOUNT:
            return f"the account has no quota left: {reason}"
        case FaultKind.REJECTED if it.status == 413:
            return _too_large(said, frames)
        case FaultKind.REJECTED if row.proof is Proof.NONE:
            return f"{reason} (HTTP {it.status}; it may be paid all the same, so its price is counted as spent)"
        case FaultKind.REJECTED if error is None:
            return f"HTTP {it.status}: {said or 'no reason given'}"
        case _:
            return reason


def _too_large(said: str, frames: Sequence[Frame]) -> str:
    """Return the reason of a request that is not even read: nothing else in it is large but its frames."""
    sent = ", ".join(f"{frame.path.rpartition('/')[2]} ({frame.size_bytes / 1e6:.1f} MB)" for frame in frames)
    advice = f"; make its frames smaller: {clean(sent, 200)}" if frames else ""
    return f"the request is too large for the service (HTTP 413: {clean(said, 200) or 'no reason given'}){advice}"


def explained(answer: Response, words: Vocabulary) -> list[str]:
    """Return what was read out of an answer to a paid request, and where it stood, one line each."""
    payload = answer.json()
    found, seen = _tasks(answer, payload, words)
    it = Evidence(answer, words, payload, envelope(payload), _created(found, payload), seen, known=True)
    row = next(row for row in TABLE if row.fits(it))
    return ([f"task: id at {found.place}"] if found else []) + [f"rule: {row.looks}"]


def _created(found: Found | None, payload: Any) -> Created | None:
    """Return the task of this id, with the model that the answer names."""
    models = (one.fields.get("model") for one in _objects(payload))
    model = next((clean(text, 200) for text in models if isinstance(text, str) and text), None)
    return Created(found.text, model) if found else None


def _tasks(answer: Response, payload: Any, words: Vocabulary) -> tuple[Found | None, str | None]:
    """Return the task that the answer names for certain, and else an id that may be a task's."""
    is_yes = 200 <= answer.status < 300
    found = next(_certain(payload, words, is_yes=is_yes), None)
    location = answer.headers.get("location", "") if is_yes or answer.status in SEE_OTHER else ""
    found = found or _task_in(location)
    return found, None if found else next(_possible(answer, _objects(payload), location, is_yes=is_yes), None)


def _objects(payload: Any) -> list[Node]:
    """Return the objects that may be the task; one of several in a list is not known to be."""
    return nodes(payload, longest=1) if isinstance(payload, dict) else []


def _certain(payload: Any, words: Vocabulary, *, is_yes: bool) -> Iterator[Found]:
    """Yield the ids that are a task's, best first. An error's ``id`` is one only where the object is a task.

    A ``task_id`` counts wherever it stands: the ``id`` above it may be a request's.
    """
    objects = _objects(payload)
    error = payload.get("error") if isinstance(payload, dict) else None
    everywhere = (*objects, *([Node("error", error)] if isinstance(error, dict) else []))
    found = [one for node in everywhere for one in node.ids({"taskid"})]
    for node in objects:
        is_wrong = _is_error(node.fields) or any(_is_error(one.fields, wraps=True) for one in node.parents)
        if _is_task(node.fields, words) or (is_yes and not is_wrong):
            found += node.ids({"id"})
        found += node.ids({"videoid"})
    if is_yes and objects and not _is_error(objects[0].fields, wraps=True, coded=True):
        text = payload.get("data")
        if isinstance(text, str) and _ID_TEXT.fullmatch(text):
            found.append(Found("data", text))
        if is_none({"message": payload.get("message")}):
            found += objects[0].ids({"requestid"})
    yield from (one for one in found if is_yes or not re.search(r"\s", one.text))  # "task_id": "is required"


_ID_TEXT = re.compile(r"(?=.*\d)(?!\d{4}-\d\d-\d\d)[^\s:/?#]+(?::[^\s:/?#]+)*")
"""A task's id that stands where an object should: no sentence, no URL and no time."""


def _is_error(one: dict[str, Any], *, wraps: bool = False, coded: bool = False) -> bool:
    """Whether an object is an error, whose ``id`` names the error or its request, and no task.

    *wraps*: whether one is that wraps the id, where a code of an HTTP error counts; *coded*: where any code does.
    """
    status = one.get("status")
    if one.get("object") or (isinstance(status, str) and status.lower() not in {"error", "fail"}):
        return one.get("object") == "error"
    found = envelope({name: value for name, value in one.items() if name not in {"message", "msg", "detail"}} | CODED)
    code = found.code if found is not None else ""
    is_http = code.isdigit() and 400 <= int(code[:9]) < 600
    is_coded = (wraps and is_http) or (coded and code not in NO_ERROR_CODES)
    is_told = found is not None and (found.nested or one.get("success") is False or is_coded)
    return is_told or bool(one.get("errors")) or isinstance(status, str)


CODED = {"message": ""}
"""With it, a code that stands alone is read as that of an error."""


def _possible(answer: Response, objects: Sequence[Node], location: str, *, is_yes: bool) -> Iterator[str]:
    """Yield what may be a task's id where none is certain; nothing was made with a key or account that is refused."""
    if answer.status in NOTHING_MADE and objects and _is_error(objects[0].fields):
        objects = ()
    for node in objects:
        yield from (found.text for found in node.ids(ID_NAMES - {"name"} if is_yes else {"id"}))
    if found := _NAMED.search(answer.body.decode("utf-8", "replace")):
        yield found[1]
    *_, last = _segments(location)
    if _LIKE_A_TASK.fullmatch(last) and usable_id(last):
        yield last


NOTHING_MADE = {401, 402, 429}


def _is_task(one: dict[str, Any], words: Vocabulary) -> bool:
    """Whether an object is a video task, and not an error with an id."""
    kind, status = one.get("object"), one.get("status")
    phase = words.phases.get(status.strip().lower(), Phase.FAILED) if isinstance(status, str) else Phase.FAILED
    return (isinstance(kind, str) and kind.startswith("video")) or (bool(status) and phase is not Phase.FAILED)


def _task_in(location: str) -> Found | None:
    """Return the id in a ``Location`` that is the path of a task: ``…/videos/ID``."""
    *_, collection, found = ["", *_segments(location)]
    is_one = collection == "videos" and "." not in found and re.search(r"\d", found) and usable_id(found)
    return Found("the Location header", found) if is_one else None


def _segments(location: str) -> list[str]:
    """Return the segments of a URL's path, decoded; at least one."""
    try:
        return [unquote(part) for part in urlsplit(location).path.rstrip("/").split("/")]
    except ValueError:
        return [""]
