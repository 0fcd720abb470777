"""The house stands as it was drawn: who may import whom, and what is done in one place only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGE = Path(__file__).parents[1] / "batchvid"
MODULES = {
    ".".join(("batchvid", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

MIDDLE = {"domain", "providers", "media", "storage", "journal"}
BELOW = {
    "domain": set(),
    "manifest": {"domain"},
    "providers": {"domain"},
    "media": {"domain"},
    "storage": {"domain", "media", "providers"},
    "journal": {"domain", "providers", "storage"},
    "engine": {*MIDDLE, "manifest"},
    "cli": {*MIDDLE, "manifest", "engine", "sandbox"},
    "sandbox": {"domain"},
}
"""The rooms, and which rooms each may use."""
STARTS_THE_SANDBOX = "batchvid.engine.target"
"""The one place of the engine that may: for ``--sandbox``."""
CARRIERS = {f"batchvid.providers.{name}" for name in ("http", "paid_post", "credentials", "network")}
"""Of the providers' room: what sends, and what reads the key."""
PURE_MODULES = {
    name
    for name in MODULES
    if (name.startswith(("batchvid.domain", "batchvid.providers.")) and name not in CARRIERS)
    or name
    in {
        "batchvid.engine.scheduler",
        "batchvid.engine.policy",
        "batchvid.engine.circuit_breaker",
        "batchvid.engine.budget",
        "batchvid.engine.account",
        "batchvid.engine.throttle",
        "batchvid.engine.auto_limits",
        "batchvid.engine.lanes",
        "batchvid.engine.polling",
        "batchvid.engine.eta",
        "batchvid.media.mp4",
        "batchvid.media.image_metadata",
    }
}
"""What decides: values and rules, without files, sockets, clocks or randomness."""
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
    "heapq",
    "html",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "re",
    "struct",
    "sys",
    "typing",
    "unicodedata",
    "urllib.parse",
    "zlib",
}
"""What a pure module may import of the standard library."""
HEAVY = {
    "aiohttp",
    "av",
    "PIL",
    "pillow_heif",
    "pydantic",
    "rich",
    "yaml",
    "jinja2",
    "numpy",
    "psycopg",
    "obstore",
    "procrastinate",
}
LINES_AT_MOST = 700
STARTERS = {
    "batchvid.engine.workers",
    "batchvid.engine.run",
    "batchvid.engine.worker",
    "batchvid.engine.cluster",
    "batchvid.cli.runs",
    "batchvid.sandbox.__main__",
}
"""Where tasks are started: the workers of a run, the runs of a call, the slices of a machine, what is told of
a run meanwhile, the sandbox's program."""


def room_of(module: str) -> str:
    """Return the room that a module belongs to; the faces of the package, which may use all, belong to the last."""
    room = module.split(".")[1] if "." in module else ""
    return room if room in BELOW else "cli"


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


def forbidden_imports(module: str, tree: ast.Module) -> list[str]:
    """Return the imports of a module that its room may not have."""
    room, found = room_of(module), []
    for target, line in imports(tree):
        if target.split(".")[0] != "batchvid" or room_of(target) == room:
            continue
        if target == "batchvid" and room != "domain":
            continue  # the version
        if not (room_of(target) in BELOW[room] or (module == STARTS_THE_SANDBOX and room_of(target) == "sandbox")):
            found.append(f"{module}:{line} imports {target}")
    return found


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def test_a_room_uses_only_the_rooms_below_it() -> None:
    """Arrows point down: domain, then manifest, providers and media, then storage, journal, engine, cli."""
    assert [found for name, tree in TREES.items() for found in forbidden_imports(name, tree)] == []


def test_one_module_chooses_what_keeps_the_journal() -> None:
    """A second kind of journal is a module of its own and a line there."""
    used_by = {name for name, tree in TREES.items() if "batchvid.journal.sqlite" in dict(imports(tree))}
    assert used_by == {"batchvid.engine.target", "batchvid.engine.moving"}  # which brings one from the one to the other
    used_by = {name for name, tree in TREES.items() if "batchvid.journal.postgres" in dict(imports(tree))}
    cluster = {f"batchvid.engine.{name}" for name in ("cluster", "published", "publication", "moving")}
    assert used_by == {"batchvid.engine.target", "batchvid.journal.fenced", *cluster}  # which is PostgreSQL's alone


