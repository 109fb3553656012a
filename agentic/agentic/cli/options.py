"""The options that `run` and `chat` share, and the agent and session made from them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from ..types.tools import ToolStrategy

if TYPE_CHECKING:
    from ..agent import Agent
    from ..store import Store

F = TypeVar("F", bound=Callable[..., Any])
Approve = Literal["ask", "all", "none"]

store_option = click.option(
    "--store", default="default", metavar="PATH|URL|none", help="Where sessions are kept; none: in memory only."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What the command line says of the agent."""

    config: str | None
    model: str | None
    endpoint: str | None
    session: str | None
    tools: tuple[str, ...]
    instructions: str
    store: str
    max_iters: int
    tool_strategy: ToolStrategy | None
    approve: Approve


def agent_options(command: F) -> F:
    """Adds the shared options to a command; `AgentOptions` takes them all."""
    for option in reversed(
        (
            click.option("-c", "--config", metavar="FILE", help="A run.yaml; --model then names one of its models."),
            click.option(
                "-m", "--model", metavar="PROVIDER/MODEL", help="For example ollama/llama3.2:3b. [default: embedded]"
            ),
            click.option("--endpoint", metavar="URL", help="The model server's base URL."),
            click.option("-s", "--session", metavar="NAME", help="The session to continue, or to begin."),
            click.option(
                "-t",
                "--tools",
                multiple=True,
                metavar="TOOL",
                help="module:function, path/to/file.py:function or an id such as builtin::websearch. Repeatable.",
            ),
            click.option("-i", "--instructions", default="", metavar="TEXT", help="The system message."),
            store_option,
            click.option(
                "--max-iters",
                type=click.IntRange(1),
                default=10,
                show_default=True,
                help="How often the model may be asked in one turn.",
            ),
            click.option(
                "--tool-strategy",
                type=click.Choice(["native", "constrained", "routed"]),
                help="How the model is led to call tools.  [default: what suits it]",
            ),
            click.option(
                "--approve",
                type=click.Choice(["ask", "all", "none"]),
                default="ask",
                show_default=True,
                help="What becomes of calls that wait for an approval.",
            ),
        )
    ):
        command = option(command)
    return command


def opened_store(where: str) -> Store:
    """The store that `--store` names."""
    from ..store import open_store

    return open_store(None if where == "none" else where)


def store_of(options: AgentOptions) -> Store:
    """The store that the options name: `--store`, else the configuration's, else the user's."""
    if options.config and options.store == "default":
        from ..config import read_config
        from ..store import open_store

        return open_store(read_config(options.config).store)
    return opened_store(options.store)


def new_name() -> str:
    """A session's name when none is given: when it began, and enough chance to be the only one."""
    return f"{datetime.now():%y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@contextmanager
def agent_of(options: AgentOptions, store: Store) -> Iterator[Agent]:
    """The agent that the options describe, on a store; both are closed at the end."""
    from ..agent import Agent
    from ..stack import Stack
    from ..types.errors import ConfigError
    from ..types.turns import Limits
    from .loading import load_tools

    shared: dict[str, Any] = {
        "instructions": options.instructions,
        "tools": load_tools(options.tools),
        "tool_strategy": options.tool_strategy,
        "limits": Limits(max_infer_iters=options.max_iters),
        "store": store,
    }
    if options.config:
        if options.endpoint:
            raise ConfigError("With --config, a model's endpoint stands in the file.", hint="Leave --endpoint out.")
        agent = Stack.from_config(options.config).agent(model=options.model or "default", **shared)
    else:
        agent = Agent(options.model, endpoint=options.endpoint, **shared)
    with agent:
        yield agent
