"""The JSON Schema for editors, the examples, and the starter files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema import Draft7Validator, ValidationError
from PIL import Image

from batchvid import manifest
from batchvid.domain.errors import ConfigError

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk

JOBS = Path(__file__).parents[2] / "jobs"
EXAMPLES = sorted(JOBS.glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Any:
    """Return a validator of the manifest's schema."""
    return Draft7Validator(manifest.json_schema())


def test_the_schema_is_a_draft_07_schema() -> None:
    """Editors read no newer one."""
    schema = manifest.json_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert "$defs" not in str(schema)
    Draft7Validator.check_schema(schema)


def test_every_key_is_described() -> None:
    """An editor shows what it means."""

    def keys(schema: Any) -> list[tuple[str, Any]]:
        if isinstance(schema, list):
            return [found for inner in schema for found in keys(inner)]
        if not isinstance(schema, dict):
            return []
        own = list(schema["properties"].items()) if isinstance(schema.get("properties"), dict) else []
        return own + [found for inner in schema.values() for found in keys(inner)]

    found = keys(manifest.json_schema())
    assert len(found) > 40
    assert [name for name, schema in found if not schema.get("description")] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_right_and_warns_of_nothing(desk: Desk, validator: Any, path: Path) -> None:
    """For batchvid and for editors, and its budget is enough for all of its jobs."""
    loaded = manifest.load(path, read_frame=desk.read_frame, state_of=desk.state_of)
    assert loaded.jobs
    assert loaded.warnings == ()
    assert loaded.output == JOBS / "out" / path.stem
    assert loaded.limits.budget_micros is not None
    assert sum(job.price_micros or 0 for job in loaded.jobs) <= loaded.limits.budget_micros
    validator.validate(yaml.safe_load(path.read_text()))


def test_the_demo_shows_text_one_frame_and_two_in_both_orientations(desk: Desk) -> None:
    """What the project promises to do, in one small manifest."""
    loaded = manifest.load(JOBS / "demo.yaml", read_frame=desk.read_frame, state_of=desk.state_of)
    assert {(len(job.frames), job.size) for job in loaded.jobs} == {(n, s) for n in (0, 1, 2) for s in ("16x9", "9x16")}


@pytest.mark.parametrize("path", ["", "service", "limits", "defaults", "jobs.0"])
def test_the_schema_rejects_unknown_keys_everywhere(validator: Any, path: str) -> None:
    """So that an editor underlines a slip before batchvid sees it."""
    tree: dict[str, Any] = {"service": {}, "limits": {}, "defaults": {}, "jobs": [{"prompt": "x"}]}
    validator.validate(tree)
    place: Any = tree
    for part in filter(None, path.split(".")):
        place = place[int(part) if part.isdigit() else part]
    place["colour"] = "red"
    with pytest.raises(ValidationError, match="colour"):
        validator.validate(tree)


JOB = "jobs: [{id: a, prompt: x}]"
WRONG_SECTIONS = """
version: 2
versoin: 1
output: 3
output: ~/clips
filename: "{id}.mov"
filename: "/abs/{id}.mp4"
service: {key_env: sk-x}
service: {base_url: "ftp://x"}
service: {key: x}
limits: {submits: fast}
limits: {submits: 10/day}
limits: {in_flight: 0}
limits: {in_flight: "20"}
limits: {in_flight: 1.5}
limits: {downloads: 65}
limits: {poll_every: 3s}
limits: {backoff: 1..60}
limits: {typical_time: 90}
limits: {task_timeout: 20 minutes}
limits: {budget: lots}
limits: {budget: -5}
limits: {in_doubt: guess}
limits: {on_change: "yes"}
limits: {canary: -1}
limits: {budgit: 3}
prices: {a: cheap}
prices: {a: {"*": 1/min}}
prices: [1]
defaults: {seconds: no}
defaults: {id: x}
defaults: {fit: stretch}
notify: [nobody]
notify: [$]
"""
WRONG_JOBS = """
kite
{id: a b, prompt: x}
{id: -a, prompt: x}
{id: a, prompt: ""}
{id: a, prompt: no}
{id: a, prompt: 3}
{id: a, promt: x}
{prompt: x, takes: 0}
{prompt: x, takes: two}
{prompt: x, matrix: {}}
{prompt: x, matrix: {c: []}}
{prompt: x, matrix: {c: red}}
{prompt: x, matrix: {take: [b]}}
{prompt: x, form: {seed: no}}
{prompt: x, form: {prompt: y}}
{prompt: x, form: {a b: y}}
{prompt: x, price: free}
{prompt: x, fit: no}
{prompt: x, size: 16}
{prompt: x, first_frame: [a.png]}
{prompt: x, from: 3}
{prompt: x, from: a.html}
{from: a.csv, pairs: b}
"""
WRONG = [f"{section}\n{JOB}" for section in WRONG_SECTIONS.split("\n")[1:-1]] + [
    f"jobs: [{job}]" for job in WRONG_JOBS.split("\n")[1:-1]
]


