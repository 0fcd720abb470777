"""A folder to write manifests into, and a reader of frames that is small but real."""

from __future__ import annotations

import hashlib
import textwrap
from typing import TYPE_CHECKING

import pytest
from PIL import Image, UnidentifiedImageError

from batchvid import manifest
from batchvid.domain.bucket import folder_name
from batchvid.domain.errors import ManifestError
from batchvid.domain.job import Frame

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.errors import Problem
    from batchvid.manifest import Manifest


class Desk:
    """A folder in which manifests are written and loaded, by the name a user would give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames_read: list[str] = []

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file, with the indentation of the test taken off."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return path

    def draw(self, name: str, size: tuple[int, int] = (32, 18), colour: str = "red") -> str:
        """Write an image."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return name

    def read_frame(self, path: Path) -> Frame:
        """Read a frame, as the edge does."""
        self.frames_read.append(path.name)
        if path.is_dir():
            raise ValueError("is a folder, not an image")
        try:
            with Image.open(path) as image:
                width, height = image.size
                mime = image.get_format_mimetype() or ""
        except FileNotFoundError as error:
            raise ValueError("no such file") from error
        except UnidentifiedImageError as error:
            raise ValueError("is no image") from error
        data = path.read_bytes()
        return Frame(str(path), hashlib.sha256(data).hexdigest(), len(data), mime, width, height)

    def state_of(self, bucket: str) -> Path:
        """Return where the state of an output in a bucket is kept."""
        return self.folder / "state" / folder_name(bucket)

    def load(self, text: str | bytes, *, name: str = "clips.yaml") -> Manifest:
        """Write a manifest and load it."""
        return manifest.load(self.write(name, text), read_frame=self.read_frame, state_of=self.state_of)

    def problems(self, text: str | bytes) -> list[Problem]:
        """Load a manifest that must be refused, and give its problems."""
        with pytest.raises(ManifestError) as caught:
            self.load(text)
        assert caught.value.exit_code == 65
        return list(caught.value.problems)

    def complaints(self, text: str | bytes) -> list[str]:
        """Return the problems as people see them, without the folder."""
        return [str(problem).replace(f"{self.folder}/", "") for problem in self.problems(text)]

    def ids(self, text: str) -> list[str]:
        """Return the ids that a manifest expands to."""
        return [job.id for job in self.load(text).jobs]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Return an empty folder to write manifests into."""
    return Desk(tmp_path)
