"""The machines at work on a published manifest, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchvid.cli.output import text
from batchvid.domain.machines import Standing
from batchvid.domain.records import rfc3339
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.domain.machines import Machine, Machines

NAME_MAX = 60
FULL_PACE = 0.995


def workers_words(machines: Machines) -> str:
    """Return ``2 workers, 1 not heard of; 3 slices over, 4 taken, 2 waiting``."""
    silent = machines.count(Standing.SILENT)
    parts = [text.count(machines.count(Standing.ALIVE), "worker")]
    parts += [f"{silent} not heard of"] if silent else []
    slices = [(machines.over, "over"), (machines.taken, "taken"), (machines.waiting, "waiting")]
    told = ", ".join(f"{number:,} {word}" for number, word in slices if number) or "none"
    return f"{', '.join(parts)}; slices: {told}"


def machines_lines(machines: Machines) -> Iterator[str]:
    """Yield the revision, its slices, each worker, and what holds the account back."""
    when = "is over" if machines.is_over else "is being worked on"
    by = clean(machines.published_by, NAME_MAX)
    at = f"{text.local_moment(machines.published_at)} {text.zone(machines.published_at)}"
    yield f"Machines: revision {machines.revision}, published by {by} at {at}, {when}"
    yield f"  {workers_words(machines)}"
    width = max((len(clean(one.name, NAME_MAX)) for one in machines.workers), default=0)
    for one in machines.workers:
        yield f"  {clean(one.name, NAME_MAX):<{width}}  {machine_words(one)}"
    yield from (f"  {line}" for line in brakes_lines(machines))


def machine_words(one: Machine) -> str:
    """Return how a worker stands and what it has: ``not heard of for 42 s, 40 clips, 3 slices taken over``."""
    parts = [standing_words(one)]
    if one.slices:
        parts.append(text.count(one.slices, "slice"))
        parts.append(f"{one.in_flight:,} in flight")
    elif one.standing is Standing.ALIVE:
        parts.append("no slice")
    if one.clips or one.standing is Standing.ALIVE:
        parts.append(f"{text.count(one.clips, 'clip')} in its slices")
    if one.lost:
        parts.append(f"{text.count(one.lost, 'slice')} taken over by others")
    return ", ".join(parts)


def standing_words(one: Machine) -> str:
    """Return whether a worker lives, for people."""
    if one.standing is Standing.SILENT:
        return f"not heard of for {text.duration(one.seen_s)}"
    if one.standing is Standing.LEFT:
        return "has ended"
    return f"heard of {text.duration(one.seen_s)} ago"


def parts_words(machines: Machines) -> Iterator[str]:
    """Yield what each worker did, for a page that is looked at later."""
    for one in machines.workers:
        if one.took_part:
            lost = f", {text.count(one.lost, 'slice')} taken over by others" if one.lost else ""
            yield f"{clean(one.name, NAME_MAX)}: {text.count(one.clips, 'clip')}{lost}"


def brakes_lines(machines: Machines) -> Iterator[str]:
    """Yield what holds the account back on all machines."""
    if machines.slowed_to < FULL_PACE or machines.paused_s >= 1:
        pause = f", pause {text.duration(machines.paused_s)}" if machines.paused_s >= 1 else ""
        share = max(1, round(machines.slowed_to * 100))
        yield f"all are slowed to {share} %{pause}: {text.why(machines.slowed_by)}"
    if machines.doubt_s >= 1:
        number = machines.unsure_in_a_row
        yield f"all wait {text.duration(machines.doubt_s)}: {number} paid requests in a row are in doubt"
    for reason in machines.halts:
        yield f"nothing more is submitted: {text.why(reason)}"


def took_part_line(machines: Machines) -> str:
    """Return how many machines took part in a run that is over, and which of them were lost."""
    lost = [one for one in machines.workers if one.lost]
    told = "".join(
        f"; {clean(one.name, NAME_MAX)} was not heard of, and others took over {text.count(one.lost, 'slice')}"
        for one in lost
    )
    return f"Machines: {text.count(machines.took_part, 'worker')} took part in revision {machines.revision}{told}."


def machines_json(machines: Machines | None) -> dict[str, Any]:
    """Return what is added to an object for programs; nothing where one machine has the journal."""
    if machines is None:
        return {}
    told = {
        "revision": machines.revision,
        "published_at": rfc3339(machines.published_at),
        "published_by": machines.published_by,
        "is_over": machines.is_over,
        "slices": {"waiting": machines.waiting, "taken": machines.taken, "over": machines.over},
        "took_part": machines.took_part,
        "workers": [
            {
                "name": one.name,
                "standing": one.standing.value,
                "seen_s": round(one.seen_s, 3),
                "slices": one.slices,
                "in_flight": one.in_flight,
                "clips": one.clips,
                "slices_taken_over": one.lost,
            }
            for one in machines.workers
        ],
        "account": {
            "slowed_to": round(machines.slowed_to, 3),
            "paused_s": round(machines.paused_s, 3),
            "slowed_by": machines.slowed_by or None,
            "unsure_in_a_row": machines.unsure_in_a_row,
            "doubt_s": round(machines.doubt_s, 3),
            "halts": list(machines.halts),
        },
    }
    return {"machines": told}
