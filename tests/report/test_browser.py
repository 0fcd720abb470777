"""The page in a real Chromium, opened from disk: it loads, filters, plays, and asks for nothing outside its folder."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.cli.report import page as views
from batchvid.cli.report.page import write_page
from batchvid.domain.job import Continuation, Job, Progress, State
from batchvid.domain.report import FilmRow, Kept, report
from batchvid.engine.posters import FOLDER
from tests.engine.drive import a_job
from tests.faults.page import ATTACKS
from tests.report.browser import batchvid
from tests.report.nights import write_night

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeClip
    from tests.report.browser import Opened, Opener

pytestmark = pytest.mark.xdist_group("chromium")  # one browser for all of them

PLAYS = "() => { const video = document.querySelector('dialog video'); return video && video.currentTime > 0.2; }"
NO_WIDER = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


def at_peace(opened: Opened) -> None:
    """Look that the page had no error, was refused nothing, and stayed in its folder."""
    assert opened.troubles == []
    assert opened.outside() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1440, 900)])
def test_the_page_opens_from_disk_at_every_width_and_nothing_sticks_out(
    opener: Opener, night: Path, width: int, height: int, scheme: Any
) -> None:
    """Phone, tablet, desktop; light and dark."""
    opened = opener(night, width=width, height=height, color_scheme=scheme)
    page = opened.page
    assert page.locator("h1").inner_text() == "night"
    assert "jobs need attention" in page.locator(".needs h2").inner_text()
    assert page.locator(".plot svg").count() == 2
    assert page.locator(".plot .slow").count() == 2
    assert page.evaluate(NO_WIDER)
    page.locator("#tools").scroll_into_view_if_needed()
    page.mouse.wheel(0, 1500)
    page.wait_for_function("() => [...document.querySelectorAll('.tile img')].some(one => one.naturalWidth > 0)")
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (max(map(int, ground[4:-1].split(","))) < 60) == (scheme == "dark")
    at_peace(opened)


def test_the_figures_are_named_as_people_name_them(opener: Opener, night: Path) -> None:
    """Elapsed, median, retries; no word that has to be thought about."""
    page = opener(night).page
    figures = page.locator(".figures").inner_text()
    for words in ("+ $1.60 reserved", "Elapsed", "Median generation", "90 % under", "were retries"):
        assert words in figures
    assert "Timeline" in page.locator("#plots").inner_text()
    assert page.locator(".advice dt").all_inner_texts()[:2] == ["If the dashboard shows this task, run", "If not, run"]


def test_words_and_states_narrow_the_sheet(opener: Opener, night: Path) -> None:
    """Each word must be there, in whatever field; a state counts its own."""
    opened = opener(night)
    page = opened.page
    everything = opened.shown()
    page.keyboard.press("/")
    page.keyboard.type("FOX macro")
    page.wait_for_function(f"() => document.querySelector('.shown').textContent.endsWith('of {everything}')")
    some = opened.shown()
    assert 0 < some < everything
    for name in page.locator(".grid .tile").all():
        assert "fox" in (name.get_attribute("title") or "").lower()
        assert "macro" in (name.get_attribute("title") or "").lower()
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('.shown').textContent.includes('of')")
    page.get_by_role("button", name="failed").first.click()
    states = page.locator(".grid .tile").evaluate_all("tiles => tiles.map(one => one.className)")
    assert set(states) == {"tile s-failed"}
    page.locator("#tools input").fill("nobody wrote this")
    page.get_by_text("No clip is like that.").wait_for()
    at_peace(opened)


def test_what_needs_a_person_comes_first_and_any_other_order_is_one_choice_away(opener: Opener, night: Path) -> None:
    """In doubt before failed before parked before the clips."""
    opened = opener(night)
    page = opened.page
    page.locator("#tools").scroll_into_view_if_needed()
    first = "document.querySelector('.grid .tile')?.className"
    page.wait_for_function(f"() => {first} === 'tile s-in_doubt'")
    page.get_by_label("Order").select_option("slowest first")
    page.wait_for_function(f"() => {first} === 'tile s-done'")
    times = page.evaluate("sheet.shown.map(job => job.took)")
    assert times == sorted(times, reverse=True)
    page.get_by_label("Order").select_option("by name")
    names = page.evaluate("sheet.shown.map(job => job.id)")
    assert names == sorted(names)


def test_a_clip_plays_on_click_and_its_story_stands_beside_it(opener: Opener, night: Path) -> None:
    """Its time moves; Escape closes it, and the focus is where it was."""
    opened = opener(night)
    page = opened.page
    page.get_by_role("button", name="done").first.click()
    page.locator(".grid .tile").first.click()
    page.wait_for_function(PLAYS)
    told = page.locator("dialog .told").inner_text()
    for words in ("kite-00000", "veo3-fast → veo-3.0-fast-generate-001", "$0.40", "kite-00000.mp4", "Generation"):
        assert words in told
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.textContent").startswith("kite-00000")
    at_peace(opened)


def test_attempts_and_troubles_are_told(opener: Opener, night: Path) -> None:
    """Of a job that failed: every attempt, what it cost, and the service's words."""
    opened = opener(night, anchor="#clip=train-00017")
    told = opened.page.locator("dialog").inner_text()
    for words in ("failed", "attempt 1", "$1.20", "the prompt was refused by the safety system"):
        assert words in told
    at_peace(opened)


