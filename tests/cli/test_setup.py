"""The first minutes: init, check, schema, doctor and the sandbox as a command."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

from jsonschema import Draft7Validator

from tests.cli.project import KEY, Project, Service, ended


def test_init_writes_a_manifest_that_checks_and_never_overwrites(project: Project) -> None:
    """It names the next command, which costs nothing, then what a real run would cost, and where a key comes from."""
    ran = project.batchvid("init", "kites")
    assert ran.code == 0, ran
    assert "Next: batchvid run kites/clips.yaml --sandbox makes" in ran.out
    assert (
        "would buy 4 clips for $1.60, at most $3.20 with second attempts, by the prices in kites/clips.yaml" in ran.out
    )
    assert "It needs a key, from https://www.cometapi.com/console (API Keys), in the variable COMETAPI_KEY." in ran.out
    assert project.batchvid("init", "more", COMETAPI_KEY=None).code == 0
    checked = project.batchvid("check", "kites/clips.yaml")
    assert (checked.code, checked.err) == (0, "")
    assert "no problems" in checked.out
    (project.folder / "kites" / "clips.yaml").write_text("mine", encoding="utf-8")
    again = project.batchvid("init", "kites")
    assert again.code == 78, again
    assert (project.folder / "kites" / "clips.yaml").read_text(encoding="utf-8") == "mine"


def test_the_schema_is_a_json_schema(project: Project) -> None:
    """An editor can take it as it is."""
    schema = json.loads(project.batchvid("schema").out)
    Draft7Validator.check_schema(schema)
    assert {"jobs", "limits", "prices"} <= set(schema["properties"])


def test_doctor_finds_everything_in_order(project: Project) -> None:
    """It says that the key was found, and that the service answers."""
    project.manifest("kite")
    ran = project.batchvid("doctor", "m.yaml")
    assert ran.code == 0, ran
    assert "BAD" not in ran.out
    for word in ("versions", "journal", "key", "output", "clock", "service"):
        assert f"ok   {word}" in ran.out
    assert KEY not in ran.out


def test_doctor_finds_that_the_key_is_refused(project: Project) -> None:
    """A wrong key is found before the night, and not shown."""
    project.manifest("kite")
    ran = project.batchvid("doctor", "m.yaml", COMETAPI_KEY="sk-somebody-else")
    assert ran.code == 6, ran
    assert "BAD  service" in ran.out
    assert "the key was refused" in ran.out
    assert "sk-somebody-else" not in ran.out + ran.err


def test_doctor_goes_on_after_what_it_finds_wrong(project: Project) -> None:
    """No key and no service are two findings of one call, for programs too."""
    ran = project.batchvid("doctor", "--json", "--base-url", "http://127.0.0.1:9", COMETAPI_KEY=None)
    assert ran.code == 78, ran
    wrong = {line["what"]: line["text"] for line in ran.told if not line["ok"]}
    assert set(wrong) == {"key", "service"}
    assert "COMETAPI_KEY" in wrong["key"]


def test_the_sandbox_serves_until_it_is_ended_and_remembers(project: Project) -> None:
    """It says how to use it; a run against it needs nothing else, and a restart knows its tasks."""
    for number in (signal.SIGINT, signal.SIGTERM):
        serving = project.start("sandbox", "--port", "0", "--speed", "400", "--clip", "tiny", "--state", "memory")
        assert serving.stderr is not None
        found = re.search(r"serves (\S+)", serving.stderr.readline())
        assert found
        assert "COMETAPI_KEY=sk-sandbox batchvid run MANIFEST --base-url" in serving.stderr.readline()
        here = Project(project.folder, Service(found[1]))
        here.manifest("kite", name=f"m-{number}.yaml")
        ran = here.batchvid("run", f"m-{number}.yaml", COMETAPI_KEY="sk-sandbox")
        assert ran.code == 0, ran
        assert sum(here.creates().values()) == (1 if number is signal.SIGINT else 2)
        serving.send_signal(number)
        assert ended(serving).code == 0


def test_a_faults_file_that_is_wrong_is_said(project: Project) -> None:
    """And the help tells how one is written."""
    (project.folder / "faults.yaml").write_text("- {on: landing}", encoding="utf-8")
    ran = project.batchvid("sandbox", "--port", "0", "--faults", "faults.yaml")
    assert ran.code == 78, ran
    assert "faults.yaml" in ran.err
    assert "on: create | poll" in project.batchvid("sandbox", "--faults-help").out


def test_the_version_and_the_help_load_no_engine(project: Project) -> None:
    """They are instant: nothing heavy is imported for them."""
    heavy = {"aiohttp", "rich", "av", "PIL", "jinja2", "yaml"}
    code = "import sys; from batchvid.cli.main import run_command; sys.argv[1:] = ['run', '--help']; run_command()"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}; print(sorted({heavy!r} & set(sys.modules)))"],
        env=project.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "[]"
    assert re.fullmatch(r"batchvid \d+\.\d+\.\d+\n", project.batchvid("--version").out)
