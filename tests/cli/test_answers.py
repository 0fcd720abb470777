"""The first answers of a service, from a real run to ``doctor``: for a person who reports a gateway."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

import batchvid
from batchvid.cli import doctor
from batchvid.providers.videos import VideosAPI
from batchvid.sandbox.process import Options, running
from tests.cli.project import KEY, Project, Service
from tests.cli.test_secrets import DISGUISES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKED = base64.b64encode(f"Bearer {KEY}".encode()).decode()
RULES = f"""
- {{on: create, prompt: "told*", status: 500, effect: true,
   headers: {{X-Echo: "Bearer {{key}}", Set-Cookie: "who={KEY}"}},
   body: '{{"id":"req_1","error":"{{key}}","more":"{{escaped_key}}","packed":"{PACKED}"}}'}}
- {{on: create, prompt: "page*", status: 502, effect: true, body: "<p>{{escaped_key}} {PACKED}</p>"}}
- {{on: poll, prompt: "named*", set: {{seen: "{{key}}", packed: "{PACKED}"}}}}
"""
"""A service that repeats what it was sent."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a sandbox that repeats the key in every way."""
    faults = tmp_path_factory.mktemp("sandbox") / "faults.yaml"
    faults.write_text(RULES, encoding="utf-8")
    with running(Options(key=KEY, speed=400.0, clip="tiny", faults_path=faults)) as (api, _):
        yield Service(api)


def file_of(project: Project) -> Path:
    """Return where the answers are."""
    return project.state / "first-answers.json"


def finding(project: Project) -> dict[str, Any]:
    """Return what ``doctor`` finds of them."""
    ran = project.batchvid("doctor", "m.yaml", "--json")
    assert ran.code == 0, ran
    (found,) = [one for one in ran.told if one["what"] == "answers"]
    return found


def test_doctor_shows_what_a_run_kept(project: Project) -> None:
    """Where it is, when it came, and what was read out of it; a second run changes nothing."""
    project.manifest("kite", "gull")
    assert [one for one in project.batchvid("doctor", "m.yaml", "--json").told if one["what"] == "answers"] == []
    assert project.batchvid("run", "m.yaml").code == 0
    before = file_of(project).read_bytes()
    kept = json.loads(before)
    assert stat.S_IMODE(file_of(project).stat().st_mode) == 0o600
    assert kept["create"]["base_url"] == project.service.api
    assert b"kite" not in before
    task_id = json.loads(kept["create"]["body"])["id"]
    text = finding(project)["text"]
    assert text.startswith(f"{file_of(project)}: create {kept['create']['at']} HTTP 200: task {task_id}; poll ")
    assert text.endswith('HTTP 200: "completed" means succeeded')
    assert f"ok   answers   {text}\n" in project.batchvid("doctor", "m.yaml").out
    project.manifest("kite", "gull", "tern")
    assert project.batchvid("run", "m.yaml").code == 0
    assert file_of(project).read_bytes() == before


@pytest.mark.parametrize("prompt", ["told", "page", "named"])
def test_the_key_is_nowhere_in_it_however_it_was_repeated(project: Project, prompt: str) -> None:
    """Plain, escaped, in base64, in a header and in a cookie; the rest of what was said is there."""
    project.manifest(prompt)
    assert project.batchvid("run", "m.yaml").code in {0, 4}
    text = file_of(project).read_text()
    for inside in (text, *(one["body"] for one in json.loads(text).values())):
        for disguise in (*DISGUISES, PACKED, PACKED.rstrip("=")):
            assert disguise not in inside, disguise
    headers = json.loads(text)["create"]["headers"]
    assert "set-cookie" not in headers
    if prompt == "told":
        assert headers["x-echo"] == "Bearer [key\0]"
        assert json.loads(json.loads(text)["create"]["body"])["id"] == "req_1"
        assert "in doubt: HTTP 500, which does not prove that nothing was created" in finding(project)["text"]
    ran = project.batchvid("doctor", "m.yaml")
    assert not [disguise for disguise in DISGUISES if disguise in ran.out + ran.err]


@pytest.mark.parametrize(
    "damage", ["{", '{"create": {"at": 7}}', "\0" * 9, "[1]", "", '{"create": {"body": "\\ud800"}}']
)
def test_a_damaged_file_is_a_finding_and_nothing_else(project: Project, damage: str) -> None:
    """It keeps nobody from anything: no exit code of its own, and the next run is as ever."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml").code == 0
    file_of(project).write_text(damage)
    found = finding(project)
    assert (found["ok"], found["rules"]) == (False, [])
    assert f"{file_of(project)} is damaged" in found["text"]
    assert "no run needs it" in found["text"]
    project.manifest("kite", "gull")
    assert project.batchvid("run", "m.yaml").code == 0
    assert file_of(project).read_text() == damage


@pytest.mark.parametrize("is_own", [False, True])
def test_the_rules_are_told_of_a_gateway_that_is_not_the_providers_own(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, is_own: bool
) -> None:
    """One a line, as the provider names them, the create's first; how the provider's own are read is no news."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml").code == 0
    own = "https://api.cometapi.com/v1" if is_own else project.service.api
    file_of(project).write_text(file_of(project).read_text().replace(project.service.api, own))
    monkeypatch.setattr(VideosAPI, "explain", lambda _, result, *, task_id: [f"{task_id is None} {result.status}\x1b"])
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    loaded = batchvid.load(project.folder / "m.yaml", base_url=project.service.api)
    findings = asyncio.run(doctor.checkup(loaded, base_url=None, key_file=None, ca_file=None))
    (found,) = [one for one in findings if one.what == "answers"]
    assert found.rules == (() if is_own else ("True 200", "False 200"))
    doctor._print(found, as_json=False)
    assert capsys.readouterr().out.splitlines()[1:] == [f"{'':<15}{rule}" for rule in found.rules]
