"""The few things done to a disk, each in the way that survives a crash; and the one place that reads an `OSError`.

It also knows which file system a folder is on: a journal is not safe on a network's, whose locks do not hold.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from batchvid.domain.errors import InTheWayError, StorageError, TooManyFilesError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType


STATE_FOLDER = ".batchvid"
"""Below the output folder; private."""
STATE_FOLDER_MODE, STATE_FILE_MODE = 0o700, 0o600
PROBE = ".batchvid-probe"
"""Its own name, and the end of a name that is tried: as long as the longest that stands beside a clip for a moment."""
STATUS = Path("/proc/self/status")
"""Where Linux tells the umask."""
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
"""What file systems without hard links (vfat, some network ones) answer to one."""
ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "your disk quota is used up: free some space and run again",
    errno.EFBIG: "the file is larger than this file system or your limits allow (ulimit -f)",
    errno.EROFS: "the file system is read-only: mount it writable, or choose another output",
    errno.EACCES: "permission denied: make the folder writable for this user, or choose another output",
    errno.EPERM: "not permitted: make the folder writable for this user, or choose another output",
    errno.EIO: "the disk reports an input/output error: check the disk before you run again",
    errno.ENOENT: "it is no longer there: was the output folder removed or unmounted?",
    errno.ELOOP: "it is a symbolic link, which is never followed here: remove it, or name the real place",
    errno.ENOTDIR: "a part of the path is a symbolic link or a file, not a folder: move it out of the way",
    errno.EEXIST: "something else has that name: move it out of the way",
    errno.ENXIO: "something else has that name: move it out of the way",
    errno.EISDIR: "it is a folder: move it out of the way",
    errno.ENAMETOOLONG: "the name is too long for this file system: use a shorter id or filename",
    errno.EILSEQ: "the file system does not take such a name: choose another one",
    errno.ESTALE: "the network file system lost it: mount it again",
}
IN_THE_WAY = {errno.ELOOP, errno.ENOTDIR, errno.EEXIST, errno.ENXIO, errno.EISDIR, errno.ENAMETOOLONG}
OUT_OF_FILES = {errno.EMFILE, errno.ENFILE}
NOT_SUCH_A_NAME = {
    errno.EINVAL,
    errno.ENOENT,
    errno.EILSEQ,
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.EPROTO,
    errno.EOPNOTSUPP,
}
"""What file systems answer to a name that they do not take, while they take another one in the same folder."""
ROOM_KEPT_BYTES, ROOM_KEPT_SHARE = 4 * 1024 * 1024, 1 / 16
"""No clip takes so much of the end of a disk, nor this share of a very small one: the journal needs it."""


def storage_error(error: OSError, what: str) -> StorageError:
    """Return what *error* means for people: *what* could not be done, why, and what to do."""
    if error.errno in OUT_OF_FILES:
        return TooManyFilesError(f"cannot {what}: too many open files; lower limits.downloads or raise ulimit -n")
    kind = InTheWayError if error.errno in IN_THE_WAY else StorageError
    return kind(f"cannot {what}: {reason(error)}")


def reason(error: OSError) -> str:
    """Return why it happened and what to do, for people."""
    return ADVICE.get(error.errno or 0) or error.strerror or str(error)


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Turn an `OSError` inside into the `StorageError` that says that *what* could not be done."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, what) from error


def public_mode() -> int:
    """Return the mode of what is for everybody who may see the output, by the umask as it is now."""
    with suppress(OSError, ValueError, IndexError):
        return 0o666 & ~int(STATUS.read_text("ascii", "replace").partition("\nUmask:")[2].split()[0], 8)
    # Elsewhere, reading it means setting it for a moment, for all threads.
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask


@contextmanager
def folder_below(root: Path, *names: str, create: bool = False) -> Iterator[int]:
    """Return what `open_folder` does, and close it at the end."""
    folder = open_folder(str(root), *names, create=create)
    try:
        yield folder
    finally:
        os.close(folder)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durably; raises `OSError`."""
    for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
        try:
            missing.mkdir(exist_ok=True)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EINVAL} or not missing.parent.is_dir():
                raise
            raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ)) from error
        sync_folder(missing.parent)
    if not path.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def prove_writable(root: Path, *names: str) -> None:
    """Write into a folder, durably, and take it away again; raises `OSError`."""
    # A run that starts at the same moment proves the same, and may take our probe away: the lock decides who stays.
    with folder_below(root, *names) as folder, suppress(FileExistsError, FileNotFoundError):
        write_whole(folder, PROBE, [b"batchvid\n"], mode=STATE_FILE_MODE, durable=True)
        os.unlink(PROBE, dir_fd=folder)


