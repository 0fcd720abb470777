"""Rows about the object store: it fails, it is full, its answers are lost, and others write into it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import obstore

from batchvid.domain.errors import Exit
from tests.cluster.lab import row

if TYPE_CHECKING:
    from tests.cluster.lab import Lab

TIMES = 3
JOB = "c0"
"""How the names of all jobs begin."""
HANGS_S = 65.0
"""Longer than the client waits for an answer."""


@row(
    "C15",
    "the store answers 500, does not answer, is full",
    "the clip stays in scratch, tried again; never bought again",
)
def store_fails(lab: Lab) -> None:
    """Fetch and buy each clip once."""
    for trouble in (500, 507, 0):
        world = lab.world(store="seaweedfs")
        world.sandbox()
        world.manifest(60)
        way = world.way_to_store()
        if trouble:
            way.failure, way.fails = trouble, Troubles().fails
        else:
            way.hangs = Troubles().hangs
        second = world.work(on="host-2")
        lab.ended(world.run(on="host-1").wait(timeout_s=240), Exit.OK)
        second.end()
        lab.ended(second.wait(), Exit.OK, Exit.TERMINATED)
        files = world.ledger()["requests"]["file"]
        lab.note(f"{trouble or 'no answer'}: {files} downloads of 60 clips")
        lab.expect("downloads", files == 60, f"{files} downloads")
        lab.all_done(world)
        lab.survived(world)


@dataclass(slots=True)
class Troubles:
    """What the store has done so far."""

    met: Counter[str] = field(default_factory=Counter)
    began: dict[str, float] = field(default_factory=dict)

    def fails(self, what: str) -> bool:
        """Whether it is one of the first requests to write one of every ten clips."""
        if not is_clip(what) or "0.mp4" not in what:
            return False
        self.met[what] += 1
        return self.met[what] <= TIMES

    def hangs(self, what: str) -> bool:
        """Whether it is a request to write one clip, and not long after the first one."""
        if not is_clip(what) or "c00010.mp4" not in what:
            return False
        return time.monotonic() - self.began.setdefault(what, time.monotonic()) < HANGS_S

    def loses(self, what: str) -> bool:
        """Whether it is the first request to write a clip or its sidecar."""
        self.met[what] += 1
        return what.startswith("PUT") and f"/{JOB}" in what and self.met[what] == 1


def is_clip(what: str) -> bool:
    """Whether it is a request to write a clip."""
    return what.startswith("PUT") and ".mp4" in what


@row("C16", "the answer to the first PUT of every object is lost", "compared, counted once")
def answers_lost(lab: Lab) -> None:
    """Find what the lost request has written, and know it for ours."""
    world = lab.world(store="seaweedfs")
    world.sandbox()
    world.manifest(60)
    way, troubles = world.way_to_store(), Troubles()
    way.loses = troubles.loses
    second = world.work(on="host-2")
    lab.ended(world.run(on="host-1").wait(timeout_s=240), Exit.OK)
    second.end()
    lab.ended(second.wait(), Exit.OK, Exit.TERMINATED)
    lost = sum(is_clip(what) for what in troubles.met)
    lab.note(f"the answers of {lost} clips were lost")
    lab.expect("lost", lost == 60, f"only {lost}")
    lab.all_done(world)
    lab.survived(world)


@row("C17", "foreign objects have the names of two clips", "refused before the paid POST")
def foreign_objects(lab: Lab) -> None:
    """Leave them as they are."""
    world = lab.world(store="seaweedfs")
    world.sandbox()
    world.manifest(60)
    names = ["c00003.mp4", "c00047.mp4"]
    for name in names:
        obstore.put(world.client(), name, b"a holiday film")
    second = world.work(on="host-2")
    lab.ended(world.run(on="host-1").wait(), Exit.FAILED)
    second.end()
    lab.ended(second.wait(), Exit.OK, Exit.TERMINATED, Exit.FAILED)
    lab.expect("unpaid", len(world.creates()) == 58, f"{len(world.creates())} creates")
    for name in names:
        data = bytes(obstore.get(world.client(), name).bytes())
        lab.expect("foreign", data == b"a holiday film", f"{name} was changed")
    lab.all_done(world, but=2)
    lab.survived(world, foreign=names)
