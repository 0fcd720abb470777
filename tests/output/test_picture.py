"""A picture is drawn over the one before, and leaves nothing of it behind, whatever becomes of the terminal."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from batchvid.cli.output.picture import Picture

ROOT = Path(__file__).resolve().parents[2]


class Emulator:
    """As much of a terminal as a picture uses: text, line ends, cursor up, and the two ways to erase."""

    def __init__(self, width: int) -> None:
        self.width, self.lines, self.row, self.column = width, [""], 0, 0

    def feed(self, text: str) -> None:
        """Take what is written."""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                end = at + 2
                while not text[end].isalpha():
                    end += 1
                self._control(text[at + 2 : end], text[end])
                at = end + 1
                continue
            self._put(text[at])
            at += 1

    def _put(self, letter: str) -> None:
        if letter == "\r":
            self.column = 0
        elif letter == "\n":
            self.row, self.column = self.row + 1, 0
            self.lines += [""] * (self.row + 1 - len(self.lines))
        else:
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + letter + line[self.column + 1 :]
            self.column += 1

    def _control(self, number: str, kind: str) -> None:
        match kind:
            case "A":
                self.row -= int(number or 1)
            case "K":
                self.lines[self.row] = self.lines[self.row][: self.column]
            case "J":
                self.lines[self.row] = self.lines[self.row][: self.column]
                del self.lines[self.row + 1 :]

    def narrow(self, width: int) -> None:
        """Break the lines that are too long now, as terminals do; the cursor stays behind its letter."""
        broken = [[line[at : at + width] for at in range(0, max(1, len(line)), width)] for line in self.lines]
        self.row = sum(map(len, broken[: self.row])) + self.column // width
        self.column %= width
        self.lines, self.width = [part for parts in broken for part in parts], width


def lines(*texts: str) -> list[Text]:
    """Return these lines."""
    return [Text(text) for text in texts]


def shown(written: str, width: int = 40) -> list[str]:
    """Return what is on the terminal in the end."""
    emulator = Emulator(width)
    emulator.feed(written)
    return "\n".join(line.rstrip() for line in emulator.lines).rstrip().split("\n")


def test_a_picture_takes_the_place_of_the_one_before() -> None:
    """Also a smaller one, and one with shorter lines; what is printed goes above it."""
    stream = io.StringIO()
    console = Console(file=stream, width=40, height=10, force_terminal=True)
    picture = Picture(console)
    picture.draw(lines("one long line", "two", "three"))
    console.print("a note")
    picture.draw(lines("one", "2"))
    assert shown(stream.getvalue()) == ["a note", "one", "2"]
    picture.close()
    console.print("the end")
    assert shown(stream.getvalue()) == ["a note", "one", "2", "the end"]


def test_a_terminal_that_became_narrower_shows_one_picture() -> None:
    """It has broken the lines of the old one, which are found all the same."""
    stream = io.StringIO()
    console = Console(file=stream, width=40, height=10, force_terminal=True)
    picture, emulator = Picture(console), Emulator(40)
    console.print("a note")
    picture.draw(lines("x" * 39, "y" * 25, "end"))
    emulator.feed(stream.getvalue())
    emulator.narrow(20)
    console.width = 20
    before = stream.tell()
    picture.draw(lines("xx", "yy", "zz"))
    emulator.feed(stream.getvalue()[before:])
    assert [line.rstrip() for line in emulator.lines] == ["a note", "xx", "yy", "zz"]


def test_a_terminal_that_became_lower_and_grew_again_shows_one_picture() -> None:
    """It brings back the lines that it had pushed out of sight."""
    stream = io.StringIO()
    console = Console(file=stream, width=40, height=10, force_terminal=True)
    picture = Picture(console)
    console.print("a note")
    picture.draw(lines(*"abcdefgh"))
    console.height = 4  # of the note and the eight lines, the last four are seen
    picture.draw(lines("1", "2", "3"))
    console.height = 10
    picture.draw(lines(*"ABCDEFGH"))
    assert shown(_with_clamp(stream.getvalue())) == ["a note", *"ABCDEFGH"]


def _with_clamp(written: str) -> str:
    """Return what was written, with the way up that a terminal of four lines allows: to its first one."""
    first, second, third = written.split("\r\x1b[")
    return f"{first}\r\x1b[3A{second.removeprefix('7A')}\r\x1b[{third}"


DRAWS = """
import sys, time
from batchvid.cli.output.live import LiveView, Screen
from batchvid.cli.output.picture import console_on
from batchvid.domain.job import State
from batchvid.domain.results import Money, Snapshot
view = LiveView(Screen(console_on(sys.stdout)), manifest="night.yaml", every_s=0.0)
view.stats(Snapshot(counts={State.DONE: 1}, parked=0, money=Money(), elapsed_s=1.0, eta_s=None, in_flight=0,
    in_flight_limit=20, downloading=0, downloads_limit=4, submits_per_min=0.0, submit_limit=None, downloaded_bytes=0))
sys.stdin.readline()
view.close()
"""


def test_a_change_of_the_size_is_drawn_at_once() -> None:
    """A real terminal, and nothing else that would draw."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    child = subprocess.Popen(
        [sys.executable, "-c", DRAWS], stdin=its, stdout=its, stderr=its, cwd=ROOT, env=environment | {"TERM": "xterm"}
    )
    try:
        assert "night.yaml" in _read(mine, until="downloads")
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 130, 0, 0))
        child.send_signal(signal.SIGWINCH)
        drawn = _read(mine, until="downloads")
        line = next(line for line in drawn.splitlines() if "1 s elapsed" in line)
        assert len(line.split("night.yaml")[1]) > 100, "the line is as wide as the terminal is now"
        os.write(mine, b"\n")
        assert child.wait(20) == 0
    finally:
        child.kill()
        child.wait()
        os.close(mine)
        os.close(its)


def _read(descriptor: int, *, until: str) -> str:
    """Read until these words have come, for at most 20 s."""
    found, ends = "", time.monotonic() + 20
    while until not in found and select.select([descriptor], [], [], max(0.0, ends - time.monotonic()))[0]:
        found += os.read(descriptor, 65536).decode("utf-8", "replace")
    return found
