"""A machine that does to one output whatever can be done to it, in any order, and checks the promises after each step.

It draws the steps; `tests.crash.owner.Owner` does them, and `tests.crash.promises.Witness` knows what must hold.
"""

from __future__ import annotations

import itertools
import struct
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from batchvid.domain.decision import Verdict
from batchvid.domain.limits import RunOptions
from batchvid.sandbox.render import tiny_clips
from tests.crash.edits import NAMES, Amid, Edit, Entry, How
from tests.crash.effect import DiskTroubleAt, Effect, KillAt, PressAt
from tests.crash.owner import Owner
from tests.crash.troubles import absences, troubles
from tests.run.bench import quick_folder

if TYPE_CHECKING:
    from batchvid.providers.response import LostAt
    from batchvid.sandbox.tasks import ClipOrder
    from batchvid.sandbox.world import Clips

DAY_S = 86_400.0
JUMPS_S = [-30 * 365 * DAY_S, -DAY_S, -3600.0, 3600.0, DAY_S, 30 * 365 * DAY_S]
MOMENTS_S = [0.0, 0.1, 0.3, 0.45, 1.0, 1.35, 3.0, 10.0, 25.0, 60.0]
"""Into a run: before anything, in the midst of uploads and answers, while tasks are under way, in transfers."""
NAMED = st.sampled_from(NAMES)
EDITS = st.lists(st.builds(Edit, st.sampled_from(list(How)), st.integers(0, 3), st.integers(1, 3)), max_size=2)
AMID = st.builds(Amid, EDITS, st.lists(troubles(NAMES), min_size=1, max_size=3), st.none() | NAMED)
"""What is changed before a run, and what goes wrong while it lasts."""
ANY_EFFECT = st.builds(Effect, st.none(), st.integers(1, 150))
DEADLY = ANY_EFFECT | st.builds(
    Effect, st.sampled_from(["record", "post", "get", "fetch", "link", "unlink"]), st.integers(1, 8)
)
DISKS = (
    ANY_EFFECT
    | st.builds(Effect, st.just("record"), st.integers(1, 8))
    | st.builds(Effect, st.sampled_from(["pwrite", "fsync", "link", "unlink"]), st.integers(1, 8))
)
VERDICTS = st.sampled_from([Verdict.REJECTED, Verdict.REJECTED, Verdict.APPROVED, None])
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "attempts": st.sampled_from([1, 2, 3]),
    "in_flight": st.sampled_from([1, 3]),
    "budget": st.sampled_from(["2.00", "8.00"]),
    "in_doubt": st.sampled_from(["hold", "resubmit"]),
    "on_change": st.sampled_from(["keep", "rebuy"]),
    "canary": st.sampled_from([0, 1]),
    "breaker": st.sampled_from([1, 10]),
}


def same_clips(order: ClipOrder) -> bytes:
    """Return clips that differ by what was asked for, and are the same whenever they are fetched."""
    return tiny_clips(order) + _box(order.prompt.encode())


def clips_coded_anew() -> Clips:
    """Return clips whose bytes are others at every request: what arrives twice must never be mixed."""
    times = itertools.count(1)

    def clip(order: ClipOrder) -> bytes:
        return tiny_clips(order) + _box(struct.pack(">I", next(times)))

    return clip


def _box(padding: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(padding), b"free") + padding


