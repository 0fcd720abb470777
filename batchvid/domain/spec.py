"""What is published of a job and of what was asked, as JSON text: written for other machines, and read back strictly.

Each kind of value has one `Record`, which names its fields and how each is written and read. Its rules:

* Reading what was written gives an equal value. A field that has its default is not written.
* Every text says its form. A text of a newer form is refused, because an older batchvid must not run half of a job.
* Whatever else is wrong with a text is refused too: a field too many or too few, or a value of another type.
* Nothing in a text is ever run, and a file's place below the output stays below it.
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar

from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.film import Film
from batchvid.domain.image_fit import Fit, Fitting
from batchvid.domain.job import Continuation, Frame, Job
from batchvid.domain.lifecycle import Reopened
from batchvid.domain.limits import InDoubt, Limits, OnChange, Rate, RunOptions
from batchvid.domain.notice import Hook
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import StrEnum

T = TypeVar("T")

FORM = 1
"""Of the texts; raised with every field that is added and every meaning that changes."""
FORM_KEY = "spec"
WHY_MAX = 200


class Kind(NamedTuple):
    """How a value is written as plain JSON, and read back; reading raises `ValueError` for anything else."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


class Record(Generic[T]):
    """How values of one dataclass are written and read: each of its fields by its `Kind`, in this order.

    Fields that are not *told* are left out, and have their defaults when the value is read back.
    """

    def __init__(self, made: type[T], told: Mapping[str, Kind]) -> None:
        self.made = made
        self.told = dict(told)
        defaults = {field.name: _default(field) for field in fields(made)}  # type: ignore[arg-type]  # a dataclass
        self._told = [(name, defaults[name], kind.write, kind.read) for name, kind in told.items()]
        self._required = sum(default is MISSING for _, default, _, _ in self._told)

    def without(self, *names: str) -> Record[T]:
        """Return the record without these fields, to write only."""
        return Record(self.made, {name: kind for name, kind in self.told.items() if name not in names})

    def plain(self, value: T) -> dict[str, Any]:
        """Return the value as plain JSON, without what has its default."""
        found = {}
        for name, default, write, _ in self._told:
            held = getattr(value, name)
            if held != default:
                found[name] = write(held)
        return found

    def value(self, plain: Any, **untold: Any) -> T:
        """Return the value that *plain* was made of, with what is *untold*; raises `ValueError` for anything else."""
        if type(plain) is not dict:
            raise ValueError(f"a {self.made.__name__} is no object")
        found = {}
        required = 0
        for name, default, _, read in self._told:
            if name in plain:
                found[name] = read(plain[name])
                required += default is MISSING
        if len(found) != len(plain) or required != self._required:
            missing = [name for name, default, _, _ in self._told if default is MISSING and name not in plain]
            odd = [*missing, *(plain.keys() - found.keys())]
            raise ValueError(f"the fields of a {self.made.__name__} are other ones: {', '.join(sorted(odd))}")
        return self.made(**found, **untold)

    @property
    def kind(self) -> Kind:
        """Return it as the kind of a field."""
        return Kind(self.plain, self.value)

    def text(self, value: T) -> str:
        """Return the value as JSON text, in ASCII, with its form."""
        return _write({FORM_KEY: FORM, **self.plain(value)})

    def read(self, text: str, *, what: str) -> T:
        """Return the value of a `text`; *what* names it in the errors.

        Raises `ConfigError` for the text of a newer batchvid, and `StorageError` for anything that is none.
        """
        plain = parsed(text, what=what)
        try:
            return self.value(plain)
        except ValueError as error:
            raise unreadable(what, error) from None


