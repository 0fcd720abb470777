"""Run batchvid against real servers that speak ``/v1/videos``, and print what became of each job: ``make servers``.

Six jobs a server, each run twice: text; a first frame; two frames; one that fails at the server; a model that it does
not have; a size that no model makes. Also one with a wrong key and, where a service stands behind the server, one whose
answer is lost on the way. Exits 1 when a job was paid twice, a clip was lost, or a server did not do what was expected.
At the end, unless servers are named, schemathesis tries the sandbox by its own document.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.servers import schema
from tests.servers.environments import NotInstalledError
from tests.servers.jobs import KEY, PROMPTS, WRONG_KEY, Row, Scene
from tests.servers.servers import SERVERS, Server

HEAD = ("server", "job", "became", "paid", "exit", "verdict", "what it shows, or why")
REASON_CHARS = 90


@dataclass(frozen=True, slots=True)
class Judged:
    """One line of the table."""

    server: str
    row: Row
    verdict: str

    @property
    def cells(self) -> tuple[str, ...]:
        """Return it as text."""
        reason = " ".join(self.row.reason.split())
        short = reason if len(reason) <= REASON_CHARS else f"{reason[: REASON_CHARS - 1]}…"
        return self.server, self.row.job, self.row.became, str(self.row.paid), str(self.row.code), self.verdict, short


def tried(server: Server) -> list[Judged]:
    """Try one server with all jobs, and judge what became of them."""
    with tempfile.TemporaryDirectory(prefix="batchvid-servers-") as name:
        folder = Path(name)
        with server.serve(folder) as site:
            scene = Scene(folder, site)
            found = run_twice(server, scene, scene.five(), code=3)
            if "lost" in server.expected:
                found += run_twice(server, scene, scene.one("lost"), code=4)
            code = 6 if server.expects("key") == "pending" else 0
            found += run_twice(server, scene, scene.one("key"), code=code, key=WRONG_KEY)
            return found + two_frames(server, scene)


def run_twice(server: Server, scene: Scene, path: Path, *, code: int, key: str = KEY) -> list[Judged]:
    """Run a manifest twice, and judge each job: *code* is the exit code that is right."""
    first, second = (scene.rows(path, scene.run(path, key=key)) for _ in range(2))
    return [
        Judged(server.title, row, verdict(server, row, again, code=code))
        for row, again in zip(first, second, strict=True)
    ]


def verdict(server: Server, row: Row, again: Row, *, code: int) -> str:
    """Return ``ok``, or what is wrong with a row; *again* is the same after a second run."""
    wanted = server.expects(row.job)
    wrong = {
        f"PAID {row.paid} TIMES": row.paid > 1,
        "PAID AGAIN BY THE SECOND RUN": again.paid != row.paid,
        f"NOT {wanted}": row.became != wanted,
        f"THEN {again.became}": again.became != row.became,
        f"NOT EXIT {code}": not row.code == again.code == code,
    }
    return next((what for what, is_so in wrong.items() if is_so), "ok")


def two_frames(server: Server, scene: Scene) -> list[Judged]:
    """Try two frames: `check` refuses it, unless the manifest says that the server takes two."""
    checked = scene.batchvid("check", scene.both())
    is_told = checked.code == 65 and "frames: two" in checked.err
    paid = scene.site.paid()[PROMPTS["both"]]
    row = Row("both", "stopped by check", checked.err.partition("last_frame: ")[2], paid, checked.code)
    found = Judged(server.title, row, "ok" if is_told and not paid else "NOT stopped by check")
    return [found, *run_twice(server, scene, scene.two(), code=0)]


def table(found: list[Judged]) -> str:
    """Return the rows, aligned."""
    lines = [HEAD, *(one.cells for one in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD) - 1)]
    return "\n".join("  ".join((*map(str.ljust, line, widths), line[-1])) for line in lines)


def main() -> int:
    """Try the servers that are named, or all, and tell what was seen."""
    wanted = [name.lower() for name in sys.argv[1:]]
    servers = [one for one in SERVERS if not wanted or any(name in one.title.lower() for name in wanted)]
    found: list[Judged] = []
    troubles: list[str] = []
    for server in servers:
        began = time.monotonic()
        try:
            server.environment.make()
            found += tried(server)
        except NotInstalledError as error:
            troubles.append(f"{server.title} is not installed: {error}")
        except (RuntimeError, OSError) as error:
            troubles.append(f"{server.title}: {error}")
        print(f"{server.title}: {time.monotonic() - began:.0f} s", file=sys.stderr)  # noqa: T201
    print(table(found))  # noqa: T201
    print(*troubles, sep="\n")  # noqa: T201
    is_broken = bool(troubles) or not servers or any(one.verdict != "ok" for one in found)
    return max(int(is_broken), 0 if wanted else schema.run())


if __name__ == "__main__":
    sys.exit(main())
