"""A real MCP server for tests, by stdio: good tools and bad ones. Its arguments are files that it leaves traces in."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, ImageContent, TextContent
from pydantic import BaseModel

GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"

server = MCPServer("tools", log_level="ERROR")
starts = Path(os.environ["STARTS"]) if "STARTS" in os.environ else None
if starts:
    with starts.open("a", encoding="utf-8") as opened:
        opened.write(f"{os.getpid()}\n")


class Place(BaseModel):
    """Where something is."""

    city: str
    points: list[tuple[float, float]] = []


class Weather(BaseModel):
    degrees: float
    sky: Literal["clear", "grey"]


@server.tool()
def weather(place: Place, unit: Literal["c", "f"] = "c") -> Weather:
    """The weather somewhere."""
    return Weather(degrees=21.5, sky="clear")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise RuntimeError(why)


@server.tool()
def draw() -> CallToolResult:
    """Draws."""
    picture = base64.b64encode(GIF).decode()
    return CallToolResult(
        content=[
            TextContent(text="here:"),
            ImageContent(data=picture, mime_type="image/gif"),
            ImageContent(data="no base64", mime_type="image/png"),
        ],
        structured_content={"width": 1},
    )


@server.tool()
async def slow(ctx: Context) -> str:
    """Says how far it is, then waits for ever."""
    import anyio

    await ctx.report_progress(1, 3, "begun")
    await anyio.sleep_forever()
    return ""


@server.tool()
async def steps(ctx: Context) -> str:
    """Reports its progress."""
    await ctx.report_progress(1, 2, "half")
    await ctx.report_progress(2, 2)
    return "all"


@server.tool()
def die() -> str:
    """Ends the server."""
    os._exit(3)


@server.tool()
def environment() -> list[str]:
    """The names of its variables."""
    return sorted(os.environ)


@server.tool(name="odd name/1")
def odd() -> str:
    """Has a name that no model may use."""
    return "odd"


@server.tool()
def brave_search(query: str) -> str:
    """Has the name of a built-in tool."""
    return query


@server.resource("notes://today", description="What is to be done", mime_type="text/plain")
def notes() -> str:
    return "Feed the cat."


@server.resource("notes://{day}/picture", mime_type="image/gif")
def picture(day: str) -> bytes:
    return GIF


@server.prompt(description="Asks for a poem")
def poem(about: str) -> str:
    return f"Write a poem about {about}."


if __name__ == "__main__":
    print("starting", file=sys.stderr)
    if "http" in sys.argv:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")
