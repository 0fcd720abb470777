"""Where things stand in an answer about a task: its id, the word for how it stands, what went wrong, and the clip.

Services and the gateways before them agree on none of it, so each is found by rule instead of by a list of shapes:

- An object is looked for behind the names in `WRAPPERS`, in lists, and in texts that hold JSON.
- A clip is the nearest http(s) URL, path of the service or ``data:video/`` URL under a name that says so
  (`CLIP_WORDS`), and never one that stands aside (`ASIDE`): a picture, what was asked for, an error.

Every finding knows its place, such as ``data.task_id``: that is what a person is shown of an unknown gateway.
"""

from __future__ import annotations

import base64
import re
from collections import deque
from enum import IntEnum
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from batchvid.domain.frozen import frozen
from batchvid.domain.task import INLINE_CLIP, id_text
from batchvid.providers.response import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


WRAPPERS = _words(
    "data output outputs task tasks result results response resp detail job jobs generation generations prediction "
    "operation operations video videos body payload item items"
)
"""The fields in which a task may be wrapped, besides the top."""
DEPTH_MAX = 6
NODES_MAX = 5000
"""More of an answer is not looked at: no task object has a hundred fields."""

# Names of fields without their underlines, in lower case: see `plain`.
TASK_ID_NAMES = ("taskid", "videoid")
"""They name a task and nothing else; ``id`` may be a request's."""
ID_NAMES = _words("id taskid videoid requestid jobid generationid predictionid operationid name uuid")
"""They may hold a task's id."""
STATUS_NAMES = _words("status state taskstatus taskstate jobstatus jobstate videostatus generationstatus")
PROGRESS_NAMES = _words("progress percent percentage progresspercent")
END_NAMES = _words("done finished isfinished completed iscompleted successflag")
"""They are true, or 1, when a task is at its end."""
TASK_NAMES = _words("object progress createdat model seconds size completedat submittime finishtime queuedat startedat")
"""A task has some of them; what somebody on the way says of a request has none."""
EXPIRY_NAMES = _words("expiresat expireat urlexpiresat")
REASON_NAMES = (
    "failreason", "failurereason", "failedreason", "failmsg", "failuremsg", "errormessage", "errormsg",
    "failuremessage", "failure", "taskstatusmsg", "statusmessage", "statusmsg", "reason", "detail", "message", "msg",
)  # fmt: skip
"""They say why a task failed, where no ``error`` does, best first."""

# Words that the name of a field is made of, in the singular: see `pieces`.
CLIP_WORDS = _words("url uri link href download video output result content file src mp4 media asset clip")
LIKELY = _words("video output result download mp4 clip")
"""More of them than of others are of the clip itself, and not of a page that shows it."""
ASIDE = frozenset(map(_singular, _words(
    "prompt input request param parameter option config image img thumbnail thumb cover poster callback webhook error "
    "status cancel get self prev previous log frame reference ref source original origin parent remix remixed driving "
    "init base target control mask style subject character template example history extend extended argument args "
    "property ancestor avatar icon logo help doc user stream streaming hls dash playlist web page hosted dashboard "
    "console edit share model depth lora zip trace license profile usage poll polling snapshot preview progress proxy "
    "properties related sibling gallery similar delete retry upload regenerate upgrade feedback "
    "draft subtitle caption transcript min"
)))  # fmt: skip
"""What a clip was made of, a picture of it, or another thing: nothing below such a name is the clip."""
ASIDE_BUT_VIDEO = _words("audio music first last next")
"""The same, unless the name says that it is a video."""
LESS_LIKELY = _words("watermark watermarked water low lowre small sd gif 240p 360p 480p")
"""A version that counts only where nothing else does."""
BEST = _words("hd raw 1080p 4k 2160p")
"""The best version."""
ON_ITS_DISK = _words("path name")
"""A server says so where a file lies on its own disk (SGLang's ``file_path``): only a URL counts below such a name."""
NO_CLIP = tuple(
    _words(
        ".jpg .jpeg .png .webp .gif .svg .json .html .htm .txt .srt .vtt .ass .mp3 .wav .m3u8 .mpd .zip .css .js .pdf"
    )
)
VIDEO = (".mp4", ".mov", ".m4v", ".webm")
URL_MAX = 8192
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+[a-z]*|[^\W\d_]+")
_URL_IN_TEXT = re.compile(r"https?://[^\s\"'`<>()\[\]{}]+")


