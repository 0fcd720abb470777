"""The review page in a real Chromium: every key, every button, and the words before money is spent."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

import batchvid
from batchvid.domain.decision import Decision, Verdict
from batchvid.engine.target import journal_of
from tests.faults.page import ATTACKS
from tests.review.outputs import write_done
from tests.review.server import reviewing
from tests.review.tabs import tab
from tests.review.test_decisions import decided

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.conftest import MakeClip
    from tests.review.server import Served

pytestmark = pytest.mark.xdist_group("chromium")  # one browser for all of them

NO_WIDER = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
PLAYS = "() => { const video = document.querySelector('.main video'); return video && video.currentTime > 0.2; }"
HEAD = "version: 1\nlimits: {attempts: 2}\nprices: {veo3-fast: 0.40}\ndefaults: {model: veo3-fast, size: 16x9}\njobs:\n"
JOBS = """\
  - {id: kite, prompt: A paper kite floats above a field., takes: 3}
  - {id: walk, prompt: She walks through the door., first_frame: a.png, last_frame: b.png}
  - {id: dive, prompt: The kite dives., continues: kite}
"""


@pytest.fixture
def kites(tmp_path: Path, make_clip: MakeClip) -> Path:
    """Return a manifest whose jobs are done: three takes, one with frames, one that goes on from another."""
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (320, 180), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "kites.yaml").write_text(HEAD + JOBS, encoding="utf-8")
    return write_done(tmp_path / "kites.yaml", make_clip(frames=72))


def test_a_clip_is_judged_with_keys_alone(browser: Browser, served: Served, project: Path) -> None:
    """Next, play, approve, stars, reject with a note, undo: each is in the journal before the page says so."""
    with tab(browser, served) as one:
        assert one.page.url == f"{served.origin}/"  # the token has left the address bar
        assert one.page.evaluate("document.cookie") == ""
        first, second = one.names()[:2]
        one.press("j")
        assert one.page.evaluate("wall.at.id") == first
        one.press(" ")
        one.wait(PLAYS)
        one.press(" ")
        one.wait("() => document.querySelector('.main video').paused")
        one.decide("4")
        assert decided(project)[first, 1].stars == 4
        one.decide("a")
        assert decided(project)[first, 1][4:6] == (Verdict.APPROVED, 4)
        one.wait("(id) => stage.job.id === id", arg=second)  # what is judged makes room for the next
        one.press("r")
        assert "The next run buys it again: $0.40 (attempt 2 of at most 2)." in one.text(".bound")
        one.page.keyboard.type("a leaf, not a kite")
        one.press("Escape")
        assert one.page.locator("textarea").count() == 0
        assert (second, 1) not in decided(project)
        one.press("r")
        one.page.keyboard.type("no string")
        one.decide("Enter")
        assert decided(project)[second, 1][4:] == (Verdict.REJECTED, None, "no string")
        assert "The next run buys 1 rejected job again, for at most $0.40." in one.text("#next-run")
        one.press("u")
        one.wait("(id) => stage.job.id === id && !stage.take.verdict", arg=second)  # it is looked at again
        assert (second, 1) not in decided(project)
        one.press("Escape")
        one.wait("() => !stage.dialog.open && document.activeElement.classList.contains('tile')")


def test_a_clip_is_judged_with_a_mouse_alone(browser: Browser, served: Served, project: Path) -> None:
    """Every key has a button. What was clicked does not catch the space bar."""
    with tab(browser, served) as one:
        one.page.locator(".grid .tile", has_text="kite-00000").click()
        one.page.get_by_role("button", name="3 stars").click()
        one.wait("() => stage.take.stars === 3")
        one.page.get_by_role("button", name="3 stars").click()  # the same once more takes them back
        one.wait("() => stage.take.stars === -1")
        one.page.get_by_role("button", name="✕ Reject").click()
        one.page.locator(".writing textarea").fill("too dark")
        one.page.get_by_role("button", name="Reject (Enter)").click()
        one.page.get_by_role("button", name="undo (u)").click()
        one.wait("() => !byName.get('0/kite-00000').takes[0].verdict")
        one.page.get_by_role("button", name="Note").click()
        one.page.locator(".writing textarea").fill("ask Ben")
        one.page.get_by_role("button", name="Keep (Enter)").click()
        one.wait("() => byName.get('0/kite-00000').takes[0].note === 'ask Ben'")
        one.wait(PLAYS)
        one.press(" ")
        one.wait("() => document.querySelector('.main video').paused")
        one.page.get_by_role("button", name="✓ Approve").click()
        one.wait("() => byName.get('0/kite-00000').kind === 'approved'")
        one.page.get_by_role("button", name="Close (Esc)").click()
        one.page.get_by_role("button", name="Keys").click()
        assert "takes side by side" in one.text(".keys-dialog")
    assert decided(project)["kite-00000", 1][4:] == (Verdict.APPROVED, None, "ask Ben")


def test_clips_are_found_by_what_was_decided_and_by_words(browser: Browser, served: Served, project: Path) -> None:
    """Also by what runs, what needs attention, and the words of a note."""
    store = journal_of(batchvid.load(project))
    store.decide([Decision("kite-00000", 1, time.time(), "Ben", Verdict.APPROVED, 5)])
    store.decide([Decision("train-00001", 1, time.time(), "Ben", Verdict.REJECTED, None, "blurred")])
    with tab(browser, served) as one:
        one.wait("() => counts.rejected === 1")
        assert not {"kite-00000", "train-00001"} & set(one.names())  # it begins with what is to be judged
        one.pick("approved")
        assert one.names() == ["kite-00000"]
        one.pick("rejected")
        assert one.names() == ["train-00001"]
        one.pick("all")
        assert len(one.names()) == 30
        one.press("/")
        one.page.keyboard.type("blurred")
        one.wait("() => wall.shown.length === 1")
        assert one.names() == ["train-00001"]
        one.press("Escape")
        one.wait("() => wall.shown.length === 30")
        one.pick("needs attention")
        assert set(one.page.evaluate("wall.shown.map((job) => job.state)")) <= {"failed", "in_doubt", "parked"}


def test_takes_play_side_by_side_and_in_step(browser: Browser, kites: Path) -> None:
    """They start, stop and are moved together; each is judged by itself."""
    with reviewing(kites.name, cwd=kites.parent) as served, tab(browser, served) as one:
        assert one.names() == ["kite", "kite-2", "kite-3", "walk", "dive"]
        one.press("j", "t")
        one.wait("() => step.videos.length === 3 && step.videos.every((one) => !one.paused && one.currentTime > 0.3)")
        apart = "Math.max(...step.videos.map((one) => Math.abs(one.currentTime - step.videos[0].currentTime)))"
        assert one.page.evaluate(apart) < 0.25
        one.page.evaluate("step.seek(0); step.videos[2].currentTime = 1.5")
        one.page.wait_for_function(f"() => {apart} < 0.1 && step.isPlaying()", timeout=2000)  # it is fetched back
        one.press(" ")
        one.wait("() => step.videos.every((one) => one.paused)")
        one.wait(f"() => {apart} < 0.001")
        one.page.locator(".in-step input").fill("500")
        one.wait("() => step.videos.every((one) => !one.seeking && Math.abs(one.currentTime - 1.5) < 0.01)")
        one.page.locator(".take .pick").nth(1).click()
        one.decide("5")
        one.press("j")  # the next take is the next job here
        assert one.page.evaluate("[stage.mode, stage.job.id]") == ["takes", "kite-3"]
        one.press("t")
        assert one.page.locator(".main video").count() == 1
        assert one.page.locator(".takes-bar .chip").count() == 4
    assert decided(kites)["kite-2", 1].stars == 5


def test_of_many_takes_four_are_in_sight_at_once(browser: Browser, tmp_path: Path, make_clip: MakeClip) -> None:
    """A browser opens six connections to one server, and a decision needs one of them."""
    (tmp_path / "m.yaml").write_text(f"{HEAD}  - {{id: kite, prompt: A kite., takes: 6}}\n", encoding="utf-8")
    manifest = write_done(tmp_path / "m.yaml", make_clip(frames=72))
    names = "[...document.querySelectorAll('.take b')].map((one) => one.textContent)"
    with reviewing(manifest.name, cwd=tmp_path) as served, tab(browser, served) as one:
        one.press("j", "t")
        assert one.page.evaluate(names) == ["kite", "kite-2", "kite-3", "kite-4"]
        one.page.locator(".takes-bar .chip", has_text="kite-6").click()
        assert one.page.evaluate(names) == ["kite-5", "kite-6"]
        one.wait("() => step.isPlaying()")
        one.decide("4")
        assert one.page.evaluate(names) == ["kite-5", "kite-6"]
        one.page.evaluate("step.lead().marked = true")
        one.page.locator(".take .pick").first.click()
        assert one.page.evaluate("step.lead().marked")  # a click chooses, and the players go on
    assert decided(manifest).keys() == {("kite-6", 1)}


def test_frames_stand_beside_the_clip(browser: Browser, kites: Path) -> None:
    """As they were given; of a clip that goes on from another, that moment of the other."""
    with reviewing(kites.name, cwd=kites.parent) as served, tab(browser, served) as one:
        one.page.locator(".grid .tile", has_text="walk").click()
        one.press("f")
        one.wait(
            "() => [...document.querySelectorAll('.frame img')].map((one) => one.naturalWidth).join() === '320,320'"
        )
        told = [figure.inner_text() for figure in one.page.locator(".frame").all()]
        assert told == ["first frame · a.png", "last frame · b.png"]
        one.press("j")
        assert one.text(".frame") == "goes on from kite"
        one.wait("() => document.querySelector('.frame video').currentTime > 2.5")
        one.press("f")
        assert one.page.locator(".frame").count() == 0


def test_a_player_seeks_by_asking_for_a_part(browser: Browser, served: Served) -> None:
    """And not for the whole clip up to there."""
    with tab(browser, served) as one:
        found = []
        one.page.on("response", lambda answer: found.append((answer.status, answer.url)))
        one.page.locator(".grid .tile", has_text="kite-00000").click()
        one.wait("() => document.querySelector('.main video').readyState >= 3")
        one.page.evaluate("document.querySelector('.main video').currentTime = 1.5")
        one.wait("() => !document.querySelector('.main video').seeking")
        assert one.page.evaluate("document.querySelector('.main video').seekable.end(0)") > 1.9
        assert {status for status, url in found if "/clip/" in url} == {206}


@pytest.mark.parametrize(
    ("attempts", "price", "words", "sum_words"),
    [
        (1, "0.40", "No attempt is left", "1 rejected job has no attempt left"),
        (
            2,
            "",
            "at a price that is not known (attempt 2 of at most 2)",
            "1 rejected job again, at a price that is not known",
        ),
        (
            4,
            "0.40",
            "$0.40 (attempt 2 of at most 4), for at most $1.20 in all",
            "1 rejected job again, for at most $1.20",
        ),
    ],
)
def test_what_rejecting_costs_is_said_before_it_is_sent(  # noqa: PLR0917 a table
    browser: Browser, tmp_path: Path, make_clip: MakeClip, attempts: int, price: str, words: str, sum_words: str
) -> None:
    """Or that it buys nothing, and the command that would."""
    prices = f"prices: {{veo3-fast: {price}}}\n" if price else ""
    limits = f"limits: {{attempts: {attempts}}}"
    head = f"version: 1\n{limits}\n{prices}defaults: {{model: veo3-fast, size: 16x9}}\n"
    (tmp_path / "m.yaml").write_text(f"{head}jobs:\n  - {{id: kite, prompt: A kite.}}\n", encoding="utf-8")
    manifest = write_done(tmp_path / "m.yaml", make_clip(frames=24))
    output = ("--output", str(tmp_path / "out" / "m"))
    with reviewing(manifest.name, *output, cwd=tmp_path) as served, tab(browser, served) as one:
        one.press("j", "r")
        told = one.text(".writing")
        assert words in told
        if "No attempt" in words:
            assert f"batchvid redo {manifest.name} --output {output[1]} kite" in told
        one.decide("Enter")
        one.wait("(words) => document.getElementById('next-run').textContent.includes(words)", arg=sum_words)


def test_a_rejection_that_the_budget_does_not_cover_promises_no_clip(
    browser: Browser, tmp_path: Path, make_clip: MakeClip
) -> None:
    """The next run would submit nothing and end with exit 7: that is said before, with what is missing."""
    text = f"{HEAD.replace('attempts: 2', 'attempts: 2, budget: 0.50')}  - {{id: kite, prompt: A kite.}}\n"
    (tmp_path / "m.yaml").write_text(text, encoding="utf-8")
    manifest = write_done(tmp_path / "m.yaml", make_clip(frames=24))
    with reviewing(manifest.name, cwd=tmp_path) as served, tab(browser, served) as one:
        one.press("j", "r")
        assert "costs $0.40 (attempt 2 of at most 2), and the budget leaves $0.10: no run buys it" in one.text(".bound")
        one.decide("Enter")
        one.wait("() => document.getElementById('next-run').textContent.includes('which is what the budget leaves')")


@pytest.mark.parametrize(
    ("on_change", "words", "sum_words"),
    [
        (
            "rebuy",
            "And 1 clip that goes on from it, for at most $0.80.",
            "1 rejected job and 1 job behind again, for at most $1.20",
        ),
        ("keep", "1 clip that goes on from it is kept.", "1 rejected job again, for at most $0.40"),
    ],
)
def test_what_goes_on_from_a_rejected_clip_is_in_the_bound(  # noqa: PLR0917 a table
    browser: Browser, tmp_path: Path, make_clip: MakeClip, on_change: str, words: str, sum_words: str
) -> None:
    """It is bought again behind it, where the manifest says so."""
    head = HEAD.replace("attempts: 2", f"attempts: 2, on_change: {on_change}")
    text = f"{head}  - {{id: kite, prompt: A kite.}}\n  - {{id: dive, prompt: It dives., continues: kite}}\n"
    (tmp_path / "m.yaml").write_text(text, encoding="utf-8")
    manifest = write_done(tmp_path / "m.yaml", make_clip(frames=24))
    with reviewing(manifest.name, cwd=tmp_path) as served, tab(browser, served) as one:
        one.press("j", "r")
        assert words in one.text(".bound")
        one.decide("Enter")
        one.wait("(words) => document.getElementById('next-run').textContent.includes(words)", arg=sum_words)


def test_hostile_texts_are_shown_as_text_and_none_of_them_runs(
    browser: Browser, tmp_path: Path, make_clip: MakeClip
) -> None:
    """In prompts, models, names of frames, notes and names of reviewers."""
    rows = []
    for number, attack in enumerate(ATTACKS):
        name = f"{number} {attack}.png".replace("/", "%2F")
        Image.new("RGB", (64, 36), "red").save(tmp_path / name)
        rows.append({"id": f"j{number:02}", "prompt": attack, "model": f"m {attack}", "first_frame": name})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "m.yaml").write_text("version: 1\njobs:\n  - {from: rows.jsonl}\n", encoding="utf-8")
    manifest = write_done(tmp_path / "m.yaml", make_clip(frames=24))
    journal_of(batchvid.load(manifest)).decide(
        [Decision(row["id"], 1, time.time(), row["prompt"], Verdict.REJECTED, 3, row["prompt"]) for row in rows]
    )
    kinds = "[...new Set([...document.body.querySelectorAll('*')].map((one) => one.localName))].sort()"
    marked = "document.querySelectorAll('[onerror], [onload], [onclick], [autofocus], [style*=url]').length"
    with reviewing(manifest.name, "--by", ATTACKS[0], cwd=tmp_path) as served, tab(browser, served) as one:
        one.pick("all")
        one.press("j", " ", "f")
        known = set(one.page.evaluate(kinds))
        for row in rows:
            one.wait("(id) => stage.job.id === id", arg=row["id"])
            for selector in (".about .prompt", ".decision .note"):
                assert row["prompt"].strip() in one.text(selector)
            one.wait("() => document.querySelector('.frame img').naturalWidth === 64")
            one.press("j")
        one.press("Escape")
        assert set(one.page.evaluate(kinds)) <= known | {"video", "img", "p"}
        assert not known & {"iframe", "object", "embed", "base", "form", "math", "link", "meta", "source"}
        assert one.page.evaluate(marked) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1440, 900)])
def test_nothing_sticks_out_at_any_width(browser: Browser, kites: Path, width: int, height: int, scheme: Any) -> None:
    """Phone, tablet, desktop; the wall, a clip, its takes, its frames, the words before a rejection."""
    with (
        reviewing(kites.name, cwd=kites.parent) as served,
        tab(browser, served, width=width, height=height, color_scheme=scheme) as one,
    ):
        assert one.page.evaluate(NO_WIDER)
        ground = one.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (ground == "rgb(19, 18, 17)") is (scheme == "dark")
        one.press("j", " ")
        inside = """() => [...document.querySelectorAll('.stage-dialog button, .stage-dialog video, .told p')]
            .every((one) => one.getBoundingClientRect().right <= innerWidth + 1)"""
        for keys in ("", "t", "t", "r", "Escape", "jjjf", "r"):
            for key in [keys] if keys == "Escape" else keys:
                one.press(key)
            assert one.page.evaluate(inside), keys
            if keys == "r":
                reject = one.page.locator(".writing .do.rejected").bounding_box()
                assert reject is not None
                assert reject["y"] + reject["height"] <= height  # in sight without scrolling, also beside frames


def test_on_a_phone_a_thumb_is_enough(browser: Browser, kites: Path) -> None:
    """Tap a clip, judge it, tap the next."""
    with (
        reviewing(kites.name, cwd=kites.parent) as served,
        tab(browser, served, width=390, height=844, has_touch=True, is_mobile=True) as one,
    ):
        one.page.locator(".grid .tile").first.tap()
        one.page.get_by_role("button", name="✓ Approve").tap()
        one.wait("() => stage.job.id === 'kite-2'")
        one.page.get_by_role("button", name="side by side").tap()
        one.wait("() => step.videos.length === 3")
        one.page.get_by_role("button", name="Next clip (j)").tap()
        one.page.get_by_role("button", name="✕ Reject").tap()
        one.page.get_by_role("button", name="Leave (Esc)").tap()
        one.page.get_by_role("button", name="Close (Esc)").tap()
    assert decided(kites).keys() == {("kite", 1)}


def test_who_wants_less_motion_starts_a_clip_by_hand(browser: Browser, served: Served) -> None:
    """Nothing plays by itself."""
    with tab(browser, served, reduced_motion="reduce") as one:
        one.press("j", " ")
        one.wait("() => document.querySelector('.main video').readyState >= 3")
        assert one.page.evaluate("document.querySelector('.main video').paused")
        one.press(" ")
        one.wait(PLAYS)


def test_the_page_says_when_the_server_is_gone(browser: Browser, served: Served) -> None:
    """And does not pretend to have kept what was decided then."""
    with tab(browser, served, forgives="net::ERR_") as one:
        served.end(signal.SIGINT)
        one.wait("() => !document.getElementById('banner').hidden")
        assert "start it again" in one.text("#banner")
        one.press("j", "a")
        one.wait("() => document.getElementById('toast').textContent.includes('not kept')")


def test_the_rows_are_asked_for_once_and_early(browser: Browser, served: Served) -> None:
    """With the page, and not when its script runs; what a browser was told to load before, it uses."""
    with tab(browser, served) as one:
        asked = "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('after=0')).length"
        one.wait("() => performance.getEntriesByType('resource').some((one) => one.name.endsWith('after=1'))")
        assert one.page.evaluate(asked) == 1


def test_a_manifest_that_is_edited_meanwhile_is_told(browser: Browser, kites: Path) -> None:
    """The page has read it once, and a run reads it again."""
    with reviewing(kites.name, cwd=kites.parent) as served, tab(browser, served) as one:
        assert not one.page.locator("#banner").is_visible()
        kites.write_text(HEAD + JOBS + "  - {id: new, prompt: A new one.}\n", encoding="utf-8")
        one.wait("() => document.getElementById('banner').textContent.includes('The manifest kites was edited')")


def test_what_needs_attention_names_the_command(browser: Browser, served: Served) -> None:
    """That tells what to do; the page mends nothing."""
    with tab(browser, served) as one:
        one.pick("needs attention")
        one.press("j", " ")
        assert "batchvid status night.yaml" in one.text(".about .command")


def test_a_clip_that_is_gone_says_so(browser: Browser, served: Served, project: Path) -> None:
    """The page goes on."""
    (project.parent / "out" / "night" / "kite-00000.mp4").unlink()
    with tab(browser, served, forgives="404") as one:
        one.page.locator(".grid .tile", has_text="kite-00000").click()
        one.page.get_by_text("This clip cannot be played").wait_for()
        one.press("j")
        one.wait(PLAYS)
