"""Machines that are not there: network namespaces, each with addresses of its own and a cable to every server.

A cable is a pair of virtual interfaces, of which one end lies on the bridge that has the server's address. Pulling it
is what pulling a cable is: what is sent is lost, and nobody is told.
"""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from itertools import count
from shutil import which
from typing import TYPE_CHECKING

from tests.faults.cases import NotHereError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BRING = "run it as root, with apt-get install iproute2"


class Place(StrEnum):
    """What a worker speaks to; the value is the name of its cable."""

    DATABASE = "database"
    SERVICE = "service"
    STORE = "store"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S607 as installed
    if done.returncode:
        raise NotHereError(f"ip {' '.join(arguments)}: {done.stderr.strip()}: {BRING}")


@cache
def are_here() -> bool:
    """Whether namespaces and bridges can be made."""
    if os.getuid() != 0 or which("ip") is None:
        return False
    probe = f"bvp{random.SystemRandom().randrange(16**6):06x}"
    try:
        _ip("netns", "add", probe)
        _ip("link", "add", probe, "type", "bridge")
    except NotHereError:
        return False
    finally:
        subprocess.run(["ip", "netns", "delete", probe], capture_output=True, check=False)  # noqa: S607 as installed
        subprocess.run(["ip", "link", "delete", probe], capture_output=True, check=False)  # noqa: S607 as installed
    return True


@dataclass(slots=True)
class Network:
    """The bridges of a world; without them every place is this machine's own address, and nothing can be cut."""

    mark: str
    is_real: bool
    _prefix: str = ""
    _numbers: Iterator[int] = field(default_factory=lambda: count(2))

    def make(self) -> None:
        """Make a bridge with an address for each place."""
        if not self.is_real:
            return
        if not are_here():
            raise NotHereError(f"no network namespaces can be made: {BRING}")
        dice = random.Random(self.mark)  # noqa: S311 an address
        self._prefix = f"10.{dice.randrange(100, 250)}.{dice.randrange(8, 240)}"
        for place in Place:
            bridge = self._bridge(place)
            _ip("link", "add", bridge, "type", "bridge")
            _ip("address", "add", f"{self.address(place)}/24", "dev", bridge)
            _ip("link", "set", bridge, "up")

    def address(self, place: Place, number: int = 1) -> str:
        """Return the address of a place, or of host *number* on the way to it."""
        if not self.is_real:
            return "127.0.0.1"
        first, second, third = self._prefix.split(".")
        return f"{first}.{second}.{int(third) + list(Place).index(place)}.{number}"

    def host(self, folder: Path) -> Host:
        """Return a new machine, whose own files are in *folder*."""
        folder.mkdir()
        number = next(self._numbers)
        host = Host(folder.name, folder, number, self if self.is_real else None)
        if self.is_real:
            _ip("netns", "add", host.namespace)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
            for place in Place:
                cable, inside = host.cable(place), ("-n", host.namespace)
                _ip("link", "add", cable, "type", "veth", "peer", "name", place, "netns", host.namespace)
                _ip("link", "set", cable, "master", self._bridge(place), "up")
                _ip(*inside, "address", "add", f"{self.address(place, number)}/24", "dev", place)
                _ip(*inside, "link", "set", place, "up")
        return host

    def _bridge(self, place: Place) -> str:
        return f"{self.mark}{place[:2]}"


@dataclass(slots=True)
class Host:
    """A machine: a home of its own, and cables that can be pulled."""

    name: str
    folder: Path
    number: int
    network: Network | None

    @property
    def namespace(self) -> str:
        """Return the name of its network."""
        return f"{self.network.mark if self.network else ''}-{self.number}"

    @property
    def state(self) -> Path:
        """Return where batchvid keeps what is this machine's own."""
        return self.folder / "state"

    def cable(self, place: Place) -> str:
        """Return the interface at the other end of one of its cables."""
        return f"{self.network.mark if self.network else ''}{place[:2]}{self.number}"

    def under(self) -> list[str]:
        """Return the command that starts another one on this machine."""
        return ["ip", "netns", "exec", self.namespace] if self.network else []

    def cut(self, *places: Place) -> None:
        """Pull its cables to these places."""
        self._set("down", *places)

    def mend(self, *places: Place) -> None:
        """Put its cables back."""
        self._set("up", *places)

    def _set(self, what: str, *places: Place) -> None:
        if self.network is None:
            raise NotHereError(f"no cable can be pulled: {BRING}")
        for place in places:
            _ip("link", "set", self.cable(place), what)
