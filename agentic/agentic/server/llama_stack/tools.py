"""Tools: `/v1/toolgroups`, `/v1/tools` and `/v1/tool-runtime`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from ...execution import execute
from ...protocols import Tool, ToolContext
from ...types.content import storable
from ...types.errors import InvalidInput, ToolUnauthorized
from ...types.tools import ToolCall, ToolStatus
from ..provider_data import provided
from ..services import Services, Use
from ..toolgroups import ALIASES, Entry
from . import wire
from .answers import Invocation, ToolDefList, ToolgroupInfo, ToolgroupList, ToolInfo, ToolList
from .schemas import Invoke, ToolgroupCreate

log = logging.getLogger("agentic.server")
router = APIRouter(tags=["tools"])

_LISTED = {called: listed for listed, called in ALIASES.items()}


@router.get("/v1/toolgroups", response_model=ToolgroupList)
async def list_toolgroups(services: Use) -> Any:
    """All toolgroups."""
    return {"data": [_group(entry) for entry in await services.toolgroups.list()]}


@router.post("/v1/toolgroups")
async def register_toolgroup(body: ToolgroupCreate, services: Use) -> None:
    """Adds the tools of an MCP server as a toolgroup."""
    url = body.mcp_endpoint.uri if body.mcp_endpoint else None
    await services.toolgroups.register(
        Entry(body.toolgroup_id, body.provider_id or "mcp", url, storable(body.args or {}))
    )
    services.agents.forget()


@router.get("/v1/toolgroups/{toolgroup_id:path}", response_model=ToolgroupInfo)
async def get_toolgroup(toolgroup_id: str, services: Use) -> Any:
    """One toolgroup."""
    return _group(await services.toolgroups.get(toolgroup_id))


@router.delete("/v1/toolgroups/{toolgroup_id:path}")
async def unregister_toolgroup(toolgroup_id: str, services: Use) -> None:
    """Removes a toolgroup that was added."""
    await services.toolgroups.unregister(toolgroup_id)
    services.agents.forget()


@router.get("/v1/tools", response_model=ToolList)
async def list_tools(services: Use, request: Request, toolgroup_id: str | None = None) -> Any:
    """The tools of a toolgroup, or of all that can be opened; `group/tool` stands for its group."""
    # The client's AsyncAgent sends a toolgroup with its arguments where an id is asked for.
    toolgroup_id = toolgroup_id or request.query_params.get("toolgroup_id[name]")
    with provided(request):
        found = await _tools(services, toolgroup_id)
    return JSONResponse({"data": [_tool(entry, tool) for entry, tool in found]})


@router.get("/v1/tools/{tool_name:path}", response_model=ToolInfo)
async def get_tool(tool_name: str, services: Use, request: Request) -> Any:
    """One tool."""
    with provided(request):
        found = await services.toolgroups.tool(tool_name)
    return JSONResponse(_tool(*found))


@router.get("/v1/tool-runtime/list-tools", response_model=ToolDefList)
async def runtime_tools(
    services: Use,
    request: Request,
    tool_group_id: str | None = None,
    mcp_endpoint: Annotated[str | None, Query()] = None,
) -> Any:
    """The tools of a toolgroup as agents see them."""
    if mcp_endpoint is not None or "mcp_endpoint[uri]" in request.query_params:  # as the client writes an object
        raise InvalidInput("Register the MCP server as a toolgroup first: POST /v1/toolgroups.")
    with provided(request):
        found = [_tool(entry, tool) for entry, tool in await _tools(services, tool_group_id)]
    shown = [
        {
            "name": tool["identifier"],
            "description": tool["description"],
            "parameters": tool["parameters"],
            "metadata": tool["metadata"],
        }
        for tool in found
    ]
    return JSONResponse({"data": shown})


@router.post("/v1/tool-runtime/invoke", response_model=Invocation)
async def invoke_tool(body: Invoke, request: Request, services: Use) -> Any:
    """Runs one tool. What it fails with is part of the answer."""
    with provided(request):
        return JSONResponse(await _invoked(body, services))


async def _invoked(body: Invoke, services: Services) -> dict[str, Any]:
    _, tool = await services.toolgroups.tool(body.tool_name)
    arguments = {name: value for name, value in body.kwargs.items() if name != "session_id"}
    if tool.policy.client:
        raise InvalidInput(f"{body.tool_name} is not run by the server.")
    if tool.policy.asks(arguments):
        raise InvalidInput(f"{body.tool_name} needs an approval, which is given to a turn's call only.")
    call = ToolCall(tool.definition.name, arguments, "invoked")
    context = ToolContext(session_id=str(body.kwargs.get("session_id") or ""), call_id=call.call_id)
    response = await execute(call, {call.name: tool}, context)
    failed = response.status is not ToolStatus.OK
    return {
        "content": wire.content_out(response.content),
        "error_message": response.text if failed else None,
        "error_code": 1 if failed else None,
        "metadata": dict(response.metadata) or None,
    }


async def _tools(services: Services, toolgroup_id: str | None) -> list[tuple[Entry, Tool]]:
    if toolgroup_id is not None:
        entry, _ = await services.toolgroups.named(toolgroup_id)
        return [(entry, tool) for tool in await services.toolgroups.tools(toolgroup_id)]
    found: list[tuple[Entry, Tool]] = []
    for entry in await services.toolgroups.list():
        try:
            found += [(entry, tool) for tool in await services.toolgroups.tools(entry.toolgroup_id)]
        except ToolUnauthorized:
            if entry.url is not None:  # the client can do something about it: send `mcp_headers`
                raise
        except Exception as error:  # asked for by itself, it says what is wrong
            log.info("%s cannot be opened: %s", entry.toolgroup_id, error)
    return found


def _group(entry: Entry) -> dict[str, Any]:
    return {
        "identifier": entry.toolgroup_id,
        "provider_resource_id": entry.toolgroup_id,
        "provider_id": entry.provider_id,
        "type": "tool_group",
        "mcp_endpoint": {"uri": entry.url} if entry.url else None,
        "args": entry.args or None,
    }


def _tool(entry: Entry, tool: Tool) -> dict[str, Any]:
    definition = tool.definition
    return {
        "identifier": _LISTED.get(definition.name, definition.name),
        "provider_resource_id": None,
        "provider_id": entry.provider_id,
        "type": "tool",
        "toolgroup_id": entry.toolgroup_id,
        "description": definition.description,
        "parameters": _parameters(definition.parameters),
        "metadata": None,
    }


def _parameters(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required") or ()
    return [
        {
            "name": name,
            "parameter_type": _type(parameter),
            "description": parameter.get("description") or "",
            "required": name in required,
            "default": parameter.get("default"),
        }
        for name, parameter in (schema.get("properties") or {}).items()
    ]


def _type(parameter: Mapping[str, Any]) -> str:
    """The JSON type of a parameter; an optional one's is that of its value."""
    if isinstance(kind := parameter.get("type"), str):
        return kind
    choices = [one.get("type") for one in parameter.get("anyOf") or () if isinstance(one, Mapping)]
    return next((kind for kind in choices if isinstance(kind, str) and kind != "null"), "object")
