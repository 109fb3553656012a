"""`agentic keys`: keys of web services, stored for this user."""

from __future__ import annotations

import json
import sys

import click


@click.group("keys")
def command() -> None:
    """Stores, lists and removes keys of web services.

    A key is named like its environment variable, such as TAVILY_API_KEY. The environment wins over a stored key.
    """


@command.command("set")
@click.argument("name")
@click.argument("typed", nargs=-1, metavar="")
def set_key(name: str, typed: tuple[str, ...]) -> None:
    """Stores the key NAME; it is asked for without showing it, or read from stdin."""
    from .. import keys

    if typed:  # other programs and the shell's history see it there
        raise click.UsageError("A key does not belong on the command line: it is asked for, or read from stdin.")
    value = click.prompt(name, hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read(2 * keys.LONGEST)
    keys.store(name, value)
    click.echo(f"Stored {name}.", err=True)


@command.command("ls")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def list_keys(as_json: bool) -> None:
    """Lists the names of the stored keys, never a key."""
    from .. import keys

    names = keys.stored()
    if as_json:
        click.echo(json.dumps(names))
        return
    for name in names:
        click.echo(name)
    if not names:
        click.echo("No keys are stored.", err=True)


@command.command("rm")
@click.argument("name")
def remove_key(name: str) -> None:
    """Removes the stored key NAME."""
    from .. import keys

    keys.remove(name)
    click.echo(f"Removed {name}.", err=True)
