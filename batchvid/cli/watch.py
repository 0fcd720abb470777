"""``status --watch``: the live view of a run, from another terminal."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from batchvid.cli.output.jsonl import watch_json
from batchvid.cli.output.lines import stats_line
from batchvid.cli.output.text import clock
from batchvid.cli.streams import tell
from batchvid.engine.target import journal_of
from batchvid.engine.watch import Watching
from batchvid.providers.credentials import terminal_can_draw

if TYPE_CHECKING:
    from batchvid.domain.results import Snapshot
    from batchvid.manifest.model import Manifest


WATCH_EVERY_S = 2.0


def watch(manifest: Manifest, named: str, *, as_json: bool) -> None:
    """Show how the run stands every two seconds, until Ctrl-C."""
    from batchvid.cli.output.live import LiveView, Screen, console_on

    draws = not as_json and sys.stdout is not None and sys.stdout.isatty() and terminal_can_draw()
    with suppress(KeyboardInterrupt), Watching(manifest, journal_of(manifest)) as watching:
        if not draws:
            while True:
                _tell(watching.look(), named, as_json=as_json)
                time.sleep(WATCH_EVERY_S)
        view = LiveView(Screen(console_on(sys.stdout)), manifest=named, every_s=0.0)
        try:
            while True:
                view.stats(watching.look())
                time.sleep(WATCH_EVERY_S)
        finally:
            view.close()


def _tell(snapshot: Snapshot, named: str, *, as_json: bool) -> None:
    if as_json:
        tell(json.dumps({**watch_json(snapshot), "manifest": named}))
    else:
        tell(f"{clock(time.time())} {stats_line(snapshot)}")
