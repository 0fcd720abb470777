"""Loads a manifest: read, check each section, expand the entries, assemble the jobs, show every problem."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchvid.domain.addresses import is_readable_on_the_way
from batchvid.domain.errors import ManifestError
from batchvid.domain.limits import InDoubt, Limits, OnChange
from batchvid.manifest import paths
from batchvid.manifest.assemble import Assembler
from batchvid.manifest.check import check, what
from batchvid.manifest.expand import Expander
from batchvid.manifest.frames import Frames
from batchvid.manifest.model import Manifest
from batchvid.manifest.prices import Prices
from batchvid.manifest.problems import Diagnostics, Location, dotted
from batchvid.manifest.read import Document, Map, TextError, read_text
from batchvid.manifest.service import DEFAULT_BASE_URL, DEFAULT_KEY_ENV, holds_key, names_another_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchvid.domain.job import Frame
    from batchvid.manifest.rules import SectionName

_SECTIONS: dict[str, SectionName] = {"service": "Service", "limits": "LimitsSection", "defaults": "Defaults"}


def load(path: Path | str, *, read_frame: Callable[[Path], Frame]) -> Manifest:
    """Read, check and expand the manifest at *path*; see `batchvid.manifest.load`."""
    with _no_collection():
        return _load(Path(path), name=str(path), read_frame=read_frame)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the cycle collector away: it would walk a growing tree again and again, and find nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load(path: Path, *, name: str, read_frame: Callable[[Path], Frame]) -> Manifest:
    findings = Diagnostics()
    absolute = path.absolute()
    document = _document(path, name, findings)
    head, broken_head = _head(document, findings)
    defaults, broken_defaults = _section(document, "defaults", findings)
    limits, _ = _section(document, "limits", findings)
    service, _ = _section(document, "service", findings)
    _warn_of_service(document, service, findings)
    template = None
    if "filename" not in broken_head:
        try:
            template = paths.file_name(head.get("filename", paths.DEFAULT))
        except ValueError as error:
            findings.add(Location(document, ("filename",), "filename"), str(error))
    expander = Expander(
        document,
        absolute.parent,
        defaults=defaults,
        broken_defaults=broken_defaults | ({"defaults"} if "defaults" in broken_head else set()),
        findings=findings,
    )
    assembler = Assembler(
        expander,
        Frames(absolute.parent, read_frame),
        prices=Prices(head.get("prices", {}), required="budget" in limits and "prices" not in broken_head),
        template=template,
        findings=findings,
    )
    jobs = assembler.jobs()
    films = assembler.films(document, jobs)
    if findings:
        raise ManifestError(findings.problems())
    return Manifest(
        path=absolute,
        base_url=service.get("base_url", DEFAULT_BASE_URL),
        key_env=service.get("key_env", DEFAULT_KEY_ENV),
        allow_http=service.get("allow_http", False),
        output=paths.on_disk(absolute.parent / head.get("output", f"out/{path.stem}")),
        limits=_limits(limits),
        jobs=tuple(jobs),
        notify=tuple(head.get("notify", ())),
        films=films,
        warnings=tuple(map(str, findings.warnings())),
        reads=tuple(expander.reads),
    )


def _document(path: Path, name: str, findings: Diagnostics) -> Document:
    """Read the manifest's text into a tree whose top is a map that has jobs; raises `ManifestError`."""
    try:
        document = Document(read_text(path), name=name)
    except TextError as error:
        findings.add_error(error, file=name, where="manifest")
        raise ManifestError(findings.problems()) from error
    for slip in document.slips:
        findings.add_error(slip, file=name, where="manifest")
    top = document.tree
    if not isinstance(top, Map):
        findings.add(
            Location(document, (), "manifest"), f"is {what(top)}, and a map is wanted: write version: 1 and jobs:"
        )
        raise ManifestError(findings.problems())
    jobs = top.get("jobs")
    if not isinstance(jobs, list) or not jobs:
        found = "is missing" if "jobs" not in top else f"is {what(jobs)}" if jobs != [] else "is empty"
        findings.add(Location(document, ("jobs",), "jobs"), f"{found}: write a list, a dash before each job")
        top["jobs"] = []
    return document


def _head(document: Document, findings: Diagnostics) -> tuple[dict[str, Any], frozenset[str]]:
    """Check the top level, without the sections that are checked by themselves."""
    tree = document.tree
    rest = {key: value for key, value in tree.items() if key not in _SECTIONS or not isinstance(value, dict)}
    found, broken, mistakes = check("Head", rest)
    for mistake in mistakes:
        findings.add(Location(document, mistake.path, dotted(mistake.path)), mistake.text)
    return found, broken


def _section(document: Document, name: str, findings: Diagnostics) -> tuple[dict[str, Any], frozenset[str]]:
    """Check one section; what it gives is right."""
    tree = document.tree.get(name, {})
    if not isinstance(tree, dict):
        return {}, frozenset()
    if name == "service" and holds_key(tree):
        text = (
            "holds what looks like a key: write the NAME of a variable in key_env, and replace the key at the service"
        )
        findings.add(Location(document, ("service",), "service"), text)
        return {}, frozenset()
    found, broken, mistakes = check(_SECTIONS[name], tree)
    for mistake in mistakes:
        path = (name, *mistake.path)
        findings.add(Location(document, path, dotted(path)), mistake.text)
    return found, broken


def _warn_of_service(document: Document, service: dict[str, Any], findings: Diagnostics) -> None:
    """Tell of what may give a secret away."""

    def warn(key: str, text: str) -> None:
        findings.warn(Location(document, ("service", key), f"service.{key}"), text)

    if strange := names_another_secret(service.get("key_env", DEFAULT_KEY_ENV)):
        warn("key_env", strange)
    if service.get("allow_http", False):
        now = is_readable_on_the_way(service.get("base_url", DEFAULT_BASE_URL))
        text = "everybody on the way can read the key" if now else "base_url does not need it; remove it"
        warn("allow_http", f"is on: {text}")


def _limits(given: dict[str, Any]) -> Limits:
    """Return the limits as values; what the manifest does not say is the default."""
    found = dict(given)
    for name in ("typical_time", "task_timeout"):
        if name in found:
            found[f"{name}_s"] = found.pop(name)
    if "poll_every" in found:
        found["poll_shortest_s"], found["poll_longest_s"] = found.pop("poll_every")
    if "backoff" in found:
        found["backoff_first_s"], found["backoff_longest_s"] = found.pop("backoff")
    if "budget" in found:
        found["budget_micros"] = found.pop("budget")
    if "in_doubt" in found:
        found["in_doubt"] = InDoubt(found["in_doubt"])
    if "on_change" in found:
        found["on_change"] = OnChange(found["on_change"])
    return Limits(**found)
