"""Every key of a manifest, declared once: how its value is read, its JSON Schema, what it means, what stands for it.

The checks, their messages and the schema for editors come from these tables. A new key is a line here; who uses its
value finds it under its name. A mistake in one key hides none in another.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchvid.domain.frozen import frozen
from batchvid.domain.image_fit import Fit
from batchvid.domain.limits import IN_FLIGHT_MOST, InDoubt, OnChange
from batchvid.domain.notice import When
from batchvid.domain.task import FramesTaken, ProviderName, ProxyUse
from batchvid.manifest import values
from batchvid.manifest.yaml_tree import Plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from enum import StrEnum

    from batchvid.manifest.yaml_tree import TreePath

SHORT = 60
"""Characters of a value that are shown again in what to write."""

# ---- what a declaration is made of


@frozen
class Kind:
    """What a value may be."""

    read: Callable[[Any], Any]
    """Returns the value that is meant, or raises `ValueError` with advice."""
    schema: Mapping[str, Any]


@frozen
class Key:
    """One key of a section."""

    name: str
    kind: Kind
    description: str
    default: Any = None
    """What stands for a key that is not written; that of a limit is its field's."""
    fields: tuple[str, ...] = ()
    """The fields of `Limits` that it becomes, where they have other names."""


@frozen
class Mistake:
    """One thing that is wrong, at a path inside what was checked."""

    path: TreePath
    text: str


class InsideError(ValueError):
    """What is wrong inside of a list or a map."""

    def __init__(self, found: list[Mistake]) -> None:
        super().__init__(found)
        self.found = found


