"""A clip is fetched from the public internet only, however its address is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.secrecy import is_loopback, is_public


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """Also wrapped in IPv6."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",  # noqa: S104 an address to refuse, not one to listen on
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "100::1",
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "::ffff:0:127.0.0.1",
        "::127.0.0.1",
        "::10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "localhost",
        "example.com",
        "",
    ],
)
def test_an_address_that_leads_inside_is_not_public(address: str) -> None:
    """F49: loopback, private, link-local, metadata, multicast, also mapped, translated or tunnelled; a name is none."""
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_wrapping_changes_nothing(inside: IPv4Address) -> None:
    """Mapped, NAT64 and 6to4 lead where the IPv4 address leads; the deprecated forms lead nowhere."""
    number = int(inside)
    assert is_public(f"::ffff:{inside}") is is_public(str(inside))
    assert is_public(str(IPv6Address(0x64FF9B << 96 | number))) is is_public(str(inside))
    assert is_public(str(IPv6Address(0x2002 << 112 | number << 80))) is is_public(str(inside))
    assert not is_public(str(IPv6Address(number)))


@given(st.text(max_size=40))
def test_any_text_is_answered(text: str) -> None:
    """What is no address is not public, and raises nothing."""
    assert is_public(text) in {True, False}
    assert is_loopback(text) in {True, False}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("192.168.0.1", False),
        ("api.cometapi.com", False),
        ("0.0.0.0", False),  # noqa: S104 an address to look at, not one to listen on
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, expected: bool) -> None:  # noqa: FBT001 a table
    """Only then may clips come from private addresses: a name that merely begins so is somebody else's."""
    assert is_loopback(host) is expected
