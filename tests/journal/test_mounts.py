"""Which file system a folder is on, by the table of mounts."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from batchvid.storage import fs as mounts

if TYPE_CHECKING:
    from pathlib import Path

TABLE = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:30 / /srv/my\\040films rw,nosuid shared:9 master:2 - nfs4 nas:/films rw,vers=4.2
32 22 0:31 / /mnt/share rw - cifs //nas/share rw
33 31 0:32 / /srv/my\\040films/fast rw - xfs /dev/sdb1 rw
34 22 0:33 / /mnt/share rw - ext4 /dev/sdc1 rw
a line that is none
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/out", "ext4"),
        ("/srv/my films/out", "nfs4"),
        ("/srv/my films", "nfs4"),
        ("/srv/my films 2", "ext4"),
        ("/srv/my films/fast/out", "xfs"),
        ("/mnt/share/out", "ext4"),
    ],
)
def test_the_innermost_mount_decides(folder: str, kind: str) -> None:
    """Names may hold spaces, a mount may lie in another, and the later of two on one point covers the earlier."""
    assert mounts.file_system_type(PurePosixPath(folder), TABLE) == kind


def test_only_network_file_systems_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Local ones are nothing to warn of, and without a table nobody can say."""
    table = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "MOUNTS", table)
    assert mounts.network_file_system(tmp_path) is None
    table.write_text("22 1 8:1 / / rw - nfs4 nas:/ rw\n")
    assert mounts.network_file_system(tmp_path / "not yet there") == "nfs4"
    table.write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    assert mounts.network_file_system(tmp_path) is None


@pytest.mark.parametrize(
    ("kind", "narrow"),
    [
        ("exfat", True),
        ("vfat", True),
        ("fuseblk", True),
        ("ntfs3", True),
        ("cifs", True),
        ("ext4", False),
        ("nfs4", False),
    ],
)
def test_file_systems_with_the_rules_of_windows_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, *, narrow: bool
) -> None:
    """As far as the table of mounts tells; also for an output that is not there yet."""
    table = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "MOUNTS", table)
    assert mounts.narrow_file_system(tmp_path) is None
    table.write_text(f"22 1 8:1 / / rw - {kind} /dev/sda1 rw\n")
    assert mounts.narrow_file_system(tmp_path / "not yet there") == (kind if narrow else None)