class Node:
    """One object of an answer, at a *place* such as ``data.videos[0]``; what wraps it are its *parents*, nearest first.

    `named_fields` are its fields with their names as they are compared, and as they are.
    """

    __slots__ = ("fields", "named_fields", "parents", "place")

    def __init__(self, place: str, fields: dict[str, Any], parents: tuple[Node, ...] = ()) -> None:
        self.place = place
        self.fields = fields
        self.parents = parents
        self.named_fields = [(plain(name), name, value) for name, value in fields.items()]

    def at(self, name: str) -> str:
        """Return the place of a field."""
        return f"{self.place}.{name}" if self.place else name

    def named(self, names: Collection[str]) -> Iterator[tuple[str, Any]]:
        """Yield the fields that bear one of these names, however it is written."""
        return ((name, value) for known, name, value in self.named_fields if known in names)

    def ids(self, names: Collection[str]) -> Iterator[Found]:
        """Yield the usable ids under these names."""
        for name, value in self.named(names):
            if (found := id_text(value)) is not None:
                yield Found(self.at(name), found)


class Found(NamedTuple):
    """What was found, and where."""

    place: str
    text: str


NAME_MAX, NAMES_KEPT = 64, 512
"""A longer name is none of ours. The names of one service are few, so what is found out about them is kept."""


def plain(name: str) -> str:
    """Return a field's name as it is compared: ``taskId``, ``task_id`` and ``TASK-ID`` are one."""
    return _plain(name) if len(name) <= NAME_MAX else name


@lru_cache(NAMES_KEPT)
def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def pieces(name: str) -> frozenset[str]:
    """Return the words of a field's name, in lower case and singular."""
    return _pieces(name[:NAME_MAX])


@lru_cache(NAMES_KEPT)
def _pieces(name: str) -> frozenset[str]:
    return frozenset(_singular(word.lower()) for word in _PIECE.findall(name))


def is_aside(name: str) -> bool:
    """Whether a field of this name holds something else than the clip."""
    words = pieces(name)
    if "video" in words and words & {"to", "2video"}:  # "image_to_video" is how it was made
        return False
    return bool(words & ASIDE) or (bool(words & ASIDE_BUT_VIDEO) and ("video" not in words or "without" in words))


def nodes(payload: Any, *, place: str = "", longest: int = NODES_MAX, everywhere: bool = False) -> list[Node]:
    """Return the objects that may be the task, the outermost first; a list longer than *longest* is left out.

    *everywhere*: also behind other names than `WRAPPERS`, unless they stand aside.
    """
    found: list[Node] = []
    waiting: deque[tuple[str, Any, tuple[Node, ...]]] = deque([(place, payload, ())])
    while waiting and len(found) < NODES_MAX:
        where, value, parents = waiting.popleft()
        value = _decoded(value)
        if isinstance(value, dict):
            node = Node(where, value, parents)
            found.append(node)
            if len(parents) < DEPTH_MAX:
                wraps = node.fields.items() if everywhere else node.named(WRAPPERS)
                inner = ((name, one) for name, one in wraps if not (everywhere and is_aside(name)))
                waiting.extend((node.at(name), one, (node, *parents)) for name, one in inner)
        elif isinstance(value, list) and len(value) <= longest:
            waiting.extend((f"{where}[{n}]", one, parents) for n, one in enumerate(value) if not isinstance(one, list))
    return found


def _decoded(value: Any) -> Any:
    """Return what a text holds that is JSON itself, and everything else as it is."""
    is_json = isinstance(value, str) and value[:1] in {"{", "["}
    return loads(value) or value if is_json else value


@frozen
class Subject:
    """Whom an answer is about: the object that is the task, and what stands around it."""

    node: Node
    name: Found | None
    """Where it names the task that was asked for, or else another one."""
    own: tuple[Node, ...]
    """All the objects that name the task that was asked for; the outermost is `node`."""
    inside: tuple[Node, ...]
    """The object itself, and what it wraps."""
    around: tuple[Node, ...]
    """The same, then what wraps it, then the rest: where things are looked for, in this order."""
    others: tuple[Node, ...]
    """Objects that name another task."""

    def nearest(self, names: Collection[str]) -> tuple[str, Any]:
        """Return place and value of the nearest field of these names that holds something."""
        fields = ((node.at(name), value) for node in self.around for name, value in node.named(names))
        return next(((place, value) for place, value in fields if value not in (None, "")), ("", None))


