"""Let schemathesis try what the sandbox's OpenAPI document allows and forbids, in both dialects.

A part of ``make servers``; alone: ``python -m tests.servers.schema``. It takes about a minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from batchvid.sandbox.process import Options, running
from batchvid.sandbox.world import DIALECTS
from tests.servers.environments import REPOSITORY, NotInstalledError, PythonEnvironment

ENVIRONMENT = PythonEnvironment(name="schemathesis", packages=("schemathesis>=4.32",))
SETTINGS = Path(__file__).with_name("schema.toml")
EXAMPLES = 100
"""Of each operation, right and wrong ones; more find no more, and take longer than a minute."""
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one dialect."""

    dialect: str
    operations: int
    cases: int
    billed: int
    """The creates that were accepted."""
    with_frames: int
    """Of these."""
    failures: int


def run() -> int:
    """Try every dialect, print a table, and what went wrong; return the exit status."""
    try:
        ENVIRONMENT.make()
    except NotInstalledError as error:
        print(f"schemathesis is not installed: {error}")  # noqa: T201
        return 1
    rows = [_tried(dialect) for dialect in DIALECTS]
    names = list(Row.__dataclass_fields__)
    cells = [names, *([str(getattr(row, name)) for name in names] for row in rows)]
    for line in cells:
        print("  ".join(cell.ljust(12) for cell in line).rstrip())  # noqa: T201
    return int(any(row.failures or not row.with_frames for row in rows))


def _tried(dialect: str) -> Row:
    # At this speed every clip is there at its first poll: the same answers in each run.
    options = Options(provider=dialect, speed=1e9, clip="tiny")
    with running(options) as (base, key), TemporaryDirectory(prefix="batchvid-schema-") as folder:
        service = base.removesuffix("/v1")
        report = Path(folder) / "report.json"
        asked = ["run", f"{service}/openapi.json", "--header", f"Authorization: Bearer {key}", "--no-color"]
        asked += ["--generation-deterministic", "--max-examples", str(EXAMPLES), "--continue-on-failure"]
        asked += ["--report", "json", "--report-json-path", str(report)]
        ran = subprocess.run(
            [ENVIRONMENT.bin / "st", "--config-file", SETTINGS, *asked],
            cwd=folder,  # it leaves files behind
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "SCHEMATHESIS_HOOKS": "tests.servers.schema_hooks"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if not report.exists():
            raise RuntimeError(f"schemathesis did not run: {(ran.stdout + ran.stderr)[-2000:]}")
        found = json.loads(report.read_bytes())
        with urllib.request.urlopen(f"{service}/_sandbox/ledger") as answer:  # noqa: S310 our own server
            billed = json.load(answer)["creates"]
    if ran.returncode:
        print(ran.stdout)  # noqa: T201
    cases = found["test_cases"]
    failures = cases["with_failures"] + cases["errored"] + len(found["errors"])
    frames = sum(bool(line["frames"]) for line in billed)
    return Row(
        dialect, found["operations"]["tested"], cases["generated"], len(billed), frames, failures or ran.returncode
    )


if __name__ == "__main__":
    sys.exit(run())
