"""What manifests share: the sections that a manifest has itself, laid over those of the files that it includes.

The manifest wins key by key, also of ``vars`` and ``form``, a later file of the list over an earlier one, and a file
over what it includes. What stands for a model under ``prices``, and ``notify``, is taken as a whole. What is said of
one service is not taken for another: who names another ``base_url`` or ``provider`` takes no key from below.
A mistake is told in the file in which it is. Paths of frames in it are relative to the manifest, as those of the
manifest itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchvid.domain.task import FACTS
from batchvid.manifest.diagnostics import Location
from batchvid.manifest.files import is_address
from batchvid.manifest.schema import DEFAULTS, INCLUDED, LIMITS, SERVICE, what
from batchvid.manifest.values import holds_key, shown
from batchvid.manifest.yaml_tree import Document, Map, TextError, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.manifest.diagnostics import Diagnostics
    from batchvid.manifest.schema import Section

FILES_AT_MOST = 100
"""That one manifest includes, each as often as it is named; more are a mistake, or somebody's attack."""
DEPTH_AT_MOST = 8
SHARED = {"defaults": DEFAULTS, "limits": LIMITS, "service": SERVICE}
"""The sections that are laid over each other key by key."""
WITHIN = {"vars", "form"}
"""The keys of ``defaults`` that are, too."""
OF_ANY_SERVICE = frozenset({"proxy"})
OF_ITS_KIND = frozenset({"proxy", "provider", "frames"})
"""The keys of ``service`` that stand for others too: of one that is named, and where none is named."""


@dataclass(slots=True)
class Layer:
    """The shared sections, as far as they are right: of one file with what it includes."""

    sections: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in SHARED})
    broken: dict[str, frozenset[str]] = field(default_factory=lambda: dict.fromkeys(SHARED, frozenset()))
    """The keys that are wrong, by section."""
    prices: dict[str, Any] = field(default_factory=dict)
    are_prices_broken: bool = False
    notify: list[Any] | None = None
    sources: dict[tuple[str, str], tuple[Document, tuple[str, ...]]] = field(default_factory=dict)
    """Where the keys stand, by section and key: the file, and the path of the section in it."""
    files: list[Path] = field(default_factory=list)
    """What was included."""

    def over(self, lower: Layer) -> Layer:
        """Return this layer laid over another one."""
        lower = lower.below(self.sections["service"])
        sections = {name: lower.sections[name] | self.sections[name] for name in SHARED}
        below, above = lower.sections["defaults"], self.sections["defaults"]
        for key in below.keys() & above.keys() & WITHIN:
            sections["defaults"][key] = below[key] | above[key]
        return Layer(
            sections,
            {
                name: self.broken[name] | lower.broken[name] - self.sections[name].keys() | self._hidden(name, lower)
                for name in SHARED
            },
            lower.prices | self.prices,
            self.are_prices_broken or lower.are_prices_broken,
            lower.notify if self.notify is None else self.notify,
            lower.sources | self.sources,
            [*self.files, *lower.files],
        )

    def below(self, service: Mapping[str, Any]) -> Layer:
        """Return the layer without what is of another service than this one, above all its key."""
        own = self.sections["service"]
        kind = own.get("provider", SERVICE.defaults["provider"])
        address, other = own.get("base_url", FACTS[kind].base_url), service.get("base_url")
        if other in {None, address} and service.get("provider", kind) == kind:
            return self
        kept = OF_ANY_SERVICE if "base_url" in own else OF_ITS_KIND
        return replace(
            self, sections=self.sections | {"service": {key: value for key, value in own.items() if key in kept}}
        )

    def _hidden(self, name: str, lower: Layer) -> frozenset[str]:
        """Return the keys of a section that are wrong in *lower*, and of which this layer holds a part only."""
        return lower.broken[name].intersection(WITHIN) if name == "defaults" else frozenset()

    def at(self, document: Document, *path: str | int) -> Location:
        """Return the place of something that stands in *document*, or in what that includes."""
        key = tuple(map(str, path[:2]))
        source, base = self.sources.get((key[0], key[1]), (document, ())) if len(key) > 1 else (document, ())
        return Location.of(source, *base, *path)


def layers_of(document: Document, head: Mapping[str, Any], path: Path, diagnostics: Diagnostics) -> Layer:
    """Return the shared sections of a manifest with what it includes; *head* is what is right of its top."""
    return _Reader(diagnostics).layer(document, head, path, around=(path.resolve(),))