def test_the_sheet_is_walked_with_the_keyboard_alone(opener: Opener, night: Path) -> None:
    """Down to it, along it, into a clip, to the next one, out."""
    opened = opener(night)
    page = opened.page
    name = "document.activeElement.querySelector('.name b')?.textContent"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(name) == page.evaluate("sheet.shown[0].id")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(name) == page.evaluate("sheet.shown[1 + sheet.columns].id")
    page.keyboard.press("End")
    assert page.evaluate(name) == page.evaluate("sheet.shown.at(-1).id")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.locator("dialog h2").inner_text() == page.evaluate("sheet.shown[0].id")
    page.keyboard.press("ArrowRight")
    assert page.locator("dialog h2").inner_text() == page.evaluate("sheet.shown[1].id")
    page.keyboard.press("Escape")
    page.wait_for_function(f"() => {name} === sheet.shown[1].id")
    at_peace(opened)


def test_a_clip_without_a_picture_shows_itself_and_a_clip_that_is_gone_says_so(
    opener: Opener, tmp_path: Path, make_clip: MakeClip
) -> None:
    """The page never depends on the pictures."""
    clip = tmp_path / "source.mp4"
    clip.write_bytes(make_clip(frames=48))
    path = tmp_path / "out" / "night" / "report.html"
    batchvid("report", write_night(tmp_path, 12, clips=[clip]), "--json", cwd=tmp_path)
    for picture in (path.parent / FOLDER).iterdir():
        picture.unlink()
    (path.parent / "kite-00000.mp4").unlink()
    opened = opener(path)
    opened.page.locator("#tools").scroll_into_view_if_needed()
    opened.page.wait_for_function(
        "() => [...document.querySelectorAll('.tile video')].some(one => one.readyState >= 2)"
    )
    opened.page.locator(".grid .tile", has_text="kite-00000").click()
    opened.page.get_by_text("is missing").wait_for()
    assert opened.outside() == []


def test_printed_the_sheet_is_whole_and_the_controls_are_gone(opener: Opener, night: Path) -> None:
    """Not only what was in sight."""
    opened = opener(night)
    page = opened.page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".grid .tile").count() == page.evaluate("jobs.length")
    assert not page.locator("#tools").is_visible()
    places = page.locator(".grid .tile").evaluate_all("ones => new Set(ones.map(one => one.offsetTop)).size")
    assert places > 50
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(".grid .tile").count() < 100
    at_peace(opened)


def test_printed_in_the_dark_the_paper_is_not_black(opener: Opener, night: Path) -> None:
    """Neither the page, nor what stands beside an upright clip."""
    page = opener(night).page
    page.emulate_media(media="print", color_scheme="dark")
    style = "getComputedStyle(document.documentElement)"
    colours = [page.evaluate(f"{style}.getPropertyValue('{name}')").strip() for name in ("--ground", "--mat")]
    assert colours == ["#fff", "#e3e0da"]


