"""`agentic demo`: the main job, on the embedded model."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import click

from ..types.turns import EndReason
from . import exits
from .options import new_name, opened_store, store_option

MODEL = "local/default"

QUESTIONS = (
    "How many kilometers are 26.2 miles?",
    "How many days are there from 2024-02-10 to 2024-12-25?",
    "How long is a year on Mars?",
    "Convert 180 pounds to kilograms.",
    "How big is Jupiter?",
)

ABOUT = """\
{model} has 135 million parameters and runs in this process, offline.
It is there to work everywhere, not to impress: a router picks the tool, and the model fills in its arguments."""

NEXT = """
Look at what happened, down to the exact prompts:
  {agentic} session show {name} --prompt

Ask something yourself, with a tool of your own:
  {agentic} run --tools path/to/file.py:function "…"

A better model that still runs here, 1.1 GB:
  {agentic} models pull qwen2.5-coder-1.5b-instruct
  {agentic} chat --model local/qwen2.5-coder-1.5b-instruct

Or any server that speaks OpenAI's chat API, Ollama or Llama Stack:
  {agentic} chat --model ollama/llama3.2:3b
  {agentic} chat --model openai/NAME --endpoint http://127.0.0.1:8000/v1"""


@click.command("demo", epilog=exits.TABLE)
@store_option
@click.pass_context
def command(ctx: click.Context, store: str) -> None:
    """Asks the embedded model a few questions that it answers with three tools."""
    from ..agent import Agent
    from ..models import EMBEDDING_MODEL, find, pull
    from .conversation import Conversation
    from .demo_tools import TOOLS
    from .views import Screen

    model = find(MODEL.removeprefix("local/"))
    for needed in (model, find(EMBEDDING_MODEL)):
        pull(needed)
    click.secho(ABOUT.format(model=model.name), dim=True, err=True)
    name = f"demo-{new_name()}"
    with Agent(MODEL, tools=TOOLS, store=opened_store(store), name="demo") as agent:
        talk = Conversation(agent.session(name), Screen(), "none")
        ended = []
        for question in QUESTIONS:
            click.secho(f"\n> {question}", bold=True, err=True)
            ended.append(talk.ask(question))
    click.echo(NEXT.format(name=name, agentic=program()), err=True)
    well = all(turn.reason is EndReason.END_OF_TURN and turn.text.strip() for turn in ended)
    ctx.exit(exits.OK if well else exits.FAILED)


def program() -> str:
    """How a shell calls this program: by its name, or where that is not on the path, by its place."""
    if shutil.which("agentic"):
        return "agentic"
    place = Path(sys.executable).with_name("agentic")
    with suppress(ValueError):
        place = place.relative_to(Path.cwd())
    return str(place)
