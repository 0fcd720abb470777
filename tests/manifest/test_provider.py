"""``service.provider``: what stands where nothing is said, whose key goes where, and what cannot be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchvid import manifest
from batchvid.domain.task import ProviderName

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk

JOBS = "jobs:\n  - {id: kite, prompt: A kite.}\n"
OPENAI = "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("service", "provider", "base_url", "key_env"),
    [
        ("{}", "cometapi", "https://api.cometapi.com/v1", "COMETAPI_KEY"),
        ("{provider: cometapi, base_url: 'https://gw/v1'}", "cometapi", "https://gw/v1", "COMETAPI_KEY"),
        ("{provider: openai}", "openai", OPENAI, "OPENAI_API_KEY"),
        ("{provider: openai, base_url: 'https://api.openai.com'}", "openai", OPENAI, "OPENAI_API_KEY"),
        ("{provider: openai, base_url: 'http://gpu:8000'}", "openai", "http://gpu:8000/v1", ""),
        ("{provider: openai, base_url: 'https://api.openai.com.evil/v1'}", "openai", OPENAI[:-3] + ".evil/v1", ""),
        ("{provider: openai, base_url: 'http://gpu/v1', key_env: MY_KEY}", "openai", "http://gpu/v1", "MY_KEY"),
    ],
)
def test_the_key_of_a_paid_service_goes_to_no_other_by_a_default(
    desk: Desk, service: str, provider: str, base_url: str, key_env: str
) -> None:
    """A server of one's own may have none; whoever names a variable means it."""
    loaded = desk.load(f"service: {service}\n{JOBS}")
    assert (loaded.provider, loaded.base_url, loaded.key_env) == (provider, base_url, key_env)
    assert loaded.provider in ProviderName


def test_an_address_that_wins_over_the_manifests_wins_before_its_key_is_chosen(desk: Desk) -> None:
    """``--base-url`` takes no key along."""
    path = desk.write("m.yaml", f"service: {{provider: openai}}\n{JOBS}")
    loaded = manifest.load(path, read_frame=desk.read_frame, state_of=desk.state_of, base_url="http://gpu/v1")
    assert (loaded.base_url, loaded.key_env) == ("http://gpu/v1", "")
    path = desk.write("m.yaml", f"service: {{provider: openai, key_env: MY_KEY}}\n{JOBS}")
    loaded = manifest.load(path, read_frame=desk.read_frame, state_of=desk.state_of, base_url="http://gpu/v1")
    assert loaded.key_env == "MY_KEY"


def test_the_model_that_nobody_names_is_the_providers(desk: Desk) -> None:
    """And a job's content is the same for every provider: its fingerprint does not tell where it was made."""
    assert desk.load(JOBS).jobs[0].model == "veo3-fast"
    assert desk.load(f"service: {{provider: openai}}\n{JOBS}").jobs[0].model == "sora-2"
    found = [
        desk.load(f"service: {{provider: {name}}}\ndefaults: {{model: m, size: 1280x720}}\n{JOBS}").jobs[0]
        for name in ProviderName
    ]
    assert len({job.fingerprint for job in found}) == 1


def test_what_a_provider_cannot_be_asked_for_has_its_place(desk: Desk) -> None:
    """Each once, with what to do; another provider takes both."""
    desk.draw("a.png", (1280, 720))
    jobs = (
        "jobs:\n  - {prompt: A kite., size: 16x9, first_frame: a.png, last_frame: a.png}\n  - {prompt: B, size: 16x9}\n"
    )
    size, last = desk.complaints(f"service: {{provider: openai}}\n{jobs}")
    assert size == (
        'clips.yaml:3:23: jobs[0].size: "16x9" is a shape, and provider: openai wants pixels: write such as 1280x720'
    )
    assert last.startswith("clips.yaml:3:55: jobs[0].last_frame: cannot be sent: first and last frame need a service")
    assert len(desk.load(jobs).jobs) == 2


