"""A service over real sockets, and folders to work in."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import batchvid
from batchvid.sandbox.process import Options, running
from tests.cli.project import KEY, RULES, Project, Ran, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a sandbox in a process of its own, with tiny clips."""
    faults = tmp_path_factory.mktemp("sandbox") / "faults.yaml"
    faults.write_text(RULES, encoding="utf-8")
    with running(Options(key=KEY, speed=400.0, clip="tiny", faults_path=faults)) as (api, _):
        yield Service(api)


class Desk(Project):
    """A project in which a Python program works, in this process."""

    def load(self, *jobs: str, **limits: str) -> batchvid.Manifest:
        """Write a manifest for jobs whose prompts begin with these words, and load it."""
        return batchvid.load(self.manifest(*jobs, **limits), base_url=self.service.api)

    def python(self, program: Path) -> Ran:
        """Run a Python program in the folder to its end."""
        command = [sys.executable, "-W", "error", str(program)]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=60, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    @property
    def doubts(self) -> int:
        """How many jobs a person must decide about."""
        return [*self.states().values()].count("in_doubt")


@pytest.fixture
def desk(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return an empty folder to work in, and the key in its variable."""
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    return Desk(tmp_path, service)
