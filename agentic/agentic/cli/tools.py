"""`agentic tools`: what tools there are, and a try at each."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from ..types.errors import AgenticError, NotFound
from . import exits
from .session import json_option
from .text import cleaned, one_line

if TYPE_CHECKING:
    from ..protocols import Tool


@click.group("tools")
def command() -> None:
    """Lists, shows and calls tools."""


@command.command("ls")
@json_option
def list_tools(as_json: bool) -> None:
    """Lists the installed and the configured toolgroups with their tools, and what keeps one from being used."""
    from .tables import print_table

    rows: list[dict[str, str]] = []
    for group in _groups():
        try:
            for tool in [] if group.endswith("*") else _tools_of(group):
                definition = tool.definition
                rows.append(_row(group, definition.name, definition.description))
        except Exception as error:  # one broken package hides none of the others
            rows.append(_row(group, problem=str(error) or type(error).__name__))
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    shown = [(row["toolgroup"], row["tool"], one_line(row["problem"] or row["description"], 100)) for row in rows]
    print_table(("toolgroup", "tool", ""), shown, empty="No toolgroups are installed.")


@command.command("show")
@click.argument("name")
@json_option
def show_tool(name: str, as_json: bool) -> None:
    """Shows a tool as a model sees it, and how it is run.

    NAME is a tool's name, the id of a toolgroup, one of its tools (mcp::notes::count), module:function or
    path/to/file.py:function.
    """
    found = [_described(tool) for tool in _named(name)]
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for tool in found:
        click.secho(cleaned(tool["name"]), bold=True)
        click.echo(cleaned(tool["description"]))
        click.echo(cleaned(json.dumps(tool["parameters"], ensure_ascii=False, indent=2)))
        policy = ", ".join(f"{key}: {json.dumps(value)}" for key, value in tool["policy"].items())
        click.echo(policy)


@command.command("call", epilog=exits.TABLE)
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@json_option
@click.pass_context
def call_tool(ctx: click.Context, name: str, arguments: tuple[str, ...], as_json: bool) -> None:
    """Calls a tool and shows its result, images as a line each.

    NAME is a tool's name, the id of a toolgroup, one of its tools (mcp::notes::count), module:function or
    path/to/file.py:function. A VALUE is taken as text where the tool's schema says text, elsewhere as JSON. Approval
    is not asked for: who types the call has approved.
    """
    from ..execution import execute
    from ..portal import run_sync
    from ..protocols import ToolContext
    from ..types.serialise import to_json
    from ..types.tools import ToolCall, ToolStatus

    tools = _named(name)
    if len(tools) != 1:
        prefix = f"{name}::" if "::" in name else ""
        listed = ", ".join(f"{prefix}{tool.definition.name}" for tool in tools)
        raise click.UsageError(f"{name} holds several tools: {listed}.")
    tool = tools[0]
    called = tool.definition.name
    call = ToolCall(called, _arguments(arguments, tool), "call_1")
    with contextlib.redirect_stdout(sys.stderr):  # what a tool prints is not its result
        response = run_sync(execute(call, {called: tool}, ToolContext(call_id=call.call_id)))
    if as_json:
        click.echo(to_json(response).decode())
    else:
        _print(response.content, failed=response.status is not ToolStatus.OK)
    ctx.exit(exits.OK if response.status is ToolStatus.OK else exits.FAILED)


def _row(group: str, tool: str = "", description: str = "", problem: str = "") -> dict[str, str]:
    return {"toolgroup": group, "tool": tool, "description": description, "problem": problem}


def _groups() -> list[str]:
    """The ids of what is installed; in the place of `mcp::*` and `rag::*`, what the configuration has of them."""
    from .. import plugins
    from ..config import current_config

    config = current_config()
    configured = {"mcp::*": [*config.mcp], "rag::*": [*config.banks]}
    return [
        group
        for known in plugins.names("tools")
        for group in [known.replace("*", name) for name in configured.get(known, ())] or [known]
    ]


def _tools_of(group: str) -> list[Tool]:
    from .. import plugins
    from ..portal import run_sync

    made = plugins.load("tools", group)(group)
    if (close := getattr(made, "aclose", None)) is not None:  # its processes end with the command
        click.get_current_context().call_on_close(lambda: run_sync(close()))
    return list(made)


def _named(name: str) -> list[Tool]:
    """The tools that a name on the command line means."""
    from ..protocols import Tool
    from ..tool import Tool as FunctionTool
    from .loading import load_tools

    if ":" not in name:
        return [_by_name(name)]
    if name.count("::") == 2:
        group, _, called = name.rpartition("::")
        tools = [tool for tool in _tools_of(group) if tool.definition.name == called]
        if not tools:
            raise NotFound(f"{group} has no tool called {called!r}.", hint=f"agentic tools show {group} lists them.")
        return tools
    tools = []
    for found in load_tools([name]):
        if isinstance(found, str):
            tools += _tools_of(found)
        else:
            tools.append(found if isinstance(found, Tool) else FunctionTool(found))
    return tools


def _by_name(name: str) -> Tool:
    problems = []
    for group in _groups():
        try:
            for tool in [] if group.endswith("*") else _tools_of(group):
                if tool.definition.name == name:
                    return tool
        except AgenticError as error:
            problems.append(f"{group}: {error}")
    raise NotFound(f"No installed toolgroup has a tool called {name!r}.", hint="\n".join(problems))


def _described(tool: Tool) -> dict[str, Any]:
    definition, policy = tool.definition, tool.policy
    return {
        "name": definition.name,
        "description": definition.description,
        "parameters": dict(definition.parameters),
        "policy": {
            "timeout": policy.timeout,
            "idempotent": policy.idempotent,
            "parallel": policy.parallel,
            "approval": bool(policy.approve),
        },
    }


def _arguments(given: tuple[str, ...], tool: Tool) -> dict[str, Any]:
    properties = tool.definition.parameters.get("properties", {})
    arguments: dict[str, Any] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise click.UsageError(f"Arguments are given as KEY=VALUE, not {item!r}.")
        if key in arguments:
            raise click.UsageError(f"The argument {key} is given twice.")
        arguments[key] = _value(value, properties.get(key, {}))
    return arguments


def _value(text: str, schema: Any) -> Any:
    if isinstance(schema, dict) and schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _print(content: Any, *, failed: bool) -> None:
    parts = [content] if isinstance(content, str) else content
    for part in parts:
        text = part if isinstance(part, str) else getattr(part, "text", None)
        click.echo(cleaned(text) if isinstance(text, str) else f"[{part!r}]", err=failed)