def refused_name(root: Path, *names: str) -> str | None:
    """Return why a file at this path cannot be made below *root*, because of its name or a folder's: by trying it.

    ``None`` when it can, and when no other name could be made there either. Folders that are made stay, durably.
    Raises `OSError`.
    """
    for depth in range(1, len(names) + 1):
        try:
            if depth < len(names):
                with folder_below(root, *names[:depth], create=True):
                    continue
            with folder_below(root, *names[:-1]) as folder:
                _try(folder, names[-1] + PROBE)
        except OSError as error:
            with folder_below(root, *names[: depth - 1]) as folder:
                if error.errno not in NOT_SUCH_A_NAME or not _takes_any(folder):
                    return None
            # Of an unknown name some say that it is not there; that would be read as something else.
            return "" if error.errno == errno.ENOENT else error.strerror or ""
    return None


def _takes_any(folder: int) -> bool:
    try:
        _try(folder, PROBE)
    except OSError:
        return False
    return True


def _try(folder: int, name: str) -> None:
    """Make an empty file, and take it away again; raises `OSError`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileExistsError):  # left by a crash, or somebody else's who tries the same
        os.close(os.open(name, flags, STATE_FILE_MODE, dir_fd=folder))
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def open_folder(root: str, *names: str, create: bool) -> int:
    """Return a descriptor of a folder below *root*, reached without following one symbolic link below it.

    Folders that are made are made durable, too.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    here = os.open(root, flags | os.O_NOFOLLOW)
    for name in names:
        try:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=here)
                    os.fsync(here)
            below = os.open(name, flags | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(folder: int, name: str, flags: int, *, mode: int = 0) -> int:
    """Return a descriptor of a regular file, without following a link and without waiting; raises `OSError`."""
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=folder)
    if not flags & os.O_EXCL and not stat.S_ISREG(os.fstat(descriptor).st_mode):  # what was just made is one
        os.close(descriptor)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    return descriptor


def leave_room(descriptor: int, size_bytes: int) -> None:
    """Raise the `OSError` of a full disk when *size_bytes* more would leave too little for the ids of paid tasks.

    A disk that says nothing of its size (some network ones) is taken at its word when it is full.
    """
    found = os.fstatvfs(descriptor)
    kept = min(ROOM_KEPT_BYTES, found.f_blocks * found.f_frsize * ROOM_KEPT_SHARE)
    if found.f_blocks and found.f_bavail * found.f_frsize - size_bytes < kept:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def begin_to_write(descriptor: int, offset: int = 0, length: int = 0) -> None:
    """Have the system write this stretch of a file (``0``: to its end) to the disk now, without waiting for it."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def write_whole(
    folder: int, name: str, chunks: Iterable[bytes], *, mode: int, durable: bool, never_torn: bool = False
) -> None:
    """Put a file in place in one step: whoever looks sees the old one or all of the new one.

    *durable*: also after a power loss at any moment from now on. *never_torn*: after a power loss all of it is there,
    or nothing, which is less, because it leaves the sync of the folder to the caller.
    """
    with Aside(folder, name, mode=mode) as aside:
        with open(aside.descriptor, "wb", closefd=False) as file:
            file.writelines(chunks)
        if durable or never_torn:
            os.fsync(aside.descriptor)
        aside.put()
    if durable:
        os.fsync(folder)


class Aside:
    """A new file beside the *name* which it is going to have; it goes with the block unless it was put there.

    Whoever looks at the name sees the old file, or all of the new one. Raises `OSError`.
    """

    def __init__(self, folder: int, name: str, *, mode: int) -> None:
        self._folder, self._name, self._is_put = folder, name, False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.descriptor = os.open(_temporary(name), flags, mode, dir_fd=folder)
        except FileExistsError:
            clear(folder, name)
            self.descriptor = os.open(_temporary(name), flags, mode, dir_fd=folder)

    def write(self, data: bytes) -> None:
        """Append all of *data*."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]

    def put(self) -> None:
        """Give it the name, in place of what has it; the caller makes the file and its name durable."""
        self._close()  # some network file systems tell only here what they could not write
        os.rename(_temporary(self._name), self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._is_put = True

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.descriptor >= 0:
            self._close()
        if not self._is_put:
            with suppress(OSError):
                os.unlink(_temporary(self._name), dir_fd=self._folder)


def clear(folder: int, name: str) -> None:
    """Remove what a `write_whole` of this name has left that was cut off."""
    with suppress(FileNotFoundError):
        os.unlink(_temporary(name), dir_fd=folder)


def _temporary(name: str) -> str:
    return f".{name}.new"


def holds(folder: int, name: str, chunks: Iterable[bytes]) -> bool:
    """Whether a regular file holds just these *chunks*; one that cannot be read does not."""
    try:
        with open(open_regular(folder, name, os.O_RDONLY), "rb") as file:
            return all(file.read(len(chunk)) == chunk for chunk in chunks) and not file.read(1)
    except OSError:
        return False


def read_json(folder: int, name: str, *, max_bytes: int) -> dict[str, Any] | None:
    """Return the object in a small JSON file; ``None`` when it is not there, no regular file, or holds none."""
    try:
        descriptor = open_regular(folder, name, os.O_RDONLY)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        try:
            found = json.loads(file.read(max_bytes))
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)


