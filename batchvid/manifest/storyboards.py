"""Storyboards: N frames in order become N-1 jobs, each from one frame to the next, and on request a film of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


def mistakes(given: Mapping[str, Any], literal: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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


def parts(given: Mapping[str, Any], literal: Mapping[str, Any]) -> Iterator[Part]:
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


def path_of(number: int, field: str, entry: Mapping[str, Any]) -> tuple[str | int, ...] | None:
    """Return where a field of a part is written below its entry, when that is not under its own name."""
    if field in FRAMES:
        return "storyboard", number - 1 + FRAMES.index(field)
    if field == "prompt" and "prompts" in entry:
        return "prompts", number - 1
    return None
