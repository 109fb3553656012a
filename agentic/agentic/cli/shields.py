"""`agentic shields`: what shields there are, and what each says of a text."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from . import exits
from .session import json_option
from .text import cleaned, one_line

if TYPE_CHECKING:
    from ..protocols import Shield
    from ..types.messages import Message
    from ..types.steps import Verdict

ROLES = ("user", "assistant", "tool", "code")


@click.group("shields")
def command() -> None:
    """Lists and tries shields."""


@command.command("ls")
@json_option
def list_shields(as_json: bool) -> None:
    """Lists the installed shields, where each looks, and what keeps one from being used."""
    from .. import plugins
    from .tables import print_table

    rows = [_row(name) for name in plugins.names("shields")]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    shown = [(row["shield"], ", ".join(row["touchpoints"]), one_line(row["problem"], 100)) for row in rows]
    print_table(("shield", "looks at", ""), shown, empty="No shields are installed.")


@command.command("test", epilog=exits.TABLE)
@click.argument("text")
@click.option("--shield", "-s", "names", multiple=True, help="A shield's id; several times for several. Default: all.")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="user",
    show_default=True,
    help="Who says it; code is what the model wants to run.",
)
@json_option
@click.pass_context
def test_shields(ctx: click.Context, text: str, names: tuple[str, ...], role: str, as_json: bool) -> None:
    """Shows what shields say of a TEXT; the exit code is 1 when one blocks it.

    Without --shield, every installed shield is asked that can be used as it is.
    """
    from ..portal import run_sync

    found = {name: _open(name) for name in names} if names else {name: _usable(name) for name in _installed()}
    verdicts = run_sync(_judged([shield for shield in found.values() if shield is not None], _message(text, role)))
    if as_json:
        click.echo(json.dumps([_written(verdict) for verdict in verdicts], ensure_ascii=False))
    else:
        for verdict in verdicts:
            _print(verdict)
        for name, shield in found.items():
            if shield is None:
                click.secho(f"{name}: cannot be used as it is; see agentic shields ls", dim=True, err=True)
    ctx.exit(exits.FAILED if any(verdict.blocked for verdict in verdicts) else exits.OK)


def _row(name: str) -> dict[str, Any]:
    if name.endswith("*"):
        return {"shield": name, "touchpoints": [], "problem": ""}
    try:
        shield = _open(name)
        where = _touchpoints(shield)
    except Exception as error:  # one broken package hides none of the others
        return {"shield": name, "touchpoints": [], "problem": str(error) or type(error).__name__}
    return {"shield": name, "touchpoints": where, "problem": _problem(shield)}


def _problem(shield: Shield) -> str:
    """What keeps a shield from judging at once, as far as it tells: a model that would have to be fetched first."""
    return str(getattr(shield, "problem", ""))


def _touchpoints(shield: Shield) -> list[str]:
    from ..shield import placed

    return sorted(str(touchpoint) for touchpoint in placed({"shields": [shield]}))


def _installed() -> list[str]:
    from .. import plugins

    return [name for name in plugins.names("shields") if not name.endswith("*")]


def _open(name: str) -> Shield:
    from ..shield import as_shield

    return as_shield(name)


def _usable(name: str) -> Shield | None:
    try:
        shield = _open(name)
    except Exception:  # it wants a model or an extra; `ls` says which
        return None
    return None if _problem(shield) else shield


def _message(text: str, role: str) -> Message:
    from ..types.messages import AssistantMessage, UserMessage
    from ..types.tools import ToolCall, ToolResponse

    match role:
        case "code":
            return AssistantMessage("", (ToolCall("code_interpreter", {"code": text}, "call_1"),))
        case "assistant":
            return AssistantMessage(text)
        case "tool":
            return ToolResponse("", "tool", text)
        case _:
            return UserMessage(text)


async def _judged(shields: list[Shield], message: Message) -> list[Verdict]:
    from ..judging import ask

    try:
        return list(await asyncio.gather(*(ask(shield, (message,)) for shield in shields)))
    finally:
        for shield in shields:
            if (close := getattr(shield, "aclose", None)) is not None:
                await close()


def _written(verdict: Verdict) -> dict[str, Any]:
    from ..types.serialise import to_dict

    return {**to_dict(verdict), "blocked": verdict.blocked}


def _print(verdict: Verdict) -> None:
    from ..types.content import text_of
    from .views import duration

    objection = verdict.violation
    what = "blocks" if verdict.blocked else "warns" if objection else "changes" if verdict.replacement else "passes"
    about = [str(objection.metadata.get(key, "")) for key in ("violation_type", "category")] if objection else []
    after = ", ".join(filter(None, [*about, verdict.model, duration(verdict.latency)]))
    click.secho(f"{verdict.shield_id}: {what}", fg="red" if verdict.blocked else None, nl=False)
    click.echo(cleaned(f"  ({after})"))
    if verdict.error:
        click.echo(cleaned(f"  {one_line(verdict.error, 200)}"))
    if verdict.replacement is not None:
        click.echo(cleaned(f"  {text_of(verdict.replacement)}"))
