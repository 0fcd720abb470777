"""``provider: openai`` from the command line to the ledger of a service that speaks as OpenAI does."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from batchvid.sandbox.process import Options, running
from tests.cli.project import KEY, QUICK, Project, Service, ended, read_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONE_KEY = "sk-of-openai-itself-5d1"


@pytest.fixture(scope="module")
def openai() -> Iterator[Service]:
    """Return a sandbox that plays OpenAI."""
    with running(Options(provider="openai", key=KEY, speed=400.0, clip="tiny")) as (api, _):
        yield Service(api)


@pytest.fixture
def project(tmp_path: Path, openai: Service) -> Project:
    """Return a folder with a manifest of six jobs: four of text alone, and two with a first frame."""
    Image.new("RGB", (1280, 720), "teal").save(tmp_path / "dawn.png")
    found = Project(tmp_path, openai)
    write(found, "service: {provider: openai, key_env: VIDEO_KEY}")
    return found


def write(project: Project, service: str, *, job: str = "", last: str = "", **limits: str) -> None:
    """Write the manifest of six jobs, with more in the first and in the last of them."""
    frames = [job, "", "", ", first_frame: dawn.png", ", first_frame: dawn.png", last]
    lines = [service, 'defaults: {size: 1280x720, seconds: "8"}', "prices: {sora-2: 0.10/s}"]
    lines += ["limits:", *(f"  {key}: {value}" for key, value in (QUICK | limits).items()), "jobs:"]
    lines += [
        f'  - {{id: job-{n}, prompt: "kite {n} of {project.folder.name}"{more}}}' for n, more in enumerate(frames, 1)
    ]
    (project.folder / "m.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_six_jobs_are_paid_once_each(project: Project) -> None:
    """Their frames arrive, the money is counted, and a second run has nothing to do."""
    assert project.batchvid("check", "m.yaml", VIDEO_KEY=KEY).code == 0
    ran = project.batchvid("run", "m.yaml", "--yes", VIDEO_KEY=KEY)
    assert ran.code == 0, ran
    lines = [line for line in project.service.ledger()["creates"] if line["prompt"].endswith(project.folder.name)]
    assert sorted(line["prompt"][:6] for line in lines) == [f"kite {n}" for n in range(1, 7)]
    assert [len(line["frames"]) for line in sorted(lines, key=lambda line: line["prompt"])] == [0, 0, 0, 1, 1, 0]
    assert {line["fields"]["seconds"] for line in lines} == {"8"}
    status = project.status()
    assert status["money"]["spent"] == sum(line["price"] for line in lines) == pytest.approx(4.8)
    assert {json.loads((project.out / f"job-{n}.json").read_text())["task_id"] for n in range(1, 7)} == {
        line["task_id"] for line in lines
    }
    again = project.batchvid("run", "m.yaml", "--yes", VIDEO_KEY=KEY)
    assert again.code == 0, again
    assert set(project.creates().values()) == {1}
    assert KEY not in ran.out + ran.err + again.out + again.err


@pytest.mark.parametrize("words", ["submitted job-3", "saved     job-"])
def test_a_run_that_is_killed_goes_on_and_pays_nothing_twice(project: Project, words: str) -> None:
    """By SIGKILL, in the midst of submitting or of fetching; a create whose answer was lost is in doubt."""
    run = project.start("run", "m.yaml", "--yes", more={"VIDEO_KEY": KEY})
    read_until(run, words)
    run.send_signal(signal.SIGKILL)
    ended(run)
    again = project.batchvid("run", "m.yaml", "--yes", VIDEO_KEY=KEY)
    assert again.code in {0, 4}, again
    states = project.states()
    assert set(project.creates().values()) == {1}
    assert set(states.values()) == ({"done"} if again.code == 0 else {"done", "in_doubt"})


def test_verify_and_doctor_speak_to_it_too(project: Project) -> None:
    """A damaged clip is fetched again from its task; doctor finds key and service."""
    assert project.batchvid("run", "m.yaml", "--yes", VIDEO_KEY=KEY).code == 0
    (project.out / "job-2.mp4").write_bytes(b"damaged")
    mended = project.batchvid("verify", "m.yaml", "--repair", VIDEO_KEY=KEY)
    assert mended.code == 0, mended
    assert project.batchvid("verify", "m.yaml").code == 0
    found = project.batchvid("doctor", "m.yaml", VIDEO_KEY=KEY)
    assert (found.code, "BAD" in found.out) == (0, False), found
    assert set(project.creates().values()) == {1}


def test_the_key_of_openai_goes_to_openai_alone(project: Project) -> None:
    """To another address none is sent by itself: the service says what it wants, and nothing is paid."""
    write(project, "service: {provider: openai}")
    ran = project.batchvid("run", "m.yaml", "--yes", OPENAI_API_KEY=LONE_KEY)
    assert ran.code == 6, ran
    assert f"no key is sent to {project.service.api}" in ran.out
    assert "didn't provide an API key" in ran.out
    assert project.creates() == {}
    found = project.batchvid("doctor", "m.yaml", OPENAI_API_KEY=LONE_KEY)
    assert found.code == 6
    assert "it wants a key: name its variable in service.key_env" in found.out
    own = project.batchvid("doctor", "m.yaml", OPENAI_API_KEY=None, BATCHVID_BASE_URL=None)
    assert "set the variable OPENAI_API_KEY" in own.out


def test_a_rehearsal_plays_the_manifests_provider(project: Project) -> None:
    """``--sandbox`` needs no key, and knows its models; a chain goes on from a clip of the size that it asked for."""
    write(project, "service: {provider: openai}", last=", continues: job-1", typical_time="60s")
    ran = project.batchvid("run", "m.yaml", "--sandbox", "--sandbox-speed", "400", "--output", "out/m", VIDEO_KEY=None)
    assert ran.code == 0, ran
    assert project.creates() == {}
    assert json.loads((project.out / "job-4.json").read_text())["resolved_model"] == "sora-2"


def test_a_rehearsal_for_a_server_of_ones_own_has_its_models(project: Project) -> None:
    """As the manifest names them, also when it is run again; a name of OpenAI's that is misspelt is still refused."""
    write(project, "service: {provider: openai, base_url: 'http://gpu:8000'}", job=", model: wan-2.2, size: 480x832")
    for _ in range(2):
        ran = project.batchvid(
            "run", "m.yaml", "--sandbox", "--sandbox-speed", "400", "--output", "out/m", BATCHVID_BASE_URL=None
        )
        assert ran.code == 0, ran
    assert json.loads((project.out / "job-1.json").read_text())["resolved_model"] == "wan-2.2"
    write(project, "service: {provider: openai}", job=", model: wan-2.2")
    ran = project.batchvid("run", "m.yaml", "--sandbox", "--output", "other", BATCHVID_BASE_URL=None)
    assert ran.code == 3, ran
    assert "Invalid value: 'wan-2.2'" in ran.out


