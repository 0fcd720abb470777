"""A film: finished clips, joined. What it is made of, and when it has to be made again."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batchvid.domain.decision import Verdict
from batchvid.domain.frozen import frozen
from batchvid.domain.job import Progress, State
from batchvid.domain.takes import best_first

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchvid.domain.takes import Take


FILM_FORM = 2
"""Of the way in which films are joined; raised when the same clips would make another film."""


@frozen
class Film:
    """Clips that are to be joined, in their order."""

    id: str
    clips: tuple[str, ...]
    """The ids of their jobs; one may come more than once."""
    path: str
    """Of the film, relative to the output folder."""
    takes: tuple[tuple[str, ...], ...] = ()
    """Of each clip that has more takes, the ids of all of them, its own first."""


class FilmState(StrEnum):
    """How a film stands."""

    MADE = "made"
    """It was joined just now."""
    DONE = "done"
    """It is on disk, and made of the clips as they are."""
    DUE = "due"
    """Its clips are there, and it is not joined of them yet."""
    WAITING = "waiting"
    """Some of its clips are not there."""
    FAILED = "failed"
    """It could not be joined."""


@frozen
class FilmReport:
    """How a film stands, and why."""

    film: Film
    state: FilmState
    reason: str = ""


def chosen(film: Film, progress: Mapping[str, Progress], takes: Mapping[str, Sequence[Take]]) -> Mapping[str, Progress]:
    """Return the rows that a film is made of: with the best of each clip's *takes*, as far as a person decided.

    Where nobody decided anything, it is the clip that the job has now. A film that names several takes of an entry
    shows just those. While a job's next clip is on its way, only one that is approved stands in for it.
    """
    rows = dict(progress)
    groups = {group[0]: group for group in film.takes if len(set(group).intersection(film.clips)) == 1}
    for job_id in set(film.clips):
        ids = groups.get(job_id, (job_id,))
        found = best_first((take for one in ids for take in takes.get(one, ())), ids)
        if not found or all(take.decision is None for take in found):
            continue
        best, row = found[0], progress.get(job_id)
        is_there = row is not None and row.state is State.DONE
        if is_there or best.verdict is Verdict.APPROVED:
            rows[job_id] = Progress(
                best.job_id, State.DONE, path=best.path, size_bytes=best.size_bytes, sha256=best.sha256
            )
    return rows


def missing(film: Film, progress: Mapping[str, Progress]) -> str:
    """Return which clips a film still waits for; nothing when all are there."""
    found = []
    for job_id in dict.fromkeys(film.clips):
        row = progress.get(job_id)
        if row is None or row.state is not State.DONE:
            found.append(f"{job_id} ({'pending' if row is None else row.state.value.replace('_', ' ')})")
    shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")  # noqa: PLR2004 a line's worth
    return f"waits for {shown}" if found else ""


def recipe(film: Film, progress: Mapping[str, Progress]) -> dict[str, Any]:
    """Return what the film's sidecar says of what it is made of."""
    rows = [progress[job_id] for job_id in film.clips]
    return {"film": FILM_FORM, "clips": [{"id": row.job_id, "sha256": row.sha256} for row in rows]}


def is_film(sidecar: Mapping[str, Any]) -> bool:
    """Whether a sidecar tells of a film, and not of a clip."""
    return "film" in sidecar


def is_made_of(sidecar: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the film that a *sidecar* tells of is the *wanted* recipe's: the same contents in the same order."""
    return sidecar.get("film") == wanted["film"] and _contents(sidecar) == _contents(wanted)


def _contents(recipe: Mapping[str, Any]) -> list[Any]:
    clips = recipe.get("clips")
    return [clip.get("sha256") for clip in clips if isinstance(clip, dict)] if isinstance(clips, list) else []
