"""Reads all that lies beside a journal and tells of paid attempts: log, sidecars, ``clips.jsonl``, orphans.

Nothing is changed. What cannot be read as a file is an error, because it may be what knows of a paid task; a line that
makes no sense tells what can still be read in it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from batchvid.core.answer import loads
from batchvid.core.witnesses import Witnesses
from batchvid.edge.clip_files import SIDECAR_MARK, SIDECAR_MAX_BYTES, Names
from batchvid.edge.disk import STATE_FOLDER, doing, open_folder, open_regular, read_json
from batchvid.edge.eventlog import LOG_FILE, PACE_MARK, rotated
from batchvid.edge.orphans import ADOPTED_FILE, ORPHANS_FILE
from batchvid.edge.outputs import CLIPS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINE_MAX_BYTES = 1024 * 1024
"""The longest line that batchvid writes holds 4 KB of an answer, escaped."""
TELLS_NOTHING = (b'"event": "StillRunning"', b'"event": "PollFailed"', PACE_MARK)
"""Most lines of a log: how a poll went does not matter here. Inside a text, quotes are escaped."""
BEGINNING = re.compile(rb'\{"at": ')
ABOUT = re.compile(rb'"job": "((?:[^"\\]|\\.)*)", "attempt": (\d{1,9})\b')
PEEK_BYTES = 64


def witnesses(output: Path) -> Witnesses:
    """Return what lies in *output* and tells of paid attempts; raises `StorageError` for what cannot be read."""
    found = Witnesses()
    for log in reversed(rotated(output / STATE_FOLDER / LOG_FILE)):
        for line in _lines(output, STATE_FOLDER, log.name):
            if not any(words in line for words in TELLS_NOTHING):
                _take(found, line)
    for path, told in _sidecars(output):
        found.clip(told, path)
    for line in _lines(output, CLIPS_FILE):
        told = loads(line.decode("utf-8", "replace"))
        if isinstance(told, dict):
            found.clip(told, told.get("path"))
    for name in (ADOPTED_FILE, ORPHANS_FILE):
        for line in _lines(output, STATE_FOLDER, name):
            told = loads(line.decode("utf-8", "replace"))
            if isinstance(told, dict):
                found.orphan(told)
    return found


def _lines(output: Path, *names: str) -> Iterator[bytes]:
    """Yield the lines of a file below *output*, none when it is not there."""
    *folders, name = names
    with doing(f"read {output.joinpath(*names)}, which may know what is paid"):
        try:
            folder = open_folder(str(output), *folders, create=False)
        except FileNotFoundError:
            return
        try:
            descriptor = open_regular(folder, name, os.O_RDONLY)
        except FileNotFoundError:
            return
        finally:
            os.close(folder)
        with open(descriptor, "rb") as file:  # noqa: PTH123 a descriptor has no path
            while line := file.readline(LINE_MAX_BYTES):
                yield line


def _take(found: Witnesses, line: bytes) -> None:
    """Take one line of the log: also what is left of one that broke off, and the one that was written behind that."""
    told = loads(line.decode("utf-8", "replace"))
    if isinstance(told, dict):
        found.event(told)
        return
    begins = [match.start() for match in BEGINNING.finditer(line)][1:]
    broken = line[: begins[0]] if begins else line
    about = ABOUT.search(broken)
    if about is not None:
        job_id = loads(f'"{about[1].decode("utf-8", "replace")}"')
        if isinstance(job_id, str):
            found.cut(job_id, int(about[2]))
    if begins:
        _take(found, line[begins[0] :])


def _sidecars(output: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path of each clip that has a sidecar, whether the clip is there or not, and what the sidecar says."""
    folders: list[tuple[str, ...]] = [()]
    while folders:
        names = folders.pop()
        with doing(f"read the folder {output.joinpath(*names)}"):
            try:
                folder = open_folder(str(output), *names, create=False)
            except FileNotFoundError:
                continue
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                            folders.append((*names, entry.name))
                        elif entry.name.endswith(".json") and _may_be_sidecar(folder, entry.name):
                            told = read_json(folder, entry.name, max_bytes=SIDECAR_MAX_BYTES) or {}
                            if SIDECAR_MARK in told:
                                yield "/".join((*names, _clip_of(entry.name, told.get("path")))), told
            finally:
                os.close(folder)


def _may_be_sidecar(folder: int, name: str) -> bool:
    try:
        descriptor = open_regular(folder, name, os.O_RDONLY)
    except OSError:
        return False
    try:
        return SIDECAR_MARK.encode() in os.read(descriptor, PEEK_BYTES)
    finally:
        os.close(descriptor)


def _clip_of(sidecar: str, path: object) -> str:
    """Return the name of the clip that stands beside *sidecar*; one that was kept from before is under another name."""
    noted = path.rpartition("/")[2] if isinstance(path, str) else ""
    same = noted not in {"", ".", ".."} and Names((), noted).sidecar == sidecar
    return noted if same else f"{sidecar.removesuffix('.json')}.mp4"
