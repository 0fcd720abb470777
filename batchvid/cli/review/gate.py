"""Who is let in to the review page: whoever has the printed address, on this machine, with requests of that page.

* The printed address holds a token. It is exchanged for a cookie, and nothing else is answered without one of them.
* The name of the host is a loopback one: a foreign name that leads here (DNS rebinding) gets nothing, whatever it has.
  Any port is right, because a tunnel may have another one at its other end.
* Another page in the same browser sends our cookie along, as ports are no other site. What the browser says of a
  request's origin tells it apart: a change needs the page's own origin, and only the page itself is navigated to.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN_BYTES = 32
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
PAGE = "/"
READS = frozenset({"GET", "HEAD"})
OWN = frozenset({"same-origin", "none"})
"""What ``Sec-Fetch-Site`` says of the page's own requests, and of an address that a person typed."""
JSON = "application/json"
NOT_HERE = "This server answers on this machine only, as localhost or 127.0.0.1."
NO_TOKEN = "Open the address that `batchvid review` printed: it holds the key to this page."  # noqa: S105 words
OTHER_PAGE = "Another page asked for this, and it is not answered."
NO_JSON = "A change is sent as application/json, by the page itself."


class Gate:
    """The keys of one server."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        """In the printed address; it opens as often as it is used, for a second browser or a phone."""
        self.session = secrets.token_urlsafe(TOKEN_BYTES)
        """In the cookie."""
        self._once: set[str] = set()

    def once(self) -> str:
        """Return a token that opens once, for the command line of a browser, which everybody on the machine can see."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._once.add(token)
        return token

    def opens(self, token: str) -> bool:
        """Whether a token opens; one that opens once is used up by this."""
        if _same(token, self.token):
            return True
        for one in self._once:
            if _same(token, one):
                self._once.discard(one)
                return True
        return False

    def refusal(self, method: str, path: str, headers: Mapping[str, str], *, cookie: str, token: str) -> str | None:
        """Return why a request is not answered, ``None`` when it is."""
        host = headers.get("Host", "")
        if not is_loopback(host):
            return NOT_HERE
        is_page = method in READS and path == PAGE
        if not _same(cookie, self.session) and not (is_page and token and self.opens(token)):
            return NO_TOKEN
        site = headers.get("Sec-Fetch-Site", "same-origin")
        if site not in OWN and not (is_page and headers.get("Sec-Fetch-Mode") == "navigate"):
            return OTHER_PAGE
        if method in READS:
            return None
        if headers.get("Origin", "").lower() != f"http://{host.lower()}":
            return OTHER_PAGE
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return None if kind == JSON else NO_JSON


def is_loopback(host: str) -> bool:
    """Whether a ``Host`` names this machine by one of its own names, with any port or none."""
    name, port = host, ""
    if not host.endswith("]"):
        name, colon, port = host.rpartition(":") if ":" in host else (host, "", "")
        if colon and not (port.isascii() and port.isdigit()):
            return False
    return name.lower() in LOOPBACK


def _same(one: str, other: str) -> bool:
    return compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
