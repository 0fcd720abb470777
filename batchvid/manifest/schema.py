"""The manifest's keys: what each holds and what it means, for checking and as JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from batchvid.domain.image_fit import Fit
from batchvid.domain.limits import InDoubt, OnChange
from batchvid.manifest.fields import (
    FORM_KEYS_SCHEMA,
    VARIABLES_SCHEMA,
    BaseUrl,
    Duration,
    DurationRange,
    FileName,
    Folder,
    FormKey,
    FormValue,
    Id,
    KeyEnv,
    Moment,
    Money,
    NotifyTarget,
    Price,
    PriceBySize,
    RateLimit,
    Table,
    Text,
    VariableName,
    VariableValue,
    Version,
    YesNo,
    count,
    one_of,
)

MAX_TAKES = 1000
"""More clips of one content than anybody looks at; keeps a slip of the finger from becoming a bill."""


def _key(*, description: str, **rules: Any) -> Any:
    """Return a key that need not be there; what stands for it then is not the schema's business."""
    return Field(None, description=description, **rules)


class Section(BaseModel):
    """A map with known keys."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class Service(Section):
    """The ``service`` section."""

    base_url: BaseUrl = _key(description="Where the API is; with or without /v1.")
    key_env: KeyEnv = _key(description="The NAME of the variable that holds the key; never the key itself.")
    allow_http: YesNo = _key(
        description="Also send the key to another machine over http://, where everybody on the way can read it."
    )


class LimitsSection(Section):
    """The ``limits`` section."""

    submits: RateLimit = _key(description="Rate of paid requests, evenly spaced: N/s, N/min, N/h or unlimited.")
    requests: RateLimit = _key(description="Rate of all other API calls: N/s, N/min, N/h or unlimited.")
    in_flight: Annotated[int, count(1, 10_000)] = _key(description="Tasks submitted and not yet finished, at most.")
    downloads: Annotated[int, count(1, 64)] = _key(description="Downloads at once.")
    attempts: Annotated[int, count(1, 20)] = _key(
        description="Paid attempts of a job when the service says that the task failed."
    )
    typical_time: Duration = _key(description="What a generation usually takes, such as 90s: where polling starts.")
    poll_every: DurationRange = _key(description="Bounds of the gap between two polls of a task: 3s..30s.")
    backoff: DurationRange = _key(description="First and longest wait after a fault: 1s..60s.")
    task_timeout: Duration = _key(description="A task unfinished after this is left for the next run: 20m.")
    budget: Money = _key(description="The most that may be spent; reserved before each paid request.")
    in_doubt: Annotated[str, one_of(InDoubt)] = _key(
        description="What to do with a paid request whose outcome is unknown."
    )
    breaker: Annotated[int, count(1, 1_000_000)] = _key(
        description="Stop submitting after so many jobs in a row ended failed."
    )
    canary: Annotated[int, count(0, 1_000_000)] = _key(
        description="The first N jobs must be clips on disk before the rest start."
    )
    on_change: Annotated[str, one_of(OnChange)] = _key(
        description="What to do with a job that changed after it was paid."
    )


class Defaults(Section):
    """The ``defaults`` section: the job fields that jobs may share."""

    prompt: Text = _key(description="What the clip shows. May hold {variables}; {{ and }} are braces.")
    model: Text = _key(description="The model, passed through; veo3-fast when nothing is said.")
    size: Text = _key(description="16x9, 9x16, or pixels such as 1280x720; not sent when not given.")
    seconds: Text = _key(description='The length, as text: "8"; not sent when not given.')
    form: dict[FormKey, FormValue] = _key(
        description="Further text fields of the request, passed through.",
        json_schema_extra={"propertyNames": FORM_KEYS_SCHEMA},
    )
    first_frame: Text = _key(description="An image file, relative to the manifest: the clip begins with it.")
    last_frame: Text = _key(description="An image file: the clip ends with it. Needs first_frame.")
    fit: Annotated[str, one_of(Fit)] = _key(
        description="Frames whose ratio is not the size's: pad puts black beside them, crop cuts from both sides, "
        "none (the default) sends them as they are. No file is touched."
    )
    price: Price = _key(description="Of one attempt: 0.40 a clip, or 0.40/s a second. Wins over prices:.")


class Row(Defaults):
    """The job fields of one row of a table."""

    id: Id = _key(
        description="The job's name: letters, digits and . _ -, unique without regard to case. "
        "When it changes, the clip that is paid gets the new name; nothing is bought again."
    )
    takes: Annotated[int, count(1, MAX_TAKES)] = _key(
        description="How many clips of the same content: id, id-2, id-3. Raising it only adds."
    )
    continues: Text = _key(
        description="The id of another job: this clip begins with the last frame of that one's, once it is there."
    )


class Entry(Row):
    """One wanted clip, or many: with takes, a matrix, a table of rows or a folder of frame pairs."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["from", "pairs"]}})

    matrix: dict[VariableName, Annotated[list[VariableValue], Field(min_length=1)]] = _key(
        min_length=1,
        description="Variables and their values: every combination becomes a job, in order.",
        json_schema_extra={"propertyNames": VARIABLES_SCHEMA},
    )
    from_: Table = _key(
        alias="from",
        description="A .csv, .tsv, .jsonl or .yaml file, one job a row: columns are job fields or variables.",
    )
    pairs: Text = _key(
        description="A folder: NAME_first.png (+ NAME_last.png, + NAME.txt as the prompt) becomes job NAME."
    )
    at: Moment = _key(
        description="With continues: which frame of that clip, -0.2s before its end or 3.5s after its beginning."
    )
    storyboard: Annotated[list[Text], Field(min_length=2)] = _key(
        description="Frames in order: N of them become N-1 jobs id-01, id-02 …, each from one frame to the next."
    )
    prompts: Annotated[list[Text], Field(min_length=1)] = _key(
        description="With storyboard: one prompt for each of its N-1 jobs, instead of prompt."
    )
    film: YesNo = _key(description="With storyboard: also join its clips into the film <id>.mp4.")


