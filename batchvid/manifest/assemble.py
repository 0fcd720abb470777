"""Wishes become jobs: ids, frames, prices, paths and fingerprints, and no two jobs in each other's way."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from typing import TYPE_CHECKING

from batchvid.domain import fingerprint
from batchvid.domain.image_fit import Fit, ratio_of
from batchvid.domain.job import Continuation, Frame, Job
from batchvid.domain.text import nfc
from batchvid.manifest import paths
from batchvid.manifest.frames import Frames, frame_troubles, size_trouble
from batchvid.manifest.links import ID, NO_ID, Films, check_chains
from batchvid.manifest.storyboards import FRAMES, suffix
from batchvid.manifest.template import Template, UnknownVariableError, parse
from batchvid.manifest.units import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.domain.film import Film
    from batchvid.manifest.expand import Expander, JobSpec
    from batchvid.manifest.prices import Prices
    from batchvid.manifest.problems import Diagnostics
    from batchvid.manifest.read import Document

DEFAULT_MODEL = "veo3-fast"

_SLUG_LENGTH = 40
_CONTENT_DIGITS = 6
_WORD = re.compile(r"[a-z0-9]+")
_PRICED_BY = frozenset({"model", "size", "seconds", "price"})


class Assembler:
    """Builds the jobs of one manifest, and remembers what ids and paths are taken."""

    def __init__(
        self,
        expander: Expander,
        frames: Frames,
        *,
        prices: Prices,
        template: Template | None,
        findings: Diagnostics,
    ) -> None:
        """Prepare to build; *template* is of the file names (``None``: wrong, and reported)."""
        self._expander = expander
        self._frames = frames
        self._prices = prices
        self._template = template
        self._id_is_path = template == parse(paths.DEFAULT)
        self._findings = findings
        self._ids: dict[str, JobSpec] = {}
        self._paths: dict[str, tuple[str, str, JobSpec]] = {}
        self._known_prices: dict[tuple[str, str | None, str | None], int | None] = {}
        self._contents: dict[str, str] = {}
        self._base = ""
        self._unpriced: dict[tuple[str, str | None], tuple[JobSpec, int]] = {}
        self._warned: set[tuple[str, ...]] = set()
        self._continued: dict[str, JobSpec] = {}
        self._boards: dict[str, tuple[list[str], JobSpec]] = {}

    def jobs(self) -> list[Job]:
        """Build every job; the list is complete when nothing was found wrong."""
        found = [job for wish in self._expander.wishes() if (job := self._job(wish)) is not None]
        for (model, size), (wish, count) in self._unpriced.items():
            more = f" (and {count - 1:,} more jobs)" if count > 1 else ""
            what = f"{model} at size {size}" if size else model
            text = f"has no price, and there is a budget: add {what} to prices, or price: to the job{more}"
            self._findings.add(self._expander.place(wish), text)
        if self._continued:
            check_chains(
                found,
                self._known(found),
                spot_of=lambda job_id: self._expander.spot(self._continued[job_id], "continues"),
                findings=self._findings,
            )
        return found

    def films(self, document: Document, jobs: Sequence[Job]) -> tuple[Film, ...]:
        """Return the films of the storyboards and of ``films``, once the *jobs* are built."""
        if not self._boards and "films" not in document.tree:
            return ()
        boards = {film: (clips, self._expander.spot(wish, "film")) for film, (clips, wish) in self._boards.items()}
        taken = {key: job_id for key, (_, job_id, _) in self._paths.items()}
        return Films(document, self._known(jobs), findings=self._findings).all(boards, taken)

    def _known(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Return all ids by their lower case; those of jobs that have mistakes too, so that these are told once."""
        found = {key: wish.fields.get("id", key) for key, wish in self._ids.items() if wish.take == 1}
        return found | {job.id.lower(): job.id for job in jobs}

    def _job(self, wish: JobSpec) -> Job | None:
        fields = wish.fields
        model: str = nfc(fields.get("model", DEFAULT_MODEL))
        size: str | None = fields.get("size")
        seconds: str | None = fields.get("seconds")
        sound = not wish.broken
        prompt: str = fields.get("prompt", "")
        if not prompt and "prompt" not in wish.broken:
            self._findings.add(self._expander.place(wish), "has no prompt: write prompt: and what the clip shows")
            sound = False
        if "id" in fields:
            sound = self._take_id(wish, _id_of_take(wish, fields["id"])) and sound
        frames: tuple[Frame, ...] | None = ()
        if "first_frame" in fields or "last_frame" in fields:
            frames = self._frames_of(wish)
        if "continues" in fields or "at" in fields:
            sound = self._may_continue(wish) and sound
        if size is not None:
            self._warn_of_size(wish, size)
        price = self._price(wish, model, size, seconds)
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
        job_id = _id_of_take(wish, fields["id"]) if "id" in fields else self._derived_id(wish, prompt, content)
        if job_id is None or (path := self._path(wish, job_id, self._template)) is None:
            return None
        where = self._expander.line(wish)
        named = "id" in fields
        job = Job(
            job_id, prompt, model, size, seconds, form, frames, price, path, content, where, also=also, is_named=named
        )
        return job if above is None and not wish.film else self._linked(wish, job)

    def _linked(self, wish: JobSpec, job: Job) -> Job:
        """Note what the job is a part of: its storyboard's film (the first take is), or a chain."""
        if wish.film and (wish.take == 1 or wish.id_tells_takes):
            self._boards.setdefault(job.id.removesuffix(suffix(wish.part)), ([], wish))[0].append(job.id)
        if "continues" not in wish.fields:
            return job
        self._continued[job.id] = wish
        own = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)} | {"fingerprint": ""}
        return Continuation(**own, continues=wish.fields["continues"], at_s=wish.fields.get("at"))

    def _may_continue(self, wish: JobSpec) -> bool:
        """Whether what is written of another clip to go on from can be."""
        if "continues" not in wish.fields:
            if "continues" not in wish.broken:
                self._findings.add(
                    self._expander.spot(wish, "at"), "stands without continues: name the clip that is meant"
                )
            return False
        if "first_frame" in wish.fields:
            text = "stands beside first_frame, and the clip can begin with one frame only: remove one of the two"
            self._findings.add(self._expander.spot(wish, "continues"), text)
        return "first_frame" not in wish.fields

    def _take_id(self, wish: JobSpec, job_id: str) -> bool:
        """Take an id that was written; ``False`` when it is none, or somebody has it."""
        if not ID.fullmatch(job_id):
            self._findings.add(self._expander.spot(wish, "id"), f"{shown(job_id)} {NO_ID}")
            return False
        holder = self._ids.setdefault(job_id.lower(), wish)
        if holder is not wish:
            text = f"{shown(job_id)} is the id of {self._named(holder)} too: ids are unique, without regard to case"
            self._findings.add(self._expander.spot(wish, "id"), text)
        return holder is wish

    def _derived_id(self, wish: JobSpec, prompt: str, content: str) -> str | None:
        """Return the id of a job that was given none: it follows from the content, and so survives re-ordering."""
        if wish.take == 1:
            self._base = f"{_slug(prompt)}-{content[:_CONTENT_DIGITS]}"
        job_id = _id_of_take(wish, self._base)
        holder = self._ids.setdefault(job_id.lower(), wish)
        if holder is wish:
            self._contents[job_id] = content
            return job_id
        if self._contents.get(job_id) == content:
            text = f"is the same as {self._named(holder)}: for more clips of one content write takes: 2"
        else:
            text = f'would get the id "{job_id}", which {self._named(holder)} has: write an id: of its own'
        self._findings.add(self._expander.place(wish), text)
        return None

    def _frames_of(self, wish: JobSpec) -> tuple[Frame, ...] | None:
        """Return the job's frames in order; ``None`` when one of them is wrong."""
        frames: list[Frame] = []
        wanted = [field for field in FRAMES if field in wish.fields]
        fit, ratio = Fit(wish.fields.get("fit", Fit.NONE)), ratio_of(wish.fields.get("size"))
        if fit is not Fit.NONE and ratio is None and "size" not in wish.broken:
            text = f"{fit} needs a size: that names a ratio, such as 16x9 or 1280x720: write one beside it"
            self._findings.add(self._expander.spot(wish, "fit"), text)
            return None
        begun = "first_frame" in wanted or "continues" in wish.fields
        if not begun and not wish.broken & {"first_frame", "continues"}:
            text = "stands without first_frame: write first_frame too, or name this one first_frame"
            self._findings.add(self._expander.spot(wish, "last_frame"), text)
        for field in wanted:
            try:
                frames.append(self._frames.get(wish.fields[field], fit=fit, ratio=ratio))
            except ValueError as error:
                self._findings.add(self._expander.spot(wish, field), str(error))
        if not begun or len(frames) < len(wanted):
            return None
        found = tuple(frames)
        for field, text in frame_troubles(dict(zip(wanted, found, strict=True)), wish.fields.get("size")):
            if self._is_news(field, wish.fields[field], text):
                self._findings.warn(self._expander.spot(wish, field), text)
        return found

    def _warn_of_size(self, wish: JobSpec, size: str) -> None:
        if (text := size_trouble(size)) and self._is_news(text):
            self._findings.warn(self._expander.spot(wish, "size"), text)

    def _is_news(self, *what: str) -> bool:
        """Whether a warning is said for the first time: a thousand jobs may share one frame."""
        known = what in self._warned
        self._warned.add(what)
        return not known

    def _price(self, wish: JobSpec, model: str, size: str | None, seconds: str | None) -> int | None:
        own = wish.fields.get("price")
        key = model, size, seconds
        if own is None and key in self._known_prices:
            return self._known_prices[key]
        if not _PRICED_BY.isdisjoint(wish.broken):
            return None
        price = own or self._prices.find(model, size)
        if price is None:
            if self._prices.required:
                first, count = self._unpriced.get((model, size), (wish, 0))
                self._unpriced[model, size] = first, count + 1
            else:
                self._known_prices[key] = None
            return None
        try:
            micros = price.of_clip(seconds)
        except ValueError as error:
            self._findings.add(self._expander.spot(wish, "seconds"), str(error))
            return None
        if own is None:
            self._known_prices[key] = micros
        return micros

    def _path(self, wish: JobSpec, job_id: str, template: Template) -> str | None:
        """Return the clip's path; ``None`` when it is none, or in another's way."""
        if self._id_is_path:
            return job_id + ".mp4"
        fields = wish.fields
        own = {"id": job_id, "model": fields.get("model", DEFAULT_MODEL), "size": fields.get("size", "default")}
        try:
            path = paths.clip_path(template, {**wish.variables, **own, "take": str(wish.take)})
        except UnknownVariableError as error:
            if self._is_news("filename", error.name):
                self._findings.add(self._expander.top("filename"), f'{error} (in job "{job_id}")')
            return None
        except ValueError as error:
            self._findings.add(self._expander.place(wish), str(error))
            return None
        holder = self._paths.setdefault(paths.same_file(path), (path, job_id, wish))
        if holder[2] is not wish:
            text = (
                f'job "{job_id}" would be written to {shown(path)}, and so would job "{holder[1]}" of '
                f"{self._named(holder[2])}: write {{id}} into filename"
            )
            self._findings.add(self._expander.place(wish), text)
            return None
        return path

    def _named(self, wish: JobSpec) -> str:
        return f"{self._expander.place(wish).where} ({self._expander.line(wish)})"


def _id_of_take(wish: JobSpec, job_id: str) -> str:
    return job_id if wish.take == 1 or wish.id_tells_takes else f"{job_id}-{wish.take}"


def _slug(prompt: str) -> str:
    """Return the first words of *prompt* as letters, digits and dashes."""
    words = _WORD.findall(unicodedata.normalize("NFKD", prompt[:200]).encode("ascii", "ignore").decode().lower())
    slug = words[0][:_SLUG_LENGTH] if words else "clip"
    for word in words[1:]:
        if len(slug) + 1 + len(word) > _SLUG_LENGTH:
            break
        slug += "-" + word
    return slug
