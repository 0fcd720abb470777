"""The house stands as it was drawn: who may import whom, and what is done in one place only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "batchvid"
MODULES = {
    ".".join(("batchvid", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

PURE = {
    "__future__",
    "array",
    "base64",
    "bisect",
    "collections",
    "collections.abc",
    "dataclasses",
    "datetime",
    "difflib",
    "email.utils",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "html",
    "heapq",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "re",
    "struct",
    "typing",
    "unicodedata",
    "urllib.parse",
    "zlib",
}
"""What core may import of the standard library: values and arithmetic; no files, sockets, clocks or randomness."""
HEAVY = ("aiohttp", "av", "PIL", "pydantic", "rich", "yaml", "jinja2", "numpy")
LINES_AT_MOST = 600

RANKS = {
    "errors": 0,
    "core": 1,
    "environment": 2,
    "edge": 2,
    "manifest": 2,
    "stages": 3,
    "steps": 4,
    "missing": 3,
    "takeback": 3,
    "takeover": 4,
    "moving": 5,
    "planning": 6,
    "mending": 4,
    "asking": 4,
    "films": 4,
    "runner": 5,
    "sharing": 6,
    "ending": 6,
    "watching": 6,
    "views": 6,
    "sandbox": 6,
    "session": 7,
    "shift": 8,
}
"""A part may import parts of lower rank only. What is not listed is a face of the program, and comes last."""
FACE = 9
STARTERS = {"batchvid.runner", "batchvid.shift", "batchvid.sandbox.__main__"}
"""Where tasks are started: the workers of a run, the runs of a call, and the sandbox's own program."""
WATCHER = "batchvid.views.view"
"""The protocol of whoever watches a run; the engine names it and knows no view."""


def part_of(module: str) -> str:
    """Give the part that a module belongs to: its folder, or the module itself at the top."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what is imported anywhere in a module, in functions and for types too, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports name the whole path"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if name in MODULES]
            yield from ((name, node.lineno) for name in modules or [str(node.module)])


def for_types_only(tree: ast.Module) -> set[int]:
    """Give the lines of imports under ``if TYPE_CHECKING``."""
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {inner.lineno for block in blocks for inner in ast.walk(block) if isinstance(inner, ast.ImportFrom)}


def forbidden_imports(module: str, tree: ast.Module) -> list[str]:
    """Tell the imports of a module that its part may not have."""
    own, types = part_of(module), for_types_only(tree)
    rank = RANKS.get(own, FACE)
    found = []
    for target, line in imports(tree):
        if target.split(".")[0] != "batchvid" or part_of(target) == own:
            continue
        if target == "batchvid" and own != "core":
            continue  # the version
        allowed = RANKS.get(part_of(target), FACE) < rank or rank == FACE
        watches = target == WATCHER and line in types and rank >= RANKS["steps"]
        if not (allowed or watches):
            found.append(f"{module}:{line} imports {target}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_part_imports_only_what_lies_below_it(module: str) -> None:
    """Core below edge and manifest, these below the stages, then steps, runner, views, session, and the faces."""
    assert forbidden_imports(module, TREES[module]) == []


def test_edge_and_manifest_do_not_know_each_other() -> None:
    """One reads what is wanted, the other touches the world; only who brings them together knows both."""
    for own, other in (("edge", "manifest"), ("manifest", "edge")):
        for module, tree in TREES.items():
            if part_of(module) == own:
                assert not [name for name, _ in imports(tree) if name.startswith(f"batchvid.{other}")], module


def test_the_sandbox_is_no_part_of_the_client() -> None:
    """The stand-in knows nothing of the program that it tests, and only faces start it."""
    for module, tree in TREES.items():
        targets = {part_of(name) for name, _ in imports(tree) if name.startswith("batchvid.")}
        if part_of(module) == "sandbox":
            assert targets <= {"sandbox", "core", "errors"}, module
        elif part_of(module) in RANKS:
            assert "sandbox" not in targets, module


@pytest.mark.parametrize("module", [name for name in MODULES if part_of(name) == "core"])
def test_core_can_do_no_input_or_output(module: str) -> None:
    """It imports value modules of the standard library, itself and the errors, and calls nothing beyond them."""
    tree = TREES[module]
    ours = ("batchvid.core", "batchvid.errors")
    assert {name for name, _ in imports(tree) if not name.startswith(ours)} <= PURE | {"sys"}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"open", "print", "input", "eval", "exec", "compile", "__import__"}
    dotted = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {name for name in dotted if name.startswith("sys.")} <= {"sys.byteorder"}
    assert not {name for name in dotted if name.endswith((".now", ".utcnow", ".today"))}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "batchvid.environment"])
def test_one_module_reads_the_environment(module: str) -> None:
    """Settings flow down as values."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os":
            assert node.attr not in {"environ", "environb", "getenv", "getenvb", "putenv"}, f"{module}:{node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            assert not {alias.name for alias in node.names} & {"environ", "environb", "getenv"}, module