@pytest.mark.parametrize("text", [*WRONG, "version: 1", "jobs: []", "jobs: {a: b}"])
def test_the_schema_and_the_loader_refuse_the_same(desk: Desk, validator: Any, text: str) -> None:
    """For each kind of slip: an editor underlines what batchvid would refuse."""
    assert desk.problems(text)
    assert not validator.is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        'jobs: [{id: "{city}-{take}", prompt: x, matrix: {city: [Hue, 1]}}]',
        "jobs: [{prompt: x, takes: 2, form: {'image[0].strength': ''}}]",
        "jobs: [{prompt: x, first_frame: a.png, size: 9x16, fit: crop, price: 0.10/s}]",
        "jobs: [{prompt: x, price: 1}]",
        f"output: ../kites\nfilename: '{{model}}/{{id}}.mp4'\n{JOB}",
        f"limits: {{submits: unlimited, requests: 1.5/s, poll_every: 1m30s..1h, backoff: 0.5s..2m}}\n{JOB}",
        f"limits: {{budget: 3}}\nprices: {{veo3-fast: 1}}\n{JOB}",
        f"limits: {{typical_time: 1h30m, task_timeout: 2d, in_doubt: resubmit, on_change: rebuy}}\n{JOB}",
        f"prices: {{a: 1, b: 0.40/s, c: {{'*': 0.4, 1280x720: 0.60/s}}}}\n{JOB}",
        f"service: {{base_url: 'http://127.0.0.1:8765', key_env: MY_KEY}}\n{JOB}",
    ],
)
def test_the_schema_takes_what_the_loader_takes(desk: Desk, validator: Any, text: str) -> None:
    """An editor that underlines what is right teaches people to look away."""
    desk.draw("a.png")
    assert desk.load(text).jobs
    validator.validate(yaml.safe_load(text))


def test_the_starter_files_load_as_they_are(desk: Desk, validator: Any) -> None:
    """The first thing a person runs is right, and shows text, one frame and two."""
    written = manifest.write_starter(desk.folder / "new")
    assert [path.relative_to(desk.folder).as_posix() for path in written] == [
        "new/clips.yaml",
        "new/clips.schema.json",
        "new/frames/dawn.png",
        "new/frames/dusk.png",
    ]
    loaded = manifest.load(written[0], read_frame=desk.read_frame, state_of=desk.state_of)
    assert loaded.warnings == ()
    assert {len(job.frames) for job in loaded.jobs} == {0, 1, 2}
    validator.validate(yaml.safe_load(written[0].read_text()))
    modeline = re.match(r"# yaml-language-server: \$schema=(\S+)\n", written[0].read_text())
    assert modeline
    assert json.loads((written[0].parent / modeline[1]).read_text()) == manifest.json_schema()
    with Image.open(written[2]) as image:
        assert image.size == (640, 360)


@pytest.mark.parametrize("there", ["clips.yaml", "clips.schema.json", "frames/dusk.png"])
def test_starting_overwrites_nothing_and_writes_nothing_then(desk: Desk, there: str) -> None:
    """Neither a file nor the target of a dangling link."""
    path = desk.write(there, "mine")
    with pytest.raises(ConfigError, match="exists already"):
        manifest.write_starter(desk.folder)
    assert path.read_text() == "mine"
    assert [str(found.relative_to(desk.folder)) for found in desk.folder.rglob("*") if found.is_file()] == [there]


def test_importing_the_manifest_package_is_light() -> None:
    """``--help`` needs neither YAML nor Pillow."""
    code = "import sys, batchvid.manifest; print(sorted({'yaml', 'PIL'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_hundred_thousand_jobs_load_without_looking_for_positions(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second pass over the text is for messages only; a manifest of normal size stays quick."""
    monkeypatch.setattr("batchvid.manifest.yaml_tree._places", None)
    jobs = "".join(f"  - id: clip-{n}\n    prompt: A paper kite, number {n}\n" for n in range(100_000))
    loaded = desk.load("version: 1\njobs:\n" + jobs)
    assert len(loaded.jobs) == 100_000
    assert loaded.jobs[-1].where.endswith("clips.yaml:200001")
