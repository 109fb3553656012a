"""The root of the command tree, and what becomes of errors."""

from __future__ import annotations

import io
import sys
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
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
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


def main() -> None:
    """The entry point."""
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)  # a terminal may lack the letters that a model writes
    app(prog_name="agentic")
