"""``--help`` is enough to learn a command."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from batchvid.cli import COMMANDS, batchvid
from batchvid.errors import Exit

WIDEST = 100


def help_of(*names: str) -> str:
    """Give a help page, as a terminal of any width shows it."""
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
