"""Loads a manifest: reads it, checks its sections, expands its entries, makes the jobs, and tells every problem.

The making of a job: its id, its frames, its price, its path and its fingerprint, and no two jobs in each other's way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from batchvid.domain import fingerprint
from batchvid.domain.bucket import is_bucket
from batchvid.domain.errors import ManifestError
from batchvid.domain.filename import safe
from batchvid.domain.image_fit import Fit, ratio_of
from batchvid.domain.job import Continuation, Frame, Job, plain_job
from batchvid.domain.limits import Limits
from batchvid.domain.secrecy import is_readable_on_the_way
from batchvid.domain.takes import takes_by_first
from batchvid.domain.task import FACTS, FramesTaken
from batchvid.domain.text import nfc
from batchvid.manifest.diagnostics import Diagnostics, Location
from batchvid.manifest.expand import Expander, JobSpec, origin_of
from batchvid.manifest.files import on_disk
from batchvid.manifest.layers import Layer, layers_of
from batchvid.manifest.model import Manifest
from batchvid.manifest.references import (
    FRAMES,
    ID,
    NO_ID,
    Films,
    Frames,
    check_chains,
    frame_troubles,
    seconds_trouble,
    size_trouble,
    suffix,
)
from batchvid.manifest.schema import DEFAULTS, HEAD, LIMITS, SERVICE, what
from batchvid.manifest.templates import UnknownVariableError, clip_path, file_name, parse, same_file
from batchvid.manifest.values import ANY_SIZE, names_another_secret, shown
from batchvid.manifest.yaml_tree import Document, Map, TextError, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batchvid.domain.film import Film
    from batchvid.domain.task import ProviderName
    from batchvid.manifest.expand import Origin
    from batchvid.manifest.profiles import Config
    from batchvid.manifest.templates import Spelt, Template
    from batchvid.manifest.values import Price

_SLUG_LENGTH = 40
_CONTENT_DIGITS = 6
_SMALLEST_PIXELS = 100
"""A size of less on both sides is a shape."""
_WORD = re.compile(r"[a-z0-9]+")
_PRICED_BY = frozenset({"model", "size", "seconds", "price"})
_is_id = ID.fullmatch
_ALIKE = frozenset({"id", "prompt", "model", "size", "seconds"})
"""The fields of a job that nothing but its texts makes."""
_ID_IS_PATH = parse(HEAD.defaults["filename"])


class _Kind(NamedTuple):
    """What jobs have in common that differ in id and prompt alone, as most of a hundred thousand do."""

    model: str
    size: str | None
    seconds: str | None
    price_micros: int | None
    fingerprint_of: Callable[[str], str]
    """Makes the fingerprint of a prompt."""


def load(
    path: Path | str,
    *,
    read_frame: Callable[[Path], Frame],
    state_of: Callable[[str], Path],
    base_url: str | None,
    config: Config,
    profile: str | None,
) -> Manifest:
    """Read, check and expand the manifest at *path*; see `batchvid.manifest.load`."""
    with _no_collection():
        return _load(
            Path(path),
            name=str(path),
            read_frame=read_frame,
            state_of=state_of,
            base_url=base_url,
            config=config,
            profile=profile,
        )


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the cycle collector away: it would walk a growing tree again and again, and find nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load(
    path: Path,
    *,
    name: str,
    read_frame: Callable[[Path], Frame],
    state_of: Callable[[str], Path],
    base_url: str | None,
    config: Config,
    profile: str | None,
) -> Manifest:
    diagnostics = Diagnostics()
    absolute = path.absolute()
    document = _document(path, name, diagnostics)
    head, broken_head, mistakes = HEAD.check(document.tree)
    diagnostics.add_all(mistakes, document)
    shared = layers_of(document, head, absolute, diagnostics)
    if (profile := config.chosen(profile, head.get("profile"))) is not None:
        shared = shared.over(config.profiles[profile].below({"base_url": base_url}))
    limits = shared.sections["limits"]
    service = _service(document, shared, diagnostics, base_url=base_url)
    template, safe_names = None, head.get("safe_names", HEAD.defaults["safe_names"])
    if "filename" not in broken_head:
        try:
            template = file_name(head.get("filename", HEAD.defaults["filename"]), spelt=safe if safe_names else str)
        except ValueError as error:
            diagnostics.add(Location.of(document, "filename"), str(error))
    expander = Expander(
        document,
        absolute.parent,
        shared=shared,
        broken_defaults=shared.broken["defaults"] | broken_head & {"defaults"},
        diagnostics=diagnostics,
    )
    frames = Frames(absolute.parent, read_frame)
    maker = JobMaker(
        expander,
        frames,
        prices=shared.prices,
        priced=not {"budget", "budget_per_day"}.isdisjoint(limits) and not shared.are_prices_broken,
        template=template,
        safe_names=safe_names,
        provider=service["provider"],
        frames_taken=service["frames"],
        diagnostics=diagnostics,
    )
    jobs = maker.jobs()
    films = maker.films(document, jobs)
    expander.tell_unused(absolute, frames.files)
    if diagnostics:
        raise ManifestError(diagnostics.problems())
    written = head.get("output", f"out/{path.stem}")
    bucket = written if is_bucket(written) else None
    return Manifest(
        path=absolute,
        base_url=service["base_url"],
        key_env=service["key_env"],
        allow_http=service["allow_http"],
        clip_hosts=tuple(service["clip_hosts"]),
        proxy=service["proxy"],
        provider=service["provider"],
        output=on_disk(absolute.parent / written) if bucket is None else state_of(bucket),
        bucket=bucket,
        profile=f"{profile} ({config.path})" if profile else "",
        profile_name=profile or "",
        database_env=head.get("database", ""),
        limits=_limits(limits),
        jobs=tuple(jobs),
        notify=tuple(shared.notify or ()),
        films=films,
        warnings=tuple(map(str, diagnostics.warnings())),
        reads=tuple(expander.reads),
        made_safe=tuple(maker.made_safe),
    )


def _document(path: Path, name: str, diagnostics: Diagnostics) -> Document:
    """Read the manifest's text into a tree whose top is a map that has jobs; raises `ManifestError`."""
    try:
        document = Document(read_text(path), name=name)
    except TextError as error:
        diagnostics.add_error(error, file=name, where="manifest")
        raise ManifestError(diagnostics.problems()) from error
    for slip in document.slips:
        diagnostics.add_error(slip, file=name, where="manifest")
    top = document.tree
    if not isinstance(top, Map):
        text = f"is {what(top)}, and a map is wanted: write version: 1 and jobs:"
        diagnostics.add(Location(document, (), "manifest"), text)
        raise ManifestError(diagnostics.problems())
    jobs = top.get("jobs")
    if not isinstance(jobs, list) or not jobs:
        found = "is missing" if "jobs" not in top else f"is {what(jobs)}" if jobs != [] else "is empty"
        diagnostics.add(Location.of(document, "jobs"), f"{found}: write a list, a dash before each job")
        top["jobs"] = []
    return document


