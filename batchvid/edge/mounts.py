"""Which file system a folder is on: the journal is not safe on a network's, whose locks do not hold."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

NETWORK_TYPES = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "ncpfs"}
NETWORK_FUSE = {"fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.glusterfs", "fuse.ceph", "fuse.davfs", "fuse.gcsfuse"}
MOUNTS = Path("/proc/self/mountinfo")


def network_file_system(folder: Path) -> str | None:
    """Give the type of the network file system that *folder* is on; ``None`` when it is local, or nobody can say."""
    try:
        table = MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    kind = file_system_type(PurePosixPath(folder.resolve()), table)
    return kind if kind in NETWORK_TYPES | NETWORK_FUSE else None


def on_network(kind: str) -> str:
    """Say of an output what its being on a network file system means."""
    return f"is on a network file system ({kind}), whose locks may not hold: run on one machine only"


def file_system_type(folder: PurePosixPath, table: str) -> str | None:
    """Give the type of the file system that *folder* is on, by Linux's table of mounts (proc(5), mountinfo)."""
    best, kind = -1, None
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        try:
            point = PurePosixPath(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), left.split()[4]))
            found = right.split()[0]
        except IndexError:
            continue
        # Of two mounts on one point, the later one covers the earlier.
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), found
    return kind