def test_one_module_chooses_where_clips_lie() -> None:
    """A second store of clips is a module of its own and a line there."""
    stores = {f"batchvid.storage.{name}" for name in ("local", "part", "object_store", "objects")}
    used_by = {name for name, tree in TREES.items() if {target for target, _ in imports(tree)} & stores}
    assert used_by - stores == {"batchvid.storage.output"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Inside a room either, and for types either: who reads one of two such modules has to read both."""
    graph = {
        name: {target for target, _ in imports(tree) if target in MODULES and target != "batchvid"}
        for name, tree in TREES.items()
        if name != "batchvid"  # it names what programs use, and everything may ask it for the version
    }
    assert circles(graph) == []


def test_what_decides_can_do_no_input_or_output() -> None:
    """It imports value modules of the standard library and what decides too, and calls nothing beyond them."""
    for name in sorted(PURE_MODULES):
        tree = TREES[name]
        used = {target for target, _ in imports(tree)}
        assert {one for one in used if not one.startswith("batchvid")} <= PURE, name
        assert {one for one in used if one.startswith("batchvid")} <= PURE_MODULES, name
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not names & {"open", "print", "input", "eval", "exec", "compile", "__import__"}, name
        dotted = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert {one for one in dotted if one.startswith("sys.")} <= {"sys.byteorder"}, name
        assert not {one for one in dotted if one.endswith((".now", ".utcnow", ".today"))}, name


def test_one_module_reads_the_environment() -> None:
    """Settings flow down as values."""
    for name, tree in TREES.items():
        if name == "batchvid.providers.credentials":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os":
                assert node.attr not in {"environ", "environb", "getenv", "getenvb", "putenv"}, f"{name}:{node.lineno}"
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                assert not {alias.name for alias in node.names} & {"environ", "environb", "getenv"}, name


def test_only_a_task_group_starts_tasks() -> None:
    """In few places: a task that nobody awaits dies unseen."""
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            where = f"{module}:{getattr(node, 'lineno', 0)}"
            assert name != "ensure_future", where
            if name == "create_task":
                assert isinstance(node, ast.Attribute), f"{where}: import it as asyncio's and it starts tasks anywhere"
                assert ast.unparse(node.value) == "group", where
                assert module in STARTERS, where


def test_nothing_is_swallowed() -> None:
    """One place catches every exception, to set the exit code; who cleans up behind any exception raises it again.

    A thread that works for others hands it to the one who waits for its result.
    """
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = "" if node.type is None else ast.unparse(node.type)
            assert caught, f"{module}:{node.lineno} catches everything"
            if caught == "Exception":
                assert module == "batchvid.cli.main", f"{module}:{node.lineno}"
            if caught == "BaseException" and module != "batchvid.storage.threads":
                last = node.body[-1]
                assert isinstance(last, ast.Raise), f"{module}:{node.lineno}"
                assert last.exc is None, f"{module}:{node.lineno}"


def test_a_module_is_one_sentence() -> None:
    """It says what it is in its first line, and one that cannot be read in one sitting is two."""
    for module, path in MODULES.items():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_AT_MOST, module
        assert ast.get_docstring(TREES[module]), module


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter holds after *statement*."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-X", "utf8", "-c", code]
    return set(subprocess.run(command, cwd=PACKAGE.parent, check=True, capture_output=True, text=True).stdout.split())


def test_libraries_come_when_they_are_needed() -> None:
    """``import batchvid`` and ``batchvid --help`` stay fast; what decides can be tested in milliseconds."""
    assert not loaded_by("import batchvid") & HEAVY
    assert not loaded_by("import batchvid.cli.main") & {*HEAVY, "asyncio", "sqlite3"}
    assert not loaded_by("import batchvid.engine.api") & {*HEAVY - {"yaml"}, "asyncio"}  # check, plan, status
    looking = "import batchvid.cli.status, batchvid.engine.stats, batchvid.journal.sqlite, batchvid.storage.output"
    assert not loaded_by(looking) & {*HEAVY - {"yaml"}, "asyncio", "aiofiles", "email", "logging"}
    deciding = "; ".join(f"import {name}" for name in sorted(PURE_MODULES))
    assert not loaded_by(deciding) & {*HEAVY, "asyncio", "sqlite3", "subprocess"}


@pytest.mark.parametrize(
    ("module", "source", "complaints"),
    [
        ("batchvid.domain.x", "import batchvid.journal.sqlite", 1),
        ("batchvid.domain.x", "from batchvid import __version__", 1),
        ("batchvid.domain.x", "from batchvid.domain.errors import Exit", 0),
        ("batchvid.storage.x", "from batchvid.manifest import model", 1),
        ("batchvid.manifest.x", "def f():\n    from batchvid.media.images import read_frame", 1),
        ("batchvid.storage.x", "from batchvid import __version__", 0),
        ("batchvid.engine.steps", "if TYPE_CHECKING:\n    from batchvid.cli.output.live import Live", 1),
        ("batchvid.cli.x", "from batchvid.engine.run import run", 0),
        ("batchvid.sandbox.x", "from batchvid.providers.response import Response", 1),
    ],
)
def test_the_rule_of_imports_finds_what_breaks_it(module: str, source: str, complaints: int) -> None:
    """A test that cannot fail proves nothing."""
    assert len(forbidden_imports(module, ast.parse(source))) == complaints


def test_the_rule_of_circles_finds_one() -> None:
    """A test that cannot fail proves nothing."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
