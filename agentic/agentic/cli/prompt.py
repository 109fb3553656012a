"""`agentic prompt`: what a model was really sent."""

from __future__ import annotations

import re
import sys

import click

from ..types.messages import AssistantMessage
from ..types.steps import InferenceStep
from .options import store_option
from .stored import full_id, history_of, last_inference, store_at
from .text import cleaned, one_line
from .views import WIDE, label

_SPECIAL = re.compile(r"<\|[A-Za-z0-9_]{1,64}\|>")


@click.group("prompt")
def command() -> None:
    """Shows the exact prompts of stored sessions."""


@command.command("show")
@click.argument("session")
@click.argument("step", required=False)
@store_option
def show_prompt(session: str, step: str | None, store: str) -> None:
    """Shows the exact prompt of a STEP of a SESSION, by default its last one, and what the model's reply was read as.

    The first letters of the step's id will do; `agentic session show` prints them. The reply goes to stderr: stdout
    is exactly what was sent.
    """
    with store_at(store) as opened:
        history = history_of(opened, session)
    step_id = full_id(history, step, "inference step") if step is not None else last_inference(session, history.turns)
    print_prompt(history.prompt(step_id))
    for asked in (each for turn in history.turns for each in turn.steps if each.step_id == step_id):
        if isinstance(asked, InferenceStep) and asked.message:
            _print_reply(asked.message)


def _print_reply(message: AssistantMessage) -> None:
    click.echo(f"\n--- the model wrote ({message.stop_reason}):", err=True)
    if message.content:
        click.echo(cleaned(message.content), err=True)
    for call in message.tool_calls:
        click.echo(f"calls {label(call, WIDE)}", err=True)
    for note in message.notes:
        click.echo(f"note: {one_line(note, WIDE)}", err=True)


def print_prompt(prompt: str) -> None:
    """Prints a prompt; on a terminal special tokens stand out and control characters are left out."""
    if not sys.stdout.isatty():
        sys.stdout.write(prompt)
        sys.stdout.flush()
        return
    from rich.console import Console
    from rich.text import Text

    text = Text(cleaned(prompt))
    text.highlight_regex(_SPECIAL, "bold magenta")
    Console(highlight=False, soft_wrap=True).print(text)
