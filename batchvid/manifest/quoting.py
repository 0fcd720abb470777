"""Texts that somebody wrote without quotes, and that YAML reads as something else: what to write instead.

A manifest that the parser stops at is tried again with the texts around that place in quotes. Where it then goes
further, that was it, and the message shows the line as it should be, ready to be pasted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from yaml._yaml import CParser
from yaml.events import ScalarEvent, StreamEndEvent
from yaml.reader import ReaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MISTAKES_AT_MOST = 20
"""Places in one file that are told at once."""
_TRIED_CHARS = 50_000_000
"""Parsed in all while looking for what to write: a second of time."""
_SIGNS = frozenset("@`%*&!|>?[]{},#:-")
"""What a text without quotes cannot begin with, or not before a blank."""
_LINE = re.compile(
    r"(?P<lead>[ ]*(?:-[ \t]+)*)(?:(?P<key>[^\s:#{}\[\],&*!|>%@`\"'][^\s:]*|\"[^\"]*\"|'[^']*'):[ \t]+)?(?P<value>\S.*)"
)
_COMMENT = re.compile(r"[ \t]+#(?:[ \t].*)?$")
_FIELD = re.compile(r"[ ]*(?:-[ \t]+)*([a-z_]+):(?:[ \t]|$)")
_IN_BRACES = re.compile(r"(?:[{,]|^)[ \t]*[a-z_][\w.]*:[ \t]+")
_END_IN_BRACES = re.compile(r",[ \t]*[a-z_][\w.]*:[ \t]|[ \t]*(?<=[\]}])[\s,]*(?:#.*)?$|,?[ \t]*$")
_BRACES_AND_MORE = re.compile(r"(?:\{[^{}]*\}|\[[^\[\]]*\])[ \t]*[^\s\]},#]")
"""A text that begins with a word in braces, and is no map or list."""
_NO_BLANK = re.compile(r"([ ]*(?:-[ \t]+)*)(?:(?P<key>[a-z_]+):|-)(?=[^\s:/-])")
_BEFORE = re.compile(r"([^\s{,\[]+:|(?<!\S)-)\s+$")
_KEY_AT_MOST = 200
"""Characters before a value in which its key is looked for."""
_SWALLOWED = re.compile(r"#\w")
_NUMBERED = re.compile(r"#[ \t]+\d")
_SENTENCE_END = (".", "!", "?", "…", ";", ":", ")", '"', "'")


class Stop(NamedTuple):
    """Where the parser stopped, from 0."""

    line: int
    opened: int
    """The line of the quote that was not closed, if that is why; else -1."""
    offset: int
    quoted: int
    """The line on which the last text in quotes before it began, if it ended on another; else -1."""


class Advice(NamedTuple):
    """What is wrong with a text, with line and column from 1."""

    line: int
    column: int
    text: str


class _Fix(NamedTuple):
    """One text and what should stand in its place."""

    begin: int
    end: int
    instead: str
    why: str

    def applied(self, text: str) -> str:
        """Return the whole file with it; every line after it stays where it is."""
        breaks = text.count("\n", self.begin, self.end) - self.instead.count("\n")
        return text[: self.begin] + self.instead + "\n" * breaks + text[self.end :]


def quoted(text: str) -> str:
    """Return a text in the quotes of YAML, on one line."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}

    def shown(char: str) -> str:
        if char in escapes:
            return escapes[char]
        if char.isprintable():
            return char
        code = ord(char)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004

    return f'"{"".join(map(shown, text))}"'


def in_quotes(text: str, begin: int, end: int) -> str:
    """Return what to write for a part of a file: its key or dash, and the part in quotes."""
    before = _BEFORE.search(text[max(0, begin - _KEY_AT_MOST) : begin])
    return (f"{before[1]} " if before else "") + quoted(_plain(text[begin:end]))


