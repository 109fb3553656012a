"""The options that `run` and `chat` share, and the agent and session made from them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import click

from ..store.base import check_name
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


_SETUP = (
    click.option("-c", "--config", metavar="FILE", help="A run.yaml; --model then names one of its models."),
    click.option("-m", "--model", metavar="PROVIDER/MODEL", help="For example ollama/llama3.2:3b. [default: embedded]"),
    click.option("--endpoint", metavar="URL", help="The model server's base URL."),
    click.option(
        "-t",
        "--tools",
        multiple=True,
        metavar="TOOL",
        help="module:function, path/to/file.py:function or an id such as builtin::websearch. Repeatable.",
    ),
    click.option("-i", "--instructions", default="", metavar="TEXT", help="The system message."),
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
)
_TALK = (
    click.option("-s", "--session", metavar="NAME", help="The session to continue, or to begin."),
    store_option,
    click.option(
        "--approve",
        type=click.Choice(["ask", "all", "none"]),
        default="ask",
        show_default=True,
        help="What becomes of calls that wait for an approval.",
    ),
)


def setup_options(command: F) -> F:
    """Adds the options that describe an agent."""
    for option in reversed(_SETUP):
        command = option(command)
    return command


def agent_options(command: F) -> F:
    """Adds the shared options to a command; `AgentOptions` takes them all."""
    for option in reversed(_TALK):
        command = option(command)
    return setup_options(command)


class Age(click.ParamType[timedelta]):
    """A length of time, such as `30d`."""

    name = "age"
    _UNITS: ClassVar = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Reads a number and a unit."""
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d{1,5})([smhdw])", str(value).strip().lower(), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is no age; write a number and s, m, h, d or w, such as 30d.", param, ctx)
        return timedelta(**{self._UNITS[found[2]]: int(found[1])})


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


def name_of(options: AgentOptions) -> str:
    """The session's name as it was given, or a new one.

    Raises:
        InvalidInput: It was given, and empty: an unset variable, most likely.
    """
    return new_name() if options.session is None else check_name("session id", options.session)


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
