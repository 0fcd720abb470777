"""What a job names beside its texts: the files of its frames, the job that it continues, the clips of a film.

A storyboard is N frames in order. They become N-1 jobs, each from one frame to the next, and on request a film.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from batchvid.domain.film import Film
from batchvid.domain.image_fit import Fit, fitting, ratio_of
from batchvid.domain.job import Continuation
from batchvid.manifest.diagnostics import Location
from batchvid.manifest.files import Disk, is_address
from batchvid.manifest.schema import FILM, what
from batchvid.manifest.templates import same_file
from batchvid.manifest.values import shown
from batchvid.manifest.yaml_tree import Map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchvid.domain.job import Frame, Job
    from batchvid.manifest.diagnostics import Diagnostics
    from batchvid.manifest.templates import Spelt
    from batchvid.manifest.yaml_tree import Document


ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
NO_ID = "is no id: write 1 to 100 of a\u2013z, A\u2013Z, 0\u20139 . _ - and begin with a letter or digit"
CIRCLE_SHOWN = 8
"""Jobs of a circle that are named."""
CLOSE_LOOKED_AT = 20_000
"""Ids among which a similar one is looked for: it takes a second for so many."""
_SECONDS = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_WHOLE_FLOAT = re.compile(r"\d+\.0+", re.ASCII)
"""What spreadsheets and data frames make of a whole number."""
_RATIO_TOLERANCE = 0.02
"""1920x1088, which encoders like, still counts as 16x9."""
_PADDED_MAX_PIXELS = 100_000_000
"""As many as a frame may have."""


class Frames:
    """The images of one manifest: each file is read once."""

    def __init__(self, folder: Path, read_frame: Callable[[Path], Frame]) -> None:
        """*folder* is the manifest's; frames are named relative to it."""
        self._folder = folder
        self._read = read_frame
        self._disk = Disk()
        self._known: dict[Path, Frame | ValueError] = {}
        self.files: set[str] = set()
        """What was looked into, as absolute paths."""

    def get(self, relative: str, *, fit: Fit = Fit.NONE, ratio: tuple[int, int] | None = None) -> Frame:
        """Return the frame of a file, to be fitted to *ratio*.

        Raises `ValueError` with the file's name and what is wrong with it.
        """
        if is_address(relative):
            raise ValueError(f"{shown(relative)} is an address: download the picture, and write the path of its file")
        path = self._folder / relative
        found = self._known.get(path)
        if found is None:
            here = self._disk.spelled(path, any_case=True)
            self.files.add(os.path.abspath(here))  # noqa: PTH100 links stay
            try:
                found = self._read(here)
            except ValueError as error:
                found = ValueError(f"{error}{self._disk.hint(path, relative)}")
            self._known[path] = found
        if isinstance(found, ValueError):
            raise ValueError(f"{relative}: {found}") from found  # noqa: TRY004 a remembered error, not a wrong type
        if ratio is None or (wanted := fitting(found.width, found.height, ratio=ratio, fit=fit)) is None:
            return found
        if (pixels := wanted.width * wanted.height) > _PADDED_MAX_PIXELS:
            text = f"padded to {wanted.width}x{wanted.height} it would have {pixels / 1e6:,.0f} million pixels: crop it"
            raise ValueError(f"{relative}: {text}")
        return replace(found, fitted=wanted)


def size_trouble(size: str) -> str | None:
    """Return what is strange about a ``size``, which is passed through all the same."""
    if ratio_of(size):
        return None
    return f'"{size}" is neither 16x9, 9x16 nor pixels such as 1280x720; it is sent as it is'


def seconds_trouble(seconds: str) -> str | None:
    """Return what is strange about ``seconds``, which are passed through all the same."""
    if _WHOLE_FLOAT.fullmatch(seconds):
        return f'"{seconds}" is sent as it is, and services want "{seconds.partition(".")[0]}"'
    if _SECONDS.fullmatch(seconds):
        return None
    return f"{shown(seconds)} is no number of seconds, such as 8; it is sent as it is"


def suits(frame: Frame, ratio: tuple[int, int]) -> bool:
    """Whether what goes out of the frame has the clip's ratio, or nearly."""
    width, height = frame.sent_size
    return not height or abs(width * ratio[1] / (height * ratio[0]) - 1) <= _RATIO_TOLERANCE


