"""The bench's own world: its machines can be cut off, and nothing of it is left, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster import hosts, keeper
from tests.cluster.hosts import Place
from tests.cluster.world import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.hosts import Host
    from tests.cluster.world import World

CAN_REACH = """
import socket, sys
for place in sys.argv[1:]:
    try:
        socket.create_connection(place.split("/"), timeout=1).close()
        print("yes")
    except OSError:
        print("no")
"""
MAKES_A_WORLD = """
import time
from tests.cluster.world import world
with world(network=NETWORK, store="folder") as made:
    made.sandbox()
    if NETWORK:
        made.host("host-1")
    print(made.mark, made.folder, flush=True)
    time.sleep(60)
"""


def reached(world: World, host: Host) -> list[str]:
    """Return whether each server can be reached from a machine."""
    places = [world.database.partition("@")[2].partition("/")[0], world.api.split("/")[2], str(world.endpoint)[7:]]
    command = [*host.under(), sys.executable, "-c", CAN_REACH, *(one.replace(":", "/") for one in places)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_a_machine_can_be_cut_off_from_each_server(make_world: Callable[..., World]) -> None:
    """From one of them alone, and its neighbour is not."""
    world = make_world(network=True, store="moto")
    world.sandbox()
    one, two = world.host("host-1"), world.host("host-2")
    assert reached(world, one) == ["yes"] * 3
    for number, place in enumerate(Place):
        one.cut(place)
        assert reached(world, one) == ["no" if at == number else "yes" for at in range(3)], place
        if place is Place.DATABASE:
            assert reached(world, two) == ["yes"] * 3
        one.mend(place)
    assert reached(world, one) == ["yes"] * 3


def test_nothing_is_left_of_a_world_whose_program_was_killed() -> None:
    """Processes, folder, namespaces and bridges: the keeper sweeps."""
    code = MAKES_A_WORLD.replace("NETWORK", str(hosts.are_here()))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        line = bench.stdout.readline().split()
        if not line:
            pytest.skip(bench.communicate()[1].splitlines()[-1])
        mark, folder = line
        assert len(list(keeper.processes(mark))) >= 2  # the database's others end with their first
        assert Path(folder).exists()
        os.kill(bench.pid, signal.SIGKILL)
    until = time.monotonic() + keeper.ENDS_S
    while Path(folder).exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not Path(folder).exists()
    assert list(keeper.processes(mark)) == []
    assert [*keeper.NAMESPACES.glob(f"{mark}*"), *keeper.LINKS.glob(f"{mark}*")] == []
