"""Tools and an agent behind the Model Context Protocol. It brings in the package `mcp`."""

from __future__ import annotations

import base64
import contextlib
import logging
import mimetypes
import socket
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import click
import mcp_types as types
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.stdio import stdio_server
from pydantic import Field

from ..agent import Agent
from ..answers import Deny
from ..execution import execute
from ..protocols import Tool as ToolProtocol
from ..protocols import ToolContext, ToolOutput
from ..tool import Tool
from ..types.content import Content, File, Image, storable
from ..types.errors import ConfigError, ToolError
from ..types.tools import ToolCall, ToolResponse, ToolStatus

HOST = "127.0.0.1"

_NOBODY = "This call wants an approval, and nobody can be asked here. The server was started with --approve none."


def asking(agent: Agent, *, approve: bool) -> Tool:
    """The tool that asks an agent.

    Args:
        agent: The agent.
        approve: Whether its calls that want an approval get one; otherwise they are denied.
    """

    async def ask(
        message: Annotated[str, Field(min_length=1)],
        session: Annotated[str, Field(max_length=100, description="Continues the session of an earlier answer.")] = "",
    ) -> ToolOutput:
        """Asks an agent, which may use tools of its own before it answers."""
        # The prefix keeps clients out of the sessions that the same store holds for others.
        talk = agent.session(f"mcp-{session.removeprefix('mcp-')}" if session else None)
        if not session:
            talk = agent.session(f"mcp-{talk.session_id}")
        turn = await talk.arun(message)
        while turn.pending:
            turn = await talk.aresume({wait.call.call_id: approve or Deny(_NOBODY) for wait in turn.pending})
        if not turn.text:
            raise ToolError(f"The agent gave no answer: the turn ended with {turn.reason or turn.status}.")
        return ToolOutput(turn.text, {"answer": turn.text, "session": talk.session_id})

    return Tool(ask, timeout=None)


def server_of(tools: Sequence[ToolProtocol], *, approve: bool) -> Server[Any]:
    """An MCP server that offers tools.

    Args:
        tools: The tools.
        approve: Whether calls that want an approval run; otherwise they are refused.

    Raises:
        ConfigError: Two tools share a name.
    """
    offered = {tool.definition.name: tool for tool in tools}
    if len(offered) < len(tools):
        raise ConfigError("A tool is called `ask`, like the one that asks the agent.", hint="Give it another name.")

    async def list_tools(_: ServerRequestContext[Any], __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in offered.values()])

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        call = ToolCall(params.name, params.arguments or {}, str(context.request_id))
        tool = offered.get(params.name)
        if tool is not None and not approve and tool.policy.asks(call.arguments):
            return _result(ToolResponse(call.call_id, call.name, _NOBODY, ToolStatus.DENIED))
        # By HTTP several clients talk with this program; where their protocol has sessions, each has its own.
        client = context.request.headers.get("mcp-session-id", "") if context.request is not None else ""
        return _result(await execute(call, offered, ToolContext(session_id=client, call_id=call.call_id)))

    return Server("agentic", version=version("agentic"), on_list_tools=list_tools, on_call_tool=call_tool)


async def run_stdio(server: Server[Any]) -> None:
    """Serves over stdin and stdout until stdin ends."""
    # What tools print would stand between the messages; the transport holds on to the stdout that it found.
    async with stdio_server() as (received, sent):
        with contextlib.redirect_stdout(sys.stderr):
            await server.run(received, sent, server.create_initialization_options())


async def run_http(server: Server[Any], port: int) -> None:
    """Serves by HTTP on 127.0.0.1 until it is interrupted; port 0 takes a free one. The address goes to stderr.

    Raises:
        ConfigError: The port is taken.
    """
    import uvicorn

    logging.getLogger("mcp").setLevel(logging.WARNING)
    try:
        bound = socket.create_server((HOST, port))
    except OSError as error:
        raise ConfigError(f"Port {port} of {HOST} cannot be used: {error.strerror or error}.") from None
    with bound:
        click.echo(f"Serving http://{HOST}:{bound.getsockname()[1]}/mcp", err=True)
        config = uvicorn.Config(server.streamable_http_app(host=HOST), log_level="warning")
        await uvicorn.Server(config).serve(sockets=[bound])


def _described(tool: ToolProtocol) -> types.Tool:
    definition = tool.definition
    schema = {"type": "object", **definition.parameters}
    return types.Tool(name=definition.name, description=definition.description, input_schema=schema)


def _result(response: ToolResponse) -> types.CallToolResult:
    structured = response.metadata.get("structured", response.metadata) or None
    return types.CallToolResult(
        content=_blocks(response.content),
        structured_content=storable(structured) if isinstance(structured, dict) else None,
        is_error=response.status is not ToolStatus.OK,
    )


def _contents(file: File) -> types.BlobResourceContents:
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    data = base64.b64encode(file.data).decode("ascii")
    return types.BlobResourceContents(uri=f"file:///{file.name}", mime_type=media_type, blob=data)


def _blocks(content: Content) -> list[types.ContentBlock]:
    blocks: list[types.ContentBlock] = []
    for part in [content] if isinstance(content, str) else content:
        if isinstance(part, Image):
            if part.data is None:
                blocks.append(types.TextContent(text=f"[an image: {part.url}]"))
            else:
                data = base64.b64encode(part.data).decode("ascii")
                blocks.append(types.ImageContent(data=data, mime_type=part.media_type))
        elif isinstance(part, File):
            blocks.append(types.EmbeddedResource(resource=_contents(part)))
        else:
            blocks.append(types.TextContent(text=part if isinstance(part, str) else part.text))
    return blocks
