"""`agentic session`: stored sessions."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ..portal import run_sync
from . import exits
from .options import Age, AgentOptions, agent_of, new_name, setup_options, store_option
from .stored import full_id, history_of, prompts_of, store_at
from .text import cleaned

if TYPE_CHECKING:
    from ..history import History
    from ..types.errors import StoreCorrupt

json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


@click.group("session")
def command() -> None:
    """Lists, shows, forks, replays, verifies, moves and removes stored sessions."""


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
@click.argument("new", required=False)
@click.option("--at", metavar="ID", help="The step or turn with which the shared history ends; its first letters do.")
@store_option
def fork_session(name: str, new: str | None, at: str | None, store: str) -> None:
    """Makes session NEW with the history of session NAME; without NEW, the new name is printed."""
    made = new or new_name()
    with store_at(store) as opened:
        where = full_id(history_of(opened, name), at) if at is not None else None
        run_sync(opened.fork(name, made, at=where))
    if new is None:
        click.echo(made)
    click.echo(f"{made} continues {name}.", err=True)


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
    """Recomputes the hashes of the logs, all of them unless NAMES are given; the damaged ones are told at the end."""
    from ..types.errors import StoreCorrupt

    checked: dict[str, int | None] = {}
    damaged: list[StoreCorrupt] = []
    with store_at(store) as opened:
        for name in names or [session.session_id for session in run_sync(opened.sessions())]:
            try:
                checked[name] = run_sync(opened.verify(name))
            except StoreCorrupt as error:
                checked[name] = None
                damaged.append(error)
                continue
            if not as_json:
                click.echo(f"{name}: {checked[name]} records, all intact")
    if as_json:
        click.echo(json.dumps(checked, ensure_ascii=False))
    _tell(damaged)


@command.command("replay", epilog=exits.TABLE)
@click.argument("name")
@click.option("--turn", metavar="ID", help="Only this turn; its first letters do.")
@click.option("--agent", "as_agent", is_flag=True, help="Compare with the agent that the options below describe.")
@setup_options
@store_option
@json_option
@click.pass_context
def replay_session(
    ctx: click.Context, /, name: str, *, turn: str | None, as_agent: bool, store: str, as_json: bool, **given: Any
) -> None:
    """Runs the turns of session NAME again, on the recorded answers of models and tools, and compares every step.

    Nothing is asked, run or written. Without --agent, the agent is what the log tells of it; with --agent, prompts are
    made anew and compared as well. Exit code 1: something differs.
    """
    from ..replay import replay
    from ..types.serialise import to_dict

    with store_at(store) as opened:
        history = history_of(opened, name)
        turn_id = full_id(history, turn, "turn") if turn is not None else None
        if as_agent:
            options = AgentOptions(session=name, store=store, approve="none", **given)
            with agent_of(options, opened) as agent:
                done = agent.session(name).replay(turn_id)
        else:
            done = run_sync(replay(name, run_sync(opened.read(name)), turn_id=turn_id))
    if as_json:
        click.echo(json.dumps({"same": done.same, **to_dict(done)}, ensure_ascii=False))
    else:
        for difference in done.differences:
            click.echo(cleaned(str(difference)))
        verdict = "the same steps" if done.same else f"{len(done.differences)} differences"
        click.echo(f"{name}: {done.turns} turns, {verdict}", err=not done.same)
    ctx.exit(exits.OK if done.same else exits.FAILED)


@command.command("prune")
@click.option("--older-than", "age", required=True, type=Age(), metavar="AGE", help="For example 30d, 12h or 2w.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@store_option
def prune_sessions(age: timedelta, dry_run: bool, yes: bool, store: str) -> None:
    """Removes the sessions that have not grown for longer than AGE. At a terminal it asks first.

    What was forked from stays as long as one of its forks does.
    """
    from ..retention import prune

    before = datetime.now(UTC) - age
    with store_at(store) as opened:
        found = run_sync(prune(opened, before, dry_run=True))
        if found.removed and not (dry_run or yes) and sys.stdin.isatty():
            click.confirm(f"Remove {len(found.removed)} sessions for good?", abort=True, err=True)
        if not dry_run:
            found = run_sync(prune(opened, before))
    for name in found.removed:
        click.echo(name)
    for name, why in found.kept.items():
        click.echo(f"{name} stays: {why}.", err=True)
    click.echo(f"{len(found.removed)} {'would be removed' if dry_run else 'removed'}.", err=True)


@command.command("export")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All sessions.")
@store_option
def export_sessions(names: tuple[str, ...], everything: bool, store: str) -> None:
    """Writes sessions to stdout as JSON lines, with the hash of every record.

    What is damaged is left out and told at the end.
    """
    from ..transfer import export_session
    from ..types.errors import StoreCorrupt

    damaged: list[StoreCorrupt] = []
    if bool(names) == everything:
        raise click.UsageError("Name the sessions, or say --all.")
    with store_at(store) as opened:
        if everything:
            listed = run_sync(opened.sessions())
            names = tuple(session.session_id for session in reversed(listed))
        for name in names:
            try:
                lines = run_sync(export_session(opened, name))
            except StoreCorrupt as error:
                damaged.append(error)
                continue
            for line in lines:
                click.echo(line, nl=False)
    click.echo(f"Exported {len(names) - len(damaged)} sessions.", err=True)
    _tell(damaged)


@command.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--as", "new", metavar="NAME", help="Another name for it, if the file holds one session.")
@store_option
def import_file(file: BinaryIO, new: str | None, store: str) -> None:
    """Adds the sessions of an exported FILE (`-` is stdin), after checking every hash."""
    from ..transfer import import_sessions

    with store_at(store) as opened:
        for name in run_sync(import_sessions(opened, file, name=new)):
            click.echo(f"Imported {name}.", err=True)


def _tell(damaged: Sequence[StoreCorrupt]) -> None:
    """Ends the command with the last of these errors, if there is one, after the others."""
    for error in damaged[:-1]:
        exits.tell(error)
    if damaged:
        raise damaged[-1]


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