def test_however_many_clips_there_are_the_document_holds_those_in_sight(
    opener: Opener, tmp_path: Path, make_clip: MakeClip
) -> None:
    """Thousands; the whole height can be scrolled, and the last one is there."""
    clip = tmp_path / "source.mp4"
    clip.write_bytes(make_clip(frames=2))
    manifest = write_night(tmp_path, 2000, clips=[clip], pictures=[clip])  # no pictures, but their names are there
    batchvid("report", manifest, "--json", cwd=tmp_path)
    opened = opener(tmp_path / "out" / "night" / "report.html")
    page = opened.page
    assert opened.shown() == 2000
    for _ in range(10):
        page.mouse.wheel(0, 3000)
        page.evaluate("new Promise(requestAnimationFrame)")
        assert page.locator(".grid .tile").count() < 150
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_function("() => [...sheet.tiles.keys()].includes(sheet.shown.at(-1))")
    page.locator("#tools input").fill("vase-01994")
    page.wait_for_function("() => sheet.shown.length === 1")
    assert opened.outside() == []


def test_hostile_texts_are_shown_as_text_and_none_of_them_runs(
    opener: Opener, tmp_path: Path, make_clip: MakeClip
) -> None:
    """Thirty payloads in prompts and models, in the words of the service, and in the addresses of clips."""
    clip = tmp_path / "source.mp4"
    clip.write_bytes(make_clip(frames=4))
    manifest = write_night(tmp_path, 90, clips=[clip])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    for n, row in enumerate(rows):
        row["prompt"] = row["model"] = f"{n} {ATTACKS[n % len(ATTACKS)]}"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace("limits: {budget: 9000.00}\n", ""), encoding="utf-8"
    )
    _poison_reasons(tmp_path / "out" / "night" / ".batchvid" / "journal.db")
    path = batchvid("report", manifest, "--json", cwd=tmp_path)["path"]
    opened = opener(tmp_path / path)
    page = opened.page
    kinds = "[...new Set([...document.body.querySelectorAll('*')].map(one => one.localName))].sort()"
    known = set(page.evaluate(kinds))
    for place in range(0, 90, 3):
        page.evaluate(f"openClip(sheet.shown[{place}])")
        assert ATTACKS[int(page.locator("dialog .prompt").inner_text().split(" ")[0]) % len(ATTACKS)].strip() in (
            page.locator("dialog .prompt").inner_text()
        )
        page.keyboard.press("Escape")
    for _ in range(10):
        page.mouse.wheel(0, 800)
        page.evaluate("new Promise(requestAnimationFrame)")
    assert set(page.evaluate(kinds)) <= known | {"video", "img", "article"}
    assert not known & {"iframe", "object", "embed", "base", "form", "math", "link", "meta", "source"}
    assert (
        page.evaluate("document.querySelectorAll('[onerror], [onload], [onclick], [autofocus], [style*=url]').length")
        == 0
    )
    at_peace(opened)


def _poison_reasons(path: Path) -> None:
    """Put hostile texts where the service's words are."""
    with closing(sqlite3.connect(path)) as db, db:
        for n, (job_id,) in enumerate(db.execute("SELECT job_id FROM jobs").fetchall()):
            attack = ATTACKS[n % len(ATTACKS)]
            db.execute("UPDATE jobs SET reason = ?, resolved_model = ? WHERE job_id = ?", (attack, attack, job_id))
            db.execute("UPDATE attempts SET reason = ? WHERE job_id = ?", (attack, job_id))


def test_films_stand_above_the_clips_and_play(opener: Opener, tmp_path: Path, make_clip: MakeClip) -> None:
    """One is made, one waits for a clip and says for which; a name may hold what means something in an address."""
    odd = "two words/100%41 wa#lk?x=1&'\".mp4"
    (tmp_path / "two words").mkdir()
    (tmp_path / odd).write_bytes(make_clip(frames=48))
    films = (
        FilmRow("walk", odd, 2.0, ("walk-01", "walk-02"), "done"),
        FilmRow("trailer", "trailer.mp4", None, ("kite",), "waits for kite (pending)"),
    )
    made = report([a_job("walk-01"), a_job("walk-02"), a_job("kite")], Kept(films=films))
    written = views.page(made, name="films", manifest="m.yaml", made_at=1_773_390_000.0, pictures=frozenset())
    opened = opener(write_page(tmp_path, written, mode=0o644))
    shown = opened.page.locator("#films")
    assert "waits for kite" in shown.inner_text()
    shown.locator(".tile", has_text="walk").first.click()
    opened.page.wait_for_function(PLAYS)
    assert "walk-01 → walk-02" in opened.page.locator("dialog").inner_text()
    above = "document.getElementById('films').offsetTop < document.getElementById('grid').offsetTop"
    assert opened.page.evaluate(above)
    at_peace(opened)


