"""A real MCP server of the older form of HTTP, a stream of events and posts beside it; it asks for a key."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from mcp.server import MCPServer
from mcp.server.sse import SseServerTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

WAIT = 10.0


@contextmanager
def greeting(key: str) -> Iterator[str]:
    """Serves the tool `greet` to whoever sends `Authorization: Bearer KEY`; yields the address."""
    server = MCPServer("greeting", log_level="ERROR")
    server.tool(name="greet")(_greet)
    events = SseServerTransport("/messages/")

    async def connect(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {key}":
            return Response("Unauthorized", 401)
        async with events.connect_sse(request.scope, request.receive, request._send) as (read, write):
            lowlevel = server._lowlevel_server
            await lowlevel.run(read, write, lowlevel.create_initialization_options())
        return Response()

    routes = [Route("/sse", endpoint=connect), Mount("/messages/", app=events.handle_post_message)]
    serving = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error", timeout_graceful_shutdown=1))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/sse"
        finally:
            serving.should_exit = True
            thread.join(WAIT)


def _greet(name: str) -> str:
    """Greets."""
    return f"Hello, {name}."