def json_line(record: Mapping[str, object]) -> bytes:
    """Return *record* as one line of JSON; what JSON has no form for is written as text.

    Letters stand as they are. What could move a cursor or reverse the text of whoever looks at the file is escaped.
    """
    line = _ENCODER.encode(record)
    if not line.isprintable():
        line = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)
    return line.encode("utf-8", "replace") + b"\n"


def place(folder: int, source: str, target: str, *, into: int | None = None) -> None:
    """Rename the file *source* to *target*, in the folder *into* if there is one, else in its own.

    Raises `FileExistsError` when anything has that name already.
    """
    into = folder if into is None else into
    try:
        # A rename would replace what is there; a link cannot, whoever else writes at the same moment.
        os.link(source, target, src_dir_fd=folder, dst_dir_fd=into, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    else:
        os.unlink(source, dir_fd=folder)
        return
    if exists(into, target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target, src_dir_fd=folder, dst_dir_fd=into)


def exists(folder: int, name: str) -> bool:
    """Whether anything has that name, a link that leads nowhere included."""
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


NETWORK_TYPES = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "ncpfs"}
NETWORK_FUSE = {"fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.glusterfs", "fuse.ceph", "fuse.davfs", "fuse.gcsfuse"}
MOUNTS = Path("/proc/self/mountinfo")


NARROW_TYPES = {"exfat", "vfat", "msdos", "ntfs", "ntfs3", "cifs", "smb3", "smbfs", "9p", "vboxsf"}
NARROW_FUSE = {"fuseblk", "fuse.exfat", "fuse.ntfs", "fuse.ntfs-3g", "fuse.vmhgfs-fuse"}
"""Those of exFAT and NTFS are known to the kernel as ``fuseblk``."""
WIDE_TYPES = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "overlay", "zfs"}
"""What holds no ``/`` and is not longer than 255 bytes is a name there."""


def network_file_system(folder: Path) -> str | None:
    """Return the type of the network file system that *folder* is on; ``None`` when it is local, or nobody can say."""
    kind = mounted_type(folder)
    return kind if kind in NETWORK_TYPES | NETWORK_FUSE else None


def narrow_file_system(folder: Path) -> str | None:
    """Return the type of the file system that *folder* is on, or would be, when it may have Windows' rules for names.

    ``None`` when it has not, or nobody can say.
    """
    kind = mounted_type(folder)
    return kind if kind in NARROW_TYPES | NARROW_FUSE else None


def mounted_type(folder: Path) -> str | None:
    """Return the type of the file system that *folder* is on, or would be; ``None`` when nobody can say."""
    try:
        table = MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    return file_system_type(PurePosixPath(folder.resolve()), table)


def on_network(kind: str) -> str:
    """Return what it means for an output to be on a network file system of that kind."""
    return f"is on a network file system ({kind}), whose locks may not hold: run on one machine only"


def file_system_type(folder: PurePosixPath, table: str) -> str | None:
    """Return the type of the file system that *folder* is on, by Linux's table of mounts (proc(5), mountinfo)."""
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
