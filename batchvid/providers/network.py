"""How the service and its clips are reached: through which proxy, and at which hosts a clip may be."""

from __future__ import annotations

from dataclasses import field
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batchvid.domain.errors import ConfigError
from batchvid.domain.frozen import frozen
from batchvid.domain.secrecy import AllowedHosts, is_loopback, is_public

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yarl import URL


@frozen
class Network:
    """How requests leave, beyond the address of the service. Its repr shows no proxy: that may hold a password."""

    ca_file: str | None = None
    """Certificate authorities of one's own."""
    clip_hosts: AllowedHosts = field(default_factory=AllowedHosts)
    """Where clips may be besides public addresses and the service's own host."""
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By scheme, as the environment names them, with its exceptions under ``no``; empty: none is used."""

    def proxy_for(self, url: URL) -> str | None:
        """Return the proxy for *url*; this machine itself is always asked directly."""
        return proxy_of(self.proxies, scheme=url.scheme, host=url.host or "")

    def may_fetch(self, host: str) -> bool:
        """Whether a clip at *host*, as it stands in a URL, may be asked for by a proxy, which looks names up itself."""
        try:
            ip_address(host)
        except ValueError:
            return not is_loopback(host)
        return is_public(host) or self.clip_hosts.has_address(host)


def proxy_of(proxies: Mapping[str, str], *, scheme: str, host: str) -> str | None:
    """Return the proxy that *proxies* name for a host, or ``None``."""
    found = proxies.get(scheme) or proxies.get("all")
    if not found:
        return None
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # not in the stubs

    if is_loopback(host) or proxy_bypass_environment(host, dict(proxies)):
        return None
    return found if "://" in found else f"http://{found}"


def check_proxy(proxies: Mapping[str, str], base_url: str) -> None:
    """Raise `ConfigError` when a proxy would see the key, or is of a kind that batchvid cannot use."""
    for scheme in ("https", "http"):
        proxy = proxies.get(scheme) or proxies.get("all") or ""
        _check_address(proxy if "://" in proxy or not proxy else f"http://{proxy}", scheme)
        if "://" in proxy and not proxy.lower().startswith("http://"):
            kind = proxy.partition("://")[0]
            raise ConfigError(
                f"service.proxy is env, and the proxy for {scheme}:// is a {kind} proxy: only http:// proxies can be "
                "used (they pass TLS on unread)"
            )
    parts = urlsplit(base_url)
    if parts.scheme == "http" and proxy_of(proxies, scheme="http", host=parts.hostname or ""):
        raise ConfigError(
            f"service.proxy is env, and the proxy could read the key on its way to {base_url}: use an https:// "
            "address, or name the host in NO_PROXY"
        )


def _check_address(proxy: str, scheme: str) -> None:
    """Raise `ConfigError` for a proxy that is no address; what it says may hold a password, and is not repeated."""
    try:
        parts = urlsplit(proxy)
        is_one = not proxy or (bool(parts.hostname) and parts.port != 0)
    except ValueError:
        is_one = False
    if not is_one:
        raise ConfigError(f"service.proxy is env, and the proxy for {scheme}:// is no address: write http://host:port")


def unused_proxy(proxies: Mapping[str, str], base_url: str) -> str | None:
    """Return what a person is told whose environment names a proxy for the service that is not used."""
    parts = urlsplit(base_url)
    if proxy_of(proxies, scheme=parts.scheme, host=parts.hostname or "") is None:
        return None
    name = f"{parts.scheme.upper()}_PROXY" if parts.scheme in proxies else "ALL_PROXY"
    return (
        f"{name} is set, and not used: write service: {{proxy: env}} into the manifest to reach the service through it"
    )
