"""Two reviewers and a run at once: all of them real processes, and clips of the real sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.decision import Verdict
from tests.report.browser import REPOSITORY
from tests.review.server import reviewing
from tests.review.tabs import tab
from tests.review.test_decisions import decided

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = pytest.mark.xdist_group("chromium")

MANIFEST = """\
version: 1
output: out
limits: {attempts: 2, in_flight: 3, submits: unlimited}
prices: {veo3-fast: 0.40}
defaults: {model: veo3-fast, size: 16x9}
jobs:
  - {id: "shot-{n}", prompt: "Shot {n} of a river.", matrix: {n: ["1", "2", "3", "4", "5", "6", "7", "8"]}}
"""
BUSY = "() => counts.running > 0 && document.querySelectorAll('#running li').length > 0"


@contextmanager
def running(manifest: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a manifest in the sandbox as long as the block lasts, or until the run ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "batchvid", "run", manifest.name, "--sandbox", "--output", "out", "--yes"],
        cwd=manifest.parent,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        _, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, complaints
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_two_reviewers_beside_a_run(browser: Browser, tmp_path: Path) -> None:
    """They see the run go on and each other's decisions; the next run buys what was rejected, once."""
    manifest = tmp_path / "shots.yaml"
    manifest.write_text(MANIFEST, encoding="utf-8")
    with (
        reviewing(manifest.name, "--by", "Ana", cwd=tmp_path) as served,
        reviewing(manifest.name, "--by", "Ben", cwd=tmp_path) as other,
        tab(browser, served) as ana,
        tab(browser, served) as ana_too,
        tab(browser, other) as ben,
    ):
        assert "nothing was run yet" in ana.text("#live")
        with running(manifest) as run:
            for one in (ana, ben):
                one.wait(BUSY)
                assert "a run is under way" in one.text("#live")
                assert "usually" in one.text("#running") or "is being" in one.text("#running")
            ana.wait("() => counts.undecided >= 1")
            name = ana.page.evaluate("jobs.find((job) => job.kind === 'undecided').id")
            ana.page.evaluate("(id) => openClip(byName.get('0/' + id))", name)
            ana.decide("a")
            assert run.poll() is None  # it was decided beside the run
            for one in (ana_too, ben):
                one.wait("(id) => byName.get('0/' + id).kind === 'approved'", arg=name)
            assert ben.page.evaluate("(id) => byName.get('0/' + id).takes[0].by", name) == "Ana"
        ana.wait("() => counts.undecided === 7 && counts.running === 0")
        assert ana.page.evaluate("counts.fresh") == 8
        ana.wait("() => document.querySelector('#live').textContent.includes('no run is under way')")
        ben.pick("to judge")
        rejected = ben.names()[0]
        ben.page.evaluate("(id) => openClip(byName.get('0/' + id))", rejected)
        ben.press("r")
        assert "$0.40 (attempt 2 of at most 2)" in ben.text(".bound")
        ben.page.keyboard.type("another river")
        ben.decide("Enter")
        for one in (ana, ana_too):
            one.wait("() => document.getElementById('next-run').textContent.includes('1 rejected job again')")
        with running(manifest):
            pass
        for one in (ana, ben):
            one.wait("(id) => byName.get('0/' + id).takes.length === 2", arg=rejected)
            assert one.page.evaluate("(id) => byName.get('0/' + id).takes[0].note", rejected) == "another river"
            assert one.page.evaluate("(id) => byName.get('0/' + id).kind", rejected) == "undecided"
        ana.page.evaluate("(id) => openClip(byName.get('0/' + id))", rejected)
        ana.press("t")  # the take that was rejected is beside the one that was bought for it
        ana.wait("() => step.videos.length === 2 && step.videos.every((one) => one.currentTime > 0.1)")
        assert "attempt 1\nrejected" in ana.text(".take >> nth=0")
        ana.decide("a")
        ben.wait("(id) => byName.get('0/' + id).kind === 'approved'", arg=rejected)
    kept = decided(manifest)
    assert kept[rejected, 1][3:] == ("Ben", Verdict.REJECTED, None, "another river")
    assert kept[rejected, 2][3:5] == ("Ana", Verdict.APPROVED)
