"""Which addresses a clip may be fetched from: its URL comes from outside, and must not lead into private networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

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
