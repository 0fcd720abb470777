"""A folder of frame pairs: which file is whose first or last frame, whose prompt, and which is nobody's.

A name is read without regard to case and Unicode form. A file that no pair uses is told: as a mistake where it looks
like a part of a pair, because the clip would be paid for without it, and as a warning elsewhere.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batchvid.domain.text import nfc
from batchvid.manifest.diagnostics import Location
from batchvid.manifest.tables import Rows
from batchvid.manifest.templates import same_file
from batchvid.manifest.yaml_tree import Map, TextError, read_text, unreadable

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from pathlib import Path

    from batchvid.manifest.diagnostics import Diagnostics, Source
    from batchvid.manifest.yaml_tree import TreePath


def _endings(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


SENT_AS_THEY_ARE = _endings("png jpg jpeg jpe jfif jfi jif webp")
READ = SENT_AS_THEY_ARE | _endings("avif heic heif hif")
PICTURES = READ | _endings("gif bmp dib tif tiff jxl jp2 svg psd ico dng cr2 cr3 nef arw orf rw2 raf exr tga")
"""Endings of pictures. A frame may have any: the look into the file says why it is not taken."""
_TEXTS = _endings("text md rtf doc docx odt pages prompt")
"""Endings under which somebody may keep a prompt that is not read."""
_UNFINISHED = _endings("icloud crdownload download part partial")
"""Endings of what is not on this disk yet."""
_SYSTEM = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin", "lost+found"}
)
"""What Windows, macOS, archives and network drives put into every folder, beside names that begin with a dot."""
_SIDE = re.compile(r"(?P<name>.+)(?P<gap>[_ .-])(?P<which>first|last)", re.IGNORECASE | re.DOTALL)
_GAPS = "_ .-"
_LIKE_A_SIDE = re.compile(r"(?:^|[\W\d_])(?:first|last|start|begin|end|final)(?:[\W\d_]|$)", re.IGNORECASE)
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_COMPARED = 100_000
"""Names with names, when a similar one is looked for: a second of time."""
_LISTED = 12
"""Files that are told, one by one or in one line."""


@dataclass(slots=True)
class _Pair:
    """The files of one NAME."""

    name: str
    sides: dict[str, str] = field(default_factory=dict)
    text: str | None = None


class _Folder:
    """The files of a folder, sorted out, by their names in NFC."""

    def __init__(self, files: Iterable[str]) -> None:
        self.pairs: dict[str, _Pair] = {}
        self.others: list[str] = []
        """What no pair uses."""
        self.mistakes: list[str] = []
        texts = []
        for file in files:
            stem, ending = _split(file)
            side = _SIDE.fullmatch(stem) if ending in PICTURES else None
            if _is_system(file, is_side=side is not None):
                continue
            if side is not None:
                self._add(file, side)
            elif ending == ".txt":
                texts.append((file, stem))
            else:
                self.others.append(file)
        for file, stem in texts:
            pair = self.pairs.get(same_file(stem))
            if pair is None:
                self.others.append(file)
            elif pair.text is not None:
                self.mistakes.append(f"{pair.text} and {file} are both the prompt of {pair.name}")
            else:
                pair.text = file

    def _add(self, file: str, side: re.Match[str]) -> None:
        name, which = _name_of(side), side["which"].lower()
        pair = self.pairs.setdefault(same_file(name), _Pair(name))
        before = pair.sides.get(which)
        if before is None or _rank(file) < _rank(before):
            pair.sides[which] = file
            if which == "first":
                pair.name = name
        if before is not None:
            if _rank(file) == _rank(before):
                self.mistakes.append(f"{before} and {file} are both a {which} frame")
            else:
                self.others.append(max(file, before, key=_rank))

    def trouble(self, file: str) -> str | None:
        """Return what is wrong with a file that no pair uses; ``None`` when it does not look like a part of one."""
        stem, ending = _split(file)
        if ending in _UNFINISHED:
            inner = _SIDE.fullmatch(_split(stem.removeprefix("."))[0])
            return "is not on this disk yet: download it" if inner else None
        if (side := _SIDE.fullmatch(stem)) and ending != ".txt":
            pair = self.pairs.get(same_file(_name_of(side)))
            if pair is None or (which := side["which"].lower()) in pair.sides:
                return None
            return f"is no picture by its name, and not taken as {which} frame: call it {pair.name}_{which}.png or so"
        pair = self._nearest(stem)
        if ending == ".txt" or (ending in _TEXTS and same_file(stem) in self.pairs):
            return None if pair is None or pair.text else f"is not taken as a prompt: call it {pair.name}.txt"
        if ending not in PICTURES:
            return None
        sides = [which for which in ("last", "first") if pair is not None and which not in pair.sides]
        if pair is not None and sides and ending in READ:
            return f"is not taken as a frame: call it {pair.name}_{sides[0]}{ending}"
        if _LIKE_A_SIDE.search(stem):
            return f"is not taken as a frame: call it NAME_first{ending} or NAME_last{ending}"
        return None

    def _nearest(self, stem: str) -> _Pair | None:
        """Return the pair whose name *stem* begins with, or nearly is."""
        from difflib import get_close_matches

        key = same_file(stem)
        for end in range(len(key), 0, -1):
            pair = self.pairs.get(key[:end])
            if pair is not None and (end == len(key) or not _same_word(key[end - 1], key[end])):
                return pair
        if len(self.pairs) * len(self.others) > _COMPARED:
            return None
        whole = {f"{name}{side}": name for name in self.pairs for side in ("", "_first", "_last")}
        close = get_close_matches(key, whole, n=1, cutoff=0.85)  # of other numbers is another
        return self.pairs[whole[close[0]]] if close and _digits(close[0]) == _digits(key) else None


class Unused(NamedTuple):
    """The files of a folder that no pair uses; another entry may use them."""

    folder: Path
    files: Mapping[str, str | None]
    """What looks wrong with each, by its name on the disk."""
    here: Location

    def tell(self, used: Container[str], diagnostics: Diagnostics) -> None:
        """Report each that is not *used* by anything; those are absolute paths."""
        left = {file: text for file, text in self.files.items() if _absolute(self.folder, file) not in used}
        wrong = [f"{nfc(file)} {text}, or move it away" for file, text in left.items() if text]
        for text in wrong[:_LISTED]:
            diagnostics.add(self.here, text)
        if len(wrong) > _LISTED:
            diagnostics.add(self.here, f"{len(wrong) - _LISTED:,} more files are like these")
        if rest := [nfc(file) for file, text in left.items() if not text and _may_matter(self.folder / file)]:
            diagnostics.warn(self.here, f"no pair uses {_some(rest)}, in {self.folder.name}")


def read_pairs(
    folder: Path, relative: str, *, name: str, source: Source, entry: int, diagnostics: Diagnostics
) -> tuple[Rows, Unused]:
    """Find the frame pairs of a folder: one row a NAME, in the order of their names, and what belongs to none.

    The rows' frames are paths relative to the manifest, as *relative* is; *name* is the folder for
    messages. Raises `TextError` when the folder cannot be read.
    """
    base: TreePath = ("jobs", entry, "pairs")
    here = Location(source, base, f"jobs[{entry}].pairs")
    files: dict[str, str] = {}
    try:
        for file in sorted(os.listdir(folder), key=lambda file: (nfc(file), file)):  # noqa: PTH208 names, not paths
            if files.setdefault(nfc(file), file) != file:
                diagnostics.add(here, f"two files are called {nfc(file)}, in two Unicode forms: remove one of them")
    except OSError as error:
        raise unreadable(error, what="folder") from error
    found = _Folder(files)
    if not found.pairs:
        pictures = [file for file in found.others if _split(file)[1] in PICTURES]
        raise TextError("holds no NAME_first.png (or .jpg, .webp)" + (f", but {_some(pictures)}" if pictures else ""))
    for text in found.mistakes:
        diagnostics.add(here, text)
    rows = []
    for pair in found.pairs.values():
        row = Map(name=pair.name)
        row |= {f"{which}_frame": f"{relative}/{files[file]}" for which, file in pair.sides.items()}
        if its_id := _NOT_IN_AN_ID.sub("-", pair.name).strip("._-"):
            row["id"] = its_id[:100]
        if pair.text is not None:
            try:
                row["prompt"] = read_text(folder / files[pair.text]).strip()
            except TextError as error:
                diagnostics.add_error(error, file=f"{name}/{pair.text}", where=f"jobs[{entry}] pair {pair.name}")
        rows.append(row)
    names = tuple(pair.name for pair in found.pairs.values())
    unused = Unused(folder, {files[file]: found.trouble(file) for file in found.others}, here)
    return Rows(source, rows, frozenset().union(*rows), base, names), unused


def _absolute(folder: Path, file: str) -> str:
    return os.path.abspath(folder / file)  # noqa: PTH100 links stay


def _same_word(before: str, after: str) -> bool:
    return (before.isalpha() and after.isalpha()) or (before.isdigit() and after.isdigit())


def _digits(name: str) -> str:
    return "".join(filter(str.isdigit, name))


def _split(file: str) -> tuple[str, str]:
    stem, ending = os.path.splitext(file)  # noqa: PTH122 of a name
    return stem, ending.lower()


def _name_of(side: re.Match[str]) -> str:
    """Return the NAME in front of a side; more than one character may stand between the two."""
    return side["name"] if side["gap"] == "_" else side["name"].rstrip(_GAPS) or side["name"]


def _rank(file: str) -> int:
    """Return how a file comes before another of the same side: what is sent as it is, what is read, the rest."""
    ending = _split(file)[1]
    return 0 if ending in SENT_AS_THEY_ARE else 1 if ending in READ else 2


def _is_system(file: str, *, is_side: bool) -> bool:
    """Whether a file is none of the person's."""
    if file.startswith("."):
        return file.startswith("._") or not (is_side or _split(file)[1] in _UNFINISHED)
    return file.lower() in _SYSTEM


def _may_matter(path: Path) -> bool:
    """Whether somebody may think that a file or folder is used; a folder is not looked into but for its pictures."""
    try:
        return not path.is_dir() or any(_split(name)[1] in PICTURES for name in os.listdir(path))  # noqa: PTH208 names
    except OSError:
        return True


def _some(files: list[str]) -> str:
    more = len(files) - _LISTED
    return ", ".join(files[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")
