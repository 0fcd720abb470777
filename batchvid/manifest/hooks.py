"""Whom to tell at the end of a run. Nothing of a URL is repeated: it may hold a secret."""

from __future__ import annotations

import re
from importlib.util import find_spec
from urllib.parse import urlsplit

from batchvid.domain.notice import Hook
from batchvid.manifest.units import written

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://\S+")
_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]{0,63})", re.ASCII)
EXTRA = "apprise"


def hook(value: object) -> Hook:
    """Return whom a value of ``notify`` means: a webhook's URL, another of Apprise's, or ``$VARIABLE``."""
    text = written(value)
    if text.startswith("$"):
        variable = _VARIABLE.fullmatch(text)
        if variable is None:
            raise ValueError("is not the name of a variable: write such as $HOOK_URL")
        return Hook(env=variable[1])
    match = _SCHEME.fullmatch(text)
    if match is None:
        raise ValueError("is not a URL: write such as jsons://host/path, or $HOOK_URL for one that holds a secret")
    found = Hook(text)
    if trouble := address_trouble(found):
        raise ValueError(trouble)
    return found


def address_trouble(found: Hook) -> str | None:
    """Return why a URL cannot be reached from here; ``None`` when it can."""
    if not found.is_webhook:
        if find_spec(EXTRA) is None:
            return (
                f"{found.scheme}:// needs the extra: pip install 'batchvid[notify]' (without it: json:// and jsons://)"
            )
        return None
    try:
        parts = urlsplit(found.url)
        good = parts.hostname and parts.port != 0
    except ValueError:
        good = False
    return None if good else "is not a URL: write such as jsons://host/path"