TWO_FRAMES = {
    "a job": ("{prompt: A, first_frame: a.png, last_frame: b.png}", "clips.yaml:3:37: jobs[0].last_frame"),
    "a chain": ("{prompt: A, continues: kite, last_frame: b.png}", "clips.yaml:3:34: jobs[0].last_frame"),
    "pairs": ("{prompt: A, pairs: pairs}", "clips.yaml:3:17: jobs[0] pair sky last_frame"),
    "a storyboard": ("{id: walk, prompt: A, storyboard: [a.png, b.png]}", "clips.yaml:3:47: jobs[0].storyboard[1]"),
    "a table": ("{from: rows.csv}", "rows.csv:2:9: jobs[0] row 1 (rows.csv) last_frame"),
    "rows of YAML": ("{from: rows.yaml}", "rows.yaml:1:35: jobs[0] row 1 (rows.yaml) last_frame"),
}
"""Every way to write a job with two frames, and where its second one stands."""
KITE = "  - {id: kite, prompt: A kite.}\n"


@pytest.mark.parametrize(("entry", "place"), TWO_FRAMES.values(), ids=TWO_FRAMES)
@pytest.mark.parametrize("service", ["{provider: openai}", "{provider: openai, frames: one}", "{frames: one}"])
def test_a_second_frame_is_refused_where_the_service_takes_one(
    desk: Desk, service: str, entry: str, place: str
) -> None:
    """However it is written, with its place: a clip that begins with its last frame would be paid."""
    for name in ("a.png", "b.png", "pairs/sky_first.png", "pairs/sky_last.png"):
        desk.draw(name)
    desk.write("rows.csv", "prompt,first_frame,last_frame\nA,a.png,b.png\n")
    desk.write("rows.yaml", "- {prompt: A, first_frame: a.png, last_frame: b.png}\n")
    jobs = f"jobs:\n  - {entry}\n{KITE}"
    (found,) = desk.complaints(f"service: {service}\n{jobs}")
    assert found.startswith(f"{place}: cannot be sent: "), found
    allowed = service.replace("frames: one", "frames: two").replace("openai}", "openai, frames: two}")
    two, usual = (desk.load(f"{section}defaults: {{model: m}}\n{jobs}") for section in (f"service: {allowed}\n", ""))
    assert [job.fingerprint for job in two.jobs] == [job.fingerprint for job in usual.jobs]


def test_two_frames_are_warned_of_once_where_many_services_take_one(desk: Desk) -> None:
    """At the key that allows them, and only if a job has two; a provider whose services take two needs no warning."""
    desk.draw("a.png")
    job = "  - {prompt: A kite, first_frame: a.png, last_frame: a.png, takes: 3}\n"
    (warning,) = desk.load(f"service: {{provider: openai, frames: two}}\njobs:\n{job}").warnings
    assert (
        "clips.yaml:1:29: service.frames: is two: a server that reads one frame begins the clip with the last"
        in warning
    )
    assert desk.load(f"service: {{provider: openai, frames: two}}\n{JOBS}").warnings == ()
    assert desk.load(f"service: {{frames: two}}\njobs:\n{job}").warnings == ()


def test_a_slip_in_the_number_of_frames_is_told_once(desk: Desk) -> None:
    """And not at every job that has two."""
    desk.draw("a.png")
    job = "  - {prompt: A kite, first_frame: a.png, last_frame: a.png}\n"
    assert desk.complaints(f"service: {{provider: openai, frames: 2}}\njobs:\n{job}") == [
        'clips.yaml:1:29: service.frames: is "2": write one or two'
    ]


def test_a_frame_should_have_the_clips_size_to_the_pixel_where_the_service_asks_for_it(desk: Desk) -> None:
    """A warning: OpenAI refuses another size, free; other servers scale it."""
    desk.draw("a.png", (640, 360))
    jobs = "jobs:\n  - {prompt: A kite., size: 1280x720, first_frame: a.png}\n"
    (warning,) = desk.load(f"service: {{provider: openai}}\n{jobs}").warnings
    assert "jobs[0].first_frame: is 640x360, and the clip 1280x720: OpenAI refuses that, others may scale it" in warning
    assert desk.load(jobs).warnings == ()


def test_a_provider_that_nobody_knows_is_a_problem(desk: Desk) -> None:
    """With the names that there are."""
    assert desk.complaints(f"service: {{provider: sora}}\n{JOBS}") == [
        'clips.yaml:1:11: service.provider: is "sora": write cometapi or openai'
    ]
