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

TOPICS = (
    "manifest",
    "money",
    "troubles",
    "night",
    "review",
    "cluster",
    "report",
    "service",
    "sandbox",
    "python",
    "speed",
    "glossary",
)
"""In the order of reading; each is ``help/TOPIC.md``, and its first paragraph is its line in the list."""
PAGE_WIDTH = 100
"""Longer lines are hard to read."""
_PAGE_LINK = re.compile(r"\[([^\]]*)\]\((?!https?://)[^)]*\)")


class Topic(click.ParamType[str]):
    """The name of a topic."""

    name = "TOPIC"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it."""
        if value not in TOPICS and (ctx is None or _command(ctx, str(value)) is None):
            near = get_close_matches(str(value).lower(), TOPICS, n=1)
            question = f": did you mean {near[0]}?" if near else "."
            self.fail(f"{value!r} is no topic{question} Topics: {', '.join(TOPICS)}", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete a topic's name."""
        found = [CompletionItem(name, help=summary(name)) for name in TOPICS if name.startswith(incomplete)]
        return found + super().shell_complete(ctx, param, incomplete)


@click.command("help")
@click.argument("topic", type=Topic(), required=False)
@click.pass_context
def help_command(ctx: click.Context, topic: str | None) -> int:
    """Show the documentation of TOPIC; without TOPIC, list the topics.

    In a pipe the page is plain Markdown. The name of a command shows its --help, unless a topic has that name, too.
    """
    if topic is not None and topic not in TOPICS and (command := _command(ctx, topic)) is not None:
        with click.Context(command, info_name=topic, parent=ctx.parent) as inner:
            tell(command.get_help(inner))
        return Exit.OK
    text = contents() if topic is None else page(topic)
    if topic is not None and sys.stdout is not None and sys.stdout.isatty():
        show(text)
    else:
        tell(text, end="")
    return Exit.OK


def _command(ctx: click.Context, name: str) -> click.Command | None:
    root = ctx.find_root().command
    return root.get_command(ctx, name) if isinstance(root, click.Group) else None


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