def parsed(text: str, *, what: str) -> dict[str, Any]:
    """Return the object that a published text holds, without its form; raises as `Record.read` does."""
    try:
        plain = _read(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(what, error) from None
    form = plain.pop(FORM_KEY, None) if type(plain) is dict else None
    if type(form) is not int or form < 1:
        raise unreadable(what, ValueError("it does not say its form"))
    if form > FORM:
        raise ConfigError(
            f"{what} was published by a newer batchvid (its form is {form}, this one knows {FORM}); "
            "use that batchvid, or a newer one"
        )
    found: dict[str, Any] = plain
    return found


def unreadable(what: str, error: Exception) -> StorageError:
    """Return the error for a published text that is none. It shows no values, which may be anything."""
    why = clean(str(error), WHY_MAX)
    return StorageError(f"{what} cannot be read as it was published ({why}); publish the manifest again")


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


_write = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_read = json.JSONDecoder(parse_constant=_no_constant).decode


# Kinds


def _as_it_is(value: T) -> T:
    return value


def _of_type(*types: type) -> Kind:
    def read(plain: Any) -> Any:
        if type(plain) not in types:
            raise ValueError(f"a {type(plain).__name__} stands where a {types[0].__name__} should")
        return plain

    return Kind(_as_it_is, read)


def _finite(plain: Any) -> Any:
    if type(plain) is not int and (type(plain) is not float or not math.isfinite(plain)):
        raise ValueError("what should be a number is none")
    return plain


def _place(plain: Any) -> str:
    if type(plain) is not str or not {"", ".", ".."}.isdisjoint(plain.split("/")):
        raise ValueError("a file's place is not below the output")
    return plain


TEXT, WHOLE, YES_OR_NO = _of_type(str), _of_type(int), _of_type(bool)
NUMBER = Kind(_as_it_is, _finite)
PLACE = Kind(_as_it_is, _place)


def optional(kind: Kind) -> Kind:
    """Return the kind of values of which one may be ``None``."""
    return Kind(
        lambda value: None if value is None else kind.write(value),
        lambda plain: None if plain is None else kind.read(plain),
    )


def many(kind: Kind) -> Kind:
    """Return the kind of tuples of any length."""

    def read(plain: Any) -> tuple[Any, ...]:
        if type(plain) is not list:
            raise ValueError("what should be a list is none")
        return tuple(map(kind.read, plain))

    return Kind(lambda values: list(map(kind.write, values)), read)


def _pair(plain: Any) -> tuple[str, str]:
    if type(plain) is not list or len(plain) != 2 or not all(type(one) is str for one in plain):  # noqa: PLR2004 a pair
        raise ValueError("what should be two texts is not")
    return plain[0], plain[1]


PAIRS = many(Kind(list, _pair))


def one_of(words: type[StrEnum]) -> Kind:
    """Return the kind of the words of an enumeration."""
    known = {word.value: word for word in words}

    def read(plain: Any) -> StrEnum:
        if type(plain) is not str or plain not in known:
            raise ValueError(f"there is a {words.__name__} that is not known")
        return known[plain]

    return Kind(lambda word: word.value, read)


# Records


FITTING = Record(Fitting, {"fit": one_of(Fit), "width": WHOLE, "height": WHOLE})
FRAME = Record(
    Frame,
    {
        "path": TEXT,
        "sha256": TEXT,
        "size_bytes": WHOLE,
        "mime": TEXT,
        "width": WHOLE,
        "height": WHOLE,
        "turned": WHOLE,
        "fitted": optional(FITTING.kind),
        "recoded": TEXT,
    },
)
_JOB: dict[str, Kind] = {
    "id": TEXT,
    "prompt": TEXT,
    "model": TEXT,
    "size": optional(TEXT),
    "seconds": optional(TEXT),
    "form": PAIRS,
    "frames": many(FRAME.kind),
    "price_micros": optional(WHOLE),
    "path": PLACE,
    "fingerprint": TEXT,
    "where": TEXT,
    "also": many(TEXT),
    "is_named": YES_OR_NO,
    "first_take": TEXT,
}
_CONTINUATION = _JOB | {"continues": TEXT, "at_s": optional(NUMBER)}
_SAME_ANYWHERE = {"frames": many(FRAME.without("path").kind)}
JOBS: dict[type[Job], Record[Any]] = {Job: Record(Job, _JOB), Continuation: Record(Continuation, _CONTINUATION)}
ANYWHERE = {kind: Record(kind, record.told | _SAME_ANYWHERE).without("where") for kind, record in JOBS.items()}
"""What is the same of a job on every machine that reads the manifest: all but where its entry and its frames lie."""
REOPENED = Record(Reopened, {"reason": TEXT, "by_person": YES_OR_NO})
FILM = Record(Film, {"id": TEXT, "clips": many(TEXT), "path": PLACE, "takes": many(many(TEXT))})
HOOK = Record(Hook, {"env": TEXT})
"""By the name of its variable. A URL that is written out may hold a secret, and is not published."""
RATE = Record(Rate, {"count": NUMBER, "period_s": NUMBER})
LIMITS = Record(
    Limits,
    {
        "submits": optional(RATE.kind),
        "requests": optional(RATE.kind),
        "in_flight": WHOLE,
        "downloads": WHOLE,
        "attempts": WHOLE,
        "typical_time_s": NUMBER,
        "poll_shortest_s": NUMBER,
        "poll_longest_s": NUMBER,
        "backoff_first_s": NUMBER,
        "backoff_longest_s": NUMBER,
        "task_timeout_s": NUMBER,
        "budget_micros": optional(WHOLE),
        "in_doubt": one_of(InDoubt),
        "breaker": WHOLE,
        "canary": WHOLE,
        "on_change": one_of(OnChange),
    },
)
OPTIONS = Record(
    RunOptions,
    {
        "retry_failed": YES_OR_NO,
        "rebuy": YES_OR_NO,
        "resubmit_in_doubt": YES_OR_NO,
        "only": optional(many(TEXT)),
        "until_at": optional(NUMBER),
        "max_cost_micros": optional(WHOLE),
        "max_jobs": optional(WHOLE),
    },
)
"""What concerns the publication. Keys, certificates and a sandbox are a machine's own."""


def job_text(job: Job) -> str:
    """Return what is published of a job."""
    record: Record[Job] = JOBS[type(job)]
    return record.text(job)


def read_job(text: str, *, what: str = "a job") -> Job:
    """Return the job of a `job_text`; raises as `Record.read` does."""
    plain = parsed(text, what=what)
    record: Record[Job] = JOBS[Continuation if "continues" in plain else Job]
    try:
        return record.value(plain)
    except ValueError as error:
        raise unreadable(what, error) from None


def same_anywhere(job: Job) -> dict[str, Any]:
    """Return what is the same of a job on every machine that reads its manifest, as plain JSON."""
    return ANYWHERE[type(job)].plain(job)
