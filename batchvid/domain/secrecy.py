"""What must not get out: the key, in whatever a service repeats of it; and requests into private networks.

A careless service repeats what it refuses: as it is, escaped (JSON, percent, HTML, any of them inside another), encoded
(base64, hexadecimal), in another case or charset. The rule that holds for all of them: a text is *bare* when every
escape is undone and only letters and digits are left. Where the bare text holds the bare key, the text is not passed
on: the spellings that are known are replaced, and if the key is still there, the whole text is.

A clip's URL comes from outside, so it must not lead into a private network.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from batchvid.domain.frozen import frozen
from batchvid.domain.text import without_escapes

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_WAS_HERE = "[key\0]"
"""Shown as ``[key]``. The NUL keeps whatever holds it from being taken for a task id or a URL."""
ROUNDS_MAX = 8
"""Nobody escapes an escape so often; a text that goes on changing is treated as if it held the key."""
PIECE_MIN = 6
"""So many first letters of the key, at the end of a text that was cut off, are taken out too."""
BASE64_GROUP = 3

_JSON_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|[nrtbf])")
_NOT_BARE = re.compile(r"[^a-z0-9]+")


def bare(text: str) -> str | None:
    """Return the letters and digits of *text* in lower case, every escape undone; ``None`` when there is no end."""
    for _ in range(ROUNDS_MAX):
        before = text
        if "\0" in text or "\x1b" in text or "\x9b" in text:
            text = without_escapes(text.replace("\0", ""))
        if "\\" in text:
            text = _JSON_ESCAPE.sub(lambda found: chr(int(found[1] or found[2] or "20", 16)), text)
        if "&" in text:
            from html import unescape

            text = unescape(text)
        if "%" in text:
            text = unquote(text, "latin-1")
        if text == before:
            return _NOT_BARE.sub("", text.lower())
    return None


@frozen
class Secret:
    """One key, and every form in which it is looked for. Its repr shows nothing of it."""

    spellings: re.Pattern[str] | None
    """What is replaced where it stands; ``None`` when there is no key."""
    needles: tuple[str, ...]
    """What no bare text may hold."""
    beginnings: tuple[str, ...]
    """What a text that was cut off may not end in, longest first."""

    def __repr__(self) -> str:
        """Return nothing of the key."""
        return "Secret(…)"

    def is_told(self, text: str) -> bool:
        """Whether *text* holds the key in any form."""
        found = bare(text) if self.needles else ""
        return found is None or any(needle in found for needle in self.needles)

    def masked(self, text: str, *, cut: bool = False) -> str:
        """Return *text* without the key; *cut* says that its end is missing, perhaps in the middle of the key."""
        if self.spellings is None:
            return text
        if self.is_told(text):
            text = self.spellings.sub(KEY_WAS_HERE, text)
            if self.is_told(text):
                return KEY_WAS_HERE
        if cut and (end := next(filter(text.endswith, self.beginnings), None)):
            return text.removesuffix(end) + KEY_WAS_HERE
        return text

    def masked_value(self, value: Any) -> Any:
        """Return decoded JSON without the key; each text and number in it is looked at by itself."""
        match value:
            case dict():
                return {self.masked(name): self.masked_value(inner) for name, inner in value.items()}
            case list():
                return [self.masked_value(inner) for inner in value]
            case str():
                return self.masked(value)
            case bool() | None:
                return value
            case _:
                return KEY_WAS_HERE if self.is_told(str(value)) else value


@lru_cache(maxsize=4)
def secret_of(key: str) -> Secret:
    """Return what is looked for so that *key* is told to nobody; nothing for an empty one."""
    if not key:
        return Secret(None, (), ())
    raw = key.encode()
    whole = (key, quote(key, safe=""), key.replace("/", "\\/"), raw.hex())
    sent = (raw, b"Bearer " + raw)
    packed = [pack(text).decode().rstrip("=") for text in sent for pack in (b64encode, urlsafe_b64encode)]
    spellings = sorted({*whole, *packed}, key=len, reverse=True)
    needles = {bare(key), bare(raw.hex()), *(bare(inside) for inside in _inside_base64(raw))}
    return Secret(
        spellings=re.compile("|".join(map(re.escape, spellings)), re.IGNORECASE),
        needles=tuple(needle for needle in needles if needle),
        beginnings=tuple(key[:size] for size in range(len(key) - 1, PIECE_MIN - 1, -1)),
    )


def _inside_base64(raw: bytes) -> list[str]:
    """Return what base64 makes of *raw* inside a longer text: three forms, by where it begins, without its edges."""
    found = []
    for before in range(BASE64_GROUP):
        text = b64encode(bytes(before) + raw).decode().rstrip("=")
        found.append(text[4 if before else 0 : len(raw + bytes(before)) // BASE64_GROUP * 4])
    return found


UNICAST = IPv6Network("2000::/3")
"""RFC 4291: all of the IPv6 internet; what lies outside is local, deprecated or not given out."""
NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: an IPv4 address in the last 32 bits."""


class ForbiddenAddressError(OSError):
    """A clip's URL leads to an address that is not public."""


def is_public(address: str) -> bool:
    """Whether *address*, an IP literal, is on the public internet, also behind ::ffff:, 6to4, Teredo and NAT64."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(
        part.is_global and not part.is_multicast and (isinstance(part, IPv4Address) or part in UNICAST)
        for part in _parts(ip)
    )


@frozen
class AllowedHosts:
    """Hosts that a person has named, at which clips may be wherever they lead."""

    names: frozenset[str] = frozenset()
    """In lower case; one that begins with a dot stands for all names below it."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> AllowedHosts:
        """Return the hosts of *texts*: names, ``*.names``, addresses and networks; raises ValueError for another."""
        names, networks = set(), []
        for text in texts:
            if _HOST.fullmatch(text) and not text.rpartition(".")[2].isdigit():
                names.add(text.lower().removeprefix("*"))
                continue
            try:
                networks.append(ip_network(text.strip("[]"), strict=False))
            except ValueError:
                raise ValueError(
                    f"{text!r} is no host: write such as cdn.example.com, *.example.com or 10.0.0.0/8"
                ) from None
        return cls(frozenset(names), tuple(networks))

    def has_name(self, host: str) -> bool:
        """Whether *host*, as it stands in a URL, is one of them by its name."""
        host = host.lower().rstrip(".")
        return host in self.names or any(host.endswith(name) for name in self.names if name.startswith("."))

    def has_address(self, address: str) -> bool:
        """Whether an IP literal is one of them."""
        try:
            ip = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(ip in network for network in self.networks if network.version == ip.version)


_HOST = re.compile(r"(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,250}[A-Za-z0-9_])?")


def is_loopback(host: str) -> bool:
    """Whether *host*, as it stands in a URL, is this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_readable_on_the_way(base_url: str) -> bool:
    """Whether what is sent to *base_url*, a valid one, leaves this machine without encryption."""
    parts = urlsplit(base_url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _parts(ip: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return the addresses that *ip* leads to: those that are wrapped in it, or itself."""
    if isinstance(ip, IPv4Address):
        return [ip]
    if ip.ipv4_mapped:
        return [ip.ipv4_mapped]
    if ip.sixtofour:
        return [ip.sixtofour]
    if ip.teredo:
        return list(ip.teredo)
    if ip in NAT64:
        return [IPv4Address(int(ip) & 0xFFFFFFFF)]
    return [ip]