class Section:
    """A map with known keys."""

    def __init__(
        self,
        name: str,
        description: str,
        *keys: Key,
        required: tuple[str, ...] = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Declare it; *more* is what its JSON Schema says beside its keys."""
        self.name = name
        self.keys = {key.name: key for key in keys}
        self.defaults = {key.name: key.default for key in keys if key.default is not None}
        self._description = description
        self.required = required
        self._more = more or {}
        self._readers = {key.name: key.kind.read for key in keys}

    def check(self, tree: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str], list[Mistake]]:
        """Check what is written: return what is right of it (given keys only), the wrong keys, and every mistake.

        A key that is probably meant by a misspelt one counts as wrong, too: "promt" is not also a missing prompt.
        """
        found: dict[str, Any] = {}
        mistakes: list[Mistake] = []
        for name, value in tree.items():
            read = self._readers.get(name)
            if read is None:
                mistakes.append(Mistake((name,), self._unknown(name, value)))
                continue
            try:
                found[name] = read(value)
            except ValueError as error:
                mistakes += _inside(name, error)
        if not mistakes:
            return found, frozenset(), mistakes
        broken = {str(mistake.path[0]) for mistake in mistakes}
        broken.update(*(_meant(name, self.keys) for name in broken - self.keys.keys()))
        return {name: value for name, value in found.items() if name not in broken}, frozenset(broken), mistakes

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the map."""
        properties = {key.name: _described(key.kind.schema, key.description) for key in self.keys.values()}
        found = {"additionalProperties": False, **self._more, "properties": properties, "type": "object"}
        return _described(found | ({"required": list(self.required)} if self.required else {}), self._description)

    def _unknown(self, name: str, value: object) -> str:
        if name == "<<":
            return "merge keys are not read: put what the jobs share under defaults"
        if "prompt" in self.keys and (told := _told_of_other(name, value)):
            return told
        if self is INCLUDED and name in HEAD.keys:
            return "cannot be included: write it into the manifest"
        for where, section in _HOLDERS:
            if section is not self and name in section.keys:
                return f"unknown key here: it belongs under {where}"
        if close := _close(name, self.keys):
            return f"unknown key: did you mean {close[0]}?"
        if isinstance(value, Plain) and value.kind == "nothing" and not value.text:
            return "unknown key: if it is a part of a text that holds a comma, put the whole text in quotes"
        more = "; what else the service knows stands under form:" if "form" in self.keys else ""
        return f"unknown key: the keys here are {', '.join(self.keys)}{more}"


def what(value: object) -> str:
    """Return in words what kind of value stands in the tree."""
    match value:
        case Plain(kind="nothing"):
            return "empty"
        case Plain():
            return value.kind
        case str():
            return "text"
        case dict():
            return "a map"
        case _:
            return "a list"


OTHERS_KEYS = {
    "duration": "seconds", "duration_s": "seconds", "duration_seconds": "seconds", "durationseconds": "seconds",
    "length": "seconds",
    "aspect_ratio": "size", "aspectratio": "size", "ratio": "size", "resolution": "size", "dimensions": "size",
    "image": "first_frame", "image_url": "first_frame", "input_image": "first_frame", "start_image": "first_frame",
    "first_image": "first_frame", "start_frame": "first_frame", "input_reference": "first_frame",
    "end_image": "last_frame", "last_image": "last_frame", "end_frame": "last_frame", "image_tail": "last_frame",
    "text": "prompt", "description": "prompt",
    "model_name": "model",
    "n": "takes", "count": "takes", "num_videos": "takes", "variations": "takes",
}  # fmt: skip
"""What other programs and services call a field of a job, in lower case, and its key."""
FORM_FIELDS = frozenset(
    {"seed", "negative_prompt", "fps", "style", "guidance_scale", "cfg_scale", "generate_audio", "enhance_prompt",
     "camera_fixed", "motion", "watermark", "quality", "preset"}
)  # fmt: skip
"""What services know beside the fields of a job."""
_RATIO = re.compile(r"([0-9]+)\s*[:/]\s*([0-9]+)", re.ASCII)
_EXAMPLES = {"seconds": "8", "size": "16x9", "first_frame": "frames/dawn.png", "last_frame": "frames/dusk.png",
    "prompt": "A paper kite.", "model": "veo3-fast", "takes": "3"}  # fmt: skip


def _told_of_other(name: str, value: object) -> str:
    """Return what to write for a key as other programs have it; nothing for any other."""
    known = name.lower().replace("-", "_")
    written = value.text if isinstance(value, Plain) else value if isinstance(value, str) else ""
    is_short = 0 < len(written) <= SHORT and written.isprintable()
    if known in FORM_FIELDS:
        shown = written if is_short and isinstance(value, Plain) else f'"{written}"' if is_short else "…"
        return f"unknown key: it is a further field of the request: write form: {{{known}: {shown}}}"
    key = OTHERS_KEYS.get(known)
    if key is None:
        return ""
    if key == "size" and (ratio := _RATIO.fullmatch(written)):
        written = f"{ratio[1]}x{ratio[2]}"
    elif key == "seconds" and written[-1:] == "s" and written[:-1].isdigit():
        written = written[:-1]
    elif not is_short or '"' in written or "://" in written or key in {"prompt", "takes"}:
        written = ""
    return f"unknown key: write {key}: {written or _EXAMPLES[key]}" + ("" if written else ", for example")


def column_of(name: str) -> str | None:
    """Return the column of a table that is meant by one as other programs have it."""
    known = name.lower().replace("-", "_")
    return f"form.{known}" if known in FORM_FIELDS else OTHERS_KEYS.get(known)


def _meant(name: str, known: Iterable[str]) -> list[str]:
    """Return the key that is probably meant by a wrong one, as a list of one or none."""
    other = OTHERS_KEYS.get(name.lower().replace("-", "_"))
    return [other] if other is not None and other in known else _close(name, known)


def _close(name: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, list(known), n=1)


def _inside(part: str | int, error: ValueError) -> list[Mistake]:
    """Return what is wrong with a value, as mistakes of what it stands in."""
    if isinstance(error, InsideError):
        return [Mistake((part, *mistake.path), mistake.text) for mistake in error.found]
    text = str(error)
    if isinstance(error, values.QuoteError) and isinstance(part, str):
        text = text.replace(': write "', f': write {part}: "', 1)
    return [Mistake((part,), text)]


def _described(schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    """Return *schema* with its description, which stands behind these two."""
    before = {name: schema[name] for name in ("additionalProperties", "const") if name in schema}
    return {**before, "description": description, **schema}


# ---- kinds of values


def _list_of(each: Kind, *, least: int = 1, too_short: str = "") -> Kind:
    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"is {what(value)}, and a list is wanted")  # noqa: TRY004 every reader's
        found, mistakes = [], []
        for place, one in enumerate(value):
            try:
                found.append(each.read(one))
            except ValueError as error:
                mistakes += _inside(place, error)
        if mistakes:
            raise InsideError(mistakes)
        if len(found) < least:
            raise ValueError(too_short or _EMPTY)
        return found

    return Kind(read, {"items": each.schema, **({"minItems": least} if least else {}), "type": "array"})


def _map_of(
    each: Kind, *, name: Callable[[str], str] = str, least: int = 0, names: Mapping[str, Any] | None = None
) -> Kind:
    """Return the kind of a map; *name* reads its keys, and *names* is their schema."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"is {what(value)}, and a map (key: value) is wanted")  # noqa: TRY004 every reader's
        found, mistakes = {}, []
        for key, one in value.items():
            for reader, given in ((name, key), (each.read, one)):
                try:
                    found[key] = reader(given)
                except ValueError as error:
                    mistakes += _inside(key, error)
        if mistakes:
            raise InsideError(mistakes)
        if len(found) < least:
            raise ValueError(_EMPTY)
        return found

    schema = {"additionalProperties": each.schema, **({"minProperties": least} if least else {})}
    return Kind(read, schema | ({"propertyNames": names} if names else {}) | {"type": "object"})


def _part(section: Section) -> Kind:
    """Return the kind of a map that is checked by itself."""

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"is {what(value)}, and a map (key: value) is wanted")  # noqa: TRY004 every reader's
        return value

    return Kind(read, {"allOf": [{"$ref": f"#/definitions/{section.name}"}]})


def _entries(section: Section, **least: int) -> Kind:
    """Return the kind of a list whose entries are checked one by one."""
    return Kind(lambda value: value, {"type": "array", **least, "items": {"$ref": f"#/definitions/{section.name}"}})


def _count(lowest: int, highest: int) -> Kind:
    return Kind(values.between(lowest, highest), {"maximum": highest, "minimum": lowest, "type": "integer"})


def _count_or_auto(lowest: int, highest: int) -> Kind:
    number = {"maximum": highest, "minimum": lowest, "type": "integer"}
    return Kind(values.count_or_auto(lowest, highest), {"anyOf": [number, {"enum": [values.AUTO]}]})


def _one_of(words: type[StrEnum]) -> Kind:
    return Kind(values.word_of(words), {"enum": [str(word) for word in words]})


def _shaped(read: Callable[[Any], Any], pattern: str, advice: str) -> Kind:
    """Return the kind of a text of one shape; *advice* is what editors show instead of the pattern."""
    return Kind(read, {"pattern": pattern, "patternErrorMessage": advice, "type": "string"})


def _amount(pattern: str) -> dict[str, Any]:
    return {"oneOf": [{"minimum": 0, "type": "number"}, {"pattern": pattern, "type": "string"}]}


_EMPTY = "is empty: write at least one value, or remove the key"

TEXT = Kind(values.text, {"minLength": 1, "type": "string"})
TEXT_OR_NUMBER = Kind(values.number_or(values.text), {"minLength": 1, "type": ["string", "number"]})
ID = _shaped(
    values.text,  # its shape is checked when its template is filled in
    r"^([A-Za-z0-9][A-Za-z0-9._-]{0,99}|.*\{.*)$",
    "begin with a letter or digit, then a\u2013z, A\u2013Z, 0\u20139 . _ -",
)
FILE_NAME = _shaped(values.text, r"^[^/].*\.mp4$", "write a path inside the output folder that ends in .mp4")
OUTPUT = _shaped(
    values.output,
    r"^(?!~|[A-Za-z][A-Za-z0-9+.-]*://|(s3|gs|az):)|^(s3|gs|az)://[^/?#@:]+(/[^?#]*)?$",
    "write the path of a folder in full (~ is not expanded), or s3://bucket/prefix",
)
BASE_URL = _shaped(values.base_url, "^https?://", "write an address that begins with https://")
CLIP_HOST = _shaped(
    values.clip_host, r"^[^/\s]+(/[0-9]+)?$", "write such as cdn.example.com, *.example.com or 10.0.0.0/8"
)
KEY_ENV = _shaped(values.key_env, "^[A-Za-z_][A-Za-z0-9_]*$", "write the NAME of a variable, never the key")
DATABASE = _shaped(
    values.database, r"^\$[A-Za-z_][A-Za-z0-9_]*$", "write the NAME of a variable, such as $BATCHVID_DATABASE"
)
TABLE = _shaped(
    values.text,
    r"\.([Cc][Ss][Vv]|[Tt][Ss][Vv]|[Tt][Aa][Bb]|[Tt][Xx][Tt]|[Jj][Ss][Oo][Nn][Ll]|[Yy][Aa]?[Mm][Ll])$",
    "write the path of a .csv, .tsv, .txt, .jsonl or .yaml file",
)
YES_NO = Kind(values.yes_no, {"type": "boolean"})
TIME = _shaped(
    values.duration_s, r"^(?=.)([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?$", "write such as 90s, 20m or 1h30m"
)
TIMES = _shaped(
    values.duration_range,
    r"^([0-9.]+[dhms])+\.\.([0-9.]+[dhms])+$",
    "write the shortest and the longest time, such as 3s..30s",
)
RATE = _shaped(
    values.rate, r"^([0-9]+(\.[0-9]+)?\s*/\s*(s|min|h)|unlimited)$", "write such as 10/min, 5/s, 100/h or unlimited"
)
AUTO_RATE = _shaped(
    values.rate_or_auto,
    rf"^([0-9]+(\.[0-9]+)?\s*/\s*(s|min|h)|unlimited|{values.AUTO})$",
    "write such as 10/min, 5/s, 100/h, auto or unlimited",
)
MOMENT = Kind(values.moment_s, {"minLength": 2, "pattern": r"^-?([0-9.]+m)?([0-9.]+s)?$", "type": "string"})
HOOK = Kind(values.hook, {"pattern": r"^(\$[A-Za-z_][A-Za-z0-9_]*|[A-Za-z][A-Za-z0-9+.-]*://\S+)$", "type": "string"})
HOOK_WHEN = Section(
    "Hook",
    "Whom to tell, and when.",
    Key("url", HOOK, "jsons://host/path, $VARIABLE, or another Apprise URL (an extra)."),
    Key(
        "when",
        _list_of(_one_of(When)),
        "end: the run is over; first-failure; doubt: a paid request is in doubt; budget-80%. Each at most once a run.",
    ),
    required=("url", "when"),
)


def _hook(value: Any) -> Any:
    """Return whom a value of ``notify`` means, and when."""
    if not isinstance(value, dict):
        return HOOK.read(value)
    parts, _, mistakes = HOOK_WHEN.check(value)
    mistakes += [Mistake((), f"{key} is missing") for key in HOOK_WHEN.required if key not in value]
    if mistakes:
        raise InsideError(mistakes)
    return replace(parts["url"], when=tuple(parts["when"]))


TOLD = Kind(_hook, {"anyOf": [HOOK.schema, HOOK_WHEN.json_schema()]})
PRICE = Kind(values.price, _amount(r"^[0-9]+(\.[0-9]+)?\s*(/\s*s)?$"))
_PRICES = _map_of(PRICE)
PRICE_BY_SIZE = Kind(
    lambda value: _PRICES.read(value if isinstance(value, dict) else {values.ANY_SIZE: value}),
    {"anyOf": [*PRICE.schema["oneOf"], _PRICES.schema]},
)

# ---- the sections

SERVICE = Section(
    "Service",
    "The ``service`` section.",
    Key(
        "provider",
        _one_of(ProviderName),
        "What the service speaks: cometapi, or openai for OpenAI's video API and servers of your own that have it.",
        default=ProviderName.COMETAPI,
    ),
    Key("base_url", BASE_URL, "Where the API is; with or without /v1."),
    Key("key_env", KEY_ENV, "The NAME of the variable that holds the key; never the key itself."),
    Key(
        "allow_http",
        YES_NO,
        "Also send the key to another machine over http://, where everybody on the way can read it.",
        default=False,
    ),
    Key(
        "clip_hosts",
        _list_of(CLIP_HOST),
        "Hosts (cdn.example.com, *.example.com) and networks (10.0.0.0/8) at which clips may be, also where they are "
        "not public. The host of base_url always may.",
        default=(),
    ),
    Key(
        "proxy",
        _one_of(ProxyUse),
        "env: reach the service and its clips through the proxy of the environment (HTTPS_PROXY, NO_PROXY).",
        default=ProxyUse.NONE,
    ),
    Key(
        "frames",
        _one_of(FramesTaken),
        "How many frames of a job the service looks at: two (first and last), or one. The default is two with "
        "provider cometapi, and one with openai: many such servers begin the clip with the last of two.",
    ),
)
LIMITS = Section(
    "LimitsSection",
    "The ``limits`` section.",
    Key(
        "submits",
        AUTO_RATE,
        "Rate of paid requests, evenly spaced: N/s, N/min, N/h, unlimited, or auto (found out by what is refused).",
        fields=("submits", "auto_submits"),
    ),
    Key("requests", RATE, "Rate of all other API calls: N/s, N/min, N/h or unlimited."),
    Key(
        "in_flight",
        _count_or_auto(1, IN_FLIGHT_MOST),
        "Tasks submitted and not yet finished, at most: a number, or auto (found out by what is refused).",
        fields=("in_flight", "auto_in_flight"),
    ),
    Key("downloads", _count(1, 64), "Downloads at once."),
    Key("attempts", _count(1, 20), "Paid attempts of a job when the service says that the task failed."),
    Key(
        "typical_time",
        TIME,
        "What a generation usually takes, such as 90s: where polling starts.",
        fields=("typical_time_s",),
    ),
    Key(
        "poll_every",
        TIMES,
        "Bounds of the gap between two polls of a task: 3s..30s.",
        fields=("poll_shortest_s", "poll_longest_s"),
    ),
    Key(
        "backoff",
        TIMES,
        "First and longest wait after a fault: 1s..60s.",
        fields=("backoff_first_s", "backoff_longest_s"),
    ),
    Key(
        "task_timeout", TIME, "A task unfinished after this is left for the next run: 20m.", fields=("task_timeout_s",)
    ),
    Key(
        "budget",
        Kind(values.money_micros, _amount(r"^[0-9]+(\.[0-9]+)?$")),
        "The most that may be spent; reserved before each paid request.",
        fields=("budget_micros",),
    ),
    Key(
        "budget_per_day",
        Kind(values.money_micros, _amount(r"^[0-9]+(\.[0-9]+)?$")),
        "The most that may be spent on one day of this machine's clock. An attempt counts for the day it starts on.",
        fields=("budget_per_day_micros",),
    ),
    Key("in_doubt", _one_of(InDoubt), "What to do with a paid request whose outcome is unknown."),
    Key(
        "breaker",
        _count(1, 1_000_000),
        "Stop submitting after so many jobs in a row brought no clip: failed or deferred.",
    ),
    Key("canary", _count(0, 1_000_000), "The first N jobs must be clips on disk before the rest start."),
    Key("on_change", _one_of(OnChange), "What to do with a job that changed after it was paid."),
)
_FIELDS = (
    Key("prompt", TEXT, "What the clip shows. May hold {variables}; {{ and }} are braces."),
    Key("model", TEXT, "The model, passed through; veo3-fast when nothing is said, or sora-2 with provider openai."),
    Key("size", TEXT, "16x9, 9x16, or pixels such as 1280x720; not sent when not given."),
    Key("seconds", TEXT_OR_NUMBER, "The length, such as 8; not sent when not given."),
    Key(
        "form",
        _map_of(
            Kind(values.number_or(values.any_text), {"type": ["string", "number"]}),
            name=values.form_key,
            names={"not": {"enum": sorted(values.SENT_BY_BATCHVID)}, "pattern": r"^[A-Za-z0-9_.\[\]-]{1,100}$"},
        ),
        "Further fields of the request, passed through as text: seed: 7.",
    ),
    Key("first_frame", TEXT, "An image file, relative to the manifest: the clip begins with it."),
    Key("last_frame", TEXT, "An image file: the clip ends with it. Needs first_frame."),
    Key(
        "fit",
        _one_of(Fit),
        "Frames whose ratio is not the size's: pad puts black beside them, crop cuts from both sides, "
        "none (the default) sends them as they are. No file is touched.",
        default=Fit.NONE,
    ),
    Key("price", PRICE, "Of one attempt: 0.40 a clip, or 0.40/s a second. Wins over prices:."),
)
"""The job fields that a row, an entry and the defaults can have."""
DEFAULTS = Section(
    "Defaults",
    "The ``defaults`` section: the job fields and the variables that jobs may share.",
    *_FIELDS,
    Key(
        "vars",
        _map_of(
            Kind(values.variable_value, {"type": ["string", "number"]}),
            name=values.variable_name,
            names={"not": {"const": "take"}, "pattern": "^[^{}]+$"},
        ),
        "Variables for the texts of all jobs: {style} stands for what is written here. A column of a row, and a value "
        "of a matrix, win over one of the same name.",
    ),
)
ROW = Section(
    "Row",
    "The job fields of one row of a table.",
    *_FIELDS,
    Key(
        "id",
        ID,
        "The job's name: a\u2013z, A\u2013Z, 0\u20139 . _ -, unique without regard to case. "
        "When it changes, the clip that is paid gets the new name; nothing is bought again.",
    ),
    # 1000 are more clips of one content than anybody looks at; it keeps a slip of the finger from becoming a bill
    Key("takes", _count(1, 1000), "How many clips of the same content: id, id-2, id-3. Raising it only adds."),
    Key(
        "continues",
        TEXT,
        "The id of another job: this clip begins with the last frame of that one's, once it is there.",
    ),
)
ENTRY = Section(
    "Entry",
    "One wanted clip, or many: with takes, a matrix, a table of rows or a folder of frame pairs.",
    *ROW.keys.values(),
    Key(
        "matrix",
        _map_of(
            _list_of(Kind(values.variable_value, {"type": ["string", "number"]})),
            name=values.variable_name,
            least=1,
            names={"not": {"const": "take"}, "pattern": "^[^{}]+$"},
        ),
        "Variables and their values: every combination becomes a job, in order.",
    ),
    Key("from", TABLE, "A .csv, .tsv, .txt, .jsonl or .yaml file, one job a row: columns are job fields or variables."),
    Key("pairs", TEXT, "A folder: NAME_first.png (+ NAME_last.png, + NAME.txt as the prompt) becomes job NAME."),
    Key("at", MOMENT, "With continues: which frame of that clip, -0.2s before its end or 3.5s after its beginning."),
    Key(
        "storyboard",
        _list_of(TEXT, least=2, too_short="has fewer than 2 frames: a clip needs two, write them in order"),
        "Frames in order: N of them become N-1 jobs id-01, id-02 …, each from one frame to the next.",
    ),
    Key("prompts", _list_of(TEXT), "With storyboard: one prompt for each of its N-1 jobs, instead of prompt."),
    Key("film", YES_NO, "With storyboard: also join its clips into the film <id>.mp4."),
    more={"not": {"required": ["from", "pairs"]}},
)
_HOLDERS = (("limits", LIMITS), ("service", SERVICE), ("jobs or defaults", ENTRY), ("defaults", DEFAULTS))
"""Where a key belongs that stands in another section."""
FILM = Section(
    "FilmEntry",
    "Finished clips, joined into one.",
    Key("id", TEXT, "The film's name, and its file's: <output>/<id>.mp4. Unique among jobs and films."),
    Key("clips", _list_of(TEXT), "The ids of the jobs, in the film's order."),
    required=("id", "clips"),
)
HEAD = Section(
    "Head",
    "A batchvid manifest.",
    Key("version", Kind(values.version, {"const": 1}), "Of the manifest's format; 1."),
    Key("service", _part(SERVICE), "Which service makes the clips."),
    Key(
        "output",
        OUTPUT,
        "Where the clips go: a folder, relative to the manifest (out/<manifest's name>), or s3://bucket/prefix, gs:// "
        "or az://.",
    ),
    Key(
        "database",
        DATABASE,
        "The variable ($BATCHVID_DATABASE) with the address of a PostgreSQL database that keeps the journal, for many "
        "machines; never the address itself. Without it, the journal lies in the output.",
    ),
    Key(
        "filename",
        FILE_NAME,
        "Name of a clip; may hold {id} {model} {size} {take} and variables; / makes folders; ends in .mp4.",
        default="{id}.mp4",
    ),
    Key(
        "safe_names",
        YES_NO,
        'Write names that every file system takes (exFAT, FAT, NTFS, shares): ? : * < > | " become -, what is too long '
        "is cut. What is on disk keeps its name.",
        default=False,
    ),
    Key("limits", _part(LIMITS), "What a run is allowed to do."),
    Key(
        "prices",
        _map_of(PRICE_BY_SIZE),
        'By model: 0.40 a clip or 0.40/s a second, or a map by size where "*" is any size.',
    ),
    Key("defaults", _part(DEFAULTS), "What every job has that does not say otherwise."),
    Key(
        "notify",
        _list_of(TOLD, least=0),
        "Whom to tell at the end of a run: jsons://host/path, $VARIABLE, or another Apprise URL (an extra). Or "
        "{url: …, when: [end, first-failure, doubt, budget-80%]}.",
    ),
    Key(
        "include",
        _list_of(TEXT),
        "YAML files, relative to this one, with service, limits, prices, defaults or notify that several manifests "
        "share. What is written here wins, key by key.",
    ),
    Key(
        "profile",
        TEXT,
        "The profile of your config file (batchvid config) with service, limits, prices and notify that the manifest "
        "does not have itself; none for none.",
    ),
    Key("jobs", _entries(ENTRY, minItems=1), "The wanted clips."),
    Key("films", _entries(FILM), "Films to join of finished clips."),
    required=("jobs",),
)


SHARED_KEYS = ("version", "service", "limits", "prices", "defaults", "notify", "include")
INCLUDED = Section("Included", "A file that manifests include.", *(HEAD.keys[name] for name in SHARED_KEYS))
PROFILE = Section(
    "Profile",
    "One profile of a user's config file.",
    *(HEAD.keys[name] for name in ("service", "limits", "prices", "notify")),
)
CONFIG = Section(
    "Config",
    "A user's config file.",
    Key("version", HEAD.keys["version"].kind, "Of the file's format; 1."),
    Key("profile", TEXT, "The profile of manifests that name none."),
    Key("profiles", _map_of(_part(PROFILE)), "By name: service, limits, prices and notify, as in a manifest."),
)


def json_schema() -> dict[str, Any]:
    """Return the manifest's JSON Schema, in the draft-07 subset that editors read."""
    definitions = {section.name: section.json_schema() for section in (DEFAULTS, LIMITS, SERVICE, ENTRY, FILM)}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **HEAD.json_schema(), "definitions": definitions}
