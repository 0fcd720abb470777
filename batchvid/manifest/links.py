"""What names other jobs: ``continues`` and films. Looked up when every job is known; most manifests have neither."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from batchvid.domain.film import Film
from batchvid.domain.job import Continuation
from batchvid.manifest import paths
from batchvid.manifest.check import check, what
from batchvid.manifest.problems import Location, dotted
from batchvid.manifest.read import Document, Map
from batchvid.manifest.units import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchvid.domain.job import Job
    from batchvid.manifest.problems import Diagnostics

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
NO_ID = "is no id: write 1 to 100 letters, digits and . _ - and begin with a letter or digit"
CIRCLE_SHOWN = 8
"""Jobs of a circle that are named."""


def check_chains(
    jobs: Sequence[Job], known: Mapping[str, str], *, spot_of: Callable[[str], Location], findings: Diagnostics
) -> None:
    """Find jobs that continue what does not exist, or each other in a circle.

    *known* are all ids that were written, by their lower case; *spot_of* gives where a job says what it continues.
    """
    above = {job.id: job.continues for job in jobs if isinstance(job, Continuation)}
    size_of = {job.id: job.size for job in jobs} if above else {}
    for job_id, wanted in above.items():
        if known.get(wanted.lower()) != wanted:
            findings.add(spot_of(job_id), _unknown(wanted, known))
        elif wanted in size_of and size_of[wanted] != size_of[job_id]:
            text = f"is {size_of[wanted] or 'of no stated size'}, and this clip {size_of[job_id] or 'too'}"
            findings.warn(spot_of(job_id), f"{shown(wanted)} {text}: the service may crop its frame")
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
            findings.add(spot_of(circle[0]), f"is a circle: {' -> '.join(names)}: let one of them begin without it")


class Films:
    """The films of one manifest: those of its storyboards, and those under ``films``."""

    def __init__(self, document: Document, known: Mapping[str, str], *, findings: Diagnostics) -> None:
        """*known* are all ids of jobs, by their lower case."""
        self._document = document
        self._known = known
        self._findings = findings
        self._films: dict[str, tuple[Film, str]] = {}

    def all(self, boards: Mapping[str, tuple[list[str], Location]], clip_paths: Mapping[str, str]) -> tuple[Film, ...]:
        """Return every film; *boards* are the storyboards by id, *clip_paths* the clips' names by `same_file`."""
        for film_id, (clips, spot) in boards.items():
            self._add(Film(film_id, tuple(clips), f"{film_id}.mp4"), spot, clip_paths)
        section = self._document.tree.get("films", [])
        if not isinstance(section, list):
            text = f"is {what(section)}, and a list is wanted, such as - {{id: trailer, clips: [kite]}}"
            self._findings.add(Location(self._document, ("films",), "films"), text)
            section = []
        for index, entry in enumerate(section):
            self._entry(index, entry, clip_paths)
        return tuple(film for film, _ in self._films.values())

    def _entry(self, index: int, entry: Any, clip_paths: Mapping[str, str]) -> None:
        if not isinstance(entry, Map):
            text = f"is {what(entry)}, and a map is wanted, such as {{id: trailer, clips: [kite, gull]}}"
            self._findings.add(self._spot(index), text)
            return
        given, broken, mistakes = check("FilmEntry", entry)
        for mistake in mistakes:
            self._findings.add(self._spot(index, *mistake.path), mistake.text)
        for key in ("id", "clips"):
            if key not in given and key not in broken:
                self._findings.add(
                    self._spot(index), f"has no {key}: write such as {{id: trailer, clips: [kite, gull]}}"
                )
        clips: list[str] = given.get("clips", [])
        for place, clip in enumerate(clips):
            if self._known.get(clip.lower()) != clip:
                self._findings.add(self._spot(index, "clips", place), _unknown(clip, self._known))
        if (film_id := given.get("id")) is not None:
            spot = self._spot(index, "id")
            if ID.fullmatch(film_id):
                self._add(Film(film_id, tuple(clips), f"{film_id}.mp4"), spot, clip_paths)
            else:
                self._findings.add(spot, f"{shown(film_id)} {NO_ID}")

    def _add(self, film: Film, spot: Location, clip_paths: Mapping[str, str]) -> None:
        key = film.id.lower()
        _, holder = self._films.setdefault(key, (film, spot.where))
        if key in self._known:
            text = f"{shown(film.id)} is the id of a job: a film needs one of its own"
        elif holder != spot.where:
            text = f"{shown(film.id)} is the id of the film of {holder} too: ids are unique, without regard to case"
        elif (job_id := clip_paths.get(paths.same_file(film.path))) is not None:
            text = (
                f'the film would be written to {film.path}, and so would job "{job_id}": write another id or filename'
            )
        else:
            return
        self._findings.add(spot, text)

    def _spot(self, index: int, *path: str | int) -> Location:
        return Location(self._document, ("films", index, *path), dotted(("films", index, *path)))


def _unknown(wanted: str, known: Mapping[str, str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(wanted.lower(), known, n=1) if len(known) <= CLOSE_LOOKED_AT else []
    return f"{shown(wanted)} is no job here" + (f": did you mean {known[close[0]]}?" if close else ": write a job's id")


CLOSE_LOOKED_AT = 20_000
"""Ids among which a similar one is looked for: it takes a second for so many."""
