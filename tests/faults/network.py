"""A network of the case's own, with addresses that the real one has elsewhere; nothing leaves the machine."""

from __future__ import annotations

import ctypes
import os
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from shutil import which
from typing import TYPE_CHECKING

from tests.faults.cases import NotHereError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

CLONE_NEWNET = 0x40000000
"""unshare(2)"""


def in_own_network(addresses: Sequence[str], work: Callable[[], None]) -> None:
    """Do *work* in a thread with a network of its own, in which the machine has these addresses.

    What the thread starts (threads, processes) is in that network, too.
    """
    if which("ip") is None:
        raise NotHereError("there is no ip command")
    raised: list[BaseException] = []

    def inside() -> None:
        try:
            _enter(addresses)
            work()
        except BaseException as error:  # noqa: BLE001 raised again in the caller's thread
            raised.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _enter(addresses: Sequence[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise NotHereError(f"no network namespace can be made: {os.strerror(ctypes.get_errno())}")
    for arguments in (["link", "set", "lo", "up"], *(["addr", "add", one, "dev", "lo"] for one in addresses)):
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S607 as installed
        if done.returncode:
            raise NotHereError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@dataclass(slots=True)
class Trap:
    """A port on which nobody should knock."""

    port: int
    knocks: list[str] = field(default_factory=list)
    """The addresses that were knocked on."""


@contextmanager
def trap(addresses: Sequence[str]) -> Iterator[Trap]:
    """Listen at one port of all these addresses, and count who connects."""
    first = socket.create_server((addresses[0], 0))
    set_up = Trap(first.getsockname()[1])
    listeners = [first]
    for address in addresses[1:]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listeners.append(socket.create_server((address, set_up.port), family=family))

    def accept(listener: socket.socket, address: str) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                set_up.knocks.append(address)
                connection.close()

    for listener, address in zip(listeners, addresses, strict=True):
        threading.Thread(target=accept, args=(listener, address), daemon=True).start()
    try:
        yield set_up
    finally:
        for listener in listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def certificate(folder: Path, address: str) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate for *address*: what a server needs of it, and the file that a client trusts."""
    if which("openssl") is None:
        raise NotHereError("there is no openssl command")
    key, cert = folder / "tls.key", folder / "tls.pem"
    subprocess.run(
        [  # noqa: S607 as installed
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=clips", "-addext", f"subjectAltName=IP:{address}",
            "-keyout", str(key), "-out", str(cert),
        ],
        capture_output=True,
        check=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert
