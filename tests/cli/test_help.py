"""``--help`` is enough to learn a command."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from batchvid.cli.help import TOPICS
from batchvid.cli.main import COMMANDS, batchvid
from batchvid.domain.errors import Exit
from tests.cli.test_completion import completed
from tests.cli.test_streams import on_a_terminal

if TYPE_CHECKING:
    from tests.cli.project import Project

ROOT = Path(__file__).parents[2]
WIDEST = 100
LIST_WIDEST = 85


def help_of(*names: str) -> str:
    """Return a help page, as a terminal of any width shows it."""
    result = CliRunner().invoke(batchvid, [*names, "--help"], prog_name="batchvid")
    assert result.exit_code == 0, result.output
    return result.output


def test_the_help_lists_every_command_and_where_to_start() -> None:
    """In the order of a first week."""
    page = help_of()
    assert [line.split()[0] for line in page.splitlines() if line.startswith("  ") and line.split()[0] in COMMANDS] == [
        *COMMANDS
    ]
    assert "batchvid init" in page


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_explains_every_option_and_fits_a_terminal(name: str) -> None:
    """No option without its sentence, no line that wraps."""
    page = help_of(name)
    assert [line for line in page.splitlines() if len(line) > WIDEST] == []
    command = batchvid.get_command(click.Context(batchvid), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter
            assert max(parameter.opts, key=len) in page
    assert page.split("\n\n")[1].strip()


@pytest.mark.parametrize(
    ("name", "option", "values"),
    [
        ("run", "--sandbox-speed", ["nan", "inf", "1e308", "0", "-1", "fast"]),
        ("sandbox", "--speed", ["nan", "inf", "1e308", "0"]),
        ("run", "--max-cost", ["nan", "-1", "1e30", "9" * 5000]),
        ("run", "--max-jobs", ["-1", "nan", "9" * 5000]),
        ("run", "--for", ["0s", "nan", "99999999999d", "0.0000001s"]),
    ],
)
def test_a_number_that_means_nothing_is_an_error_of_usage(name: str, option: str, values: list[str]) -> None:
    """Named with its option, before anything is begun."""
    for value in values:
        more = [__file__] if name == "run" else []
        result = CliRunner().invoke(batchvid, [name, *more, option, value], prog_name="batchvid")
        assert result.exit_code == Exit.USAGE, value
        assert f"Invalid value for '{option}'" in result.output, value


def test_no_option_takes_the_key_itself() -> None:
    """It would stand in the list of processes, and in the shell's history; the sandbox's is no secret."""
    for name in COMMANDS:
        command = batchvid.get_command(click.Context(batchvid), name)
        assert command is not None
        named = {option for parameter in command.params for option in parameter.opts if "key" in option}
        assert named <= ({"--key"} if name == "sandbox" else {"--api-key-file"})


def test_the_list_has_every_topic_with_its_line(project: Project) -> None:
    """In the order of reading, and narrow enough for a terminal."""
    ran = project.batchvid("help")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines() if line.startswith("  ")] == [*TOPICS]
    assert "  money     What a crash costs you (nothing)" in ran.out
    assert max(map(len, ran.out.splitlines())) <= LIST_WIDEST


def test_every_topic_is_shipped_listed_and_linked() -> None:
    """A page that nobody can find is not there."""
    pages = [path.name for path in files("batchvid").joinpath("help").iterdir()]
    assert sorted(pages) == sorted(f"{topic}.md" for topic in TOPICS)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [topic for topic in TOPICS if f"(batchvid/help/{topic}.md)" not in readme] == []


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_in_a_pipe_is_its_markdown(topic: str) -> None:
    """To the last character."""
    result = CliRunner().invoke(batchvid, ["help", topic], prog_name="batchvid")
    assert result.stdout_bytes == (ROOT / "batchvid" / "help" / f"{topic}.md").read_bytes()


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_on_a_terminal_is_laid_out(project: Project, topic: str) -> None:
    """No signs of Markdown, no links to files that are not there, no line beyond the edge."""
    code, got = on_a_terminal(project, "help", topic, TERM="xterm-256color", NO_COLOR="1")
    shown = click.unstyle(got)
    assert code == 0
    assert max(map(len, shown.splitlines())) <= WIDEST
    assert [sign for sign in ("```", "**", "](", ".md)", "| --") if sign in shown] == []


def test_an_unknown_topic_is_an_error_that_helps(project: Project) -> None:
    """It names the nearest topic and all of them."""
    ran = project.batchvid("help", "mony")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "'mony' is no topic: did you mean money? Topics: manifest, money, troubles" in ran.err
    assert "'zzz' is no topic. Topics: manifest" in project.batchvid("help", "zzz").err


def test_the_name_of_a_command_shows_its_own_help() -> None:
    """As ``--help`` does, to the last character; where a topic has the name too, the topic is shown."""
    result = CliRunner().invoke(batchvid, ["help", "run"], prog_name="batchvid")
    assert (result.exit_code, result.output) == (0, help_of("run"))
    assert "Usage:" not in CliRunner().invoke(batchvid, ["help", "report"], prog_name="batchvid").output


@pytest.mark.parametrize(("typed", "said"), [("runn", "'runn': did you mean run?"), ("fly", "'fly'.")])
def test_an_unknown_command_is_an_error_that_helps(typed: str, said: str) -> None:
    """It names the nearest command, if one is near."""
    result = CliRunner().invoke(batchvid, [typed], prog_name="batchvid")
    assert result.exit_code == Exit.USAGE
    assert f"No such command {said}" in result.output


def test_the_shell_completes_topics(project: Project) -> None:
    """All of them after a space, and those that begin with what is there."""
    assert completed(project, "batchvid", "help", "") == [("plain", topic) for topic in TOPICS]
    assert completed(project, "batchvid", "help", "ma") == [("plain", "manifest")]
