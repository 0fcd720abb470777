"""libcurl's multi interface: one thread, a fixed number of handles, each with one job after the other."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

pycurl: Any = import_module("pycurl")  # installed in the bench's own environment only


class Hand:
    """One handle, and the job that it works on."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.curl = pycurl.Curl()
        self.curl.hand = self
        self.job = -1
        self._step = ""
        self._body = BytesIO()

    def begin(self, job: int) -> None:
        """Ask for the create of *job*."""
        self.job = job
        self.curl.setopt(pycurl.HTTPHEADER, [f"Authorization: Bearer {self._options.key}"])
        form = [("prompt", f"A paper kite floats above field {job}."), ("model", "veo3-fast"), ("size", "16x9")]
        self.curl.setopt(pycurl.HTTPPOST, form)
        self._ask("create", f"{self._options.api}/videos")

    def _ask(self, step: str, url: str) -> None:
        self._step, self._body = step, BytesIO()
        if step != "create":
            self.curl.setopt(pycurl.HTTPGET, 1)
        self.curl.setopt(pycurl.URL, url)
        self.curl.setopt(pycurl.WRITEDATA, self._body)

    def answered(self) -> bool:
        """Take the answer, and prepare the next request; ``False`` when the job is over."""
        if self._step == "file":
            self._options.output.joinpath(f"{self.job}.mp4").write_bytes(self._body.getvalue())
            return False
        task = json.loads(self._body.getvalue())
        if task["status"] == "completed":
            self.curl.setopt(pycurl.HTTPHEADER, [])
            self._ask("file", task["video_url"])
        else:
            self._ask("poll", f"{self._options.api}/videos/{task['id']}")
        return True


def everything(options: argparse.Namespace) -> None:
    """Make all clips."""
    multi = pycurl.CurlMulti()
    jobs = iter(range(options.jobs))
    hands = [Hand(options) for _ in range(min(options.in_flight, options.jobs))]
    for hand in hands:
        hand.begin(next(jobs))
        multi.add_handle(hand.curl)
    busy = len(hands)
    while busy:
        multi.perform()
        while True:
            waiting, done, failed = multi.info_read()
            if failed:
                raise SystemExit(f"a transfer failed: {failed[0][1:]}")
            for curl in done:
                multi.remove_handle(curl)
                if not curl.hand.answered():
                    job = next(jobs, None)
                    if job is None:
                        busy -= 1
                        continue
                    curl.hand.begin(job)
                multi.add_handle(curl)
            if not waiting:
                break
        multi.select(1.0)


def main() -> None:
    """Read the options and work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("api")
    parser.add_argument("key")
    parser.add_argument("output", type=Path)
    parser.add_argument("jobs", type=int)
    parser.add_argument("in_flight", type=int)
    everything(parser.parse_args())


if __name__ == "__main__":
    main()