class FilmEntry(Section):
    """Finished clips, joined into one."""

    id: Text = _key(description="The film's name, and its file's: <output>/<id>.mp4. Unique among jobs and films.")
    clips: Annotated[list[Text], Field(min_length=1)] = _key(description="The ids of the jobs, in the film's order.")


class Head(Section):
    """A batchvid manifest."""

    version: Version = _key(description="Of the manifest's format; 1.")
    service: Service = _key(description="Which service makes the clips.")
    output: Folder = _key(description="Folder of the clips, relative to the manifest; out/<manifest's name>.")
    filename: FileName = _key(
        description="Name of a clip; may hold {id} {model} {size} {take} and variables; / makes folders; ends in .mp4.",
    )
    limits: LimitsSection = _key(description="What a run is allowed to do.")
    prices: dict[str, PriceBySize] = _key(
        description='By model: 0.40 a clip or 0.40/s a second, or a map by size where "*" is any size.'
    )
    defaults: Defaults = _key(description="What every job has that does not say otherwise.")
    notify: list[NotifyTarget] = _key(
        description="Whom to tell at the end of a run: jsons://host/path, $VARIABLE, or another Apprise URL (an extra)."
    )
    jobs: Any = _key(description="The wanted clips.")
    films: Any = _key(description="Films to join of finished clips.")


def json_schema() -> dict[str, Any]:
    """Return the manifest's JSON Schema, in the draft-07 subset that editors read."""
    schema = Head.model_json_schema(ref_template="#/definitions/{model}")
    entry = Entry.model_json_schema(ref_template="#/definitions/{model}")
    schema["required"] = ["jobs"]
    schema["properties"]["jobs"] |= {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/Entry"}}
    film = FilmEntry.model_json_schema(ref_template="#/definitions/{model}") | {"required": ["id", "clips"]}
    schema["properties"]["films"] |= {"type": "array", "items": {"$ref": "#/definitions/FilmEntry"}}
    definitions = schema.pop("$defs") | entry.pop("$defs", {}) | {"Entry": entry, "FilmEntry": film}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_tidy(schema), "definitions": _tidy(definitions)}


def _tidy(schema: Any) -> Any:
    """Leave out what only pydantic says: titles it made up, and defaults that mean "not given"."""
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: _tidy(inner) for name, inner in value.items()}
        elif key not in {"default", "title"}:
            kept[key] = _tidy(value)
    if "$ref" in kept and "description" in kept:
        kept["allOf"] = [{"$ref": kept.pop("$ref")}]
    return kept