def frame_troubles(frames: Mapping[str, Frame], size: str | None, *, exact: bool) -> Iterator[tuple[str, str]]:
    """Yield what is strange about a job's frames as they go out: the field, and the text.

    *exact*: the service may want the clip's size to the pixel.
    """
    ratio = ratio_of(size)
    if ratio is not None:
        for field, frame in frames.items():
            if not suits(frame, ratio):
                yield field, f"is {_pixels(frame)}, and the clip {size}: the service may crop it; see fit:"
            elif exact and frame.sent_size != ratio:
                yield field, f"is {_pixels(frame)}, and the clip {size}: OpenAI refuses that, others may scale it"
    match tuple(frames.values()):
        case (first, last) if first.sent_size != last.sent_size:
            yield "last_frame", f"is {_pixels(last)}, and the first frame {_pixels(first)}: make them alike"
        case _:
            pass


def _pixels(frame: Frame) -> str:
    width, height = frame.sent_size
    return f"{width}x{height}"


def check_chains(
    jobs: Sequence[Job], known: Mapping[str, str], *, location_of: Callable[[str], Location], diagnostics: Diagnostics
) -> None:
    """Find jobs that continue what does not exist, or each other in a circle.

    *known* are all ids that were written, by their lower case; *location_of* is where a job says what it continues.
    """
    above = {job.id: job.continues for job in jobs if isinstance(job, Continuation)}
    size_of = {job.id: job.size for job in jobs} if above else {}
    for job_id, wanted in above.items():
        if known.get(wanted.lower()) != wanted:
            diagnostics.add(location_of(job_id), _unknown(wanted, known))
        elif wanted in size_of and size_of[wanted] != size_of[job_id]:
            text = f"is {size_of[wanted] or 'of no stated size'}, and this clip {size_of[job_id] or 'too'}"
            diagnostics.warn(location_of(job_id), f"{shown(wanted)} {text}: the service may crop its frame")
    seen: set[str] = set()
    for start in above:
        way: dict[str, None] = {}
        here: str | None = start
        while here is not None and here not in seen:
            seen.add(here)
            way[here] = None
            here = above.get(here)
        if here in way:
            circle = list(way)[list(way).index(str(here)) :]
            names = circle[:CIRCLE_SHOWN] + ["…"] * (len(circle) > CIRCLE_SHOWN) + [circle[0]]
            diagnostics.add(
                location_of(circle[0]), f"is a circle: {' -> '.join(names)}: let one of them begin without it"
            )


class Films:
    """The films of one manifest: those of its storyboards, and those under ``films``."""

    def __init__(self, document: Document, known: Mapping[str, str], *, spelt: Spelt, diagnostics: Diagnostics) -> None:
        """*known* are all ids of jobs, by their lower case."""
        self._document = document
        self._spelt = spelt
        self._known = known
        self._diagnostics = diagnostics
        self._films: dict[str, tuple[Film, str]] = {}

    def all(self, boards: Mapping[str, tuple[list[str], Location]], clip_paths: Mapping[str, str]) -> tuple[Film, ...]:
        """Return every film; *boards* are the storyboards', by id, *clip_paths* the ids of clips, by `same_file`."""
        for film_id, (clips, location) in boards.items():
            self._add(Film(film_id, tuple(clips), self._spelt(f"{film_id}.mp4")), location, clip_paths)
        section = self._document.tree.get("films", [])
        if not isinstance(section, list):
            text = f"is {what(section)}, and a list is wanted, such as - {{id: trailer, clips: [kite]}}"
            self._diagnostics.add(Location.of(self._document, "films"), text)
            section = []
        for index, entry in enumerate(section):
            self._entry(index, entry, clip_paths)
        return tuple(film for film, _ in self._films.values())

    def _entry(self, index: int, entry: Any, clip_paths: Mapping[str, str]) -> None:
        here, example = Location.of(self._document, "films", index), "such as {id: trailer, clips: [kite, gull]}"
        if not isinstance(entry, Map):
            self._diagnostics.add(here, f"is {what(entry)}, and a map is wanted, {example}")
            return
        given, broken, mistakes = FILM.check(entry)
        self._diagnostics.add_all(mistakes, self._document, "films", index)
        for key in FILM.required:
            if key not in given and key not in broken:
                self._diagnostics.add(here, f"has no {key}: write {example}")
        clips: list[str] = given.get("clips", [])
        for place, clip in enumerate(clips):
            if self._known.get(clip.lower()) != clip:
                location = Location.of(self._document, "films", index, "clips", place)
                self._diagnostics.add(location, _unknown(clip, self._known))
        if (film_id := given.get("id")) is not None:
            location = Location.of(self._document, "films", index, "id")
            if ID.fullmatch(film_id):
                self._add(Film(film_id, tuple(clips), self._spelt(f"{film_id}.mp4")), location, clip_paths)
            else:
                self._diagnostics.add(location, f"{shown(film_id)} {NO_ID}")

    def _add(self, film: Film, location: Location, clip_paths: Mapping[str, str]) -> None:
        key = film.id.lower()
        _, holder = self._films.setdefault(key, (film, location.where))
        if key in self._known:
            text = f"{shown(film.id)} is the id of a job: a film needs one of its own"
        elif holder != location.where:
            text = f"{shown(film.id)} is the id of the film of {holder} too: ids are unique, without regard to case"
        elif (job_id := clip_paths.get(same_file(film.path))) is not None:
            text = (
                f'the film would be written to {film.path}, and so would job "{job_id}": write another id or filename'
            )
        else:
            return
        self._diagnostics.add(location, text)


