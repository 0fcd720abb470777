"""``review``: a live page on this machine to watch runs, look at their clips, and decide about each."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import socket
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING

import click

from batchvid.cli.decide import account_name
from batchvid.cli.options import database_option, json_option, load, manifests_argument, output_option, rehearsed
from batchvid.cli.output import advice
from batchvid.cli.streams import complain, tell
from batchvid.domain.decision import BY_MAX
from batchvid.domain.errors import Exit
from batchvid.domain.text import clean
from batchvid.providers.credentials import has_display

if TYPE_CHECKING:
    from pathlib import Path


class Name(click.ParamType[str]):
    """Who decides, as everybody is to read it."""

    name = "NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it."""
        found = clean(str(value), BY_MAX)
        return found or self.fail("the name is empty", param, ctx)


@click.command("review")
@manifests_argument
@output_option
@database_option
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", default=0, help="Listen here; 0 takes a free one.")
@click.option("--by", type=Name(), metavar="NAME", help="Who decides; by default the name of your user account.")
@click.option(
    "--open/--no-open",
    "opens",
    default=None,
    help="Open the page in a browser, or do not; by default on a terminal with a screen.",
)
@json_option
def review_command(
    manifests: tuple[Path, ...],
    *,
    output: str | None,
    database: str | None,
    port: int,
    by: str | None,
    opens: bool | None,
    as_json: bool,
) -> int:
    """Serve a live page on this machine: what runs, and every clip to approve or reject. Ctrl-C ends it.

    It works beside runs and beside other reviewers, and follows both. Decisions are kept in the journals. The page buys
    nothing: the next run buys a rejected job again, and the page says for how much before you reject it.

    The printed address holds the key to the page, and works on this machine only. From another one, make a tunnel with
    the printed ssh command, and open the same address there.
    """
    from batchvid.cli.review.board import Reviewed
    from batchvid.cli.review.server import listening, serve

    if output is not None and len(manifests) > 1:
        raise click.UsageError("--output goes with one manifest: two cannot share an output")
    reviewed = []
    for one in manifests:
        manifest, named = load(one, output=output, database=database), str(one)
        # Here, while the flags of this manifest are kept: without them a pasted command would work elsewhere.
        commands = {"redo": advice.command("redo", named), "status": advice.command("status", named)}
        reviewed.append(Reviewed(manifest, **commands))
        if (place := rehearsed(manifest)) is not None:
            rehearsal = advice.command("review", named, "--output", place)
            complain(f"nothing was run into {manifest.place} yet; to look at its rehearsal: {rehearsal}")
    listener = listening(port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does

    def ready(address: str, once: str) -> None:
        number = listener.getsockname()[1]
        if as_json:
            tell(json.dumps({"url": address, "port": number}))
        else:
            tell(address)
            complain(f"from another machine: ssh -L {number}:127.0.0.1:{number} {_this_machine()}")
            complain("and open the same address there. Ctrl-C ends the page; decisions are kept as they are made.")
        if opens or (opens is None and not as_json and _is_at_a_screen()):
            threading.Thread(target=webbrowser.open, args=(once,), daemon=True).start()  # some browsers hold it up

    try:
        asyncio.run(serve(reviewed, listener, by=by or account_name(), ready=ready))
    except KeyboardInterrupt:
        return Exit.OK
    return Exit.OK


def _this_machine() -> str:
    return shlex.quote(f"{account_name()}@{socket.gethostname()}")


def _is_at_a_screen() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and has_display()