def _service(document: Document, shared: Layer, diagnostics: Diagnostics, *, base_url: str | None) -> dict[str, Any]:
    """Return where the requests go and with which key, and warn of what may give a secret away.

    *base_url* wins over what is written.
    """
    found, broken = shared.sections["service"], shared.broken["service"]
    written = SERVICE.defaults | found
    facts = FACTS[written["provider"]]
    frames = FramesTaken.TWO if "frames" in broken else facts.frames  # a slip in it is told once, and not at each job
    address = base_url or written.get("base_url", facts.base_url)
    service = {"key_env": facts.key_env_for(address), "frames": frames, **written, "base_url": address}
    if strange := names_another_secret(service["key_env"]):
        diagnostics.warn(shared.at(document, "service", "key_env"), strange)
    if service["allow_http"]:
        now = bool(service["key_env"]) and is_readable_on_the_way(service["base_url"])
        text = "everybody on the way can read the key" if now else "base_url does not need it; remove it"
        diagnostics.warn(shared.at(document, "service", "allow_http"), f"is on: {text}")
    return service


def _limits(given: Mapping[str, Any]) -> Limits:
    """Return the limits as values; what the manifest does not say is the default."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        fields = LIMITS.keys[name].fields or (name,)
        found |= zip(fields, value if len(fields) > 1 else (value,), strict=True)
    return Limits(**found)


class JobMaker:
    """Makes the jobs of one manifest, and remembers what ids and paths are taken."""

    def __init__(
        self,
        expander: Expander,
        frames: Frames,
        *,
        prices: Mapping[str, Mapping[str, Price]],
        priced: bool,
        template: Template | None,
        safe_names: bool,
        provider: ProviderName,
        frames_taken: FramesTaken,
        diagnostics: Diagnostics,
    ) -> None:
        """Prepare to make jobs.

        *prices* are by model and size. *priced*: every job needs a price, because there is a budget to keep.
        *template* is of the file names (``None``: wrong, and reported), *safe_names* makes them fit for all disks.
        """
        self._expander = expander
        self._frames = frames
        self._prices = prices
        self._priced = priced
        self._template = template
        self._safe_names = safe_names
        self._provider = provider
        self._facts = FACTS[provider]
        self._frames_taken = frames_taken
        self._id_is_path = template == _ID_IS_PATH and not safe_names
        self._diagnostics = diagnostics
        self._kinds: dict[tuple[str | None, str | None, str | None, int], _Kind] = {}
        self._ids: dict[str, Origin] = {}
        self._unmade: dict[str, str] = {}
        """The ids of jobs that have mistakes, by their lower case."""
        self._paths: dict[str, tuple[str, str, Origin]] = {}
        self._known_prices: dict[tuple[str, str | None, str | None], int | None] = {}
        self._contents: dict[str, str] = {}
        self._base = ""
        self._firsts: dict[tuple[object, ...], str] = {}
        self._unpriced: dict[tuple[str, str | None], tuple[JobSpec, int]] = {}
        self._warned: set[tuple[str, ...]] = set()
        self._continued: dict[str, JobSpec] = {}
        self._boards: dict[str, tuple[list[str], JobSpec]] = {}
        self.made_safe: list[tuple[str, str]] = []
        """The jobs whose path is not as it is written, each with that path."""

    def jobs(self) -> list[Job]:
        """Make every job; the list is complete when nothing was found wrong."""
        found = []
        for spec in self._expander.specs():
            job = self._alike(spec) or self._job(spec)
            if job is not None:
                found.append(job)
            elif spec.take == 1 and (written := spec.fields.get("id", "")).lower() in self._ids:
                self._unmade.setdefault(written.lower(), written)
        for (model, size), (spec, count) in self._unpriced.items():
            more = f" (and {count - 1:,} more jobs)" if count > 1 else ""
            what = f"{model} at size {size}" if size else model
            text = f"has no price, and there is a budget: add {what} to prices, or price: to the job{more}"
            self._diagnostics.add(self._expander.place(spec), text)
        if self._continued:
            check_chains(
                found,
                self._known(found),
                location_of=lambda job_id: self._expander.location(self._continued[job_id], "continues"),
                diagnostics=self._diagnostics,
            )
        return found

    def films(self, document: Document, jobs: Sequence[Job]) -> tuple[Film, ...]:
        """Return the films of the storyboards and of ``films``, once the *jobs* are made."""
        if not self._boards and "films" not in document.tree:
            return ()
        boards = {film: (clips, self._expander.location(spec, "film")) for film, (clips, spec) in self._boards.items()}
        taken = {key: job_id for key, (_, job_id, _) in self._paths.items()}
        spelt = safe if self._safe_names else str
        films = Films(document, self._known(jobs), spelt=spelt, diagnostics=self._diagnostics).all(boards, taken)
        groups = takes_by_first(jobs)
        return tuple(
            dataclasses.replace(film, takes=tuple(groups[one] for one in dict.fromkeys(film.clips) if one in groups))
            for film in films
        )

    def _known(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Return all ids by their lower case; those of jobs that have mistakes too, so that these are told once."""
        return self._unmade | {job.id.lower(): job.id for job in jobs}

    def _alike(self, spec: JobSpec) -> Job | None:
        """Return the job of a spec of a known kind in which nothing can be wrong; ``None`` for any other.

        What `_job` says once of a kind is said already, and what it looks up is known.
        """
        entry, _, row, fields, broken, _, take, id_tells_takes, _, _ = spec
        get = fields.get
        kind = self._kinds.get((get("model"), get("size"), get("seconds"), len(fields)))
        if kind is None or broken or take != 1 or id_tells_takes:
            return None
        job_id, prompt = get("id"), get("prompt")
        if not (job_id and prompt and prompt.isascii() and _is_id(job_id)):
            return None
        key = job_id.lower()
        if key in self._ids:
            return None
        self._ids[job_id if key == job_id else key] = origin_of(entry, row)
        model, size, seconds, price, fingerprint_of = kind
        return plain_job(
            job_id, prompt, model=model, size=size, seconds=seconds, price_micros=price, path=job_id + ".mp4",
            fingerprint=fingerprint_of(prompt), where=self._expander.let_go(spec),
            variables=self._expander.kept_variables(spec),
        )  # fmt: skip

    def _learn_kind(self, job: Job, spec: JobSpec) -> None:
        """Remember what further jobs will have in common with this one."""
        fields = spec.fields
        model, size, seconds = (fields.get(name) for name in ("model", "size", "seconds"))
        texts = [text for text in (job.model, size, seconds) if text is not None]
        if not self._id_is_path or not fields.keys() <= _ALIKE or not all(map(str.isascii, texts)):
            return
        if (job.model, size, seconds) not in self._known_prices:  # each of them counts among those without a price
            return
        written = fingerprint.fields(prompt="", model=job.model, size=size, seconds=seconds, form=())
        kind = _Kind(job.model, size, seconds, job.price_micros, fingerprint.of_first(written))
        self._kinds[model, size, seconds, len(fields)] = kind

    def _job(self, spec: JobSpec) -> Job | None:
        fields = spec.fields
        model: str = nfc(fields.get("model", self._facts.model))
        size: str | None = fields.get("size")
        seconds: str | None = fields.get("seconds")
        sound = not spec.broken
        prompt: str = fields.get("prompt", "")
        if not prompt and "prompt" not in spec.broken:
            self._diagnostics.add(self._expander.place(spec), "has no prompt: write prompt: and what the clip shows")
            sound = False
        if "id" in fields:
            sound = self._take_id(spec, _id_of_take(spec, fields["id"])) and sound
        frames: tuple[Frame, ...] | None = ()
        if "first_frame" in fields or "last_frame" in fields:
            frames = self._frames_of(spec)
        if "continues" in fields or "at" in fields:
            sound = self._may_continue(spec) and sound
        if self._is_news("size and seconds", size or "", seconds or ""):
            self._judge_size(spec, size)
            self._judge_seconds(spec, seconds)
        price = self._price(spec, model, size, seconds)
        if not sound or frames is None or self._template is None:
            return None
        form = tuple(fields["form"].items()) if "form" in fields else ()
        written = fingerprint.fields(prompt=prompt, model=model, size=size, seconds=seconds, form=form)
        hashes = [fingerprint.of_frame(frame) for frame in frames]
        above: str | None = fields.get("continues")
        if above is not None:
            hashes.insert(0, fingerprint.taken_frame(above, fields.get("at")))
        content, also = fingerprint.spelled(written, hashes)
        if also:
            prompt, form = nfc(prompt), tuple((name, nfc(value)) for name, value in form)
            size, seconds = size and nfc(size), seconds and nfc(seconds)
        named = "id" in fields
        job_id = _id_of_take(spec, fields["id"]) if named else self._derived_id(spec, prompt, content)
        if job_id is None or (path := self._path(spec, job_id, self._template)) is None:
            return None
        where = self._expander.line(spec)
        job = Job(
            job_id, prompt, model, size, seconds, form, frames, price, path, content, where, also=also, is_named=named,
            first_take=self._first_of(spec, job_id), variables=self._expander.kept_variables(spec),
        )  # fmt: skip
        return self._linked(spec, job)

    def _first_of(self, spec: JobSpec, job_id: str) -> str:
        """Return the id of the first take of the job that this is a further take of; empty when it is the first."""
        if spec.id_tells_takes:
            others = frozenset(one for one in spec.variables.items() if one[0] != "take")
            first = self._firsts.setdefault((spec.entry, spec.row, spec.part, others), job_id)
            return "" if first == job_id else first
        if spec.take == 1:
            return ""
        named: str | None = spec.fields.get("id")
        return self._base if named is None else named

    def _judge_size(self, spec: JobSpec, size: str | None) -> None:
        if size is None or not self._is_news("size", size):
            return
        ratio = ratio_of(size)
        if self._facts.needs_pixels and ratio and max(ratio) < _SMALLEST_PIXELS:
            text = f'"{size}" is a shape, and provider: {self._provider} wants pixels: write such as 1280x720'
            self._diagnostics.add(self._expander.location(spec, "size"), text)
        elif (strange := size_trouble(size)) is not None:
            self._diagnostics.warn(self._expander.location(spec, "size"), strange)

    def _judge_seconds(self, spec: JobSpec, seconds: str | None) -> None:
        if seconds is not None and self._is_news("seconds", seconds) and (strange := seconds_trouble(seconds)):
            self._diagnostics.warn(self._expander.location(spec, "seconds"), strange)

    def _linked(self, spec: JobSpec, job: Job) -> Job:
        """Remember what the job is a part of: its storyboard's film (the first take is), a chain, or neither."""
        if "continues" not in spec.fields and not spec.film:
            self._learn_kind(job, spec)
            return job
        if spec.film and (spec.take == 1 or spec.id_tells_takes):
            self._boards.setdefault(job.id.removesuffix(suffix(spec.part)), ([], spec))[0].append(job.id)
        if "continues" not in spec.fields:
            return job
        self._continued[job.id] = spec
        own = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)} | {"fingerprint": ""}
        return Continuation(**own, continues=spec.fields["continues"], at_s=spec.fields.get("at"))

    def _may_continue(self, spec: JobSpec) -> bool:
        """Whether what is written of another clip to go on from can be."""
        if "continues" not in spec.fields:
            if "continues" not in spec.broken:
                text = "stands without continues: name the clip that is meant"
                self._diagnostics.add(self._expander.location(spec, "at"), text)
            return False
        if "first_frame" in spec.fields:
            text = "stands beside first_frame, and the clip can begin with one frame only: remove one of the two"
            self._diagnostics.add(self._expander.location(spec, "continues"), text)
        return "first_frame" not in spec.fields

    def _take_id(self, spec: JobSpec, job_id: str) -> bool:
        """Claim an id that was written; ``False`` when it is none, or somebody has it."""
        if not ID.fullmatch(job_id):
            self._diagnostics.add(self._expander.location(spec, "id"), f"{shown(job_id)} {NO_ID}")
            return False
        if (holder := self._ids.get(key := job_id.lower())) is not None:
            named = self._expander.named(holder)
            text = f"{shown(job_id)} is the id of {named} too: ids are unique, without regard to case"
            self._diagnostics.add(self._expander.location(spec, "id"), text)
            return False
        self._ids[key] = spec.origin
        return True

    def _derived_id(self, spec: JobSpec, prompt: str, content: str) -> str | None:
        """Return the id of a job that was given none: it follows from the content, and so survives re-ordering."""
        if spec.take == 1:
            self._base = f"{_slug(prompt)}-{content[:_CONTENT_DIGITS]}"
        job_id = _id_of_take(spec, self._base)
        if (holder := self._ids.get(key := job_id.lower())) is None:
            self._ids[key] = spec.origin
            self._contents[job_id] = content
            return job_id
        if self._contents.get(job_id) == content:
            text = f"is the same as {self._expander.named(holder)}: for more clips of one content write takes: 2"
        else:
            text = f'would get the id "{job_id}", which {self._expander.named(holder)} has: write an id: of its own'
        self._diagnostics.add(self._expander.place(spec), text)
        return None

    def _frames_of(self, spec: JobSpec) -> tuple[Frame, ...] | None:
        """Return the job's frames in order; ``None`` when one of them is wrong."""
        frames: list[Frame] = []
        wanted = [field for field in FRAMES if field in spec.fields]
        fit, ratio = spec.fields.get("fit", DEFAULTS.defaults["fit"]), ratio_of(spec.fields.get("size"))
        if fit is not Fit.NONE and ratio is None and "size" not in spec.broken:
            text = f"{fit} needs a size: that names a ratio, such as 16x9 or 1280x720: write one beside it"
            self._diagnostics.add(self._expander.location(spec, "fit"), text)
            return None
        begun = "first_frame" in wanted or "continues" in spec.fields
        if not begun and not spec.broken & {"first_frame", "continues"}:
            text = "stands without first_frame: write first_frame too, or name this one first_frame"
            self._diagnostics.add(self._expander.location(spec, "last_frame"), text)
        if "last_frame" in wanted and not self._may_send_two(spec):
            return None
        for field in wanted:
            try:
                frames.append(self._frames.get(spec.fields[field], fit=fit, ratio=ratio))
            except ValueError as error:
                self._diagnostics.add(self._expander.location(spec, field), str(error))
        if not begun or len(frames) < len(wanted):
            return None
        found = tuple(frames)
        for field, text in frame_troubles(
            dict(zip(wanted, found, strict=True)), spec.fields.get("size"), exact=self._facts.needs_pixels
        ):
            if self._is_news(field, spec.fields[field], text):
                self._diagnostics.warn(self._expander.location(spec, field), text)
        return found

    def _may_send_two(self, spec: JobSpec) -> bool:
        """Whether a last frame may be sent beside a first one: a clip that begins with its last frame is paid, too."""
        usual = self._facts.frames
        if self._frames_taken is FramesTaken.ONE:
            why = f"first and last frame need a service that honours both: one of provider: {self._provider} takes "
            why += "a first frame alone, or begins the clip with the last. If yours honours both, write service: "
            why += "{frames: two}; else remove it"
            if usual is FramesTaken.TWO:
                why = "service.frames is one, so a clip has a first frame alone. Remove it, or write frames: two"
            self._diagnostics.add(self._expander.location(spec, "last_frame"), f"cannot be sent: {why}")
        elif usual is FramesTaken.ONE and self._is_news("frames"):
            text = (
                "is two: a server that reads one frame begins the clip with the last one, and bills it. Buy one "
                "of them first (batchvid run --only ID), and look at it"
            )
            self._diagnostics.warn(self._expander.at("service", "frames"), text)
        return self._frames_taken is FramesTaken.TWO

    def _is_news(self, *what: str) -> bool:
        """Whether this is met for the first time: a thousand jobs may share one frame, and one size."""
        if what in self._warned:
            return False
        self._warned.add(what)
        return True

    def _price(self, spec: JobSpec, model: str, size: str | None, seconds: str | None) -> int | None:
        own: Price | None = spec.fields.get("price")
        key = model, size, seconds
        if own is None and key in self._known_prices:
            return self._known_prices[key]
        if not _PRICED_BY.isdisjoint(spec.broken):
            return None
        by_size = self._prices.get(model, {})
        price = own or by_size.get(size or ANY_SIZE) or by_size.get(ANY_SIZE)
        if price is None:
            if self._priced:
                first, count = self._unpriced.get((model, size), (spec, 0))
                self._unpriced[model, size] = first, count + 1
            else:
                self._known_prices[key] = None
            return None
        try:
            micros = price.of_clip(seconds)
        except ValueError as error:
            self._diagnostics.add(self._expander.location(spec, "seconds"), str(error))
            return None
        if own is None:
            self._known_prices[key] = micros
        return micros

    def _path(self, spec: JobSpec, job_id: str, template: Template) -> str | None:
        """Return the clip's path; ``None`` when it is none, or in another's way."""
        if self._id_is_path:
            return job_id + ".mp4"
        own = {"id": job_id, "model": self._facts.model, "size": "default"}
        own |= {name: spec.fields[name] for name in ("model", "size") if name in spec.fields}
        try:
            path = clip_path(template, {**spec.variables, **own, "take": str(spec.take)}, spelt=self._spelt(job_id))
        except UnknownVariableError as error:
            if self._is_news("filename", error.name):
                self._diagnostics.add(self._expander.at("filename"), f'{error} (in job "{job_id}")')
            return None
        except ValueError as error:
            self._diagnostics.add(self._expander.place(spec), str(error))
            return None
        if (holder := self._paths.get(key := same_file(path))) is not None:
            text = (
                f'job "{job_id}" would be written to {shown(path)}, and so would job "{holder[1]}" of '
                f"{self._expander.named(holder[2])}: write {{id}} into filename"
            )
            self._diagnostics.add(self._expander.place(spec), text)
            return None
        self._paths[key] = path, job_id, spec.origin
        return path

    def _spelt(self, job_id: str) -> Spelt:
        """Return what makes the path of a job's clip of the one that is written."""

        def made_safe(path: str) -> str:
            if (found := safe(path)) != path:
                self.made_safe.append((job_id, path))
            return found

        return made_safe if self._safe_names else str


def _id_of_take(spec: JobSpec, job_id: str) -> str:
    return job_id if spec.take == 1 or spec.id_tells_takes else f"{job_id}-{spec.take}"


def _slug(prompt: str) -> str:
    """Return the first words of *prompt* as letters, digits and dashes."""
    words = _WORD.findall(unicodedata.normalize("NFKD", prompt[:200]).encode("ascii", "ignore").decode().lower())
    slug = words[0][:_SLUG_LENGTH] if words else "clip"
    for word in words[1:]:
        if len(slug) + 1 + len(word) > _SLUG_LENGTH:
            break
        slug += "-" + word
    return slug
