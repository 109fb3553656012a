"""`agentic session`: stored sessions."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from ..portal import run_sync
from .options import store_option
from .stored import full_id, history_of, prompts_of, store_at

if TYPE_CHECKING:
    from ..history import History

json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


@click.group("session")
def command() -> None:
    """Lists, shows, forks, verifies and removes stored sessions."""


@command.command("ls")
@store_option
@json_option
def list_sessions(store: str, as_json: bool) -> None:
    """Lists all sessions, the one that changed last first."""
    from ..types.serialise import to_dict

    with store_at(store) as opened:
        sessions = run_sync(opened.sessions())
    if as_json:
        click.echo(json.dumps([to_dict(session) for session in sessions], ensure_ascii=False))
        return
    from .tables import print_table

    rows = [
        (one.session_id, f"{one.updated_at.astimezone():%Y-%m-%d %H:%M}", one.model, one.parent or "")
        for one in sessions
    ]
    print_table(("session", "changed", "model", "forked from"), rows, empty="No sessions yet.")


@command.command("show")
@click.argument("name")
@store_option
@json_option
@click.option("--prompt", "prompts", is_flag=True, help="The exact prompt of every inference as well.")
def show_session(name: str, store: str, as_json: bool, prompts: bool) -> None:
    """Shows the turns of session NAME with their steps."""
    with store_at(store) as opened:
        history = history_of(opened, name)
    if as_json:
        click.echo(json.dumps(_as_data(history, prompts=prompts), ensure_ascii=False))
    else:
        from .transcript import Transcript

        Transcript(prompts_of(history) if prompts else {}).show(history.turns)


@command.command("fork")
@click.argument("name")
@click.argument("new")
@click.option("--at", metavar="ID", help="The step or turn with which the shared history ends; its first letters do.")
@store_option
def fork_session(name: str, new: str, at: str | None, store: str) -> None:
    """Makes session NEW with the history of session NAME."""
    with store_at(store) as opened:
        where = full_id(history_of(opened, name), at) if at is not None else None
        run_sync(opened.fork(name, new, at=where))
    click.echo(f"{new} continues {name}.", err=True)


@command.command("rm")
@click.argument("names", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@store_option
def remove_sessions(names: tuple[str, ...], yes: bool, store: str) -> None:
    """Removes sessions and their logs. At a terminal it asks first."""
    if not yes and sys.stdin.isatty():
        click.confirm(f"Remove {', '.join(names)} for good?", abort=True, err=True)
    with store_at(store) as opened:
        for name in names:
            run_sync(opened.delete(name))
            click.echo(f"Removed {name}.", err=True)


@command.command("verify")
@click.argument("names", nargs=-1)
@store_option
@json_option
def verify_sessions(names: tuple[str, ...], store: str, as_json: bool) -> None:
    """Recomputes the hashes of the logs, all of them unless NAMES are given."""
    with store_at(store) as opened:
        checked = {}
        for name in names or [session.session_id for session in run_sync(opened.sessions())]:
            checked[name] = run_sync(opened.verify(name))
            if not as_json:
                click.echo(f"{name}: {checked[name]} records, all intact")
    if as_json:
        click.echo(json.dumps(checked, ensure_ascii=False))


def _as_data(history: History, *, prompts: bool) -> dict[str, object]:
    from ..types.serialise import to_dict

    data: dict[str, object] = {
        "session_id": history.session_id,
        "turns": [to_dict(turn) for turn in history.turns],
        "messages": [to_dict(message) for message in history.messages],
    }
    if prompts:
        data["prompts"] = prompts_of(history)
    return data