def test_two_frames_are_sent_where_the_manifest_says_that_the_service_takes_them(project: Project) -> None:
    """Both are in the request: OpenAI's own dialect refuses the second part, in its words, and nothing is paid."""
    service = "service: {provider: openai, key_env: VIDEO_KEY, frames: two}"
    write(project, service, job=", first_frame: dawn.png, last_frame: dawn.png")
    for command in ("check", "plan"):
        told = project.batchvid(command, "m.yaml", VIDEO_KEY=KEY)
        assert told.code == 0, told
        assert (
            told.err.count("service.frames: is two: a server that reads one frame begins the clip with the last") == 1
        )
    ran = project.batchvid("run", "m.yaml", "--yes", VIDEO_KEY=KEY)
    assert ran.code == 3, ran
    (failed,) = [job for job in project.status()["jobs"] if job["state"] == "failed"]
    assert (failed["id"], failed["reason"]) == ("job-1", "Duplicate parameter: 'input_reference'.")
    assert sorted(project.creates()) == [f"kite {n} of {project.folder.name}" for n in range(2, 7)]


@pytest.mark.parametrize(
    ("job", "where", "words"),
    [
        (", first_frame: dawn.png, last_frame: dawn.png", "jobs[0].last_frame", "takes a first frame alone"),
        (", size: 16x9", "jobs[0].size", "wants pixels"),
    ],
)
def test_what_it_cannot_be_asked_for_is_a_problem_of_check(project: Project, job: str, where: str, words: str) -> None:
    """Before anything is paid, and with its place."""
    write(project, "service: {provider: openai}", job=job)
    checked = project.batchvid("check", "m.yaml", "--json")
    (problem,) = json.loads(checked.out)["problems"]
    assert problem["where"] == where
    assert words in problem["text"]
    assert project.batchvid("run", "m.yaml", "--yes", VIDEO_KEY=KEY).code == checked.code
    assert project.creates() == {}


def test_a_frame_of_another_size_is_a_warning(project: Project) -> None:
    """OpenAI refuses it, and costs nothing; other servers scale it."""
    Image.new("RGB", (640, 360), "teal").save(project.folder / "dawn.png")
    checked = project.batchvid("check", "m.yaml", VIDEO_KEY=KEY)
    assert checked.code == 0, checked
    assert "is 640x360, and the clip 1280x720: OpenAI refuses that" in checked.err
