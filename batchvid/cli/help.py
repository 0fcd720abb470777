"""``help``: the documentation that comes with the program, topic by topic."""

from __future__ import annotations

import re
import sys
from difflib import get_close_matches
from importlib.resources import files

import click
from click.shell_completion import CompletionItem

from batchvid.cli.streams import tell
from batchvid.domain.errors import Exit

TOPICS = ("manifest", "money", "troubles", "night", "report", "service", "sandbox", "python", "speed", "glossary")
"""In the order of reading; each is ``help/TOPIC.md``, and its first paragraph is its line in the list."""
PAGE_WIDTH = 100
"""Longer lines are hard to read."""
_PAGE_LINK = re.compile(r"\[([^\]]*)\]\((?!https?://)[^)]*\)")


class Topic(click.ParamType[str]):
    """The name of a topic."""

    name = "TOPIC"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it."""
        if value not in TOPICS:
            self.fail(f"{value!r} is no topic: {_advice(str(value), ctx)}", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete a topic's name."""
        found = [CompletionItem(name, help=summary(name)) for name in TOPICS if name.startswith(incomplete)]
        return found + super().shell_complete(ctx, param, incomplete)


@click.command("help")
@click.argument("topic", type=Topic(), required=False)
def help_command(topic: str | None) -> int:
    """Show the documentation of TOPIC; without TOPIC, list the topics.

    In a pipe the page is plain Markdown. For the options of a command see batchvid COMMAND --help.
    """
    text = contents() if topic is None else page(topic)
    if topic is not None and sys.stdout is not None and sys.stdout.isatty():
        show(text)
    else:
        tell(text, end="")
    return Exit.OK


def _advice(name: str, ctx: click.Context | None) -> str:
    root = None if ctx is None else ctx.find_root().command
    if isinstance(root, click.Group) and ctx is not None and name in root.list_commands(ctx):
        return f"it is a command, and batchvid {name} --help explains it"
    near = get_close_matches(name.lower(), TOPICS, n=1)
    question = f"did you mean {near[0]}? " if near else ""
    return f"{question}Topics: {', '.join(TOPICS)}"


def page(topic: str) -> str:
    """Return a topic's Markdown."""
    return files("batchvid").joinpath("help", f"{topic}.md").read_text(encoding="utf-8")


def summary(topic: str) -> str:
    """Return a topic's first paragraph in one line."""
    return page(topic).split("\n\n")[1].replace("\n", " ")


def contents() -> str:
    """Return the list of topics."""
    width = max(map(len, TOPICS))
    lines = [f"  {topic:{width}}  {summary(topic)}" for topic in TOPICS]
    more = "batchvid help TOPIC shows a topic, batchvid COMMAND --help explains a command."
    return "\n".join(["Topics:", *lines, "", more, ""])


def show(text: str) -> None:
    """Lay a page out on the terminal; a link to another page is told by its words, which name the command for it."""
    from rich.markdown import Markdown

    from batchvid.cli.output.live import console_on, finish

    console = console_on(sys.stdout)
    console.print(Markdown(_PAGE_LINK.sub(r"\1", text), hyperlinks=False), width=min(console.width, PAGE_WIDTH))
    finish(console)
