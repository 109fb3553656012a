"""The root of the command tree, and what becomes of errors."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from . import exits

COMMANDS = (
    "run",
    "chat",
    "serve",
    "server-keys",
    "session",
    "prompt",
    "prompts",
    "memory",
    "tools",
    "shields",
    "mcp",
    "models",
    "keys",
    "doctor",
    "demo",
)
"""Each is a module beside this one, `_` for `-`, with an object `command`."""


class Commands(click.Group):
    """Loads a command's module when it is asked for, and turns errors into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - Click's signature
        """In the order in which they should be read."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{cmd_name.replace('-', '_')}", __package__).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; with `--debug` errors keep their traceback."""
        try:
            return super().invoke(ctx)
        except click.Abort as abort:
            if isinstance(abort.__context__, KeyboardInterrupt):  # Ctrl-C at a question that Click asked
                return _end(ctx, abort.__context__)
            raise
        except (click.exceptions.Exit, click.ClickException, BrokenPipeError):
            raise  # Click knows what to do with these; whoever closed the pipe wants to hear nothing
        except (Exception, KeyboardInterrupt) as error:
            return _end(ctx, error)


def _end(ctx: click.Context, error: BaseException) -> None:
    if ctx.params.get("debug") and not isinstance(error, KeyboardInterrupt):
        raise error
    exits.tell(error)
    ctx.exit(exits.code_for(error))


@click.group(cls=Commands, epilog=exits.TABLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agentic", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, envvar="AGENTIC_DEBUG", help="Show the traceback of an error.")
def app(debug: bool) -> None:  # `_end` reads it
    """Tool-calling agents on Llama models, in sessions that survive a crash."""


def _own_stdout() -> None:
    """Leaves stdout to this program: what child processes and C libraries write there goes to stderr instead.

    Otherwise a tool's child would write between two lines of JSON, or into the answer.
    """
    with suppress(OSError):  # one of the two is closed, or no file
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.fileno() == 1:
            own = os.dup(1)
            os.dup2(2, 1)
            sys.stdout = os.fdopen(own, "w", encoding=sys.stdout.encoding, closefd=False)


def main() -> None:
    """The entry point."""
    _own_stdout()
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)  # a terminal may lack the letters that a model writes
    app(prog_name="agentic")
