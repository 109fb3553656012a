"""`agentic mcp`: the MCP servers that are configured, and this program as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..types.errors import AgenticError, ConfigError
from .session import json_option
from .text import one_line

if TYPE_CHECKING:
    from ..agent import Agent
    from ..config import Config

config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration.  [default: AGENTIC_CONFIG, or run.yaml here]",
)


@click.group("mcp")
def command() -> None:
    """Shows the MCP servers of the configuration, and serves tools to MCP clients."""


@command.command("ls")
@config_option
@json_option
def list_servers(path: Path | None, as_json: bool) -> None:
    """Connects to each MCP server of the configuration and lists its tools, or what is wrong."""
    from ..toolbox import Toolbox
    from .tables import print_table

    rows: list[dict[str, str]] = []
    with _config(path) as config:
        for name in config.mcp:
            try:
                with _opened(Toolbox.of([f"mcp::{name}"])) as toolbox:
                    found = [(tool.definition.name, tool.definition.description) for tool in toolbox.tools.values()]
            except AgenticError as error:
                rows.append({"server": name, "tool": "", "description": "", "problem": str(error)})
            else:
                rows += [{"server": name, "tool": tool, "description": about, "problem": ""} for tool, about in found]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    shown = [(row["server"], row["tool"], one_line(row["problem"] or row["description"], 100)) for row in rows]
    print_table(("server", "tool", ""), shown, empty="No MCP servers are configured.")


@command.command("serve")
@config_option
@click.option("-t", "--tools", multiple=True, metavar="TOOL", help="As in `agentic run`. Repeatable.")
@click.option("--agent", "with_agent", is_flag=True, help="Offer an agent that has these tools, as the tool `ask`.")
@click.option("-m", "--model", metavar="PROVIDER/MODEL", help="The agent's model.  [default: the configuration's]")
@click.option("--endpoint", metavar="URL", help="The model server's base URL.")
@click.option("-i", "--instructions", default="", metavar="TEXT", help="The agent's system message.")
@click.option("--store", metavar="PATH|URL|none", help="Where its sessions are kept.  [default: the configuration's]")
@click.option(
    "--approve",
    type=click.Choice(["all", "none"]),
    default="none",
    show_default=True,
    help="What becomes of calls that want an approval: nobody can be asked here.",
)
@click.option("--http", "port", type=click.IntRange(0, 65535), metavar="PORT", help="Serve HTTP on 127.0.0.1 instead.")
def serve(
    path: Path | None, tools: tuple[str, ...], with_agent: bool, approve: str, port: int | None, **agent: Any
) -> None:
    """Offers tools, and with --agent an agent, to MCP clients: over stdin and stdout, or by HTTP.

    Without --tools, those of the configuration's MCP servers are offered. By HTTP, every program of this machine may
    call them.
    """
    import asyncio
    import importlib.util

    from ..toolbox import Toolbox
    from .loading import load_tools

    if importlib.util.find_spec("mcp") is None:
        raise ConfigError("Serving MCP needs the package mcp.", hint="Run: pip install 'agentic[mcp]'")
    from .mcp_server import asking, run_http, run_stdio, server_of

    with ExitStack() as stack:
        config = stack.enter_context(_config(path))
        names = tools or tuple(f"mcp::{name}" for name in config.mcp)
        if not names and not with_agent:
            raise click.UsageError("There is nothing to offer: name --tools, or say --agent.")
        toolbox = stack.enter_context(_opened(Toolbox.of(load_tools(names))))
        # Nobody is there to run the tools that run on the caller's side.
        offered = [tool for tool in toolbox.tools.values() if not tool.policy.client]
        if with_agent:
            served = stack.enter_context(_agent(config, tools=offered, **agent))
            offered.append(asking(served, approve=approve == "all"))
        server = server_of(offered, approve=approve == "all")
        asyncio.run(run_stdio(server) if port is None else run_http(server, port))


@contextmanager
def _config(path: Path | None) -> Iterator[Config]:
    from ..config import current_config, read_config, using

    config = read_config(path) if path else current_config()
    with using(config):
        yield config


@contextmanager
def _opened(toolbox: Any) -> Iterator[Any]:
    from ..portal import run_sync

    try:
        yield toolbox
    finally:
        run_sync(toolbox.aclose())


def _agent(config: Config, *, model: str | None, endpoint: str | None, store: str | None, **options: Any) -> Agent:
    from ..agent import Agent
    from ..stack import Stack

    where = config.store if store is None else None if store == "none" else store
    if model or endpoint or "default" not in config.models:
        return Agent(model, endpoint=endpoint, store=where, **options)
    return Stack(config).agent(store=where, **options)