def _unknown(wanted: str, known: Mapping[str, str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(wanted.lower(), known, n=1) if len(known) <= CLOSE_LOOKED_AT else []
    return f"{shown(wanted)} is no job here" + (f": did you mean {known[close[0]]}?" if close else ": write a job's id")


FRAMES = ("first_frame", "last_frame")


class Part(NamedTuple):
    """One job of a storyboard, before anything is filled in."""

    number: int
    """From 1."""
    given: dict[str, Any]
    """The entry as it would be written for this job alone."""
    literal: dict[str, Any]
    """The same of a table's row."""


def suffix(number: int) -> str:
    """Return what a part's id ends in; frames that are added at the end leave the parts before them as they are."""
    return f"-{number:02}"


def board_mistakes(given: Mapping[str, Any], literal: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with an entry beside or without a storyboard: the key, and the text."""
    if "storyboard" not in given:
        for key, instead in (("film", "for other clips write films:"), ("prompts", "write prompt:")):
            if key in given:
                yield key, f"belongs to a storyboard: {instead}"
        return
    if "id" not in given and "id" not in literal:
        yield "storyboard", "needs an id: its jobs are named after it, id-01 and so on"
    for key in (*FRAMES, "continues"):
        if key in given or key in literal:
            yield key, "stands beside storyboard, which holds the frames: remove one of the two"
    if "prompts" in given:
        jobs = len(given["storyboard"]) - 1
        if len(given["prompts"]) != jobs:
            yield (
                "prompts",
                f"has {len(given['prompts'])} prompts for {jobs} job{'s' * (jobs != 1)}: write one for each",
            )
        if "prompt" in given or "prompt" in literal:
            yield "prompts", "stands beside prompt: remove one of the two"


def board_parts(given: Mapping[str, Any], literal: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the jobs of a storyboard that has no mistakes."""
    frames, prompts = given["storyboard"], given.get("prompts")
    kept = {key: value for key, value in given.items() if key not in {"storyboard", "prompts", "film"}}
    for number, (first, last) in enumerate(pairwise(frames), 1):
        own = kept | {"first_frame": first, "last_frame": last}
        if prompts is not None:
            own["prompt"] = prompts[number - 1]
        if "id" in kept:
            own["id"] = kept["id"] + suffix(number)
        fixed = dict(literal)
        if "id" in fixed:
            fixed["id"] += suffix(number)
        yield Part(number, own, fixed)


def board_path(number: int, field: str, entry: Mapping[str, Any]) -> tuple[str | int, ...] | None:
    """Return where a field of a part is written below its entry, when that is not under its own name."""
    if field in FRAMES:
        return "storyboard", number - 1 + FRAMES.index(field)
    if field == "prompt" and "prompts" in entry:
        return "prompts", number - 1
    return None