def troubled(folder: Path, many: int) -> Path:
    """Write the page of so many failed jobs, of a clip that goes on from another, and of three films."""
    names = [f"j{n:02}" for n in range(many)]
    rows = {name: Progress(name, State.FAILED, 3, 1, reason="internal error") for name in names}
    chained = Continuation(
        **{one.name: getattr(a_job("dive"), one.name) for one in fields(Job)}, continues="kite", at_s=None
    )
    jobs = [*map(a_job, names), a_job("kite"), chained]
    films = [FilmRow(f"film-{n}", f"film-{n}.mp4", None, ("kite",), "waits for kite (pending)") for n in range(3)]
    made = report(jobs, Kept(progress=rows, films=films))
    written = views.page(made, name="m", manifest="m.yaml", made_at=1_773_390_000.0, pictures=frozenset())
    return write_page(folder, written, mode=0o644)


@pytest.mark.parametrize("many", [4, 40])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_list_has_as_many_jobs_as_its_heading_says(opener: Opener, tmp_path: Path, width: int, many: int) -> None:
    """On a phone, too; those that are not in sight are counted, and one click away."""
    page = opener(troubled(tmp_path, many), width=width).page
    assert page.locator(".needs h2").inner_text() == f"{many} jobs need attention"
    rows = page.locator(".needs li")
    assert rows.count() == many
    if many > views.SHOWN_AT_ONCE:
        page.get_by_text(f"{many - views.SHOWN_AT_ONCE} more").click()
    assert all(row.is_visible() for row in rows.all())
    assert page.evaluate(NO_WIDER)


def test_a_command_is_copied_with_one_click(opener: Opener, tmp_path: Path) -> None:
    """As it stands, and the button says so."""
    opened = opener(troubled(tmp_path, 1), permissions=["clipboard-read", "clipboard-write"])
    page = opened.page
    page.locator(".advice .copy").first.click()
    page.get_by_text("copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator(".advice code").first.inner_text()
    at_peace(opened)


def test_the_first_key_may_be_any_arrow_that_goes_on(opener: Opener, tmp_path: Path) -> None:
    """To the right before anything has the focus goes to the first clip."""
    page = opener(troubled(tmp_path, 2)).page
    page.keyboard.press("ArrowRight")
    focused = "document.activeElement.querySelector('.name b')?.textContent"
    assert page.evaluate(focused) == page.evaluate("sheet.shown[0].id")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_window_of_a_failed_job_says_why_and_is_no_black_box(opener: Opener, tmp_path: Path, scheme: Any) -> None:
    """There is no clip to show: the reason takes the width, in the page's colours."""
    page = opener(troubled(tmp_path, 1), anchor="#clip=j00", color_scheme=scheme).page
    stage = page.locator("dialog .stage")
    assert "internal error" in stage.inner_text()
    stage_box, dialog_box = stage.bounding_box(), page.locator("dialog").bounding_box()
    assert stage_box is not None
    assert dialog_box is not None
    assert stage_box["width"] > 0.95 * dialog_box["width"]
    assert stage_box["height"] < 200
    assert stage.evaluate("one => getComputedStyle(one).backgroundColor") != "rgb(11, 10, 10)"


def test_a_clip_that_goes_on_from_another_names_it(opener: Opener, tmp_path: Path) -> None:
    """On the sheet and in its window, where one click leads there."""
    page = opener(troubled(tmp_path, 0), anchor="#clip=dive").page
    told = page.locator("dialog .facts")
    assert "Continues" in told.inner_text()
    assert "kite: it begins with the last frame of that clip" in told.inner_text()
    told.get_by_role("link", name="kite").click()
    page.wait_for_function("() => document.querySelector('dialog h2').textContent === 'kite'")
    page.keyboard.press("Escape")
    assert "continues kite" in page.locator(".grid .tile", has_text="dive").inner_text()


def test_a_film_takes_no_more_than_a_third_of_a_printed_page(opener: Opener, tmp_path: Path) -> None:
    """Three stand beside each other."""
    page = opener(troubled(tmp_path, 12), width=688).page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    boxes = [box for one in page.locator("#films .tile").all() if (box := one.bounding_box()) is not None]
    assert len({box["y"] for box in boxes}) == 1
    assert max(box["width"] for box in boxes) <= 688 / 3
    assert all(row.is_visible() for row in page.locator(".needs li").all())