def subject(payload: Any, task_id: str) -> Subject:
    """Return whom *payload* is about: the outermost object with this id, else the first one that looks like a task."""
    every = nodes(payload)
    own = _named(every, task_id.__eq__) or _named(every, partial(is_same, task_id))
    if not own:  # such as {"generations_by_pk": {"id": ..., "status": ...}}
        elsewhere = _named(nodes(payload, everywhere=True), task_id.__eq__)
        own = tuple(node for node in elsewhere if any(True for _ in node.named(STATUS_NAMES)))
    name: Found | None
    if own:
        node = own[0]
        name = next(found for found in node.ids(ID_NAMES) if is_same(found.text, task_id))
    else:  # one of several in a list is not about the task that was asked for
        every = nodes(payload, longest=1)
        told = (node for node in every if any(True for _ in node.named(STATUS_NAMES)))
        node = next(told, every[0] if every else Node("", {}))
        names = (found for one in (node, *every) for found in one.ids(TASK_ID_NAMES))
        name = next(names, None) or next(node.ids({"id"}), None)
    if len(every) == 1:
        return Subject(node, name, own, (node,), (node,), ())
    others = _others(every, own)
    strangers = {one.place for one in others}
    inside = _without(strangers, nodes(node.fields, place=node.place, longest=1))
    around = _without(strangers, [*inside, *node.parents, *nodes(payload, longest=1)])
    return Subject(node, name, own, inside, around, others)


def _named(every: Sequence[Node], fits: Callable[[str], bool]) -> tuple[Node, ...]:
    """Return the objects with an id that fits."""
    return tuple(node for node in every if any(fits(found.text) for found in node.ids(ID_NAMES)))


def _others(every: Sequence[Node], own: Sequence[Node]) -> tuple[Node, ...]:
    """Return the objects that are other tasks: beside ours, with an id and a status of their own."""
    if not own:
        return ()
    ours = {one.place for node in own for one in (node, *node.parents)}
    return tuple(
        node
        for node in every
        if node.place not in ours
        and not any(parent.place == one.place for parent in node.parents for one in own)
        and any(True for _ in node.ids(ID_NAMES))
        and (any(True for _ in node.named(STATUS_NAMES)) or any(True for _ in node.ids(TASK_ID_NAMES)))
    )


def is_same(one: str, other: str) -> bool:
    """Whether two ids name one task: equal, or packed by LiteLLM around one id of the service behind it.

    LiteLLM 1.106 packs provider, model and that id in base64, and leaves the model out in its second answer.
    """
    if one == other:
        return True
    ours, theirs = _unpacked(one), _unpacked(other)
    if ours is None or theirs is None or ours[0] != theirs[0] or ours[2] != theirs[2]:
        return False
    return ours[1] == theirs[1] or not (ours[1] and theirs[1])


_PACKED = re.compile(r"video_([A-Za-z0-9+/_-]{24,}={0,2})")
_LITELLM = re.compile(r"litellm:custom_llm_provider:([^;]*);model_id:([^;]*);video_id:([^;]+)")


def _unpacked(task_id: str) -> tuple[str, str, str] | None:
    """Return provider, model and inner id that LiteLLM packed into an id; ``None`` for any other id."""
    found = _PACKED.fullmatch(task_id)
    if found is None:
        return None
    packed = found[1].rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        inner = _LITELLM.fullmatch(base64.b64decode(packed + "=" * (-len(packed) % 4)).decode())
    except ValueError:
        return None
    return (inner[1], inner[2], inner[3]) if inner else None


def _without(strangers: Collection[str], found: Iterable[Node]) -> tuple[Node, ...]:
    """Return the objects once each, in their order, and no strangers."""
    return tuple({node.place: node for node in reversed([*found]) if node.place not in strangers}.values())[::-1]


def clip_in(payload: Any, near: Subject | None = None) -> Found | None:
    """Return where the clip is: nearest to the task, or to the top where none is named; ``None`` when nowhere.

    An http(s) URL, a path of the service that begins with ``/``, or `INLINE_CLIP` with the number of the ``data:`` URL.
    """
    skipped = {one.place for one in near.others} if near else set()
    regions = [(one.place, one.fields) for one in (near.node, *near.node.parents)] if near else []
    if not regions or isinstance(payload, list):
        regions.append(("", payload))
    for place, value in regions:
        if found := sorted(_clips(place, value, skipped)):
            return found[0][1]
    return None


