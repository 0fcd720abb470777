"""The documents are true: each command, flag, example and link in them is one that works."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from batchvid import load
from batchvid.cli.help import TOPICS
from batchvid.cli.main import COMMANDS, batchvid
from batchvid.domain.errors import Exit
from batchvid.sandbox.faults import parse_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.mark.structures import ParameterSet

ROOT = Path(__file__).parents[2]
HELP = ROOT / "batchvid" / "help"
README, CONTRIBUTING = ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md"
DOCUMENTS = [README, CONTRIBUTING, *sorted(HELP.glob("*.md"))]
README_LINES, README_WORDS, SENTENCE_WORDS, CODE_WIDEST = 180, 900, 25, 78
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")

by_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)


def examples() -> Iterator[ParameterSet]:
    """Yield the YAML of all documents."""
    for path in DOCUMENTS:
        for number, (language, text) in enumerate(BLOCK.findall(path.read_text(encoding="utf-8")), 1):
            if language == "yaml":
                yield pytest.param(text, id=f"{path.stem}-{number}")


def flags_of(name: str) -> set[str]:
    """Return the options of a command."""
    command = batchvid.get_command(click.Context(batchvid), name)
    assert command is not None
    own = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    return own | {"--help", "-h"}


def wrong_in(code: str) -> Iterator[str]:
    """Yield what a line of code asks of batchvid that it does not have."""
    if code.startswith("-"):
        known = set.union(*map(flags_of, COMMANDS))
        yield from (flag for flag in FLAG.findall(code) if flag not in known)
    for words in re.findall(r"(?<![\w/.-])batchvid ([^#|;>)]*)", code):
        name, _, rest = words.partition(" ")
        if name.isupper() or not name:
            continue
        if name not in COMMANDS and name != "--help":
            yield f"batchvid {name}"
            continue
        if name == "help" and rest.strip() not in {*TOPICS, "TOPIC", ""}:
            yield f"batchvid help {rest}"
        yield from (f"batchvid {name} {flag}" for flag in FLAG.findall(rest) if flag not in flags_of(name))


@by_document
def test_every_command_and_flag_exists(document: Path) -> None:
    """In code blocks, and in code among the words."""
    text = document.read_text(encoding="utf-8")
    lines = [line for language, block in BLOCK.findall(text) if language in {"", "sh"} for line in block.splitlines()]
    spans = [span.replace("\n", " ") for span in SPAN.findall(BLOCK.sub("", text))]
    wrong = {found for code in (*lines, *spans) for found in wrong_in(code)}
    assert wrong == set()


SLIPS = ["batchvid runn m.yaml", "batchvid run m.yaml --untill 06:00", "--no-such", "batchvid help x"]


@pytest.mark.parametrize("code", SLIPS)
def test_a_slip_in_a_document_is_found(code: str) -> None:
    """A test that cannot fail proves nothing."""
    assert list(wrong_in(code))


@pytest.mark.parametrize("text", [*examples()])
def test_every_example_of_a_manifest_is_right(text: str, tmp_path: Path) -> None:
    """As it stands; a part of one, with the job that it lacks. Faults of the sandbox are read by the sandbox."""
    read = yaml.safe_load(text)
    if isinstance(read, list):
        assert parse_rules(read)
        return
    if "jobs" not in read:
        text += "jobs:\n  - prompt: A paper kite.\n"
    for name in {*re.findall(r"[\w/.-]+\.png", text), "frames/pairs/a_first.png"}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (160, 90), "teal").save(tmp_path / name)
    (tmp_path / "house.yaml").write_text("defaults: {size: 16x9}\n", encoding="utf-8")
    (tmp_path / "prompts.csv").write_text("id,subject\ngull,A gull\n", encoding="utf-8")
    (tmp_path / "m.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(batchvid, ["check", str(tmp_path / "m.yaml"), "--json"], standalone_mode=False)
    assert result.exception is None, result.exception
    assert json.loads(result.stdout)["problems"] == []


def test_the_defaults_that_are_told_are_the_defaults(tmp_path: Path) -> None:
    """All of them but the budgets, which have none."""
    text = (HELP / "manifest.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"^limits:\n(?:  .*\n)+(?=```)", text, re.MULTILINE)
    path = tmp_path / "m.yaml"
    path.write_text("jobs: [{prompt: A kite.}]\n", encoding="utf-8")
    plain = load(path)
    path.write_text(f"{told}jobs: [{{prompt: A kite.}}]\n", encoding="utf-8")
    assert load(path).limits == plain.limits
    schema = json.loads(CliRunner().invoke(batchvid, ["schema"], standalone_mode=False).stdout)
    keys = next(found["properties"] for found in schema["definitions"].values() if "breaker" in found["properties"])
    assert keys.keys() - yaml.safe_load(told)["limits"].keys() == {"budget", "budget_per_day"}


@by_document
def test_every_link_leads_somewhere(document: Path) -> None:
    """To a file of the repository, and to a heading that is in it."""
    text = BLOCK.sub("", document.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
        path, _, anchor = "".join(target).partition("#")
        if path.startswith("https://"):
            continue
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), target
        headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, (
            target
        )


@by_document
def test_every_sentence_is_short(document: Path) -> None:
    """Many readers learned English later. A code span counts as one word; code blocks do not count."""
    text = SPAN.sub("code", BLOCK.sub("\n\n", document.read_text(encoding="utf-8")))
    text = re.sub(r"\]\([^)]*\)|<[^>]*>", "]", text)
    pieces = re.split(r"\n\n|\n\s*(?:[-*]|\d+\.) |[|·]|\n#+ |(?<=[.?!])\**\s|→", text)
    assert [piece for piece in pieces if len(piece.split()) > SENTENCE_WORDS] == []


@pytest.mark.parametrize("topic", TOPICS)
def test_code_fits_a_terminal(topic: str) -> None:
    """Of 80 columns: a line that wraps can be neither read nor copied."""
    blocks = BLOCK.findall((HELP / f"{topic}.md").read_text(encoding="utf-8"))
    lines = [line for _, text in blocks for line in text.splitlines()]
    assert [line for line in lines if len(line) > CODE_WIDEST] == []


def test_the_readme_is_short() -> None:
    """It is what a person reads before the first run; the rest is help."""
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= README_LINES
    assert len(text.split()) <= README_WORDS


@pytest.mark.parametrize("document", [README, HELP / "troubles.md"], ids=lambda path: path.stem)
def test_the_exit_codes_are_told_in_their_order(document: Path) -> None:
    """The first one that applies is the one that a person gets."""
    told = re.findall(r"^\| (\d+)(?:, (\d+))? \|", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(code) for codes in told for code in codes if code] == [*Exit]


def test_every_target_of_make_exists() -> None:
    """That a document names."""
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        code = [
            *SPAN.findall(BLOCK.sub("", text)),
            *(block for language, block in BLOCK.findall(text) if language == "sh"),
        ]
        assert set(re.findall(r"^make ([a-z-]+)", "\n".join(code), re.MULTILINE)) <= targets, path.name


def test_the_map_has_every_module_and_no_other() -> None:
    """A newcomer looks there first. An ``__init__.py`` that holds only a docstring is its room's, and not in it."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    (lines,) = (block.splitlines() for _, block in BLOCK.findall(text) if "__main__.py" in block)
    room, told = "", []
    for name in (line.split()[0] for line in lines if line):
        room = name if name.endswith("/") else room
        told += [room + name] if name.endswith(".py") else []
    package = ROOT / "batchvid"
    there = {path: ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")}
    assert sorted(told) == sorted(str(path.relative_to(package)) for path, tree in there.items() if tree.body[1:])


def test_ci_runs_every_python_that_is_promised() -> None:
    """And the linter of a commit is the one of ``make check``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == promised == ["3.11", "3.12", "3.13", "3.14"]
    ruff = next(one for one in project["optional-dependencies"]["dev"] if one.startswith("ruff"))
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [hook["additional_dependencies"] for hook in local["hooks"] if hook["entry"].startswith("ruff")] == [
        [ruff]
    ] * 2
