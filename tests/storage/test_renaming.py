"""A clip gets another name with its sidecar, whatever a crash left of them, and never in place of another file."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest

from batchvid.storage.base import Known, Renamed
from batchvid.storage.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

CLIP = b"a whole clip"
SHA256 = hashlib.sha256(CLIP).hexdigest()
KNOWN = Known("gull", len(CLIP), SHA256)


def put(folder: Path, name: str, *, job_id: str = "kite", sha256: str = SHA256) -> None:
    """Write a clip and its sidecar."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CLIP)
    told = {"batchvid": 1, "id": job_id, "prompt": "A kite.", "task_id": "task_1", "path": name, "sha256": sha256}
    path.with_suffix(".json").write_text(json.dumps(told), encoding="utf-8")


def names(folder: Path) -> list[str]:
    """Return what is in the folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def told(folder: Path, name: str) -> tuple[str, str, str]:
    """Return the id, path and prompt of a sidecar."""
    found = json.loads((folder / name).read_text(encoding="utf-8"))
    return found["id"], found["path"], found["prompt"]


@pytest.mark.parametrize(("old", "new"), [("kite", "gull"), ("kite", "shots/gull"), ("shots/kite", "shots/gull")])
def test_clip_and_sidecar_get_the_name_and_the_sidecar_tells_it(tmp_path: Path, old: str, new: str) -> None:
    """Folders are made; what the sidecar tells besides stays; doing it again changes nothing."""
    put(tmp_path, f"{old}.mp4")
    for _ in range(2):
        assert LocalStore(tmp_path).rename(f"{old}.mp4", f"{new}.mp4", KNOWN) is Renamed.DONE
        assert names(tmp_path) == [f"{new}.json", f"{new}.mp4"]
        assert (tmp_path / f"{new}.mp4").read_bytes() == CLIP
        assert told(tmp_path, f"{new}.json") == ("gull", f"{new}.mp4", "A kite.")


@pytest.mark.parametrize("taken", ["gull.mp4", "gull.json"])
def test_what_has_the_name_stays_and_so_does_the_clip(tmp_path: Path, taken: str) -> None:
    """A person's file is neither replaced nor removed."""
    put(tmp_path, "kite.mp4")
    (tmp_path / taken).write_bytes(b"a holiday film")
    assert LocalStore(tmp_path).rename("kite.mp4", "gull.mp4", KNOWN) is Renamed.TAKEN
    assert names(tmp_path) == sorted(["kite.json", "kite.mp4", taken])
    assert (tmp_path / taken).read_bytes() == b"a holiday film"
    assert told(tmp_path, "kite.json")[0] == "kite"


def test_a_folder_that_is_none_is_in_the_way(tmp_path: Path) -> None:
    """The name's folder is a link, or a file."""
    put(tmp_path, "kite.mp4")
    (tmp_path / "shots").write_bytes(b"")
    assert LocalStore(tmp_path).rename("kite.mp4", "shots/gull.mp4", KNOWN) is Renamed.TAKEN
    (tmp_path / "away").symlink_to(tmp_path)
    assert LocalStore(tmp_path).rename("kite.mp4", "away/gull.mp4", KNOWN) is Renamed.TAKEN
    assert (tmp_path / "kite.mp4").read_bytes() == CLIP


def test_a_clip_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Also where another file has the new name."""
    assert LocalStore(tmp_path).rename("kite.mp4", "gull.mp4", KNOWN) is Renamed.MISSING
    (tmp_path / "gull.mp4").write_bytes(b"a holiday film")
    assert LocalStore(tmp_path).rename("kite.mp4", "gull.mp4", KNOWN) is Renamed.MISSING
    assert LocalStore(tmp_path).rename("gone/kite.mp4", "gull.mp4", KNOWN) is Renamed.MISSING


def test_what_lies_in_the_place_of_the_clip_is_left_alone(tmp_path: Path) -> None:
    """By its size it is not the clip."""
    put(tmp_path, "kite.mp4")
    (tmp_path / "kite.mp4").write_bytes(b"a holiday film")
    assert LocalStore(tmp_path).rename("kite.mp4", "gull.mp4", KNOWN) is Renamed.MISSING
    assert names(tmp_path) == ["kite.json", "kite.mp4"]
    (tmp_path / "gull.mp4").write_bytes(CLIP)
    assert LocalStore(tmp_path).rename("kite.mp4", "gull.mp4", KNOWN) is Renamed.DONE
    assert names(tmp_path) == ["gull.json", "gull.mp4", "kite.mp4"]
    assert (tmp_path / "kite.mp4").read_bytes() == b"a holiday film"


def test_a_clip_that_a_person_has_renamed_already_is_known_by_its_content(tmp_path: Path) -> None:
    """Its sidecar follows, whether it was renamed or not."""
    put(tmp_path, "kite.mp4")
    (tmp_path / "kite.mp4").rename(tmp_path / "gull.mp4")
    assert LocalStore(tmp_path).rename("kite.mp4", "gull.mp4", KNOWN) is Renamed.DONE
    assert names(tmp_path) == ["gull.json", "gull.mp4"]
    assert told(tmp_path, "gull.json")[0] == "gull"


@pytest.mark.parametrize("new", ["gull", "shots/kite"])
@pytest.mark.parametrize("linked", [".mp4", ".json"])
def test_a_crash_between_the_two_names_of_a_file_is_made_good(tmp_path: Path, new: str, linked: str) -> None:
    """The link was made, and the old name not yet removed: of the clip, or after it of the sidecar."""
    put(tmp_path, "kite.mp4")
    (tmp_path / new).parent.mkdir(exist_ok=True)
    os.link(tmp_path / "kite.mp4", tmp_path / f"{new}.mp4")
    if linked == ".json":
        (tmp_path / "kite.mp4").unlink()
        os.link(tmp_path / "kite.json", tmp_path / f"{new}.json")
    assert LocalStore(tmp_path).rename("kite.mp4", f"{new}.mp4", KNOWN) is Renamed.DONE
    assert names(tmp_path) == [f"{new}.json", f"{new}.mp4"]
    assert told(tmp_path, f"{new}.json") == ("gull", f"{new}.mp4", "A kite.")


def test_a_sidecar_that_a_crash_left_with_the_old_id_is_written_again(tmp_path: Path) -> None:
    """The names were changed, and the sidecar not yet written."""
    put(tmp_path, "gull.mp4")
    assert LocalStore(tmp_path).rename("kite.mp4", "gull.mp4", KNOWN) is Renamed.DONE
    assert told(tmp_path, "gull.json") == ("gull", "gull.mp4", "A kite.")


def test_the_sidecar_of_another_clip_is_left_alone(tmp_path: Path) -> None:
    """What it tells is not of this clip."""
    put(tmp_path, "kite.mp4", sha256="of another clip")
    assert LocalStore(tmp_path).rename("kite.mp4", "gull.mp4", KNOWN) is Renamed.DONE
    assert names(tmp_path) == ["gull.mp4", "kite.json"]


def test_where_no_links_can_be_made_a_rename_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on vfat, which refuses them."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    put(tmp_path, "kite.mp4")
    monkeypatch.setattr(os, "link", refused)
    assert LocalStore(tmp_path).rename("kite.mp4", "gull.mp4", KNOWN) is Renamed.DONE
    assert names(tmp_path) == ["gull.json", "gull.mp4"]