class Says(IntEnum):
    """What the names above a text say of it."""

    NOTHING = 0
    URL = 1
    """That it is a clip's URL."""
    PLACE = 2
    """The same, or a path of the service."""


def _clips(place: str, payload: Any, skipped: Collection[str]) -> Iterator[tuple[tuple[int, int, int, int], Found]]:
    """Yield what may be the clip, each with what it is worth.

    That is: whether it counts only where nothing else does, how deep it stands, how unlikely it is, and its turn.
    """
    waiting: deque[tuple[int, int, Says, str, Any]] = deque([(0, UNLIKELY, Says.NOTHING, place, payload)])
    for turn in range(NODES_MAX):
        if not waiting:
            return
        depth, unlikely, says, where, value = waiting.popleft()
        value = _decoded(value)
        if isinstance(value, str):
            if (found := _clip(value, says)) is not None:
                rank, text = found
                is_last, unlikely = max(rank, unlikely) >= LAST, unlikely % LAST
                if urlsplit(text).path.lower().endswith(VIDEO):
                    unlikely = min(unlikely, 1)
                yield (is_last, depth, rank + unlikely, turn), Found(where, text)
        elif isinstance(value, list):
            waiting.extend((depth, unlikely, says, f"{where}[{n}]", one) for n, one in enumerate(value[:NODES_MAX]))
        elif isinstance(value, dict) and where not in skipped and depth <= DEPTH_MAX:
            for name, one in value.items():
                field = _field(name) if len(name) <= NAME_MAX else _judged(name)
                if field is None:
                    continue
                inner = Says.PLACE if field.says_place else says
                inner = min(inner, Says.URL) if field.is_on_its_disk else inner
                is_last = unlikely >= LAST or (field.is_less_likely and not field.is_best)
                doubt = 0 if field.is_best else min(unlikely % LAST, 1 if field.is_likely else UNLIKELY)
                waiting.append((depth + 1, doubt + LAST * is_last, inner, f"{where}.{name}" if where else name, one))


class _Field(NamedTuple):
    """What the name of a field says of a clip in it."""

    says_place: bool
    is_on_its_disk: bool
    is_best: bool
    is_less_likely: bool
    is_likely: bool


def _judged(name: str) -> _Field | None:
    """Return what a field's name says; ``None``: that what it holds is not the clip."""
    if is_aside(name):
        return None
    words = pieces(name)
    return _Field(
        says_place=bool(words & CLIP_WORDS) or plain(name) == "failreason",
        is_on_its_disk=bool(words & ON_ITS_DISK),
        is_best=bool(words & BEST) or {"without", "watermark"} <= words,
        is_less_likely=bool(words & LESS_LIKELY),
        is_likely=bool(words & LIKELY),
    )


_field = lru_cache(NAMES_KEPT)(_judged)


UNLIKELY, OWN_PATH, LAST = 2, 4, 100
"""A path of the service is less likely than a URL beside it; one in the middle of a text counts where no other is."""


def _clip(text: str, says: Says) -> tuple[int, str] | None:
    """Return how unlikely *text* is to be a clip's place, and that place; ``None`` when it is none."""
    if text.startswith("//"):
        text = f"https:{text}"
    if text.startswith("http") and text.lower().endswith(VIDEO):
        text = text.replace(" ", "%20")
    if is_http_url(text):
        path = urlsplit(text).path.lower()
        return (0, text) if not path.endswith(NO_CLIP) and (says or path.endswith(VIDEO)) else None
    if not says:
        return None
    if text.startswith("data:video/"):
        return 0, f"{INLINE_CLIP}{text.rpartition(',')[2][:4].rstrip('=')}"  # its padding is left behind its number
    if text.startswith("/") and is_http_url(f"http://service{text}"):
        return (OWN_PATH, text) if says is Says.PLACE else None
    found = _URL_IN_TEXT.search(text) if len(text) <= URL_MAX and "\0" not in text else None  # a key was there
    url = found[0].rstrip(".,;:!?") if found else ""
    return (LAST, url) if is_http_url(url) else None


def is_http_url(text: str) -> bool:
    """Whether *text* is an http(s) URL with a host, and with a port that exists if it names one."""
    if len(text) > URL_MAX or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
