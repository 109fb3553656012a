"""`agentic run`: one turn."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..portal import run_sync
from ..types.errors import UsageError
from ..types.turns import EndReason, Turn
from . import exits
from .options import AgentOptions, agent_of, agent_options, name_of, store_of

if TYPE_CHECKING:
    from .views import View


@click.command("run", epilog=exits.TABLE)
@click.argument("question", required=False)
@agent_options
@click.option("--image", "images", multiple=True, metavar="FILE|URL", help="An image for the model. Repeatable.")
@click.option("--file", "files", multiple=True, metavar="FILE", help="A file for the tools. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Events, and an error if there is one, as JSON lines on stdout.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    question: str | None,
    images: tuple[str, ...],
    files: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Asks one QUESTION (`-` reads it from stdin) and shows the steps to its answer.

    The answer goes to stdout, the steps go to stderr. With --session and without a question, a turn that was cut off
    or waits for an approval is taken up.
    """
    from .views import JsonLines, Screen

    options = AgentOptions(**given)
    view = JsonLines() if as_json else Screen()
    try:
        turn = _run(view, options, question, {"images": images, "files": files})
    except (Exception, KeyboardInterrupt) as error:
        if not isinstance(view, JsonLines) or isinstance(error, BrokenPipeError | click.ClickException):
            raise
        view.write(json.dumps(exits.as_data(error)))
        ctx.exit(exits.code_for(error))
    ctx.exit(exits.OK if turn.reason is EndReason.END_OF_TURN and turn.text.strip() else exits.FAILED)


def _run(view: View, options: AgentOptions, question: str | None, attached: Mapping[str, Sequence[str]]) -> Turn:
    from .conversation import Conversation
    from .views import Screen, footer

    if question == "-":
        question = sys.stdin.read()
    if question is None and options.session is None:
        raise click.UsageError("Ask a question, or name a --session to take up.")
    if question is None and any(attached.values()):
        raise click.UsageError("An --image or a --file goes with a question.")
    name = name_of(options)
    store = store_of(options)
    turn = None
    with agent_of(options, store) as agent:
        if question is None:
            run_sync(store.get(name))  # a name that does not exist yet is a slip here
        talk = Conversation(agent.session(name), view, options.approve)
        try:
            if options.session and (question is None or talk.session.pending):
                turn = talk.take_up()
            if question is not None:
                turn = talk.ask(question, **attached)
        except KeyboardInterrupt:
            go_on = "" if options.store == "none" else f" To go on: the same command with --session {shlex.quote(name)}"
            raise KeyboardInterrupt(f"Cancelled.{go_on}") from None
    if turn is None:
        raise UsageError(f"Session {name!r} has nothing to take up.", hint="Ask it a question.")
    if isinstance(view, Screen):
        kept = "" if options.store == "none" else f"session {name}"
        view.line("", ", ".join(filter(None, [footer(turn), kept])), "dim")
    return turn