def layer_at(document: Document, head: Mapping[str, Any], diagnostics: Diagnostics, *base: str) -> Layer:
    """Return the shared sections that stand at *base* in a document; *head* is what is right of them."""
    return _Reader(diagnostics).own(document, head, base)


def _unknown() -> Layer:
    """Return the layer of a file that is not read, which is told: what it may hold is missed by no job as well."""
    return Layer(
        broken={name: frozenset(SHARED[name].keys if name == "defaults" else ()) for name in SHARED},
        are_prices_broken=True,
    )


class _Reader:
    def __init__(self, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics
        self._files = 0

    def layer(self, document: Document, head: Mapping[str, Any], path: Path, *, around: tuple[Path, ...]) -> Layer:
        """Return the layer of a file; *around* are the files that are being included, with this one."""
        own, found = self.own(document, head), Layer()
        for place, relative in enumerate(head.get("include", ())):
            if self._files > FILES_AT_MOST:
                break  # told already: each may name many
            at = Location.of(document, "include", place)
            found = self._included(document, at, relative, path.parent, around).over(found)
        return own.over(found)

    def own(self, document: Document, head: Mapping[str, Any], base: tuple[str, ...] = ()) -> Layer:
        """Return what stands at *base* in a file itself."""
        tree = document.tree
        for name in base:
            tree = tree[name]
        own = Layer(
            prices=head.get("prices", {}),
            are_prices_broken="prices" in tree and "prices" not in head,
            notify=head.get("notify"),
        )
        for name, section in SHARED.items():
            own.sections[name], own.broken[name] = self._section(section, document, tree, (*base, name))
            keys = own.sections[name].keys() | own.broken[name]
            own.sources |= {(name, key): (document, base) for key in keys}
        return own

    def _included(
        self, document: Document, at: Location, relative: str, folder: Path, around: tuple[Path, ...]
    ) -> Layer:
        path = folder / relative
        self._files += 1
        wrong = self._refused(relative, path, around)
        if wrong:
            self._diagnostics.add(at, f"{shown(relative)} {wrong}")
            return _unknown()
        inner = self._read(path, str(Path(document.name).parent / relative), at)
        if inner is None:
            return _unknown()
        head, _, mistakes = INCLUDED.check(inner.tree)
        self._diagnostics.add_all(mistakes, inner)
        found = self.layer(inner, head, path, around=(*around, path.resolve()))
        found.files.append(path)
        return found

    def _refused(self, relative: str, path: Path, around: tuple[Path, ...]) -> str:
        """Return why a file is not included; nothing when it is."""
        if is_address(relative):
            return "is an address: download it, and write the path on this disk"
        if path.resolve() in around:
            return "includes itself: remove one of the two"
        if len(around) > DEPTH_AT_MOST:
            return f"is more than {DEPTH_AT_MOST} files deep"
        return f"is one file too many: {FILES_AT_MOST} are included at most" if self._files > FILES_AT_MOST else ""

    def _read(self, path: Path, name: str, at: Location) -> Document | None:
        """Read an included file into a tree whose top is a map; ``None``, and told, when it is none."""
        try:
            inner = Document(read_text(path), name=name)
        except TextError as error:
            if error.line:
                self._diagnostics.add_error(error, file=name, where="include")
            else:
                self._diagnostics.add(at, f"{name}: {error}")
            return None
        for slip in inner.slips:
            self._diagnostics.add_error(slip, file=name, where="include")
        if isinstance(inner.tree, Map):
            return inner
        text = f"is {what(inner.tree)}, and a map is wanted, such as defaults: {{size: 16x9}}"
        self._diagnostics.add(Location(inner, (), "include"), text)
        return None

    def _section(
        self, section: Section, document: Document, around: Mapping[str, Any], path: tuple[str, ...]
    ) -> tuple[dict[str, Any], frozenset[str]]:
        """Check one section; return what is right of it, and the wrong keys."""
        tree = around.get(path[-1], {})
        if not isinstance(tree, dict):
            return {}, frozenset()
        if section is SERVICE and holds_key(tree):
            text = (
                "holds what looks like a key: write the NAME of a variable in key_env, and replace the key at the "
                "service"
            )
            self._diagnostics.add(Location.of(document, *path), text)
            return {}, frozenset()
        found, broken, mistakes = section.check(tree)
        self._diagnostics.add_all(mistakes, document, *path)
        return found, broken
