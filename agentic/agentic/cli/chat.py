"""`agentic chat`: turn after turn in one session."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..types.errors import AgenticError, TurnPending
from . import exits
from .options import AgentOptions, agent_of, agent_options, name_of, new_name, store_of

if TYPE_CHECKING:
    from ..agent import Agent

TAIL = 3
"""Turns that are shown again when a session is continued."""

HELP = """\
/tools   the tools that the model may call
/steps   the last turn, step by step
/prompt  the exact prompt that the model was sent last
/resume  take up the last turn, if it was cut off
/reset   begin a new session
/quit    end; so does Ctrl-D
Ctrl-C cancels the answer. A text of several lines can be pasted; Esc Enter begins a new line."""


@click.command("chat", epilog=exits.TABLE)
@agent_options
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Talks with the model, in a session that can be continued with --session."""
    options = AgentOptions(**given)
    store = store_of(options)
    with agent_of(options, store) as agent:
        chat = Chat(agent, options)
        chat.loop(_reader())
        kept = "" if options.store == "none" else f"To continue: --session {shlex.quote(chat.name)}"
    click.echo(kept, err=True)
    ctx.exit(exits.OK)


class Chat:
    """The conversation of `agentic chat`.

    Args:
        agent: Whom one talks with.
        options: The command line.
    """

    def __init__(self, agent: Agent, options: AgentOptions) -> None:
        self._agent = agent
        self._options = options
        self._begin(name_of(options))
        self._commands: dict[str, Callable[[], object]] = {
            "/help": lambda: click.echo(HELP, err=True),
            "/tools": self._tools,
            "/steps": self._steps,
            "/prompt": self._prompt,
            "/resume": self._resume,
            "/reset": lambda: self._begin(new_name()),
        }

    @property
    def name(self) -> str:
        """The session's name."""
        return self._talk.session.session_id

    def loop(self, read: Callable[[], str]) -> None:
        """Reads lines until there are no more; errors are told and the conversation goes on."""
        self._greet()
        while True:
            try:
                line = read().strip()
                if line in ("/quit", "/exit"):
                    return
                self._take(line)
            except EOFError:
                return
            except KeyboardInterrupt as stop:
                click.echo(str(stop) or "Cancelled. Ctrl-D or /quit ends the chat.", err=True)
            except AgenticError as error:
                exits.tell(error)

    def _begin(self, name: str) -> None:
        from .conversation import Conversation
        from .views import Screen

        self._talk = Conversation(self._agent.session(name), Screen(), self._options.approve)

    def _greet(self) -> None:
        from .transcript import Transcript

        turns = self._talk.session.turns if self._options.session else ()
        Transcript(file=sys.stderr).show(turns[-TAIL:], first=max(1, len(turns) - TAIL + 1))
        click.secho(f"{self._agent.model}, session {self.name}. /help lists the commands.", dim=True, err=True)
        if turns and self._talk.session.interrupted:
            click.echo("The last turn was cut off: /resume takes it up; a new question closes it.", err=True)

    def _take(self, line: str) -> None:
        if not line:
            return
        if line.startswith("/") and " " not in line and "\n" not in line:
            self._commands.get(line, lambda: click.echo(f"There is no {line}.\n{HELP}", err=True))()
            return
        if self._talk.session.pending:
            self._talk.take_up()
        self._talk.ask(line)

    def _tools(self) -> None:
        from .text import one_line

        tools = self._agent.describe()["tools"]
        for tool in tools:
            click.echo(one_line(f"{tool['name']}: {tool['description']}", 200), err=True)
        if not tools:
            click.echo("None. --tools module:function offers one.", err=True)

    def _steps(self) -> None:
        from .transcript import Transcript

        turns = self._talk.session.turns
        Transcript(file=sys.stderr).show(turns[-1:], first=len(turns))

    def _prompt(self) -> None:
        from .prompt import print_prompt
        from .stored import last_inference

        session = self._talk.session
        print_prompt(session.prompt(last_inference(session.session_id, session.turns)))

    def _resume(self) -> None:
        if self._talk.take_up() is None:
            raise TurnPending("There is nothing to resume.")


def _reader() -> Callable[[], str]:
    """Reads what the user types, with history and editing; plain lines where stdin is no terminal."""
    if not sys.stdin.isatty():
        return _plain_line
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.output import create_output

    from ..paths import data_dir

    file = data_dir() / "chat_history"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    prompt: PromptSession[str] = PromptSession(history=FileHistory(str(file)), output=create_output(sys.stderr))
    return lambda: prompt.prompt("> ")


def _plain_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