@pytest.mark.parametrize("module", MODULES)
def test_only_a_task_group_starts_tasks(module: str) -> None:
    """In few places: a task that nobody awaits dies unseen."""
    for node in ast.walk(TREES[module]):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        assert name != "ensure_future", f"{module}:{getattr(node, 'lineno', 0)}"
        if name == "create_task":
            assert isinstance(node, ast.Attribute), f"{module}: import it as asyncio's and it starts tasks anywhere"
            assert ast.unparse(node.value) == "group", f"{module}:{node.lineno}"
            assert module in STARTERS, f"{module}:{node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_swallowed(module: str) -> None:
    """One place catches every exception, to set the exit code; who cleans up behind any exception raises it again.

    A thread that works for others hands it to the one who waits for its result.
    """
    for node in ast.walk(TREES[module]):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = "" if node.type is None else ast.unparse(node.type)
        assert caught, f"{module}:{node.lineno} catches everything"
        if caught == "Exception":
            assert module == "batchvid.cli", f"{module}:{node.lineno}"
        if caught == "BaseException" and module != "batchvid.edge.workers":
            last = node.body[-1]
            assert isinstance(last, ast.Raise), f"{module}:{node.lineno}"
            assert last.exc is None, f"{module}:{node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_in_one_sitting(module: str) -> None:
    """One that cannot is two; and each says what it is in its first line."""
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= LINES_AT_MOST
    assert ast.get_docstring(TREES[module]), module


def loaded_by(statement: str) -> set[str]:
    """Give the modules that a fresh interpreter holds after *statement*."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-X", "utf8", "-c", code]
    return set(subprocess.run(command, cwd=PACKAGE.parent, check=True, capture_output=True, text=True).stdout.split())


def test_importing_batchvid_loads_nothing_heavy() -> None:
    """The libraries come when they are needed."""
    assert not loaded_by("import batchvid") & set(HEAVY)


def test_the_core_alone_loads_nothing_heavy() -> None:
    """What decides can be imported anywhere, and tested in milliseconds."""
    core = "; ".join(f"import {name}" for name in MODULES if part_of(name) == "core")
    assert not loaded_by(core) & {*HEAVY, "asyncio", "sqlite3", "subprocess"}


def test_the_command_line_answers_without_the_engine() -> None:
    """``batchvid --help`` stays fast."""
    assert not loaded_by("import batchvid.cli") & {"aiohttp", "av", "PIL", "pydantic", "yaml", "jinja2"}


@pytest.mark.parametrize(
    ("module", "source", "complaints"),
    [
        ("batchvid.core.x", "import batchvid.edge.journal", 1),
        ("batchvid.core.x", "from batchvid import edge", 1),
        ("batchvid.core.x", "from batchvid import __version__", 1),
        ("batchvid.core.x", "from batchvid.errors import Exit", 0),
        ("batchvid.edge.x", "from batchvid.manifest import model", 1),
        ("batchvid.manifest.x", "def f():\n    from batchvid.edge.media import read_frame", 1),
        ("batchvid.edge.x", "from batchvid import __version__", 0),
        ("batchvid.stages.x", "from batchvid.runner import Runner", 1),
        ("batchvid.steps", "from batchvid.views.view import View", 1),
        ("batchvid.steps", "if TYPE_CHECKING:\n    from batchvid.views.view import View", 0),
        ("batchvid.steps", "if TYPE_CHECKING:\n    from batchvid.views.live import Live", 1),
        ("batchvid.views.x", "from batchvid.session import run", 1),
        ("batchvid.runner", "from batchvid.steps import Steps", 0),
        ("batchvid.session", "from batchvid.cli import main", 1),
        ("batchvid.commands.x", "from batchvid.session import run", 0),
    ],
)
def test_the_rule_of_imports_finds_what_breaks_it(module: str, source: str, complaints: int) -> None:
    """A test that cannot fail proves nothing."""
    assert len(forbidden_imports(module, ast.parse(source))) == complaints
