"""A strict reading of ``multipart/form-data`` (RFC 7578, RFC 2046 §5.1): nothing is guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOUNDARY = re.compile(r"multipart/form-data\s*;\s*boundary=(?:\"([^\"]{1,70})\"|([^\s;\"]{1,70}))\s*", re.IGNORECASE)
_DISPOSITION = re.compile(r'form-data((?:\s*;\s*[\w*-]+="[^"\r\n]*")+)\s*', re.IGNORECASE)
_PARAMETER = re.compile(r'([\w*-]+)="([^"\r\n]*)"')


class FormError(ValueError):
    """The body is not the form that its content type promises; the text says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form."""

    name: str
    filename: str | None
    """``None`` for a text field."""
    content_type: str
    data: bytes


def read_form(content_type: str, body: bytes) -> list[Part]:
    """Give the parts in their order. Raises `FormError`."""
    found = _BOUNDARY.fullmatch(content_type.strip())
    if not found:
        raise FormError("request Content-Type isn't multipart/form-data with a boundary")
    delimiter = b"--" + (found[1] or found[2]).encode("latin-1")
    if not body.startswith(delimiter):
        raise FormError("multipart: the body does not begin with the boundary")
    *pieces, end = body[len(delimiter) :].split(b"\r\n" + delimiter)
    if not end.startswith(b"--") or end[2:].strip():
        raise FormError("multipart: NextPart: EOF")
    return [_part(piece) for piece in pieces]


def _part(piece: bytes) -> Part:
    head, blank, data = piece.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n"):
        raise FormError("multipart: malformed part header")
    headers = {}
    for line in head[2:].decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            raise FormError("multipart: malformed part header")
        headers[name.strip().lower()] = value.strip()
    disposition = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    named = dict(_PARAMETER.findall(disposition[1])) if disposition else {}
    if "name" not in named:
        raise FormError("multipart: a part without a name")
    filename = named.get("filename")
    return Part(_unescaped(named["name"]), filename, headers.get("content-type", "text/plain"), data)


def _unescaped(name: str) -> str:
    """Undo what browsers escape in names (HTML, multipart/form-data encoding algorithm)."""
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