def _plain(written: str) -> str:
    """Return the text that is probably meant: on one line, without quotes around it that do not hold it."""
    text = " ".join(part for line in written.splitlines() if (part := line.strip()))
    mark = text[:1]
    if mark not in {'"', "'"}:
        return text
    if text[1:].endswith(mark):
        second = text.index(mark, 1)
        is_closed = text[second - 1] != " " and not text[second + 1 : second + 2].isalnum()
        if text.count(mark) % 2 or second == len(text) - 1 or not is_closed:  # not: "A cat" and "a dog"
            return text[1:-1].replace('\\"' if mark == '"' else "''", mark)
    if text.count(mark) == 1 and (mark == '"' or text[1:2].isupper()):
        return text[1:]  # it was never closed; 'tis is a word
    return text


def stop_of(text: str) -> Stop | None:
    """Return where the parser stops; ``None`` when it reads all of *text*."""
    read: Callable[[], Any] = CParser(text).get_event
    quote, kind = -1, None
    try:
        while kind is not StreamEndEvent:
            event = read()
            kind = type(event)
            if kind is ScalarEvent:
                spans = event.style in {"'", '"'} and event.end_mark.line > event.start_mark.line
                quote = event.start_mark.line if spans else -1
    except yaml.MarkedYAMLError as error:
        marks: list[Any] = [error.problem_mark, error.context_mark]
        if (mark := marks[0] or marks[1]) is None:
            return None
        is_open = marks[1] is not None and "quoted scalar" in (error.context or "")
        return Stop(mark.line, marks[1].line if is_open else -1, mark.index, quote)
    except ReaderError:
        return None
    return None


def advice(text: str) -> list[Advice]:
    """Return what to write, for each place of a text that the parser stops at; empty when none of it helps.

    The last place may be one for which nothing is known to help: then the parser's own words are still to be told.
    """
    found: list[Advice] = []
    left = _TRIED_CHARS
    stop = stop_of(text)
    while stop is not None and len(found) < MISTAKES_AT_MOST and left > 0:
        for fix in _fixes(text, stop):
            changed = fix.applied(text)
            after = stop_of(changed)
            left -= stop.offset
            if after is None or after.line > stop.line or after.opened > stop.opened >= 0:
                found.append(_advice(text, fix))
                text, stop = changed, after
                break
            if left <= 0:
                return found
        else:
            return found
    return found


def _advice(text: str, fix: _Fix) -> Advice:
    begin = text.rfind("\n", 0, fix.begin) + 1
    return Advice(text.count("\n", 0, begin) + 1, fix.begin - begin + 1, fix.why)


def _fixes(text: str, stop: Stop) -> Iterator[_Fix]:
    """Yield what may help, the likeliest first."""
    lines = text.split("\n")
    tried: set[tuple[int, int]] = set()
    here = min(stop.line, len(lines) - 1)
    for number in dict.fromkeys([stop.quoted, stop.opened, here, _above(lines, here), _before(lines, here)]):
        if 0 <= number < len(lines):
            start = sum(len(line) + 1 for line in lines[:number])
            if found := _NO_BLANK.match(lines[number]):
                place, what = start + found.end(), "colon" if found["key"] else "dash"
                shown = f"{found[0].strip()} {lines[number][found.end() :].strip()}"
                yield _Fix(place, place, " ", f"write a blank behind the {what}: {shown}")
            for begin, end in _spans(lines, number):
                if (start + begin, start + end) not in tried:
                    tried.add((start + begin, start + end))
                    yield _fix(text, lines, number, begin=start + begin, end=start + end)


def _fix(text: str, lines: Sequence[str], number: int, *, begin: int, end: int) -> _Fix:
    """Return the fix that puts a part of the text in quotes."""
    written = text[begin:end]
    instead = in_quotes(text, begin, end)
    more = next((found[1] for line in written.split("\n")[1:] if (found := _FIELD.match(line))), None)
    if more is not None:
        key = _FIELD.match(lines[number])
        deep = f"as deep as {key[1]}:" if key else "less deep"
        why = f"{more}: begins a new field: indent it {deep}, or put the text in quotes: {instead}"
    else:
        why = f"{_sign(written)}: put the text in quotes: {instead}"
    return _Fix(begin, end, quoted(_plain(written)), why)