class Machine(RuleBasedStateMachine):
    """All that may happen to an output."""

    def __init__(self) -> None:
        super().__init__()
        self._closing = ExitStack()
        self._folder = self._closing.enter_context(quick_folder())
        self.owner = Owner(self._folder, same_clips)

    @initialize(
        entries=st.lists(st.builds(Entry, NAMED, takes=st.integers(1, 2)), min_size=1, unique_by=lambda one: one.name),
        limits=st.fixed_dictionaries({}, optional=SETTINGS),
        coded_anew=st.booleans(),
    )
    def begin(self, *, entries: list[Entry], limits: dict[str, Any], coded_anew: bool) -> None:
        """Write a manifest."""
        self.owner = Owner(
            self._folder,
            clips_coded_anew() if coded_anew else same_clips,
            limits=dict(limits),
            entries=[replace(entry) for entry in entries],
        )

    def teardown(self) -> None:
        """All is well in the end."""
        try:
            if self.owner.entries:
                self.owner.settle()
        finally:
            self._closing.close()

    @invariant()
    def the_promises_hold(self) -> None:
        """Check them."""
        self.owner.check()

    # ---- runs

    @rule(
        options=st.builds(RunOptions, retry_failed=st.booleans(), rebuy=st.booleans(), resubmit_in_doubt=st.booleans()),
        amid=AMID,
    )
    def run(self, *, options: RunOptions, amid: Amid) -> None:
        """Run to the end."""
        with self.owner.amid(amid):
            self.owner.run(options)

    @rule(
        options=st.one_of(
            st.fixed_dictionaries({"max_jobs": st.integers(0, 2)}),
            st.fixed_dictionaries({"max_cost_micros": st.sampled_from([0, 400_000, 1_000_000])}),
            st.fixed_dictionaries({"only": st.sampled_from([("a*",), ("?-2",), ("*",), ("a*", "?-2")])}),
        ),
        for_s=st.sampled_from([None, 0.0, 2.0, 30.0]),
        amid=AMID,
    )
    def run_in_bounds(self, *, options: dict[str, Any], for_s: float | None, amid: Amid) -> None:
        """Run with less than everything allowed."""
        until = None if for_s is None else self.owner.bench.clock() + for_s
        with self.owner.amid(amid):
            self.owner.run(until_at=until, **options)

    @rule(at=DEADLY, rebuy=st.booleans(), amid=AMID)
    def die(self, *, at: Effect, rebuy: bool, amid: Amid) -> None:
        """Run, and die just before an effect."""
        with self.owner.amid(amid):
            self.owner.run(rebuy=rebuy, fuse=KillAt(at))

    @rule(at=DISKS, for_ever=st.booleans(), rebuy=st.booleans(), amid=AMID)
    def run_on_a_broken_disk(self, *, at: Effect, for_ever: bool, rebuy: bool, amid: Amid) -> None:
        """Run, while an effect on the disk fails."""
        with self.owner.amid(amid):
            self.owner.run(rebuy=rebuy, fuse=DiskTroubleAt(at, for_ever=for_ever))

    @rule(at=DEADLY, again_after=st.none() | st.integers(0, 6), amid=AMID)
    def interrupt(self, *, at: Effect, again_after: int | None, amid: Amid) -> None:
        """Run, and press Ctrl-C once or twice, at effects."""
        with self.owner.amid(amid):
            self.owner.run(fuse=PressAt(at, self.owner.press, again_after=again_after))

    @rule(at_s=st.sampled_from(MOMENTS_S), again_after_s=st.sampled_from([None, 0.05, 0.2, 1.0]), amid=AMID)
    def interrupt_in_time(self, *, at_s: float, again_after_s: float | None, amid: Amid) -> None:
        """Run, and press Ctrl-C once or twice, between effects."""
        with self.owner.amid(amid):
            self.owner.run_interrupted(at_s, again_after_s)

    @rule(at_s=st.sampled_from(MOMENTS_S), amid=AMID)
    def run_twice_at_once(self, *, at_s: float, amid: Amid) -> None:
        """Run, while somebody else tries to."""
        with self.owner.amid(amid):
            self.owner.run_twice_at_once(at_s)

    @rule(at_s=st.sampled_from(MOMENTS_S), by_s=st.sampled_from(JUMPS_S), amid=AMID)
    def set_clock_during_run(self, *, at_s: float, by_s: float, amid: Amid) -> None:
        """Run, and the machine's clock jumps."""
        with self.owner.amid(amid):
            self.owner.run_with_clock_set(at_s, by_s)

    @rule(
        for_s=st.sampled_from([1.0, 60.0, 3600.0, 30 * DAY_S]),
        set_by_s=st.sampled_from([0.0, *JUMPS_S]),
        expired=st.booleans(),
    )
    def wait(self, *, for_s: float, set_by_s: float, expired: bool) -> None:
        """Let time pass, the machine's clock jump, and all URLs expire."""
        self.owner.bench.now += for_s
        self.owner.bench.skew_s += set_by_s
        if expired:
            self.owner.expire_urls()

    # ---- the service

    @rule(trouble=troubles(NAMES))
    def misbehave(self, *, trouble: dict[str, Any]) -> None:
        """Let one more thing go wrong."""
        self.owner.misbehave(trouble)

    @rule(absence=absences())
    def go_away(self, *, absence: tuple[float, float, LostAt]) -> None:
        """Let the network go."""
        self.owner.go_away(*absence)

    @rule()
    def heal(self) -> None:
        """Let all go well again."""
        self.owner.heal()

    # ---- people

    @rule(kinds=st.lists(st.sampled_from(["--failed", "--timed-out", "--in-doubt"]), min_size=1, unique=True))
    def retry(self, *, kinds: list[str]) -> None:
        """Reopen jobs."""
        self.owner.retry(*kinds)

    @rule(which=st.integers(0, 3), verdict=VERDICTS, before=st.sampled_from([0, 0, 0, 1]))
    def review(self, *, which: int, verdict: Verdict | None, before: int) -> None:
        """Decide about a clip."""
        self.owner.review(which, verdict, before=before)

    @rule(at_s=st.sampled_from(MOMENTS_S[1:]), which=st.integers(0, 3), verdict=VERDICTS, amid=AMID)
    def review_during_run(self, *, at_s: float, which: int, verdict: Verdict | None, amid: Amid) -> None:
        """Run, while somebody decides about a clip; not before the run has looked what is decided."""
        with self.owner.amid(amid):
            self.owner.run_and_review(at_s, which, verdict)

    @rule()
    def adopt(self) -> None:
        """Return jobs in doubt the tasks that the dashboard shows."""
        self.owner.adopt()

    @rule(which=st.integers(0, 3), how=st.sampled_from(["delete", "cut", "change"]))
    def damage(self, *, which: int, how: str) -> None:
        """Break a clip."""
        self.owner.damage(which, how)

    @rule()
    def repair(self) -> None:
        """Have broken clips fetched again."""
        self.owner.repair()

    @rule()
    def clear_away(self) -> None:
        """Take people's own files away."""
        self.owner.clear_away()
