"""The command line: finds the command, runs it, and turns every end into a message and a promised exit code."""

from __future__ import annotations

import errno
import gc
import sys
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from batchvid import __version__
from batchvid.cli.streams import complain, keep_standard_numbers
from batchvid.domain.errors import BatchvidError, Exit, ManifestError

COMMANDS = {
    "init": ("init", "Write a commented manifest, its schema and two frames to start from."),
    "check": ("check", "Read, expand and validate manifests; nothing is sent or written."),
    "plan": ("plan", "Show what a run would do, and what it would cost."),
    "run": ("run", "Do what is left to do, then exit."),
    "work": ("work", "Work on what is published in a database, beside other machines."),
    "status": ("status", "Show how the jobs stand; works beside a running run."),
    "list": ("jobs", "Show the jobs, one line each, by state."),
    "logs": ("logs", "Show what happened, one line an event; -f goes on with it."),
    "retry": ("retry", "Reopen failed, timed-out or in-doubt jobs."),
    "approve": ("decide", "Approve clips after looking at them; works beside a running run."),
    "reject": ("decide", "Reject clips, so that the next run buys them again."),
    "redo": ("redo", "Buy finished clips once more, and keep the old ones."),
    "doubts": ("doubts", "Go through what is in doubt: adopt, buy again, leave."),
    "adopt": ("adopt", "Give an in-doubt job the task that you found on the dashboard."),
    "verify": ("verify", "Check every clip on disk; --repair fetches damaged ones again, without paying."),
    "review": ("review", "Watch runs and judge their clips, on a live page of this machine."),
    "report": ("report", "Write a page to look at: every clip, the night, the money."),
    "films": ("films", "Join finished clips into the manifest's films."),
    "frame": ("films", "Take one frame out of a clip, as a PNG."),
    "costs": ("costs", "Show what was paid, by day, model, manifest or run."),
    "collect": ("collect", "Put the approved clips into a folder, named as you like."),
    "export": ("export", "Write one row a job, as CSV or JSON lines."),
    "move-journal": ("move", "Move a journal into a database, or back beside the clips."),
    "cron": ("cron", "Print what starts a run every night; installs nothing."),
    "sandbox": ("sandbox", "Serve the sandbox, which plays the paid service."),
    "schema": ("init", "Print the manifest's JSON Schema, for editors."),
    "config": ("config", "Show your config file: profiles of accounts and prices."),
    "doctor": ("doctor", "Check versions, key, output, clock and service."),
    "help": ("help", "Show the documentation by topic: manifest, money, troubles and more."),
}
"""In the order of a first week with batchvid: the module and the line in the list of commands."""
START_HERE = """\b
Start here:
  batchvid init kites
  batchvid run kites/clips.yaml --sandbox
"""
STARVED = (
    "out of memory, of threads or of open files (ulimit -v, -u, -n, the limits of a container): the journal is intact; "
    "give it more and run again, which goes on from there"
)
START_OBJECTS = 100_000
"""More than a small command makes."""
STARVED_NUMBERS = {errno.ENOMEM, errno.EMFILE, errno.ENFILE}
STARVED_WORDS = ("can't start new thread", "Cannot allocate memory", "failed to map segment")


class Commands(click.Group):
    """The commands by name. Listing them loads none of them, so that ``--help`` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(f"batchvid.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that *args* begin with; of an unknown one, say which may be meant."""
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0].lower(), COMMANDS, n=1)
            ctx.fail(f"No such command {args[0]!r}{f': did you mean {near[0]}?' if near else '.'}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name from the list, without loading any: a shell asks at every Tab."""
        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.command(
    cls=Commands,
    epilog=START_HERE,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="batchvid %(version)s")
def batchvid() -> None:
    """Make for paid video clips: a manifest says which clips should exist, and each is paid for once.

    Running it again does what is left, and nothing twice. `batchvid COMMAND --help` tells the rest, and `batchvid help`
    lists the documentation.
    """


def main() -> None:
    """Run the command line and end the process with the promised exit code."""
    keep_standard_numbers()
    collect_late()
    sys.exit(int(run_command()))


def collect_late() -> None:
    """Let the cycle collector begin late, and then work as usual: of what a start makes, nothing is garbage."""
    usual = gc.get_threshold()

    def as_usual(_phase: str, _told: dict[str, int]) -> None:
        gc.callbacks.remove(as_usual)
        gc.set_threshold(*usual)

    gc.callbacks.append(as_usual)
    gc.set_threshold(START_OBJECTS)


def run_command() -> int:
    """Run the command line; return the exit code."""
    try:
        code = batchvid.main(prog_name="batchvid", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except ManifestError as error:
        number = len(error.problems)
        complain(f"{error}\n{number} problem{'s' if number != 1 else ''}: nothing was sent")
        return error.exit_code
    except BatchvidError as error:
        complain(f"batchvid: {error}")
        return error.exit_code
    except Exception as error:  # noqa: BLE001 the one place that catches everything, to keep the exit code's promise
        return unexpected(error)
    return code if isinstance(code, int) else Exit.OK


def unexpected(error: Exception) -> Exit:
    """Tell of an exception that nobody raised on purpose: the machine is short of something, or batchvid has a bug."""
    if is_starved(error):
        complain(f"batchvid: {STARVED}")
        return Exit.STOPPED
    import traceback

    complain("".join(traceback.format_exception(error)))
    complain("batchvid: this is a bug in batchvid; the journal is intact, and a further run goes on from it")
    return Exit.BUG


def is_starved(error: BaseException) -> bool:
    """Whether the machine had no memory, thread or open file left to give, which is nobody's bug."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_starved, error.exceptions))
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in STARVED_NUMBERS):
        return True
    # The interpreter and the dynamic loader have no class and no number for it, only these words.
    return isinstance(error, RuntimeError | ImportError) and any(words in str(error) for words in STARVED_WORDS)