def _sign(written: str) -> str:
    if written[0] in {'"', "'"}:
        return f"a {written[0]} ends the text in YAML, or begins one that does not end"
    if written[0] in _SIGNS:
        return f"{written[0]} at the beginning is a sign of YAML's own"
    inside = next((sign for sign in (": ", " #", "{", "[", "}", "]") if sign in written), ":")
    return f'"{inside.strip()}" is a sign of YAML\'s own'


def _spans(lines: Sequence[str], number: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of the text, from a line on, that may be meant as one text; counted from the line's beginning."""
    line = lines[number]
    found = _LINE.fullmatch(line.rstrip("\r"))
    if found is None or (found["key"] is None and _FIELD.match(line)):
        return
    key, dash = found["key"], "-" in found["lead"]
    item = found.start("key") if key else found.start("value")
    end = _end(lines, number, column=item if key or not dash else found["lead"].index("-"))
    is_word = key is not None and re.fullmatch(r"[a-z_][\w.]*", key) is not None
    begins = [found.start("value"), item] if is_word else [item, found.start("value")]
    spans = [(begin, end) for begin in (begins if dash else begins[:1] if is_word else [found.start("value")])]
    for one in _IN_BRACES.finditer(line):
        last = _END_IN_BRACES.search(line, one.end())
        stop = last.start() if last else len(line.rstrip("\r"))
        brackets = len(line[one.end() : stop]) - len(line[one.end() : stop].rstrip("]} \t"))
        spans += [(one.end(), stop - inside) for inside in range(brackets, -1, -1)]
    for begin, end in spans:
        if begin < min(end, len(line)) and (line[begin] not in "{[" or _BRACES_AND_MORE.match(line, begin)):
            yield begin, end


def _end(lines: Sequence[str], number: int, *, column: int) -> int:
    """Return where a text ends that begins on a line: before a comment, or behind the lines that are deeper."""
    end = len(_COMMENT.sub("", lines[number].rstrip("\r")).rstrip())
    passed = len(lines[number]) + 1
    for line in lines[number + 1 :]:
        depth = len(line) - len(line.lstrip(" "))
        if line.strip() and depth <= column:
            break
        if line.strip():
            end = passed + len(line.rstrip())
        passed += len(line) + 1
    return end


def _above(lines: Sequence[str], number: int) -> int:
    """Return the line that a deeper one continues, or -1."""
    depth = len(lines[number]) - len(lines[number].lstrip(" \t"))
    for above in range(number - 1, -1, -1):
        line = lines[above]
        if line.strip() and not line.lstrip().startswith("#") and len(line) - len(line.lstrip(" ")) < depth:
            return above
    return -1


def _before(lines: Sequence[str], number: int) -> int:
    """Return the line before, without empty ones, or -1."""
    return next((above for above in range(number - 1, -1, -1) if lines[above].strip()), -1)


def cut_off(text: str, end: int, *, column: int) -> int:
    """Return where a text without quotes, which ended at *end*, probably goes on behind a #; -1 where it does not.

    *column* is that of its key, from 0. ``#`` and a blank begin a comment, and ``#FF8800`` hardly does.
    """
    stop = text.find("\n", end)
    line = text[end : stop if stop >= 0 else len(text)]
    if (comment := line.lstrip()).startswith("#"):
        value = text[text.rfind("\n", 0, end) + 1 : end].rstrip()
        goes_on = _SWALLOWED.match(comment) or (_NUMBERED.match(comment) and not value.endswith(_SENTENCE_END))
        return end + len(line) - len(comment) if goes_on else -1
    if line.strip() or stop < 0:
        return -1
    below = re.compile(r"([ ]*)#\w").match(text, stop + 1)
    return below.end(1) if below and len(below[1]) > column else -1
